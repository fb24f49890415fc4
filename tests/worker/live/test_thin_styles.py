"""An endpoint may get snapshot events, thin ones or both: the records are the same."""

from collections.abc import AsyncIterator

import pytest

from db.connection import Pool, create_pool
from sandbox import STORIES, STYLES, Sandbox, as_sent, create_api
from tests.databases import empty_tables
from tests.harness import Api, open_harness
from tests.truth import differences, read_records

API_KEY = "sk_test_styles"
CONNECTED = "acct_1SandboxWest"
STORIES_PLAYED = 36
APPLIED_AT_ONCE = 150
KNOWN_FROM = """
insert into sync.accounts (account_id, live_mode, cursor_at, events_since)
select account_id, false, to_timestamp($1), to_timestamp($1) from unnest(array['', $2]) account_id
"""
DETOUR = "were not lived through"
CHANCE = 1.06
RECORDS = """
select to_jsonb(c) - array['change', 'created_at', 'updated_at']
from billing.customers c
order by account_id, stripe_customer_id
"""


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Plans for each execution, as a worker does while tables are small: in which order objects are read, and so how
    many requests that takes, depends on plans.
    """
    async with await create_pool(
        database_url, min_size=1, max_size=10, application_name="subledger-test"
    ) as pool:
        yield pool


async def test_all_styles_give_equal_records(pool: Pool, database_url: str) -> None:
    """I2, I3: one account, and one connected to it, told in three styles: every record is true, exact and the same.
    Thin events beside their twins cost no more requests, and alone at most one for two objects; the twins of all
    events, which a fill of gaps brings afterwards, cost none.
    """
    sandbox = Sandbox(seed=23, event_retention_seconds=10**9)
    began = sandbox.now
    names = list(STORIES)[:: len(STORIES) // STORIES_PLAYED]
    sandbox.play(names[::2])
    sandbox.play(names[1::2], account_id=CONNECTED)
    events = [event for event in sandbox.run() if not event.live_mode]
    truth = {key: known for key, known in sandbox.truth().items() if not known.live_mode}
    calls, records = {}, {}
    objects = 0
    for style in STYLES:
        api = Api(create_api(sandbox, [API_KEY]))
        async with pool.acquire() as connection:
            await empty_tables(connection)
            await connection.execute(KNOWN_FROM, began - 1, CONNECTED)
        async with open_harness(pool, database_url, api=api, api_key=API_KEY) as harness:
            for first in range(0, len(events), APPLIED_AT_ONCE):
                told = events[first : first + APPLIED_AT_ONCE]
                await harness.apply(*[each for event in told for each in as_sent(event, style)])
            await harness.settle()
            calls[style] = len(api.asked)
            objects = await harness.fetchval("select count(*) from sync.objects")
            await harness.engine.fill_gaps()
            await harness.settle()
            states = await harness.fetch("select state, type like 'v1.%' as thin from sync.events")
            assert "parked" not in {row["state"] for row in states}
            assert len(events) == sum(not row["thin"] for row in states), (
                "the fill of gaps has brought the others"
            )
            assert (style != "snapshot") == any(row["thin"] for row in states)
            assert {"/v1/events"} == set(api.asked[calls[style] :])
            wrong = differences(truth, await read_records(database_url))
            # Whose a new subscription is, nobody knows before its thin event is read: until then an older one counts.
            assert [] == [line for line in wrong if style == "snapshot" or DETOUR not in line]
            records[style] = await harness.fetch(RECORDS)
    assert len(records["snapshot"]) > STORIES_PLAYED
    assert records["snapshot"] == records["thin"] == records["both"]
    # Which of two objects is read first is decided by chance; and one of them may bring the other.
    assert calls["both"] <= CHANCE * calls["snapshot"], calls
    # Where a new object lies in a list, its thin event says; but not inside which other one it comes.
    assert calls["thin"] <= objects / 2, calls
