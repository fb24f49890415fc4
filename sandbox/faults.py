"""How the simulated API may misbehave, by switches that can be turned while it runs; chance is drawn from a seed.

A fault concerns either the answer as a whole (`Misbehavior.before_answer`: it is slow, refused, broken off) or what the
answer shows (`view_of`, `hides`: a late replica).
"""

from asyncio import sleep
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from time import monotonic

from starlette.types import Receive, Send

from sandbox.account import Account
from sandbox.history import History, PastView
from sandbox.refusals import RefusedError, lock_timeout, rate_limited

View = Account | PastView
"""Where an answer looks objects up: the account as it is, or as it was."""


@dataclass(slots=True, kw_only=True)
class Faults:
    """All off by default. Shares are probabilities from 0 to 1, times are seconds of the API's clock."""

    latency_seconds: float = 0.0
    latency_jitter_seconds: float = 0.0
    requests_per_second_max: float | None = None
    """Requests beyond it are answered 429, with Stripe-Rate-Limited-Reason."""
    rate_limited_share: float = 0.0
    lock_timeout_share: float = 0.0
    """429 without a reason header: an object lock."""
    error_share: float = 0.0
    """500."""
    reset_share: float = 0.0
    """The connection breaks in the middle of the answer."""
    lost_share: float = 0.0
    """A request that changes something is carried out, and the connection breaks before its answer."""
    failed_share: float = 0.0
    """The same, answered 500: also when the request is sent again with its idempotency key."""
    hang_share: float = 0.0
    """No answer until the client gives up."""
    stale_share: float = 0.0
    stale_seconds: float = 0.0
    """How far back a stale answer looks."""
    hidden_when_new_seconds: float = 0.0
    """Reading an object answers 404 until it is that old."""
    revoked: frozenset[str] = frozenset()
    """Connected accounts that have taken their access back: 403 account_invalid."""
    seed: int = 0


class BrokenOffError(Exception):
    """The answer was cut off on purpose: there is nothing more to send."""


class Misbehavior:
    """Applies faults to answers, one after another in a fixed order, so that a seed replays them.

    `faults` may be exchanged while the API runs; the seed stays that of the first ones. `history` must be given for the
    stale and hidden-when-new faults.
    """

    def __init__(self, faults: Faults, history: History | None) -> None:
        self.faults = faults
        self._history = history
        self._draws = Random(f"{faults.seed}:faults")
        self._meter = RateMeter()

    # The answer as a whole

    async def before_answer(self, receive: Receive, send: Send) -> None:
        """Delay or refuse the answer, or break it off.

        Raises RefusedError for an answer that is refused, BrokenOffError for one that never comes.
        """
        faults = self.faults
        if faults.latency_seconds or faults.latency_jitter_seconds:
            await sleep(faults.latency_seconds + self._draws.random() * faults.latency_jitter_seconds)
        if faults.requests_per_second_max is not None and not self._meter.admits(
            faults.requests_per_second_max
        ):
            raise rate_limited("global-rate")
        if self._happens(faults.rate_limited_share):
            raise rate_limited(
                self._draws.choice(("endpoint-rate", "global-concurrency", "endpoint-concurrency"))
            )
        if self._happens(faults.lock_timeout_share):
            raise lock_timeout()
        if self._happens(faults.error_share):
            raise RefusedError(500, "An unknown error occurred.", kind="api_error")
        if self._happens(faults.hang_share):
            await _hang(receive)
            raise BrokenOffError
        if self._happens(faults.reset_share):
            await _send_half(send)
            raise BrokenOffError

    async def after_write(self, send: Send) -> None:
        """Break the answer off to a request that was carried out. Raises BrokenOffError."""
        if self._happens(self.faults.lost_share):
            await _send_half(send)
            raise BrokenOffError

    def fails_write(self) -> bool:
        """Whether a request that is carried out is answered 500."""
        return self._happens(self.faults.failed_share)

    # What the answer shows

    @property
    def rewrites_answers(self) -> bool:
        """Whether the same question may be answered differently although nothing has changed."""
        faults = self.faults
        return self._history is not None and bool(faults.stale_share or faults.hidden_when_new_seconds)

    def view_of(self, account: Account) -> View:
        """The account as the next answer shows it: as it is, or as a late replica has it."""
        if self._history is not None and self._happens(self.faults.stale_share):
            return self._history.as_of(account, self.faults.stale_seconds)
        return account

    def hides(self, account: Account, object_id: str) -> bool:
        """Whether an object is too new to be found."""
        hidden = self.faults.hidden_when_new_seconds
        return (
            bool(hidden)
            and self._history is not None
            and (self._history.age_seconds(account, object_id) < hidden)
        )

    def _happens(self, share: float) -> bool:
        return share > 0 and self._draws.random() < share


async def _hang(receive: Receive) -> None:
    """Answer nothing until the client gives up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_half(send: Send) -> None:
    """Begin an answer that is never finished."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
    await send({"type": "http.response.body", "body": b'{"id": "', "more_body": True})


class RateMeter:
    """A token bucket of one second's worth of requests."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._tokens = 0.0
        self._last: float | None = None

    def admits(self, per_second: float) -> bool:
        now = self._clock()
        elapsed = 1.0 if self._last is None else now - self._last
        self._last = now
        self._tokens = min(self._tokens + elapsed * per_second, max(per_second, 1.0))
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
