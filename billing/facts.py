"""Everything that one customer's record is computed from: the facts of its Stripe objects, and our own data about it.

The families in `kinds/` define the facts of Stripe's objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from billing.kinds.catalogue import Price, Product
from billing.kinds.checkout import CheckoutSession
from billing.kinds.customers import Customer
from billing.kinds.discounts import Coupon
from billing.kinds.entitlements import ActiveEntitlement, Feature
from billing.kinds.invoices import CreditNote, Invoice
from billing.kinds.payments import Charge, Dispute, Refund
from billing.kinds.subscriptions import (
    Subscription,
    SubscriptionItem,
    SubscriptionSchedule,
    SubscriptionScheduleItem,
)

_UNLINKED = "uid/"
"""What the key of a customer begins with that Stripe does not know. No id of a customer at Stripe has a slash."""


def unlinked_key(uid: UUID | str) -> str:
    """What stands in place of Stripe's id where a customer is known by one (sync.customers, sync.uid_claims), of a
    customer that has only an identity here.
    """
    return f"{_UNLINKED}{uid}"


def uid_of_unlinked(customer_id: str) -> UUID | None:
    """The uid of a customer that Stripe does not know, by its key; None for an id of Stripe's."""
    return UUID(customer_id.removeprefix(_UNLINKED)) if customer_id.startswith(_UNLINKED) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Our own data about a customer, which Stripe does not have (billing.identities)."""

    uid: str
    custom_uid: str | None
    name: str | None
    email: str | None
    description: str | None
    fingerprint: str | None
    send_email_receipts: bool | None
    metadata: dict[str, str]
    sandbox_product_id: str | None
    sandbox_end: datetime | None
    last_seen: datetime | None
    created_at: datetime
    # Fields that were set here and are on their way to Stripe: see billing/pushes.py.
    pushed: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UidClaim:
    """A customer's claim of a custom_uid, by the first source that states one, and what decides between claimants."""

    custom_uid: str
    customer_id: str
    source: str  # local, metadata, checkout, page: see billing/claims.py
    object_id: str  # the object or identity that states it
    customer_created: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerFacts:
    """Everything that one customer's record is computed from, read in one snapshot of the mirror."""

    account_id: str
    live_mode: bool
    customer_id: str  # Stripe's, or the key of a customer that Stripe does not know (`unlinked_key`)
    customer: Customer | None  # None: other objects name it, but its own row has not come yet
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
    prices: tuple[Price, ...] = ()  # the known ones of `items` and `schedule_items`, and perhaps others
    # Of these, by id: the rank among all prices of the product. A price that is not here has its rank among `prices`.
    price_ranks: Mapping[str, int] = field(default_factory=dict)
    products: tuple[Product, ...] = ()
    coupons: tuple[Coupon, ...] = ()  # the known ones of its discounts, and perhaps others
    entitlements: tuple[ActiveEntitlement, ...] = ()
    features: tuple[Feature, ...] = ()  # the known ones among those in `entitlements`
    rival_claims: tuple[UidClaim, ...] = ()  # the first stored claims of the name that this customer claims
    crowded: bool = False  # more than CLAIMANTS_MAX customers claim that name

    @property
    def is_gone(self) -> bool:
        """Whether nobody is meant any more: an identity without a Stripe customer that was removed, or linked since."""
        return self.identity is None and uid_of_unlinked(self.customer_id) is not None
