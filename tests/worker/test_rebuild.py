"""Rebuild: every record derived again from the mirror, and equal to the one that grew."""

import random

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.record import Policy
from db.connection import Pool, connect
from sandbox import MIXED, NEW, STORIES, Sandbox, create_api
from tests.harness import API_KEY, Api, Harness, customer, event, open_harness, subscription
from tests.worker.live.test_rederive import every_row
from worker.rebuild import Progress, RebuildBusy, rebuild, rebuilding_alone

POLICY = Policy()


class CutShortError(Exception):
    """The process that rebuilds dies here."""


async def run(harness: Harness, *, batch: int = 500, dies_after: int | None = None) -> list[Progress]:
    """Rebuild, perhaps only so many customers; what was said about its progress."""
    said: list[Progress] = []

    def progressed(progress: Progress) -> None:
        said.append(progress)
        if dies_after is not None and progress.derived >= dies_after:
            raise CutShortError

    connection = await connect(harness.settings.database_url, application_name="rebuild")
    try:
        done = await rebuild(connection, policy=POLICY, progressed=progressed, batch=batch)
        assert done.resumed == (said[0].derived > 0)
    finally:
        await connection.close()
    return said


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), shuffled=st.booleans(), mixed=st.booleans(), confirms=st.booleans())
async def test_rebuild_equals_what_grew(
    pool: Pool, database_url: str, seed: int, shuffled: bool, mixed: bool, confirms: bool
) -> None:
    """A19, A20: whatever stories were lived, in whatever order their events came, in old or new shapes, confirmed or
    not: rebuilt, every row is what it was, byte for byte, `change` and `updated_at` included.
    """
    dice = random.Random(seed)  # noqa: S311 - not a secret
    sandbox = Sandbox(seed=seed, event_versions=MIXED if mixed else NEW)
    sandbox.play(dice.sample(sorted(STORIES), 8))
    events = sandbox.run()
    if shuffled:
        dice.shuffle(events)
    async with pool.acquire() as connection:
        await connection.execute(CLEAN)
    async with open_harness(
        pool,
        database_url,
        api=Api(create_api(sandbox, [API_KEY])),
        api_key=API_KEY if confirms else None,
    ) as harness:
        for first in range(0, len(events), 30):
            await harness.apply(*events[first : first + 30])
        if confirms:
            await harness.settle()
        else:
            await harness.engine.derive()
        grown = await every_row(harness)
        said = await run(harness, batch=3)
        assert grown == await every_row(harness)
        last = said[-1]
        assert (len(grown["customers"]), last.total, 0) == (last.derived, last.derived, last.changed)


CLEAN = """
do $$
declare name text;
begin
  for name in
    select c.oid::regclass from pg_class c
    where c.relkind = 'r' and c.relnamespace in ('sync'::regnamespace, 'stripe'::regnamespace, 'billing'::regnamespace)
  loop
    execute 'truncate ' || name || ' cascade';
  end loop;
  perform sync.keep_one_history();
end $$
"""


async def test_rebuild_mends_what_is_wrong_and_that_only(webhooks_only: Harness) -> None:
    """Spoiled records come right again and are counted; their neighbours stay untouched."""
    harness = webhooks_only
    await harness.apply(*(event("customer.created", customer(f"cus_{n}", name=f"N{n}")) for n in range(1, 6)))
    right = {row["stripe_customer_id"]: row for row in await harness.fetch("select * from billing.customers")}
    await harness.execute("update billing.customers set name = 'spoiled' where stripe_customer_id = 'cus_2'")
    await harness.execute("delete from billing.customers where stripe_customer_id = 'cus_4'")
    said = await run(harness, batch=2)
    assert (5, 5, 2) == (said[-1].derived, said[-1].total, said[-1].changed)
    for row in await harness.fetch("select * from billing.customers"):
        customer_id = row["stripe_customer_id"]
        if customer_id in ("cus_2", "cus_4"):
            assert right[customer_id]["name"] == row["name"]
            assert row["change"] > max(each["change"] for each in right.values())
        else:
            assert right[customer_id] == row


async def test_rebuild_goes_on_where_it_was_cut_short(webhooks_only: Harness) -> None:
    """Killed after one customer, the next one takes only the rest, and counts all; the one after it starts over."""
    harness = webhooks_only
    await harness.apply(*(event("customer.created", customer(f"cus_{n}")) for n in range(1, 8)))
    before = {row[0]: row[1] for row in await harness.fetch("select customer_id, stale from sync.customers")}
    with pytest.raises(CutShortError):
        await run(harness, batch=1, dies_after=1)
    said = await run(harness, batch=2)
    assert [1, 3, 5, 7] == [progress.derived for progress in said]
    assert {progress.total for progress in said} == {7}
    after = {row[0]: row[1] for row in await harness.fetch("select customer_id, stale from sync.customers")}
    assert {customer_id: stale + 1 for customer_id, stale in before.items()} == after, "each exactly once"
    assert 7 == (await run(harness))[-1].derived
    assert 2 == await harness.fetchval("select count(*) from sync.rebuilds where finished_at is not null")


async def test_one_rebuild_at_a_time(webhooks_only: Harness) -> None:
    """A second one is refused, not doubled; when the first has ended, or died with its session, it may begin; and no
    reader keeps it from beginning (I12).
    """
    harness = webhooks_only
    await harness.apply(event("customer.created", customer()))
    first, second = [
        await connect(harness.settings.database_url, application_name="rebuild") for _ in range(2)
    ]
    async with rebuilding_alone(first):
        assert 1 == (await run(harness))[-1].derived
        with pytest.raises(RebuildBusy):
            async with rebuilding_alone(second):
                pass
    async with rebuilding_alone(second):
        pass
    await first.execute("set role billing_reader")
    await first.execute("select pg_advisory_lock($1)", 0x5B1EBD1D)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await first.execute("begin; lock table sync.rebuilds in access share mode")
    async with rebuilding_alone(second):
        pass
    await first.close()
    await second.close()


async def test_customer_that_fails_is_told_and_stops_nobody(webhooks_only: Harness) -> None:
    """One customer's facts break the rules' storage: the others are derived, and the count says that one was not."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", customer("cus_1")),
        event("customer.subscription.created", subscription("sub_1", "cus_1")),
        event("customer.created", customer("cus_2")),
    )
    # Stands for whatever Postgres may refuse in one record.
    await harness.execute(
        "alter table billing.customers add constraint broken check (status is distinct from 'past_due')"
    )
    await harness.execute("update stripe.subscriptions set status = 'past_due'")
    connection = await connect(harness.settings.database_url, application_name="rebuild")
    try:
        done = await rebuild(connection, policy=POLICY)
    finally:
        await connection.close()
    assert (2, 1) == (done.derived, done.failed)
    assert "broken" in await harness.fetchval("select error from sync.customers where customer_id = 'cus_1'")
