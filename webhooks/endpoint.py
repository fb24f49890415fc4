"""POST /webhooks/stripe: verify, store and ring, and nothing else before the answer."""

import asyncio
import time

import structlog
from starlette.types import Receive, Scope, Send

from runtime.envelope import read_envelope
from runtime.settings import Settings
from webhooks.answers import Refusal, json_answer
from webhooks.inbox import Inbox, InboxUnavailable
from webhooks.signature import BadSignature, verify_signature

BODY_TIMEOUT_SECONDS = 20.0
RECEIVED = json_answer({"received": True})

log = structlog.get_logger()


class WebhookEndpoint:
    """A bare ASGI application: a request object and a middleware would cost a third of the rate."""

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
            # A client that trickles bytes would otherwise hold the connection forever.
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


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(413, f"the body is larger than {bytes_max} bytes")


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
