"""The further kinds: where their fields were, and what is refused."""

import pytest

from billing.kinds.discounts import Coupon
from billing.kinds.fields import UnknownShape
from billing.kinds.lists import THROUGH
from billing.kinds.parse import parse_object
from billing.kinds.registry import KINDS, LIST_CONFIRMED
from tests.billing.kinds.bodies import Body, facts_of
from tests.billing.kinds.shapes import NEWEST, OLD_VERSIONS, story

# One field of one kind, as Stripe sends it and as it is read.
RECORD_REFUND: Body = {
    "type": "payment_record_refund",
    "refund": None,
    "amount_refunded": 400,
    "payment_record_refund": {"payment_record": "pr_1", "refund_group": "rg_1"},
}

READ: list[tuple[str, Body, str, object]] = [
    ("payment_intent", {"latest_charge": {"id": "ch_9", "object": "charge"}}, "latest_charge_id", "ch_9"),
    ("payment_intent", {"latest_charge": None}, "latest_charge_id", None),
    ("payment_intent", {"customer": None, "customer_account": "acct_9"}, "customer_id", "acct_9"),
    ("payment_intent", {"last_payment_error": {"code": "card_declined"}}, "error_code", "card_declined"),
    ("payment_intent", {"last_payment_error": {"type": "api_error"}}, "error_code", None),
    (
        "payment_method",
        {"type": "sepa_debit", "card": None, "sepa_debit": {"last4": "3000"}},
        "card_brand",
        None,
    ),
    ("payment_method", {"billing_details": None}, "billing_email", None),
    ("payment_method", {"customer": None}, "customer_id", None),
    (
        "tax_id",
        {"customer": None, "owner": {"type": "customer", "customer": "cus_9"}},
        "customer_id",
        "cus_9",
    ),
    ("tax_id", {"customer": None, "owner": {"type": "self"}}, "customer_id", None),
    ("tax_id", {"verification": None}, "verification_status", None),
    ("coupon", {"percent_off": 25}, "percent_off", "25"),
    ("coupon", {"percent_off": 25.0}, "percent_off", "25"),
    ("coupon", {"percent_off": 33.333}, "percent_off", "33.333"),
    ("coupon", {"percent_off": None}, "percent_off", None),
    ("plan", {"product": {"id": "prod_9", "object": "product"}}, "product_id", "prod_9"),
    ("plan", {"amount": None, "amount_decimal": "0.5"}, "amount_decimal", "0.5"),
    ("subscription_schedule", {"phases": None}, "starts_at", None),
    ("subscription_schedule", {"current_phase": None}, "current_phase_end", None),
    (
        "subscription_schedule",
        {"subscription": {"id": "sub_9", "object": "subscription"}},
        "subscription_id",
        "sub_9",
    ),
    ("credit_note", {"out_of_band_amount": None}, "out_of_band_amount", None),
    ("credit_note", {"refunds": []}, "refund_ids", ()),
    (
        "credit_note",
        {
            "refunds": [
                {"refund": "re_1"},
                {"type": "payment_record_refund", "refund": None},
                {"refund": "re_2"},
            ]
        },
        "refund_ids",
        ("re_1", "re_2"),
    ),
    # Money of which Stripe only keeps a record comes back outside Stripe too.
    *[
        ("credit_note", {"out_of_band_amount": amount, "refunds": [entry]}, "out_of_band_amount", expected)
        for amount, entry, expected in (
            (None, RECORD_REFUND, 400),
            (100, RECORD_REFUND, 500),
            (100, RECORD_REFUND | {"type": None}, 500),
            (100, RECORD_REFUND | {"payment_record_refund": None}, 500),
            (None, RECORD_REFUND | {"amount_refunded": None}, None),
            (None, RECORD_REFUND | {"refund": "re_1", "type": "refund"}, None),
            (100, {"refund": None, "amount_refunded": 400}, 100),
        )
    ],
    ("coupon", {}, "applies_to", None),
    ("coupon", {"applies_to": None}, "applies_to", ()),
    ("coupon", {"applies_to": {"products": []}}, "applies_to", ()),
    ("coupon", {"applies_to": {"products": ["prod_1", "prod_2"]}}, "applies_to", ("prod_1", "prod_2")),
    ("review", {"charge": {"id": "ch_9", "object": "charge"}}, "charge_id", "ch_9"),
    ("payout", {"destination": {"id": "ba_9", "object": "bank_account"}}, "destination_id", "ba_9"),
    ("payout", {"amount": -100}, "amount", -100),
    ("balance_transaction", {"source": None}, "source_id", None),
    ("balance_transaction", {"source": {"id": "re_9", "object": "refund"}}, "source_id", "re_9"),
]


@pytest.mark.parametrize(("stripe_object", "changes", "field", "expected"), READ)
def test_where_a_fact_stands(stripe_object: str, changes: Body, field: str, expected: object) -> None:
    assert expected == getattr(facts_of(stripe_object, **changes), field)


REFUSED: list[tuple[str, Body, str]] = [
    ("payment_intent", {"amount": "much"}, "amount is 'much'"),
    ("payment_method", {"card": "visa"}, "card is 'visa'"),
    ("payment_method", {"card": {"exp_year": "soon"}}, "card.exp_year is 'soon'"),
    ("setup_intent", {"status": 7}, "status is 7"),
    ("tax_id", {"value": {"of": 1}}, "value is an object"),
    ("coupon", {"percent_off": "half"}, "percent_off is 'half'"),
    ("coupon", {"percent_off": float("nan")}, "percent_off"),
    ("coupon", {"amount_off": 1.5}, "amount_off is 1.5"),
    ("plan", {"interval_count": True}, "interval_count is True"),
    ("subscription_schedule", {"phases": {"data": []}}, "phases is an object"),
    ("subscription_schedule", {"phases": ["p"]}, r"phases\[0\] is 'p'"),
    (
        "subscription_schedule",
        {"phases": [{"items": [{"quantity": "x"}]}]},
        r"phases\[0\].items\[0\].quantity",
    ),
    ("credit_note", {"refunds": {"object": "list"}}, "refunds is an object"),
    (
        "credit_note",
        {"refunds": [RECORD_REFUND | {"amount_refunded": "much"}]},
        r"refunds\[0\].amount_refunded is 'much'",
    ),
    ("credit_note", {"refunds": [RECORD_REFUND | {"amount_refunded": 2**63 - 1}] * 2}, "within a bigint"),
    ("coupon", {"applies_to": ["prod_1"]}, "applies_to is a list"),
    ("coupon", {"applies_to": {"products": "prod_1"}}, "applies_to.products is 'prod_1'"),
    ("coupon", {"applies_to": {"products": [None, 7]}}, "applies_to.products"),
    ("credit_note", {"out_of_band_amount": "4.5"}, "out_of_band_amount is '4.5'"),
    ("review", {"open": "yes"}, "open is 'yes'"),
    ("radar.early_fraud_warning", {"actionable": 1}, "actionable is 1"),
    ("payout", {"arrival_date": "monday"}, "arrival_date is 'monday'"),
    ("balance_transaction", {"net": 10**20}, "net is"),
]


def test_a_coupon_that_was_asked_for_its_products() -> None:
    """If a read leaves the field out, the coupon is not limited; if a payload does, that says nothing."""
    coupon = story()["coupon"]
    assert "applies_to" not in coupon
    for asked, expected in ((True, ()), (False, None)):
        parsed = parse_object(coupon, asked=asked).facts
        assert isinstance(parsed, Coupon)
        assert expected == parsed.applies_to


@pytest.mark.parametrize(("stripe_object", "changes", "message"), REFUSED)
def test_unknown_shapes_are_refused(stripe_object: str, changes: Body, message: str) -> None:
    """A wrong number is worse than a late one."""
    with pytest.raises(UnknownShape, match=message):
        facts_of(stripe_object, **changes)


@pytest.mark.parametrize("version", [NEWEST, *OLD_VERSIONS])
def test_nothing_is_fetched_for_what_unread_kinds_name(version: str) -> None:
    """In no version does such an object embed or name anything that would be marked."""
    for stripe_object, body in story(version).items():
        parsed = parse_object(body)
        if parsed.kind in LIST_CONFIRMED:
            assert ((), ()) == (parsed.embedded, parsed.references), stripe_object


def test_unread_kinds_are_listed_or_read_with_a_parent() -> None:
    """Only a list can confirm them."""
    for name in LIST_CONFIRMED:
        assert KINDS[name].list_path is not None or name in THROUGH
