"""The turns of web processes: together they ask Stripe only as much as workers leave to them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise

import pytest

from db.connection import Pool
from db.sync import web_turns
from db.sync.web_turns import renew_sign, reserve_web_turn, web_may_ask
from runtime.budget import NoTurn
from runtime.limiter import SLACK, Lane, Limiter, size_of
from runtime.limits import NO_LIMITS, WEB_OPERATIONS, Limits, left_to_web, limits_of, web_limits_of
from runtime.logs import Complaints
from tests.webhooks.api.client import open_service
from webhooks.api import stripe
from webhooks.api.turns import LATE_SECONDS, SharedBudget, Turns
from webhooks.database import Database

RATE = 3.0
PAUSE_SECONDS = (1.0 + SLACK + LATE_SECONDS) / RATE
HOUR = timedelta(hours=1)
SEEN = "update sync.web_sign set since = since - interval '1 minute', until = until + interval '1 day'"
"""All workers have seen the sign long ago."""
BUSY = "update sync.web_turns set next_at = clock_timestamp() + interval '50 seconds'"
"""The next turn is far away."""
NEXT_TURNS = "select account_id, extract(epoch from next_at)::float8 as next_at from sync.web_turns"


class Clock:
    """A clock that moves only when somebody sleeps, or a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.late = [0.0]
        """How late those who sleep awake, the last of these again and again."""

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + (self.late.pop(0) if len(self.late) > 1 else self.late[0])


@asynccontextmanager
async def turns_of(database_url: str, clock: Clock) -> AsyncIterator[Turns]:
    """The turns of a web process."""
    database = Database(database_url, application_name="subledger-test", connections_max=2)
    try:
        yield Turns(database, RATE, Complaints(), clock=clock, sleep=clock.sleep)
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("limits", "left", "rate"),
    [
        (limits_of(60.0, live_mode=True), 3.0, 3.0),
        (limits_of(100.0, live_mode=True), 5.0, 5.0),
        (limits_of(1000.0, 500.0, live_mode=True), 100.0, 100.0),
        (limits_of(15.0, live_mode=False), 3.0, 3.0),
        (Limits(account=5.0, operation=4.0), 2.0, 2.0),
        (Limits(account=2.0, operation=2.0), 1.0, 1.0),
        (Limits(account=1.0, operation=0.5), 0.0, 1.0),
        (NO_LIMITS, 3.0, NO_LIMITS.account),
    ],
    ids=["default", "live", "raised by Stripe", "sandbox", "less", "least", "too low", "none"],
)
def test_what_is_left_to_web_processes(limits: Limits, left: float, rate: float) -> None:
    """Three requests a second, of the account and of what both ask; of high limits a tenth of the account's, but at
    most a fifth of an operation's; of low ones half. Something always passes.
    """
    assert (left, rate) == (left_to_web(limits), web_limits_of(limits).account)
    web = web_limits_of(limits)
    assert None not in (size_of(web.account, 1.0), size_of(web.operation, 1.0))
    workers = Limiter(limits, now=0.0)
    workers.set_part(1.0, 0.0, left=left)
    assert not workers.closed


def test_workers_leave_only_what_web_processes_ask() -> None:
    """Workers give up three requests a second of the account and of each operation that both ask, else nothing."""

    def passed_of(operations: list[str], *, left: float) -> int:
        """How many requests pass in ten seconds, if more are asked for than may."""
        workers = Limiter(Limits(account=60.0, operation=15.0), now=0.0)
        workers.set_part(1.0, 0.0, left=left)
        for operation in operations * 200:
            workers.ask(Lane.LIVE, "", operation)
        count = 0
        for step in range(500):
            for ticket in workers.passing(step * 0.02):
                workers.done(ticket)
                count += 1
        return count

    def given_up(*operations: str) -> int:
        return passed_of([*operations], left=0.0) - passed_of([*operations], left=3.0)

    assert 0 == given_up("GET /v1/invoices")
    for operation in WEB_OPERATIONS:
        assert 20 <= given_up(operation) <= 30
    assert 20 <= given_up(*(f"GET /v1/kind_{number}" for number in range(8))) <= 30


async def test_turns_of_all_processes(pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No turn before workers can have seen the sign. Then, whoever takes them, each comes so long after the one before
    that no second sees more than three, accounts take none from each other, and none is given out that comes too late.
    """
    monkeypatch.setattr(web_turns, "WORKERS_SEE_SECONDS", 30.0)
    pause = timedelta(seconds=PAUSE_SECONDS)

    async def take(account_id: str, wait: timedelta) -> float | None:
        async with pool.acquire() as connection:
            return await reserve_web_turn(connection, account_id, pause=pause, wait=wait)

    async with pool.acquire() as connection:
        assert not await web_may_ask(connection)
    assert await take("", HOUR) is None
    async with turns_of(database_url, Clock()) as turns:
        await turns.renew()
        async with pool.acquire() as connection:
            assert await web_may_ask(connection)
        assert await take("", timedelta(seconds=5)) is None
        since = await pool.fetchval("select since from sync.web_sign")
        await turns.renew()
        assert since == await pool.fetchval("select since from sync.web_sign")
    await pool.execute(SEEN)

    began = await pool.fetchval("select extract(epoch from clock_timestamp())::float8")
    waits = await asyncio.gather(*(take(account, HOUR) for _ in range(12) for account in ("", "acct_1")))
    assert None not in waits
    for row in await pool.fetch(NEXT_TURNS):
        # Twelve turns were given out one after the other, so the next one is the thirteenth.
        assert row["next_at"] - began >= 12 * PAUSE_SECONDS - 1e-3
    assert {"", "acct_1"} == {row["account_id"] for row in await pool.fetch(NEXT_TURNS)}

    await pool.execute(BUSY)
    before = await pool.fetchval("select next_at from sync.web_turns where account_id = ''")
    assert await take("", timedelta(0)) is None
    assert before == await pool.fetchval("select next_at from sync.web_turns where account_id = ''")
    assert await take("", timedelta(seconds=59)) is not None
    moments = [before, await pool.fetchval("select next_at from sync.web_turns where account_id = ''")]
    assert [pause] == [later - sooner for sooner, later in pairwise(moments)]

    # The clock was set back: nobody waits for an hour. The sign begins anew, too.
    await pool.execute("update sync.web_turns set next_at = clock_timestamp() + interval '1 hour'")
    assert 0.0 == await take("", timedelta(0))
    await pool.execute("update sync.web_sign set since = clock_timestamp() + interval '1 hour'")
    assert await take("acct_2", timedelta(0)) is None
    async with pool.acquire() as connection, connection.transaction():
        await renew_sign(connection)
    assert await pool.fetchval("select since <= clock_timestamp() from sync.web_sign")

    # No turn beyond the end of the sign.
    await pool.execute(SEEN)
    await pool.execute("update sync.web_sign set until = clock_timestamp() + interval '1 second'")
    assert await take("acct_2", timedelta(0)) is None


async def test_a_late_request_takes_another_turn(pool: Pool, database_url: str) -> None:
    """A process that awakes after its turn does not send beside whoever has the next one; and one without a turn in
    time gives up.
    """
    clock = Clock()
    async with turns_of(database_url, clock) as turns:
        await turns.renew()
        await pool.execute(SEEN)
        clock.late = [1.0, 2.0, 0.0]
        await turns.wait("", until=3600.0)
        assert [0.0] == clock.late  # it has taken three turns
        assert clock.now >= 3.0
        await pool.execute(BUSY)
        budget = SharedBudget(NO_LIMITS, turns, places_max=1, wait_seconds_max=0.0, waiting_max=0)
        for _ in range(2):  # whoever gives up keeps no place
            with pytest.raises(NoTurn, match="other requests have all turns"):
                await budget.enter(Lane.LIVE, "", "POST /v1/customers")


async def test_no_turn_is_said(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that gets no turn is answered 503 with the time after which to ask again, and Stripe is not asked."""
    monkeypatch.setattr(web_turns, "WORKERS_SEE_SECONDS", 86_400.0)
    async with open_service(database_url, working=False, rate_max=60.0) as service:
        before = list(service.harness.api.asked)
        late = await service.put("/customers/late", {"create_in_stripe": True})
        assert (503, "5") == (late.status, late.headers["Retry-After"])
        assert "workers have not yet left any" in late.problem("away")
        assert before == service.harness.api.asked


def test_a_burst_of_ten_does_not_take_ten_seconds() -> None:
    """Ten customers are created in the time that a turn may take."""
    assert 9 * PAUSE_SECONDS < stripe.TURN_SECONDS_MAX
