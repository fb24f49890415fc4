"""The fence by itself, against the real SQL: whatever order marks, reads, answers, deletions and crashes come in."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from billing.kinds.parse import parse_object
from db.connection import KEEP_PLANS, OwnConnection, Pool, connect
from db.keys import Key
from db.sync.due_reads import DueRead, claim_reads
from db.sync.inbox import record_events
from db.sync.objects import FailedRead, Mark, mark_objects, postpone_reads
from runtime.envelope import read_envelope
from tests.harness import NOON, customer, event
from worker.live.answers import Answered
from worker.live.apply import apply_batch
from worker.live.fence import ask_again, store_answers

KEY = Key("", False, "customer", "cus_1")
EXAMPLES = 100
STEPS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a read that began at `tick` found: the version that Stripe had when it answered; None is deleted."""

    tick: int
    version: int | None
    at: int = NOON


def answered(answer: Answer) -> Answered:
    """The answer as the worker has it."""
    body: dict[str, Any] = (
        {"object": "customer", "id": "cus_1", "deleted": True}
        if answer.version is None
        else customer(name=str(answer.version))
    )
    return Answered(
        key=KEY,
        tick=answer.tick,
        parsed=parse_object(body),
        raw="{}",
        asked_at=datetime.fromtimestamp(answer.at, UTC),
    )


class Fence:
    """One customer at Stripe, whose name is the number of its last change, and what we hold of it."""

    def __init__(self, connection: OwnConnection) -> None:
        self.connection = connection
        self.version: int | None = 0
        """At Stripe, now; None: deleted."""
        self.changes = 0
        self.told = -1
        """The last change that a mark announced."""
        self.shown = -1
        self.confirmed = 0
        self.buried = False
        self.now = NOON
        """Stripe's clock."""
        self.past: list[tuple[int, int | None]] = [(NOON, 0)]
        """Since when it has had which version."""
        self.known = 0
        """The last change that anything but a payload announced: of these there is one witness only."""

    async def begin(self) -> None:
        # Not `truncate`, after which every statement would be planned anew.
        await self.connection.execute(
            "delete from sync.events; delete from sync.objects; delete from sync.customers; "
            "delete from stripe.customers"
        )

    def change(self) -> None:
        self.changes += 1
        if self.version is not None:
            self.version = self.changes
        self.past.append((self.now, self.version))

    def delete(self) -> None:
        self.changes += 1
        self.version = None
        self.past.append((self.now, None))

    def version_of_replica(self, seconds: int) -> int | None:
        """What a replica shows that is so late."""
        shown = [version for since, version in self.past if since <= self.now - seconds]
        late = shown[-1] if shown else 0
        return self.version if late is None or late < self.known else late

    async def tell(self) -> None:
        """An event carries the object as it is now, stamped when it became so."""
        since, version = self.past[-1]
        named = next(each for _, each in reversed(self.past) if each is not None)
        kind = "customer.updated" if version is not None else "customer.deleted"
        body = event(kind, customer(name=str(named)), after=since - NOON)
        await record_events(self.connection, [read_envelope(body, live_mode_default=False)])
        await apply_batch(self.connection, served_mode=None, confirms=True)
        self.told = self.changes

    async def mark(self) -> None:
        """An event says that something has changed, and nothing else."""
        mark = Mark(
            key=KEY, customer_id="cus_1", ownerless=False, event_id=None, event_created=None, source="event"
        )
        await mark_objects(self.connection, [mark])
        self.told = self.known = self.changes

    async def make_due(self) -> None:
        """The time of every appointment, and of every lease, has come."""
        await self.connection.execute("update sync.objects set read_at = now() where read_at is not null")

    async def begin_read(self) -> DueRead | None:
        await self.make_due()
        due = await claim_reads(
            self.connection, kinds=["customer"], live_mode=False, limit=1, lease=timedelta(seconds=90)
        )
        return due[0] if due else None

    async def store(self, answer: Answer) -> bool:
        """Whether the answer was believed, or overtaken; False if it may be late, and is asked for again."""
        doubted = await store_answers(self.connection, [answered(answer)], source="event")
        await ask_again(self.connection, doubted)
        return not doubted

    async def fail(self, due: DueRead) -> None:
        failure = FailedRead(key=KEY, tick=due.tick, error="no answer", retry_after=timedelta(seconds=5))
        await postpone_reads(self.connection, [failure])
        assert due.key == KEY

    async def settle(self) -> None:
        """Read, and be answered with the truth, until nothing is appointed any more."""
        self.now += 30  # from now on no replica is late
        for _ in range(3):
            due = await self.begin_read()
            if due is None:
                return
            assert await self.store(Answer(tick=due.tick, version=self.version, at=self.now))
        assert await self.begin_read() is None

    async def held(self) -> asyncpg.Record | None:
        """What the fence knows, and what is shown."""
        return await self.connection.fetchrow(
            "select o.confirmed, o.dirty, o.tombstone, o.unsettled, o.read_at, o.missing_since, o.parked_at, "
            "m.name, m.deleted_at from sync.objects o left join stripe.customers m using (account_id, live_mode, id)"
        )

    async def check_advance(self) -> None:
        """I3, I5: what is shown and what is confirmed only advance, and a tombstone stays; what is not settled has an
        appointment, and what is settled has seen every change that a mark announced.
        """
        held = await self.held()
        if held is None:
            return
        shown = -1 if held["name"] is None else int(held["name"])
        assert held["confirmed"] >= self.confirmed
        assert shown >= self.shown
        assert held["tombstone"] or not self.buried
        self.confirmed, self.shown, self.buried = held["confirmed"], shown, held["tombstone"]
        if held["unsettled"]:
            assert held["read_at"] is not None, "nobody would ever read it again"
        elif not held["tombstone"] and held["confirmed"]:
            assert shown >= self.told, "it looks settled, and a change is missing"

    async def check_end(self) -> None:
        """Told of every change, and settled, it is what Stripe says it is."""
        if self.told < self.changes:
            await self.mark()
        await self.settle()
        held = await self.held()
        assert held is not None
        assert not held["unsettled"]
        if self.version is None:
            assert held["tombstone"], held
            assert held["deleted_at"] is not None, held
        else:
            assert (str(self.version), None) == (held["name"], held["deleted_at"])


class FenceMachine(RuleBasedStateMachine):
    """Reads and answers are apart: between them anything may happen, and any number of reads are under way."""

    loop: asyncio.AbstractEventLoop
    connection: OwnConnection

    reads = Bundle("reads")
    answers = Bundle("answers")

    def __init__(self) -> None:
        super().__init__()
        self.fence = Fence(self.connection)
        self.run(self.fence.begin())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @rule()
    def change(self) -> None:
        self.fence.change()

    @rule(chance=st.integers(0, 5))
    def delete(self, chance: int) -> None:
        """Seldom: nothing comes after it."""
        if chance == 3:
            self.fence.delete()

    @rule()
    def mark(self) -> None:
        self.run(self.fence.mark())

    @rule()
    def tell(self) -> None:
        self.run(self.fence.tell())

    @rule(seconds=st.sampled_from((1, 2, 7, 31)))
    def wait(self, seconds: int) -> None:
        self.fence.now += seconds

    @rule(target=reads)
    def begin_read(self) -> Any:
        due = self.run(self.fence.begin_read())
        return multiple() if due is None else due

    @rule(target=answers, due=consumes(reads), late=st.booleans(), seconds=st.sampled_from((0, 0, 2, 20)))
    def answer(self, due: DueRead, late: bool, seconds: int) -> Any:
        """Stripe answers with its state of now, or its replica with one that is some seconds old; `late`: a second
        answer to the same question comes as well.
        """
        told = Answer(tick=due.tick, version=self.fence.version_of_replica(seconds), at=self.fence.now)
        return multiple(told, told) if late else told

    @rule(due=consumes(reads))
    def crash(self, due: DueRead) -> None:
        """The worker is lost with its question; the lease runs out."""
        assert due.tick > 0

    @rule(due=consumes(reads))
    def fail(self, due: DueRead) -> None:
        self.run(self.fence.fail(due))

    @rule(answer=consumes(answers))
    def store(self, answer: Answer) -> None:
        before = self.run(self.fence.held())
        believed = self.run(self.fence.store(answer))
        after = self.run(self.fence.held())
        if before["tombstone"] or before["confirmed"] >= answer.tick:
            assert dict(before) == dict(after), "an overtaken answer, or one to a tombstone, changes nothing"
        elif not believed:
            assert before["confirmed"] == after["confirmed"]
            assert before["name"] == after["name"]
            assert after["unsettled"], "it is not believed, and looks settled"
        else:
            assert answer.tick == after["confirmed"]

    @invariant()
    def advances(self) -> None:
        self.run(self.fence.check_advance())

    def teardown(self) -> None:
        self.run(self.fence.check_end())


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of this test's own: hypothesis calls rules from plain functions."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def fence_database(servers: Any, template: str) -> Iterator[str]:
    """A migrated database for the machine, which has no running loop to make one with."""
    from tests.databases import at_database

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(servers.postgres_url)
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute(f"create database fence_machine template {template}"))
    yield at_database(servers.postgres_url, "fence_machine")
    asyncio.run(execute("drop database fence_machine with (force)"))


def test_fence_in_any_order(fence_database: str, loop: asyncio.AbstractEventLoop) -> None:
    """I3, I4, I5: a state machine of one object; after any history one more read settles it at the truth."""
    FenceMachine.loop = loop
    FenceMachine.connection = loop.run_until_complete(connect(fence_database, application_name="fence"))
    loop.run_until_complete(FenceMachine.connection.execute(KEEP_PLANS))
    try:
        run_state_machine_as_test(
            FenceMachine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.run_until_complete(FenceMachine.connection.close())


STEPS_OF_A_SMALL_WORLD = ("event 1", "event 2", "event 3", "ask 1", "answer 1", "ask 2", "answer 2")


def orders() -> list[tuple[str, ...]]:
    """All orders of three events and two reads, in which each read is asked before it is answered."""
    return [
        order
        for order in itertools.permutations(STEPS_OF_A_SMALL_WORLD)
        if order.index("ask 1") < order.index("answer 1")
        and order.index("ask 2") < order.index("answer 2")
        # The events, and the reads, differ only in their order.
        and order.index("event 1") < order.index("event 2") < order.index("event 3")
        and order.index("ask 1") < order.index("ask 2")
    ]


@pytest.mark.parametrize("last", ["change", "delete"])
async def test_every_order_of_a_small_world(pool: Pool, last: str) -> None:
    """I3: three changes, each with its event, and two reads of one object, in every order, end at the truth."""
    async with pool.acquire() as connection:
        for order in orders():
            fence = Fence(connection)  # type: ignore[arg-type]
            await fence.begin()
            await fence.mark()
            asked: dict[str, Answer] = {}
            for step in order:
                what, _, number = step.partition(" ")
                match what:
                    case "event":
                        fence.delete() if step == "event 3" and last == "delete" else fence.change()
                        await fence.mark()
                    case "ask":
                        due = await fence.begin_read()
                        if due is not None:
                            # What it will say is decided now: no answer is older, however long it takes.
                            asked[number] = Answer(tick=due.tick, version=fence.version)
                    case "answer" if number in asked:
                        await fence.store(asked[number])
                await fence.check_advance()
            await fence.check_end()
