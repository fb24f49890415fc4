"""Stripe's JSON, of any API version from 2020-08-27 to 2026-10-28.endive, becomes facts.

Stripe has moved fields between versions, and a field may hold an id or, when expanded, the whole object. Everything
that knows where a fact stood is here. What a fact depends on is read strictly: a shape we do not know is refused with
`UnknownShape`, since a wrong number is worse than a late one. Fields that no fact depends on are ignored, and so are
words that Stripe adds to its open sets (a new status stays as it is).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from billing.facts import (
    ActiveEntitlement,
    ActiveEntitlementSummary,
    BalanceTransaction,
    Charge,
    CheckoutLineItem,
    CheckoutSession,
    Coupon,
    CreditNote,
    CurrencyOption,
    Customer,
    Discount,
    Dispute,
    EarlyFraudWarning,
    Facts,
    Feature,
    Invoice,
    InvoicePayment,
    Meter,
    Part,
    PaymentIntent,
    PaymentMethod,
    Payout,
    Plan,
    Price,
    Product,
    Refund,
    Review,
    SetupIntent,
    Subscription,
    SubscriptionItem,
    SubscriptionSchedule,
    SubscriptionScheduleItem,
    TaxId,
    Tier,
)
from billing.registry import KINDS, ObjectRef, is_id, kind_of

Json = Mapping[str, object]


class UnknownShape(ValueError):  # noqa: N818 - it names what was met, and callers read it so
    """A Stripe object in a shape that this module does not read; says which field, what came, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What one body from Stripe says."""

    kind: str
    id: str
    facts: Facts | None  # None when the body says only that the object was deleted
    deleted: bool
    customer_id: str | None
    live_mode: bool | None  # None where Stripe does not say (refunds): take it from the event or the key
    parts: tuple[Part, ...]  # what travels with it and is stored in a table of its own
    items_cut: bool  # the list of them is absent or goes on: nothing may be concluded from what is not in it
    embedded: tuple[Json, ...]  # whole objects of mirrored kinds found inside, each once
    references: tuple[ObjectRef, ...]  # mirrored objects named inside by id only, each once

    @property
    def items(self) -> tuple[SubscriptionItem, ...]:
        """Of a subscription: its items."""
        return tuple(part for part in self.parts if isinstance(part, SubscriptionItem))


@dataclass(frozen=True, slots=True, kw_only=True)
class NestedList:
    """A list inside an object that Stripe has cut, and where its rest can be read."""

    path: tuple[str, ...]  # to the list object in the body; the rest is appended to its `data`
    url: str  # a path of the API, perhaps with a query
    last_id: str | None  # what `starting_after` takes


def parse_object(body: Json, *, asked: bool = False) -> Parsed:
    """The facts that a Stripe object states, and the other objects that it holds or names.

    `asked`: it answers a request that expands what the registry says, so that what it leaves out is not there.
    NUL characters and lone surrogates must have been cleaned away before. Raises UnknownShape.
    """
    if not isinstance(body, Mapping):
        raise UnknownShape(f"wanted a Stripe object, came {_shown(body)}: look at the event that carries it")
    name = body.get("object")
    kind = kind_of(name) if isinstance(name, str) else None
    if kind is None:
        raise UnknownShape(f"object is {_shown(name)}, which is not mirrored: add it to billing/registry.py")
    object_id = body.get(kind.id_field)
    if not is_id(object_id):
        raise UnknownShape(
            f"{name}: {kind.id_field} is {_shown(object_id)}: only an object with an id can be stored"
        )
    found = _Found(asked=asked)
    try:
        live_mode = _flag(body, "livemode")
        deleted = _flag(body, "deleted") is True
        facts = None if deleted else _PARSERS[kind.name](object_id, body, found)
    except _Refused as refused:
        raise UnknownShape(
            f"{name} {object_id}: {refused.field} is {refused.came}, wanted {refused.wanted}: "
            "if Stripe means it, read this shape in billing/parse.py"
        ) from None
    customer_id = object_id if kind.id_is_customers else getattr(facts, "customer_id", None)
    return Parsed(
        kind=kind.name,
        id=object_id,
        facts=facts,
        deleted=deleted,
        customer_id=customer_id,
        live_mode=live_mode,
        parts=tuple(found.parts.values()),
        items_cut=found.items_cut,
        embedded=tuple(found.embedded.values()),
        references=tuple(ref for ref in found.references if ref not in found.embedded),
    )


# The lists that facts need whole, and where Stripe serves them. `{id}` is the object that holds the list.
_WHOLE_LISTS: Mapping[str, tuple[str, str]] = {
    "subscription": ("items", "/v1/subscription_items?subscription={id}"),
    "charge": ("refunds", "/v1/refunds?charge={id}"),
    "invoice": ("payments", "/v1/invoice_payments?invoice={id}"),
    "customer": ("tax_ids", "/v1/customers/{id}/tax_ids"),
    "checkout.session": ("line_items", "/v1/checkout/sessions/{id}/line_items"),
    "entitlements.active_entitlement_summary": (
        "entitlements",
        "/v1/entitlements/active_entitlements?customer={id}",
    ),
}
# Their lists state a URL by which they cannot be read on: it does not name the customer, or is none of the API's.
_URLS_WRONG = frozenset({"entitlements.active_entitlement_summary"})


def nested_lists(body: Json) -> tuple[NestedList, ...]:
    """The lists in this object that facts need whole and that Stripe has cut; never raises."""
    name = body.get("object")
    if not isinstance(name, str) or name not in _WHOLE_LISTS:
        return ()
    field, url = _WHOLE_LISTS[name]
    cut = body.get(field)
    if not isinstance(cut, dict) or cut.get("has_more") is not True:
        return ()
    data = cut.get("data")
    last = data[-1] if isinstance(data, list) and data else None
    last_id = last.get("id") if isinstance(last, dict) else None
    own_url = cut.get("url")
    kind = kind_of(name)
    if isinstance(own_url, str) and own_url.startswith("/v1/") and name not in _URLS_WRONG:
        url = own_url
    elif is_id(object_id := body.get("id" if kind is None else kind.id_field)):
        url = url.format(id=quote(object_id, safe=""))
    else:
        return ()
    return (NestedList(path=(field,), url=url, last_id=last_id if isinstance(last_id, str) else None),)


# --- One parser per kind ---------------------------------------------------------------------------------------------


class _Found:
    """What turns up beside an object's own facts while it is read."""

    __slots__ = ("asked", "embedded", "items_cut", "parts", "references")

    def __init__(self, *, asked: bool) -> None:
        self.asked = asked
        self.embedded: dict[ObjectRef, Json] = {}
        self.references: dict[ObjectRef, None] = {}
        self.parts: dict[str, Part] = {}
        self.items_cut = False


def _customer(object_id: str, body: Json, found: _Found) -> Customer:
    metadata = _metadata(body)
    for tax_id in _entries(body, "tax_ids")[0]:
        _note(found, "tax_id", tax_id)
    return Customer(
        id=object_id,
        created=_moment(body, "created"),
        name=_text(body, "name"),
        email=_text(body, "email"),
        description=_text(body, "description"),
        metadata=metadata,
        custom_uid=metadata.get("custom_uid"),
        test_clock=_id_of(body, "test_clock"),
        discounts=_discounts(body, found),
    )


def _product(object_id: str, body: Json, found: _Found) -> Product:
    _note(found, "price", body.get("default_price"))
    return Product(
        id=object_id,
        created=_moment(body, "created"),
        name=_text(body, "name"),
        active=_flag(body, "active"),
        metadata=_metadata(body),
    )


def _price(object_id: str, body: Json, found: _Found) -> Price:
    recurring = _inner(body, "recurring")
    transform = _inner(body, "transform_quantity")
    return Price(
        id=object_id,
        created=_moment(body, "created"),
        product_id=_link(body, "product", "product", found),
        active=_flag(body, "active"),
        currency=_text(body, "currency"),
        unit_amount=_integer(body, "unit_amount"),
        unit_amount_decimal=_decimal(body, "unit_amount_decimal"),
        billing_scheme=_text(body, "billing_scheme"),
        recurring=body.get("recurring") is not None,
        interval=_text(recurring, "interval", "recurring."),
        interval_count=_integer(recurring, "interval_count", "recurring."),
        usage_type=_text(recurring, "usage_type", "recurring."),
        meter_id=_link(recurring, "meter", "meter", found, "recurring."),
        nickname=_text(body, "nickname"),
        metadata=_metadata(body),
        tiers_mode=_text(body, "tiers_mode"),
        tiers=_tiers(body) if body.get("billing_scheme") == "tiered" else (),
        currency_options=_currency_options(body),
        divide_quantity_by=_integer(transform, "divide_by", "transform_quantity."),
        round_quantity=_text(transform, "round", "transform_quantity."),
    )


def _tiers(body: Json, path: str = "") -> tuple[Tier, ...] | None:
    """The steps of a tiered price; None where they are left out, as everywhere but in a read that asks for them."""
    if body.get("tiers") is None:
        return None
    return tuple(
        Tier(
            up_to=_integer(entry, "up_to", where),
            unit_amount=_exact_amount(entry, "unit_amount", where),
            flat_amount=_exact_amount(entry, "flat_amount", where),
        )
        for position, entry in enumerate(_objects(body, "tiers", path))
        for where in [f"{path}tiers[{position}]."]
    )


def _currency_options(body: Json) -> tuple[CurrencyOption, ...] | None:
    if body.get("currency_options") is None:
        return None
    options = _inner(body, "currency_options")
    return tuple(
        CurrencyOption(
            currency=currency,
            unit_amount=_exact_amount(option, "unit_amount", where),
            tiers=_tiers(option, where) if body.get("billing_scheme") == "tiered" else (),
        )
        for currency in sorted(options)
        for where in [f"currency_options.{currency}."]
        for option in [_inner(options, currency, "currency_options.")]
    )


def _exact_amount(body: Json, field: str, path: str) -> str | None:
    """An amount with its fractions of a minor unit, which Stripe writes beside the whole one."""
    exact = _decimal(body, field + "_decimal", path)
    if exact is not None:
        return exact
    whole = _integer(body, field, path)
    return None if whole is None else str(whole)


def _discounts(body: Json, found: _Found, path: str = "") -> tuple[Discount, ...]:
    """What is taken off, in order; no more than its id of a discount that Stripe only names, as payloads do.

    One discount by itself until 2025-03-31, then a list; for a while both, the list holding ids of the same.
    """
    single = body.get("discount")
    whole = {single.get("id"): single} if isinstance(single, dict) else {}
    entries = body.get("discounts")
    if entries is None:
        entries = [] if single is None else [single]
    if not isinstance(entries, list):
        raise _Refused(path + "discounts", entries, "a list")
    discounts: list[Discount] = []
    for position, entry in enumerate(entries):
        where = f"{path}discounts[{position}]"
        discount = whole.get(entry, entry) if isinstance(entry, str) else entry
        if is_id(discount):
            discounts.append(Discount(id=discount))
        elif isinstance(discount, dict):
            discounts.append(_discount(discount, found, where + "."))
        else:
            raise _Refused(where, discount, "an object or an id")
    return tuple(discounts)


def _discount(discount: Json, found: _Found, path: str) -> Discount:
    holder, where = discount, path
    if discount.get("coupon") is None:  # since 2025-09-30 it is said where a discount comes from
        holder, where = _inner(discount, "source", path), path + "source."
    value = holder.get("coupon")
    coupon: Json = value if isinstance(value, dict) else {}
    return Discount(
        id=_id_of(discount, "id", path),
        coupon_id=_link(holder, "coupon", "coupon", found, where),
        percent_off=_percent(coupon, "percent_off", where + "coupon."),
        amount_off=_integer(coupon, "amount_off", where + "coupon."),
        currency=_text(coupon, "currency", where + "coupon."),
        duration=_text(coupon, "duration", where + "coupon."),
        ends=_moment(discount, "end", path),
    )


def _feature(object_id: str, body: Json, _: _Found) -> Feature:
    return Feature(
        id=object_id,
        lookup_key=_text(body, "lookup_key"),
        name=_text(body, "name"),
        active=_flag(body, "active"),
        metadata=_metadata(body),
    )


def _meter(object_id: str, body: Json, _: _Found) -> Meter:
    return Meter(
        id=object_id,
        created=_moment(body, "created"),
        display_name=_text(body, "display_name"),
        event_name=_text(body, "event_name"),
        status=_text(body, "status"),
        formula=_text(_inner(body, "default_aggregation"), "formula", "default_aggregation."),
    )


def _active_entitlement_summary(customer_id: str, body: Json, found: _Found) -> ActiveEntitlementSummary:
    _note(found, "customer", customer_id)
    entries, found.items_cut = _entries(body, "entitlements")
    for position, entry in enumerate(entries):
        path = f"entitlements.data[{position}]."
        entitlement_id = _id_of(entry, "id", path)
        if entitlement_id is None:
            raise _Refused(path + "id", None, "an id")
        found.parts[entitlement_id] = ActiveEntitlement(
            id=entitlement_id,
            customer_id=customer_id,
            feature_id=_link(entry, "feature", "feature", found, path),
            lookup_key=_text(entry, "lookup_key", path),
        )
    return ActiveEntitlementSummary(id=customer_id, customer_id=customer_id)


def _subscription(object_id: str, body: Json, found: _Found) -> Subscription:
    entries, found.items_cut = _entries(body, "items")
    start = _moment(body, "current_period_start")
    end = _moment(body, "current_period_end")
    items: dict[str, SubscriptionItem] = {}
    for position, entry in enumerate(entries):
        item = _item(entry, position, object_id, start, end, found)
        items.setdefault(item.id, item)
    found.parts.update(items)
    if start is None:
        start = _latest(item.current_period_start for item in items.values())
    if end is None:
        end = _latest(item.current_period_end for item in items.values())

    pause = _inner(body, "pause_collection")
    mode = _inner(body, "billing_mode")
    cancellation = _inner(body, "cancellation_details")
    return Subscription(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_customer_id(body, found),
        status=_text(body, "status"),
        start_date=_moment(body, "start_date"),
        trial_start=_moment(body, "trial_start"),
        trial_end=_moment(body, "trial_end"),
        cancel_at=_moment(body, "cancel_at"),
        cancel_at_period_end=_flag(body, "cancel_at_period_end") is True,
        canceled_at=_moment(body, "canceled_at"),
        ended_at=_moment(body, "ended_at"),
        current_period_start=start,
        current_period_end=end,
        collection_method=_text(body, "collection_method"),
        currency=_text(body, "currency"),
        latest_invoice_id=_link(body, "latest_invoice", "invoice", found),
        pause_collection=_text(pause, "behavior", "pause_collection."),
        billing_mode=_text(mode, "type", "billing_mode."),
        cancellation_reason=_text(cancellation, "reason", "cancellation_details."),
        schedule_id=_link(body, "schedule", "subscription_schedule", found),
        test_clock=_id_of(body, "test_clock"),
        metadata=_metadata(body),
        discounts=_discounts(body, found),
    )


def _item(
    entry: Json,
    position: int,
    subscription_id: str,
    start: datetime | None,
    end: datetime | None,
    found: _Found,
) -> SubscriptionItem:
    path = f"items.data[{position}]."
    item_id = _id_of(entry, "id", path)
    if item_id is None:
        raise _Refused(path + "id", None, "an id")
    price_id = _link(entry, "price", "price", found, path)
    holder = "price"
    if price_id is None:  # before prices there were plans, of the same ids
        price_id = _link(entry, "plan", "price", found, path)
        holder = "plan"
    price = entry.get(holder)
    product_id = (
        _link(price, "product", "product", found, f"{path}{holder}.") if isinstance(price, dict) else None
    )
    own_start = _moment(entry, "current_period_start", path)
    own_end = _moment(entry, "current_period_end", path)
    return SubscriptionItem(
        id=item_id,
        subscription_id=subscription_id,
        position=position,
        created=_moment(entry, "created", path),
        price_id=price_id,
        product_id=product_id,
        quantity=_integer(entry, "quantity", path),
        # Before basil all items shared the subscription's period, and carried none.
        current_period_start=start if own_start is None else own_start,
        current_period_end=end if own_end is None else own_end,
        metadata=_metadata(entry, path),
        discounts=_discounts(entry, found, path),
    )


def _invoice(object_id: str, body: Json, found: _Found) -> Invoice:
    subscription_id = _link(body, "subscription", "subscription", found)
    if subscription_id is None:  # since basil
        details = _inner(_inner(body, "parent"), "subscription_details", "parent.")
        subscription_id = _link(
            details, "subscription", "subscription", found, "parent.subscription_details."
        )
    _note(found, "charge", body.get("charge"))  # before basil
    transitions = _inner(body, "status_transitions")
    return Invoice(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_customer_id(body, found),
        subscription_id=subscription_id,
        status=_text(body, "status"),
        billing_reason=_text(body, "billing_reason"),
        period_start=_moment(body, "period_start"),
        period_end=_moment(body, "period_end"),
        lines_period_end=_lines_period_end(body, found),
        currency=_text(body, "currency"),
        subtotal=_integer(body, "subtotal"),
        total=_integer(body, "total"),
        amount_due=_integer(body, "amount_due"),
        amount_paid=_integer(body, "amount_paid"),
        amount_remaining=_integer(body, "amount_remaining"),
        paid_out_of_band=_flag(body, "paid_out_of_band"),
        amount_paid_off_stripe=_integer(body, "amount_paid_off_stripe"),
        amount_paid_by_payments=_amount_paid_by_payments(body, found),
        collection_method=_text(body, "collection_method"),
        attempt_count=_integer(body, "attempt_count"),
        next_payment_attempt=_moment(body, "next_payment_attempt"),
        due_date=_moment(body, "due_date"),
        paid_at=_moment(transitions, "paid_at", "status_transitions."),
        number=_text(body, "number"),
        metadata=_metadata(body),
    )


def _lines_period_end(body: Json, found: _Found) -> datetime | None:
    ends: list[datetime | None] = []
    for position, line in enumerate(_entries(body, "lines")[0]):
        path = f"lines.data[{position}]."
        ends.append(_moment(_inner(line, "period", path), "end", path + "period."))
        price = line.get("price") or line.get("plan")  # before basil
        if price is None:
            pricing = line.get("pricing")
            details = pricing.get("price_details") if isinstance(pricing, dict) else None
            if isinstance(details, dict):
                price = details.get("price")
                _note(found, "product", details.get("product"))
        _note(found, "price", price)
    return _latest(ends)


def _amount_paid_by_payments(body: Json, found: _Found) -> int | None:
    payments, cut = _entries(body, "payments")
    paid = 0
    for position, entry in enumerate(payments):
        _note(found, "invoice_payment", entry)
        path = f"payments.data[{position}]."
        payment = _inner(entry, "payment", path)
        through_stripe = _text(payment, "type", path + "payment.") in ("payment_intent", "charge")
        if through_stripe and _text(entry, "status", path) == "paid":
            paid += _integer(entry, "amount_paid", path) or 0
    if cut:
        return None
    return _integer({"amount_paid": paid}, "amount_paid", "payments.data[].")  # the sum must fit a bigint too


def _invoice_payment(object_id: str, body: Json, found: _Found) -> InvoicePayment:
    payment = _inner(body, "payment")
    return InvoicePayment(
        id=object_id,
        created=_moment(body, "created"),
        invoice_id=_link(body, "invoice", "invoice", found),
        status=_text(body, "status"),
        amount_requested=_integer(body, "amount_requested"),
        amount_paid=_integer(body, "amount_paid"),
        currency=_text(body, "currency"),
        payment_type=_text(payment, "type", "payment."),
        payment_intent_id=_id_of(payment, "payment_intent", "payment."),
        charge_id=_link(payment, "charge", "charge", found, "payment."),
        payment_record_id=_id_of(payment, "payment_record", "payment."),
    )


def _charge(object_id: str, body: Json, found: _Found) -> Charge:
    captured = _flag(body, "captured")
    if captured is None:
        raise _Refused("captured", None, "true or false, since money depends on it")
    _note(found, "dispute", body.get("dispute"))
    for refund in _entries(body, "refunds")[0]:
        _note(found, "refund", refund)
    return Charge(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_customer_id(body, found),
        payment_intent_id=_id_of(body, "payment_intent"),
        invoice_id=_link(body, "invoice", "invoice", found),
        status=_text(body, "status"),
        captured=captured,
        amount=_integer(body, "amount"),
        amount_captured=_integer(body, "amount_captured"),
        amount_refunded=_integer(body, "amount_refunded"),
        currency=_text(body, "currency"),
        disputed=_flag(body, "disputed"),
        description=_text(body, "description"),
        metadata=_metadata(body),
    )


def _refund(object_id: str, body: Json, found: _Found) -> Refund:
    _note(found, "customer", body.get("customer"))  # since 2026-07-29; records go by the charge
    return Refund(
        id=object_id,
        created=_moment(body, "created"),
        charge_id=_link(body, "charge", "charge", found),
        payment_intent_id=_id_of(body, "payment_intent"),
        status=_text(body, "status"),
        amount=_integer(body, "amount"),
        currency=_text(body, "currency"),
        reason=_text(body, "reason"),
    )


def _dispute(object_id: str, body: Json, found: _Found) -> Dispute:
    movements, moved_amount, moved_currency = _moved(body)
    return Dispute(
        id=object_id,
        created=_moment(body, "created"),
        charge_id=_link(body, "charge", "charge", found),
        payment_intent_id=_id_of(body, "payment_intent"),
        status=_text(body, "status"),
        amount=_integer(body, "amount"),
        currency=_text(body, "currency"),
        reason=_text(body, "reason"),
        movements=movements,
        moved_amount=moved_amount,
        moved_currency=moved_currency,
    )


def _moved(body: Json) -> tuple[int | None, int | None, str | None]:
    """How often money moved, its sum and currency; all None where Stripe names movements without amounts."""
    entries: object = body.get("balance_transactions")
    path = "balance_transactions"
    if entries is None:  # long ago there was one, or its id
        path = "balance_transaction"
        legacy = body.get(path)
        entries = None if legacy is None else [legacy]
    if entries is None:
        return None, None, None
    if not isinstance(entries, list):
        raise _Refused(path, entries, "a list")
    moved = 0
    currencies: set[str | None] = set()
    for position, entry in enumerate(entries):
        if isinstance(entry, str):
            return None, None, None
        where = f"{path}[{position}]"
        if not isinstance(entry, dict):
            raise _Refused(where, entry, "an object")
        amount = _integer(entry, "amount", where + ".")
        if amount is None:
            raise _Refused(where + ".amount", None, "a whole number")
        moved += amount
        currencies.add(_text(entry, "currency", where + "."))
    if len(currencies) > 1:
        return len(entries), None, None  # a sum over currencies would mean nothing
    total = _integer({"amount": moved}, "amount", path + "[].")
    return len(entries), total, currencies.pop() if currencies else None


def _checkout_session(object_id: str, body: Json, found: _Found) -> CheckoutSession:
    lines, found.items_cut = _entries(body, "line_items")
    for position, entry in enumerate(lines):
        line = _checkout_line(entry, position, object_id)
        found.parts.setdefault(line.id, line)
    return CheckoutSession(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_customer_id(body, found),
        status=_text(body, "status"),
        mode=_text(body, "mode"),
        payment_status=_text(body, "payment_status"),
        client_reference_id=_text(body, "client_reference_id"),
        subscription_id=_link(body, "subscription", "subscription", found),
        payment_intent_id=_id_of(body, "payment_intent"),
        invoice_id=_link(body, "invoice", "invoice", found),
        amount_total=_integer(body, "amount_total"),
        currency=_text(body, "currency"),
        metadata=_metadata(body),
    )


def _payment_intent(object_id: str, body: Json, _: _Found) -> PaymentIntent:
    charge_id = _id_of(body, "latest_charge")
    if charge_id is None:  # before 2022-11-15 all charges were in it, the latest first
        charges = _entries(body, "charges")[0]
        charge_id = _id_of(charges[0], "id", "charges.data[0].") if charges else None
    return PaymentIntent(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_owner_id(body),
        status=_text(body, "status"),
        amount=_integer(body, "amount"),
        amount_capturable=_integer(body, "amount_capturable"),
        amount_received=_integer(body, "amount_received"),
        currency=_text(body, "currency"),
        payment_method_id=_id_of(body, "payment_method"),
        latest_charge_id=charge_id,
        invoice_id=_id_of(body, "invoice"),
        capture_method=_text(body, "capture_method"),
        setup_future_usage=_text(body, "setup_future_usage"),
        cancellation_reason=_text(body, "cancellation_reason"),
        canceled_at=_moment(body, "canceled_at"),
        description=_text(body, "description"),
        receipt_email=_text(body, "receipt_email"),
        error_code=_text(_inner(body, "last_payment_error"), "code", "last_payment_error."),
        metadata=_metadata(body),
    )


def _payment_method(object_id: str, body: Json, _: _Found) -> PaymentMethod:
    card = _inner(body, "card")
    billing = _inner(body, "billing_details")
    return PaymentMethod(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_owner_id(body),
        type=_text(body, "type"),
        card_brand=_text(card, "brand", "card."),
        card_last4=_text(card, "last4", "card."),
        card_exp_month=_integer(card, "exp_month", "card."),
        card_exp_year=_integer(card, "exp_year", "card."),
        card_funding=_text(card, "funding", "card."),
        card_country=_text(card, "country", "card."),
        billing_name=_text(billing, "name", "billing_details."),
        billing_email=_text(billing, "email", "billing_details."),
        metadata=_metadata(body),
    )


def _setup_intent(object_id: str, body: Json, _: _Found) -> SetupIntent:
    return SetupIntent(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_owner_id(body),
        status=_text(body, "status"),
        usage=_text(body, "usage"),
        payment_method_id=_id_of(body, "payment_method"),
        cancellation_reason=_text(body, "cancellation_reason"),
        description=_text(body, "description"),
        error_code=_text(_inner(body, "last_setup_error"), "code", "last_setup_error."),
        metadata=_metadata(body),
    )


def _tax_id(object_id: str, body: Json, _: _Found) -> TaxId:
    owner = _inner(body, "owner")  # the customer stood beside it alone before 2023-08-16
    return TaxId(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_owner_id(body) or _id_of(owner, "customer", "owner."),
        type=_text(body, "type"),
        country=_text(body, "country"),
        value=_text(body, "value"),
        verification_status=_text(_inner(body, "verification"), "status", "verification."),
    )


def _coupon(object_id: str, body: Json, found: _Found) -> Coupon:
    return Coupon(
        id=object_id,
        created=_moment(body, "created"),
        name=_text(body, "name"),
        duration=_text(body, "duration"),
        duration_in_months=_integer(body, "duration_in_months"),
        percent_off=_percent(body, "percent_off"),
        amount_off=_integer(body, "amount_off"),
        currency=_text(body, "currency"),
        applies_to=_applies_to(body, asked=found.asked),
        max_redemptions=_integer(body, "max_redemptions"),
        redeem_by=_moment(body, "redeem_by"),
        times_redeemed=_integer(body, "times_redeemed"),
        valid=_flag(body, "valid"),
        metadata=_metadata(body),
    )


def _applies_to(body: Json, *, asked: bool) -> tuple[str, ...] | None:
    """The products that a coupon is limited to, none where it is not; None where the field was not asked for."""
    if "applies_to" not in body and not asked:
        return None
    limits = _inner(body, "applies_to")
    products = limits.get("products")
    if products is None:
        return ()
    if not isinstance(products, list):
        raise _Refused("applies_to.products", products, "a list")
    return tuple(
        _id_of({"product": named}, "product", f"applies_to.products[{position}].") or ""
        for position, named in enumerate(products)
    )


def _plan(object_id: str, body: Json, _: _Found) -> Plan:
    return Plan(
        id=object_id,
        created=_moment(body, "created"),
        product_id=_id_of(body, "product"),
        active=_flag(body, "active"),
        currency=_text(body, "currency"),
        amount=_integer(body, "amount"),
        amount_decimal=_decimal(body, "amount_decimal"),
        billing_scheme=_text(body, "billing_scheme"),
        interval=_text(body, "interval"),
        interval_count=_integer(body, "interval_count"),
        usage_type=_text(body, "usage_type"),
        trial_period_days=_integer(body, "trial_period_days"),
        nickname=_text(body, "nickname"),
        metadata=_metadata(body),
    )


def _subscription_schedule(object_id: str, body: Json, found: _Found) -> SubscriptionSchedule:
    phases = _objects(body, "phases")
    for number, phase in enumerate(phases):
        path = f"phases[{number}]."
        field = (
            "plans" if phase.get("items") is None else "items"
        )  # plans before 2020-08-27, of the same shape
        for position, entry in enumerate(_objects(phase, field, path)):
            where = f"{path}{field}[{position}]."
            price_id = _link(entry, "price", "price", found, where)
            if price_id is None:
                price_id = _link(entry, "plan", "price", found, where)
            found.parts[f"{number}.{position}"] = SubscriptionScheduleItem(
                id=f"{number}.{position}",
                schedule_id=object_id,
                phase=number,
                position=position,
                phase_start=_moment(phase, "start_date", path),
                phase_end=_moment(phase, "end_date", path),
                price_id=price_id,
                quantity=_integer(entry, "quantity", where),
            )
    current = _inner(body, "current_phase")
    return SubscriptionSchedule(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_customer_id(body, found),
        status=_text(body, "status"),
        subscription_id=_link(body, "subscription", "subscription", found),
        released_subscription_id=_link(body, "released_subscription", "subscription", found),
        starts_at=_moment(phases[0], "start_date", "phases[0].") if phases else None,
        ends_at=_moment(phases[-1], "end_date", f"phases[{len(phases) - 1}].") if phases else None,
        current_phase_start=_moment(current, "start_date", "current_phase."),
        current_phase_end=_moment(current, "end_date", "current_phase."),
        end_behavior=_text(body, "end_behavior"),
        canceled_at=_moment(body, "canceled_at"),
        completed_at=_moment(body, "completed_at"),
        released_at=_moment(body, "released_at"),
        test_clock=_id_of(body, "test_clock"),
        metadata=_metadata(body),
    )


def _credit_note(object_id: str, body: Json, found: _Found) -> CreditNote:
    refund_id = _link(body, "refund", "refund", found)  # before basil
    refund_ids = [] if refund_id is None else [refund_id]
    returned = 0
    for position, entry in enumerate(_objects(body, "refunds")):
        path = f"refunds[{position}]."
        refund_id = _link(entry, "refund", "refund", found, path)
        if refund_id is None:
            returned += _refund_of_record(entry, path)
        elif refund_id not in refund_ids:
            refund_ids.append(refund_id)
    out_of_band = _integer(body, "out_of_band_amount")
    if returned:
        both = {"amount_refunded": returned + (out_of_band or 0)}
        out_of_band = _integer(both, "amount_refunded", "refunds[].")  # the sum must fit a bigint too
    return CreditNote(
        id=object_id,
        created=_moment(body, "created"),
        customer_id=_customer_id(body, found),
        invoice_id=_link(body, "invoice", "invoice", found),
        status=_text(body, "status"),
        type=_text(body, "type"),
        reason=_text(body, "reason"),
        number=_text(body, "number"),
        currency=_text(body, "currency"),
        amount=_integer(body, "amount"),
        pre_payment_amount=_integer(body, "pre_payment_amount"),
        post_payment_amount=_integer(body, "post_payment_amount"),
        out_of_band_amount=out_of_band,
        refund_ids=tuple(refund_ids),
        effective_at=_moment(body, "effective_at"),
        voided_at=_moment(body, "voided_at"),
        memo=_text(body, "memo"),
        metadata=_metadata(body),
    )


def _refund_of_record(entry: Json, path: str) -> int:
    """What an entry of a credit note's refunds gave back of a payment that Stripe only keeps a record of.

    It has no refund object and no event of its own, so this is all that is ever told of it.
    """
    if entry.get("type") != "payment_record_refund" and entry.get("payment_record_refund") is None:
        return 0
    return _integer(entry, "amount_refunded", path) or 0


def _checkout_line(entry: Json, position: int, session_id: str) -> CheckoutLineItem:
    path = f"line_items.data[{position}]."
    line_id = _id_of(entry, "id", path)
    if line_id is None:
        raise _Refused(path + "id", None, "an id")
    price = entry.get("price")
    return CheckoutLineItem(
        id=line_id,
        session_id=session_id,
        position=position,
        description=_text(entry, "description", path),
        # Not noted: prices are often made for one session, and no record asks for those.
        price_id=_id_of(entry, "price", path),
        product_id=_id_of(price, "product", path + "price.") if isinstance(price, dict) else None,
        quantity=_integer(entry, "quantity", path),
        currency=_text(entry, "currency", path),
        amount_subtotal=_integer(entry, "amount_subtotal", path),
        amount_discount=_integer(entry, "amount_discount", path),
        amount_tax=_integer(entry, "amount_tax", path),
        amount_total=_integer(entry, "amount_total", path),
    )


def _review(object_id: str, body: Json, _: _Found) -> Review:
    return Review(
        id=object_id,
        created=_moment(body, "created"),
        charge_id=_id_of(body, "charge"),
        payment_intent_id=_id_of(body, "payment_intent"),
        open=_flag(body, "open"),
        opened_reason=_text(body, "opened_reason"),
        closed_reason=_text(body, "closed_reason"),
        reason=_text(body, "reason"),
    )


def _early_fraud_warning(object_id: str, body: Json, _: _Found) -> EarlyFraudWarning:
    return EarlyFraudWarning(
        id=object_id,
        created=_moment(body, "created"),
        charge_id=_id_of(body, "charge"),
        payment_intent_id=_id_of(body, "payment_intent"),
        actionable=_flag(body, "actionable"),
        fraud_type=_text(body, "fraud_type"),
    )


def _payout(object_id: str, body: Json, _: _Found) -> Payout:
    return Payout(
        id=object_id,
        created=_moment(body, "created"),
        status=_text(body, "status"),
        amount=_integer(body, "amount"),
        currency=_text(body, "currency"),
        arrival_date=_moment(body, "arrival_date"),
        automatic=_flag(body, "automatic"),
        method=_text(body, "method"),
        type=_text(body, "type"),
        destination_id=_id_of(body, "destination"),
        balance_transaction_id=_id_of(body, "balance_transaction"),
        reconciliation_status=_text(body, "reconciliation_status"),
        failure_code=_text(body, "failure_code"),
        description=_text(body, "description"),
        metadata=_metadata(body),
    )


def _balance_transaction(object_id: str, body: Json, _: _Found) -> BalanceTransaction:
    return BalanceTransaction(
        id=object_id,
        created=_moment(body, "created"),
        type=_text(body, "type"),
        reporting_category=_text(body, "reporting_category"),
        status=_text(body, "status"),
        amount=_integer(body, "amount"),
        fee=_integer(body, "fee"),
        net=_integer(body, "net"),
        currency=_text(body, "currency"),
        available_on=_moment(body, "available_on"),
        source_id=_id_of(body, "source"),
        description=_text(body, "description"),
    )


_PARSERS: Mapping[str, Callable[[str, Json, _Found], Facts]] = {
    "customer": _customer,
    "product": _product,
    "price": _price,
    "feature": _feature,
    "meter": _meter,
    "subscription": _subscription,
    "invoice": _invoice,
    "invoice_payment": _invoice_payment,
    "charge": _charge,
    "refund": _refund,
    "dispute": _dispute,
    "checkout_session": _checkout_session,
    "payment_intent": _payment_intent,
    "payment_method": _payment_method,
    "setup_intent": _setup_intent,
    "tax_id": _tax_id,
    "coupon": _coupon,
    "plan": _plan,
    "subscription_schedule": _subscription_schedule,
    "credit_note": _credit_note,
    "review": _review,
    "early_fraud_warning": _early_fraud_warning,
    "payout": _payout,
    "balance_transaction": _balance_transaction,
    "active_entitlement_summary": _active_entitlement_summary,
}


# --- Reading one field -----------------------------------------------------------------------------------------------
# Each takes the object, the field, and the path to that object for the error. Plain dict checks, since JSON gives
# nothing else and this runs for every event.

_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,19})(?:\.0{1,20})?")
_DECIMAL_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?")
_BIGINT_END = 2**63


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """A field that cannot be read; parse_object says of which object."""

    def __init__(self, field: str, came: object, wanted: str) -> None:
        super().__init__(field)
        self.field = field
        self.came = _shown(came)
        self.wanted = wanted


def _shown(value: object) -> str:
    """A value for an error message: short, and never a whole structure, which may hold personal data."""
    if value is None:
        return "missing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _text(body: Json, field: str, path: str = "") -> str | None:
    value = body.get(field)
    if value is None or isinstance(value, str):
        return value
    raise _Refused(path + field, value, "text")


def _flag(body: Json, field: str, path: str = "") -> bool | None:
    value = body.get(field)
    if value is None or isinstance(value, bool):
        return value
    raise _Refused(path + field, value, "true or false")


def _integer(body: Json, field: str, path: str = "") -> int | None:
    value = body.get(field)
    if value is None:
        return None
    if type(value) is int:  # a bool is an int to isinstance, and not to us
        number = value
    elif isinstance(value, str) and (digits := _WHOLE_NUMBER.fullmatch(value)):
        number = int(digits[1])
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    else:
        raise _Refused(path + field, value, "a whole number")
    if -_BIGINT_END <= number < _BIGINT_END:
        return number
    raise _Refused(path + field, value, "a whole number within a bigint")


def _decimal(body: Json, field: str, path: str = "") -> str | None:
    value = body.get(field)
    if value is None:
        return None
    text = str(value) if type(value) is int and value.bit_length() <= 64 else value
    if isinstance(text, str) and _DECIMAL_NUMBER.fullmatch(text):
        return text
    raise _Refused(path + field, value, "a decimal number as text")


def _percent(body: Json, field: str, path: str = "") -> str | None:
    """A percentage as exact text: Stripe sends these as numbers, such as 25.5."""
    value = body.get(field)
    if isinstance(value, float):
        return _decimal({field: repr(value).removesuffix(".0")}, field, path)
    return _decimal(body, field, path)


def _moment(body: Json, field: str, path: str = "") -> datetime | None:
    seconds = _integer(body, field, path)
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        raise _Refused(path + field, seconds, "seconds of Unix time within the years 1 to 9999") from None


def _inner(body: Json, field: str, path: str = "") -> Json:
    """The object in a field; an empty one where it is null or absent."""
    value = body.get(field)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise _Refused(path + field, value, "an object")


def _metadata(body: Json, path: str = "") -> dict[str, str]:
    value = body.get("metadata")
    if value is None:
        return {}
    if isinstance(value, dict):
        return {key: text for key, text in value.items() if isinstance(text, str)}
    raise _Refused(path + "metadata", value, "an object")


def _entries(body: Json, field: str) -> tuple[list[Json], bool]:
    """The objects of a list, and whether the list is absent or goes on."""
    value = body.get(field)
    if value is None:
        return [], True
    if not isinstance(value, dict):
        raise _Refused(field, value, "a list object")
    data = value.get("data")
    if not isinstance(data, list):
        raise _Refused(field + ".data", data, "a list")
    for position, entry in enumerate(data):
        if not isinstance(entry, dict):
            raise _Refused(f"{field}.data[{position}]", entry, "an object")
    return data, _flag(value, "has_more", field + ".") is True


def _objects(body: Json, field: str, path: str = "") -> list[Json]:
    """The objects of an array; none where it is null or absent."""
    value = body.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Refused(path + field, value, "a list")
    for position, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise _Refused(f"{path}{field}[{position}]", entry, "an object")
    return value


def _id_of(body: Json, field: str, path: str = "") -> str | None:
    """The id in a field that holds an id, a whole object, or null."""
    value = body.get(field)
    if value is None:
        return None
    named = value.get("id") if isinstance(value, dict) else value
    if is_id(named):
        return named
    raise _Refused(path + field, named, "an id")


def _link(body: Json, field: str, kind: str, found: _Found, path: str = "") -> str | None:
    """`_id_of` for a field that names a mirrored object, which is remembered."""
    named = _id_of(body, field, path)
    if named is not None:
        _note(found, kind, body[field])
    return named


def _customer_id(body: Json, found: _Found) -> str | None:
    """The customer; where Accounts v2 leaves it null, the account that stands in its place."""
    customer = _link(body, "customer", "customer", found)
    return _id_of(body, "customer_account") if customer is None else customer


def _owner_id(body: Json) -> str | None:
    """`_customer_id` for kinds that no event has read: nothing is fetched for what they name."""
    customer = _id_of(body, "customer")
    return _id_of(body, "customer_account") if customer is None else customer


def _note(found: _Found, kind: str, value: object) -> None:
    """Remember a mirrored object that a field names or holds; what is neither an id nor an object is passed over."""
    named = value.get("id") if isinstance(value, dict) else value
    if not is_id(named):
        return
    ref = ObjectRef(kind, named)
    # Anything else in the place of an object, such as a plan in the place of its price, names it at least.
    if isinstance(value, dict) and value.get("object") == KINDS[kind].stripe_object:
        found.embedded.setdefault(ref, value)
    else:
        found.references[ref] = None


def _latest(moments: Iterable[datetime | None]) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)
