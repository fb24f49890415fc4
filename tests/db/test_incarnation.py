"""Incarnations: what begins another one, and what it raises. Losses of real servers are in test_one_history.py."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from db.connection import Pool, connect
from db.sync.incarnation import Incarnation, Numbers, keep_one_history, select_incarnation
from local.clean import throwaway_home
from local.postgres import start_postgres
from tests.losses import Crash, Failover

EPOCHS = "select number, epoch, first_tick, first_change, reason from sync.epochs order by number"
ALARM = "select detail from sync.alarms where name = 'history of the database'"


async def session(url: str) -> Numbers:
    """What a session of ours sees at its beginning."""
    connection = await connect(url, application_name="subledger-test")
    try:
        return await keep_one_history(connection, Numbers())
    finally:
        await connection.close()


async def epochs(url: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(EPOCHS)
        return rows
    finally:
        await connection.close()


async def test_first_incarnation_is_no_fault(database_url: str) -> None:
    """A new database has one epoch, whichever sessions come first; `change` begins at 1, and there is no alarm."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("delete from sync.epochs; delete from sync.incarnation")
    finally:
        await connection.close()
    await asyncio.gather(*(session(database_url) for _ in range(8)))
    (epoch,) = await epochs(database_url)
    assert (1, 1, "installed") == (epoch["number"], epoch["first_change"], epoch["reason"])
    assert epoch["first_tick"] >= 2**30
    connection = await asyncpg.connect(database_url)
    try:
        assert [] == await connection.fetch(ALARM)
    finally:
        await connection.close()


SPOILED = {
    "emptied, as Postgres does": "delete from sync.incarnation",
    "restored as it was by a dump": (
        "create temporary table kept as select * from sync.incarnation; delete from sync.incarnation;"
        "insert into sync.incarnation select * from kept"
    ),
    "of a dump, beside ours": "insert into sync.epochs select number + 1, gen_random_uuid(), now(), 1, 1, 'x' "
    "from sync.epochs",
    "tick to 1": "select setval('sync.tick', 1)",
    "tick restarted": "alter sequence sync.tick restart",
    "change to 1": "select setval('billing.change', 1)",
    "inbox numbers to 1": "select setval('sync.events_seq_seq', 1)",
}

ROWS = """
insert into sync.events (account_id, live_mode, event_id, type, payload)
select '', false, 'evt_' || n, 'x', '' from generate_series(1, 50) n;
insert into sync.objects (account_id, live_mode, kind, id, dirty, confirmed)
select '', false, 'customer', 'cus_' || n, nextval('sync.tick'), nextval('sync.tick') from generate_series(1, 50) n;
insert into billing.customers (uid, account_id, live_mode, change)
select gen_random_uuid(), '', false, nextval('billing.change') from generate_series(1, 50) n;
insert into sync.accounts (account_id, live_mode, due_at) values ('', false, now() + interval '1 hour')
"""


@pytest.mark.parametrize("statement", SPOILED.values(), ids=SPOILED)
async def test_next_session_begins_another(database_url: str, statement: str) -> None:
    """The next session finds each of these, and raises all sequences above every row before it draws any number; its
    ticks lie beyond those of every earlier incarnation, its numbers of changes beyond what readers can have seen, and
    gaps are filled at once.
    """
    await session(database_url)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(ROWS)
        (before,) = await epochs(database_url)
        await connection.execute(statement)
        await asyncio.gather(*(session(database_url) for _ in range(4)))
        *_, after = await epochs(database_url)
        assert before["epoch"] != after["epoch"]
        assert (
            after["first_tick"]
            >= before["first_tick"] + 2**30
            > await connection.fetchval("select max(confirmed) from sync.objects")
        )
        assert 1_000_000_000 == after["first_change"]
        assert after["epoch"] == await connection.fetchval("select epoch from billing.epoch")
        assert 1_000_000_000 == await connection.fetchval("select nextval('billing.change')")
        assert 50 < await connection.fetchval("select nextval('sync.events_seq_seq')")
        assert await connection.fetchval("select due_at <= clock_timestamp() from sync.accounts")
        assert await connection.fetchval(ALARM)
        count = len(await epochs(database_url))
        await session(database_url)
        assert count == len(await epochs(database_url))
    finally:
        await connection.close()


async def test_sequence_that_was_set_back(pool: Pool) -> None:
    """Set back not to 1 but among its own numbers: a worker that runs remembers greater ones, and one that starts looks
    at the rows.
    """
    async with pool.acquire() as connection:
        seen = await keep_one_history(connection, Numbers())
        await connection.execute(ROWS)
        last = await keep_one_history(connection, seen)
        assert (last.tick - seen.tick, last.change) == (99, 50)  # the first tick was not drawn yet
        for spoil, told, thorough in (
            (f"select setval('sync.tick', {last.tick - 20})", last, False),
            (f"select setval('sync.tick', {last.tick - 20})", Numbers(), True),
        ):
            was = await select_incarnation(connection)
            await connection.execute(spoil)
            if thorough:
                assert was.first_tick == (await select_incarnation(connection)).first_tick
            told = await keep_one_history(connection, told, thorough=thorough)
            now = await select_incarnation(connection)
            assert told.tick == now.first_tick > last.tick + 2**30 - 200
            last = Numbers(tick=now.first_tick + 100)
            await connection.execute("update sync.objects set confirmed = $1 where id = 'cus_1'", last.tick)
            await connection.execute("select setval('sync.tick', $1)", last.tick)
            assert last.tick == (await keep_one_history(connection, told, thorough=True)).tick


def test_ticks_of_an_incarnation() -> None:
    """Both ends are its own; nothing before the first or after the last drawn is."""
    drew = Incarnation(first_tick=5, last_tick=7).drew
    assert [False, True, True, True, False] == [drew(tick) for tick in (4, 5, 6, 7, 8)]


@pytest.fixture
def crash(migrated_home: Path) -> Iterator[Crash]:
    """A server that may be killed."""
    with throwaway_home() as home, Crash(home, migrated_home) as loss:
        yield loss


async def test_restarts_and_crashes(crash: Crash) -> None:
    """A server that was stopped in good order goes on in its incarnation; one that was killed, or had a backend killed,
    begins another, though nothing may have been lost.
    """
    first = await session(crash.url)
    crash.server.stop()
    crash.server = start_postgres(crash.home, settings=crash.settings)
    assert 1 == len(await epochs(crash.url))
    assert first == await session(crash.url)
    assert 1 == len(await epochs(crash.url))
    crash.kill()
    crash.server = start_postgres(crash.home, settings=crash.settings)
    await session(crash.url)
    assert 2 == len(await epochs(crash.url))


async def test_standby_is_only_read(migrated_home: Path) -> None:
    """A session on a standby reads the epoch there, begins none, and is told that it may not write."""
    with throwaway_home() as home, Failover(home, migrated_home) as primary:
        await session(primary.url)
        (epoch,) = await epochs(primary.url)
        await primary.keep()
        await primary.lose(promote=False)
        connection = await connect(primary.url, application_name="subledger-test")
        try:
            assert epoch["epoch"] == await connection.fetchval("select epoch from billing.epoch")
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await keep_one_history(connection, Numbers())
            # A session that is there when the standby is promoted, too.
            await connection.execute("select pg_promote()")
            await keep_one_history(connection, Numbers())
        finally:
            await connection.close()
        assert 2 == len(await epochs(primary.url))
