"""Products, prices and meters: where their fields were in older API versions."""

import pytest

from billing.kinds.parse import parse_object
from tests.billing.kinds.bodies import Body, facts_of
from tests.billing.kinds.shapes import story

PLACES: list[tuple[str, Body, Body, str, object]] = [
    # row, base, what is there, fact, expected
    (
        "price.product: expanded",
        story()["price"],
        {"product": {"id": "prod_9", "object": "product"}},
        "product_id",
        "prod_9",
    ),
    ("price: once", story()["price"], {"recurring": None}, "recurring", False),
    ("price: once has no interval", story()["price"], {"recurring": None}, "interval", None),
]


@pytest.mark.parametrize(
    ("base", "there", "fact", "expected"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES]
)
def test_place_of_a_field(base: Body, there: Body, fact: str, expected: object) -> None:
    """Wherever this field was, and whether it held an id or the object, the fact is the same."""
    assert expected == getattr(parse_object(base | there).facts, fact)


def test_metered_price_names_its_meter() -> None:
    """Since basil; a price that is not metered, or counts old usage records, names none."""
    assert "mtr_1" == facts_of("price", recurring={"interval": "month", "meter": "mtr_1"}).meter_id
    assert facts_of("price", recurring={"interval": "month", "meter": None}).meter_id is None
    assert facts_of("price", recurring=None).meter_id is None
