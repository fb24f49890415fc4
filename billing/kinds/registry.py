"""The Stripe objects that we mirror, in lock order, and which of them an event concerns.

To mirror another kind of object, write its family file, add it to `KINDS` below, and add a migration.
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
from billing.kinds.found import Facts, ObjectRef, Part, is_id_of
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


# The order is the lock order of the mirror tables: every transaction that locks rows of several tables locks them in
# this order, so that no two transactions wait for each other. If it can, it puts a kind before those that refer to
# it. A new kind may be inserted anywhere, but the order of the others must not change: workers of two releases may run
# side by side.
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

LIST_CONFIRMED: frozenset[str] = frozenset(
    kind.name for kind in KINDS.values() if kind.confirmed_by == "lists"
)
"""The kinds that only lists confirm; no event makes us read them."""

_BY_STRIPE_OBJECT: Mapping[str, Kind] = {kind.stripe_object: kind for kind in KINDS.values()}

# As `Kind.concerns`, for objects that are not mirrored themselves, by Stripe's `object` field.
_CONCERNS_OF_OTHERS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "invoiceitem": (("invoice", "invoice"),),
    "discount": (("customer", "customer"), ("subscription", "subscription")),
    "subscription_item": (("subscription", "subscription"),),
}


class FetchedReference(NamedTuple):
    """A column that names an object, which is fetched if the mirror does not know it."""

    holder: str  # the name of the `Kind` or `PartKind` whose rows have the column
    table: str
    facts: type[Facts | Part]
    column: str
    kind: str  # the kind of the named object


def fetched_references() -> Iterator[FetchedReference]:
    """Every column by which rows that records depend on name an object that records depend on.

    These are the `references` of all kinds and parts, without those from or to kinds that only lists confirm.
    """
    for kind in KINDS.values():
        holders: list[Kind | PartKind] = [kind] if kind.confirmed_by == "reads" else []
        if kind.part is not None and kind.part.fetches_references:
            holders.append(kind.part)
        for holder in holders:
            for column, named in holder.references:
                if named not in LIST_CONFIRMED:
                    yield FetchedReference(holder.name, holder.table, holder.facts, column, named)


def kind_of(stripe_object: str) -> Kind | None:
    """The kind whose `object` field this is; None when we do not mirror it."""
    return _BY_STRIPE_OBJECT.get(stripe_object)


def concerned(event_type: str, body: Mapping[str, object]) -> tuple[ObjectRef, ...]:
    """Every object that an event makes dirty, its own object first, each once.

    `body` is the event's data.object, or the whole event. Total: an unknown type or a malformed body gives the objects
    that can be recognised, perhaps none, and never raises.
    """
    body = _subject(body)
    name = body.get("object")
    if not isinstance(name, str):
        return ()
    refs: dict[ObjectRef, None] = {}
    kind = kind_of(name)
    if kind is not None:
        own_id = body.get(kind.id_field)
        if kind.name == "invoice" and not is_id_of(own_id, kind.name):
            return ()  # invoice.upcoming carries an invoice that does not exist yet
        if is_id_of(own_id, kind.name):
            refs[ObjectRef(kind.name, own_id)] = None
            if event_type == kind.deleted_event:
                return tuple(refs)
    concerns = concerns_of(name) if kind is None else kind.concerns
    for field, other in concerns:
        for other_id in _ids(body.get(field), other):
            refs[ObjectRef(other, other_id)] = None
    return tuple(refs)


def concerns_of(stripe_object: str) -> tuple[tuple[str, str], ...]:
    """As `Kind.concerns`, of an object that is not mirrored itself, by its `object` field."""
    return _CONCERNS_OF_OTHERS.get(stripe_object, ())


def tells_of_mirrored(event_type: str) -> bool:
    """Whether events of this type are about objects that are mirrored, or that name some that are."""
    names = (*_BY_STRIPE_OBJECT, *_CONCERNS_OF_OTHERS)
    return any(event_type.startswith(f"{name}.") for name in names)


def customer_named_by(body: Mapping[str, object]) -> str | None:
    """The customer that an object names, even if nothing else of it can be read; None if it names none."""
    named = body.get("customer") or body.get("customer_account")
    found = named.get("id") if isinstance(named, Mapping) else named
    return found if is_id_of(found, "customer") else None


def owner_named_by(body: Mapping[str, object]) -> ObjectRef | None:
    """What leads to the customer of an object whose kind names none, even if nothing else of it can be read.

    The charge of a refund or dispute or, if it names none, its PaymentIntent; the invoice of a payment. None if that
    cannot be read either.
    """
    name = body.get("object")
    kind = kind_of(name) if isinstance(name, str) else None
    if kind is None or not kind.ownerless:
        return None
    for field, named in (*kind.belongs_to, ("payment_intent_id", "payment_intent")):
        for object_id in _ids(body.get(field.removesuffix("_id")), named):
            return ObjectRef(named, object_id)
    return None


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
        if is_id_of(named, kind):
            yield named
