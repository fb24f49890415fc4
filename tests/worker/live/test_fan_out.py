"""A change of the catalogue reaches every customer that it concerns, some at a time, whatever happens on the way."""

import asyncio
from random import Random

import pytest

from billing.status import Policy
from db.connection import Pool
from db.sync.catalogue import MARK_CONCERNED
from tests.faults import failing
from tests.harness import NOON, Body, Harness, event, item, listing, subscription
from worker.live.apply import apply_batch
from worker.live.derive import derive_batch, fan_out_batch

MANY = 23
"""Customers of the product; with batches of 5 that leaves a rest."""

# As if each had been known and derived for long. Every third has two subscriptions, every fourth two items.
SUBSCRIBERS = """
insert into stripe.subscriptions (account_id, live_mode, id, customer_id, status)
select '', false, 'sub_' || n || '_' || m, 'cus_' || n, 'active'
from generate_series(1, $1) n, generate_series(1, case when n % 3 = 0 then 2 else 1 end) m;
"""
ITEMS = """
insert into stripe.subscription_items (account_id, live_mode, id, subscription_id, position, price_id, product_id)
select '', false, 'si_' || m, s.id, m, 'price_1', 'prod_1'
from stripe.subscriptions s, generate_series(1, 2) m
"""
KNOWN = """
insert into sync.customers (account_id, live_mode, customer_id, stale, derived)
select distinct '', false, customer_id, 1, 1 from stripe.subscriptions
"""


def product(product_id: str = "prod_1", *, named: str) -> Body:
    """A product that the company calls so."""
    return {
        "object": "product",
        "id": product_id,
        "created": NOON,
        "name": "Plan",
        "active": True,
        "livemode": False,
        "metadata": {"product_id": named},
    }


async def fill(harness: Harness, many: int = MANY) -> None:
    await harness.execute(SUBSCRIBERS, many)
    await harness.execute(ITEMS)
    await harness.execute(KNOWN)
    await hear(harness, product(named="first"))
    await harness.engine.derive()


async def hear(harness: Harness, *bodies: Body, after: int = 0) -> None:
    """Apply changes, and mark no customer for them yet."""
    await harness.receive(*(event(f"{body['object']}.updated", body, after=after) for body in bodies))
    async with harness.pool.acquire() as connection:
        while await apply_batch(connection, served_mode=None, confirms=False):
            pass


async def marked(harness: Harness) -> int:
    count: int = await harness.fetchval("select count(*) from sync.customers where stale > derived")
    return count


async def names(harness: Harness) -> set[str | None]:
    """What the customers' product is called."""
    return {row[0] for row in await harness.fetch("select product_id from billing.customers")}


async def test_some_at_a_time_and_each_once(webhooks_only: Harness) -> None:
    """A batch goes through so many subscriptions, no more; after the last all customers are marked, and it ends."""
    harness = webhooks_only
    await fill(harness)
    await hear(harness, product(named="second"), after=10)
    subscriptions = await harness.fetchval("select count(*) from stripe.subscriptions")
    passed = [await marked(harness)]
    async with harness.pool.acquire() as connection:
        while await fan_out_batch(connection, holders=5):
            passed.append(await marked(harness))
            assert passed[-1] <= passed[-2] + 5
    assert [0, MANY] == [passed[0], passed[-1]]
    # The last batch finds that nothing is left if the number is one of whole batches.
    assert len(passed) - 1 == subscriptions // 5 + 1
    assert await harness.fetchval(
        "select bool_and(touched = resolved and fan_touched is null) from sync.objects"
    )
    await harness.engine.derive()
    assert {"second"} == await names(harness)


async def test_batch_of_small_changes(webhooks_only: Harness) -> None:
    """Objects that concern few are done together; the rest is left for the next batch, and no customer is missed."""
    harness = webhooks_only
    for number in range(1, 8):
        body = subscription(f"sub_{number}", f"cus_{number}", items=listing([item(f"si_{number}")]))
        body["items"]["data"][0]["price"] |= {"id": f"price_{number}", "product": f"prod_{number}"}
        await harness.apply(event("customer.subscription.created", body))
    assert 0 == await marked(harness)
    await hear(
        harness, *(product(f"prod_{number}", named=f"plan-{number}") for number in range(1, 8)), after=10
    )
    async with harness.pool.acquire() as connection:
        assert 4 == await fan_out_batch(connection, objects=4, holders=100)
        assert 4 == await marked(harness)
        assert 2 == await fan_out_batch(connection, objects=4, holders=2)
        assert 6 == await marked(harness)
        while await fan_out_batch(connection, objects=4, holders=2):
            pass
    await harness.engine.derive()
    assert {f"plan-{number}" for number in range(1, 8)} == await names(harness)


class Killed(BaseException):
    """The worker dies here."""


@pytest.mark.parametrize("commits", range(6))
async def test_killed_between_batches(webhooks_only: Harness, commits: int) -> None:
    """I4: after or inside whichever batch a worker dies, the next worker continues and misses no customer."""
    harness = webhooks_only
    await fill(harness)
    await hear(harness, product(named="second"), after=10)
    with failing(MARK_CONCERNED, Killed, skip=commits):
        async with harness.pool.acquire() as connection:
            with pytest.raises(Killed):  # noqa: PT012 - which of the batches it is, is the case
                while True:
                    await fan_out_batch(connection, holders=5)
    told = await marked(harness)
    assert (commits == 0) == (told == 0)
    assert told < MANY
    await harness.another_engine().derive()
    assert {"second"} == await names(harness)


async def test_changed_again_on_the_way(webhooks_only: Harness) -> None:
    """I3: a change in the middle of a fan-out also reaches the customers that it has already passed."""
    harness = webhooks_only
    await fill(harness)
    await hear(harness, product(named="second"), after=10)
    async with harness.pool.acquire() as connection:
        await fan_out_batch(connection, holders=10)
        await derive_batch(connection, policy=Policy())
        assert "second" in await names(harness)
        await hear(harness, product(named="third"), after=20)
        while await fan_out_batch(connection, holders=10):
            pass
    await harness.engine.derive()
    assert {"third"} == await names(harness)


async def test_price_reaches_whoever_has_any_of_its_product(webhooks_only: Harness) -> None:
    """A price that comes has a rank before others: it concerns the customers that have them."""
    harness = webhooks_only
    await fill(harness)
    ranks = "select distinct product_version_number from billing.customers"
    price = {"object": "price", "created": NOON, "product": "prod_1", "metadata": {}, "recurring": {}}
    await hear(harness, price | {"id": "price_1", "created": NOON})
    await harness.engine.derive()
    assert [1] == [row[0] for row in await harness.fetch(ranks)]
    await hear(harness, price | {"id": "price_0", "created": NOON - 9}, after=10)
    await harness.engine.derive()
    assert [2] == [row[0] for row in await harness.fetch(ranks)]


@pytest.mark.parametrize("seed", range(3))
async def test_beside_concurrent_writers(webhooks_only: Harness, pool: Pool, seed: int) -> None:
    """I3: three workers fan out and derive, in batches of three, while the product changes, and customers of it come:
    in the end every record has the last name.
    """
    harness, random = webhooks_only, Random(seed)  # noqa: S311 - replays with the seed
    await fill(harness, 12)
    renamed = [event("product.updated", product(named=f"name-{n}"), after=n) for n in range(1, 7)]
    come = [
        event(
            "customer.subscription.created",
            subscription(f"sub_new_{n}", f"cus_new_{n}", items=listing([item(f"si_new_{n}")])),
            after=1 + n % 6,
        )
        for n in range(12)
    ]
    events = renamed + come
    random.shuffle(events)
    writing = True

    async def write() -> None:
        nonlocal writing
        async with pool.acquire() as connection:
            while events:
                await harness.receive(*(events.pop() for _ in range(min(3, len(events)))))
                await apply_batch(connection, served_mode=None, confirms=False)
        writing = False

    async def work() -> None:
        async with pool.acquire() as connection:
            while (
                writing
                or await fan_out_batch(connection, objects=2, holders=3)
                or await derive_batch(connection, policy=Policy(), limit=3)
            ):
                await fan_out_batch(connection, objects=2, holders=3)
                await derive_batch(connection, policy=Policy(), limit=3)

    await asyncio.gather(write(), *(work() for _ in range(3)))
    await harness.engine.derive()
    assert {"name-6"} == await names(harness)
    assert 24 == await harness.fetchval("select count(*) from billing.customers")
    assert not await harness.fetchval("select bool_or(touched > resolved) from sync.objects")
