"""The facts of the story's further kinds (tests/billing/kinds/shapes), field by field, in the newest shape."""

from datetime import UTC, datetime
from typing import Any

from billing.kinds.balance import BalanceTransaction, Payout
from billing.kinds.catalogue import Plan
from billing.kinds.customers import TaxId
from billing.kinds.discounts import Coupon
from billing.kinds.invoices import CreditNote
from billing.kinds.payments import EarlyFraudWarning, PaymentIntent, PaymentMethod, Review, SetupIntent
from billing.kinds.subscriptions import SubscriptionSchedule, SubscriptionScheduleItem

JULY = datetime(2025, 7, 1, tzinfo=UTC)
SEPTEMBER = datetime(2025, 9, 1, tzinfo=UTC)
OCTOBER = datetime(2025, 10, 1, tzinfo=UTC)


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


FURTHER: dict[str, Any] = {
    "payment_intent": PaymentIntent(
        id="pi_1",
        created=at(1754010000),
        customer_id="cus_ada",
        status="succeeded",
        amount=6100,
        amount_capturable=0,
        amount_received=6100,
        currency="usd",
        payment_method_id="pm_1",
        latest_charge_id="ch_1",
        invoice_id=None,
        capture_method="automatic_async",
        setup_future_usage="off_session",
        cancellation_reason=None,
        canceled_at=None,
        description="Subscription update",
        receipt_email="ada@example.com",
        error_code=None,
        metadata={"order": "7"},
    ),
    "payment_method": PaymentMethod(
        id="pm_1",
        created=at(1751327960),
        customer_id="cus_ada",
        type="card",
        card_brand="visa",
        card_last4="4242",
        card_exp_month=8,
        card_exp_year=2030,
        card_funding="credit",
        card_country="DE",
        billing_name="Ada",
        billing_email="ada@example.com",
        metadata={"order_id": "1"},
    ),
    "setup_intent": SetupIntent(
        id="seti_1",
        created=at(1751327965),
        customer_id="cus_ada",
        status="requires_payment_method",
        usage="off_session",
        payment_method_id="pm_1",
        cancellation_reason=None,
        description="card for later",
        error_code="card_declined",
        metadata={"step": "2"},
    ),
    "tax_id": TaxId(
        id="txi_1",
        created=at(1751327950),
        customer_id="cus_ada",
        type="eu_vat",
        country="DE",
        value="DE123456789",
        verification_status="verified",
    ),
    "coupon": Coupon(
        id="SUMMER",
        created=at(1751300000),
        name="Summer",
        duration="repeating",
        duration_in_months=3,
        percent_off="25.5",
        amount_off=None,
        currency=None,
        applies_to=None,
        max_redemptions=100,
        redeem_by=SEPTEMBER,
        times_redeemed=1,
        valid=True,
        metadata={"campaign": "july"},
    ),
    "plan": Plan(
        id="price_pro",
        created=at(1751320000),
        product_id="prod_pro",
        active=True,
        currency="usd",
        amount=2000,
        amount_decimal="2000",
        billing_scheme="per_unit",
        interval="month",
        interval_count=1,
        usage_type="licensed",
        trial_period_days=7,
        nickname="monthly",
        metadata={"version": "3"},
    ),
    "subscription_schedule": SubscriptionSchedule(
        id="sub_sched_1",
        created=at(1751328000),
        customer_id="cus_ada",
        status="active",
        subscription_id="sub_ada",
        released_subscription_id=None,
        starts_at=JULY,
        ends_at=OCTOBER,
        current_phase_start=JULY,
        current_phase_end=SEPTEMBER,
        end_behavior="release",
        canceled_at=None,
        completed_at=None,
        released_at=None,
        test_clock="clock_1",
        metadata={"deal": "9"},
    ),
    "credit_note": CreditNote(
        id="cn_1",
        created=at(1754016000),
        customer_id="cus_ada",
        invoice_id="in_aug",
        status="issued",
        type="post_payment",
        reason="product_unsatisfactory",
        number="ADA-0002-CN-01",
        currency="usd",
        amount=900,
        pre_payment_amount=0,
        post_payment_amount=900,
        out_of_band_amount=400,
        refund_ids=("re_1",),
        effective_at=at(1754016000),
        voided_at=None,
        memo="sorry",
        metadata={"ticket": "5"},
    ),
    "review": Review(
        id="prv_1",
        created=at(1754010002),
        charge_id="ch_1",
        payment_intent_id="pi_1",
        open=False,
        opened_reason="rule",
        closed_reason="approved",
        reason="approved",
    ),
    "radar.early_fraud_warning": EarlyFraudWarning(
        id="issfr_1",
        created=at(1754020000),
        charge_id="ch_1",
        payment_intent_id="pi_1",
        actionable=False,
        fraud_type="misc",
    ),
    "payout": Payout(
        id="po_1",
        created=at(1754092800),
        status="in_transit",
        amount=5600,
        currency="usd",
        arrival_date=at(1754265600),
        automatic=True,
        method="standard",
        type="bank_account",
        destination_id="ba_1",
        balance_transaction_id="txn_2",
        reconciliation_status="completed",
        failure_code=None,
        description="STRIPE PAYOUT",
        metadata={"batch": "1"},
    ),
    "balance_transaction": BalanceTransaction(
        id="txn_1",
        created=at(1754010001),
        type="charge",
        reporting_category="charge",
        status="pending",
        amount=6100,
        fee=207,
        net=5893,
        currency="usd",
        available_on=at(1754265600),
        source_id="ch_1",
        description="Subscription update",
    ),
}

SCHEDULE_ITEMS = tuple(
    SubscriptionScheduleItem(
        id=f"{phase}.{position}",
        schedule_id="sub_sched_1",
        phase=phase,
        position=position,
        phase_start=start,
        phase_end=end,
        price_id=price,
        quantity=quantity,
    )
    for phase, position, start, end, price, quantity in (
        (0, 0, JULY, SEPTEMBER, "price_pro", 3),
        (0, 1, JULY, SEPTEMBER, "price_calls", None),
        (1, 0, SEPTEMBER, OCTOBER, "price_max", 1),
    )
)

_CREDIT_NOTE_BEFORE: dict[str, object] = {
    "pre_payment_amount": None,
    "post_payment_amount": None,
    "effective_at": None,
}
FURTHER_OLD_SAYS: dict[tuple[str, str], dict[str, object]] = {
    ("2024-06-20", "payment_intent"): {"invoice_id": "in_aug"},
    ("2022-11-15", "payment_intent"): {"invoice_id": "in_aug"},
    ("2020-08-27", "payment_intent"): {"invoice_id": "in_aug", "capture_method": "automatic"},
    ("2022-11-15", "credit_note"): _CREDIT_NOTE_BEFORE,
    ("2020-08-27", "credit_note"): _CREDIT_NOTE_BEFORE,
    ("2020-08-27", "subscription_schedule"): {"test_clock": None},
    ("2020-08-27", "payout"): {"reconciliation_status": None},
    ("2020-08-27", "radar.early_fraud_warning"): {"payment_intent_id": None},
}
"""Facts that an old version cannot state, or states otherwise."""
