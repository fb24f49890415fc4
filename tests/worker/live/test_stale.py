"""Marks of customers: whatever is written while a record is being derived is derived again."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import pytest

from billing.record import derive_record
from billing.status import Policy
from db.connection import Connection, OwnConnection, Pool, connect
from db.mirror.facts import load_facts
from db.sync.customers import StaleCustomer, claim_stale
from db.sync.inbox import claim_events
from tests.harness import Harness, charge, customer, event, refund, subscription
from tests.system import until
from worker import engine as engine_module
from worker.live.apply import _apply, _Batch, _show, apply_batch
from worker.live.derive import derive_batch, resolve_batch, store_derivations
from worker.live.event import read_event
from worker.live.history import Derivation

LEASE = timedelta(seconds=60)


async def derive_from_claim(connection: Connection, claimed: Sequence[StaleCustomer]) -> list[Derivation]:
    """The part of a derivation between its claim and its storing."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        facts = await load_facts(connection, "", False, {each.key.id: each.complete for each in claimed})
    return [
        Derivation(stale=stale, facts=known, derived=derive_record(known, as_of=stale.as_of, policy=Policy()))
        for stale, known in zip(claimed, facts, strict=True)
    ]


async def test_mark_during_a_derivation_is_not_swallowed(webhooks_only: Harness) -> None:
    """I3: facts that are committed after a derivation read its facts make the customer stale again."""
    harness = webhooks_only
    await harness.receive(event("customer.subscription.created", subscription(status="active")))
    async with harness.pool.acquire() as first, harness.pool.acquire() as second:
        await apply_batch(first, served_mode=None, confirms=False)
        claimed = await claim_stale(first, limit=10, lease=LEASE)
        derivations = await derive_from_claim(first, claimed)
        await harness.receive(
            event("customer.subscription.updated", subscription(status="past_due"), after=9)
        )
        await apply_batch(second, served_mode=None, confirms=False)
        await store_derivations(first, derivations)
    assert "active" == (await harness.record())["status"]
    await harness.engine.derive()
    assert "past_due" == (await harness.record())["status"]


async def test_while_events_flood_in_customers_wait_for_more(
    webhooks_only: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While more events wait than one batch takes, a customer that has just changed is not derived yet; once none wait,
    all are.
    """
    monkeypatch.setattr(engine_module, "APPLY_BATCH", 1)
    monkeypatch.setattr(engine_module, "DERIVED_TOGETHER", timedelta(hours=1))
    harness = webhooks_only
    await harness.apply(event("customer.subscription.created", subscription(status="active")))
    assert "active" == (await harness.record())["status"]

    await harness.receive(event("customer.subscription.updated", subscription(status="past_due"), after=9))
    async with harness.pool.acquire() as connection:
        await apply_batch(connection, served_mode=None, confirms=False)
        assert 0 == await derive_batch(connection, policy=Policy(), since=timedelta(hours=1))
        assert 1 == await derive_batch(connection, policy=Policy())
    assert "past_due" == (await harness.record())["status"]


async def test_a_clock_that_was_set_back_stops_no_derivation(webhooks_only: Harness) -> None:
    """I12: after a failover to a server whose clock is late, what was marked before it is derived at once, also while
    events flood in.
    """
    harness = webhooks_only
    await harness.receive(event("customer.subscription.created", subscription(status="active")))
    async with harness.pool.acquire() as connection:
        await apply_batch(connection, served_mode=None, confirms=False)
        for since in (timedelta(0), timedelta(hours=1)):
            await connection.execute(
                "update sync.customers set stale = derived + 1, attempts = 0, leased_until = null,"
                " stale_since = now() + interval '5 min'"
            )
            assert 1 == await derive_batch(connection, policy=Policy(), since=since)
    assert "active" == (await harness.record())["status"]


async def test_mark_that_waits_for_its_commit_is_not_swallowed(
    webhooks_only: Harness, database_url: str
) -> None:
    """I3: a transaction that has marked a customer, but not committed, holds the derivation's storing up; when it
    commits, the customer is stale.
    """
    harness = webhooks_only
    await harness.receive(event("customer.subscription.created", subscription(status="active")))
    writer = await connect(database_url, application_name="writer")
    try:
        async with harness.pool.acquire() as deriver:
            await apply_batch(deriver, served_mode=None, confirms=False)
            claimed = await claim_stale(deriver, limit=10, lease=LEASE)
            await harness.receive(
                event("customer.subscription.updated", subscription(status="past_due"), after=9)
            )
            writing = writer.transaction()
            await writing.start()
            (pending,) = await claim_events(writer, limit=10, lease=LEASE)
            await _apply(writer, [read_event(pending, served_mode=None, confirms=False)])
            derivations = await derive_from_claim(deriver, claimed)
            storing = asyncio.create_task(store_derivations(deriver, derivations))

            async def is_waiting() -> object:
                return await harness.fetchval(
                    "select exists (select from pg_stat_activity where wait_event_type = 'Lock' "
                    "and datname = current_database())"
                )

            await until(is_waiting, what="the derivation that waits for the mark")
            await writing.commit()
            await storing
    finally:
        await writer.close()
    await harness.engine.derive()
    assert "past_due" == (await harness.record())["status"]


async def test_slower_derivation_from_older_facts_is_dropped(webhooks_only: Harness) -> None:
    """I3: of two derivations of one customer the one begun from the later mark is kept, in any order of storing."""
    harness = webhooks_only
    await harness.receive(event("customer.subscription.created", subscription(status="active")))
    async with harness.pool.acquire() as connection:
        await apply_batch(connection, served_mode=None, confirms=False)
        slow = await derive_from_claim(connection, await claim_stale(connection, limit=10, lease=LEASE))
        await harness.make_due()
        await harness.apply(event("customer.subscription.updated", subscription(status="past_due"), after=9))
        change = (await harness.record())["change"]
        assert 0 == await store_derivations(connection, slow)
    record = await harness.record()
    assert ("past_due", change) == (record["status"], record["change"])


# The refund names its charge, the charge its customer, and each is written in a transaction of its own. Whichever
# commits last, and whatever was derived in between, the record must have both.
FOUR_ORDERS = {
    "refund, then charge": ("begin refund", "commit refund", "derive", "begin charge", "commit charge"),
    "charge, then refund": ("begin charge", "commit charge", "derive", "begin refund", "commit refund"),
    "both open, refund commits first": (
        "begin charge",
        "begin refund",
        "commit refund",
        "derive",
        "commit charge",
    ),
    "both open, charge commits first": (
        "begin refund",
        "begin charge",
        "commit charge",
        "derive",
        "commit refund",
    ),
}


@pytest.mark.parametrize("order", FOUR_ORDERS)
async def test_nameless_rows_reach_their_customer(
    webhooks_only: Harness, database_url: str, order: str
) -> None:
    """I3: a refund that is written with its charge, in whatever order the two transactions begin and commit, and
    whatever is resolved and derived between them, reaches the customer that only the charge names.
    """
    harness = webhooks_only
    writers: dict[str, OwnConnection] = {}
    transactions: dict[str, asyncpg.transaction.Transaction] = {}
    bodies = {
        "charge": event("charge.succeeded", charge()),
        # The charge itself is marked by neither: what is at stake is the refund's own way to its customer.
        "refund": event("refund.created", refund(), after=10),
    }
    try:
        for step in FOUR_ORDERS[order]:
            what = step.split()[-1]
            if step == "derive":
                await harness.engine.derive()
            elif step.startswith("begin"):
                await harness.receive(bodies[what])
                writers[what] = await connect(database_url, application_name=what)
                (claimed,) = await claim_events(writers[what], limit=1, lease=LEASE)
                reading = read_event(claimed, served_mode=None, confirms=False)
                reading.concerns = tuple(ref for ref in reading.concerns if ref.kind == what)
                reading.references.clear()
                transactions[what] = writers[what].transaction()
                await transactions[what].start()
                # Without what every batch does at its end, for which one would wait for the other.
                batch = _Batch()
                batch.add(reading)
                await _show(writers[what], batch)
            else:
                await transactions[what].commit()
    finally:
        for writer in writers.values():
            await writer.close()
    await harness.engine.derive()
    rows = await harness.fetch(
        "select stripe_customer_id, gross, refunded, net from billing.customer_revenue"
    )
    assert [("cus_1", 2000, 500, 1500)] == [tuple(row) for row in rows]


async def test_touch_during_a_resolution_is_not_swallowed(webhooks_only: Harness) -> None:
    """I3: a row that is written again while its customers are being marked is resolved again."""
    harness = webhooks_only
    await harness.apply(event("charge.succeeded", charge()), event("refund.created", refund(amount=500)))
    async with harness.pool.acquire() as first, harness.pool.acquire() as second:
        await harness.receive(event("refund.updated", refund(amount=700), after=20))
        await apply_batch(first, served_mode=None, confirms=False)
        resolving = first.transaction()
        await resolving.start()
        assert 1 == await resolve_batch(first)
        await harness.receive(event("refund.updated", refund(amount=900), after=30))
        applying = asyncio.create_task(apply_batch(second, served_mode=None, confirms=False))

        async def is_waiting() -> object:
            return applying.done() or await harness.fetchval(
                "select exists (select from pg_stat_activity where wait_event_type = 'Lock' "
                "and datname = current_database())"
            )

        await until(is_waiting, what="the second write")
        await resolving.commit()
        await applying
        await derive_batch(first, policy=Policy())
    await harness.engine.derive()
    assert 900 == await harness.fetchval("select refunded from billing.customer_revenue")


async def test_customers_marked_for_the_first_time_by_two_at_once(pool: Pool, webhooks_only: Harness) -> None:
    """I3: two transactions that both meet a customer for the first time both count: neither mark is lost."""
    harness = webhooks_only
    await harness.receive(
        *(event("charge.succeeded", charge(f"ch_{number}"), after=number) for number in range(40))
    )

    async def drain_some() -> None:
        async with pool.acquire() as connection:
            while await apply_batch(connection, served_mode=None, confirms=False, limit=3):
                await derive_batch(connection, policy=Policy())

    await asyncio.gather(*(drain_some() for _ in range(4)))
    await harness.engine.derive()
    assert 40 * 2000 == await harness.fetchval("select gross from billing.customer_revenue")
    assert (await harness.record())["stripe_customer_id"] == customer()["id"]
