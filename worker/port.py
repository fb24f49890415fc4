"""The worker's own port: whether it lives and works, and what it has counted. Only if WORKER_PORT is set."""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import msgspec
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client.core import Metric

from db.sync.workers import LOST_AFTER_SECONDS
from runtime.metrics import CONTENT_TYPE, exposition, gauge
from runtime.settings import Settings
from runtime.tally import Tally

CLOSE_SECONDS = 1.0
CONNECTIONS_MAX = 32
"""Whoever can reach the port may open connections, and each is a file that the worker's work then lacks."""
IDLE_SECONDS_MAX = 75.0

_SERVER_LOG = logging.getLogger("aiohttp.server")

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Health:
    """How a worker is."""

    seconds_since_beat: float | None
    """Since Postgres last took its sign of life; None: it has not worked yet, because it waits for Postgres."""
    redis: str
    """`ok`, or what is wrong: work goes on without it."""

    @property
    def ready(self) -> bool:
        """Whether it works."""
        return self.seconds_since_beat is not None and self.seconds_since_beat <= LOST_AFTER_SECONDS


@asynccontextmanager
async def open_port(settings: Settings, health: Callable[[], Health]) -> AsyncIterator[None]:
    """Answer while the body runs. If the port cannot be opened, say so, and work without it."""
    if settings.worker_port is None:
        yield
        return
    routes = _Routes(settings, health)
    app = web.Application(client_max_size=0)
    app.add_routes(
        [
            web.get("/healthz", routes.healthz),
            web.get("/readyz", routes.readyz),
            web.get("/metrics", routes.metrics),
        ]
    )
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=CLOSE_SECONDS,
        handle_signals=False,
        keepalive_timeout=IDLE_SECONDS_MAX,
    )
    await runner.setup()
    listening: asyncio.Server | None = None
    refused = _NoHttp()
    _SERVER_LOG.addFilter(refused)
    try:
        try:
            loop = asyncio.get_running_loop()
            listening = await loop.create_server(
                _bounded(runner), "0.0.0.0", settings.worker_port, backlog=CONNECTIONS_MAX
            )
        except OSError as error:
            log.error(
                "worker port not opened",
                port=settings.worker_port,
                error=str(error),
                remedy="give each worker on a machine its own WORKER_PORT",
            )
        yield
    finally:
        if listening is not None:
            listening.close()
        await runner.cleanup()
        _SERVER_LOG.removeFilter(refused)


def _bounded(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    """Connections of this server: if there are too many, the oldest makes room for the new one."""
    server = runner.server
    if server is None:
        raise RuntimeError("the runner is not set up")

    def connect() -> asyncio.Protocol:
        made = [each.transport for each in server.connections if each.transport is not None]
        for oldest in made[: max(len(made) - CONNECTIONS_MAX + 1, 0)]:
            oldest.abort()
        return server()

    return connect


class _NoHttp(logging.Filter):
    """Counts what is no request, which anybody who reaches the port may send: the server has a traceback for each."""

    def __init__(self) -> None:
        super().__init__()
        self._tally = Tally(_tell_refused)

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, HttpProcessingError):
            return True
        self._tally.count(type(error).__name__)
        return False


def _tell_refused(count: int, reasons: Mapping[str, int]) -> None:
    log.warning("requests at the worker's port refused", count=count, reasons=reasons)


class _Routes:
    def __init__(self, settings: Settings, health: Callable[[], Health]) -> None:
        self._token = settings.admin_token
        self._public = settings.metrics_public
        self._health = health

    async def healthz(self, _: web.Request) -> web.Response:
        """The process lives. Not whether it works: to restart it does not bring Postgres back."""
        return _json({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        """It works: Postgres takes its signs of life."""
        health = self._health()
        return _json({"ready": health.ready, **asdict(health)}, status=200 if health.ready else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """What this worker has counted."""
        if not self._public:
            if self._token is None:
                return _json({"error": "metrics are off: set ADMIN_TOKEN or METRICS_PUBLIC"}, status=403)
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            given_bytes = given.strip().encode("utf-8", "surrogateescape")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given_bytes, self._token.encode()):
                refusal = _json({"error": "the Authorization header must be: Bearer ADMIN_TOKEN"}, status=401)
                refusal.headers["WWW-Authenticate"] = "Bearer"
                return refusal
        body = exposition(metrics_of(self._health()))
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


def metrics_of(health: Health) -> Iterable[Metric]:
    """How it is, as metrics."""
    yield gauge("subledger_worker_ready", "1 if Postgres takes this worker's signs of life.", health.ready)
    yield gauge(
        "subledger_worker_redis_up",
        "1 if Redis wakes this worker; without it the sweep does the work.",
        health.redis == "ok",
    )


def _json(content: object, *, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), status=status, headers={"Content-Type": "application/json"}
    )
