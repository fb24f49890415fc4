"""An audit finds what is wrong, and only that, and has it mended."""

import asyncio
from collections import Counter
from typing import Any

from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import Pool
from db.sync.accounts import alarm_stands, raise_alarm
from sandbox.truth import CustomerKey
from tests.truth import read_records
from tests.worker.account import Attached, attached, lived_account, prices_of
from tests.worker.audit.damage import damage


async def records_without_history(database_url: str) -> dict[CustomerKey, dict[str, object]]:
    """Every record; not status_changes, which is no function of the mirror: a status that was damaged and mended has
    changed twice.
    """
    records = await read_records(database_url)
    for record in records.values():
        del record["status_changes"]
    return records


async def test_nothing_wrong(pool: Pool, database_url: str) -> None:
    """After a backfill the audit finds nothing, and reads nothing but lists, what is in none, and a Checkout session
    that was opened since: Stripe has no event of that, so that the mirror lacks it is no drift.
    """
    sandbox = lived_account(customers=170, clocks=False)
    async with attached(pool, database_url, sandbox) as account:
        await account.scanned(await account.request())
        await account.settle()
        sandbox.home.clients.open_checkout(None, mode="payment", amount=500)
        before = account.api.tally.requests
        ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        assert [] == await account.fetch("select * from sync.drift")
        pages = await account.fetchval(
            "select sum(requests) from sync.scan_windows where scan_id = $1", ended["id"]
        )
        entitled = await account.fetchval(
            "select count(*) from sync.objects where kind = 'active_entitlement_summary'"
        )
        unlisted = entitled + sum(price.inline for price in prices_of(sandbox))
        assert (
            pages + len(("account", "test clocks", "session")) + unlisted
            == account.api.tally.requests - before
            > unlisted
            > entitled
            > 0
        )


async def unread_rows(account: Attached) -> dict[str, list[str]]:
    """What the mirror says about the kinds that no event has read."""
    return {
        kind: [
            row[0]
            for row in await account.fetch(
                f"select (to_jsonb(m) - 'raw')::text from {KINDS[kind].table} m order by 1"
            )
        ]
        for kind in sorted(LIST_CONFIRMED)
    }


async def test_finds_and_mends_exactly_what_was_damaged(pool: Pool, database_url: str) -> None:
    """Rows changed, deleted and invented over all kinds and fields, and records too: found one by one, and mended."""
    async with attached(pool, database_url, lived_account(customers=170)) as account:
        await account.scanned(await account.request())
        await account.settle()
        records = await records_without_history(database_url)
        unread = await unread_rows(account)
        async with pool.acquire() as connection:
            wrong = await damage(connection, seed=3, rows=300, records=60)
        assert unread != await unread_rows(account)
        ended = await account.scanned(await account.request(purpose="audit", repair=True))
        assert ("complete", None) == (ended["status"], ended["error"])
        found = {
            (row["kind"], row["id"]): row["what"]
            for row in await account.fetch("select * from sync.drift where scan_id = $1", ended["id"])
        }
        assert found == wrong, Counter(kind for kind, _ in found.items() ^ wrong.items())
        assert unread == await unread_rows(account)
        await account.settle()
        assert records == await records_without_history(database_url)
        again = await account.scanned(await account.request(purpose="audit"))
        assert "complete" == again["status"]
        assert [] == await account.fetch("select * from sync.drift where scan_id = $1", again["id"])


async def test_nobody_is_learned_of_from_a_wrong_row(pool: Pool, database_url: str) -> None:
    """A guest's charge belongs to its Checkout session's customer: while the session is wrong, the charge stays."""
    async with attached(pool, database_url, lived_account(customers=170, clocks=False)) as account:
        await account.scanned(await account.request())
        await account.settle()
        ((charge, session),) = await account.fetch(
            "select h.id, s.id from stripe.charges h join stripe.checkout_sessions s using (payment_intent_id) "
            "where h.customer_id is null and s.customer_id is not null limit 1"
        )
        await account.execute("update stripe.charges set amount = amount + 1 where id = $1", charge)
        await account.execute(
            "update stripe.checkout_sessions set customer_id = 'cus_nobody' where id = $1", session
        )
        live = account.lanes.live
        reading = live.read

        async def read(path: str, **given: Any) -> Any:
            if session in path:  # long after the charge, were both read at once
                await asyncio.sleep(0.5)
            return await reading(path, **given)

        live.read = read  # type: ignore[method-assign]
        ended = await account.scanned(await account.request(purpose="audit", repair=True))
        assert "complete" == ended["status"]
        assert 2 == await account.fetchval("select count(*) from sync.drift where repaired")
        await account.settle()
        assert 0 == await account.fetchval(
            "select count(*) from sync.customers where customer_id = 'cus_nobody'"
        )


async def test_audit_without_drift_ends_expired_events(pool: Pool, database_url: str) -> None:
    """I10: what expired is lost until an audit has repaired it; a repairing audit that finds nothing ends the alarm."""
    async with attached(pool, database_url, lived_account(customers=20)) as account:
        await account.scanned(await account.request())
        await account.settle()

        async def stands_after(*, repair: bool) -> bool:
            await account.scanned(await account.request(purpose="audit", repair=repair))
            async with pool.acquire() as connection:
                return await alarm_stands(connection, "events expired")

        async with pool.acquire() as connection:
            await raise_alarm(
                connection, "events expired", "some may be lost: run `subledger audit --repair`"
            )
            await raise_alarm(connection, "events expired acct_1", "of another account")
            await damage(connection, seed=3, rows=3, records=0)
        assert await stands_after(repair=False)
        assert await stands_after(repair=True), "it found drift"
        assert not await stands_after(repair=True)
        assert 1 == await account.fetchval("select count(*) from sync.alarms")
