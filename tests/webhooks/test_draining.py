"""The end of the web process: whatever has reached it is answered, and nothing new is taken."""

import asyncio
import socket

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.ports import reserved_port
from tests.system import until
from webhooks.connections import backlog, bounded_protocol
from webhooks.draining import DrainingServer

ASK = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def _answer(_: Request) -> Response:
    return Response("here")


async def test_what_has_reached_it_is_answered() -> None:
    """I1, A12: as it ends, a connection waits to be accepted, one has sent nothing yet, one has sent half of a request,
    and one is idle and used again: all are answered, and told that their connection ends.
    """
    port = reserved_port()
    protocol = bounded_protocol(100)
    config = uvicorn.Config(
        Starlette(routes=[Route("/", _answer)]),
        host="127.0.0.1",
        port=port,
        http=protocol,
        lifespan="off",
        log_config=None,
        backlog=backlog(100),
    )
    server = DrainingServer(config, protocol, sockets=[], at_end=lambda: None)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    idle, silent, half = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    idle[1].write(ASK)
    assert b"connection: close" not in await _answered(idle[0])
    half[1].write(ASK[:9])

    async def accepted() -> bool:
        return 3 == len(server.server_state.connections)

    await until(accepted, what="three connections")
    waiting = socket.create_connection(("127.0.0.1", port))
    # The loop has had no turn since: nobody has accepted it.
    ending = asyncio.create_task(server.shutdown())
    await asyncio.sleep(0)
    late = await asyncio.open_connection(sock=waiting)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    for (reader, writer), rest in ((idle, ASK), (silent, ASK), (half, ASK[9:]), (late, ASK)):
        writer.write(rest)
        assert b"connection: close" in await _answered(reader)
        assert b"" == await reader.read(), "closed"
        writer.close()
    await ending


async def _answered(reader: asyncio.StreamReader) -> bytes:
    """The head of an answer, whose body has come."""
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert b"here" == await reader.readexactly(4)
    return head
