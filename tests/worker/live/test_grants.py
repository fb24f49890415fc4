"""What no event announces: a grant that ends, and what services write about a customer themselves."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from billing.record import customer_uid
from db.connection import Pool
from db.keys import CustomerKey
from db.sync.customers import MARK_OVERDUE
from tests.harness import NOON, Harness, columns, customer, event, subscription, sweep
from tests.system import until
from worker.forget import forget

INSERT = """
insert into billing.identities (uid, live_mode, stripe_customer_id, sandbox_end, sandbox_product_id)
select $1, false, $2, now() + $3 * interval '1 second', $4
"""
UID = customer_uid("", False, "cus_1")

SHOWN = ("has_access", "status", "product_id")
SHORT = (2.5, 10.0, 40.0)
"""Seconds for which a grant runs whose end is awaited: the shortest that is not over before it is seen to run."""


async def grant(
    harness: Harness,
    *,
    seconds: float,
    customer_id: str = "cus_1",
    uid: UUID = UID,
    product: str | None = "pro",
) -> None:
    await harness.execute(INSERT, uid, customer_id, seconds, product)


async def sweep_until(harness: Harness, expected: dict[str, object]) -> None:
    """What the worker does every second, until the record shows this. Nothing is announced to it."""

    async def shows() -> bool:
        await sweep(harness.engine)
        return columns(await harness.record(), expected) == expected

    await until(shows, what=f"the record that says {expected}")


async def test_grant_ends_without_an_event(webhooks_only: Harness) -> None:
    """C62: when a grant ends, the record says so by itself, as soon as it is looked at."""
    harness = webhooks_only
    await harness.apply(event("customer.created", customer()))
    await grant(harness, seconds=0)
    running = await harness.record()
    for seconds in SHORT:
        await harness.execute(
            "update billing.identities set sandbox_end = now() + $1 * interval '1 second'", seconds
        )
        await harness.engine.derive()
        running = await harness.record()
        if running["has_access"]:
            break
    assert {"has_access": True, "status": None, "product_id": "pro"} == columns(running, SHOWN)
    await sweep_until(harness, {"has_access": False, "product_id": None})
    over = await harness.record()
    assert over["sandbox_end"] == running["sandbox_end"]
    assert over["change"] > running["change"]
    assert over["updated_at"] > running["updated_at"]
    assert [(None,)] == [tuple(row) for row in await harness.fetch("select rederive_at from sync.customers")]


async def test_grant_of_stripes_metadata_ends(webhooks_only: Harness) -> None:
    """The same of a grant that only Stripe's metadata gives."""
    harness, end = webhooks_only, 0
    for seconds in SHORT:
        end = await harness.fetchval("select ceil(extract(epoch from now()) + $1::float8)::bigint", seconds)
        granted = customer(metadata={"sandbox_end": str(end)})
        await harness.apply(event("customer.created", granted, after=int(seconds)))
        if (await harness.record())["has_access"]:
            break
    assert {"has_access": True} == columns(await harness.record(), ["has_access"])
    await sweep_until(harness, {"has_access": False})
    assert end == await harness.fetchval(
        "select extract(epoch from sandbox_end)::bigint from billing.customers"
    )


async def test_live_subscription_outranks_a_grant_and_leaves_its_end(webhooks_only: Harness) -> None:
    """C62, F124: a real plan begins and ends inside a grant; the grant's end is what it was all the time."""
    harness = webhooks_only
    await harness.apply(event("customer.created", customer()))
    await grant(harness, seconds=3600)
    ends = []
    for status, after in (("active", 10), ("past_due", 20), ("canceled", 30)):
        await harness.apply(
            event(
                "customer.subscription.updated",
                subscription(status=status, ended_at=NOON + 30 if status == "canceled" else None),
                after=after,
            )
        )
        ends.append((await harness.record())["sandbox_end"])
    assert 1 == len({*ends})
    assert ends[0] == await harness.fetchval("select sandbox_end from billing.identities")
    assert {"has_access": True, "status": "ended", "product_id": "pro"} == columns(
        await harness.record(), SHOWN
    )
    # Only when the grant runs does its end concern the record.
    assert ends[0] == await harness.fetchval("select rederive_at from sync.customers")
    await harness.apply(event("customer.subscription.updated", subscription("sub_2"), after=40))
    assert await harness.fetchval("select rederive_at is null from sync.customers")


async def test_rubbish_is_told_to_operators(webhooks_only: Harness) -> None:
    """A sandbox_end that is no time is a problem until it is mended."""
    harness = webhooks_only
    await harness.apply(event("customer.created", customer(metadata={"sandbox_end": "tomorrow"})))
    problems = "select kind, object_id from sync.problems"
    assert [("sandbox_end_invalid", "cus_1")] == [tuple(row) for row in await harness.fetch(problems)]
    assert not (await harness.record())["has_access"]
    await harness.apply(event("customer.updated", customer(metadata={}), after=10))
    assert [] == await harness.fetch(problems)


async def test_overdue_customers_are_marked_once_each(webhooks_only: Harness, pool: Pool) -> None:
    """Several workers that look at the same moment mark each customer once, in batches."""
    harness = webhooks_only
    await harness.execute(
        "insert into sync.customers (account_id, live_mode, customer_id, rederive_at) "
        "select '', false, 'cus_' || n, case when n <= 25 then now() else now() + interval '1 hour' end "
        "from generate_series(1, 30) n"
    )

    async def look() -> None:
        async with pool.acquire() as connection:
            while await connection.execute(MARK_OVERDUE, 4) != "UPDATE 0":
                pass

    await asyncio.gather(*(look() for _ in range(4)))
    rows = await harness.fetch(
        "select stale, rederive_at is null, count(*) from sync.customers group by 1, 2"
    )
    assert {(1, True, 25), (0, False, 5)} == {tuple(row) for row in rows}


# Identities


async def stale(harness: Harness) -> dict[str, int]:
    rows = await harness.fetch(
        "select customer_id, stale - derived from sync.customers where stale > derived order by customer_id"
    )
    return {row[0]: row[1] for row in rows}


async def test_identities_tell_of_themselves(webhooks_only: Harness) -> None:
    """Inserting, updating or deleting identities derives their customers again, and no others."""
    harness = webhooks_only
    for name in ("cus_1", "cus_2", "cus_3"):
        await harness.apply(event("customer.created", customer(name)))
    assert {} == await stale(harness)
    for name in ("cus_1", "cus_2"):
        await grant(harness, seconds=3600, customer_id=name, uid=customer_uid("", False, name))
    assert {"cus_1": 1, "cus_2": 1} == await stale(harness)
    await harness.engine.derive()
    await harness.execute("update billing.identities set fingerprint = 'f' || right(stripe_customer_id, 1)")
    assert {"cus_1": 1, "cus_2": 1} == await stale(harness)
    await harness.engine.derive()
    assert ["f1", "f2", None] == [
        (await harness.record(name))["fingerprint"] for name in ("cus_1", "cus_2", "cus_3")
    ]
    await harness.execute("delete from billing.identities where stripe_customer_id = 'cus_2'")
    assert {"cus_2": 1} == await stale(harness)
    await harness.engine.derive()
    assert (None, False) == tuple(
        columns(await harness.record("cus_2"), ["fingerprint", "has_access"]).values()
    )


async def test_identity_that_is_linked_to_another_customer(webhooks_only: Harness) -> None:
    """Both customers are derived: the one that lost it and the one that has it now. One that Stripe does not know has a
    key of its own.
    """
    harness = webhooks_only
    for name in ("cus_1", "cus_2"):
        await harness.apply(event("customer.created", customer(name)))
    uid = uuid4()
    await harness.execute("insert into billing.identities (uid, live_mode) values ($1, false)", uid)
    assert {f"uid/{uid}": 1} == await stale(harness)
    await harness.execute("update billing.identities set stripe_customer_id = 'cus_1', fingerprint = 'f'")
    assert {f"uid/{uid}": 2, "cus_1": 1} == await stale(harness)
    await harness.engine.derive()
    await harness.execute("update billing.identities set stripe_customer_id = 'cus_2'")
    assert {"cus_1": 1, "cus_2": 1} == await stale(harness)
    await harness.engine.derive()
    assert [None, "f"] == [(await harness.record(name))["fingerprint"] for name in ("cus_1", "cus_2")]


async def test_identity_of_a_customer_nobody_has_heard_of(harness: Harness) -> None:
    """Its record is made at once, and Stripe is asked about it."""
    harness.api.put(customer("cus_9", name="Nine"))
    await grant(harness, seconds=3600, customer_id="cus_9", uid=customer_uid("", False, "cus_9"))
    await harness.engine.derive()
    record = await harness.record("cus_9")
    assert {"has_access": True, "name": None, "exact": False} == columns(
        record, ("has_access", "name", "exact")
    )
    assert await harness.fetchval("select history_at > now() from sync.customers where customer_id = 'cus_9'")


async def test_service_needs_no_rights_in_sync(webhooks_only: Harness, database_url: str) -> None:
    """A login that may only write identities still causes records to be derived again."""
    harness = webhooks_only
    await harness.apply(event("customer.created", customer()))
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "do $$ begin create role identity_writer nologin; exception when duplicate_object then null; end $$;"
            "grant usage on schema billing to identity_writer;"
            "grant select, insert, update on billing.identities to identity_writer;"
            "set role identity_writer"
        )
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("update sync.customers set stale = stale + 1")
        await connection.execute(INSERT, UID, "cus_1", 3600.0, None)
    finally:
        await connection.execute("reset role")
        await connection.execute("drop owned by identity_writer")
        await connection.execute("drop role identity_writer")
        await connection.close()
    assert {"cus_1": 1} == await stale(harness)


async def test_identity_brings_its_own_uid(webhooks_only: Harness) -> None:
    """A uid that services gave a customer becomes its record's, with all its parts, and readers are notified."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", customer()),
        event("customer.subscription.created", subscription(metadata={"entity_id": "team"}), after=1),
    )
    before = await harness.record()
    ours = uuid4()
    assert before["uid"] == UID
    await grant(harness, seconds=3600, uid=ours)
    await harness.engine.derive()
    after = await harness.record()
    assert ours == after["uid"]
    assert after["change"] > before["change"]
    parts = (
        "select customer_uid from billing.status_changes union all select customer_uid from billing.entities"
    )
    assert [ours, ours] == [row[0] for row in await harness.fetch(parts)]
    await harness.execute("delete from billing.identities")
    await harness.engine.derive()
    assert UID == (await harness.record())["uid"]
    assert [UID, UID] == [row[0] for row in await harness.fetch(parts)]
    assert [] == await harness.fetch("select error from sync.customers where parked_at is not null")


async def test_two_records_become_one(webhooks_only: Harness) -> None:
    """Of two records, ours and the one that events had made meanwhile, the one with our uid stays."""
    harness = webhooks_only
    ours = uuid4()
    await harness.apply(event("customer.created", customer(email="ada@example.com")))
    await harness.execute(
        "insert into billing.customers (uid, account_id, live_mode, change) "
        "values ($1, '', false, nextval('billing.change'))",
        ours,
    )
    await grant(harness, seconds=3600, uid=ours)
    await harness.engine.derive()
    rows = await harness.fetch("select uid, stripe_customer_id, email from billing.customers")
    assert [(ours, "cus_1", "ada@example.com")] == [tuple(row) for row in rows]


# Entities


async def test_entities_follow_the_metadata(webhooks_only: Harness) -> None:
    """An entity comes, changes and goes with the metadata that names it; ours of the same id comes before it."""
    harness = webhooks_only
    metadata = {"entity_id": "team", "entity_name": "Team", "entity_type": "workspace"}
    await harness.apply(event("customer.subscription.created", subscription(metadata=metadata)))
    entities = (
        "select id, type, name, extract(epoch from created_at)::bigint from billing.entities order by id"
    )
    assert [("team", "workspace", "Team", NOON)] == [tuple(row) for row in await harness.fetch(entities)]
    change = (await harness.record())["change"]
    await harness.apply(
        event(
            "customer.subscription.updated",
            subscription(metadata=metadata | {"entity_name": "The team"}),
            after=10,
        )
    )
    assert ["The team"] == [row[2] for row in await harness.fetch(entities)]
    assert (await harness.record())["change"] > change

    uid = (await harness.record())["uid"]
    await harness.execute(
        "insert into billing.local_entities (uid, customer_uid, id, name) "
        "values (gen_random_uuid(), $1, 'team', 'Ours'), (gen_random_uuid(), $1, 'other', 'Other')",
        uid,
    )
    assert [("other", "Other"), ("team", "Ours")] == [
        (row[0], row[2]) for row in await harness.fetch(entities)
    ]
    await harness.apply(event("customer.subscription.updated", subscription(metadata={}), after=20))
    await harness.execute("delete from billing.local_entities where id = 'team'")
    assert [("other", "Other")] == [(row[0], row[2]) for row in await harness.fetch(entities)]


async def test_forgotten_customer_has_no_entities_and_no_grant(webhooks_only: Harness) -> None:
    """What services keep of a customer goes with it: its entities, and what they granted."""
    harness = webhooks_only
    await harness.apply(event("customer.subscription.created", subscription(metadata={"entity_id": "team"})))
    await harness.execute(
        "insert into billing.local_entities (uid, customer_uid, id) values ($1, $2, 'own')", uuid4(), UID
    )
    await grant(harness, seconds=3600)
    await harness.engine.derive()
    assert 2 == await harness.fetchval("select count(*) from billing.entities")
    async with harness.pool.acquire() as connection:
        await forget(connection, CustomerKey("", False, "cus_1"))
    await harness.engine.derive()
    assert 0 == await harness.fetchval("select count(*) from billing.entities")
    assert (await harness.record())["sandbox_end"] is None
    assert await harness.fetchval("select rederive_at is null from sync.customers")
