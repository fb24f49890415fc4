"""One seed, one world: an account lives, its webhooks come as they like, its API misbehaves, and workers die.

Two workers (engines, each in a context that can die, deaths.py) work on one real Postgres while the sandbox account
changes. Time is the sandbox's: it passes by moving the clock that Postgres itself reads (`install_clock`), so that
every lease and appointment falls due when it should, without waiting. Now and then the world rests, and records that
say exact must be right (exactness.py). Then the faults stop, everything settles, and every record must equal the truth
in every field, and be exact.
"""

import asyncio
import contextlib
import dataclasses
import functools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from random import Random

import asyncpg

from billing.facts import CustomerFacts
from billing.record import Derived, Policy, derive_record
from db import keys
from db.connection import BEGIN_SESSION, Connection, Pool, PostgresAway
from db.sync.accounts import see_accounts
from db.sync.customers import mark_stale
from db.sync.inbox import record_events
from db.sync.pushes import want_push
from runtime.budget import Budget
from runtime.envelope import read_envelope
from runtime.limiter import Ticket
from runtime.settings import Settings
from sandbox import (
    MIXED,
    NEW,
    STORIES,
    Event,
    Faults,
    Plan,
    Sandbox,
    Style,
    arrange,
    as_sent,
    create_api,
    serve,
)
from tests.databases import empty_tables
from tests.faults import replaced
from tests.harness import open_lanes, sweep, sweep_bulk
from tests.simulation.answers import Answers, Lagging
from tests.simulation.crowd import CROWD
from tests.simulation.crowd import EVENTS as CROWD_EVENTS
from tests.simulation.deaths import DEATHS_MAX, Death, Fate, Mortal, WorkerDied, living
from tests.simulation.exactness import falsely_exact
from tests.simulation.failover import FORGET_KEPT, keep, lose
from tests.simulation.guests import EVENTS as GUESTS_EVENTS
from tests.simulation.guests import PAIRS, guests, join_some, truth_with_joins
from tests.truth import differences, read_records
from worker.engine import Engine, Lanes

API_KEY = "sk_test_simulation"
FOREIGN_KEY = "sk_live_simulation"
"""Stripe accepts it, and it is of the mode that is not served."""
CUSTOMERS_MIN = 20
EVENTS_MIN = 300
DAYS_MAX = 36
"""How long a story may last, in days of the sandbox: longer ones would be few events in many waits."""
CROWDED_EVERY = 8
"""Every so many worlds have one name on more customers than are counted."""
CONNECTED = ("acct_1SandboxNorth", "acct_1SandboxSouth")
WORKERS = 2
YEAR = 365 * 86_400
STALE_SECONDS = (1.4, 8.0, 20.0)
"""How far reads and lists lag behind in one world or another: a little less than the quiet time after which an object
is read (objects.QUIET), and more, but less than is thought possible (objects.LATE_MAX).
"""
SLOW_SHARE = 0.12
HIDDEN_SECONDS = (2.0, 100.0)
"""How long new objects cannot be read, in one world or another."""
REST_EVERY = 130
"""After so many events each, nothing happens for some seconds but what is edited at their beginning."""
REST_SECONDS = (1.6, 2.5)
EDITED = 6
"""Customers whom the company edits at one moment."""
PUSHES_EVERY = 5
"""In every so many worlds a service sets fields of customers here, which go to Stripe."""
GUESTS_EVERY = 4
"""In every so many worlds guests sign up as other customers, whose record is theirs then, too."""
JOINING_SHARE = 0.4
"""Of the steps of such a world: those in which a service says who has signed up."""
PUSHED_SHARE = 0.6
"""Of the steps of such a world: those in which it does."""
FAILING_SHARE = 0.2
"""Of the customers: those whose record cannot be derived at the first try, as when memory is short."""
REVOKED_SHARE = 0.15
"""Of the steps: those in which a connected account takes its access back, or gives it again."""
STRANGER_SHARE = 0.2
"""How probably a worker with a key of the other mode comes, or goes, when workers are woken."""
STYLES: dict[int, Style] = {2: "thin", 4: "both"}
"""Of every five worlds, those whose endpoint gets other events than snapshot events."""
LOSSES_EVERY = 4
"""In every so many worlds Postgres fails over once, and loses what was committed in the last step."""
LOSS_AFTER = 160
"""The loss comes after so many events."""
ROUNDS_MAX = 60
AT_THE_END_SHARE = 0.05
AT_THE_END = 10**6
"""The step at which an event arrives that is held back to the end of the world."""

# A row, and no constant in the function's text: making the function anew would end all plans of all sessions.
CLOCK = """
create table simulation.clock (ahead interval not null);
insert into simulation.clock values ('0');
create function simulation.now() returns timestamptz language plpgsql stable as
$$ begin return pg_catalog.now() + (select ahead from simulation.clock); end $$
"""


async def install_clock(connection: Connection) -> None:
    """Give this database a clock that can be moved: an unqualified now() finds ours before Postgres's own.

    For sessions that begin from now on.
    """
    await connection.execute("create schema simulation")
    await connection.execute(CLOCK)
    name = await connection.fetchval("select current_database()")
    settings = {
        "search_path": "simulation, pg_catalog, public",
        "timezone": "UTC",
        "jit": "off",
        # Each statement is executed some times in a world: planning them all again took longer.
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        # Nobody waits a second of real time to learn that he is a deadlock's victim.
        "deadlock_timeout": "10ms",
    }
    for setting, value in settings.items():
        await connection.execute(
            f'alter database "{name}" set {setting} = {value if "," in value else repr(value)}'
        )


async def set_clock(connection: Connection, ahead_seconds: float) -> None:
    """Say how much time has passed for everything in this database: leases run out, appointments fall due."""
    await connection.execute("update simulation.clock set ahead = make_interval(secs => $1)", ahead_seconds)


class Patient(Budget):
    """A budget that asks as fast as it may and remembers what Stripe said, so that a simulation waits for nothing."""

    def __init__(self) -> None:
        super().__init__(places_max=32)

    def limited(self, ticket: Ticket, reason: str) -> None:  # noqa: ARG002 - no request is slowed down
        self.refusals[reason] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What all worlds of one process are played on, one after the other."""

    database_url: str
    connection: Connection
    """The world's own, which no dying worker ever holds."""
    pool: Pool
    answers: Answers
    settings: Settings
    lanes: Lanes
    foreign_lanes: Lanes


async def _begin_session(connection: Connection) -> None:
    """As each session of ours begins; nobody dies of it."""
    mortal = living.set(None)
    try:
        await connection.execute(BEGIN_SESSION)
    except asyncpg.DeadlockDetectedError as error:
        # With the failover, which locks all tables one after the other: a standby would not have answered yet.
        raise asyncpg.CannotConnectNowError("the standby is not there yet") from error
    finally:
        living.reset(mortal)


async def _keep_as_it_is(_: Connection) -> None:
    """No statement of ours leaves anything behind in its session."""


@asynccontextmanager
async def open_ground(database_url: str) -> AsyncIterator[Ground]:
    """A database with a clock that can be moved, a pool, and an API server, for many worlds in turn."""
    answers = Answers()
    async with contextlib.AsyncExitStack() as stack:
        connection = await asyncpg.connect(database_url)
        stack.push_async_callback(connection.close)
        await install_clock(connection)
        base = await stack.enter_async_context(serve(answers))
        stack.callback(answers.end)
        # Without the reset at every return: half of what a world costs is round trips.
        pool = await stack.enter_async_context(
            asyncpg.create_pool(
                database_url, min_size=0, max_size=24, init=_begin_session, reset=_keep_as_it_is
            )
        )
        settings = Settings(
            database_url=database_url,
            redis_url="redis://unused",
            stripe_api_key=API_KEY,
            stripe_api_base=base,
        )
        lanes = await stack.enter_async_context(open_lanes(settings, Patient()))
        foreign = dataclasses.replace(settings, stripe_api_key=FOREIGN_KEY)
        foreign_lanes = await stack.enter_async_context(open_lanes(foreign, Patient()))
        yield Ground(
            database_url=database_url,
            connection=connection,
            pool=pool,
            answers=answers,
            settings=settings,
            lanes=lanes,
            foreign_lanes=foreign_lanes,
        )


@dataclass(slots=True, kw_only=True)
class Played:
    """What became of one world."""

    seed: int
    at: tuple[Death, ...]
    """Where workers were to die, whatever the seed says."""
    differences: list[str]
    passed: Counter[str]
    died: list[Death]
    deadlocks: Counter[str]
    facts: dict[str, int]


@functools.cache
def short_stories() -> dict[str, tuple[int, int]]:
    """The stories that end soon enough, with the number of their customers in test mode and of their events."""
    found = {}
    for name in STORIES:
        sandbox = Sandbox(0)
        begun = sandbox.now
        sandbox.play(name)
        events = len(sandbox.run())
        if sandbox.now - begun <= DAYS_MAX * 86_400:
            found[name] = (sum(not live_mode for _, live_mode, _ in sandbox.truth()), events)
    return found


class World:
    """The account, its workers and its troubles."""

    def __init__(self, ground: Ground, seed: int, *, fate: Fate, say: Callable[[str], None]) -> None:
        self.ground = ground
        self.seed = seed
        self.fate = fate
        self.say = say
        self.draws = Random(f"{seed}:world")  # noqa: S311 - replayable
        self.sandbox = Sandbox(
            seed,
            event_versions=self.draws.choice((NEW, MIXED)),
            inversions=True,
            # A world leaps over weeks, in which a real worker would have filled its gaps a thousand times.
            event_retention_seconds=YEAR,
        )
        self.style = STYLES.get(seed % 5, "snapshot")
        for account_id in CONNECTED:
            self.sandbox.account(account_id)
        self.began = self.elapsed = float(self.sandbox.now)
        self.history = Lagging(self.sandbox, keep_seconds=60.0, clock=self.clock)
        self.faults = Faults(
            latency_jitter_seconds=0.002,
            rate_limited_share=0.04,
            lock_timeout_share=0.04,
            error_share=0.04,
            reset_share=0.04,
            stale_share=0.4,
            stale_seconds=self.draws.choice(STALE_SECONDS),
            hidden_when_new_seconds=self.draws.choice(HIDDEN_SECONDS),
            seed=seed,
        )
        self.api = create_api(self.sandbox, [API_KEY, FOREIGN_KEY], faults=self.faults, history=self.history)
        self.settings = dataclasses.replace(
            ground.settings, gap_fill_seconds=self.draws.choice((300.0, 86_400.0))
        )
        self.deliveries: list[tuple[int, Event]] = []
        self.step = 0
        self.facts: Counter[str] = Counter()
        self.failing_seen: set[str] = set()
        self.falsely_exact: list[str] = []
        self.rests_at = REST_EVERY
        self.loses_after = LOSS_AFTER if seed % LOSSES_EVERY == 1 else None
        self.kept = self.failing_over = False
        # Of its own, so that all other worlds stay as they are.
        self.setting = Random(f"{seed}:pushes") if seed % PUSHES_EVERY == 3 else None  # noqa: S311 - replayable
        self.joining = Random(f"{seed}:guests") if seed % GUESTS_EVERY == 2 else None  # noqa: S311 - replayable
        self.people: list[tuple[str, str]] = []
        self.workers = [Worker(self, n) for n in range(WORKERS)]
        self.stranger = Worker(self, WORKERS + 1, foreign=True)

    def clock(self) -> float:
        """Seconds since 1970 of the world, which is the sandbox's clock with fractions."""
        return max(float(self.sandbox.now), self.elapsed)

    async def play(self) -> Played:
        """Everything, from the first customer to the comparison."""
        with replaced(derive_record, self._derive_or_fail):
            return await self._play()

    def _derive_or_fail(self, facts: CustomerFacts, *, as_of: datetime, policy: Policy) -> Derived:
        customer = facts.customer_id
        if self.fate.enabled and customer not in self.failing_seen:
            self.failing_seen.add(customer)
            if Random(f"{self.seed}:{customer}").random() < FAILING_SHARE:  # noqa: S311 - replayable
                self.facts["not derived"] += 1
                raise MemoryError
        return derive_record(facts, as_of=as_of, policy=policy)

    async def _play(self) -> Played:
        connection = self.ground.connection
        await empty_tables(connection)
        await connection.execute(FORGET_KEPT)
        # The day of installation: its first fill decides from when on nothing is missed.
        await see_accounts(connection, [keys.Scope(name, False) for name in ("", *CONNECTED)])
        await set_clock(connection, 0.0)
        answers = self.ground.answers
        answers.begin(self.api, self.history, self.faults, seed=self.seed)
        await self.calmly(sweep_bulk(self.workers[0].engine))
        self._cast()
        answers.troubled = True
        while self.sandbox.playing:
            await self._live_on()
            if not self.sandbox.playing and self._lacks():
                self._stage(self.draws.choice(sorted(short_stories())))
        await self._settle()
        records = await read_records(self.ground.pool)
        whole, mains = await truth_with_joins(self.ground.connection, self.sandbox)
        truth = {key: each for key, each in whole.items() if not each.live_mode}
        found = sorted(differences(truth, records))
        detours = [line for line in found if "were not lived through" in line]
        self.facts["detours"] = len(detours)
        self.facts["customers"] = len(truth) + len(mains)
        self.facts["requests"] = self.api.tally.requests
        self.facts["slow"] = answers.held_back
        self.facts["stale"] = self.history.looks_back
        self.facts["pages"] = answers.pages
        self.facts["deadlocks"] = self.fate.deadlocks.total()
        self.facts["deaths"] = len(self.fate.died)
        self.facts.update(answers.statuses)
        return Played(
            seed=self.seed,
            at=(*self.fate.at, *self.fate.sought),
            differences=[line for line in found if line not in detours] + self.falsely_exact,
            passed=self.fate.passed,
            died=self.fate.died,
            deadlocks=self.fate.deadlocks,
            facts=dict(self.facts),
        )

    def _lacks(self) -> bool:
        """Whether this world may not end yet: a fault has not happened in it, or too little."""
        happened = [self.facts[each] for each in ("dropped", "doubled", "at the end")]
        return (
            self.facts["events"] < EVENTS_MIN
            or not all(happened)
            or not self.fate.died
            or bool(self.ground.answers.owed())
        )

    def _cast(self) -> None:
        stories = short_stories()
        names = sorted(stories)
        customers = events = 0
        if self.seed % CROWDED_EVERY == 0:
            self.say(f"story {CROWD.name}")
            self.sandbox.begin(CROWD)
            # Nobody of a crowd has a subscription: it is no cast of its own.
            events += CROWD_EVENTS
            self.facts["crowded"] = 1
        if self.joining is not None:
            self.sandbox.begin(guests(self.people))
            customers, events = customers + 2 * PAIRS, events + GUESTS_EVENTS
        while customers <= CUSTOMERS_MIN or events < 0.8 * EVENTS_MIN:
            # Long and short ones in turn, so that both numbers are reached together.
            behind = events * CUSTOMERS_MIN < customers * EVENTS_MIN * 0.8
            choice = sorted(self.draws.sample(names, 3), key=lambda name: stories[name][1] / stories[name][0])
            name = choice[-1 if behind else 0]
            customers, events = customers + stories[name][0], events + stories[name][1]
            self._stage(name)

    def _stage(self, name: str) -> None:
        self.say(f"story {name}")
        self.sandbox.play(name)

    # Life

    async def _live_on(self) -> None:
        """Let the account live for some events, the mail bring some, and the workers work."""
        self.step += 1
        self.fate.overdue = self.facts["events"] > EVENTS_MIN // 2
        # Spread over the life of the world.
        self.fate.allowed = min(1 + DEATHS_MAX * self.facts["events"] // EVENTS_MIN, DEATHS_MAX)
        wanted = self.draws.choice((4, 25, 50, 80))
        events: list[Event] = []
        began = self.sandbox.now
        while self.sandbox.playing and len(events) < wanted:
            events += self.sandbox.step()
        if self.draws.random() < REVOKED_SHARE:
            back = bool(self.faults.revoked)
            self.faults.revoked = frozenset() if back else frozenset({self.draws.choice(CONNECTED)})
            self.facts["revoked"] += not back
        if self.sandbox.now - began > 30:
            await self._before_a_leap()
        await self.pass_time(self.sandbox.now - self.elapsed)
        self._post(events)
        await self._set_here()
        await self._join()
        # Reads that were wanted before meet changes that no event has announced yet.
        await self._work()
        self.history.tell()
        await self._arrive(self.step)
        for _ in range(self.draws.choice((1, 1, 2))):
            await self.pass_time(self.draws.choice((0.3, 1.6, 2.5, 6.0)))
            await self._work()
        if self.draws.random() < 0.15:
            await self._everybody_idle()
            await self.pass_time(100.0)
            await self._work()
        if self.loses_after is not None and self.facts["events"] >= self.loses_after:
            await self._fail_over()
        if self.facts["events"] >= self.rests_at:
            self.rests_at += REST_EVERY
            await self._rest()

    async def _rest(self) -> None:
        """The mail arrives, but for what is held back to the end. The company edits some customers at one moment; the
        events come at once, and reads a little later, perhaps from late replicas. Then whoever is exact must be right.
        """
        await self._everybody_idle()
        customers = [each for each in self.sandbox.home.customers() if each.deleted_at is None]
        known = len(self.sandbox.events)
        for customer in self.draws.sample(customers, min(EDITED, len(customers))):
            self.sandbox.home.clients.update(customer, email=f"step-{self.step}@example.com")
        self._post(self.sandbox.events[known:], arrives=True)
        self.history.tell()
        await self._arrive(AT_THE_END - 1)
        for seconds in REST_SECONDS:
            await self.pass_time(seconds)
            self.workers[0].start("sweep")
            self.workers[1].start("sweep_bulk")
            await self._everybody_idle()
        looked_at, wrong = await falsely_exact(self.ground.connection, self.sandbox)
        self.facts["exact at rest"] += looked_at
        self.falsely_exact += [f"step {self.step}: {line}" for line in wrong]

    async def _set_here(self) -> None:
        """A service sets something of a customer that has a record."""
        if self.setting is None or self.setting.random() >= PUSHED_SHARE:
            return
        rows = await self.ground.connection.fetch(SELECT_SETTABLE)
        if not rows:
            return
        key = keys.CustomerKey(*self.setting.choice(rows))
        fields = {"description": f"step {self.step}", "metadata": {"step": str(self.step), "before": None}}
        async with self.ground.connection.transaction():
            await self.ground.connection.execute(GIVE_IDENTITY, *key)
            await want_push(self.ground.connection, key, fields)
            await mark_stale(self.ground.connection, [key])
        self.facts["set here"] += 1

    async def _join(self) -> None:
        """A service says which guests have signed up as whom, or that it was wrong."""
        if self.joining is not None and self.joining.random() < JOINING_SHARE:
            joined = await join_some(self.ground.connection, self.people, self.joining)
            self.facts["joined"] += joined

    async def _fail_over(self) -> None:
        """A standby takes the place of Postgres, while workers are at work. What was committed in one step is lost."""
        if not self.kept:
            await keep(self.ground.connection)
            self.kept = True
            return
        self.loses_after = None
        events = await self.ground.connection.fetchval("select count(*) from sync.events")
        self.failing_over = True
        await lose(self.ground.connection)
        self.facts["lost events"] = events - await self.ground.connection.fetchval(
            "select count(*) from sync.events"
        )
        await self._bury()
        self.failing_over = False

    async def _arrive(self, step: int) -> None:
        """The mail brings what is due by this step."""
        arrived = [event for due, event in self.deliveries if due <= step]
        self.deliveries = [each for each in self.deliveries if each[0] > step]
        await self._bring(arrived)

    def _post(self, events: list[Event], *, arrives: bool = False) -> None:
        """Send what happened. `arrives`: nothing is lost or held back."""
        plan = Plan(
            shuffle=self.draws.random() < 0.7,
            duplicate_share=0.1,
            reid_share=0.07,
            drop_share=0.0 if arrives else 0.08,
            seed=self.draws.getrandbits(32),
        )
        sent, dropped = arrange(events, plan)
        self.facts["events"] += len(events)
        self.facts["dropped"] += len(dropped)
        self.facts["doubled"] += len(sent) + len(dropped) - len(events)
        for event in [each for told in sent for each in as_sent(told, self.style)]:
            luck = 1.0 if arrives else self.draws.random()
            due = self.step + (self.draws.randint(1, 6) if luck < 0.3 else 0)
            if luck < AT_THE_END_SHARE:
                due = AT_THE_END
                self.facts["at the end"] += 1
            self.deliveries.append((due, event))

    async def _bring(self, events: list[Event]) -> None:
        """Store webhooks as the door does, in one group; Stripe posts again what was not answered."""
        while events:
            group, events = events[:25], events[25:]
            door = Mortal("door", self.fate)

            async def store(group: list[Event] = group) -> None:
                async with self.ground.pool.acquire() as connection:
                    envelopes = [read_envelope(event.body, live_mode_default=False) for event in group]
                    await record_events(
                        connection, list({each.event_id: each for each in envelopes}.values())
                    )

            try:
                await asyncio.create_task(as_mortal(door, store()))
            except (WorkerDied, *PostgresAway):
                self.say(f"step {self.step}: the door died")
                self.deliveries += [(self.step + self.draws.randint(1, 3), event) for event in group]

    async def _work(self) -> None:
        """Wake some loops of some workers, and look at them for a moment."""
        self.ground.answers.share = SLOW_SHARE
        self._let_a_stranger_in_or_out()
        for worker in self.workers:
            for name in worker.choose(self.draws):
                worker.start(name)
            if self.setting is not None and self.setting.random() < PUSHED_SHARE:
                worker.start("push")
        running = [task for worker in self.workers for task in worker.tasks.values()]
        if running:
            await asyncio.wait(running, timeout=self.draws.choice((0.0, 0.004, 0.015)))
        self.ground.answers.go_on()
        await self._bury()

    def _let_a_stranger_in_or_out(self) -> None:
        """A worker with a key of the other mode comes, stays for a while, and goes: it must do nothing."""
        if self.draws.random() < STRANGER_SHARE and not self.stranger.tasks:
            if self.stranger in self.workers:
                self.workers.remove(self.stranger)
            else:
                self.stranger = Worker(self, WORKERS + 1, foreign=True)
                self.workers.append(self.stranger)
                self.facts["strangers"] += 1

    async def _bury(self) -> None:
        for worker in self.workers:
            await worker.look_after()

    async def _before_a_leap(self) -> None:
        """Leases do not outlive a leap in time: now and then a read that is under way has to."""
        if self.draws.random() < 0.5:
            await self._everybody_idle()
            return
        self.ground.answers.share = 0.0
        running = [task for worker in self.workers for task in worker.tasks.values()]
        if running:
            await asyncio.wait(running, timeout=0.05)
            await self._bury()

    async def _everybody_idle(self) -> None:
        self.ground.answers.share = 0.0
        while running := [task for worker in self.workers for task in worker.tasks.values()]:
            self.ground.answers.go_on(release_all=True)
            await asyncio.wait(running, timeout=1.0)
            await self._bury()

    async def pass_time(self, seconds: float, *, account_too: bool = True) -> None:
        """For Postgres and the API, and for the account, unless it is to stand still."""
        if seconds <= 0:
            return
        self.elapsed += seconds
        if account_too:
            self._post(self.sandbox.advance(until=int(self.elapsed)))
        await set_clock(self.ground.connection, self.elapsed - self.began)

    # The end

    async def calmly(self, work: Awaitable[object]) -> None:
        """Without faults and deaths."""
        self.fate.enabled = False
        shares = self.ground.answers.share
        self.ground.answers.share = 0.0
        faults, self.api.faults = self.api.faults, Faults()
        try:
            await work
        finally:
            self.fate.enabled, self.api.faults, self.ground.answers.share = True, faults, shares

    async def _settle(self) -> None:
        """The faults stop; what was held back arrives; then time passes until nothing is left to be done."""
        await self._everybody_idle()
        self.ground.answers.troubled = False
        self.history.tell()
        await self._bring([event for _, event in self.deliveries])
        self.deliveries = []
        self.fate.enabled = False
        self.api.faults = Faults()
        engine = Worker(self, WORKERS).engine
        fill = self.settings.gap_fill_seconds
        waits = (fill, 10.0, 95.0, 130.0, 1300.0, 3700.0, *[90_000.0] * ROUNDS_MAX)
        left: list[asyncpg.Record] = []
        for round_, wait in enumerate(waits):
            await sweep_bulk(engine)
            await sweep(engine)
            await engine.push()
            left = await self.ground.connection.fetch(LEFT)
            if not left and round_ > 0:
                break
            await self.pass_time(wait, account_too=False)
        self.facts["left"] = len(left)
        if left:
            self.say(f"not settled: {left}")
        await sweep(engine)


LEFT = """
select 'event' as what, event_id as id, state as detail
from sync.events
where state in ('pending', 'parked') or (state = 'quarantined' and not live_mode)
union all
select kind, id, error from sync.objects where unsettled
union all
select 'touched ' || kind, id, error from sync.objects where touched > resolved
union all
select 'stale', customer_id, error from sync.customers where stale > derived
union all
select 'history', customer_id, history_error from sync.customers where history_at is not null
union all
select 'push', customer_id, error from sync.pushes where due_at is not null
"""

SELECT_SETTABLE = """
select account_id, live_mode, stripe_customer_id from billing.customers
where stripe_customer_id is not null and deleted_at is null and account_id = ''
order by 1, 2, 3
"""
# Younger than anything: it changes nothing of the record but what is set.
GIVE_IDENTITY = """
insert into billing.identities (account_id, live_mode, stripe_customer_id, created_at) values ($1, $2, $3, '2200-01-01')
on conflict do nothing
"""


async def as_mortal(mortal: Mortal, work: Awaitable[object]) -> None:
    """Run as this worker: its context is inherited by whatever tasks the work begins."""
    living.set(mortal)
    await work


class Worker:
    """A worker process as far as the fast form has one: an engine, its running loops, and its deaths."""

    def __init__(self, world: World, number: int, *, foreign: bool = False) -> None:
        self._world = world
        self._number = number
        self._foreign = foreign
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._be_born()

    def _be_born(self) -> None:
        world, ground, settings = self._world, self._world.ground, self._world.settings
        self.mortal = Mortal(f"worker {self._number}", world.fate)
        if self._foreign:
            settings = dataclasses.replace(settings, stripe_api_key=FOREIGN_KEY)
        lanes = ground.foreign_lanes if self._foreign else ground.lanes
        self.engine = Engine(pool=ground.pool, lanes=lanes, settings=settings, clock=world.clock)

    def choose(self, draws: Random) -> list[str]:
        return [
            name
            for name, share in (("drain", 0.4), ("confirm", 0.4), ("sweep", 0.25), ("sweep_bulk", 0.3))
            if draws.random() < share
        ]

    def start(self, name: str) -> None:
        if name in self.tasks:
            return
        loops: dict[str, Callable[[], Awaitable[object]]] = {
            "drain": self.engine.apply,
            "confirm": functools.partial(self.engine.confirm, linger=False),
            "sweep": functools.partial(sweep, self.engine),
            "sweep_bulk": functools.partial(sweep_bulk, self.engine),
            "push": self.engine.push,
        }
        self.tasks[name] = asyncio.create_task(as_mortal(self.mortal, loops[name]()))

    async def look_after(self) -> None:
        """Take note of loops that have ended; where one died, all end, and the worker is recreated."""
        ended = {name: task for name, task in self.tasks.items() if task.done()}
        for name, task in ended.items():
            del self.tasks[name]
            error = task.exception()
            if error is None or isinstance(error, WorkerDied):
                continue
            if self.mortal.dead or isinstance(error, PostgresAway):
                continue
            # The failover locks all tables one after the other: a worker can be the victim of a deadlock with it.
            if self._world.failing_over and isinstance(error, asyncpg.DeadlockDetectedError):
                continue
            raise error
        if self.mortal.dead:
            self._world.say(
                f"step {self._world.step}: {self.mortal.name} died at {self._world.fate.died[-1]}"
            )
            for task in self.tasks.values():
                task.cancel()
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)
            self.tasks.clear()
            self._be_born()


async def play(
    ground: Ground,
    seed: int,
    *,
    at: tuple[Death, ...] = (),
    known: frozenset[Death] | None = None,
    eagerness: float = 1.0,
    say: Callable[[str], None] = lambda _: None,
) -> Played:
    """Play one world. `at`: let a worker die at each of these, wherever else the seed has them die; `known`: above all
    at others than these, each with this probability.
    """
    fate = Fate(seed=seed, at=at, known=known, eagerness=eagerness)
    return await World(ground, seed, fate=fate, say=say).play()
