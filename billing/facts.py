"""The facts that records depend on: one frozen value per mirrored Stripe object, in one shape for every API version.

`parse.py` makes them from Stripe's JSON; the mirror stores them as typed columns of the same names, in the same order;
the rules read them back. So a field added here is a column added by a migration, and nothing else changes between.

Amounts are minor units of the currency beside them, times are aware UTC datetimes, and None means that Stripe said
null or that this API version does not say.
"""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """What a coupon takes off; None but for the ids where Stripe named the coupon, or the discount, by its id alone."""

    id: str | None = None
    coupon_id: str | None = None
    percent_off: str | None = None  # as Stripe writes it: 25 or 12.5
    amount_off: int | None = None
    currency: str | None = None  # of amount_off
    duration: str | None = None  # forever, repeating or once
    ends: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """One step of a tiered price: so much for each, and so much at once, up to a quantity."""

    up_to: int | None = None  # None: without end
    unit_amount: str | None = None  # decimal
    flat_amount: str | None = None  # decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencyOption:
    """What a price costs in another currency than its own."""

    currency: str
    unit_amount: str | None = None  # decimal; None for tiered prices
    tiers: tuple[Tier, ...] | None = None  # None: not told


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    id: str
    created: datetime | None
    name: str | None
    email: str | None
    description: str | None
    metadata: dict[str, str]
    custom_uid: str | None  # metadata.custom_uid as it stands, valid or not
    test_clock: str | None
    discounts: tuple[Discount, ...] | None  # of its subscriptions that have none of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    id: str
    created: datetime | None
    name: str | None
    active: bool | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    id: str
    created: datetime | None
    product_id: str | None
    active: bool | None
    currency: str | None
    unit_amount: int | None  # None for tiered prices and for fractions of a minor unit
    unit_amount_decimal: str | None  # the exact amount, as Stripe writes it
    billing_scheme: str | None
    recurring: bool
    interval: str | None
    interval_count: int | None
    usage_type: str | None
    meter_id: str | None  # the billing meter whose count is charged for
    nickname: str | None
    metadata: dict[str, str]
    tiers_mode: str | None  # graduated or volume
    tiers: tuple[Tier, ...] | None  # None: not told, since only a read tells them
    currency_options: tuple[CurrencyOption, ...] | None  # None: not told, since only a read tells them
    divide_quantity_by: int | None  # packages of so many
    round_quantity: str | None  # up or down, to whole packages


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    id: str
    lookup_key: str | None  # the company's own name of it
    name: str | None
    active: bool | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    id: str
    created: datetime | None
    display_name: str | None
    event_name: str | None
    status: str | None  # active, inactive
    formula: str | None  # sum, count, last


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    id: str
    created: datetime | None
    customer_id: str | None
    status: str | None  # Stripe's own word
    start_date: datetime | None
    trial_start: datetime | None
    trial_end: datetime | None  # never cleared by Stripe after the trial
    cancel_at: datetime | None
    cancel_at_period_end: bool
    canceled_at: datetime | None  # when the cancellation was asked for
    ended_at: datetime | None
    current_period_start: datetime | None  # the subscription's own, else the latest start among its items
    current_period_end: datetime | None  # the subscription's own, else the latest end among its items
    collection_method: str | None
    currency: str | None
    latest_invoice_id: str | None
    pause_collection: str | None  # keep_as_draft, mark_uncollectible or void
    billing_mode: str | None  # classic or flexible; None is classic
    cancellation_reason: str | None
    schedule_id: str | None
    test_clock: str | None
    metadata: dict[str, str]
    discounts: tuple[Discount, ...] | None  # in the order in which they apply; None: not told


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionItem:
    id: str
    subscription_id: str
    position: int  # Stripe's order, from 0; the first decides product, price and quantity
    created: datetime | None
    price_id: str | None
    product_id: str | None
    quantity: int | None  # None for metered prices
    current_period_start: datetime | None
    current_period_end: datetime | None
    metadata: dict[str, str]
    discounts: tuple[Discount, ...] | None  # of this item alone; None: not told


@dataclass(frozen=True, slots=True, kw_only=True)
class Invoice:
    id: str
    created: datetime | None
    customer_id: str | None
    subscription_id: str | None
    status: str | None  # draft, open, paid, void, uncollectible
    billing_reason: str | None
    period_start: datetime | None
    period_end: datetime | None  # the cycle boundary
    lines_period_end: datetime | None  # latest line end among the lines that the answer carried
    currency: str | None
    subtotal: int | None  # before the discounts of the whole invoice
    total: int | None
    amount_due: int | None
    amount_paid: int | None  # includes out-of-band money since basil
    amount_remaining: int | None
    paid_out_of_band: bool | None  # before basil only
    amount_paid_off_stripe: int | None  # expand-only, since 2026-05-27
    amount_paid_by_payments: int | None  # sum of paid card and PaymentIntent payments; None when not expanded
    collection_method: str | None
    attempt_count: int | None
    next_payment_attempt: datetime | None
    due_date: datetime | None
    paid_at: datetime | None
    number: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePayment:
    id: str
    created: datetime | None
    invoice_id: str | None
    status: str | None  # open, paid, canceled
    amount_requested: int | None
    amount_paid: int | None
    currency: str | None
    payment_type: str | None  # payment_intent, charge, payment_record
    payment_intent_id: str | None
    charge_id: str | None
    payment_record_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    id: str
    created: datetime | None
    customer_id: str | None
    payment_intent_id: str | None
    invoice_id: str | None  # before basil only
    status: str | None  # succeeded, pending, failed
    captured: bool
    amount: int | None
    amount_captured: int | None
    amount_refunded: int | None
    currency: str | None
    disputed: bool | None
    description: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    id: str
    created: datetime | None
    charge_id: str | None
    payment_intent_id: str | None
    status: str | None  # pending, requires_action, succeeded, failed, canceled
    amount: int | None
    currency: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    id: str
    created: datetime | None
    charge_id: str | None
    payment_intent_id: str | None
    status: str | None
    amount: int | None
    currency: str | None
    reason: str | None
    movements: int | None  # how many balance transactions; None when the list is absent
    moved_amount: int | None  # their sum, fees apart: negative is money withdrawn
    moved_currency: str | None  # None when there are none, or when they differ among themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutSession:
    id: str
    created: datetime | None
    customer_id: str | None
    status: str | None  # open, complete, expired
    mode: str | None
    payment_status: str | None
    client_reference_id: str | None
    subscription_id: str | None
    payment_intent_id: str | None
    invoice_id: str | None
    amount_total: int | None
    currency: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveEntitlementSummary:
    id: str  # the customer's: Stripe gives it none of its own
    customer_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveEntitlement:
    id: str
    customer_id: str
    feature_id: str | None
    lookup_key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentIntent:
    id: str
    created: datetime | None
    customer_id: str | None
    status: str | None  # requires_payment_method, processing, succeeded, canceled ...
    amount: int | None
    amount_capturable: int | None
    amount_received: int | None
    currency: str | None
    payment_method_id: str | None
    latest_charge_id: str | None
    invoice_id: str | None  # before basil only
    capture_method: str | None
    setup_future_usage: str | None
    cancellation_reason: str | None
    canceled_at: datetime | None
    description: str | None
    receipt_email: str | None
    error_code: str | None  # of its last attempt, where that failed
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethod:
    id: str
    created: datetime | None
    customer_id: str | None  # None: not attached, or not any more
    type: str | None  # card, sepa_debit, us_bank_account ...
    card_brand: str | None
    card_last4: str | None
    card_exp_month: int | None
    card_exp_year: int | None
    card_funding: str | None  # credit, debit, prepaid, unknown
    card_country: str | None
    billing_name: str | None
    billing_email: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupIntent:
    id: str
    created: datetime | None
    customer_id: str | None
    status: str | None
    usage: str | None  # off_session, on_session
    payment_method_id: str | None
    cancellation_reason: str | None
    description: str | None
    error_code: str | None  # of its last attempt, where that failed
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxId:
    id: str
    created: datetime | None
    customer_id: str | None
    type: str | None  # eu_vat, us_ein ...
    country: str | None
    value: str | None
    verification_status: str | None  # pending, verified, unverified, unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupon:
    id: str
    created: datetime | None
    name: str | None
    duration: str | None  # once, repeating, forever
    duration_in_months: int | None
    percent_off: str | None  # exact, as a decimal number
    amount_off: int | None
    currency: str | None  # of amount_off
    applies_to: tuple[str, ...] | None  # products; empty: all. None: not told, since only a read tells it
    max_redemptions: int | None
    redeem_by: datetime | None
    times_redeemed: int | None
    valid: bool | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    id: str
    created: datetime | None
    product_id: str | None
    active: bool | None
    currency: str | None
    amount: int | None
    amount_decimal: str | None
    billing_scheme: str | None
    interval: str | None
    interval_count: int | None
    usage_type: str | None
    trial_period_days: int | None
    nickname: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionSchedule:
    id: str
    created: datetime | None
    customer_id: str | None
    status: str | None  # not_started, active, completed, released, canceled
    subscription_id: str | None
    released_subscription_id: str | None
    starts_at: datetime | None  # of its first phase
    ends_at: datetime | None  # of its last phase
    current_phase_start: datetime | None
    current_phase_end: datetime | None
    end_behavior: str | None  # release, cancel
    canceled_at: datetime | None
    completed_at: datetime | None
    released_at: datetime | None
    test_clock: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionScheduleItem:
    id: str  # `phase.item`, from 0: Stripe gives it none
    schedule_id: str
    phase: int  # from 0, in order of time
    position: int  # Stripe's order within the phase, from 0
    phase_start: datetime | None
    phase_end: datetime | None
    price_id: str | None
    quantity: int | None  # None for metered prices


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditNote:
    id: str
    created: datetime | None
    customer_id: str | None
    invoice_id: str | None
    status: str | None  # issued, void
    type: str | None  # pre_payment, post_payment, mixed
    reason: str | None
    number: str | None
    currency: str | None
    amount: int | None
    pre_payment_amount: int | None
    post_payment_amount: int | None
    out_of_band_amount: int | None  # given back outside Stripe, refunds of payment records among it
    refund_ids: tuple[str, ...]
    effective_at: datetime | None
    voided_at: datetime | None
    memo: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutLineItem:
    id: str
    session_id: str
    position: int  # Stripe's order, from 0
    description: str | None
    price_id: str | None
    product_id: str | None
    quantity: int | None
    currency: str | None
    amount_subtotal: int | None
    amount_discount: int | None
    amount_tax: int | None
    amount_total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    id: str
    created: datetime | None
    charge_id: str | None
    payment_intent_id: str | None
    open: bool | None
    opened_reason: str | None
    closed_reason: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlyFraudWarning:
    id: str
    created: datetime | None
    charge_id: str | None
    payment_intent_id: str | None
    actionable: bool | None
    fraud_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    id: str
    created: datetime | None
    status: str | None  # pending, in_transit, paid, failed, canceled
    amount: int | None  # negative: Stripe took it from the bank account
    currency: str | None
    arrival_date: datetime | None
    automatic: bool | None
    method: str | None  # standard, instant
    type: str | None  # bank_account, card
    destination_id: str | None
    balance_transaction_id: str | None
    reconciliation_status: str | None
    failure_code: str | None
    description: str | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceTransaction:
    id: str
    created: datetime | None
    type: str | None
    reporting_category: str | None
    status: str | None  # pending, available
    amount: int | None
    fee: int | None
    net: int | None
    currency: str | None
    available_on: datetime | None
    source_id: str | None  # the charge, refund, payout ... that moved the money
    description: str | None


Facts = (
    Customer
    | Product
    | Price
    | Feature
    | Meter
    | Subscription
    | Invoice
    | InvoicePayment
    | Charge
    | Refund
    | Dispute
    | CheckoutSession
    | PaymentIntent
    | PaymentMethod
    | SetupIntent
    | TaxId
    | Coupon
    | Plan
    | SubscriptionSchedule
    | CreditNote
    | Review
    | EarlyFraudWarning
    | Payout
    | BalanceTransaction
    | ActiveEntitlementSummary
)
"""The facts of one mirrored object."""

Part = SubscriptionItem | SubscriptionScheduleItem | CheckoutLineItem | ActiveEntitlement
"""What travels with the object that holds it: items with their subscription, entitlements with their summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What is ours and not Stripe's about a customer (billing.identities)."""

    uid: str
    custom_uid: str | None
    fingerprint: str | None
    send_email_receipts: bool | None
    metadata: dict[str, str]
    sandbox_product_id: str | None
    sandbox_end: datetime | None
    last_seen: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UidClaim:
    """One source's claim of a custom_uid, and what decides between claimants."""

    custom_uid: str
    customer_id: str
    source: str  # metadata, checkout, local
    customer_created: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerFacts:
    """Everything that one customer's record is computed from, read in one snapshot of the mirror."""

    account_id: str
    live_mode: bool
    customer_id: str
    customer: Customer | None  # None: other objects name it, its own row has not come yet
    deleted_at: datetime | None
    complete: bool  # its history is known from the start
    settled: bool  # no object of it has a read pending, missing or parked
    identity: Identity | None
    subscriptions: tuple[Subscription, ...] = ()
    items: tuple[SubscriptionItem, ...] = ()
    invoices: tuple[Invoice, ...] = ()
    charges: tuple[Charge, ...] = ()
    refunds: tuple[Refund, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    sessions: tuple[CheckoutSession, ...] = ()
    credit_notes: tuple[CreditNote, ...] = ()
    schedules: tuple[SubscriptionSchedule, ...] = ()
    schedule_items: tuple[SubscriptionScheduleItem, ...] = ()
    prices: tuple[Price, ...] = ()  # every known price of the products in `items` and `schedule_items`
    products: tuple[Product, ...] = ()
    coupons: tuple[Coupon, ...] = ()  # those of its discounts that are known, and of others'
    entitlements: tuple[ActiveEntitlement, ...] = ()
    features: tuple[Feature, ...] = ()  # those in `entitlements` that are known
    rival_claims: tuple[UidClaim, ...] = ()  # all claims, its own too, of the uids that this customer claims
