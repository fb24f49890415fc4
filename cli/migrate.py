"""`subledger migrate`: the newest schema."""

import typer

import db.migrate
from cli.connect import environment
from runtime.settings import database_url_from_env


def migrate() -> None:
    """Bring the database to the newest schema. Safe to run from several machines at once."""
    database_url = database_url_from_env(environment())
    applied = db.migrate.migrate(database_url)
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to apply")
    if missing := db.migrate.readers_to_create(database_url):
        typer.echo(
            f"subledger: services cannot read yet: this role may not create {' and '.join(missing)}: have an "
            f"administrator run `{' '.join(f'create role {name} nologin;' for name in missing)}`, then run "
            "`subledger migrate` again",
            err=True,
        )
