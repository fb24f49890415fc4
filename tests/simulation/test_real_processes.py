"""The same promise with the real processes: kill -9 wherever they are, Redis wiped and hung, Postgres crashed."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import asyncpg
import psutil
import pytest
import redis

from db.connection import OwnConnection, PostgresAway
from db.keys import Scope
from db.migrate import migrate
from db.sync.accounts import see_accounts
from local.clean import throwaway_home
from local.postgres import start_postgres
from local.processes import Server
from local.valkey import start_valkey
from sandbox import MIXED, Event, Faults, Plan, Sandbox, create_api, deliver, serve
from tests.databases import at_database
from tests.simulation.world import CONNECTED, CUSTOMERS_MIN, EVENTS_MIN, LEFT, YEAR, short_stories
from tests.system import SECRET, Running, System, running_system, start, until
from tests.truth import differences, read_records

API_KEY = "sk_test_real_processes"
SEEDS = range(int(os.environ.get("REAL_WORLDS", "1")))
"""In each of them everything that can happen to a process or a server happens: one is enough for all of it."""
HUNG_SECONDS = 1.0

# As if the time had passed for which leases and appointments wait; what is missing or parked is left alone.
MAKE_DUE = """
update sync.objects set read_at = now() where read_at > now() and dirty >= confirmed;
update sync.events set leased_until = now() - interval '1 second' where leased_until > now();
update sync.customers set leased_until = now() - interval '1 second' where leased_until > now();
update sync.customers set history_at = now() where history_at > now();
update sync.accounts set due_at = now() where due_at > now();
"""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Servers of these tests' own, to be ill-treated."""

    postgres: Server
    valkey: Server


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    with (
        throwaway_home() as home,
        start_postgres(home, durable=False) as postgres,
        start_valkey(home) as valkey,
    ):
        yield Machines(postgres=postgres, valkey=valkey)


@dataclass(kw_only=True)
class Trouble:
    """What is done to the running system."""

    machines: Machines
    system: System
    webs: list[Running] = field(default_factory=list)

    async def kill_worker(self) -> None:
        """kill -9; another worker takes its place."""
        await self.system.workers[-1].kill()
        number = len(self.system.workers)
        log = self.system.folder / f"worker-{number}.log"
        self.system.workers.append(await start("worker", self.system.environment, log))

    async def kill_web(self) -> None:
        """kill -9 in the middle of whatever it answers; Stripe tries again at the one that takes its place."""
        await (self.webs[-1] if self.webs else self.system.web).kill()
        log = self.system.folder / f"web-{len(self.webs)}.log"
        self.webs.append(await start("web", self.system.environment, log))

    async def wipe_redis(self) -> None:
        with redis.Redis.from_url(self.machines.valkey.url) as client:
            client.flushall()

    async def hang_redis(self) -> None:
        """It takes connections and says nothing for a while."""
        os.kill(self.machines.valkey.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(HUNG_SECONDS)
        finally:
            os.kill(self.machines.valkey.process.pid, signal.SIGCONT)

    async def crash_postgres(self) -> None:
        """Kill a backend: Postgres cuts every connection and recovers from its log. What was committed in the last
        tenths of a second is lost, since `synchronous_commit` is off here (start_postgres, not durable).
        """
        backends = [
            child
            for child in psutil.Process(self.machines.postgres.process.pid).children()
            if "subledger" in " ".join(child.cmdline())
        ]
        if backends:
            backends[0].kill()

    def all(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.kill_worker, self.kill_web, self.wipe_redis, self.hang_redis, self.crash_postgres]


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[OwnConnection]:
    """A connection for one errand, since none outlives a crash."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def _ask(url: str, statement: str) -> list[asyncpg.Record]:
    async with _connected(url) as connection:
        return list(await connection.fetch(statement))


def play(sandbox: Sandbox, draws: Random) -> None:
    """Put enough stories on stage."""
    stories = short_stories()
    customers = events = 0
    while customers <= CUSTOMERS_MIN or events < EVENTS_MIN:
        name = draws.choice(sorted(stories))
        sandbox.play(name)
        customers, events = customers + stories[name][0], events + stories[name][1]


@pytest.mark.parametrize("seed", SEEDS)
async def test_records_equal_the_truth(
    seed: int, machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1, I4: events are delivered in parts, and in each part something is killed, wiped, hung or crashed."""
    monkeypatch.setenv("GAP_FILL_SECONDS", "2")
    draws = Random(f"{seed}:real")  # noqa: S311 - replayable
    name = f"real_{seed}"
    await _ask(machines.postgres.url, f"create database {name}")
    url = at_database(machines.postgres.url, name)
    await asyncio.to_thread(migrate, url)
    sandbox = Sandbox(seed, event_versions=MIXED, inversions=True, event_retention_seconds=YEAR)
    for account_id in CONNECTED:
        sandbox.account(account_id)
    faults = Faults(
        latency_jitter_seconds=0.02,
        rate_limited_share=0.02,
        lock_timeout_share=0.02,
        error_share=0.02,
        reset_share=0.02,
        seed=seed,
    )
    async with serve(create_api(sandbox, [API_KEY], faults=faults)) as api_base:
        async with _connected(url) as connection:
            await see_accounts(connection, [Scope(account_id, False) for account_id in ("", *CONNECTED)])
        async with running_system(
            database_url=url,
            redis_url=machines.valkey.url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=api_base,
            workers=2,
        ) as system:
            trouble = Trouble(machines=machines, system=system)
            try:
                await until(lambda: _all_filled(url), what="the first fill")
                play(sandbox, draws)
                count = await _live_on(sandbox, system, trouble, draws)
                assert count >= EVENTS_MIN
                faults.reset_share = faults.error_share = faults.rate_limited_share = 0.0
                faults.lock_timeout_share = 0.0
                # A fill whose cursor stands here has begun when everything had happened.
                sandbox.advance(until=sandbox.now + 60)
                settling = Settling(url=url, told_until=sandbox.now)
                await until(settling.is_over, within_seconds=300, what="a settled system")
                truth = {key: each for key, each in sandbox.truth().items() if not each.live_mode}
                assert len(truth) >= CUSTOMERS_MIN
                found = [
                    line
                    for line in differences(truth, await read_records(url))
                    if "were not lived through" not in line
                ]
                assert not found, f"seed {seed}\n" + "\n".join(found)
            finally:
                await asyncio.gather(*(web.stop() for web in trouble.webs))


async def _live_on(sandbox: Sandbox, system: System, trouble: Trouble, draws: Random) -> int:
    """Let the account live, deliver in parts, and make trouble in each; returns how many events there were."""
    count, troubles = 0, trouble.all()
    draws.shuffle(troubles)
    while sandbox.playing:
        events: list[Event] = []
        while sandbox.playing and len(events) < EVENTS_MIN // len(troubles):
            events += sandbox.step()
        count += len(events)
        plan = Plan(
            shuffle=True,
            duplicate_share=0.1,
            reid_share=0.05,
            drop_share=0.05,
            late_share=0.05,
            seed=draws.getrandbits(32),
        )
        delivery = asyncio.create_task(
            deliver(events, system.webhook_url, SECRET, plan=plan, concurrency=4, attempts_max=20)
        )
        make = troubles[0]
        troubles = [*troubles[1:], make]
        await make()
        report = await delivery
        assert not report.refused
    return count


async def _all_filled(url: str) -> bool:
    return not await _ask(url, "select from sync.accounts where filled_at is null")


@dataclass(kw_only=True)
class Settling:
    """A system that has to do what is left, as if nobody had to wait for a lease or an appointment."""

    url: str
    told_until: int
    """A moment of the account's clock, up to which every gap has to be filled."""
    left: list[tuple[object, ...]] = field(default_factory=list)

    async def is_over(self) -> bool:
        """Whether nothing is left to be done. While nothing moves, what waits is made due: not sooner, since a worker
        that is at work would lose its leases, and what it has in hand would count as tried once more.
        """
        behind = f"""
        select 'gap', account_id, cursor_at::text from sync.accounts
        where not live_mode and (cursor_at is null or cursor_at < to_timestamp({self.told_until}))
        """
        try:
            for _ in range(40):
                left = [tuple(row) for row in [*await _ask(self.url, behind), *await _ask(self.url, LEFT)]]
                if not left:
                    return True
                if left != self.left:
                    self.left = left
                    return False
                await asyncio.sleep(0.05)
            async with _connected(self.url) as connection:
                await connection.execute(MAKE_DUE)
        except (*PostgresAway, asyncpg.DeadlockDetectedError):  # cut off, or in the way of a worker
            pass
        return False
