"""Transactions that lost a race are begun again; nothing else is."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

T = TypeVar("T")
TRIES = 5


async def retry_conflicts(transaction: Callable[[], Awaitable[T]]) -> T:
    """Run a whole transaction, again where Postgres chose it as a deadlock's victim (40P01) or could not serialize
    it (40001). Raises what the last try raised.
    """
    for attempt in range(1, TRIES):
        try:
            return await transaction()
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            # Two victims that start again at the same moment meet again.
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - not a secret
    return await transaction()
