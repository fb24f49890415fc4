"""Customers, and what is kept about them: test clocks, cards and bank accounts, tax ids."""

from dataclasses import dataclass, field
from typing import ClassVar

from sandbox.objects.thing import Metadata, Thing


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
    """The id of the PaymentMethod that goes with it."""
    tax_ids: list[str] = field(default_factory=list)
    test_clock: str | None = None


@dataclass(slots=True, kw_only=True)
class Clock(Thing):
    """A test clock. It runs with the sandbox's own clock; lists leave out what is on it anyway."""

    kind: ClassVar[str] = "test_helpers.test_clock"

    frozen_time: int
    name: str | None = None


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
