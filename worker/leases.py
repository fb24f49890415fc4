"""The leases that this process gives back: what it held when Postgres went away, or when it has to stop.

A lease is made for a worker that is lost: its rows wait until it has run out, and count as tried. Here the worker is
still there, and knows what it held. So a restart of Postgres or a deployment costs seconds, and no row is suspected.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields
from typing import Generic, Protocol, TypeVar

import asyncpg

from db.connection import (
    COMMAND_TIMEOUT_SECONDS,
    PATIENT_TIMEOUT_SECONDS,
    Connection,
    PostgresAway,
    PostgresFails,
    PostgresUnfit,
)
from db.sync.customers import StaleCustomer, release_stale
from db.sync.due_reads import DueRead, release_reads
from db.sync.histories import DueHistory, release_histories
from db.sync.inbox import ClaimedEvent, release_events
from db.sync.pushes import DuePush, release_pushes

GIVEN_BACK_MAX = 3
"""Times in a row. A row that always brings Postgres down must in the end be stopped by its attempt count."""

CUT_OFF_SECONDS = 0.9 * COMMAND_TIMEOUT_SECONDS
"""Work that Postgres ends after so long was cut off by our own limits (`db/connection.py`): it counts as tried. Waiting
for a lock is cut off long before, and does not."""


NeverTheRow = (*PostgresUnfit, asyncpg.LockNotAvailableError)
"""What ends work on a row through no fault of the row, however often: somebody else's lock, too."""


class Claimed(Protocol):
    """A leased row."""

    @property
    def attempts(self) -> int: ...


T = TypeVar("T", bound=Claimed)


@dataclass(slots=True)
class Held(Generic[T]):
    """Rows of one kind that are to be given back, and how."""

    release: Callable[[Connection, Sequence[T]], Awaitable[None]]
    """Undoes their claims; leaves alone what was finished after all, or is another worker's by now."""
    patience: float = 1.0
    """How many times as long as usual their work may take."""
    rows: list[T] = field(default_factory=list)
    losses: int = 0  # in a row

    @contextmanager
    def holding(self, rows: Sequence[T]) -> Iterator[None]:
        """While the body works on these rows: note them if it is cancelled, or if Postgres goes away or fails
        meanwhile, but then not those that a worker held before. These are under suspicion, and go by their attempts. So
        do those on which so much time was spent that Postgres ended the work. All are noted if Postgres cannot be
        worked with.
        """
        started = time.monotonic()
        try:
            yield
        except asyncio.CancelledError:
            self.rows += rows
            raise
        except NeverTheRow:
            self.rows += (
                rows  # no row makes a pooler, a role or a schema what it is, or holds a lock for so long
            )
            raise
        except (*PostgresAway, *PostgresFails, asyncpg.TransactionRollbackError):
            self.losses += 1
            if self.losses <= GIVEN_BACK_MAX and time.monotonic() - started < self.patience * CUT_OFF_SECONDS:
                self.rows += [row for row in rows if row.attempts == 1]
            raise
        if rows:
            self.losses = 0

    @contextmanager
    def excusing(self, rows: Sequence[T]) -> Iterator[None]:
        """While the body works on rows that are under suspicion: note them where the fault is around us."""
        try:
            yield
        except NeverTheRow:
            self.rows += rows
            raise

    async def give_back(self, connection: Connection) -> None:
        """Release the noted rows."""
        rows, self.rows = self.rows, []
        if not rows:
            return
        try:
            await self.release(connection, rows)
        except PostgresAway:
            self.rows += rows
            raise


def holding(held: Held[T] | None, rows: Sequence[T]) -> AbstractContextManager[None]:
    """`held.holding(rows)`; nothing is noted if there is nobody to give it back."""
    return nullcontext() if held is None else held.holding(rows)


def excusing(held: Held[T] | None, rows: Sequence[T]) -> AbstractContextManager[None]:
    """`held.excusing(rows)`, in the same way."""
    return nullcontext() if held is None else held.excusing(rows)


@dataclass(frozen=True, slots=True)
class HeldLeases:
    """Every lease that a process gives back, one line for each kind of row."""

    events: Held[ClaimedEvent] = field(default_factory=lambda: Held(release_events))
    customers: Held[StaleCustomer] = field(default_factory=lambda: Held(release_stale))
    heavy: Held[StaleCustomer] = field(
        default_factory=lambda: Held(
            release_stale, patience=PATIENT_TIMEOUT_SECONDS / COMMAND_TIMEOUT_SECONDS
        )
    )
    reads: Held[DueRead] = field(default_factory=lambda: Held(release_reads))
    histories: Held[DueHistory] = field(default_factory=lambda: Held(release_histories))
    pushes: Held[DuePush] = field(default_factory=lambda: Held(release_pushes))

    async def give_back(self, connection: Connection) -> None:
        """Give up the leases of what is noted, as if it had never been claimed."""
        for kind in fields(self):
            held: Held[Claimed] = getattr(self, kind.name)
            await held.give_back(connection)
