"""`subledger up`: the whole system on this machine, from nothing, until Ctrl-C.

Postgres, Valkey, migrations, web, worker and sandbox start in this order and stop in the reverse one. If one of them
dies, the rest is stopped, and the message quotes its log. Nothing outlives this process, even when it is killed.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import aiohttp
import typer
from rich.console import Console
from rich.live import Live

from db.connection import PostgresAway, connect
from db.migrate import migrate, told
from db.sync.status import Overview, read_overview
from local import dashboard
from local.home import HomeInUseError, claim_home, kept_secret
from local.postgres import start_postgres
from local.processes import Server, end_with_parent, free_port, last_lines, port_is_free
from local.run_file import HOME, RunningSystem, announce, running_system, withdraw
from local.service import serve_customers
from local.valkey import start_valkey
from runtime.settings import Settings

HOST = "127.0.0.1"
PORT = 8000
TOKEN_FILE = "admin.token"  # noqa: S105 - its name
READY_TIMEOUT_SECONDS = 60.0
# Longer than the worker gives its jobs to finish.
STOP_TIMEOUT_SECONDS = 30.0
REFRESH_SECONDS = 1.0
LINE_SECONDS = 5.0
# The dashboard may use this share of the time: counting everything takes long on a large database.
DASHBOARD_SHARE = 0.1


class UpError(Exception):
    """The system could not be started, or a part of it died; the message says which one and quotes its log."""


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """Options of the sandbox account; None leaves the choice to the sandbox."""

    customers: int | None = None
    seed: int | None = None
    speed: float | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A process of ours to start."""

    name: str
    arguments: Sequence[str]


def run_up(environ: Mapping[str, str], options: UpOptions) -> None:
    """Start everything, show the dashboard until Ctrl-C or SIGTERM, stop everything.

    Raises UpError when a part dies, ServerError, MigrationError or SettingsError when one cannot start.
    """
    # Until the event loop handles the signals, each of them unwinds what has been started.
    for number in _stop_signals():
        signal.signal(number, _interrupt)
    try:
        with contextlib.ExitStack() as stack:
            try:
                home = stack.enter_context(claim_home(HOME))
            except HomeInUseError as error:
                system = running_system(HOME)
                where = f" at {system.url} (process {system.pid})" if system else ""
                raise UpError(f"Subledger is already running in this directory{where}") from error
            _run(environ, options, home, stack)
    except KeyboardInterrupt:
        pass  # A signal during the start: everything that had been started is stopped by now.
    typer.echo("Stopped.")


def _run(environ: Mapping[str, str], options: UpOptions, home: Path, stack: contextlib.ExitStack) -> None:
    given = {name: value for name, value in environ.items() if value.strip()}
    # Wrong settings are reported before anything is started; the ones that we generate are right.
    sandbox = not any(
        name in given for name in ("STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_API_BASE")
    )
    port, sandbox_port = _choose_port(given), free_port()
    url = f"http://{HOST}:{port}"
    environment = {
        "DATABASE_URL": "postgresql://embedded/subledger",
        "REDIS_URL": "redis://embedded/",
        "ADMIN_TOKEN": kept_secret(home / TOKEN_FILE),
    }
    if sandbox:
        environment |= {
            "STRIPE_API_KEY": kept_secret(home / "sandbox.key", prefix="sk_test_"),
            "STRIPE_WEBHOOK_SECRET": kept_secret(home / "sandbox.secret", prefix="whsec_"),
            "STRIPE_API_BASE": f"http://{HOST}:{sandbox_port}",
            # The sandbox keeps events for 30 days, as Stripe does, and 30 of its days pass in two of our minutes.
            "GAP_FILL_SECONDS": "20",
            "USAGE_SECONDS": "20",
        }
    environment |= given
    environment["PORT"] = str(port)
    Settings.from_env(environment).for_web()

    servers: list[Server] = []
    if "DATABASE_URL" not in given:
        typer.echo("Starting Postgres")
        servers.append(stack.enter_context(start_postgres(home)))
        environment["DATABASE_URL"] = servers[-1].url
    if "REDIS_URL" not in given:
        typer.echo("Starting Valkey")
        servers.append(stack.enter_context(start_valkey(home)))
        environment["REDIS_URL"] = servers[-1].url
    if applied := migrate(environment["DATABASE_URL"]):
        typer.echo(told(applied))

    parts = [
        Part(name="web", arguments=("cli", "web", "--host", HOST)),
        Part(name="worker", arguments=("cli", "worker")),
    ]
    if sandbox:
        arguments = ["sandbox", "--demo", "--port", str(sandbox_port)]
        arguments += ["--state", str(home / "sandbox.state")]
        arguments += ["--webhook-url", f"{url}/webhooks/stripe"]
        arguments += ["--api-key", environment["STRIPE_API_KEY"]]
        arguments += ["--secret", environment["STRIPE_WEBHOOK_SECRET"]]
        for option in ("customers", "seed", "speed"):
            value = getattr(options, option)
            if value is not None:
                arguments += [f"--{option}", str(value)]
        parts.append(Part(name="sandbox", arguments=arguments))

    ours = (
        "DATABASE_URL",
        "REDIS_URL",
        "ADMIN_TOKEN",
        "PORT",
        "STRIPE_API_KEY",
        "STRIPE_WEBHOOK_SECRET",
        "STRIPE_API_BASE",
        "GAP_FILL_SECONDS",
        "USAGE_SECONDS",
    )
    system = RunningSystem(
        pid=os.getpid(),
        url=url,
        environment={name: environment[name] for name in ours if name in environment},
    )
    stack.callback(withdraw, home)
    # From here on we are stopping: a second Ctrl-C must not leave a server behind. Each step has a time limit.
    stack.callback(_ignore_signals)
    stripe = "Events come from a sandbox account." if sandbox else f"Stripe posts to {url}/webhooks/stripe."
    token = "ADMIN_TOKEN" if "ADMIN_TOKEN" in given else f"the token in {HOME}/{TOKEN_FILE}"
    console = f"The console is at {url}/: log in with {token}."
    asyncio.run(_supervise(parts, servers, home, system, stripe, console, demo=sandbox))


async def _supervise(
    parts: Sequence[Part],
    servers: Sequence[Server],
    home: Path,
    system: RunningSystem,
    stripe: str,
    console: str,
    *,
    demo: bool,
) -> None:
    """Start the parts and show the dashboard until a signal comes; raises UpError when a part or server dies.

    `demo`: a service of the company's is played, too.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _stop_signals():
        loop.add_signal_handler(number, stopped.set)

    family = Family(home, system.environment)

    async def live() -> None:
        for part in parts:
            await family.start(part)
            if part.name == "web":
                await _until_ready(system.url)
                announce(home, system)
                typer.echo(f"Subledger is at {system.url}. {stripe} {console}")
        serving = asyncio.create_task(_play_service(system)) if demo else None
        try:
            await _show(system, stripe, console, demo=demo)
        finally:
            if serving is not None:
                serving.cancel()

    tasks = {
        asyncio.create_task(live()),
        asyncio.create_task(family.until_death()),
        asyncio.create_task(_until_server_death(servers)),
        asyncio.create_task(stopped.wait()),
    }
    try:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in finished:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        typer.echo("Stopping.")
        await family.stop()


class Family:
    """Our child processes, each with its log; the death of one is reported."""

    def __init__(self, home: Path, environment: Mapping[str, str]) -> None:
        self._home = home
        self._environment = {**os.environ, **environment}
        self._children: list[tuple[Part, asyncio.subprocess.Process]] = []
        self._death: asyncio.Future[UpError] = asyncio.get_running_loop().create_future()
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self, part: Part) -> None:
        """Start a part: `python -P -m` its arguments."""
        log = self._log(part)
        if log.exists():
            log.replace(log.with_suffix(".log.old"))
        log.touch(mode=0o600)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Without -P, a folder named `worker` or `db` in the current directory would be taken for ours.
                "-P",
                "-m",
                *part.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                # Ctrl-C in the terminal is for us alone: we stop the parts in order.
                start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGTERM),
            )
        self._children.append((part, process))
        self._watchers.append(asyncio.create_task(self._watch(part, process)))

    async def until_death(self) -> None:
        """Raises UpError as soon as a part has died."""
        raise await asyncio.shield(self._death)

    async def stop(self) -> None:
        """Stop all, the last one first; one that takes longer than STOP_TIMEOUT_SECONDS is killed."""
        for watcher in self._watchers:
            watcher.cancel()
        for _, process in reversed(self._children):
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                try:
                    async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                        await process.wait()
                except TimeoutError:
                    process.kill()
                    await process.wait()

    def _log(self, part: Part) -> Path:
        return self._home / "log" / f"{part.name}.log"

    async def _watch(self, part: Part, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        if not self._death.done():
            self._death.set_result(_death_of(part.name, code, self._log(part)))


def _death_of(name: str, code: int, log: Path) -> UpError:
    return UpError(f"{name} ended with exit code {code}. The last lines of {log}:\n{last_lines(log)}")


async def _until_server_death(servers: Sequence[Server]) -> None:
    """Raises UpError when an embedded server has died."""
    while True:
        for server in servers:
            code = server.process.poll()
            if code is not None:
                raise _death_of(server.name, code, server.log)
        await asyncio.sleep(0.5)


async def _until_ready(url: str) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                while True:
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                        async with session.get(f"{url}/readyz") as response:
                            if response.status == 200:
                                return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise UpError(f"{url}/readyz was not 200 within {READY_TIMEOUT_SECONDS:g} s") from None


async def _play_service(system: RunningSystem) -> None:
    await serve_customers(system.url, system.environment["ADMIN_TOKEN"])


async def _show(system: RunningSystem, stripe: str, console_at: str, *, demo: bool) -> None:
    """Show the dashboard until cancelled: a live table on a terminal, a line every few seconds elsewhere."""
    console = Console()
    if not console.is_terminal:
        async for overview in _overviews(system.environment["DATABASE_URL"], LINE_SECONDS):
            typer.echo(dashboard.line(overview))
        return
    with Live(console=console, auto_refresh=False) as live:
        async for overview in _overviews(system.environment["DATABASE_URL"], REFRESH_SECONDS):
            board = dashboard.table(overview, url=system.url, stripe=stripe, console=console_at, demo=demo)
            live.update(board, refresh=True)


async def _overviews(database_url: str, every_seconds: float) -> AsyncIterator[Overview]:
    """The overview, repeatedly. While Postgres is away there is none; then a new connection is opened."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(*PostgresAway):
            connection = await connect(database_url, application_name="subledger-up")
            try:
                while True:
                    began = loop.time()
                    overview = await read_overview(connection)
                    took_seconds = loop.time() - began
                    yield overview
                    await asyncio.sleep(max(every_seconds, took_seconds / DASHBOARD_SHARE))
            finally:
                connection.terminate()
        await asyncio.sleep(every_seconds)


def _choose_port(given: Mapping[str, str]) -> int:
    if "PORT" in given:
        try:
            port = int(given["PORT"])
        except ValueError:
            return PORT  # The settings report what is wrong with it.
        if 0 < port < 65536 and not port_is_free(port):
            raise UpError(f"PORT {port} is taken: stop what listens there, or choose another")
        return port
    if port_is_free(PORT):
        return PORT
    port = free_port()
    typer.echo(f"Port {PORT} is taken, so port {port} is used; set PORT to choose one.")
    return port


def _stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that end us. SIGHUP is not one of them under `nohup`, which ignores it."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return signal.SIGINT, signal.SIGTERM
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for number in _stop_signals():
        signal.signal(number, signal.SIG_IGN)
