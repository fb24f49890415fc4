"""What the simulation has found, each as the shortest order of things that shows it."""

from collections.abc import AsyncIterator

import pytest

from subledger.db.connection import Pool
from tests.worker.room import Room, charge, customer, event, open_room


@pytest.fixture
async def room(pool: Pool, database_url: str) -> AsyncIterator[Room]:
    """An engine that reads from an API whose answers the test says."""
    async with open_room(pool, database_url) as room:
        yield room


async def test_tombstone_learns_its_last_body(room: Room) -> None:
    """Seed 115: a customer was first named by another object, and deleted when it was read. Only events that were late
    know its name, and no read ever will.
    """
    room.api.put(charge())
    room.api.bodies["/v1/customers/cus_1"] = {"object": "customer", "id": "cus_1", "deleted": True}
    await room.apply(event("charge.succeeded", charge()))
    await room.settle()
    assert (None, True) == ((await room.record())["name"], (await room.record())["deleted_at"] is not None)
    await room.apply(event("customer.updated", customer(name="Ada"), after=30))
    await room.apply(event("customer.created", customer(name="Eve"), after=10))
    await room.apply(event("customer.deleted", customer(name="Ada"), after=60))
    await room.settle()
    record = await room.record()
    assert ("Ada", True, True) == (record["name"], record["deleted_at"] is not None, record["exact"])
