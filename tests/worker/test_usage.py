"""Usage: read from Stripe's meters, by schedule and on demand, apart from the record and never in its way."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from billing.usage import meterings_of
from db.connection import Pool, connect
from db.keys import CustomerKey
from db.mirror import facts
from db.sync.usage import ask_for_usage, select_usage_state
from sandbox import Sandbox, create_api
from tests.faults import Call, Proceed, broken, watching_statements
from tests.harness import API_KEY, Api, Body, Harness, error, open_harness
from tests.worker.telephony import Telephony, live
from worker.engine import Engine
from worker.forget import forget

DAY = 86_400
PREVIEW = "/v1/invoices/create_preview"


@pytest.fixture
def telephony() -> Telephony:
    """The account on its first day."""
    return Telephony()


@pytest.fixture
async def calling(pool: Pool, database_url: str, telephony: Telephony) -> AsyncIterator[Harness]:
    """A harness before it, that knows what has happened so far."""
    async with open_harness(pool, database_url, api=Api(create_api(telephony.world, [API_KEY]))) as harness:
        await live(harness, telephony)
        yield harness


async def usage(harness: Harness) -> list[asyncpg.Record]:
    return await harness.fetch("select * from billing.customer_usage order by stripe_customer_id, meter_id")


async def make_due(harness: Harness) -> None:
    await harness.execute("update sync.usage set due_at = now() where due_at < 'infinity'")


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def test_two_cycles(calling: Harness, telephony: Telephony) -> None:
    """What was used in the current period, and no more; with it what the next invoice would ask for."""
    harness = calling
    telephony.account.metering.use(telephony.ada, telephony.calls, 40)
    await live(harness, telephony, DAY)
    telephony.account.metering.use(telephony.ada, telephony.calls, 2)
    await harness.engine.sweep_bulk()
    (row,) = await usage(harness)
    item = telephony.subscription.items[1]
    assert {
        "stripe_customer_id": telephony.ada.id,
        "stripe_subscription_id": telephony.subscription.id,
        "meter_id": telephony.calls.id,
        "event_name": "api_calls",
        "display_name": telephony.calls.display_name,
        "value": Decimal(42),
        "quota_limit": 1000,
        "period_start": moment(item.period_start),
        "period_end": moment(item.period_end),
        "expected_charge": 2000 + 42 * 3,
        "currency": "usd",
    }.items() <= dict(row).items()
    assert (await harness.record(telephony.ada.id))["uid"] == row["customer_uid"]
    first_end = item.period_end
    await live(harness, telephony, first_end - telephony.world.now + 3 * 3600)
    telephony.account.metering.use(telephony.ada, telephony.calls, 5)
    await make_due(harness)
    await harness.engine.sweep_bulk()
    (row,) = await usage(harness)
    assert (Decimal(5), moment(first_end), 2000 + 5 * 3) == (
        row["value"],
        row["period_start"],
        row["expected_charge"],
    )
    assert (await harness.record(telephony.ada.id))["exact"] is True


async def test_usage_is_no_part_of_the_record(calling: Harness, telephony: Telephony) -> None:
    """Reading it moves neither `change` nor `updated_at`: readers that poll records are not woken every hour."""
    before = await calling.record(telephony.ada.id)
    telephony.account.metering.use(telephony.ada, telephony.calls, 40)
    await calling.engine.sweep_bulk()
    assert 1 == len(await usage(calling))
    await calling.engine.derive()
    assert before == await calling.record(telephony.ada.id)


async def test_i14_it_loads_nothing_that_was_paid(calling: Harness) -> None:
    """I14: a reading costs no more for a customer with 200,000 charges: meters do not depend on what was paid."""
    run = []

    async def watch(call: Call, proceed: Proceed) -> Any:
        run.append(call.text)
        return await proceed()

    with watching_statements(watch):
        await calling.engine.sweep_bulk()
    assert 1 == len(await usage(calling))
    assert facts.SELECT_ITEMS in run
    paid = (facts.SELECT_INVOICES, facts.SELECT_CHARGES, facts.SELECT_SESSIONS, facts.SELECT_CREDIT_NOTES)
    assert not {*run} & {*paid}


async def test_schedule_reads_each_once_an_interval(calling: Harness, telephony: Telephony) -> None:
    """Oldest first, only customers with a metered subscription, and none of them before its time."""
    harness = calling
    telephony.subscriber("Bob")
    telephony.account.clients.create("Cy", "cy@example.com", payment_method="good")
    await live(harness, telephony)
    await harness.engine.sweep_bulk()
    assert 2 == harness.api.asked.count(telephony.meter_path)
    await harness.engine.sweep_bulk()
    assert 2 == harness.api.asked.count(telephony.meter_path)
    wait = await harness.fetchval("select min(due_at) - now() from sync.usage")
    assert 3500 < wait.total_seconds() <= 3600
    await make_due(harness)
    await harness.engine.sweep_bulk()
    assert 4 == harness.api.asked.count(telephony.meter_path)


async def test_schedule_off(pool: Pool, database_url: str, telephony: Telephony) -> None:
    """USAGE_SECONDS=0: no customer is read unasked; one that is asked for is read at once."""
    async with open_harness(pool, database_url, api=Api(create_api(telephony.world, [API_KEY]))) as harness:
        engine = Engine(pool=pool, lanes=harness.lanes, settings=replace(harness.settings, usage_seconds=0.0))
        await live(harness, telephony)
        await engine.sweep_bulk()
        assert [] == await usage(harness)
        async with pool.acquire() as connection:
            key = CustomerKey("", False, telephony.ada.id)
            asked = await ask_for_usage(connection, key)
            assert not (await select_usage_state(connection, key, asked)).answered
            await engine.sweep_bulk()
            assert (await select_usage_state(connection, key, asked)).answered
            again = await ask_for_usage(connection, key)
            assert not (await select_usage_state(connection, key, again)).answered
        assert 1 == len(await usage(harness))
        await engine.sweep_bulk()
        await make_due(harness)
        await engine.sweep_bulk()
        assert 2 == harness.api.asked.count(telephony.meter_path)


@pytest.mark.parametrize(
    "under_way",
    [
        (200, {"object": "list", "data": [{"aggregated_value": 1}]}),
        (403, error("more_permissions_required", "No.")),
    ],
    ids=["answered", "refused"],
)
async def test_who_asks_while_it_is_read_is_answered_later(
    calling: Harness, telephony: Telephony, under_way: tuple[int, Body]
) -> None:
    """An answer that was on its way already does not answer a question that came after it had begun; nor does the
    question wait with a read that fails.
    """
    harness = calling
    harness.api.say(telephony.meter_path, *under_way)
    gate = harness.api.hold(telephony.meter_path)
    reading = asyncio.create_task(harness.engine.sweep_bulk())
    await gate.reached_by(reading)
    async with harness.pool.acquire() as connection:
        key = CustomerKey("", False, telephony.ada.id)
        asked = await ask_for_usage(connection, key)
        telephony.account.metering.use(telephony.ada, telephony.calls, 9)
        gate.open.set()
        await reading
        assert (await select_usage_state(connection, key, asked)).answered
    assert Decimal(9) == (await usage(harness))[0]["value"]
    assert 2 == harness.api.asked.count(telephony.meter_path)


async def test_subscription_that_ends_takes_its_usage_away(calling: Harness, telephony: Telephony) -> None:
    """No running subscription, no current period; with a new one the customer is read again at once."""
    harness = calling
    await harness.engine.sweep_bulk()
    assert 1 == len(await usage(harness))
    telephony.account.subscriptions.end(telephony.subscription)
    await live(harness, telephony)
    await make_due(harness)
    await harness.engine.sweep_bulk()
    assert [] == await usage(harness)
    assert await harness.fetchval("select due_at = 'infinity' from sync.usage")
    telephony.account.subscriptions.start(telephony.ada, [telephony.price])
    await live(harness, telephony)
    await harness.engine.sweep_bulk()
    assert 1 == len(await usage(harness))


async def test_no_invoice_to_expect(calling: Harness, telephony: Telephony) -> None:
    """A key that may only read, or a subscription without a next invoice: usage anyway, and a note of why."""
    for status, code in ((404, "invoice_upcoming_none"), (403, "more_permissions_required")):
        calling.api.say(PREVIEW, status, error(code, "No."))
        telephony.account.metering.use(telephony.ada, telephony.calls, 1)
        await make_due(calling)
        await calling.engine.sweep_bulk()
        (row,) = await usage(calling)
        assert (None, None) == (row["expected_charge"], row["currency"])
        (state,) = await calling.fetch("select * from sync.usage")
        assert code in state["error"]
        assert state["read_at"] is not None
    assert [Decimal(2)] == [row["value"] for row in await usage(calling)]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, error("api_error", "No.")),
        (404, error("resource_missing", "No such meter")),
        (403, error("more_permissions_required", "No.")),
        (200, {"object": "list", "data": [{"aggregated_value": "many"}], "has_more": False}),
        (200, {"object": "charge"}),
        (200, b"<html>"),
    ],
)
async def test_failure_keeps_what_is_known(
    calling: Harness, telephony: Telephony, status: int, body: object
) -> None:
    """What was read last stays, the error is noted, another customer is read, and it is tried again."""
    harness = calling
    telephony.subscriber("Bob")
    await live(harness, telephony)
    telephony.account.metering.use(telephony.ada, telephony.calls, 3)
    await harness.engine.sweep_bulk()
    before = await usage(harness)
    await make_due(harness)
    harness.api.say(telephony.meter_path, status, body)
    await harness.engine.sweep_bulk()
    states = await harness.fetch("select error, attempts from sync.usage order by attempts")
    assert [(None, 0), (states[1]["error"], 1)] == [tuple(state) for state in states]
    assert states[1]["error"]
    assert [row["value"] for row in before] == [row["value"] for row in await usage(harness)]
    await make_due(harness)
    await harness.engine.sweep_bulk()
    assert [0, 0] == [
        row[0] for row in await harness.fetch("select attempts from sync.usage where error is null")
    ]


async def test_usage_that_we_fail_at(calling: Harness, telephony: Telephony) -> None:
    """I7: an internal error with one customer's usage is stored with it, and another's is read in the same turn."""
    harness = calling
    bob, _ = telephony.subscriber("Bob")
    await live(harness, telephony)
    poison = OverflowError("poison")
    with broken(meterings_of, poison, when=lambda facts: facts.customer_id == telephony.ada.id):
        await harness.engine.sweep_bulk()
    assert [bob.id] == [row["stripe_customer_id"] for row in await usage(harness)]
    assert "poison" in await harness.fetchval(
        "select error from sync.usage where customer_id = $1", telephony.ada.id
    )


@pytest.mark.parametrize("status", [200, 500])
async def test_answer_of_a_lost_lease(calling: Harness, telephony: Telephony, status: int) -> None:
    """A worker slower than its lease neither replaces the younger answer nor moves the next appointment."""
    harness = calling
    harness.api.say(telephony.meter_path, status, {"object": "list", "data": [{"aggregated_value": 1}]})
    gate = harness.api.hold(telephony.meter_path)
    slow = asyncio.create_task(harness.engine.sweep_bulk())
    await gate.reached_by(slow)
    telephony.account.metering.use(telephony.ada, telephony.calls, 9)
    await make_due(harness)
    await harness.another_engine().sweep_bulk()
    before = await harness.fetch("select * from sync.usage")
    gate.open.set()
    await slow
    assert Decimal(9) == (await usage(harness))[0]["value"]
    assert before == await harness.fetch("select * from sync.usage")


async def test_summaries_are_read_to_their_end(calling: Harness, telephony: Telephony) -> None:
    """A list that goes on is read on; its values are added exactly."""
    harness = calling
    page = {"object": "list", "data": [{"id": "mtrusg_1", "aggregated_value": 0.1}], "has_more": True}
    harness.api.say(telephony.meter_path, 200, page)
    rest = [{"id": "mtrusg_2", "aggregated_value": 0.2}, {"id": "mtrusg_3", "aggregated_value": 5}]
    harness.api.say(telephony.meter_path, 200, page | {"data": rest, "has_more": False})
    await harness.engine.sweep_bulk()
    assert Decimal("5.3") == (await usage(harness))[0]["value"]


async def test_inactive_meter_is_not_asked(calling: Harness, telephony: Telephony) -> None:
    """Stripe counts nothing for it any more."""
    telephony.account.metering.deactivate(telephony.calls)
    await live(calling, telephony)
    await calling.engine.sweep_bulk()
    assert [] == await usage(calling)
    assert telephony.meter_path not in calling.api.asked


async def test_forgotten_customer_has_no_usage(calling: Harness, telephony: Telephony) -> None:
    """Forgetting takes it away, also during a read of it, and it is never read again."""
    harness = calling
    await harness.engine.sweep_bulk()
    assert 1 == len(await usage(harness))
    connection = await connect(harness.settings.database_url, application_name="forget")
    try:
        await forget(connection, CustomerKey("", False, telephony.ada.id))
    finally:
        await connection.close()
    assert [] == await usage(harness)
    assert 0 == await harness.fetchval("select count(*) from sync.usage")
    await harness.engine.derive()
    await harness.engine.sweep_bulk()
    assert [] == await usage(harness)


async def test_forgotten_while_it_is_read(calling: Harness, telephony: Telephony) -> None:
    """The answer comes back after the customer was forgotten: nothing of it is stored."""
    harness = calling
    harness.api.say(telephony.meter_path, 200, {"object": "list", "data": [{"aggregated_value": 1}]})
    gate = harness.api.hold(telephony.meter_path)
    reading = asyncio.create_task(harness.engine.sweep_bulk())
    await gate.reached_by(reading)
    connection = await connect(harness.settings.database_url, application_name="forget")
    try:
        await forget(connection, CustomerKey("", False, telephony.ada.id))
    finally:
        await connection.close()
    gate.open.set()
    await reading
    assert [] == await usage(harness)


async def test_rebuild_finds_whose_usage_is_read(calling: Harness, telephony: Telephony) -> None:
    """Which customers are read follows from the facts: if lost, it is found again when the record is derived."""
    harness = calling
    await harness.execute("delete from sync.usage")
    await harness.execute("update sync.customers set stale = stale + 1")
    await harness.engine.derive()
    await harness.engine.sweep_bulk()
    assert [telephony.ada.id] == [row["stripe_customer_id"] for row in await usage(harness)]


async def test_usage_is_what_the_stories_say(pool: Pool, database_url: str) -> None:
    """Week by week through the stories of metered use, every row is what the sandbox knows of it, and no row more."""
    world = Sandbox(seed=3)
    world.play(["metered_use", "nothing_but_use"])
    compared = 0
    async with open_harness(pool, database_url, api=Api(create_api(world, [API_KEY]))) as harness:
        while world.playing:
            await harness.apply(*world.advance(7 * DAY))
            await harness.settle()
            await make_due(harness)
            await harness.engine.sweep_bulk()
            truth = [
                (customer_id, row.stripe_subscription_id, row.meter_id, row.event_name, Decimal(row.value))
                + (row.period_start, row.period_end, row.expected_charge)
                for (account_id, _, customer_id), rows in world.usage().items()
                for row in rows
                if account_id == ""
            ]
            stored = await harness.fetch(
                "select stripe_customer_id, stripe_subscription_id, meter_id, event_name, value, period_start, "
                "period_end, expected_charge from billing.customer_usage"
            )
            assert sorted(truth) == sorted(tuple(row) for row in stored)
            compared += sum(row[4] > 0 for row in truth)
    assert compared >= 3
