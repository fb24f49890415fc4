"""The API of a world: it answers late, wrongly, or as things were some time ago."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox import Account, Faults, History, Sandbox
from sandbox.objects import Thing

FAULTS = {
    "429 rate": "rate_limited_share",
    "429 lock": "lock_timeout_share",
    "500": "error_share",
    "reset": "reset_share",
}
"""The answers that every world is to have, and the switch of each."""
FAULT_EVERY = 2
"""Until a world has had them all, every nth request gets a fault that it has not had yet."""


class Lagging(History):
    """What stale answers show: how things were some time ago, whatever events have told of them since.

    But never a past in which a change is unknown that an event has told of without a payload of the object itself (a
    dispute tells of its charge, and a discount of its customer): of such a change there is no second witness.
    """

    told_until = float("-inf")
    looks_back = 0

    def __init__(self, sandbox: Sandbox, *, keep_seconds: float, clock: Callable[[], float]) -> None:
        super().__init__(sandbox, keep_seconds=keep_seconds, clock=clock)
        self._events: dict[tuple[int, str], list[int]] = {}
        self._indexed: Counter[int] = Counter()

    def find(self, account: Account, object_id: str, moment: float) -> Thing | None:
        untold = [
            at
            for at, _ in self._copies.get((id(account), object_id), ())
            if moment < at <= self.told_until and not self._is_told(account, object_id, at)
        ]
        found = super().find(account, object_id, max([moment, *untold]))
        self.looks_back += found is not account.find(object_id) and found != account.find(object_id)
        return found

    def tell(self) -> None:
        """Whatever has happened until now may be known from events."""
        self.told_until = self._clock()

    def _is_told(self, account: Account, object_id: str, at: float) -> bool:
        """Whether an event carries the object as it was after this change, perhaps stamped up to two seconds later."""
        rows = account.log.rows
        for event in rows[self._indexed[id(account)] :]:
            self._events.setdefault((id(account), event.object_id or ""), []).append(event.created)
        self._indexed[id(account)] = len(rows)
        events = self._events.get((id(account), object_id), ())
        return any(int(at) - 1 <= created <= int(at) + 2 for created in events)


class Answers:
    """The API of the world that is being played; holds some answers back, as they were when the question came, until
    the world has gone some steps further.
    """

    def __init__(self) -> None:
        self._app: ASGIApp | None = None
        self._draws = Random(0)  # noqa: S311
        self._held: list[tuple[int, asyncio.Event]] = []
        self._step = 0
        self._over = False
        self._asked = 0
        self.share = 0.0
        self.troubled = False
        """Whether the API misbehaves: until it has done so in every way, chance does not decide alone."""
        self.held_back = 0
        self.pages = 0
        """Pages of stretches of lists that were asked for: what is due together is confirmed by them."""
        self.statuses: Counter[str] = Counter()

    def begin(self, app: ASGIApp, history: Lagging, faults: Faults, *, seed: int) -> None:
        """From now on this world is played."""
        self._history, self._faults = history, faults
        self._app, self._draws, self.share = app, Random(f"{seed}:answers"), 0.0  # noqa: S311 - replayable
        self.held_back = self.pages = self._asked = 0
        self.statuses.clear()

    def owed(self) -> list[str]:
        """The faults that this world has not had yet."""
        return ["slow"] * (not self.held_back) + [each for each in FAULTS if not self.statuses[each]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            raise RuntimeError("no world is being played")
        answer: list[Message] = []

        async def keep(message: Message) -> None:
            answer.append(message)

        self._asked += self.troubled
        due = self.owed() if self.troubled and self._asked % FAULT_EVERY == 0 else []
        slow = self._draws.random() < self.share or due[:1] == ["slow"]
        if scope["path"] == "/v1/events":
            self._history.tell()
        elif b"[gte]=" in unquote_to_bytes(scope["query_string"]):
            self.pages += 1
        with self._certain(next((FAULTS[each] for each in due if each in FAULTS), None)):
            await self._app(scope, receive, keep)
        if slow and not self._over:
            free = asyncio.Event()
            self._held.append((self._step + self._draws.randint(1, 3), free))
            self.held_back += 1
            await free.wait()
        for message in answer:
            await send(message)
        self.statuses[_kind_of_answer(answer)] += 1

    @contextlib.contextmanager
    def _certain(self, share: str | None) -> Iterator[None]:
        """This fault for this answer, whatever chance would have."""
        likely = getattr(self._faults, share) if share else 1.0
        if share is None or likely == 1.0:
            yield
            return
        setattr(self._faults, share, 1.0)
        try:
            yield
        finally:
            setattr(self._faults, share, likely)

    def end(self) -> None:
        """Hold nothing back any more: a server does not end before its last answer has left, though nothing waits for
        those that dead workers have asked for.
        """
        self._over = True
        self.go_on(release_all=True)

    def go_on(self, *, release_all: bool = False) -> None:
        """One step further: let go what was held for long enough."""
        self._step += 1
        for until, free in self._held:
            if release_all or until <= self._step:
                free.set()
        self._held = [each for each in self._held if not each[1].is_set()]


def _kind_of_answer(answer: list[Message]) -> str:
    status = str(answer[0]["status"])
    if answer[-1].get("more_body"):
        return "reset"
    if status == "429":
        limited = any(name == b"stripe-rate-limited-reason" for name, _ in answer[0]["headers"])
        return "429 rate" if limited else "429 lock"
    return status
