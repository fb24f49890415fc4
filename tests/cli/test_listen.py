"""`subledger listen`: an account is followed without webhooks, web or an endpoint."""

import json
from dataclasses import replace
from datetime import timedelta

from cli.listen import Arrival, arrival_of
from db.connection import Pool
from db.sync.accounts import hasten_gaps
from db.sync.inbox_admin import ArrivedEvent
from sandbox import Sandbox, create_api, serve
from tests.cli.command import ended, running, subledger
from tests.system import until

KEY = "rk_test_listen"
EXACT = "select count(*) from billing.customers where exact and status is not null"
FILLED = "select count(*) from sync.accounts where filled_at is not null"


async def test_what_happens_at_stripe_is_shown_and_followed(
    pool: Pool, database_url: str, redis_url: str
) -> None:
    """Each event is printed once, with its object; the records become exact; Ctrl-C ends it in good order."""
    sandbox = Sandbox(seed=5)
    api = create_api(sandbox, [KEY])
    async with serve(api) as api_base:
        given = {"REDIS_URL": redis_url, "STRIPE_API_BASE": api_base, "STRIPE_API_KEY": KEY}
        async with running(database_url, "listen", "--every", "1", "--json", **given) as command:
            await until(lambda: pool.fetchval(FILLED))
            sandbox.play("refunded_in_two_parts")
            made = {each.id for each in sandbox.run()}
            await until(lambda: pool.fetchval(EXACT))
            out = command.out

            async def printed() -> bool:
                return len(out.read_text().splitlines()) >= len(made)

            await until(printed)
            command.interrupt()
            done = await ended(command)
    assert 0 == done.code, done.err
    shown = [json.loads(line) for line in done.out.splitlines()]
    assert sorted(made) == sorted(each["event_id"] for each in shown)
    assert all(each["object_id"] for each in shown)
    assert done.err.startswith("subledger: listening: events of test mode are read every 1 s")


async def test_it_needs_a_key(database_url: str, redis_url: str) -> None:
    """Nothing can be read without one."""
    done = await subledger(database_url, "listen", REDIS_URL=redis_url)
    assert (1, "") == (done.code, done.out)
    assert "without STRIPE_API_KEY" in done.err


async def test_other_workers_fill_as_often(pool: Pool) -> None:
    """What the last fill has put off is due soon; a fill under way, one put off by a failure, and the other mode are
    left alone.
    """
    await pool.execute(
        """
        insert into sync.accounts (account_id, live_mode, due_at, fill_by) values
          ('filled', false, now() + '5 min', now() + '7 min'), ('live', true, now() + '5 min', now() + '7 min'),
          ('leased', false, now() + '5 min', now() + '3 min'), ('never', false, now() + '5 min', null)
        """
    )
    async with pool.acquire() as connection:
        await hasten_gaps(connection, live_mode=False, every=timedelta(seconds=3))
    soon = "select account_id from sync.accounts where due_at < now() + interval '1 min'"
    assert ["filled"] == [row[0] for row in await pool.fetch(soon)]


def test_what_is_shown_of_an_event() -> None:
    """The object that it carries or, if it is thin, names; of one that cannot be read, no object."""
    event = ArrivedEvent(
        account_id="", live_mode=False, event_id="evt_1", seq=1, type="t", created=None, payload=b""
    )
    for payload, object_id in (
        (b'{"data": {"object": {"id": "in_1"}}}', "in_1"),
        (b'{"related_object": {"id": "in_2"}}', "in_2"),
        (b'{"data": {"object": {}}}', None),
        (b"\xff", None),
    ):
        arrival = arrival_of(replace(event, payload=payload))
        assert (
            Arrival(
                event_id="evt_1", type="t", account_id="", live_mode=False, created=None, object_id=object_id
            )
            == arrival
        )
