"""One history of the database: what was begun in a history that is over neither confirms nor numbers anything."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from db.connection import PostgresAway, create_pool
from local.clean import throwaway_home
from tests.harness import (
    NOON,
    Harness,
    customer,
    error,
    event,
    listing,
    open_harness,
    path_of,
    sweep,
    sweep_bulk,
)
from tests.losses import LOSSES, Loss
from tests.reader import Reader
from tests.system import until

CUSTOMERS = [f"cus_{number}" for number in range(20)]
TOLD_TWICE = CUSTOMERS[::2]
"""Their second change is told after the loss. That of the others is told before it, and may be lost."""
ALARM = "select detail from sync.alarms where name = 'history of the database'"


@pytest.fixture(params=LOSSES, ids=lambda loss: loss.__name__.lower())
def loss(request: pytest.FixtureRequest, migrated_home: Path) -> Iterator[Loss]:
    """Each way to lose transactions, on a server of its own."""
    with throwaway_home() as home, request.param(home, migrated_home) as loss:
        yield loss


def changed(name: str, customers: list[str], *, after: int) -> list[bytes]:
    return [event("customer.updated", customer(each, name=name), after=after) for each in customers]


async def records(harness: Harness) -> dict[str, tuple[str | None, bool]]:
    rows = await harness.fetch("select stripe_customer_id, name, exact from billing.customers")
    return {row[0]: (row[1], row[2]) for row in rows}


async def test_reads_of_another_history_are_thrown_away(loss: Loss) -> None:
    """I3, I4, I12: reads are under way when Postgres loses its last transactions, or its sequences are set back; what
    they saw has changed since. No record is exact and wrong at any moment, all come right, and a reader that polls
    `change` within its epoch misses nothing.
    """
    pool = await create_pool(loss.url, min_size=0, max_size=10, application_name="subledger-test")
    try:
        async with open_harness(pool, loss.url) as harness:
            await play(harness, loss)
    finally:
        await pool.close()


async def play(harness: Harness, loss: Loss) -> None:
    api, reader = harness.api, Reader(loss.url)
    api.now = NOON + 100  # long enough after every event for an answer to be believed
    api.put(*(customer(each, name="zero") for each in CUSTOMERS))
    await harness.apply(*(event("customer.created", customer(each, name="zero")) for each in CUSTOMERS))
    await harness.settle()
    await reader.poll()
    assert dict.fromkeys(CUSTOMERS, ("zero", True)) == reader.copy

    await loss.keep()
    # Numbers go far ahead of those that will be known afterwards.
    await harness.fetch("select nextval('sync.tick') from generate_series(1, 1000)")
    api.put(*(customer(each, name="one") for each in CUSTOMERS))
    await harness.apply(*changed("one", CUSTOMERS, after=10))
    await reader.poll()
    gates = [api.hold(path_of(customer(each))) for each in CUSTOMERS]
    reading = asyncio.create_task(harness.confirm())
    for gate in gates:
        await gate.reached_by(reading)
    api.put(*(customer(each, name="two") for each in CUSTOMERS))
    await harness.apply(*changed("two", [each for each in CUSTOMERS if each not in TOLD_TWICE], after=20))
    await loss.lose()

    await until(lambda: is_back(harness), what="Postgres")
    await harness.apply(*changed("two", TOLD_TWICE, after=20))
    assert set() == await wrongly_exact(harness)
    for gate in gates:
        gate.open.set()
    with suppress(*PostgresAway):
        await reading
    await harness.engine.derive()
    assert set() == await wrongly_exact(harness)
    await reader.poll()
    await sweep(harness.engine)
    assert set() == await wrongly_exact(harness)

    await harness.settle()
    assert dict.fromkeys(CUSTOMERS, ("two", True)) == await records(harness)
    assert [] == await harness.fetch("select from sync.customers where parked_at is not null")
    await reader.poll()
    assert await records(harness) == reader.copy
    assert 2 == len(reader.epochs)
    assert await harness.fetchval(ALARM)
    for table, columns, sequence in (
        ("sync.objects", "greatest(dirty, confirmed, told)", "sync.tick"),
        ("billing.customers", "change", "billing.change"),
        ("sync.events", "seq", "sync.events_seq_seq"),
    ):
        assert await harness.fetchval(
            f"select (select last_value from {sequence}) >= max({columns}) from {table}"
        ), sequence


async def is_back(harness: Harness) -> bool:
    try:
        return bool(await harness.fetchval("select true"))
    except PostgresAway:
        return False


async def wrongly_exact(harness: Harness) -> set[str]:
    """Customers whose record is exact by an answer that was old when an event told of the change after it, or that is
    exact although an event has told of a change that it does not show.
    """
    held = await records(harness)
    return {
        each
        for each, (name, exact) in held.items()
        if exact and name != "two" and (name == "one" or each in TOLD_TWICE)
    }


ANOTHER = ("delete from sync.incarnation", "select sync.keep_one_history()")
"""As if transactions had been lost just now."""

LISTS = (
    "subscriptions",
    "invoices",
    "charges",
    "checkout/sessions",
    "subscription_schedules",
    "credit_notes",
    "payment_intents",
)


async def lose_nothing(harness: Harness) -> None:
    for statement in ANOTHER:
        await harness.execute(statement)


async def test_what_spans_transactions_is_begun_again(harness: Harness) -> None:
    """I4, I10: a history whose first pages may be lost makes no customer complete, and a gap whose first events may be
    lost moves no cursor; both begin again at once.
    """
    api = harness.api
    api.put(customer())
    api.bodies |= {f"/v1/{name}": listing([]) for name in (*LISTS, "events")}
    await harness.apply(event("customer.updated", customer()))
    await harness.settle()
    await harness.execute("update sync.customers set history_at = now()")
    for path, done in (
        ("/v1/charges", "select complete from sync.customers"),
        ("/v1/events", "select cursor_at is not null from sync.accounts where account_id = ''"),
    ):
        of_events = path == "/v1/events"
        await harness.execute(
            "update sync.accounts set due_at = case when $1 then now() else 'infinity' end", of_events
        )
        gate = api.hold(path)
        work = asyncio.create_task(sweep_bulk(harness.engine))
        await gate.reached_by(work)
        await lose_nothing(harness)
        await harness.execute("update sync.accounts set due_at = 'infinity'")
        asked = len(api.asked)
        gate.open.set()
        await work
        if of_events:
            assert not await harness.fetchval(done)
            await harness.execute("update sync.accounts set due_at = now()")
            await sweep_bulk(harness.engine)
        assert path in api.asked[asked:], "read once only, partly in a history that is over"
        assert await harness.fetchval(done)


@pytest.mark.parametrize("status", [404, 500], ids=["404", "500"])
async def test_failure_of_another_history_says_nothing(harness: Harness, status: int) -> None:
    """I8, I12: that an object was not there, asked for in a history that is over, makes nothing missing and moves no
    appointment; the object is read again.
    """
    api = harness.api
    api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    await harness.apply(event("customer.updated", customer(name="Ada"), after=10))
    api.say(path_of(customer()), status, error("resource_missing", "No such customer"))
    gate = api.hold(path_of(customer()))
    reading = asyncio.create_task(harness.confirm())
    await gate.reached_by(reading)
    lease = (await harness.object("customer", "cus_1"))["read_at"]
    await lose_nothing(harness)
    gate.open.set()
    await reading
    known = await harness.object("customer", "cus_1")
    assert (None, None, lease) == (known["missing_since"], known["error"], known["read_at"])
    await harness.settle()
    assert (await harness.record())["exact"]
