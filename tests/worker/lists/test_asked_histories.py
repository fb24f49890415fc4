"""Histories: what a pull answers, and what it reads."""

import asyncio

from db.keys import CustomerKey
from db.records.refresh import select_refresh_state, want_refresh
from db.sync.histories import FINISH_HISTORIES
from db.sync.objects import CONFIRM_OBJECTS
from tests.faults import Call, about, after, failing
from tests.harness import (
    NOON,
    Body,
    Harness,
    charge,
    checkout_session,
    customer,
    error,
    event,
    listing,
    subscription,
    sweep_bulk,
)
from worker.lists.histories import LISTS

KEY = CustomerKey("", False, "cus_1")
PATHS = (
    "subscriptions",
    "subscription_schedules",
    "invoices",
    "charges",
    "credit_notes",
    "checkout/sessions",
    "payment_intents",
)


def lists_hold(harness: Harness, *subscriptions: Body) -> None:
    """What Stripe's lists of the customer hold: these subscriptions, and nothing else."""
    assert len(PATHS) == len(LISTS)
    for path in (*PATHS, "events"):
        harness.api.bodies[f"/v1/{path}"] = listing([], url=f"/v1/{path}")
    harness.api.bodies["/v1/subscriptions"] = listing(list(subscriptions), url="/v1/subscriptions")
    harness.api.put(*subscriptions)


async def refresh(harness: Harness) -> None:
    async with harness.pool.acquire() as connection:
        await want_refresh(connection, KEY)


async def finished(harness: Harness) -> bool:
    async with harness.pool.acquire() as connection:
        return (await select_refresh_state(connection, KEY)).finished


async def test_pull_answers_nobody_who_asked_later(harness: Harness) -> None:
    """A refresh shows the state at its request, although an older pull ends after it."""
    harness.api.put(customer())
    lists_hold(harness)
    await harness.apply(event("customer.created", customer()))
    await harness.confirm(times=2)
    await refresh(harness)
    gate = harness.api.hold("/v1/invoices")
    pull = asyncio.create_task(harness.engine.sweep_bulk())
    await gate.reached_by(pull)
    # It has read that there are no subscriptions.
    lists_hold(harness, subscription())
    await refresh(harness)
    gate.open.set()
    await pull
    # A turn passes over a customer whose record is being derived at that moment; the worker's next comes in a second.
    await harness.engine.sweep_bulk()
    await harness.settle()
    assert await finished(harness)
    assert (await harness.record())["status"] == "active"


async def test_failed_pull_puts_nobody_off_who_asked_later(harness: Harness) -> None:
    """A request during a pull that fails does not wait for its retry, and does not get its error."""
    harness.api.put(customer())
    lists_hold(harness)
    await harness.apply(event("customer.created", customer()))
    await refresh(harness)
    harness.api.say("/v1/invoices", 400, {"error": {"type": "invalid_request_error", "message": "no"}})
    gate = harness.api.hold("/v1/invoices")
    pull = asyncio.create_task(harness.engine.sweep_bulk())
    await gate.reached_by(pull)
    await refresh(harness)
    gate.open.set()
    await pull
    # For the same reason.
    await harness.engine.sweep_bulk()
    await harness.settle()
    assert await finished(harness)


async def test_late_creation_cancels_no_refresh(harness: Harness) -> None:
    """A customer.created spares the pull of a first sight, never a requested one."""
    harness.api.put(customer())
    lists_hold(harness, subscription())
    await refresh(harness)
    await harness.apply(event("customer.created", customer()))
    await harness.confirm(times=2)
    assert not await finished(harness)
    await harness.engine.sweep_bulk()
    await harness.settle()
    assert await finished(harness)
    assert (await harness.record())["status"] == "active"


async def test_guests_charge_in_the_history_of_its_owner(harness: Harness) -> None:
    """I8, I11: the lists of a customer hold its sessions and PaymentIntents, and not the charges of guests: these are
    read by their payments before the customer is complete, and so exact. A key that may not read PaymentIntents is an
    alarm, and the customer is complete without.
    """
    session = checkout_session(payment_intent="pi_1", payment_status="paid")
    harness.api.put(customer())
    lists_hold(harness)
    harness.api.bodies["/v1/checkout/sessions"] = listing([session], url="/v1/checkout/sessions")
    guest = charge("ch_guest", None, payment_intent="pi_1")
    other = charge("ch_other", None, payment_intent="pi_2")
    intent = {
        "object": "payment_intent", "id": "pi_2", "customer": "cus_1", "created": NOON, "livemode": False,
        "metadata": {}, "amount": 2000, "currency": "usd", "status": "succeeded", "latest_charge": "ch_other",
    }  # fmt: skip
    harness.api.bodies["/v1/payment_intents"] = listing([intent], url="/v1/payment_intents")
    for of_customer_then_of_payments in ([], [guest], [other]):
        harness.api.say("/v1/charges", 200, listing(of_customer_then_of_payments, url="/v1/charges"))
    await harness.apply(event("customer.updated", customer()))
    await refresh(harness)
    await sweep_bulk(harness.engine)
    await harness.settle()
    record = await harness.record()
    assert (True, 4000) == (record["exact"], record["lifetime_revenue"])
    harness.api.say("/v1/payment_intents", 403, error("", "no right"))
    await refresh(harness)
    await sweep_bulk(harness.engine)
    await harness.settle()
    assert (await harness.record())["exact"]
    alarms = await harness.fetch("select name from sync.alarms")
    assert ["reads of payment_intent refused"] == [row[0] for row in alarms]


async def test_lists_of_a_history_are_stored_together(harness: Harness) -> None:
    """The objects of all lists take one transaction; and if a later list cannot be read, they are kept all the same."""
    stored: list[int] = []

    async def note(call: Call) -> None:
        stored.append(len(call.args[3]))

    harness.api.put(customer())
    lists_hold(harness, subscription())
    harness.api.bodies["/v1/charges"] = listing([charge()], url="/v1/charges")
    await harness.apply(event("customer.updated", customer()))
    await refresh(harness)
    harness.api.say("/v1/credit_notes", 400, {"error": {"type": "invalid_request_error", "message": "no"}})
    with after(CONFIRM_OBJECTS, note):
        await sweep_bulk(harness.engine)
        assert len(stored) == 1
        assert stored[0] >= 3  # customer, subscription, charge
        await harness.settle()
        record = await harness.record()
        assert ("active", 2000, False) == (record["status"], record["lifetime_revenue"], record["exact"])


async def test_one_history_that_cannot_end_stops_no_other(harness: Harness) -> None:
    """I7: histories end together, and one by one if that fails; the other customers are complete."""
    names = [f"cus_{number}" for number in range(1, 4)]
    lists_hold(harness)
    for name in names:
        harness.api.put(customer(name))
        async with harness.pool.acquire() as connection:
            await want_refresh(connection, CustomerKey("", False, name))
    with failing(FINISH_HISTORIES, OverflowError("poison"), when=about("cus_2")):
        await sweep_bulk(harness.engine)
    rows = await harness.fetch("select customer_id, complete, history_error from sync.customers order by 1")
    assert [("cus_1", True, None), ("cus_3", True, None)] == [tuple(row) for row in rows if row["complete"]]
    assert "poison" in rows[1]["history_error"]
