"""What is sold: products, their prices, plans (the predecessors of prices), and meters."""

from dataclasses import dataclass
from datetime import datetime

from billing.kinds.fields import (
    decimal_of,
    exact_amount_of,
    flag_of,
    id_of,
    integer_of,
    link,
    metadata_of,
    moment_of,
    note,
    object_of,
    objects_of,
    text_of,
)
from billing.kinds.found import Facts, Found, Json
from billing.kinds.kind import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Product(Facts):
    created: datetime | None
    name: str | None
    active: bool | None
    metadata: dict[str, str]


def _product(object_id: str, body: Json, found: Found) -> Product:
    note(found, "price", body.get("default_price"))
    return Product(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        name=text_of(body, "name"),
        active=flag_of(body, "active"),
        metadata=metadata_of(body),
    )


PRODUCT = Kind(
    name="product",
    stripe_object="product",
    table="stripe.products",
    facts=Product,
    list_path="/v1/products",
    retrieve_path="/v1/products/{id}",
    catalogue=True,
    deleted_event="product.deleted",
    id_is_chosen=True,
    parse=_product,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One tier of a price: an amount for each unit and a flat amount, up to a quantity."""

    up_to: int | None = None  # None: no upper limit
    unit_amount: str | None = None  # decimal
    flat_amount: str | None = None  # decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencyOption:
    """A price in a currency other than its own."""

    currency: str
    unit_amount: str | None = None  # decimal; None for tiered prices
    tiers: tuple[Tier, ...] | None = None  # None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(Facts):
    created: datetime | None
    product_id: str | None
    active: bool | None
    currency: str | None
    unit_amount: int | None  # None for tiered prices and for fractions of a minor unit
    unit_amount_decimal: str | None  # the exact amount, as Stripe writes it
    billing_scheme: str | None
    recurring: bool
    interval: str | None
    interval_count: int | None
    usage_type: str | None
    meter_id: str | None  # the billing meter whose count is charged for
    nickname: str | None
    metadata: dict[str, str]
    tiers_mode: str | None  # graduated or volume
    tiers: tuple[Tier, ...] | None  # None: not known, since only a read states them
    currency_options: tuple[CurrencyOption, ...] | None  # None: not known, since only a read states them
    divide_quantity_by: int | None  # the size of a package
    round_quantity: str | None  # up or down, to whole packages


def _price(object_id: str, body: Json, found: Found) -> Price:
    recurring = object_of(body, "recurring", needed=True)
    transform = object_of(body, "transform_quantity", needed=True)
    return Price(
        id=object_id,
        created=moment_of(body, "created", needed=True),
        product_id=link(body, "product", "product", found),
        active=flag_of(body, "active"),
        currency=text_of(body, "currency", needed=True),
        unit_amount=integer_of(body, "unit_amount", needed=True),
        unit_amount_decimal=decimal_of(body, "unit_amount_decimal", needed=True),
        billing_scheme=text_of(body, "billing_scheme", needed=True),
        recurring=body.get("recurring") is not None,
        interval=text_of(recurring, "interval", "recurring.", needed=True),
        interval_count=integer_of(recurring, "interval_count", "recurring.", needed=True),
        usage_type=text_of(recurring, "usage_type", "recurring.", needed=True),
        meter_id=link(recurring, "meter", "meter", found, "recurring.", needed=False),
        nickname=text_of(body, "nickname"),
        metadata=metadata_of(body),
        tiers_mode=text_of(body, "tiers_mode", needed=True),
        tiers=_tiers(body) if body.get("billing_scheme") == "tiered" else (),
        currency_options=_currency_options(body),
        divide_quantity_by=integer_of(transform, "divide_by", "transform_quantity.", needed=True),
        round_quantity=text_of(transform, "round", "transform_quantity.", needed=True),
    )


def _tiers(body: Json, path: str = "") -> tuple[Tier, ...] | None:
    """The tiers of a price; None if they are left out, as everywhere except in a read that asks for them."""
    if body.get("tiers") is None:
        return None
    return tuple(
        Tier(
            up_to=integer_of(entry, "up_to", where, needed=True),
            unit_amount=exact_amount_of(entry, "unit_amount", where),
            flat_amount=exact_amount_of(entry, "flat_amount", where),
        )
        for position, entry in enumerate(objects_of(body, "tiers", path, needed=True))
        for where in [f"{path}tiers[{position}]."]
    )


def _currency_options(body: Json) -> tuple[CurrencyOption, ...] | None:
    if body.get("currency_options") is None:
        return None
    options = object_of(body, "currency_options", needed=True)
    return tuple(
        CurrencyOption(
            currency=currency,
            unit_amount=exact_amount_of(option, "unit_amount", where),
            tiers=_tiers(option, where) if body.get("billing_scheme") == "tiered" else (),
        )
        for currency in sorted(options)
        for where in [f"currency_options.{currency}."]
        for option in [object_of(options, currency, "currency_options.", needed=True)]
    )


PRICE = Kind(
    name="price",
    stripe_object="price",
    table="stripe.prices",
    facts=Price,
    list_path="/v1/prices",
    list_varies_by="active",
    # A price that was made within a Checkout or an invoice (`price_data`) is in neither variant.
    retrieve_path="/v1/prices/{id}",
    confirmed_inside=("product_id", "product"),
    catalogue=True,
    expands=("tiers", "currency_options"),
    read_only_fields=("tiers", "currency_options"),
    deleted_event="price.deleted",
    id_is_chosen=True,
    parse=_price,
    references=(("product_id", "product"), ("meter_id", "meter")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Facts):
    created: datetime | None
    product_id: str | None
    active: bool | None
    currency: str | None
    amount: int | None
    amount_decimal: str | None
    billing_scheme: str | None
    interval: str | None
    interval_count: int | None
    usage_type: str | None
    trial_period_days: int | None
    nickname: str | None
    metadata: dict[str, str]


def _plan(object_id: str, body: Json, _: Found) -> Plan:
    return Plan(
        id=object_id,
        created=moment_of(body, "created"),
        product_id=id_of(body, "product"),
        active=flag_of(body, "active"),
        currency=text_of(body, "currency"),
        amount=integer_of(body, "amount"),
        amount_decimal=decimal_of(body, "amount_decimal"),
        billing_scheme=text_of(body, "billing_scheme"),
        interval=text_of(body, "interval"),
        interval_count=integer_of(body, "interval_count"),
        usage_type=text_of(body, "usage_type"),
        trial_period_days=integer_of(body, "trial_period_days"),
        nickname=text_of(body, "nickname"),
        metadata=metadata_of(body),
    )


PLAN = Kind(
    name="plan",
    stripe_object="plan",
    table="stripe.plans",
    facts=Plan,
    list_path="/v1/plans",
    retrieve_path="/v1/plans/{id}",
    catalogue=True,
    deleted_event="plan.deleted",
    id_is_chosen=True,
    confirmed_by="lists",
    parse=_plan,
    # A plan and the price with the same id are one thing, under its old and its new name.
    concerns=(("id", "price"),),
    references=(("product_id", "product"),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter(Facts):
    created: datetime | None
    display_name: str | None
    event_name: str | None
    status: str | None  # active, inactive
    formula: str | None  # sum, count, last


def _meter(object_id: str, body: Json, _: Found) -> Meter:
    return Meter(
        id=object_id,
        created=moment_of(body, "created"),
        display_name=text_of(body, "display_name"),
        event_name=text_of(body, "event_name"),
        status=text_of(body, "status"),
        formula=text_of(object_of(body, "default_aggregation"), "formula", "default_aggregation."),
    )


METER = Kind(
    name="meter",
    stripe_object="billing.meter",
    table="stripe.meters",
    facts=Meter,
    list_path="/v1/billing/meters",
    list_by_created=False,
    retrieve_path="/v1/billing/meters/{id}",
    catalogue=True,
    parse=_meter,
)
