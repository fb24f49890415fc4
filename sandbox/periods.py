"""Billing periods: calendar months and years counted from an anchor, days and weeks as they are."""

from calendar import monthrange
from datetime import UTC, datetime

MINUTE = 60
HOUR = 3600
DAY = 86_400
WEEK = 7 * DAY


def instant(seconds: int) -> datetime:
    """The same moment as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def add_intervals(anchor: int, interval: str, count: int) -> int:
    """The moment `count` intervals after the anchor; a month too short for the anchor's day uses its last day."""
    if interval == "day":
        return anchor + count * DAY
    if interval == "week":
        return anchor + count * WEEK
    moment = instant(anchor)
    months = moment.year * 12 + moment.month - 1 + count * (12 if interval == "year" else 1)
    year, month = divmod(months, 12)
    day = min(moment.day, monthrange(year, month + 1)[1])
    return int(moment.replace(year=year, month=month + 1, day=day).timestamp())


def boundary_after(anchor: int, interval: str, interval_count: int, moment: int) -> int:
    """The first boundary of the anchor's grid that is later than `moment`."""
    longest = {"day": DAY, "week": WEEK, "month": 31 * DAY, "year": 366 * DAY}[interval] * interval_count
    step = max((moment - anchor) // longest, 0)
    while add_intervals(anchor, interval, step * interval_count) <= moment:
        step += 1
    return add_intervals(anchor, interval, step * interval_count)


def period_around(anchor: int, interval: str, interval_count: int, moment: int) -> tuple[int, int]:
    """Start and end of the period of the anchor's grid that holds `moment` (the start belongs to it)."""
    step = 0
    while add_intervals(anchor, interval, (step + 1) * interval_count) <= moment:
        step += 1
    return (
        add_intervals(anchor, interval, step * interval_count),
        add_intervals(anchor, interval, (step + 1) * interval_count),
    )
