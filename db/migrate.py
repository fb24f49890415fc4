"""The schema: brings a database to the newest migration."""

import asyncio
import os
import re
import subprocess
import sysconfig
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import asyncpg

from db.address import read_address, secrets_of
from db.connection import (
    ENCODING,
    NotUtf8,
    OwnConnection,
    PostgresAway,
    TransactionPooling,
    require_own_sessions,
)

T = TypeVar("T")

MIGRATIONS = Path(__file__).parent / "migrations"
# Other tools keep a `schema_migrations`, and a database may be shared.
MIGRATIONS_TABLE = "subledger_migrations"
TURN_TIMEOUT_SECONDS = 300
LOCK_TIMEOUT_SECONDS = 5
"""While a migration waits for a table's lock, every later session waits behind it: so it gives up soon."""

NAMED_MAX = 3
MASKED_IN_WORDS_FROM = 8
"""Characters of a password."""
_APPLIED = re.compile(r"^Applied: (\S+)", re.MULTILINE)


class MigrationError(Exception):
    """The database was not brought to the newest migration; the message is dbmate's, or a remedy."""


def migrate(
    database_url: str, *, migrations: Path = MIGRATIONS, lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS
) -> list[str]:
    """Apply the migrations that the database does not have; returns their file names, oldest first.

    Safe to call from several processes at once: they take turns by a lock in the database. Each migration is one
    transaction, which leaves nothing behind when it does not get a table's lock in time, or builds one index. The
    database itself must exist. Blocks until done: in a coroutine, call it in a thread. Raises MigrationError.
    """
    encoding = _asked(database_url, _encoding, otherwise="UTF8")
    if encoding != "UTF8":
        raise MigrationError(str(NotUtf8(encoding)))
    program = Path(sysconfig.get_path("scripts")) / "dbmate"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DBMATE_")}
    environment["DATABASE_URL"] = _url_for_dbmate(database_url)
    with TemporaryDirectory() as impatient:
        for file in migrations.glob("*.sql"):
            Path(impatient, file.name).write_text(_impatient(file.read_text(), lock_timeout_seconds))
        # dbmate's own lock, not one of ours: a transaction of ours would be idle for as long as dbmate works.
        arguments = [str(program), "--env-file", os.devnull, "--no-dump-schema"]
        arguments += ["--migrations-dir", impatient, "--migrations-table", MIGRATIONS_TABLE]
        arguments += ["--migration-lock", "--migration-lock-timeout", f"{TURN_TIMEOUT_SECONDS}s", "migrate"]
        try:
            output = _run(arguments, environment)
        except MigrationError as error:
            if "lock timeout" in str(error):
                raise MigrationError(
                    f"a migration waited {lock_timeout_seconds:g} s for a lock that another session holds, and gave up "
                    "so that nobody has to wait behind it. Nothing of it was done. End the transactions that are long "
                    f"open (pg_stat_activity shows xact_start), then migrate again. ({error})"
                ) from None
            if "statement timeout" in str(error):
                raise MigrationError(
                    "building an index took longer than this role, or the database, allows a statement: have "
                    "`alter role ... set statement_timeout = 0` run for the role of DATABASE_URL, migrate again, and "
                    f"then set it back. ({error})"
                ) from None
            if "already exists" not in str(error):
                raise
            if _asked(database_url, _has_unreleased_schema, otherwise=False):
                raise MigrationError(UNRELEASED) from None
            if not _asked(database_url, _remove_unfinished_indexes, otherwise=0):
                raise
            # An earlier run died while it built one; now the name is free.
            output = _run(arguments, environment)
    return _APPLIED.findall(output)


def told(applied: list[str]) -> str:
    """What `migrate` has applied, on one line: up to three by name, of more the first and the last."""
    if len(applied) <= NAMED_MAX:
        return f"Applied {len(applied)} migration{'' if len(applied) == 1 else 's'}: {', '.join(applied)}"
    return f"Applied {len(applied)} migrations: {applied[0]} to {applied[-1]}"


def _impatient(migration: str, lock_timeout_seconds: float) -> str:
    """A migration that gives up when it does not get a lock in time.

    The limit is set in the transaction and not on the connection, because a pooler passes no settings on. So is that it
    may take as long as it takes, whatever limit hosters give a role for its statements, and that a backslash in a
    string is nothing but one, whatever a role has by default. A migration that builds an index concurrently has no
    transaction: it waits for readers, and nobody waits for it.
    """
    limits = (
        f"-- migrate:up\nset local lock_timeout = {round(lock_timeout_seconds * 1000)};\n"
        "set local statement_timeout = 0;\nset local standard_conforming_strings = on;\n"
    )
    return migration.replace("-- migrate:up\n", limits, 1)


UNFINISHED_INDEXES = """
select format('drop index concurrently if exists %s', i.indexrelid::regclass)
from pg_index i
join pg_class c on c.oid = i.indexrelid
where not i.indisvalid
  and c.relnamespace in (select oid from pg_namespace where nspname in ('sync', 'stripe', 'billing'))
  and not exists (select from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)
"""
"""Indexes whose concurrent build was interrupted: nothing uses them, and their names are taken."""


async def _remove_unfinished_indexes(connection: OwnConnection) -> int:
    """Drop what is left of indexes that were being built; returns how many."""
    statements = [row[0] for row in await connection.fetch(UNFINISHED_INDEXES)]
    for statement in statements:
        await connection.execute(statement)
    return len(statements)


UNRELEASED = (
    "the schema of this database was made by a version of Subledger from before its first release, and is not brought "
    "forward. Nothing was done. Start with an empty database, which webhooks and `subledger backfill` fill again. "
    "Where `make up` made this one, `make clean` removes it (.subledger)."
)

HAS_UNRELEASED_SCHEMA = f"select exists (select from {MIGRATIONS_TABLE} where version like '20261122%')"
"""Migrations of that time were numbered by their date."""


async def _encoding(connection: OwnConnection) -> str:
    return str(await connection.fetchval(ENCODING))


async def _has_unreleased_schema(connection: OwnConnection) -> bool:
    return bool(await connection.fetchval(HAS_UNRELEASED_SCHEMA))


READERS = ("billing_reader", "billing_raw")

READERS_WITHOUT_RIGHTS = """
select coalesce(array_agg(reader order by reader), '{}')
from unnest($1::text[]) as reader
where not exists (
  select from pg_roles r where r.rolname = reader and has_schema_privilege(r.oid, 'billing', 'usage')
)
"""


def readers_to_create(database_url: str) -> list[str]:
    """The roles of readers that do not exist and that our role may not create; one that exists is given its rights.

    After `migrate`. Blocks until done, as that does.
    """
    return _asked(database_url, _give_readers_their_rights, otherwise=[])


async def _give_readers_their_rights(connection: OwnConnection) -> list[str]:
    without: list[str] = await connection.fetchval(READERS_WITHOUT_RIGHTS, READERS)
    if without:
        async with connection.transaction():
            # Two that grant at once would be in each other's way.
            await connection.execute(f"lock table {MIGRATIONS_TABLE} in share row exclusive mode")
            await connection.execute("select sync.grant_readers()")
        without = await connection.fetchval(READERS_WITHOUT_RIGHTS, READERS)
    return without


def _url_for_dbmate(database_url: str) -> str:
    """The URL for dbmate, which takes one host: of several the one that answers and will do, the first if none does.

    Raises MigrationError if a pooler in transaction mode answers.
    """
    address = read_address(database_url)
    for alone in address.hosts_alone():
        try:
            _run_in_thread(require_own_sessions(alone, application_name="subledger migrate"))
        except TransactionPooling as error:
            raise MigrationError(str(error)) from None
        except (*PostgresAway, asyncpg.PostgresError):
            continue  # if no other host answers, dbmate says why
        return alone.for_dbmate()
    return address.hosts_alone()[0].for_dbmate()


def _asked(database_url: str, ask: Callable[[OwnConnection], Coroutine[Any, Any, T]], *, otherwise: T) -> T:
    """The answer over a connection of its own; `otherwise` when the database does not answer.

    It looks for the cause of an error that the caller can raise, so it raises none itself.
    """

    async def connected() -> T:
        connection = await asyncpg.connect(**read_address(database_url).for_asyncpg(), timeout=10)
        try:
            return await ask(connection)
        finally:
            await connection.close(timeout=10)

    try:
        return _run_in_thread(connected())
    except (*PostgresAway, asyncpg.PostgresError):
        return otherwise


def _run_in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end: in a thread, because the caller's may have a running loop."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(asyncio.run, work).result()


def _run(arguments: list[str], environment: dict[str, str]) -> str:
    name = Path(arguments[0]).name
    try:
        done = subprocess.run(
            arguments, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise MigrationError(f"{name} is not installed with this Python: run make setup") from None
    if done.returncode != 0:
        url = environment["DATABASE_URL"]
        said = (done.stderr.strip() or done.stdout.strip()).replace(url, "DATABASE_URL")
        for secret in secrets_of(url):
            # A short one stands alone: masked within words it would be told by what is missing of them.
            whole = re.escape(secret) if len(secret) >= MASKED_IN_WORDS_FROM else rf"\b{re.escape(secret)}\b"
            said = re.sub(whole, "****", said)
        raise MigrationError(f"{name} failed: {said}")
    return done.stdout
