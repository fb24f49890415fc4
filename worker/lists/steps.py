"""What the steps of a scan have in common."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from billing.record import Policy
from db.connection import Pool
from db.sync.coverage import Hole
from db.sync.scans import Scan, move_scan
from runtime.stripe_api import StripeApi

BEGINNING = datetime(2010, 1, 1, tzinfo=UTC)
"""Older than any object of Stripe. An account does not reliably say when it was created."""
HOLES_TOLD_MAX = 5
READS_AT_ONCE = 16
"""Reads by id of one step, no more than a lane has under way: a few beyond it would be a second wait each time."""
HOLD = timedelta(seconds=30)
"""How long a step that notes its progress keeps its lease with each note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Helpers:
    """A worker's hands, lent to a step for one turn."""

    pool: Pool
    stripe: StripeApi
    policy: Policy
    derive: Callable[[], Awaitable[int]]
    over: Callable[[], bool]


def bounds_of(scan: Scan, horizon: datetime) -> tuple[datetime, datetime]:
    """The stretch of `created` that a scan covers, [low, high). Stripe's seconds are whole: so is the last one."""
    end = horizon.replace(microsecond=0) + timedelta(seconds=1)
    return scan.since or BEGINNING, end if scan.until is None else min(scan.until, end)


def say_holes(holes: list[Hole]) -> str:
    """Which kinds and stretches were not read to their end, and why."""
    told = [
        f"{hole.kind} created from {hole.low:%Y-%m-%d %H:%M:%S} to {hole.high:%Y-%m-%d %H:%M:%S} UTC: {hole.error}"
        for hole in holes[:HOLES_TOLD_MAX]
    ]
    if len(holes) > HOLES_TOLD_MAX:
        told.append(f"and {len(holes) - HOLES_TOLD_MAX} more")
    return "; ".join(told)


async def move(helpers: Helpers, scan: Scan, step: str, *, cursor: str = "") -> None:
    """Go on with a step at once."""
    async with helpers.pool.acquire() as connection:
        await move_scan(connection, scan.id, step=step, cursor=cursor)
