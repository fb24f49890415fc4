"""`make schema`: writes schema.sql anew from the migrations, on a server of its own."""

from __future__ import annotations

from db.migrate import SCHEMA, dump_schema, migrate
from local.clean import throwaway_home
from local.postgres import pg_dump_program, start_postgres

HEADING = "-- What the migrations make; `make schema` writes it, and a test keeps it true. Read this, change those.\n\n"


def schema_of(database_url: str) -> str:
    """The text that schema.sql must have for this migrated database."""
    return HEADING + dump_schema(database_url, pg_dump=pg_dump_program())


def main() -> None:
    """Write the file."""
    with throwaway_home() as home, start_postgres(home, durable=False) as postgres:
        migrate(postgres.url)
        SCHEMA.write_text(schema_of(postgres.url))


if __name__ == "__main__":
    main()
