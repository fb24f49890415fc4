"""Once, and not lost: however often an event comes, and wherever a worker dies."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from db.connection import Pool, connect
from db.sync.inbox import claim_events
from tests.worker.harness import Room, charge, customer, event, refund, subscription
from worker.live import apply, confirm, derive

LEASE = timedelta(seconds=60)


async def test_same_event_any_number_of_times(webhooks_only: Room) -> None:
    """I2: the same event before, while and after it is applied is one row, applied once; a second id for the same
    change counts nothing twice.
    """
    room = webhooks_only
    paid = event("charge.succeeded", charge(), event_id="evt_1")
    await room.receive(paid, paid)
    await asyncio.gather(*(room.receive(paid) for _ in range(5)))
    await room.engine.drain()
    change = (await room.record())["change"]
    await room.apply(paid)
    assert {"evt_1": "applied"} == await room.event_states()
    assert 1 == await room.fetchval("select attempts from sync.events")
    assert change == (await room.record())["change"]
    await room.apply(event("charge.succeeded", charge(), event_id="evt_2"))
    assert 2000 == await room.fetchval("select gross from billing.customer_revenue")
    assert change == (await room.record())["change"], "nothing changed, and nobody is told of a change"


async def test_same_id_with_another_payload(webhooks_only: Room) -> None:
    """I2: of two payloads under one event id the first received is kept."""
    room = webhooks_only
    await room.apply(event("charge.succeeded", charge(amount=2000), event_id="evt_1"))
    await room.apply(event("charge.succeeded", charge(amount=1, amount_captured=1), event_id="evt_1"))
    assert 2000 == await room.fetchval("select gross from billing.customer_revenue")


async def test_redelivery_does_not_wait_for_its_batch(webhooks_only: Room, database_url: str) -> None:
    """A webhook that comes again while a batch with its event is being written is answered at once, and so are the
    others that are stored with it.
    """
    room = webhooks_only
    first = event("charge.succeeded", charge(), event_id="evt_1")
    await room.receive(first)
    worker = await connect(database_url, application_name="worker")
    try:
        (claimed,) = await claim_events(worker, limit=10, lease=LEASE)
        writing = worker.transaction()
        await writing.start()
        await apply._apply(worker, [apply.read_event(claimed, served_mode=None, confirms=False)])
        async with asyncio.timeout(5):
            await room.receive(first, event("charge.succeeded", charge("ch_2"), event_id="evt_2"))
        await writing.commit()
    finally:
        await worker.close()
    assert {"evt_1": "applied", "evt_2": "pending"} == await room.event_states()


class Killed(BaseException):
    """The worker dies here."""


# Where a worker may die: the function that it does not come back from, and the module in which it is called.
DEATHS = {
    "events claimed": (apply, "_apply", False),
    "events applied": (apply, "_apply", True),
    "reads claimed": (confirm, "_read", False),
    "answers stored": (confirm, "store_answers", True),
    "customers claimed": (derive, "load_facts", False),
    "records stored": (derive, "store_derivations", True),
    "touched rows resolved": (derive, "resolve_touched", True),
}


@pytest.mark.parametrize("death", DEATHS)
async def test_worker_dies_between_two_commits(
    room: Room, pool: Pool, monkeypatch: pytest.MonkeyPatch, death: str
) -> None:
    """I4: wherever a worker dies, the next one ends with the same records once the leases are over."""
    room.api.put(customer(), subscription(status="past_due"), refund(amount=700))
    room.api.put(charge(amount_refunded=700) | {"refunds": {"object": "list", "data": [refund(amount=700)]}})
    module, name, afterwards = DEATHS[death]
    real = getattr(module, name)
    died = False

    async def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal died
        if died:
            return await real(*arguments, **named)
        died = True
        if afterwards:
            await real(*arguments, **named)
        raise Killed

    monkeypatch.setattr(module, name, dying)
    await room.receive(
        event("customer.created", customer()),
        event("customer.subscription.created", subscription()),
        event("charge.succeeded", charge()),
        event("refund.created", refund()),
    )

    async def work() -> None:
        await room.engine.drain()
        await room.make_due()
        await room.engine.confirm(linger=False)
        await room.engine.derive()

    with pytest.raises(Killed):
        await work()
    monkeypatch.undo()
    await room.make_due()
    survivor = room.another_engine()
    for _ in range(3):
        await survivor.drain()
        await room.make_due()
        await survivor.confirm(linger=False)
        await survivor.derive()
    assert [] == await room.left()
    record = await room.record()
    assert ("past_due", 1300, True) == (record["status"], record["lifetime_revenue"], record["exact"])
    assert 0 == await room.fetchval("select count(*) from sync.events where state <> 'applied'")
