"""What Stripe's lists leave out by default: archived prices, test clocks; inline prices."""

from datetime import timedelta
from typing import Any

import pytest

from billing.record import Policy
from db.connection import Pool
from db.sync.histories import select_clock_histories
from db.sync.scans import claim_scan
from sandbox import Sandbox
from sandbox.api import RefusedError
from tests.truth import different_records
from tests.worker.account import Attached, attached, prices_of
from tests.worker.lists.test_endings import refuse
from worker.audit import objects
from worker.lists.clocks import clocks_of, each_clock
from worker.lists.steps import Turn

INLINE = 5


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """One account for the tests of this module, which only read it."""
    world = Sandbox(seed=31)
    catalogue = world.home.catalogue
    # The first price of this product is archived and in no use: only the list says that the other is version 2.
    product = catalogue.product("Ranked")
    first = catalogue.price(product, 500)
    world.advance(3600)
    customer = world.home.clients.create(name="Ada", email="ada@example.com")
    world.home.subscriptions.start(customer, [catalogue.price(product, 700)])
    catalogue.archive(first)
    world.play(["price_for_one"] * INLINE + ["version_by_rank"] + ["on_a_test_clock"] * 3)
    world.run()
    return world


async def backfilled(account: Attached) -> None:
    """A backfill of everything that is complete, and all of it derived."""
    ended = await account.scanned(await account.request())
    assert ("complete", None) == (ended["status"], ended["error"])
    await account.settle()


async def test_every_price_is_read(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """Both halves of the list, and by its id what is in neither: versions and records are right, an audit agrees."""
    archived = [price for price in prices_of(sandbox) if not price.active]
    assert (2, INLINE) == (len(archived), sum(price.inline for price in prices_of(sandbox)))
    async with attached(pool, database_url, sandbox) as account:
        await backfilled(account)
        rows = await account.fetch("select id from stripe.prices where not active order by id")
        assert sorted(price.id for price in archived) == [row["id"] for row in rows]
        assert len(sandbox.home.shelves["price"].rows) == await account.fetchval(
            "select count(*) from stripe.prices"
        )
        assert [] == await different_records(sandbox, database_url)
        ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        assert [] == await account.fetch("select kind, id, what, fields from sync.drift")


async def test_half_that_cannot_be_read(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """One half of a list is not the list: partial, naming prices, and no customer is called complete."""
    async with attached(pool, database_url, sandbox) as account:
        answer = account.api._answer

        def refusing(scope: Any, *rest: Any) -> bytes:
            if scope["path"] == "/v1/prices" and b"active=false" in scope["query_string"]:
                raise RefusedError(403, "not the archived ones")
            return answer(scope, *rest)

        account.api._answer = refusing  # type: ignore[method-assign,assignment]
        ended = await account.scanned(await account.request())
        assert "partial" == ended["status"]
        assert ended["error"].startswith("price created from 2010-01-01 00:00:00 to 20")
        assert 0 == await account.fetchval("select count(*) from sync.customers where complete")


async def test_audit_of_both_halves(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """A price of the wrong half, an archived one that is lost or invented, an inline one that is damaged: each is found
    once, and nothing else.
    """
    lost, moved = [price.id for price in prices_of(sandbox) if not price.active]
    damaged = next(price.id for price in prices_of(sandbox) if price.inline)
    async with attached(pool, database_url, sandbox) as account:
        await backfilled(account)
        await account.execute("delete from stripe.prices where id = $1", lost)
        await account.execute("update stripe.prices set active = true where id = $1", moved)
        await account.execute("update stripe.prices set unit_amount = 1 where id = $1", damaged)
        await account.execute(
            "insert into stripe.prices (account_id, live_mode, id, created, active) "
            "select account_id, live_mode, 'price_0invented', created, false from stripe.prices where id = $1",
            moved,
        )
        ended = await account.scanned(await account.request(purpose="audit", repair=True))
        assert "complete" == ended["status"]
        rows = await account.fetch("select id, what from sync.drift where kind = 'price' order by id")
        assert sorted(
            [
                (lost, "lacking"),
                (moved, "differs"),
                (damaged, "differs"),
                ("price_0invented", "surplus"),
            ]
        ) == [tuple(row) for row in rows]
        await account.settle()
        assert [] == await different_records(sandbox, database_url)
        again = await account.scanned(await account.request(purpose="audit"))
        assert 0 == await account.fetchval("select count(*) from sync.drift where scan_id = $1", again["id"])


async def test_inline_prices_are_no_damage(
    pool: Pool, database_url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than an audit would examine of what is damaged: it reads them all, and finds nothing; of customers
    who are in no list so many would end it.
    """
    monkeypatch.setattr(objects, "DRIFT_EXAMINED_MAX", INLINE - 1)
    async with attached(pool, database_url, sandbox) as account:
        await backfilled(account)
        before = account.api.tally.requests
        ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        assert [] == await account.fetch("select kind, id, what, fields from sync.drift")
        assert INLINE < account.api.tally.requests - before
        await account.execute(
            "insert into stripe.customers (account_id, live_mode, id, created) "
            "select account_id, live_mode, 'cus_0invented' || n, created "
            "from (select * from stripe.customers limit 1) one, generate_series(1, 5) n"
        )
        ended = await account.scanned(await account.request(purpose="audit"))
        assert "partial" == ended["status"]
        assert ended["error"].startswith("5 objects differ: more than can be read one by one")


def on_clocks(sandbox: Sandbox) -> list[str]:
    """The customers on a test clock that are not deleted, in the order of their ids."""
    return sorted(each.id for each in sandbox.home.customers() if each.test_clock and not each.deleted_at)


async def test_who_is_on_a_test_clock(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """A backfill reaches them by their clocks, and ends when their histories are read: all exact, an audit agrees."""
    wanted = on_clocks(sandbox)
    assert len(wanted) > 2
    async with attached(pool, database_url, sandbox) as account:
        scan = await account.request()
        for _ in range(3):  # its lists, and what comes after them; but nobody pulls histories
            await account.hurry()
            await account.engine.scan()
            await account.confirm()
        (row,) = await account.fetch("select * from sync.scans where id = $1", scan.id)
        assert ("clock histories", None) == (row["step"], row["finished_at"])
        assert wanted == [
            row[0]
            for row in await account.fetch(
                "select customer_id from sync.customers where not complete order by 1"
            )
        ]
        ended = await account.scanned(scan)
        assert ("complete", None) == (ended["status"], ended["error"])
        await account.settle()
        assert [] == await different_records(sandbox, database_url)
        rows = await account.fetch("select id from stripe.customers where test_clock is not null order by 1")
        assert wanted == [row["id"] for row in rows]
        assert 0 == await account.fetchval("select count(*) from billing.customers where not exact")
        ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        assert [] == await account.fetch("select kind, id, what, fields from sync.drift")


async def test_clocks_that_take_several_turns(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """I10: if a worker's time is up after each clock, the next turn goes on with the next one, and none is left out."""
    async with attached(pool, database_url, sandbox) as account:
        asked = await account.request()
        await account.execute(
            "update sync.scans set step = 'clocks', status = 'running' where id = $1", asked.id
        )
        turn = Turn(
            pool=pool,
            stripe=account.lanes.bulk,
            policy=Policy(),
            derive=account.engine.derive,
            over=lambda: True,
        )
        done: list[str] = []

        async def note(clock: str) -> None:
            done.append(clock)

        ended: list[bool] = []
        while not any(ended):
            async with pool.acquire() as connection:
                scan = await claim_scan(connection, live_mode=False, lease=timedelta(0))
            assert scan is not None
            ended.append(await each_clock(turn, scan, note))
        clocks, withheld = await clocks_of(turn, asked)
        assert (clocks, None) == (done, withheld)
        assert [False] * (len(clocks) - 1) + [True] == ended
        assert "customers" == await account.fetchval("select step from sync.scans")


async def test_history_that_cannot_be_read(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """If the history of one of them cannot be read the backfill is partial and names it; all others are exact."""
    unread, *_ = on_clocks(sandbox)
    async with attached(pool, database_url, sandbox) as account:
        refuse(account, f"/v1/customers/{unread}", 500)
        scan = await account.request()
        for _ in range(8):
            await account.hurry()
            await account.engine.scan()
            await account.execute("update sync.customers set history_at = now() where history_at > now()")
            await account.engine.sweep_bulk()
        ended = await account.scanned(scan)
        assert "partial" == ended["status"]
        assert ended["error"].startswith(f"customer {unread}, on a test clock: ")
        rows = await account.fetch("select customer_id from sync.customers where not complete")
        assert [unread] == [row["customer_id"] for row in rows]


async def test_which_histories_are_waited_for(pool: Pool) -> None:
    """A backfill ends without the histories of customers who live by real time, or are deleted."""
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into stripe.customers (account_id, live_mode, id, test_clock, deleted_at) values "
            "('', false, 'cus_clock', 'clock_1', null), ('', false, 'cus_read', 'clock_1', null), "
            "('', false, 'cus_none', null, null), ('', false, 'cus_deleted', 'clock_1', now())"
        )
        await connection.execute(
            "insert into sync.customers (account_id, live_mode, customer_id, history_at) "
            "select account_id, live_mode, id, case when id <> 'cus_read' then now() end from stripe.customers"
        )
        wanted = await select_clock_histories(connection, "", live_mode=False, limit=9)
    assert ["cus_clock"] == [each.customer_id for each in wanted]


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_clocks_that_are_not_told(pool: Pool, database_url: str, sandbox: Sandbox, status: int) -> None:
    """A key without the right to test clocks: said, and no reason to call anybody else incomplete."""
    async with attached(pool, database_url, sandbox) as account:
        refuse(account, "/v1/test_helpers/test_clocks", status)
        ended = await account.scanned(await account.request())
        assert "complete" == ended["status"]
        assert ended["error"].startswith("customers on test clocks were not asked for: ")
        await account.settle()
        assert 0 == await account.fetchval("select count(*) from billing.customers where not exact")


async def test_audit_of_test_clocks(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """A subscription and a customer on a clock that are damaged or lost, and nothing else, are found and mended."""
    lost, damaged, *_ = on_clocks(sandbox)
    subscription = sandbox.home.subscriptions_of(damaged)[0].id
    async with attached(pool, database_url, sandbox) as account:
        await backfilled(account)
        await account.execute("delete from stripe.customers where id = $1", lost)
        await account.execute("delete from stripe.subscriptions where id = $1", subscription)
        await account.execute(
            "delete from stripe.subscription_items where subscription_id = $1", subscription
        )
        await account.execute("update stripe.customers set name = 'Nobody' where id = $1", damaged)
        ended = await account.scanned(await account.request(purpose="audit", repair=True))
        assert ("complete", None) == (ended["status"], ended["error"])
        rows = await account.fetch("select id, what from sync.drift where kind <> 'record' order by id")
        assert sorted([(lost, "lacking"), (damaged, "differs"), (subscription, "lacking")]) == [
            tuple(row) for row in rows
        ]
        await account.settle()
        assert [] == await different_records(sandbox, database_url)
