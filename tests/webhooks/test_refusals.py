"""What the endpoint refuses, before anything touches Postgres: there is none in these tests."""

import asyncio
import io
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio

from runtime import tally
from runtime.settings import SettingsError
from tests.signing import signature_header
from tests.system import ADMIN_TOKEN, until
from tests.webhooks.web_harness import FOREIGN_SECRET, OLD_SECRET, SECRET, Door, event, open_door, settings
from webhooks import bodies
from webhooks.app import create_app

BODY = event("evt_1")
MIB = 1024 * 1024
SIGNED = b"POST /webhooks/stripe HTTP/1.1\r\nHost: h\r\nStripe-Signature: t=1,v1=00\r\n"
"""A request that says that it is signed: only the body can tell."""
STORE = 503
"""What a webhook is answered here once it was found right: it would be stored next."""


# One server for all: none of these tests leaves a trace in it.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", autouse=True)
def no_rest() -> Iterator[None]:
    """What is refused is told at once, each time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tally, "REPORT_SECONDS", 0.0)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door() -> AsyncIterator[Door]:
    async with open_door(settings()) as door:
        yield door


async def test_right_webhook_goes_on_to_be_stored(door: Door) -> None:
    """Each of the tests below refuses something that, put right, would have come this far."""
    answer = await door.post(BODY)
    assert (STORE, "the event could not be stored: send it again") == (answer.status, answer.error)


async def test_refuses_to_start_without_a_secret() -> None:
    """An endpoint that believes anyone must not start."""
    with pytest.raises(SettingsError, match="STRIPE_WEBHOOK_SECRET is not set"):
        create_app(settings(secrets=()))


async def test_odd_secret_is_told_at_the_start(log: io.StringIO) -> None:
    """A secret that was pasted from the wrong place is doubted before the first webhook is refused for it."""
    create_app(settings(secrets=("whsec_right", "pk_test_wrong")))
    (line,) = log.getvalue().splitlines()
    assert "1 of its secrets do not start with whsec_" in json.loads(line)["doubt"]


@pytest.mark.parametrize(
    ("status", "sign"),
    [
        pytest.param(STORE, lambda: signature_header(BODY, SECRET), id="one secret"),
        pytest.param(STORE, lambda: signature_header(BODY, OLD_SECRET), id="the other secret"),
        pytest.param(
            STORE, lambda: signature_header(BODY, FOREIGN_SECRET, SECRET), id="the second signature fits"
        ),
        pytest.param(400, lambda: signature_header(BODY, FOREIGN_SECRET), id="foreign secret"),
        pytest.param(400, lambda: signature_header(BODY, SECRET, scheme="v0"), id="only v0"),
        pytest.param(400, lambda: signature_header(BODY, SECRET, scheme="sha256"), id="other scheme"),
        pytest.param(400, lambda: signature_header(event("evt_2"), SECRET), id="of another body"),
        pytest.param(400, lambda: "", id="no header"),
        pytest.param(400, lambda: "garbage", id="garbage"),
        pytest.param(400, lambda: "t=,v1=", id="empty parts"),
        pytest.param(400, lambda: f"t={int(time.time())},v1=é", id="not ASCII"),
        pytest.param(400, lambda: "t=" + "1" * 7000, id="endless"),
    ],
)
async def test_signature(door: Door, log: io.StringIO, status: int, sign: Callable[[], str]) -> None:
    """Only a signature by one of our secrets is accepted, and the log has the refusal too.

    Each is signed when its test runs: one that was made while tests were collected may be too old by then.
    """
    answer = await door.post(BODY, header=sign())
    assert status == answer.status, answer.body
    if status == 400:

        async def told() -> bool:
            lines = [json.loads(line) for line in log.getvalue().splitlines()]
            return any(answer.error in line.get("reasons", ()) for line in lines)

        await until(told, what="the line")


@pytest.mark.parametrize(
    ("age_seconds", "status"),
    [(299, STORE), (300, STORE), (301, 400), (-299, STORE), (-300, STORE), (-301, 400)],
)
async def test_tolerance(door: Door, monkeypatch: pytest.MonkeyPatch, age_seconds: int, status: int) -> None:
    """Five minutes either way."""
    now = math.floor(time.time())
    monkeypatch.setattr(time, "time", lambda: now)
    answer = await door.post(BODY, header=signature_header(BODY, SECRET, signed_at=now - age_seconds))
    assert status == answer.status, answer.body


async def test_body_parsed_and_written_again(door: Door) -> None:
    """A proxy that rewrites JSON breaks the signature, and the answer says so."""
    answer = await door.post(json.dumps(json.loads(BODY)).encode(), header=signature_header(BODY, SECRET))
    assert 400 == answer.status
    assert "pass the body on unchanged" in answer.error


async def test_body_not_utf_8(door: Door) -> None:
    """Stripe writes UTF-8; a signature over other bytes is no signature of Stripe's."""
    answer = await door.post(b'{"id": "evt_\xff"}')
    assert (400, "the body is not UTF-8, as Stripe's always is") == (answer.status, answer.error)


@pytest.mark.parametrize(("secret", "status"), [(SECRET, STORE), (FOREIGN_SECRET, 400)])
async def test_empty_body(door: Door, secret: str, status: int) -> None:
    """Nothing at all, rightly signed, is kept like any other oddity; wrongly signed, it is refused."""
    assert status == (await door.post(b"", header=signature_header(b"", secret))).status


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 1000",
        b"Transfer-Encoding: chunked",
        b"Content-Length: 1000\r\nExpect: 100-continue",
        b"Content-Length: 1000\r\nStripe-Signature:",
        b"Content-Length: 1000\r\nX-Stripe-Signature: t=1,v1=00",
    ],
)
async def test_body_without_a_signature_is_not_awaited(door: Door, headers: bytes) -> None:
    """Only Stripe posts here, so nobody else's body is read, and what the rest holds is no request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"POST /webhooks/stripe HTTP/1.1\r\nHost: h\r\n" + headers + b"\r\n\r\n")
    async with asyncio.timeout(60):
        answer = (await reader.readuntil(b"}")).decode()
    assert answer.startswith("HTTP/1.1 400 ")
    assert answer.endswith('{"error":"the Stripe-Signature header is missing: only Stripe posts here"}')
    writer.close()
    await writer.wait_closed()


async def test_connection_goes_on_after_an_unsigned_body(door: Door) -> None:
    """The rest of the body that was refused is thrown away, and the next request on the connection is served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"POST /webhooks/stripe HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n")
    assert b"HTTP/1.1 400 " in await reader.readuntil(b"}")
    writer.write(b" " * 200_000 + b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"HTTP/1.1 200 OK" in await reader.readuntil(b'{"status":"ok"}')
    writer.close()
    await writer.wait_closed()


# Sizes


async def in_chunks(body: bytes, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    """Sent by aiohttp without a Content-Length."""
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("chunked", [False, True])
async def test_largest_body(door: Door, chunked: bool) -> None:
    """2 MiB are accepted, counted in bytes."""
    body = b'{"id":"evt_1"}'.ljust(2 * MIB)
    assert STORE == (await door.post(body, data=in_chunks(body) if chunked else None)).status


@pytest.mark.parametrize("chunked", [False, True])
async def test_body_one_byte_too_large(door: Door, chunked: bool) -> None:
    """One byte more is refused, whether the length was declared or shows on the way; the next request is served."""
    body = b'{"id":"evt_1"}'.ljust(2 * MIB + 1)
    answer = await door.post(body, data=in_chunks(body) if chunked else None)
    assert (413, "the body is larger than 2097152 bytes") == (answer.status, answer.error)
    assert STORE == (await door.post(BODY)).status


async def test_body_announced_too_large_is_not_awaited(door: Door) -> None:
    """A Content-Length beyond the limit is answered before a byte of the body has come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(b"POST /webhooks/stripe HTTP/1.1\r\nHost: h\r\nContent-Length: 2097153\r\n\r\n")
    assert b"HTTP/1.1 413 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_endless_body_is_cut_off_while_reading(door: Door) -> None:
    """A body without end or length is answered as soon as it is too large: it is never held as a whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    answering = asyncio.create_task(reader.readline())
    writer.write(SIGNED + b"Transfer-Encoding: chunked\r\n\r\n")
    sent = 0
    while not answering.done():
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()
        sent += 0x10000
        assert sent < 64 * MIB, "no answer"
    assert b"HTTP/1.1 413 " in await answering
    writer.close()
    await writer.wait_closed()


async def test_slow_body(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not send its body gets an answer and loses the connection."""
    monkeypatch.setattr(bodies, "BODY_TIMEOUT_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(SIGNED + b"Content-Length: 100\r\n\r\n{")
    answer = (await reader.read()).decode()
    assert answer.startswith("HTTP/1.1 408 ")
    assert "connection: close" in answer.lower().splitlines()
    assert answer.endswith('{"error":"the body did not come within 0.1 s"}')
    writer.close()
    await writer.wait_closed()


# Other places


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
async def test_other_methods_of_the_endpoint(door: Door, method: str) -> None:
    """Stripe posts; a browser's GET gets an answer that says so."""
    answer = await door.ask(method, "/webhooks/stripe")
    assert (405, "POST") == (answer.status, answer.headers["Allow"])
    if method != "HEAD":
        assert "only POST is answered here" == answer.error


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/status"])
async def test_other_methods_elsewhere(door: Door, path: str) -> None:
    """What operators look at cannot be posted to."""
    answer = await door.ask("POST", path)
    assert 405 == answer.status
    assert {"GET", "HEAD"} == set(answer.headers["Allow"].split(", "))


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/webhooks",
            "/webhooks/stripe/",
            "/webhooks/stripe/x",
            "/Webhooks/Stripe",
            "/status/",
            "/docs/x",
        ),
        *(
            "//status",
            "/x/../status",
            "/%2e%2e/status",
            "/webhooks%2fstripe%00",
            f"/{ADMIN_TOKEN}",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_elsewhere(door: Door, method: str, path: str) -> None:
    """Nothing else is there, nothing is redirected, and a token in a wrong URL is not repeated in the answer."""
    answer = await door.ask(method, path)
    assert (404, "nothing is here: Stripe posts to /webhooks/stripe") == (answer.status, answer.error)


async def test_nowhere_with_an_odd_host(door: Door) -> None:
    """A Host header that makes no URL does not hurt."""
    answer = await door.ask("GET", "/nowhere", headers={"Host": "[::"})
    assert 404 == answer.status
