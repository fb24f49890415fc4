"""`change`: a reader that polls by it, or listens, misses nothing."""

import asyncio

import asyncpg
import pytest

from billing.status import Policy
from db.connection import Pool, connect
from db.keys import CustomerKey
from db.records import records
from db.records.records import doubt_record
from db.sync import listeners
from db.sync.listeners import ListenerAlarm
from tests.harness import Harness, charge, customer, event, sweep
from tests.system import until
from worker.live.apply import apply_batch
from worker.live.derive import derive_batch

CUSTOMERS = 60
WRITERS = 4


async def test_poller_misses_nothing(webhooks_only: Harness, pool: Pool) -> None:
    """A reader that asks `where change > $1` while four workers derive ends with the records as they are, having seen
    every customer and never an older number after a newer one.
    """
    harness = webhooks_only
    seen: dict[str, tuple[int, int]] = {}
    reached = 0
    done = asyncio.Event()

    async def poll(connection: object) -> None:
        nonlocal reached
        rows = await connection.fetch(  # type: ignore[attr-defined]
            "select change, stripe_customer_id, lifetime_revenue from billing.customers "
            "where change > $1 order by change",
            reached,
        )
        for row in rows:
            seen[row[1]] = (row[0], row[2])
            reached = row[0]

    async def keep_polling() -> None:
        async with pool.acquire() as connection:
            while not done.is_set():
                await poll(connection)
                await asyncio.sleep(0)
            await poll(connection)

    async def write() -> None:
        async with pool.acquire() as connection:
            while await apply_batch(connection, served_mode=None, confirms=False, limit=5):
                await derive_batch(connection, policy=Policy(), limit=3)
            while await derive_batch(connection, policy=Policy(), limit=3):
                pass

    polling = asyncio.create_task(keep_polling())
    for turn in range(4):
        await harness.receive(
            *(
                event("charge.succeeded", charge(f"ch_{turn}_{n}", f"cus_{n}"), after=turn)
                for n in range(CUSTOMERS)
            )
        )
        await asyncio.gather(*(write() for _ in range(WRITERS)))
    done.set()
    await polling
    await harness.engine.derive()
    rows = await harness.fetch("select stripe_customer_id, change, lifetime_revenue from billing.customers")
    assert {row[0]: (row[1], row[2]) for row in rows} == seen
    assert CUSTOMERS == len(seen)
    assert {4 * 2000} == {revenue for _, revenue in seen.values()}


async def test_numbers_are_held_until_the_commit(
    webhooks_only: Harness, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that has its number but not committed keeps others from numbering: no later number is committed
    before an earlier one.
    """
    harness = webhooks_only
    await harness.receive(
        event("charge.succeeded", charge("ch_1", "cus_1")), event("charge.succeeded", charge("ch_2", "cus_2"))
    )
    first = await connect(database_url, application_name="first")
    try:
        async with harness.pool.acquire() as second:
            await apply_batch(second, served_mode=None, confirms=False)
            holding = first.transaction()
            await holding.start()
            # `derive_batch` inside an open transaction: its claim and its record are committed with it.
            await first.execute(records.LOCK_NUMBERING)
            deriving = asyncio.create_task(derive_batch(second, policy=Policy()))

            async def is_waiting() -> object:
                return await harness.fetchval(
                    "select exists (select from pg_stat_activity where wait_event = 'relation' "
                    "and datname = current_database())"
                )

            await until(is_waiting, what="the second numbering")
            assert 0 == await harness.fetchval("select count(*) from billing.customers")
            assert 1 == await harness.fetchval("select last_value from billing.change")
            assert not await harness.fetchval("select is_called from billing.change"), "no number drawn yet"
            await holding.rollback()
            assert 2 == await deriving
    finally:
        await first.close()


async def test_doubted_record_is_told_to_readers(webhooks_only: Harness, database_url: str) -> None:
    """A record that stops being exact without being derived has a new number, and readers hear it."""
    harness = webhooks_only
    await harness.apply(event("customer.created", customer()))
    await harness.execute("update billing.customers set exact = true")
    heard: list[int] = []
    listener = await connect(database_url, application_name="listener")
    try:
        await listener.add_listener("billing_customers", lambda *told: heard.append(int(told[3])))
        async with harness.pool.acquire() as connection, connection.transaction():
            await doubt_record(connection, CustomerKey("", False, "cus_1"))

        async def has_heard() -> bool:
            await listener.execute("select 1")
            return bool(heard)

        await until(has_heard, what="the notification")
        record = await harness.record()
        assert ([record["change"]], False) == (heard, record["exact"])
        await listener.remove_listener("billing_customers", lambda *_: None)
    finally:
        await listener.close()


async def test_notify_carries_the_highest_number(webhooks_only: Harness, database_url: str) -> None:
    """Each commit that changed records notifies once, with its highest number; one that changed none is silent."""
    harness = webhooks_only
    heard: list[int] = []
    listener = await connect(database_url, application_name="listener")
    try:
        await listener.add_listener("billing_customers", lambda *told: heard.append(int(told[3])))
        await harness.apply(*(event("customer.created", customer(f"cus_{n}")) for n in range(5)))

        async def has_heard() -> bool:
            await listener.execute("select 1")
            return bool(heard)

        await until(has_heard, what="the notification")
        highest = await harness.fetchval("select max(change) from billing.customers")
        assert [highest] == heard
        await harness.execute("update sync.customers set stale = stale + 1, stale_since = now()")
        assert 5 == await harness.engine.derive()
        await listener.execute("select 1")
        assert [highest] == heard
        await harness.apply(event("customer.updated", customer("cus_3", name="New"), after=9))

        async def has_heard_again() -> bool:
            await listener.execute("select 1")
            return len(heard) > 1

        await until(has_heard_again, what="the second notification")
        assert [highest, (await harness.record("cus_3"))["change"]] == heard
        await listener.remove_listener("billing_customers", lambda *_: None)
    finally:
        await listener.close()


async def test_i12_queue_of_notifications_that_a_reader_fills(
    webhooks_only: Harness, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I12: when the server's queue of notifications is full, records are written without, an alarm names the cause, and
    both end with it.
    """
    harness = webhooks_only
    alarm = "select detail from sync.alarms where name = $1"
    heard: list[int] = []
    listener = await connect(database_url, application_name="listener")
    try:
        await listener.add_listener("billing_customers", lambda *told: heard.append(int(told[3])))
        with monkeypatch.context() as full:
            full.setattr(records, "QUEUE_USAGE_MAX", 0.0)
            full.setattr(listeners, "USAGE_ALARMING", 0.0)
            await harness.apply(event("customer.created", customer()))
            async with harness.pool.acquire() as connection:
                await listeners.look_at_queue(connection)
        assert not (await harness.record())["deleted_at"]
        assert "pg_terminate_backend" in await harness.fetchval(alarm, ListenerAlarm.QUEUE_FULL)
        await harness.apply(event("customer.updated", customer(name="New"), after=9))
        async with harness.pool.acquire() as connection:
            await listeners.look_at_queue(connection)
        assert await harness.fetchval(alarm, ListenerAlarm.QUEUE_FULL) is None

        async def has_heard() -> bool:
            await listener.execute("select 1")
            return bool(heard)

        await until(has_heard, what="the notification")
        assert [(await harness.record())["change"]] == heard
        await listener.remove_listener("billing_customers", lambda *_: None)
    finally:
        await listener.close()


async def test_reader_cannot_keep_records_from_being_written(
    webhooks_only: Harness, database_url: str
) -> None:
    """I7, I12: whatever a reader holds, every advisory lock that our code ever named and a lock on all that it may
    read, records are numbered and written.
    """
    harness = webhooks_only
    reader = await connect(database_url, application_name="reader")
    try:
        await reader.execute("set role billing_reader")
        for number in (0x5B1ED6E4, 0x5B1ED6E5):
            await reader.execute("select pg_advisory_lock($1)", number)
        async with reader.transaction():
            await reader.execute("lock table billing.customers in access share mode")
            for table in ("sync.numbering", "sync.incarnation"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with reader.transaction():
                        await reader.execute(f"lock table {table} in access share mode")
            async with asyncio.timeout(20):
                await harness.apply(event("customer.created", customer()))
                assert await harness.record()
                await sweep(harness.engine)
    finally:
        await reader.close()
