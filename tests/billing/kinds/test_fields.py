"""The readers of fields: amounts, times, flags, metadata, ids."""

from datetime import UTC, datetime

import pytest

from billing.kinds.fields import UnknownShape
from billing.kinds.parse import parse_object
from tests.billing.kinds.bodies import (
    AUGUST,
    BASE_SUBSCRIPTION,
    BY_INTENT,
    body_of,
    facts_of,
    items,
    payments,
)


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, 0),
        (-5, -5),
        ("2000", 2000),
        ("-2000", -2000),
        (2000.0, 2000),
        (None, None),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_amounts(amount: object, expected: int | None) -> None:
    """Whole numbers, also when they come as text."""
    value = facts_of("refund", amount=amount).amount
    assert expected == value
    assert value is None or type(value) is int


@pytest.mark.parametrize(
    "amount",
    [
        2**63,
        -(2**63) - 1,
        str(2**63),
        pytest.param(10**5000, id="of 5000 digits"),
        20.5,
        "20.5",
        "2000.0",
        "10.00",
        "1e3",
        "",
        " 5",
        "٣",
        "0x10",
        "5\n",
        True,
        False,
        [5],
        {},
        float("nan"),
        float("inf"),
        1e300,
    ],
)
def test_amounts_that_are_no_whole_bigint(amount: object) -> None:
    """A fraction, or more than a bigint holds, is refused by field and value rather than rounded."""
    with pytest.raises(UnknownShape, match=r"refund re_1: amount is .+ wanted a whole number"):
        facts_of("refund", amount=amount)


def test_amounts_are_refused_when_their_sum_is_too_large() -> None:
    most = BY_INTENT | {"amount_paid": 2**63 - 1}
    with pytest.raises(UnknownShape, match="payments"):
        facts_of("invoice", **payments(most, most))
    movement = {"amount": 2**63 - 1, "currency": "usd"}
    with pytest.raises(UnknownShape, match="balance_transactions"):
        facts_of("dispute", balance_transactions=[movement, movement])


@pytest.mark.parametrize(
    ("decimal", "expected"), [("0.25", "0.25"), ("2000", "2000"), (2000, "2000"), (None, None)]
)
def test_decimal_amount_is_kept_as_stripe_writes_it(decimal: object, expected: str | None) -> None:
    assert expected == facts_of("price", unit_amount=None, unit_amount_decimal=decimal).unit_amount_decimal


@pytest.mark.parametrize("decimal", [0.1, "1e-2", "NaN", "", True, 10**40, ["1"]])
def test_decimal_amount_of_another_shape(decimal: object) -> None:
    with pytest.raises(UnknownShape, match="price price_pro: unit_amount_decimal is"):
        facts_of("price", unit_amount_decimal=decimal)


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("1754006400", AUGUST),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (253402300799, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (None, None),
    ],
)
def test_timestamps(created: object, expected: datetime | None) -> None:
    assert expected == facts_of("refund", created=created).created


@pytest.mark.parametrize(
    "created", [253402300800, -62135596801, 2**62, "2025-08-01T00:00:00Z", 1.5, True, {}]
)
def test_timestamps_that_are_no_time(created: object) -> None:
    with pytest.raises(UnknownShape, match="refund re_1: created is"):
        facts_of("refund", created=created)


@pytest.mark.parametrize("flag", [0, 1, "true", "false", "", [], {}])
def test_only_true_and_false_are_booleans(flag: object) -> None:
    with pytest.raises(UnknownShape, match=r"charge ch_1: captured is .* wanted true or false"):
        facts_of("charge", captured=flag)
    with pytest.raises(UnknownShape, match="livemode"):
        parse_object(body_of("charge", livemode=flag))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [(None, {}), ({}, {}), ({"a": "1", "b": 2, "c": None, "d": ["x"], "e": ""}, {"a": "1", "e": ""})],
)
def test_metadata(metadata: object, expected: dict[str, str]) -> None:
    """Metadata maps text to text; any other value is left out."""
    assert expected == facts_of("customer", metadata=metadata).metadata
    assert expected == parse_object(BASE_SUBSCRIPTION | items({"metadata": metadata})).items[0].metadata


@pytest.mark.parametrize("unusable", ["", "x" * 256, 7, None, True, ["in_1"], {"id": "in_1"}])
def test_an_id_is_text_of_1_to_255_characters(unusable: object) -> None:
    with pytest.raises(UnknownShape, match="invoice: id is"):
        parse_object(body_of("invoice", id=unusable))
    with pytest.raises(UnknownShape, match=r"subscription sub_ada: items.data\[0\].id is"):
        parse_object(BASE_SUBSCRIPTION | items({"id": unusable if unusable != {"id": "in_1"} else {}}))
    if unusable is not None and not isinstance(unusable, dict):
        with pytest.raises(UnknownShape, match="refund re_1: charge is"):
            facts_of("refund", charge=unusable)


def test_id_of_255_characters() -> None:
    assert "x" * 255 == parse_object(body_of("invoice", id="x" * 255)).id
