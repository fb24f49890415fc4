"""The worker process: whatever dies around it or of it, the records end true without any help."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import asyncpg
import pytest
import redis

from local.clean import throwaway_home
from local.postgres import start_postgres
from local.valkey import start_valkey
from sandbox import Event, Sandbox, create_api, deliver, serve
from sandbox.stories import STORIES
from tests.clusters import lay_cluster
from tests.harness import NOON, Api, customer, event, listing
from tests.losses import Restore
from tests.ports import closed_port, reserve_ports
from tests.reader import Reader
from tests.signing import signature_header
from tests.system import SECRET, System, running_system, start, start_afresh, until
from tests.truth import differences, read_records

API_KEY = "sk_test_processes"
AWAY_SECONDS = 10.0
MOVED_MIN = 6
"""How often records have moved while Redis was away, at least."""
PLAYED = sorted(STORIES)[::15]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for servers that the test may kill."""
    with throwaway_home() as home:
        reserve_ports(home)
        yield home


class World:
    """A sandbox account with its API, whose events are posted in order, a slice at a time."""

    def __init__(self, sandbox: Sandbox, api_base: str) -> None:
        self.sandbox = sandbox
        self.api_base = api_base
        self.waiting: list[Event] = sandbox.run()
        self.posted = 0

    async def post(self, system: System, count: int | None = None, *, attempts_max: int = 6) -> None:
        """Post the next events; each must be accepted in the end."""
        now, self.waiting = self.waiting[:count], self.waiting[len(self.waiting[:count]) :]
        report = await deliver(now, system.webhook_url, SECRET, attempts_max=attempts_max)
        assert 0 == report.refused
        self.posted += len(now)

    async def assert_true(self, database_url: str) -> None:
        """Every record equals the truth in every field."""
        assert not self.waiting
        truth = {key: known for key, known in self.sandbox.truth().items() if not known.live_mode}
        different = differences(truth, await read_records(database_url))
        assert not different, "\n".join(different)


@asynccontextmanager
async def world(*, seed: int) -> AsyncIterator[World]:
    """A dozen customers' lives, played out already, and the API that says how they ended."""
    sandbox = Sandbox(seed=seed)
    sandbox.play(PLAYED, customers=12)
    async with serve(create_api(sandbox, [API_KEY])) as api_base:
        yield World(sandbox, api_base)


LEASED = """
select (select count(*) from sync.events where state = 'pending' and leased_until > now())
  + (select count(*) from sync.customers where stale > derived and leased_until > now())
  + (select count(*) from sync.objects where not tombstone and dirty >= confirmed and read_at > now() + interval '30 s')
"""


async def fetchval(database_url: str, statement: str) -> object:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def execute(database_url: str, *statements: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def applied(database_url: str) -> int:
    """How many events have been applied."""
    return int(str(await fetchval(database_url, "select count(*) from sync.events where state <> 'pending'")))


async def end_leases(database_url: str) -> None:
    """As if the minute had passed for which a lost worker's claims hold."""
    statements = (
        "update sync.events set leased_until = now() where leased_until > now()",
        "update sync.customers set leased_until = now() where leased_until > now()",
        "update sync.objects set read_at = now() where read_at > now() and dirty >= confirmed",
    )
    for statement in statements:
        # Workers lock these rows in an order of their own.
        with suppress(asyncpg.DeadlockDetectedError):
            await execute(database_url, statement)


async def settled_without_leases(system: System, database_url: str) -> dict[str, object]:
    """Wait until nothing is left to be done, as if the leases of the lost ended within some seconds.

    Not sooner: a worker that is alive and at work must not lose them, or its events would count as taken again.
    """
    settling = asyncio.create_task(system.settled())
    while not settling.done():
        await end_leases(database_url)
        await asyncio.wait([settling], timeout=5.0)
    return await settling


async def test_starts_without_redis_and_survives_its_end(
    database_url: str, home: Path, tmp_path: Path
) -> None:
    """I4: a worker starts without Redis, finds it when it comes, and when it is killed under load and stays away,
    records keep moving and end true.
    """
    with start_valkey(home) as valkey:
        redis_url = valkey.url
    async with (
        world(seed=1) as life,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=life.api_base,
        ) as system,
    ):
        await life.post(system, 20)

        async def all_applied() -> bool:
            return await applied(database_url) >= life.posted

        await until(all_applied, what="the sweep's work without Redis")
        with start_valkey(home) as valkey:
            assert redis_url == valkey.url, "the worker knows it by its address"

            async def polled() -> bool:
                with redis.Redis.from_url(valkey.url) as client:
                    statistics = client.info("commandstats")
                    assert isinstance(statistics, dict)
                    return "cmdstat_zrangebyscore" in statistics

            await until(polled, what="arq at work again")
            await life.post(system, 20)
            valkey.process.kill()
            began, moved = time.monotonic(), 0
            while moved < MOVED_MIN or time.monotonic() - began < AWAY_SECONDS:
                await life.post(system, 8)
                await until(all_applied, what="records that keep moving")
                moved += 1
                await asyncio.sleep(0.5)
            assert all(worker.process.returncode is None for worker in system.workers)
        with start_valkey(home):
            await life.post(system)
            await system.settled()
    await life.assert_true(database_url)


async def test_redis_hangs(database_url: str, home: Path, tmp_path: Path) -> None:
    """I4: a Redis that takes connections and answers nothing holds nothing up: webhooks are accepted, records move."""
    with start_valkey(home) as valkey:
        async with (
            world(seed=2) as life,
            running_system(
                database_url=database_url,
                redis_url=valkey.url,
                folder=tmp_path,
                api_key=API_KEY,
                api_base=life.api_base,
            ) as system,
        ):
            await life.post(system, 20)
            os.kill(valkey.process.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                await life.post(system, 40)
                assert time.monotonic() - began < 40, "a second each: they wait for Redis"

                async def all_applied() -> bool:
                    return await applied(database_url) >= life.posted

                await until(all_applied, what="the sweep's work while Redis hangs")
            finally:
                os.kill(valkey.process.pid, signal.SIGCONT)
            await life.post(system)
            await system.settled()
        await life.assert_true(database_url)


async def test_killed_in_the_middle_of_a_batch(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """I4: a worker that is killed between its claim and its commit loses nothing: when its leases are over, another
    one takes what it had, each event once.
    """
    async with (
        world(seed=3) as life,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=life.api_base,
        ) as system,
    ):
        holder = await asyncpg.connect(database_url)
        holding = holder.transaction()
        await holding.start()
        # The last row that every batch writes: its transaction waits there, with everything done but the commit.
        await holder.execute(
            "insert into sync.milestones values ('apply', now()) on conflict (name) do update set reached_at = now()"
        )
        await life.post(system)

        async def is_stuck() -> object:
            return await fetchval(
                database_url,
                "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and "
                "application_name = 'subledger worker' and datname = current_database())",
            )

        await until(is_stuck, what="a batch that is applied but not committed")
        await system.workers[0].kill()
        await holding.rollback()
        await holder.close()
        left = await fetchval(
            database_url, "select count(*) from sync.events where state = 'pending' and attempts = 1"
        )
        assert isinstance(left, int)
        assert left > 0
        system.workers.append(await start("worker", system.environment, tmp_path / "worker-next.log"))
        await settled_without_leases(system, database_url)
        attempts = await fetchval(database_url, "select max(attempts) from sync.events")
        assert 2 == attempts
    await life.assert_true(database_url)


async def test_killed_again_and_again(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """I4: of two workers at work one is killed at whatever moment and replaced, time after time: all ends true."""
    async with (
        world(seed=4) as life,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=life.api_base,
            workers=2,
        ) as system,
    ):
        size = len(life.waiting) // 2 + 1
        for turn in range(2):
            posting = asyncio.create_task(life.post(system, size))
            await asyncio.sleep(0.05 * (turn + 1))
            await system.workers[turn].kill()
            system.workers.append(
                await start("worker", system.environment, tmp_path / f"worker-{turn + 9}.log")
            )
            await posting
        # Whatever the killed had is free when their leases end; two lost workers do not park an event.
        status = await settled_without_leases(system, database_url)
        assert 0 == status["parked"]
    await life.assert_true(database_url)


async def test_sigterm_ends_it_in_seconds(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """I4: SIGTERM under load ends a worker within seconds, in good order; the next one finds all that is left."""
    async with (
        world(seed=5) as life,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=life.api_base,
        ) as system,
    ):
        await life.post(system, 100)

        async def at_work() -> bool:
            return bool(
                await fetchval(database_url, "select count(*) from sync.events where state <> 'pending'")
            )

        await until(at_work, what="a worker that has begun")
        posting = asyncio.create_task(life.post(system))
        began = time.monotonic()
        assert 0 == await system.workers[0].stop()
        assert time.monotonic() - began < 20
        await posting
        assert 0 == await fetchval(database_url, "select count(*) from sync.workers"), (
            "it has taken its leave"
        )
        assert 0 == await fetchval(database_url, LEASED), "nobody has to wait for what it had in hand"
        system.workers.append(await start("worker", system.environment, tmp_path / "worker-next.log"))
        status = await settled_without_leases(system, database_url)
        assert 0 == status["parked"]
    await life.assert_true(database_url)


async def test_postgres_is_restarted_under_it(
    home: Path, migrated_home: Path, redis_url: str, tmp_path: Path
) -> None:
    """A12, I1, I4: while Postgres is away no webhook is accepted; the sender tries again, and all is one row each. Both
    processes live on and go on by themselves.
    """
    lay_cluster(migrated_home, home)
    postgres = start_postgres(home)
    try:
        async with (
            world(seed=6) as life,
            running_system(
                database_url=postgres.url,
                redis_url=redis_url,
                folder=tmp_path,
                api_key=API_KEY,
                api_base=life.api_base,
            ) as system,
        ):
            await life.post(system, 60)
            posting = asyncio.create_task(life.post(system, 80, attempts_max=40))
            url = postgres.url
            postgres.stop()
            await asyncio.sleep(1)
            assert not posting.done(), "nothing was accepted while Postgres was away"
            postgres = start_postgres(home)
            assert url == postgres.url
            await posting
            await life.post(system)
            assert system.web.process.returncode is None
            assert system.workers[0].process.returncode is None
            status = await settled_without_leases(system, postgres.url)
            assert 0 == status["parked"]
            sent = len(life.sandbox.events)
            assert sent == await fetchval(postgres.url, "select count(*) from sync.events")
        await life.assert_true(postgres.url)
    finally:
        with suppress(Exception):
            postgres.stop()


async def test_without_servers_it_starts_and_ends(tmp_path: Path, redis_url: str) -> None:
    """A worker whose Postgres is not there yet waits for it, and ends at once on SIGTERM."""
    environment = {
        "DATABASE_URL": f"postgresql://nobody:x@127.0.0.1:{closed_port()}/none",
        "REDIS_URL": redis_url,
        "STRIPE_API_KEY": "",
        "STRIPE_API_BASE": "",
    }
    worker = await start_afresh("worker", environment, tmp_path / "worker.log")
    try:

        async def has_tried() -> bool:
            assert worker.process.returncode is None, worker.log.read_text()
            return "postgres is away" in worker.log.read_text()

        await until(has_tried, what="a worker that says that Postgres is away")
        began = time.monotonic()
        assert 0 == await worker.stop()
        assert time.monotonic() - began < 20
    finally:
        await worker.kill()


async def post(system: System, *bodies: bytes) -> None:
    """Post webhooks as Stripe does: again until they are accepted."""
    async with aiohttp.ClientSession() as session:
        for body in bodies:

            async def accepted(body: bytes = body) -> bool:
                headers = {"Stripe-Signature": signature_header(body, SECRET)}
                async with session.post(system.webhook_url, data=body, headers=headers) as answer:
                    return answer.status == 200

            await until(accepted, what="a webhook that is accepted")


async def test_restored_under_running_processes(
    home: Path, migrated_home: Path, redis_url: str, tmp_path: Path
) -> None:
    """I4, I10, I12: an older dump takes the database's place while web and worker run, webhooks come and a reader
    polls. What the dump lacks is found at Stripe, every record is exact and right in the end, and the reader's copy
    equals them.
    """
    api, names = Api(), [f"cus_{number}" for number in range(12)]

    def changes(name: str, *, after: int) -> list[bytes]:
        api.put(*(customer(each, name=name) for each in names))
        return [event("customer.updated", customer(each, name=name), after=after) for each in names]

    api.bodies["/v1/events"] = listing([])
    api.now = NOON + 100  # long enough after every event for an answer to be believed
    with Restore(home, migrated_home) as restore:
        async with (
            serve(api) as api_base,
            running_system(
                database_url=restore.url,
                redis_url=redis_url,
                folder=tmp_path,
                api_key=API_KEY,
                api_base=api_base,
            ) as system,
        ):
            reader = Reader(restore.url)
            api.put(*(customer(each) for each in names))
            await post(system, *(event("customer.created", customer(each)) for each in names))
            await system.settled()
            await restore.keep()
            lost = changes("one", after=10)
            await post(system, *lost)
            await system.settled()
            await reader.poll()
            assert dict.fromkeys(names, ("one", True)) == reader.copy
            api.bodies["/v1/events"] = listing([json.loads(each) for each in lost])
            posting = asyncio.create_task(post(system, *changes("two", after=20)[::2]))
            await restore.lose()
            await posting

            async def all_are_right() -> bool:
                await reader.poll()
                return reader.copy == dict.fromkeys(names, ("two", True))

            await until(all_are_right, what="records that say what Stripe says")
            status = await system.settled()
            assert 0 == status["parked"]
            assert 2 == len(reader.epochs)
            assert system.web.process.returncode is None
            assert system.workers[0].process.returncode is None
        wrong = "select count(*) from billing.customers where not exact or name is distinct from 'two'"
        assert 0 == await fetchval(restore.url, wrong)
        held = "select count(*) from sync.alarms where name = 'history of the database'"
        assert 1 == await fetchval(restore.url, held)
