"""Checkout sessions and their lines."""

import pytest

from billing.kinds.checkout import CheckoutLineItem
from billing.kinds.fields import UnknownShape
from billing.kinds.parse import parse_object
from tests.billing.kinds.bodies import SUBSCRIPTION_BODY, Body, body_of
from tests.billing.kinds.shapes import story

PLACES: list[tuple[str, Body, Body, str, object]] = [
    # row, base, what is there, fact, expected
    (
        "session.payment_intent: expanded",
        story()["checkout.session"],
        {"payment_intent": {"id": "pi_1"}},
        "payment_intent_id",
        "pi_1",
    ),
    (
        "session.subscription: expanded",
        story()["checkout.session"],
        {"subscription": SUBSCRIPTION_BODY},
        "subscription_id",
        "sub_ada",
    ),
]


@pytest.mark.parametrize(
    ("base", "there", "fact", "expected"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES]
)
def test_place_of_a_field(base: Body, there: Body, fact: str, expected: object) -> None:
    """Wherever this field was, and whether it held an id or the object, the fact is the same."""
    assert expected == getattr(parse_object(base | there).facts, fact)


LINE: Body = {
    "id": "li_1",
    "object": "item",
    "amount_discount": 100,
    "amount_subtotal": 2000,
    "amount_tax": 19,
    "amount_total": 1919,
    "currency": "usd",
    "description": "Pro",
    "price": {"id": "price_pro", "object": "price", "product": "prod_pro"},
    "quantity": 2,
}


def lines(*entries: Body, has_more: bool = False) -> Body:
    return {"line_items": {"object": "list", "data": list(entries), "has_more": has_more}}


def test_lines_of_a_session() -> None:
    """The lines of a session, in Stripe's order; a price that was made for it is not fetched."""
    parsed = parse_object(body_of("checkout.session", **lines(LINE, {"id": "li_2", "price": None})))
    assert (
        CheckoutLineItem(
            id="li_1",
            session_id="cs_test_1",
            position=0,
            description="Pro",
            price_id="price_pro",
            product_id="prod_pro",
            quantity=2,
            currency="usd",
            amount_subtotal=2000,
            amount_discount=100,
            amount_tax=19,
            amount_total=1919,
        )
        == parsed.parts[0]
    )
    assert [("li_1", 0), ("li_2", 1)] == [(part.id, getattr(part, "position", None)) for part in parsed.parts]
    assert not parsed.items_cut
    assert not {ref.kind for ref in parsed.references} & {"price", "product"}


@pytest.mark.parametrize("fields", [{}, lines(LINE, has_more=True), {"line_items": None}])
def test_lines_that_are_not_all_there(fields: Body) -> None:
    """Events leave the lines out, and lists cut them: no line is removed because of that."""
    assert parse_object(body_of("checkout.session", **fields)).items_cut


def test_a_line_needs_an_id() -> None:
    with pytest.raises(UnknownShape, match=r"line_items.data\[0\].id is missing"):
        parse_object(body_of("checkout.session", **lines({"price": None})))
