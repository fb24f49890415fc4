"""Money through Stripe: intents, charges, refunds, disputes, suspected fraud, and the account's balance."""

from dataclasses import dataclass, field
from typing import ClassVar

from sandbox.objects.thing import Thing


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
    """Whether the capture is finished."""
    multicapture: bool = False
    """Whether it may be captured several times."""
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
    """Whose money it was: known to the story even if the charge itself names no customer."""


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
    """Stripe's reporting category: charge, refund, refund_failure, dispute, dispute_reversal, fee, payout."""
    source: str

    @property
    def type(self) -> str:
        if self.category == "fee":
            return "stripe_fee"
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
