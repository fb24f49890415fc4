"""The pool of connections that routes share, and what they answer while Postgres is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from db.connection import (
    NOT_MIGRATED,
    Connection,
    NotOurSchema,
    NotUtf8,
    Pool,
    PostgresAway,
    PostgresFails,
    PostgresUnfit,
    TransactionPooling,
    create_pool,
)
from webhooks.answers import Refusal

COMMAND_TIMEOUT_SECONDS = 10.0
LOCK_TIMEOUT_SECONDS = 2.0
"""Who waits for a lock has one of few connections: others wait with it."""


class LostRace(Refusal):
    """Postgres undid the transaction in favour of another one. What was committed before it stands, and the whole
    request may be tried again.
    """

    def __init__(self) -> None:
        super().__init__(503, "other requests change the same at this moment")


class Database:
    """Postgres, for some routes of the web process."""

    def __init__(
        self, database_url: str, *, application_name: str, connections_max: int, keeps_plans: bool = False
    ) -> None:
        self._database_url = database_url
        self._application_name = application_name
        self._connections_max = connections_max
        self._keeps_plans = keeps_plans
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()

    async def pool(self) -> Pool:
        """The pool, opened when it is first needed."""
        async with self._opening:
            if self._pool is None:
                self._pool = await create_pool(
                    self._database_url,
                    min_size=0,
                    max_size=self._connections_max,
                    application_name=self._application_name,
                    command_timeout_seconds=COMMAND_TIMEOUT_SECONDS,
                    keeps_plans=self._keeps_plans,
                    lock_timeout_seconds=LOCK_TIMEOUT_SECONDS,
                )
            return self._pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for one request. Raises Refusal while Postgres is away, or cannot be worked with."""
        try:
            async with (await self.pool()).acquire() as connection:
                yield connection
        except asyncpg.TransactionRollbackError:
            raise LostRace from None
        except asyncpg.LockNotAvailableError:
            raise Refusal(503, "another transaction has held what this request needs for too long") from None
        except PostgresAway as error:
            raise Refusal(503, _sentence(state_of(error))) from None
        except PostgresFails as error:
            raise Refusal(503, f"Postgres fails: {type(error).__name__}: its own log says more") from None

    async def close(self) -> None:
        """Close the pool without waiting."""
        if self._pool is not None:
            self._pool.terminate()


def state_of(error: Exception) -> str:
    """What Postgres is or does. Anyone may read it, so it says no more about the database than what is to be done."""
    match error:
        case TransactionPooling() | NotUtf8():
            return str(error)
        case _ if isinstance(error, NotOurSchema):
            return NOT_MIGRATED
        case _ if isinstance(error, PostgresUnfit):
            return refusal_of(error)
        case _:
            return "away"


def refusal_of(error: Exception) -> str:
    """That Postgres refuses, and what to look at."""
    return f"refuses: {type(error).__name__}: check DATABASE_URL"


def _sentence(state: str) -> str:
    return (
        f"Postgres is {state}"
        if state in ("away", NOT_MIGRATED)
        else state.replace("refuses", "Postgres refuses", 1)
    )
