"""The record as a whole: where its plain fields come from, and what holds for any facts at all."""

import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.facts import CustomerFacts, Identity, UidClaim
from billing.kinds.catalogue import Price, Product
from billing.kinds.checkout import CheckoutSession
from billing.kinds.customers import Customer
from billing.kinds.discounts import Coupon
from billing.kinds.entitlements import ActiveEntitlement, Feature
from billing.kinds.invoices import CreditNote, Invoice
from billing.kinds.payments import Charge, Dispute, Refund
from billing.kinds.subscriptions import (
    Subscription,
    SubscriptionItem,
    SubscriptionSchedule,
    SubscriptionScheduleItem,
)
from billing.mrr import Mrr
from billing.record import CustomerRecord, Derived, Policy, Status, customer_uid, derive_record
from tests.billing.examples import (
    CHARGE,
    CUSTOMER,
    FACTS,
    IDENTITY,
    INVOICE,
    OUR_UID,
    SESSION,
    SUBSCRIPTION,
    cycle_invoice,
    day,
    derive,
    facts_with,
    month,
    net_of,
)


def test_a_whole_record() -> None:
    """Every column of a record, once."""
    trial = replace(
        SUBSCRIPTION, status="trialing", trial_start=day(0), trial_end=day(14), start_date=day(-1)
    )
    facts = replace(
        facts_with(trial),
        account_id="acct_1",
        live_mode=False,
        customer=replace(
            CUSTOMER,
            created=day(-2),
            description="first",
            metadata={"a": "Stripe's", "b": "2"},
            custom_uid="ada",
        ),
        identity=replace(
            IDENTITY,
            fingerprint="f1",
            send_email_receipts=True,
            metadata={"a": "ours", "c": "3"},
            sandbox_end=day(7),
            last_seen=day(3),
            created_at=day(-1),
        ),
        charges=(CHARGE,),
        invoices=(INVOICE,),
    )
    expected = CustomerRecord(
        uid=UUID(OUR_UID),
        custom_uid="ada",
        stripe_customer_id="cus_1",
        account_id="acct_1",
        live_mode=False,
        name="Ada",
        email="ada@example.com",
        description="first",
        fingerprint="f1",
        metadata={"a": "Stripe's", "b": "2", "c": "3"},
        send_email_receipts=True,
        status=Status.TRIALING,
        has_access=True,
        product_id="prod_1",
        product_version_number=1,
        stripe_product_id="prod_1",
        stripe_price_id="price_1",
        stripe_subscription_id="sub_1",
        quantity=1,
        lifetime_revenue=2000,
        revenue_currency="usd",
        renewal_number=0,
        is_trial=True,
        trial_end=day(14),
        sandbox_end=day(7),
        subscription_date=day(-1),
        first_seen=day(-2),
        last_seen=day(3),
        exact=True,
        deleted_at=None,
    )
    assert expected == derive(facts).record


def test_an_empty_record() -> None:
    """A customer has a record even if only its id is known."""
    record = derive(replace(FACTS, customer=None, complete=False)).record
    known = {"uid", "stripe_customer_id", "account_id", "live_mode", "metadata"}
    nothing: dict[str, object] = {
        "has_access": False,
        "lifetime_revenue": 0,
        "renewal_number": 0,
        "is_trial": False,
        "exact": False,
    }
    expected = {
        field.name: nothing.get(field.name) for field in fields(CustomerRecord) if field.name not in known
    }
    assert expected == {name: getattr(record, name) for name in expected}
    assert ("cus_1", {}) == (record.stripe_customer_id, record.metadata)


def test_c60_c61_customers_never_mix() -> None:
    """One id in two accounts, or in live and test mode, is two customers; uids are the same on every machine."""
    keys = [("", True), ("", False), ("acct_1", True), ("acct_1", False), ("acct_2", True)]
    uids = [
        derive(replace(FACTS, account_id=account_id, live_mode=live_mode)).record.uid
        for account_id, live_mode in keys
    ]
    assert len(keys) == len(set(uids))
    assert [customer_uid(account_id, live_mode, "cus_1") for account_id, live_mode in keys] == uids
    assert UUID("4ad11f9e-ac4f-5f27-a13f-caca9c58edc3") == uids[0]


@pytest.mark.parametrize(
    ("complete", "settled", "exact"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_exact(complete: bool, settled: bool, exact: bool) -> None:
    """Complete and confirmed, both."""
    assert exact == derive(replace(FACTS, complete=complete, settled=settled)).record.exact


@pytest.mark.parametrize(
    ("stripe", "ours", "expected"),
    [
        (day(2), day(1), day(1)),
        (day(1), day(2), day(1)),
        (None, day(2), day(2)),
        (day(1), None, day(1)),
        (None, None, None),
    ],
)
def test_first_seen(stripe: datetime | None, ours: datetime | None, expected: datetime | None) -> None:
    """The earlier of creation at Stripe and here; never the first subscription."""
    facts = replace(
        facts_with(replace(SUBSCRIPTION, start_date=day(-9))),
        customer=replace(CUSTOMER, created=stripe),
        identity=None if ours is None else replace(IDENTITY, created_at=ours),
    )
    assert expected == derive(facts).record.first_seen


@pytest.mark.parametrize(
    ("noted", "sessions", "expected"),
    [
        pytest.param(None, [], None, id="never"),
        pytest.param(day(1), [], day(1), id="noted by us"),
        pytest.param(None, [("complete", day(2)), ("complete", day(3))], day(3), id="the latest Checkout"),
        pytest.param(day(4), [("complete", day(3))], day(4), id="noted later"),
        pytest.param(day(1), [("complete", day(3))], day(3), id="noted earlier"),
        pytest.param(None, [("open", day(3)), ("expired", day(3))], None, id="a Checkout not completed"),
        pytest.param(None, [("complete", None)], None, id="at an unknown time"),
    ],
)
def test_f124_last_seen(
    noted: datetime | None, sessions: list[tuple[str, datetime | None]], expected: datetime | None
) -> None:
    """The customer's own activity; renewals and payments are not."""
    facts = replace(
        facts_with(SUBSCRIPTION),
        invoices=(cycle_invoice(month(5)),),
        charges=(replace(CHARGE, created=month(5)),),
        sessions=tuple(
            replace(SESSION, id=f"cs_{number}", status=status, created=created)
            for number, (status, created) in enumerate(sessions)
        ),
        identity=None if noted is None else replace(IDENTITY, last_seen=noted),
    )
    assert expected == derive(facts).record.last_seen


def test_e107_a_deleted_customer_keeps_its_history() -> None:
    """A deleted customer has ended and has no access; product, dates, renewals and money stay."""
    facts = replace(facts_with(SUBSCRIPTION), invoices=(INVOICE, cycle_invoice(month(2))), charges=(CHARGE,))
    alive, deleted = derive(facts).record, derive(replace(facts, deleted_at=day(50))).record
    assert replace(alive, status=Status.ENDED, has_access=False, deleted_at=day(50)) == deleted


# --- Any facts at all -------------------------------------------------------------------------------------------------
# Few ids and few times, so that objects meet, tie and contradict each other.

IDS: dict[str, list[Any]] = {
    "id": ["a", "b", "B", "é"],
    "customer_id": ["cus_1", "cus_0", None],
    "subscription_id": ["a", "b", "B", None],
    "charge_id": ["a", "b", None],
    "schedule_id": ["s", "S", None],
    "product_id": ["prod_a", "prod_b", None],
    "price_id": ["a", "b", "c", None],
    "feature_id": ["a", "b", "é", None],
    "currency": ["usd", "eur", None],
    "moved_currency": ["usd", "eur", None],
    "custom_uid": ["ada", "bob", "%", None],
    "client_reference_id": ["ada", "bob", "%", "", None],
    "payment_link_id": ["plink_1", None],
    "source": ["local", "metadata", "checkout", "page"],
    "billing_reason": ["subscription_cycle", "subscription_create", "manual", None],
    "usage_type": ["licensed", "metered", None],
    "unit_amount_decimal": ["0", "0.5", None],
    "percent_off": ["0", "12.5", "100", None],
    "flat_amount": ["0", "1000.5", None],
    "interval": ["month", "year", "week", "text", None],
    "tiers_mode": ["graduated", "volume", None],
    "billing_scheme": ["per_unit", "tiered", None],
    "coupon_id": ["a", None],
    "applies_to": [(), ("a",), ("b", "c"), None],
}
STATUSES: dict[type, list[str | None]] = {
    Subscription: [
        "trialing", "active", "past_due", "unpaid", "paused", "canceled", "incomplete", "incomplete_expired", "?", None
    ],
    Invoice: ["draft", "open", "paid", "void", "uncollectible", "deleted", None],
    Charge: ["succeeded", "succeeded", "pending", "failed", None],
    Refund: ["pending", "requires_action", "succeeded", "failed", "canceled", "?", None],
    Dispute: ["lost", "won", "needs_response", "warning_closed", None],
    CheckoutSession: ["complete", "complete", "open", None],
    CreditNote: ["issued", "void", None],
    SubscriptionSchedule: ["not_started", "not_started", "active", "released", "canceled", "completed", None],
}  # fmt: skip
TIMES = [day(0), day(0.0005), day(0.03), day(14), day(14.03), day(31), day(59), day(90)]
METADATA = [
    {},
    {"version": "2", "product_id": "plan", "feature_id": "seats"},
    {"version": "x", "product_id": "", "feature_id": "other"},
    {"renewals_before_import": "3", "entity_id": "e"},
    {"renewals_before_import": "-3"},
]
PUSHED = [{}, {}, {"name": "set", "email": None}, {"metadata": {"version": None, "plan": "set"}}]


Draw = Callable[[Random], Any]
"""Makes a value of its own of each random number. hypothesis could make them, too, and would take ten times as long."""


def one_of(values: Sequence[Any]) -> Draw:
    return lambda random: random.choice(values)


def either(*draws: Draw) -> Draw:
    return lambda random: random.choice(draws)(random)


def always(value: Any) -> Draw:
    return lambda _: value


def any_of(kind: type, **fixed: Draw) -> Draw:
    """Any value of a class of facts, every optional field of it sometimes None."""
    hints = typing.get_type_hints(kind)
    others = [field.name for field in fields(kind) if field.name not in fixed]
    return built(kind, **{name: any_field(kind, name, hints[name]) for name in others} | fixed)


def built(kind: type, **draws: Draw) -> Draw:
    return lambda random: kind(**{name: draw(random) for name, draw in draws.items()})


def any_field(kind: type, name: str, hint: object) -> Draw:
    if name == "status":
        return one_of(STATUSES[kind])
    arms = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    plain = next(arm for arm in arms if arm is not types.NoneType)
    optional = types.NoneType in arms
    if name in IDS:
        return one_of([each for each in IDS[name] if optional or each is not None])
    draws: dict[object, Callable[[], Draw]] = {
        str: lambda: always("7.5" if name == "unit_amount" else "text"),
        int: lambda: one_of([0, 1, 2, 500, 2000, -500]),
        bool: lambda: one_of([True, False]),
        datetime: lambda: one_of(TIMES),
        dict: lambda: one_of(METADATA),
        tuple: lambda: some(any_of(typing.get_args(plain)[0]), most=2),
    }
    draw = draws[typing.get_origin(plain) or plain]()
    return either(always(None), draw) if optional else draw


def some(draw: Draw, *, most: int) -> Draw:
    """Up to so many."""
    return lambda random: tuple(draw(random) for _ in range(random.randint(0, most)))


def several(kind: type, **fixed: Draw) -> Draw:
    """Objects of one kind, each with an id of its own, like the rows of a table."""
    draw = some(any_of(kind, **fixed), most=4)
    return lambda random: tuple({each.id: each for each in draw(random)}.values())


ANY_FACTS = built(
    CustomerFacts,
    account_id=one_of(["", "acct_1"]),
    live_mode=one_of([True, False]),
    customer_id=always("cus_1"),
    customer=either(always(None), any_of(Customer, id=always("cus_1"))),
    deleted_at=either(always(None), one_of(TIMES)),
    complete=one_of([True, False]),
    settled=one_of([True, False]),
    identity=either(always(None), any_of(Identity, uid=always(OUR_UID), pushed=one_of(PUSHED))),
    subscriptions=several(Subscription),
    items=several(SubscriptionItem),
    invoices=several(Invoice),
    charges=several(Charge),
    refunds=several(Refund),
    disputes=several(Dispute),
    sessions=several(CheckoutSession),
    credit_notes=several(CreditNote, refund_ids=always(())),
    schedules=several(SubscriptionSchedule, id=one_of(["s", "S"])),
    schedule_items=several(SubscriptionScheduleItem),
    prices=several(Price),
    products=several(Product, id=one_of(["prod_a", "prod_b"])),
    coupons=several(Coupon),
    entitlements=several(ActiveEntitlement),
    features=several(Feature),
    rival_claims=some(any_of(UidClaim), most=3),
)
TUPLES = [field.name for field in fields(CustomerFacts) if isinstance(field.default, tuple)]


@settings(max_examples=500, deadline=None)
@given(seed=st.integers(0, 2**64))
def test_i6_any_facts_in_any_order(seed: int) -> None:
    """I6: a pure function of the facts, in whatever order the database gives them; asked twice, the same.

    Nothing that Stripe leaves out or contradicts raises, and the result keeps the schema's constraints.
    """
    random = Random(seed)  # noqa: S311 - replays with the example
    facts: CustomerFacts = ANY_FACTS(random)
    policy = Policy(past_due_has_access=random.random() < 0.5)
    as_of = random.choice(TIMES)
    derived = derive_record(facts, as_of=as_of, policy=policy)
    shuffled: dict[str, Any] = {
        name: tuple(random.sample(getattr(facts, name), len(getattr(facts, name)))) for name in TUPLES
    }
    assert derived == derive_record(facts, as_of=as_of, policy=policy)
    assert derived == derive_record(replace(facts, **shuffled), as_of=as_of, policy=policy)
    assert_sound(derived, facts, as_of)


def assert_sound(derived: Derived, facts: CustomerFacts, as_of: datetime) -> None:
    """What holds for every record."""
    record = derived.record
    assert record.renewal_number >= 0
    assert record.is_trial or record.trial_end is None
    assert (record.status is None) == (record.stripe_subscription_id is None)
    assert record.revenue_currency in {None, *(row.currency for row in derived.revenue)}
    assert (record.revenue_currency is None) == (derived.revenue == ())
    for product in derived.products:
        assert not (product.has_access and product.status in (None, Status.ENDED))
        assert product.stripe_subscription_id in (product.subscription_ids or product.scheduled_ids)
        assert record.uid == product.customer_uid
        assert record.has_access or not product.has_access
        assert not (facts.deleted_at and product.status not in (None, Status.ENDED))
    for row in derived.revenue:
        assert row.net == net_of(row)
        assert row.gross or row.refunded or row.disputed or row.out_of_band
    keys = [(product.stripe_subscription_id, product.stripe_product_id) for product in derived.products]
    assert sorted(set(keys)) == keys
    currencies = [row.currency for row in derived.mrr]
    assert sorted(set(currencies)) == currencies
    assert not (facts.deleted_at and currencies)
    mrr = Mrr(facts)
    for currency in mrr.currencies():
        past = mrr.past(currency, as_of=as_of)
        assert [0, *(step.mrr_after for step in past)][:-1] == [step.mrr_before for step in past]
        moments = [step.changed_at for step in past]
        assert sorted(set(moments)) == moments
    features = [feature.feature_id for feature in derived.features]
    assert sorted(set(features)) == features
    assert not (facts.deleted_at and features)
    problems = [(problem.kind, problem.object_id) for problem in derived.problems]
    assert sorted(set(problems)) == problems


def test_every_tuple_of_facts_is_shuffled() -> None:
    """The property above checks all of them."""
    assert {
        "subscriptions", "items", "invoices", "charges", "refunds", "disputes", "sessions", "credit_notes",
        "schedules", "schedule_items", "prices", "products", "coupons", "entitlements", "features", "rival_claims",
    } == set(TUPLES)  # fmt: skip


def test_facts_are_left_as_they_were() -> None:
    """Deriving changes neither Stripe's metadata nor ours."""
    customer = replace(CUSTOMER, metadata={"a": "1"})
    identity = replace(IDENTITY, metadata={"b": "2"})
    assert {"a": "1", "b": "2"} == derive(
        replace(FACTS, customer=customer, identity=identity)
    ).record.metadata
    assert ({"a": "1"}, {"b": "2"}) == (customer.metadata, identity.metadata)
