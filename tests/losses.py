"""Ways in which a database loses its last transactions, done to a real server: what clients see is the same URL."""

import asyncio
import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil

from local.postgres import postgres_program, start_postgres
from local.processes import Server
from tests.clusters import lay_cluster
from tests.databases import at_database
from tests.ports import reserve_ports


class Loss(ABC):
    """A server of the test's own, a copy of the migrated one, which loses everything that is committed after `keep`."""

    settings: ClassVar[Mapping[str, str]] = {}

    def __init__(self, home: Path, migrated_home: Path) -> None:
        self.home = home
        reserve_ports(home)
        lay_cluster(migrated_home, home)
        self.server: Server = start_postgres(home, settings=self.settings)

    @property
    def url(self) -> str:
        """The database's; the same before and after."""
        return self.server.url

    @abstractmethod
    async def keep(self) -> None:
        """What was committed until now survives; nothing after it does."""

    @abstractmethod
    async def lose(self) -> None:
        """Lose it. The server answers again when this returns."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):
            self.server.stop()

    async def execute(self, *statements: str, database: str | None = None) -> None:
        connection = await asyncpg.connect(self.url if database is None else at_database(self.url, database))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    def kill(self) -> None:
        """SIGKILL to every process of the server: what is only in its memory is gone."""
        root = psutil.Process(self.server.process.pid)
        family = [root, *root.children(recursive=True)]
        for each in family:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        self.server.process.wait()
        psutil.wait_procs(family[1:], timeout=10)


class Crash(Loss):
    """All of Postgres is killed, with `synchronous_commit = off`: commits were acknowledged and not yet written."""

    settings: ClassVar = {"synchronous_commit": "off", "wal_buffers": "64MB"}

    async def keep(self) -> None:
        await self.execute("checkpoint")
        # Whoever writes the log on its own is held, so that no commit from now on reaches it.
        for each in psutil.Process(self.server.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # one that works for a moment only, as that of autovacuum
                command = " ".join(each.cmdline())
                if any(name in command for name in ("walwriter", "background writer", "checkpointer")):
                    each.send_signal(signal.SIGSTOP)

    async def lose(self) -> None:
        self.kill()
        self.server = await asyncio.to_thread(start_postgres, self.home, settings=self.settings)


class Failover(Loss):
    """The primary is lost, and a standby that had not received its last transactions is promoted in its place."""

    settings: ClassVar = {"wal_level": "replica", "max_wal_senders": "4", "hot_standby": "on"}

    async def keep(self) -> None:
        """Copy the server, by streaming, as a standby; the copy gets nothing from now on."""
        self.copy = self.home / "copy"
        await asyncio.to_thread(
            run, "pg_basebackup", f"--pgdata={self.copy}", f"--dbname={self.url}", "--wal-method=stream",
            "--checkpoint=fast", "--write-recovery-conf", "--no-sync",
        )  # fmt: skip

    async def lose(self, *, promote: bool = True) -> None:
        self.kill()
        data = (self.home / "postgres").resolve() / "data"
        owner = data.stat()
        shutil.rmtree(data)
        shutil.copytree(self.copy, data)
        for path in (data, *data.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        data.chmod(0o700)
        self.server = await asyncio.to_thread(start_postgres, self.home, settings=self.settings)
        if promote:
            await self.execute("select pg_promote()")


class Restore(Loss):
    """An older dump is restored beside the database, and takes its place and its name."""

    async def keep(self) -> None:
        self.dump = self.home / "dump"
        await asyncio.to_thread(
            run, "pg_dump", "--format=custom", f"--file={self.dump}", f"--dbname={self.url}"
        )

    async def lose(self) -> None:
        name = urlsplit(self.url).path.removeprefix("/")
        await self.execute("create database restored", database="postgres")
        restored = at_database(self.url, "restored")
        await asyncio.to_thread(run, "pg_restore", f"--dbname={restored}", "--no-owner", str(self.dump))
        await self.execute(
            f"alter database {name} allow_connections false",
            f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'",
            f"alter database {name} rename to lost",
            f"alter database restored rename to {name}",
            database="postgres",
        )


class SetBack(Loss):
    """Nothing is lost, but somebody sets the sequences to 1 by hand."""

    async def keep(self) -> None:
        """Nothing is kept aside."""

    async def lose(self) -> None:
        await self.execute("select setval('sync.tick', 1), setval('billing.change', 1)")


LOSSES: Sequence[type[Loss]] = (Crash, Failover, Restore, SetBack)


def run(program: str, *arguments: str) -> None:
    """Run a client program of Postgres; raises with what it said if it fails."""
    hidden = [_without_options(each) for each in arguments]
    done = subprocess.run([postgres_program(program), *hidden], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program}: {done.stderr}"


def _without_options(argument: str) -> str:
    """libpq takes our URLs as they are but for `sslmode`, which some of its programs take from elsewhere."""
    option, found, url = argument.partition("=postgresql://")
    if not found:
        return argument
    return f"{option}={urlunsplit(urlsplit('postgresql://' + url)._replace(query=''))}"
