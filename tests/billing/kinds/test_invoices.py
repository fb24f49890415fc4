"""Invoices, their payments and lines: where their fields were in older API versions."""

import pytest

from billing.kinds.found import ObjectRef
from billing.kinds.parse import parse_object
from tests.billing.kinds.bodies import (
    BASE_INVOICE,
    BY_CHARGE,
    BY_INTENT,
    BY_RECORD,
    PLAN,
    PRICE,
    SUBSCRIPTION_BODY,
    T1,
    T2,
    Body,
    at,
    parent,
    payments,
    without,
)
from tests.billing.kinds.shapes import story

PLACES: list[tuple[str, Body, Body, str, object]] = [
    # row, base, what is there, fact, expected
    (
        "invoice.customer: Accounts v2",
        BASE_INVOICE,
        {"customer": None, "customer_account": "acct_1"},
        "customer_id",
        "acct_1",
    ),
    (
        "customer before customer_account",
        BASE_INVOICE,
        {"customer": "cus_ada", "customer_account": "acct_1"},
        "customer_id",
        "cus_ada",
    ),
    ("invoice.subscription: old", BASE_INVOICE, {"subscription": "sub_1"}, "subscription_id", "sub_1"),
    (
        "invoice.subscription: old, expanded",
        BASE_INVOICE,
        {"subscription": SUBSCRIPTION_BODY},
        "subscription_id",
        "sub_ada",
    ),
    ("invoice.subscription: new", BASE_INVOICE, parent("sub_1"), "subscription_id", "sub_1"),
    (
        "invoice.subscription: new, expanded",
        BASE_INVOICE,
        parent(SUBSCRIPTION_BODY),
        "subscription_id",
        "sub_ada",
    ),
    (
        "invoice.subscription: both",
        BASE_INVOICE,
        {"subscription": "sub_1"} | parent("sub_1"),
        "subscription_id",
        "sub_1",
    ),
    (
        "invoice.subscription: null, then new",
        BASE_INVOICE,
        {"subscription": None} | parent("sub_1"),
        "subscription_id",
        "sub_1",
    ),
    (
        "invoice.parent: of a quote",
        BASE_INVOICE,
        {"parent": {"type": "quote_details", "subscription_details": None}, "lines": None},
        "subscription_id",
        None,
    ),
    ("invoice.parent: null", BASE_INVOICE, {"parent": None, "lines": None}, "subscription_id", None),
    ("invoice.paid_out_of_band: old", BASE_INVOICE, {"paid_out_of_band": True}, "paid_out_of_band", True),
    ("invoice.paid_out_of_band: removed", BASE_INVOICE, {}, "paid_out_of_band", None),
    (
        "amount_paid_off_stripe: expanded",
        BASE_INVOICE,
        {"amount_paid_off_stripe": 400},
        "amount_paid_off_stripe",
        400,
    ),
    ("amount_paid_off_stripe: not expanded", BASE_INVOICE, {}, "amount_paid_off_stripe", None),
    ("invoice.payments: not expanded", BASE_INVOICE, {}, "amount_paid_by_payments", None),
    ("invoice.payments: none", BASE_INVOICE, payments(), "amount_paid_by_payments", 0),
    (
        "invoice.payments: records are not Stripe's money",
        BASE_INVOICE,
        payments(BY_INTENT, BY_CHARGE, BY_RECORD),
        "amount_paid_by_payments",
        730,
    ),
    (
        "invoice.payments: only what is paid",
        BASE_INVOICE,
        payments(BY_INTENT, BY_CHARGE | {"status": "open"}, BY_CHARGE | {"status": "canceled"}),
        "amount_paid_by_payments",
        700,
    ),
    (
        "invoice.payments: cut",
        BASE_INVOICE,
        payments(BY_INTENT, has_more=True),
        "amount_paid_by_payments",
        None,
    ),
    ("invoice.lines: none", BASE_INVOICE, {"lines": None}, "lines_period_end", None),
    (
        "invoice.lines: cut",
        BASE_INVOICE,
        {"lines": {"data": [{"period": {"end": T1}}, {"period": None}], "has_more": True}},
        "lines_period_end",
        at(T1),
    ),
    *(
        (
            f"invoice.lines of a trial: {what}",
            BASE_INVOICE,
            {
                "lines": {
                    "data": [{"amount": 0, "quantity": 1, "period": {"end": T1}} | line],
                    "has_more": False,
                }
            },
            "trial_lines_end",
            at(T1) if is_one else None,
        )
        for what, line, is_one in (
            ("since basil", {"pricing": {"unit_amount_decimal": "1000"}}, True),
            ("before basil", {"price": {"unit_amount": 1000}}, True),
            ("of a plan", {"price": None, "plan": {"amount": 1000}}, True),
            ("of a price in fractions", {"price": {"unit_amount": None, "unit_amount_decimal": "0.5"}}, True),
            ("of a free price", {"pricing": {"unit_amount_decimal": "0"}}, False),
            ("of a metered price", {"pricing": {"unit_amount_decimal": "1000"}, "quantity": 0}, False),
            ("paid for", {"pricing": {"unit_amount_decimal": "1000"}, "amount": 1000}, False),
            ("of no price", {}, False),
        )
    ),
    ("invoice.paid_at: transitions absent", without(BASE_INVOICE, "status_transitions"), {}, "paid_at", None),
    (
        "payment: a charge",
        story()["invoice_payment"],
        {"payment": {"type": "charge", "charge": "ch_1"}},
        "charge_id",
        "ch_1",
    ),
    (
        "payment: a record",
        story()["invoice_payment"],
        {"payment": {"type": "payment_record", "payment_record": {"id": "pr_1"}}},
        "payment_record_id",
        "pr_1",
    ),
    ("invoice.due_date", BASE_INVOICE, {"due_date": T2}, "due_date", at(T2)),
    (
        "invoice.next_payment_attempt",
        BASE_INVOICE,
        {"next_payment_attempt": T2},
        "next_payment_attempt",
        at(T2),
    ),
]


@pytest.mark.parametrize(
    ("base", "there", "fact", "expected"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES]
)
def test_place_of_a_field(base: Body, there: Body, fact: str, expected: object) -> None:
    """Wherever this field was, and whether it held an id or the object, the fact is the same."""
    assert expected == getattr(parse_object(base | there).facts, fact)


@pytest.mark.parametrize(
    ("line", "embedded", "named"),
    [
        ({"price": PRICE}, ["price_1"], []),
        ({"price": None, "plan": PLAN}, [], [("price", "gold")]),
        (
            {
                "pricing": {
                    "type": "price_details",
                    "price_details": {"price": "price_1", "product": "prod_1"},
                }
            },
            [],
            [("product", "prod_1"), ("price", "price_1")],
        ),
        (
            {"pricing": {"price_details": {"price": PRICE, "product": "prod_1"}}},
            ["price_1"],
            [("product", "prod_1")],
        ),
        ({"pricing": {"type": "price_details", "unit_amount_decimal": None}}, [], []),
        ({"pricing": "something new", "price": 7}, [], []),
    ],
)
def test_invoice_line_names_its_price(line: Body, embedded: list[str], named: list[tuple[str, str]]) -> None:
    """Prices and products that an invoice names are fetched if unknown, wherever the version has them."""
    bare: Body = {"id": "in_1", "object": "invoice", "lines": {"data": [line], "has_more": False}}
    parsed = parse_object(bare)
    assert embedded == [price["id"] for price in parsed.embedded]
    assert tuple(ObjectRef(*ref) for ref in named) == parsed.references


def line_of(subscription: object) -> Body:
    return {"parent": {"subscription_item_details": {"subscription": subscription}}}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([line_of("sub_1")], "sub_1"),
        ([line_of("sub_1"), line_of("sub_1"), {"parent": None}], "sub_1"),
        ([line_of(SUBSCRIPTION_BODY)], "sub_ada"),
        ([{"type": "subscription", "subscription": "sub_1"}], "sub_1"),
        ([{"type": "invoiceitem", "subscription": "sub_1"}], None),
        ([{"parent": {"invoice_item_details": {"subscription": "sub_1"}}}], None),
        ([line_of("sub_1"), line_of("sub_2")], None),
        ([line_of("sub_1/../x")], None),
        ([line_of(None)], None),
        ([], None),
    ],
)
def test_subscription_that_stands_in_the_lines_alone(lines: list[Body], expected: str | None) -> None:
    """Where the invoice itself names none, the one subscription of its lines is its own, and is fetched."""
    body = without(BASE_INVOICE, "subscription", "parent") | {"lines": {"object": "list", "data": lines}}
    parsed = parse_object(body)
    assert expected == parsed.facts.subscription_id  # type: ignore[union-attr]
    assert (expected is not None) == any(ref.kind == "subscription" for ref in parsed.references)
    named = parse_object(body | parent("sub_9"))
    assert "sub_9" == named.facts.subscription_id  # type: ignore[union-attr]
