"""The connections of the web process: bounded in number, and each in the size and the time of its requests.

uvicorn bounds none of this before the headers of a request are complete. So its protocol is extended here, by the
methods of `asyncio.Protocol`, the callbacks of httptools, and `on_response_complete`.

A connection *waits* while it owes us something: the rest of a request, or, being idle, the next one. If there are too
many connections, the one that has waited longest makes room, so that whoever only holds connections holds up nobody.
"""

import asyncio
import contextlib
import json
import logging
import resource
from collections import Counter
from enum import Enum, auto
from http import HTTPStatus
from typing import assert_never

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CONNECTIONS_MAX = 1000
FILES_RESERVED = 64
"""Open files for all that is no connection of a client: Postgres, Redis, the log."""
HEADER_BYTES_MAX = 32 * 1024
FRAMING_BYTES_MAX = 512 * 1024
"""What a body may have around its bytes: sizes of chunks, headers after them."""
HEADER_TIMEOUT_SECONDS = 10.0
BODY_TIMEOUT_SECONDS = 25.0
"""Longer than the endpoint of webhooks takes to answer that a body did not come."""
REST_TIMEOUT_SECONDS = 5.0
"""For the rest of a request that is answered already: it is thrown away, so that the client reads the answer."""
IDLE_TIMEOUT_SECONDS = 6.0
"""Longer than uvicorn's own, which a blank line now and then would put off for ever."""
ANSWER_TIMEOUT_SECONDS = 10.0
"""For a client that does not take its answer."""
LAST_TIMEOUT_SECONDS = 2.0
"""For the first byte on a connection that was made just before the server ends."""
PIPELINED_MAX = 8
"""Requests of one connection whose answers are due. Stripe sends the next one after the answer."""
LOOK_SECONDS = 0.5
REPORT_SECONDS = 10.0

log = structlog.get_logger()


class TooManyRequests(Exception):
    """A client sends requests and does not wait for their answers."""


class Owed(Enum):
    """What a client owes us."""

    FIRST = auto()
    """The first byte."""
    HEADERS = auto()
    """The rest of the headers."""
    BODY = auto()
    """The rest of the body."""
    REST = auto()
    """The rest of a request that is answered already."""
    NEXT = auto()
    """The next request, or nothing."""
    READING = auto()
    """To take its answer."""


def connections_max() -> int:
    """How many connections this process can hold, after raising its limit of open files where that is allowed."""
    wanted = CONNECTIONS_MAX + backlog(CONNECTIONS_MAX) + FILES_RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    if soft < wanted:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return max(16, min(CONNECTIONS_MAX, (soft - FILES_RESERVED) * 4 // 5))


def backlog(count_max: int) -> int:
    """How many connections may wait to be accepted, which happens with all of them at one moment.

    A quarter of those that can be held: if all made room at once, a newcomer would be cut off before it is read.
    """
    return count_max // 4


class Connections:
    """All connections of one server."""

    def __init__(self, count_max: int) -> None:
        self.draining = False
        """Whether the server ends: what has reached it is answered, and then its connection closed."""
        self._count_max = count_max
        self._open: set[BoundedProtocol] = set()
        self._waiting: dict[BoundedProtocol, float] = {}
        """Until when; the first has waited longest."""
        self._cut: Counter[str] = Counter()
        self._reported = 0.0
        self._looking: asyncio.TimerHandle | None = None

    def admit(self, new: "BoundedProtocol") -> bool:
        """Take the connection, and cut off another if there are too many; False if no other can be cut off."""
        self._open.add(new)
        if self._looking is None:
            self._looking = new.loop.call_later(LOOK_SECONDS, self._look)
        if len(self._open) <= self._count_max:
            return True
        if not self._waiting:
            self.count("all busy")
            return False
        longest = next(iter(self._waiting))
        self.forget(longest)
        self.count("made room")
        longest.transport.abort()
        return True

    def wait(self, connection: "BoundedProtocol", seconds: float, *, goes_on: bool = False) -> None:
        """The connection owes us something for so long from now on; `goes_on`: it has owed it already."""
        if connection not in self._open:
            return
        if not goes_on:
            self._waiting.pop(connection, None)
        self._waiting[connection] = connection.loop.time() + seconds

    def see_off(self, connection: "BoundedProtocol") -> None:
        """The connection is closed once its client has taken what was written, for which it has so long."""
        if connection in self._open:
            self._waiting.setdefault(connection, connection.loop.time() + ANSWER_TIMEOUT_SECONDS)

    def stop_waiting(self, connection: "BoundedProtocol") -> None:
        """It is our turn."""
        self._waiting.pop(connection, None)

    def forget(self, connection: "BoundedProtocol") -> None:
        """The connection is closed."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def count(self, reason: str) -> None:
        """Note for the log that a connection was cut off: one line for all of the last seconds."""
        self._cut[reason] += 1

    def _look(self) -> None:
        """Cut off what has waited too long; repeated while there are connections."""
        self._looking = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [each for each, until in self._waiting.items() if until <= now]:
            connection.waited_too_long()
        if self._cut and now - self._reported >= REPORT_SECONDS:
            log.warning("connections cut off", open=len(self._open), reasons=dict(self._cut))
            self._cut.clear()
            self._reported = now
        if self._open or self._cut:
            self._looking = loop.call_later(LOOK_SECONDS, self._look)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds; `bounded_protocol` makes one for a server.

    What the parser finds is only counted; who is to act next is settled once for each piece that came, since this is
    done for every webhook.
    """

    of_server: Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As of asyncio."""
        self._begun = self._received = self._answered = 0
        self._framing_bytes = 0
        self._in_body = self._stalled = False
        self._settled: tuple[Owed | None, int] | None = None
        super().connection_made(transport)
        if self.of_server.admit(self):
            self._settle()
        else:
            self._refuse(503, "too many connections: try again")

    def connection_lost(self, exc: Exception | None) -> None:
        """As of asyncio."""
        self.of_server.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As of asyncio. Before its headers are complete, a request is read a piece at a time: none is large."""
        while len(data) > HEADER_BYTES_MAX and not self._in_body:
            self._feed(data[:HEADER_BYTES_MAX])
            data = data[HEADER_BYTES_MAX:]
            if self.transport.is_closing():
                return
        self._feed(data)

    def _feed(self, piece: bytes) -> None:
        self._framing_bytes += len(piece)
        super().data_received(piece)
        if self._framing_bytes > FRAMING_BYTES_MAX:
            self.of_server.count("body with too much around it")
            self.transport.abort()
        elif self._framing_bytes > HEADER_BYTES_MAX and not self._in_body and not self.transport.is_closing():
            self.of_server.count("headers too large")
            self._refuse(431, f"the headers are larger than {HEADER_BYTES_MAX} bytes")
        else:
            self._settle()
            if self._in_body:
                self.headers = []

    def on_message_begin(self) -> None:
        """As of httptools."""
        if self._begun - self._answered >= PIPELINED_MAX:
            raise TooManyRequests
        self._begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """As of httptools."""
        self._in_body = True
        super().on_headers_complete()
        # Headers after the body mean nothing to us. The request has the list so far.
        self.headers = []
        if self.of_server.draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """As of httptools."""
        self._framing_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """As of httptools."""
        self._in_body = False
        self._framing_bytes = 0  # What follows in the same piece is not counted: it is not much.
        self._received += 1
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As of uvicorn: an answer is written."""
        self._answered += 1
        self._settle()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """As of uvicorn: what came is no request."""
        self.of_server.count("no HTTP")
        super().send_400_response(msg)

    def _unsupported_upgrade_warning(self) -> None:
        """As of uvicorn, which has two warnings for each. The request is answered as one without."""

    def pause_writing(self) -> None:
        """As of asyncio: the client does not take what we send."""
        self._stalled = True
        self._settle()
        super().pause_writing()

    def resume_writing(self) -> None:
        """As of asyncio."""
        self._stalled = False
        self._settle()
        super().resume_writing()

    def shutdown(self) -> None:
        """As of uvicorn: the server ends. If it is drained, an idle connection has its time, since a request may be on
        its way to us; the answer to the last request that has come says that the connection is closed.
        """
        if not self.of_server.draining:
            super().shutdown()
        elif self._in_body or self._received > self._answered:
            self.cycle.keep_alive = False
        elif not self._begun:
            self.of_server.wait(self, LAST_TIMEOUT_SECONDS)

    def waited_too_long(self) -> None:
        """End the connection, with an answer if a part of the headers came."""
        owed = self._settled[0] if self._settled else None
        if self.transport.is_closing():
            self.transport.abort()
        elif owed in (Owed.FIRST, Owed.NEXT):
            self.transport.close()
        elif owed is Owed.HEADERS:
            self.of_server.count("too slow")
            self._refuse(408, f"the headers did not come within {HEADER_TIMEOUT_SECONDS:g} s")
        else:
            self.of_server.count("too slow")
            self.transport.abort()

    def _settle(self) -> None:
        """Note what the client owes us, if it is its turn, and until when."""
        if self.transport.is_closing():
            self.of_server.see_off(self)
            return
        owed = self._owed()
        settled = (owed, self._begun)
        if settled == self._settled:
            return
        before, self._settled = self._settled, settled
        match owed:
            case None:
                self.of_server.stop_waiting(self)
            case Owed.FIRST | Owed.HEADERS:
                self.of_server.wait(self, HEADER_TIMEOUT_SECONDS)
            case Owed.BODY:
                self.of_server.wait(self, BODY_TIMEOUT_SECONDS, goes_on=before == (Owed.HEADERS, self._begun))
            case Owed.REST:
                self.of_server.wait(self, REST_TIMEOUT_SECONDS)
            case Owed.NEXT:
                self.of_server.wait(self, IDLE_TIMEOUT_SECONDS)
            case Owed.READING:
                self.of_server.wait(self, ANSWER_TIMEOUT_SECONDS)
            case _:
                assert_never(owed)

    def _owed(self) -> Owed | None:
        if self._stalled:
            return Owed.READING
        if self._received > self._answered:
            return None
        if self._in_body:
            return Owed.REST if self._answered > self._received else Owed.BODY
        if self._begun > self._received:
            return Owed.HEADERS
        return Owed.NEXT if self._begun else Owed.FIRST

    def _refuse(self, status: int, message: str) -> None:
        """Close the connection, with an answer if none is due to an earlier request."""
        if self._received > self._answered or self._stalled:
            self.transport.abort()
            return
        body = json.dumps({"error": message}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        self.of_server.wait(self, REST_TIMEOUT_SECONDS)


def _is_not_counted(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's is not one that anybody may cause as often as they like, and that is counted."""
    return record.msg != "Invalid HTTP request received."


def bounded_protocol(count_max: int) -> type[BoundedProtocol]:
    """The protocol of a server that holds at most `count_max` connections."""
    logging.getLogger("uvicorn.error").addFilter(_is_not_counted)

    class OfServer(BoundedProtocol):
        of_server = Connections(count_max)

    return OfServer
