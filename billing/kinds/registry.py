"""The Stripe objects that we mirror, in one order, and which of them an event touches.

Mirroring another kind of object is one entry in its family file, its name in `KINDS` below, and one migration.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from billing.kinds.balance import BALANCE_TRANSACTION, PAYOUT
from billing.kinds.catalogue import METER, PLAN, PRICE, PRODUCT
from billing.kinds.checkout import CHECKOUT_SESSION
from billing.kinds.customers import CUSTOMER, TAX_ID
from billing.kinds.discounts import COUPON
from billing.kinds.entitlements import ACTIVE_ENTITLEMENT_SUMMARY, FEATURE
from billing.kinds.found import Facts, ObjectRef, Part, is_id
from billing.kinds.invoices import CREDIT_NOTE, INVOICE, INVOICE_PAYMENT
from billing.kinds.kind import Kind, PartKind
from billing.kinds.payments import (
    CHARGE,
    DISPUTE,
    EARLY_FRAUD_WARNING,
    PAYMENT_INTENT,
    PAYMENT_METHOD,
    REFUND,
    REVIEW,
    SETUP_INTENT,
)
from billing.kinds.subscriptions import SUBSCRIPTION, SUBSCRIPTION_SCHEDULE


def _by_name(*kinds: Kind) -> Mapping[str, Kind]:
    return MappingProxyType({kind.name: kind for kind in kinds})


# The order is the lock order of the mirror tables: every transaction that locks rows of several tables takes them in
# this order, so that no two wait for each other in a circle. It also puts a kind before those that refer to it. A new
# kind may stand anywhere; the order of the others must not change while workers of two releases run side by side.
KINDS: Mapping[str, Kind] = _by_name(
    CUSTOMER,
    PRODUCT,
    PRICE,
    FEATURE,
    METER,
    PLAN,
    COUPON,
    SUBSCRIPTION,
    SUBSCRIPTION_SCHEDULE,
    INVOICE,
    INVOICE_PAYMENT,
    CHARGE,
    REFUND,
    DISPUTE,
    CREDIT_NOTE,
    CHECKOUT_SESSION,
    PAYMENT_INTENT,
    PAYMENT_METHOD,
    SETUP_INTENT,
    TAX_ID,
    REVIEW,
    EARLY_FRAUD_WARNING,
    PAYOUT,
    BALANCE_TRANSACTION,
    ACTIVE_ENTITLEMENT_SUMMARY,
)

HINTED: frozenset[str] = frozenset(kind.name for kind in KINDS.values() if not kind.confirmed_on_event)
"""The kinds that no event has read: only lists confirm them."""

_BY_STRIPE_OBJECT: Mapping[str, Kind] = {kind.stripe_object: kind for kind in KINDS.values()}

# What `Kind.concerns` says, of objects that are not mirrored themselves, by the `object` of data.object.
_CONCERNS_OF_OTHERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "invoiceitem": (("invoice", "invoice"),),
    "discount": (("customer", "customer"), ("subscription", "subscription")),
    "subscription_item": (("subscription", "subscription"),),
}


class FetchedReference(NamedTuple):
    """A column by which rows name an object that is fetched where nothing else has told of it."""

    holder: str  # the name of the kind, or of the kind of part, whose rows have the column
    table: str
    facts: type[Facts | Part]
    column: str
    kind: str  # of the object that it names


def fetched_references() -> Iterator[FetchedReference]:
    """Every column that names an object which records depend on, of rows that records depend on.

    `Kind.references` and `PartKind.references`, without those from or to the kinds that only lists confirm.
    """
    for kind in KINDS.values():
        holders: list[Kind | PartKind] = [kind] if kind.confirmed_on_event else []
        if kind.part is not None and kind.part.fetches_references:
            holders.append(kind.part)
        for holder in holders:
            for column, named in holder.references:
                if named not in HINTED:
                    yield FetchedReference(holder.name, holder.table, holder.facts, column, named)


def kind_of(stripe_object: str) -> Kind | None:
    """The kind whose `object` field this is; None when we do not mirror it."""
    return _BY_STRIPE_OBJECT.get(stripe_object)


def concerned(event_type: str, body: Mapping[str, object]) -> tuple[ObjectRef, ...]:
    """Every object that an event makes dirty, its own object first, each once.

    `body` is the event's data.object; the whole event will do too. Total: a type that we do not know, or a body that
    makes no sense, gives what can be made out, perhaps nothing, and never an exception.
    """
    body = _subject(body)
    name = body.get("object")
    if not isinstance(name, str):
        return ()
    refs: dict[ObjectRef, None] = {}
    kind = kind_of(name)
    if kind is not None:
        own_id = body.get(kind.id_field)
        if not is_id(own_id):
            return ()  # invoice.upcoming carries an invoice that does not exist yet
        refs[ObjectRef(kind.name, own_id)] = None
        if event_type == kind.deleted_event:
            return tuple(refs)
    concerns = _CONCERNS_OF_OTHERS.get(name, ()) if kind is None else kind.concerns
    for field, other in concerns:
        for other_id in _ids(body.get(field), other):
            refs[ObjectRef(other, other_id)] = None
    return tuple(refs)


def customer_named_by(body: Mapping[str, object]) -> str | None:
    """Whose an object is that cannot be understood otherwise, as far as it says so itself."""
    named = body.get("customer") or body.get("customer_account")
    found = named.get("id") if isinstance(named, Mapping) else named
    return found if is_id(found) else None


def _subject(body: object) -> Mapping[str, object]:
    """The object that an event is about, given that object or the whole event."""
    if isinstance(body, Mapping) and body.get("object") == "event":
        data = body.get("data")
        body = data.get("object") if isinstance(data, dict) else None
    return body if isinstance(body, Mapping) else {}


def _ids(value: object, kind: str) -> Iterator[str]:
    """The ids in a field of any shape: an id, an object, or a list of them (Stripe's list object or an array)."""
    if isinstance(value, dict) and "data" in value:
        value = value["data"]
    for entry in value if isinstance(value, list) else (value,):
        named = entry
        if isinstance(named, dict) and "id" not in named:
            named = named.get(kind)  # a credit note's refunds: {"refund": "re_1", "amount_refunded": 5}
        if isinstance(named, dict):
            named = named.get("id")
        if is_id(named):
            yield named
