"""A Postgres or Redis that answers, but cannot be worked with: a worker says why, once, and holds it against no
event.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from structlog.testing import capture_logs

from db.connection import Pool, PostgresUnfit, create_pool
from db.migrate import migrate
from db.mirror.facts import SELECT_CUSTOMERS
from db.sync.inbox import CLAIM_EVENTS, FINISH_EVENTS
from db.sync.status import SELECT_MIGRATED
from runtime.bell import LIVE_QUEUE, connect_redis
from runtime.logs import Complaints
from runtime.retry import ATTEMPTS_MAX
from runtime.settings import Settings
from tests.faults import Call, before, failing
from tests.harness import Harness, customer, event
from tests.system import until
from worker import process
from worker.engine import keep_trying
from worker.process import WorkerProcess

NOT_MIGRATED = "the database is not migrated: run `subledger migrate`"
SAID = ("event", "because", "after", "during")

FAULTS: list[asyncpg.PostgresError] = [
    asyncpg.DuplicatePreparedStatementError('prepared statement "__asyncpg_stmt_1__" already exists'),
    asyncpg.InvalidSQLStatementNameError('prepared statement "__asyncpg_stmt_2__" does not exist'),
    asyncpg.UndefinedColumnError('column "told" does not exist'),
    asyncpg.UndefinedFunctionError("function sync.keep_one_history() does not exist"),
    asyncpg.InsufficientPrivilegeError("permission denied for table events"),
]


@asynccontextmanager
async def starting(database_url: str) -> AsyncIterator[asyncio.Task[None]]:
    """A worker process that looks whether it can begin; done when it can."""
    settings = Settings(database_url=database_url, redis_url="redis://unused")
    pool = await create_pool(database_url, min_size=0, max_size=2, application_name="subledger worker")
    looking = asyncio.create_task(WorkerProcess(settings)._look_until_fit(pool))
    try:
        yield looking
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await pool.close()


async def test_waits_for_the_migration_and_says_so_once(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I12: nothing is claimed before the database has every migration; then the worker begins on its own."""
    monkeypatch.setattr(process, "START_AGAIN_SECONDS", 0.02)

    async def nothing(_: object) -> None:
        pass

    with capture_logs() as logged:
        async with starting(empty_database_url) as looking:
            with before(SELECT_MIGRATED, nothing) as looks:

                async def looked_again() -> bool:
                    return looks.met > 5

                await until(looked_again, what="several looks")
            assert not looking.done()
            await asyncio.to_thread(migrate, empty_database_url)
            await asyncio.wait_for(looking, 20)
    said = [tuple(line[name] for name in SAID if name in line) for line in logged]
    assert [
        ("postgres cannot be worked with", NOT_MIGRATED),
        ("postgres can be worked with again", NOT_MIGRATED),
    ] == said


async def test_i12_waits_for_storage_that_fails(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """I12: a worker that starts while Postgres's storage fails waits, as for one that is away, and then begins."""
    monkeypatch.setattr(process, "START_AGAIN_SECONDS", 0.02)
    with (
        capture_logs() as logged,
        failing(SELECT_MIGRATED, asyncpg.DataCorruptedError("invalid page in block 7"), times=3),
    ):
        async with starting(database_url) as looking:
            await asyncio.wait_for(looking, 20)
    assert ["postgres is away", "postgres is back"] == [line["event"] for line in logged]


async def test_i12_queue_that_nobody_can_read(
    webhooks_only: Harness, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I12: somebody else has put what is no job into the queue: the worker says so once, its state shows it, and the
    lane is back as soon as the cause is gone.
    """
    monkeypatch.setattr(process, "SETTLED_SECONDS", 0.2)
    monkeypatch.setattr(process, "RESTART_SECONDS_MAX", 0.05)
    worker = WorkerProcess(Settings(database_url=webhooks_only.settings.database_url, redis_url=redis_url))

    def state(begins: str) -> Callable[[], Awaitable[bool]]:
        async def is_so() -> bool:
            assert not lane.done()
            return worker._health().redis.startswith(begins)

        return is_so

    client = connect_redis(redis_url, timeout_seconds=60.0)
    with capture_logs() as logged:
        lane = asyncio.create_task(worker._supervise(LIVE_QUEUE, webhooks_only.engine))
        await until(state("ok"), what="a lane that works")
        await client.zadd(LIVE_QUEUE, {b"\xff\xfe": 1})
        await until(state("not understood"), what="a lane that fails")
        restarts = worker._restarts[LIVE_QUEUE]

        async def tried_again() -> bool:
            return worker._restarts[LIVE_QUEUE] > restarts + 1

        await until(tried_again, what="further tries")
        await client.zrem(LIVE_QUEUE, b"\xff\xfe")
        await until(state("ok"), what="a lane that works again")
        await process._cancel([lane])  # once is not enough: see there
    await client.aclose(close_connection_pool=True)
    assert ["queue not understood"] == [line["event"] for line in logged if line["log_level"] == "error"]


async def test_jobs_end_before_their_worker_does(
    webhooks_only: Harness, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I12: a lane may be canceled more than once. What its jobs still do ends in time, or is canceled, before anything
    is given back that they use.
    """
    monkeypatch.setattr(process, "CLOSE_SECONDS", 1.5)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def takes_long(_: Call) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    worker = WorkerProcess(Settings(database_url=webhooks_only.settings.database_url, redis_url=redis_url))
    lane = asyncio.create_task(worker._supervise(LIVE_QUEUE, webhooks_only.engine))
    with before(CLAIM_EVENTS, takes_long, times=1):
        async with asyncio.timeout(30):
            await begun.wait()
            await process._cancel([lane])  # again after a second
            await asyncio.gather(*worker._closing)
    assert ended.is_set()


async def test_schema_of_another_version(database_url: str) -> None:
    """An older one is no schema to work on; with a newer one it works, after a warning with the remedy."""
    connection = await asyncpg.connect(database_url)
    newest = await connection.fetchval(
        "delete from subledger_migrations where version = (select max(version) from subledger_migrations) "
        "returning version"
    )
    with capture_logs() as logged:
        async with starting(database_url) as looking:

            async def said() -> bool:
                return bool(logged)

            await until(said, what="the complaint")
            assert not looking.done()
    assert [NOT_MIGRATED] == [line["because"] for line in logged]
    await connection.execute("insert into subledger_migrations values ($1), ('9999')", newest)
    with capture_logs() as logged:
        async with starting(database_url) as looking:
            await looking
    assert [("warning", ["9999"])] == [(line["log_level"], line["migrations"]) for line in logged]
    await connection.execute("delete from subledger_migrations where version = '9999'")
    await connection.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_i12_nothing_is_blamed(harness: Harness, fault: asyncpg.PostgresError) -> None:
    """I12: however long it lasts, no event and no customer is tried, suspected or parked for it; then all is done."""
    for number, statement in enumerate((FINISH_EVENTS, SELECT_CUSTOMERS)):
        await harness.receive(event("customer.updated", customer(name=f"n{number}"), after=number))
        with failing(statement, fault):
            for _ in range(ATTEMPTS_MAX + 3):
                with pytest.raises(PostgresUnfit):
                    await harness.engine.apply()
        assert 0 == await harness.fetchval(
            "select coalesce(max(attempts) - 1, 0) from ("
            "select attempts from sync.events union all select attempts from sync.customers) tried"
        )
        await harness.engine.apply()
    assert ["applied"] * 2 == list((await harness.event_states()).values())
    assert 0 == await harness.fetchval("select count(*) from sync.customers where stale > derived")


async def test_i12_nothing_that_was_tried_before_is_blamed(harness: Harness) -> None:
    """I12: nor an event that is under suspicion already, and is taken alone."""
    await harness.receive(event("customer.created", customer()))
    await harness.execute("update sync.events set attempts = 1")
    with failing(FINISH_EVENTS, FAULTS[2]):
        for _ in range(ATTEMPTS_MAX + 3):
            with pytest.raises(PostgresUnfit):
                await harness.engine.apply()
    await harness.engine.apply()
    assert ["applied"] == list((await harness.event_states()).values())


async def test_loops_say_it_once(pool: Pool) -> None:
    """A fault that all loops meet at every turn is one line, and one more when it is over for all of them."""
    stop, turns = asyncio.Event(), 0

    async def step() -> None:
        nonlocal turns
        turns += 1
        if turns <= 12:
            raise FAULTS[2]
        if turns >= 20:
            stop.set()

    complaints = Complaints()
    with capture_logs() as logged:
        await asyncio.gather(
            *(
                keep_trying(name, step, pause_seconds=0.001, until=stop, complaints=complaints)
                for name in ("sweep", "scan", "heartbeat")
            )
        )
    assert ["postgres cannot be worked with", "postgres can be worked with again"] == [
        line["event"] for line in logged
    ]
