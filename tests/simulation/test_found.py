"""What the simulation has found, each as the shortest order of things that shows it."""

from collections.abc import AsyncIterator

import pytest

from db.connection import Pool
from db.keys import CustomerKey
from db.sync.customers import claim_stale, mark_stale
from db.sync.inbox import claim_events
from runtime.retry import ATTEMPTS_MAX
from tests.harness import Harness, charge, customer, event, open_harness
from worker.live import apply, derive


@pytest.fixture
async def harness(pool: Pool, database_url: str) -> AsyncIterator[Harness]:
    """An engine that reads from an API whose answers the test says."""
    async with open_harness(pool, database_url) as harness:
        yield harness


async def test_tombstone_learns_its_last_body(harness: Harness) -> None:
    """Seed 115: a customer was first named by another object, and deleted when it was read. Only events that were late
    know its name, and no read ever will.
    """
    harness.api.put(charge())
    harness.api.bodies["/v1/customers/cus_1"] = {"object": "customer", "id": "cus_1", "deleted": True}
    await harness.apply(event("charge.succeeded", charge()))
    await harness.settle()
    assert (None, True) == (
        (await harness.record())["name"],
        (await harness.record())["deleted_at"] is not None,
    )
    await harness.apply(event("customer.updated", customer(name="Ada"), after=30))
    await harness.apply(event("customer.created", customer(name="Eve"), after=10))
    await harness.apply(event("customer.deleted", customer(name="Ada"), after=60))
    await harness.settle()
    record = await harness.record()
    assert ("Ada", True, True) == (record["name"], record["deleted_at"] is not None, record["exact"])


async def test_deaths_condemn_only_what_was_in_hand(harness: Harness) -> None:
    """Seed 165: workers are lost again and again, each for something else, and the first had a whole batch leased. I4:
    whatever was leased along with what they had in hand is not given up.
    """
    await harness.receive(
        *(event("charge.succeeded", charge(f"ch_{n}"), event_id=f"evt_{n}") for n in range(1, 4))
    )
    for leased in ("evt_1 evt_2 evt_3", *["evt_1"] * (ATTEMPTS_MAX - 1)):
        async with harness.pool.acquire() as connection:
            claimed = await claim_events(connection, limit=10, lease=apply.LEASE)
        assert leased == " ".join(each.event_id for each in claimed)
        await harness.make_due()
    await harness.engine.apply()
    assert {"evt_1": "parked", "evt_2": "applied", "evt_3": "applied"} == await harness.event_states()


async def test_deaths_condemn_only_whom_they_had_in_hand(harness: Harness) -> None:
    """The same of customers whose records are derived."""
    async with harness.pool.acquire() as connection:
        for n in range(1, 4):  # each at a time of its own: claims go by it
            await mark_stale(connection, [CustomerKey("", False, f"cus_{n}")])
        for leased in (3, *[1] * (ATTEMPTS_MAX - 1)):
            assert leased == len(await claim_stale(connection, limit=10, lease=derive.LEASE))
            await harness.make_due()
    await harness.engine.derive()
    parked = await harness.fetchval("select count(*) from sync.customers where parked_at is not null")
    assert 1 == parked
    assert 2 == await harness.fetchval("select count(*) from sync.customers where derived = stale")
