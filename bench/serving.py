"""A bare HTTP server for the simulated API: at Stripe an answer takes no CPU of ours, here it takes some from what is
measured.

It understands what our clients send: one request at a time on a connection that is kept, with a Content-Length if it
has a body.
"""

import asyncio
import gc
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import uvloop
from starlette.types import ASGIApp, Message, Scope

_STATUS_LINES = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}


def serve(app: ASGIApp, *, port: int) -> None:
    """Answer on this port until the process is ended."""

    async def answer() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Connection(app), "127.0.0.1", port)
        await server.serve_forever()

    gc.freeze()  # nothing of an account is ever garbage
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(answer())


class _Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._buffer = b""
        self._closed = asyncio.Event()
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._closed.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        first, *lines = head.split(b"\r\n")
        headers = []
        length = 0
        for line in lines:
            name, _, value = line.partition(b":")
            name, value = name.lower(), value.strip()
            headers.append((name, value))
            if name == b"content-length":
                length = int(value)
        if len(body) < length:
            return
        self._buffer = b""
        method, target, _ = first.split(b" ")
        path, _, query = target.partition(b"?")
        scope: Scope = {
            "type": "http",
            "method": method.decode(),
            "path": unquote(path.decode()),
            "query_string": query,
            "headers": headers,
        }
        self._answering = asyncio.get_running_loop().create_task(self._answer(scope, body))

    async def _answer(self, scope: Scope, body: bytes) -> None:
        head = b""
        received = whole = False

        async def receive() -> Message:
            nonlocal received
            if received:
                await self._closed.wait()
                return {"type": "http.disconnect"}
            received = True
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            nonlocal head, whole
            if message["type"] == "http.response.start":
                lines = [b"%b: %b\r\n" % header for header in message["headers"]]
                head = b"".join([_STATUS_LINES[message["status"]], *lines, b"\r\n"])
                return
            whole = not message.get("more_body")
            self._transport.write(head + message["body"])

        await self._app(scope, receive, send)
        if not whole:
            self._transport.close()  # the answer was broken off
