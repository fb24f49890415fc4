"""Histories that somebody asked for: a pull answers only what was asked before it began."""

import asyncio

from db.keys import CustomerKey
from db.records.refresh import select_refresh_state, want_refresh
from tests.worker.harness import Body, Room, customer, event, listing, subscription
from worker.lists.histories import LISTS

KEY = CustomerKey("", False, "cus_1")
PATHS = (
    "subscriptions",
    "subscription_schedules",
    "invoices",
    "charges",
    "credit_notes",
    "checkout/sessions",
)


def lists_hold(room: Room, *subscriptions: Body) -> None:
    """What Stripe's lists of the customer hold: these subscriptions, and nothing else."""
    assert len(PATHS) == len(LISTS)
    for path in (*PATHS, "events"):
        room.api.bodies[f"/v1/{path}"] = listing([], url=f"/v1/{path}")
    room.api.bodies["/v1/subscriptions"] = listing(list(subscriptions), url="/v1/subscriptions")
    room.api.put(*subscriptions)


async def refresh(room: Room) -> None:
    async with room.pool.acquire() as connection:
        await want_refresh(connection, KEY)


async def finished(room: Room) -> bool:
    async with room.pool.acquire() as connection:
        return (await select_refresh_state(connection, KEY)).finished


async def test_pull_answers_nobody_who_asked_later(room: Room) -> None:
    """A refresh shows what was so when it was asked for, although an older pull ends after it was."""
    room.api.put(customer())
    lists_hold(room)
    await room.apply(event("customer.created", customer()))
    await room.confirm(times=2)
    await refresh(room)
    gate = room.api.hold("/v1/invoices")
    pull = asyncio.create_task(room.engine.sweep_bulk())
    await gate.reached_by(pull)
    # It has read that there are no subscriptions.
    lists_hold(room, subscription())
    await refresh(room)
    gate.open.set()
    await pull
    await room.settle()
    assert await finished(room)
    assert (await room.record())["status"] == "active"


async def test_failed_pull_puts_nobody_off_who_asked_later(room: Room) -> None:
    """Who asks during a pull that fails waits for no retry of it, and is not told of its failure."""
    room.api.put(customer())
    lists_hold(room)
    await room.apply(event("customer.created", customer()))
    await refresh(room)
    room.api.say("/v1/invoices", 400, {"error": {"type": "invalid_request_error", "message": "no"}})
    gate = room.api.hold("/v1/invoices")
    pull = asyncio.create_task(room.engine.sweep_bulk())
    await gate.reached_by(pull)
    await refresh(room)
    gate.open.set()
    await pull
    await room.settle()
    assert await finished(room)


async def test_late_creation_cancels_no_refresh(room: Room) -> None:
    """A customer.created spares the pull of a first sight, never one that somebody asked for."""
    room.api.put(customer())
    lists_hold(room, subscription())
    await refresh(room)
    await room.apply(event("customer.created", customer()))
    await room.confirm(times=2)
    assert not await finished(room)
    await room.engine.sweep_bulk()
    await room.settle()
    assert await finished(room)
    assert (await room.record())["status"] == "active"
