"""A backfill fills an empty database from an account that has lived for long."""

from db.connection import Pool
from tests.truth import different_records
from tests.worker.account import attached, lived_account


async def test_everything_from_nothing(pool: Pool, database_url: str) -> None:
    """Every record equals the truth, exact, though no event was ever received."""
    async with attached(pool, database_url, lived_account(customers=170)) as account:
        ended = await account.scanned(await account.request())
        assert ("complete", None) == (ended["status"], ended["error"])
        await account.settle()
        different = await different_records(account.api.sandbox, database_url)
        assert not different, "\n".join(different[:20])
