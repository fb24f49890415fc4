"""Deadlines: when a subscription will change by time alone, so that a lost event is a late one at worst."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from billing.kinds.subscriptions import Subscription, SubscriptionItem

GRACE = timedelta(hours=2)
"""Stripe acts on a deadline within about an hour; only then does silence mean that an event was lost."""
INCOMPLETE_FOR = timedelta(hours=24)
"""A first payment that is never made expires after 23 hours."""
LOOK_MAX = timedelta(days=366)
"""Nothing is left alone for longer, however far its deadline is."""
LATE_AGAIN = timedelta(hours=1)
LATE_AGAIN_MAX = timedelta(hours=24)


def deadline_of(subscription: Subscription, items: Iterable[SubscriptionItem]) -> datetime | None:
    """The next moment at which the subscription should change by itself; None when it never will."""
    match subscription.status:
        case "canceled" | "incomplete_expired":
            return None
        case "incomplete":
            moments = [None if subscription.created is None else _after(subscription.created, INCOMPLETE_FOR)]
        case "trialing":
            moments = [subscription.trial_end, subscription.cancel_at, *_period_ends(subscription, items)]
        case "active" | "past_due":
            moments = [subscription.cancel_at, *_period_ends(subscription, items)]
        case _:
            # Unpaid and paused subscriptions stand still; an unknown status is looked at with its period.
            moments = [subscription.cancel_at]
    return min((moment for moment in moments if moment is not None), default=None)


def _after(moment: datetime, span: timedelta) -> datetime:
    """A dated object may be of the last days of year 9999, after which there is no time."""
    return moment + min(span, datetime.max.replace(tzinfo=UTC) - moment)


def _period_ends(subscription: Subscription, items: Iterable[SubscriptionItem]) -> list[datetime | None]:
    ends = [item.current_period_end for item in items]
    return ends or [subscription.current_period_end]


def next_look(
    subscription: Subscription, items: Iterable[SubscriptionItem], *, read_at: datetime, late_reads: int
) -> tuple[timedelta | None, int]:
    """How long after a read the next one is due without any event, and how many reads will then have been late.

    `read_at` is by Stripe's clock, as the deadlines are. A deadline that had passed already when it was read is looked
    at again after 1, 2, 4 ... 24 hours; so is a subscription on a test clock, whose time stands still until somebody
    moves it. None is due later than a year.
    """
    deadline = deadline_of(subscription, items)
    if deadline is None:
        return None, 0
    if subscription.test_clock is not None:
        return LATE_AGAIN_MAX, 0
    wait = deadline - read_at + GRACE
    if wait > timedelta(0):
        return min(wait, LOOK_MAX), 0
    return min(LATE_AGAIN * 2 ** min(late_reads, 5), LATE_AGAIN_MAX), late_reads + 1
