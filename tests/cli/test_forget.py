"""`subledger forget`, by the real command."""

from db.connection import Pool
from tests.cli.command import subledger
from tests.harness import customer, event, open_harness


async def test_forget_asks_first_and_says_what_it_did(pool: Pool, database_url: str) -> None:
    """Without --yes and a terminal nothing is erased; with it the record is empty when the command ends."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(
            event("customer.created", customer(name="Anna", email="anna@example.com")),
            event("customer.created", customer("cus_2", email="same@example.com")),
            event("customer.created", customer("cus_3", email="same@example.com")),
        )
        refused = await subledger(database_url, "forget", "anna@example.com")
        assert 1 == refused.code
        assert "Anna" == (await harness.record())["name"]
        done = await subledger(database_url, "forget", "anna@example.com", "--yes")
        assert (0, "cus_1 is forgotten: 1 object and 1 event erased\n") == (done.code, done.out)
        record = await harness.record()
        assert (None, None) == (record["name"], record["email"])
        assert 0 == await harness.fetchval("select count(*) from sync.customers where stale > derived")

        gone = await subledger(database_url, "forget", "anna@example.com", "--yes")
        assert (1, True) == (gone.code, "no customer anna@example.com" in gone.err)
        several = await subledger(database_url, "forget", "same@example.com", "--yes")
        assert (1, True) == (several.code, "more than one customer" in several.err)
        again = await subledger(database_url, "forget", "cus_1", "--yes")
        assert (0, "cus_1 is forgotten: 1 object and 0 events erased\n") == (again.code, again.out)
