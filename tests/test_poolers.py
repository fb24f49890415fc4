"""Behind a pooler: one in session mode is like Postgres itself; one in transaction mode is named, and costs nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import asyncpg
import pytest

from db.connection import PostgresAway, TransactionPooling, connect, create_pool
from tests.cli.command import subledger
from tests.harness import customer, event
from tests.poolers import PGBOUNCER, SENTENCE, pgbouncer, transaction_pooler
from tests.system import running_system, start
from tests.webhooks.web_harness import event as webhook
from tests.webhooks.web_harness import open_door, settings

POOLERS = ["small", *(["transaction", "statement"] if PGBOUNCER else [])]
"""Our own, and PgBouncer in two modes where it is installed."""


def behind(pooler: str, database_url: str) -> AbstractAsyncContextManager[str]:
    if pooler == "small":
        return transaction_pooler(database_url)
    return pgbouncer(database_url, mode=pooler)


@pytest.fixture(params=POOLERS)
async def pooled_url(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[str]:
    """The URL of this test's database through a pooler that lends sessions."""
    async with behind(request.param, database_url) as url:
        yield url


async def test_small_pooler_lends_sessions(database_url: str) -> None:
    """What the small pooler shows of a session is what PgBouncer shows: a setting goes to whoever comes next."""
    async with transaction_pooler(database_url) as url:
        first, second = await asyncpg.connect(url), await asyncpg.connect(url)
        await first.execute("set application_name = 'of the first'")
        assert "SELECT 1" == await second.execute(
            "begin; select where current_setting('application_name') = 'of the first'"
        )
        assert "SELECT 0" == await first.execute(
            "select where current_setting('application_name') = 'of the first'"
        )
        await second.execute("rollback")
        await first.close()
        await second.close()


async def test_pool_refuses_shared_sessions(pooled_url: str) -> None:
    """I12: whoever asks a pool for a connection learns it from the first one, and again from each later one."""
    pool = await create_pool(pooled_url, min_size=0, max_size=3, application_name="subledger-test")
    for _ in range(2):
        with pytest.raises(TransactionPooling, match="in transaction mode"):
            await pool.acquire()
    await pool.close()


@pytest.mark.parametrize("arguments", [["migrate"], ["status", "--wait", "60"]])
async def test_command_says_it_in_one_sentence(pooled_url: str, arguments: list[str]) -> None:
    """I12: a command ends at once, with the remedy, before it has done anything."""
    done = await subledger(pooled_url, *arguments)
    assert (1, f"subledger: {SENTENCE}\n") == (done.code, done.err)


async def test_worker_says_it_in_one_sentence(
    pooled_url: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """I12: a worker ends at once, and no event has been claimed."""
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "insert into sync.events (account_id, live_mode, event_id, type, payload) "
        "values ('', false, 'evt_1', 'customer.updated', $1)",
        event("customer.updated", customer("cus_1"), id="evt_1"),
    )
    environment = {"DATABASE_URL": pooled_url, "REDIS_URL": redis_url, "STRIPE_API_KEY": ""}
    worker = await start("worker", environment, tmp_path / "worker.log")
    assert 1 == await worker.process.wait()
    assert [f"subledger: {SENTENCE}"] == worker.log.read_text().splitlines()
    assert [("pending", 0)] == [
        tuple(row) for row in await connection.fetch("select state, attempts from sync.events")
    ]
    await connection.close()


@pytest.mark.skipif(PGBOUNCER is None, reason="PgBouncer is not installed; no other test needs it")
async def test_session_mode_is_like_postgres_itself(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Web, worker and commands work through PgBouncer in session mode."""
    async with (
        pgbouncer(database_url, mode="session") as url,
        running_system(database_url=url, redis_url=redis_url, folder=tmp_path) as system,
    ):
        assert 0 == (await subledger(url, "migrate")).code
        async with open_door(settings(database_url=url)) as door:
            assert 200 == (await door.post(webhook("evt_1"))).status
        await system.settled()
        shown = json.loads((await subledger(url, "events", "list", "--json")).out)
        assert ["evt_1"] == [each["event_id"] for each in shown["events"]]


async def test_pooler_that_is_full_is_away() -> None:
    """I12: a pooler that has no session left says so as an internal error of the server: that is no failure of ours."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")  # no TLS
        await reader.read(1)
        fields = b"SFATAL\0VFATAL\0CXX000\0MMaxClientsInSessionMode: max clients reached\0\0"
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(PostgresAway, match="max clients reached"):
            await connect(f"postgresql://u:p@127.0.0.1:{port}/d", application_name="test")
