"""POST /webhooks/stripe: verify, store and ring, and nothing else before the answer."""

import time
from collections.abc import Mapping

import structlog
from starlette.types import Receive, Scope, Send

from runtime.envelope import read_envelope
from runtime.metrics import WEBHOOKS_REFUSED
from runtime.settings import Settings
from runtime.tally import Tally
from webhooks.answers import Refusal, json_answer
from webhooks.bodies import Bodies, GivenUp, too_large
from webhooks.inbox import Inbox, InboxUnavailable, TracedInbox
from webhooks.request_log import RECEIVED_EVENT
from webhooks.signature import BadSignature, require_header, verify_signature

RECEIVED = json_answer({"received": True})

log = structlog.get_logger()


def _tell_refused(count: int, reasons: Mapping[str, int]) -> None:
    log.warning("webhooks refused", count=count, reasons=reasons)


class WebhookEndpoint:
    """A bare ASGI application: a request object and a middleware would cost a third of the rate."""

    def __init__(self, settings: Settings, inbox: Inbox | TracedInbox) -> None:
        self._settings = settings
        self._inbox = inbox
        self._bodies = Bodies()
        self._tally = Tally(_tell_refused)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            signature = self._signature(scope)
            body = await self._bodies.read(receive, bytes_max=self._settings.body_bytes_max)
            self._verify(signature, body)
            event = read_envelope(body, live_mode_default=self._settings.live_mode or False)
            scope[RECEIVED_EVENT] = event
            await self._inbox.store(event)
        except Refusal as refusal:
            answer = json_answer({"error": refusal.message}, status=refusal.status)
            if isinstance(refusal, GivenUp):
                answer.headers["Connection"] = "close"
        except InboxUnavailable:
            answer = json_answer({"error": "the event could not be stored: send it again"}, status=503)
        else:
            answer = RECEIVED
        if answer is not RECEIVED:
            WEBHOOKS_REFUSED.labels(answer.status_code).inc()
        await answer(scope, receive, send)

    def _signature(self, scope: Scope) -> str:
        """The signature header of a request whose body is worth reading."""
        declared = _header(scope, b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > self._settings.body_bytes_max:
            raise too_large(self._settings.body_bytes_max)
        header = _header(scope, b"stripe-signature")
        try:
            return require_header(None if header is None else header.decode("latin-1"))
        except BadSignature as error:
            raise self._refused(error) from None

    def _verify(self, signature: str, body: bytes) -> None:
        try:
            verify_signature(
                body,
                signature,
                secrets=self._settings.stripe_webhook_secrets,
                now=time.time(),
                tolerance_seconds=self._settings.tolerance_seconds,
            )
        except BadSignature as error:
            raise self._refused(error) from None

    def _refused(self, error: BadSignature) -> Refusal:
        self._tally.count(str(error))
        return Refusal(400, str(error))


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
