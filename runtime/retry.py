"""When failed work is tried again: transactions that lost a race at once, everything else by its attempts."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from db.connection import PostgresAway, PostgresFails

T = TypeVar("T")

# Failures for which no event is to blame: Postgres is away, or the transaction has lost every race.
TryLater = (*PostgresAway, asyncpg.TransactionRollbackError)

NotTheRow = (*TryLater, *PostgresFails)
"""Failures for which no event and no customer is parked at once. One that always meets them is stopped by its attempts.
"""

TRIES = 5
ATTEMPTS_MAX = 5
"""Of an event or a customer, before it is parked. Workers may be lost several times in a row for reasons of their own
(deployments, a machine short of memory), for which the rows that they held are not to blame.
"""


def backoff_seconds(attempts: int, *, first: float = 1.0, longest: float) -> float:
    """How long to wait after so many attempts: twice as long as after one less, up to the longest."""
    return min(
        first * 2.0 ** min(attempts, 64), longest
    )  # thousands of attempts: no float takes 2 to that power


async def retry_conflicts(transaction: Callable[[], Awaitable[T]]) -> T:
    """Run a whole transaction, again if Postgres chose it as a deadlock's victim (40P01) or could not serialize
    it (40001). Raises what the last try raised.
    """
    for attempt in range(1, TRIES):
        try:
            return await transaction()
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            # Two victims that start again at the same moment meet again.
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - not a secret
    return await transaction()
