"""The door: Stripe posts here, operators look in. Nothing but verify, store and ring happens before an answer."""

import asyncio
import dataclasses
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from billing.kinds.found import is_id
from db.connection import Pool, PostgresAway, create_pool
from db.keys import CustomerKey
from db.records.refresh import RefreshState, select_full_customer, select_refresh_state, want_refresh
from db.sync.audits import select_last_audit
from db.sync.status import ping, select_backlog
from db.sync.usage import ask_for_usage, select_usage, select_usage_state
from runtime.bell import Bell, connect_redis
from runtime.envelope import read_envelope
from runtime.settings import Settings, webhook_secret_doubts
from webhooks.answers import Refusal, json_answer
from webhooks.backfills import BackfillDesk
from webhooks.inbox import Inbox, InboxUnavailable
from webhooks.signature import BadSignature, verify_signature

BODY_TIMEOUT_SECONDS = 20.0
READY_TIMEOUT_SECONDS = 2.0
REFRESH_POLL_SECONDS = 0.1

NotMigrated = (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedColumnError)
"""What Postgres says of a table that is not there yet."""
NOT_MIGRATED = "not migrated: run `subledger migrate`"

log = structlog.get_logger()


class WebhookEndpoint:
    """POST /webhooks/stripe, as a bare ASGI application: a request object and a middleware cost a third of the rate."""

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self._settings = settings
        self._inbox = inbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                body = await self._read_body(scope, receive)
            self._verify(scope, body)
            event = read_envelope(body, live_mode_default=self._settings.live_mode or False)
            await self._inbox.store(event)
        except Refusal as refusal:
            answer = json_answer({"error": refusal.message}, status=refusal.status)
        except TimeoutError:
            message = f"the body did not come within {BODY_TIMEOUT_SECONDS:g} s"
            answer = json_answer({"error": message}, status=408)
            # Who sends a byte at a time would otherwise keep the connection for ever.
            answer.headers["Connection"] = "close"
        except InboxUnavailable:
            answer = json_answer({"error": "the event could not be stored: send it again"}, status=503)
        else:
            answer = RECEIVED
        await answer(scope, receive, send)

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        bytes_max = self._settings.body_bytes_max
        declared = _header(scope, b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > bytes_max:
            raise _too_large(bytes_max)
        chunks = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refusal(400, "the connection closed before the body was complete")
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > bytes_max:
                raise _too_large(bytes_max)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _verify(self, scope: Scope, body: bytes) -> None:
        header = _header(scope, b"stripe-signature")
        try:
            verify_signature(
                body,
                None if header is None else header.decode("latin-1"),
                secrets=self._settings.stripe_webhook_secrets,
                now=time.time(),
                tolerance_seconds=self._settings.tolerance_seconds,
            )
        except BadSignature as error:
            log.warning("webhook refused", reason=str(error))
            raise Refusal(400, str(error)) from None


def create_app(settings: Settings) -> Starlette:
    """The web process's application. Starts without Postgres and without Redis; says so in /readyz."""
    settings = settings.for_web()
    for doubt in webhook_secret_doubts(settings):
        log.warning("odd configuration", doubt=doubt)
    bell = Bell(connect_redis(settings.redis_url), timeout_seconds=settings.ring_timeout_ms / 1000)
    inbox = Inbox(settings.database_url, bell)
    desk = OperatorsDesk(settings, bell)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await inbox.start()
        try:
            yield
        finally:
            await inbox.close()
            await desk.close()
            await bell.close()

    app = Starlette(
        routes=[
            Route("/webhooks/stripe", WebhookEndpoint(settings, inbox), methods=["POST"]),
            Route("/healthz", desk.healthz),
            Route("/readyz", desk.readyz),
            Route("/status", desk.status),
            Route("/customers/{customer_id}/refresh", desk.refresh, methods=["POST"]),
            Route("/customers/{customer_id}/usage", desk.usage, methods=["POST"]),
            *BackfillDesk(settings, bell, database=desk.database, require_admin=desk.require_admin).routes,
        ],
        exception_handlers={
            HTTPException: _answer_http_exception,
            Refusal: _answer_refusal,
            Exception: _answer_fault,
        },
        lifespan=lifespan,
    )
    # Stripe follows no redirect: a URL that is a slash off is a wrong URL, and is to be told so.
    app.router.redirect_slashes = False
    return app


class OperatorsDesk:
    """What operators and load balancers ask."""

    def __init__(self, settings: Settings, bell: Bell) -> None:
        self._settings = settings
        self._bell = bell
        self._pool: Pool | None = None
        self._opening = asyncio.Lock()

    async def healthz(self, _: Request) -> Response:
        """The process runs."""
        return json_answer({"status": "ok"})

    async def readyz(self, _: Request) -> Response:
        """Postgres answers and is migrated. Redis is reported, not required: without it the sweep does the work."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                async with (await self.database()).acquire() as connection:
                    await ping(connection)
            postgres = "ok"
        except PostgresAway:
            postgres = "away"
        except NotMigrated:
            postgres = NOT_MIGRATED
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            log.warning("not ready", error=repr(error))
            postgres = f"refuses: {type(error).__name__}: check DATABASE_URL"
        redis = "ok" if await self._bell.reachable() else "away: the sweep does its work"
        status = 200 if postgres == "ok" else 503
        return json_answer({"postgres": postgres, "redis": redis}, status=status)

    async def status(self, request: Request) -> Response:
        """How far the records are behind."""
        self.require_admin(request)
        try:
            async with (await self.database()).acquire() as connection:
                backlog = await select_backlog(connection, live_mode=self._settings.live_mode)
                audit = await select_last_audit(connection)
        except PostgresAway:
            raise Refusal(503, "Postgres is away") from None
        except NotMigrated:
            raise Refusal(503, f"Postgres is {NOT_MIGRATED}") from None
        return json_answer({**dataclasses.asdict(backlog), "settled": backlog.settled, "last_audit": audit})

    async def refresh(self, request: Request) -> Response:
        """Read one customer's lists at Stripe now, and answer with its record once it is exact.

        What a checkout success page calls. `wait`: seconds, 1 to 30. 504 with the record so far when it takes longer;
        404 where neither Stripe nor anything else knows the customer.
        """
        key = self._customer_to_read(request)
        deadline = time.monotonic() + _wait_seconds(request)
        try:
            async with (await self.database()).acquire() as connection:
                await want_refresh(connection, key)
            await self._bell.ring_bulk()
            await self._bell.ring()
            state = await self._refreshed(key, deadline)
            async with (await self.database()).acquire() as connection:
                record = await select_full_customer(connection, key)
        except PostgresAway:
            raise Refusal(503, "Postgres is away") from None
        if state.finished:
            return json_answer({"customer": record})
        if state.unknown:
            raise Refusal(404, f"Stripe knows no customer {key.id} in this account and mode")
        reason = state.error or "Stripe has not been read to the end in time"
        return json_answer({"error": reason, "customer": record}, status=504)

    async def _refreshed(self, key: CustomerKey, deadline: float) -> RefreshState:
        """The state of a refresh once it is finished, has failed, or has used up its time."""
        while True:
            async with (await self.database()).acquire() as connection:
                state = await select_refresh_state(connection, key)
            if state.finished or state.unknown or state.error is not None or time.monotonic() > deadline:
                return state
            await asyncio.sleep(REFRESH_POLL_SECONDS)

    async def usage(self, request: Request) -> Response:
        """Read one customer's metered usage at Stripe now, and answer with it.

        `wait`: seconds, 1 to 30. 504 with the usage as it was read last when it takes longer. `note` tells what of it
        Stripe refuses to say.
        """
        key = self._customer_to_read(request)
        deadline = time.monotonic() + _wait_seconds(request)
        try:
            async with (await self.database()).acquire() as connection:
                asked = await ask_for_usage(connection, key)
            await self._bell.ring_bulk()
            while True:
                async with (await self.database()).acquire() as connection:
                    state = await select_usage_state(connection, key, asked)
                    usage = await select_usage(connection, key)
                if state.answered or state.error is not None or time.monotonic() > deadline:
                    break
                await asyncio.sleep(REFRESH_POLL_SECONDS)
        except PostgresAway:
            raise Refusal(503, "Postgres is away") from None
        if state.answered:
            return json_answer({"usage": usage, "note": state.error})
        reason = state.error or "Stripe has not been read to the end in time"
        return json_answer({"error": reason, "usage": usage}, status=504)

    def _customer_to_read(self, request: Request) -> CustomerKey:
        """Whom a request of an operator names, to be read from Stripe. Raises Refusal."""
        self.require_admin(request)
        live_mode = self._settings.live_mode
        if live_mode is None:
            raise Refusal(
                409, "without STRIPE_API_KEY nothing can be read from Stripe: set it, or wait for webhooks"
            )
        key = CustomerKey(
            request.query_params.get("account", ""), live_mode, request.path_params["customer_id"]
        )
        if not all(is_id(part) and "\x00" not in part for part in (key.account_id or "-", key.id)):
            raise Refusal(422, "the customer and the account must be ids of Stripe")
        return key

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    async def database(self) -> Pool:
        """The pool of this desk, opened when it is first needed."""
        async with self._opening:
            if self._pool is None:
                self._pool = await create_pool(
                    self._settings.database_url,
                    min_size=0,
                    max_size=4,
                    application_name="subledger web desk",
                    command_timeout_seconds=10.0,
                )
            return self._pool

    def require_admin(self, request: Request) -> None:
        """Raise Refusal unless the request has the admin token."""
        token = self._settings.admin_token
        if token is None:
            raise Refusal(403, "admin routes are off: set ADMIN_TOKEN and restart the web process")
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # A header is bytes, which Starlette reads as Latin-1; the token is text, which the client sent as UTF-8.
        given_bytes = given.strip().encode("latin-1")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given_bytes, token.encode()):
            raise Refusal(401, "the Authorization header must be: Bearer ADMIN_TOKEN")


def _wait_seconds(request: Request) -> int:
    text = request.query_params.get("wait", "10")
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= 30):
        raise Refusal(422, "wait must be a whole number of seconds from 1 to 30")
    return int(text)


async def _answer_refusal(_: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, Refusal) else Refusal(500, "an error of ours")
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
    return json_answer({"error": "an error of ours: the log says which"}, status=500)


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(413, f"the body is larger than {bytes_max} bytes")


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


RECEIVED = json_answer({"received": True})
