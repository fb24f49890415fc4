"""Parts: how all workers share what may be asked of Stripe, by rows in Postgres, so that it holds without Redis.

Each second a worker looks at the others' rows and takes its part: of the whole as much as it wants beside them, and
never more than they leave. It lets go before it says so, and takes only after that is committed; what it says it holds
is the most that it held within the last second. So in no second, whoever starts, ends or dies, do all together ask more
than the whole. A part holds for some seconds: a worker that cannot renew it stops asking before others take it.

While web processes may ask, too (db/sync/web_turns.py), the whole is what is there beside the few requests a second
that are left to them.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from math import inf

from db.connection import Pool
from db.sync.web_turns import web_may_ask
from db.sync.workers import Holder, select_holders, take_part
from runtime.budget import Budget
from runtime.limiter import SLACK, WINDOW_SECONDS, Lane
from runtime.limits import left_to_web

HOLDS_SECONDS = 8.0
"""So long after its last sign a dead worker keeps its part."""
RENEW_SECONDS = 1.0
STOP_SECONDS = 2.0
"""A worker that could not renew its part uses none of it for so long before it ends."""
LINGER_SECONDS = WINDOW_SECONDS + SLACK
WANTS = {None: 1, Lane.BULK: 2, Lane.LIVE: 8}
"""The weight of a worker of which no request had to wait, or one of this lane."""
REQUESTS_MIN = 3.0
"""Of one operation in a second: no more workers have parts than such parts exist. The others ask nothing."""


def part_of(own: Holder, others: Sequence[Holder], *, at_once: int) -> float:
    """The part that this worker may take, beside the others whose parts hold (the oldest first).

    At most `at_once` workers are to have one: the oldest, since this one, if it is new, is not among them yet.
    """
    everyone = list(others) if any(each.id == own.id for each in others) else [*others, own]
    places = [each.id for each in everyone[:at_once]]
    if own.id not in places:
        return 0.0
    beside = [each for each in others if each.id != own.id]
    wanted = own.wants + sum(each.wants for each in beside if each.id in places)
    left = 1.0 - sum(each.part for each in beside)
    return max(0.0, min(own.wants / wanted, left))


class Parts:
    """Keeps this worker's part of the limits. `clock` must be the budget's."""

    def __init__(
        self, budget: Budget, worker_id: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._budget = budget
        self._id = worker_id
        self._clock = clock
        self._part = budget.part
        self._left = budget.left
        self._used: deque[tuple[float, float]] = deque()
        """Parts that this worker has held, each with the moment until which it did."""
        rate = budget.limits.operation
        self._at_once = 1_000 if rate == inf else max(1, int(rate / REQUESTS_MIN))

    async def keep(self, pool: Pool) -> None:
        """Renew the part, smaller or larger as the others leave it. Nothing if nothing is limited."""
        if self._budget.limits.none:
            return
        began = self._clock()
        async with pool.acquire() as connection, connection.transaction():
            others = await select_holders(connection)
            claim = self.claim(others, web_asks=await web_may_ask(connection))
            await take_part(connection, claim, holds=timedelta(seconds=HOLDS_SECONDS))
        self.take(claim, began=began)

    def claim(self, others: Sequence[Holder], *, web_asks: bool) -> Holder:
        """What this worker is to say that it holds, before it takes it; what it has to let go, it lets go at once."""
        self._left = left_to_web(self._budget.limits) if web_asks else 0.0
        if self._left > self._budget.left:
            self._budget.set_part(self._budget.part, until=self._budget.part_until, left=self._left)
        own = Holder(id=self._id, part=self._budget.part, wants=WANTS[self._budget.pressed()])
        self._part = part_of(own, others, at_once=self._at_once)
        if self._part < own.part:
            self._used.append((self._clock(), own.part))
            self._budget.set_part(self._part, until=self._budget.part_until)
        return replace(own, part=max(self._part, self._held_lately()))

    def take(self, claim: Holder, *, began: float) -> None:
        """The claim is committed: nobody else takes this part. `began`: when the transaction began, or before."""
        until = began + HOLDS_SECONDS - STOP_SECONDS
        self._budget.set_part(min(self._part, claim.part), until=until, left=self._left)

    def let_go(self) -> float:
        """Ask nothing more; returns the seconds after which nothing of it counts any more."""
        if self._budget.limits.none:
            return 0.0
        self._budget.set_part(0.0)
        return max(0.0, self._budget.last_passed_at + LINGER_SECONDS - self._clock())

    def _held_lately(self) -> float:
        """The greatest part held within the last second."""
        while self._used and self._used[0][0] < self._clock() - LINGER_SECONDS:
            self._used.popleft()
        return max((part for _, part in self._used), default=0.0)
