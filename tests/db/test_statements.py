"""Every statement in the source is one that Postgres accepts, with the parameters that it declares."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

import asyncpg

import db
from db.connection import Pool
from db.mirror.tables import MIRROR


def strings(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Each string with a blank in it, at any depth: in maps, lists, and fields of values."""
    if isinstance(value, str):
        if " " in value.strip():
            yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from strings(f"{name}[{key}]", part)
    elif isinstance(value, Iterable):
        for place, part in enumerate(value):
            yield from strings(f"{name}[{place}]", part)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from strings(f"{name}.{field.name}", getattr(value, field.name))


def statements() -> Iterator[tuple[str, str]]:
    """Each statement of db/, by module and name; also those that are made per kind or part."""
    for module in pkgutil.walk_packages(db.__path__, "db."):
        if module.name in {"db.address", "db.connection", "db.migrate"}:
            continue  # what they send is no single statement, or nothing
        loaded = importlib.import_module(module.name)
        for name, value in vars(loaded).items():
            if name.isupper() and not name.startswith("_"):
                yield from strings(f"{module.name.removeprefix('db.')}.{name}", value)


ALL = dict(statements())


def test_statements_are_found() -> None:
    """The list is not empty by mistake."""
    assert len(ALL) > 50
    assert {
        "sync.objects.MARK_OBJECTS",
        "records.records.RENAME_PARTS[0]",
        "mirror.tables.REMOVE_ROWS[coupon]",
    } <= ALL.keys()
    assert {f"mirror.tables.MIRROR[{kind}].write" for kind in MIRROR} <= ALL.keys()


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
