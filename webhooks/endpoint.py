"""POST /webhooks/stripe: verify, store and ring, and nothing else before the answer."""

import asyncio
import time

import structlog
from starlette.types import Receive, Scope, Send

from runtime.envelope import read_envelope
from runtime.settings import MIB, Settings
from webhooks.answers import Refusal, json_answer
from webhooks.inbox import Inbox, InboxUnavailable
from webhooks.signature import BadSignature, require_header, verify_signature

BODY_TIMEOUT_SECONDS = 20.0
BODIES_BYTES_MAX = 64 * MIB
"""Of all bodies that are being read: nobody has proved yet to be Stripe."""
RECEIVED = json_answer({"received": True})

log = structlog.get_logger()


class WebhookEndpoint:
    """A bare ASGI application: a request object and a middleware would cost a third of the rate."""

    def __init__(self, settings: Settings, inbox: Inbox) -> None:
        self._settings = settings
        self._inbox = inbox
        self._bodies_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            signature = self._signature(scope)
            async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
                body = await self._read_body(receive)
            self._verify(signature, body)
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

    def _signature(self, scope: Scope) -> str:
        """The signature header of a request whose body is worth reading."""
        declared = _header(scope, b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > self._settings.body_bytes_max:
            raise _too_large(self._settings.body_bytes_max)
        header = _header(scope, b"stripe-signature")
        try:
            return require_header(None if header is None else header.decode("latin-1"))
        except BadSignature as error:
            raise _refused(error) from None

    async def _read_body(self, receive: Receive) -> bytes:
        bytes_max = self._settings.body_bytes_max
        chunks = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal(400, "the connection closed before the body was complete")
                chunk = message.get("body", b"")
                size += len(chunk)
                self._bodies_bytes += len(chunk)
                if size > bytes_max:
                    raise _too_large(bytes_max)
                if self._bodies_bytes > BODIES_BYTES_MAX:
                    raise Refusal(503, "too many large bodies come at once: send it again")
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
        finally:
            self._bodies_bytes -= size

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
            raise _refused(error) from None


def _refused(error: BadSignature) -> Refusal:
    log.warning("webhook refused", reason=str(error))
    return Refusal(400, str(error))


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(413, f"the body is larger than {bytes_max} bytes")


def _header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
