"""The answers of the API: one method per route, reading from the sandbox."""

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

import msgspec

from sandbox import shapes
from sandbox.account import Account
from sandbox.api.listing import COLLECTIONS, cut_page, filter_of, page_of
from sandbox.api.parameters import Parameters, check_parameters, expands_of, whole_minute, window
from sandbox.api.texts import Kept, Page, Text, written
from sandbox.events import Event
from sandbox.faults import Misbehavior, View
from sandbox.objects import CheckoutSession, Customer, Invoice, Meter, Price, Subscription, Thing
from sandbox.refusals import RefusedError, missing_parameter, no_such, unrecognized
from sandbox.versions import Body, CannotExpandError, Version, listing
from sandbox.world import World

_OF_A_CUSTOMER = {"payment_methods": "payment_method", "tax_ids": "tax_id"}
"""Lists under a customer's own path, each with its kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request to the API: for what, of which account, in which version."""

    account: Account
    view: View
    """Where objects are looked up: the account as it is, or as a late replica has it."""
    shape: Version
    path: str
    parameters: Parameters

    @property
    def wanted(self) -> dict[str, str]:
        return dict(self.parameters)


def parse_parameters(form: bytes) -> Parameters:
    return parse_qsl(form.decode(), keep_blank_values=True)


class Reads:
    """Answers questions about a world. Raises RefusedError if Stripe refuses."""

    def __init__(self, world: World, misbehavior: Misbehavior) -> None:
        self._world = world
        self._misbehavior = misbehavior
        self._kept = Kept()

    def answer(self, request: Request) -> object:
        """The body of the answer to a GET."""
        match [unquote(part) for part in request.path.strip("/").split("/")]:
            case ["v1", "account"]:
                return _account_body(request.account)
            case ["v1", "events"]:
                return self._events(request)
            case ["v1", "events", event_id]:
                return self._event(request, event_id)
            case ["v1", "subscription_items"]:
                return self._subscription_items(request)
            case ["v1", "invoices", invoice_id, "lines"]:
                return self._invoice_lines(request, invoice_id)
            case ["v1", "checkout", "sessions", session_id, "line_items"]:
                return self._session_lines(request, session_id)
            case ["v1", "charges", charge_id, "refunds"]:
                self._find_now(request, charge_id, "charge")
                return self._list(request, "refunds", ("charge", charge_id))
            case ["v1", "customers", customer_id, collection] if collection in _OF_A_CUSTOMER:
                self._find_now(request, customer_id, "customer")
                return self._list(request, collection, ("customer", customer_id))
            case ["v1", "customers", _, collection, object_id] if collection in _OF_A_CUSTOMER:
                return self._retrieve(request, object_id, _OF_A_CUSTOMER[collection])
            case ["v1", "billing", "meters", meter_id, "event_summaries"]:
                return self._use(request, meter_id)
            case ["v1", *collected] if "/".join(collected) in COLLECTIONS:
                return self._list(request, "/".join(collected))
            case ["v1", *collected, object_id] if "/".join(collected) in COLLECTIONS:
                kind, _ = COLLECTIONS["/".join(collected)]
                return self._retrieve(request, object_id, kind)
            case _:
                raise unrecognized("GET", request.path)

    # One object

    def _find(self, request: Request, object_id: str, kind: str) -> Thing:
        return self._found(request.account, request.view, object_id, kind)

    def _find_now(self, request: Request, object_id: str, kind: str) -> Thing:
        return self._found(request.account, request.account, object_id, kind)

    def _found(self, account: Account, view: View, object_id: str, kind: str) -> Thing:
        thing = view.find(object_id)
        if kind == "plan" and isinstance(thing, Price) and thing.interval is not None:
            # A recurring price is a plan, too, under the same id.
            kind = thing.kind
        if thing is None or thing.kind != kind or self._misbehavior.hides(account, object_id):
            raise no_such(kind, object_id)
        return thing

    def _retrieve(self, request: Request, object_id: str, kind: str) -> object:
        check_parameters(request.parameters, "")
        thing = self._find(request, object_id, kind)
        if kind == "plan" and isinstance(thing, Price):
            return shapes.show_plan(thing, request.shape, request.view)
        if isinstance(thing, Customer) and thing.deleted_at is not None:
            return shapes.show_deleted_customer(thing.id)
        return self._shown(thing, request, expands_of(request.parameters))

    def _shown(self, thing: Thing, request: Request, expands: list[str]) -> Text:
        """The object, as text that is kept; of a late replica, as it is shown this time."""
        if request.view is not request.account:
            return Text(written(_rendered(thing, request, expands)))
        account = request.account
        key = (account.account_id, account.live_mode, thing.id, request.shape.name, *expands)
        return self._kept.text(key, lambda: _rendered(thing, request, expands), as_of=self._world.changes)

    # Lists

    def _list(self, request: Request, collection: str, *owner: tuple[str, str]) -> object:
        """A page of a list. `owner`: what the path says about it, as a parameter."""
        account, shape, view = request.account, request.shape, request.view
        parameters = [*request.parameters, *owner]
        kind, taken = COLLECTIONS[collection]
        check_parameters(parameters, taken)
        wanted = dict(parameters)
        if kind == "entitlements.active_entitlement" and "customer" not in wanted:
            raise missing_parameter("customer")
        low, high = window(wanted, "created")
        shelf = account.shelves["price" if kind == "plan" else kind]
        rows = shelf.between(low, high, wanted.get("customer"))
        page, has_more = page_of(rows, wanted, filter_of(kind, wanted), account.find)
        expands = [path.removeprefix("data.") for path in expands_of(parameters, within="data.")]
        shown = [thing for thing in (view.find(thing.id) for thing in page) if thing is not None]
        if kind == "plan":
            plans = [shapes.show_plan(thing, shape, view) for thing in shown if isinstance(thing, Price)]
            return listing(_url(request), plans, has_more=has_more)
        data = [self._shown(thing, request, expands) for thing in shown]
        return Page(url=_url(request), data=data, has_more=has_more)

    def _subscription_items(self, request: Request) -> object:
        check_parameters(request.parameters, "subscription")
        subscription_id = request.wanted.get("subscription")
        if subscription_id is None:
            raise missing_parameter("subscription")
        subscription = self._find(request, subscription_id, "subscription")
        if not isinstance(subscription, Subscription):
            raise no_such("subscription", subscription_id, "subscription")
        items = [
            shapes.show_item(entry, subscription, request.shape, request.view) for entry in subscription.items
        ]
        return _cut(request, items)

    def _invoice_lines(self, request: Request, invoice_id: str) -> object:
        check_parameters(request.parameters, "")
        invoice = self._find(request, invoice_id, "invoice")
        if not isinstance(invoice, Invoice):
            raise no_such("invoice", invoice_id)
        return _cut(
            request,
            [shapes.show_line(entry, invoice, request.shape, request.view) for entry in invoice.lines],
        )

    def _session_lines(self, request: Request, session_id: str) -> object:
        check_parameters(request.parameters, "")
        session = self._find(request, session_id, "checkout.session")
        if not isinstance(session, CheckoutSession):
            raise no_such("checkout.session", session_id)
        lines = [
            shapes.show_session_line(entry, session, request.shape, request.view) for entry in session.lines
        ]
        return _cut(request, lines)

    # Metered use, and the next invoice

    def _use(self, request: Request, meter_id: str) -> object:
        """The one summary of a window, or none if nothing was reported."""
        check_parameters(request.parameters, "customer start_time end_time")
        wanted = request.wanted
        meter = self._find(request, meter_id, "billing.meter")
        if not isinstance(meter, Meter):
            raise no_such("billing.meter", meter_id)
        customer_id = wanted.get("customer")
        if customer_id is None:
            raise missing_parameter("customer")
        self._find_now(request, customer_id, "customer")
        window = whole_minute(wanted, "start_time"), whole_minute(wanted, "end_time")
        used = request.account.metering.used(customer_id, meter_id, *window)
        rows = (
            []
            if used is None
            else [shapes.show_meter_summary(meter, customer_id, window, used, request.view)]
        )
        return listing(f"/v1/billing/meters/{meter_id}/event_summaries", rows, has_more=False)

    def preview(self, request: Request) -> object:
        """The next invoice of a subscription, or of a customer: the earliest of those of its subscriptions."""
        check_parameters(request.parameters, "customer subscription")
        account, wanted = request.account, request.wanted
        if "subscription" in wanted:
            found = self._find(request, wanted["subscription"], "subscription")
            asked = [found] if isinstance(found, Subscription) else []
        elif "customer" in wanted:
            self._find(request, wanted["customer"], "customer")
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
        first = min(previews, key=lambda preview: preview.period_end)
        return _rendered(first, request, expands_of(request.parameters))

    # Events

    def _events(self, request: Request) -> object:
        parameters, account = request.parameters, request.account
        check_parameters(parameters, "created delivery_success type types")
        wanted = request.wanted
        types = {
            value for name, value in parameters if name in ("types[]", "type") or name.startswith("types[")
        }
        low, high = window(wanted, "created")
        horizon = self._horizon
        low = horizon if low is None else max(low, horizon)
        delivered = wanted.get("delivery_success")

        def keeps(event: Event) -> bool:
            return (
                low <= event.created
                and (high is None or event.created <= high)
                and (not types or event.type in types)
                and (delivered is None or event.delivered == (delivered == "true"))
            )

        page, has_more = page_of(account.log.rows, wanted, keeps, account.find_event)
        return listing("/v1/events", [msgspec.Raw(event.body) for event in page], has_more=has_more)

    def _event(self, request: Request, event_id: str) -> object:
        event = request.account.find_event(event_id)
        if event is None or event.created < self._horizon:
            raise no_such("event", event_id)
        return msgspec.Raw(event.body)

    @property
    def _horizon(self) -> int:
        """Seconds since 1970; older events are not kept."""
        return self._world.now - self._world.event_retention_seconds


def _url(request: Request) -> str:
    return "/" + unquote(request.path.strip("/"))


def _cut(request: Request, rows: list[Body]) -> Body:
    """A page of a list inside an object, under the path of the request."""
    data, has_more = cut_page(rows, request.wanted)
    return listing(_url(request), data, has_more=has_more)


def _rendered(thing: Thing, request: Request, expands: list[str]) -> Body:
    try:
        return shapes.render(thing, request.shape, request.view, expands)
    except CannotExpandError as problem:
        raise RefusedError(400, str(problem), param="expand") from problem


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
