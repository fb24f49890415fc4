"""The story of one customer: every kind gives the same facts in every API version."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from billing.kinds.catalogue import Meter, Price, Product
from billing.kinds.checkout import CheckoutSession
from billing.kinds.customers import Customer
from billing.kinds.entitlements import ActiveEntitlementSummary, Feature
from billing.kinds.invoices import Invoice, InvoicePayment
from billing.kinds.parse import parse_object
from billing.kinds.payments import Charge, Dispute, Refund
from billing.kinds.registry import KINDS
from billing.kinds.subscriptions import Subscription, SubscriptionItem
from tests.billing.kinds.bodies import AUGUST, JULY, SEPTEMBER, at
from tests.billing.kinds.further import FURTHER, FURTHER_OLD_SAYS, SCHEDULE_ITEMS
from tests.billing.kinds.shapes import OLD_VERSIONS, story, stripe_examples

STORY: dict[str, Any] = {
    "customer": Customer(
        id="cus_ada",
        created=at(1751327940),
        name="Ada",
        email="ada@example.com",
        description="first",
        metadata={"custom_uid": "ada-1", "team": "blue"},
        custom_uid="ada-1",
        test_clock="clock_1",
        discounts=(),
    ),
    "product": Product(
        id="prod_pro", created=at(1751319000), name="Pro", active=True, metadata={"product_id": "pro"}
    ),
    "price": Price(
        id="price_pro",
        created=at(1751320000),
        product_id="prod_pro",
        active=True,
        currency="usd",
        unit_amount=2000,
        unit_amount_decimal="2000",
        billing_scheme="per_unit",
        recurring=True,
        interval="month",
        interval_count=1,
        usage_type="licensed",
        meter_id=None,
        nickname="monthly",
        metadata={"version": "3"},
        tiers_mode=None,
        tiers=(),
        currency_options=None,
        divide_quantity_by=None,
        round_quantity=None,
    ),
    "subscription": Subscription(
        id="sub_ada",
        created=at(1751328001),
        customer_id="cus_ada",
        status="active",
        start_date=JULY,
        trial_start=JULY,
        trial_end=datetime(2025, 7, 8, tzinfo=UTC),
        cancel_at=SEPTEMBER,
        cancel_at_period_end=True,
        canceled_at=at(1754011400),
        ended_at=None,
        current_period_start=AUGUST,
        current_period_end=SEPTEMBER,
        collection_method="charge_automatically",
        currency="usd",
        latest_invoice_id="in_aug",
        pause_collection="void",
        billing_mode="classic",
        cancellation_reason="cancellation_requested",
        schedule_id="sub_sched_1",
        test_clock="clock_1",
        metadata={"external_id": "x-1"},
        discounts=(),
        items_cut=False,
    ),
    "invoice": Invoice(
        id="in_aug",
        created=AUGUST,
        customer_id="cus_ada",
        subscription_id="sub_ada",
        status="paid",
        billing_reason="subscription_cycle",
        period_start=JULY,
        period_end=AUGUST,
        lines_period_end=SEPTEMBER,
        trial_lines_end=None,
        currency="usd",
        subtotal=6100,
        total=6100,
        amount_due=6100,
        amount_paid=6100,
        amount_remaining=0,
        paid_out_of_band=None,
        amount_paid_off_stripe=0,
        amount_paid_by_payments=6100,
        collection_method="charge_automatically",
        attempt_count=1,
        next_payment_attempt=None,
        due_date=None,
        paid_at=at(1754010005),
        number="ADA-0002",
        metadata={"run": "8"},
    ),
    "invoice_payment": InvoicePayment(
        id="inpay_1",
        created=at(1754010000),
        invoice_id="in_aug",
        status="paid",
        amount_requested=6100,
        amount_paid=6100,
        currency="usd",
        payment_type="payment_intent",
        payment_intent_id="pi_1",
        charge_id=None,
        payment_record_id=None,
    ),
    "charge": Charge(
        id="ch_1",
        created=at(1754010001),
        customer_id="cus_ada",
        payment_intent_id="pi_1",
        invoice_id=None,
        status="succeeded",
        captured=True,
        amount=6100,
        amount_captured=6100,
        amount_refunded=500,
        currency="usd",
        disputed=True,
        description="Subscription update",
        metadata={"order": "7"},
    ),
    "refund": Refund(
        id="re_1",
        created=at(1754015400),
        charge_id="ch_1",
        payment_intent_id="pi_1",
        status="succeeded",
        amount=500,
        currency="usd",
        reason="requested_by_customer",
    ),
    "dispute": Dispute(
        id="dp_1",
        created=at(1754026400),
        charge_id="ch_1",
        payment_intent_id="pi_1",
        status="needs_response",
        amount=5600,
        currency="usd",
        reason="fraudulent",
        movements=1,
        moved_amount=-5600,
        moved_currency="usd",
    ),
    "checkout.session": CheckoutSession(
        id="cs_test_1",
        created=at(1751327970),
        customer_id="cus_ada",
        status="complete",
        mode="subscription",
        payment_status="paid",
        client_reference_id="ada-1",
        payment_link_id=None,
        subscription_id="sub_ada",
        payment_intent_id=None,
        invoice_id="in_jul",
        amount_total=6000,
        currency="usd",
        metadata={"campaign": "july"},
    ),
    "entitlements.feature": Feature(
        id="feat_seats", lookup_key="seats", name="Seats", active=True, metadata={"quota_limit": "5"}
    ),
    "billing.meter": Meter(
        id="mtr_calls",
        created=at(1751328000),
        display_name="Calls",
        event_name="api_calls",
        status="active",
        formula="sum",
    ),
    "entitlements.active_entitlement_summary": ActiveEntitlementSummary(id="cus_ada", customer_id="cus_ada"),
}

STORY |= FURTHER

STORY_ITEMS = (
    SubscriptionItem(
        id="si_seats",
        subscription_id="sub_ada",
        position=0,
        created=at(1751328001),
        price_id="price_pro",
        product_id="prod_pro",
        quantity=3,
        current_period_start=AUGUST,
        current_period_end=SEPTEMBER,
        metadata={"feature_id": "si_seats"},
        discounts=(),
    ),
    SubscriptionItem(
        id="si_calls",
        subscription_id="sub_ada",
        position=1,
        created=at(1751328001),
        price_id="price_calls",
        product_id="prod_calls",
        quantity=None,
        current_period_start=AUGUST,
        current_period_end=SEPTEMBER,
        metadata={"feature_id": "si_calls"},
        discounts=(),
    ),
)

# Facts that an old version cannot state, or states otherwise; all others must be equal.
_INVOICE_BEFORE_BASIL: dict[str, object] = {
    "paid_out_of_band": False,
    "amount_paid_off_stripe": None,
    "amount_paid_by_payments": None,
}

OLD_SAYS: dict[tuple[str, str], dict[str, object]] = {
    ("2024-06-20", "invoice"): _INVOICE_BEFORE_BASIL,
    ("2022-11-15", "invoice"): _INVOICE_BEFORE_BASIL,
    ("2020-08-27", "invoice"): _INVOICE_BEFORE_BASIL,
    ("2024-06-20", "charge"): {"invoice_id": "in_aug"},
    ("2022-11-15", "charge"): {"invoice_id": "in_aug"},
    ("2020-08-27", "charge"): {"invoice_id": "in_aug"},
    ("2022-11-15", "subscription"): {"billing_mode": None},
    ("2020-08-27", "subscription"): {
        "billing_mode": None,
        "cancellation_reason": None,
        "currency": None,
        "test_clock": None,
    },
    ("2020-08-27", "customer"): {"test_clock": None},
}

OLD_SAYS |= FURTHER_OLD_SAYS


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_newest_shape(kind: Any) -> None:
    """Every fact of every kind, from the newest shape."""
    parsed = parse_object(story()[kind.stripe_object])
    assert STORY[kind.stripe_object] == parsed.facts
    assert kind.facts is type(parsed.facts)
    assert (kind.name, STORY[kind.stripe_object].id, False) == (parsed.kind, parsed.id, parsed.deleted)
    assert (None if kind.name in ("refund", "balance_transaction") else False) is parsed.live_mode
    assert ("cus_ada" if kind.names_customer else None) == parsed.customer_id


@pytest.mark.parametrize(
    ("version", "stripe_object"),
    [(version, stripe_object) for version in OLD_VERSIONS for stripe_object in story(version)],
)
def test_old_shape_gives_the_same_facts(version: str, stripe_object: str) -> None:
    """One state of one object, in two API versions, is one row (STRIPE 6, case 15)."""
    parsed = parse_object(story(version)[stripe_object])
    newest = dataclasses.asdict(STORY[stripe_object])
    assert newest | OLD_SAYS.get((version, stripe_object), {}) == dataclasses.asdict(parsed.facts)  # type: ignore[arg-type]
    parts = {"subscription": STORY_ITEMS, "subscription_schedule": SCHEDULE_ITEMS}
    assert parts.get(stripe_object, ()) == parsed.parts


YOUNG = {
    "invoice_payment",
    "billing.meter",
    "entitlements.feature",
    "entitlements.active_entitlement_summary",
}


def test_story_has_all_kinds() -> None:
    """Invoice payments came with basil, meters and entitlements in 2024; everything else existed in every version."""
    kinds = {kind.stripe_object for kind in KINDS.values()}
    assert kinds == set(story())
    assert kinds == set(stripe_examples())
    for version in OLD_VERSIONS:
        assert kinds - YOUNG == set(story(version))


@pytest.mark.parametrize("stripe_object", stripe_examples())
def test_stripe_own_examples_are_read(stripe_object: str) -> None:
    """Every example that Stripe publishes is a shape that we know."""
    body = stripe_examples()[stripe_object]
    facts = parse_object(body).facts
    assert facts is not None
    assert body.get("id", body.get("customer")) == facts.id
    if "created" in body:
        assert at(body["created"]) == getattr(facts, "created", None)
    # A fact with the name of a plain field of the example has its value.
    for field in dataclasses.fields(facts):
        if isinstance(body.get(field.name), str | bool) and field.name != "pause_collection":
            assert body[field.name] == getattr(facts, field.name)
