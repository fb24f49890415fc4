"""`subledger up` as a user runs it: another process, in a directory of its own, until it is stopped."""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from local.clean import remove_home
from tests.ports import reserved_port

START_TIMEOUT_SECONDS = 240
STOP_TIMEOUT_SECONDS = 120
OURS = ("DATABASE_URL", "REDIS_URL", "STRIPE_", "ADMIN_TOKEN", "PORT", "LOG_FORMAT", "PG")
# With a secret of its own there is no sandbox account: the system waits for Stripe.
WITHOUT_SANDBOX = {"STRIPE_WEBHOOK_SECRET": "whsec_test"}


@dataclass
class Up:
    """A running `subledger up`."""

    directory: Path
    process: subprocess.Popen[str]
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    def announced(self) -> dict[str, Any]:
        """What it wrote down for other terminals."""
        announced: dict[str, Any] = json.loads((self.directory / ".subledger/run.json").read_text())
        return announced

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, command: str) -> psutil.Process:
        (child,) = [process for process in self.family() if command in process.cmdline()]
        return child

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for the condition; fails when `up` ends before, or after START_TIMEOUT_SECONDS."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not condition():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def until_ready(self) -> None:
        self.until(
            lambda: (self.directory / ".subledger/run.json").exists() and "Subledger is at" in self.said()
        )


def environment(**given: str) -> dict[str, str]:
    """This environment without anything that would be taken for settings, and what is given."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OURS)} | given


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where `up` runs; its data are removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="subledger-up-"))
    yield directory
    remove_home(directory / ".subledger")
    for path in directory.iterdir():
        path.unlink()
    directory.rmdir()


@contextlib.contextmanager
def up(directory: Path, **given: str) -> Iterator[Up]:
    """Start it; at the end it must be gone with everything that it started."""
    output = directory / "output"
    with output.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli", "up"],
            cwd=directory,
            # Where nothing is said each would take the same port, if it was free a moment ago.
            env=environment(**({"PORT": str(reserved_port())} | given)),
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield Up(directory, process, output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_TIMEOUT_SECONDS)


def command(directory: Path, *arguments: str, **given: str) -> subprocess.CompletedProcess[str]:
    """Another terminal."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *arguments],
        cwd=directory,
        env=environment(**given),
        capture_output=True,
        text=True,
        check=False,
        timeout=START_TIMEOUT_SECONDS,
    )


def gone(family: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT_SECONDS)
    return not alive


async def test_up_from_its_first_start_to_its_last(directory: Path) -> None:
    """Three starts in one directory, since each takes seconds: the first makes everything, and Ctrl-C ends it; the
    second finds the data of the first, and is killed; the third starts nevertheless, and ends with its worker.
    """
    with up(directory, **WITHOUT_SANDBOX) as running:
        announced = await _starts_all_and_ctrl_c_leaves_nothing(directory, running)

    began = time.monotonic()
    with up(directory, **WITHOUT_SANDBOX) as again:
        again.until_ready()
        assert announced["environment"]["DATABASE_URL"] == again.announced()["environment"]["DATABASE_URL"]
        assert "Applied" not in again.said(), "the data of the first time are still there"
        assert time.monotonic() - began < START_TIMEOUT_SECONDS
        _nothing_outlives_it_when_it_is_killed(again)

    with up(directory, **WITHOUT_SANDBOX) as third:
        third.until_ready()
        _death_of_a_part_ends_all_and_is_told(third)


async def _starts_all_and_ctrl_c_leaves_nothing(directory: Path, running: Up) -> dict[str, Any]:
    """Postgres, Valkey, migrations, web and worker come up; other commands find them; Ctrl-C ends all, with success."""
    running.until_ready()
    announced = running.announced()
    async with aiohttp.ClientSession() as session, session.get(f"{announced['url']}/readyz") as response:
        assert 200 == response.status
    console = f"The console is at {announced['url']}/: log in with the token in .subledger/admin.token."
    assert console in running.said()
    token = (directory / ".subledger/admin.token").read_text().strip()
    assert token not in running.said()
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
        session.post(f"{announced['url']}/console/login", data={"token": token}) as response,
    ):
        assert (200, "/") == (response.status, response.url.path)
    assert 0o600 == stat.S_IMODE((directory / ".subledger/run.json").stat().st_mode)

    found = command(directory, "migrate")
    assert (0, "nothing to apply\n") == (found.returncode, found.stdout), found.stderr

    # The embedded psql is as new as the server; the machine's may be older.
    old = directory / "psql"
    old.write_text("#!/bin/sh\nexit 3\n")
    old.chmod(0o755)
    opened = command(directory, "psql", "-c", "\\dn billing", PATH=f"{directory}:{os.environ['PATH']}")
    assert (0, True) == (opened.returncode, "billing" in opened.stdout), opened.stderr

    second = command(directory, "up")
    assert (1, "") == (second.returncode, second.stdout)
    assert f"already running in this directory at {announced['url']}" in second.stderr

    running.until(lambda: "customers 0 (none yet)" in running.said())
    family = running.family()
    assert {"postgres", "valkey-server"} <= {process.name() for process in family}
    running.process.send_signal(signal.SIGINT)
    assert 0 == running.process.wait(STOP_TIMEOUT_SECONDS), running.said()
    assert gone(family)
    assert not (directory / ".subledger/run.json").exists()
    assert "DATABASE_URL is not set" in command(directory, "migrate").stderr
    return announced


def _nothing_outlives_it_when_it_is_killed(running: Up) -> None:
    """`kill -9` leaves no process."""
    family = running.family()
    running.process.kill()
    running.process.wait()
    assert gone(family)


def _death_of_a_part_ends_all_and_is_told(running: Up) -> None:
    """A system that runs in part is worse than none: the message names the part and quotes its log."""
    running.until(lambda: any("worker" in process.cmdline() for process in running.family()))
    family = running.family()
    running.child("worker").kill()
    assert 1 == running.process.wait(STOP_TIMEOUT_SECONDS)
    assert "worker ended with exit code -9. The last lines of" in running.said()
    assert "Traceback" not in running.said()
    assert gone(family)


def test_given_servers_are_used(directory: Path, empty_database_url: str, redis_url: str) -> None:
    """With DATABASE_URL and REDIS_URL no server is started here; a user's modules with our names do no harm."""
    for name in ("cli", "db", "sandbox", "webhooks", "worker"):
        (directory / f"{name}.py").write_text("raise SystemExit('not the module of Subledger')")
    with up(directory, DATABASE_URL=empty_database_url, REDIS_URL=redis_url, **WITHOUT_SANDBOX) as running:
        running.until_ready()
        (applied,) = [line for line in running.said().splitlines() if "pplied" in line]
        assert re.fullmatch(r"Applied \d+ migrations: 0001_\w+\.sql to \d{4}_\w+\.sql", applied)
        assert empty_database_url == running.announced()["environment"]["DATABASE_URL"]
        assert not {"postgres", "valkey-server"} & {process.name() for process in running.family()}


def test_sandbox_account_fills_the_records(directory: Path) -> None:
    """With nothing given, a sandbox account signs up customers, and their records move."""
    with up(directory) as running:
        running.until_ready()
        running.until(lambda: "active" in running.said())
        running.until(lambda: any("worker" in process.cmdline() for process in running.family()))
        # The sandbox forgets events after its 30 days, which are two minutes of ours: a worker that fills gaps every
        # five minutes raises a false alarm.
        assert "20" == running.child("worker").environ()["GAP_FILL_SECONDS"]
        family = running.family()
        running.process.terminate()
        assert 0 == running.process.wait(STOP_TIMEOUT_SECONDS), running.said()
        assert gone(family)


def test_wrong_settings_are_told_before_anything_starts(directory: Path) -> None:
    """A key that cannot work is a message, not a half-started system."""
    refused = command(directory, "up", STRIPE_API_KEY="pk_test_1", **WITHOUT_SANDBOX)
    assert 1 == refused.returncode
    assert refused.stderr.startswith("subledger: STRIPE_API_KEY is a publishable key")
    assert "Starting" not in refused.stdout
    assert not (directory / ".subledger/postgres").exists()
