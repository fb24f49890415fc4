"""The real command, run as a process of its own on a test's database."""

import asyncio
import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
"""There is no `.env` of a developer here."""
TIMEOUT_SECONDS = 240.0
POLL_SECONDS = 0.01
PROGRESS = re.compile(r"(subledger: (Audit|Backfill) \d+: .*, now: .*\n)*")
"""What a command that takes more than some seconds says on standard error."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended, and its output."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with --json."""
        assert 0 == self.code, self
        assert PROGRESS.fullmatch(self.err), self
        return json.loads(self.out)

    def lines(self, beginning: str) -> list[str]:
        """The printed lines that begin so, each with its columns parted by single blanks."""
        return [" ".join(line.split()) for line in self.out.splitlines() if line.startswith(beginning)]


@dataclass(frozen=True)
class Fork:
    """A process that runs a command; it can do what asyncio's processes can, as far as tests ask for it."""

    parent: subprocess.Popen[bytes]
    pid: int
    code: Path
    """The file that has its exit code, once it has ended."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        try:
            return int(self.code.read_text())
        except FileNotFoundError:
            return None

    async def wait(self) -> int:
        """Its exit code, at its end."""
        while (code := self.returncode) is None:
            assert self.parent.poll() is None, "the process that commands are forks of has ended"
            await asyncio.sleep(POLL_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        """Send the signal, unless it has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


@dataclass(frozen=True)
class Command:
    """A command's process, and the files of its output."""

    process: Fork
    out: Path
    err: Path

    async def printed(self) -> str:
        """What it has printed, as soon as that is a line."""
        while not self.out.exists() or "\n" not in self.out.read_text():
            assert self.process.returncode is None, self.err.read_text()
            await asyncio.sleep(POLL_SECONDS)
        return self.out.read_text()

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)


@functools.cache
def prepared(missing: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """The process of which commands are forks, as if these packages were not installed. It ends with ours."""
    return subprocess.Popen(
        [sys.executable, "-P", str(HERE / "prepared.py"), *missing],
        cwd=HERE,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
    )


async def fork(
    *arguments: str,
    environment: Mapping[str, str],
    directory: Path,
    out: Path,
    err: Path,
    notes: Path,
    missing: tuple[str, ...] = (),
) -> Fork:
    """`subledger ...` with this environment in this directory; what it prints is appended to `out` and `err`.

    `notes` is a directory that nobody else writes into, where its exit code will be found.
    """
    wanted: dict[str, object] = {"arguments": arguments, "environment": dict(environment)}
    places = {
        "directory": directory,
        "out": out,
        "err": err,
        "code": notes / "code",
        "process": notes / "process",
    }
    parent = prepared(missing)
    assert parent.stdin is not None
    parent.stdin.write(
        json.dumps(wanted | {name: str(place) for name, place in places.items()}).encode() + b"\n"
    )
    parent.stdin.flush()
    while not places["process"].exists():
        assert parent.poll() is None, "the process that commands are forks of has ended"
        await asyncio.sleep(POLL_SECONDS)
    return Fork(parent, int(places["process"].read_text()), places["code"])


@asynccontextmanager
async def begun(
    directory: Path, arguments: Sequence[str], given: Mapping[str, str], *, missing: tuple[str, ...] = ()
) -> AsyncIterator[Command]:
    """`subledger ...` in this directory, with nothing in its environment but what is given; ended by us if need be."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder)
        out, err = notes / "out", notes / "err"
        environment = {"PATH": os.environ["PATH"], **given}
        process = await fork(
            *arguments,
            environment=environment,
            directory=directory,
            out=out,
            err=err,
            notes=notes,
            missing=missing,
        )
        try:
            yield Command(process, out, err)
        finally:
            process.kill()
            await process.wait()


def running(database_url: str, *arguments: str, **given: str) -> AbstractAsyncContextManager[Command]:
    """`subledger ...` with nothing in its environment but the database and what is given; ended by us if need be."""
    return begun(HERE, arguments, {"DATABASE_URL": database_url} | given)


async def ended(command: Command, *, within_seconds: float = TIMEOUT_SECONDS) -> Done:
    """Wait for the command's end."""
    async with asyncio.timeout(within_seconds):
        code = await command.process.wait()
    return Done(code=code, out=command.out.read_text(), err=command.err.read_text())


async def subledger(database_url: str, *arguments: str, **given: str) -> Done:
    """Run `subledger ...` to its end."""
    async with running(database_url, *arguments, **given) as command:
        return await ended(command)
