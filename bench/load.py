"""The load generator: a process that posts webhooks, reads or asks over keep-alive connections, and times each answer.

Reads a Plan from standard input, prepares and signs its requests, says "ready", begins at the next line, and writes an
Outcome. It does as little as possible per request, since it shares the machine with what it measures: it
understands only the HTTP that our own servers answer with.
"""

import asyncio
import base64
import hashlib
import hmac
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import cast

import msgspec
import uvloop

from bench.plans import ADMIN_TOKEN, API_KEY, SECRET, Outcome, Plan, quantile


def prepare(plan: Plan) -> list[bytes]:
    """The requests of a plan as bytes; webhooks are signed now, and valid for 300 s."""
    with Path(plan.path).open("rb") as file:
        lines = [line.rstrip(b"\n") for line in islice(file, plan.first, plan.first + plan.count)]
    if len(lines) < plan.count:
        raise SystemExit(f"{plan.path} has no {plan.count} lines from line {plan.first} on")
    match plan.of:
        case "webhooks":
            return [_webhook(line) for line in lines]
        case "reads":
            return [_read(line, plan.api_version) for line in lines]
        case "asks":
            return [_ask(line) for line in lines]


def _webhook(body: bytes) -> bytes:
    return (
        b"POST /webhooks/stripe HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json; charset=utf-8\r\nuser-agent: Stripe/1.0\r\n"
        b"stripe-signature: %b\r\ncontent-length: %d\r\n\r\n%b" % (_signature(body), len(body), body)
    )


def _signature(body: bytes) -> bytes:
    """As Stripe signs. The sandbox's own would be imported with the whole sandbox, by every load anew."""
    at = b"%d" % time.time()
    return b"t=%b,v1=%b" % (
        at,
        hmac.new(SECRET.encode(), at + b"." + body, hashlib.sha256).hexdigest().encode(),
    )


def _read(line: bytes, api_version: str) -> bytes:
    account_id, path = msgspec.json.decode(line, type=tuple[str, str])
    account = f"stripe-account: {account_id}\r\n" if account_id else ""
    credentials = base64.b64encode(f"{API_KEY}:".encode()).decode()
    return (
        f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Basic {credentials}\r\n"
        f"stripe-version: {api_version}\r\n{account}\r\n"
    ).encode()


def _ask(line: bytes) -> bytes:
    path = msgspec.json.decode(line, type=str)
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\r\n".encode()


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, answered: Callable[["Connection", bytes], None]) -> None:
        self._answered = answered
        self._buffer = b""
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, *, began: float) -> None:
        self.began = began
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        _, _, rest = head.partition(b"content-length: ")
        if len(body) >= int(rest.partition(b"\r\n")[0] or 0):
            self._buffer = b""
            self._answered(self, head[9:12])

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._answered(self, b"lost")

    def close(self) -> None:
        self._transport.abort()


class Load:
    """One run of a plan."""

    def __init__(self, plan: Plan, requests: list[bytes]) -> None:
        self._plan = plan
        self._requests = requests
        self._due: deque[tuple[int, float]] = deque()
        self._idle: deque[Connection] = deque()
        self._next = 0
        self._answers: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._ended = 0.0
        self._finished = asyncio.Event()

    async def connect(self) -> None:
        """Open the connections: they are not part of what is timed."""
        loop = asyncio.get_running_loop()
        for _ in range(min(self._plan.connections, len(self._requests))):
            _, connection = await loop.create_connection(
                lambda: Connection(self._take_answer), "127.0.0.1", self._plan.port
            )
            self._idle.append(connection)

    async def run(self) -> Outcome:
        """Send everything and wait for every answer."""
        connections = list(self._idle)
        began = monotonic()
        if self._plan.rate is None:
            self._idle.clear()
            for connection in connections:
                self._send_next(connection)
        else:
            await self._send_when_due(began, self._plan.rate)
        await self._finished.wait()
        accepted = self._answers["200"]
        for connection in connections:
            connection.close()
        self._latencies.sort()
        return Outcome(
            sent=len(self._requests),
            accepted=accepted,
            answers=dict(self._answers),
            began=began,
            ended=self._ended,
            p50_ms=1000 * quantile(self._latencies, 0.5),
            p99_ms=1000 * quantile(self._latencies, 0.99),
            max_ms=1000 * self._latencies[-1],
        )

    async def _send_when_due(self, began: float, rate: float) -> None:
        for index in range(len(self._requests)):
            due = began + index / rate
            await asyncio.sleep(max(due - monotonic(), 0))
            if self._idle:
                # The connection that was idle longest first: a server closes idle connections after some seconds.
                self._idle.popleft().send(self._requests[index], began=due)
            else:
                self._due.append((index, due))  # goes out late, and its wait counts

    def _send_next(self, connection: Connection) -> None:
        if self._next < len(self._requests):
            index = self._next
            self._next += 1
            connection.send(self._requests[index], began=monotonic())

    def _take_answer(self, connection: Connection, status: bytes) -> None:
        if self._finished.is_set():
            return  # our own closing
        now = monotonic()
        self._answers[status.decode()] += 1
        self._latencies.append(now - connection.began)
        if len(self._latencies) == len(self._requests) or status == b"lost":
            # A lost connection spoils the measurement: it ends, and the outcome shows what is missing.
            self._ended = now
            self._finished.set()
        elif self._plan.rate is None:
            self._send_next(connection)
        elif self._due:
            index, due = self._due.popleft()
            connection.send(self._requests[index], began=due)
        else:
            self._idle.append(connection)


async def main() -> None:
    """Prepare, wait for the signal to start, run, report."""
    plan = msgspec.json.decode(sys.stdin.readline(), type=Plan)
    load = Load(plan, prepare(plan))
    await load.connect()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    print(msgspec.json.encode(await load.run()).decode(), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
