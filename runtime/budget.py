"""The budget: requests of one process wait here for their turn, which the limiter decides (runtime/limiter.py)."""

import asyncio
import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from math import inf

from runtime.limiter import PLACES_MAX, Lane, Limiter, Ticket
from runtime.limits import NO_LIMITS, Limits


class NoTurn(Exception):
    """A request would have to wait for its turn longer than this budget allows, or beside too many: it was not sent."""


class Budget:
    """What one process may ask of Stripe, in both lanes. `limits` are those of all workers together; `part` is this
    worker's share of them until it is set (worker/parts.py): 0 lets nothing pass.

    `wait_seconds_max` and `waiting_max` say how long a request waits for its turn, and how many wait at a time; workers
    wait as long as it takes. `clock` gives seconds that never run backwards.
    """

    def __init__(
        self,
        limits: Limits = NO_LIMITS,
        *,
        part: float = 1.0,
        places_max: int = PLACES_MAX,
        wait_seconds_max: float | None = None,
        waiting_max: float = inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits
        self._clock = clock
        self._wait_seconds_max = wait_seconds_max
        self._waiting_max = waiting_max
        self._limiter = Limiter(limits, now=clock(), part=part, places_max=places_max)
        self._waiting: dict[Ticket, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.passed: Counter[Lane] = Counter()
        """Requests sent since the start."""
        self.refusals: Counter[str] = Counter()
        """Requests that Stripe has refused as too many since the start, by its reason."""
        self.last_passed_at = -inf
        self.part_until = inf
        """The moment of the clock after which this worker has no part, unless it is renewed."""
        self._waited: set[Lane] = set()

    @property
    def part(self) -> float:
        """This worker's share of the limits."""
        return self._limiter.part

    @property
    def closed(self) -> bool:
        """Whether nothing passes until this worker gets a part, or a larger one."""
        return self._limiter.closed

    @property
    def waiting(self) -> dict[Lane, int]:
        """How many requests wait for their turn."""
        return self._limiter.waiting

    @property
    def left(self) -> float:
        """Requests a second that all workers together leave to web processes."""
        return self._limiter.left

    def set_part(self, part: float, *, until: float = inf, left: float | None = None) -> None:
        """From now on this worker has another share of the limits, and none after the moment `until` of the clock; and
        all workers leave so many requests a second to web processes. None: as many as before.
        """
        self.part_until = until
        self._limiter.set_part(part, self._clock(), left=left)
        self._let_pass()

    def pressed(self) -> Lane | None:
        """The lane in which a request had to wait since the last call, the live one first; None if none had to."""
        waited = self._waited | {lane for lane, count in self.waiting.items() if count}
        self._waited = set()
        return next((lane for lane in Lane if lane in waited), None)

    def requests_within(self, seconds: float) -> int:
        """How many requests of one operation this worker can send in this time at most; none while it has no part."""
        return self._limiter.requests_within(seconds)

    async def enter(self, lane: Lane, account_id: str, operation: str) -> Ticket:
        """Wait for the turn of a request on behalf of an account. `leave` must follow when the request is over.

        Raises NoTurn, if this budget bounds the wait.
        """
        ticket = self._limiter.ask(lane, account_id, operation)
        try:
            self._let_pass()
            if ticket.passed:
                return ticket
            if len(self._waiting) >= self._waiting_max:
                raise NoTurn(f"{len(self._waiting)} requests wait already")
            self._waited.add(lane)
            turn = self._waiting[ticket] = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(self._wait_seconds_max):
                    await turn
            except TimeoutError:
                raise NoTurn(f"no turn came in {self._wait_seconds_max:g} s") from None
        except BaseException:
            if ticket.passed:
                self.leave(ticket)
            else:
                self._limiter.withdraw(ticket)
            raise
        finally:
            self._waiting.pop(ticket, None)
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """The request is over, whatever came of it."""
        self._limiter.done(ticket)
        self._let_pass()

    def limited(self, ticket: Ticket, reason: str) -> None:
        """Stripe has refused the request as one too many, for this reason (`StripeUnavailable.limited_by`)."""
        self.refusals[reason] += 1
        self._limiter.refused(ticket, reason, self._clock())

    def _let_pass(self) -> None:
        now = self._clock()
        if now >= self.part_until:
            self.part_until = inf
            self._limiter.set_part(0.0, now)
        try:
            for ticket in self._limiter.passing(now):
                self.passed[ticket.lane] += 1
                self.last_passed_at = now
                turn = self._waiting.get(ticket)
                if turn is not None and not turn.done():
                    turn.set_result(None)
        finally:
            self._set_timer(now)

    def _set_timer(self, now: float) -> None:
        """Whatever happened: without a timer those that wait would wait until somebody else asks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        seconds = self._limiter.seconds_to_next(now)
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._let_pass)


class Use:
    """What one process asks of Stripe, in words of /status, from one call to the next."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._asked = dict.fromkeys(Lane, 0)
        self._at = time.monotonic()

    def since_last(self) -> dict[str, object]:
        """Counts since the start, what is waiting now, and requests a second since the last call."""
        budget = self._budget
        now, before = time.monotonic(), self._asked
        seconds = max(now - self._at, 1.0)
        self._asked, self._at = {lane: budget.passed[lane] for lane in Lane}, now
        return {
            "part": round(budget.part, 4),
            "limits": None if budget.limits.none else dataclasses.asdict(budget.limits),
            "requests": self._asked,
            "per_second": {lane: round((self._asked[lane] - before[lane]) / seconds, 1) for lane in Lane},
            "waiting": budget.waiting,
            "refused": dict(budget.refusals),
        }
