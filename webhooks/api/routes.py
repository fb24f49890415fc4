"""The routes of the API: who may ask, and what becomes of a request."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from webhooks.answers import Refusal, json_answer
from webhooks.api.operation import Call, Context, NoBody, Operation, Reply
from webhooks.api.problems import (
    AWAY,
    EVERY_KIND,
    FAULT,
    INVALID,
    NO_TOKEN,
    NOT_ALLOWED,
    TOO_LARGE,
    WRONG_METHOD,
    Problem,
    answer_problem,
)
from webhooks.api.requests import read_body_of, read_query
from webhooks.database import LostRace
from webhooks.tokens import has_token

TRIES = 5
"""Of a request whose transaction loses its races."""

log = structlog.get_logger()


def api_routes(context: Context, operations: Sequence[Operation[Any, Any]]) -> list[Route]:
    """One route for each path. The longest come first: a name may be any text, and so the rest of a path."""
    by_path: dict[str, dict[str, Operation[Any, Any]]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    paths = sorted(by_path, key=lambda path: -path.count("/"))
    return [Route(path.replace("}", ":id}"), _Path(context, by_path[path])) for path in paths]


class _Path:
    """All methods of one path. A bare ASGI application: so the route passes on every method."""

    def __init__(self, context: Context, operations: Mapping[str, Operation[Any, Any]]) -> None:
        self._context = context
        self._reading = replace(context, database=context.readers)
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except Problem as problem:
            answer = answer_problem(problem)
        except Refusal as refusal:
            answer = answer_problem(_problem_of(refusal))
        except Exception:
            await answer_problem(Problem(FAULT, "an internal error: the log has the details"))(
                scope, receive, send
            )
            raise  # uvicorn logs it with its traceback
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        operation = self._operations.get(method)
        if operation is None:
            allowed = ", ".join(sorted(self._operations))
            raise Problem(
                WRONG_METHOD,
                f"only {allowed} is answered here",
                remedy=f"use {allowed}",
                headers={"Allow": allowed},
            )
        self._require_token(request, operation)
        query = read_query(request, operation.query)
        body = NoBody() if operation.body is NoBody else await read_body_of(request, operation.body)
        context = self._reading if operation.reads else self._context
        call = Call(context=context, request=request, query=query, body=body)
        reply = await _handle(operation, call)
        if reply.content is None:
            return Response(status_code=reply.status, headers=dict(reply.headers))
        answer = json_answer(reply.content, status=reply.status)
        answer.headers.update(reply.headers)
        return answer

    def _require_token(self, request: Request, operation: Operation[Any, Any]) -> None:
        settings = self._context.settings
        if settings.admin_token is None and settings.read_token is None:
            raise Problem(
                NOT_ALLOWED,
                "the API is off, because no token is set",
                remedy="set ADMIN_TOKEN, and READ_TOKEN for services that only read, and restart the web process",
            )
        if settings.admin_token is not None and has_token(request, settings.admin_token):
            return
        if settings.read_token is None or not has_token(request, settings.read_token):
            raise Problem(
                NO_TOKEN,
                "the Authorization header is missing, or its token is not right",
                field="header.Authorization",
                remedy="send Authorization: Bearer, and ADMIN_TOKEN or (to read) READ_TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if not operation.reads:
            raise Problem(
                NOT_ALLOWED,
                "READ_TOKEN may read and check, and not do this",
                field="header.Authorization",
                remedy="send ADMIN_TOKEN",
            )


async def _handle(operation: Operation[Any, Any], call: Call[Any, Any]) -> Reply:
    """What the operation answers, tried again if it lost a race: each may be sent twice."""
    for attempt in range(1, TRIES):
        try:
            return await operation.handle(call)
        except LostRace:
            # Two that start again at the same moment meet again.
            await asyncio.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - not a secret
    return await operation.handle(call)


_BY_STATUS = {kind.status: kind for kind in reversed(EVERY_KIND)}


_REMEDIES = {
    INVALID: "name a customer by its custom_uid, uid or Stripe id, without characters that URLs reserve",
    TOO_LARGE: "send less",
    AWAY: "send the request again; /readyz says what is wrong",
}


def _problem_of(refusal: Refusal) -> Problem:
    """What the house's other routes answer as an error, as a problem."""
    kind = _BY_STATUS.get(refusal.status, FAULT)
    return Problem(
        kind,
        refusal.message,
        field="path" if kind is INVALID else None,
        remedy=_REMEDIES.get(kind),
    )
