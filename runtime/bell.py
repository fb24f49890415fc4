"""The bell: Redis wakes the workers and does nothing else. The work itself is in Postgres.

A ring puts one token on a list, which a lingering drain pops at once, and enqueues an arq job in case none lingers.
Redis may be down, hung or wiped: a ring then costs at most its timeout, is skipped for a while after a failure, and
the workers' sweep finds the work without it.
"""

import asyncio
import time

import redis.exceptions
import structlog
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool

from runtime.jobs import deserialize_job, serialize_job

LIVE_QUEUE = "subledger:live"
"""arq queue of the jobs that a customer waits for: drain, confirm."""
BULK_QUEUE = "subledger:bulk"
"""arq queue of the bulk lane: histories, gap fills, usage, backfills, audits."""
TOKENS = "subledger:bell"

SOCKET_TIMEOUT_SECONDS = 1.0
RING_INTERVAL_SECONDS = 0.05
"""Between two rings while many events come: a batch of theirs costs little more than one of a few."""
RING_SOONER_SECONDS = 0.025
"""Between two rings while few do."""
FEW_EVENTS = 4
"""Fewer have come in that shorter time (so fewer than 160 a second)."""
SILENCE_AFTER_FAILURE_SECONDS = 5.0

RedisError = (redis.exceptions.RedisError, OSError, TimeoutError)
"""The errors of a Redis that is away."""

log = structlog.get_logger()


def connect_redis(redis_url: str, *, timeout_seconds: float = SOCKET_TIMEOUT_SECONDS) -> ArqRedis:
    """A pool that arq can use. Built by redis-py from the URL: arq's own parser drops TLS options and %-escapes.

    Opens nothing yet, so processes start without Redis; a hung server costs `timeout_seconds` a command.
    """
    pool = _pool(redis_url, timeout_seconds)
    return ArqRedis(
        pool, job_serializer=serialize_job, job_deserializer=deserialize_job, default_queue_name=LIVE_QUEUE
    )


def takes_url(redis_url: str) -> bool:
    """Whether redis-py takes the URL with its parameters; opens nothing."""
    try:
        # Most parameters are looked at when the first connection is made, which is after the start.
        _pool(redis_url, SOCKET_TIMEOUT_SECONDS).make_connection()  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - it has no error of its own for this: TypeError, ValueError, AttributeError ...
        return False
    return True


def _pool(redis_url: str, timeout_seconds: float) -> BlockingConnectionPool:
    return BlockingConnectionPool.from_url(
        redis_url,
        max_connections=20,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
    )


class Bell:
    """Rings for the drain at once if it has not just rung, and never keeps a caller waiting."""

    def __init__(self, client: ArqRedis, *, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._wanted = asyncio.Event()
        self._events = 0
        """Since the last ring."""
        self._silent_until = 0.0
        self._failed = False
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def ring_soon(self, events: int = 1) -> None:
        """Request a ring for so many events, and return at once."""
        self._events += events
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._ring_while_wanted(), name="bell")

    async def ring(self) -> bool:
        """Ring now; False when Redis did not take it; nothing is lost by that."""
        if time.monotonic() < self._silent_until:
            return False
        try:
            async with asyncio.timeout(self._timeout_seconds):
                async with self._client.pipeline(transaction=False) as pipe:
                    pipe.lpush(TOKENS, 1)
                    pipe.ltrim(TOKENS, 0, 0)
                    await pipe.execute()
                await self._client.enqueue_job("drain", _job_id="drain", _queue_name=LIVE_QUEUE)
        except Exception as error:  # noqa: BLE001 - redis-py has any for an answer that is not Redis's
            self._silent_until = time.monotonic() + SILENCE_AFTER_FAILURE_SECONDS
            self._failed = True
            log.warning("bell not rung", error=repr(error), silent_seconds=SILENCE_AFTER_FAILURE_SECONDS)
            return False
        if self._failed:
            self._failed = False
            log.info("redis is back, the bell rings again")
        return True

    async def ring_bulk(self, job: str = "sweep_bulk") -> None:
        """Wake the bulk lane now instead of at its next sweep; `job` is one of its arq jobs."""
        if time.monotonic() < self._silent_until:
            return
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._client.enqueue_job(job, _job_id=job, _queue_name=BULK_QUEUE)
        except Exception as error:  # noqa: BLE001 - the same
            log.warning("bulk bell not rung", error=repr(error))

    async def reachable(self) -> bool:
        """Whether Redis answers a ping within the timeout."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._client.ping()
        except Exception:  # noqa: BLE001 - the same
            return False
        return True

    async def close(self) -> None:
        """Stop ringing and close the connections."""
        # A flag in addition to the cancellation: redis-py waits with asyncio.wait_for, which before Python 3.12 loses a
        # cancellation that arrives just when the awaited operation completes.
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._client.aclose(close_connection_pool=True)
        except Exception:  # noqa: BLE001 - the same
            log.info("redis connections dropped")

    async def _ring_while_wanted(self) -> None:
        while not self._closing:
            await self._wanted.wait()
            self._wanted.clear()
            self._events = 0
            await self.ring()
            if not self._closing:
                await asyncio.sleep(RING_SOONER_SECONDS)
                if self._events >= FEW_EVENTS:
                    await asyncio.sleep(RING_INTERVAL_SECONDS - RING_SOONER_SECONDS)
