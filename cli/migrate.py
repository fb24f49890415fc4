"""`subledger migrate`: the newest schema."""

from typing import Annotated

import typer

import db.migrate
from cli.connect import environment
from cli.terminal import show_json
from runtime.settings import database_url_from_env


def migrate(
    as_json: Annotated[bool, typer.Option("--json", help="Print what was applied as JSON.")] = False,
) -> None:
    """Bring the database to the newest schema. Safe to run from several machines at once."""
    database_url = database_url_from_env(environment())
    applied = db.migrate.migrate(database_url)
    if not as_json:
        typer.echo(db.migrate.told(applied) if applied else "nothing to apply")
    missing = db.migrate.readers_to_create(database_url)
    if as_json:
        show_json({"applied": applied, "roles_to_create": missing})
    if missing:
        typer.echo(
            f"subledger: services cannot read yet: this role may not create {' and '.join(missing)}: have an "
            f"administrator run `{' '.join(f'create role {name} nologin;' for name in missing)}`, then run "
            "`subledger migrate` again",
            err=True,
        )
