"""`subledger migrate`: the newest schema."""

import typer

import db.migrate
from cli.connect import environment
from runtime.settings import database_url_from_env


def migrate() -> None:
    """Bring the database to the newest schema. Safe to run from several machines at once."""
    applied = db.migrate.migrate(database_url_from_env(environment()))
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to apply")
