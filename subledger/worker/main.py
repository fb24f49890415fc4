"""The worker process: it supervises arq, which wakes it by Redis, and runs the sweep, which needs only Postgres.

arq ends at the first connection error of its poll loop, so it is started again, with backoff, for as long as Redis is
away; records keep moving meanwhile.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable
from datetime import datetime
from typing import Any, cast

import redis.exceptions
import structlog
from arq.connections import ArqRedis
from arq.typing import WorkerCoroutine
from arq.worker import Worker, func

from subledger.db.connection import Pool, create_pool
from subledger.db.queries.workers import beat, leave
from subledger.runtime.bell import LIVE_QUEUE, TOKENS, RedisError, connect_redis
from subledger.runtime.jobs import deserialize_job, serialize_job
from subledger.runtime.settings import Settings
from subledger.runtime.stripe_api import StripeApi
from subledger.worker.engine import Engine, keep_trying

SWEEP_SECONDS = 1.0
BEAT_SECONDS = 10.0
LINGER_SECONDS = 1
CONFIRM_AFTER_SECONDS = 1.5
RESTART_SECONDS_MAX = 5.0
JOB_TIMEOUT_SECONDS = 40
JOB_COMPLETION_SECONDS = 20
POOL_SIZE = 8

log = structlog.get_logger()


async def drain(ctx: dict[Any, Any]) -> int:
    """arq job: the bell rang. Lingers about a second for the next ring, which then costs no job at all."""
    engine: Engine = ctx["engine"]
    client: ArqRedis = ctx["redis"]

    async def wait_for_more() -> bool:
        await client.enqueue_job("confirm", _job_id="confirm", _defer_by=CONFIRM_AFTER_SECONDS)
        token = client.blpop([TOKENS], timeout=LINGER_SECONDS)
        return await cast("Awaitable[object]", token) is not None

    with contextlib.suppress(*RedisError):
        return await engine.drain(wait_for_more=wait_for_more)
    return 0


async def confirm(ctx: dict[Any, Any]) -> int:
    """arq job: read what has become due."""
    engine: Engine = ctx["engine"]
    return await engine.confirm(linger=True)


async def ring_again(ctx: dict[Any, Any]) -> None:
    """A token that came between a drain's last look and its end: only now can its job be enqueued again."""
    client: ArqRedis = ctx["redis"]
    with contextlib.suppress(*RedisError):
        if await cast("Awaitable[int]", client.llen(TOKENS)):
            await client.enqueue_job("drain", _job_id="drain")


class WorkerProcess:
    """One worker process, from its start to its orderly end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._id = f"{socket.gethostname()}:{os.getpid()}:{int(datetime.now().astimezone().timestamp())}"
        self._redis_state = "not asked yet"
        self._restarts = 0

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, then finish what is under way."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with contextlib.AsyncExitStack() as stack:
            pool = await create_pool(
                self._settings.database_url,
                min_size=0,
                max_size=POOL_SIZE,
                application_name="subledger worker",
            )
            stack.push_async_callback(pool.close)
            stripe = None
            if self._settings.stripe_api_key is not None:
                api = StripeApi(
                    api_key=self._settings.stripe_api_key, api_base=self._settings.stripe_api_base
                )
                stripe = await stack.enter_async_context(api)
            engine = Engine(pool=pool, stripe=stripe, settings=self._settings)
            log.info("worker started", id=self._id, confirms=stripe is not None)
            tasks = [
                asyncio.create_task(self._supervise(engine), name="arq live"),
                asyncio.create_task(
                    keep_trying("sweep", engine.sweep, pause_seconds=SWEEP_SECONDS), name="sweep"
                ),
                asyncio.create_task(
                    keep_trying("heartbeat", lambda: self._beat(pool), pause_seconds=BEAT_SECONDS),
                    name="beat",
                ),
            ]
            await stop.wait()
            log.info("worker stopping", id=self._id)
            engine.stopping.set()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(Exception):
                async with asyncio.timeout(2), pool.acquire() as connection:
                    await leave(connection, self._id)
        log.info("worker stopped", id=self._id)

    async def _supervise(self, engine: Engine) -> None:
        """Keep an arq worker running on the live queue."""
        pause = 0.5
        while True:
            client = connect_redis(self._settings.redis_url, timeout_seconds=LINGER_SECONDS + 1.0)
            worker = Worker(
                functions=[
                    func(cast("WorkerCoroutine", drain), max_tries=2),
                    func(cast("WorkerCoroutine", confirm), max_tries=2),
                ],
                queue_name=LIVE_QUEUE,
                redis_pool=client,
                handle_signals=False,
                poll_delay=0.05,
                max_jobs=10,
                job_timeout=JOB_TIMEOUT_SECONDS,
                job_completion_wait=JOB_COMPLETION_SECONDS,
                keep_result=0,
                after_job_end=ring_again,
                health_check_interval=60,
                job_serializer=serialize_job,
                job_deserializer=deserialize_job,
                log_results=False,
                ctx={"engine": engine},
            )
            try:
                await client.ping()
                self._redis_state = "ok"
                pause = 0.5
                # Whatever was wiped or missed while nobody listened: one ring of our own.
                await client.enqueue_job("drain", _job_id="drain")
                await worker.async_run()
            except (*RedisError, redis.exceptions.RedisError) as error:
                self._redis_state = f"away: {error!r}"
                self._restarts += 1
                log.warning("redis is away, the sweep goes on", error=repr(error), retry_seconds=pause)
            finally:
                await _close(worker)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESTART_SECONDS_MAX)

    async def _beat(self, pool: Pool) -> None:
        async with pool.acquire() as connection:
            await beat(connection, self._id, {"redis": self._redis_state, "arq_restarts": self._restarts})


async def _close(worker: Worker) -> None:
    """Let arq's running jobs end, and give its connections back, however Redis feels."""
    try:
        async with asyncio.timeout(JOB_COMPLETION_SECONDS):
            for task in worker.tasks.values():
                task.cancel()
            await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
            await worker.pool.aclose(close_connection_pool=True)
    except RedisError:
        log.info("redis connections dropped")


async def run(settings: Settings) -> None:
    """Run the worker process until it is told to stop."""
    await WorkerProcess(settings).run()
