"""Migrations: safe for several at once, and clear when they fail."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from billing.record import customer_uid
from db.connection import NotUtf8, OwnConnection
from db.migrate import MIGRATIONS, READERS, MigrationError, migrate, readers_to_create, told
from db.sync.status import require_migrated
from tests.cli.command import subledger
from tests.conftest import Services
from tests.databases import at_database


def write_migrations(directory: Path, count: int) -> None:
    for number in range(1, count + 1):
        statements = f"create table step_{number} (id int); select pg_sleep(0.05);"
        directory.joinpath(f"000{number}_step.sql").write_text(
            f"-- migrate:up\n{statements}\n-- migrate:down\n"
        )


async def test_several_at_once_take_turns(empty_database_url: str, tmp_path: Path) -> None:
    """Five processes that start together apply each migration once, and none of them fails."""
    write_migrations(tmp_path, 3)
    runs = [asyncio.to_thread(migrate, empty_database_url, migrations=tmp_path) for _ in range(5)]
    applied = [names for names in await asyncio.gather(*runs) if names]
    assert [["0001_step.sql", "0002_step.sql", "0003_step.sql"]] == applied


async def test_second_run_changes_nothing(empty_database_url: str, tmp_path: Path) -> None:
    """A database that has a migration does not get it again, and gets the one that is new."""
    write_migrations(tmp_path, 1)
    assert ["0001_step.sql"] == migrate(empty_database_url, migrations=tmp_path)
    assert [] == migrate(empty_database_url, migrations=tmp_path)
    write_migrations(tmp_path, 2)
    assert ["0002_step.sql"] == migrate(empty_database_url, migrations=tmp_path)


async def test_failed_migration_leaves_nothing_and_says_why(empty_database_url: str, tmp_path: Path) -> None:
    """A migration is one transaction: the half that worked is taken back, and the message names the fault."""
    bad = "-- migrate:up\ncreate table half (id int);\ncreate tabel other (id int);\n-- migrate:down\n"
    tmp_path.joinpath("0001_bad.sql").write_text(bad)
    with pytest.raises(MigrationError, match="syntax error"):
        migrate(empty_database_url, migrations=tmp_path)
    connection = await asyncpg.connect(empty_database_url)
    try:
        assert await connection.fetchval("select to_regclass('half')") is None
    finally:
        await connection.close()


async def test_role_whose_statements_have_a_limit(empty_database_url: str, tmp_path: Path) -> None:
    """I12: a migration may take as long as it takes; where no transaction can say so, the message says what to do."""
    url = f"{empty_database_url}&options=-c%20statement_timeout%3D600s"
    made = "-- migrate:up\ncreate table made as select current_setting('statement_timeout') as limit_;\n"
    tmp_path.joinpath("0001_made.sql").write_text(f"{made}-- migrate:down\n")
    assert ["0001_made.sql"] == await asyncio.to_thread(migrate, url, migrations=tmp_path)
    connection = await asyncpg.connect(empty_database_url)
    assert "0" == await connection.fetchval("select limit_ from made")
    await connection.close()
    late = "do $$ begin raise exception 'canceling statement due to statement timeout'; end $$;\n"
    tmp_path.joinpath("0002_index.sql").write_text(
        f"-- migrate:up transaction:false\n{late}-- migrate:down transaction:false\n"
    )
    with pytest.raises(MigrationError, match="set statement_timeout = 0` run for the role"):
        await asyncio.to_thread(migrate, url, migrations=tmp_path)


async def test_role_that_reads_backslashes_otherwise(empty_database_url: str) -> None:
    """Where standard_conforming_strings is off by default, the schema is made all the same, and a service that writes
    identities in such a session gives the uids that records have.
    """
    url = f"{empty_database_url}&options=-c%20standard_conforming_strings%3Doff"
    applied = await asyncio.to_thread(migrate, url)
    assert sorted(file.name for file in MIGRATIONS.glob("*.sql")) == applied
    connection = await asyncpg.connect(url)
    try:
        assert "off" == await connection.fetchval("show standard_conforming_strings")
        assert customer_uid("", False, "cus_1") == await connection.fetchval(
            "insert into billing.identities (live_mode, stripe_customer_id) values (false, 'cus_1') returning uid"
        )
    finally:
        await connection.close()


async def test_database_that_is_not_utf8_is_refused(empty_database_url: str) -> None:
    """What Stripe sends may not fit in it: nothing is done, and one sentence says what to do instead."""
    name = f"{urlsplit(empty_database_url).path[1:]}_latin"
    administrator = await asyncpg.connect(empty_database_url)
    try:
        await administrator.execute(f"create database {name} encoding 'LATIN1' locale 'C' template template0")
        latin = at_database(empty_database_url, name)
        with pytest.raises(MigrationError, match=r"encoded in LATIN1.*encoding 'UTF8' template template0"):
            migrate(latin)
        connection = await asyncpg.connect(latin)
        try:
            assert await connection.fetchval("select to_regclass('subledger_migrations')") is None
            with pytest.raises(NotUtf8, match="encoded in LATIN1"):
                await require_migrated(connection)
        finally:
            await connection.close()
    finally:
        await administrator.execute(f"drop database if exists {name} with (force)")
        await administrator.close()


async def test_database_from_before_the_first_release_is_refused(empty_database_url: str) -> None:
    """Its migrations had other numbers: nothing of it is touched, and the message says how to start afresh."""
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute(
            "create table subledger_migrations (version varchar primary key); create schema sync; "
            "insert into subledger_migrations values ('20261122000001'), ('20261122000002')"
        )
        with pytest.raises(MigrationError, match="before its first release") as caught:
            await asyncio.to_thread(migrate, empty_database_url)
        assert "make clean" in str(caught.value)
        assert ["20261122000001", "20261122000002"] == [
            row[0]
            for row in await connection.fetch("select version from subledger_migrations order by version")
        ]
        assert [] == await connection.fetch(
            "select from pg_class where relnamespace = 'sync'::regnamespace "
            "union all select from pg_namespace where nspname in ('stripe', 'billing')"
        )
    finally:
        await connection.close()


async def test_errors_hide_the_password(empty_database_url: str, tmp_path: Path) -> None:
    """Error messages leave the password out."""
    write_migrations(tmp_path, 1)
    with pytest.raises(MigrationError, match="no_such_database") as caught:
        migrate(at_database(empty_database_url, "no_such_database"), migrations=tmp_path)
    password = empty_database_url.split(":")[2].split("@")[0]
    assert password not in str(caught.value)
    with pytest.raises(MigrationError, match=r"dial tcp 127\.0\.0\.1:1: connect: connection refused"):
        migrate("postgresql://u:p@127.0.0.1:1/d", migrations=tmp_path)  # "tc****" would tell it


@pytest.fixture
async def administrator(servers: Services) -> AsyncIterator[OwnConnection]:
    """A connection to a server on which nobody has created the readers' roles: meanwhile they have other names."""
    connection = await asyncpg.connect(servers.postgres_url)
    names = {reader: f"{reader}_of_others" for reader in READERS}
    for reader, other in names.items():
        await connection.execute(
            f"do $$ begin create role {reader}; exception when duplicate_object then end $$"
        )
        await connection.execute(f"alter role {reader} rename to {other}")
    await connection.execute("create role migrates login createdb password 'of-migrates'")
    yield connection
    await connection.execute("drop database if exists of_migrates with (force)")
    for reader, other in names.items():
        await connection.execute(f"drop role if exists {reader}")
        await connection.execute(f"alter role {other} rename to {reader}")
    await connection.execute("drop role migrates")
    await connection.close()


async def test_readers_that_could_not_be_created(administrator: OwnConnection, servers: Services) -> None:
    """If the migrating role may not create roles, `migrate` says what an administrator has to do; run again after that,
    it gives them their rights and has nothing more to say.
    """
    await administrator.execute("create database of_migrates owner migrates")
    server = urlsplit(at_database(servers.postgres_url, "of_migrates"))
    url = urlunsplit(server._replace(netloc=f"migrates:of-migrates@{server.hostname}:{server.port}"))
    first = await subledger(url, "migrate", "--json")
    assert (0, 1) == (first.code, len(first.err.splitlines()))
    said = json.loads(first.out)
    assert ["billing_raw", "billing_reader"] == said["roles_to_create"]
    assert sorted(file.name for file in MIGRATIONS.glob("*.sql")) == said["applied"]
    creation = "create role billing_raw nologin; create role billing_reader nologin;"
    assert f"have an administrator run `{creation}`" in first.err
    await administrator.execute(creation)
    assert [] == await asyncio.to_thread(readers_to_create, url)
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval(
            "select has_table_privilege('billing_reader', 'billing.customers', 'select') "
            "and has_table_privilege('billing_raw', 'stripe.customers', 'select')"
        )
    finally:
        await connection.close()


def test_what_was_applied_is_one_line() -> None:
    """An upgrade's few migrations by name; of a new database's many the first and the last."""
    names = [f"000{n}_x.sql" for n in range(1, 6)]
    assert "Applied 1 migration: 0001_x.sql" == told(names[:1])
    assert "Applied 3 migrations: 0001_x.sql, 0002_x.sql, 0003_x.sql" == told(names[:3])
    assert "Applied 5 migrations: 0001_x.sql to 0005_x.sql" == told(names)


BEFORE_THE_FIRST_RELEASE = {"0008", "0009", "0019", "0045"}
"""Those that take something away; nobody runs the version before them."""
TAKES_AWAY = re.compile(
    r"\bdrop\s+(table|view|column|constraint|function|type|schema|sequence)\b|\brename\b|\bset\s+not\s+null\b"
    r"|\balter\s+column\s+\w+\s+(set\s+data\s+)?type\b|\bdrop\s+not\s+null\b",
    re.IGNORECASE,
)


def test_migrations_only_add() -> None:
    """The version before runs on the newer schema: nothing that it reads, writes or calls goes away or gets another
    type. What must go is no longer used in one release, and dropped in the next one: then it is named above.
    """
    found = set()
    for path in sorted(MIGRATIONS.glob("*.sql")):
        up = path.read_text().partition("-- migrate:down")[0]
        code = re.sub(r"--.*|'(?:[^']|'')*'", "", up)
        if TAKES_AWAY.search(code):
            found.add(path.name[:4])
    assert BEFORE_THE_FIRST_RELEASE == found
