"""Stripe's REST API over a sandbox, as one plain ASGI callable.

Benchmarks measure against this API too, so it keeps its answers as bytes and repeats them until anything in the
sandbox changes.
"""

import re
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count

import msgspec
from starlette.types import Receive, Scope, Send

from sandbox.account import Account
from sandbox.api.endpoints import PATH as ENDPOINTS_PATH
from sandbox.api.endpoints import Endpoints
from sandbox.api.limits import Gate
from sandbox.api.reads import Reads, Request, parse_parameters
from sandbox.api.texts import written
from sandbox.api.writes import CREATED, Writes
from sandbox.faults import BrokenOffError, Faults, Misbehavior
from sandbox.history import History
from sandbox.play import Sandbox
from sandbox.refusals import RefusedError, rate_limited, unrecognized
from sandbox.versions import ENDIVE
from sandbox.versions import version as known_version

_WRITTEN = re.compile(r"/v1/customers(/[^/]+)?")
"""The addresses to which customers are written."""
_KEY_PREFIXES = {"sk_test_": False, "rk_test_": False, "sk_live_": True, "rk_live_": True}
"""The prefixes of keys, and whether they select live mode."""


@dataclass(slots=True)
class Tally:
    """What the API was asked for: tests and benchmarks read it."""

    requests: int = 0
    refused: int = 0


class Api:
    """An ASGI application that serves a sandbox.

    `keys`: the API keys that are accepted; their prefix selects the mode. `api_version`: the account's default, used
    if a request names none. `history` must be given for the stale and hidden-when-new faults.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        keys: Iterable[str],
        *,
        faults: Faults | None = None,
        history: History | None = None,
        api_version: str = ENDIVE,
    ) -> None:
        self.sandbox = sandbox
        self.keys = frozenset(keys)
        self.tally = Tally()
        self.forbidden: set[str] = set()
        """Collections (`disputes`) that a restricted key (rk_...) may not read."""
        self.gate: Gate | None = None
        """Enforces Stripe's limits; None: requests are not counted."""
        self.unwritable: set[str] = {"webhook_endpoints"}
        """Collections that a restricted key may read and not write."""
        self.endpoints = Endpoints()
        """The webhook endpoints that are registered. They are words only: events are posted by `deliver`."""
        self._api_version = api_version
        self._misbehavior = Misbehavior(faults or Faults(), history)
        self._reads = Reads(sandbox, self._misbehavior)
        self._writes = Writes()
        self._request_numbers = count(1)
        self._ready: dict[tuple[object, ...], bytes] = {}
        self._ready_as_of = -1

    @property
    def faults(self) -> Faults:
        """How this API misbehaves; its fields may be set, or others put in its place, while it runs."""
        return self._misbehavior.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._misbehavior.faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.tally.requests += 1
        version = self._api_version
        headers: Sequence[tuple[str, str]] = ()
        form = b"" if scope["method"] == "GET" else await _read(receive)
        try:
            request_headers = dict(scope["headers"])
            version = request_headers.get(b"stripe-version", b"").decode() or version
            self._admit(request_headers, scope)
            await self._misbehavior.before_answer(receive, send)
            account = self._authenticate(request_headers, scope["method"], scope["path"])
            idempotency_key = request_headers.get(b"idempotency-key", b"").decode()
            status, body = 200, self._answer(scope, account, version, form, idempotency_key)
            if scope["method"] == "POST":
                await self._misbehavior.after_write(send)
        except RefusedError as refusal:
            self.tally.refused += 1
            status, body, headers = refusal.status, msgspec.json.encode(refusal.body), refusal.headers
        except BrokenOffError:
            return
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode()),
                    (b"date", formatdate(self.sandbox.now, usegmt=True).encode()),
                    (b"request-id", b"req_%014d" % next(self._request_numbers)),
                    (b"stripe-version", version.encode()),
                    *((name.encode(), value.encode()) for name, value in headers),
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    def _admit(self, headers: dict[bytes, bytes], scope: Scope) -> None:
        """Count the request. Raises RefusedError if it is one too many."""
        if self.gate is None:
            return
        account_id = headers.get(b"stripe-account", b"").decode()
        reason = self.gate.refuses(account_id, scope["method"], scope["path"])
        if reason is not None:
            raise rate_limited(reason)

    def _authenticate(self, headers: dict[bytes, bytes], method: str, path: str) -> Account:
        """The account that a request is about. Raises RefusedError when the key gives no access to it."""
        key = _api_key(headers.get(b"authorization", b"").decode())
        if key is None:
            raise RefusedError(
                401,
                "You did not provide an API key. You need to provide your API key in the Authorization header.",
            )
        if key not in self.keys:
            raise RefusedError(401, f"Invalid API Key provided: {key[:8]}****")
        closed = self.forbidden if method == "GET" else self.forbidden | self.unwritable
        if key.startswith("rk_") and any(path.startswith(f"/v1/{name}") for name in closed):
            raise RefusedError(
                403,
                f"The provided key '{key[:8]}****' does not have the required permissions for this endpoint.",
            )
        live_mode = next((live for prefix, live in _KEY_PREFIXES.items() if key.startswith(prefix)), False)
        account_id = headers.get(b"stripe-account", b"").decode()
        if account_id and (
            account_id in self.faults.revoked or (account_id, live_mode) not in self.sandbox.accounts
        ):
            raise RefusedError(
                403,
                f"The provided key '{key[:8]}****' does not have access to account '{account_id}' (or that account "
                "does not exist). Application access may have been revoked.",
                code="account_invalid",
            )
        return self.sandbox.account(account_id, live_mode=live_mode)

    def _answer(
        self, scope: Scope, account: Account, version: str, form: bytes, idempotency_key: str
    ) -> bytes:
        path: str = scope["path"]
        if path.startswith(ENDPOINTS_PATH):
            given = parse_parameters(scope["query_string"] if scope["method"] == "GET" else form)
            return msgspec.json.encode(
                self.endpoints.answer(scope["method"], path, account, given, now=self.sandbox.now)
            )
        if scope["method"] == "POST" and path == "/v1/invoices/create_preview":
            request = Request(
                account=account,
                view=account,
                shape=known_version(version),
                path=path,
                parameters=parse_parameters(form),
            )
            return msgspec.json.encode(self._reads.preview(request))
        if scope["method"] == "POST" and (_WRITTEN.fullmatch(path) or path in CREATED):
            return self._writes.once(
                account,
                known_version(version),
                path,
                form,
                idempotency_key,
                fails=self._misbehavior.fails_write(),
            )
        if scope["method"] != "GET":
            raise unrecognized(scope["method"], path)
        query: bytes = scope["query_string"]
        if self._misbehavior.rewrites_answers:
            return self._encoded(scope, account, version)
        if self._ready_as_of != self.sandbox.changes:
            self._ready.clear()
            self._ready_as_of = self.sandbox.changes
        question = (account.account_id, account.live_mode, path, query, version)
        body = self._ready.get(question)
        if body is None:
            body = self._ready[question] = self._encoded(scope, account, version)
        return body

    def _encoded(self, scope: Scope, account: Account, version: str) -> bytes:
        request = Request(
            account=account,
            view=self._misbehavior.view_of(account),
            shape=known_version(version),
            path=scope["path"],
            parameters=parse_parameters(scope["query_string"]),
        )
        return written(self._reads.answer(request))


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")
        body += part
        if not message.get("more_body"):
            return body


def _api_key(authorization: str) -> str | None:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip() or None
    if scheme.lower() == "basic":
        try:
            return b64decode(rest).decode().partition(":")[0] or None
        except ValueError:
            return None
    return None


def create_api(
    sandbox: Sandbox,
    keys: Iterable[str],
    *,
    faults: Faults | None = None,
    history: History | None = None,
    api_version: str = ENDIVE,
) -> Api:
    """The REST API of a sandbox as an ASGI application; see Api for the parameters."""
    return Api(sandbox, keys, faults=faults, history=history, api_version=api_version)
