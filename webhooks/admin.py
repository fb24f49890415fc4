"""The admin token, which all admin routes need, and GET /healthz, /readyz and /status."""

import asyncio
import dataclasses
from contextlib import AbstractAsyncContextManager

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.connection import Connection, PostgresAway, unfit_because
from db.sync.audit_reports import select_last_audit
from db.sync.status import require_migrated, select_backlog, select_workers, stripe_use
from runtime.bell import Bell
from runtime.logs import Complaints
from runtime.settings import Settings
from webhooks.answers import Refusal, json_answer
from webhooks.database import Database, refusal_of, state_of
from webhooks.tokens import has_token

READY_TIMEOUT_SECONDS = 2.0

log = structlog.get_logger()


class Admin:
    """What every admin route needs: the token's check, the settings, the bell, complaints and a connection."""

    def __init__(self, settings: Settings, bell: Bell, complaints: Complaints) -> None:
        self.bell = bell
        self.complaints = complaints
        self.live_mode = settings.live_mode
        """The mode that can be read from Stripe; None without an API key."""
        self.database = Database(
            settings.database_url, application_name="subledger web admin", connections_max=4
        )
        self._token = settings.admin_token

    def require_token(self, request: Request) -> None:
        """Raise Refusal unless the request has the admin token."""
        if self._token is None:
            raise Refusal(403, "admin routes are off: set ADMIN_TOKEN and restart the web process")
        if not has_token(request, self._token):
            raise Refusal(401, "the Authorization header must be: Bearer ADMIN_TOKEN")

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """A connection for one request. Raises Refusal while Postgres is away, or cannot be worked with."""
        return self.database.connection()

    async def close(self) -> None:
        """Close the pool without waiting."""
        await self.database.close()


class AdminRoutes:
    """GET /healthz, /readyz and /status."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin
        self._looking: asyncio.Task[Response] | None = None

    @property
    def routes(self) -> list[Route]:
        """What create_app adds."""
        return [
            Route("/healthz", self.healthz),
            Route("/readyz", self.readyz),
            Route("/status", self.status),
        ]

    async def healthz(self, _: Request) -> Response:
        """The process runs."""
        return json_answer({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        """Postgres answers and is migrated. Redis is reported, not required: without it the sweep does the work.

        Nobody needs a token for it, so all who ask while one look is under way get its answer.
        """
        return await asyncio.shield(self.look())

    def look(self) -> asyncio.Task[Response]:
        """The look that is under way, or a new one; it logs what is wrong around us and will not end on its own."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="readiness")
        return self._looking

    async def _look(self) -> Response:
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                async with (await self._admin.database.pool()).acquire() as connection:
                    await require_migrated(connection)
            postgres = "ok"
            self._admin.complaints.end(during="readiness")
        except PostgresAway as error:
            postgres = state_of(error)
            if because := unfit_because(error):
                self._admin.complaints.about(because, during="readiness")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            log.warning("not ready", error=repr(error))
            postgres = refusal_of(error)
        redis = "ok" if await self._admin.bell.reachable() else "away: the sweep does its work"
        status = 200 if postgres == "ok" else 503
        return json_answer({"postgres": postgres, "redis": redis}, status=status)

    async def status(self, request: Request) -> Response:
        """How far the records are behind."""
        self._admin.require_token(request)
        async with self._admin.connection() as connection:
            backlog = await select_backlog(connection, live_mode=self._admin.live_mode)
            audit = await select_last_audit(connection)
            use = stripe_use(await select_workers(connection))
        backlog_now = {**dataclasses.asdict(backlog), "settled": backlog.settled}
        return json_answer({**backlog_now, "last_audit": audit, "stripe": use})
