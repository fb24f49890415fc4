"""Once, and not lost: however often an event comes, and wherever a worker dies."""

import asyncio
from datetime import timedelta

import pytest

from db.connection import connect
from db.sync.customers import CLAIM_STALE, FINISH_DERIVED, RESOLVE_OBJECTS
from db.sync.due_reads import CLAIM_READS
from db.sync.inbox import CLAIM_EVENTS, FINISH_EVENTS, claim_events
from db.sync.objects import CONFIRM_OBJECTS
from tests.faults import Call, after, after_commit
from tests.harness import Harness, charge, customer, event, refund, subscription
from worker.live import apply
from worker.live.event import read_event

LEASE = timedelta(seconds=60)


async def test_same_event_any_number_of_times(webhooks_only: Harness) -> None:
    """I2: the same event before, while and after it is applied is one row, applied once; a second id for the same
    change counts nothing twice.
    """
    harness = webhooks_only
    paid = event("charge.succeeded", charge(), event_id="evt_1")
    await harness.receive(paid, paid)
    await asyncio.gather(*(harness.receive(paid) for _ in range(5)))
    await harness.engine.apply()
    change = (await harness.record())["change"]
    await harness.apply(paid)
    assert {"evt_1": "applied"} == await harness.event_states()
    assert 1 == await harness.fetchval("select attempts from sync.events")
    assert change == (await harness.record())["change"]
    await harness.apply(event("charge.succeeded", charge(), event_id="evt_2"))
    assert 2000 == await harness.fetchval("select gross from billing.customer_revenue")
    assert change == (await harness.record())["change"], "nothing changed, and nobody is told of a change"


async def test_same_id_with_another_payload(webhooks_only: Harness) -> None:
    """I2: of two payloads under one event id the first received is kept."""
    harness = webhooks_only
    await harness.apply(event("charge.succeeded", charge(amount=2000), event_id="evt_1"))
    await harness.apply(event("charge.succeeded", charge(amount=1, amount_captured=1), event_id="evt_1"))
    assert 2000 == await harness.fetchval("select gross from billing.customer_revenue")


async def test_redelivery_does_not_wait_for_its_batch(webhooks_only: Harness, database_url: str) -> None:
    """A webhook that comes again while a batch with its event is being written is answered at once, and so are the
    others that are stored with it.
    """
    harness = webhooks_only
    first = event("charge.succeeded", charge(), event_id="evt_1")
    await harness.receive(first)
    worker = await connect(database_url, application_name="worker")
    try:
        (claimed,) = await claim_events(worker, limit=10, lease=LEASE)
        writing = worker.transaction()
        await writing.start()
        await apply._apply(worker, [read_event(claimed, served_mode=None, confirms=False)])
        async with asyncio.timeout(60):
            await harness.receive(first, event("charge.succeeded", charge("ch_2"), event_id="evt_2"))
        await writing.commit()
    finally:
        await worker.close()
    assert {"evt_1": "applied", "evt_2": "pending"} == await harness.event_states()


class Killed(BaseException):
    """The worker dies here."""


# Where a worker may die: the statement that it does not get past, or the commit of its transaction.
DEATHS = {
    "events claimed": (after, CLAIM_EVENTS),
    "events applied": (after_commit, FINISH_EVENTS),
    "reads claimed": (after, CLAIM_READS),
    "answers stored": (after_commit, CONFIRM_OBJECTS),
    "customers claimed": (after, CLAIM_STALE),
    "records stored": (after_commit, FINISH_DERIVED),
    "touched rows resolved": (after, RESOLVE_OBJECTS),
}


async def die(_: Call) -> None:
    raise Killed


@pytest.mark.parametrize("death", DEATHS)
async def test_worker_dies_between_two_commits(harness: Harness, death: str) -> None:
    """I4: wherever a worker dies, the next one ends with the same records once the leases are over."""
    harness.api.now += 3600  # what changed meanwhile, no event has told
    harness.api.put(customer(), subscription(status="past_due"), refund(amount=700))
    harness.api.put(
        charge(amount_refunded=700) | {"refunds": {"object": "list", "data": [refund(amount=700)]}}
    )
    await harness.receive(
        event("customer.created", customer()),
        event("customer.subscription.created", subscription()),
        event("charge.succeeded", charge()),
        event("refund.created", refund()),
    )

    async def work() -> None:
        await harness.engine.apply()
        await harness.make_due()
        await harness.engine.confirm(linger=False)
        await harness.engine.derive()

    happens, statement = DEATHS[death]
    with happens(statement, die, times=1), pytest.raises(Killed):
        await work()
    await harness.make_due()
    survivor = harness.another_engine()
    for _ in range(3):
        await survivor.apply()
        await harness.make_due()
        await survivor.confirm(linger=False)
        await survivor.derive()
    assert [] == await harness.left()
    record = await harness.record()
    assert ("past_due", 1300, True) == (record["status"], record["lifetime_revenue"], record["exact"])
    assert 0 == await harness.fetchval("select count(*) from sync.events where state <> 'applied'")
