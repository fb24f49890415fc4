"""Invoices, their payments, and their credit notes."""

from dataclasses import dataclass, field
from typing import ClassVar

from sandbox.objects.catalogue import Coupon, Discount
from sandbox.objects.thing import Metadata, Thing


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
        """What each discount takes off what the discounts before it left.

        A discount that is limited to products takes from their lines and ignores other discounts: put it first.
        """
        left, amounts = max(self.subtotal, 0), []
        for discount in self.discounts:
            amounts.append(discount.coupon.off(min(left, self._subject_to(discount.coupon)), self.currency))
            left -= amounts[-1]
        return amounts

    def _subject_to(self, coupon: Coupon) -> int:
        """The sum of the lines that the coupon applies to."""
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
class CreditNote(Thing):
    kind: ClassVar[str] = "credit_note"

    invoice: str
    currency: str
    number: str
    before_payment: int = 0
    """Taken off what was still due."""
    refunded: int = 0
    refund: str | None = None
    to_balance: int = 0
    out_of_band: int = 0
    """Given back outside Stripe."""
    record: str | None = None
    record_refunded: int = 0
    """Given back from a payment outside Stripe; `record` is the payment record that it was recorded by."""
    status: str = "issued"
    voided_at: int | None = None
    metadata: Metadata = field(default_factory=dict)

    @property
    def after_payment(self) -> int:
        return self.refunded + self.to_balance + self.out_of_band + self.record_refunded
