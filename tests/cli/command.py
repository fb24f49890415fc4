"""The real command, run as a process of its own on a test's database."""

import asyncio
import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
class Command:
    """A command's process, and the files of its output."""

    folder: Path

    @property
    def returncode(self) -> int | None:
        """Its exit code; None while it runs."""
        try:
            return int((self.folder / "code").read_text())
        except FileNotFoundError:
            return None

    async def wait(self) -> int:
        """Its exit code, at its end."""
        while (code := self.returncode) is None:
            assert prepared().poll() is None, "the process that commands are forks of has ended"
            await asyncio.sleep(POLL_SECONDS)
        return code

    async def printed(self) -> str:
        """What it has printed, as soon as that is a line."""
        while not (out := self.folder / "out").exists() or "\n" not in out.read_text():
            assert self.returncode is None, (self.folder / "err").read_text()
            await asyncio.sleep(POLL_SECONDS)
        return out.read_text()

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.kill(int((self.folder / "process").read_text()), signal.SIGINT)

    async def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        while self.returncode is None:
            if (process := self.folder / "process").exists():
                os.kill(int(process.read_text()), signal.SIGKILL)
                await self.wait()
            else:
                await asyncio.sleep(POLL_SECONDS)


@functools.cache
def prepared() -> subprocess.Popen[bytes]:
    """The process of which commands are forks. It ends with ours."""
    return subprocess.Popen(
        [sys.executable, "-P", str(HERE / "prepared.py")],
        cwd=HERE,
        env={"PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
    )


@asynccontextmanager
async def running(database_url: str, *arguments: str, **given: str) -> AsyncIterator[Command]:
    """`subledger ...` with nothing in its environment but the database and what is given; ended by us if need be."""
    with tempfile.TemporaryDirectory() as folder:
        command = Command(Path(folder))
        wanted = {
            "arguments": arguments,
            "environment": {"PATH": os.environ["PATH"], "DATABASE_URL": database_url} | given,
        } | {name: str(command.folder / name) for name in ("out", "err", "code", "process")}
        pipe = prepared().stdin
        assert pipe is not None
        pipe.write(json.dumps(wanted).encode() + b"\n")
        pipe.flush()
        try:
            yield command
        finally:
            await command.kill()


async def ended(command: Command, *, within_seconds: float = TIMEOUT_SECONDS) -> Done:
    """Wait for the command's end."""
    async with asyncio.timeout(within_seconds):
        code = await command.wait()
    out, err = ((command.folder / name).read_text() for name in ("out", "err"))
    return Done(code=code, out=out, err=err)


async def subledger(database_url: str, *arguments: str, **given: str) -> Done:
    """Run `subledger ...` to its end."""
    async with running(database_url, *arguments, **given) as command:
        return await ended(command)
