"""Stripe's JSON of any API version becomes the same facts, or is refused by name."""

import dataclasses
import re
import types
import typing
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.kinds.catalogue import Meter, Price, Product
from billing.kinds.checkout import CheckoutSession
from billing.kinds.customers import Customer
from billing.kinds.entitlements import ActiveEntitlement, ActiveEntitlementSummary, Feature
from billing.kinds.fields import UnknownShape
from billing.kinds.found import ObjectRef
from billing.kinds.invoices import Invoice, InvoicePayment
from billing.kinds.parse import NestedList, Parsed, nested_lists, parse_object
from billing.kinds.payments import Charge, Dispute, Refund
from billing.kinds.registry import KINDS
from billing.kinds.subscriptions import Subscription, SubscriptionItem
from tests.billing.further import FURTHER, FURTHER_OLD_SAYS, SCHEDULE_ITEMS
from tests.billing.shapes import NEWEST, OLD_VERSIONS, story, stripe_examples

Body = dict[str, Any]

JULY = datetime(2025, 7, 1, tzinfo=UTC)
AUGUST = datetime(2025, 8, 1, tzinfo=UTC)
SEPTEMBER = datetime(2025, 9, 1, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def body_of(stripe_object: str, **changes: Any) -> Body:
    return story()[stripe_object] | changes


def facts_of(stripe_object: str, **changes: Any) -> Any:
    """The facts of one object of the story, newest shape, with some fields changed."""
    return parse_object(body_of(stripe_object, **changes)).facts


def without(body: Body, *fields: str) -> Body:
    return {field: value for field, value in body.items() if field not in fields}


# --- The story, field by field, in the newest shape --------------------------------------------------------------

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

# What an old version cannot say, or says otherwise; all other facts must be equal.
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
    """One state of one object, told by two API versions, is one row (STRIPE 6, case 15)."""
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
    """What Stripe publishes as an example is a shape that we know."""
    body = stripe_examples()[stripe_object]
    facts = parse_object(body).facts
    assert facts is not None
    assert body.get("id", body.get("customer")) == facts.id
    if "created" in body:
        assert at(body["created"]) == getattr(facts, "created", None)
    # Facts of the same name as a plain field of the example say the same.
    for field in dataclasses.fields(facts):
        if isinstance(body.get(field.name), str | bool) and field.name != "pause_collection":
            assert body[field.name] == getattr(facts, field.name)


# --- Where fields stood in older API versions ----------------------------------

BASE_SUBSCRIPTION = without(story()["subscription"], "current_period_start", "current_period_end")
BASE_INVOICE = without(story()["invoice"], "parent", "payments", "amount_paid_off_stripe")
BASE_CHARGE = without(story()["charge"], "refunds")
T1, T2, T3 = 1754006400, 1756684800, 1785542400


def items(*entries: Body, **changes: Any) -> Body:
    data = [
        {"id": f"si_{number}", "object": "subscription_item"} | entry for number, entry in enumerate(entries)
    ]
    return {"items": {"object": "list", "data": data, "has_more": False} | changes}


def payments(*entries: Body, **changes: Any) -> Body:
    data = [{"id": f"inpay_{number}", "status": "paid"} | entry for number, entry in enumerate(entries)]
    return {"payments": {"object": "list", "data": data, "has_more": False} | changes}


def month(start: int, end: int) -> Body:
    return {"current_period_start": start, "current_period_end": end}


def parent(subscription: object) -> Body:
    return {
        "parent": {"type": "subscription_details", "subscription_details": {"subscription": subscription}}
    }


SUBSCRIPTION_BODY = {"id": "sub_ada", "object": "subscription", "status": "active"}
INVOICE_BODY = {"id": "in_aug", "object": "invoice", "status": "paid"}
CHARGE_BODY = {"id": "ch_1", "object": "charge", "captured": True}
CUSTOMER_BODY = {"id": "cus_ada", "object": "customer"}
BY_INTENT = {"amount_paid": 700, "payment": {"type": "payment_intent", "payment_intent": "pi_1"}}
BY_CHARGE = {"amount_paid": 30, "payment": {"type": "charge", "charge": "ch_1"}}
BY_RECORD = {"amount_paid": 5, "payment": {"type": "payment_record", "payment_record": "pr_1"}}

PLACES: list[tuple[str, Body, Body, str, object]] = [
    # row, base, what is there, fact, expected
    ("period: old", BASE_SUBSCRIPTION, month(T1, T2), "current_period_end", at(T2)),
    ("period: old start", BASE_SUBSCRIPTION, month(T1, T2), "current_period_start", at(T1)),
    ("period: new", BASE_SUBSCRIPTION, items(month(T1, T2)), "current_period_end", at(T2)),
    (
        "period: mixed intervals end with the latest",
        BASE_SUBSCRIPTION,
        items(month(T1, T2), month(T1, T3)),
        "current_period_end",
        at(T3),
    ),
    (
        "period: mixed intervals start with the latest",
        BASE_SUBSCRIPTION,
        items(month(T1, T2), month(T2, T3)),
        "current_period_start",
        at(T2),
    ),
    (
        "period: both, as old versions carry them now",
        BASE_SUBSCRIPTION,
        month(T1, T2) | items(month(T1, T3)),
        "current_period_end",
        at(T2),
    ),
    ("period: nowhere", BASE_SUBSCRIPTION, items({}), "current_period_end", None),
    (
        "billing_mode: flexible",
        BASE_SUBSCRIPTION,
        {"billing_mode": {"type": "flexible"}},
        "billing_mode",
        "flexible",
    ),
    ("billing_mode: absent", without(BASE_SUBSCRIPTION, "billing_mode"), {}, "billing_mode", None),
    (
        "cancel_at alone: flexible portal",
        BASE_SUBSCRIPTION,
        {"cancel_at_period_end": False},
        "cancel_at",
        at(T2),
    ),
    (
        "cancellation reason of tomorrow",
        BASE_SUBSCRIPTION,
        {"cancellation_details": {"reason": "canceled_by_retention_policy"}},
        "cancellation_reason",
        "canceled_by_retention_policy",
    ),
    ("status: paused", BASE_SUBSCRIPTION, {"status": "paused"}, "status", "paused"),
    ("status of tomorrow", BASE_SUBSCRIPTION, {"status": "dormant"}, "status", "dormant"),
    ("pause_collection: null", BASE_SUBSCRIPTION, {"pause_collection": None}, "pause_collection", None),
    ("latest invoice: id", BASE_SUBSCRIPTION, {"latest_invoice": "in_1"}, "latest_invoice_id", "in_1"),
    (
        "latest invoice: expanded",
        BASE_SUBSCRIPTION,
        {"latest_invoice": INVOICE_BODY},
        "latest_invoice_id",
        "in_aug",
    ),
    (
        "schedule: expanded",
        BASE_SUBSCRIPTION,
        {"schedule": {"id": "sub_sched_2"}},
        "schedule_id",
        "sub_sched_2",
    ),
    ("test clock: expanded", BASE_SUBSCRIPTION, {"test_clock": {"id": "clock_2"}}, "test_clock", "clock_2"),
    (
        "subscription.customer: expanded",
        BASE_SUBSCRIPTION,
        {"customer": CUSTOMER_BODY},
        "customer_id",
        "cus_ada",
    ),
    (
        "subscription.customer: Accounts v2",
        BASE_SUBSCRIPTION,
        {"customer": None, "customer_account": "acct_1"},
        "customer_id",
        "acct_1",
    ),
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
    ("charge.customer: none", BASE_CHARGE, {"customer": None}, "customer_id", None),
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
        {"parent": {"type": "quote_details", "subscription_details": None}},
        "subscription_id",
        None,
    ),
    ("invoice.parent: null", BASE_INVOICE, {"parent": None}, "subscription_id", None),
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
    ("invoice.paid_at: transitions absent", without(BASE_INVOICE, "status_transitions"), {}, "paid_at", None),
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
    (
        "price.product: expanded",
        story()["price"],
        {"product": {"id": "prod_9", "object": "product"}},
        "product_id",
        "prod_9",
    ),
    ("subscription.ended_at", BASE_SUBSCRIPTION, {"ended_at": T2}, "ended_at", at(T2)),
    ("invoice.due_date", BASE_INVOICE, {"due_date": T2}, "due_date", at(T2)),
    (
        "invoice.next_payment_attempt",
        BASE_INVOICE,
        {"next_payment_attempt": T2},
        "next_payment_attempt",
        at(T2),
    ),
    (
        "session.payment_intent: expanded",
        story()["checkout.session"],
        {"payment_intent": {"id": "pi_1"}},
        "payment_intent_id",
        "pi_1",
    ),
    ("price: once", story()["price"], {"recurring": None}, "recurring", False),
    ("price: once has no interval", story()["price"], {"recurring": None}, "interval", None),
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
    """Wherever this field stood, and whether it was an id or the object, the fact is the same."""
    assert expected == getattr(parse_object(base | there).facts, fact)


PRICE = {"id": "price_1", "object": "price", "product": "prod_1"}
PLAN = {"id": "gold", "object": "plan", "product": "prod_2"}

ITEM_PRICES: list[tuple[Body, str | None, str | None]] = [
    ({"price": PRICE}, "price_1", "prod_1"),
    ({"price": PRICE, "plan": PLAN}, "price_1", "prod_1"),
    ({"price": PRICE | {"product": {"id": "prod_9", "object": "product"}}}, "price_1", "prod_9"),
    ({"price": None, "plan": PLAN}, "gold", "prod_2"),
    ({"plan": PLAN}, "gold", "prod_2"),
    ({"plan": PLAN | {"product": None}}, "gold", None),
    ({"price": "price_1"}, "price_1", None),
    ({}, None, None),
]


@pytest.mark.parametrize(("entry", "price_id", "product_id"), ITEM_PRICES)
def test_item_price_or_plan(entry: Body, price_id: str | None, product_id: str | None) -> None:
    """Before prices, items had plans; a plan's id is the id of its price."""
    (item,) = parse_object(BASE_SUBSCRIPTION | items(entry)).items
    assert (price_id, product_id) == (item.price_id, item.product_id)


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
    """What an invoice sold gets fetched when unknown, wherever the version writes it."""
    bare: Body = {"id": "in_1", "object": "invoice", "lines": {"data": [line], "has_more": False}}
    parsed = parse_object(bare)
    assert embedded == [price["id"] for price in parsed.embedded]
    assert tuple(ObjectRef(*ref) for ref in named) == parsed.references


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
    """Money moved is the sum of balance transactions, fees apart; ids alone tell nothing."""
    facts = parse_object(without(story()["dispute"], "balance_transactions") | there).facts
    assert isinstance(facts, Dispute)
    assert (movements, amount, currency) == (facts.movements, facts.moved_amount, facts.moved_currency)


# --- Values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (0, 0),
        (-5, -5),
        ("2000", 2000),
        ("-2000", -2000),
        ("2000.0", 2000),
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


def test_a_charge_must_say_whether_it_was_captured() -> None:
    """Money depends on it, so its absence is refused rather than read as no."""
    with pytest.raises(UnknownShape, match="charge ch_1: captured is missing"):
        parse_object(without(story()["charge"], "captured"))


@pytest.mark.parametrize("flag", [None, False])
def test_cancel_at_period_end_is_false_unless_said(flag: bool | None) -> None:
    assert False is facts_of("subscription", cancel_at_period_end=flag).cancel_at_period_end


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [(None, {}), ({}, {}), ({"a": "1", "b": 2, "c": None, "d": ["x"], "e": ""}, {"a": "1", "e": ""})],
)
def test_metadata(metadata: object, expected: dict[str, str]) -> None:
    """Metadata is text to text; whatever else stands there is not metadata."""
    assert expected == facts_of("customer", metadata=metadata).metadata
    assert expected == parse_object(BASE_SUBSCRIPTION | items({"metadata": metadata})).items[0].metadata


def test_custom_uid_is_taken_as_it_stands() -> None:
    """Whether it is valid is decided by the rules, which can then report it."""
    assert "%%%%" == facts_of("customer", metadata={"custom_uid": "%%%%"}).custom_uid
    assert None is facts_of("customer", metadata={}).custom_uid


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


REFUSED: list[tuple[str, Body, str]] = [
    ("customer", {"name": 7}, "customer cus_ada: name is 7, wanted text"),
    ("customer", {"metadata": "x"}, "customer cus_ada: metadata is 'x', wanted an object"),
    ("subscription", {"items": []}, "subscription sub_ada: items is a list of 0, wanted a list object"),
    ("subscription", {"items": {"data": None}}, "subscription sub_ada: items.data is missing, wanted a list"),
    (
        "subscription",
        {"items": {"data": ["si_1"]}},
        "subscription sub_ada: items.data[0] is 'si_1', wanted an object",
    ),
    ("subscription", items({"quantity": 1.5}), "subscription sub_ada: items.data[0].quantity is 1.5, wanted"),
    (
        "subscription",
        items({}, has_more="no"),
        "subscription sub_ada: items.has_more is 'no', wanted true or false",
    ),
    (
        "subscription",
        {"pause_collection": "void"},
        "subscription sub_ada: pause_collection is 'void', wanted",
    ),
    (
        "invoice",
        parent({"object": "subscription"}),
        "invoice in_aug: parent.subscription_details.subscription is",
    ),
    (
        "invoice",
        {"lines": {"data": [{"period": {"end": "x"}}]}},
        "invoice in_aug: lines.data[0].period.end is 'x'",
    ),
    ("invoice", payments({"payment": 5}), "invoice in_aug: payments.data[0].payment is 5, wanted an object"),
    ("dispute", {"balance_transactions": [None]}, "dispute dp_1: balance_transactions[0] is missing"),
    ("dispute", {"balance_transactions": [{}]}, "dispute dp_1: balance_transactions[0].amount is missing"),
    (
        "dispute",
        {"balance_transactions": {}},
        "dispute dp_1: balance_transactions is an object, wanted a list",
    ),
    ("price", {"recurring": {"interval": 3}}, "price price_pro: recurring.interval is 3, wanted text"),
    ("customer", {"name": ["x" * 500]}, "customer cus_ada: name is a list of 1, wanted text"),
    ("customer", {"deleted": "yes"}, "customer cus_ada: deleted is 'yes', wanted true or false"),
]


@pytest.mark.parametrize(("stripe_object", "changes", "message"), REFUSED)
def test_refusal_names_object_field_value_and_remedy(stripe_object: str, changes: Body, message: str) -> None:
    with pytest.raises(UnknownShape) as refusal:
        parse_object(body_of(stripe_object, **changes))
    assert str(refusal.value).startswith(message)
    assert re.search(r": if Stripe means it, read this shape in billing/kinds/\w+\.py$", str(refusal.value))


def test_refusal_of_a_long_value_is_short() -> None:
    with pytest.raises(UnknownShape) as refusal:
        facts_of("refund", amount="9" * 10_000)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "body", [{}, {"object": "topup", "id": "tu_1"}, {"object": 7, "id": "x"}, {"object": None}]
)
def test_objects_that_are_not_mirrored(body: Body) -> None:
    with pytest.raises(UnknownShape, match=r"registry\.py"):
        parse_object(body)


@pytest.mark.parametrize("body", [None, [], "sub_1", 5])
def test_what_is_no_object(body: Any) -> None:
    with pytest.raises(UnknownShape, match="wanted a Stripe object"):
        parse_object(body)


# --- Deleted, embedded, named, cut -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_deleted_body(kind: Any) -> None:
    """A body that says deleted has no facts; a deleted customer still names itself."""
    parsed = parse_object({kind.id_field: "x_1", "object": kind.stripe_object, "deleted": True})
    assert (None, True, None) == (parsed.facts, parsed.deleted, parsed.live_mode)
    assert ("x_1" if kind.id_is_customers else None) == parsed.customer_id
    assert ((), ()) == (parsed.embedded, parsed.references)


DELETED_CUSTOMER = {"id": "cus_ada", "object": "customer", "deleted": True}
DELETED_PRODUCT = {"id": "prod_1", "object": "product", "deleted": True}

LINKS: list[tuple[str, Body, list[str], list[tuple[str, str]]]] = [
    ("customer", {}, [], []),
    ("product", {}, [], [("price", "price_pro")]),
    ("price", {}, [], [("product", "prod_pro")]),
    ("price", {"product": DELETED_PRODUCT}, ["prod_1"], []),
    (
        "subscription",
        {},
        ["price_pro", "price_calls"],
        [("product", "prod_pro"), ("product", "prod_calls"), ("customer", "cus_ada"), ("invoice", "in_aug")]
        + [("subscription_schedule", "sub_sched_1")],
    ),
    (
        "subscription",
        {"customer": CUSTOMER_BODY, "latest_invoice": INVOICE_BODY}
        | items({"price": PRICE}, {"price": PRICE}),
        ["price_1", "cus_ada", "in_aug"],
        [("product", "prod_1"), ("subscription_schedule", "sub_sched_1")],
    ),
    (
        "subscription",
        {"customer": None, "customer_account": "acct_1", "latest_invoice": None, "schedule": None} | items(),
        [],
        [],
    ),
    (
        "subscription",
        {"customer": {"id": "cus_ada"}, "latest_invoice": None, "schedule": None} | items(),
        [],
        [("customer", "cus_ada")],
    ),
    (
        "invoice",
        {},
        ["inpay_1"],
        [
            ("subscription", "sub_ada"),
            ("customer", "cus_ada"),
            ("product", "prod_pro"),
            ("price", "price_pro"),
            ("product", "prod_calls"),
            ("price", "price_calls"),
        ],
    ),
    (
        "invoice",
        {
            "lines": None,
            "payments": None,
            "parent": None,
            "customer": DELETED_CUSTOMER,
            "charge": CHARGE_BODY,
        },
        ["ch_1", "cus_ada"],
        [],
    ),
    ("invoice_payment", {}, [], [("invoice", "in_aug")]),
    (
        "invoice_payment",
        {"payment": {"type": "charge", "charge": "ch_1"}},
        [],
        [("invoice", "in_aug"), ("charge", "ch_1")],
    ),
    ("charge", {}, ["re_1"], [("customer", "cus_ada")]),
    (
        "charge",
        {"refunds": None, "invoice": "in_1", "dispute": "dp_1"},
        [],
        [("dispute", "dp_1"), ("customer", "cus_ada"), ("invoice", "in_1")],
    ),
    ("refund", {}, [], [("customer", "cus_ada"), ("charge", "ch_1")]),
    ("refund", {"customer": None, "charge": CHARGE_BODY}, ["ch_1"], []),
    ("dispute", {}, [], [("charge", "ch_1")]),
    (
        "checkout.session",
        {},
        [],
        [("customer", "cus_ada"), ("subscription", "sub_ada"), ("invoice", "in_jul")],
    ),
    (
        "price",
        {"recurring": {"interval": "month", "meter": "mtr_calls"}},
        [],
        [("product", "prod_pro"), ("meter", "mtr_calls")],
    ),
    (
        "subscription_schedule",
        {},
        [],
        [("customer", "cus_ada"), ("subscription", "sub_ada")]
        + [("price", "price_pro"), ("price", "price_calls"), ("price", "price_max")],
    ),
    ("credit_note", {}, [], [("customer", "cus_ada"), ("invoice", "in_aug"), ("refund", "re_1")]),
    # Of what no event has read, nothing is fetched that it names.
    *(
        (name, {}, [], [])
        for name in ("payment_intent", "payment_method", "setup_intent", "tax_id", "coupon", "plan")
    ),
    *(
        (name, {}, [], [])
        for name in ("review", "radar.early_fraud_warning", "payout", "balance_transaction")
    ),
    ("entitlements.feature", {}, [], []),
    ("billing.meter", {}, [], []),
    (
        "entitlements.active_entitlement_summary",
        {},
        ["feat_seats"],
        [("customer", "cus_ada"), ("feature", "feat_export")],
    ),
]


@pytest.mark.parametrize(("stripe_object", "changes", "embedded", "named"), LINKS)
def test_what_is_found_inside(
    stripe_object: str, changes: Body, embedded: list[str], named: list[tuple[str, str]]
) -> None:
    """Whole objects are handed on to be stored, ids to be fetched when unknown; nothing is both, nothing twice."""
    parsed = parse_object(body_of(stripe_object, **changes))
    assert embedded == [body["id"] for body in parsed.embedded]
    assert {ObjectRef(*ref) for ref in named} == set(parsed.references)
    assert len(named) == len(parsed.references)


@pytest.mark.parametrize("version", [NEWEST, *OLD_VERSIONS])
def test_everything_embedded_can_be_parsed(version: str) -> None:
    """What is handed on as a whole object is one."""
    for body in story(version).values():
        for inner in parse_object(body).embedded:
            assert parse_object(inner).facts is not None


@pytest.mark.parametrize(
    ("changes", "count", "cut"),
    [
        (items({}), 1, False),
        (items(), 0, False),
        (items({}, has_more=True), 1, True),
        (items({}, has_more=None), 1, False),
        ({"items": None}, 0, True),
    ],
)
def test_cut_items(changes: Body, count: int, cut: bool) -> None:
    """From a list that goes on, or is not there, nothing may be removed."""
    parsed = parse_object(body_of("subscription", **changes))
    assert (count, cut) == (len(parsed.items), parsed.items_cut)


def test_entitlements_of_a_summary() -> None:
    """What a summary holds, whether it names a feature or holds it; a list that goes on says so."""
    body = story()["entitlements.active_entitlement_summary"]
    seats = ActiveEntitlement(
        id="ent_seats", customer_id="cus_ada", feature_id="feat_seats", lookup_key="seats"
    )
    export = ActiveEntitlement(
        id="ent_export", customer_id="cus_ada", feature_id="feat_export", lookup_key="export"
    )
    parsed = parse_object(body)
    assert ((seats, export), False) == (parsed.parts, parsed.items_cut)
    body["entitlements"]["has_more"] = True
    assert parse_object(body).items_cut
    assert parse_object({"object": body["object"], "customer": "cus_ada"}).items_cut
    with pytest.raises(UnknownShape, match="id is missing"):
        parse_object(body | {"entitlements": {"object": "list", "data": [{"feature": "feat_1"}]}})


def test_metered_price_names_its_meter() -> None:
    """Since basil; a price that is not metered, or counts old usage records, names none."""
    assert "mtr_1" == facts_of("price", recurring={"interval": "month", "meter": "mtr_1"}).meter_id
    assert facts_of("price", recurring={"interval": "month", "meter": None}).meter_id is None
    assert facts_of("price", recurring=None).meter_id is None


def test_other_kinds_have_no_items() -> None:
    parsed = parse_object(story()["invoice"])
    assert ((), False) == (parsed.items, parsed.items_cut)


def test_item_on_two_pages_is_one_item() -> None:
    """Pages read while a list moves may overlap: the first sight counts."""
    twice = items({"id": "si_a", "quantity": 1}, {"id": "si_b"}, {"id": "si_a", "quantity": 1})
    assert [("si_a", 0), ("si_b", 1)] == [
        (item.id, item.position) for item in parse_object(BASE_SUBSCRIPTION | twice).items
    ]


def cut_list(url: object, *ids: str) -> Body:
    return {"object": "list", "has_more": True, "url": url, "data": [{"id": entry_id} for entry_id in ids]}


NESTED: list[tuple[Body, tuple[str, str, str | None] | None]] = [
    (
        {
            "object": "subscription",
            "id": "sub_1",
            "items": cut_list("/v1/subscription_items?subscription=sub_1", "a", "b"),
        },
        ("items", "/v1/subscription_items?subscription=sub_1", "b"),
    ),
    (
        {"object": "charge", "id": "ch_1", "refunds": cut_list("/v1/charges/ch_1/refunds", "a")},
        ("refunds", "/v1/charges/ch_1/refunds", "a"),
    ),
    (
        {"object": "charge", "id": "ch_1", "refunds": cut_list(None)},
        ("refunds", "/v1/refunds?charge=ch_1", None),
    ),
    (
        {"object": "invoice", "id": "in&1", "payments": cut_list("https://elsewhere.example/v1/", "p")},
        ("payments", "/v1/invoice_payments?invoice=in%261", "p"),
    ),
    # The payload's URL is none of the API's, and the list's own does not name the customer.
    *(
        (
            {
                "object": "entitlements.active_entitlement_summary",
                "customer": "cus_1",
                "entitlements": cut_list(url, "ent_10"),
            },
            ("entitlements", "/v1/entitlements/active_entitlements?customer=cus_1", "ent_10"),
        )
        for url in ("/v1/customer/cus_1/entitlements", "/v1/entitlements/active_entitlements")
    ),
    ({"object": "subscription", "items": cut_list(None, "a")}, None),
    (
        {"object": "subscription", "id": "sub_1", "items": {"has_more": False, "data": [], "url": "/v1/x"}},
        None,
    ),
    ({"object": "subscription", "id": "sub_1", "items": {"has_more": "true", "data": []}}, None),
    ({"object": "invoice", "id": "in_1", "lines": cut_list("/v1/invoices/in_1/lines", "a")}, None),
    ({"object": "dispute", "id": "dp_1", "balance_transactions": []}, None),
    ({}, None),
]


@pytest.mark.parametrize(("body", "expected"), NESTED)
def test_nested_lists(body: Body, expected: tuple[str, str, str | None] | None) -> None:
    """Only lists that facts need whole are read on, and only from Stripe's API."""
    wanted = (
        () if expected is None else (NestedList(path=(expected[0],), url=expected[1], last_id=expected[2]),)
    )
    assert wanted == nested_lists(body)


def test_spliced_list_is_whole() -> None:
    """The caller appends the rest to `data` at the path, and the object is as if never cut."""
    whole = story()["subscription"]
    cut = deepcopy(whole)
    rest = cut["items"]["data"][1:]
    cut["items"] |= {"data": cut["items"]["data"][:1], "has_more": True}
    (nested,) = nested_lists(cut)
    assert "si_seats" == nested.last_id
    target = cut
    for field in nested.path:
        target = target[field]
    target["data"] += rest
    target["has_more"] = False
    assert parse_object(whole) == parse_object(cut)


# --- Any JSON at all ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**300, 10**12])
    | st.floats()
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["id", "object", "data", "has_more", "type"]), inner, max_size=3)
    ),
    max_leaves=6,
)
BODIES = [body for version in (NEWEST, *OLD_VERSIONS) for body in story(version).values()] + list(
    stripe_examples().values()
)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside a JSON value."""
    entries = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in entries:
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


@st.composite
def mutated_bodies(draw: st.DrawFn) -> Body:
    """A real object in which one to four places were overwritten or removed."""
    body = deepcopy(draw(st.sampled_from(BODIES)))
    for _ in range(draw(st.integers(1, 4))):
        every = list(places(body))
        if not every:
            break
        container, key = every[draw(st.integers(0, len(every) - 1))]
        if draw(st.booleans()):
            container[key] = draw(JSON)
        else:
            del container[key]
    return body


def conforms(value: object, wanted: Any) -> bool:
    """Whether a fact has exactly the type that its column needs."""
    if isinstance(wanted, types.UnionType):
        return any(conforms(value, choice) for choice in get_args(wanted))
    if wanted is int:
        return type(value) is int and -(2**63) <= value < 2**63
    if wanted is datetime:
        return isinstance(value, datetime) and value.tzinfo is UTC
    if typing.get_origin(wanted) is dict:
        return isinstance(value, dict) and all(isinstance(text, str) for text in [*value, *value.values()])
    if typing.get_origin(wanted) is tuple:
        return isinstance(value, tuple) and all(conforms(each, get_args(wanted)[0]) for each in value)
    if dataclasses.is_dataclass(wanted) and type(value) is wanted:
        return all(conforms(getattr(value, name), type_) for name, type_ in get_type_hints(wanted).items())
    return type(value) is wanted


def assert_storable(parsed: Parsed) -> None:
    for row in (*([] if parsed.facts is None else [parsed.facts]), *parsed.parts):
        for name, wanted in get_type_hints(type(row)).items():
            assert conforms(getattr(row, name), wanted), (name, getattr(row, name))
    assert len(parsed.parts) == len({part.id for part in parsed.parts})
    for ref in parsed.references:
        assert ref.kind in KINDS
        assert 0 < len(ref.id) <= 255


@given(body=mutated_bodies())
def test_any_shape_is_read_or_refused(body: Body) -> None:
    """Whatever Stripe's JSON turns into, it is refused by name or gives facts that fit their columns."""
    nested_lists(body)
    with suppress(UnknownShape):
        assert_storable(parse_object(body))


@given(body=JSON)
def test_any_json_is_read_or_refused(body: Any) -> None:
    if isinstance(body, dict):
        nested_lists(body)
    with suppress(UnknownShape):
        assert_storable(parse_object(body))
