"""Retention: events that were applied long ago leave the inbox, a small batch at a time, if RETENTION_DAYS says so. And
what was tracked so long ago is kept by the month instead of the minute.

After it was applied, an event of the inbox is of use as a memory of what came (a redelivery has no effect), and as what
a timeline cites. Stripe redelivers for 30 days at most, and forgets events by then: so nothing younger may leave. If
one comes again all the same, it is applied again: its objects are read, and the records stay as they are (I2).
"""

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from db.connection import Pool
from db.records.tracking import BEFORE_ALL, add_up_months
from db.sync.retention import trim_events

BATCH = 1000
MINUTES = 5000
"""Minutes of use that a batch looks at."""
REST_SECONDS = 3600.0
"""Between two passes. A pass goes on where the one before ended ..."""
WHOLE_SECONDS = 24 * 3600.0
"""... and once a day from the beginning: what was cited or parked then may not be so any more."""

log = structlog.get_logger()


class Retention:
    """Trims the inbox. `clock` gives seconds that never run backwards."""

    def __init__(
        self, pool: Pool, *, age: timedelta | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._age = age
        self._clock = clock
        self._after = 0
        self._trimmed = 0
        self._due_at = self._whole_at = float("-inf")

    async def turn(self) -> int:
        """Trim a batch if one is due; returns how many events have left."""
        now = self._clock()
        if self._age is None or now < self._due_at:
            return 0
        if now >= self._whole_at:
            self._after, self._whole_at = 0, now + WHOLE_SECONDS
        async with self._pool.acquire() as connection:
            trim = await trim_events(connection, after=self._after, age=self._age, limit=BATCH)
        self._after = trim.last_seq or self._after
        self._trimmed += trim.trimmed
        if trim.seen < BATCH:
            self._due_at = now + REST_SECONDS
            if self._trimmed:
                log.info("old events trimmed", count=self._trimmed)
            self._trimmed = 0
        return trim.trimmed


class UsageRetention:
    """Adds up by month what was used long ago. `clock` gives seconds that never run backwards."""

    def __init__(
        self, pool: Pool, *, age: timedelta | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._age = age
        self._clock = clock
        self._after = BEFORE_ALL
        self._added_up = 0
        self._due_at = float("-inf")

    async def turn(self) -> int:
        """Look at a batch if one is due; returns how many minutes of use became part of a month."""
        now = self._clock()
        if self._age is None or now < self._due_at:
            return 0
        async with self._pool.acquire() as connection, connection.transaction():
            months = await add_up_months(connection, after=self._after, age=self._age, limit=MINUTES)
        if months is None:
            return 0
        self._after = months.last or self._after
        self._added_up += months.added_up
        if months.seen < MINUTES:
            self._after, self._due_at = BEFORE_ALL, now + WHOLE_SECONDS
            if self._added_up:
                log.info("old use added up by month", minutes=self._added_up)
            self._added_up = 0
        return months.added_up
