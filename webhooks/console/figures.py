"""What the console draws, counted now and then: where there are many customers, counting takes long.

A look starts a count if the last one is old enough, and waits for it a little. The pause grows with the time that a
count takes, so that the console never costs Postgres more than a small share of it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

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
COUNT_SECONDS_MAX = 120.0
"""For one statement."""
MONTHS = 24

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """All figures, read one after the other."""

    at: datetime
    customers: Sequence[StatusCount]
    flows: Sequence[StatusFlow]
    mrr: Sequence[MrrNow]
    mrr_months: Sequence[MrrMonth]
    revenue_months: Sequence[RevenueMonth]

    def live_mode(self, served: bool | None) -> bool:
        """The mode that is shown: the one that is served, else that of most customers."""
        if served is not None:
            return served
        live = sum(each.customers if each.live_mode else -each.customers for each in self.customers)
        return live > 0


class Figures:
    """The last count, and the one that is under way."""

    def __init__(self, database_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database_url = database_url
        self._clock = clock
        self._last: Counted | None = None
        self._due_at = float("-inf")
        self._counting: asyncio.Task[None] | None = None
        self.failed = False
        """Whether the last count could not be made: the log says why."""

    async def look(self) -> Counted | None:
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
                self._last = await _read(connection)
                self.failed = False
            finally:
                connection.terminate()
        except Exception as error:  # noqa: BLE001 - whatever it is, the page without charts is worth showing
            self.failed = True
            log.warning("figures of the console not counted", error=repr(error))
        took = self._clock() - began
        self._due_at = self._clock() + max(PAUSE_SECONDS, took / SHARE)


async def _read(connection: Connection) -> Counted:
    now = datetime.now(UTC)
    since = first_month(now.date())
    return Counted(
        at=now,
        customers=await count_by_status(connection),
        flows=await count_flows(connection),
        mrr=await sum_mrr(connection),
        mrr_months=await sum_mrr_months(connection, since=since),
        revenue_months=await sum_revenue_months(connection, since=since),
    )


def first_month(today: date) -> date:
    """The first day of the oldest month that is drawn."""
    months = today.year * 12 + today.month - MONTHS
    return date(months // 12, months % 12 + 1, 1)
