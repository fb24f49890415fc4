"""`subledger alarms`: what stands, since when, for whom, by whom; and what clearing does."""

import json

from db.connection import Pool
from db.sync.accounts import alarming_worker, raise_alarm
from tests.cli.command import subledger


async def test_alarms_are_listed_with_their_remedy(pool: Pool, database_url: str) -> None:
    """Each with a since, an account, the worker that raised it and a remedy; raised again, its since stays."""
    nothing = await subledger(database_url, "alarms", "list")
    assert (0, "No alarm stands.\n") == (nothing.code, nothing.out)
    async with pool.acquire() as connection:
        token = alarming_worker.set("host:1:1")
        await raise_alarm(
            connection,
            "account acct_1",
            "it took its access back",
            remedy="reconnect acct_1",
            account_id="acct_1",
        )
        alarming_worker.reset(token)
        await connection.execute("update sync.alarms set raised_at = '2026-01-02T03:04:05Z'")
        alarming_worker.set("host:2:1")
        await raise_alarm(
            connection, "account acct_1", "it is still away", remedy="reconnect acct_1", account_id="acct_1"
        )
    (alarm,) = (await subledger(database_url, "alarms", "list", "--json")).json
    assert {
        "name": "account acct_1",
        "since": "2026-01-02T03:04:05Z",
        "account_id": "acct_1",
        "worker": "host:2:1",
        "detail": "it is still away: reconnect acct_1",
        "remedy": "reconnect acct_1",
    } == alarm
    page = await subledger(database_url, "alarms", "list")
    assert (
        "2026-01-02 03:04:05 acct_1 host:2:1 it is still away: reconnect acct_1" in page.lines("account")[0]
    )


async def test_clearing_names_what_it_cleared(pool: Pool, database_url: str) -> None:
    """By name or all; a name that does not stand is exit code 1, neither names nor --all exit code 2."""
    async with pool.acquire() as connection:
        for name in ("api key", "account acct_1", "events expired"):
            await raise_alarm(connection, name, "something is wrong")
    one = await subledger(database_url, "alarms", "clear", "api key", "api kay")
    assert (1, "Cleared: api key\n", "subledger: no alarm api kay stands: see `subledger alarms list`\n") == (
        one.code,
        one.out,
        one.err,
    )
    rest = await subledger(database_url, "alarms", "clear", "--all", "--json")
    assert (0, {"cleared": ["account acct_1", "events expired"], "unknown": []}) == (
        rest.code,
        json.loads(rest.out),
    )
    again = await subledger(database_url, "alarms", "clear", "--all")
    assert (0, "Nothing was cleared.\n") == (again.code, again.out)
    assert 2 == (await subledger(database_url, "alarms", "clear")).code
    assert 2 == (await subledger(database_url, "alarms", "clear", "--all", "api key")).code
