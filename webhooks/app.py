"""The web process: its routes, and how it answers errors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from runtime.bell import SOCKET_TIMEOUT_SECONDS, Bell, connect_redis
from runtime.logs import Complaints
from runtime.settings import Settings, database_url_doubts, webhook_secret_doubts
from runtime.traces import tracing
from webhooks.admin import Admin, AdminRoutes
from webhooks.answers import Refusal, json_answer
from webhooks.api.api import CONNECTIONS_MAX, HOT_CONNECTIONS_MAX, Api
from webhooks.api.operation import Context
from webhooks.api.seen import SeenCustomers
from webhooks.api.stripe import Customers
from webhooks.backfills import BackfillRoutes
from webhooks.console.console import Console
from webhooks.customers import CustomerRoutes
from webhooks.database import Database
from webhooks.endpoint import WebhookEndpoint
from webhooks.inbox import Inbox, TracedInbox
from webhooks.metrics import MetricsRoute
from webhooks.request_log import RequestLog, is_wanted

log = structlog.get_logger()


def create_app(settings: Settings) -> Starlette:
    """The web process's application. Starts without Postgres and without Redis; says so in /readyz."""
    settings = settings.for_web()
    for doubt in database_url_doubts(settings.database_url) + webhook_secret_doubts(settings):
        log.warning("odd configuration", doubt=doubt)
    ring_seconds = settings.ring_timeout_ms / 1000
    redis = connect_redis(settings.redis_url, timeout_seconds=max(SOCKET_TIMEOUT_SECONDS, ring_seconds))
    bell = Bell(redis, timeout_seconds=ring_seconds)
    complaints = Complaints()
    inbox = Inbox(settings.database_url, bell, complaints)
    received = inbox if (traces := tracing()) is None else TracedInbox(inbox, traces)
    admin = Admin(settings, bell, complaints)
    admin_routes = AdminRoutes(admin)
    database, readers = (
        Database(settings.database_url, application_name=name, connections_max=CONNECTIONS_MAX)
        for name in ("subledger web api", "subledger web api, reading")
    )
    context = Context(
        settings=settings,
        database=database,
        readers=readers,
        hot=Database(
            settings.database_url,
            application_name="subledger web checks",
            connections_max=HOT_CONNECTIONS_MAX,
            keeps_plans=True,
        ),
        bell=bell,
        stripe=Customers(settings, database, complaints),
        seen=SeenCustomers(database),
    )
    api = Api(context)
    console = Console(admin, context)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await inbox.start()
        await api.start()
        looking = admin_routes.look()
        try:
            yield
        finally:
            looking.cancel()
            await inbox.close()
            await console.close()
            await admin.close()
            await api.close()
            await bell.close()

    app = Starlette(
        routes=[
            Route("/webhooks/stripe", WebhookEndpoint(settings, received), methods=["POST"]),
            *admin_routes.routes,
            *CustomerRoutes(admin).routes,
            *BackfillRoutes(admin).routes,
            *MetricsRoute(admin, public=settings.metrics_public).routes,
            *console.routes,
            *api.routes,
        ],
        exception_handlers={
            HTTPException: _answer_http_exception,
            Refusal: _answer_refusal,
            Exception: _answer_fault,
        },
        lifespan=lifespan,
    )
    if is_wanted():
        app.add_middleware(RequestLog)
    # Stripe follows no redirect: a URL with one slash too many is wrong, and the answer must say so.
    app.router.redirect_slashes = False
    return app


async def _answer_refusal(_: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, Refusal) else Refusal(500, "an internal error")
    answer = json_answer({"error": refusal.message}, status=refusal.status)
    if refusal.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


async def _answer_http_exception(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    headers = error.headers or {}
    messages = {
        404: "nothing is here: Stripe posts to /webhooks/stripe",
        405: f"only {headers.get('Allow')} is answered here",
    }
    answer = json_answer({"error": messages.get(error.status_code, error.detail)}, status=error.status_code)
    answer.headers.update(headers)
    return answer


async def _answer_fault(_: Request, __: Exception) -> Response:
    """Starlette raises the exception again after this answer, and uvicorn logs it with its traceback."""
    return json_answer({"error": "an internal error: the log has the details"}, status=500)
