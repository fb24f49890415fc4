"""The system as operators run it: the real web and worker processes, on this test's own database and Redis.

Most of them are forks of a process that has imported what they need (tests/cli/prepared.py).
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.cli.command import Fork, fork
from tests.ports import reserved_port

SECRET = "whsec_tests"
ADMIN_TOKEN = "token-of-tests"
STOP_SECONDS_MAX = 60.0


async def until(
    holds: Callable[[], Awaitable[object]], *, within_seconds: float = 120.0, what: str = "the condition"
) -> None:
    """Return once `holds` answers something true; fail when it does not in time.

    The longer it has waited, the more seldom it looks, because looking takes time from what is waited for.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    while not await holds():
        waited = clock() - began
        assert waited < within_seconds, f"{what} did not come within {within_seconds} s"
        await asyncio.sleep(min(max(0.05, waited / 20), 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A process of ours, its output going to a file."""

    process: asyncio.subprocess.Process | Fork
    log: Path

    async def stop(self) -> int:
        """SIGTERM, and its exit code; kills what has not ended after STOP_SECONDS_MAX, which is a failure."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS_MAX):
                    await self.process.wait()
            except TimeoutError:
                await self.kill()
                raise AssertionError(f"did not stop on SIGTERM:\n{self.log.read_text()[-3000:]}") from None
        return self.process.returncode or 0

    async def kill(self) -> None:
        """SIGKILL: the process gets no chance to clean up."""
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


# As systemd hands over a socket: as file descriptor 3, to the process with this id.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


async def start(command: str, environment: Mapping[str, str], log: Path) -> Running:
    """Start `subledger COMMAND` as a process of its own."""
    process = await fork(
        command,
        environment={**os.environ, **environment},
        directory=log.parent,  # where there is no `.env` of a developer
        out=log,
        err=log,
        notes=Path(tempfile.mkdtemp(dir=log.parent)),
    )
    return Running(process=process, log=log)


async def start_afresh(
    command: str,
    environment: Mapping[str, str],
    log: Path,
    *,
    files_max: int | None = None,
    listener: socket.socket | None = None,
) -> Running:
    """Start `subledger COMMAND` as operators do, as a new process, which may open at most `files_max` files and accepts
    on `listener` as well as we do.
    """
    limited = [] if files_max is None else ["sh", "-c", f'ulimit -n {files_max}; exec "$@"', "sh"]
    if listener is not None:
        limited += [sys.executable, "-c", HAND_OVER, str(listener.fileno())]
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *limited,
            sys.executable,
            "-m",
            "cli",
            command,
            env={**os.environ, **environment},
            cwd=log.parent,
            stdout=output,
            stderr=output,
            pass_fds=() if listener is None else (listener.fileno(),),
        )
    return Running(process=process, log=log)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A running web process and worker process."""

    base_url: str
    environment: Mapping[str, str]
    web: Running
    workers: list[Running]
    folder: Path

    @property
    def webhook_url(self) -> str:
        return f"{self.base_url}/webhooks/stripe"

    async def status(self) -> dict[str, object]:
        """What GET /status says."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"{self.base_url}/status", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}
            ) as response,
        ):
            assert response.status == 200, await response.text()
            answer: dict[str, object] = await response.json()
            return answer

    async def settled(self, *, within_seconds: float = 240.0) -> dict[str, object]:
        """Wait until nothing is left to be done; the last status."""
        last: dict[str, object] = {}

        async def nothing_left() -> bool:
            nonlocal last
            last = await self.status()
            return not (last["pending_events"] or last["stale_customers"] or last["unconfirmed_objects"])

        try:
            await until(nothing_left, within_seconds=within_seconds, what="a settled system")
        except AssertionError as error:
            logs = "\n".join(each.log.read_text()[-3000:] for each in (self.web, *self.workers))
            raise AssertionError(f"{error}: {last}\n{logs}") from None
        return last


@asynccontextmanager
async def running_system(
    *,
    database_url: str,
    redis_url: str,
    folder: Path,
    api_key: str | None = None,
    api_base: str | None = None,
    workers: int = 1,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[System]:
    """Web and workers, ready; stopped in order at the end."""
    port = reserved_port()
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "STRIPE_API_KEY": api_key or "",
        "STRIPE_API_BASE": api_base or "",
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "PORT": str(port),
        **(settings or {}),
    }
    web = await start("web", environment, folder / "web.log")
    started = [await start("worker", environment, folder / f"worker-{n}.log") for n in range(workers)]
    system = System(
        base_url=f"http://127.0.0.1:{port}", environment=environment, web=web, workers=started, folder=folder
    )

    last = ""

    async def ready() -> bool:
        assert web.process.returncode is None, web.log.read_text()
        nonlocal last
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{system.base_url}/readyz") as response,
            ):
                last = await response.text()
                return response.status == 200
        except aiohttp.ClientError as error:
            last = repr(error)
            return False

    try:
        try:
            await until(ready, what="the web process")
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}\n{web.log.read_text()[-3000:]}") from None
        yield system
    finally:
        codes = await asyncio.gather(*(each.stop() for each in (*system.workers, web)))
        # uvicorn shuts down in order and then ends by the signal that it was sent.
        assert set(codes) <= {0, -signal.SIGTERM, -signal.SIGKILL}, codes
