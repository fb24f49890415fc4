"""The commands. Each says what it needs; what goes wrong in an expected way is one message and exit code 1."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from cli import audit, backfill, customer, events, forget, rebuild, status, usage
from cli.connect import LookError
from db.connection import PostgresAway
from db.migrate import MigrationError, migrate
from local.home import ServerError
from local.run_file import effective_environment
from local.up import UpError, UpOptions, run_up
from runtime.logs import configure_logs
from runtime.settings import Settings, SettingsError, database_url_from_env

app = typer.Typer(
    name="subledger",
    help="Keeps customer records right about money: Stripe webhooks in, one row per customer out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Run the command that the arguments name; exits with 2 when they are wrong, 1 when the command fails."""
    try:
        app(prog_name="subledger")
    except (LookError, MigrationError, ServerError, SettingsError, UpError) as error:
        _fail(str(error))
    except PostgresAway as error:
        _fail(f"Postgres cannot be reached ({type(error).__name__}: {error}): check DATABASE_URL")


def _fail(message: str) -> None:
    typer.echo(f"subledger: {message}", err=True)
    sys.exit(1)


@app.command()
def up(
    customers: Annotated[
        int | None, typer.Option(min=1, help="How many customers the sandbox account grows to.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="What the sandbox account's life is drawn from.")] = None,
    speed: Annotated[
        float | None, typer.Option(min=0, help="Seconds of the sandbox account's time per second.")
    ] = None,
) -> None:
    """Run the whole system here until Ctrl-C.

    Uses DATABASE_URL, REDIS_URL and STRIPE_* where they are set, and starts a Postgres, a Valkey and a sandbox account
    where they are not. Data and logs are kept in .subledger/.
    """
    run_up(os.environ, UpOptions(customers=customers, seed=seed, speed=speed))


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database to the newest schema. Safe to run from several machines at once."""
    applied = migrate(database_url_from_env(effective_environment(os.environ)))
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to apply")


@app.command()
def web(
    host: Annotated[str, typer.Option(help="The address to listen on; the port is PORT.")] = "0.0.0.0",
) -> None:
    """Receive webhooks: the process that Stripe posts to."""
    import uvicorn

    from webhooks.app import create_app

    settings = _start(for_web=True)
    uvicorn.run(
        create_app(settings),
        host=host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


@app.command(short_help="Apply events, confirm with Stripe, derive records.")
def worker() -> None:
    """Bring records up to date: apply events, confirm with Stripe, derive. Start as many as you like."""
    import uvloop

    from worker.process import run

    settings = _start(for_web=False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(settings))


app.command()(status.status)
app.command()(customer.customer)
app.command(short_help="Show a customer's metered usage and expected charge.")(usage.usage)
app.command(short_help="Read an account from its beginning.")(backfill.backfill)
app.command(short_help="Compare the database with Stripe.")(audit.audit)
app.command(short_help="Derive every record again.")(rebuild.rebuild)
app.command(short_help="Erase a customer's personal data.")(forget.forget)
app.add_typer(events.app, name="events")


def _start(*, for_web: bool) -> Settings:
    settings = Settings.from_env(os.environ)
    if for_web:
        settings = settings.for_web()
    configure_logs(settings.log_format, secrets=settings.secrets)
    return settings
