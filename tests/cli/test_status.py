"""`subledger status`: what is left, which workers run, what to do; and waiting until nothing is left."""

import asyncio

import pytest

from db.connection import Pool
from db.sync import status as status_of_sync
from db.sync.accounts import raise_alarm
from db.sync.status import select_backlog
from db.sync.workers import beat
from tests.cli.command import Done, ended, running, subledger
from tests.harness import API_KEY, customer, event, open_harness
from tests.system import until

NOWHERE = "postgresql://app:pa55word@127.0.0.1:1/billing"


async def test_nothing_received_is_settled(database_url: str) -> None:
    """Zero everywhere, and the keys that GET /status promises."""
    status = (await subledger(database_url, "status", "--json")).json
    assert {
        "pending_events": 0,
        "stale_customers": 0,
        "unconfirmed_objects": None,
        "missing_objects": 0,
        "parked": 0,
        "oldest_pending_seconds": None,
        "last_event_at": None,
        "last_gap_fill_at": None,
        "settled": True,
        "workers": [],
        "first_problems": [],
    }.items() <= status.items()
    page = await subledger(database_url, "status")
    assert (0, "") == (page.code, page.err)
    assert page.out.startswith("Settled:")
    assert "No worker runs: start one with `subledger worker`." in page.out
    assert "\x1b" not in page.out, "a pipe has no colours"


async def test_pending_events_are_left(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking is no failure; waiting for what does not come is, and says what is left. Of very many, a part is
    counted.
    """
    async with open_harness(pool, database_url) as harness:
        await harness.receive(
            event("customer.created", customer()), event("customer.created", customer("cus_2"))
        )
    page = await subledger(database_url, "status")
    assert 0 == page.code
    assert page.out.startswith("Not settled: 2 pending events.")
    (line,) = page.lines("pending events")
    assert line.startswith("pending events 2 ")
    assert "no worker is alive: start `subledger worker`" in line
    waited = await subledger(database_url, "status", "--wait", "0")
    assert (1, page.lines("pending events")) == (waited.code, waited.lines("pending events"))
    assert "subledger: not settled after 0 s: 2 pending events\n" == waited.err
    monkeypatch.setattr(status_of_sync, "COUNTED_MAX", 1)
    async with pool.acquire() as connection:
        backlog = await select_backlog(connection, live_mode=None)
    assert (1, False) == (backlog.pending_events, backlog.settled)


async def test_alarm_and_quarantine_are_not_settled(pool: Pool, database_url: str) -> None:
    """I11: nobody hears "settled" beside an alarm, or beside events of the mode served here that are set aside; those
    of the other mode are no concern of these records.
    """
    async with open_harness(pool, database_url) as harness:
        await harness.engine.confirm(linger=False)  # asks whose the key is, however long that takes
        await harness.apply(event("customer.created", customer(), event_id="evt_live", live=True))
        assert 1 == await harness.fetchval("select count(*) from sync.key"), (
            "the first key that worked settled the mode"
        )
    for key in ({}, {"STRIPE_API_KEY": API_KEY}):
        apart = (await subledger(database_url, "status", "--json", **key)).json
        assert (True, 1, 0) == tuple(
            apart[name] for name in ("settled", "quarantined_events", "quarantined_of_served_mode")
        )
    await pool.execute("update sync.events set live_mode = false")
    for key in ({}, {"STRIPE_API_KEY": API_KEY}):
        aside = (await subledger(database_url, "status", "--json", **key)).json
        assert (False, 1) == (aside["settled"], aside["quarantined_of_served_mode"])
    page = await subledger(database_url, "status", "--wait", "0")
    assert (1, "subledger: not settled after 0 s: 1 quarantined event\n") == (page.code, page.err)
    assert "1 of the mode served here" in page.lines("quarantined")[0]
    await pool.execute("delete from sync.events")
    async with pool.acquire() as connection:
        await raise_alarm(connection, "api key", "the key is refused")
    alarmed = await subledger(database_url, "status", "--wait", "0")
    assert (1, "subledger: not settled after 0 s: 1 alarm\n") == (alarmed.code, alarmed.err)
    assert alarmed.out.startswith("Not settled: 1 alarm.")


EVENT = "insert into sync.events (account_id, live_mode, event_id, type, payload, received_at) "
STALE = "insert into sync.customers (account_id, live_mode, customer_id, stale, stale_since, parked_at) "
ALARM = "insert into sync.alarms (name, detail) "
BEHIND: dict[str, str | None] = {
    "select 1": None,
    "update sync.workers set beat_at = now() - interval '36 seconds'": "no worker is alive",
    "update sync.workers set beat_at = now() - interval '34 seconds'": None,
    EVENT + "values ('', false, 'evt_1', 'x', '', now() - interval '61 seconds')": (
        "events have waited for more than a minute to be applied"
    ),
    EVENT + "values ('', false, 'evt_1', 'x', '', now() - interval '50 seconds')": None,
    STALE + "values ('', false, 'cus_1', 1, now() - interval '61 seconds', null)": (
        "records have waited for more than a minute to be derived"
    ),
    STALE + "values ('', false, 'cus_1', 1, now() - interval '61 seconds', now())": None,
    ALARM + "values ('events expired acct_1', 'x')": "events expired before they were read",
    ALARM + "values ('api key', 'x')": None,
}
"""What may be so, and what readers are told of it."""


@pytest.mark.parametrize(("statement", "because"), BEHIND.items())
async def test_readers_learn_that_records_are_behind(
    pool: Pool, database_url: str, statement: str, because: str | None
) -> None:
    """I11: `exact` speaks of what was applied; whether all of it was, and why not, is a column to join."""
    async with pool.acquire() as connection, connection.transaction():  # whose clock stands still
        await beat(connection, "host:1:1", {})
        await connection.execute(statement)
        (told,) = await connection.fetch("select behind, behind_because from billing.freshness")
        assert (because is not None, because) == tuple(told)
    if because is None:
        return
    if because != "no worker is alive":  # it goes on beating while the command starts
        await pool.execute("update sync.workers set beat_at = now() + interval '1 hour'")
    status = await subledger(database_url, "status", "--json")
    assert (True, because) == (status.json["behind"], status.json["behind_because"])
    page = await subledger(database_url, "status")
    assert [f"Behind: {because}."] == page.lines("Behind:")


LOOKING = """
select count(*), max(pg_terminate_backend(pid)::int) filter (where $1)
from pg_stat_activity
where datname = current_database() and application_name = 'subledger command'
"""


async def looks(pool: Pool, *, cut_off: bool = False) -> bool:
    """Whether the command is connected; `cut_off` takes its connection away, as a restart of Postgres does."""
    async with pool.acquire() as connection:
        return bool(await connection.fetchval(LOOKING, cut_off))


async def test_wait_ends_as_soon_as_settled(pool: Pool, database_url: str) -> None:
    """It looks again and again, and is content the moment that nothing is left."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.receive(event("customer.created", customer()))
        async with running(database_url, "status", "--wait", "200", "--json") as waiting:
            await until(lambda: looks(pool), what="the command's first look")
            assert waiting.process.returncode is None
            await harness.engine.apply()
            began = asyncio.get_running_loop().time()
            assert (await ended(waiting)).json["settled"]
            assert asyncio.get_running_loop().time() - began < 100


async def test_wait_outlasts_a_restart_of_postgres(pool: Pool, database_url: str) -> None:
    """While Postgres is away it goes on asking, until the time is over."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.receive(event("customer.created", customer()))
        async with running(database_url, "status", "--wait", "200", "--json") as waiting:
            await until(lambda: looks(pool, cut_off=True), what="a look to be cut off")
            await until(lambda: looks(pool), what="the next look")
            await harness.engine.apply()
            assert (await ended(waiting)).json["settled"]


async def test_unconfirmed_objects_count_where_a_key_reads(pool: Pool, database_url: str) -> None:
    """Without a key nothing will be read, so nothing is waited for; with one, the records are not settled yet."""
    async with open_harness(pool, database_url) as harness:
        await harness.apply(event("customer.created", customer()))
        without = await subledger(database_url, "status")
        assert (
            0,
            ["unconfirmed objects - no STRIPE_API_KEY here: nothing is read, records stay provisional"],
        ) == (
            without.code,
            without.lines("unconfirmed"),
        )
        waited = await subledger(database_url, "status", "--wait", "0", STRIPE_API_KEY=API_KEY)
        assert (1, "subledger: not settled after 0 s: 1 unconfirmed object\n") == (waited.code, waited.err)
        harness.api.put(customer())
        await harness.settle()
    settled = await subledger(database_url, "status", "--wait", "0", "--json", STRIPE_API_KEY=API_KEY)
    assert (True, 0) == (settled.json["settled"], settled.json["unconfirmed_objects"])


async def test_what_somebody_should_mend_is_named(pool: Pool, database_url: str) -> None:
    """Problems with their detail, alarms, parked things with the command that tries them again."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        bad = customer(metadata={"custom_uid": "%%%%"})
        await harness.apply(event("customer.created", bad), b"\x1b[2Jno event")
        async with pool.acquire() as connection:
            await raise_alarm(connection, "key", "the API key is of another account")
    page = await subledger(database_url, "status")
    assert "key: the API key is of another account" in page.out
    assert "cus_1 custom_uid_invalid metadata.custom_uid of cus_1 is '%%%%'" in page.lines("cus_1")[0]
    (parked,) = page.lines("parked")
    assert parked.startswith("parked 1 given up: see `subledger events list --state parked`")
    status = (await subledger(database_url, "status", "--json")).json
    assert [("cus_1", "custom_uid_invalid")] == [
        (each["customer_id"], each["kind"]) for each in status["first_problems"]
    ]


async def test_workers_are_alive_or_lost(pool: Pool, database_url: str) -> None:
    """A worker that missed three beats is lost; its last report about Redis is shown."""
    async with pool.acquire() as connection:
        await beat(connection, "host:1:1", {"redis": "ok", "arq_restarts": 0})
        await beat(connection, "host:2:1", {"redis": "away: \x1b[2J", "arq_restarts": 7})
        await connection.execute(
            "update sync.workers set beat_at = now() - interval '3 min' where id = 'host:2:1'"
        )
    page = await subledger(database_url, "status")
    (alive,), (lost,) = page.lines("host:1:1"), page.lines("host:2:1")
    assert alive.startswith("host:1:1 alive ")
    assert alive.endswith(" ok 0")
    assert "host:2:1 lost 3 min ago away: \\x1b[2J 7" == lost
    status = (await subledger(database_url, "status", "--json")).json
    assert [("host:1:1", True), ("host:2:1", False)] == [
        (each["id"], each["alive"]) for each in status["workers"]
    ]


async def test_a_terminal_gets_colours(database_url: str) -> None:
    """The same page, for eyes."""
    page = await subledger(database_url, "status", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b[32m" in page.out


@pytest.mark.parametrize("waiting", [(), ("--wait", "0.5")])
async def test_unreachable_postgres_is_one_message(waiting: tuple[str, ...]) -> None:
    """Exit code 1 and no password, whether one waits or not."""
    done = await subledger(NOWHERE, "status", *waiting)
    assert (1, "") == (done.code, done.out)
    assert done.err.startswith("subledger: Postgres cannot be reached")
    assert "pa55word" not in done.err


async def test_an_empty_database_is_told_to_migrate(empty_database_url: str) -> None:
    """What is missing has a remedy."""
    done = await subledger(empty_database_url, "status")
    assert (
        Done(code=1, out="", err="subledger: the database is not migrated: run `subledger migrate`\n") == done
    )


async def test_wrong_arguments_exit_2(database_url: str) -> None:
    """A wait is a number of seconds."""
    for wrong in ("soon", "-1"):
        done = await subledger(database_url, "status", "--wait", wrong)
        assert (2, "") == (done.code, done.out)
        assert "Usage: subledger status" in done.err
