"""Workers that meet at the same rows wait for each other in one order, and so never in a circle."""

import asyncio
from random import Random

import asyncpg
import pytest

from billing.status import Policy
from db.connection import Pool
from tests.harness import (
    NOON,
    Body,
    Harness,
    charge,
    customer,
    event,
    item,
    listing,
    refund,
    subscription,
)
from worker.live.apply import apply_batch
from worker.live.confirm import confirm_batch
from worker.live.derive import derive_batch, fan_out_batch, resolve_batch

CUSTOMERS = 8
NAMES = ("ada", "bob", "eve")


async def deadlocks(database_url: str) -> int:
    """How many of this database's transactions Postgres has ended because they waited in a circle."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("select pg_stat_force_next_flush()")
        count: int = await connection.fetchval(
            "select deadlocks from pg_stat_database where datname = current_database()"
        )
        return count
    finally:
        await connection.close()


def story(random: Random) -> list[tuple[bytes, list[Body]]]:
    """Events that all name each other's objects, each with the state that Stripe then has. Customers claim few names,
    and change them; charges, refunds and prices are often named before their own events come.
    """
    told = []
    for number in range(CUSTOMERS):
        name = f"cus_{number}"
        for turn in range(3):
            known = customer(
                name,
                created=NOON + number,
                metadata={"custom_uid": random.choice(NAMES)},
                default_source=None,
            )
            kind = "customer.created" if turn == 0 else "customer.updated"
            told.append((event(kind, known, after=10 * turn), [known]))
        sub = subscription(f"sub_{number}", name, items=listing([item(f"si_{number}")]))
        sub["latest_invoice"] = f"in_{number}"
        invoice = {
            "object": "invoice",
            "id": f"in_{number}",
            "created": NOON,
            "customer": name,
            "subscription": f"sub_{number}",
            "charge": f"ch_{number}",
            "status": "paid",
            "lines": listing([]),
            "metadata": {},
        }
        paid = charge(f"ch_{number}", name, invoice=f"in_{number}")
        back = refund(f"re_{number}", f"ch_{number}")
        told.append((event("customer.subscription.created", sub, after=1), [sub]))
        told.append((event("customer.subscription.updated", sub, after=2), [sub]))
        told.append((event("invoice.paid", invoice, after=2), [invoice]))
        told.append((event("charge.succeeded", paid, after=2), [paid]))
        told.append((event("refund.created", back, after=3), [back]))
    for turn in range(4):
        plan = {
            "object": "product",
            "id": "prod_1",
            "created": NOON,
            "name": f"Plan {turn}",
            "metadata": {"product_id": f"plan-{turn}"},
        }
        told.append((event("product.updated", plan, after=turn), [plan]))
    random.shuffle(told)
    return told


@pytest.mark.parametrize("seed", range(4))
async def test_no_circles(harness: Harness, pool: Pool, database_url: str, seed: int) -> None:
    """Five workers apply, read, resolve and derive in small batches what all of them want to lock: Postgres has to end
    nobody's transaction.
    """
    random = Random(seed)  # noqa: S311 - replays with the seed
    told = story(random)
    assert harness.lanes is not None
    for body in (body for _, bodies in told for body in bodies):
        harness.api.put(body)
    waiting = [body for body, _ in told]
    lanes = harness.lanes

    async def work() -> None:
        async with pool.acquire() as connection:
            while waiting or await harness.fetchval(
                "select exists (select from sync.events where state = 'pending')"
            ):
                if waiting:
                    await harness.receive(*(waiting.pop() for _ in range(min(4, len(waiting)))))
                await apply_batch(connection, served_mode=False, confirms=True, limit=6)
                # As if each of them had been quiet for long enough.
                await connection.execute(
                    "update sync.objects set read_at = now() where (account_id, live_mode, kind, id) in ("
                    "select account_id, live_mode, kind, id from sync.objects where read_at > now() "
                    "and read_at < now() + interval '5 seconds' order by 1, 2, 3, 4 for no key update skip locked)"
                )
                await confirm_batch(pool, lanes.live, live_mode=False, limit=5)
                await resolve_batch(connection)
                await fan_out_batch(connection, objects=2, holders=3)
                await derive_batch(connection, policy=Policy(), limit=4)

    await asyncio.gather(*(work() for _ in range(5)))
    await harness.settle()
    assert CUSTOMERS == await harness.fetchval("select count(*) from billing.customers")
    await pool.close()
    assert 0 == await deadlocks(database_url)
