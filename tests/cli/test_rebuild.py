"""`subledger rebuild`, by the real command."""

from db.connection import Pool
from tests.cli.command import subledger
from tests.harness import customer, event, open_harness, subscription


async def test_rebuild_says_what_it_did(pool: Pool, database_url: str) -> None:
    """Correct records stay; a changed setting changes the customers that it concerns; both are counted."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(
            event("customer.created", customer("cus_1")),
            event("customer.created", customer("cus_2")),
            event("customer.subscription.created", subscription(status="past_due")),
        )
        done = await subledger(database_url, "rebuild")
        assert (0, "2 customers derived, 0 records changed\n") == (done.code, done.out)
        assert "2 of 2 customers derived" in done.err
        assert (await harness.record())["has_access"]
        stricter = await subledger(database_url, "rebuild", PAST_DUE_HAS_ACCESS="0")
        assert (0, "2 customers derived, 1 record changed\n") == (stricter.code, stricter.out)
        assert not (await harness.record())["has_access"]


async def test_rebuild_before_migration_is_refused(empty_database_url: str) -> None:
    """On a database without our tables it says what to do."""
    done = await subledger(empty_database_url, "rebuild")
    assert (1, "subledger: the database is not migrated: run `subledger migrate`\n") == (done.code, done.err)
