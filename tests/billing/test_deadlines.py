"""Deadlines: when a subscription is looked at again although no event came."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from billing.deadlines import GRACE, LOOK_MAX, next_look
from billing.kinds.parse import parse_object
from billing.kinds.subscriptions import Subscription

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def active(period_end: datetime) -> Subscription:
    """A subscription whose period ends then."""
    facts = parse_object(
        {"object": "subscription", "id": "sub_1", "customer": "cus_1", "status": "active"}
    ).facts
    assert isinstance(facts, Subscription)
    return replace(facts, current_period_end=period_end)


@pytest.mark.parametrize(
    ("late_reads", "hours"), [(0, 1), (1, 2), (2, 4), (3, 8), (4, 16), (5, 24), (6, 24), (1_000, 24)]
)
def test_wait_grows_with_each_late_read(late_reads: int, hours: int) -> None:
    """I10: after a read that found the deadline passed the wait doubles, and that read is counted."""
    found = next_look(active(NOON - GRACE), (), read_at=NOON, late_reads=late_reads)
    assert (hours * HOUR, late_reads + 1) == found


@pytest.mark.parametrize(
    ("period_end", "wait"),
    [
        (NOON + HOUR, HOUR + GRACE),
        (NOON - GRACE + timedelta(seconds=1), timedelta(seconds=1)),
        (NOON + timedelta(days=5_000), LOOK_MAX),
    ],
)
def test_deadline_ahead_forgets_late_reads(period_end: datetime, wait: timedelta) -> None:
    """I10: while the deadline is ahead the next look is a little after it, and nothing is late."""
    assert (wait, 0) == next_look(active(period_end), (), read_at=NOON, late_reads=7)
