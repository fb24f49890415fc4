"""`subledger psql`: the database in psql, or one statement."""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import asyncpg
import typer

from cli.connect import database, environment
from cli.errors import CommandError
from cli.terminal import counted, show, show_json, table
from db.address import read_address
from db.connection import NOT_MIGRATED, OwnConnection
from runtime.env_file import with_env_file
from runtime.settings import database_url_from_env

READER = "billing_reader"
STATEMENT_TIMEOUT_SECONDS = 24 * 3600.0
IS_MIGRATED = "select exists (select from pg_namespace where nspname = 'billing')"
PLAIN = (str, int, float, bool, Decimal, type(None))
"""What JSON has; every other value is shown as Postgres or Python writes it."""


def psql(
    command: Annotated[
        str | None,
        typer.Option(
            "--command", "-c", metavar="SQL", help="Run this one statement, and print what it returns."
        ),
    ] = None,
    reader: Annotated[
        bool, typer.Option("--reader", help=f"With the rights of {READER}, and without changing anything.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Of -c: print the rows as JSON.")] = False,
) -> None:
    """Open the database of DATABASE_URL, or of a running `make up`, with psql.

    With -c no psql is needed, unless it is one of its own commands, such as -c '\\d billing.customers'.
    """
    if as_json and command is None:
        raise typer.BadParameter("goes with -c", param_hint="--json")
    if command is not None and not command.strip():
        raise typer.BadParameter("is empty", param_hint="-c")
    of_psql = command is None or command.lstrip().startswith("\\")
    if of_psql and as_json:
        raise typer.BadParameter("psql's own commands print no JSON", param_hint="--json")
    environ = environment()
    if not of_psql and command is not None:
        _show(*asyncio.run(_run(environ, command, reader=reader)), as_json=as_json)
        return
    program = _program()
    asyncio.run(_run(environ, None, reader=reader))
    arguments = [program] if command is None else [program, "-c", command]
    sys.stdout.flush()
    os.execve(program, arguments, _environment_of_psql(environ, reader=reader))  # noqa: S606  we become psql


async def _run(
    environ: Mapping[str, str], statement: str | None, *, reader: bool
) -> tuple[list[str], list[asyncpg.Record], str]:
    """The columns, rows and status of a statement; without one, only whether it could be run. Raises CommandError."""
    async with database(environ) as connection:
        if not await connection.fetchval(IS_MIGRATED):
            raise CommandError(f"the database is {NOT_MIGRATED}")
        if reader:
            await _become_reader(connection)
        if statement is None:
            return [], [], ""
        try:
            await connection.execute("set statement_timeout = 0")
            prepared = await connection.prepare(statement)
            if _copies(statement):
                raise CommandError(
                    "copy moves rows beside the statement's result: use psql itself, as in "
                    "subledger psql -c '\\copy (select ...) to file.csv csv'"
                )
            rows = await prepared.fetch(timeout=STATEMENT_TIMEOUT_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise CommandError(f"Postgres refuses: {error}") from error
        except (ValueError, OverflowError) as error:
            raise CommandError(
                f"the result has a value that Python has not, as a date before Christ ({error}): "
                "cast its column to text"
            ) from error
        return [each.name for each in prepared.get_attributes()], rows, prepared.get_statusmsg() or ""


def _copies(statement: str) -> bool:
    """Whether it begins with COPY, after comments: nobody would send the rows that it waits for, or get those that it
    sends.
    """
    return re.match(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*copy\b", statement, re.IGNORECASE | re.DOTALL) is not None


async def _become_reader(connection: OwnConnection) -> None:
    try:
        await connection.execute(f"set default_transaction_read_only = on; set role {READER}")
    except asyncpg.InvalidParameterValueError:
        raise CommandError(
            f"there is no role {READER}: run `subledger migrate`, which says how to make it"
        ) from None
    except asyncpg.InsufficientPrivilegeError:
        user = await connection.fetchval("select quote_ident(session_user)")
        raise CommandError(
            f"this role is no member of {READER}: have an administrator run `grant {READER} to {user};`"
        ) from None


def _show(columns: list[str], rows: list[asyncpg.Record], status: str, *, as_json: bool) -> None:
    if not columns and not as_json:
        typer.echo(status)
    elif not as_json:
        show(table(counted(len(rows), "row"), columns, [tuple(row.values()) for row in rows]))
    elif len({*columns}) < len(columns):
        raise CommandError("two columns have the same name: name one of them by `as` for --json")
    else:
        show_json([{name: _plain(value) for name, value in row.items()} for row in rows])


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, (float, Decimal)) and not Decimal(value).is_finite():
        return str(value)
    if isinstance(value, PLAIN):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _program() -> str:
    """The psql of this machine, or that of the embedded Postgres. Raises CommandError if there is neither.

    For a system that runs here the embedded one goes first: it is as new as the server, and no other need be.
    """
    own, embedded = shutil.which("psql"), _embedded_program()
    runs_here = not with_env_file(os.environ).get("DATABASE_URL", "").strip()
    found = (embedded or own) if runs_here else (own or embedded)
    if found is None:
        raise CommandError(
            "there is no psql on this machine: install the client of Postgres (postgresql-client), or give one "
            "statement: subledger psql -c 'select ...'"
        )
    return found


def _embedded_program() -> str | None:
    try:
        from local.home import ServerError
        from local.postgres import postgres_program
    except ModuleNotFoundError as missing:
        if missing.name not in ("local", "psutil"):
            raise
        return None
    try:
        return str(postgres_program("psql"))
    except ServerError:
        return None


def _environment_of_psql(environ: Mapping[str, str], *, reader: bool) -> dict[str, str]:
    """Ours, with the address as libpq takes it: in no argument, since everybody may see those."""
    # These would go before what is given here.
    kept = {name: value for name, value in os.environ.items() if name not in ("PGSERVICE", "PGHOSTADDR")}
    named = kept | read_address(database_url_from_env(environ)).for_libpq()
    if reader:
        reading = f"-c role={READER} -c default_transaction_read_only=on"
        named["PGOPTIONS"] = f"{named.get('PGOPTIONS', '')} {reading}".strip()
    return named
