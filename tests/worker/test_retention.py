"""Retention: what is old, applied and cited nowhere leaves the inbox; everything else stays."""

from datetime import UTC, timedelta
from uuid import UUID

import pytest

from db.connection import Pool
from db.records.feature_usage import select_feature_usage
from db.records.moved import take_turn
from db.sync.inbox import record_events
from runtime.envelope import read_envelope
from runtime.settings import Settings, SettingsError
from tests.harness import customer, event, open_harness, subscription
from worker import retention as retention_module
from worker.retention import REST_SECONDS, WHOLE_SECONDS, Retention, UsageRetention

AGE = timedelta(days=40)
OLD = """
insert into sync.events (account_id, live_mode, event_id, type, payload, state, received_at, applied_at)
select '', false, 'evt_' || name, '', '', state, now() - age, now() - applied
from (values
  ('old', 'applied', interval '41 days', interval '41 days'),
  ('ignored', 'ignored', interval '41 days', interval '41 days'),
  ('pending', 'pending', interval '41 days', null),
  ('parked', 'parked', interval '41 days', interval '41 days'),
  ('quarantined', 'quarantined', interval '41 days', interval '41 days'),
  ('cited', 'applied', interval '41 days', interval '41 days'),
  ('late', 'applied', interval '41 days', interval '1 day'),
  ('young', 'applied', interval '39 days', interval '39 days')
) as given (name, state, age, applied)
"""
TWINS = """
insert into sync.twins (account_id, live_mode, event_id, twin_id)
select '', false, 'evt_' || thin, 'evt_' || snapshot
from (values ('old', 'ignored'), ('cited', 'never_came'), ('late', 'old')) as given (thin, snapshot)
"""
CITE = """
insert into billing.status_changes (customer_uid, status_after, changed_at, exact, event_id, source)
values (gen_random_uuid(), 'active', now(), true, 'evt_cited', 'event')
"""


async def told(pool: Pool) -> set[str]:
    """The thin events whose twins are remembered."""
    return {row[0].removeprefix("evt_") for row in await pool.fetch("select event_id from sync.twins")}


async def names(pool: Pool) -> set[str]:
    return {row[0].removeprefix("evt_") for row in await pool.fetch("select event_id from sync.events")}


async def test_what_leaves_and_what_stays(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In batches, and then a rest; what was cited or parked is looked at again the next day.

    A thin event and its snapshot are remembered as twins until the second of them has left.
    """
    monkeypatch.setattr(retention_module, "BATCH", 2)
    await pool.execute(OLD)
    await pool.execute(TWINS)
    await cite(pool)
    now = 0.0
    retention = Retention(pool, age=AGE, clock=lambda: now)
    left = [await retention.turn() for _ in range(5)]
    assert (2, 2) == (left[0], sum(left))
    stays = {"pending", "parked", "quarantined", "cited", "late", "young"}
    assert stays == await names(pool)
    assert {"cited", "late"} == await told(pool)
    # It rests now; an hour later it goes on where it was, and a day later from the beginning.
    await pool.execute("update sync.events set state = 'applied' where event_id = 'evt_parked'")
    await pool.execute("delete from billing.status_changes")
    assert 0 == await retention.turn()
    now = REST_SECONDS
    assert 0 == await retention.turn()
    now = WHOLE_SECONDS
    assert 2 == sum([await retention.turn() for _ in range(5)])
    assert stays - {"parked", "cited"} == await names(pool)
    assert {"late"} == await told(pool)


async def test_i4_an_event_that_is_replayed_meanwhile_stays(pool: Pool) -> None:
    """I4: an event that is given back to be applied again, at the moment when it is old enough to leave, is not taken
    out of the inbox; and the others do not wait for it.
    """
    await pool.execute(OLD)
    await cite(pool)
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.execute("update sync.events set state = 'pending' where event_id = 'evt_old'")
            assert 1 == await Retention(pool, age=AGE).turn()
        assert "ignored" not in await names(pool)
        assert "pending" == await connection.fetchval(
            "select state from sync.events where event_id = 'evt_old'"
        )


async def cite(pool: Pool) -> None:
    await pool.execute(CITE)


async def test_nothing_leaves_unless_asked(pool: Pool) -> None:
    """Without RETENTION_DAYS the inbox keeps every event."""
    await pool.execute(OLD)
    assert 0 == await Retention(pool, age=None).turn()
    assert 8 == len(await names(pool))


async def test_i2_trimmed_event_that_comes_again(pool: Pool, database_url: str) -> None:
    """I2: what Stripe sends again after it was trimmed is applied again, and changes nothing of the record."""
    async with open_harness(pool, database_url) as room:
        began = event("customer.subscription.created", subscription(), event_id="evt_old_1")
        created = event("customer.created", customer(), event_id="evt_old_2")
        room.api.put(customer(), subscription())
        await room.receive(created, began)
        await room.settle()
        await room.receive(
            event("customer.subscription.updated", subscription(cancel_at_period_end=True), after=9)
        )
        room.api.put(subscription(cancel_at_period_end=True))
        await room.settle()
        before = dict(await room.record())
        changes = await room.fetch("select * from billing.status_changes order by id")
        assert before["exact"]
        await room.execute("delete from sync.events where event_id in ('evt_old_1', 'evt_old_2')")
        async with pool.acquire() as connection:
            bodies = [read_envelope(body, live_mode_default=False) for body in (created, began)]
            assert 2 == await record_events(connection, bodies)
        await room.settle()
        after = dict(await room.record())
        assert after.pop("change") >= before.pop("change")
        assert before == after
        assert changes == await room.fetch("select * from billing.status_changes order by id")


@pytest.mark.parametrize("days", ["30", "0", "-1", "forever"])
def test_days_too_few(days: str) -> None:
    """What Stripe may still send again is not to be forgotten: the variable and the reason are named."""
    with pytest.raises(SettingsError, match="RETENTION_DAYS must be a number of days, 31 or more"):
        Settings.from_env(
            {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h", "RETENTION_DAYS": days}
        )


USED = """
with someone (uid, began) as (
  values
    ('00000000-0000-0000-0000-000000000001'::uuid, date_trunc('month', now(), 'UTC') - interval '2 months 20 days'),
    ('00000000-0000-0000-0000-000000000002', null)
), record as (
  insert into billing.customers (uid, account_id, live_mode, stripe_customer_id, has_access, change)
  select uid, '', false, 'cus_' || right(uid::text, 1), true, nextval('billing.change') from someone
), bought as (
  insert into billing.customer_products (
    id, customer_uid, account_id, live_mode, stripe_customer_id, stripe_subscription_id, stripe_product_id, product_id,
    status, has_access, options, current_period_start, canceled, subscription_ids
  )
  select gen_random_uuid(), uid, '', false, 'cus_1', 'sub_1', 'prod', 'pro', 'active', true, '{"api": 100000}', began,
    false, '{}'
  from someone where began is not null
)
insert into billing.usage_minutes (customer_uid, feature_id, entity_id, minute, value)
select uid, 'api', entity,
  date_trunc('month', now(), 'UTC') - months * interval '1 month' + interval '11 days' + n * interval '1 minute', value
from someone
cross join (
  values (null, 13, 1), ('red', 13, 20), ('blue', 13, 300), (null, 3, 4000), ('red', 1, 50000)
) as used (entity, months, value)
cross join generate_series(0, 1) n
"""


async def test_old_use_is_kept_by_the_month(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was used long ago, and before the current period began, becomes one row a month; no balance and no sum
    changes, whoever used it. While another worker adds up, nothing happens, and nothing is passed over.
    """
    monkeypatch.setattr(retention_module, "MINUTES", 3)
    await pool.execute(USED)

    async def answers() -> list[object]:
        async with pool.acquire() as connection:
            usage = [await select_feature_usage(connection, UUID(int=number)) for number in (1, 2)]
        access = await pool.fetch("select * from billing.access order by customer_uid, feature_id, entity_id")
        return [usage, [tuple(row) for row in access]]

    before = await answers()
    now = 0.0
    assert 0 == await UsageRetention(pool, age=None).turn()
    retention = UsageRetention(pool, age=AGE, clock=lambda: now)
    async with pool.acquire() as connection, connection.transaction():
        assert await take_turn(connection)
        assert 0 == await retention.turn()
    assert [3, 3, 0] == [await retention.turn() for _ in range(3)]
    assert 8 == sum([await retention.turn() for _ in range(6)])
    assert before == await answers()
    rows = await pool.fetch("select customer_uid, minute, value from billing.usage_minutes")
    months = [row for row in rows if (row["minute"].astimezone(UTC).day, row["minute"].minute) == (1, 0)]
    # Of the second customer, who has no period, all but what is younger than AGE.
    assert [(1, 2), (1, 40), (1, 600), (2, 2), (2, 40), (2, 600), (2, 8000)] == sorted(
        (row["customer_uid"].int, row["value"]) for row in months
    )
    assert 20 - 14 + 7 == len(rows)
    now = WHOLE_SECONDS
    assert 0 == sum([await retention.turn() for _ in range(9)])
