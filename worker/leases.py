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
from db.sync.customers import StaleCustomer, excuse_stale, release_stale
from db.sync.due_reads import DueRead, release_reads
from db.sync.histories import DueHistory, release_histories
from db.sync.inbox import ClaimedEvent, excuse_events, release_events
from db.sync.pushes import DuePush, release_pushes

GIVEN_BACK_MAX = 3
"""Times in a row. A row that always brings Postgres down must in the end be stopped by its attempt count."""

CUT_OFF_SECONDS = 0.9 * COMMAND_TIMEOUT_SECONDS
"""Work that Postgres ends after so long was cut off by our own limits (`db/connection.py`): it counts as tried. Waiting
for a lock is cut off long before, and does not."""


NeverTheRow = (*PostgresUnfit, asyncpg.LockNotAvailableError)
"""What ends work on a row through no fault of the row, however often: somebody else's lock, too."""

StorageFails = (*PostgresFails, asyncpg.InsufficientResourcesError)
"""What Postgres's storage answers: of one page as of all."""


class Claimed(Protocol):
    """A leased row."""

    @property
    def attempts(self) -> int: ...
    @property
    def key(self) -> tuple[object, ...]: ...


T = TypeVar("T", bound=Claimed)


@dataclass(slots=True)
class Held(Generic[T]):
    """Rows of one kind that are to be given back, and how."""

    release: Callable[[Connection, Sequence[T]], Awaitable[None]]
    """Undoes their claims; leaves alone what was finished after all, or is another worker's by now."""
    excuse: Callable[[Connection, Sequence[T]], Awaitable[None]] | None = None
    """Takes back the attempt, and leaves the lease: for rows that are parked by their attempts."""
    patience: float = 1.0
    """How many times as long as usual their work may take."""
    rows: list[T] = field(default_factory=list)
    losses: int = 0  # in a row
    excused: list[T] = field(default_factory=list)
    failed: set[tuple[object, ...]] = field(default_factory=set)
    """Of rows under suspicion: those at which storage has failed since any work was done."""

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
        except (*PostgresAway, *PostgresFails, asyncpg.TransactionRollbackError) as error:
            self.losses += 1
            self._suspect(rows, error)
            if self.losses <= GIVEN_BACK_MAX and time.monotonic() - started < self.patience * CUT_OFF_SECONDS:
                self.rows += [row for row in rows if row.attempts == 1]
            raise
        if rows:
            self.losses = 0
            self.failed.clear()

    @contextmanager
    def excusing(self, rows: Sequence[T]) -> Iterator[None]:
        """While the body works on rows that are under suspicion: note them where the fault is around us."""
        try:
            yield
        except NeverTheRow:
            self.rows += rows
            raise
        except StorageFails as error:
            self._suspect(rows, error)
            raise
        self.failed.clear()

    def _suspect(self, rows: Sequence[T], error: Exception) -> None:
        """Excuse the rows under suspicion among these if the fault is not theirs: a disk is full for all; and if
        storage has failed at another row as well, and no work was done since, it fails around them.
        """
        suspects = [row for row in rows if row.attempts > 1]
        if not isinstance(error, StorageFails):
            return
        self.failed |= {row.key for row in suspects}
        if isinstance(error, asyncpg.DiskFullError) or len(self.failed) > 1:
            self.excused += suspects

    async def give_back(self, connection: Connection) -> None:
        """Release the noted rows."""
        rows, self.rows = self.rows, []
        excused, self.excused = self.excused, []
        try:
            if rows:
                await self.release(connection, rows)
                rows = []
            if excused and self.excuse is not None:
                await self.excuse(connection, excused)
        except (*PostgresAway, *PostgresFails):
            self.rows += rows
            self.excused += excused
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

    events: Held[ClaimedEvent] = field(default_factory=lambda: Held(release_events, excuse_events))
    customers: Held[StaleCustomer] = field(default_factory=lambda: Held(release_stale, excuse_stale))
    heavy: Held[StaleCustomer] = field(
        default_factory=lambda: Held(
            release_stale, excuse_stale, patience=PATIENT_TIMEOUT_SECONDS / COMMAND_TIMEOUT_SECONDS
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
