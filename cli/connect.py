"""How a command reaches the database: that of the environment or of `.env`, or of the system running here."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import typer

from cli.errors import CommandError
from db.connection import Connection, OwnConnection, PostgresAway, PostgresUnfit, connect, unfit_because
from db.records.customer import StoredCustomer, find_customers
from runtime.env_file import with_env_file
from runtime.printable import shown
from runtime.settings import Settings, database_url_doubts, database_url_from_env

CLOSE_TIMEOUT_SECONDS = 2.0


def environment() -> Mapping[str, str]:
    """This process's environment with `.env`, or, if they name no database, with that of the system running here.

    Warns of what is left out of DATABASE_URL.
    """
    environ = unchecked_environment()
    if environ.get("DATABASE_URL", "").strip():
        for doubt in database_url_doubts(database_url_from_env(environ)):
            typer.echo(f"subledger: {doubt}", err=True)
    return environ


def unchecked_environment() -> Mapping[str, str]:
    """The same, for a command that says itself what is wrong with it."""
    environ = with_env_file(os.environ)
    if environ.get("DATABASE_URL", "").strip():
        return environ
    from local.run_file import effective_environment

    return effective_environment(environ)


def served_mode(environ: Mapping[str, str]) -> bool | None:
    """The mode of the API key, None without one."""
    return settings(environ).live_mode


def settings(environ: Mapping[str, str]) -> Settings:
    """All settings, for a command that does not need Redis, so that REDIS_URL may be absent."""
    named = {"REDIS_URL": "redis://nobody/"} | {
        name: value for name, value in environ.items() if value.strip()
    }
    return Settings.from_env(named)


async def find_one(
    connection: Connection, name: str, *, account_id: str | None, live_mode: bool | None
) -> StoredCustomer:
    """The one customer with this custom_uid, Stripe id, uid or email. Raises CommandError if there is not one."""
    found = await find_customers(connection, name, account_id=account_id, live_mode=live_mode, limit=2)
    if not found:
        raise CommandError(f"no customer {shown(name)}: see `subledger customer {shown(name)}`")
    if len(found) > 1:
        raise CommandError(
            f"{shown(name)} matches more than one customer: see `subledger customer {shown(name)}`"
        )
    return found[0]


@asynccontextmanager
async def database(environ: Mapping[str, str]) -> AsyncIterator[OwnConnection]:
    """A connection for this command, closed at the end.

    Raises CommandError when Postgres cannot be worked with as it is, SettingsError when it is not named, and another
    of PostgresAway when it cannot be reached.
    """
    database_url = database_url_from_env(environ)
    try:
        connection = await connect(database_url, application_name="subledger command")
    except PostgresUnfit as refusal:
        raise CommandError(unfit_because(refusal) or str(refusal)) from refusal
    except PostgresAway:
        raise
    except asyncpg.PostgresError as refusal:
        raise CommandError(f"Postgres refuses: {refusal}: check DATABASE_URL") from refusal
    try:
        yield connection
    except PostgresUnfit as error:
        raise CommandError(unfit_because(error) or str(error)) from error
    finally:
        try:
            await connection.close(timeout=CLOSE_TIMEOUT_SECONDS)
        except PostgresAway:
            connection.terminate()
