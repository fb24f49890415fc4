"""Harnesses for the tests of the engine, and databases that are emptied rather than made anew."""

import itertools
from collections.abc import AsyncIterator

import asyncpg
import pytest

from db.connection import Pool
from tests.conftest import Services, at_database
from tests.harness import Harness, empty, open_harness

_numbers = itertools.count(1)
_emptied: list[tuple[str, object]] = []
"""Databases that an earlier test has done with, and their schema. Making one takes longer than most tests here."""


@pytest.fixture
async def database_url(servers: Services, template: str) -> AsyncIterator[str]:
    """A migrated, empty database that no other test uses meanwhile."""
    name, schema = _emptied.pop() if _emptied else (f"worker_{next(_numbers)}", None)
    url = at_database(servers.postgres_url, name)
    if schema is None:
        await _execute(servers.postgres_url, f"create database {name} template {template}")
        schema = await _execute(url, SCHEMA)
    yield url
    if schema == await _execute(url, SCHEMA):
        await empty(url)
        _emptied.append((name, schema))
    else:  # a test has altered it: nobody else may have that
        await _execute(servers.postgres_url, f"drop database {name} with (force)")


SCHEMA = """
select array[
  (select count(*) from pg_class), (select count(*) from pg_attribute), (select count(*) from pg_constraint),
  (select count(*) from pg_proc), (select count(*) from pg_trigger), (select count(*) from pg_rewrite)
]
"""
"""Enough of a schema to notice that a test has altered it."""


async def _execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.fixture
async def harness(pool: Pool, database_url: str) -> AsyncIterator[Harness]:
    """An engine that reads from an API of this test's own."""
    async with open_harness(pool, database_url) as harness:
        yield harness


@pytest.fixture
async def webhooks_only(pool: Pool, database_url: str) -> AsyncIterator[Harness]:
    """An engine without an API key: what payloads say is all there is."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        yield harness
