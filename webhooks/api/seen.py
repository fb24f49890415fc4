"""Notes that customers were active: what their checks say is written now and then, for many at a time.

A check answers within a few milliseconds and writes nothing itself. What waits here when the process ends is lost: then
last_seen moves at the next check.
"""

import asyncio
from uuid import UUID

import structlog

from db.connection import PostgresAway
from db.records.tracking import Seen, move_last_seen
from webhooks.database import Database

PAUSE_SECONDS = 5.0
AT_ONCE = 500
"""Each moved last_seen derives a record: more than these are not noted in one pause, so that webhooks do not wait."""

log = structlog.get_logger()


class SeenCustomers:
    """Customers whose last_seen is to move."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._seen: dict[UUID, Seen] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, seen: Seen) -> None:
        """It is written soon, unless too many are."""
        if len(self._seen) < AT_ONCE:
            self._seen[seen.customer_uid] = seen

    async def write(self) -> int:
        """Write what was noted; returns of how many."""
        seen, self._seen = self._seen, {}
        if not seen:
            return 0
        try:
            async with (await self._database.pool()).acquire() as connection, connection.transaction():
                await move_last_seen(connection, [seen[uid] for uid in sorted(seen)])
        except Exception:
            self._seen = seen | self._seen  # the next time, then
            raise
        return len(seen)

    def start(self) -> None:
        """Write from now on."""
        self._task = asyncio.create_task(self._keep_writing(), name="seen")

    async def close(self) -> None:
        """Write no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            try:
                await self.write()
            except PostgresAway as error:
                log.warning("last_seen not moved", error=repr(error))
            except Exception:
                log.exception("last_seen not moved")
