"""A living account as a process: its clock runs, its API answers, its webhooks are posted."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic

import aiohttp
import msgspec

from sandbox.api import Gate, RateLimits, create_api, serve
from sandbox.delivery import Report, post
from sandbox.demo import perform
from sandbox.events import Event
from sandbox.faults import Faults
from sandbox.life import inhabit
from sandbox.periods import DAY
from sandbox.play import Sandbox
from sandbox.thin import Style, as_sent
from sandbox.world import MIXED, NEW

TICK_SECONDS = 0.05
POSTERS = 8
BACKLOG_MAX = 1_000
EVENTS_KEPT = 5_000
EVENTS_REPEATED = 200
REPLAY_SECONDS_MAX = 20 * 365 * DAY
_ATTEMPTS_MAX = 1_000_000
_POST_TIMEOUT_SECONDS = 10.0
_SAVE_EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What determines a living account: the same origin gives the same account, object by object."""

    seed: int
    epoch: int
    """Its first second, since 1970."""
    customers: int
    mixed_versions: bool = False
    demo: bool = False
    """Whether one of each thing that records tell of is shown (sandbox/demo.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mishaps:
    """What happens to webhooks on their way, drawn from a seed. All off by default; a share is a probability."""

    late_share: float = 0.0
    late_seconds: float = 5.0
    """A late webhook is posted so long after its event, at most."""
    twice_share: float = 0.0
    reordered_seconds: float = 0.0
    """Each webhook waits for a random part of this time, so that those of the same moment change places."""
    lost_share: float = 0.0
    """Never posted; the event stays in `/v1/events`."""
    seed: int = 0


NO_MISHAPS = Mishaps()


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a living account has done."""

    events: int
    """Made since it was started."""
    posted: int
    """Attempts to post a webhook."""
    accepted: int
    waiting: int
    """Webhooks that nobody has accepted yet."""
    late: int
    twice: int
    lost: int
    answers: dict[str, int]
    """How often the endpoint gave each status; `none` for no answer."""
    api_requests: int
    api_refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a living account can be reached, and where it posts to."""

    host: str
    port: int
    webhook_url: str
    secrets: tuple[str, ...]
    api_keys: tuple[str, ...]
    limits: bool = False
    """Whether the API enforces Stripe's limits."""
    latency_seconds: float = 0.0
    """How long the API takes to answer."""
    style: Style = "snapshot"
    """Which events the endpoint gets."""
    mishaps: Mishaps = NO_MISHAPS


def open_account(origin: Origin, *, live_mode: bool) -> Sandbox:
    """The account at its first second."""
    sandbox = Sandbox(
        f"{origin.seed}:{origin.epoch}",
        live_mode=live_mode,
        start=origin.epoch,
        event_versions=MIXED if origin.mixed_versions else NEW,
        event_retention_seconds=100 * 365 * DAY,
    )
    prices = inhabit(sandbox, customers=origin.customers)
    if origin.demo:
        perform(sandbox, prices)
    return sandbox


def replay(sandbox: Sandbox, elapsed_seconds: int) -> list[Event]:
    """Replay the account without posting; returns the latest events, whose delivery may have been cut off."""
    end = sandbox.now + elapsed_seconds
    latest: list[Event] = []
    while sandbox.now < end:
        events = sandbox.advance(until=min(sandbox.now + 30 * DAY, end))
        latest = (latest + events)[-EVENTS_REPEATED:]
        sandbox.forget_events(keep=EVENTS_KEPT)
    return latest


class StateFile:
    """Remembers an account between starts by its origin and its age, which determine the rest."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Origin, int] | None:
        """The origin and the age in seconds; None when there is no readable state."""
        try:
            state = msgspec.json.decode(self._path.read_bytes(), type=_State)
        except (OSError, msgspec.DecodeError):
            return None
        return state.origin, state.elapsed_seconds

    def save(self, origin: Origin, elapsed_seconds: int) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_bytes(msgspec.json.encode(_State(origin=origin, elapsed_seconds=elapsed_seconds)))
        draft.replace(self._path)


class _State(msgspec.Struct):
    origin: Origin
    elapsed_seconds: int


class Post:
    """Posts events in order of creation over a few connections, for as long as it takes."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._draws = Random(f"{place.mishaps.seed}:mishaps")
        self._unaccepted = 0
        self.report = Report()
        self.events = self.late = self.twice = self.lost = 0

    def backlog(self) -> int:
        """How many webhooks have not been accepted."""
        return self._unaccepted

    def add(self, events: list[Event]) -> None:
        self.events += len(events)
        for event in events:
            for sent in as_sent(event, self._place.style):
                self._send(sent)

    def _send(self, event: Event) -> None:
        mishaps = self._place.mishaps
        if self._happens(mishaps.lost_share):
            self.lost += 1
            return
        delay = self._draws.random() * mishaps.reordered_seconds
        if self._happens(mishaps.late_share):
            self.late += 1
            delay += self._draws.uniform(0.2, 1.0) * mishaps.late_seconds
        self._put(event, delay)
        if self._happens(mishaps.twice_share):
            self.twice += 1
            self._put(event, delay + self._draws.random())

    def _happens(self, share: float) -> bool:
        return share > 0 and self._draws.random() < share

    def _put(self, event: Event, delay_seconds: float) -> None:
        self._unaccepted += 1
        if delay_seconds:
            asyncio.get_running_loop().call_later(delay_seconds, self._queue.put_nowait, event)
        else:
            self._queue.put_nowait(event)

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(limit=POSTERS)
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._post_in_turn(session) for _ in range(POSTERS)))

    async def _post_in_turn(self, session: aiohttp.ClientSession) -> None:
        while True:
            event = await self._queue.get()
            if await post(
                event,
                self._place.webhook_url,
                self._place.secrets,
                session,
                self.report,
                _ATTEMPTS_MAX,
                _POST_TIMEOUT_SECONDS,
            ):
                event.accepted()
                self.report.accepted += 1
            self._unaccepted -= 1
            self.report.seconds.clear()


async def live(
    origin: Origin,
    place: Place,
    *,
    speed: float,
    stop: asyncio.Event,
    elapsed_seconds: int = 0,
    state: StateFile | None = None,
    started: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Run a living account until `stop` is set; returns what it has done.

    `speed`: seconds of the account per second of ours. `elapsed_seconds`: the age at which it continues. `started` is
    told the address of the API when it answers. The account's clock stops while the endpoint does not keep up, so that
    the backlog is bounded. Raises OSError when the API's address cannot be listened on.
    """
    live_mode = place.api_keys[0][3:7] == "live"
    sandbox = open_account(origin, live_mode=live_mode)
    mail = Post(place)
    if elapsed_seconds:
        mail.add(replay(sandbox, elapsed_seconds))
    api = create_api(sandbox, place.api_keys, faults=Faults(latency_seconds=place.latency_seconds))
    if place.limits:
        api.gate = Gate(RateLimits() if live_mode else RateLimits(account=25, meter_events=None))
    api.endpoints.register(
        sandbox.home, url=place.webhook_url, enabled_events=["*"], created=sandbox.now, description="Sandbox"
    )
    sandbox.home.metering.takes_any_time = True
    async with serve(api, host=place.host, port=place.port) as api_base:
        started(api_base)
        posting = asyncio.create_task(mail.run())
        try:
            await _tick(sandbox, origin, mail, posting, speed=speed, stop=stop, state=state)
        finally:
            posting.cancel()
            with suppress(asyncio.CancelledError):
                await posting
            if state is not None:
                state.save(origin, sandbox.now - origin.epoch)
    return Summary(
        events=mail.events,
        posted=mail.report.posted,
        accepted=mail.report.accepted,
        waiting=mail.backlog(),
        late=mail.late,
        twice=mail.twice,
        lost=mail.lost,
        answers=dict(mail.report.answers),
        api_requests=api.tally.requests,
        api_refused=api.tally.refused,
    )


async def _tick(
    sandbox: Sandbox,
    origin: Origin,
    mail: Post,
    posting: "asyncio.Task[None]",
    *,
    speed: float,
    stop: asyncio.Event,
    state: StateFile | None,
) -> None:
    clock = float(sandbox.now)
    last = saved = monotonic()
    while not stop.is_set() and not posting.done():
        now = monotonic()
        if mail.backlog() < BACKLOG_MAX:
            # After a delay of the process the clock does not leap ahead.
            clock += min(now - last, 1.0) * speed
            sandbox.advance(until=int(clock))
            mail.add(list(sandbox.events))  # those too that requests to the API have made meanwhile
            sandbox.forget_events(keep=EVENTS_KEPT)
        last = now
        if state is not None and now - saved > _SAVE_EVERY_SECONDS:
            state.save(origin, sandbox.now - origin.epoch)
            saved = now
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK_SECONDS)
    if posting.done():
        posting.result()
