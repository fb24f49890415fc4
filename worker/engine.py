"""The engine: apply, confirm and derive as loops that end on their own, however they were started.

An arq job starts a loop when the bell rings; the sweep starts the same loop from Postgres alone. A loop that is already
running in this process is not started twice; in other processes it may run at the same time, and the fence and the
leases make that harmless.

There are two lanes of requests: `live` for what a customer waits for, and `bulk` for histories, gap fills, usage,
backfills and audits, which takes what the live lane leaves of the budget, and at least a fifth of it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog

from billing.record import Policy
from db.connection import Connection, Pool, PostgresAway, unfit_because
from db.sync.accounts import KeyAlarm, alarm_stands, select_served
from db.sync.customers import mark_overdue
from db.sync.due_reads import seconds_to_next_read
from db.sync.incarnation import Numbers, keep_one_history
from runtime.logs import Complaints, in_lane
from runtime.metrics import BATCH_SECONDS, OBJECTS_READ, RECORDS_DERIVED
from runtime.settings import Settings
from runtime.stripe_api import StripeApi
from worker.audit.lists import ask_for_nightly_audits
from worker.key import check_key
from worker.leases import HeldLeases
from worker.lists.entitlements import ask_for_entitlements
from worker.lists.gaps import fill_due_gaps
from worker.lists.histories import pull_histories
from worker.live.apply import BATCH as APPLY_BATCH
from worker.live.apply import apply_batch
from worker.live.confirm import BATCH as CONFIRM_BATCH
from worker.live.confirm import claim_every_seconds, confirm_batch
from worker.live.derive import BATCH as DERIVE_BATCH
from worker.live.derive import derive_batch, fan_out_batch, resolve_batch
from worker.live.heavy import derive_heavy
from worker.live.push import push_batch
from worker.live.twins import read_wanted_twins
from worker.meters import add_up, send_meter_events, trim_usage
from worker.scanner import Scanner
from worker.usage import refresh_usage

LOOP_SECONDS_MAX = 25.0
"""A loop returns by then, so that its arq job ends well within its timeout; the rest of the work rings again."""
CONFIRM_LINGER = timedelta(seconds=6)
CLAIM_SECONDS = 20.0
"""Reads are claimed for as long ahead as they may be asked for: others may have a larger part of the limits."""
DERIVED_TOGETHER = timedelta(seconds=1)
"""While more events wait than one batch takes, a customer is derived this long after the first of its changes: most of
those that wait concern customers that have just changed."""
KEY_CHECK_SECONDS = 60.0
KEY_UNSAID_SECONDS = 2.0
"""Where Stripe has not said whose the key is, it is asked again after this long, and ever later."""
KEY_UNSAID_PATIENCE_SECONDS = 20.0
"""An outage of Stripe's becomes an alarm about the key when it has lasted longer."""
KEY_WAIT_SECONDS = 1.0
"""The first events wait this long for the answer whose the key is."""
SCHEDULE_CHECK_SECONDS = 60.0
TRIM_SECONDS = 3600.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The two ways to Stripe, which share the process's budget."""

    live: StripeApi
    bulk: StripeApi
    live_mode: bool
    meters: StripeApi | None = None
    """For meter events of the key's own account, where Stripe limits these apart from all else."""

    @property
    def for_meters(self) -> StripeApi:
        """The way that meter events go, with this worker's part of their limit."""
        if self.meters is None:
            return self.bulk
        self.meters.budget.set_part(self.bulk.budget.part, until=self.bulk.budget.part_until)
        return self.meters


class Engine:
    """What one worker process does. `clock` gives seconds that never run backwards."""

    def __init__(
        self,
        *,
        pool: Pool,
        lanes: Lanes | None,
        settings: Settings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._lanes = lanes
        self._settings_mode = settings.live_mode
        self._database_url = settings.database_url
        self._policy = Policy(past_due_has_access=settings.past_due_has_access)
        self._gap_fill = timedelta(seconds=settings.gap_fill_seconds)
        self._usage_every = timedelta(seconds=settings.usage_seconds) or None
        self._held = HeldLeases()
        self._applying = asyncio.Lock()
        self._is_flooded = False
        """Whether more events wait than one batch takes."""
        self._confirming = asyncio.Lock()
        self._deriving = asyncio.Lock()
        self._deriving_heavy = asyncio.Lock()
        self._pushing = asyncio.Lock()
        self._telling = asyncio.Lock()
        self._bulk = asyncio.Lock()
        self._filling = asyncio.Lock()
        self._scanning = asyncio.Lock()
        self._adding_up = asyncio.Lock()
        self._usage_trimmed_at = float("-inf")
        self._sending = asyncio.Lock()
        self._key_checked_at = float("-inf")
        self._schedule_checked_at = float("-inf")
        self._key_is_good: bool | None = None
        """What Stripe said last; None: it has not said."""
        self._key_is_doubted = False
        self._key_unsaid_times = 0
        self._key_unsaid_since = float("-inf")
        self._key_check: asyncio.Task[None] | None = None
        self._key_waited_for = False
        self._seen: Numbers | None = None
        self._numbering = asyncio.Lock()
        """Held while the history is looked at: the first look reads every mark, and several loops begin with one."""
        self.stopping = asyncio.Event()

    async def apply(self, *, wait_for_more: Callable[[], Awaitable[bool]] | None = None) -> int:
        """Apply pending events and derive the customers concerned, until none is left; returns how many were applied.

        `wait_for_more` is awaited when none is left, and says whether to look again.
        """
        if self._applying.locked():
            return 0
        async with self._applying:
            serves, served_mode, only_mode = await self.modes_to_apply()
            if not serves:
                return 0
            started, applied = self._clock(), 0
            async with self._deriving_alongside() as derive_soon, self._pool.acquire() as connection:
                if self._seen is None:
                    await self._keep_one_history(connection)
                await self._held.give_back(connection)
                while not self._over(started):
                    began = self._clock()
                    claimed = await apply_batch(
                        connection,
                        served_mode=served_mode,
                        only_mode=only_mode,
                        confirms=self._lanes is not None,
                        held=self._held.events,
                    )
                    applied += claimed
                    self._is_flooded = claimed == APPLY_BATCH
                    if claimed:
                        self._timed("apply", began)
                        derive_soon()
                    # A batch that was not full has emptied the inbox: an event that comes now rings.
                    if claimed < APPLY_BATCH and not (wait_for_more is not None and await wait_for_more()):
                        break
                self._is_flooded = False
            if applied:
                log.info("events applied", count=applied, duration_ms=self._ms_since(started))
            return applied

    async def confirm(self, *, linger: bool) -> int:
        """Read from Stripe what is due, and derive the customers concerned; returns how many reads were begun.

        With `linger`, stays for the reads that fall due within some seconds.
        """
        if self._lanes is None or self._confirming.locked():
            return 0
        async with self._confirming:
            started, reads = self._clock(), 0
            async with self._deriving_alongside() as derive_soon:
                while not self._over(started) and await self._key_may_read():
                    began = self._clock()
                    begun, refused = await confirm_batch(
                        self._pool,
                        self._lanes.live,
                        live_mode=self._lanes.live_mode,
                        limit=min(CONFIRM_BATCH, self._lanes.live.budget.requests_within(CLAIM_SECONDS)),
                        stored=derive_soon,
                        more=lambda: not self._over(started),
                        held=self._held.reads,
                    )
                    reads += begun
                    if begun:
                        OBJECTS_READ.inc(begun)
                        self._timed("confirm", began)
                    if refused:
                        self._doubt_key()
                    if not begun and not (linger and await self._read_falls_due(self._lanes)):
                        break
            if reads:
                log.info("objects read", count=reads, duration_ms=self._ms_since(started))
            return reads

    async def read_twins(self) -> None:
        """Ask for the twins of thin events that name no object: a turn of its own, so that no read waits for them."""
        if self._lanes is None or self._telling.locked() or not await self._key_may_read():
            return
        async with self._telling:
            started, lanes = self._clock(), self._lanes
            while not self._over(started) and await read_wanted_twins(
                self._pool, lanes.live, live_mode=lanes.live_mode
            ):
                pass

    async def push(self) -> int:
        """Send to Stripe what was set here; returns how many requests were begun."""
        if self._lanes is None or self._pushing.locked():
            return 0
        async with self._pushing:
            started, pushed = self._clock(), 0
            while not self._over(started) and await self._key_may_read():
                begun, refused = await push_batch(
                    self._pool, self._lanes.live, live_mode=self._lanes.live_mode, held=self._held.pushes
                )
                pushed += begun
                if refused:
                    self._doubt_key()
                if not begun:
                    break
            return pushed

    async def derive(self) -> int:
        """Derive every stale customer; returns how many were derived."""
        async with self._pool.acquire() as connection:
            return await self._derive_with(connection, self._clock())

    async def derive_heavy(self) -> int:
        """Derive the stale customers that are heavy, one at a time; returns how many were derived.

        After each it rests for as long as that took: so half of the time at most goes to those on whom events rain.
        """
        if self._deriving_heavy.locked():
            return 0
        async with self._deriving_heavy:
            started, derived = self._clock(), 0
            while not self._over(started):
                began = self._clock()
                if not await derive_heavy(
                    self._pool, self._database_url, policy=self._policy, held=self._held.heavy
                ):
                    break
                derived += 1
                RECORDS_DERIVED.inc()
                self._timed("heavy", began)
                log.info("heavy customer derived", duration_ms=self._ms_since(began))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._clock() - began):
                        await self.stopping.wait()
            return derived

    async def sweep_records(self) -> None:
        """What of the live lane needs no answer of Stripe's: events go on while reads take long."""
        async with self._pool.acquire() as connection:
            await self._keep_one_history(connection)
        await self.apply()
        await self._mark_overdue()
        await self.derive()

    async def sweep_bulk(self) -> None:
        """The usage and the histories that Postgres says are to be read: those that somebody waits for come first."""
        if self._lanes is None or self._bulk.locked():
            return
        async with self._bulk:
            started, lanes = self._clock(), self._lanes
            if not await self._key_may_read():
                return
            async with self._deriving_alongside(always=False) as derive_soon:
                while not self._over(started):
                    asked = await self._refresh_usage(lanes, asked_only=True)
                    pulled = await pull_histories(
                        self._pool, lanes.bulk, live_mode=lanes.live_mode, held=self._held.histories
                    )
                    if pulled:
                        derive_soon()
                    if not (asked or pulled or await self._refresh_usage(lanes, asked_only=False)):
                        break

    async def fill_gaps(self) -> None:
        """Fill the gaps that are due: a turn of its own, since the history of one customer may take hours."""
        if self._lanes is None or self._filling.locked() or not await self._key_may_read():
            return
        async with self._filling:
            await fill_due_gaps(
                self._pool, self._lanes.bulk, live_mode=self._lanes.live_mode, every=self._gap_fill
            )

    async def add_up_usage(self) -> None:
        """Add up what was tracked, and queue it for Stripe's meters."""
        if self._adding_up.locked():
            return
        async with self._adding_up:
            started = self._clock()
            while await add_up(self._pool) and not self._over(started):
                pass
            if started - self._usage_trimmed_at > TRIM_SECONDS:
                self._usage_trimmed_at = started
                await trim_usage(self._pool)

    async def send_meter_events(self) -> None:
        """Tell Stripe's meters what was tracked."""
        if self._lanes is None or self._sending.locked() or not await self._key_may_read():
            return
        async with self._sending:
            started, lanes = self._clock(), self._lanes
            while not self._over(started) and await send_meter_events(
                self._pool, lanes.for_meters, lanes.bulk, live_mode=lanes.live_mode
            ):
                pass

    async def give_back(self) -> None:
        """Give up the leases of all unfinished work: for a process that is about to end."""
        if self._key_check is not None:
            self._key_check.cancel()
        async with self._pool.acquire() as connection:
            await self._held.give_back(connection)

    async def _refresh_usage(self, lanes: Lanes, *, asked_only: bool) -> int:
        return await refresh_usage(
            self._pool,
            lanes.bulk,
            live_mode=lanes.live_mode,
            every=self._usage_every,
            asked_only=asked_only,
        )

    async def scan(self) -> bool:
        """Continue backfills and audits; True when the time was up before they were done."""
        if self._lanes is None or self._scanning.locked():
            return False
        async with self._scanning:
            if not await self._key_may_read():
                return False
            started = self._clock()
            if started - self._schedule_checked_at > SCHEDULE_CHECK_SECONDS:
                self._schedule_checked_at = started
                await ask_for_nightly_audits(self._pool, live_mode=self._lanes.live_mode)
                await ask_for_entitlements(self._pool, live_mode=self._lanes.live_mode)
            scanner = Scanner(
                pool=self._pool,
                stripe=self._lanes.bulk,
                live_mode=self._lanes.live_mode,
                policy=self._policy,
                derive=self.derive,
                over=lambda: self._over(started),
                refused=self._doubt_key,
            )
            await scanner.run()
            return self._over(started) and not self.stopping.is_set()

    async def _keep_one_history(self, connection: Connection) -> None:
        """Notice sequences that were set back: at the start by the rows, later by the numbers seen a second ago."""
        async with self._numbering:
            self._seen = await keep_one_history(
                connection, self._seen or Numbers(), thorough=self._seen is None
            )

    async def _read_falls_due(self, lanes: Lanes) -> bool:
        """Wait for the next read, if it is near; False if none is."""
        async with self._pool.acquire() as connection:
            wait = await seconds_to_next_read(connection, live_mode=lanes.live_mode)
        if wait is None or wait > CONFIRM_LINGER.total_seconds():
            return False
        await asyncio.sleep(max(wait, claim_every_seconds(lanes.live.budget.part)))
        return True

    @asynccontextmanager
    async def _deriving_alongside(self, *, always: bool = True) -> AsyncIterator[Callable[[], None]]:
        """Derive while the body works: the body calls what it is given whenever it has made customers stale.

        Postgres works on one while Python works on the other; and the more there is to apply, the more changes of one
        customer a derivation sees at once. All are derived when the context ends, if the body has called for it, or
        `always`.
        """
        wanted, over = asyncio.Event(), False

        async def derive_when_wanted() -> None:
            while True:
                await wanted.wait()
                wanted.clear()
                await self.derive()
                if over and not wanted.is_set():
                    return

        def derive_soon() -> None:
            nonlocal always
            always = True
            wanted.set()

        task = asyncio.create_task(derive_when_wanted(), name="derive")
        try:
            yield derive_soon
            if always:
                over = True
                wanted.set()
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _mark_overdue(self) -> None:
        """Derive again the records that time alone has changed since the last look: no event announces that."""
        async with self._pool.acquire() as connection:
            while await mark_overdue(connection, limit=DERIVE_BATCH) == DERIVE_BATCH:
                pass

    async def _derive_with(self, connection: Connection, started: float) -> int:
        async with self._deriving:
            derived = 0
            while not self._over(started):
                resolved = await resolve_batch(connection)
                began = self._clock()
                claimed = await derive_batch(
                    connection,
                    policy=self._policy,
                    since=DERIVED_TOGETHER if self._is_flooded else timedelta(0),
                    held=self._held.customers,
                )
                derived += claimed
                if claimed:
                    RECORDS_DERIVED.inc(claimed)
                    self._timed("derive", began)
                # A change of the catalogue may concern every customer. While customers wait, it marks no more of them:
                # so a customer with an event meanwhile never waits behind more of them than one batch.
                fanned_out = 0 if claimed == DERIVE_BATCH else await fan_out_batch(connection)
                if not resolved and not claimed and not fanned_out:
                    break
            return derived

    async def modes_to_apply(self) -> tuple[bool, bool | None, bool | None]:
        """Whether this process may apply events at all; the mode that is served, so that the other is quarantined; and
        the only mode that may be touched, if it is not known yet which one is served.

        Without a key both modes are served, unless the database knows better. Stripe's silence keeps nobody waiting.
        """
        if self._lanes is not None and self._key_checked_at == float("-inf"):
            # A worker without a part of the limits may not ask: it waits once, in case it gets one.
            if not (self._key_waited_for and self._lanes.live.budget.closed):
                await self._checked_key(within_seconds=KEY_WAIT_SECONDS)
            self._key_waited_for = True
        if self._key_is_good is False:
            return False, None, None
        if self._key_is_good:
            return True, self._settings_mode, None
        async with self._pool.acquire() as connection:
            served = await select_served(connection)
            foreign = self._lanes is not None and await alarm_stands(connection, KeyAlarm.FOREIGN)
        if served is None:
            return not foreign, None, self._settings_mode
        own = self._settings_mode in (None, served.live_mode)
        return own and not foreign, served.live_mode, None

    async def _key_may_read(self) -> bool:
        """Whether the API key is of this database's account and mode; checked again every minute while it is not, and
        soon if Stripe has not said.
        """
        if self._lanes is None or self._lanes.live.budget.closed:
            return False
        if (
            not self._key_is_good or self._key_is_doubted
        ) and self._clock() - self._key_checked_at > KEY_CHECK_SECONDS:
            await self._checked_key()
        return self._key_is_good is True and not self._key_is_doubted

    async def _checked_key(self, *, within_seconds: float | None = None) -> None:
        """Wait for a check of the key, which goes on alone when the time is over."""
        if self._key_check is None or self._key_check.done():
            self._key_check = asyncio.create_task(self._check_key(), name="check key")
        check = self._key_check
        await asyncio.wait({check}, timeout=within_seconds)
        if check.done():
            check.result()

    async def _check_key(self) -> None:
        if self._lanes is None:
            return
        began = self._clock()
        if not self._key_unsaid_times:
            self._key_unsaid_since = began
        good = await check_key(
            self._pool,
            self._lanes.live,
            live_mode=self._lanes.live_mode,
            patient=began - self._key_unsaid_since < KEY_UNSAID_PATIENCE_SECONDS,
        )
        self._key_is_good, self._key_is_doubted = good, False
        # Only a check that came to its end counts: one that Postgres cut off is repeated at once.
        wait = KEY_CHECK_SECONDS
        if good is None:
            wait = min(KEY_UNSAID_SECONDS * 2.0**self._key_unsaid_times, KEY_CHECK_SECONDS)
        self._key_unsaid_times = 0 if good is not None else min(self._key_unsaid_times + 1, 10)
        self._key_checked_at = self._clock() - KEY_CHECK_SECONDS + wait

    def _doubt_key(self) -> None:
        """Stripe has answered 401, 403 or 404: before more is believed, the key is compared again."""
        if self._clock() - self._key_checked_at > KEY_CHECK_SECONDS:
            self._key_is_doubted = True

    def _over(self, started: float) -> bool:
        return self.stopping.is_set() or self._clock() - started > LOOP_SECONDS_MAX

    def _timed(self, stage: str, began: float) -> None:
        BATCH_SECONDS.labels(stage).observe(self._clock() - began)

    def _ms_since(self, started: float) -> int:
        return round((self._clock() - started) * 1000)


async def keep_trying(
    name: str,
    step: Callable[[], Awaitable[object]],
    *,
    pause_seconds: float,
    until: asyncio.Event,
    complaints: Complaints,
    lane: str = "live",
) -> None:
    """Run a step again and again, with a pause between; while Postgres is away the pause is longer."""
    in_lane(lane)
    while not until.is_set():
        pause = pause_seconds
        try:
            await step()
            complaints.end(during=name)
            complaints.back("postgres", during=name)
        except PostgresAway as error:
            if because := unfit_because(error):
                complaints.about(because, during=name)
            else:
                complaints.away("postgres", error, during=name)
            pause = 3 * pause_seconds
        except Exception:
            # The process continues: what failed is still marked in Postgres, and the next turn tries it again.
            log.exception("step failed", during=name)
            pause = 3 * pause_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await until.wait()
