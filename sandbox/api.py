"""Stripe's REST API over the sandbox's objects: retrieve, list, paginate, expand, refuse as Stripe does.

One plain ASGI callable: it is also the API that load is measured against, so an answer to a repeated question comes
ready-made as bytes, until anything in the sandbox changes.
"""

from asyncio import create_task, sleep
from base64 import b64decode
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from itertools import count, islice
from operator import attrgetter
from socket import AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket
from typing import TypeVar
from urllib.parse import parse_qsl, quote, unquote

import msgspec
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox import shapes
from sandbox.account import Account
from sandbox.events import Event
from sandbox.faults import Faults, History, PastView, RateMeter, draws
from sandbox.objects import (
    BalanceTransaction,
    Charge,
    CheckoutSession,
    Customer,
    Dispute,
    Feature,
    Invoice,
    InvoicePayment,
    Meter,
    PaymentMethod,
    Payout,
    Price,
    Product,
    Refund,
    Review,
    Subscription,
    Thing,
)
from sandbox.periods import MINUTE
from sandbox.play import Sandbox
from sandbox.versions import ENDIVE, Body, CannotExpandError, Version, listing
from sandbox.versions import version as known_version

_PAGING = "limit starting_after ending_before expand"
COLLECTIONS: dict[str, tuple[str, str]] = {
    "balance_transactions": ("balance_transaction", "created currency payout source type"),
    "billing/meters": ("billing.meter", "status"),
    "charges": ("charge", "created customer payment_intent"),
    "checkout/sessions": ("checkout.session", "created customer payment_intent status subscription"),
    "coupons": ("coupon", "created"),
    "credit_notes": ("credit_note", "created customer invoice"),
    "customers": ("customer", "created email test_clock"),
    "disputes": ("dispute", "created charge payment_intent"),
    "entitlements/active_entitlements": ("entitlements.active_entitlement", "customer"),
    "entitlements/features": ("entitlements.feature", "archived lookup_key"),
    "invoice_payments": ("invoice_payment", "created invoice payment status"),
    "invoices": ("invoice", "created customer status subscription"),
    "payment_intents": ("payment_intent", "created customer"),
    "payment_methods": ("payment_method", "customer type"),
    "payouts": ("payout", "created status"),
    "plans": ("plan", "active created product"),
    "prices": ("price", "active created currency product type"),
    "products": ("product", "active created"),
    "radar/early_fraud_warnings": ("radar.early_fraud_warning", "charge created payment_intent"),
    "refunds": ("refund", "charge created payment_intent"),
    "reviews": ("review", "created"),
    "setup_intents": ("setup_intent", "created customer payment_method"),
    "subscription_schedules": ("subscription_schedule", "created customer scheduled"),
    "subscriptions": ("subscription", "created customer price status test_clock"),
    "tax_ids": ("tax_id", "customer owner"),
    "test_helpers/test_clocks": ("test_helpers.test_clock", ""),
}
"""What Stripe lists, each with its kind and with the parameters that its list takes beside those of paging."""
_OF_A_CUSTOMER = {"payment_methods": "payment_method", "tax_ids": "tax_id"}
_WITH_ARCHIVED = {"true": (False,), "false": (True,)}
_KEY_PREFIXES = {"sk_test_": False, "rk_test_": False, "sk_live_": True, "rk_live_": True}
_LIST_LIMIT, _LIST_LIMIT_MAX = 10, 100
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
        api_version: str = ENDIVE,
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
        form = b"" if scope["method"] == "GET" else await _read(receive)
        try:
            request_headers = dict(scope["headers"])
            version = request_headers.get(b"stripe-version", b"").decode() or version
            await self._misbehave(receive, send)
            account = self._authenticate(request_headers, scope["path"])
            status, body = 200, self._answer(scope, account, version, form)
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

    def _answer(self, scope: Scope, account: Account, version: str, form: bytes) -> bytes:
        path: str = scope["path"]
        if scope["method"] == "POST" and path == "/v1/invoices/create_preview":
            return msgspec.json.encode(self._preview(account, form, known_version(version)))
        if scope["method"] != "GET":
            raise _unrecognized(scope)
        query: bytes = scope["query_string"]
        faults = self.faults
        if self._history is not None and (faults.stale_share or faults.hidden_when_new_seconds):
            view: View = account
            if self._happens(faults.stale_share):
                view = self._history.as_of(account, faults.stale_seconds)
            return msgspec.json.encode(self._body(scope, account, view, known_version(version)))
        if self._ready_as_of != self.sandbox.changes:
            self._ready.clear()
            self._ready_as_of = self.sandbox.changes
        question = (account.account_id, account.live_mode, path, query, version)
        body = self._ready.get(question)
        if body is None:
            body = msgspec.json.encode(self._body(scope, account, account, known_version(version)))
            self._ready[question] = body
        return body

    def _body(self, scope: Scope, account: Account, view: View, shape: Version) -> object:
        parts = [unquote(part) for part in scope["path"].strip("/").split("/")]
        parameters = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
        match parts:
            case ["v1", "account"]:
                return _account_body(account)
            case ["v1", "events"]:
                return self._events(account, parameters)
            case ["v1", "events", event_id]:
                return self._event(account, event_id)
            case ["v1", "subscription_items"]:
                return self._subscription_items(account, view, parameters, shape)
            case ["v1", "invoices", invoice_id, "lines"]:
                return self._lines(account, view, invoice_id, parameters, shape)
            case ["v1", "checkout", "sessions", session_id, "line_items"]:
                return self._session_lines(account, view, session_id, parameters, shape)
            case ["v1", "charges", charge_id, "refunds"]:
                self._find(account, account, charge_id, "charge")
                return self._list(
                    account, view, "refunds", [*parameters, ("charge", charge_id)], shape, parts
                )
            case ["v1", "customers", customer_id, collection] if collection in _OF_A_CUSTOMER:
                self._find(account, account, customer_id, "customer")
                of_them = [*parameters, ("customer", customer_id)]
                return self._list(account, view, collection, of_them, shape, parts)
            case ["v1", "customers", _, collection, object_id] if collection in _OF_A_CUSTOMER:
                return self._retrieve(account, view, object_id, _OF_A_CUSTOMER[collection], parameters, shape)
            case ["v1", "billing", "meters", meter_id, "event_summaries"]:
                return self._use(account, view, meter_id, parameters)
            case ["v1", *collected] if "/".join(collected) in COLLECTIONS:
                return self._list(account, view, "/".join(collected), parameters, shape, parts)
            case ["v1", *collected, object_id] if "/".join(collected) in COLLECTIONS:
                kind, _ = COLLECTIONS["/".join(collected)]
                return self._retrieve(account, view, object_id, kind, parameters, shape)
            case _:
                raise _unrecognized(scope)

    def _find(self, account: Account, view: View, object_id: str, kind: str) -> Thing:
        thing = view.find(object_id)
        if kind == "plan" and isinstance(thing, Price) and thing.interval is not None:
            # A recurring price is a plan, too, under the same id.
            kind = thing.kind
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
        shape: Version,
    ) -> object:
        _check_parameters(parameters, "")
        thing = self._find(account, view, object_id, kind)
        if kind == "plan" and isinstance(thing, Price):
            return shapes.show_plan(thing, shape, view)
        if isinstance(thing, Customer) and thing.deleted_at is not None:
            return shapes.show_deleted_customer(thing.id)
        return _rendered(thing, shape, view, _expands(parameters))

    # Lists

    def _list(
        self,
        account: Account,
        view: View,
        collection: str,
        parameters: Parameters,
        shape: Version,
        parts: Sequence[str],
    ) -> object:
        kind, taken = COLLECTIONS[collection]
        _check_parameters(parameters, taken)
        wanted = dict(parameters)
        if kind == "entitlements.active_entitlement" and "customer" not in wanted:
            raise _missing_parameter("customer")
        low, high = _created_window(wanted)
        shelf = account.shelves["price" if kind == "plan" else kind]
        rows = shelf.between(low, high, wanted.get("customer"))
        page, has_more = _page(rows, wanted, _filter(kind, wanted), account.find)
        expands = [path.removeprefix("data.") for path in _expands(parameters, within="data.")]
        shown = [thing for thing in (view.find(thing.id) for thing in page) if thing is not None]
        if kind == "plan":
            data = [shapes.show_plan(thing, shape, view) for thing in shown if isinstance(thing, Price)]
        else:
            data = [_rendered(thing, shape, view, expands) for thing in shown]
        return listing("/" + "/".join(parts), data, has_more=has_more)

    def _subscription_items(
        self, account: Account, view: View, parameters: Parameters, shape: Version
    ) -> object:
        _check_parameters(parameters, "subscription")
        wanted = dict(parameters)
        subscription_id = wanted.get("subscription")
        if subscription_id is None:
            raise _missing_parameter("subscription")
        subscription = self._find(account, view, subscription_id, "subscription")
        if not isinstance(subscription, Subscription):
            raise _no_such("subscription", subscription_id, "subscription")
        items = [shapes.show_item(entry, subscription, shape, view) for entry in subscription.items]
        data, has_more = _cut_page(items, wanted)
        return listing("/v1/subscription_items", data, has_more=has_more)

    def _lines(
        self, account: Account, view: View, invoice_id: str, parameters: Parameters, shape: Version
    ) -> object:
        _check_parameters(parameters, "")
        invoice = self._find(account, view, invoice_id, "invoice")
        if not isinstance(invoice, Invoice):
            raise _no_such("invoice", invoice_id)
        lines = [shapes.show_line(entry, invoice, shape, view) for entry in invoice.lines]
        data, has_more = _cut_page(lines, dict(parameters))
        return listing(f"/v1/invoices/{invoice_id}/lines", data, has_more=has_more)

    def _session_lines(
        self, account: Account, view: View, session_id: str, parameters: Parameters, shape: Version
    ) -> object:
        _check_parameters(parameters, "")
        session = self._find(account, view, session_id, "checkout.session")
        if not isinstance(session, CheckoutSession):
            raise _no_such("checkout.session", session_id)
        lines = [shapes.show_session_line(entry, session, shape, view) for entry in session.lines]
        data, has_more = _cut_page(lines, dict(parameters))
        return listing(f"/v1/checkout/sessions/{session_id}/line_items", data, has_more=has_more)

    # Use, and what it will cost

    def _use(self, account: Account, view: View, meter_id: str, parameters: Parameters) -> object:
        """The one summary of a window, or none where nothing was reported."""
        _check_parameters(parameters, "customer start_time end_time")
        wanted = dict(parameters)
        meter = self._find(account, view, meter_id, "billing.meter")
        if not isinstance(meter, Meter):
            raise _no_such("billing.meter", meter_id)
        customer_id = wanted.get("customer")
        if customer_id is None:
            raise _missing_parameter("customer")
        self._find(account, account, customer_id, "customer")
        start, end = _whole_minute(wanted, "start_time"), _whole_minute(wanted, "end_time")
        used = account.metering.used(customer_id, meter_id, start, end)
        rows = (
            [] if used is None else [shapes.show_meter_summary(meter, customer_id, (start, end), used, view)]
        )
        return listing(f"/v1/billing/meters/{meter_id}/event_summaries", rows, has_more=False)

    def _preview(self, account: Account, form: bytes, shape: Version) -> object:
        parameters = parse_qsl(form.decode(), keep_blank_values=True)
        _check_parameters(parameters, "customer subscription")
        wanted = dict(parameters)
        if "subscription" in wanted:
            found = self._find(account, account, wanted["subscription"], "subscription")
            asked = [found] if isinstance(found, Subscription) else []
        elif "customer" in wanted:
            self._find(account, account, wanted["customer"], "customer")
            asked = account.subscriptions_of(wanted["customer"])
        else:
            raise RefusedError(400, "You must specify either a customer or a subscription.")
        previews = [preview for each in asked if (preview := account.billing.preview(each)) is not None]
        if not previews:
            raise RefusedError(
                404,
                f"No upcoming invoices for customer: {wanted.get('customer')}",
                code="invoice_upcoming_none",
            )
        # Of several subscriptions Stripe shows the invoice that comes first.
        first = min(previews, key=lambda preview: preview.period_end)
        return _rendered(first, shape, account, _expands(parameters))

    # Events

    def _events(self, account: Account, parameters: Parameters) -> object:
        _check_parameters(parameters, "created delivery_success type types")
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
        return listing("/v1/events", [msgspec.Raw(event.body) for event in page], has_more=has_more)

    def _event(self, account: Account, event_id: str) -> object:
        event = account.find_event(event_id)
        if event is None or event.created < self.sandbox.now - self.sandbox.event_retention_seconds:
            raise _no_such("event", event_id)
        return msgspec.Raw(event.body)


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        part: bytes = message.get("body", b"")
        body += part
        if not message.get("more_body"):
            return body


def _check_parameters(parameters: Parameters, taken: str) -> None:
    """Refuse what Stripe refuses: a parameter that this list, or this object, does not take."""
    known = f"{_PAGING} {taken}".split()
    for name, _ in parameters:
        if name.split("[")[0] not in known:
            raise RefusedError(
                400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name
            )


def _missing_parameter(name: str) -> RefusedError:
    return RefusedError(400, f"Missing required param: {name}.", code="parameter_missing", param=name)


def _whole_minute(wanted: dict[str, str], name: str) -> int:
    moment = _integer(wanted, name)
    if moment is None:
        raise _missing_parameter(name)
    if moment % MINUTE:
        raise RefusedError(400, f"{name} must be aligned with minute boundaries.", param=name)
    return moment


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


def _rendered(thing: Thing, shape: Version, view: View, expands: Sequence[str]) -> Body:
    try:
        return shapes.render(thing, shape, view, expands)
    except CannotExpandError as problem:
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


def _cut_page(rows: list[Body], wanted: dict[str, str]) -> tuple[list[Body], bool]:
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


def _filter(kind: str, wanted: dict[str, str]) -> Callable[[Thing], bool]:
    """Which objects a list shows, by the parameters that its kind knows."""
    status = wanted.get("status")
    # Of prices only those on sale are shown, unless the others are asked for; of products and plans all.
    active = wanted.get("active", "true" if kind == "price" else None)
    archived = _WITH_ARCHIVED.get(wanted.get("archived", ""), (True, False))
    # What is asked for by the name of one of the object's own fields.
    named = [
        (name, wanted[name])
        for name in (
            "charge",
            "currency",
            "invoice",
            "lookup_key",
            "payment_intent",
            "payment_method",
            "source",
        )
        if name in wanted
    ]

    def keeps(thing: Thing) -> bool:
        match thing:
            case Customer():
                return (
                    thing.deleted_at is None
                    and _is(thing.email, wanted.get("email"))
                    and thing.test_clock == wanted.get("test_clock")
                )
            case Subscription():
                return (
                    _subscription_listed(thing, status)
                    and (
                        wanted.get("price") is None
                        or any(item.price == wanted["price"] for item in thing.items)
                    )
                    # Who asks for a customer's is told of all of them.
                    and (thing.test_clock == wanted.get("test_clock") or "customer" in wanted)
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
                return (
                    _is(thing.product, wanted.get("product"))
                    and _is(str(thing.active).lower(), active)
                    and (not thing.inline if kind == "price" else thing.interval is not None)
                    and _is("one_time" if thing.interval is None else "recurring", wanted.get("type"))
                    and _is(thing.currency, wanted.get("currency"))
                )
            case Product():
                return _is(str(thing.active).lower(), active)
            case CheckoutSession():
                return (
                    _is(thing.status, status)
                    and _is(thing.subscription, wanted.get("subscription"))
                    and _is(thing.payment_intent, wanted.get("payment_intent"))
                )
            case PaymentMethod() | BalanceTransaction():
                return _is(thing.type, wanted.get("type")) and _has(thing, named)
            case Payout() | Meter():
                return _is(thing.status, status)
            case Review():
                return thing.open
            case Feature():
                return thing.active in archived and _has(thing, named)
            case _:
                return _has(thing, named)

    return keeps


def _has(thing: Thing, named: Sequence[tuple[str, str]]) -> bool:
    return all(getattr(thing, name) == value for name, value in named)


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


def _account_body(account: Account) -> Body:
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
    api_version: str = ENDIVE,
) -> Api:
    """The REST API of a sandbox as an ASGI application; see Api for the parameters."""
    return Api(sandbox, keys, faults=faults, history=history, api_version=api_version)
