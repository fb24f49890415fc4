"""Every story, in both modes and in two accounts: played through the engine, each record equals the truth."""

import pytest

from subledger.db.connection import Pool
from subledger.sandbox import MIXED, NEW, STORIES, Sandbox, create_api
from tests.worker.records import assert_true
from tests.worker.room import Api, open_room

CONNECTED = "acct_1SandboxEast"
APPLIED_AT_ONCE = 400


@pytest.mark.parametrize(
    ("live_mode", "api_key", "shapes"),
    [(False, "sk_test_every_story", MIXED), (True, "sk_live_every_story", NEW)],
    ids=["test", "live"],
)
async def test_every_story_ends_in_truth(
    pool: Pool, database_url: str, live_mode: bool, api_key: str, shapes: tuple[str, ...]
) -> None:
    """All stories, each in an account of ours and in a connected one, in old and new shapes: field by field."""
    sandbox = Sandbox(seed=17, live_mode=live_mode, event_versions=shapes)
    sandbox.play(STORIES)
    sandbox.play(STORIES, account_id=CONNECTED)
    events = [event for event in sandbox.run() if event.live_mode == live_mode]
    async with open_room(
        pool, database_url, api=Api(create_api(sandbox, [api_key])), api_key=api_key
    ) as room:
        for first in range(0, len(events), APPLIED_AT_ONCE):
            await room.apply(*events[first : first + APPLIED_AT_ONCE])
        await room.settle()
        truth = {key: known for key, known in sandbox.truth().items() if known.live_mode == live_mode}
        await assert_true(room, truth)
        assert {"", CONNECTED} <= {account_id for account_id, _, _ in truth}
