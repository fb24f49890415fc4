"""The REST API answers, pages, expands and refuses as Stripe's does."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import pytest

from sandbox import BEFORE_BASIL, Api, Faults, Gate, History, RateLimits, Sandbox, create_api, serve
from sandbox.api import COLLECTIONS
from sandbox.api.texts import Page, Text, written
from sandbox.objects import (
    Charge,
    CheckoutSession,
    Clock,
    CreditNote,
    Customer,
    Invoice,
    PaymentMethod,
    Price,
    Review,
    Subscription,
    TaxId,
    Thing,
)

KEY = "sk_test_0123456789"
Body = dict[str, Any]
AnyThing = TypeVar("AnyThing", bound=Thing)


@dataclass(frozen=True)
class Answer:
    status: int
    body: Body
    headers: dict[str, str]

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.body["data"]]


class Client:
    def __init__(self, base: str, session: aiohttp.ClientSession) -> None:
        self._base = base
        self._session = session

    async def get(self, path: str, **headers: str) -> Answer:
        return await self._ask("GET", path, None, headers)

    async def post(self, path: str, **form: str) -> Answer:
        return await self._ask("POST", path, form, {})

    async def _ask(
        self, method: str, path: str, form: dict[str, str] | None, headers: dict[str, str]
    ) -> Answer:
        given = {"authorization": f"Bearer {KEY}"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        url = f"{self._base}/v1/{path}"
        async with self._session.request(method, url, data=form, headers=given) as response:
            return Answer(
                response.status, await response.json(), {k.lower(): v for k, v in response.headers.items()}
            )


@asynccontextmanager
async def client_of(api: Api) -> AsyncIterator[Client]:
    async with serve(api) as base, aiohttp.ClientSession() as session:
        yield Client(base, session)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """One account for the tests of this module, which hardly change it."""
    sandbox = Sandbox(9)
    sandbox.play()
    sandbox.run()
    return sandbox


@pytest.fixture
def api(sandbox: Sandbox) -> Api:
    return create_api(sandbox, [KEY, "rk_live_1", "rk_test_1"])


@pytest.fixture
async def client(api: Api) -> AsyncIterator[Client]:
    async with client_of(api) as client:
        yield client


def rows_of(sandbox: Sandbox, kind: type[AnyThing]) -> list[AnyThing]:
    return [thing for thing in sandbox.home.shelves[kind.kind].rows if isinstance(thing, kind)]


async def all_pages(client: Client, path: str) -> list[str]:
    ids: list[str] = []
    while True:
        cursor = f"&starting_after={ids[-1]}" if ids else ""
        answer = await client.get(f"{path}{cursor}")
        assert 200 == answer.status, answer.body
        ids += answer.ids
        if not answer.body["has_more"]:
            return ids


async def test_pages_cover_everything_newest_first(client: Client, sandbox: Sandbox) -> None:
    for name, kind in (
        ("invoices", "invoice"),
        ("charges", "charge"),
        ("checkout/sessions", "checkout.session"),
    ):
        everything = [thing.id for thing in reversed(sandbox.home.shelves[kind].rows)]
        assert everything == await all_pages(client, f"{name}?limit=37")


async def test_ending_before_gives_the_page_just_newer(client: Client, sandbox: Sandbox) -> None:
    newest_first = [thing.id for thing in reversed(sandbox.home.shelves["charge"].rows)]
    answer = await client.get(f"charges?limit=3&ending_before={newest_first[10]}")
    assert (newest_first[7:10], True) == (answer.ids, answer.body["has_more"])
    answer = await client.get(f"charges?limit=3&ending_before={newest_first[2]}")
    assert (newest_first[0:2], False) == (answer.ids, answer.body["has_more"])


async def test_list_envelope_and_limits(client: Client) -> None:
    answer = await client.get("customers")
    assert ("list", "/v1/customers", 10) == (answer.body["object"], answer.body["url"], len(answer.ids))
    for limit in ("0", "101", "many"):
        refused = await client.get(f"customers?limit={limit}")
        assert (400, "limit") == (refused.status, refused.body["error"]["param"])
        assert "parameter_invalid_integer" == refused.body["error"]["code"]


@pytest.mark.parametrize("count", [0, 1, 2])
def test_pages_are_written_as_in_one_piece(count: int) -> None:
    """Objects that are text already are indented in a page as Stripe indents them there."""
    bodies = [
        {"id": f"in_{n}", "lines": {"data": [{"text": "two\nlines"}]}, "none": {}} for n in range(count)
    ]
    page = Page(url="/v1/é", data=[Text(written(body)) for body in bodies], has_more=count > 1)
    whole = {"object": "list", "data": bodies, "has_more": count > 1, "url": "/v1/é"}
    assert written(whole) == written(page)


async def test_canceled_subscriptions_are_left_out_unless_asked_for(client: Client, sandbox: Sandbox) -> None:
    everything = {row.id for row in rows_of(sandbox, Subscription) if row.test_clock is None}
    canceled = set(await all_pages(client, "subscriptions?limit=100&status=canceled"))
    assert canceled
    assert everything - canceled == set(await all_pages(client, "subscriptions?limit=100"))
    assert everything == set(await all_pages(client, "subscriptions?limit=100&status=all"))


async def test_filters(client: Client, sandbox: Sandbox) -> None:
    charge = sandbox.home.shelves["charge"].rows[20]
    mine = await all_pages(client, f"charges?customer={charge.customer}")
    assert charge.id in mine
    assert {charge.customer} == {sandbox.home.things[charge_id].customer for charge_id in mine}
    window = await all_pages(
        client, f"charges?created[gte]={charge.created}&created[lt]={charge.created + 1}"
    )
    assert charge.id in window
    assert {charge.created} == {sandbox.home.things[charge_id].created for charge_id in window}
    assert window == await all_pages(client, f"charges?created={charge.created}")
    later = await all_pages(client, f"charges?limit=100&created[gt]={charge.created}")
    everything = await all_pages(client, "charges?limit=100")
    earlier = await all_pages(client, f"charges?limit=100&created[lte]={charge.created}")
    assert everything == later + earlier
    begun = max(item.period_start for thing in rows_of(sandbox, Subscription)[:1] for item in thing.items)
    period = f"current_period_start[gte]={begun}&current_period_start[lte]={begun}"
    same = {
        thing.id
        for thing in rows_of(sandbox, Subscription)
        if thing.test_clock is None and max(item.period_start for item in thing.items) == begun
    }
    assert same == set(await all_pages(client, f"subscriptions?limit=100&status=all&{period}"))


async def test_lists_inside_objects(client: Client, sandbox: Sandbox) -> None:
    [subscription] = [thing for thing in rows_of(sandbox, Subscription) if len(thing.items) > 20]
    body = (await client.get(f"subscriptions/{subscription.id}")).body
    assert (10, True) == (len(body["items"]["data"]), body["items"]["has_more"])
    ids = await all_pages(client, f"subscription_items?subscription={subscription.id}&limit=10")
    assert [item.id for item in subscription.items] == ids
    invoice = next(row for row in rows_of(sandbox, Invoice) if row.subscription == subscription.id).id
    lines = await all_pages(client, f"invoices/{invoice}/lines?limit=10")
    assert 25 == len(set(lines))
    assert 400 == (await client.get("subscription_items")).status


async def test_refunds_and_payments_by_their_owner(client: Client, sandbox: Sandbox) -> None:
    [refunded] = [
        c for c in rows_of(sandbox, Charge) if len(c.refunds) == 2 and not c.disputed and c.refunded
    ]
    by_charge = await client.get(f"refunds?charge={refunded.id}")
    nested = await client.get(f"charges/{refunded.id}/refunds")
    assert by_charge.ids == nested.ids
    assert 2 == len(nested.ids)
    expanded = await client.get(f"charges/{refunded.id}?expand[]=refunds")
    assert nested.ids == [row["id"] for row in expanded.body["refunds"]["data"]]
    invoice = refunded.invoice
    payments = await client.get(f"invoice_payments?invoice={invoice}")
    [payment] = payments.body["data"]
    intent = payment["payment"]["payment_intent"]
    reverse = await client.get(
        f"invoice_payments?payment[type]=payment_intent&payment[payment_intent]={intent}"
    )
    assert payments.ids == reverse.ids


async def test_versions_and_expands(client: Client, sandbox: Sandbox) -> None:
    invoice = sandbox.home.shelves["invoice"].rows[0].id
    new = await client.get(f"invoices/{invoice}?expand[]=payments&expand[]=amount_paid_off_stripe")
    old = await client.get(f"invoices/{invoice}", stripe_version=BEFORE_BASIL)
    assert {"payments", "amount_paid_off_stripe"} <= new.body.keys()
    assert "subscription" in old.body
    assert ("2026-10-28.endive", BEFORE_BASIL) == (
        new.headers["stripe-version"],
        old.headers["stripe-version"],
    )
    listed = await client.get("invoices?limit=2&expand[]=data.payments")
    assert all("payments" in row for row in listed.body["data"])
    for path in ("invoices?expand[]=payments", f"invoices/{invoice}?expand[]=nothing"):
        refused = await client.get(path)
        assert (400, "expand") == (refused.status, refused.body["error"]["param"])


async def test_keys_select_the_mode_and_headers_the_account(client: Client) -> None:
    basic = "Basic " + b64encode(b"rk_live_1:").decode()
    assert (200, []) == ((live := await client.get("customers", authorization=basic)).status, live.ids)
    connected = await client.get("customers", stripe_account="acct_1SandboxNorth")
    assert connected.ids
    in_live = await client.get(
        "customers", authorization="Bearer rk_live_1", stripe_account="acct_1SandboxNorth"
    )
    # One id, a customer of its own in each mode.
    assert set(in_live.ids) <= set(connected.ids)
    assert (False, True) == (connected.body["data"][0]["livemode"], in_live.body["data"][0]["livemode"])
    own = await client.get("account")
    other = await client.get("account", stripe_account="acct_1SandboxNorth")
    assert ("acct_sandbox", "acct_1SandboxNorth") == (own.body["id"], other.body["id"])


async def test_refusals(client: Client, api: Api) -> None:
    """401 for a wrong or missing key, 403 for a foreign account or a missing permission, 404 for the unknown."""
    assert 401 == (await client.get("customers", authorization="Bearer sk_test_other")).status
    assert 401 == (await client.get("customers", authorization="")).status
    foreign = await client.get("customers", stripe_account="acct_other")
    assert (403, "account_invalid") == (foreign.status, foreign.body["error"]["code"])
    assert 200 == (await client.get("customers", stripe_account="acct_1SandboxNorth")).status
    api.faults.revoked = frozenset({"acct_1SandboxNorth"})
    revoked = await client.get("customers", stripe_account="acct_1SandboxNorth")
    assert (403, "account_invalid") == (revoked.status, revoked.body["error"]["code"])
    api.faults.revoked = frozenset()
    api.forbidden.add("disputes")
    assert 403 == (await client.get("disputes", authorization="Bearer rk_test_1")).status
    assert 200 == (await client.get("disputes")).status
    missing = await client.get("customers/cus_missing")
    assert (404, "resource_missing", "id") == (
        missing.status,
        missing.body["error"]["code"],
        missing.body["error"]["param"],
    )
    assert "No such customer: 'cus_missing'" == missing.body["error"]["message"]
    assert 404 == (await client.get("nothing/at/all")).status
    unknown = await client.get("customers?colour=red")
    assert (400, "parameter_unknown") == (unknown.status, unknown.body["error"]["code"])


async def test_headers(client: Client, sandbox: Sandbox) -> None:
    answer = await client.get("customers?limit=1")
    assert answer.headers["request-id"].startswith("req_")
    # The date is that of the sandbox clock, which is in 2025.
    assert " 2025 " in answer.headers["date"]


async def test_deleted_customers(client: Client, sandbox: Sandbox) -> None:
    """A deleted customer is shown as deleted and is in no list; what it paid is still there."""
    gone = [
        key.id for key, truth in sandbox.truth().items() if truth.deleted_at is not None and truth.revenue
    ]
    answer = await client.get(f"customers/{gone[0]}")
    assert {"id": gone[0], "object": "customer", "deleted": True} == answer.body
    assert not set(gone) & set(await all_pages(client, "customers?limit=100"))
    assert (await client.get(f"charges?customer={gone[0]}")).ids
    subscriptions = await client.get(f"subscriptions?customer={gone[0]}&status=all")
    assert {"canceled"} == {row["status"] for row in subscriptions.body["data"]}


async def test_events(client: Client, sandbox: Sandbox) -> None:
    """The log of the last thirty days, by type, time and delivery; bodies as they were made."""
    horizon = sandbox.now - 30 * 86_400
    recent = [event for event in reversed(sandbox.home.log.rows) if event.created >= horizon]
    assert [event.id for event in recent] == await all_pages(client, "events?limit=100")
    paid = await all_pages(client, "events?types[]=invoice.paid&types[]=invoice.voided&limit=100")
    assert [event.id for event in recent if event.type in ("invoice.paid", "invoice.voided")] == paid
    since = await all_pages(client, f"events?created[gte]={sandbox.now - 86_400}")
    assert [event.id for event in recent if event.created >= sandbox.now - 86_400] == since
    recent[3].delivered = True
    assert [recent[3].id] == await all_pages(client, "events?delivery_success=true")
    sandbox.home.changed(sandbox.home.shelves["customer"].rows[0])
    one = await client.get(f"events/{recent[0].id}")
    assert (recent[0].type, recent[0].api_version) == (one.body["type"], one.body["api_version"])
    expired = next(event for event in sandbox.home.log.rows if event.created < horizon)
    assert 404 == (await client.get(f"events/{expired.id}")).status


async def test_answers_follow_the_world(client: Client, sandbox: Sandbox) -> None:
    """A kept answer is not given any more once something has changed."""
    customer = next(sandbox.home.customers())
    before = await client.get(f"customers/{customer.id}")
    sandbox.home.clients.update(customer, name="Another Name")
    after = await client.get(f"customers/{customer.id}")
    assert "Another Name" == after.body["name"] != before.body["name"]


async def test_faults(sandbox: Sandbox) -> None:
    """Each fault shows when its switch is on, and not when it is off again."""
    api = create_api(sandbox, [KEY])
    async with client_of(api) as client:
        api.faults.rate_limited_share = 1.0
        limited = await client.get("customers")
        assert (429, "rate_limit") == (limited.status, limited.body["error"]["code"])
        assert "stripe-rate-limited-reason" in limited.headers
        api.faults.rate_limited_share = 0.0
        api.faults.lock_timeout_share = 1.0
        locked = await client.get("customers")
        assert (429, "lock_timeout") == (locked.status, locked.body["error"]["code"])
        assert "stripe-rate-limited-reason" not in locked.headers
        api.faults.lock_timeout_share = 0.0
        api.faults.error_share = 1.0
        assert 500 == (await client.get("customers")).status
        api.faults.error_share = 0.0
        api.faults.reset_share = 1.0
        with pytest.raises(aiohttp.ClientError):
            await client.get("customers")
        api.faults.reset_share = 0.0
        api.faults.hang_share = 1.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.get("customers"), 0.2)
        api.faults.hang_share = 0.0
        assert 200 == (await client.get("customers")).status


async def test_faults_can_be_exchanged(sandbox: Sandbox) -> None:
    """Other faults put in the place of the first ones count from the next answer on."""
    api = create_api(sandbox, [KEY], faults=Faults(error_share=1.0))
    async with client_of(api) as client:
        assert 500 == (await client.get("customers")).status
        api.faults = Faults()
        assert 200 == (await client.get("customers")).status


async def test_rate(sandbox: Sandbox) -> None:
    """Requests beyond the rate are refused."""
    api = create_api(sandbox, [KEY], faults=Faults(requests_per_second_max=5))
    async with client_of(api) as client:
        statuses = [(await client.get("customers?limit=1")).status for _ in range(20)]
    assert [200] * 5 == statuses[:5]
    assert 429 in statuses


async def test_published_limits(sandbox: Sandbox) -> None:
    """So many of an account and of each operation in any second, whatever the ids; the header says which it was."""
    seconds = [0.0]
    api = create_api(sandbox, [KEY])
    api.gate = Gate(RateLimits(account=5, operation=3), clock=lambda: seconds[0])

    async with client_of(api) as client:

        async def reasons(*paths: str) -> list[str | None]:
            answers = [await client.get(path) for path in paths]
            return [answer.headers.get("stripe-rate-limited-reason") for answer in answers]

        paths = [f"customers/cus_{number}" for number in range(4)]
        assert [None, None, None, "endpoint-rate"] == await reasons(*paths)
        assert [None, None, "global-rate"] == await reasons("customers", "customers", "invoices")
        seconds[0] = 0.999
        assert ["global-rate"] == await reasons("invoices")
        seconds[0] = 1.0
        assert [None] == await reasons("customers/cus_1")
        api.gate = None
        assert [None] * 9 == await reasons(*["customers"] * 9)


async def test_stale_and_hidden_answers() -> None:
    """A stale answer shows the past; a new object may be hidden for a while. The test sets the clock."""
    seconds = [0.0]
    sandbox = Sandbox(1)
    customer = sandbox.home.clients.create("First", "first@example.com")
    history = History(sandbox, keep_seconds=60, clock=lambda: seconds[0])
    api = create_api(sandbox, [KEY], history=history)
    async with client_of(api) as client:
        seconds[0] = 10.0
        sandbox.home.clients.update(customer, name="Second")
        young = sandbox.home.clients.create("Young", "young@example.com")
        seconds[0] = 11.0
        assert "Second" == (await client.get(f"customers/{customer.id}")).body["name"]
        api.faults.stale_share, api.faults.stale_seconds = 1.0, 5.0
        assert "First" == (await client.get(f"customers/{customer.id}")).body["name"]
        assert [customer.id] == (await client.get("customers")).ids
        seconds[0] = 20.0
        assert "Second" == (await client.get(f"customers/{customer.id}")).body["name"]
        api.faults.stale_share = 0.0
        api.faults.hidden_when_new_seconds = 30.0
        assert 404 == (await client.get(f"customers/{young.id}")).status
        assert 200 == (await client.get(f"customers/{customer.id}")).status
        seconds[0] = 41.0
        assert 200 == (await client.get(f"customers/{young.id}")).status


async def test_every_kind_is_listed_and_found(client: Client, sandbox: Sandbox) -> None:
    """Each list has all objects of its kind, newest first, and each entry is found by its id as listed."""
    for path, (kind, _) in COLLECTIONS.items():
        if kind in ("customer", "subscription", "price", "entitlements.active_entitlement", "review"):
            continue  # lists that leave some out, or ask for a customer
        rows = sandbox.home.shelves["price" if kind == "plan" else kind].rows
        wanted = [row.id for row in reversed(rows) if kind != "plan" or getattr(row, "interval", None)]
        assert wanted, f"no story brings about a {kind}"
        assert wanted == await all_pages(client, f"{path}?limit=100"), path
        listed = (await client.get(f"{path}?limit=1")).body["data"][0]
        assert kind == listed["object"]
        assert listed == (await client.get(f"{path}/{wanted[0]}")).body


async def test_reviews_are_listed_while_they_are_open(client: Client, sandbox: Sandbox) -> None:
    """A closed review is found only by its id."""
    reviews = rows_of(sandbox, Review)
    closed = next(review for review in reviews if not review.open)
    assert sorted(review.id for review in reviews if review.open) == sorted((await client.get("reviews")).ids)
    assert closed.id == (await client.get(f"reviews/{closed.id}")).body["id"]


async def test_what_is_on_a_test_clock_is_listed_by_its_clock(client: Client, sandbox: Sandbox) -> None:
    """The clock's customers and subscriptions are only in its lists and the customer's; each names the clock."""
    clock = rows_of(sandbox, Clock)[0]
    customers = [row for row in rows_of(sandbox, Customer) if row.test_clock == clock.id]
    assert 2 == len(customers)
    assert {row.id for row in customers} == set((await client.get(f"customers?test_clock={clock.id}")).ids)
    assert not {row.id for row in customers} & set(await all_pages(client, "customers?limit=100"))
    subscription = sandbox.home.subscriptions_of(customers[0].id)[0]
    everything = "subscriptions?limit=100&status=all"
    assert subscription.id in (await client.get(f"{everything}&test_clock={clock.id}")).ids
    assert [subscription.id] == (await client.get(f"{everything}&customer={customers[0].id}")).ids
    assert subscription.id not in await all_pages(client, everything)
    for path in (f"customers/{customers[0].id}", f"subscriptions/{subscription.id}"):
        assert clock.id == (await client.get(path)).body["test_clock"]


async def test_prices_are_listed_by_halves(client: Client, sandbox: Sandbox) -> None:
    """Lists show prices on sale, or archived ones on request. One created within a purchase is found only by its id."""
    prices = rows_of(sandbox, Price)
    listed: dict[bool, list[str]] = {True: [], False: []}
    for price in reversed(prices):
        if not price.inline:
            listed[price.active].append(price.id)
    assert all(listed.values())
    assert listed[True] == await all_pages(client, "prices?limit=100")
    assert listed[True] == await all_pages(client, "prices?limit=100&active=true")
    assert listed[False] == await all_pages(client, "prices?limit=100&active=false")
    inline = next(price for price in prices if price.inline)
    assert inline.id == (await client.get(f"prices/{inline.id}")).body["id"]


async def test_lists_take_what_stripe_takes(client: Client) -> None:
    """A list without a filter by time refuses one, as Stripe does."""
    for path in ("payment_methods", "tax_ids", "entitlements/features", "billing/meters"):
        refused = await client.get(f"{path}?created[gte]=1")
        assert (400, "parameter_unknown") == (refused.status, refused.body["error"]["code"])
    for path in ("coupons", "credit_notes", "payouts", "plans", "radar/early_fraud_warnings", "reviews"):
        assert 200 == (await client.get(f"{path}?created[gte]=1")).status


async def test_filters_of_the_objects_around(client: Client, sandbox: Sandbox) -> None:
    """By the field that the parameter names."""
    note = rows_of(sandbox, CreditNote)[0]
    assert note.id in (await client.get(f"credit_notes?invoice={note.invoice}")).ids
    charge = next(row for row in rows_of(sandbox, Charge) if row.balance_transaction is not None)
    assert [charge.balance_transaction] == (await client.get(f"balance_transactions?source={charge.id}")).ids
    method = rows_of(sandbox, PaymentMethod)[0]
    mine = await client.get(f"payment_methods?customer={method.customer}&type=card")
    assert mine.ids == (await client.get(f"customers/{method.customer}/payment_methods")).ids
    assert method.id in mine.ids
    tax_id = rows_of(sandbox, TaxId)[0]
    assert [tax_id.id] == (await client.get(f"customers/{tax_id.customer}/tax_ids")).ids
    shown = await client.get(f"customers/{tax_id.customer}?expand[]=tax_ids")
    assert [tax_id.id] == [row["id"] for row in shown.body["tax_ids"]["data"]]
    features = await client.get("entitlements/features?limit=100&archived=false")
    assert features.ids
    assert [] == (await client.get("entitlements/features?archived=true")).ids


async def test_line_items_of_a_checkout(client: Client, sandbox: Sandbox) -> None:
    """Ten come with the session when expanded, the rest in pages."""
    [session] = [row for row in rows_of(sandbox, CheckoutSession) if len(row.lines) == 12]
    assert "line_items" not in (await client.get(f"checkout/sessions/{session.id}")).body
    shown = (await client.get(f"checkout/sessions/{session.id}?expand[]=line_items")).body["line_items"]
    assert (10, True) == (len(shown["data"]), shown["has_more"])
    path = f"checkout/sessions/{session.id}/line_items?limit=5"
    assert [line.id for line in session.lines] == await all_pages(client, path)
    assert session.lines[0].price == shown["data"][0]["price"]["id"]


async def test_active_entitlements(client: Client, sandbox: Sandbox) -> None:
    """Pages show all of one customer's entitlements, where its event showed ten."""
    event = next(
        event
        for event in sandbox.events
        if event.type == "entitlements.active_entitlement_summary.updated"
        and json.loads(event.body)["data"]["object"]["entitlements"]["has_more"]
    )
    summary = json.loads(event.body)["data"]["object"]
    assert "id" not in summary
    assert 10 == len(summary["entitlements"]["data"])
    path = f"entitlements/active_entitlements?customer={summary['customer']}&limit=7"
    ids = await all_pages(client, path)
    assert len(ids) in (11, 12)
    one = await client.get(f"entitlements/active_entitlements/{ids[0]}?expand[]=feature")
    assert one.body["lookup_key"] == one.body["feature"]["lookup_key"]
    refused = await client.get("entitlements/active_entitlements")
    assert (400, "parameter_missing") == (refused.status, refused.body["error"]["code"])


async def test_use_and_what_it_will_cost() -> None:
    """A meter's summary of a window, and the preview of the invoice; neither changes what happens later."""
    sandbox = Sandbox(9)
    sandbox.play(["metered_use", "canceled_now"])
    sandbox.run()
    async with client_of(create_api(sandbox, [KEY])) as client:
        await use_and_cost(client, sandbox)


async def use_and_cost(client: Client, sandbox: Sandbox) -> None:
    [((_, _, customer_id), (row,))] = sandbox.usage().items()
    start = int(row.period_start.timestamp()) // 60 * 60
    end = (sandbox.now // 60 + 1) * 60
    path = f"billing/meters/{row.meter_id}/event_summaries?customer={customer_id}"
    [summary] = (await client.get(f"{path}&start_time={start}&end_time={end}")).body["data"]
    assert (12, start, end) == (summary["aggregated_value"], summary["start_time"], summary["end_time"])
    assert [] == (await client.get(f"{path}&start_time=0&end_time=60")).body["data"]
    refused = await client.get(f"{path}&start_time={start + 1}&end_time={end}")
    assert (400, "start_time") == (refused.status, refused.body["error"]["param"])

    previews = [
        (await client.post("invoices/create_preview", subscription=row.stripe_subscription_id)).body
        for _ in range(2)
    ]
    assert previews[0] == previews[1]
    assert (row.expected_charge, "draft") == (previews[0]["amount_due"], previews[0]["status"])
    assert previews[0]["id"].startswith("upcoming_in_")
    assert previews[0] == (await client.post("invoices/create_preview", customer=customer_id)).body
    gone = next(each for each in rows_of(sandbox, Subscription) if each.status == "canceled")
    none = await client.post("invoices/create_preview", subscription=gone.id)
    assert (404, "invoice_upcoming_none") == (none.status, none.body["error"]["code"])
    assert 400 == (await client.post("invoices/create_preview")).status
    assert 404 == (await client.post("charges", name="Ada")).status


async def test_tiers_only_on_request(client: Client, sandbox: Sandbox) -> None:
    price = next(row for row in rows_of(sandbox, Price) if row.tiers_mode == "volume")
    assert "tiers" not in (await client.get(f"prices/{price.id}")).body
    shown = (await client.get(f"prices/{price.id}?expand[]=tiers")).body
    assert ("tiered", None) == (shown["billing_scheme"], shown["unit_amount"])
    assert [5, None] == [tier["up_to"] for tier in shown["tiers"]]
    listed = await client.get(f"prices?product={price.product}&expand[]=data.tiers")
    assert shown["tiers"] == listed.body["data"][0]["tiers"]


async def test_customers_are_created_once_per_key() -> None:
    """A request that is sent again with its idempotency key creates nothing; with other parameters it is refused."""
    async with serve(create_api(Sandbox(seed=1), [KEY])) as base, aiohttp.ClientSession() as session:

        async def create(name: str) -> tuple[int, Any]:
            headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": "k"}
            fields = {"name": name, "metadata[custom_uid]": "u"}
            async with session.post(f"{base}/v1/customers", headers=headers, data=fields) as answer:
                return answer.status, await answer.json()

        first, again, other = await create("Ada"), await create("Ada"), await create("Eve")
    assert (200, "Ada", {"custom_uid": "u"}) == (first[0], first[1]["name"], first[1]["metadata"])
    assert first == again
    assert (400, "idempotency_error") == (other[0], other[1]["error"]["type"])


async def test_customers_are_changed(client: Client, api: Api, sandbox: Sandbox) -> None:
    """A POST sets what it names, an empty text removes; what changes nothing is no event; deleted ones are unknown."""
    customer = sandbox.home.clients.create("Ada", "a@example.com", metadata={"a": "1", "b": "2"})
    path, known = f"customers/{customer.id}", len(sandbox.events)
    form = {"name": "Grace", "email": "", "metadata[a]": "", "metadata[c]": "3"}
    for _ in range(2):
        answer = await client.post(path, **form)
        assert (200, "Grace", None, {"b": "2", "c": "3"}) == (
            answer.status,
            answer.body["name"],
            answer.body["email"],
            answer.body["metadata"],
        )
    assert ["customer.updated"] == [event.type for event in sandbox.events[known:]]
    assert 400 == (await client.post(path, balance="5")).status
    many = {f"metadata[k{number}]": "x" for number in range(49)}
    assert "metadata" == (await client.post(path, **many)).body["error"]["param"]
    api.faults = Faults(failed_share=1.0)
    assert (500, "Failed") == ((await client.post(path, name="Failed")).status, customer.name)
    api.faults = Faults(lost_share=1.0)
    with pytest.raises(aiohttp.ClientError):
        await client.post(path, name="Lost")
    assert "Lost" == customer.name
    api.faults = Faults()
    sandbox.home.clients.delete(customer)
    assert "resource_missing" == (await client.post(path, name="Late")).body["error"]["code"]


async def test_meter_events_count_once_a_day() -> None:
    """Stripe recognises an identifier for 24 hours and says so; later it counts again. What is odd is refused."""
    sandbox = Sandbox(seed=1)
    account = sandbox.home
    meter = account.metering.meter("calls")
    customer = account.clients.create("Ada", "ada@example.com")

    def form(**more: str) -> dict[str, str]:
        fields = {"event_name": "calls", "payload[stripe_customer_id]": customer.id, "payload[value]": "3"}
        return fields | {"identifier": "a", "timestamp": str(sandbox.now)} | more

    async with client_of(create_api(sandbox, [KEY])) as client:

        async def told(**more: str) -> Answer:
            return await client.post("billing/meter_events", **form(**more))

        counted = await told()
        assert (200, "billing.meter_event", "a") == (
            counted.status,
            counted.body["object"],
            counted.body["identifier"],
        )
        again = await told()
        assert (400, True) == (
            again.status,
            "already exists with identifier a" in again.body["error"]["message"],
        )
        assert 3 == account.metering.used(customer.id, meter.id, 0, 2**40)
        sandbox.advance(86_400)
        assert 200 == (await told()).status
        assert 6 == account.metering.used(customer.id, meter.id, 0, 2**40)
        for wrong in (
            {"payload[value]": "0.5"},
            {"event_name": "none"},
            {"payload[stripe_customer_id]": "cus_none"},
            {"timestamp": str(sandbox.now - 36 * 86_400)},
            {"timestamp": str(sandbox.now + 3600)},
            {"odd": "1"},
        ):
            assert 400 == (await told(**{"identifier": "b"} | wrong)).status


@pytest.mark.parametrize(("limit", "admitted"), [(1000, 5), (None, 3)], ids=["live", "sandbox"])
def test_meter_events_have_a_limit_of_their_own(limit: int | None, admitted: int) -> None:
    """In live mode, and of the account itself; connected accounts have none."""
    gate = Gate(RateLimits(account=3, operation=3, meter_events=limit), clock=lambda: 0.0)
    asked = [gate.refuses("", "POST", "/v1/billing/meter_events") for _ in range(5)]
    assert admitted == asked.count(None)
    assert 3 == [gate.refuses("acct_1", "POST", "/v1/billing/meter_events") for _ in range(5)].count(None)
