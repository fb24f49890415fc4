"""An upgrade under load: every process is replaced, one after the other, and nobody notices."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path

import aiohttp
import asyncpg

from sandbox import STORIES, Event, Sandbox, create_api, serve, sign
from tests.system import ADMIN_TOKEN, SECRET, Running, System, start_afresh, until
from tests.truth import differences, read_records

API_KEY = "sk_test_rolling"
PLAYED = sorted(STORIES)[::20]
POSTERS, READERS = 6, 2


class Load:
    """Webhooks and reads, each sent once: a client that tries again would hide what fails."""

    def __init__(self, base_url: str, events: list[Event]) -> None:
        self._base_url = base_url
        self._waiting: Iterator[Event] = cycle(events)
        self._left = len(events)
        self.over = asyncio.Event()
        self.answered = 0
        self.failed: list[str] = []

    async def run(self) -> None:
        """Post and read until `over`, and until every event was posted."""
        # An idle connection for 4 s, as docs/proxy.md has it; and one client that makes a new connection each time.
        kept = aiohttp.TCPConnector(keepalive_timeout=4.0)
        fresh = aiohttp.TCPConnector(force_close=True)
        async with (
            aiohttp.ClientSession(connector=kept) as old,
            aiohttp.ClientSession(connector=fresh) as new,
        ):
            posting = [self._post(session) for session in (old, new) for _ in range(POSTERS // 2)]
            reading = [self._read(session) for session in (old, new) for _ in range(READERS // 2)]
            await asyncio.gather(*posting, *reading)

    async def _post(self, session: aiohttp.ClientSession) -> None:
        while self._left > 0 or not self.over.is_set():
            self._left -= 1
            event = next(self._waiting)
            headers = {"Stripe-Signature": sign(event.body, SECRET)}
            await self._send(
                session.post(f"{self._base_url}/webhooks/stripe", data=event.body, headers=headers)
            )
            await asyncio.sleep(0.08)

    async def _read(self, session: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        while not self.over.is_set():
            await self._send(session.get(f"{self._base_url}/customers", headers=headers))
            await asyncio.sleep(0.08)

    async def _send(self, request: "aiohttp.client._RequestContextManager") -> None:
        try:
            async with request as answer:
                text = await answer.text()
                if answer.status != 200:
                    self.failed.append(f"{answer.status} {text[:200]}")
        except aiohttp.ClientError as error:
            self.failed.append(repr(error))
        self.answered += 1

    async def more(self, count: int) -> None:
        """Return when so many more requests were answered."""
        enough = self.answered + count

        async def answered() -> bool:
            return self.answered >= enough

        await until(answered, what="more answers")


async def test_all_processes_are_replaced_under_load(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """I1, I4: two web processes behind one socket and the worker make room for others while webhooks and reads come: no
    request fails, nothing is lost, and the records end true.
    """
    sandbox = Sandbox(seed=7)
    sandbox.play(PLAYED, customers=8)
    events = sandbox.run()
    async with AsyncExitStack() as stack:
        api_base = await stack.enter_async_context(serve(create_api(sandbox, [API_KEY])))
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=250))
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        environment = {
            "DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "STRIPE_API_KEY": API_KEY,
            "STRIPE_API_BASE": api_base,
            "ADMIN_TOKEN": ADMIN_TOKEN,
        }
        running: list[Running] = []

        async def begin(command: str) -> Running:
            log = tmp_path / f"{command}-{len(running)}.log"
            found = await start_afresh(
                command, environment, log, listener=listener if command == "web" else None
            )
            running.append(found)
            stack.push_async_callback(found.stop)
            return found

        async def listens(web: Running) -> None:
            async def said() -> bool:
                assert web.process.returncode is None, web.log.read_text()
                return "Application startup complete" in web.log.read_text()

            await until(said, what="a web process that listens")

        async def at_work(workers: int) -> None:
            async def counted() -> bool:
                return workers == await _fetchval(database_url, "select count(*) from sync.workers")

            await until(counted, what="a worker at work")

        old = [await begin("web"), await begin("web")]
        worker = await begin("worker")
        for web in old:
            await listens(web)
        await at_work(1)
        load = Load(base_url, events)
        loading = asyncio.create_task(load.run())
        try:
            await load.more(20)
            await old[0].stop()
            await load.more(20)
            await listens(await begin("web"))
            await load.more(20)
            await old[1].stop()
            await load.more(20)
            await begin("worker")
            await at_work(2)
            assert 0 == await worker.stop()
            await load.more(20)
        finally:
            load.over.set()
            await loading
        assert not load.failed, f"{len(load.failed)} of {load.answered} failed, such as {load.failed[:3]}"
        system = System(
            base_url=base_url,
            environment=environment,
            web=running[-2],
            workers=[running[-1]],
            folder=tmp_path,
        )
        status = await system.settled()
        assert 0 == status["parked"]
        assert len(events) == await _fetchval(database_url, "select count(*) from sync.events")
    truth = {key: known for key, known in sandbox.truth().items() if not known.live_mode}
    different = differences(truth, await read_records(database_url))
    assert not different, "\n".join(different)


async def _fetchval(database_url: str, statement: str) -> object:
    connection = await asyncpg.connect(database_url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
