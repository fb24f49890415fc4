"""Every statement in the source is one that Postgres accepts, with the parameters that it declares."""

import importlib
import pkgutil
from collections.abc import Iterator

import asyncpg

import subledger.db.queries as queries
from subledger.db.connection import Pool
from subledger.db.queries.mirror import MIRROR


def statements() -> Iterator[tuple[str, str]]:
    """Each constant of SQL in db/queries, by module and name."""
    for module in pkgutil.iter_modules(queries.__path__):
        loaded = importlib.import_module(f"{queries.__name__}.{module.name}")
        for name, value in vars(loaded).items():
            if (
                name.isupper()
                and not name.startswith("_")
                and isinstance(value, str)
                and " " in value.strip()
            ):
                yield f"{module.name}.{name}", value
    for kind, generated in MIRROR.items():
        yield f"mirror.{kind}.write", generated.write
        yield f"mirror.{kind}.bury", generated.bury
        yield f"mirror.{kind}.select_changed", generated.select_changed


ALL = dict(statements())


def test_statements_are_found() -> None:
    """The list is not empty by mistake."""
    assert len(ALL) > 50
    assert "objects.MARK_OBJECTS" in ALL


async def test_statements_prepare(pool: Pool) -> None:
    """Postgres parses and plans each statement on the migrated schema."""
    refused = {}
    async with pool.acquire() as connection:
        for name, statement in ALL.items():
            try:
                await connection.prepare(statement)
            except asyncpg.PostgresError as error:
                refused[name] = str(error)
    assert refused == {}
