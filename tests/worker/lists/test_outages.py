"""Cases A9 to A11: nothing came for hours, for weeks, or at all, and the records end equal to the account's truth."""

import pytest

from db.connection import Pool
from sandbox import Sandbox
from tests.harness import sweep_bulk
from tests.truth import different_records
from tests.worker.account import Attached, attached, spread_stories

HOUR = 3600
DAY = 24 * HOUR


def living_account() -> Sandbox:
    """An account in the middle of its stories."""
    sandbox = Sandbox(seed=41)
    sandbox.play(spread_stories(customers=60))
    sandbox.advance(12 * DAY)
    return sandbox


async def fill_gaps(account: Attached) -> None:
    """Read /v1/events now."""
    await account.execute("update sync.accounts set due_at = now()")
    await sweep_bulk(account.engine)
    await account.settle()


async def known(account: Attached) -> None:
    """The account as it is, backfilled and exact, with its cursor at this moment."""
    await account.scanned(await account.request())
    await account.settle()
    await fill_gaps(account)


@pytest.mark.parametrize("hours", [6, 28 * 24])
async def test_a9_missed_webhooks_are_swept(pool: Pool, database_url: str, hours: int) -> None:
    """A9: the endpoint is down for hours, and no webhook comes: a sweep of /v1/events gives the same records."""
    sandbox = living_account()
    async with attached(pool, database_url, sandbox) as account:
        await known(account)
        missed = sandbox.advance(hours * HOUR)
        await fill_gaps(account)
        assert len(missed) > 0
        assert [] == await different_records(sandbox, database_url)


@pytest.mark.parametrize("days", [3, 40], ids=["A10", "A11"])
async def test_a10_a11_audit_finds_what_no_event_tells(pool: Pool, database_url: str, days: int) -> None:
    """A10: events that were never generated; A11: events that have expired, subscriptions canceled meanwhile included:
    the audit's lists, with status=all, find what changed, and its repair makes the records right.
    """
    sandbox = living_account()
    async with attached(pool, database_url, sandbox) as account:
        await known(account)
        sandbox.advance(days * DAY)
        # Nothing of it is to be learnt from events.
        await account.execute("update sync.accounts set due_at = now() + interval '1 day'")
        assert [] != await different_records(sandbox, database_url)
        ended = await account.scanned(await account.request(purpose="audit", repair=True))
        assert ("complete", None) == (ended["status"], ended["error"])
        await account.settle()
        # A customer that signed up meanwhile is new to the mirror, and completed by the pull of its history.
        assert [] == await different_records(sandbox, database_url)
