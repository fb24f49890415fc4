"""The record is a function of the mirror: derived again it is the same, and nothing shows that it was."""

import asyncpg

from db.connection import Pool
from sandbox import STORIES, Sandbox, create_api
from tests.harness import API_KEY, Api, Harness, customer, event, open_harness
from tests.truth import assert_true

TABLES = (
    "customers", "customer_products", "customer_revenue", "customer_mrr", "customer_features",
    "subscription_entities", "status_changes", "mrr_changes",
)  # fmt: skip

MARK_ALL = "update sync.customers set stale = stale + 1, stale_since = now()"


async def every_row(harness: Harness) -> dict[str, list[asyncpg.Record]]:
    """All that readers can see, and the problems, in an order of its own."""
    rows = {name: await harness.fetch(f"select * from billing.{name} t order by t::text") for name in TABLES}
    rows["problems"] = await harness.fetch("select * from sync.problems t order by t::text")
    return rows


async def test_derived_again_nothing_changes(pool: Pool, database_url: str) -> None:
    """I6, A19, A20: every record derived again, twice, changes no column, updated_at and change included; derived
    from the mirror alone, all records thrown away before, it equals the one that grew with the events.
    """
    sandbox = Sandbox(seed=3)
    sandbox.play(sorted(STORIES)[::4])
    events = sandbox.run()
    async with open_harness(pool, database_url, api=Api(create_api(sandbox, [API_KEY]))) as harness:
        for first in range(0, len(events), 40):
            await harness.apply(*events[first : first + 40])
        await harness.settle()
        truth = {key: known for key, known in sandbox.truth().items() if not known.live_mode}
        await assert_true(harness.settings.database_url, truth)

        grown = await every_row(harness)
        for _ in range(2):
            await harness.execute(MARK_ALL)
            assert len(truth) == await harness.engine.derive()
            assert grown == await every_row(harness)

        await harness.execute(
            "truncate billing.customers, billing.customer_products, billing.customer_revenue, billing.customer_mrr, "
            "billing.customer_features, billing.subscription_entities, billing.status_changes, billing.mrr_changes, "
            "sync.problems"
        )
        await harness.execute(MARK_ALL)
        await harness.engine.derive()
        rebuilt = await every_row(harness)
        # These count the changes of a row, or say when it was written: they may differ, and nothing else may.
        own = {
            "customers": ("change", "created_at", "updated_at"),
            "problems": ("first_seen_at",),
            "customer_products": (),
            "customer_revenue": (),
            "customer_mrr": (),
            "customer_features": (),
            "subscription_entities": (),
        }
        for name, left_out in own.items():
            assert _without(grown[name], left_out) == _without(rebuilt[name], left_out), name
        # What happened on the way is not in the mirror; where it led is.
        ends = (
            "select customer_uid, (array_agg(status_after order by id desc))[1] from billing.status_changes "
            "group by customer_uid"
        )
        assert {row["uid"]: row["status"] for row in rebuilt["customers"] if row["status"] is not None} == {
            row[0]: row[1] for row in await harness.fetch(ends)
        }
        assert all(row["exact"] for row in rebuilt["status_changes"])
        ends = (
            "select customer_uid, currency, (array_agg(mrr_after order by id desc))[1] from billing.mrr_changes "
            "group by 1, 2"
        )
        paying = {
            (row["customer_uid"], row["currency"]): row["mrr"]
            for row in rebuilt["customer_mrr"]
            if row["mrr"]
        }
        assert paying == {(row[0], row[1]): row[2] for row in await harness.fetch(ends) if row[2]}
        assert all(row["exact"] for row in rebuilt["mrr_changes"])


def _without(rows: list[asyncpg.Record], left_out: tuple[str, ...]) -> list[list[tuple[str, object]]]:
    kept = [[(name, value) for name, value in row.items() if name not in left_out] for row in rows]
    return sorted(kept, key=str)


async def test_flip_of_exact_alone_moves_change_only(harness: Harness) -> None:
    """I6: readers that poll by `change` see that a record has become exact, and updated_at stays."""
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    before = await harness.record()
    await harness.confirm()
    after = await harness.record()
    assert (False, True) == (before["exact"], after["exact"])
    assert after["change"] > before["change"]
    assert after["updated_at"] == before["updated_at"]
