"""Turns: how all web processes share what workers leave to them of Stripe's limits. Each turn is reserved in Postgres,
by its clock, so that it holds however many processes there are.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from db.connection import PostgresAway, unfit_because
from db.sync.web_turns import renew_sign, reserve_web_turn
from runtime.budget import Budget, NoTurn
from runtime.limiter import SLACK, Lane, Ticket
from runtime.limits import Limits
from runtime.logs import Complaints
from webhooks.database import Database

RENEW_SECONDS = 5.0
LATE_SECONDS = 0.25
"""A request that would leave so long after its turn takes another one."""

log = structlog.get_logger()


class Turns:
    """The turns of this process. `rate`: requests a second of an account that all web processes may send together.
    `clock` gives seconds that never run backwards; `sleep` waits for so many of them.
    """

    def __init__(
        self,
        database: Database,
        rate: float,
        complaints: Complaints,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._complaints = complaints
        # A request may leave late and the next one in time, and on their way they gain on each other: in no second,
        # wherever it begins, do more than `rate` arrive.
        self._pause = timedelta(seconds=(1.0 + SLACK + LATE_SECONDS) / rate)
        self._clock = clock
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    def now(self) -> float:
        """The moment of the clock."""
        return self._clock()

    async def wait(self, account_id: str, *, until: float) -> None:
        """Return when a request about this account may go. Raises NoTurn if that is not before the moment `until`, and
        Refusal while Postgres is away.
        """
        while True:
            async with self._database.connection() as connection:
                asked_at = self._clock()
                wait = timedelta(seconds=max(until - asked_at, 0.0))
                seconds = await reserve_web_turn(connection, account_id, pause=self._pause, wait=wait)
            if seconds is None:
                raise NoTurn("other requests have all turns, or workers have not yet left any")
            await self._sleep(seconds)
            if self._clock() - asked_at - seconds <= LATE_SECONDS:
                return

    async def renew(self) -> None:
        """Note that web processes may ask: workers leave a part of the limits to them."""
        async with (await self._database.pool()).acquire() as connection, connection.transaction():
            await renew_sign(connection)

    def start(self) -> None:
        """Note it from now on."""
        self._task = asyncio.create_task(self._keep_renewing(), name="turns")

    async def close(self) -> None:
        """Note it no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_renewing(self) -> None:
        while True:
            try:
                await self.renew()
            except PostgresAway as error:
                if because := unfit_because(error):
                    self._complaints.about(because, during="turns")
                else:
                    self._complaints.away("postgres", error, during="turns")
            except Exception:
                log.exception("workers not asked to leave a part of the limits")
            else:
                self._complaints.end(during="turns")
                self._complaints.back("postgres", during="turns")
            await asyncio.sleep(RENEW_SECONDS)


class SharedBudget(Budget):
    """A budget whose requests also wait for a turn among all web processes; `turns` is None before a test double."""

    def __init__(
        self,
        limits: Limits,
        turns: Turns | None,
        *,
        places_max: int,
        wait_seconds_max: float,
        waiting_max: float,
    ) -> None:
        super().__init__(
            limits, places_max=places_max, wait_seconds_max=wait_seconds_max, waiting_max=waiting_max
        )
        self._turns = turns
        self._turn_seconds_max = wait_seconds_max

    async def enter(self, lane: Lane, account_id: str, operation: str) -> Ticket:
        """As in `Budget`; and raises Refusal while Postgres is away."""
        if self._turns is None:
            return await super().enter(lane, account_id, operation)
        until = self._turns.now() + self._turn_seconds_max
        ticket = await super().enter(lane, account_id, operation)
        try:
            await self._turns.wait(account_id, until=until)
        except BaseException:
            self.leave(ticket)
            raise
        return ticket
