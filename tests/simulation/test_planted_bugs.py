"""A suite that finds nothing proves nothing: each of these bugs is planted here, and has to be found.

Two of them show in any world; the others need an order of things that not every world brings about, and are given it.
Each such order is played without the bug first.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from billing.kinds.parse import parse_object
from db.connection import Connection, Pool
from db.keys import Key
from db.sync.customers import MARK_STALE, TouchedObject, resolve_touched
from db.sync.inbox import SignedEvent, record_events
from db.sync.objects import LATE_MAX, Confirmed, FailedRead, Reading, confirm_objects, draw_tick, mark_objects
from db.sync.refusals import end_refusals
from runtime.bell import LIVE_QUEUE, TOKENS, Bell
from tests.faults import replaced, rewritten
from tests.harness import (
    NOON,
    Harness,
    charge,
    customer,
    error,
    event,
    listing,
    open_harness,
    refund,
    subscription,
    sweep,
    sweep_bulk,
)
from tests.simulation.deaths import mortality
from tests.simulation.exactness import FALSELY_EXACT
from tests.simulation.shares import quiet
from tests.simulation.world import Ground, play
from tests.system import until
from tests.webhooks.web_harness import event as webhook
from tests.webhooks.web_harness import open_door, settings
from worker.engine import Engine
from worker.live import fence
from worker.live.answers import Answered
from worker.live.fence import store_answers
from worker.live.marks import bare_mark
from worker.live.mirror import Shown, write_mirror
from worker.live.witness import Witnesses, doubt_late

SEEDS_MAX = 10
BELIEVED = NOON + 60 + int(LATE_MAX.total_seconds())
"""By Stripe's clock, when answers need no second witness: that would find other bugs, too."""
FORGET = """
truncate sync.events, sync.objects, sync.customers, stripe.customers, stripe.subscriptions, stripe.charges,
  stripe.refunds, billing.customers, billing.customer_products, billing.customer_revenue, billing.status_changes
"""


@pytest.fixture
def mortal(ground: Ground) -> Iterator[Ground]:
    """The ground, on which workers can die."""
    with quiet(), mortality():
        yield ground


@pytest.fixture
async def harness(pool: Pool, database_url: str) -> AsyncIterator[Harness]:
    """An engine that reads from an API whose answers the test says."""
    async with open_harness(pool, database_url) as harness:
        yield harness


async def seed_that_finds(ground: Ground, *, how: str = "") -> int:
    """The first seed whose records differ from the truth; `how`: a part of what is said of one of them."""
    for seed in range(SEEDS_MAX):
        if any(how in line for line in (await play(ground, seed)).differences):
            return seed
    raise AssertionError(f"not found in {SEEDS_MAX} worlds")


def doubt_nothing(answers: Mapping[Key, Answered], witnesses: Witnesses) -> list[FailedRead]:
    """In the place of the second witness."""
    return []


# What any world finds


async def test_stale_marks_that_do_nothing(mortal: Ground) -> None:
    """`on conflict do nothing` takes no lock, and loses the marks of customers that are stale or were before."""
    head, conflict, _ = MARK_STALE.partition("on conflict")
    with rewritten(MARK_STALE, f"{head}{conflict} do nothing"):
        await seed_that_finds(mortal)


async def test_first_answers_are_believed(mortal: Ground) -> None:
    """Without a second witness records say exact, and are not, as soon as replicas are late."""
    with replaced(doubt_late, doubt_nothing):
        await seed_that_finds(mortal, how=FALSELY_EXACT)


# What needs an order of its own


async def change_during_a_read_is_seen(harness: Harness) -> bool:
    """A subscription changes while it is being read, and the event comes before the answer."""
    harness.api.now = BELIEVED
    harness.api.put(customer(), subscription(status="active"))
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    held = harness.api.hold("/v1/subscriptions/sub_1")
    await harness.make_due()
    read = asyncio.create_task(harness.engine.confirm(linger=False))
    await held.reached_by(read)
    harness.api.put(subscription(status="past_due"))
    await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    held.open.set()
    await read
    await harness.settle()
    return "past_due" == str((await harness.record())["status"])


async def test_confirmed_drawn_after_the_read(harness: Harness) -> None:
    """The tick of a read is drawn when its answer is there: a mark that came meanwhile is taken for seen."""

    async def store_as_of_now(
        connection: Connection, answers: list[Answered], *, source: str, of_whole: bool
    ) -> list[FailedRead]:
        late = [replace(each, tick=await draw_tick(connection)) for each in answers]
        return await store_answers(connection, late, source=source, of_whole=of_whole)

    assert await change_during_a_read_is_seen(harness)
    await harness.execute(FORGET)
    with replaced(store_answers, store_as_of_now):
        assert not await change_during_a_read_is_seen(harness)


async def late_replica_is_not_believed(harness: Harness) -> bool:
    """A subscription is past due, an event says so, and a replica answers with what was before."""
    harness.api.put(customer(), subscription(status="active"))
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.settle()
    harness.api.say("/v1/subscriptions/sub_1", 200, subscription(status="active"))
    harness.api.put(subscription(status="past_due"))
    await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=1))
    await harness.settle()
    record = await harness.record()
    return ("past_due", True) == (record["status"], record["exact"])


async def test_first_answer_is_believed(harness: Harness) -> None:
    """Without a second witness the first answer of a late replica makes a record exact and wrong."""
    assert await late_replica_is_not_believed(harness)
    await harness.execute(FORGET)
    with replaced(doubt_late, doubt_nothing):
        assert not await late_replica_is_not_believed(harness)


async def deleted_customer_stays_deleted(harness: Harness) -> bool:
    """A customer is deleted, and read so; then a late event has it read again, and a replica answers with the past."""
    harness.api.now = BELIEVED
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    harness.api.bodies["/v1/customers/cus_1"] = {"object": "customer", "id": "cus_1", "deleted": True}
    await harness.apply(event("customer.deleted", customer(), after=60))
    await harness.settle()
    await harness.apply(event("customer.updated", customer(name="Ada"), after=30))
    harness.api.say("/v1/customers/cus_1", 200, customer(name="Ada"))
    await harness.settle()
    return (await harness.record())["deleted_at"] is not None


async def test_no_tombstone(harness: Harness) -> None:
    """Without a tombstone a deleted customer comes back."""

    async def confirm_without_tombstones(
        connection: Connection, readings: Sequence[Reading], **options: Any
    ) -> tuple[dict[Key, Confirmed], set[Key]]:
        return await confirm_objects(
            connection, [replace(each, deleted=False) for each in readings], **options
        )

    assert await deleted_customer_stays_deleted(harness)
    await harness.execute(
        "truncate sync.events, sync.objects, sync.customers, stripe.customers, billing.customers"
    )
    with replaced(confirm_objects, confirm_without_tombstones):
        assert not await deleted_customer_stays_deleted(harness)


async def refund_is_seen(harness: Harness) -> bool:
    """One transaction writes a refund, another one its charge at the same time, and neither sees the other's row."""
    tick = iter([await harness.fetchval("select nextval('sync.tick')") for _ in range(3)])

    def answered(body: dict[str, Any]) -> Answered:
        parsed = parse_object(body)
        return Answered(
            key=Key("", False, parsed.kind, parsed.id),
            tick=next(tick),
            parsed=parsed,
            raw="{}",
            asked_at=datetime.fromtimestamp(NOON, UTC),
        )

    async with harness.pool.acquire() as slow, harness.pool.acquire() as quick:
        # The charge is known by name: otherwise the refund's transaction would hold its place.
        await mark_objects(quick, [bare_mark(Key("", False, "charge", "ch_1"), source="event")])
        await fence.store_answers(quick, [answered(customer())], source="event")
        async with slow.transaction():
            await fence.store_answers(slow, [answered(refund())], source="event")
            await fence.store_answers(quick, [answered(charge())], source="event")
            await harness.engine.derive()
    await harness.engine.derive()
    refunded: int = await harness.fetchval("select refunded from billing.customer_revenue")
    return refunded == 500


async def test_fan_out_at_write_time(harness: Harness) -> None:
    """The transaction that writes a refund looks up its customer: it cannot know what is not committed."""

    async def write_and_tell(
        connection: Connection, shown: Mapping[Key, Shown], *, confirmed: bool, touches: bool = True
    ) -> None:
        await write_mirror(connection, shown, confirmed=confirmed, touches=touches)
        rows = await connection.fetch(
            "select account_id, live_mode, kind, id, touched from sync.objects where touched > resolved"
        )
        touched = [TouchedObject(key=Key(row[0], row[1], row[2], row[3]), touched=row[4]) for row in rows]
        await resolve_touched(connection, [each for each in touched if each.key in shown])

    assert await refund_is_seen(harness)
    await harness.execute(FORGET)
    with replaced(write_mirror, write_and_tell):
        assert not await refund_is_seen(harness)


async def worker_of_the_other_mode_does_no_harm(harness: Harness) -> bool:
    """A worker with a live key runs for some seconds beside one that serves test mode."""
    harness.api.put(customer(name="Ada"))
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    live = open_harness(harness.pool, harness.settings.database_url, api_key="sk_live_room")
    async with live as wrong:
        await wrong.apply(event("customer.updated", customer(name="Ada"), after=60))
    await harness.settle()
    return (
        "Ada" == str((await harness.record())["name"])
        and "quarantined" not in (await harness.event_states()).values()
    )


async def test_each_key_serves_its_own_mode(harness: Harness) -> None:
    """Each process takes the mode of its own key for the one that is served."""

    async def own_mode(engine: Engine) -> tuple[bool, bool | None, bool | None]:
        return True, engine._settings_mode, None

    assert await worker_of_the_other_mode_does_no_harm(harness)
    await harness.execute(FORGET)
    harness.api.bodies.pop("/v1/customers/cus_1")
    with replaced(Engine.modes_to_apply, own_mode):
        assert not await worker_of_the_other_mode_does_no_harm(harness)


async def account_comes_back(harness: Harness) -> bool:
    """A connected account takes its access back, and gives it again."""
    harness.api.put(customer())
    harness.api.bodies["/v1/events"] = listing([], url="/v1/events")
    for path in ("/v1/customers/cus_1", "/v1/events"):
        for _ in range(2):
            harness.api.say(path, 403, error("account_invalid", "no access"))
    await harness.apply(event("customer.created", customer(), account="acct_1"))
    for _ in range(4):
        await harness.make_due()
        await sweep(harness.engine)
        await harness.execute("update sync.accounts set due_at = now()")
        await sweep_bulk(harness.engine)
    await sweep(harness.engine)
    return bool((await harness.record(account="acct_1"))["exact"])


async def test_refusal_without_an_end(harness: Harness) -> None:
    """Nobody takes note that a request was answered: what waits for it waits for ever."""

    async def never(*_: object) -> list[str]:
        return []

    assert await account_comes_back(harness)
    await harness.execute(FORGET)
    await harness.execute("truncate sync.refusals, sync.alarms, sync.accounts")
    with replaced(end_refusals, never):
        assert not await account_comes_back(harness)


async def redelivery_rings(
    database_url: str, redis_url: str, event_id: str, *, rings_for: Callable[[int], bool]
) -> bool:
    """An event is stored and its job lost, Redis having been wiped; Stripe sends it again. Whether that rings.

    `rings_for`: whether a group that stored so many new events asks for a ring.
    """
    ring_soon = Bell.ring_soon
    created = wanted = 0

    async def record(connection: Connection, events: Sequence[SignedEvent]) -> int:
        nonlocal created
        created = await record_events(connection, events)
        return created

    def ring(bell: Bell, events: int) -> None:
        nonlocal wanted
        if rings_for(created):
            wanted += 1
            ring_soon(bell, events)

    web = settings(database_url=database_url, redis_url=redis_url)
    with replaced(record_events, record), replaced(Bell.ring_soon, ring):
        async with Redis.from_url(redis_url) as client, open_door(web) as door:

            async def rung() -> bool:
                return (
                    bool(await client.exists(TOKENS)) and await client.zscore(LIVE_QUEUE, "drain") is not None
                )

            assert 200 == (await door.post(webhook(event_id))).status
            await until(rung, what="the first ring")
            await client.flushdb()
            assert 200 == (await door.post(webhook(event_id))).status
            if wanted == 1:  # the second answer has come, and nobody has asked for another ring
                return False
            await until(rung, what="the second ring")
            return True


async def test_ring_only_when_the_row_was_created(database_url: str, redis_url: str) -> None:
    """A known event does not ring: a job that Redis lost is never enqueued again."""
    assert await redelivery_rings(database_url, redis_url, "evt_1", rings_for=lambda _: True)
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
    assert not await redelivery_rings(database_url, redis_url, "evt_2", rings_for=lambda created: created > 0)
