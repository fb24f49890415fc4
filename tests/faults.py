"""Faults: where the tests make our own code fail, stop, or meet something in the middle of its work.

Two seams, neither of which needs a hook in production code, nor the place from which something is called:

- A statement of ours, named by its constant: `before` and `after` it, or `after_commit` of its transaction, something
  else happens; it is `failing`; Postgres ends all connections when it comes (`losing_connections_at`); another text is
  run in its place (`rewritten`).
- A public function of ours, named by itself: `broken` at some arguments, `held_up` in its thread, or `replaced` by
  another one, wherever it has been imported.

A fault that is never met proves nothing: each of them fails the test that ends without it. What Stripe answers wrongly
is said to the API of the test (tests/harness.py) or to the sandbox.
"""

import asyncio
import importlib
import inspect
import pkgutil
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache, wraps
from typing import Any
from unittest.mock import patch

import asyncpg
from asyncpg.transaction import Transaction

import db
from db.connection import connect
from db.mirror.tables import MIRROR, SELECT_MONOTONE
from tests.places import ROOMS

BEFORE, AFTER = "before", "after"
HELD_SECONDS_MAX = 30.0

END_OTHERS = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""


# Every statement and every commit of this process


@dataclass(slots=True, kw_only=True)
class Call:
    """A statement on its way to Postgres, or back: then with its answer."""

    connection: Any
    text: str
    args: tuple[Any, ...]
    answer: Any = None


Proceed = Callable[[], Awaitable[Any]]
OnCommit = Callable[[str], Awaitable[None]]
"""Called just before and just after a commit, with the side."""


@cache
def statement_names() -> Mapping[str, str]:
    """The name of every statement of ours, by its text."""
    names: dict[str, str] = {}
    for module in pkgutil.walk_packages(db.__path__, "db."):
        found = vars(importlib.import_module(module.name))
        for name, text in found.items():
            if isinstance(text, str) and name.isupper():
                names.setdefault(text, f"{module.name.rpartition('.')[2]}.{name}")
    for kind, statements in MIRROR.items():
        for text in (statements.write, statements.bury, statements.select_changed):
            names[text] = f"mirror.{kind}"
    names |= {text: f"mirror.monotone_{kind}" for kind, text in SELECT_MONOTONE.items()}
    return names


@contextmanager
def watching_statements(watch: Callable[[Call, Proceed], Awaitable[Any]]) -> Iterator[None]:
    """While it lasts, `watch` runs in the place of every statement, and proceeds with it where it wants to."""

    def watched(method: str) -> Callable[..., Awaitable[Any]]:
        original = getattr(asyncpg.Connection, method)

        async def run(self: Any, query: str, *args: Any, **options: Any) -> Any:
            call = Call(connection=self, text=query, args=args)
            return await watch(call, lambda: original(self, call.text, *call.args, **options))

        return run

    with ExitStack() as stack:
        for method in ("execute", "fetch", "fetchrow", "fetchval"):
            stack.enter_context(patch.object(asyncpg.Connection, method, watched(method)))
        yield


@contextmanager
def watching_commits(watch: Callable[[Any, Mapping[str, Any]], OnCommit | None]) -> Iterator[None]:
    """While it lasts, `watch` is given the connection and the options of every transaction, and may return what is
    called at its commit.
    """
    original = asyncpg.Connection.transaction

    def transaction(self: Any, **options: Any) -> Any:
        opened, on_commit = original(self, **options), watch(self, options)
        return opened if on_commit is None else _WatchedTransaction(opened, on_commit)

    with patch.object(asyncpg.Connection, "transaction", transaction):
        yield


@dataclass(slots=True)
class _WatchedTransaction:
    inner: Transaction
    on_commit: OnCommit

    async def __aenter__(self) -> None:
        await self.inner.__aenter__()

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            await self.inner.__aexit__(kind, error, trace)
            return
        await self.on_commit(BEFORE)
        await self.inner.__aexit__(None, None, None)
        await self.on_commit(AFTER)


# Faults at a statement

Do = Callable[[Call], Awaitable[object]]
_at_fault: ContextVar[bool] = ContextVar("_at_fault", default=False)
"""What a fault itself runs meets no fault."""


@dataclass(slots=True, kw_only=True)
class Fault:
    """What is done where, and how often it has been."""

    name: str
    when: Callable[..., bool]
    skip: int = 0
    times: int | None = None
    met: int = 0

    def strikes(self, *args: Any, **named: Any) -> bool:
        if _at_fault.get() or (self.times is not None and self.met >= self.times):
            return False
        if not self.when(*args, **named):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.met += 1
        return True

    @contextmanager
    def expected(self) -> Iterator["Fault"]:
        """Fail where the body ends without having met this fault."""
        yield self
        if not self.met:
            raise AssertionError(f"{self.name} was never met")


async def _do(do: Do, call: Call) -> None:
    token = _at_fault.set(True)
    try:
        await do(call)
    finally:
        _at_fault.reset(token)


def always(*_: Any, **__: Any) -> bool:
    return True


def about(object_id: str) -> Callable[..., bool]:
    """Whether a statement has this id among its arguments, alone or in a column."""

    def named(*args: Any) -> bool:
        return any(arg == object_id or (isinstance(arg, list) and object_id in arg) for arg in args)

    return named


def _fault_at(
    statement: str, *, when: Callable[..., bool] = always, skip: int = 0, times: int | None = None
) -> Fault:
    name = statement_names().get(statement)
    if name is None:
        raise ValueError(f"no statement of ours: {statement}")
    return Fault(name=name, when=when, skip=skip, times=times)


@contextmanager
def before(statement: str, do: Do, **how: Any) -> Iterator[Fault]:
    """Do something each time before this statement.

    `when`: only where this is true of its arguments; `skip`: not the first so many times; `times`: not more often.
    """
    fault = _fault_at(statement, **how)

    async def watch(call: Call, proceed: Proceed) -> Any:
        if call.text == statement and fault.strikes(*call.args):
            await _do(do, call)
        return await proceed()

    with watching_statements(watch), fault.expected():
        yield fault


@contextmanager
def after(statement: str, do: Do, **how: Any) -> Iterator[Fault]:
    """Do something each time when this statement has been answered; the options of `before`."""
    fault = _fault_at(statement, **how)

    async def watch(call: Call, proceed: Proceed) -> Any:
        call.answer = await proceed()
        if call.text == statement and fault.strikes(*call.args):
            await _do(do, call)
        return call.answer

    with watching_statements(watch), fault.expected():
        yield fault


@contextmanager
def after_commit(statement: str, do: Do, **how: Any) -> Iterator[Fault]:
    """Do something each time when the transaction of this statement has been committed; the options of `before`."""
    fault = _fault_at(statement, **how)
    waiting: weakref.WeakKeyDictionary[Any, Call] = weakref.WeakKeyDictionary()

    async def watch(call: Call, proceed: Proceed) -> Any:
        if call.text == statement and fault.strikes(*call.args):
            if not call.connection.is_in_transaction():
                raise AssertionError(f"{fault.name} is in no transaction")
            waiting[call.connection] = call
        return await proceed()

    def commits(connection: Any, _: Mapping[str, Any]) -> OnCommit:
        async def on_commit(side: str) -> None:
            if side == AFTER and not connection.is_in_transaction() and connection in waiting:
                await _do(do, waiting.pop(connection))

        return on_commit

    with watching_statements(watch), watching_commits(commits), fault.expected():
        yield fault


@contextmanager
def failing(statement: str, error: BaseException | type[BaseException], **how: Any) -> Iterator[Fault]:
    """Raise this error in the place of the statement; the options of `before`."""

    async def fail(_: Call) -> None:
        raise _fresh(error)

    with before(statement, fail, **how) as fault:
        yield fault


def _fresh(error: BaseException | type[BaseException]) -> BaseException:
    """One that has not been raised before: an error that is raised again keeps its traceback and lengthens it."""
    return type(error)(*error.args) if isinstance(error, BaseException) else error()


@contextmanager
def losing_connections_at(statement: str, database_url: str) -> Iterator[Fault]:
    """When the statement comes for the first time, every other connection to the database is ended, as by a restart
    of Postgres.
    """

    async def end(_: Call) -> None:
        administrator = await connect(database_url, application_name="administrator")
        try:
            await administrator.execute(END_OTHERS)
        finally:
            await administrator.close()

    with before(statement, end, times=1) as fault:
        yield fault


@contextmanager
def rewritten(statement: str, text: str) -> Iterator[Fault]:
    """Run another text in the place of this statement."""

    async def rewrite(call: Call) -> None:
        call.text = text

    with before(statement, rewrite) as fault:
        yield fault


# Faults in a function


@contextmanager
def broken(
    function: Callable[..., Any], error: BaseException | type[BaseException], **how: Any
) -> Iterator[Fault]:
    """Raise this error in the place of a public function of ours, sync or async; the options of `before`."""
    fault = Fault(name=function.__qualname__, **({"when": always} | how))

    def fails(*args: Any, **named: Any) -> Any:
        if fault.strikes(*args, **named):
            raise _fresh(error)
        return function(*args, **named)

    with replaced(function, fails), fault.expected():
        yield fault


@contextmanager
def replaced(function: Callable[..., Any], by: Callable[..., Any]) -> Iterator[Fault]:
    """Run something else in the place of a public function or method of ours, wherever it has been imported.

    A test's own imports still lead to the function itself.
    """
    name = function.__name__
    if name.startswith("_"):
        raise ValueError(f"{name} is private: a test that knows it breaks when it moves")
    fault = Fault(name=function.__qualname__, when=always)

    @wraps(function)
    def instead(*args: Any, **named: Any) -> Any:
        fault.met += 1
        return by(*args, **named)

    if not _exchange(function, instead):
        raise LookupError(f"{function.__qualname__} is no function of ours, or is replaced already")
    try:
        with fault.expected():
            yield fault
    finally:
        _exchange(instead, function)


@dataclass(slots=True)
class Hold:
    """Holds a function up in the thread that runs it, until it is opened."""

    reached: threading.Event = field(default_factory=threading.Event)
    open: threading.Event = field(default_factory=threading.Event)

    async def reached_by(self, work: "asyncio.Task[Any]") -> None:
        """Return once the function has been called; fail if the work ends without calling it."""
        reaching = asyncio.create_task(asyncio.to_thread(self.reached.wait, HELD_SECONDS_MAX))
        await asyncio.wait([reaching, work], return_when=asyncio.FIRST_COMPLETED)
        if not self.reached.is_set():
            self.reached.set()
            work.result()
            raise AssertionError("the work ended without calling the function")
        await reaching


@contextmanager
def held_up(function: Callable[..., Any], **how: Any) -> Iterator[Hold]:
    """Hold a public function of ours up, which must run in a thread of its own, before it does anything; the options of
    `before`. In the thread of the event loop it would hold everything up: there it fails at once.
    """
    fault, hold = Fault(name=function.__qualname__, **({"when": always} | how)), Hold()

    def holds(*args: Any, **named: Any) -> Any:
        if fault.strikes(*args, **named):
            if threading.current_thread() is threading.main_thread():
                raise AssertionError(f"{fault.name} runs in the thread of the event loop")
            hold.reached.set()
            if not hold.open.wait(HELD_SECONDS_MAX):
                raise AssertionError(f"{fault.name} was held up for ever")
        return function(*args, **named)

    with replaced(function, holds), fault.expected():
        try:
            yield hold
        finally:
            hold.open.set()


def _exchange(function: Callable[..., Any], by: Callable[..., Any]) -> int:
    """Set the other function at every name of our modules and their classes that means this one; returns how many."""
    rooms, exchanged = {room.name for room in ROOMS}, 0
    for module in [each for name, each in sys.modules.items() if name.split(".")[0] in rooms]:
        classes = [each for each in vars(module).values() if inspect.isclass(each)]
        for owner in (module, *classes):
            for name in [name for name, value in vars(owner).items() if value is function]:
                setattr(owner, name, by)
                exchanged += 1
    return exchanged
