"""A Postgres that answers, but cannot be worked with: each reason is one line of the log, and nothing is accepted."""

import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import asyncpg
import pytest

from tests.poolers import SENTENCE, transaction_pooler
from tests.system import until
from tests.webhooks.web_harness import event, open_door, settings

NOT_MIGRATED = "not migrated: run `subledger migrate`"


@asynccontextmanager
async def without_tables(database_url: str) -> AsyncIterator[str]:
    """The database as it was before any migration."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("drop schema billing, stripe, sync cascade; drop table subledger_migrations")
    await connection.close()
    yield database_url


@pytest.mark.parametrize(
    ("made_unfit", "state", "refusal", "logged"),
    [
        (transaction_pooler, SENTENCE, SENTENCE, SENTENCE),
        (
            without_tables,
            NOT_MIGRATED,
            f"Postgres is {NOT_MIGRATED}",
            f"the database is {NOT_MIGRATED}",
        ),
    ],
)
async def test_said_once(
    database_url: str,
    log: io.StringIO,
    made_unfit: Callable[[str], AbstractAsyncContextManager[str]],
    state: str,
    refusal: str,
    logged: str,
) -> None:
    """I1 and I12: no webhook is answered with 200, so Stripe sends each again; load balancers learn the reason."""
    async with made_unfit(database_url) as url, open_door(settings(database_url=url)) as door:

        async def said() -> bool:
            return logged in log.getvalue()

        await until(said, what="the line in the log, before anybody asks")
        answers = [await door.post(event(f"evt_{number}")) for number in range(4)]
        ready, status = await door.ask("GET", "/readyz"), await door.status()
    assert [503] * 4 == [answer.status for answer in answers]
    assert (503, state) == (ready.status, ready.body["postgres"])
    assert (503, refusal) == (status.status, status.error)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [("error", logged)] == [(line["level"], line["because"]) for line in lines if "because" in line]


async def test_schema_of_another_version(database_url: str) -> None:
    """One migration is missing: not ready, though events are stored. One too many, by a newer version: ready."""
    connection = await asyncpg.connect(database_url)
    async with open_door(settings(database_url=database_url)) as door:
        assert 200 == (await door.ask("GET", "/readyz")).status  # the look of the start is over
        newest = await connection.fetchval(
            "delete from subledger_migrations where version = (select max(version) from subledger_migrations) "
            "returning version"
        )
        assert NOT_MIGRATED == (await door.ask("GET", "/readyz")).body["postgres"]
        assert 200 == (await door.post(event("evt_1"))).status
        await connection.execute("insert into subledger_migrations values ($1), ('9999')", newest)
        assert 200 == (await door.ask("GET", "/readyz")).status
    await connection.execute("delete from subledger_migrations where version = '9999'")
    await connection.close()
