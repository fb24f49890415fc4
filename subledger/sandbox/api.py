"""Stripe's REST API over the sandbox's objects: retrieve, list, paginate, expand, refuse as Stripe does.

One plain ASGI callable: it is also the API that load is measured against, so an answer to a repeated question comes
ready-made as bytes, until anything in the sandbox changes.
"""

from asyncio import create_task, sleep
from base64 import b64decode
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from itertools import count, islice
from operator import attrgetter
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from typing import TypeVar
from urllib.parse import parse_qsl, quote, unquote

import msgspec
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from subledger.sandbox import shapes
from subledger.sandbox.account import Account, Event
from subledger.sandbox.faults import Faults, History, PastView, RateMeter, draws
from subledger.sandbox.objects import (
    Charge,
    CheckoutSession,
    Customer,
    Dispute,
    Invoice,
    InvoicePayment,
    Price,
    Product,
    Refund,
    Subscription,
    Thing,
)
from subledger.sandbox.world import Sandbox

_LISTED = {
    "customers": "customer",
    "products": "product",
    "prices": "price",
    "subscriptions": "subscription",
    "invoices": "invoice",
    "invoice_payments": "invoice_payment",
    "payment_intents": "payment_intent",
    "charges": "charge",
    "refunds": "refund",
    "disputes": "dispute",
}
_KEY_PREFIXES = {"sk_test_": False, "rk_test_": False, "sk_live_": True, "rk_live_": True}
_LIST_LIMIT, _LIST_LIMIT_MAX = 10, 100
_PARAMETERS = frozenset(
    {
        "active",
        "charge",
        "created",
        "customer",
        "delivery_success",
        "email",
        "ending_before",
        "expand",
        "invoice",
    }
    | {"limit", "payment", "payment_intent", "price", "product", "starting_after", "status", "subscription"}
    | {"test_clock", "type", "types"}
)
_BY_SERIAL = attrgetter("serial")

AnyRow = TypeVar("AnyRow", Thing, Event)

Parameters = list[tuple[str, str]]
View = Account | PastView


class RefusedError(Exception):
    """An answer other than 200, with Stripe's error body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        error = {"message": message, "type": kind, "code": code, "param": param}
        self.body = {"error": {key: value for key, value in error.items() if value is not None}}
        self.headers = tuple(headers)


def _no_such(kind: str, object_id: str, param: str = "id") -> RefusedError:
    noun = kind.replace(".", " ").replace("_", " ")
    return RefusedError(404, f"No such {noun}: '{object_id}'", code="resource_missing", param=param)


@dataclass(slots=True)
class Tally:
    """What the API was asked for: tests and benchmarks read it."""

    requests: int = 0
    refused: int = 0
    by_path: dict[str, int] = field(default_factory=dict)


class Api:
    """An ASGI application that serves a sandbox.

    `keys`: the API keys that are accepted; their prefix selects the mode. `api_version`: the account's default, used
    where a request names none. `history` must be given for the stale and hidden-when-new faults.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        keys: Iterable[str],
        *,
        faults: Faults | None = None,
        history: History | None = None,
        api_version: str = shapes.ENDIVE,
    ) -> None:
        self.sandbox = sandbox
        self.keys = frozenset(keys)
        self.faults = faults or Faults()
        self.tally = Tally()
        self.forbidden: set[str] = set()
        """Collections (`disputes`) that a restricted key (rk_...) may not read."""
        self._history = history
        self._api_version = api_version
        self._draws = draws(self.faults.seed)
        self._meter = RateMeter()
        self._request_numbers = count(1)
        self._ready: dict[tuple[object, ...], bytes] = {}
        self._ready_as_of = -1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.tally.requests += 1
        version = self._api_version
        headers: Sequence[tuple[str, str]] = ()
        try:
            request_headers = dict(scope["headers"])
            version = request_headers.get(b"stripe-version", b"").decode() or version
            await self._misbehave(receive, send)
            account = self._authenticate(request_headers, scope["path"])
            status, body = 200, self._answer(scope, account, version)
        except RefusedError as refusal:
            self.tally.refused += 1
            status, body, headers = refusal.status, msgspec.json.encode(refusal.body), refusal.headers
        except _BrokenOffError:
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

    # Faults

    async def _misbehave(self, receive: Receive, send: Send) -> None:
        faults = self.faults
        if faults.latency_seconds or faults.latency_jitter_seconds:
            await sleep(faults.latency_seconds + self._draws.random() * faults.latency_jitter_seconds)
        if faults.requests_per_second_max is not None and not self._meter.admits(
            faults.requests_per_second_max
        ):
            raise _rate_limited("global-rate")
        if self._happens(faults.rate_limited_share):
            raise _rate_limited(
                self._draws.choice(("endpoint-rate", "global-concurrency", "endpoint-concurrency"))
            )
        if self._happens(faults.lock_timeout_share):
            raise RefusedError(
                429,
                "This object cannot be accessed right now.",
                kind="invalid_request_error",
                code="lock_timeout",
            )
        if self._happens(faults.error_share):
            raise RefusedError(500, "An unknown error occurred.", kind="api_error")
        if self._happens(faults.hang_share):
            while (await receive())["type"] != "http.disconnect":
                pass
            raise _BrokenOffError
        if self._happens(faults.reset_share):
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]}
            )
            await send({"type": "http.response.body", "body": b'{"id": "', "more_body": True})
            raise _BrokenOffError

    def _happens(self, share: float) -> bool:
        return share > 0 and self._draws.random() < share

    # Who asks

    def _authenticate(self, headers: dict[bytes, bytes], path: str) -> Account:
        key = _api_key(headers.get(b"authorization", b"").decode())
        if key is None:
            raise RefusedError(
                401,
                "You did not provide an API key. You need to provide your API key in the Authorization header.",
            )
        if key not in self.keys:
            raise RefusedError(401, f"Invalid API Key provided: {key[:8]}****")
        if key.startswith("rk_") and any(path.startswith(f"/v1/{name}") for name in self.forbidden):
            raise RefusedError(
                403,
                f"The provided key '{key[:8]}****' does not have the required permissions for this endpoint.",
            )
        live_mode = next((live for prefix, live in _KEY_PREFIXES.items() if key.startswith(prefix)), False)
        account_id = headers.get(b"stripe-account", b"").decode()
        if account_id and (account_id, live_mode) not in self.sandbox.accounts:
            raise RefusedError(
                403,
                f"The provided key '{key[:8]}****' does not have access to account '{account_id}' (or that account "
                "does not exist). Application access may have been revoked.",
                code="account_invalid",
            )
        return self.sandbox.account(account_id, live_mode=live_mode)

    # What is asked

    def _answer(self, scope: Scope, account: Account, version: str) -> bytes:
        if scope["method"] != "GET":
            raise _unrecognized(scope)
        path: str = scope["path"]
        query: bytes = scope["query_string"]
        faults = self.faults
        if self._history is not None and (faults.stale_share or faults.hidden_when_new_seconds):
            view: View = account
            if self._happens(faults.stale_share):
                view = self._history.as_of(account, faults.stale_seconds)
            return msgspec.json.encode(self._body(scope, account, view, shapes.version(version)))
        if self._ready_as_of != self.sandbox.changes:
            self._ready.clear()
            self._ready_as_of = self.sandbox.changes
        question = (account.account_id, account.live_mode, path, query, version)
        body = self._ready.get(question)
        if body is None:
            body = msgspec.json.encode(self._body(scope, account, account, shapes.version(version)))
            self._ready[question] = body
        return body

    def _body(self, scope: Scope, account: Account, view: View, shape: shapes.Version) -> object:
        parts = [unquote(part) for part in scope["path"].strip("/").split("/")]
        parameters = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
        self._check_parameters(parameters)
        match parts:
            case ["v1", "account"]:
                return _account_body(account)
            case ["v1", "events"]:
                return self._events(account, parameters)
            case ["v1", "events", event_id]:
                return self._event(account, event_id)
            case ["v1", "entitlements", "features"] | ["v1", "billing", "meters"]:
                return shapes.listing("/" + "/".join(parts), [], has_more=False)
            case ["v1", "subscription_items"]:
                return self._subscription_items(account, view, parameters, shape)
            case ["v1", "invoices", invoice_id, "lines"]:
                return self._lines(account, view, invoice_id, parameters, shape)
            case ["v1", "charges", charge_id, "refunds"]:
                self._find(account, account, charge_id, "charge")
                return self._list(account, view, "refund", [*parameters, ("charge", charge_id)], shape, parts)
            case ["v1", "checkout", "sessions"]:
                return self._list(account, view, "checkout.session", parameters, shape, parts)
            case ["v1", "checkout", "sessions", object_id]:
                return self._retrieve(account, view, object_id, "checkout.session", parameters, shape)
            case ["v1", collection] if collection in _LISTED:
                return self._list(account, view, _LISTED[collection], parameters, shape, parts)
            case ["v1", collection, object_id] if collection in _LISTED:
                return self._retrieve(account, view, object_id, _LISTED[collection], parameters, shape)
            case _:
                raise _unrecognized(scope)

    def _check_parameters(self, parameters: Parameters) -> None:
        for name, _ in parameters:
            if name.split("[")[0] not in _PARAMETERS:
                raise RefusedError(
                    400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name
                )

    def _find(self, account: Account, view: View, object_id: str, kind: str) -> Thing:
        thing = view.find(object_id)
        hidden = self.faults.hidden_when_new_seconds
        if hidden and self._history is not None and self._history.age_seconds(account, object_id) < hidden:
            thing = None
        if thing is None or thing.kind != kind:
            raise _no_such(kind, object_id)
        return thing

    def _retrieve(
        self,
        account: Account,
        view: View,
        object_id: str,
        kind: str,
        parameters: Parameters,
        shape: shapes.Version,
    ) -> object:
        thing = self._find(account, view, object_id, kind)
        if isinstance(thing, Customer) and thing.deleted_at is not None:
            return shapes.deleted_customer(thing.id)
        return _rendered(thing, shape, view, _expands(parameters))

    # Lists

    def _list(
        self,
        account: Account,
        view: View,
        kind: str,
        parameters: Parameters,
        shape: shapes.Version,
        parts: Sequence[str],
    ) -> object:
        wanted = dict(parameters)
        low, high = _created_window(wanted)
        rows = account.shelves[kind].between(low, high, wanted.get("customer"))
        page, has_more = _page(rows, wanted, _filter(wanted), account.find)
        expands = [path.removeprefix("data.") for path in _expands(parameters, within="data.")]
        shown = (view.find(thing.id) for thing in page)
        data = [_rendered(thing, shape, view, expands) for thing in shown if thing is not None]
        return shapes.listing("/" + "/".join(parts), data, has_more=has_more)

    def _subscription_items(
        self, account: Account, view: View, parameters: Parameters, shape: shapes.Version
    ) -> object:
        wanted = dict(parameters)
        subscription_id = wanted.get("subscription")
        if subscription_id is None:
            raise RefusedError(
                400, "Missing required param: subscription.", code="parameter_missing", param="subscription"
            )
        subscription = self._find(account, view, subscription_id, "subscription")
        if not isinstance(subscription, Subscription):
            raise _no_such("subscription", subscription_id, "subscription")
        items = [shapes.item(entry, subscription, shape, view) for entry in subscription.items]
        data, has_more = _cut_page(items, wanted)
        return shapes.listing("/v1/subscription_items", data, has_more=has_more)

    def _lines(
        self, account: Account, view: View, invoice_id: str, parameters: Parameters, shape: shapes.Version
    ) -> object:
        invoice = self._find(account, view, invoice_id, "invoice")
        if not isinstance(invoice, Invoice):
            raise _no_such("invoice", invoice_id)
        lines = [shapes.line(entry, invoice, shape, view) for entry in invoice.lines]
        data, has_more = _cut_page(lines, dict(parameters))
        return shapes.listing(f"/v1/invoices/{invoice_id}/lines", data, has_more=has_more)

    # Events

    def _events(self, account: Account, parameters: Parameters) -> object:
        wanted = dict(parameters)
        types = {
            value for name, value in parameters if name in ("types[]", "type") or name.startswith("types[")
        }
        low, high = _created_window(wanted)
        horizon = self.sandbox.now - self.sandbox.event_retention_seconds
        low = horizon if low is None else max(low, horizon)
        delivered = wanted.get("delivery_success")

        def keeps(event: Event) -> bool:
            return (
                low <= event.created
                and (high is None or event.created <= high)
                and (not types or event.type in types)
                and (delivered is None or event.delivered == (delivered == "true"))
            )

        page, has_more = _page(account.log.rows, wanted, keeps, account.find_event)
        return shapes.listing("/v1/events", [msgspec.Raw(event.body) for event in page], has_more=has_more)

    def _event(self, account: Account, event_id: str) -> object:
        event = account.find_event(event_id)
        if event is None or event.created < self.sandbox.now - self.sandbox.event_retention_seconds:
            raise _no_such("event", event_id)
        return msgspec.Raw(event.body)


class _BrokenOffError(Exception):
    """The answer was cut off on purpose."""


def _rate_limited(reason: str) -> RefusedError:
    return RefusedError(
        429,
        "Request rate limit exceeded.",
        kind="invalid_request_error",
        code="rate_limit",
        headers=(("stripe-rate-limited-reason", reason), ("stripe-should-retry", "true")),
    )


def _unrecognized(scope: Scope) -> RefusedError:
    method, path = scope["method"], quote(scope["path"])
    return RefusedError(404, f"Unrecognized request URL ({method}: {path}).")


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


def _expands(parameters: Parameters, *, within: str = "") -> list[str]:
    paths = [value for name, value in parameters if name == "expand" or name.startswith("expand[")]
    for path in paths:
        if not path.startswith(within):
            raise RefusedError(400, f"This property cannot be expanded ({path}).", param="expand")
    return paths


def _rendered(thing: Thing, shape: shapes.Version, view: View, expands: Sequence[str]) -> shapes.Body:
    try:
        return shapes.render(thing, shape, view, expands)
    except shapes.CannotExpandError as problem:
        raise RefusedError(400, str(problem), param="expand") from problem


def _integer(wanted: dict[str, str], name: str) -> int | None:
    told = wanted.get(name)
    if told is None:
        return None
    try:
        return int(told)
    except ValueError:
        raise RefusedError(
            400, f"Invalid integer: {told}", code="parameter_invalid_integer", param=name
        ) from None


def _created_window(wanted: dict[str, str]) -> tuple[int | None, int | None]:
    """The closed interval of `created` that is asked for; None: open on that side."""
    exactly = _integer(wanted, "created")
    if exactly is not None:
        return exactly, exactly
    after, low = _integer(wanted, "created[gt]"), _integer(wanted, "created[gte]")
    before, high = _integer(wanted, "created[lt]"), _integer(wanted, "created[lte]")
    lows = [bound for bound in (low, None if after is None else after + 1) if bound is not None]
    highs = [bound for bound in (high, None if before is None else before - 1) if bound is not None]
    return max(lows, default=None), min(highs, default=None)


def _limit(wanted: dict[str, str]) -> int:
    limit = _integer(wanted, "limit")
    if limit is None:
        return _LIST_LIMIT
    if not 1 <= limit <= _LIST_LIMIT_MAX:
        raise RefusedError(
            400,
            f"This value must be between 1 and {_LIST_LIMIT_MAX}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    return limit


def _page(
    rows: Sequence[AnyRow],
    wanted: dict[str, str],
    keeps: Callable[[AnyRow], bool],
    find: Callable[[str], AnyRow | None],
) -> tuple[list[AnyRow], bool]:
    """One page, newest first, of rows that are kept oldest first; and whether there are more that way."""
    limit = _limit(wanted)
    after, before = wanted.get("starting_after"), wanted.get("ending_before")
    if after is not None and before is not None:
        raise RefusedError(
            400, "You may only specify one of these parameters: ending_before, starting_after."
        )
    page: list[AnyRow] = []
    if before is not None:
        cursor = find(before)
        if cursor is None:
            raise _no_such_cursor("ending_before", before)
        ahead: Iterable[AnyRow] = islice(rows, bisect_right(rows, cursor.serial, key=_BY_SERIAL), None)
    else:
        end = len(rows)
        if after is not None:
            cursor = find(after)
            if cursor is None:
                raise _no_such_cursor("starting_after", after)
            end = bisect_left(rows, cursor.serial, key=_BY_SERIAL)
        ahead = (rows[n] for n in range(end - 1, -1, -1))
    has_more = False
    for row in ahead:
        if not keeps(row):
            continue
        if len(page) == limit:
            has_more = True
            break
        page.append(row)
    if before is not None:
        page.reverse()
    return page, has_more


def _no_such_cursor(param: str, object_id: str) -> RefusedError:
    return RefusedError(400, f"No such object: '{object_id}'", code="resource_missing", param=param)


def _cut_page(rows: list[shapes.Body], wanted: dict[str, str]) -> tuple[list[shapes.Body], bool]:
    """A page of rows in their own order: the items of a subscription, the lines of an invoice."""
    limit = _limit(wanted)
    start = 0
    after = wanted.get("starting_after")
    if after is not None:
        found = [n for n, row in enumerate(rows) if row["id"] == after]
        if not found:
            raise _no_such_cursor("starting_after", after)
        start = found[0] + 1
    return rows[start : start + limit], len(rows) > start + limit


def _filter(wanted: dict[str, str]) -> Callable[[Thing], bool]:
    """Which objects a list shows, by the parameters that its kind knows."""
    status = wanted.get("status")

    def keeps(thing: Thing) -> bool:
        match thing:
            case Customer():
                return thing.deleted_at is None and _is(thing.email, wanted.get("email"))
            case Subscription():
                return _subscription_listed(thing, status) and (
                    wanted.get("price") is None or any(item.price == wanted["price"] for item in thing.items)
                )
            case Invoice():
                return _is(thing.status, status) and _is(thing.subscription, wanted.get("subscription"))
            case InvoicePayment():
                return (
                    _is(thing.invoice, wanted.get("invoice"))
                    and _is(thing.status, status)
                    and _is(thing.payment_type, wanted.get("payment[type]"))
                    and _is(thing.payment, wanted.get(f"payment[{thing.payment_type}]"))
                )
            case Charge():
                return _is(thing.payment_intent, wanted.get("payment_intent"))
            case Refund():
                return _is(thing.charge, wanted.get("charge")) and _is(
                    thing.payment_intent, wanted.get("payment_intent")
                )
            case Dispute():
                return _is(thing.charge, wanted.get("charge")) and _is(
                    thing.payment_intent, wanted.get("payment_intent")
                )
            case Price():
                return _is(thing.product, wanted.get("product")) and _is(
                    str(thing.active).lower(), wanted.get("active")
                )
            case Product():
                return _is(str(thing.active).lower(), wanted.get("active"))
            case CheckoutSession():
                return (
                    _is(thing.status, status)
                    and _is(thing.subscription, wanted.get("subscription"))
                    and _is(thing.payment_intent, wanted.get("payment_intent"))
                )
            case _:
                return True

    return keeps


def _is(value: str | None, wanted: str | None) -> bool:
    return wanted is None or value == wanted


def _subscription_listed(subscription: Subscription, status: str | None) -> bool:
    """Without a status the canceled ones are left out; `ended` means both ways of being over."""
    if status == "all":
        return True
    if status == "ended":
        return subscription.status in ("canceled", "incomplete_expired")
    if status is None:
        return subscription.status != "canceled"
    return subscription.status == status


def _account_body(account: Account) -> shapes.Body:
    return {
        "id": account.account_id or "acct_sandbox",
        "object": "account",
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "details_submitted": True,
        "email": "owner@example.com",
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"}},
        "type": "standard",
    }


@asynccontextmanager
async def serve(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve an application inside this event loop; gives its base URL. Port 0 takes a free one."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        date_header=False,
        server_header=False,
    )
    server = _Server(config)
    listener = socket(AF_INET, SOCK_STREAM)
    listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    listener.bind((host, port))
    # Whoever connects before the server is ready waits for it in the backlog.
    listener.listen(1024)
    task = create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: whoever serves decides when it is over."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def create_api(
    sandbox: Sandbox,
    keys: Iterable[str],
    *,
    faults: Faults | None = None,
    history: History | None = None,
    api_version: str = shapes.ENDIVE,
) -> Api:
    """The REST API of a sandbox as an ASGI application; see Api for the parameters."""
    return Api(sandbox, keys, faults=faults, history=history, api_version=api_version)
