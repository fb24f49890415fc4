"""The bell: a ring wakes a worker, costs little when Redis is away, and is never what an event depends on."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, cast

import pytest
import redis
from arq.connections import ArqRedis
from arq.typing import WorkerCoroutine
from arq.worker import Worker, func

from local.clean import throwaway_home
from local.processes import Server
from local.valkey import start_valkey
from runtime import bell as bell_module
from runtime.bell import LIVE_QUEUE, TOKENS, Bell, connect_redis
from runtime.jobs import deserialize_job, serialize_job
from tests.faults import broken
from tests.ports import closed_port, reserve_ports
from tests.system import until

PATIENT_SECONDS = 60.0


def patient_bell(redis_url: str) -> Bell:
    """A bell that no busy machine keeps from ringing."""
    return Bell(connect_redis(redis_url, timeout_seconds=PATIENT_SECONDS), timeout_seconds=PATIENT_SECONDS)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[ArqRedis]:
    client = connect_redis(redis_url, timeout_seconds=PATIENT_SECONDS)
    yield client
    await client.aclose(close_connection_pool=True)


@pytest.fixture
async def bell(redis_url: str) -> AsyncIterator[Bell]:
    bell = patient_bell(redis_url)
    yield bell
    await bell.close()


async def tokens(client: ArqRedis) -> int:
    return await cast("Awaitable[int]", client.llen(TOKENS))


async def rung(client: ArqRedis) -> tuple[int, list[str]]:
    """How many tokens are on the list, and which jobs are in the queue."""
    jobs = await client.queued_jobs(queue_name=LIVE_QUEUE)
    return await tokens(client), [job.function for job in jobs]


async def test_ring_leaves_a_token_and_a_job(bell: Bell, client: ArqRedis) -> None:
    """The token for a drain that lingers, the job for when none does; any number of rings leave one of each."""
    for _ in range(3):
        assert await bell.ring()
    assert (1, ["drain"]) == await rung(client)


async def test_worker_of_arq_runs_the_job(bell: Bell, client: ArqRedis) -> None:
    """What the ring enqueues is what arq can run; once it has run, the next ring enqueues again."""
    runs: list[str] = []

    async def drain(context: dict[Any, Any]) -> None:
        runs.append(context["job_id"])

    async def work() -> None:
        worker = Worker(
            functions=[func(cast("WorkerCoroutine", drain), name="drain", keep_result=0)],
            redis_pool=client,
            queue_name=LIVE_QUEUE,
            burst=True,
            handle_signals=False,
            poll_delay=0.01,
            job_serializer=serialize_job,
            job_deserializer=deserialize_job,
        )
        await worker.async_run()

    await bell.ring()
    await bell.ring()
    await work()
    assert ["drain"] == runs
    await bell.ring()
    await work()
    assert ["drain", "drain"] == runs


async def test_wiped_redis(bell: Bell, client: ArqRedis) -> None:
    """Nothing is remembered of earlier rings: after a wipe the next one leaves token and job again."""
    await bell.ring()
    await client.flushdb()
    assert (0, []) == await rung(client)
    await bell.ring()
    assert (1, ["drain"]) == await rung(client)


async def rings(client: ArqRedis) -> int:
    """How many rings have gone out since the statistics were reset."""
    statistics = await client.info("commandstats")
    return int(statistics["cmdstat_lpush"]["calls"]) if "cmdstat_lpush" in statistics else 0


async def test_rings_are_few(bell: Bell, client: ArqRedis) -> None:
    """However many events ask for a ring, at most one goes out per 25 ms, and none is forgotten."""
    await client.config_resetstat()
    begun = time.monotonic()
    asked = 0
    while await rings(client) < 5:
        bell.ring_soon()
        asked += 1
    await client.delete(TOKENS)
    bell.ring_soon()

    await until(lambda: tokens(client), what="a ring for the last event")
    elapsed = time.monotonic() - begun
    assert 5 <= await rings(client) <= elapsed / 0.025 + 1
    assert asked > 5


async def test_url_with_an_escaped_password(redis_url: str, client: ArqRedis) -> None:
    """A password may hold any character, %-encoded."""
    user, password = "bell-tests", "p@ss/w:rd%"
    await client.acl_setuser(
        user, enabled=True, passwords=[f"+{password}"], keys=["*"], channels=["*"], commands=["+@all"]
    )
    credentials, address = redis_url.split("@")
    assert credentials.startswith("redis://")
    bell = patient_bell(f"redis://{user}:p%40ss%2Fw%3Ard%25@{address}")
    try:
        assert await bell.ring()
        assert (1, ["drain"]) == await rung(client)
    finally:
        await bell.close()
        await client.acl_deluser(user)


@pytest.mark.parametrize("connected", [False, True])
async def test_closing_at_any_moment_of_a_ring(redis_url: str, connected: bool) -> None:
    """A ring at any stage does not keep the process from stopping."""
    for steps in range(60):
        bell = patient_bell(redis_url)
        if connected:
            assert await bell.ring()
        bell.ring_soon()
        for _ in range(steps):
            await asyncio.sleep(0)
        closing = asyncio.create_task(bell.close())
        _, late = await asyncio.wait([closing], timeout=30)
        assert not late, f"still ringing after {steps} steps"


# Redis in trouble


async def test_closed_port() -> None:
    """Without Redis a ring fails at once, and so does the question whether it is there."""
    bell = Bell(connect_redis(f"redis://127.0.0.1:{closed_port()}"), timeout_seconds=60.0)
    async with asyncio.timeout(30):
        assert not await bell.ring()
        assert not await bell.reachable()
        await bell.close()


async def test_i12_what_is_no_redis() -> None:
    """I12: where something else answers in its place, Redis is away: nobody who rings or asks meets an error."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(b"%1\r\n*1\r\n+a\r\n+b\r\n")  # a map whose key is a list
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        bell = patient_bell(f"redis://127.0.0.1:{port}")
        assert not await bell.reachable()
        assert not await bell.ring()
        bell._silent_until = 0.0
        await bell.ring_bulk()
        await bell.close()


@pytest.fixture
def own_valkey() -> Iterator[Server]:
    """A Valkey of this test's own, to be stopped and made to hang."""
    with throwaway_home() as home:
        reserve_ports(home)
        with start_valkey(home) as server:
            yield server


async def test_hung_redis(own_valkey: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring gives up after its timeout, is then skipped for a while, and comes through when Redis is back."""
    monkeypatch.setattr(bell_module, "SILENCE_AFTER_FAILURE_SECONDS", 60.0)
    bell = patient_bell(own_valkey.url)
    client = connect_redis(own_valkey.url, timeout_seconds=PATIENT_SECONDS)
    assert await bell.ring()
    await client.flushdb()
    bell._timeout_seconds = 0.2  # while it hangs: no machine is too busy for that
    os.kill(own_valkey.process.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            assert not await bell.ring()
            assert not await bell.reachable()
    finally:
        os.kill(own_valkey.process.pid, signal.SIGCONT)
    bell._timeout_seconds = PATIENT_SECONDS
    await until(bell.reachable, what="the revived server")
    await client.flushdb()
    assert not await bell.ring(), "a minute of silence was asked for"
    assert (0, []) == await rung(client)

    bell._silent_until -= 60.0  # a minute later
    assert await bell.ring()
    assert (1, ["drain"]) == await rung(client)
    await client.aclose(close_connection_pool=True)
    await bell.close()


async def test_hung_redis_does_not_keep_us_from_closing(own_valkey: Server) -> None:
    """The process stops, whatever Redis does."""
    bell = patient_bell(own_valkey.url)
    assert await bell.ring()
    os.kill(own_valkey.process.pid, signal.SIGSTOP)
    try:
        bell.ring_soon()
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await bell.close()
    finally:
        os.kill(own_valkey.process.pid, signal.SIGCONT)


async def test_restarted_redis(own_valkey: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that a restart broke are replaced; the ring that met one is made up for by the next."""
    monkeypatch.setattr(bell_module, "SILENCE_AFTER_FAILURE_SECONDS", 0.05)
    home = own_valkey.log.parents[1]
    bell = patient_bell(own_valkey.url)
    assert await bell.ring()
    own_valkey.stop()
    assert not await bell.ring()
    with start_valkey(home) as again:
        assert own_valkey.port == again.port
        await until(bell.ring, what="a ring")
        with redis.Redis.from_url(again.url) as client:
            assert 1 == client.llen(TOKENS)
        await bell.close()


async def test_ring_that_fails_in_an_unforeseen_way(bell: Bell, client: ArqRedis) -> None:
    """A mistake in one ring does not silence the bell for good."""
    with broken(Bell.ring, LookupError("not foreseen")):
        bell.ring_soon()
        task = bell._task
        assert task is not None
        with pytest.raises(LookupError):
            await task
    bell.ring_soon()

    await until(lambda: tokens(client), what="a ring")
