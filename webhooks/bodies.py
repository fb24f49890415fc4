"""Reads bodies. Those of webhooks are bounded in time and size, and all together: nobody has proved to be Stripe."""

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from runtime.settings import MIB
from webhooks.answers import Refusal

BODY_TIMEOUT_SECONDS = 20.0
BODIES_BYTES_MAX = 64 * MIB


class GivenUp(Refusal):
    """The rest of the body is not awaited: the connection is closed after the answer."""


class Bodies:
    """The bodies that are being read.

    If they take too much room, the one that has been read for longest makes room: what Stripe sends comes in
    milliseconds, so whoever holds many large bodies half-sent harms nobody else.
    """

    def __init__(self) -> None:
        self._reading: dict[asyncio.Timeout, int] = {}
        """How much of each has come, the longest-read first."""
        self._bytes = 0

    async def read(self, receive: Receive, *, bytes_max: int) -> bytes:
        """The whole body. Raises Refusal."""
        limit = asyncio.timeout(BODY_TIMEOUT_SECONDS)
        self._reading[limit] = 0
        try:
            async with limit:
                return await self._read(receive, limit, bytes_max)
        except TimeoutError:
            if limit not in self._reading:
                raise _crowded_out() from None
            raise GivenUp(408, f"the body did not come within {BODY_TIMEOUT_SECONDS:g} s") from None
        finally:
            self._bytes -= self._reading.pop(limit, 0)

    async def _read(self, receive: Receive, limit: asyncio.Timeout, bytes_max: int) -> bytes:
        chunks = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _broken_off()
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > bytes_max:
                raise too_large(bytes_max)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)
            self._make_room(limit, len(chunk))

    def _make_room(self, limit: asyncio.Timeout, more: int) -> None:
        if limit not in self._reading:
            raise _crowded_out()
        self._reading[limit] += more
        self._bytes += more
        while self._bytes > BODIES_BYTES_MAX:
            longest = next(iter(self._reading))
            self._bytes -= self._reading.pop(longest)
            if longest is limit:
                raise _crowded_out()
            longest.reschedule(asyncio.get_running_loop().time())


async def read_body(request: Request, *, bytes_max: int) -> bytes:
    """The body of a request whose token was right, or is in it. Raises Refusal."""
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > bytes_max:
                raise too_large(bytes_max)
            chunks.append(chunk)
    except ClientDisconnect:
        raise _broken_off() from None
    return b"".join(chunks)


def _broken_off() -> Refusal:
    return Refusal(400, "the connection closed before the body was complete")


def too_large(bytes_max: int) -> Refusal:
    """The answer to a body of more bytes."""
    return Refusal(413, f"the body is larger than {bytes_max} bytes")


def _crowded_out() -> GivenUp:
    return GivenUp(503, "too many large bodies come at once: send it again")
