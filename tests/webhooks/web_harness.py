"""The real application under a real uvicorn, on a port of its own, and a client that distrusts every answer."""

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvicorn
import yarl
from starlette.types import ASGIApp

from runtime.settings import Settings
from tests.ports import closed_port
from tests.signing import signature_header
from tests.system import ADMIN_TOKEN, until
from webhooks.app import create_app
from webhooks.connections import backlog, bounded_protocol

# Not of the shape whsec_..., which the log would mask by itself: it is the code that must keep them to itself.
SECRET = "signing-secret-of-today"
OLD_SECRET = "signing-secret-of-yesterday"
FOREIGN_SECRET = "signing-secret-of-somebody-else"
NEVER_SHOWN = (SECRET, OLD_SECRET, ADMIN_TOKEN)


def settings(
    *,
    database_url: str | None = None,
    redis_url: str | None = None,
    secrets: tuple[str, ...] = (OLD_SECRET, SECRET),
    admin_token: str | None = ADMIN_TOKEN,
    ring_timeout_ms: int = 60_000,
) -> Settings:
    """Settings of a web process. A server that is not named is away: nothing listens at its address.

    Redis has so long that a busy machine loses no ring; one that is to hang needs a shorter time.
    """
    return Settings(
        database_url=database_url or f"postgresql://nobody@127.0.0.1:{closed_port()}/none",
        redis_url=redis_url or f"redis://127.0.0.1:{closed_port()}/0",
        stripe_webhook_secrets=secrets,
        admin_token=admin_token,
        ring_timeout_ms=ring_timeout_ms,
    )


def event(event_id: str, **fields: object) -> bytes:
    """A webhook as Stripe writes it, indented as Stripe does; `fields` replace those of the envelope."""
    envelope = {
        "id": event_id,
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": 1_790_000_000,
        "data": {"object": {"id": "cus_1", "object": "customer"}},
        "livemode": False,
        "type": "customer.updated",
    }
    return json.dumps(envelope | fields, indent=2).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def error(self) -> str:
        """The sentence that says what was wrong."""
        assert isinstance(self.body, dict)
        assert isinstance(self.body["error"], str)
        return self.body["error"]


class SilentServer(asyncio.Protocol):
    """Accepts connections and all their bytes, and never answers."""

    def __init__(self) -> None:
        self.connections: list[asyncio.BaseTransport] = []
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections.append(transport)


@asynccontextmanager
async def silent_server() -> AsyncIterator[SilentServer]:
    """A server that hangs, on a port of its own."""
    silent = SilentServer()
    async with await asyncio.get_running_loop().create_server(lambda: silent, "127.0.0.1", 0) as server:
        silent.port = server.sockets[0].getsockname()[1]
        yield silent
        for connection in silent.connections:
            connection.close()


class Door:
    """A client of the endpoint; every answer must be JSON and hold no secret."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self.port = port

    async def ask(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, data: Any = None
    ) -> Answer:
        """Send one request, follow no redirect."""
        async with self._session.request(
            method,
            yarl.URL(f"http://127.0.0.1:{self.port}{path}", encoded=True),
            headers=headers,
            data=data,
            allow_redirects=False,
        ) as response:
            text = await response.text()
            shown = f"{dict(response.headers)} {text}"
            assert not [secret for secret in NEVER_SHOWN if secret in shown], "an answer shows a secret"
            assert "application/json" == response.headers["Content-Type"]
            return Answer(
                status=response.status,
                headers=dict(response.headers),
                body=json.loads(text) if text else None,
            )

    async def post(self, body: bytes, *, header: str | None = None, data: Any = None) -> Answer:
        """Post a webhook, signed with the second of the secrets unless a header is given; '' sends none."""
        if header is None:
            header = signature_header(body, SECRET)
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if header:
            headers["Stripe-Signature"] = header
        return await self.ask(
            "POST", "/webhooks/stripe", headers=headers, data=io.BytesIO(body) if data is None else data
        )

    async def status(self, token: str = ADMIN_TOKEN) -> Answer:
        """GET /status as an operator."""
        return await self.ask("GET", "/status", headers={"Authorization": f"Bearer {token}"})


@asynccontextmanager
async def client_of(port: int) -> AsyncIterator[Door]:
    """A client of what listens, or is about to listen, on a port of this machine; entered once /healthz answers."""
    # Shorter than the server's, which would close a connection while a request is on its way.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    async with aiohttp.ClientSession(
        connector=connector, timeout=aiohttp.ClientTimeout(total=120)
    ) as session:
        door = Door(session, port)

        async def answers() -> bool:
            try:
                return (await door.ask("GET", "/healthz")).status == 200
            except aiohttp.ClientError:
                return False

        await until(answers, what="/healthz")
        yield door


@asynccontextmanager
async def open_door(settings: Settings, *, connections: int = 1000) -> AsyncIterator[Door]:
    """The application, served in this process as `subledger web` serves it; stopped in good order at the end."""
    async with served(create_app(settings), connections=connections) as port, client_of(port) as door:
        yield door


@asynccontextmanager
async def served(app: ASGIApp, *, connections: int) -> AsyncIterator[int]:
    """An application, served as `subledger web` serves ours; entered with its port once it listens."""
    # The protocol is named because asyncio turns Nagle's algorithm off only where it is: 40 ms a request.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=bounded_protocol(connections),
                ws="none",
                backlog=backlog(connections),
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=10,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            listener.listen(backlog(connections))
            yield port
        finally:
            server.should_exit = True
            await serving
