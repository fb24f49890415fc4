"""Charges, refunds and disputes: where their fields were in older API versions."""

import pytest

from billing.kinds.fields import UnknownShape
from billing.kinds.parse import parse_object
from billing.kinds.payments import Dispute
from tests.billing.kinds.bodies import BASE_CHARGE, CHARGE_BODY, INVOICE_BODY, Body, facts_of, without
from tests.billing.kinds.shapes import story

PLACES: list[tuple[str, Body, Body, str, object]] = [
    # row, base, what is there, fact, expected
    ("charge.customer: none", BASE_CHARGE, {"customer": None}, "customer_id", None),
    ("charge.invoice: old", BASE_CHARGE, {"invoice": "in_1"}, "invoice_id", "in_1"),
    ("charge.invoice: old, expanded", BASE_CHARGE, {"invoice": INVOICE_BODY}, "invoice_id", "in_aug"),
    ("charge.invoice: removed", BASE_CHARGE, {}, "invoice_id", None),
    (
        "charge.payment_intent: expanded",
        BASE_CHARGE,
        {"payment_intent": {"id": "pi_9"}},
        "payment_intent_id",
        "pi_9",
    ),
    ("refund.charge: expanded", story()["refund"], {"charge": CHARGE_BODY}, "charge_id", "ch_1"),
    ("dispute.charge: expanded", story()["dispute"], {"charge": CHARGE_BODY}, "charge_id", "ch_1"),
    (
        "dispute.status of endive",
        story()["dispute"],
        {"status": "appeal_under_review"},
        "status",
        "appeal_under_review",
    ),
]


@pytest.mark.parametrize(
    ("base", "there", "fact", "expected"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES]
)
def test_place_of_a_field(base: Body, there: Body, fact: str, expected: object) -> None:
    """Wherever this field was, and whether it held an id or the object, the fact is the same."""
    assert expected == getattr(parse_object(base | there).facts, fact)


MOVED: list[tuple[Body, int | None, int | None, str | None]] = [
    ({"balance_transactions": []}, 0, 0, None),
    ({"balance_transactions": [], "balance_transaction": None}, 0, 0, None),
    ({"balance_transactions": [{"amount": -900, "currency": "usd", "fee": 1500}]}, 1, -900, "usd"),
    (
        {"balance_transactions": [{"amount": -900, "currency": "usd"}, {"amount": 900, "currency": "usd"}]},
        2,
        0,
        "usd",
    ),
    (
        {"balance_transactions": [{"amount": -9, "currency": "usd"}, {"amount": 9, "currency": "eur"}]},
        2,
        None,
        None,
    ),
    ({"balance_transactions": ["txn_1"]}, None, None, None),
    ({}, None, None, None),
    ({"balance_transaction": {"amount": -900, "currency": "eur"}}, 1, -900, "eur"),
    ({"balance_transaction": "txn_1"}, None, None, None),
    ({"balance_transaction": None}, None, None, None),
]


@pytest.mark.parametrize(("there", "movements", "amount", "currency"), MOVED)
def test_dispute_movements(
    there: Body, movements: int | None, amount: int | None, currency: str | None
) -> None:
    """The money moved is the sum of balance transactions without fees; ids alone say nothing."""
    facts = parse_object(without(story()["dispute"], "balance_transactions") | there).facts
    assert isinstance(facts, Dispute)
    assert (movements, amount, currency) == (facts.movements, facts.moved_amount, facts.moved_currency)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"type": "card", "card": {"multicapture": {"status": "available"}}}, True),
        ({"type": "card", "card": {"multicapture": {"status": "unavailable"}}}, None),
        ({"type": "card", "card": {}}, None),
        ({"type": "us_bank_account", "us_bank_account": {}}, None),
        (None, None),
        ({}, None),
        ([], None),
        ("", None),
        ({"card": []}, None),
        ({"card": {"multicapture": ""}}, None),
    ],
)
def test_multicapture(details: object, expected: bool | None) -> None:
    """Only if Stripe says so may a charge be captured several times; odd shapes say nothing."""
    assert expected is facts_of("charge", payment_method_details=details).multicapture


def test_a_charge_must_say_whether_it_was_captured() -> None:
    """Money depends on it, so its absence is refused and not read as no."""
    with pytest.raises(UnknownShape, match="charge ch_1: captured is missing"):
        parse_object(without(story()["charge"], "captured"))
