"""The real command, run as a process of its own on a test's database."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 240.0


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended, and its output."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed with --json."""
        assert (0, "") == (self.code, self.err), self
        return json.loads(self.out)

    def lines(self, beginning: str) -> list[str]:
        """The printed lines that begin so, each with its columns parted by single blanks."""
        return [" ".join(line.split()) for line in self.out.splitlines() if line.startswith(beginning)]


@asynccontextmanager
async def running(
    database_url: str, *arguments: str, **given: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`subledger ...` with nothing in its environment but the database and what is given; ended by us if need be."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "cli",
        *arguments,
        cwd=Path(__file__).parent,  # where there is no `.env` of a developer
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url} | given,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(process: asyncio.subprocess.Process, *, within_seconds: float = TIMEOUT_SECONDS) -> Done:
    """Wait for the command's end."""
    async with asyncio.timeout(within_seconds):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(code=process.returncode, out=out.decode(), err=err.decode())


async def subledger(database_url: str, *arguments: str, **given: str) -> Done:
    """Run `subledger ...` to its end."""
    async with running(database_url, *arguments, **given) as process:
        return await ended(process)
