"""Facts with ordinary values, so that a test says only what its case is about."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from billing.facts import CustomerFacts, Identity, UidClaim
from billing.kinds.catalogue import Price, Product
from billing.kinds.checkout import CheckoutSession
from billing.kinds.customers import Customer
from billing.kinds.invoices import CreditNote, Invoice
from billing.kinds.payments import Charge, Dispute, Refund
from billing.kinds.subscriptions import (
    Subscription,
    SubscriptionItem,
    SubscriptionSchedule,
    SubscriptionScheduleItem,
)
from billing.record import Derived, Policy, derive_record
from billing.revenue import Revenue

START = datetime(2026, 1, 1, tzinfo=UTC)
AS_OF = datetime(2030, 1, 1, tzinfo=UTC)
OUR_UID = "5d3f5a3e-6f0e-4a86-9b3c-2d7f0c9f1a11"


def day(number: float) -> datetime:
    """So many days after the start of the story."""
    return START + timedelta(days=number)


def month(number: int) -> datetime:
    """The first of a month, 1 being the start of the story."""
    years, months = divmod(number - 1, 12)
    return START.replace(year=START.year + years, month=months + 1)


CUSTOMER = Customer(
    id="cus_1",
    created=START,
    name="Ada",
    email="ada@example.com",
    description=None,
    metadata={},
    custom_uid=None,
    test_clock=None,
    discounts=(),
)

PRODUCT = Product(id="prod_1", created=START, name="Plan", active=True, metadata={})

PRICE = Price(
    id="price_1",
    created=START,
    product_id="prod_1",
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
    nickname=None,
    metadata={},
    tiers_mode=None,
    tiers=(),
    currency_options=None,
    divide_quantity_by=None,
    round_quantity=None,
)

SUBSCRIPTION = Subscription(
    id="sub_1",
    created=START,
    customer_id="cus_1",
    status="active",
    start_date=START,
    trial_start=None,
    trial_end=None,
    cancel_at=None,
    cancel_at_period_end=False,
    canceled_at=None,
    ended_at=None,
    current_period_start=START,
    current_period_end=month(2),
    collection_method="charge_automatically",
    currency="usd",
    latest_invoice_id=None,
    pause_collection=None,
    billing_mode="flexible",
    cancellation_reason=None,
    schedule_id=None,
    test_clock=None,
    metadata={},
    discounts=(),
    items_cut=False,
)

ITEM = SubscriptionItem(
    id="si_1",
    subscription_id="sub_1",
    position=0,
    created=START,
    price_id="price_1",
    product_id="prod_1",
    quantity=1,
    current_period_start=START,
    current_period_end=month(2),
    metadata={},
    discounts=(),
)

INVOICE = Invoice(
    id="in_1",
    created=START,
    customer_id="cus_1",
    subscription_id="sub_1",
    status="paid",
    billing_reason="subscription_create",
    period_start=START,
    period_end=START,
    lines_period_end=month(2),
    trial_lines_end=None,
    currency="usd",
    subtotal=2000,
    total=2000,
    amount_due=2000,
    amount_paid=2000,
    amount_remaining=0,
    paid_out_of_band=None,
    amount_paid_off_stripe=None,
    amount_paid_by_payments=None,
    collection_method="charge_automatically",
    attempt_count=1,
    next_payment_attempt=None,
    due_date=None,
    paid_at=START,
    number="A-1",
    metadata={},
)

CHARGE = Charge(
    id="ch_1",
    created=START,
    customer_id="cus_1",
    payment_intent_id="pi_1",
    invoice_id=None,
    status="succeeded",
    captured=True,
    amount=2000,
    amount_captured=2000,
    amount_refunded=0,
    currency="usd",
    disputed=False,
    description=None,
    metadata={},
)

REFUND = Refund(
    id="re_1",
    created=START,
    charge_id="ch_1",
    payment_intent_id="pi_1",
    status="succeeded",
    amount=500,
    currency="usd",
    reason=None,
)

DISPUTE = Dispute(
    id="dp_1",
    created=START,
    charge_id="ch_1",
    payment_intent_id="pi_1",
    status="needs_response",
    amount=2000,
    currency="usd",
    reason="fraudulent",
    movements=1,
    moved_amount=-2000,
    moved_currency="usd",
)

SESSION = CheckoutSession(
    id="cs_1",
    created=START,
    customer_id="cus_1",
    status="complete",
    mode="subscription",
    payment_status="paid",
    client_reference_id=None,
    payment_link_id=None,
    subscription_id=None,
    payment_intent_id=None,
    invoice_id=None,
    amount_total=2000,
    currency="usd",
    metadata={},
)

CREDIT_NOTE = CreditNote(
    id="cn_1",
    created=START,
    customer_id="cus_1",
    invoice_id="in_1",
    status="issued",
    type="post_payment",
    reason=None,
    number="A-1-CN-01",
    currency="usd",
    amount=400,
    pre_payment_amount=0,
    post_payment_amount=400,
    out_of_band_amount=None,
    refund_ids=(),
    effective_at=START,
    voided_at=None,
    memo=None,
    metadata={},
)

SCHEDULE = SubscriptionSchedule(
    id="sub_sched_1",
    created=START,
    customer_id="cus_1",
    status="not_started",
    subscription_id=None,
    released_subscription_id=None,
    starts_at=month(2),
    ends_at=month(3),
    current_phase_start=None,
    current_phase_end=None,
    end_behavior="release",
    canceled_at=None,
    completed_at=None,
    released_at=None,
    test_clock=None,
    metadata={},
)

SCHEDULE_ITEM = SubscriptionScheduleItem(
    id="0.0",
    schedule_id="sub_sched_1",
    phase=0,
    position=0,
    phase_start=month(2),
    phase_end=month(3),
    price_id="price_1",
    quantity=2,
)

IDENTITY = Identity(
    uid=OUR_UID,
    custom_uid=None,
    name=None,
    email=None,
    description=None,
    fingerprint=None,
    send_email_receipts=None,
    metadata={},
    sandbox_product_id=None,
    sandbox_end=None,
    last_seen=None,
    created_at=START,
)

CLAIM = UidClaim(
    custom_uid="ada", customer_id="cus_1", source="metadata", object_id="cus_1", customer_created=START
)

FACTS = CustomerFacts(
    account_id="",
    live_mode=True,
    customer_id="cus_1",
    customer=CUSTOMER,
    deleted_at=None,
    complete=True,
    settled=True,
    identity=None,
)


def facts_with(
    *subscriptions: Subscription, items: tuple[SubscriptionItem, ...] | None = None
) -> CustomerFacts:
    """A customer with these subscriptions, each with one item of price_1 where `items` does not say otherwise."""
    if items is None:
        items = tuple(replace(ITEM, id=f"si_{each.id}", subscription_id=each.id) for each in subscriptions)
    return replace(FACTS, subscriptions=subscriptions, items=items, prices=(PRICE,), products=(PRODUCT,))


def derive(facts: CustomerFacts, *, as_of: datetime = AS_OF, past_due_has_access: bool = True) -> Derived:
    return derive_record(facts, as_of=as_of, policy=Policy(past_due_has_access=past_due_has_access))


def cycle_invoice(period_end: datetime, *, subscription_id: str = "sub_1", status: str = "paid") -> Invoice:
    """The invoice of a cycle that ended then."""
    return replace(
        INVOICE,
        id=f"in_{subscription_id}_{period_end:%Y%m%d%H%M%S}",
        created=period_end,
        subscription_id=subscription_id,
        status=status,
        billing_reason="subscription_cycle",
        period_end=period_end,
        lines_period_end=None,
        trial_lines_end=None,
    )


def net_of(row: Revenue) -> int:
    """What is left of a row's amounts, none of which is too large."""
    gross, refunded, disputed, out_of_band = row.gross, row.refunded, row.disputed, row.out_of_band
    assert gross is not None
    assert refunded is not None
    assert disputed is not None
    assert out_of_band is not None
    return gross - refunded - disputed + out_of_band


def record_fields(derived: Derived, names: Iterable[str]) -> dict[str, object]:
    """Those fields of the record, to be compared with a table's row."""
    return {name: getattr(derived.record, name) for name in names}
