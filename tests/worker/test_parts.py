"""How workers share the limits: in no second more than the whole, whoever starts, ends or dies."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.connection import Pool
from db.sync.web_turns import SIGN_HOLDS_SECONDS, WORKERS_SEE_SECONDS, renew_sign
from db.sync.workers import Holder, beat, leave, select_holders, take_part
from runtime.budget import Budget
from runtime.limiter import SLACK, Lane
from runtime.limits import Limits, web_limits_of
from runtime.settings import Settings
from worker.parts import HOLDS_SECONDS, LINGER_SECONDS, STOP_SECONDS, Parts, part_of
from worker.process import WorkerProcess

LIMITS = Limits(account=20.0, operation=20.0)
OPERATION = "GET /v1/customers/{id}"
"""Workers and web processes both ask it."""
STEP_SECONDS = 0.05


def holder(name: str, part: float = 0.0, wants: int = 1) -> Holder:
    return Holder(id=name, part=part, wants=wants)


def test_no_two_workers_have_one_id() -> None:
    """In two containers, host name, process number and second of the start can be equal. Two workers with one id would
    each take the other's part for their own, and the whole limit both.
    """
    configured = Settings(database_url="", redis_url="")
    assert 20 == len({WorkerProcess(configured)._id for _ in range(20)})


@pytest.mark.parametrize(
    ("own", "others", "part"),
    [
        (holder("a"), [], 1.0),
        (holder("b"), [holder("a", 1.0)], 0.0),
        (holder("b"), [holder("a", 0.6)], 0.4),
        (holder("a", 1.0), [holder("a", 1.0), holder("b")], 0.5),
        (holder("a", 1.0, 8), [holder("a", 1.0), holder("b"), holder("c")], 0.8),
        (holder("b"), [holder("a", 0.7), holder("b")], 0.3),
        (holder("e"), [holder(name, 0.1) for name in "abcd"], 0.0),
    ],
    ids=[
        "alone",
        "nothing left",
        "what is left to a new one",
        "half",
        "more to who waits",
        "what is left",
        "too many",
    ],
)
def test_the_part_of_a_worker(own: Holder, others: Sequence[Holder], part: float) -> None:
    """As much as it wants beside the others, never more than they leave, and nothing for more workers than parts."""
    assert part == pytest.approx(part_of(own, others, at_once=4))


class Untimed(Budget):
    """A budget without timers, of which as much is wanted as it gives."""

    def _let_pass(self) -> None:
        pass

    def ask_all(self, now: float) -> int:
        """Ask for all that may pass now."""
        if now >= self.part_until:
            self.set_part(0.0)
        passed = 0
        ticket = self._limiter.ask(Lane.LIVE, "", OPERATION)
        while ticket in self._limiter.passing(now):
            self._limiter.done(ticket)
            self.last_passed_at, passed = now, passed + 1
            ticket = self._limiter.ask(Lane.LIVE, "", OPERATION)
        self._limiter.withdraw(ticket)
        return passed


@dataclass
class Web:
    """The sign and the turns of all web processes, as the statements of db/sync/web_turns.py keep them, for processes
    that ask as much as they may.
    """

    since: float = inf
    until: float = -inf
    next_at: float = -inf

    def renew(self, now: float) -> None:
        """One of the processes notes that they may ask."""
        if self.until <= now:
            self.since = now
        self.until = now + SIGN_HOLDS_SECONDS

    def ask_all(self, now: float) -> int:
        """A request goes at each turn."""
        ready = self.since <= now - WORKERS_SEE_SECONDS and self.until > now + 2.0
        if not ready or now < self.next_at:
            return 0
        self.next_at = now + (1.0 + SLACK) / web_limits_of(LIMITS).account
        return 1


@dataclass
class Crew:
    """Workers that keep parts in rows of ours, on one clock, and ask as much as they may; and web processes beside."""

    now: float = 0.0
    rows: dict[str, tuple[Holder, float]] = field(default_factory=dict)
    workers: dict[str, tuple["Untimed", Parts]] = field(default_factory=dict)
    passed: list[float] = field(default_factory=list)
    web: Web = field(default_factory=Web)

    def start(self, name: str) -> None:
        budget = Untimed(LIMITS, part=0.0, clock=lambda: self.now)
        self.workers[name] = (budget, Parts(budget, name, clock=lambda: self.now))

    def keep(self, name: str, *, committed: bool) -> None:
        """One renewal; or one that was committed, and the worker has not heard of it."""
        _, parts = self.workers[name]
        began = self.now
        holders = [row for row, until in self.rows.values() if until > self.now]
        claim = parts.claim(holders, web_asks=self.web.until > self.now)
        self.rows[name] = (claim, self.now + HOLDS_SECONDS)
        if committed:
            parts.take(claim, began=began)

    def end(self, name: str) -> None:
        """In good order: nothing more is asked, and its part is free when the last request does not count any more."""
        _, parts = self.workers.pop(name)
        seconds = parts.let_go()
        self.advance(seconds)
        self.rows.pop(name, None)

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now = min(self.now + STEP_SECONDS, until)
            for budget, _ in self.workers.values():
                self.passed += [self.now] * budget.ask_all(self.now)
            self.passed += [self.now] * self.web.ask_all(self.now)


DEEDS = st.lists(
    st.tuples(
        st.sampled_from(["start", "keep", "keep", "keep", "keep", "unheard", "end", "die", "web"]),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.05, 0.2, 0.5, 1.0, 4.0]),
    ),
    max_size=40,
)


@settings(max_examples=50, deadline=None)
@given(deeds=DEEDS)
def test_no_second_sees_more_than_the_whole(deeds: list[tuple[str, int, float]]) -> None:
    """Workers start, renew, do not hear that they did, end and die, at any moment, and web processes come and go:
    together they keep the limit.
    """
    crew = Crew()
    crew.start("0")
    started = Counter({"0": 1})
    for deed, number, pause in deeds:
        crew.advance(pause)
        names = sorted(crew.workers)
        name = names[number % len(names)] if names else ""
        if deed == "start" and len(names) < 4:
            started[str(len(started))] += 1
            crew.start(str(len(started) - 1))
        elif name and deed in ("keep", "unheard"):
            crew.keep(name, committed=deed == "keep")
        elif name and deed == "end":
            crew.end(name)
        elif name and deed == "die":
            del crew.workers[name]  # its row stays
        elif deed == "web":
            crew.web.renew(crew.now)
    crew.advance(1.0)
    assert most_in_a_second(crew.passed) <= LIMITS.account


def most_in_a_second(moments: Sequence[float]) -> int:
    """The most of these moments, in their order, in any second; on their way, requests may gain on each other."""
    most = first = 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= 1.0 + SLACK - 1e-6:
            first += 1
        most = max(most, last - first + 1)
    return most


def test_web_and_workers_together_keep_the_limit() -> None:
    """Three workers leave a part to the web processes while there are some, so that all together ask nearly as much as
    the limit allows, and never more; once the last web process is gone for good, the workers have everything again.
    """
    crew = Crew()
    for name in "abc":
        crew.start(name)
    for second in range(100):
        if second in (5, 25):
            crew.web.renew(crew.now)
        if second == 20:
            assert [3.0] * 3 == [budget.left for budget, _ in crew.workers.values()]
        for name in "abc":
            crew.keep(name, committed=True)
        crew.advance(1.0)
    assert most_in_a_second(crew.passed) <= LIMITS.account
    assert [0.0] * 3 == [budget.left for budget, _ in crew.workers.values()]
    assert crew.web.next_at > 25 + SIGN_HOLDS_SECONDS - 3
    assert len(crew.passed) > 0.65 * LIMITS.account * 100


def test_parts_settle_and_follow_deaths() -> None:
    """Two workers have a half each within seconds; when one dies, the other has everything once that part is over."""
    crew = Crew()
    crew.start("a")
    crew.keep("a", committed=True)
    assert 1.0 == crew.workers["a"][0].part
    crew.start("b")
    for _ in range(4):
        crew.advance(1.0)
        for name in ("a", "b"):
            crew.keep(name, committed=True)
    assert [0.5, 0.5] == [budget.part for budget, _ in crew.workers.values()]
    del crew.workers["a"]
    for _ in range(int(HOLDS_SECONDS) + 1):
        crew.advance(1.0)
        crew.keep("b", committed=True)
    assert 1.0 == crew.workers["b"][0].part
    crew.advance(HOLDS_SECONDS)  # Postgres is away: a part that is not renewed is not used
    assert crew.workers["b"][0].closed


async def test_parts_are_rows_of_the_heartbeats(pool: Pool) -> None:
    """Who comes second takes what the first leaves, a heartbeat changes no part, and leaving frees it."""
    now = 0.0
    budgets = {name: Budget(LIMITS, part=0.0, clock=lambda: now) for name in "ab"}
    parts = {name: Parts(budgets[name], name, clock=lambda: now) for name in "ab"}
    await parts["a"].keep(pool)
    await parts["b"].keep(pool)
    assert [1.0, 0.0] == [budgets[name].part for name in "ab"]
    for _ in range(3):
        now += 1.0
        for name in "ab":
            await parts[name].keep(pool)
    assert [0.5, 0.5] == [budgets[name].part for name in "ab"]
    async with pool.acquire() as connection:
        await beat(connection, "a", {"redis": "ok"})
        async with connection.transaction():
            held = {each.id: each.part for each in await select_holders(connection)}
        assert {"a": 0.5, "b": 0.5} == held
        assert 0.0 == parts["a"].let_go()  # nothing has been asked within the last second
        await leave(connection, "a")
        with pytest.raises(asyncpg.CheckViolationError):  # no part is more than the whole
            await take_part(connection, Holder(id="c", part=1.5, wants=1), holds=timedelta(seconds=1))
    await parts["b"].keep(pool)
    assert (1.0, 0.0) == (budgets["b"].part, budgets["b"].left)
    async with pool.acquire() as connection, connection.transaction():
        await renew_sign(connection)
    await parts["b"].keep(pool)
    assert (1.0, 3.0) == (budgets["b"].part, budgets["b"].left)
    await pool.execute("update sync.web_sign set until = now()")
    await parts["b"].keep(pool)
    assert (1.0, 0.0) == (budgets["b"].part, budgets["b"].left)


def test_workers_see_web_processes_in_time() -> None:
    """What a worker took without having seen the sign counts no more when web processes begin to ask."""
    assert HOLDS_SECONDS - STOP_SECONDS + LINGER_SECONDS < WORKERS_SEE_SECONDS


def test_without_limits_nothing_is_shared() -> None:
    """Before a test double each worker asks as fast as it likes."""
    budget = Budget(Limits())
    parts = Parts(budget, "a")
    assert 0.0 == parts.let_go()
    assert 1.0 == budget.part
