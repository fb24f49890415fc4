"""Rebuild: every record derived again from the mirror, in bounded batches, while the workers keep working.

A record that was right is not touched, not even its `updated_at`. Its progress is kept in Postgres with each batch, so
a rebuild that was cut short continues from there.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from billing.record import Policy
from db.connection import Connection
from db.sync.rebuilds import (
    advance_rebuild,
    claim_next,
    count_failed,
    count_left,
    finish_rebuild,
    lock_rebuilds,
    open_rebuild,
)
from worker.live.derive import derive_in_pieces

BATCH = 500
LEASE = timedelta(minutes=5)


class RebuildBusy(Exception):
    """Another session is rebuilding this database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a rebuild has come, including the part before it was cut short."""

    derived: int
    total: int
    changed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild has done."""

    derived: int  # customers
    changed: int  # records that came out different from what was stored
    failed: int  # customers that could not be derived; sync.customers.error says why
    resumed: bool


@asynccontextmanager
async def rebuilding_alone(holder: Connection) -> AsyncIterator[None]:
    """No other session rebuilds while the body runs, which leaves this connection alone. Raises RebuildBusy."""
    async with holder.transaction():
        if not await lock_rebuilds(holder):
            raise RebuildBusy("another rebuild is running on this database: wait for it")
        yield


async def rebuild(
    connection: Connection,
    *,
    policy: Policy,
    progressed: Callable[[Progress], None] = lambda _: None,
    batch: int = BATCH,
) -> Rebuilt:
    """Derive every customer again, or continue where the last rebuild was cut short. `progressed` is called per batch.

    Customers that come meanwhile are derived by the workers, and perhaps here too. Inside `rebuilding_alone`.
    """
    opened = await open_rebuild(connection)
    reached, derived, changed = opened.reached, opened.derived, opened.changed
    total = derived + await count_left(connection, reached)
    progressed(Progress(derived=derived, total=total, changed=changed))
    while claimed := await claim_next(connection, reached, limit=batch, lease=LEASE):
        different = await derive_in_pieces(connection, claimed, policy=policy)
        reached = claimed[-1].key
        derived, changed = derived + len(claimed), changed + different
        await advance_rebuild(connection, opened.id, reached, derived=len(claimed), changed=different)
        progressed(Progress(derived=derived, total=max(total, derived), changed=changed))
    await finish_rebuild(connection, opened.id)
    failed = await count_failed(connection)
    return Rebuilt(derived=derived, changed=changed, failed=failed, resumed=opened.derived > 0)
