"""`subledger backfill list` and `cancel`: what was asked for, and an end to it."""

import pytest

from billing.kinds.lists import listed_kinds
from cli.backfill import _cancel, _list
from cli.errors import CommandError
from db.connection import Pool
from db.sync.scans import ScanRequest, request_scan
from tests.cli.command import subledger


async def test_list_and_cancel(pool: Pool, database_url: str) -> None:
    """The newest first, as JSON and as a table; one is canceled once, and no audit is."""
    environ = {"DATABASE_URL": database_url}
    assert [] == await _list(environ, 20)
    async with pool.acquire() as connection:
        first = await request_scan(connection, ScanRequest(kinds=listed_kinds()), live_mode=False)
        second = await request_scan(
            connection, ScanRequest(kinds=("customer",), account_id="acct_1"), live_mode=False
        )
        audit = await request_scan(
            connection, ScanRequest(kinds=("customer",), purpose="audit"), live_mode=False
        )
    listed = await subledger(database_url, "backfill", "list", "--json")
    assert [(second.id, "acct_1", "queued"), (first.id, "", "queued")] == [
        (each["id"], each["account"], each["status"]) for each in listed.json
    ]
    canceled = await subledger(database_url, "backfill", "cancel", str(first.id), "--json")
    assert (first.id, "canceled") == (canceled.json["id"], canceled.json["status"])
    with pytest.raises(CommandError, match=f"backfill {first.id} is over: it is canceled"):
        await _cancel(environ, first.id)
    with pytest.raises(CommandError, match=f"no backfill {audit.id}: `subledger backfill list` lists"):
        await _cancel(environ, audit.id)
    page = await subledger(database_url, "backfill", "list", "--limit", "1")
    rows = [" ".join(line.split()) for line in page.out.splitlines()]
    assert 1 == sum(row.startswith(f"{second.id} queued acct_1") for row in rows)
    assert 0 == sum(row.startswith(f"{first.id} ") for row in rows)
