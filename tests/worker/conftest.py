"""Rooms for the tests of the engine."""

from collections.abc import AsyncIterator

import pytest

from subledger.db.connection import Pool
from tests.worker.room import Room, open_room


@pytest.fixture
async def room(pool: Pool, database_url: str) -> AsyncIterator[Room]:
    """An engine that reads from an API of this test's own."""
    async with open_room(pool, database_url) as room:
        yield room


@pytest.fixture
async def webhooks_only(pool: Pool, database_url: str) -> AsyncIterator[Room]:
    """An engine without an API key: what payloads say is all there is."""
    async with open_room(pool, database_url, api_key=None) as room:
        yield room
