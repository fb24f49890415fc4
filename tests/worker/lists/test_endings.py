"""How backfills end: complete only without a gap, partial with the reason, canceled at the next page."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.connection import Pool
from db.sync.scan_reports import ScanReport, report_scan
from db.sync.scans import select_scan
from sandbox import Sandbox
from sandbox.api import RefusedError
from tests.system import until
from tests.truth import different_records
from tests.worker.account import Attached, attached, lived_account
from worker.scanner import SCAN_ATTEMPTS_MAX, SPLIT_PAGES_MAX, split_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """One account for the tests of this module, which only read it."""
    return lived_account(customers=50)


def refuse(account: Attached, path: str, status: int) -> None:
    """Let one path of the API answer this status forever."""
    answer = account.api._answer

    def refusing(scope: Any, *rest: Any) -> bytes:
        if scope["path"] == path:
            raise RefusedError(status, "forever")
        return answer(scope, *rest)

    account.api._answer = refusing  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize(("status", "tries"), [(500, SCAN_ATTEMPTS_MAX), (403, 1)])
async def test_endpoint_that_never_answers(
    pool: Pool, database_url: str, sandbox: Sandbox, status: int, tries: int
) -> None:
    """It ends partial, naming object and window; no customer is complete, and every customer's history is wanted."""
    async with attached(pool, database_url, sandbox) as account:
        refuse(account, "/v1/disputes", status)
        ended = await account.scanned(await account.request())
        assert "partial" == ended["status"]
        assert ended["error"].startswith("dispute created from 2010-01-01 00:00:00 to 20")
        assert f"{status} for /v1/disputes" in ended["error"]
        window = (await account.fetch("select * from sync.scan_windows where kind = 'dispute'"))[0]
        assert ("failed", tries) == (window["state"], window["requests"])
        assert 0 == await account.fetchval("select count(*) from sync.customers where complete")
        assert 0 == await account.fetchval("select count(*) from sync.customers where history_at is null")
        assert 0 < await account.fetchval("select count(*) from billing.customers where not exact")


async def test_list_that_no_record_depends_on(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """A key without the right to payouts makes the backfill partial, and yet every customer exact."""
    async with attached(pool, database_url, sandbox) as account:
        refuse(account, "/v1/payouts", 403)
        ended = await account.scanned(await account.request())
        assert "partial" == ended["status"]
        assert "payout created from" in ended["error"]
        await account.settle()
        assert 0 == await account.fetchval("select count(*) from sync.customers where not complete")
        assert [] == await different_records(sandbox, database_url)
        assert [] == await account.fetch("select * from stripe.payouts")


async def test_gap_between_windows_is_no_completeness(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """Windows that do not tile the whole stretch leave the backfill partial, though each was read to its end."""
    async with attached(pool, database_url, sandbox) as account:
        scan = await account.request()
        await account.engine.scan()
        await account.execute(
            "update sync.scan_windows set low = low + interval '1 day' where kind = 'charge'"
        )
        await account.execute(
            "update sync.scans set finished_at = null, step = 'customers', step_cursor = ''"
        )
        await account.execute("update sync.scans set status = 'running', due_at = now()")
        ended = await account.scanned(scan)
        assert "partial" == ended["status"]
        assert ended["error"].startswith("charge created from 2010-01-01 00:00:00")


async def test_canceled_backfill_stops(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """What was stored stays and gets its records; no customer is complete by it."""
    async with attached(pool, database_url, sandbox) as account:
        scan = await account.request()
        account.api.faults.latency_seconds = 0.05
        running = asyncio.create_task(account.engine.scan())
        await until(lambda: account.fetchval("select count(*) from stripe.customers"))
        await account.execute(
            "update sync.scans set status = 'canceled', due_at = now() where id = $1", scan.id
        )
        await running
        ended = await account.scanned(scan)
        assert "canceled" == ended["status"]
        assert 0 == await account.fetchval("select count(*) from sync.customers where complete")
        assert 0 < await account.fetchval("select count(*) from billing.customers")
        assert 0 < await account.fetchval("select count(*) from sync.scan_windows where state = 'open'")


async def test_canceled_after_its_lists(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """Even if every list was read: what none of them holds was not asked for, so nobody is complete by it."""
    async with attached(pool, database_url, sandbox) as account:
        scan = await account.request()
        await account.execute(
            "insert into stripe.customers (account_id, live_mode, id) values ('', false, 'cus_1')"
        )
        await account.execute(
            "insert into sync.objects (account_id, live_mode, kind, id, confirmed) "
            "values ('', false, 'customer', 'cus_1', 1)"
        )
        # With a horizon before all time there is nothing to be listed.
        await account.execute(
            "update sync.scans set status = 'canceled', step = 'customers', horizon = '2009-01-01', "
            "begun_tick = nextval('sync.tick') where id = $1",
            scan.id,
        )
        assert "canceled" == (await account.scanned(scan))["status"]
        rows = await account.fetch("select customer_id, complete from sync.customers")
        assert [("cus_1", False)] == [tuple(row) for row in rows]


async def test_two_at_once_and_an_audit(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """Two backfills and an audit, by two workers: the fence lets each page through once, and all end well."""
    async with attached(pool, database_url, sandbox) as account:
        first = await account.request()
        second = await account.request(kinds=("invoice", "charge"))
        audit = await account.request(purpose="audit")
        other = account.another_engine()
        await asyncio.gather(account.engine.scan(), other.scan())
        for scan in (first, second):
            assert "complete" == (await account.scanned(scan))["status"]
        await account.settle()
        await account.scanned(audit)
        await account.settle()
        different = await different_records(sandbox, database_url)
        assert not different, "\n".join(different[:20])
        last = await account.scanned(await account.request(purpose="audit"))
        assert 0 == await account.fetchval("select count(*) from sync.drift where scan_id = $1", last["id"])


async def test_bounded_backfill_completes_nobody_by_itself(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """With `since` only the youngest objects are read, and each customer that they name has its history pulled."""
    async with attached(pool, database_url, sandbox) as account:
        since = datetime.fromtimestamp(sandbox.now, UTC) - timedelta(days=20)
        ended = await account.scanned(await account.request(since=since))
        assert "complete" == ended["status"]
        assert 0 == await account.fetchval("select count(*) from sync.customers where complete")
        assert 0 == await account.fetchval("select count(*) from stripe.invoices where created < $1", since)
        await account.settle()
        assert 0 == await account.fetchval("select count(*) from sync.customers where not complete")


async def test_one_customer(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """With `customer` its own lists are read, and it alone is complete."""
    async with attached(pool, database_url, sandbox) as account:
        customer = next(each for each in sandbox.home.customers() if each.deleted_at is None)
        scan = await account.request(customer_id=customer.id)
        for _ in range(5):
            await account.hurry()
            await account.engine.scan()
            await account.engine.sweep_bulk()
        assert "complete" == (await account.scanned(scan))["status"]
        await account.engine.derive()
        rows = await account.fetch("select stripe_customer_id, exact from billing.customers where exact")
        assert [customer.id] == [row["stripe_customer_id"] for row in rows]


async def test_canceled_backfill_of_one_customer_waits_for_nothing(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """Its history goes on being read, and the backfill ends at once."""
    async with attached(pool, database_url, sandbox) as account:
        customer = next(each for each in sandbox.home.customers() if each.deleted_at is None)
        scan = await account.request(customer_id=customer.id)
        await account.engine.scan()
        assert not await account.fetchval("select finished_at is not null from sync.scans")
        await account.execute(
            "update sync.scans set status = 'canceled', due_at = now() where id = $1", scan.id
        )
        await account.engine.scan()
        assert await account.fetchval("select finished_at is not null from sync.scans")
        assert await account.fetchval("select history_at is not null from sync.customers")


async def test_lost_worker_resumes_at_its_cursor(pool: Pool, database_url: str) -> None:
    """A worker that dies between two pages is followed by another, which stores no page twice."""
    sandbox = lived_account(customers=50, clocks=False)
    async with attached(pool, database_url, sandbox) as account:
        scan = await account.request()
        account.api.faults.latency_seconds = 0.1
        running = asyncio.create_task(account.engine.scan())
        half_read = (
            "select count(*) >= 2 from sync.scan_windows where state = 'open' and cursor_id is not null"
        )
        await until(lambda: account.fetchval(half_read))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        account.api.faults.latency_seconds = 0.0
        ended = await account.scanned(scan)
        assert "complete" == ended["status"]
        undisturbed = await account.scanned(await account.request())
        stored = "select sum(objects) from sync.scan_windows where scan_id = $1"
        assert (
            0 < await account.fetchval(stored, undisturbed["id"]) == await account.fetchval(stored, scan.id)
        )
        await account.settle()
        assert not await different_records(sandbox, database_url)


async def test_what_is_told_of_its_progress(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """Before it begins there is no estimate of its end; then it is never negative; at the end nothing is left."""
    async with attached(pool, database_url, sandbox) as account:
        scan = await account.request()

        async def report() -> ScanReport:
            async with pool.acquire() as connection:
                found = await select_scan(connection, scan.id)
                assert found is not None
                return await report_scan(connection, found)

        assert () == (await report()).objects
        account.api.faults.latency_seconds = 0.02
        running = asyncio.create_task(account.engine.scan())
        await until(lambda: account.fetchval("select sum(requests) >= 20 from sync.scan_windows"))
        halfway = await report()
        guesses = [each.eta_seconds for each in halfway.objects]
        assert len(scan.kinds) == len(guesses)
        assert any(guess is None or guess > 0 for guess in guesses)
        assert all(guess is None or guess >= 0 for guess in guesses)
        account.api.faults.latency_seconds = 0.0
        await running
        assert "complete" == (await account.scanned(scan))["status"]
        ended = await report()
        assert {0.0} == {each.eta_seconds for each in ended.objects}
        listed = sum(each.rows for each in ended.objects)
        assert listed == await account.fetchval("select sum(objects) from sync.scan_windows")
        assert listed > sum(each.rows for each in halfway.objects) > 0


@pytest.mark.parametrize(
    ("page_seconds", "left_seconds", "younger_seconds"),
    [
        (100, 300, None),  # three pages more, perhaps: not worth a page half full
        (100, 400, 200),  # in the middle
        (1, 10**9, SPLIT_PAGES_MAX),  # dense at the young end, and a long past that is probably empty
        (0, 3, None),  # a hundred within one second cannot be told apart by time
        (0, 1000, SPLIT_PAGES_MAX),
    ],
)
def test_where_a_window_is_split(page_seconds: int, left_seconds: int, younger_seconds: int | None) -> None:
    """In the middle of what is left, but not far in the past; not if a page or two will do."""
    oldest = NOON - timedelta(seconds=page_seconds)
    split = split_of(low=oldest - timedelta(seconds=left_seconds), youngest=NOON, oldest=oldest)
    wanted = None if younger_seconds is None else oldest - timedelta(seconds=younger_seconds)
    assert wanted == split


async def test_dense_second_is_read_whole(pool: Pool, database_url: str) -> None:
    """Hundreds of objects of one second: pages end in its middle, and neither backfill nor audit loses one."""
    sandbox = Sandbox(seed=8)
    for number in range(350):
        sandbox.home.clients.create(name=f"Customer {number}", email=f"{number}@example.com")
    async with attached(pool, database_url, sandbox) as account:
        assert "complete" == (await account.scanned(await account.request()))["status"]
        assert 350 == await account.fetchval("select count(*) from stripe.customers")
        await account.execute(
            "insert into stripe.customers (account_id, live_mode, id, created) "
            "select account_id, live_mode, 'cus_0invented', created from stripe.customers limit 1"
        )
        ended = await account.scanned(await account.request(purpose="audit"))
        rows = await account.fetch("select id, what from sync.drift where scan_id = $1", ended["id"])
        assert [("cus_0invented", "surplus")] == [tuple(row) for row in rows]
        assert 1 == await account.fetchval("select count(*) from sync.drift")
