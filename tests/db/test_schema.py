"""schema.sql is what the migrations make, no more and no less."""

from __future__ import annotations

import asyncpg

from db.migrate import SCHEMA
from tests.db.schema import schema_of


async def test_migrations_make_exactly_the_committed_schema(database_url: str) -> None:
    """Who reads schema.sql reads the truth; `make schema` writes it anew after a migration."""
    assert SCHEMA.read_text() == schema_of(database_url)


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
