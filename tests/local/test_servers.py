"""The embedded servers: private, quick to start again, sound after a crash, and never left behind."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from local.clean import THROWAWAY_PREFIX, remove_home, throwaway_home
from local.home import HomeInUseError, ServerError, claim_home, is_claimed
from local.postgres import start_postgres
from local.processes import Server
from local.valkey import start_valkey
from tests.ports import reserve_ports

REPOSITORY = Path(__file__).parents[2]
DEATH_TIMEOUT_SECONDS = 120

# Starts both servers as another process would, reports their pids, and waits to be killed.
HOLDER = """
import json, signal, sys
from pathlib import Path
from local import processes
from local.home import claim_home
from local.postgres import start_postgres
from local.valkey import start_valkey
if sys.argv[2] == "orphaning":
    processes.end_with_parent = lambda parent_death: None
with claim_home(Path(sys.argv[1])) as home:
    postgres = start_postgres(home, durable=False)
    valkey = start_valkey(home)
    print(json.dumps({"pids": [postgres.process.pid, valkey.process.pid], "ports": [postgres.port, valkey.port]}))
    sys.stdout.flush()
    signal.pause()
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A claimed home with whatever the tests before have left in it: to create a cluster takes a second."""
    with throwaway_home() as home:
        reserve_ports(home)
        yield home


@pytest.fixture(scope="module")
def unclaimed_home() -> Iterator[Path]:
    """A home that another process claims, with whatever the tests before have left in it."""
    parent = Path(tempfile.mkdtemp(prefix="subledger-unclaimed-"))
    yield parent / "home"
    remove_home(parent / "home")
    parent.rmdir()


@contextlib.contextmanager
def holder(
    home: Path, manner: str = "dying together"
) -> Iterator[tuple[subprocess.Popen[str], list[psutil.Process]]]:
    """A process that holds both servers, and all that it started."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home), manner], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert process.stdout is not None
    with process.stdout:
        started = json.loads(process.stdout.readline())
    family = [psutil.Process(pid) for pid in started["pids"]]
    family += [child for parent in family for child in parent.children(recursive=True)]
    try:
        yield process, family
    finally:
        process.kill()
        process.wait()


async def execute(server: Server, statement: str) -> object:
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_second_start_keeps_data_and_ports(home: Path) -> None:
    """Stopping loses nothing, and an address that was noted down is still right."""
    with start_postgres(home, durable=False) as postgres, start_valkey(home) as valkey:
        ports = postgres.port, valkey.port
        await execute(postgres, "create table kept as select 42 as answer")
    with start_postgres(home, durable=False) as postgres, start_valkey(home) as valkey:
        assert ports == (postgres.port, valkey.port)
        assert 42 == await execute(postgres, "select answer from kept")


async def test_taken_port_is_given_up(home: Path) -> None:
    """When something else listens on the port of the last time, another is taken."""
    with start_postgres(home, durable=False) as postgres:
        port = postgres.port
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        with start_postgres(home, durable=False) as postgres:
            assert port != postgres.port
            assert 1 == await execute(postgres, "select 1")


def test_stop_leaves_no_process(home: Path) -> None:
    """Neither server nor any of its children outlives `stop`."""
    with start_postgres(home, durable=False) as postgres, start_valkey(home) as valkey:
        family = [psutil.Process(server.process.pid) for server in (postgres, valkey)]
        family += family[0].children(recursive=True)
        assert len(family) > 3
    assert not [process for process in family if process.is_running()]


async def test_killed_server_recovers_though_its_pid_is_taken(home: Path) -> None:
    """After a crash the pid file is stale, and its number may be that of any process by now."""
    with start_postgres(home, durable=True) as postgres:
        await execute(postgres, "create table recovered as select 42 as answer")
        family = psutil.Process(postgres.process.pid).children(recursive=True)
        postgres.process.kill()
        postgres.process.wait()
        psutil.wait_procs(family, timeout=DEATH_TIMEOUT_SECONDS)
    pid_file = home / "postgres" / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    with start_postgres(home, durable=True) as postgres:
        assert 42 == await execute(postgres, "select answer from recovered")


def test_servers_end_when_their_holder_is_killed(unclaimed_home: Path) -> None:
    """`kill -9` of the process that holds them ends them too: Linux signals a child when its parent dies."""
    with holder(unclaimed_home) as (process, family):
        process.send_signal(signal.SIGKILL)
        process.wait()
        _, alive = psutil.wait_procs(family, timeout=DEATH_TIMEOUT_SECONDS)
    assert not alive


async def test_servers_left_behind_are_ended_at_the_next_start(unclaimed_home: Path) -> None:
    """If the death of the holder went unnoticed, the next start clears up and takes over the data."""
    with holder(unclaimed_home, "orphaning") as (process, family):
        process.kill()
        process.wait()
        assert all(process.is_running() for process in family[:2])
        with (
            claim_home(unclaimed_home) as home,
            start_postgres(home, durable=False) as postgres,
            start_valkey(home),
        ):
            assert not [process for process in family if process.is_running()]
            assert 1 == await execute(postgres, "select 1")


def test_home_is_held_by_one_process(unclaimed_home: Path) -> None:
    """A second process is refused while the first lives, and gets the home when the first has died, however it died."""
    with holder(unclaimed_home) as (process, family):
        assert is_claimed(unclaimed_home)
        with pytest.raises(HomeInUseError), claim_home(unclaimed_home):
            pass
        process.kill()
        process.wait()
        psutil.wait_procs(family, timeout=DEATH_TIMEOUT_SECONDS)
        assert not is_claimed(unclaimed_home)
        with claim_home(unclaimed_home):
            assert is_claimed(unclaimed_home)


async def test_nobody_else_gets_in(home: Path) -> None:
    """Loopback only, a password that no process list shows, files that only their owner reads."""
    with start_postgres(home, durable=False) as postgres, start_valkey(home) as valkey:
        for server in (postgres, valkey):
            password = (home / f"{server.name}.password").read_text().strip()
            assert len(password) >= 32
            assert password in server.url
            assert password not in " ".join(psutil.Process(server.process.pid).cmdline())
            assert password not in repr(server)
            addresses = {entry.laddr.ip for entry in psutil.Process(server.process.pid).net_connections()}
            assert {"127.0.0.1"} == addresses
        without = postgres.url.replace((home / "postgres.password").read_text().strip(), "guess")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(without)
        with redis.Redis(port=valkey.port) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
    assert 0o700 == stat.S_IMODE(home.stat().st_mode)
    for path in home.rglob("*"):
        if path.suffix in (".password", ".log"):
            assert 0o600 == stat.S_IMODE(path.stat().st_mode), path


def test_lost_password_is_told(home: Path) -> None:
    """Data without its password is not thrown away, and the message says what to do."""
    with start_postgres(home, durable=False):
        pass
    password = home / "postgres.password"
    password.rename(password.with_suffix(".lost"))
    with pytest.raises(ServerError, match=r"postgres\.password is missing: restore it, or remove"):
        start_postgres(home, durable=False)
    password.with_suffix(".lost").rename(password)


def test_throwaway_home_of_a_killed_run_is_removed(home: Path) -> None:
    """A run of the tests that was killed leaves a home; the next run removes it with all that it leads to."""
    with start_postgres(home, durable=False):
        pass
    stale = Path(tempfile.mkdtemp(prefix=THROWAWAY_PREFIX))
    with claim_home(stale) as claimed, start_postgres(claimed, durable=False):
        outside = (claimed / "postgres").resolve()
    with throwaway_home():
        # Another run that starts at this moment may be about to remove it.
        deadline = time.monotonic() + DEATH_TIMEOUT_SECONDS
        while stale.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not stale.exists()
        assert not outside.exists()
        assert home.exists(), "one that is still held stays"
