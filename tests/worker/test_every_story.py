"""Every story, in both modes and in two accounts: played through the engine, each record equals the truth."""

import pytest

from db.connection import Pool
from sandbox import MIXED, NEW, STORIES, CustomerKey, ExpectedUsage, Sandbox, create_api
from sandbox.objects import Meter
from tests.harness import Api, Harness, open_harness
from tests.truth import assert_true

CONNECTED = "acct_1SandboxEast"
APPLIED_AT_ONCE = 400


async def read_usage(harness: Harness) -> dict[CustomerKey, tuple[ExpectedUsage, ...]]:
    """What was read of usage, in the shape of the truth."""
    read: dict[CustomerKey, tuple[ExpectedUsage, ...]] = {}
    for row in await harness.fetch(
        "select * from billing.customer_usage order by stripe_subscription_id, meter_id"
    ):
        key = CustomerKey(row["account_id"], row["live_mode"], row["stripe_customer_id"])
        names = ("stripe_subscription_id", "meter_id", "event_name", "period_start", "period_end")
        usage = ExpectedUsage(
            **{name: row[name] for name in names},
            value=int(row["value"]),
            expected_charge=row["expected_charge"],
            currency=row["currency"],
        )
        read[key] = (*read.get(key, ()), usage)
    return read


@pytest.mark.parametrize(
    ("live_mode", "api_key", "shapes"),
    [(False, "sk_test_every_story", MIXED), (True, "sk_live_every_story", NEW)],
    ids=["test", "live"],
)
async def test_every_story_ends_in_truth(
    pool: Pool, database_url: str, live_mode: bool, api_key: str, shapes: tuple[str, ...]
) -> None:
    """One half in our own account and one in a connected one, which change places with the mode: field by field."""
    sandbox = Sandbox(seed=17, live_mode=live_mode, event_versions=shapes)
    names = list(STORIES)
    sandbox.play(names[live_mode::2])
    sandbox.play(names[not live_mode :: 2], account_id=CONNECTED)
    events = [event for event in sandbox.run() if event.live_mode == live_mode]
    for account_id, _, customer_id in sandbox.usage():
        account = sandbox.account(account_id)
        for meter in account.shelves["billing.meter"].rows:
            assert isinstance(meter, Meter)
            account.metering.use(account.customer(customer_id), meter, 7)
    async with open_harness(
        pool, database_url, api=Api(create_api(sandbox, [api_key])), api_key=api_key
    ) as harness:
        for first in range(0, len(events), APPLIED_AT_ONCE):
            await harness.apply(*events[first : first + APPLIED_AT_ONCE])
        await harness.settle()
        truth = {key: known for key, known in sandbox.truth().items() if known.live_mode == live_mode}
        await assert_true(harness.settings.database_url, truth)
        assert {"", CONNECTED} <= {account_id for account_id, _, _ in truth}
        # Usage is no part of the record: it is read when its time has come.
        for _ in range(3):
            await harness.execute("update sync.usage set due_at = now() where due_at < 'infinity'")
            await harness.engine.sweep_bulk()
        usage = sandbox.usage()
        assert usage == await read_usage(harness)
        assert {7} == {row.value for rows in usage.values() for row in rows}
