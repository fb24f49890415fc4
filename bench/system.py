"""The system under measurement: servers as an operator runs them, our real processes, and their CPU use."""

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import msgspec
import psutil
import redis

from bench.plans import ADMIN_TOKEN, API_KEY, SECRET, Outcome, Plan
from db.connection import COMMAND_TIMEOUT_SECONDS, OwnConnection, connect
from db.migrate import migrate
from db.sync.status import Backlog, select_backlog
from local.clean import throwaway_home
from local.postgres import start_postgres
from local.processes import Server, end_with_parent, free_port, last_lines
from local.valkey import start_valkey

READY_SECONDS_MAX = 60.0
SETTLED_SECONDS_MAX = 240.0
VALKEY_DATABASES = 64


class BenchError(Exception):
    """A measurement that cannot be trusted, or a process that failed."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process of ours, its output going to a file."""

    role: str
    process: subprocess.Popen[bytes]
    log: Path
    port: int = 0

    def check(self) -> None:
        """Raise BenchError when the process has ended."""
        if self.process.poll() is not None:
            raise BenchError(f"{self.role} ended with {self.process.returncode}\n{last_lines(self.log)}")


@dataclass(frozen=True, kw_only=True)
class Site:
    """One database and one Valkey database, fresh."""

    database: str
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)


@dataclass(kw_only=True)
class Machine:
    """Postgres, Valkey and a folder, for one run of the benchmark."""

    postgres: Server
    valkey: Server
    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    async def site(self, *, like: Site | None = None) -> Site:
        """A migrated database of its own and an empty Valkey database; `like`: copy that site's database,
        which must have no connections.
        """
        number = next(self._numbers)
        template = "subledger" if like is None else like.database
        maintenance = await asyncpg.connect(_at(self.postgres.url, "postgres"))
        try:
            await maintenance.execute(f"create database bench_{number} template {template}")
        finally:
            await maintenance.close()
        redis_url = _at(self.valkey.url, str(number % VALKEY_DATABASES))
        with redis.Redis.from_url(redis_url) as client:
            client.flushdb()
        database = f"bench_{number}"
        return Site(database=database, database_url=_at(self.postgres.url, database), redis_url=redis_url)

    @contextmanager
    def running(
        self, role: str, *arguments: str, environment: Mapping[str, str] | None = None, port: int = 0
    ) -> Iterator[Process]:
        """A Python process of ours (`python -m ARGUMENTS`), stopped at the end of the block."""
        log = self.folder / f"{role}-{next(self._numbers)}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("STRIPE_")}
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=inherited | dict(environment or {}),
                cwd=self.folder,  # where there is no `.env` of a developer
                preexec_fn=end_with_parent(signal.SIGTERM),
            )
        try:
            yield Process(role=role, process=process, log=log, port=port)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @contextmanager
    def web(self, site: Site, *, bare: bool = False) -> Iterator[Process]:
        """The web process; `bare`: the one that answers without storing."""
        port = free_port()
        arguments = ("bench.bare",) if bare else ("cli", "web", "--host", "127.0.0.1")
        environment = _environment(site) | {"PORT": str(port)}
        with self.running("bare" if bare else "web", *arguments, environment=environment, port=port) as web:
            yield web

    @contextmanager
    def worker(
        self,
        site: Site,
        *,
        api_port: int | None,
        storing: bool = True,
        rate_max: int | None = None,
        gap_fill_seconds: float | None = None,
    ) -> Iterator[Process]:
        """The worker process; without an API it works from webhooks alone. `storing`: whether pages are kept.

        `rate_max`: requests a second that all workers together may send; None: without limits. `gap_fill_seconds`: how
        often it looks for lost events; None: as seldom as by default.
        """
        environment = _environment(site)
        if api_port is not None:
            environment |= {
                "STRIPE_API_KEY": API_KEY,
                "STRIPE_API_BASE": f"http://127.0.0.1:{api_port}",
            }
        if rate_max is not None:
            environment |= {"STRIPE_RATE_MAX": str(rate_max)}
        if gap_fill_seconds is not None:
            environment |= {"GAP_FILL_SECONDS": str(gap_fill_seconds)}
        arguments = ("cli", "worker") if storing else ("bench.unstored",)
        with self.running("worker", *arguments, environment=environment) as worker:
            yield worker

    async def load(self, plan: Plan, *, begin: Callable[[], None] = lambda: None) -> Outcome:
        """Run a load in a process of its own; `begin` is called when it is ready, just before it starts."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.load", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            if process.stdin is None or process.stdout is None:
                raise BenchError("the load generator has no pipes")
            process.stdin.write(msgspec.json.encode(plan) + b"\n")
            if await process.stdout.readline() != b"ready\n":
                raise BenchError("the load generator could not prepare its load: see above")
            begin()
            process.stdin.write(b"\n")
            answer = await process.stdout.readline()
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode or not answer:
            raise BenchError("the load generator failed: see above")
        outcome = msgspec.json.decode(answer, type=Outcome)
        if outcome.accepted != outcome.sent:
            raise BenchError(
                f"of {outcome.sent} requests {outcome.accepted} were accepted: {outcome.answers}"
            )
        return outcome


@contextmanager
def machine(settings: Mapping[str, str] | None = None) -> Iterator[Machine]:
    """Durable servers (fsync on) in a throwaway directory, removed with their data at the end.

    `settings`: those of Postgres that replace ours.
    """
    with (
        throwaway_home() as home,
        start_postgres(home, durable=True, settings=settings) as postgres,
        start_valkey(home, databases=VALKEY_DATABASES) as valkey,
    ):
        migrate(postgres.url)
        folder = home / "bench"
        folder.mkdir()
        yield Machine(postgres=postgres, valkey=valkey, folder=folder)


async def ready(process: Process, path: str, *, seconds_max: float = READY_SECONDS_MAX) -> None:
    """Return when GET `path` is answered 200."""
    url = f"http://127.0.0.1:{process.port}{path}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    deadline = time.monotonic() + seconds_max
    while not await asyncio.to_thread(answers):
        process.check()
        if time.monotonic() > deadline:
            raise BenchError(f"{process.role} was not ready in {seconds_max:g} s\n{last_lines(process.log)}")
        await asyncio.sleep(0.05)


async def api_requests(api: Process, path: str = "/tally") -> Counter[str]:
    """How many requests of each operation the sandbox's API has seen; or what it says at another path."""
    url = f"http://127.0.0.1:{api.port}{path}"

    def ask() -> Counter[str]:
        with urllib.request.urlopen(url, timeout=10) as response:
            return Counter(msgspec.json.decode(response.read(), type=dict[str, int]))

    return await asyncio.to_thread(ask)


async def tally(api: Process) -> dict[str, int]:
    """How many requests the double has seen, and how many of them it refused."""
    url = f"http://127.0.0.1:{api.port}/tally"

    def ask() -> dict[str, int]:
        with urllib.request.urlopen(url, timeout=10) as response:
            return msgspec.json.decode(response.read(), type=dict[str, int])

    return await asyncio.to_thread(ask)


async def watch(site: Site, *, statement_seconds_max: float = COMMAND_TIMEOUT_SECONDS) -> OwnConnection:
    """A connection for watching a site."""
    return await connect(
        site.database_url, application_name="bench", command_timeout_seconds=statement_seconds_max
    )


async def worker_ready(connection: OwnConnection, worker: Process, *, workers: int = 1) -> None:
    """Return when the worker, and with it so many, has written a heartbeat: its sweep begins at the same moment."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while await connection.fetchval("select count(*) from sync.workers") < workers:
        worker.check()
        if time.monotonic() > deadline:
            raise BenchError(f"the worker was not ready\n{last_lines(worker.log)}")
        await asyncio.sleep(0.01)


async def settled(
    connection: OwnConnection,
    worker: Process,
    *,
    exact: bool,
    events: int,
    seconds_max: float = SETTLED_SECONDS_MAX,
) -> float:
    """The moment (time.monotonic) at which `events` events were stored and nothing was left to do."""
    deadline = time.monotonic() + seconds_max
    backlog: Backlog | None = None
    stored = 0
    while True:
        worker.check()
        if stored < events:
            stored = await connection.fetchval("select count(*) from sync.events")
        if stored >= events:
            backlog = await select_backlog(connection, live_mode=False if exact else None)
            if backlog.settled:
                return time.monotonic()
        if time.monotonic() > deadline:
            raise BenchError(f"not settled: {stored} events, {backlog}\n{last_lines(worker.log)}")
        await asyncio.sleep(0.05)


class Meter:
    """CPU seconds by role between two moments, and the share of the machine that other processes used meanwhile."""

    def __init__(self, **roles: Process | Server) -> None:
        self._roles = {name: psutil.Process(role.process.pid) for name, role in roles.items()}
        self._before = self._read()

    def start(self) -> None:
        self._before = self._read()

    def stop(self) -> dict[str, float]:
        """CPU seconds per role; `others_share` is the share of all CPU time that other processes used."""
        before, after = self._before, self._read()
        used = {name: after[name] - before[name] for name in self._roles}
        capacity = (after["wall"] - before["wall"]) * (psutil.cpu_count() or 1)
        others = (after["busy"] - before["busy"]) - (after["ours"] - before["ours"])
        return used | {"others_share": max(0.0, others / capacity) if capacity else 0.0}

    def _read(self) -> dict[str, float]:
        times = psutil.cpu_times()
        return {name: _tree_seconds(process) for name, process in self._roles.items()} | {
            "wall": time.monotonic(),
            "busy": times.user + times.nice + times.system + times.irq + times.softirq + times.steal,
            "ours": _tree_seconds(psutil.Process()),
        }


def _tree_seconds(process: psutil.Process) -> float:
    """CPU seconds of a process and its descendants, including those that have ended."""
    total = 0.0
    for each in [process, *process.children(recursive=True)]:
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def _environment(site: Site) -> dict[str, str]:
    return {
        "DATABASE_URL": site.database_url,
        "REDIS_URL": site.redis_url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "LOG_FORMAT": "json",
    }


def _at(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
