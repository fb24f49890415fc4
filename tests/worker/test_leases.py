"""Postgres goes away, or the worker has to stop, while it holds rows: they are not tried, and wait for no
lease.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from billing.kinds.registry import KINDS
from db.connection import PostgresAway, PostgresFails, connect
from db.mirror.facts import SELECT_CUSTOMERS
from db.mirror.tables import MIRROR
from db.sync.customers import FINISH_DERIVED
from db.sync.inbox import FINISH_EVENTS
from db.sync.objects import CONFIRM_OBJECTS
from runtime.retry import ATTEMPTS_MAX
from tests.faults import Call, about, before, failing, losing_connections_at
from tests.harness import Harness, customer, event, listing, sweep, sweep_bulk
from worker import leases
from worker.lists import histories

# What of the work goes on over a connection that Postgres ends under it: the statement at which it does so.
PLACES = {
    "events": FINISH_EVENTS,
    "customers": SELECT_CUSTOMERS,
    "reads": CONFIRM_OBJECTS,
    "histories": CONFIRM_OBJECTS,
}

ATTEMPTS = """
select 'event', attempts, leased_until is not null from sync.events where state = 'pending'
union all select 'customer', attempts, leased_until is not null from sync.customers where stale > derived
union all select 'read', attempts, read_at > now() + interval '30 seconds' from sync.objects
  where not tombstone and dirty >= confirmed
union all select 'history', history_attempts, history_at > now() + interval '30 seconds' from sync.customers
  where history_at is not null
"""
LISTS = [KINDS[kind].list_path or kind for kind in histories.LISTS]
ONE = {"events": "event", "customers": "customer", "reads": "read", "histories": "history"}


async def begin(harness: Harness, what: str) -> Callable[[], Awaitable[object]]:
    """Something of each kind is to be done; returns what does it."""
    harness.api.put(customer())
    engine = harness.engine
    await harness.receive(event("customer.created", customer()))
    if what in ("events", "customers"):
        return engine.apply
    await engine.apply()
    if what == "histories":
        # Nothing else was ever the customer's.
        for path in LISTS:
            harness.api.bodies[path] = listing([], url=path)
        await harness.execute("update sync.customers set complete = false, history_at = now()")
        return engine.sweep_bulk
    await harness.execute("update sync.objects set read_at = now()")

    async def confirm() -> None:
        await engine.confirm(linger=False)

    return confirm


async def shut_postgres_during(
    harness: Harness, statement: str, work: Callable[[], Awaitable[object]]
) -> None:
    """Do the work; every connection of this process is ended when it reaches the statement, as by a restart."""
    with losing_connections_at(statement, harness.settings.database_url), pytest.raises(PostgresAway):
        await work()
    # Others were idle when they were ended; taking one of them now only shows that.
    await harness.pool.expire_connections()


@pytest.mark.parametrize("what", PLACES)
async def test_given_back_when_postgres_returns(harness: Harness, what: str) -> None:
    """Held rows are taken again at the next turn, and no attempt was counted."""
    work = await begin(harness, what)
    await shut_postgres_during(harness, PLACES[what], work)
    held = {tuple(row) for row in await harness.fetch(ATTEMPTS)}
    assert (ONE[what], 1, True) in held
    for turn in (sweep, sweep_bulk):
        await turn(harness.another_engine())  # another process does not know: it waits for the lease
    assert (ONE[what], 1, True) in {tuple(row) for row in await harness.fetch(ATTEMPTS)}

    await sweep(harness.engine)
    await sweep_bulk(harness.engine)
    left = await harness.fetch(ATTEMPTS)
    assert ONE[what] not in {row[0] for row in left if row[1]}
    assert (await harness.record())["stripe_customer_id"] == "cus_1"


@pytest.mark.parametrize("what", PLACES)
async def test_given_back_when_the_worker_stops(harness: Harness, what: str) -> None:
    """I4: a worker that has to stop in the middle of something leaves no lease behind, and nothing counts as
    tried: the next worker takes it at once.
    """
    work = await begin(harness, what)
    reached = asyncio.Event()

    async def wait_for_ever(_: Call) -> None:
        reached.set()
        await asyncio.Event().wait()

    with before(PLACES[what], wait_for_ever):
        task = asyncio.ensure_future(work())
        await reached.wait()
        assert (ONE[what], 1, True) in {tuple(row) for row in await harness.fetch(ATTEMPTS)}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await harness.engine.give_back()
    assert (ONE[what], 0, False) in {(row[0], row[1], bool(row[2])) for row in await harness.fetch(ATTEMPTS)}
    another = harness.another_engine()
    await sweep(another)
    await sweep_bulk(another)
    await sweep(another)
    assert ONE[what] not in {row[0] for row in await harness.fetch(ATTEMPTS)}


async def test_what_always_brings_postgres_down_is_not_tried_for_ever(harness: Harness) -> None:
    """After a few times in a row the attempt counts, so that an event at which Postgres fails is found in the end."""
    await harness.receive(event("customer.created", customer()))
    attempts = []
    for _ in range(leases.GIVEN_BACK_MAX + 1):
        await shut_postgres_during(harness, PLACES["events"], harness.engine.apply)
        attempts.append(await harness.fetchval("select leased_until is not null from sync.events"))
    assert [True] * len(attempts) == attempts
    await harness.engine.apply()
    assert "pending" == await harness.fetchval("select state from sync.events")
    assert (1, True) == tuple(
        (await harness.fetch("select attempts, leased_until > now() from sync.events"))[0]
    )


async def test_only_what_is_still_ours_is_given_back(harness: Harness) -> None:
    """An event that another worker has taken meanwhile, or finished, is left alone."""
    await harness.receive(event("customer.created", customer()), event("customer.updated", customer("cus_2")))
    await shut_postgres_during(harness, PLACES["events"], harness.engine.apply)
    await harness.execute(
        "update sync.events set attempts = 2, leased_until = now() + interval '1 hour' where type = 'customer.created'"
    )
    await harness.execute(
        "update sync.events set state = 'applied', leased_until = null where type = 'customer.updated'"
    )
    await harness.engine.apply()
    rows = await harness.fetch("select type, attempts, state from sync.events order by type")
    assert [("customer.created", 2, "pending"), ("customer.updated", 1, "applied")] == [
        tuple(r) for r in rows
    ]


async def test_i7_work_that_is_cut_off_counts_as_tried(
    webhooks_only: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I7: a customer on which so much time is spent that Postgres ends the work is given up after some attempts, and
    its neighbours are derived; that is no outage.
    """
    harness = webhooks_only
    await harness.receive(
        event("customer.created", customer("cus_slow")), event("customer.created", customer("cus_2"))
    )

    async def work_too_long(call: Call) -> None:
        await call.connection.execute("set local statement_timeout = '200ms'; select pg_sleep(10)")

    monkeypatch.setattr(leases, "CUT_OFF_SECONDS", 0.1)
    with before(SELECT_CUSTOMERS, work_too_long, when=about("cus_slow")):
        with contextlib.suppress(*PostgresAway):
            await harness.engine.apply()
        for _ in range(2 * ATTEMPTS_MAX):
            await harness.make_due()
            with contextlib.suppress(*PostgresAway):
                await harness.engine.apply()
                await harness.engine.derive()
    rows = await harness.fetch(
        "select customer_id, parked_at is not null, stale > derived from sync.customers"
    )
    assert {("cus_slow", True, True), ("cus_2", False, False)} == {tuple(row) for row in rows}
    assert "cut off" in await harness.fetchval(
        "select error from sync.customers where customer_id = 'cus_slow'"
    )


async def test_i12_storage_that_fails_parks_no_event(harness: Harness) -> None:
    """I12: errors of Postgres's storage or code for a while: the events wait, are applied, and no attempt counts."""
    await harness.receive(event("customer.created", customer()), event("customer.created", customer("cus_2")))
    for error in (asyncpg.PostgresIOError, asyncpg.IndexCorruptedError, asyncpg.InternalServerError):
        with failing(MIRROR["customer"].write, error("could not read block 7")), pytest.raises(error):
            await harness.engine.apply()
        assert {"pending"} == set((await harness.event_states()).values())
    await harness.engine.apply()
    assert [("applied", 1)] * 2 == [
        tuple(row) for row in await harness.fetch("select state, attempts from sync.events")
    ]


async def test_i7_event_at_which_storage_always_fails_is_parked_in_the_end(harness: Harness) -> None:
    """I7: an event that lies with a broken page is stopped by its attempts, a lease apart, with its marks kept; its
    neighbour is applied.
    """
    await harness.receive(
        event("customer.created", customer("cus_1"), event_id="evt_bad"),
        event("customer.created", customer("cus_2"), event_id="evt_good"),
    )
    broken = asyncpg.DataCorruptedError("invalid page in block 7")
    tried = 0
    with failing(MIRROR["customer"].write, broken, when=about("cus_1")):
        while "pending" in (await harness.event_states()).values():
            assert tried <= leases.GIVEN_BACK_MAX + 2 * ATTEMPTS_MAX
            tried += 1
            await harness.execute(
                "update sync.events set leased_until = now() - interval '1 s' where attempts > 0"
            )
            with contextlib.suppress(asyncpg.DataCorruptedError):
                await harness.engine.apply()
            assert 0 == await harness.fetchval(
                "select count(*) from sync.events where state = 'pending' and attempts > 0 and leased_until is null"
            )
    assert tried > ATTEMPTS_MAX
    assert {"evt_bad": "parked", "evt_good": "applied"} == await harness.event_states()
    assert 1 == await harness.fetchval("select count(*) from sync.objects where id = 'cus_1' and dirty > 0")


async def test_i12_storage_that_fails_parks_no_customer(webhooks_only: Harness) -> None:
    """I12: errors of Postgres's storage or code, its limit for a transaction, or races that are lost again and again,
    while records are stored: no attempt counts, and all records are there when it is over.
    """
    harness = webhooks_only
    await harness.apply(*(event("customer.created", customer(f"cus_{n}")) for n in range(3)))
    for error in (
        asyncpg.PostgresIOError,
        asyncpg.InternalServerError,
        asyncpg.TransactionTimeoutError,
        asyncpg.DeadlockDetectedError,
    ):
        await harness.execute("update sync.customers set stale = stale + 1")
        for _ in range(leases.GIVEN_BACK_MAX):
            with failing(FINISH_DERIVED, error("not to be had")), pytest.raises(error):
                await harness.engine.sweep_records()
        await harness.engine.sweep_records()
        assert [(0, None, False)] * 3 == [
            tuple(row)
            for row in await harness.fetch("select attempts, error, stale > derived from sync.customers")
        ]


async def test_i7_customer_at_whom_storage_always_fails_is_parked_in_the_end(webhooks_only: Harness) -> None:
    """I7: a customer that lies with a broken page is stopped by its attempts, a lease apart; its neighbour is
    derived.
    """
    harness = webhooks_only
    await harness.receive(event("customer.created", customer()), event("customer.created", customer("cus_2")))
    broken, tried = asyncpg.DataCorruptedError("invalid page in block 7"), 0
    parked = "select customer_id from sync.customers where parked_at is not null"
    with failing(SELECT_CUSTOMERS, broken, when=about("cus_1")):
        while not await harness.fetch(parked):
            assert tried <= leases.GIVEN_BACK_MAX + 2 * ATTEMPTS_MAX
            tried += 1
            await harness.execute("update sync.customers set leased_until = now() where attempts > 0")
            with contextlib.suppress(asyncpg.DataCorruptedError):
                await harness.engine.sweep_records()
    assert tried > ATTEMPTS_MAX
    assert ["cus_1"] == [row[0] for row in await harness.fetch(parked)]
    assert ["cus_2"] == [
        row[0] for row in await harness.fetch("select stripe_customer_id from billing.customers")
    ]


async def test_i12_an_hour_without_storage_parks_nobody(harness: Harness) -> None:
    """I12: for many minutes storage fails at every event, customer and answer, and then a disk is full, also with one
    row alone: nothing is parked, and all is there in the end.
    """
    customers = [f"cus_{number}" for number in range(3)]
    harness.api.put(*(customer(each) for each in customers))
    await harness.receive(*(event("customer.created", customer(each)) for each in customers))

    async def stay_at_work(
        what: str, error: Exception, minutes: int, *, work: Callable[[], Awaitable[object]]
    ) -> None:
        with failing(what, error):
            for _ in range(minutes):
                await harness.make_due()
                for _ in customers:  # rows under suspicion are taken one at a time
                    with contextlib.suppress(*PostgresAway, *PostgresFails):
                        await work()

    io_error = asyncpg.PostgresIOError("could not read block 7")
    full = asyncpg.DiskFullError("could not extend file")
    await stay_at_work(MIRROR["customer"].write, io_error, 12, work=harness.engine.apply)
    await harness.make_due()
    await harness.engine.apply()
    await harness.execute("update sync.customers set stale = stale + 1")
    await stay_at_work(FINISH_DERIVED, io_error, 12, work=harness.engine.sweep_records)
    await stay_at_work(CONFIRM_OBJECTS, io_error, 6, work=lambda: harness.engine.confirm(linger=False))
    await harness.settle()
    await harness.receive(event("customer.updated", customer("cus_0", name="Ada"), after=60))
    harness.api.put(customer("cus_0", name="Ada"))
    await stay_at_work(MIRROR["customer"].write, full, 10, work=harness.engine.apply)
    await harness.make_due()
    await harness.engine.apply()
    await harness.execute("update sync.customers set stale = stale + 1 where customer_id = 'cus_0'")
    await stay_at_work(FINISH_DERIVED, full, 10, work=harness.engine.sweep_records)
    await harness.settle()
    assert {"applied"} == set((await harness.event_states()).values())
    records = [await harness.record(each) for each in customers]
    assert [("Ada", True), (None, True), (None, True)] == [(each["name"], each["exact"]) for each in records]


async def test_i12_waiting_for_a_lock_is_not_tried(harness: Harness) -> None:
    """I12: an event that waits for another session's lock longer than we wait is given back, and no attempt counts,
    however often it has to wait.
    """
    await harness.receive(event("customer.created", customer()))

    async def be_impatient(call: Call) -> None:
        await call.connection.execute("set local lock_timeout = '100ms'")

    other = await connect(harness.settings.database_url, application_name="other")
    try:
        async with other.transaction():
            await other.execute("lock table stripe.customers in share mode")
            for _ in range(leases.GIVEN_BACK_MAX + 2):
                with before(FINISH_EVENTS, be_impatient), pytest.raises(PostgresAway):
                    await harness.engine.apply()
    finally:
        await other.close()
    await harness.engine.apply()
    assert [("applied", 1)] == [
        tuple(row) for row in await harness.fetch("select state, attempts from sync.events")
    ]
