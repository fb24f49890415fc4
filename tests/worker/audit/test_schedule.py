"""The nightly audit, customers that an audit leaves alone, and how its command ends."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from db.connection import Pool
from db.keys import CustomerKey
from sandbox import Sandbox
from tests.cli.command import Done, subledger
from tests.worker.account import API_KEY, Attached, attached, lived_account
from tests.worker.lists.test_endings import refuse
from worker.audit import lists
from worker.audit.lists import ask_for_nightly_audits, end_audit
from worker.forget import forget


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """One account for the tests of this module, which only read it."""
    return lived_account(customers=30)


@pytest.fixture(autouse=True)
def the_night_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hour of the audits begins in more than an hour, so that it does not begin during a test."""
    monkeypatch.setattr(lists, "NIGHTLY_HOUR_UTC", (datetime.now(UTC) + timedelta(hours=2)).hour)


async def ask(pool: Pool) -> bool:
    """Ask as every worker does once a minute."""
    return bool(await ask_for_nightly_audits(pool, live_mode=False))


async def audits(account: Attached) -> list[tuple[str, bool]]:
    """Status and repair of each requested audit."""
    return [
        (row["status"], row["repair"])
        for row in await account.fetch(
            "select status, repair from sync.scans where purpose = 'audit' order by id"
        )
    ]


async def backfilled(account: Attached, *, ago: timedelta = timedelta(days=2)) -> None:
    """A whole backfill that ended this long ago."""
    assert "complete" == (await account.scanned(await account.request()))["status"]
    await account.execute("update sync.scans set finished_at = now() - $1::interval", ago)
    await account.execute("delete from sync.scans where purpose = 'audit'")  # the engine may have asked


async def test_nightly_audit_is_asked_for_once(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """After a whole backfill, by one of many workers, once a night; it repairs, and runs like any other."""
    async with attached(pool, database_url, sandbox) as account:
        assert not await ask(pool)
        bounded = await account.request(kinds=("customer",))
        assert "complete" == (await account.scanned(bounded))["status"]
        await account.execute("update sync.scans set finished_at = now() - interval '2 days'")
        assert not await ask(pool)
        await backfilled(account)

        asked = await asyncio.gather(*(ask(pool) for _ in range(4)))
        assert [False, False, False, True] == sorted(asked)
        assert [("queued", True)] == await audits(account)
        await account.engine.scan()
        await account.settle()
        for _ in range(20):
            await account.hurry()
            await account.engine.scan()
        assert [("complete", True)] == await audits(account)
        assert not await ask(pool)
        await account.execute("update sync.scans set requested_at = requested_at - interval '1 day'")
        assert await ask(pool)


async def test_nightly_audit_waits_for_its_hour(
    pool: Pool, database_url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first night after the backfill; and then whenever a worker is there, once after each time of that hour."""
    async with attached(pool, database_url, sandbox) as account:
        await backfilled(account, ago=timedelta(minutes=1))
        assert not await ask(pool)
        await account.execute("update sync.scans set finished_at = now() - interval '1 day'")
        # The last night began more than 22 hours ago, and no worker was there.
        assert await ask(pool)
        await account.execute("update sync.scans set requested_at = now() - interval '11 hours'")
        assert not await ask(pool)
        await account.execute(
            "update sync.scans set status = 'failed', finished_at = now() where finished_at is null"
        )
        assert not await ask(pool)
        # Now one has begun since.
        monkeypatch.setattr(lists, "NIGHTLY_HOUR_UTC", datetime.now(UTC).hour)
        await account.execute("update sync.scans set finished_at = now() - interval '1 day'")
        assert await ask(pool)


async def test_connected_accounts_are_audited_at_night(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """I10: each account that a whole backfill has read is audited once a night, and many accounts forget no night."""
    connected = sandbox.account("acct_1SandboxNorth").account_id
    async with attached(pool, database_url, sandbox) as account:
        await account.request(account_id=connected)
        await account.request(account_id="acct_unread", kinds=("customer",))
        await account.execute(
            "update sync.scans set status = 'complete', finished_at = now() - interval '2 days'"
        )
        assert [connected] == await ask_for_nightly_audits(pool, live_mode=False)
        assert [] == await ask_for_nightly_audits(pool, live_mode=False)
        (scan,) = await account.fetch(
            "select id, account_id, repair, whole from sync.scans where purpose = 'audit'"
        )
        assert (connected, True, True) == tuple(scan)[1:]
        await account.execute(
            "update sync.scans set status = 'failed', finished_at = now() where id = $1", scan["id"]
        )
        # As many audits of another account as are kept of each.
        others = [
            await account.request(purpose="audit", account_id="acct_other")
            for _ in range(lists.AUDITS_KEPT + 1)
        ]
        async with pool.acquire() as connection, connection.transaction():
            for each in others:
                await end_audit(connection, each, status="complete", error=None)
        assert lists.AUDITS_KEPT == await account.fetchval(
            "select count(*) from sync.scans where account_id = 'acct_other'"
        )
        assert [] == await ask_for_nightly_audits(pool, live_mode=False)


@pytest.mark.parametrize(
    "given",
    [
        {"since": datetime(2200, 1, 1, tzinfo=UTC), "repair": True},
        {"kinds": ("customer",), "repair": True},
        {"account_id": "acct_other", "repair": True},
        {"repair": False},
    ],
    ids=["of a stretch", "of a kind", "of another account", "without repair"],
)
async def test_other_audits_stand_for_none(
    pool: Pool, database_url: str, sandbox: Sandbox, given: dict[str, object]
) -> None:
    """An audit that compares less, or mends nothing, does not replace the nightly one."""
    async with attached(pool, database_url, sandbox) as account:
        await account.request()
        await account.execute(
            "update sync.scans set status = 'complete', finished_at = now() - interval '2 days'"
        )
        await account.request(purpose="audit", **given)
        assert await ask(pool)
        assert not await ask(pool)


async def test_forgotten_customers_are_left_alone(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """A forgotten customer is at Stripe as before, and empty here: no drift, and a repair brings nothing back."""
    async with attached(pool, database_url, sandbox) as account:
        await account.scanned(await account.request())
        await account.settle()
        spent = await account.fetchval(
            "select stripe_customer_id from billing.customers "
            "where lifetime_revenue > 0 and name is not null order by stripe_customer_id limit 1"
        )
        async with pool.acquire() as connection:
            await forget(connection, CustomerKey("", False, spent))
        await account.settle()
        ended = await account.scanned(await account.request(purpose="audit", repair=True))
        assert ("complete", None) == (ended["status"], ended["error"])
        assert [] == await account.fetch("select kind, id, what from sync.drift")
        await account.settle()
        (record,) = await account.fetch(
            "select name, email from billing.customers where stripe_customer_id = $1", spent
        )
        assert (None, None) == tuple(record)
        (row,) = await account.fetch("select name, email, raw from stripe.customers where id = $1", spent)
        assert (None, None) == (row["name"], row["email"])


async def audit_command(account: Attached, *arguments: str) -> Done:
    """`subledger audit`, while an engine works."""
    command = asyncio.create_task(
        subledger(
            account.settings.database_url,
            "audit",
            *arguments,
            STRIPE_API_KEY=API_KEY,
            STRIPE_API_BASE=account.settings.stripe_api_base,
        )
    )
    while not command.done():
        await account.hurry()
        await account.engine.scan()
        await asyncio.wait({command}, timeout=0.1)
    return command.result()


async def test_exit_codes(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """0: equal; 1: drift, each difference by its name; 2: it could not be finished, and says why."""
    async with attached(pool, database_url, sandbox) as account:
        await account.scanned(await account.request())
        await account.settle()
        equal = await audit_command(account)
        assert 0 == equal.code, equal
        assert equal.out.startswith("No drift")

        changed = await account.fetchval(
            "update stripe.charges set amount_captured = amount_captured + 7 "
            "where id = (select min(id) from stripe.charges where amount_captured > 0) returning id"
        )
        drift = await audit_command(account)
        assert 1 == drift.code, drift
        assert changed in drift.out

        refuse(account, "/v1/charges", 403)
        unfinished = await audit_command(account)
        assert 2 == unfinished.code, unfinished
        assert "could not be finished" in unfinished.out
        assert "403" in unfinished.out
