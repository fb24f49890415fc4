"""Poolers in front of a test's Postgres: PgBouncer, if it is installed, and a small one that is always there."""

import asyncio
import contextlib
import os
import pwd
import shutil
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.ports import reserved_port
from tests.system import until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
SSL_REQUEST = 80877103
ASKS = (3, 10, 11)
"""The kinds of authentication messages that want an answer: a password, and the first two of SCRAM."""

SENTENCE = (
    "DATABASE_URL leads to a pooler in transaction mode, where a session lasts no longer than a transaction: "
    "use a direct connection, or the pooler's session mode (often another port)"
)
"""What every process and command of ours says behind a pooler in transaction mode."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def through(database_url: str, port: int) -> str:
    """The same database, by another port."""
    url = urlsplit(database_url)
    return database_url.replace(f":{url.port}/", f":{port}/", 1)


@dataclass
class TransactionPooler:
    """Lends a session to a client for as long as a transaction lasts, as PgBouncer does in transaction mode.

    Each client logs in by itself, to a session that is everybody's from then on. The one that was given back last is
    lent next.
    """

    host: str
    port: int
    idle: asyncio.LifoQueue[Stream] = field(default_factory=asyncio.LifoQueue)
    sessions: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, from its first byte to its last."""
        sent: asyncio.Queue[bytes] = asyncio.Queue()
        with contextlib.suppress(OSError, EOFError):
            await self._log_in(reader, writer)
            receiving = asyncio.create_task(_receive(reader, sent))
            try:
                while (first := await sent.get())[:1] != b"X":
                    session = await self.idle.get()
                    if not await self._lend(session, first, sent, writer):
                        session[1].close()
            finally:
                receiving.cancel()
        writer.close()

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        startup = await _startup(reader)
        if struct.unpack("!i", startup[4:8])[0] == SSL_REQUEST:
            writer.write(b"N")
            startup = await _startup(reader)
        session = await asyncio.open_connection(self.host, self.port)
        self.sessions.append(session[1])
        session[1].write(startup)
        while True:
            answer = await _message(session[0])
            writer.write(answer)
            if answer[:1] == b"R" and answer[8] in ASKS:
                session[1].write(await _message(reader))
            if answer[:1] == b"Z":
                break
        self.idle.put_nowait(session)

    async def _lend(
        self, session: Stream, first: bytes, sent: asyncio.Queue[bytes], writer: asyncio.StreamWriter
    ) -> bool:
        """Pass messages on until the session is outside a transaction again, and give it back; False if the client
        leaves before.
        """
        unanswered = 0
        left = asyncio.Event()

        async def pass_on(message: bytes) -> None:
            nonlocal unanswered
            while message[:1] != b"X":
                unanswered += message[:1] in b"QS"
                session[1].write(message)
                message = await sent.get()
            left.set()

        async def answer() -> None:
            nonlocal unanswered
            while True:
                message = await _message(session[0])
                if message[:1] == b"Z":
                    unanswered -= 1
                    if message[5:6] == b"I" and not unanswered:
                        # First: whoever hears of it may ask at once, and other clients of the same process, too.
                        passing.cancel()
                        self.idle.put_nowait(session)
                        writer.write(message)
                        return
                writer.write(message)

        passing, answering = asyncio.create_task(pass_on(first)), asyncio.create_task(answer())
        leaving = asyncio.create_task(left.wait())
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        is_free = answering.done() and not answering.exception()
        for task in (passing, answering, leaving):
            task.cancel()
        await asyncio.gather(passing, answering, leaving, return_exceptions=True)
        return is_free


async def _receive(reader: asyncio.StreamReader, sent: asyncio.Queue[bytes]) -> None:
    """Put what the client sends into a queue, and at its end that it leaves."""
    with contextlib.suppress(OSError, EOFError):
        while True:
            sent.put_nowait(await _message(reader))
    sent.put_nowait(b"X")


async def _startup(reader: asyncio.StreamReader) -> bytes:
    length = await reader.readexactly(4)
    return length + await reader.readexactly(struct.unpack("!i", length)[0] - 4)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


@asynccontextmanager
async def transaction_pooler(database_url: str) -> AsyncIterator[str]:
    """The URL of the database through the small pooler."""
    url = urlsplit(database_url)
    pooler = TransactionPooler(url.hostname or "", url.port or 5432)
    async with await asyncio.start_server(pooler.serve, "127.0.0.1", 0) as server:
        try:
            yield through(database_url, server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for session in pooler.sessions:
                session.close()


@asynccontextmanager
async def pgbouncer(database_url: str, *, mode: str) -> AsyncIterator[str]:
    """The URL of the database through PgBouncer, which does not run as root."""
    url, port = urlsplit(database_url), reserved_port()
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory() as folder:
        users, configuration = Path(folder, "users.txt"), Path(folder, "pgbouncer.ini")
        users.write_text(f'"{url.username}" "{url.password}"\n')
        configuration.write_text(
            f"[databases]\n* = host={url.hostname} port={url.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = plain\nauth_file = {users}\npool_mode = {mode}\n"
        )
        if account is not None:
            for path in (folder, users, configuration):
                os.chown(path, account.pw_uid, account.pw_gid)
        assert PGBOUNCER is not None
        process = await asyncio.create_subprocess_exec(
            PGBOUNCER,
            *(["--user", account.pw_name] if account else []),
            str(configuration),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await until(lambda: _listens(port), what="PgBouncer")
            yield through(database_url, port)
        finally:
            process.terminate()
            await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
