"""The system that is looked at: a sandbox account, its web process and its worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import asyncpg

from sandbox import STORIES, Sandbox, create_api, deliver, serve
from tests.system import SECRET, System, running_system

API_KEY = "sk_test_browser"
TURN_SECONDS = 20 * 86_400
MEND = "the cause that was mended"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A running system whose records are exact."""

    system: System
    database_url: str

    async def fetchval(self, statement: str, *values: object) -> object:
        """What the statement returns."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetchval(statement, *values)
        finally:
            await connection.close()


@asynccontextmanager
async def open_world(
    *, database_url: str, redis_url: str, folder: Path, customers: int, stories_every: int, turns: int = 0
) -> AsyncIterator[World]:
    """An account whose stories have been played, delivered and confirmed; one of its events is parked.

    `turns`: the stories begin one after the other within so many turns, and none is played beyond; what has happened in
    one turn is delivered and confirmed before the next, so that timelines tell what came in between.
    """
    sandbox = Sandbox(seed=3)
    stories = [*STORIES.values()][::stories_every]
    if turns:
        for story in islice(cycle(stories), customers):
            sandbox.begin(story, within_seconds=turns * TURN_SECONDS)
    else:
        sandbox.play(stories, customers=customers)
    async with (
        serve(create_api(sandbox, [API_KEY])) as api_base,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=folder,
            api_key=API_KEY,
            api_base=api_base,
        ) as system,
    ):
        for _ in range(max(turns, 1)):
            events = sandbox.advance(TURN_SECONDS) if turns else sandbox.run()
            report = await deliver(events, system.webhook_url, SECRET)
            assert 0 == report.refused
            await system.settled()
        world = World(system=system, database_url=database_url)
        # As if it had failed until a moment ago.
        parked = await world.fetchval(
            """
            update sync.events set state = 'parked', attempts = 5, error = $1
            where seq = (select max(seq) from sync.events where type = 'invoice.paid' and state = 'applied')
            returning event_id
            """,
            MEND,
        )
        assert parked is not None
        yield world
