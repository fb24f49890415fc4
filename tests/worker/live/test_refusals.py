"""What Stripe refuses: an alarm names account, object and remedy, nobody asks for ever, and everybody else goes on."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from db.connection import Pool
from db.keys import CustomerKey, Scope
from db.sync.refusals import WHOLE_ACCOUNT, end_refusals
from db.sync.status import select_backlog
from tests.harness import (
    Api,
    Body,
    Harness,
    charge,
    customer,
    error,
    event,
    listing,
    open_harness,
    subscription,
    sweep,
    sweep_bulk,
)
from worker import engine
from worker.forget import forget

PRODUCT: Body = {"object": "product", "id": "prod_1", "created": 1, "name": "Pro", "metadata": {}}


class Connected(Api):
    """The API of a platform: accounts may take their access back."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: set[str] = set()
        self.asked_for: list[str] = []
        self.bodies["/v1/events"] = listing([], url="/v1/events")

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        account = dict(scope["headers"]).get(b"stripe-account", b"").decode()
        self.asked_for.append(account)
        if account in self.closed:
            self.say(scope["path"], 403, error("account_invalid", f"no access to account '{account}'"))
        await super().__call__(scope, receive, send)


@pytest.fixture
async def harness(pool: Pool, database_url: str) -> AsyncIterator[Harness]:
    """A worker with a key of a platform."""
    async with open_harness(pool, database_url, api=Connected()) as harness:
        yield harness


async def alarms(harness: Harness) -> dict[str, Any]:
    rows = await harness.fetch("select name, account_id, detail, remedy from sync.alarms")
    return {row["name"]: row for row in rows}


async def turn(harness: Harness) -> None:
    """As if everything that waits were due; then one turn of a worker."""
    await harness.execute("update sync.accounts set due_at = now()")
    await harness.execute("update sync.customers set history_at = now() where history_at > now()")
    await harness.make_due()
    await sweep(harness.engine)
    await sweep_bulk(harness.engine)


async def test_account_that_takes_its_access_back(harness: Harness) -> None:
    """I7, I12: 403 for one connected account: an alarm names account, object and remedy; one request now and then asks
    again, for however many objects; the others are exact; and once it is back, so is this one, and the alarm ends.
    """
    assert isinstance(harness.api, Connected)
    names = [f"cus_{n}" for n in range(30)]
    harness.api.put(*(customer(name) for name in names))
    harness.api.closed = {"acct_gone"}
    for account in ("", "acct_gone", "acct_here"):
        await harness.apply(
            *(event("customer.created", customer(name), account=account or None) for name in names)
        )
    await turn(harness)
    (alarm,) = (await alarms(harness)).values()
    assert ("account acct_gone refused", "acct_gone") == (alarm["name"], alarm["account_id"])
    assert "cus_" in alarm["detail"] or "its events" in alarm["detail"]
    assert "have account acct_gone connected again" in alarm["remedy"]
    exact = "select account_id, count(*) from billing.customers where exact group by 1"
    assert {"": 30, "acct_here": 30} == {row[0]: row[1] for row in await harness.fetch(exact)}
    async with harness.pool.acquire() as connection:
        assert 0 == (await select_backlog(connection, live_mode=False)).unconfirmed_objects

    before = harness.api.asked_for.count("acct_gone")
    for _ in range(6):
        await turn(harness)
    # Each turn fills the gap once, as if minutes had passed, and no turn asks for its 30 objects.
    assert 6 <= harness.api.asked_for.count("acct_gone") - before <= 8
    # And it is filled no sooner than that of any other account: here every five minutes.
    assert await harness.fetchval(
        "select due_at > now() + interval '1 min' from sync.accounts where account_id = 'acct_gone'"
    )

    harness.api.closed = set()
    await turn(harness)
    await turn(harness)
    assert {"": 30, "acct_gone": 30, "acct_here": 30} == {
        row[0]: row[1] for row in await harness.fetch(exact)
    }
    assert {} == await alarms(harness)
    assert [] == await harness.fetch("select * from sync.refusals")


async def test_histories_wait_for_their_account_alone(pool: Pool) -> None:
    """An answer wakes the histories that wait if the whole account had been refused, and not if one kind was."""
    waiting = "select history_at > now() from sync.customers"
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into sync.customers (account_id, live_mode, customer_id, stale, stale_since, history_at) "
            "values ('acct_1', false, 'cus_1', 1, now(), now() + interval '1 day')"
        )
        for kind, waits in (("charge", True), (WHOLE_ACCOUNT, False)):
            await connection.execute(
                "insert into sync.refusals (account_id, live_mode, kind, object_id, error, probe_at) "
                "values ('acct_1', false, $1, '', 'no', now())",
                kind,
            )
            assert [kind] == await end_refusals(connection, Scope("acct_1", False), [kind])
            assert waits == await connection.fetchval(waiting)


async def test_keys_own_account_is_never_closed(harness: Harness) -> None:
    """What Stripe says of an account that took its access back closes no account of the key's own: its gap is filled
    again soon, and nothing waits for a probe.
    """
    harness.api.say("/v1/events", 403, error("account_invalid", "no access"))
    await sweep_bulk(harness.engine)
    assert 0 == await harness.fetchval("select count(*) from sync.refusals")
    assert await harness.fetchval(
        "select error is not null and due_at < now() + interval '31 s' from sync.accounts"
    )


async def test_records_of_an_account_that_was_exact_before_it_closed(harness: Harness) -> None:
    """I8, I11: nothing can be known of an account that took its access back, so none of its records is exact; when it
    is back, they are again. Records of others stay as they are.
    """
    assert isinstance(harness.api, Connected)
    harness.api.put(customer("cus_1"))
    for account in ("", "acct_gone"):
        await harness.apply(event("customer.created", customer("cus_1"), account=account or None))
    await turn(harness)
    exact = "select account_id, exact from billing.customers"
    assert {"": True, "acct_gone": True} == {row[0]: row[1] for row in await harness.fetch(exact)}
    for closed, expected in (({"acct_gone"}, False), (set[str](), True)):
        harness.api.closed = closed
        await turn(harness)
        await turn(harness)
        assert {"": True, "acct_gone": expected} == {row[0]: row[1] for row in await harness.fetch(exact)}


async def test_a_key_that_may_not_read_events(harness: Harness) -> None:
    """I10, I12: what no webhook brings is never found then: an alarm says so, and records are behind, until it is."""
    assert isinstance(harness.api, Connected)
    late = "update sync.accounts set seen_at = now() - interval '3 minutes', fill_by = now() - interval '1 second'"
    fresh = "select behind_because from billing.freshness"
    harness.api.say("/v1/events", 403, error("", "the key lacks a right"))
    await turn(harness)
    await harness.execute(late)
    (alarm,) = (await alarms(harness)).values()
    assert "give the API key the right to read events" == alarm["remedy"]
    ((because,),) = await harness.fetch(fresh)
    assert "gaps have not been filled in time: own account" in because
    await turn(harness)
    assert {} == await alarms(harness)
    ((because,),) = await harness.fetch(fresh)
    assert "gaps" not in (because or "")


async def test_right_that_the_key_lacks(harness: Harness) -> None:
    """I12: 403 for a kind: many objects make one request now and then, and no other kind waits."""
    names = [f"cus_{n}" for n in range(30)]
    harness.api.put(*(subscription(f"sub_{name}", name) for name in names))
    for name in names:
        for _ in range(99):
            harness.api.say(f"/v1/customers/{name}", 403, error("", "the key lacks a right"))
        await harness.apply(
            event("customer.created", customer(name)),
            event("customer.subscription.created", subscription(f"sub_{name}", name)),
        )
    for _ in range(6):
        await harness.confirm()
    assert sum(path.startswith("/v1/customers/") for path in harness.api.asked) <= 30 + 2
    assert 30 == await harness.fetchval(
        "select count(*) from sync.objects where kind = 'subscription' and confirmed > dirty"
    )
    assert ["reads of customer refused"] == list(await alarms(harness))
    harness.api.scripted.clear()
    harness.api.put(*(customer(name) for name in names))
    await harness.execute("update sync.refusals set probe_at = now()")
    await harness.settle()
    assert 30 == await harness.fetchval("select count(*) from billing.customers where exact")
    assert {} == await alarms(harness)


async def test_key_that_stripe_does_not_know_is_one_alarm(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I12: 401 for objects of two kinds: the alarm speaks of the key, and none of a right that it lacks."""
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    monkeypatch.setattr(engine, "KEY_CHECK_SECONDS", 0.0)
    for path in ("/v1/account", "/v1/customers/cus_1", "/v1/subscriptions/sub_1"):
        for _ in range(9):
            harness.api.say(path, 401, error("", "Invalid API Key"))
    await harness.confirm(times=2)
    await turn(harness)
    assert ["api key"] == list(await alarms(harness))
    harness.api.scripted.clear()
    harness.api.put(customer(), subscription())
    await harness.settle()
    assert {} == await alarms(harness)


async def test_object_that_stripe_refuses(harness: Harness) -> None:
    """I7, I12: 400 for one object, for whatever reason: an alarm names it, it is asked for ever less often, and its
    neighbours are exact. When it can be read, the alarm ends; so it does with the next fill of gaps if a list has shown
    it, and at once if its customer is forgotten.
    """
    harness.api.put(customer(), customer("cus_2"))
    for _ in range(3):
        harness.api.say("/v1/customers/cus_1", 400, error("parameter_invalid", "no"))
    await harness.apply(event("customer.created", customer()), event("customer.created", customer("cus_2")))
    waits = []
    for _ in range(3):
        await harness.confirm()
        waits.append(
            await harness.fetchval(
                "select round(extract(epoch from read_at - now()) / 60) from sync.objects where id = 'cus_1'"
            )
        )
    assert [1, 4, 16] == waits
    (alarm,) = (await alarms(harness)).values()
    assert "read of customer cus_1 refused" == alarm["name"]
    assert "subledger events replay cus_1" in alarm["remedy"]
    assert [False, True] == [(await harness.record(name))["exact"] for name in ("cus_1", "cus_2")]
    await harness.settle()
    assert (await harness.record())["exact"]
    assert {} == await alarms(harness)
    for charge_id, customer_id in (("ch_1", "cus_1"), ("ch_2", "cus_2")):
        harness.api.say(f"/v1/charges/{charge_id}", 400, error("parameter_invalid", "no"))
        await harness.apply(event("charge.succeeded", charge(charge_id, customer_id)))
    await harness.confirm()
    assert ["read of charge ch_1 refused", "read of charge ch_2 refused"] == sorted(await alarms(harness))
    async with harness.pool.acquire() as connection:
        await forget(connection, CustomerKey("", False, "cus_2"))
    assert ["read of charge ch_1 refused"] == sorted(await alarms(harness))
    harness.api.bodies["/v1/events"] = listing([])
    await harness.engine.fill_gaps()
    assert ["read of charge ch_1 refused"] == sorted(await alarms(harness))
    # As if a page of a list had shown it.
    await harness.execute("update sync.objects set confirmed = nextval('sync.tick') where id = 'ch_1'")
    await harness.execute("update sync.accounts set due_at = now()")
    await harness.engine.fill_gaps()
    assert {} == await alarms(harness)


async def test_expansion_that_is_refused_is_left_out(harness: Harness) -> None:
    """I12, I7: a 400 that names an expansion costs the expansion and not the object, and others of its kind only once
    it is refused of three in a row; lists inside have addresses.
    """
    refused, alarmed = error("", "This property cannot be expanded (tax_ids)."), []
    for name in ("cus_1", "cus_2", "cus_3", "cus_4", "cus_5", "cus_6"):
        harness.api.put(customer(name))
        harness.api.bodies[f"/v1/customers/{name}/tax_ids"] = listing([])
        if name not in ("cus_2", "cus_6"):
            harness.api.say(f"/v1/customers/{name}", 400, refused)
        await harness.apply(event("customer.created", customer(name)))
        await harness.settle()
        assert (await harness.record(name))["exact"]
        asked = harness.api.asked.count(f"/v1/customers/{name}")
        assert (1 if name in ("cus_2", "cus_6") else 2) == asked
        alarmed = sorted(await alarms(harness))
    one_by_one = [f"parts of customer cus_{number} refused" for number in (1, 3, 4)]
    assert [*one_by_one, "parts of customer refused"] == alarmed
    said = (await alarms(harness))["parts of customer cus_1 refused"]["detail"]
    assert "Stripe refuses tax_ids of customer cus_1" in said


async def test_expansion_that_one_account_is_refused_is_asked_for_by_others(harness: Harness) -> None:
    """I7: what the API refuses to expand for one account is left out for that account only."""
    harness.api.put(customer())
    harness.api.say("/v1/customers/cus_1", 400, error("", "This property cannot be expanded (tax_ids)."))
    harness.api.bodies["/v1/customers/cus_1/tax_ids"] = listing([])
    for account, alarmed in (("acct_1", 1), (None, 0)):
        await harness.execute("delete from sync.alarms")
        await harness.apply(event("customer.created", customer(), account=account))
        await harness.settle()
        assert alarmed == len(await alarms(harness))


async def test_price_list_that_is_missing(harness: Harness) -> None:
    """I8: a 404 of a product's price list is no 404 of the product."""
    harness.api.put(PRODUCT)
    await harness.apply(event("product.created", PRODUCT))
    await harness.settle()
    product = await harness.object("product", "prod_1")
    assert (None, True) == (product["missing_since"], product["confirmed"] > product["dirty"])
    assert "the list of its prices" in (await alarms(harness))["parts of product prod_1 refused"]["detail"]


async def deleted_on_a_clock(harness: Harness) -> None:
    """A customer with a subscription, both known; then its test clock is deleted, and Stripe knows neither."""
    on_clock = customer(test_clock="clock_1")
    harness.api.put(on_clock, subscription())
    await harness.apply(
        event("customer.created", on_clock), event("customer.subscription.created", subscription())
    )
    await harness.settle()
    harness.api.bodies = {"/v1/account": harness.api.bodies["/v1/account"]}


async def test_deleted_clock_takes_all_that_is_its(harness: Harness) -> None:
    """I5, I8: a deletion that is proved for the customer is proved for what belonged to it and answers 404."""
    await deleted_on_a_clock(harness)
    await harness.apply(
        event("customer.deleted", customer(test_clock="clock_1"), after=100),
        event("customer.subscription.updated", subscription(), after=99),
    )
    for _ in range(3):
        await harness.confirm()
    await harness.settle()
    record = await harness.record()
    assert ("ended", False, True) == (record["status"], record["has_access"], record["exact"])
    assert (await harness.object("subscription", "sub_1"))["tombstone"]


async def test_404_without_a_deletion_of_its_customer_proves_nothing(harness: Harness) -> None:
    """I8: the customer is there: its subscription that answers 404 stays as it is."""
    await deleted_on_a_clock(harness)
    harness.api.put(customer(test_clock="clock_1"))
    await harness.apply(event("customer.subscription.updated", subscription(), after=99))
    await harness.confirm()
    known = await harness.object("subscription", "sub_1")
    assert (False, False) == (known["tombstone"], known["missing_since"] is None)
    assert "active" == (await harness.record())["status"]


@pytest.mark.parametrize("status", [400, 404])
@pytest.mark.parametrize("answer", ["deleted", "404"])
async def test_history_of_a_deleted_customer(harness: Harness, status: int, answer: str) -> None:
    """The lists of a deleted customer that Stripe refuses count as empty: it is complete, and exact."""
    gone = {"object": "customer", "id": "cus_1", "deleted": True}
    if answer == "deleted":
        harness.api.bodies["/v1/customers/cus_1"] = gone
    await harness.apply(event("customer.deleted", customer(), after=9))
    await harness.settle()
    for path in ("subscriptions", "invoices", "charges", "subscription_schedules", "credit_notes"):
        harness.api.say(f"/v1/{path}", status, error("resource_missing", "No such customer: 'cus_1'"))
    await turn(harness)
    await harness.settle()
    record = await harness.record()
    assert (True, True) == (record["deleted_at"] is not None, record["exact"])


async def test_refused_lists_of_a_living_customer_prove_nothing(harness: Harness) -> None:
    """I8: the same answers about a customer that is there leave it incomplete."""
    harness.api.put(customer(), subscription())
    await harness.apply(event("customer.subscription.created", subscription()))
    await harness.settle()
    harness.api.say("/v1/subscriptions", 400, error("", "no"))
    await turn(harness)
    await harness.settle()
    assert not (await harness.record())["exact"]


async def test_list_that_the_key_may_not_read(harness: Harness) -> None:
    """I12: 403 for a list of customers' histories: one alarm for the kind, with the remedy, until it can be read."""
    names = ("cus_1", "cus_2")
    harness.api.put(*(customer(name) for name in names))
    for path in LISTED:
        harness.api.bodies[f"/v1/{path}"] = listing([], url=f"/v1/{path}")
    for name in names:
        harness.api.say("/v1/invoices", 403, error("", "the key lacks a right"))
        await harness.apply(event("customer.updated", customer(name)))
    await harness.settle()
    await turn(harness)
    (alarm,) = (await alarms(harness)).values()
    assert ("reads of invoice refused", "give the API key the right to read /v1/invoices") == (
        alarm["name"],
        alarm["remedy"],
    )
    for name in names:
        assert not (await harness.record(name))["exact"]
    await turn(harness)
    await harness.settle()
    assert {} == await alarms(harness)
    for name in names:
        assert (await harness.record(name))["exact"]


async def test_customer_that_is_an_account(harness: Harness) -> None:
    """Accounts v2: `customer` is null, and the account stands for the customer. No such customer is asked for; its
    history comes by customer_account, its charges by their payment intents; and it becomes exact.
    """
    mine: Body = {"customer": None, "customer_account": "acct_cust"}
    bought = subscription(**mine)
    paid = json.loads(json.dumps({**CHARGE, **mine}))
    harness.api.put(bought, paid)
    lists = {
        "subscriptions": [bought],
        "invoices": [],
        "subscription_schedules": [],
        "credit_notes": [],
        "checkout/sessions": [],
        "payment_intents": [{"object": "payment_intent", "id": "pi_1", "latest_charge": "ch_1", **mine}],
        "charges": [paid],
    }
    for path, found in lists.items():
        harness.api.bodies[f"/v1/{path}"] = listing(found, url=f"/v1/{path}")
    await harness.apply(event("customer.subscription.created", bought), event("charge.succeeded", paid))
    await harness.settle()
    await turn(harness)
    await harness.settle()
    record = await harness.record("acct_cust")
    assert ("active", 2000, True) == (record["status"], record["lifetime_revenue"], record["exact"])
    assert not any(path.startswith("/v1/customers") for path in harness.api.asked)
    assert {f"/v1/{path}" for path in lists} <= {*harness.api.asked}, "what no event told is in none of these"


LISTED = (
    "subscriptions",
    "subscription_schedules",
    "invoices",
    "charges",
    "credit_notes",
    "checkout/sessions",
    "payment_intents",
)
"""Of each customer's history."""

CHARGE: Body = {
    "object": "charge",
    "id": "ch_1",
    "created": 1_790_000_000,
    "status": "succeeded",
    "captured": True,
    "amount": 2000,
    "amount_captured": 2000,
    "amount_refunded": 0,
    "currency": "usd",
    "livemode": False,
    "metadata": {},
}
