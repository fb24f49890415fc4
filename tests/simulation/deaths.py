"""Deaths: a worker is lost just before or just after one of its commits, and Postgres sees what kill -9 leaves.

Every statement goes through here while `mortality` lasts. A commit point is a statement that writes by itself, named by
its constant, or a transaction, named by the function that opens it.
"""

import re
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any

import asyncpg

from tests.faults import (
    AFTER,
    BEFORE,
    Call,
    OnCommit,
    Proceed,
    statement_names,
    watching_commits,
    watching_statements,
)

Death = tuple[str, str]
"""Where a worker dies: the commit point, and on which side of it."""

_WRITES = re.compile(r"\b(?:insert into|update \w+\.\w+|delete from)\b")


class WorkerDied(BaseException):
    """This worker is dead."""


DEATHS_MAX = 4
"""In one world: what was in hand at five deaths is given up as their cause, and rightly so."""


@dataclass(slots=True, eq=False)
class Fate:
    """When the workers of one world die. The same for one seed, as far as they pass the same points."""

    seed: int
    share: float = 0.15
    """How probably a world's workers die at a given point at all."""
    at: tuple[Death, ...] = ()
    """Die there, whatever the seed says."""
    known: frozenset[Death] | None = None
    """Where workers have died in other worlds: here they die above all elsewhere. None: it does not matter."""
    eagerness: float = 1.0
    """How probably they die where none has died: less than 1 leaves some to the worlds that are played meanwhile."""
    allowed: int = DEATHS_MAX
    """How many deaths there may have been by now."""
    enabled: bool = True
    overdue: bool = False
    """No worker has died yet though it is time: the next one that passes a commit point does."""
    passed: Counter[str] = field(default_factory=Counter)
    deadlocks: Counter[str] = field(default_factory=Counter)
    """Statements that Postgres chose as a deadlock's victim."""
    died: list[Death] = field(default_factory=list)
    sought: list[Death] = field(default_factory=list)
    """Of these, those where no worker had died in another world."""

    def strikes(self, point: str, side: str) -> bool:
        """Whether a worker at this side of this commit point dies now."""
        if side == BEFORE:
            self.passed[point] += 1
        death = (point, side)
        if not self.enabled or death in self.died or len(self.died) >= self.allowed:
            return False
        planned = death in self.at
        to_come = set(self.at) - set(self.died)
        if not planned and len(self.died) + len(to_come) >= DEATHS_MAX:
            return False
        if planned or self._seeks(death) or self._draws(point, side):
            self.died.append(death)
            return True
        return False

    def _seeks(self, death: Death) -> bool:
        if self.known is None or death in self.known:
            return False
        if Random(f"{self.seed}:{death}").random() >= self.eagerness:  # noqa: S311 - replayable
            return False
        self.sought.append(death)
        return True

    def _draws(self, point: str, side: str) -> bool:
        draws = Random(f"{self.seed}:{point}")  # noqa: S311 - replayable
        doomed, chosen = draws.random() < self.share, draws.choice((BEFORE, AFTER))
        due = doomed and self.passed[point] == draws.randint(1, 4)
        return side == chosen and (due or (self.overdue and not self.died))


@dataclass(slots=True, eq=False)
class Mortal:
    """One worker's life. Its tasks run in a context that knows it."""

    name: str
    fate: Fate
    dead: bool = False
    connections: weakref.WeakSet[Any] = field(default_factory=weakref.WeakSet)
    on_death: Callable[[], None] = lambda: None

    def die(self) -> None:
        """Cut every connection: Postgres rolls back what is open, as it does when a process is gone."""
        self.dead = True
        for connection in list(self.connections):
            connection.terminate()
        self.on_death()
        raise WorkerDied

    def at(self, point: str, side: str) -> None:
        if self.dead or self.fate.strikes(point, side):
            self.die()


living: ContextVar[Mortal | None] = ContextVar("living", default=None)


def _caller() -> str:
    """The function of ours that is running: module.function."""
    frame = sys._getframe(1)
    while True:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(("worker.", "webhooks.", "db.")):
            return f"{module.rpartition('.')[2]}.{frame.f_code.co_name}"
        if frame.f_back is None:
            return "unknown"
        frame = frame.f_back


_users: weakref.WeakKeyDictionary[Any, Mortal] = weakref.WeakKeyDictionary()


def _take(connection: Any, mortal: Mortal) -> None:
    """From now on this connection dies with this worker, and with no other."""
    previous = _users.get(connection)
    if previous is not mortal:
        if previous is not None:
            previous.connections.discard(connection)
        _users[connection] = mortal
        mortal.connections.add(connection)
    if mortal.dead:
        connection.terminate()
        raise WorkerDied


@contextmanager
def mortality() -> Iterator[None]:
    """While it lasts, whatever runs as a Mortal can die at its commits."""
    names = statement_names()

    async def watch(call: Call, proceed: Proceed) -> Any:
        mortal, name = living.get(), names.get(call.text)
        if mortal is None or name is None:
            return await proceed()
        _take(call.connection, mortal)
        # What only reads, or is part of a transaction, is no commit.
        commits = not call.connection.is_in_transaction() and _WRITES.search(call.text) is not None
        if commits:
            mortal.at(name, BEFORE)
        try:
            answer = await proceed()
        except asyncpg.DeadlockDetectedError:
            mortal.fate.deadlocks[name] += 1
            raise
        if commits:
            mortal.at(name, AFTER)
        return answer

    def watch_commit(connection: Any, options: Mapping[str, Any]) -> OnCommit | None:
        mortal = living.get()
        if mortal is None:
            return None
        _take(connection, mortal)
        if options.get("readonly"):
            return None
        point = _caller()

        async def on_commit(side: str) -> None:
            mortal.at(point, side)

        return on_commit

    with watching_statements(watch), watching_commits(watch_commit):
        yield
