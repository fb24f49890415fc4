"""Coupons, and the discounts by which customers and subscriptions have them."""

from dataclasses import dataclass
from datetime import datetime

from billing.kinds.fields import (
    Refused,
    flag_of,
    id_of,
    integer_of,
    link,
    metadata_of,
    moment_of,
    object_of,
    percent_of,
    text_of,
)
from billing.kinds.found import Facts, Found, Json, is_id
from billing.kinds.kind import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountOff:
    """What a coupon takes off in another currency than its own."""

    currency: str
    amount_off: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupon(Facts):
    created: datetime | None
    name: str | None
    duration: str | None  # once, repeating, forever
    duration_in_months: int | None
    percent_off: str | None  # exact, as a decimal number
    amount_off: int | None
    currency: str | None  # of amount_off
    applies_to: tuple[str, ...] | None  # products; empty: all. None: not known, since only a read states it
    max_redemptions: int | None
    redeem_by: datetime | None
    times_redeemed: int | None
    valid: bool | None
    metadata: dict[str, str]
    currency_options: tuple[AmountOff, ...] | None = None  # None: not known, since only a read states them


def _coupon(object_id: str, body: Json, found: Found) -> Coupon:
    return Coupon(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        name=text_of(body, "name"),
        duration=text_of(body, "duration", needed=True),
        duration_in_months=integer_of(body, "duration_in_months"),
        percent_off=percent_of(body, "percent_off", needed=True),
        amount_off=integer_of(body, "amount_off", needed=True),
        currency=text_of(body, "currency", needed=True),
        applies_to=_applies_to(body, asked=found.asked),
        max_redemptions=integer_of(body, "max_redemptions"),
        redeem_by=moment_of(body, "redeem_by"),
        times_redeemed=integer_of(body, "times_redeemed"),
        valid=flag_of(body, "valid"),
        metadata=metadata_of(body),
        currency_options=_currency_options(body, asked=found.asked),
    )


def _currency_options(body: Json, *, asked: bool) -> tuple[AmountOff, ...] | None:
    """The amounts in other currencies, empty if there are none; None if the field was not asked for."""
    if "currency_options" not in body and not asked:
        return None
    options = object_of(body, "currency_options", needed=True)
    amounts = [
        AmountOff(currency=currency, amount_off=amount)
        for currency in sorted(options)
        for where in [f"currency_options.{currency}."]
        for option in [object_of(options, currency, "currency_options.")]
        for amount in [integer_of(option, "amount_off", where, needed=True)]
        if amount is not None and currency != body.get("currency")
    ]
    return tuple(amounts)


def _applies_to(body: Json, *, asked: bool) -> tuple[str, ...] | None:
    """The products that a coupon is limited to, empty if it is not; None if the field was not asked for."""
    if "applies_to" not in body and not asked:
        return None
    limits = object_of(body, "applies_to", needed=True)
    products = limits.get("products")
    if products is None:
        return ()
    if not isinstance(products, list):
        raise Refused("applies_to.products", products, "a list")
    return tuple(
        id_of({"product": named}, "product", f"applies_to.products[{position}].", needed=True) or ""
        for position, named in enumerate(products)
    )


COUPON = Kind(
    name="coupon",
    stripe_object="coupon",
    table="stripe.coupons",
    facts=Coupon,
    list_path="/v1/coupons",
    retrieve_path="/v1/coupons/{id}",
    catalogue=True,
    expands=("applies_to", "currency_options"),
    read_only_fields=("applies_to", "currency_options"),
    eventless_fields=("times_redeemed", "valid"),
    deleted_event="coupon.deleted",
    id_is_chosen=True,
    keeps_former=True,
    parse=_coupon,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """What a coupon takes off; only the ids if Stripe named the coupon, or the discount, by its id alone."""

    id: str | None = None
    coupon_id: str | None = None
    percent_off: str | None = None  # as Stripe writes it: 25 or 12.5
    amount_off: int | None = None
    currency: str | None = None  # of amount_off
    duration: str | None = None  # forever, repeating or once
    ends: datetime | None = None
    coupon_created: datetime | None = None  # of the coupon that it was made from: its id may name another one
    starts: datetime | None = None


def discounts_of(body: Json, found: Found, path: str = "") -> tuple[Discount, ...]:
    """The discounts, in order; of one that Stripe only names, as payloads do, no more than its id.

    One discount until 2025-03-31, then a list; for a while both, if the list holds the ids of the same discounts.
    """
    single = body.get("discount")
    whole = {single["id"]: single} if isinstance(single, dict) and is_id(single.get("id")) else {}
    entries = body.get("discounts")
    if entries is None:
        entries = [] if single is None else [single]
    if not isinstance(entries, list):
        raise Refused(path + "discounts", entries, "a list")
    discounts: list[Discount] = []
    for position, entry in enumerate(entries):
        where = f"{path}discounts[{position}]"
        discount = whole.get(entry, entry) if isinstance(entry, str) else entry
        if is_id(discount):
            discounts.append(Discount(id=discount))
        elif isinstance(discount, dict):
            discounts.append(_discount(discount, found, where + "."))
        else:
            raise Refused(where, discount, "an object or an id")
    return tuple(discounts)


def _discount(discount: Json, found: Found, path: str) -> Discount:
    holder, where = discount, path
    if discount.get("coupon") is None:  # since 2025-09-30 the coupon is in `source`
        holder, where = object_of(discount, "source", path, needed=True), path + "source."
    value = holder.get("coupon")
    coupon: Json = value if isinstance(value, dict) else {}
    return Discount(
        id=id_of(discount, "id", path, needed=True),
        coupon_id=link(holder, "coupon", "coupon", found, where),
        percent_off=percent_of(coupon, "percent_off", where + "coupon.", needed=True),
        amount_off=integer_of(coupon, "amount_off", where + "coupon.", needed=True),
        currency=text_of(coupon, "currency", where + "coupon.", needed=True),
        duration=text_of(coupon, "duration", where + "coupon.", needed=True),
        ends=moment_of(discount, "end", path, needed=True),
        coupon_created=moment_of(coupon, "created", where + "coupon.", needed=True),
        starts=moment_of(discount, "start", path, needed=True),
    )
