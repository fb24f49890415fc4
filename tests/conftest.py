"""Real servers for every test: one Postgres and one Valkey for the run, an empty database for each test that asks."""

import asyncio
import gc
import importlib.metadata
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import hypothesis
import pytest
import redis

from db.connection import Pool, create_pool
from db.migrate import migrate
from local.clean import throwaway_home
from local.postgres import OUTSIDE_DIRECTORIES, start_postgres
from local.valkey import start_valkey
from tests.databases import POOL_NAME, SCHEMA, at_database, emptied, emptied_by

VALKEY_DATABASES = 64
MEMORY = Path("/dev/shm")  # noqa: S108 - a home has mode 0700
MEMORY_BYTES_MIN = 2 * 2**30
"""How much memory must be free before the databases of a run are kept there; they take about a tenth of it."""

# How long an example takes says more of what else the machine does than of us.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

SLOW = (
    "tests/test_bench.py",
    "tests/worker/audit/test_attached.py",
    "tests/test_end_to_end.py",
    "tests/browser/test_console.py",
    "tests/worker/test_every_story.py",
    "tests/simulation/test_real_processes.py",
    "tests/worker/test_process.py",
    "tests/local/test_up.py",
    "tests/simulation/test_simulation.py",
)
"""What takes longest comes first, so that no process ends with it while the others have nothing left to do."""

_VERSIONS = pytest.StashKey[list[str]]()


@dataclass(frozen=True, kw_only=True)
class Services:
    """The servers of this run; the URL of Postgres is that of its maintenance database."""

    postgres_url: str = field(repr=False)
    valkey_url: str = field(repr=False)


def _in_memory() -> Path | None:
    """The directory in memory that can hold the servers of a run; None: where temporary files go."""
    try:
        found = os.statvfs(MEMORY)
    except FileNotFoundError:
        return None
    # Root's Postgres runs programs that are copied next to its data.
    fits = found.f_bavail * found.f_frsize >= MEMORY_BYTES_MIN and not found.f_flag & os.ST_NOEXEC
    return MEMORY if fits and os.access(MEMORY, os.W_OK) else None


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Services]:
    """Postgres and Valkey, started for this run alone and removed with their data at its end.

    In memory if there is room: a database is a thousand files, and some file systems take long to make them.
    """
    parent = _in_memory()
    outside = OUTSIDE_DIRECTORIES if parent is None else (parent,)
    with (
        throwaway_home(parent) as home,
        start_postgres(home, durable=False, connections_max=300, outside=outside) as postgres,
        start_valkey(home, databases=VALKEY_DATABASES) as valkey,
    ):
        services = Services(
            postgres_url=at_database(postgres.url, "postgres"), valkey_url=at_database(valkey.url, 0)
        )
        with redis.Redis.from_url(valkey.url) as client:
            information = client.info("server")
        request.config.stash[_VERSIONS] = [
            str(asyncio.run(execute(services.postgres_url, "select version()"))),
            f"{information['server_name']} {information['valkey_version']}",
            f"arq {importlib.metadata.version('arq')}",
        ]
        yield services


@pytest.fixture(scope="session")
def template(servers: Services) -> str:
    """The name of a database that has all migrations, from which each test's own is copied."""
    name = "subledger_template"
    asyncio.run(execute(servers.postgres_url, f"create database {name}"))
    migrate(at_database(servers.postgres_url, name))
    # A database with an open connection cannot be copied.
    asyncio.run(execute(servers.postgres_url, f"alter database {name} allow_connections false"))
    return name


@pytest.fixture(scope="session")
def migrated_home() -> Iterator[Path]:
    """A home with a migrated cluster and no server, for tests that ill-treat a server of their own: see `clusters`."""
    with throwaway_home() as home:
        with start_postgres(home, durable=False) as server:
            migrate(server.url)
        yield home


@pytest.fixture(scope="session")
async def shared_loop() -> asyncio.AbstractEventLoop:
    """The loop of all asynchronous tests and fixtures."""
    return asyncio.get_running_loop()


@pytest.fixture(autouse=True)
def nothing_left_running(shared_loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """All tests share one loop, so what a test has left running is ended with it. (Not asynchronous itself: that would
    take a third of the time of a test that is not.)
    """
    before = asyncio.all_tasks(shared_loop)
    yield
    left = asyncio.all_tasks(shared_loop) - before
    while left := {task for task in left if not task.done()}:
        for task in left:
            task.cancel()
        ended = asyncio.gather(*left, return_exceptions=True)
        # Again, until all have: redis-py waits by asyncio.wait_for, which on Python 3.11 can lose a cancellation.
        shared_loop.run_until_complete(asyncio.wait([ended], timeout=1.0))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal what is slow out to all processes, each of which begins with its part and then has as many others."""
    processes: int = getattr(config, "workerinput", {}).get("workercount", 1)
    slow = [item for name in SLOW for item in items if item.nodeid.startswith(name)]
    others = [item for item in items if not item.nodeid.startswith(SLOW)]
    dealt: list[pytest.Item] = []
    for process in range(processes):
        # xdist gives each process the same number of successive tests (--dist worksteal).
        part = (len(items) - len(dealt)) // (processes - process)
        first = slow[processes - 1 - process :: processes]
        taken = part - len(first)
        dealt += first + others[:taken]
        others = others[taken:]
    items[:] = dealt


def pytest_collection_finish() -> None:
    """What has been imported and collected lives to the end: the garbage collector need not look at it any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)  # a tenth of what tests compute was looking for garbage


def pytest_sessionfinish(session: pytest.Session) -> None:
    """An xdist worker reports to the controller which servers its tests used."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["services"] = session.config.stash.get(_VERSIONS, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """The controller receives what an xdist worker reports."""
    if versions := getattr(node, "workeroutput", {}).get("services"):
        node.config.stash[_VERSIONS] = versions


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    """Name the servers that the tests used."""
    for version in config.stash.get(_VERSIONS, []):
        terminalreporter.write_line(f"service: {version}")


async def execute(url: str, *statements: str) -> object:
    """Run statements on a connection of their own; what the last one returns."""
    connection = await asyncpg.connect(url)
    try:
        return [await connection.fetchval(statement) for statement in statements][-1]
    finally:
        await connection.close()


_numbers = itertools.count(1)
_emptied: list[str] = []
"""Databases that an earlier test has done with. Emptying one is quicker than making one, above all for its sessions."""

REUSED = "test_"
"""How the names of these begin."""


@asynccontextmanager
async def database_copy(servers: Services, template: str, name: str) -> AsyncIterator[str]:
    """The URL of a database that is a copy of the template, dropped afterwards."""
    # Copying files is several times quicker than logging every page, which is the default.
    await execute(servers.postgres_url, f"create database {name} template {template} strategy file_copy")
    yield at_database(servers.postgres_url, name)
    # `force`: a process that the test killed may still be on its way out.
    await execute(servers.postgres_url, f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def template_schema(servers: Services, template: str) -> object:
    """What `SCHEMA` returns in an unaltered database."""

    async def look() -> object:
        async with database_copy(servers, template, "unaltered") as url:
            return await execute(url, SCHEMA)

    return asyncio.run(look())


@pytest.fixture(scope="session")
async def pools(servers: Services) -> AsyncIterator[dict[str, Pool]]:
    """The idle pools on databases that are used again, by URL: fresh sessions have to read all catalogs again."""
    pools: dict[str, Pool] = {}
    yield pools
    for pool in pools.values():
        await pool.close()


@pytest.fixture
async def database_url(
    servers: Services, template: str, template_schema: object, pools: dict[str, Pool]
) -> AsyncIterator[str]:
    """A migrated, empty database that no other test uses meanwhile."""
    if _emptied:
        name = _emptied.pop()
    else:
        name = f"{REUSED}{next(_numbers)}"
        await execute(servers.postgres_url, f"create database {name} template {template} strategy file_copy")
    url = at_database(servers.postgres_url, name)
    yield url
    pool = pools.get(url)
    if await (emptied(url, template_schema) if pool is None else emptied_by(pool, template_schema)):
        _emptied.append(name)
    else:
        # A test has altered it, so no other test may use it. A process that it killed may still be on its way out.
        if pool is not None:
            pools.pop(url).terminate()
        await execute(servers.postgres_url, f"drop database {name} with (force)")


@pytest.fixture
async def empty_database_url(servers: Services) -> AsyncIterator[str]:
    """A database of this test's own without any of our tables, dropped afterwards."""
    async with database_copy(servers, "template0", f"empty_{next(_numbers)}") as url:
        yield url


@pytest.fixture
async def pool(database_url: str, pools: dict[str, Pool]) -> AsyncIterator[Pool]:
    """A pool on this test's database."""
    # Planning was more than half of what Postgres did: a test executes each statement only some times.
    pool = pools.pop(database_url, None) or await create_pool(
        database_url, min_size=1, max_size=10, application_name=POOL_NAME, keeps_plans=True
    )
    yield pool
    idle = not pool.is_closing() and pool.get_idle_size() == pool.get_size()
    if idle and f"/{REUSED}" in database_url:
        pools[database_url] = pool
    else:
        await pool.close()


@pytest.fixture
def redis_url(servers: Services) -> Iterator[str]:
    """A Valkey database of this test's own, empty before and after."""
    url = at_database(servers.valkey_url, next(_numbers) % VALKEY_DATABASES)
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()
