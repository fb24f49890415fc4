"""The worker process: it supervises arq, which wakes it by Redis, and runs the sweep, which needs only Postgres.

arq ends at the first connection error of its poll loop, so it is started again, with backoff, for as long as Redis is
away; records keep moving meanwhile.
"""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

import redis.exceptions
import structlog
from arq.connections import ArqRedis
from arq.typing import WorkerCoroutine
from arq.worker import Worker, func

from db.connection import (
    Pool,
    PostgresAway,
    PostgresFails,
    TransactionPooling,
    create_pool,
    unfit_because,
)
from db.sync.accounts import alarming_worker
from db.sync.listeners import look_at_queue
from db.sync.status import require_migrated
from db.sync.workers import beat, leave
from runtime.bell import BULK_QUEUE, LIVE_QUEUE, TOKENS, RedisError, connect_redis
from runtime.budget import Budget, Use
from runtime.jobs import deserialize_job, serialize_job
from runtime.limiter import Lane
from runtime.limits import meter_limits_of
from runtime.logs import Complaints, in_lane
from runtime.settings import Settings, database_url_doubts
from runtime.stripe_api import StripeApi
from worker.engine import Engine, Lanes, keep_trying
from worker.parts import RENEW_SECONDS, Parts
from worker.port import Health, open_port
from worker.retention import Retention, UsageRetention

SWEEP_SECONDS = 1.0
START_AGAIN_SECONDS = 2.0
BEAT_SECONDS = 10.0
LINGER_SECONDS = 1
CONFIRM_AFTER_SECONDS = 1.5
CONFIRM_ASKED_SECONDS = 0.5
RESTART_SECONDS_MAX = 5.0
SETTLED_SECONDS = 2.0
"""How long an arq worker runs after a failure that nobody has foreseen, before it counts as over."""
JOB_TIMEOUT_SECONDS = 40
CLOSE_SECONDS = 3.0
POOL_SIZE = 12

log = structlog.get_logger()


async def drain(ctx: dict[Any, Any]) -> int:
    """arq job: the bell rang. Lingers about a second for the next ring, which then costs no job at all."""
    in_lane("live")
    engine: Engine = ctx["engine"]
    client: ArqRedis = ctx["redis"]

    loop, asked_at = asyncio.get_running_loop(), float("-inf")

    async def wait_for_more() -> bool:
        nonlocal asked_at
        if loop.time() - asked_at > CONFIRM_ASKED_SECONDS:  # that job stays for what falls due a little later
            await client.enqueue_job(
                "confirm", _job_id="confirm", _queue_name=LIVE_QUEUE, _defer_by=CONFIRM_AFTER_SECONDS
            )
            asked_at = loop.time()
        token = client.blpop([TOKENS], timeout=LINGER_SECONDS)
        return await cast("Awaitable[object]", token) is not None

    with contextlib.suppress(*RedisError):
        return await engine.apply(wait_for_more=wait_for_more)
    return 0


async def confirm(ctx: dict[Any, Any]) -> int:
    """arq job: read what has become due."""
    in_lane("live")
    engine: Engine = ctx["engine"]
    return await engine.confirm(linger=True)


async def sweep_bulk(ctx: dict[Any, Any]) -> None:
    """arq job: pull the histories and read the usage that are due."""
    in_lane("bulk")
    engine: Engine = ctx["engine"]
    await engine.sweep_bulk()


async def scan(ctx: dict[Any, Any]) -> None:
    """arq job: go on with backfills and audits, for one turn. Rings again when the turn was too short."""
    in_lane("bulk")
    engine: Engine = ctx["engine"]
    client: ArqRedis = ctx["redis"]
    if await engine.scan():
        with contextlib.suppress(*RedisError):
            await client.enqueue_job("scan", _queue_name=BULK_QUEUE)


async def ring_again(ctx: dict[Any, Any]) -> None:
    """A token that came between a drain's last look and its end: only now can its job be enqueued again."""
    client: ArqRedis = ctx["redis"]
    with contextlib.suppress(*RedisError):
        if await cast("Awaitable[int]", client.llen(TOKENS)):
            await client.enqueue_job("drain", _job_id="drain", _queue_name=LIVE_QUEUE)


LANES: Mapping[str, tuple[Callable[..., Awaitable[object]], ...]] = {
    LIVE_QUEUE: (drain, confirm),
    BULK_QUEUE: (sweep_bulk, scan),
}
"""The queues, and what each one's arq worker can do. Two workers, so that bulk jobs never delay a drain."""


LIVE_STEPS = {"sweep", "reads", "twins", "pushes", "heavy customers"}
"""What customers wait for, of the steps that are repeated; the others are bulk."""


class WorkerProcess:
    """One worker process, from its start to its orderly end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        started = int(datetime.now().astimezone().timestamp())
        # The random end: in two containers all the rest can be equal.
        self._id = f"{socket.gethostname()}:{os.getpid()}:{started}:{secrets.token_hex(4)}"
        self._redis_state = "not asked yet"
        self._restarts = dict.fromkeys(LANES, 0)
        self._closing: set[asyncio.Task[None]] = set()
        self._complaints = Complaints()
        self._beat_at: float | None = None

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, then finish what is under way. Raises TransactionPooling."""
        for doubt in database_url_doubts(self._settings.database_url):
            log.warning("odd configuration", doubt=doubt)
        alarming_worker.set(self._id)  # before any task is made: they inherit it
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
                # Nothing of ours outlasts a transaction: no setting, no lock, no cursor.
                resets=False,
                keeps_plans_of_large=True,
            )
            stack.push_async_callback(_close_pool, pool)
            await stack.enter_async_context(open_port(self._settings, self._health))
            if await self._is_fit(pool, stop):
                await self._work(stack, pool, stop)
        log.info("worker stopped", id=self._id)

    async def _work(self, stack: contextlib.AsyncExitStack, pool: Pool, stop: asyncio.Event) -> None:
        budget = Budget(self._settings.api_limits, part=1.0 if self._settings.api_limits.none else 0.0)
        parts = Parts(budget, self._id)
        lanes = await open_lanes(stack, self._settings, budget)
        use = None if lanes is None else Use(budget)
        engine = Engine(pool=pool, lanes=lanes, settings=self._settings)
        if lanes is not None:
            with contextlib.suppress(*PostgresAway, *PostgresFails):
                await parts.keep(pool)  # a lone worker has everything at once, and waits for nothing
        days = self._settings.retention_days
        age = None if days is None else timedelta(days=days)
        retention, usage_retention = Retention(pool, age=age), UsageRetention(pool, age=age)
        log.info("worker started", id=self._id, confirms=lanes is not None)
        supervisors = [asyncio.create_task(self._supervise(queue, engine), name=queue) for queue in LANES]
        steps: Sequence[tuple[str, Callable[[], Awaitable[object]], float]] = (
            ("bulk sweep", engine.sweep_bulk, SWEEP_SECONDS),
            ("scan", engine.scan, SWEEP_SECONDS),
            ("gaps", engine.fill_gaps, SWEEP_SECONDS),
            ("sweep", engine.sweep_records, SWEEP_SECONDS),
            ("reads", lambda: engine.confirm(linger=False), SWEEP_SECONDS),
            ("twins", engine.read_twins, SWEEP_SECONDS),
            ("pushes", engine.push, SWEEP_SECONDS),
            ("heavy customers", engine.derive_heavy, SWEEP_SECONDS),
            ("usage", engine.add_up_usage, SWEEP_SECONDS),
            ("meter events", engine.send_meter_events, SWEEP_SECONDS),
            ("retention", retention.turn, SWEEP_SECONDS),
            ("retention of usage", usage_retention.turn, SWEEP_SECONDS),
            ("heartbeat", lambda: self._beat(pool, use), BEAT_SECONDS),
            *([("parts", lambda: parts.keep(pool), RENEW_SECONDS)] if lanes is not None else []),
        )
        sweeps = [
            asyncio.create_task(
                keep_trying(
                    name,
                    step,
                    pause_seconds=pause,
                    until=engine.stopping,
                    complaints=self._complaints,
                    lane="live" if name in LIVE_STEPS else "bulk",
                ),
                name=name,
            )
            for name, step, pause in steps
        ]
        await stop.wait()
        log.info("worker stopping", id=self._id)
        engine.stopping.set()
        await asyncio.gather(_cancel(supervisors), _end(sweeps))
        await asyncio.gather(*self._closing)
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2):
                await engine.give_back()
        await asyncio.sleep(parts.let_go())
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2), pool.acquire() as connection:
                await leave(connection, self._id)

    async def _is_fit(self, pool: Pool, stop: asyncio.Event) -> bool:
        """Wait for a Postgres that is there and migrated; False if this process is to stop before.

        Raises TransactionPooling, which ends with another DATABASE_URL alone.
        """
        looking = asyncio.create_task(self._look_until_fit(pool), name="start")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        done, _ = await asyncio.wait({looking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await _cancel({looking, stopping} - done)
        if looking not in done:
            return False
        looking.result()
        return True

    async def _look_until_fit(self, pool: Pool) -> None:
        """Until then nothing is claimed, so nothing is counted against an event."""
        while True:
            try:
                async with pool.acquire() as connection:
                    newer = await require_migrated(connection)
            except TransactionPooling:
                raise
            except (*PostgresAway, *PostgresFails) as error:
                if because := unfit_because(error):
                    self._complaints.about(because, during="start")
                else:
                    self._complaints.away("postgres", error, during="start")
                await asyncio.sleep(START_AGAIN_SECONDS)
                continue
            self._complaints.end(during="start")
            self._complaints.back("postgres", during="start")
            if newer:
                log.warning("migrated by a newer version of Subledger: install that one", migrations=newer)
            return

    async def _supervise(self, queue: str, engine: Engine) -> None:
        """Keep an arq worker running on a queue, whatever Redis, or somebody who writes to it, makes of it."""
        pause, foreseen = 0.5, True

        def well() -> None:
            nonlocal pause, foreseen
            pause, foreseen = 0.5, True
            self._redis_state = "ok"
            self._complaints.back("redis", during=queue)

        while True:
            client = connect_redis(self._settings.redis_url, timeout_seconds=LINGER_SECONDS + 1.0)
            worker = Worker(
                functions=[func(cast("WorkerCoroutine", job), max_tries=2) for job in LANES[queue]],
                queue_name=queue,
                redis_pool=client,
                handle_signals=False,
                poll_delay=0.05,
                max_jobs=10,
                job_timeout=JOB_TIMEOUT_SECONDS,
                keep_result=0,
                after_job_end=ring_again,
                health_check_interval=60,
                job_serializer=serialize_job,
                job_deserializer=deserialize_job,
                log_results=False,
                ctx={"engine": engine},
            )
            settled: asyncio.TimerHandle | None = None
            try:
                await client.ping()
                if foreseen:
                    well()
                else:  # a ping does not show that it is over
                    settled = asyncio.get_running_loop().call_later(SETTLED_SECONDS, well)
                if queue == LIVE_QUEUE:
                    # Rings may have been wiped or missed while no worker listened: one ring of our own.
                    await client.enqueue_job("drain", _job_id="drain", _queue_name=LIVE_QUEUE)
                await worker.async_run()
            except (*RedisError, redis.exceptions.RedisError) as error:
                self._redis_state = f"away: {error!r}"
                self._restarts[queue] += 1
                self._complaints.away("redis", error, during=queue, then="the sweep does its work")
            except Exception as error:
                self._redis_state = f"not understood: {error!r}"
                self._restarts[queue] += 1
                if foreseen:
                    log.exception("queue not understood", queue=queue, then="the sweep does its work")
                foreseen = False
            finally:
                if settled is not None:
                    settled.cancel()
                # A task of its own: this one may be canceled again meanwhile.
                closing = asyncio.create_task(_close(worker), name=f"close {queue}")
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
                await asyncio.shield(closing)
            await asyncio.sleep(pause)
            pause = min(pause * 2, RESTART_SECONDS_MAX)

    async def _beat(self, pool: Pool, use: Use | None) -> None:
        detail: dict[str, object] = {
            "redis": self._redis_state,
            "arq_restarts": sum(self._restarts.values()),
        }
        if use is not None:
            detail["stripe"] = use.since_last()
        async with pool.acquire() as connection:
            await beat(connection, self._id, detail)
            await look_at_queue(connection)
        self._beat_at = time.monotonic()

    def _health(self) -> Health:
        return Health(
            seconds_since_beat=None if self._beat_at is None else time.monotonic() - self._beat_at,
            redis=self._redis_state,
        )


async def open_lanes(stack: contextlib.AsyncExitStack, settings: Settings, budget: Budget) -> Lanes | None:
    """The ways to Stripe, closed with the stack; None without an API key."""
    if settings.stripe_api_key is None or settings.live_mode is None:
        return None

    async def open_lane(lane: Lane, budget: Budget) -> StripeApi:
        api = StripeApi(
            api_key=settings.stripe_api_key or "",
            api_base=settings.stripe_api_base,
            budget=budget,
            lane=lane,
        )
        return await stack.enter_async_context(api)

    limits = meter_limits_of(settings.api_limits, live_mode=settings.live_mode)
    return Lanes(
        live=await open_lane(Lane.LIVE, budget),
        bulk=await open_lane(Lane.BULK, budget),
        live_mode=settings.live_mode,
        meters=None if limits is None else await open_lane(Lane.BULK, Budget(limits, part=budget.part)),
    )


async def _end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Let them end, which they do at their next turn; cancel those that wait for something else."""
    _, late = await asyncio.wait(list(tasks), timeout=CLOSE_SECONDS)
    await _cancel(late)


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel until all have ended: redis-py waits by asyncio.wait_for, which on Python 3.11 can lose a cancellation."""
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1.0)


async def _close_pool(pool: Pool) -> None:
    """Close the connections; those that are still in use after a while are cut, which loses nothing."""
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def _close(worker: Worker) -> None:
    """Let arq's running jobs end, and give its connections back, in whatever state Redis is.

    The engine's loops end at their next turn once it is stopping; a job that waits for something else is canceled.
    """
    jobs = list(worker.tasks.values())
    if jobs:
        await asyncio.wait(jobs, timeout=CLOSE_SECONDS)
    await _cancel(job for job in jobs if not job.done())
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await worker.pool.aclose(close_connection_pool=True)
    except Exception:  # noqa: BLE001 - nothing is lost with them, and the queue needs its next worker
        log.info("redis connections dropped")


async def run(settings: Settings) -> None:
    """Run the worker process until SIGTERM or SIGINT."""
    # Every page and batch makes tens of thousands of objects and drops them again, hardly ever in cycles. Searching for
    # cycles as often as by default took a tenth of a worker's time (a backfill of 36,000 objects: 3.8 s against 3.3).
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    await WorkerProcess(settings).run()
