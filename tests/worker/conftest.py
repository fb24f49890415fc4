"""Harnesses for the tests of the engine, and their patience."""

from collections.abc import AsyncIterator

import pytest

from db.connection import Pool
from tests.harness import Harness, open_harness
from worker import engine


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a busy machine takes: events wait for the answer whose the key is, and a loop does all its work."""
    monkeypatch.setattr(engine, "KEY_WAIT_SECONDS", 60.0)
    monkeypatch.setattr(engine, "LOOP_SECONDS_MAX", 600.0)


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
