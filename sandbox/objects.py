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
    default_payment_method: str | None = None
    """The id of what stands for it at Stripe."""
    tax_ids: list[str] = field(default_factory=list)
    test_clock: str | None = None


@dataclass(slots=True, kw_only=True)
class Clock(Thing):
    """A test clock. Here it goes as the sandbox's own does; what is on it is left out of lists all the same."""

    kind: ClassVar[str] = "test_helpers.test_clock"

    frozen_time: int
    name: str | None = None


@dataclass(slots=True, kw_only=True)
class Product(Thing):
    kind: ClassVar[str] = "product"

    name: str
    active: bool = True
    metadata: Metadata = field(default_factory=dict)
    updated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """What the units up to and including `up_to` cost; None: all that are left."""

    up_to: int | None
    unit_amount: int
    flat_amount: int = 0


@dataclass(slots=True, kw_only=True)
class Price(Thing):
    kind: ClassVar[str] = "price"

    product: str
    currency: str
    unit_amount: int
    """Of a tiered price 0: its tiers tell."""
    interval: str | None
    """day, week, month, year; None for a one-off price."""
    interval_count: int = 1
    metered: bool = False
    meter: str | None = None
    tiers: tuple[Tier, ...] = ()
    tiers_mode: str | None = None
    """graduated: each unit costs what its own tier says; volume: all cost what the last one's tier says."""
    active: bool = True
    inline: bool = False
    """Made in the middle of something else (`price_data`): found by its id, and in no list."""
    nickname: str | None = None
    metadata: Metadata = field(default_factory=dict)

    def amount_for(self, quantity: int) -> int:
        """What this many units cost for one period."""
        if not self.tiers:
            return self.unit_amount * quantity
        if self.tiers_mode == "volume":
            tier = next(tier for tier in self.tiers if tier.up_to is None or quantity <= tier.up_to)
            return tier.flat_amount + tier.unit_amount * quantity
        amount = counted = 0
        for tier in self.tiers:
            reached = quantity if tier.up_to is None else min(quantity, tier.up_to)
            amount += tier.flat_amount + tier.unit_amount * (reached - counted)
            counted = reached
            if counted == quantity:
                break
        return amount


@dataclass(slots=True, kw_only=True)
class Coupon(Thing):
    kind: ClassVar[str] = "coupon"

    percent_off: int | None = None
    amount_off: int | None = None
    currency: str | None = None
    """Of an amount_off."""
    duration: str = "forever"
    """forever, once, repeating."""
    duration_in_months: int | None = None
    applies_to: tuple[str, ...] = ()
    """The products that it is limited to; none: it is not."""
    times_redeemed: int = 0

    def off(self, amount: int) -> int:
        """What the coupon takes off an amount of what it applies to, which never falls below nothing."""
        if self.percent_off is not None:
            return amount * self.percent_off // 100
        return min(self.amount_off or 0, amount)


@dataclass(slots=True, kw_only=True)
class Discount:
    """A coupon at work, from its start to its end."""

    id: str
    coupon: Coupon
    start: int
    end: int | None = None
    used: bool = False
    """A coupon for `once` that has been on an invoice does nothing any more."""


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
    test_clock: str | None = None
    """That of its customer."""
    in_first_trial: bool = False
    """True while the trial with which the subscription began is running."""
    previews: int = 0
    """How many next invoices have been announced (invoice.upcoming)."""


@dataclass(slots=True, kw_only=True)
class Line:
    id: str
    amount: int
    description: str
    period_start: int
    period_end: int
    quantity: int | None = 1
    price: str | None = None
    product: str | None = None
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
    """Taken off by credit notes while the invoice was open."""
    credited_after_payment: int = 0
    """Given back by credit notes once it was paid."""
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
    def discount_amounts(self) -> list[int]:
        """What each discount takes off: each of what the ones before it have left.

        One that is limited to products takes from their lines; give it before others, which it does not look at.
        """
        left, amounts = max(self.subtotal, 0), []
        for discount in self.discounts:
            amounts.append(discount.coupon.off(min(left, self._subject_to(discount.coupon))))
            left -= amounts[-1]
        return amounts

    def _subject_to(self, coupon: Coupon) -> int:
        """What the lines come to from which the coupon takes."""
        if not coupon.applies_to:
            return max(self.subtotal, 0)
        return max(sum(line.amount for line in self.lines if line.product in coupon.applies_to), 0)

    @property
    def total(self) -> int:
        return self.subtotal - sum(self.discount_amounts) - self.credited_before_payment

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
    payment_method: str | None = None


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
    payment_method: str | None = None
    review: str | None = None
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
class BalanceTransaction(Thing):
    """A movement on the account's own balance at Stripe. `customer`: whose money it was, which Stripe does not show."""

    kind: ClassVar[str] = "balance_transaction"

    amount: int
    currency: str
    fee: int
    category: str
    """Stripe's reporting category: charge, refund, refund_failure, dispute, dispute_reversal, payout."""
    source: str

    @property
    def type(self) -> str:
        return "adjustment" if self.category.startswith("dispute") else self.category

    @property
    def net(self) -> int:
        return self.amount - self.fee


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLine:
    """What is bought in a Checkout; one that was not made from a price has none."""

    id: str
    description: str
    amount: int
    quantity: int = 1
    price: str | None = None


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
    lines: list[SessionLine] = field(default_factory=list)
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of a schedule: the price and the quantity of each item from its start to its end."""

    plans: tuple[tuple[str, int], ...]
    start: int
    end: int


@dataclass(slots=True, kw_only=True)
class SubscriptionSchedule(Thing):
    """What is to happen to a subscription, or when one is to begin."""

    kind: ClassVar[str] = "subscription_schedule"

    phases: list[Phase]
    currency: str
    status: str = "not_started"
    """not_started, active, completed, released, canceled."""
    subscription: str | None = None
    released_subscription: str | None = None
    canceled_at: int | None = None
    completed_at: int | None = None
    released_at: int | None = None
    end_behavior: str = "release"
    """What becomes of the subscription after the last phase: release, cancel."""
    phases_begun: int = 0
    metadata: Metadata = field(default_factory=dict)

    @property
    def running_phase(self) -> Phase | None:
        return self.phases[self.phases_begun - 1] if self.status == "active" else None


@dataclass(slots=True, kw_only=True)
class CreditNote(Thing):
    kind: ClassVar[str] = "credit_note"

    invoice: str
    currency: str
    number: str
    before_payment: int = 0
    """Taken off what was still to be paid."""
    refunded: int = 0
    refund: str | None = None
    to_balance: int = 0
    out_of_band: int = 0
    """Given back outside Stripe."""
    record: str | None = None
    record_refunded: int = 0
    """Given back of a payment that Stripe only keeps a record of, which this is."""
    status: str = "issued"
    voided_at: int | None = None
    metadata: Metadata = field(default_factory=dict)

    @property
    def after_payment(self) -> int:
        return self.refunded + self.to_balance + self.out_of_band + self.record_refunded


@dataclass(slots=True, kw_only=True)
class PaymentMethod(Thing):
    """A card or a bank account; `customer` None: detached."""

    kind: ClassVar[str] = "payment_method"

    type: str = "card"
    last4: str = "4242"


@dataclass(slots=True, kw_only=True)
class SetupIntent(Thing):
    kind: ClassVar[str] = "setup_intent"

    status: str = "requires_payment_method"
    payment_method: str | None = None


@dataclass(slots=True, kw_only=True)
class TaxId(Thing):
    kind: ClassVar[str] = "tax_id"

    type: str
    value: str
    country: str
    verification: str = "pending"


@dataclass(slots=True, kw_only=True)
class Review(Thing):
    """A charge that people are to look at. `customer`: whose charge it is, which Stripe does not show."""

    kind: ClassVar[str] = "review"

    charge: str
    payment_intent: str | None = None
    open: bool = True
    reason: str = "rule"
    closed_reason: str | None = None


@dataclass(slots=True, kw_only=True)
class EarlyFraudWarning(Thing):
    """The card's bank suspects fraud. `customer`: whose charge it is, which Stripe does not show."""

    kind: ClassVar[str] = "radar.early_fraud_warning"

    charge: str
    payment_intent: str | None = None
    actionable: bool = True
    fraud_type: str = "made_with_stolen_card"


@dataclass(slots=True, kw_only=True)
class Payout(Thing):
    kind: ClassVar[str] = "payout"

    amount: int
    currency: str
    arrival_date: int
    balance_transaction: str | None = None
    status: str = "in_transit"


@dataclass(slots=True, kw_only=True)
class Feature(Thing):
    """Something that products entitle to. Stripe shows no time of its birth."""

    kind: ClassVar[str] = "entitlements.feature"

    lookup_key: str
    name: str
    active: bool = True
    metadata: Metadata = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ActiveEntitlement(Thing):
    kind: ClassVar[str] = "entitlements.active_entitlement"

    feature: str
    lookup_key: str


@dataclass(slots=True, kw_only=True)
class Meter(Thing):
    kind: ClassVar[str] = "billing.meter"

    event_name: str
    display_name: str
    status: str = "active"
    deactivated_at: int | None = None
    updated: int = 0


LIST_KINDS = (
    Customer,
    Product,
    Price,
    Coupon,
    Subscription,
    SubscriptionSchedule,
    Invoice,
    CreditNote,
    InvoicePayment,
    PaymentIntent,
    PaymentMethod,
    SetupIntent,
    Charge,
    Refund,
    Dispute,
    Review,
    EarlyFraudWarning,
    BalanceTransaction,
    Payout,
    CheckoutSession,
    TaxId,
    Feature,
    ActiveEntitlement,
    Meter,
    Clock,
)
