"""What may hold a connection of the web process, and for how long: real sockets, and clients that mean no good."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import psutil
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from tests.system import until
from tests.webhooks.web_harness import (
    Door,
    event,
    open_door,
    served,
    settings,
    silent_server,
)
from webhooks import bodies
from webhooks import connections as module

STORE = 503
"""What a webhook is answered here once it was found right: it would be stored next."""
HEAD = b"POST /webhooks/stripe HTTP/1.1\r\nHost: h\r\n"
SIGNED = HEAD + b"Stripe-Signature: t=1,v1=00\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


class Raw:
    """A connection on which a test writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Send without waiting."""
        self.writer.write(data)

    async def pour(self, piece: bytes, *, bytes_max: int) -> None:
        """Send a piece again and again until the server ends the connection; fails if it took so many bytes."""
        sent = 0
        with contextlib.suppress(ConnectionError):
            while not self.reader.at_eof() and self.reader.exception() is None:
                self.writer.write(piece)
                await self.writer.drain()
                await asyncio.sleep(0)
                sent += len(piece)
                assert sent < bytes_max, "it takes everything"

    async def answers(self) -> str:
        """All that came until the server ended the connection."""
        answered = b""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(120):
                while piece := await self.reader.read(65536):
                    answered += piece
        return answered.decode()

    async def is_open(self) -> bool:
        """Whether the server still holds the connection, having sent nothing on it."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.01):
                if await self.reader.read(1):
                    return False
        return not self.reader.at_eof() and self.reader.exception() is None


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    """A connection to a port here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


# One server for most: none of these tests leaves a trace in it.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit of a connection's time is met but the one that a test makes short, and that one is looked at often."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(module, "HEADER_TIMEOUT_SECONDS", 600.0)
    monkeypatch.setattr(module, "BODY_TIMEOUT_SECONDS", 600.0)
    monkeypatch.setattr(module, "REST_TIMEOUT_SECONDS", 600.0)
    monkeypatch.setattr(module, "IDLE_TIMEOUT_SECONDS", 600.0)
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_SECONDS", 600.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door() -> AsyncIterator[Door]:
    async with open_door(settings()) as door:
        yield door


# Size


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        pytest.param(HEAD + b"X: ", b"x" * 1000, id="one header"),
        pytest.param(HEAD + b"X: ", b"x" * 500_000, id="in large pieces"),
        pytest.param(HEAD + b"X: ", b"x" * 9, id="a few bytes at a time"),
        pytest.param(HEAD + b"X", b"x" * 1000, id="a header's name"),
        pytest.param(HEAD, b"X: y\r\n" * 100, id="many headers"),
        pytest.param(b"GET /", b"x" * 1000, id="the URL"),
        pytest.param(b"GET", b" " * 1000, id="blanks"),
        pytest.param(b"\r\n", b"\r\n" * 500, id="blank lines"),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\n\r\n" + HEAD + b"X: ", b"x" * 1000, id="of the second request"
        ),
    ],
)
async def test_endless_header(door: Door, begin: bytes, piece: bytes) -> None:
    """Cut off at 32 KiB, whatever grows: a parser that joins pieces takes time that grows with their square."""
    async with raw(door.port) as client:
        client.send(begin)
        await client.pour(piece, bytes_max=4 * 2**20)  # some of it lies in buffers
    assert STORE == (await door.post(event("evt_1"))).status


async def test_header_too_large_is_answered(log: io.StringIO) -> None:
    """With 431 and the limit, as far as the client reads, and without a line in the log for each."""
    async with open_door(settings()) as door:
        for _ in range(5):
            async with raw(door.port) as client:
                client.send(HEAD + b"X: " + b"x" * (module.HEADER_BYTES_MAX - len(HEAD) - 2))
                answer = await client.answers()
                assert answer.startswith("HTTP/1.1 431 Request Header Fields Too Large\r\n")
                assert answer.endswith('{"error": "the headers are larger than 32768 bytes"}')
        await until(lambda: seen(log, "connections cut off"), what="the line")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    told = [line for line in lines if line["event"] == "connections cut off"]
    assert "headers too large" in told[0]["reasons"]
    assert len(told) < 3


async def test_i12_nobody_without_a_secret_fills_the_log(log: io.StringIO) -> None:
    """I12: bad signatures, requests that are none and wishes for another protocol: some lines for all, with counts."""
    times = 30
    async with open_door(settings()) as door:
        for _ in range(times):
            assert 400 == (await door.post(event("evt_1"), header="t=1,v1=00")).status
        for begin in (
            b"\x00\x01no request\r\n\r\n",
            HEAD + b"Connection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n",
        ):
            for _ in range(times):
                async with raw(door.port) as client:
                    client.send(begin)
                    assert (await client.answers()).startswith("HTTP/1.1 400 ")
        await until(lambda: seen(log, "no HTTP"), what="the line")
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    told = [line for line in lines if line["level"] == "warning"]
    assert 1 == [line["event"] for line in told].count("webhooks refused")
    assert len(told) < 8


async def seen(log: io.StringIO, text: str) -> bool:
    """Whether the log has it."""
    return text in log.getvalue()


async def test_largest_header(door: Door) -> None:
    """Just below the limit a request is served, also where its body comes in the same piece."""
    async with raw(door.port) as client:
        body = b"{" * 100_000
        head = SIGNED + b"Content-Length: 100000\r\nConnection: close\r\nX: "
        client.send(head + b"x" * (module.HEADER_BYTES_MAX - len(head) - 4) + b"\r\n\r\n" + body)
        assert (await client.answers()).startswith("HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        pytest.param(SIGNED + CHUNKED + b"1;", b"x" * 10_000, id="an extension of a chunk"),
        pytest.param(SIGNED + CHUNKED + b"0\r\nX: ", b"x" * 10_000, id="a trailer"),
        pytest.param(SIGNED + CHUNKED + b"0\r\n", b"X: y\r\n" * 1000, id="many trailers"),
        pytest.param(
            SIGNED + CHUNKED, b"1;" + b"x" * 100 + b"\r\n{\r\n", id="chunks that are mostly extension"
        ),
        pytest.param(HEAD + CHUNKED + b"0\r\nX: ", b"x" * 10_000, id="after the answer"),
    ],
)
async def test_endless_framing_of_a_body(door: Door, begin: bytes, piece: bytes) -> None:
    """What stands between a body's bytes is bounded too: no limit of the body's size counts it."""
    async with raw(door.port) as client:
        client.send(begin)
        await client.pour(piece, bytes_max=8 * 2**20)
    assert STORE == (await door.post(event("evt_1"))).status


async def test_headers_after_the_body_do_not_count(door: Door) -> None:
    """A signature that comes after the body signs nothing."""
    async with raw(door.port) as client:
        client.send(
            HEAD + b"Connection: close\r\n" + CHUNKED + b"1\r\n{\r\n0\r\nStripe-Signature: t=1,v1=00\r\n\r\n"
        )
        assert "the Stripe-Signature header is missing" in await client.answers()


async def test_all_bodies_together(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held of all bodies is bounded: the one that has been read for longest makes room, and webhooks pass."""
    monkeypatch.setattr(bodies, "BODIES_BYTES_MAX", 3_000_000)
    async with contextlib.AsyncExitStack() as stack:
        held = await opened(
            door.port, 5, SIGNED + b"Content-Length: 2000000\r\n\r\n" + b" " * 1_400_000, stack
        )
        for client in held[:3]:
            # A client that still sends when the connection is closed may not come to read the answer.
            answer = await client.answers()
            assert not answer or "too many large bodies come at once: send it again" in answer
        assert await goes_on_to_be_stored(door)
        large = b'{"id":"evt_1"}'.ljust(1_500_000)
        assert STORE == (await door.post(large)).status
        assert 1 == await count_open(held[3:])


async def goes_on_to_be_stored(door: Door) -> bool:
    """Whether a right webhook comes as far as it can without Postgres."""
    return "could not be stored" in (await door.post(event("evt_1"))).error


# Time


@pytest.mark.parametrize(
    ("begin", "trickle", "answer"),
    [
        pytest.param(b"", b"", "", id="nothing"),
        pytest.param(b"\r\n", b"\r\n", "", id="blank lines"),
        pytest.param(HEAD, b"", "HTTP/1.1 408 ", id="half a header"),
        pytest.param(HEAD, b"X: y\r\n", "HTTP/1.1 408 ", id="header after header"),
        pytest.param(b"P", b"", "HTTP/1.1 408 ", id="one letter"),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\n\r\n" + HEAD, b"X: y\r\n", "HTTP/1.1 200 ", id="second request"
        ),
        pytest.param(
            b"GET /healthz HTTP/1.1\r\n\r\n", b"\r\n", "HTTP/1.1 200 ", id="blank lines after a request"
        ),
    ],
)
async def test_slow_header(
    door: Door, monkeypatch: pytest.MonkeyPatch, begin: bytes, trickle: bytes, answer: str
) -> None:
    """Each request has its time from its first byte on, and trickled bytes do not prolong it."""
    monkeypatch.setattr(module, "HEADER_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(module, "IDLE_TIMEOUT_SECONDS", 0.2)
    async with raw(door.port) as client:
        client.send(begin)
        reading = asyncio.create_task(client.answers())
        while not reading.done():
            client.send(trickle)
            await asyncio.wait([reading], timeout=0.05)
        answered = reading.result()
        assert answered.startswith(answer)
        assert bool(answer) == bool(answered)
        if b"GET" in begin and HEAD in begin:
            assert "HTTP/1.1 408 " in answered


@pytest.mark.parametrize(
    ("begin", "limit"),
    [
        pytest.param(
            b"POST /status HTTP/1.1\r\nContent-Length: 1000\r\n\r\n",
            "REST_TIMEOUT_SECONDS",
            id="answered before its end",
        ),
        pytest.param(
            HEAD + b"Content-Length: 1000\r\n\r\n", "REST_TIMEOUT_SECONDS", id="without a signature"
        ),
        pytest.param(SIGNED + b"Content-Length: 1000\r\n\r\n", "BODY_TIMEOUT_SECONDS", id="a webhook"),
    ],
)
async def test_slow_body_anywhere(
    door: Door, monkeypatch: pytest.MonkeyPatch, begin: bytes, limit: str
) -> None:
    """A body that does not come to its end holds its connection no longer than it may."""
    monkeypatch.setattr(module, limit, 0.2)
    async with raw(door.port) as client:
        client.send(begin)
        reading = asyncio.create_task(client.answers())
        while not reading.done():
            client.send(b"x")
            await asyncio.wait([reading], timeout=0.05)
        assert (b"Stripe-Signature" in begin) == (not reading.result())


@pytest.mark.parametrize("last", [b"", b"Connection: close\r\n"], ids=["kept alive", "closed after it"])
async def test_client_that_takes_no_answer(monkeypatch: pytest.MonkeyPatch, last: bytes) -> None:
    """An answer that nobody reads is given up, also if the server wants to close the connection after it."""
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_SECONDS", 0.2)

    is_asked = asyncio.Event()

    async def large(_: object) -> Response:
        is_asked.set()
        return Response(b"x" * 30_000_000)

    async with (
        served(Starlette(routes=[Route("/", large)]), connections=10) as port,
        raw(port) as client,
    ):
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.send(b"GET / HTTP/1.1\r\n" + last + b"\r\n")
        ours = psutil.Process()

        async def is_given_up() -> bool:
            return not any(
                each.laddr.port == port and each.status == "ESTABLISHED"
                for each in ours.net_connections("tcp")
            )

        await is_asked.wait()
        await until(is_given_up, what="the end of the connection")


async def test_requests_without_waiting_for_answers(door: Door) -> None:
    """Thousands in one piece would each cost memory; more than a few end the connection."""
    async with raw(door.port) as client:
        client.send(b"GET /readyz HTTP/1.1\r\n\r\n" * 5000)
        answered = await client.answers()
        assert answered.count("HTTP/1.1 ") <= module.PIPELINED_MAX + 1
    async with raw(door.port) as client:
        client.send(
            b"GET /healthz HTTP/1.1\r\n\r\n" * 3 + b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"
        )
        assert 4 == (await client.answers()).count("HTTP/1.1 200 OK")


# Number


async def opened(port: int, count: int, begin: bytes, stack: contextlib.AsyncExitStack) -> list[Raw]:
    """So many connections that begin in the same way."""
    clients = [await stack.enter_async_context(raw(port)) for _ in range(count)]
    for client in clients:
        client.send(begin)
    return clients


async def count_open(clients: Iterable[Raw]) -> int:
    """How many of them the server still holds."""
    return sum(await asyncio.gather(*(client.is_open() for client in clients)))


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(HEAD, id="half a header"),
        pytest.param(b"", id="nothing"),
        pytest.param(SIGNED + b"Content-Length: 1000\r\n\r\n{", id="half a body"),
    ],
)
async def test_more_connections_than_there_is_room_for(begin: bytes) -> None:
    """Those that have waited longest make room, so that a webhook is answered at once, whoever holds connections."""
    async with open_door(settings(), connections=20) as door, contextlib.AsyncExitStack() as stack:
        clients = await opened(door.port, 50, begin, stack)
        for number in range(5):  # no connection ends by itself: whoever waits for that waits for minutes
            assert STORE == (await door.post(event(f"evt_{number}"))).status
        assert await count_open(clients) <= 20
        assert await count_open(clients[:25]) == 0
        assert await count_open(clients[-5:]) == 5


async def test_requests_under_way_are_not_cut_off() -> None:
    """Whoever waits for an answer of ours gets it; if all do, a newcomer is told to try again."""
    async with (
        silent_server() as silent,
        open_door(settings(database_url=f"postgresql://h@127.0.0.1:{silent.port}/d"), connections=5) as door,
        contextlib.AsyncExitStack() as stack,
    ):
        busy = await opened(door.port, 5, b"GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n", stack)

        async def is_refused() -> bool:
            async with raw(door.port) as late:
                late.send(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
                answer = await late.answers()
            return answer.startswith("HTTP/1.1 503 ") and "too many connections" in answer

        await until(is_refused, what="a refusal")
        (looking,) = silent.connections
        looking.close()  # and the look ends, without an answer
        for client in busy:
            assert '{"postgres":"away"' in await client.answers()
