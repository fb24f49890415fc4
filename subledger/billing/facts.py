"""The facts that records depend on: one frozen value per mirrored Stripe object, in one shape for every API version.

`parse.py` makes them from Stripe's JSON; the mirror stores them as typed columns of the same names, in the same order;
the rules read them back. So a field added here is a column added by a migration, and nothing else changes between.

Amounts are minor units of the currency beside them, times are aware UTC datetimes, and None means that Stripe said
null or that this API version does not say.
"""

from dataclasses import dataclass
from datetime import datetime


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
    metadata: dict[str, str]


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
    | ActiveEntitlementSummary
)
"""The facts of one mirrored object."""

Part = SubscriptionItem | ActiveEntitlement
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
    prices: tuple[Price, ...] = ()  # every known price of the products in `items`
    products: tuple[Product, ...] = ()
    entitlements: tuple[ActiveEntitlement, ...] = ()
    features: tuple[Feature, ...] = ()  # those in `entitlements` that are known
    rival_claims: tuple[UidClaim, ...] = ()  # all claims, its own too, of the uids that this customer claims
