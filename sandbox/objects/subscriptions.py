"""Subscriptions, and the schedules that begin, change and end them."""

from dataclasses import dataclass, field
from typing import ClassVar

from sandbox.objects.catalogue import Discount
from sandbox.objects.thing import Metadata, Thing


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
    """The invoice whose payment ends a pause after a resume `on_payment_success`."""
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
    """The one of its customer."""
    in_first_trial: bool = False
    """True while the subscription's first trial is running."""
    previews: int = 0
    """How many next invoices have been announced (invoice.upcoming)."""


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
    """What happens to the subscription after the last phase: release, cancel."""
    phases_begun: int = 0
    metadata: Metadata = field(default_factory=dict)

    @property
    def running_phase(self) -> Phase | None:
        return self.phases[self.phases_begun - 1] if self.status == "active" else None
