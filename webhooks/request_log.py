"""One line of the log for each request: with LOG_LEVEL=debug alone, since web answers thousands a second."""

import logging
import re
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.sync.inbox import SignedEvent

RECEIVED_EVENT = "subledger.event"
"""Where the webhook endpoint leaves in the scope what it has received."""

log = structlog.get_logger()


def is_wanted() -> bool:
    """Whether requests are logged, as LOG_LEVEL says at the start."""
    return logging.getLogger().isEnabledFor(logging.DEBUG)


class RequestLog:
    """Says of each request what was asked, what was answered, and how long it took; no id, name or query of a path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            event = scope.get(RECEIVED_EVENT)
            named = (
                {"event_id": event.event_id, "account": event.account_id, "type": event.type}
                if isinstance(event, SignedEvent)
                else {}
            )
            log.debug(
                "request",
                method=scope["method"],
                path=_without_ids(scope),
                status=status,
                duration_ms=round((time.perf_counter() - began) * 1000, 1),
                **named,
            )


def _without_ids(scope: Scope) -> str:
    """The path with the name of each parameter in place of its value; of an unknown route only that it is one."""
    if "endpoint" not in scope:
        return "unknown"
    path, named = str(scope["path"]), {str(each): name for name, each in scope.get("path_params", {}).items()}
    if not named:
        return path
    # All at once and between slashes: a short value may be a part of another one.
    values = "|".join(re.escape(value) for value in sorted(named, key=len, reverse=True))
    return re.sub(rf"(?<=/)(?:{values})(?=/|\Z)", lambda found: f"{{{named[found[0]]}}}", path)
