"""What a price costs and what is taken off it, in all shapes that Stripe has used."""

from typing import Any

import pytest

from billing.kinds.catalogue import CurrencyOption, Price, Tier
from billing.kinds.discounts import AmountOff, Coupon, Discount
from billing.kinds.fields import UnknownShape
from billing.kinds.parse import parse_object
from billing.kinds.subscriptions import Subscription

Body = dict[str, Any]


def price(**fields: Any) -> Price:
    body = {"object": "price", "id": "price_1", "currency": "usd", "billing_scheme": "tiered"} | fields
    found = parse_object(body).facts
    assert isinstance(found, Price)
    return found


def subscription(**fields: Any) -> Subscription:
    found = parse_object({"object": "subscription", "id": "sub_1"} | fields).facts
    assert isinstance(found, Subscription)
    return found


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"tiers": None}, None),
        ({"billing_scheme": "per_unit"}, ()),
        ({"billing_scheme": "per_unit", "tiers": None}, ()),
        ({"tiers": []}, ()),
        (
            {"tiers": [
                {"up_to": 5, "unit_amount": 100, "unit_amount_decimal": "100", "flat_amount": None},
                {"up_to": None, "unit_amount": None, "unit_amount_decimal": "0.5", "flat_amount": 900,
                 "flat_amount_decimal": "900"},
            ]},
            (Tier(up_to=5, unit_amount="100"), Tier(unit_amount="0.5", flat_amount="900")),
        ),
    ],
)  # fmt: skip
def test_tiers(fields: Body, expected: tuple[Tier, ...] | None) -> None:
    """Left out does not mean none: only a price per unit surely has none."""
    assert expected == price(**fields).tiers


def test_other_currencies() -> None:
    """In order of currency, each with its amount or its tiers; left out does not mean none."""
    assert None is price().currency_options
    found = price(
        billing_scheme="per_unit",
        currency_options={
            "usd": {"unit_amount": 100, "unit_amount_decimal": "100"},
            "eur": {"unit_amount": None, "unit_amount_decimal": "90.5"},
        },
    )
    assert (
        CurrencyOption(currency="eur", unit_amount="90.5", tiers=()),
        CurrencyOption(currency="usd", unit_amount="100", tiers=()),
    ) == found.currency_options
    (tiered,) = (
        price(currency_options={"eur": {"tiers": [{"up_to": None, "unit_amount": 7}]}}).currency_options or ()
    )
    assert CurrencyOption(currency="eur", tiers=(Tier(unit_amount="7"),)) == tiered


def test_packages() -> None:
    """A quantity that is divided before it is charged."""
    found = price(transform_quantity={"divide_by": 10, "round": "up"})
    assert (10, "up") == (found.divide_quantity_by, found.round_quantity)


COUPON = {
    "object": "coupon",
    "id": "co_1",
    "percent_off": 12.5,
    "amount_off": None,
    "currency": None,
    "duration": "forever",
}
WHOLE = Discount(id="di_1", coupon_id="co_1", percent_off="12.5", duration="forever")
NEW = {"object": "discount", "id": "di_1", "end": None, "source": {"type": "coupon", "coupon": COUPON}}
OLD = {"object": "discount", "id": "di_1", "end": None, "coupon": COUPON}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ()),
        ({"discount": None}, ()),
        ({"discount": None, "discounts": []}, ()),
        ({"discounts": [NEW]}, (WHOLE,)),
        ({"discounts": [OLD]}, (WHOLE,)),
        ({"discount": OLD}, (WHOLE,)),
        ({"discount": OLD, "discounts": ["di_1"]}, (WHOLE,)),
        ({"discounts": ["di_1"]}, (Discount(id="di_1"),)),
        ({"discount": OLD, "discounts": ["di_1", "di_2"]}, (WHOLE, Discount(id="di_2"))),
        ({"discount": OLD | {"id": {}}, "discounts": ["di_1"]}, (Discount(id="di_1"),)),
        (
            {"discounts": [NEW | {"source": {"type": "coupon", "coupon": "co_1"}}]},
            (Discount(id="di_1", coupon_id="co_1"),),
        ),
    ],
)
def test_discounts(fields: Body, expected: tuple[Discount, ...] | None) -> None:
    """F109: whatever the shape, the same discount; only its id if Stripe states no more."""
    assert expected == subscription(**fields).discounts


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"object": "price", "billing_scheme": "tiered", "tiers": "many"}, "tiers"),
        ({"object": "price", "billing_scheme": "tiered", "tiers": [{"up_to": "inf"}]}, r"tiers\[0\].up_to"),
        ({"object": "price", "currency_options": {"eur": 7}}, "currency_options.eur"),
        ({"object": "subscription", "discounts": "di_1"}, "discounts"),
        ({"object": "subscription", "discounts": [7]}, r"discounts\[0\]"),
        (
            {"object": "subscription", "discounts": [OLD | {"coupon": COUPON | {"percent_off": "half"}}]},
            r"discounts\[0\].coupon.percent_off",
        ),
    ],
)
def test_shapes_that_are_not_known(body: Body, said: str) -> None:
    """A wrong amount is worse than a late one: the error names the field."""
    with pytest.raises(UnknownShape, match=said):
        parse_object({"id": "x_1"} | body)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"usd": {"amount_off": 300}}, ()),
        ({"usd": {"amount_off": 300}, "eur": {"amount_off": 250}}, (AmountOff(currency="eur", amount_off=250),)),
        ({"gbp": {"amount_off": 2}, "eur": {"amount_off": 3}}, tuple(
            AmountOff(currency=currency, amount_off=amount) for currency, amount in (("eur", 3), ("gbp", 2))
        )),
        ({"eur": {}}, ()),
        ({}, ()),
        (None, ()),
    ],
)  # fmt: skip
def test_amounts_off_in_other_currencies(options: object, expected: tuple[AmountOff, ...] | None) -> None:
    """A coupon's amounts in currencies other than its own, in order of currency."""
    body = {
        "object": "coupon",
        "id": "SAVE",
        "currency": "usd",
        "amount_off": 300,
        "currency_options": options,
    }
    facts = parse_object(body).facts
    assert isinstance(facts, Coupon)
    assert expected == facts.currency_options
