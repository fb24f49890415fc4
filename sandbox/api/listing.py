"""Lists: which there are, which objects each one shows, and how it is cut into pages."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import attrgetter
from typing import TypeVar

from sandbox.api.parameters import limit_of, window
from sandbox.events import Event
from sandbox.objects import (
    BalanceTransaction,
    Charge,
    CheckoutSession,
    Customer,
    Dispute,
    Feature,
    Invoice,
    InvoicePayment,
    Meter,
    PaymentMethod,
    Payout,
    Price,
    Product,
    Refund,
    Review,
    Subscription,
    Thing,
)
from sandbox.refusals import RefusedError, no_such_cursor
from sandbox.versions import Body

COLLECTIONS: dict[str, tuple[str, str]] = {
    "balance_transactions": ("balance_transaction", "created currency payout source type"),
    "billing/meters": ("billing.meter", "status"),
    "charges": ("charge", "created customer payment_intent"),
    "checkout/sessions": ("checkout.session", "created customer payment_intent status subscription"),
    "coupons": ("coupon", "created"),
    "credit_notes": ("credit_note", "created customer invoice"),
    "customers": ("customer", "created email test_clock"),
    "disputes": ("dispute", "created charge payment_intent"),
    "entitlements/active_entitlements": ("entitlements.active_entitlement", "customer"),
    "entitlements/features": ("entitlements.feature", "archived lookup_key"),
    "invoice_payments": ("invoice_payment", "created invoice payment status"),
    "invoices": ("invoice", "created customer status subscription"),
    "payment_intents": ("payment_intent", "created customer"),
    "payment_methods": ("payment_method", "customer type"),
    "payouts": ("payout", "created status"),
    "plans": ("plan", "active created product"),
    "prices": ("price", "active created currency product type"),
    "products": ("product", "active created"),
    "radar/early_fraud_warnings": ("radar.early_fraud_warning", "charge created payment_intent"),
    "refunds": ("refund", "charge created payment_intent"),
    "reviews": ("review", "created"),
    "setup_intents": ("setup_intent", "created customer payment_method"),
    "subscription_schedules": ("subscription_schedule", "created customer scheduled"),
    "subscriptions": ("subscription", "created current_period_start customer price status test_clock"),
    "tax_ids": ("tax_id", "customer owner"),
    "test_helpers/test_clocks": ("test_helpers.test_clock", ""),
}
"""Stripe's lists, each with its kind and the parameters that it takes in addition to those of paging."""
_WITH_ARCHIVED = {"true": (False,), "false": (True,)}
_BY_SERIAL = attrgetter("serial")

AnyRow = TypeVar("AnyRow", Thing, Event)


def page_of(
    rows: Sequence[AnyRow],
    wanted: dict[str, str],
    keeps: Callable[[AnyRow], bool],
    find: Callable[[str], AnyRow | None],
) -> tuple[list[AnyRow], bool]:
    """One page, newest first, of rows that are kept oldest first; and whether more follow in that direction."""
    limit = limit_of(wanted)
    after, before = wanted.get("starting_after"), wanted.get("ending_before")
    if after is not None and before is not None:
        raise RefusedError(
            400, "You may only specify one of these parameters: ending_before, starting_after."
        )
    page: list[AnyRow] = []
    if before is not None:
        cursor = find(before)
        if cursor is None:
            raise no_such_cursor("ending_before", before)
        ahead: Iterable[AnyRow] = islice(rows, bisect_right(rows, cursor.serial, key=_BY_SERIAL), None)
    else:
        end = len(rows)
        if after is not None:
            cursor = find(after)
            if cursor is None:
                raise no_such_cursor("starting_after", after)
            end = bisect_left(rows, cursor.serial, key=_BY_SERIAL)
        ahead = (rows[n] for n in range(end - 1, -1, -1))
    has_more = False
    for row in ahead:
        if not keeps(row):
            continue
        if len(page) == limit:
            has_more = True
            break
        page.append(row)
    if before is not None:
        page.reverse()
    return page, has_more


def cut_page(rows: list[Body], wanted: dict[str, str]) -> tuple[list[Body], bool]:
    """A page of rows in their own order: the items of a subscription, the lines of an invoice."""
    limit = limit_of(wanted)
    start = 0
    after = wanted.get("starting_after")
    if after is not None:
        found = [n for n, row in enumerate(rows) if row["id"] == after]
        if not found:
            raise no_such_cursor("starting_after", after)
        start = found[0] + 1
    return rows[start : start + limit], len(rows) > start + limit


def filter_of(kind: str, wanted: dict[str, str]) -> Callable[[Thing], bool]:
    """Whether a list shows an object, by the parameters that its kind takes."""
    status = wanted.get("status")
    began, ended = window(wanted, "current_period_start")
    # Lists of prices show only those on sale unless asked otherwise; lists of products and plans show all.
    active = wanted.get("active", "true" if kind == "price" else None)
    archived = _WITH_ARCHIVED.get(wanted.get("archived", ""), (True, False))
    # Parameters that are named after a field of the object.
    named = [
        (name, wanted[name])
        for name in (
            "charge",
            "currency",
            "invoice",
            "lookup_key",
            "payment_intent",
            "payment_method",
            "source",
        )
        if name in wanted
    ]

    def keeps(thing: Thing) -> bool:
        match thing:
            case Customer():
                return (
                    thing.deleted_at is None
                    and _is(thing.email, wanted.get("email"))
                    and thing.test_clock == wanted.get("test_clock")
                )
            case Subscription():
                return (
                    _subscription_listed(thing, status)
                    and (
                        wanted.get("price") is None
                        or any(item.price == wanted["price"] for item in thing.items)
                    )
                    # A list of one customer shows all of its subscriptions, also those on a test clock.
                    and (thing.test_clock == wanted.get("test_clock") or "customer" in wanted)
                    and _lies_within(
                        max((item.period_start for item in thing.items), default=0), began, ended
                    )
                )
            case Invoice():
                return _is(thing.status, status) and _is(thing.subscription, wanted.get("subscription"))
            case InvoicePayment():
                return (
                    _is(thing.invoice, wanted.get("invoice"))
                    and _is(thing.status, status)
                    and _is(thing.payment_type, wanted.get("payment[type]"))
                    and _is(thing.payment, wanted.get(f"payment[{thing.payment_type}]"))
                )
            case Charge():
                return _is(thing.payment_intent, wanted.get("payment_intent"))
            case Refund():
                return _is(thing.charge, wanted.get("charge")) and _is(
                    thing.payment_intent, wanted.get("payment_intent")
                )
            case Dispute():
                return _is(thing.charge, wanted.get("charge")) and _is(
                    thing.payment_intent, wanted.get("payment_intent")
                )
            case Price():
                return (
                    _is(thing.product, wanted.get("product"))
                    and _is(str(thing.active).lower(), active)
                    and (not thing.inline if kind == "price" else thing.interval is not None)
                    and _is("one_time" if thing.interval is None else "recurring", wanted.get("type"))
                    and _is(thing.currency, wanted.get("currency"))
                )
            case Product():
                return _is(str(thing.active).lower(), active)
            case CheckoutSession():
                return (
                    _is(thing.status, status)
                    and _is(thing.subscription, wanted.get("subscription"))
                    and _is(thing.payment_intent, wanted.get("payment_intent"))
                )
            case PaymentMethod() | BalanceTransaction():
                return _is(thing.type, wanted.get("type")) and _has(thing, named)
            case Payout() | Meter():
                return _is(thing.status, status)
            case Review():
                return thing.open
            case Feature():
                return thing.active in archived and _has(thing, named)
            case _:
                return _has(thing, named)

    return keeps


def _lies_within(moment: int, low: int | None, high: int | None) -> bool:
    return (low is None or low <= moment) and (high is None or moment <= high)


def _has(thing: Thing, named: Sequence[tuple[str, str]]) -> bool:
    return all(getattr(thing, name) == value for name, value in named)


def _is(value: str | None, wanted: str | None) -> bool:
    return wanted is None or value == wanted


def _subscription_listed(subscription: Subscription, status: str | None) -> bool:
    """Without a status, canceled subscriptions are left out; `ended` means canceled or incomplete_expired."""
    if status == "all":
        return True
    if status == "ended":
        return subscription.status in ("canceled", "incomplete_expired")
    if status is None:
        return subscription.status != "canceled"
    return subscription.status == status
