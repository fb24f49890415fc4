"""Deadlines: when a subscription changes by time alone, so that a lost event is at worst a late one."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from billing.kinds.subscriptions import Subscription, SubscriptionItem

GRACE = timedelta(hours=2)
"""Stripe acts on a deadline within about an hour. Only after that does silence mean that an event was lost."""
INCOMPLETE_FOR = timedelta(hours=24)
"""A first payment that is never made expires after 23 hours."""
LOOK_MAX = timedelta(days=366)
"""No subscription is left unread for longer, however far away its deadline is."""
LATE_AGAIN = timedelta(hours=1)
LATE_AGAIN_MAX = timedelta(hours=24)


def deadline_of(subscription: Subscription, items: Iterable[SubscriptionItem]) -> datetime | None:
    """The next moment at which the subscription should change by itself; None when it never does."""
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
            # Unpaid and paused subscriptions do not change by themselves; nor, for all we know, does an unknown status.
            moments = [subscription.cancel_at]
    return min((moment for moment in moments if moment is not None), default=None)


def _after(moment: datetime, span: timedelta) -> datetime:
    """The sum, or the last moment of the year 9999 if it would be later: Python knows no later time."""
    return moment + min(span, datetime.max.replace(tzinfo=UTC) - moment)


def _period_ends(subscription: Subscription, items: Iterable[SubscriptionItem]) -> list[datetime | None]:
    ends = [item.current_period_end for item in items]
    return ends or [subscription.current_period_end]


def next_look(
    subscription: Subscription, items: Iterable[SubscriptionItem], *, read_at: datetime, late_reads: int
) -> tuple[timedelta | None, int]:
    """How long after a read the next one is due if no event comes, and the number of late reads to remember.

    `read_at` is by Stripe's clock, as the deadlines are. If the deadline had already passed at the read, the next one
    is due after 1, 2, 4 ... 24 hours. A subscription on a test clock, whose time stands still until somebody moves it,
    is due after 24 hours. No wait is longer than a year.
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
