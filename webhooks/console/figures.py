"""What the console draws, counted now and then: where there are many customers, counting takes long.

A look starts a count if the last one is old enough, and waits for it a little. The pause grows with the time that a
count takes, so that the console never costs Postgres more than a small share of it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Generic, TypeVar

import structlog

from db.connection import Connection, connect
from db.records.figures import (
    MrrMonth,
    MrrNow,
    RevenueMonth,
    StatusCount,
    StatusFlow,
    count_by_status,
    count_flows,
    select_account_now,
    sum_mrr,
    sum_mrr_months,
    sum_revenue_months,
)

PAUSE_SECONDS = 10.0
"""Between two counts, at least ..."""
SHARE = 0.02
"""... and as long that counting takes no more than this share of the time."""
PATIENCE_SECONDS = 1.0
"""How long a page waits for a count; after that it shows the last one, or says that there is none yet."""
COUNT_SECONDS_MAX = 600.0
"""For one statement: revenue by month takes longest, a minute or more beside a million customers."""
MONTHS = 24
EVENTS_WALKED_MAX = 100

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many customers there are now, and what they bring."""

    at: datetime
    customers: Sequence[StatusCount]
    mrr: Sequence[MrrNow]

    def live_mode(self, served: bool | None) -> bool:
        """The mode that is shown: the one that is served, else that of most customers."""
        if served is not None:
            return served
        live = sum(each.customers if each.live_mode else -each.customers for each in self.customers)
        return live > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """How that came about."""

    at: datetime
    today: date
    """At Stripe: a simulated account lives at another time."""
    flows: Sequence[StatusFlow]
    mrr_months: Sequence[MrrMonth]
    revenue_months: Sequence[RevenueMonth]


Kept = TypeVar("Kept")


class Figure(Generic[Kept]):
    """The last count of something, and the one that is under way."""

    def __init__(
        self,
        database_url: str,
        read: Callable[[Connection], Awaitable[Kept]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database_url = database_url
        self._read = read
        self._clock = clock
        self._last: Kept | None = None
        self._due_at = float("-inf")
        self._counting: asyncio.Task[None] | None = None
        self.failed = False
        """Whether the last count could not be made: the log says why."""

    async def look(self) -> Kept | None:
        """The figures, as new as a page can wait for; None: they are not counted yet."""
        if (self._counting is None or self._counting.done()) and self._clock() >= self._due_at:
            self._counting = asyncio.create_task(self._count(), name="figures of the console")
        if self._counting is not None:
            await asyncio.wait([self._counting], timeout=PATIENCE_SECONDS)
        return self._last

    async def close(self) -> None:
        """Count no more."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.gather(self._counting, return_exceptions=True)

    async def _count(self) -> None:
        began = self._clock()
        try:
            connection = await connect(
                self._database_url,
                application_name="subledger web console",
                command_timeout_seconds=COUNT_SECONDS_MAX,
            )
            try:
                self._last = await self._read(connection)
                self.failed = False
            finally:
                connection.terminate()
        except Exception as error:  # noqa: BLE001 - whatever it is, the page without charts is worth showing
            self.failed = True
            log.warning("figures of the console not counted", error=repr(error))
        took = self._clock() - began
        self._due_at = self._clock() + max(PAUSE_SECONDS, took / SHARE)


class Figures:
    """All figures. What is counted quickly is counted more often."""

    def __init__(self, database_url: str) -> None:
        self.counts = Figure(database_url, read_counts)
        self.history = Figure(database_url, read_history)

    async def close(self) -> None:
        """Count no more."""
        await self.counts.close()
        await self.history.close()


async def read_counts(connection: Connection) -> Counts:
    """Count the customers of now: one reading of a table for each figure."""
    return Counts(
        at=datetime.now(UTC),
        customers=await count_by_status(connection),
        mrr=await sum_mrr(connection),
    )


async def read_history(connection: Connection) -> History:
    """Add up everything that has happened: a minute or more, where a million customers are."""
    now = datetime.now(UTC)
    at_stripe = await select_account_now(connection, walked_max=EVENTS_WALKED_MAX) or now
    today = at_stripe.astimezone(UTC).date()
    since = first_month(today)
    return History(
        at=now,
        today=today,
        flows=await count_flows(connection),
        mrr_months=await sum_mrr_months(connection, since=since),
        revenue_months=await sum_revenue_months(connection, since=since),
    )


def first_month(today: date) -> date:
    """The first day of the oldest month that is drawn."""
    months = today.year * 12 + today.month - MONTHS
    return date(months // 12, months % 12 + 1, 1)
