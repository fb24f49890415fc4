"""What the simulated account holds, free of any API version.

One class per Stripe object. Other objects are named by id, so that a copy of one object is a true copy of its state;
`shapes` turns these into what a given API version shows. Times are whole seconds since 1970, amounts minor units.
"""

from dataclasses import dataclass, field
from typing import ClassVar

Metadata = dict[str, str]


@dataclass(slots=True, kw_only=True)
class Thing:
    """Anything that has an id, a time of birth and a place in a list."""

    kind: ClassVar[str] = ""

    id: str
    created: int
    customer: str | None = None
    # The order of birth within the account: `created` has whole seconds only, and lists need a total order.
    serial: int = 0


@dataclass(slots=True, kw_only=True)
class Customer(Thing):
    kind: ClassVar[str] = "customer"

    name: str | None = None
    email: str | None = None
    description: str | None = None
    metadata: Metadata = field(default_factory=dict)
    currency: str | None = None
    balance: int = 0
    """Negative: we owe the customer, and the next invoice is paid from it first."""
    delinquent: bool = False
    deleted_at: int | None = None
    payment_method: str | None = "good"
    """How a payment behaves: good, declines, needs_3ds, debit (settles after days), debit_fails; None: none on file."""


@dataclass(slots=True, kw_only=True)
class Product(Thing):
    kind: ClassVar[str] = "product"

    name: str
    active: bool = True
    metadata: Metadata = field(default_factory=dict)
    updated: int = 0


@dataclass(slots=True, kw_only=True)
class Price(Thing):
    kind: ClassVar[str] = "price"

    product: str
    currency: str
    unit_amount: int
    interval: str | None
    """day, week, month, year; None for a one-off price."""
    interval_count: int = 1
    metered: bool = False
    active: bool = True
    nickname: str | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Discount:
    id: str
    coupon: str
    percent_off: int
    start: int


@dataclass(slots=True, kw_only=True)
class Item:
    id: str
    created: int
    price: str
    quantity: int | None
    period_start: int
    period_end: int
    metadata: Metadata = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Subscription(Thing):
    kind: ClassVar[str] = "subscription"

    status: str
    items: list[Item]
    currency: str
    start_date: int
    billing_cycle_anchor: int
    billing_mode: str = "classic"
    collection_method: str = "charge_automatically"
    days_until_due: int | None = None
    trial_start: int | None = None
    trial_end: int | None = None
    trial_without_card: str = "create_invoice"
    """What happens when a trial ends without a payment method: create_invoice, cancel, pause."""
    cancel_at: int | None = None
    cancel_at_period_end: bool = False
    canceled_at: int | None = None
    ended_at: int | None = None
    cancellation_reason: str | None = None
    pause_collection: str | None = None
    pause_reason: str | None = None
    """Why it is paused: trial_end_without_payment_method, pause_requested, first_payment_failure, final_..."""
    resuming_invoice: str | None = None
    """The invoice whose payment ends a pause that was resumed `on_payment_success`."""
    latest_invoice: str | None = None
    discounts: list[Discount] = field(default_factory=list)
    metadata: Metadata = field(default_factory=dict)
    schedule: str | None = None
    pending_update: dict[str, int] | None = None
    """Item id to quantity, waiting for its payment."""
    pending_update_expires_at: int | None = None
    after_retries: str = "cancel"
    """When the last retry has failed: cancel, unpaid, past_due, pause."""
    pause_on_first_failure: bool = False
    in_first_trial: bool = False
    """True while the trial with which the subscription began is running."""


@dataclass(slots=True, kw_only=True)
class Line:
    id: str
    amount: int
    description: str
    period_start: int
    period_end: int
    quantity: int | None = 1
    price: str | None = None
    subscription: str | None = None
    item: str | None = None
    proration: bool = False


@dataclass(slots=True, kw_only=True)
class Invoice(Thing):
    kind: ClassVar[str] = "invoice"

    currency: str
    billing_reason: str
    lines: list[Line]
    period_start: int
    period_end: int
    subscription: str | None = None
    status: str = "draft"
    number: str | None = None
    collection_method: str = "charge_automatically"
    auto_advance: bool = True
    days_until_due: int | None = None
    due_date: int | None = None
    discounts: list[Discount] = field(default_factory=list)
    balance_applied: int = 0
    """Taken from the customer's credit balance when the invoice was finalised."""
    credited_before_payment: int = 0
    """Taken off by a credit note while the invoice was open."""
    paid_by_stripe: int = 0
    paid_off_stripe: int = 0
    overpaid: int = 0
    attempt_count: int = 0
    next_payment_attempt: int | None = None
    payments: list[str] = field(default_factory=list)
    finalized_at: int | None = None
    paid_at: int | None = None
    voided_at: int | None = None
    marked_uncollectible_at: int | None = None
    from_invoice: str | None = None
    latest_revision: str | None = None
    metadata: Metadata = field(default_factory=dict)

    @property
    def subtotal(self) -> int:
        return sum(line.amount for line in self.lines)

    @property
    def discount_amount(self) -> int:
        return sum(max(self.subtotal, 0) * discount.percent_off // 100 for discount in self.discounts)

    @property
    def total(self) -> int:
        return self.subtotal - self.discount_amount - self.credited_before_payment

    @property
    def amount_due(self) -> int:
        return max(self.total - self.balance_applied, 0)

    @property
    def amount_remaining(self) -> int:
        return max(self.amount_due - self.paid_by_stripe - self.paid_off_stripe, 0)


@dataclass(slots=True, kw_only=True)
class InvoicePayment(Thing):
    kind: ClassVar[str] = "invoice_payment"

    invoice: str
    currency: str
    amount_requested: int
    amount_paid: int | None = None
    status: str = "open"
    payment_type: str = "payment_intent"
    payment: str = ""
    """The id of the payment intent, charge or payment record."""
    is_default: bool = True
    paid_at: int | None = None
    canceled_at: int | None = None


@dataclass(slots=True, kw_only=True)
class PaymentIntent(Thing):
    kind: ClassVar[str] = "payment_intent"

    amount: int
    currency: str
    status: str = "requires_payment_method"
    amount_received: int = 0
    latest_charge: str | None = None
    invoice: str | None = None
    payment_record: str | None = None
    canceled_at: int | None = None
    capture_method: str = "automatic"


@dataclass(slots=True, kw_only=True)
class Charge(Thing):
    kind: ClassVar[str] = "charge"

    amount: int
    currency: str
    status: str
    """succeeded, pending, failed."""
    captured: bool = True
    amount_captured: int = 0
    amount_refunded: int = 0
    refunded: bool = False
    disputed: bool = False
    payment_intent: str | None = None
    invoice: str | None = None
    method: str = "card"
    description: str | None = None
    balance_transaction: str | None = None
    refunds: list[str] = field(default_factory=list)
    transfer_destination: str | None = None
    transfer_amount: int | None = None
    source_transfer: str | None = None
    payer: str | None = None
    """Whose money it was, known to the story also where the charge itself names no customer."""


@dataclass(slots=True, kw_only=True)
class Refund(Thing):
    kind: ClassVar[str] = "refund"

    amount: int
    currency: str
    charge: str
    payment_intent: str | None = None
    status: str = "succeeded"
    reason: str | None = None
    balance_transaction: str | None = None
    failure_balance_transaction: str | None = None
    releases_authorization: bool = False
    """The remainder of a partial capture, which Stripe books as a refund although no money came back."""


@dataclass(slots=True, kw_only=True)
class BalanceTransaction:
    id: str
    created: int
    amount: int
    currency: str
    fee: int
    kind: str
    source: str


@dataclass(slots=True, kw_only=True)
class Dispute(Thing):
    kind: ClassVar[str] = "dispute"

    amount: int
    currency: str
    charge: str
    status: str
    reason: str = "fraudulent"
    payment_intent: str | None = None
    balance_transactions: list[BalanceTransaction] = field(default_factory=list)
    is_charge_refundable: bool = False


@dataclass(slots=True, kw_only=True)
class CheckoutSession(Thing):
    kind: ClassVar[str] = "checkout.session"

    mode: str
    currency: str
    amount_total: int
    expires_at: int
    status: str = "open"
    payment_status: str = "unpaid"
    client_reference_id: str | None = None
    subscription: str | None = None
    invoice: str | None = None
    payment_intent: str | None = None
    metadata: Metadata = field(default_factory=dict)


LIST_KINDS = (
    Customer,
    Product,
    Price,
    Subscription,
    Invoice,
    InvoicePayment,
    PaymentIntent,
    Charge,
    Refund,
    Dispute,
    CheckoutSession,
)
