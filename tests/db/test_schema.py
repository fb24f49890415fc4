"""The dump that other tests compare shows every difference between two schemas."""

import asyncpg

from tests.db.schema import schema_of


async def test_dump_shows_every_kind_of_change(empty_database_url: str) -> None:
    """A column, a constraint, a comment and a grant each change the text; the same schema gives the same text."""
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute("create table ledger (amount bigint)")
        seen = [schema_of(empty_database_url)]
        assert seen[0] == schema_of(empty_database_url)
        for change in (
            "alter table ledger add column currency text",
            "alter table ledger add constraint amount_is_positive check (amount > 0)",
            "comment on column ledger.amount is 'minor units'",
            "grant select on ledger to public",
        ):
            await connection.execute(change)
            seen.append(schema_of(empty_database_url))
    finally:
        await connection.close()
    assert len(seen) == len(set(seen))
