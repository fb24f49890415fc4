"""Having Stripe read now for a request, and waiting until it is."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from db.connection import Connection
from db.keys import CustomerKey
from db.records.refresh import RefreshState, select_refresh_state, want_refresh
from runtime.bell import Bell
from webhooks.database import Database

POLL_SECONDS = 0.1
NOT_IN_TIME = "Stripe has not been read to the end in time"

State = TypeVar("State")


async def refresh_customer(
    database: Database, bell: Bell, key: CustomerKey, *, deadline: float
) -> RefreshState:
    """Have the customer's lists read at Stripe, ahead of everything else; the state when that is over, or at the
    deadline (`time.monotonic`). Raises Refusal while Postgres is away.
    """
    async with database.connection() as connection:
        await want_refresh(connection, key)
    await bell.ring_bulk()
    await bell.ring()

    async def look(connection: Connection) -> RefreshState:
        return await select_refresh_state(connection, key)

    def over(state: RefreshState) -> bool:
        return state.finished or state.unknown or state.error is not None

    return await wait_until(database, look, over, deadline=deadline)


async def wait_until(
    database: Database,
    look: Callable[[Connection], Awaitable[State]],
    over: Callable[[State], bool],
    *,
    deadline: float,
    poll_seconds: float = POLL_SECONDS,
) -> State:
    """The first state that is over, or the last one before the deadline."""
    while True:
        async with database.connection() as connection:
            state = await look(connection)
        if over(state) or time.monotonic() > deadline:
            return state
        await asyncio.sleep(poll_seconds)
