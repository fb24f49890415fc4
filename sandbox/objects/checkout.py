"""Checkout sessions, and what was bought in them."""

from dataclasses import dataclass, field
from typing import ClassVar

from sandbox.objects.thing import Metadata, Thing


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLine:
    """What is bought in a Checkout; `price` is None for a line that names no price."""

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
    payment_link: str | None = None  # whose page made it: then the buyer writes client_reference_id
    subscription: str | None = None
    invoice: str | None = None
    payment_intent: str | None = None
    lines: list[SessionLine] = field(default_factory=list)
    metadata: Metadata = field(default_factory=dict)
