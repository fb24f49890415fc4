"""What a subscription's state at Stripe means, and which of a customer's subscriptions is the current one.

The definitions are those of docs/record.md. Nothing here looks at a clock: Stripe changes a subscription itself when
its time comes, and says so.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from billing.kinds.subscriptions import Subscription


class Status(StrEnum):
    """The five statuses of a customer or product; None instead of one means that no subscription ever started."""

    ACTIVE = "active"
    TRIALING = "trialing"
    CANCELED = "canceled"  # still paid for, and a cancellation is scheduled
    PAST_DUE = "past_due"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings that change a definition."""

    past_due_has_access: bool = True  # while Stripe still retries the payment


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one subscription means, in addition to its facts."""

    subscription: Subscription
    status: Status | None
    has_access: bool
    is_trial: bool
    canceled: bool  # the cancellation is scheduled or done
    ended_at: datetime | None


NEVER_STARTED = frozenset({None, "incomplete", "incomplete_expired"})
"""Stripe's statuses of a subscription that never granted anything: it has no status here and is never current."""

_MEANING: Mapping[str | None, Status] = MappingProxyType(
    {
        "trialing": Status.TRIALING,
        "active": Status.ACTIVE,
        "past_due": Status.PAST_DUE,
        "unpaid": Status.PAST_DUE,
        "paused": Status.PAST_DUE,
        "canceled": Status.ENDED,
    }
)

_RANK: Mapping[Status | None, int] = MappingProxyType(
    {
        Status.ACTIVE: 5,
        Status.TRIALING: 4,
        Status.CANCELED: 3,  # fully paid, so before one that owes money
        Status.PAST_DUE: 2,
        Status.ENDED: 1,
    }
)


def better_of(statuses: Iterable[Status | None]) -> Status | None:
    """The status of those that would decide; None: no subscription ever started."""
    return max(statuses, key=lambda status: _RANK.get(status, 0), default=None)


def is_live(status: Status | None) -> bool:
    """Whether a subscription with this status runs."""
    return status not in (None, Status.ENDED)


BEFORE_ALL_TIMES = datetime.min.replace(tzinfo=UTC)
"""Replaces an unknown time if the latest one wins."""


def is_known(stripe_status: str | None) -> bool:
    """Whether we know this status of Stripe's; an unknown one is past_due without access, and a problem."""
    return stripe_status in NEVER_STARTED or stripe_status in _MEANING


def status_of(subscription: Subscription, *, customer_deleted: bool) -> Status | None:
    """The status of one subscription, by the table of the definitions.

    Deleting a customer cancels its subscriptions at Stripe, whether or not we saw an event of each.
    """
    if subscription.status in NEVER_STARTED:
        return None
    if customer_deleted:
        return Status.ENDED
    status = _MEANING.get(subscription.status, Status.PAST_DUE)
    match status:
        case Status.ACTIVE | Status.TRIALING:
            return Status.CANCELED if is_cancellation_scheduled(subscription) else status
        case Status.CANCELED | Status.PAST_DUE | Status.ENDED:
            return status
        case _:
            assert_never(status)


def is_cancellation_scheduled(subscription: Subscription) -> bool:
    """Whether an end is set. The customer portal sets only `cancel_at` on flexible subscriptions, so both count."""
    return subscription.cancel_at_period_end or subscription.cancel_at is not None


def grants_access(subscription: Subscription, status: Status | None, policy: Policy) -> bool:
    """Whether this subscription, which has this status, gives its customer access."""
    match status:
        case Status.ACTIVE | Status.TRIALING | Status.CANCELED:
            return True
        case Status.PAST_DUE:
            # Retries that have run out (unpaid), a pause, and statuses that we do not know grant nothing.
            return policy.past_due_has_access and subscription.status == "past_due"
        case Status.ENDED | None:
            return False
        case _:
            assert_never(status)


def standing_of(subscription: Subscription, *, deleted_at: datetime | None, policy: Policy) -> Standing:
    """Everything that a subscription means by itself; `deleted_at` is when its customer was deleted."""
    status = status_of(subscription, customer_deleted=deleted_at is not None)
    return Standing(
        subscription=subscription,
        status=status,
        has_access=grants_access(subscription, status, policy),
        is_trial=subscription.status == "trialing" and status is not Status.ENDED,
        canceled=status is Status.ENDED or is_cancellation_scheduled(subscription),
        ended_at=_ended_at(subscription, status, deleted_at),
    )


def _ended_at(
    subscription: Subscription, status: Status | None, deleted_at: datetime | None
) -> datetime | None:
    """When it ended: as Stripe states it, else when it was canceled, else when its customer was deleted."""
    if status is not Status.ENDED:
        return subscription.ended_at
    canceled_at = subscription.canceled_at if subscription.status == "canceled" else None
    return subscription.ended_at or canceled_at or deleted_at


def current_of(standings: Iterable[Standing]) -> Standing | None:
    """The current subscription, which decides the customer's status; None when none ever started.

    The best by active, trialing, canceled, past_due, ended; among ended ones the latest end, otherwise the latest
    start; then the latest created, then the greatest id by bytes.
    """
    started = [standing for standing in standings if standing.status is not None]
    return max(started, key=precedence_of, default=None)


def start_order(subscription: Subscription) -> tuple[datetime, datetime, str]:
    """Sorts subscriptions by when they began: by start, then by creation, then by id."""
    return (
        subscription.start_date or BEFORE_ALL_TIMES,
        subscription.created or BEFORE_ALL_TIMES,
        subscription.id,
    )


def precedence_of(standing: Standing) -> tuple[int, datetime, datetime, str]:
    """Sorts subscriptions that have started: the greatest is the current one, also among those of several customers."""
    subscription = standing.subscription
    decisive = standing.ended_at if standing.status is Status.ENDED else subscription.start_date
    return (
        _RANK[standing.status],
        decisive or BEFORE_ALL_TIMES,
        subscription.created or BEFORE_ALL_TIMES,
        subscription.id,  # Python compares text by code point, which is the order of its UTF-8 bytes
    )
