"""Migrations are safe on big tables: a company with a million customers migrates while they pay.

Every migration is applied to a database in which every table has rows, first while an open transaction has read all of
them, then alone.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from db.migrate import MIGRATIONS, MigrationError, migrate
from tests.db.schema import schema_of
from tests.system import until

CHECKED: dict[str, dict[str, str]] = {
    "billing.customer_revenue": {"net": "0"},
    "billing.mrr_changes": {"mrr_before": "0"},
    "billing.status_changes": {"status_after": "'active'", "source": "'event'"},
    "billing.joined_customers": {"main_stripe_customer_id": "'y'"},
    "sync.uid_claims": {"source": "'local'"},
    "sync.drift": {"what": "'differs'"},
    "sync.scans": {"purpose": "'audit'", "kinds": "'{customer}'"},
    "sync.scan_windows": {"high": "now() + interval '1 day'"},
}
"""Values that check constraints require."""

VALUES = {
    "text": "'x'",
    "bigint": "1",
    "integer": "1",
    "numeric": "1",
    "boolean": "true",
    "timestamp with time zone": "now()",
    "interval": "interval '1 day'",
    "uuid": "gen_random_uuid()",
    "jsonb": "'{}'",
    "json": "'{}'",
    "bytea": "'x'",
    "text[]": "'{}'",
}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a database consists of, by names and file numbers."""

    tables: dict[str, int]  # the file of its rows: another one after a rewrite
    indexes: dict[str, tuple[str, int]]  # its table, and its file
    columns: dict[str, bool]  # whether it may not be null
    checks: dict[str, bool]  # checks and references, and whether they have been validated


async def contents_of(connection: asyncpg.Connection) -> Contents:
    of = "c.relnamespace in (select oid from pg_namespace where nspname in ('sync', 'stripe', 'billing'))"
    tables = await connection.fetch(
        f"select c.oid::regclass::text, c.relfilenode from pg_class c where c.relkind = 'r' and {of}"
    )
    indexes = await connection.fetch(
        "select i.oid::regclass::text, c.oid::regclass::text, i.relfilenode "
        f"from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class c on c.oid = x.indrelid where {of}"
    )
    columns = await connection.fetch(
        "select c.oid::regclass::text || '.' || a.attname, a.attnotnull from pg_attribute a "
        f"join pg_class c on c.oid = a.attrelid where a.attnum > 0 and not a.attisdropped and c.relkind = 'r' and {of}"
    )
    checks = await connection.fetch(
        "select c.oid::regclass::text || '.' || n.conname, n.convalidated from pg_constraint n "
        f"join pg_class c on c.oid = n.conrelid where n.contype in ('c', 'f') and {of}"
    )
    return Contents(
        tables={row[0]: row[1] for row in tables},
        indexes={row[0]: (row[1], row[2]) for row in indexes},
        columns={row[0]: row[1] for row in columns},
        checks={row[0]: row[1] for row in checks},
    )


async def put_rows(connection: asyncpg.Connection, tables: list[str]) -> None:
    """One row into each table that has none, whatever it refers to."""
    await connection.execute("set session_replication_role = replica")
    for table in tables:
        if await connection.fetchval(f"select exists (select from {table})"):
            continue
        needed = await connection.fetch(
            "select attname, format_type(atttypid, null) as type from pg_attribute "
            "where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attnotnull and not atthasdef "
            "and attidentity = ''",
            table,
        )
        values = {row["attname"]: VALUES[row["type"]] for row in needed} | CHECKED.get(table, {})
        await connection.execute(
            f"insert into {table} ({', '.join(values)}) values ({', '.join(values.values())})"
            if values
            else f"insert into {table} default values"
        )


def harm(name: str, text: str, before: Contents, after: Contents) -> list[str]:
    """What a migration did to tables with rows that would block other sessions for long if there were many."""
    kept = before.tables.keys() & after.tables.keys()
    found = [f"{table} was rewritten" for table in kept if before.tables[table] != after.tables[table]]
    alone = "transaction:false" in text and "concurrently" in text
    for index, (table, file) in after.indexes.items():
        if table in kept and index not in before.indexes and not alone:
            found.append(
                f"{index} was built while writers of {table} waited: concurrently, in its own migration"
            )
        if index in before.indexes and before.indexes[index][1] != file:
            found.append(f"{index} was rebuilt")
    for column, must in after.columns.items():
        if must and before.columns.get(column) is False:
            found.append(f"{column} was scanned for nulls")
    for check, validated in after.checks.items():
        if validated and check not in before.checks and check.rpartition(".")[0] in kept:
            found.append(
                f"{check} was checked against all rows: add it `not valid`, validate it in the next migration"
            )
    return [f"{name}: {each}" for each in found]


LIKE_FUTURE_ONES = {
    "9998_column.sql": "-- migrate:up\nalter table sync.events add column note text;\n-- migrate:down\n",
    "9999_index.sql": (
        "-- migrate:up transaction:false\n"
        "create index concurrently events_note on sync.events (note);\n-- migrate:down\n"
    ),
}
"""The first migrations only make new tables. These two do to tables with rows what later ones will."""


async def test_migrations_are_safe_on_big_tables(
    empty_database_url: str, database_url: str, tmp_path: Path
) -> None:
    """No migration rewrites a table, or builds an index or scans all rows while others wait; while a session holds a
    lock that it needs, it fails soon, says what to do, and has done nothing; tried again, it succeeds; and in the end
    the schema is the one that migrations make of an empty database.
    """
    found: list[str] = []
    refused: list[str] = []
    connection = await asyncpg.connect(empty_database_url)
    reader = await asyncpg.connect(empty_database_url)
    try:
        migrations = {file.name: file.read_text() for file in MIGRATIONS.glob("*.sql")} | LIKE_FUTURE_ONES
        for name, text in sorted(migrations.items()):
            tmp_path.joinpath(name).write_text(text)
            before = await contents_of(connection)
            await put_rows(connection, sorted(before.tables))
            if "transaction:false" in text:
                async with reading(reader, before):
                    waiting = asyncio.create_task(
                        asyncio.to_thread(migrate, empty_database_url, migrations=tmp_path)
                    )
                    await index_is_changed(connection)
                    await let_a_writer_pass(connection, before)
                assert [name] == await waiting
            else:
                async with reading(reader, before):
                    said = await try_to_migrate(empty_database_url, tmp_path)
                if said is not None:
                    refused.append(name)
                    assert "End the transactions that are long open" in said
                    assert before == await contents_of(connection), "half of it was done"
                    assert [name] == await asyncio.to_thread(migrate, empty_database_url, migrations=tmp_path)
            found += harm(name, text, before, await contents_of(connection))
        unfinished = await connection.fetch("select indexrelid::regclass from pg_index where not indisvalid")
    finally:
        await reader.close()
        await connection.close()
    assert [] == found
    assert [] == unfinished
    assert refused, "no migration met a lock"
    await asyncio.to_thread(migrate, database_url, migrations=tmp_path)
    assert schema_of(database_url) == schema_of(empty_database_url)


@asynccontextmanager
async def reading(reader: asyncpg.Connection, of: Contents) -> AsyncIterator[None]:
    """A transaction has read every table and stays open."""
    async with reader.transaction(isolation="repeatable_read"):
        for table in of.tables:
            await reader.execute(f"select from {table} limit 1")
        yield


INDEX_IS_CHANGED = """
select exists (select from pg_stat_progress_create_index) or exists (
  select from pg_stat_activity
  where datname = current_database() and query ilike '%drop index concurrently%' and wait_event = 'virtualxid'
)
"""


async def index_is_changed(connection: asyncpg.Connection) -> None:
    """Wait until one is being built, or dropped and its readers are waited for."""
    await until(lambda: connection.fetchval(INDEX_IS_CHANGED), what="an index to be built or dropped")


async def let_a_writer_pass(connection: asyncpg.Connection, of: Contents) -> None:
    """Take the locks that an insert or update of each table takes, or fail."""
    async with connection.transaction():
        await connection.execute("set local lock_timeout = '1s'")
        for table in of.tables:
            await connection.execute(f"lock table {table} in row exclusive mode")


async def try_to_migrate(database_url: str, migrations: Path) -> str | None:
    """Migrate with little patience; returns the error message where that failed, else None."""
    try:
        await asyncio.to_thread(migrate, database_url, migrations=migrations, lock_timeout_seconds=0.1)
    except MigrationError as error:
        return str(error)
    return None


HARMFUL = {
    "alter table sync.big alter column number type text": "was rewritten",
    "alter table sync.big add column drawn float8 default random()": "was rewritten",
    "create index big_number on sync.big (number)": "was built while writers of",
    "alter table sync.big add constraint one unique (number)": "was built while writers of",
    "alter table sync.big alter column number set not null": "was scanned for nulls",
    "alter table sync.big add constraint positive check (number > 0)": "was checked against all rows",
    "reindex table sync.big": "was rebuilt",
}


@pytest.mark.parametrize("statement", HARMFUL)
async def test_harm_is_seen(empty_database_url: str, statement: str) -> None:
    """The test above can fail: it sees each way to block other sessions."""
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute("create schema sync; create schema stripe; create schema billing")
        await connection.execute("create table sync.big (id bigint primary key, number bigint)")
        await connection.execute("insert into sync.big values (1, 1)")
        before = await contents_of(connection)
        await connection.execute(statement)
        (seen, *_) = harm("0001_bad.sql", statement, before, await contents_of(connection))
        assert HARMFUL[statement] in seen
    finally:
        await connection.close()


async def test_index_that_was_left_unfinished_is_built_by_the_next_run(
    empty_database_url: str, tmp_path: Path
) -> None:
    """Killed half-way through an index: the remains occupy its name, and the next run removes them."""
    tmp_path.joinpath("0001_table.sql").write_text(
        "-- migrate:up\ncreate schema sync; create table sync.big as select 1 as number;\n-- migrate:down\n"
    )
    migrate(empty_database_url, migrations=tmp_path)
    tmp_path.joinpath("0002_index.sql").write_text(
        "-- migrate:up transaction:false\ncreate index concurrently big_number on sync.big (number);\n-- migrate:down\n"
    )
    connection = await asyncpg.connect(empty_database_url)
    reader = await asyncpg.connect(empty_database_url)
    try:
        async with reader.transaction(isolation="repeatable_read"):
            await reader.execute("select from sync.big")
            await connection.execute("set lock_timeout = '100ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await connection.execute("create index concurrently big_number on sync.big (number)")
        index = "select indisvalid from pg_index where indexrelid = 'sync.big_number'::regclass"
        assert False is await connection.fetchval(index)
        assert ["0002_index.sql"] == await asyncio.to_thread(migrate, empty_database_url, migrations=tmp_path)
        assert True is await connection.fetchval(index)
    finally:
        await reader.close()
        await connection.close()
