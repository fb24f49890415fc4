"""What this process had in hand when Postgres went away, or when it was told to stop, and gives back.

A lease is made for a worker that is lost: its rows wait until it has run out, and count as tried. Here the worker is
still there, and knows what it held. So a restart of Postgres or a deployment costs seconds, and nothing is taken for
dangerous.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from db.connection import Connection, PostgresAway
from db.sync.customers import StaleCustomer, release_stale
from db.sync.histories import DueHistory, release_histories
from db.sync.inbox import ClaimedEvent, release_events
from db.sync.objects import DueRead, release_reads

GIVEN_BACK_MAX = 3
"""So often in a row. What brings Postgres down whenever it is tried must be found by its attempts in the end."""


class Claimed(Protocol):
    """A leased row."""

    @property
    def attempts(self) -> int: ...


T = TypeVar("T", bound=Claimed)


@dataclass(slots=True)
class Held(Generic[T]):
    """Rows of one kind that are to be given back."""

    rows: list[T] = field(default_factory=list)
    losses: int = 0  # in a row

    @contextmanager
    def holding(self, rows: Sequence[T]) -> Iterator[None]:
        """While the body works on these rows: note them where it is cancelled, or where Postgres goes away meanwhile,
        but then not those that somebody had in hand before. These are under suspicion, and go by their attempts.
        """
        try:
            yield
        except asyncio.CancelledError:
            self.rows += rows
            raise
        except PostgresAway:
            self.losses += 1
            if self.losses <= GIVEN_BACK_MAX:
                self.rows += [row for row in rows if row.attempts == 1]
            raise
        if rows:
            self.losses = 0

    async def give_back(self, release: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        """Have the noted rows released."""
        rows, self.rows = self.rows, []
        if not rows:
            return
        try:
            await release(rows)
        except PostgresAway:
            self.rows += rows
            raise


@dataclass(slots=True)
class InHand:
    """All that one process had in hand."""

    events: Held[ClaimedEvent] = field(default_factory=Held)
    customers: Held[StaleCustomer] = field(default_factory=Held)
    reads: Held[DueRead] = field(default_factory=Held)
    histories: Held[DueHistory] = field(default_factory=Held)

    async def give_back(self, connection: Connection) -> None:
        """Give up the leases of what is noted, as if it had never been claimed. What was finished after all, or is
        somebody else's by now, stays as it is.
        """
        await self.events.give_back(lambda rows: release_events(connection, rows))
        await self.customers.give_back(lambda rows: release_stale(connection, rows))
        await self.reads.give_back(lambda rows: release_reads(connection, rows))
        await self.histories.give_back(lambda rows: release_histories(connection, rows))
