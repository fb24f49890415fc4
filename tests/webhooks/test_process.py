"""The process as an operator runs it, `subledger web`: what can only be seen from outside."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from db.connection import Pool
from tests.ports import closed_port, reserved_port
from tests.signing import signature_header
from tests.system import ADMIN_TOKEN, Running, start, start_afresh, until
from tests.webhooks.web_harness import NEVER_SHOWN, OLD_SECRET, SECRET, Door, client_of, event
from webhooks.connections import HEADER_TIMEOUT_SECONDS

MIB = 1024 * 1024
Begin = Callable[[str, Mapping[str, str], Path], Awaitable[Running]]


@asynccontextmanager
async def web_process(
    folder: Path, *, database_url: str, redis_url: str | None = None, begin: Begin = start
) -> AsyncIterator[tuple[Running, Door]]:
    """`subledger web` on a free port; afterwards its log is read for secrets."""
    port = reserved_port()
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url or f"redis://127.0.0.1:{closed_port()}/0",
        "STRIPE_WEBHOOK_SECRET": f"{OLD_SECRET},{SECRET}",
        "STRIPE_API_KEY": "",
        "ADMIN_TOKEN": ADMIN_TOKEN,
        "PORT": str(port),
    }
    running = await begin("web", environment, folder / "web.log")
    try:
        async with client_of(port) as door:
            yield running, door
    finally:
        await running.stop()
    log = running.log.read_text()
    assert "Uvicorn running on" in log
    assert not [secret for secret in NEVER_SHOWN if secret in log], "the log shows a secret"


async def test_starts_and_stops_without_postgres_and_redis(tmp_path: Path) -> None:
    """It answers what it can, refuses what it cannot store, and stops on SIGTERM."""
    nowhere = f"postgresql://nobody@127.0.0.1:{closed_port()}/none"
    async with web_process(tmp_path, database_url=nowhere, begin=start_afresh) as (running, door):
        assert 503 == (await door.ask("GET", "/readyz")).status
        assert 503 == (await door.post(event("evt_1"))).status
        assert 400 == (await door.post(event("evt_1"), header="t=1")).status
        # uvicorn ends in good order and then by the signal that it was sent.
        assert -signal.SIGTERM == await running.stop()


async def test_stopped_while_it_stores(tmp_path: Path, database_url: str, pool: Pool) -> None:
    """I1 and I4: SIGTERM cuts off no accepted request: the event is stored, then answered, then the process ends."""
    async with web_process(tmp_path, database_url=database_url) as (running, door):
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("lock table sync.events in share mode")
            posting = [asyncio.create_task(door.post(event(f"evt_{number}"))) for number in range(3)]

            async def insert_waits() -> object:
                return await pool.fetchval(
                    "select 1 from pg_locks where relation = 'sync.events'::regclass and not granted"
                )

            await until(insert_waits, what="a waiting insert")
            running.process.terminate()

            async def closed() -> bool:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", door.port)
                except OSError:
                    return True
                writer.close()
                return False

            await until(closed, what="the end of listening")
            assert running.process.returncode is None
            assert [] == [task for task in posting if task.done()]
        assert [200] * 3 == [answer.status for answer in await asyncio.gather(*posting)]
        assert -signal.SIGTERM == await running.stop()
    assert 3 == await pool.fetchval("select count(*) from sync.events")


async def test_killed_after_it_answered(tmp_path: Path, database_url: str, pool: Pool) -> None:
    """I1 and I4: every answered event is there after SIGKILL; an unanswered one is accepted when it is sent again."""
    answered = []
    async with web_process(tmp_path, database_url=database_url) as (running, door):

        async def post(number: int) -> None:
            answer = await door.post(event(f"evt_{number}"))
            assert 200 == answer.status
            answered.append(f"evt_{number}")
            if len(answered) == 20:
                running.process.kill()

        await asyncio.gather(*map(post, range(200)), return_exceptions=True)
        assert -signal.SIGKILL == await running.process.wait()
    stored = {row["event_id"] for row in await pool.fetch("select event_id from sync.events")}
    assert 20 <= len(answered)
    assert set(answered) <= stored
    async with web_process(tmp_path, database_url=database_url) as (_, door):
        answers = await asyncio.gather(*(door.post(event(f"evt_{number}")) for number in range(200)))
    assert {200} == {answer.status for answer in answers}
    assert 200 == await pool.fetchval("select count(*) from sync.events")


async def test_endless_bodies_are_not_held(tmp_path: Path, database_url: str) -> None:
    """Eight clients pour 16 MiB each at once into bodies that say no length: memory stays where it is."""
    async with web_process(tmp_path, database_url=database_url) as (running, door):
        process = psutil.Process(running.process.pid)
        large = b'{"id":"evt_1"}'.ljust(2 * MIB)

        async def pour() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            head = "POST /webhooks/stripe HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
            writer.write(f"{head}Stripe-Signature: {signature_header(large, SECRET)}\r\n\r\n".encode())
            answering = asyncio.create_task(reader.readline())
            # If that takes longer than the rest of a body may, it is cut off.
            with contextlib.suppress(ConnectionError):
                for _ in range(16 * MIB // 0x10000):
                    writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                    await writer.drain()
            assert b"HTTP/1.1 413 " in await answering
            writer.transport.abort()

        # Once before, since buffers of the allowed size stay with the allocator.
        await asyncio.gather(*(pour() for _ in range(8)))
        before = process.memory_info().rss
        await asyncio.gather(*(pour() for _ in range(8)))
        assert process.memory_info().rss - before < 16 * MIB
        assert 200 == (await door.post(event("evt_1"))).status


def test_connections_fit_into_the_open_files() -> None:
    """With those that wait to be accepted, and as far as we may raise the limit of open files."""
    script = """
import resource
from webhooks.connections import connections_max

for hard in (4096, 1314, 1024, 256, 70):
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    print(hard, connections_max(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [
        "4096 1000 1314",
        "1314 1000 1314",
        "1024 768 1024",
        "256 153 256",
        "70 16 70",
    ] == done.stdout.split("\n")[:-1]


async def test_half_sent_headers_do_not_close_the_door(tmp_path: Path) -> None:
    """More half-sent headers than the process may open files, and three that grow: webhooks are answered at once."""
    port = reserved_port()
    environment = {
        "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{closed_port()}/none",
        "REDIS_URL": f"redis://127.0.0.1:{closed_port()}/0",
        "STRIPE_WEBHOOK_SECRET": SECRET,
        "PORT": str(port),
    }
    running = await start_afresh("web", environment, tmp_path / "web.log", files_max=256)
    head = b"POST /webhooks/stripe HTTP/1.1\r\nHost: h\r\n"
    writers = []

    async def grow() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(head + b"X: ")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()
            await asyncio.sleep(0)

    try:
        async with client_of(port) as door:
            for _ in range(400):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writers.append(writer)
                writer.write(head)
            growing = [asyncio.create_task(grow()) for _ in range(3)]
            began = time.monotonic()
            for number in range(10):
                assert 503 == (await door.post(event(f"evt_{number}"))).status
            assert time.monotonic() - began < HEADER_TIMEOUT_SECONDS, (
                "they waited for the others' time to end"
            )
            ended = await asyncio.gather(*growing, return_exceptions=True)
            assert [True] * 3 == [isinstance(each, ConnectionError) for each in ended]
            assert psutil.Process(running.process.pid).num_fds() < 256

            async def told() -> bool:
                return '"event": "connections cut off"' in running.log.read_text()

            await until(told, what="the line in the log")
    finally:
        for writer in writers:
            writer.transport.abort()
        await running.stop()
