"""The endpoint and Redis: an event that is stored rings for the drain, and no trouble there costs an answer."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
import redis
from redis.asyncio import Redis

from db.connection import Pool
from local.clean import throwaway_home
from local.processes import Server
from local.valkey import start_valkey
from runtime import bell as bell_module
from runtime.bell import LIVE_QUEUE, TOKENS
from tests.ports import closed_port
from tests.system import until
from tests.webhooks.web_harness import Door, event, open_door, settings, silent_server


async def rung(client: Redis) -> bool:
    """Whether a token is on the list and a job in arq's queue."""
    return bool(await client.exists(TOKENS)) and await client.zscore(LIVE_QUEUE, "drain") is not None


async def post_many(door: Door, pool: Pool, count: int = 20) -> None:
    """Every one of some events, posted one after the other, is answered and stored."""
    before = await pool.fetchval("select count(*) from sync.events")
    for number in range(count):
        assert 200 == (await door.post(event(f"evt_{before + number}"))).status
    assert before + count == await pool.fetchval("select count(*) from sync.events")


async def test_stored_event_rings(database_url: str, redis_url: str) -> None:
    """A token for a drain that lingers, a job for when none does."""
    async with (
        Redis.from_url(redis_url) as client,
        open_door(settings(database_url=database_url, redis_url=redis_url)) as door,
    ):
        assert not await rung(client)
        assert 200 == (await door.post(event("evt_1"))).status
        await until(lambda: rung(client), what="the ring")


async def test_redelivery_rings_again(database_url: str, redis_url: str) -> None:
    """A ring that was lost, Redis having been wiped, is made up for by Stripe's next attempt at the same event."""
    async with (
        Redis.from_url(redis_url) as client,
        open_door(settings(database_url=database_url, redis_url=redis_url)) as door,
    ):
        for _ in range(3):
            assert 200 == (await door.post(event("evt_1"))).status
            await until(lambda: rung(client), what="the ring")
            await client.flushdb()


async def test_refused_webhook_does_not_ring(database_url: str, redis_url: str) -> None:
    """A request without a valid signature wakes no worker."""
    async with (
        Redis.from_url(redis_url) as client,
        open_door(settings(database_url=database_url, redis_url=redis_url)) as door,
    ):
        assert 400 == (await door.post(event("evt_1"), header="t=1,v1=00")).status
    # The bell is closed by now: what it was to do it has done.
    async with Redis.from_url(redis_url) as client:
        assert not await client.exists(TOKENS, LIVE_QUEUE)


async def test_redis_down(database_url: str, pool: Pool) -> None:
    """Without Redis: 200 anyway."""
    away = f"redis://127.0.0.1:{closed_port()}"
    async with open_door(settings(database_url=database_url, redis_url=away)) as door:
        await post_many(door, pool)


async def test_no_answer_waits_for_the_ring(
    database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis takes connections and says nothing: were a ring waited for, each of the events would take a minute."""
    monkeypatch.setattr(bell_module, "SILENCE_AFTER_FAILURE_SECONDS", 0.0)
    async with silent_server() as silent:
        hung = settings(
            database_url=database_url,
            redis_url=f"redis://127.0.0.1:{silent.port}",
        )
        async with open_door(hung) as door, asyncio.timeout(50):
            await post_many(door, pool)
        assert silent.connections, "no attempt to ring"


@pytest.fixture
def own_valkey() -> Iterator[Server]:
    """A Valkey of this test's own, to be made to hang."""
    with throwaway_home() as home, start_valkey(home) as server:
        yield server


async def test_redis_hangs_for_a_while(
    database_url: str, pool: Pool, own_valkey: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 throughout; /readyz reports it; afterwards events ring as before."""
    monkeypatch.setattr(bell_module, "SILENCE_AFTER_FAILURE_SECONDS", 0.1)
    hanging = settings(database_url=database_url, redis_url=own_valkey.url, ring_timeout_ms=500)
    async with open_door(hanging) as door:
        await post_many(door, pool)
        os.kill(own_valkey.process.pid, signal.SIGSTOP)
        try:
            await post_many(door, pool)
            ready = await door.ask("GET", "/readyz")
            assert (200, "away: the sweep does its work") == (ready.status, ready.body["redis"])
            await post_many(door, pool)
        finally:
            os.kill(own_valkey.process.pid, signal.SIGCONT)

        async def answers() -> bool:
            return bool((await door.ask("GET", "/readyz")).body["redis"] == "ok")

        await until(answers, what="the revived server")
        async with Redis.from_url(own_valkey.url) as client:
            await client.flushdb()

            async def rung_by_the_next_event() -> bool:
                await post_many(door, pool, 1)
                return await rung(client)

            await until(rung_by_the_next_event, what="the ring")


async def test_ring_has_the_time_that_it_is_given(database_url: str, pool: Pool, own_valkey: Server) -> None:
    """Redis hangs for longer than its client waits by default: a ring that has a minute comes through all the same."""
    async with (
        Redis.from_url(own_valkey.url) as client,
        open_door(settings(database_url=database_url, redis_url=own_valkey.url)) as door,
    ):
        os.kill(own_valkey.process.pid, signal.SIGSTOP)
        try:
            await post_many(door, pool, 1)
            await asyncio.sleep(1.5 * bell_module.SOCKET_TIMEOUT_SECONDS)
        finally:
            os.kill(own_valkey.process.pid, signal.SIGCONT)
        await until(lambda: rung(client), what="the ring")


async def test_redis_that_takes_no_writes(database_url: str, redis_url: str, pool: Pool) -> None:
    """Full, or another kind of value under our name: an error of Redis is no error of the webhook."""
    with redis.Redis.from_url(redis_url) as client:
        client.set(TOKENS, "not a list")
    async with open_door(settings(database_url=database_url, redis_url=redis_url)) as door:
        await post_many(door, pool)
