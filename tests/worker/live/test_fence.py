"""The fence: in whatever order reads are made and stored, the newer state at Stripe stays."""

import asyncio
import itertools
from datetime import UTC, datetime

import asyncpg

from billing.kinds.parse import parse_object
from db.connection import Pool, connect
from db.keys import Key
from db.sync.objects import CONFIRM_OBJECTS, Mark, draw_tick, mark_objects
from runtime.retry import retry_conflicts
from tests.faults import Call, before
from tests.harness import NOON, Body, Harness, charge, customer, event, refund, subscription
from tests.system import until
from worker.live.answers import Answered, Inside, unpack
from worker.live.apply import apply_batch
from worker.live.fence import store_answers


def answered(tick: int, body: dict[str, object], *, seconds: int = 0) -> Answered:
    """The answer of a read that began at `tick`."""
    parsed = parse_object(body)
    return Answered(
        key=Key("", False, parsed.kind, parsed.id),
        tick=tick,
        parsed=parsed,
        raw="{}",
        asked_at=datetime.fromtimestamp(NOON + seconds, tz=UTC),
    )


async def test_older_read_loses_though_stored_last(harness: Harness) -> None:
    """I3: two workers read one subscription; the one that asked first answers last, and its state is not stored."""
    harness.api.put(customer(), subscription(status="active"))
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    gate = harness.api.hold("/v1/subscriptions/sub_1")
    await harness.make_due()
    slow = asyncio.create_task(harness.engine.confirm(linger=False))
    await gate.reached_by(slow)
    harness.api.put(subscription(status="past_due"))
    await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    await harness.make_due()
    await harness.another_engine().confirm(linger=False)

    async def is_exact() -> bool:  # the customer, whose answer the first one may be about to store, too
        rows = await harness.fetch("select status, exact from billing.customers")
        return ("past_due", True) == tuple(rows[0])

    await until(is_exact, what="the record is exact")
    confirmed = (await harness.object("subscription", "sub_1"))["confirmed"]
    gate.open.set()
    await slow
    await harness.settle()
    assert confirmed == (await harness.object("subscription", "sub_1"))["confirmed"]
    assert "past_due" == await harness.fetchval("select status from stripe.subscriptions")
    assert ("past_due", True) == tuple(
        (await harness.fetch("select status, exact from billing.customers"))[0]
    )


async def test_mark_during_a_read_keeps_the_object_dirty(harness: Harness) -> None:
    """I3: what changes while a read is under way is read again: the answer is stored, but confirms nothing."""
    harness.api.now = NOON + 100  # long enough after every event for an answer to be believed
    harness.api.put(customer(), subscription(status="active"))
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    gate = harness.api.hold("/v1/subscriptions/sub_1")
    await harness.make_due()
    read = asyncio.create_task(harness.engine.confirm(linger=False))
    await gate.reached_by(read)
    harness.api.put(subscription(status="past_due"))
    # Its payload is lost on the way: only the mark is left of it.
    await harness.apply(
        event("customer.subscription.updated", {"object": "subscription", "id": "sub_1", "status": 7})
    )
    gate.open.set()
    await read
    known = await harness.object("subscription", "sub_1")
    assert known["dirty"] > known["confirmed"] > 0
    assert known["read_at"] is not None
    assert ("active", False) == tuple((await harness.fetch("select status, exact from billing.customers"))[0])
    await harness.confirm()
    assert ("past_due", True) == tuple(
        (await harness.fetch("select status, exact from billing.customers"))[0]
    )


async def test_event_that_is_applied_while_a_late_read_is_stored(harness: Harness) -> None:
    """I3, I4: an event is being applied when a read is drawn, answered by a late replica, and its witness looked for.
    It is committed just before the answer is stored: the answer is not believed all the same.
    """
    harness.api.put(customer(), subscription(status="active"))
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.receive(event("customer.subscription.updated", subscription(status="past_due"), after=60))
    async with harness.pool.acquire() as applying, harness.pool.acquire() as storing:
        transaction = applying.transaction()
        await transaction.start()
        await apply_batch(applying, served_mode=False, confirms=True)
        late = answered(await draw_tick(storing), subscription(status="active"), seconds=61)

        async def commit(_: Call) -> None:
            await transaction.commit()

        with before(CONFIRM_OBJECTS, commit, times=1):
            doubted = await retry_conflicts(lambda: store_answers(storing, [late], source="backfill"))
    assert [late.key] == [failure.key for failure in doubted]
    assert "past_due" == await harness.fetchval("select status from stripe.subscriptions")


async def test_id_that_is_chosen_again_while_its_deletion_is_stored(harness: Harness) -> None:
    """I5: the same of a late replica that says "deleted", while the event is being applied that the id was chosen
    again: nothing is buried.
    """
    product: Body = {"object": "product", "id": "prod_1", "created": NOON, "name": "Plan", "metadata": {}}
    await harness.apply(event("product.created", product))
    await harness.receive(event("product.created", product | {"created": NOON + 60}, after=60))
    async with harness.pool.acquire() as applying, harness.pool.acquire() as storing:
        transaction = applying.transaction()
        await transaction.start()
        await apply_batch(applying, served_mode=False, confirms=True)
        gone: Body = {"object": "product", "id": "prod_1", "deleted": True}
        late = answered(await draw_tick(storing), gone, seconds=61)

        async def commit(_: Call) -> None:
            await transaction.commit()

        with before(CONFIRM_OBJECTS, commit, times=1):
            doubted = await retry_conflicts(lambda: store_answers(storing, [late], source="backfill"))
    assert [late.key] == [failure.key for failure in doubted]
    assert not (await harness.object("product", "prod_1"))["tombstone"]


async def test_every_interleaving_of_two_changes_and_two_reads(pool: Pool) -> None:
    """I3: in each of the 4,200 interleavings of two changes, each with its mark, and of two reads of an object, what
    is confirmed once both marks are in is the last state, and what is not will be read again. Nor does a row ever go
    back, unless the requests overtook each other on their way after the numbers were drawn: that lasts until the mark.
    """
    changes = ("change", "mark", "change", "mark")
    reader = ("draw", "ask", "store")
    worlds = []
    for places in itertools.combinations(range(10), 4):
        rest = [place for place in range(10) if place not in places]
        for first in itertools.combinations(rest, 3):
            steps: list[tuple[str, int]] = [("", 0)] * 10
            second = [place for place in rest if place not in first]
            for reader_number, own in ((1, first), (2, second)):
                for place, step in zip(own, reader, strict=True):
                    steps[place] = (step, reader_number)
            for place, step in zip(places, changes, strict=True):
                steps[place] = (step, 0)
            worlds.append(steps)
    assert 4200 == len(worlds)
    at_stripe = [0] * len(worlds)
    ticks: dict[tuple[int, int], int] = {}
    answers: dict[tuple[int, int], int] = {}
    shown = [-1] * len(worlds)

    def key(world: int) -> Key:
        return Key("", False, "customer", f"cus_{world}")

    # All worlds take their step together: only the order within each matters.
    async with pool.acquire() as connection:
        for place in range(10):
            marks, stores, draws = [], [], []
            for world, steps in enumerate(worlds):
                match steps[place]:
                    case "change", _:
                        at_stripe[world] += 1
                    case "mark", _:
                        marks.append(_mark(key(world)))
                    case "draw", number:
                        draws.append((world, number))
                    case "ask", number:
                        answers[world, number] = at_stripe[world]
                    case "store", number:
                        body = customer(f"cus_{world}", description=str(answers[world, number]))
                        stores.append(answered(ticks[world, number], body))
                    case unknown:
                        raise AssertionError(unknown)
            if marks:
                await mark_objects(connection, marks)
            if draws:
                numbers = await connection.fetch(
                    "select nextval('sync.tick') from generate_series(1, $1)", len(draws)
                )
                ticks |= {draw: row[0] for draw, row in zip(draws, numbers, strict=True)}
            if stores:
                await store_answers(connection, stores, source="event")
                rows = await connection.fetch("select id, description::int from stripe.customers")
                for customer_id, value in rows:
                    world = int(customer_id.removeprefix("cus_"))
                    assert value >= shown[world] or _overtakes(worlds[world]), (worlds[world], "went back")
                    shown[world] = value
        rows = await connection.fetch("select id, dirty, confirmed, read_at from sync.objects")
    assert len(worlds) == len(rows)
    confirmed = 0
    for row in rows:
        world = int(row["id"].removeprefix("cus_"))
        if row["confirmed"] > row["dirty"]:
            confirmed += 1
            assert 2 == shown[world], (worlds[world], "confirmed, and is not what Stripe says")
        else:
            assert row["read_at"] is not None, (worlds[world], "dirty, and nobody will look")
    assert 0 < confirmed < len(worlds)


def _overtakes(steps: list[tuple[str, int]]) -> bool:
    """Whether the read that drew its number first asked last."""
    draws, asks = ([number for step, number in steps if step == name] for name in ("draw", "ask"))
    return draws != asks


def _mark(key: Key) -> Mark:
    return Mark(
        key=key, customer_id=key.id, ownerless=False, event_id=None, event_created=None, source="event"
    )


async def test_late_committer_does_not_lower_a_mark(pool: Pool, database_url: str) -> None:
    """I3: a mark that drew its number earlier but is written later leaves the greater number standing."""
    key = Key("", False, "customer", "cus_1")
    late = await connect(database_url, application_name="late")
    try:
        async with pool.acquire() as connection:
            await mark_objects(connection, [_mark(key)])
            # A trigger before the insert runs when the number is drawn already, and no lock is held yet.
            await connection.execute(
                """
                create function sync.wait_if_late() returns trigger language plpgsql as $$
                begin
                  if current_setting('application_name') = 'late' then
                    perform pg_advisory_xact_lock(4711);
                  end if;
                  return new;
                end $$;
                create trigger wait_if_late before insert on sync.objects
                  for each row execute function sync.wait_if_late();
                """
            )
            await connection.execute("select pg_advisory_lock(4711)")
            waiting = asyncio.create_task(mark_objects(late, [_mark(key)]))

            async def is_waiting() -> object:
                return await connection.fetchval(
                    "select exists (select from pg_locks where locktype = 'advisory' and not granted)"
                )

            await until(is_waiting, what="the late mark")
            await mark_objects(connection, [_mark(key)])
            newest = await connection.fetchval("select dirty from sync.objects")
            await connection.execute("select pg_advisory_unlock(4711)")
            await waiting
            assert newest == await connection.fetchval("select dirty from sync.objects")
            assert newest == await connection.fetchval("select last_value from sync.tick")
    finally:
        await late.close()


async def test_nothing_gets_past_a_tombstone(harness: Harness) -> None:
    """I5: once a read has seen that an object is deleted, no later read, payload or mark brings it back."""
    harness.api.put(customer(name="Ada"))
    await harness.apply(event("customer.created", customer(name="Ada")))
    await harness.confirm()
    harness.api.put({"object": "customer", "id": "cus_1", "deleted": True})
    await harness.apply(event("customer.deleted", customer(name="Ada"), after=10))
    await harness.confirm()
    assert (await harness.object("customer", "cus_1"))["tombstone"]
    async with harness.pool.acquire() as connection:
        tick = await draw_tick(connection)
        await store_answers(connection, [answered(tick, customer(name="Eve"))], source="event")
    await harness.apply(event("customer.updated", customer(name="Eve"), after=1000))
    known = await harness.object("customer", "cus_1")
    assert (True, None) == (known["tombstone"], known["read_at"])
    row = (await harness.fetch("select name, deleted_at is not null as deleted, raw from stripe.customers"))[
        0
    ]
    assert ("Ada", True) == (row["name"], row["deleted"])
    assert '"name": "Ada"' in row["raw"], "a tombstone keeps the last full body"
    record = await harness.record()
    assert ("Ada", True) == (record["name"], record["exact"])
    assert record["deleted_at"] is not None


async def test_each_old_answer_of_a_batch_is_found(harness: Harness) -> None:
    """I5: of answers that are stored together each one that takes back what Stripe never takes back is asked for again,
    wherever it stands among the others, and these are stored.
    """
    names = ["sub_1", "sub_2", "sub_3"]
    await harness.apply(
        event("customer.created", customer()),
        *(event("customer.subscription.deleted", subscription(name, status="canceled")) for name in names),
    )
    async with harness.pool.acquire() as connection:
        for old in names:
            tick = await draw_tick(connection)
            bodies = [subscription(name, status="active" if name == old else "canceled") for name in names]
            answers = [answered(tick, body, seconds=3600) for body in bodies]
            failures = await store_answers(connection, answers, source="event")
            assert [(old, True)] == [(each.key.id, each.contradicts) for each in failures]
    assert {"canceled"} == {row[0] for row in await harness.fetch("select status from stripe.subscriptions")}


async def test_one_read_confirms_what_it_carries_whole(harness: Harness) -> None:
    """A charge is read with its refunds, so the refund that came with it needs no read of its own."""
    harness.api.now = NOON + 100  # long enough after every event for an answer to be believed
    harness.api.put(
        customer(), charge() | {"refunds": {"object": "list", "data": [refund()], "has_more": False}}
    )
    await harness.apply(
        event("customer.created", customer()),
        event("charge.refunded", charge(amount_refunded=500)),
        event("refund.created", refund()),
    )
    await harness.execute("update sync.objects set read_at = null where kind = 'refund'")
    await harness.confirm()
    assert "/v1/refunds/re_1" not in harness.api.asked
    known = await harness.object("refund", "re_1")
    assert known["confirmed"] > known["dirty"]
    assert [("usd", 2000, 500)] == [
        tuple(row)
        for row in await harness.fetch("select currency, gross, refunded from billing.customer_revenue")
    ]
    assert (await harness.record())["exact"]


def test_what_is_not_understood_inside_names_its_customer() -> None:
    """I11: what cannot be understood, inside an object that names no customer, is marked for whom it names itself."""
    inside = Inside()
    outer = answered(1, refund() | {"charge": charge(amount="many")})
    assert [outer] == unpack(outer, inside)
    assert {Key("", False, "charge", "ch_1"): "cus_1"} == inside.unreadable


async def test_ticks_only_grow(pool: Pool) -> None:
    """The numbers of the fence are drawn one by one: a number drawn later is greater, on whatever connection."""

    async def draw() -> int:
        async with pool.acquire() as connection:
            return await draw_tick(connection)

    drawn = [await draw() for _ in range(5)]
    drawn += sorted(await asyncio.gather(*(draw() for _ in range(5))))
    drawn += [await draw()]
    assert sorted(drawn) == drawn
    assert 1 == await _cache(pool)


async def _cache(pool: Pool) -> object:
    async with pool.acquire() as connection:
        row: asyncpg.Record | None = await connection.fetchrow(
            "select cache_size from pg_sequences where schemaname = 'sync' and sequencename = 'tick'"
        )
        assert row is not None
        return row["cache_size"]
