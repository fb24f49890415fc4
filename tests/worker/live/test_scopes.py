"""Accounts and modes never mix: every key begins with them."""

import itertools
import json

from db.connection import Pool
from runtime.scan_requests import ask_for_scan, read_request
from sandbox import Sandbox, create_api
from tests.harness import NOON, Api, Harness, charge, customer, event, open_harness, refund, subscription
from tests.truth import assert_true

SCOPES = list(itertools.product(("", "acct_a", "acct_b"), (False, True)))


async def test_same_ids_everywhere(webhooks_only: Harness) -> None:
    """I9: the same ids in three accounts and both modes are as many customers, each with its own money and status."""
    harness = webhooks_only
    for number, (account, live) in enumerate(SCOPES, start=1):
        where = {"account": account or None, "live": live, "event_id": "evt_same"}
        amount = 1000 * number
        status = "active" if number % 2 else "past_due"
        bodies = [
            ("customer.created", customer(name=f"Customer {number}")),
            ("customer.subscription.created", subscription(status=status)),
            ("charge.succeeded", charge(amount=amount, amount_captured=amount)),
            ("refund.created", refund(amount=number)),
        ]
        await harness.receive(
            *(event(kind, body, **(where | {"event_id": f"evt_{kind}"})) for kind, body in bodies)  # type: ignore[arg-type]
        )
    await harness.engine.apply()
    assert len(SCOPES) * 4 == await harness.fetchval(
        "select count(*) from sync.events where state = 'applied'"
    )
    seen = set()
    for number, (account, live) in enumerate(SCOPES, start=1):
        record = await harness.record(account=account, live=live)
        assert f"Customer {number}" == record["name"]
        assert ("active" if number % 2 else "past_due") == record["status"]
        assert 1000 * number - number == record["lifetime_revenue"]
        seen.add(record["uid"])
    assert len(SCOPES) == len(seen), "one uid for each"


async def test_one_scope_changes_alone(webhooks_only: Harness) -> None:
    """I9: an event of one account and mode changes the record there, and derives no other."""
    harness = webhooks_only
    for account, live in SCOPES:
        await harness.apply(
            event("customer.subscription.created", subscription(), account=account or None, live=live)
        )
    statement = "select account_id, live_mode, change, status from billing.customers order by 1, 2"
    before = {(row[0], row[1]): (row[2], row[3]) for row in await harness.fetch(statement)}
    derived = "select account_id, live_mode, derived from sync.customers order by 1, 2"
    derived_before = {(row[0], row[1]): row[2] for row in await harness.fetch(derived)}
    await harness.apply(
        event(
            "customer.subscription.updated",
            subscription(status="past_due"),
            after=9,
            account="acct_a",
            live=True,
        )
    )
    after = {(row[0], row[1]): (row[2], row[3]) for row in await harness.fetch(statement)}
    derived_after = {(row[0], row[1]): row[2] for row in await harness.fetch(derived)}
    assert {("acct_a", True)} == {scope for scope in after if after[scope] != before[scope]}
    assert {("acct_a", True)} == {scope for scope in after if derived_after[scope] != derived_before[scope]}
    assert "past_due" == after["acct_a", True][1]


async def test_other_mode_is_quarantined(harness: Harness) -> None:
    """I9: with a key of test mode a live event is set aside, with the reason: it marks nothing and shows nothing."""
    harness.api.put(customer())
    await harness.apply(
        event("customer.created", customer(), event_id="evt_test"),
        event("customer.created", customer(name="Live"), event_id="evt_live", live=True),
        event("charge.succeeded", charge("ch_live"), event_id="evt_money", live=True),
    )
    await harness.settle()
    assert {
        "evt_test": "applied",
        "evt_live": "quarantined",
        "evt_money": "quarantined",
    } == await harness.event_states()
    assert "test mode" in await harness.fetchval("select error from sync.events where event_id = 'evt_live'")
    for table in (
        "sync.objects",
        "sync.customers",
        "billing.customers",
        "stripe.customers",
        "stripe.charges",
    ):
        assert 0 == await harness.fetchval(f"select count(*) from {table} where live_mode"), table
    assert (await harness.record())["exact"]


async def test_connected_account_is_read_as_itself(pool: Pool, database_url: str) -> None:
    """I9: objects of a connected account are read on its behalf; the same ids of two accounts stay two records."""
    sandbox = Sandbox(seed=5)
    sandbox.play(["same_id_in_two_accounts", "same_id_in_both_modes"])
    events = sandbox.run()
    api_key = "sk_test_scopes"
    async with open_harness(
        pool, database_url, api=Api(create_api(sandbox, [api_key])), api_key=api_key
    ) as harness:
        await harness.receive(*events)
        await harness.settle()
        truth = {key: known for key, known in sandbox.truth().items() if not key.live_mode}
        assert len({account for account, _, _ in truth}) > 1
        assert len({customer_id for _, _, customer_id in truth}) < len(truth)
        await assert_true(harness.settings.database_url, truth)


async def test_ids_with_everything_in_them(webhooks_only: Harness) -> None:
    """I9: ids are Stripe's to choose: whatever they hold, they are kept apart and never taken for SQL or paths."""
    harness = webhooks_only
    ids = ["cus_1", "CUS_1", "cus_1 ", "cus_1'; drop table x", "c\N{SNOWMAN}"]
    no_ids = ["cus/1", "cus_%"]  # as parts of a path they would mean something else
    await harness.apply(
        *(event("customer.created", customer(each), after=n) for n, each in enumerate(ids + no_ids))
    )
    found = {row[0] for row in await harness.fetch("select stripe_customer_id from billing.customers")}
    assert set(ids) == found
    raw = await harness.fetchval("select raw from stripe.customers where id = 'CUS_1'")
    assert NOON == json.loads(raw)["created"]


async def test_own_account_by_its_name(harness: Harness) -> None:
    """I9: an event that names the account to which the key belongs is as one that names none."""
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    own = await harness.fetchval("select account_id from sync.key")
    await harness.apply(event("customer.updated", customer(name="Ada"), after=5, account=own))
    assert [("", "Ada")] == [
        tuple(row) for row in await harness.fetch("select account_id, name from billing.customers")
    ]
    async with harness.pool.acquire() as connection:
        scan, _ = await ask_for_scan(connection, read_request({"account": own}), live_mode=False)
    assert "" == scan.account_id
