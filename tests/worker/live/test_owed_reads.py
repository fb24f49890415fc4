"""What is still to be read keeps its customer's record from being exact, whatever became of the event or the read."""

import asyncio
import json

from billing.kinds.parse import parse_object
from db.keys import CustomerKey, Key
from db.records.customer import select_unsettled
from db.sync.inbox import claim_events
from db.sync.objects import mark_objects
from runtime.retry import ATTEMPTS_MAX
from tests.faults import broken
from tests.harness import NOON, Body, Harness, charge, customer, event, listing, refund
from worker.live import apply
from worker.live.marks import bare_mark

REFUND = Key("", False, "refund", "re_1")


def refunded(amount: int = 2000) -> Body:
    """The charge, refunded."""
    return charge(amount_refunded=amount, refunds=listing([refund(amount=amount)]))


async def paid(harness: Harness) -> None:
    """An exact customer that has paid 20.00 USD."""
    harness.api.put(customer(), charge())
    await harness.apply(event("customer.created", customer()), event("charge.succeeded", charge()))
    await harness.settle()
    record = await harness.record()
    assert record["exact"]
    assert 2000 == record["lifetime_revenue"]


async def take_and_die(harness: Harness, *, times: int) -> None:
    for _ in range(times):
        async with harness.pool.acquire() as connection:
            await claim_events(connection, limit=10, lease=apply.LEASE)
        await harness.make_due()


async def test_event_that_cost_its_workers_is_read_all_the_same(harness: Harness) -> None:
    """I7: an event given up after several lost workers keeps its marks, so that a read finds what it said."""
    await paid(harness)
    harness.api.put(refunded())
    await harness.receive(event("charge.refunded", refunded(), after=10, event_id="evt_killer"))
    await take_and_die(harness, times=ATTEMPTS_MAX)
    await harness.engine.apply()
    assert not (await harness.record())["exact"]
    await harness.settle()
    assert "parked" == (await harness.event_states())["evt_killer"]
    record = await harness.record()
    assert (True, 0) == (record["exact"], record["lifetime_revenue"])


async def test_event_whose_marks_cost_a_worker_too(harness: Harness) -> None:
    """I7: where even its marks cost a worker its life, an event is parked without them."""
    await paid(harness)
    dirty = (await harness.object("charge", "ch_1"))["dirty"]
    await harness.receive(event("charge.refunded", refunded(), after=10, event_id="evt_killer"))
    await take_and_die(harness, times=ATTEMPTS_MAX + 1)
    await harness.engine.apply()
    assert "parked" == (await harness.event_states())["evt_killer"]
    assert dirty == (await harness.object("charge", "ch_1"))["dirty"]


async def test_event_of_another_mode_leaves_no_marks(harness: Harness) -> None:
    """I9: an event that the key does not serve marks nothing, however many workers it cost."""
    await harness.receive(event("charge.succeeded", charge(), live=True, event_id="evt_killer"))
    await take_and_die(harness, times=ATTEMPTS_MAX)
    await harness.engine.apply()
    assert "parked" == (await harness.event_states())["evt_killer"]
    assert not await harness.fetch("select id from sync.objects")


async def test_event_that_breaks_our_reading_is_read_all_the_same(harness: Harness) -> None:
    """I7: an event at whose payload our own code fails keeps its marks, so that a read finds what it said."""
    await paid(harness)
    harness.api.put(refunded())
    error = ZeroDivisionError("poison")
    with broken(parse_object, error, when=lambda body, **_: body.get("amount_refunded") == 2000):
        await harness.apply(event("charge.refunded", refunded(), after=10, event_id="evt_poison"))
    assert not (await harness.record())["exact"]
    await harness.settle()
    assert "parked" == (await harness.event_states())["evt_poison"]
    record = await harness.record()
    assert (True, 0) == (record["exact"], record["lifetime_revenue"])


async def test_dispute_that_a_charge_names(harness: Harness) -> None:
    """I8: what an event of a charge names is that customer's: until it is read, the record is not exact."""
    await paid(harness)
    disputed = charge(disputed=True, dispute="dp_1", refunds=listing([]))
    harness.api.put(disputed)
    for _ in range(6):
        harness.api.say("/v1/disputes/dp_1", 503, {})
    await harness.apply(event("charge.updated", disputed, after=5))
    await harness.confirm(times=3)
    assert (await harness.object("charge", "ch_1"))["confirmed"] > (await harness.object("charge", "ch_1"))[
        "dirty"
    ]
    assert not (await harness.record())["exact"]


async def test_invoice_that_an_item_names(harness: Harness) -> None:
    """I8: what an object that is not mirrored names is its customer's: until it is read, the record is not exact."""
    await paid(harness)
    for _ in range(4):
        harness.api.say("/v1/invoices/in_1", 503, {})
    invoice_item = {"object": "invoiceitem", "id": "ii_1", "customer": "cus_1", "invoice": "in_1"}
    await harness.apply(event("invoiceitem.created", invoice_item, after=3))
    await harness.confirm(times=2)
    assert not (await harness.record())["exact"]


async def test_refund_that_an_audit_marks(harness: Harness) -> None:
    """I8: a mark, and a read that finds nothing, reach the customer although the row names none."""
    await paid(harness)
    harness.api.put(refunded(500), refund())
    await harness.apply(event("charge.refunded", refunded(500), after=10))
    await harness.settle()
    assert (await harness.record())["exact"]
    async with harness.pool.acquire() as connection:
        await mark_objects(connection, [bare_mark(REFUND, source="audit")])
    await harness.engine.derive()
    assert not (await harness.record())["exact"]
    await harness.confirm(times=2)
    assert (await harness.object("refund", "re_1"))["confirmed"] > (await harness.object("refund", "re_1"))[
        "dirty"
    ]
    assert (await harness.record())["exact"]
    del harness.api.bodies["/v1/refunds/re_1"]
    # A mark that reached no customer: what the read finds reaches its customer by itself.
    await harness.execute(
        "update sync.objects set dirty = nextval('sync.tick'), read_at = now(), customer_id = null where id = 're_1'"
    )
    await harness.confirm(times=2)
    await harness.engine.derive()
    assert (await harness.object("refund", "re_1"))["missing_since"] is not None
    assert not (await harness.record())["exact"]


async def test_event_during_the_read_that_gives_up(harness: Harness) -> None:
    """I1: an object that is marked during a read is read again, also where that read is the last that is tried."""
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.confirm()
    for _ in range(5):
        harness.api.say("/v1/charges/ch_1", 200, {"object": "martian"})
    await harness.apply(event("charge.succeeded", charge()))
    await harness.confirm(times=4)
    gate = harness.api.hold("/v1/charges/ch_1")
    await harness.make_due()
    failing = asyncio.create_task(harness.engine.confirm(linger=False))
    await gate.reached_by(failing)
    harness.api.put(charge())
    await harness.apply(event("charge.updated", charge(), after=9))
    gate.open.set()
    await failing
    fenced = await harness.object("charge", "ch_1")
    assert fenced["parked_at"] is None
    assert fenced["read_at"] is not None
    await harness.confirm()
    assert (await harness.record())["exact"]


async def test_answer_of_a_lease_that_ran_out(harness: Harness) -> None:
    """I1: a failure says nothing of an object that a later read has confirmed."""
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.confirm()
    await harness.apply(event("charge.succeeded", charge()))
    gate = harness.api.hold("/v1/charges/ch_1")
    await harness.execute("update sync.objects set attempts = 4 where id = 'ch_1'")
    await harness.make_due()
    late = asyncio.create_task(harness.engine.confirm(linger=False))
    await gate.reached_by(late)  # it will say 404
    harness.api.put(charge())
    await harness.make_due()  # its lease has run out
    await harness.another_engine().confirm(linger=False)
    assert (await harness.record())["exact"]
    gate.open.set()
    await late
    await harness.engine.derive()
    fenced = await harness.object("charge", "ch_1")
    assert fenced["missing_since"] is None
    assert fenced["error"] is None
    assert (await harness.record())["exact"]


def dispute(dispute_id: str, **fields: object) -> Body:
    """A dispute of an amount that we do not understand."""
    return {
        "object": "dispute", "id": dispute_id, "created": NOON, "status": "lost", "amount": {"new": "shape"},
        "currency": "usd",
    } | fields  # fmt: skip


async def test_i11_what_is_not_understood_and_names_no_customer(harness: Harness) -> None:
    """I7, I11: a dispute or refund that nobody understands makes the customer inexact whose charge or PaymentIntent it
    names, until it is understood, in whatever order they come; nobody else.
    """
    guest = charge("ch_2", None, payment_intent="pi_2")
    intent = {
        "object": "payment_intent", "id": "pi_2", "customer": "cus_2", "created": NOON, "livemode": False,
        "metadata": {}, "amount": 2000, "currency": "usd", "status": "succeeded", "latest_charge": "ch_2",
    }  # fmt: skip
    numbers = range(1, 7)
    strange = {
        1: dispute("dp_1", charge="ch_1"),
        2: refund("re_2", amount=[20], charge=None, payment_intent="pi_2"),
        3: dispute("dp_3", charge={"object": "charge", "id": "ch_3"}),
        4: dispute("dp_4", charge="ch_4"),
        5: refund("re_5", "ch_5", amount=5, status=["new"]),
    }
    charges = {number: charge(f"ch_{number}", f"cus_{number}") for number in numbers} | {2: guest}
    harness.api.put(*(customer(f"cus_{number}") for number in numbers), *charges.values(), *strange.values())
    await harness.apply(*(event("customer.created", customer(f"cus_{number}")) for number in numbers))
    await harness.apply(
        event("payment_intent.succeeded", intent),
        *(event("charge.succeeded", charges[number]) for number in numbers if number != 4),
    )
    await harness.settle()

    async def exact() -> list[int]:
        return [number for number in numbers if (await harness.record(f"cus_{number}"))["exact"]]

    assert list(numbers) == await exact()
    thin = {
        "id": "evt_thin", "object": "v2.core.event", "type": "v1.charge.dispute.created", "livemode": False,
        "created": "2026-09-21T13:46:45Z",
        "related_object": {"id": "dp_3", "type": "dispute", "url": "/v1/disputes/dp_3"},
    }  # fmt: skip
    # The fourth comes before its charge is known, which waits; the fifth is refused by the mirror alone.
    for _ in range(20):
        harness.api.say("/v1/charges/ch_4", 503, {})
    await harness.apply(
        event("charge.dispute.created", strange[1], after=5),
        event("refund.created", strange[2], after=5),
        json.dumps(thin).encode(),
        event("charge.dispute.created", strange[4], after=5),
        event("refund.created", strange[5], after=5),
    )
    await harness.confirm(times=2)
    assert [4, 6] == await exact()
    for number in (1, 2, 3, 5):
        assert (await harness.object("charge", f"ch_{number}"))["confirmed"]
    harness.api.scripted.clear()
    await harness.settle()
    parked = await harness.fetch("select id from sync.objects where parked_at is not null order by id")
    assert ["dp_1", "dp_3", "dp_4", "re_2", "re_5"] == [row[0] for row in parked]
    assert [6] == await exact()
    async with harness.pool.acquire() as connection:
        waiting = await select_unsettled(connection, CustomerKey("", False, "cus_1"))
        assert ["dp_1"] == [each.id for each in waiting]
    # Stripe's answers are understood: with a new version of ours, or by the next event.
    understood = {
        number: each | {"amount": 2000, "status": "lost" if each["object"] == "dispute" else "succeeded"}
        for number, each in strange.items()
    }
    understood[2]["charge"] = "ch_2"
    harness.api.put(*understood.values())
    await harness.execute(
        "update sync.objects set parked_at = null, read_at = now() where parked_at is not null"
    )
    await harness.settle()
    assert list(numbers) == await exact()
    assert [0] * 5 == [(await harness.record(f"cus_{number}"))["lifetime_revenue"] for number in range(1, 6)]
    assert 0 == await harness.fetchval("select count(*) from sync.not_understood")
