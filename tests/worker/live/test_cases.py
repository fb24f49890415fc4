"""Inputs of kinds that people have reported in public, made anew with invented data: the files in cases/.

Each says what is right. Its events go through the inbox, and its reads are answered as it says.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from db.connection import Pool
from tests.harness import (
    API_KEY,
    NOON,
    Api,
    Body,
    Harness,
    customer,
    event,
    listing,
    open_harness,
    subscription,
)

CASES = Path(__file__).parent / "cases"
WITH_ACCOUNT = "with header Stripe-Account: "


class CaseApi(Api):
    """Answers what a case says, and notes in which account each object was asked for."""

    def __init__(self, answers: dict[str, Any]) -> None:
        super().__init__()
        self.asked_in: list[tuple[str, str]] = []
        self.by_account: dict[str, dict[str, Any]] = {"": {}}
        for path, answer in answers.items():
            if path.startswith(WITH_ACCOUNT):
                self.by_account[path.removeprefix(WITH_ACCOUNT)] = answer
            else:
                self.by_account[""][path] = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        account = dict(scope["headers"]).get(b"stripe-account", b"").decode()
        self.asked_in.append((account, scope["path"]))
        own = {"/v1/account": self.bodies["/v1/account"]}
        self.bodies = own | {
            path: body for path, body in self.by_account.get(account, {}).items() if isinstance(body, dict)
        }
        await super().__call__(scope, receive, send)


@asynccontextmanager
async def played(
    name: str, pool: Pool, database_url: str, *, api_key: str | None
) -> AsyncIterator[tuple[Harness, CaseApi]]:
    """The case's events received and applied, and with an API key everything read that they ask for."""
    case = json.loads((CASES / f"{name}.json").read_text())
    api = CaseApi(case.get("api_answers_by_path", {}))
    events = case["events_in_order"] if "events_in_order" in case else [case["event"]]
    async with open_harness(pool, database_url, api=api, api_key=api_key) as harness:
        for event in events:
            await harness.apply(json.dumps(event).encode())
        if api_key is not None:
            await harness.settle()
        await harness.engine.derive()
        yield harness, api


KEYS = pytest.mark.parametrize("api_key", [API_KEY, None], ids=["key", "no key"])

# The case, and gross, refunded, disputed and net of the only currency.
MONEY = [
    ("dispute-with-conversion-adjustment", "eur", (2000, 0, 2000, 0)),
    ("dispute-open-two-movements", "eur", (2000, 0, 2000, 0)),
    ("dispute-partly-returned", "eur", (2000, 0, 1299, 701)),
    ("multicapture-first-capture", "usd", (700, 0, 0, 700)),
]


@KEYS
@pytest.mark.parametrize(("name", "currency", "expected"), MONEY)
async def test_money(
    name: str,
    currency: str,
    expected: tuple[int, ...],
    api_key: str | None,
    pool: Pool,
    database_url: str,
) -> None:
    """I6: the record counts the money that moved, in the months as well; with an API key it is exact."""
    async with played(name, pool, database_url, api_key=api_key) as (harness, _):
        columns = "currency, gross, refunded, disputed, net"
        for table in ("customer_revenue", "monthly_revenue"):
            (row,) = await harness.fetch(f"select {columns} from billing.{table}")
            assert (currency, *expected) == tuple(row), table
        assert (api_key is not None) == (await harness.record())["exact"]


async def test_a_coupon_made_again_under_its_id(pool: Pool, database_url: str) -> None:
    """I5: the discount keeps the 50 % of the coupon that it was made from, though its id now names one of 10 %."""
    async with played("coupon-made-again-under-its-id", pool, database_url, api_key=API_KEY) as (harness, _):
        assert 1000 == await harness.fetchval("select mrr from billing.customer_mrr")
        assert (await harness.record())["exact"]


async def test_a_coupon_whose_terms_were_never_seen(pool: Pool, database_url: str) -> None:
    """Without an API key nothing ever told what the discount takes off: MRR is not known."""
    async with played("coupon-made-again-under-its-id", pool, database_url, api_key=None) as (harness, _):
        assert [None] == [row[0] for row in await harness.fetch("select mrr from billing.customer_mrr")]


@KEYS
async def test_invoices_from_before_may_2018(api_key: str | None, pool: Pool, database_url: str) -> None:
    """I6: of invoices with billing_reason `subscription` the first is the creation, each other one a cycle."""
    async with played("billing-reason-subscription", pool, database_url, api_key=api_key) as (harness, _):
        assert 5 == (await harness.record())["renewal_number"]


@KEYS
async def test_a_preview_with_an_id(api_key: str | None, pool: Pool, database_url: str) -> None:
    """I8: no such invoice exists, so nothing is stored, nothing is read, and the record stays as it is."""
    async with played("preview-invoice-with-an-id", pool, database_url, api_key=api_key) as (harness, api):
        assert 0 == await harness.fetchval("select count(*) from stripe.invoices")
        assert 0 == await harness.fetchval("select count(*) from sync.objects where kind = 'invoice'")
        assert not [path for _, path in api.asked_in if "invoice" in path]
        record = await harness.record()
        assert ("active", 0, api_key is not None) == (
            record["status"],
            record["renewal_number"],
            record["exact"],
        )


async def test_a_thin_event_of_a_connected_account(pool: Pool, database_url: str) -> None:
    """I9: `context` names the account: its subscription is read there, and ends there."""
    name = "thin-event-of-a-connected-account"
    async with played(name, pool, database_url, api_key=API_KEY) as (harness, api):
        assert "ended" == (await harness.record(account="acct_seen"))["status"]
        assert 1 == await harness.fetchval("select count(*) from billing.customers")
        asked = {account for account, path in api.asked_in if path == "/v1/subscriptions/sub_1"}
        assert {"acct_seen"} == asked


async def test_a_customer_that_is_an_account(pool: Pool, database_url: str) -> None:
    """I9: a record of the account that stands for the customer, which becomes exact."""
    async with played("customer-account-v2", pool, database_url, api_key=API_KEY) as (harness, _):
        await harness.execute("update sync.customers set history_at = now() where history_at > now()")
        await harness.engine.sweep_bulk()  # which pulls its history
        await harness.settle()
        record = await harness.record("acct_cust")
        assert ("active", 2000, True) == (record["status"], record["lifetime_revenue"], record["exact"])
        assert 1 == await harness.fetchval("select count(*) from billing.customers")


async def test_a_deleted_test_clock(pool: Pool, database_url: str) -> None:
    """I8: what belonged to a deleted customer is gone with it; a later event of its subscription changes nothing."""
    async with played("test-clock-deleted", pool, database_url, api_key=API_KEY) as (harness, _):
        record = await harness.record()
        assert ("ended", True) == (record["status"], record["exact"])
        assert record["deleted_at"] is not None


# The case, and the row that it leaves: table, id, and some of its columns.
READ: list[tuple[str, str, dict[str, Any]]] = [
    ("shape-customer-tax-ids-empty-object", "customers", {"id": "cus_s1", "name": "s1"}),
    ("shape-customer-metadata-empty-array", "customers", {"id": "cus_s2", "name": "s2", "metadata": "{}"}),
    ("shape-charge-refunds-empty-object", "charges", {"id": "ch_s3", "amount_captured": 1000}),
    ("shape-payment-intent-empty-error-text", "payment_intents", {"id": "pi_s6", "error_code": None}),
    ("shape-payment-intent-with-its-charge-inside", "payment_intents", {"latest_charge_id": "ch_s8"}),
    ("shape-payment-intent-with-its-charge-inside", "charges", {"id": "ch_s8", "amount_captured": 1000}),
    ("shape-invoice-lines-empty-object", "invoices", {"id": "in_s9", "amount_paid": 1000}),
]


@pytest.mark.parametrize(("name", "table", "expected"), READ)
async def test_shapes_that_cost_nothing(
    name: str, table: str, expected: dict[str, Any], pool: Pool, database_url: str
) -> None:
    """I7: what no record needs never costs the object: without an API key its payload is shown."""
    async with played(name, pool, database_url, api_key=None) as (harness, _):
        assert ["applied"] == list((await harness.event_states()).values())
        (row,) = await harness.fetch(f"select * from stripe.{table}")
        assert expected == {column: row[column] for column in expected}


async def test_the_money_of_a_charge_inside_its_intent(pool: Pool, database_url: str) -> None:
    """I6: what the intent's payload holds whole counts, though nothing else tells of the charge."""
    name = "shape-payment-intent-with-its-charge-inside"
    async with played(name, pool, database_url, api_key=None) as (harness, _):
        assert 1000 == (await harness.record("cus_s8"))["lifetime_revenue"]


async def test_a_text_with_a_decimal_point_is_no_amount(pool: Pool, database_url: str) -> None:
    """I6: `"10.00"` might be 10 or 1000 minor units, so the event is parked with what was found, and shows nothing."""
    name = "shape-charge-amount-with-decimals"
    async with played(name, pool, database_url, api_key=None) as (harness, _):
        ((state, error),) = await harness.fetch("select state, error from sync.events")
        assert ("parked", True) == (state, "wanted a whole number" in error)
        assert 0 == await harness.fetchval("select count(*) from stripe.charges")


@KEYS
async def test_a_ping(api_key: str | None, pool: Pool, database_url: str) -> None:
    """I7: an event without an object, of a type that has none, is ignored and says why."""
    async with played("shape-ping-without-object", pool, database_url, api_key=api_key) as (harness, _):
        ((state, error),) = await harness.fetch("select state, error from sync.events")
        assert ("ignored", "ping carries no object") == (state, error)


async def test_a_dispute_without_an_id(pool: Pool, database_url: str) -> None:
    """I10: it cannot be stored, but the charge that it names has changed and is marked."""
    async with played("shape-dispute-without-id", pool, database_url, api_key=None) as (harness, _):
        marked = await harness.object("charge", "ch_s7")
        assert marked["dirty"] > marked["confirmed"]
        assert 0 == await harness.fetchval("select count(*) from stripe.disputes")


def _price(number: int, amount: int) -> Body:
    return {
        "object": "price", "id": f"price_{number}", "created": NOON, "product": f"prod_{number}", "currency": "usd",
        "unit_amount": amount, "unit_amount_decimal": str(amount), "billing_scheme": "per_unit", "type": "recurring",
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"}, "metadata": {},
        "livemode": False,
    }  # fmt: skip


def _coupon(created: int, percent_off: int, *products: str) -> Body:
    return {
        "object": "coupon", "id": "SAVE", "created": created, "duration": "forever", "percent_off": percent_off,
        "metadata": {}, "livemode": False, "applies_to": {"products": list(products)},
    }  # fmt: skip


async def test_an_earlier_coupon_keeps_its_products(harness: Harness) -> None:
    """I5: the first coupon was for support alone; the discount still takes off half of support, and nothing else, when
    the id names a coupon for seats, and then a third one. A new discount has the terms of its own coupon.
    """
    seats, support = _price(1, 2000), _price(2, 8000)
    products = [{"object": "product", "id": f"prod_{n}", "created": NOON, "metadata": {}} for n in (1, 2)]
    first, second, third = (
        _coupon(NOON - 900, 50, "prod_2"),
        _coupon(NOON + 100, 10, "prod_1"),
        _coupon(NOON + 200, 20),
    )

    def discounted(coupon: Body, start: int) -> Body:
        given = {key: value for key, value in coupon.items() if key != "applies_to"}
        return {"object": "discount", "id": f"di_{start}", "start": start, "source": {"coupon": given}}

    def subscribed(discount: Body) -> Body:
        items = [
            {"object": "subscription_item", "id": f"si_{n}", "created": NOON, "price": price, "quantity": 1}
            for n, price in enumerate((seats, support))
        ]
        return subscription(items=listing(items), currency="usd", discounts=[discount])

    harness.api.put(customer(), seats, support, *products, first, subscribed(discounted(first, NOON)))
    await harness.apply(
        event("coupon.created", first, after=-900),
        event("customer.created", customer()),
        event("customer.subscription.created", subscription()),
    )
    await harness.settle()
    mrr = "select mrr from billing.customer_mrr"
    assert 2000 + 4000 == await harness.fetchval(mrr)
    for coupon in (second, third):
        harness.api.put(coupon)
        after = coupon["created"] - NOON
        await harness.apply(
            event("coupon.deleted", first, after=after - 1), event("coupon.created", coupon, after=after)
        )
        await harness.settle()
        await harness.execute("update sync.customers set stale = stale + 1")
        await harness.engine.derive()
        assert 2000 + 4000 == await harness.fetchval(mrr)
    harness.api.put(subscribed(discounted(third, NOON + 300)))
    await harness.apply(event("customer.subscription.updated", subscription(), after=300))
    await harness.settle()
    assert 1600 + 6400 == await harness.fetchval(mrr)
