"""The account's own ledger: written by each action at the moment it acts, never read back from rendered objects."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from sandbox.objects import Customer, Subscription

Status = Literal["active", "trialing", "canceled", "past_due", "ended"]
CashKind = Literal["gross", "refunded", "disputed", "out_of_band"]


@dataclass(slots=True)
class Books:
    """Per customer: the cash that moved and the statuses it had; per subscription: the cycles it went through."""

    cash: defaultdict[str, Counter[tuple[str, CashKind]]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    cycles: Counter[str] = field(default_factory=Counter)
    statuses: defaultdict[str, list[Status | None]] = field(default_factory=lambda: defaultdict(list))

    def move_cash(self, customer_id: str, currency: str, kind: CashKind, amount: int) -> None:
        """Enter an amount in minor units; a negative amount takes an earlier entry back."""
        self.cash[customer_id][currency, kind] += amount

    def count_cycle(self, subscription_id: str) -> None:
        self.cycles[subscription_id] += 1

    def note_status(self, customer_id: str, status: Status | None) -> None:
        history = self.statuses[customer_id]
        if (history[-1] if history else None) != status:
            history.append(status)

    def forget(self, customer_id: str, subscription_ids: Iterable[str]) -> None:
        self.cash.pop(customer_id, None)
        self.statuses.pop(customer_id, None)
        for subscription_id in subscription_ids:
            del self.cycles[subscription_id]


def subscription_status(subscription: Subscription, *, customer_deleted: bool) -> Status | None:
    """The five-valued status of one subscription: the table of the definitions, row by row."""
    if subscription.status in ("incomplete", "incomplete_expired"):
        return None
    if customer_deleted or subscription.status == "canceled":
        return "ended"
    if subscription.status not in ("trialing", "active"):
        # past_due, unpaid, paused, and any status that is not known here yet.
        return "past_due"
    if subscription.cancel_at_period_end or subscription.cancel_at is not None:
        return "canceled"
    return "trialing" if subscription.status == "trialing" else "active"


def grants_access(subscription: Subscription, *, customer_deleted: bool) -> bool:
    return not customer_deleted and subscription.status in ("trialing", "active", "past_due")


_BEST_FIRST: tuple[Status, ...] = ("active", "trialing", "canceled", "past_due", "ended")


def current_subscription(customer: Customer, subscriptions: Iterable[Subscription]) -> Subscription | None:
    """The one of the customer's subscriptions that decides its record.

    Stories with several subscriptions name the expected one by hand too.
    """
    deleted = customer.deleted_at is not None
    started: list[tuple[tuple[int, int, int, bytes], Subscription]] = []
    for subscription in subscriptions:
        status = subscription_status(subscription, customer_deleted=deleted)
        if status is None:
            continue
        tie = (subscription.ended_at or 0) if status == "ended" else subscription.start_date
        rank = -_BEST_FIRST.index(status)
        started.append(((rank, tie, subscription.created, subscription.id.encode()), subscription))
    return max(started, key=lambda entry: entry[0])[1] if started else None


def customer_status(customer: Customer, subscriptions: Iterable[Subscription]) -> Status | None:
    """The status of a customer that has these subscriptions."""
    current = current_subscription(customer, subscriptions)
    if current is None:
        return None
    return subscription_status(current, customer_deleted=customer.deleted_at is not None)
