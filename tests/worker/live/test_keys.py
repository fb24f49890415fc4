"""Whose key it is: a process with a wrong, a refused or an unknown key does no harm, and says why (I9, I12)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from db.connection import Pool
from db.sync.accounts import alarming_worker, raise_alarm
from db.sync.workers import beat
from tests.harness import Api, Harness, customer, event, listing, open_harness, sweep, sweep_bulk
from worker import engine


@pytest.fixture
async def harness(pool: Pool, database_url: str) -> AsyncIterator[Harness]:
    """A worker whose key is of test mode, and which Stripe knows."""
    async with open_harness(pool, database_url) as harness:
        yield harness


@asynccontextmanager
async def beside(
    harness: Harness, *, api_key: str = "sk_test_other", api: Api | None = None
) -> AsyncIterator[Harness]:
    """Another worker on the same database, with a key and an API of its own."""
    async with open_harness(harness.pool, harness.settings.database_url, api=api, api_key=api_key) as other:
        yield other


def saying(status: int, body: object) -> Api:
    """An API that answers so when it is asked whose the key is, and knows nothing else."""
    api = Api()
    api.bodies = {"/v1/events": listing([], url="/v1/events")}
    for _ in range(50):
        api.say("/v1/account", status, body)
    return api


async def work(worker: Harness) -> None:
    """One turn of everything that a worker does."""
    await sweep(worker.engine)
    await sweep_bulk(worker.engine)


async def alarms(harness: Harness) -> dict[str, str]:
    return {row[0]: row[1] for row in await harness.fetch("select name, remedy from sync.alarms")}


async def test_key_of_the_other_mode_applies_nothing(harness: Harness) -> None:
    """I9: a live key in one process on a database of test mode: nothing is applied or quarantined by it, and the alarm
    gives the remedy. The right process goes on.
    """
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    async with beside(harness, api_key="sk_live_room") as wrong:
        await harness.receive(
            event("customer.updated", customer(name="Ada"), after=9, event_id="evt_test"),
            event("customer.created", customer("cus_live"), event_id="evt_live", live=True),
        )
        await work(wrong)
        states = await harness.event_states()
        assert ("pending", "pending") == (states["evt_test"], states["evt_live"])
        assert ["/v1/account"] * len(wrong.api.asked) == wrong.api.asked, "it reads nothing"
        assert "set STRIPE_API_KEY to a test key" in (await alarms(harness))["api key of another mode"]
    harness.api.put(customer(name="Ada"))
    await harness.settle()
    states = await harness.event_states()
    assert ("applied", "quarantined") == (states["evt_test"], states["evt_live"])
    assert ("Ada", True) == ((await harness.record())["name"], (await harness.record())["exact"])


REFUSALS = {
    "unknown": (401, {"error": {"message": "Invalid API Key"}}, "pending", "api key"),
    "of another account": (
        200,
        {"object": "account", "id": "acct_stranger"},
        "pending",
        "api key of another account",
    ),
    "restricted": (403, {"error": {"message": "no right"}}, "applied", None),
    "no such route": (
        404,
        {"error": {"message": "Unrecognized request URL"}},
        "applied",
        "api key not checked",
    ),
    "bad request": (400, {"error": {"message": "no"}}, "applied", "api key not checked"),
    "no id": (200, {"object": "account"}, "applied", "api key not checked"),
}
"""What Stripe says about the key, what becomes of an event of the served mode, and the alarm."""


@pytest.mark.parametrize("case", REFUSALS)
async def test_what_stripe_says_about_the_key(harness: Harness, case: str) -> None:
    """I9, I12: a key that is wrong or refused applies nothing. Where Stripe does not say, events of the served mode are
    shown provisionally, nothing is read, and an alarm says why; and Stripe is asked ever less often.
    """
    status, body, state, alarm = REFUSALS[case]
    await harness.apply(event("customer.created", customer()))
    async with beside(harness, api=saying(status, body)) as worker:
        worker.engine._clock = lambda: 0.0
        await worker.engine.confirm(linger=False)  # however long it takes to ask
        await harness.receive(event("customer.updated", customer(name="Ada"), after=9, event_id="evt_mine"))
        for _ in range(5):
            await work(worker)
        assert state == (await harness.event_states())["evt_mine"]
        assert ([] if alarm is None else [alarm]) == list(await alarms(harness))
        if case != "restricted":
            assert ["/v1/account"] == worker.api.asked


async def test_mode_is_settled_by_the_first_accepted_key(harness: Harness) -> None:
    """I9: until Stripe has accepted a key, only events of its own mode are applied, and the others wait."""
    async with beside(harness, api=saying(404, {})) as worker:
        await harness.receive(
            event("customer.created", customer(), event_id="evt_test"),
            event("customer.created", customer("cus_live"), event_id="evt_live", live=True),
        )
        await work(worker)
        assert {"evt_test": "applied", "evt_live": "pending"} == await harness.event_states()
    async with beside(harness, api_key="sk_live_room") as live:
        live.api.put(customer("cus_live"))
        await work(live)
        assert "applied" == (await harness.event_states())["evt_live"]
    await work(harness)
    assert ["api key of another mode"] == list(await alarms(harness))


async def test_restricted_key_settles_the_mode(harness: Harness) -> None:
    """A key that may not read its account settles the mode; the account is filled in by the first that may."""
    async with beside(harness, api=saying(403, {"error": {"message": "no right"}})) as restricted:
        await work(restricted)
        assert ("", False) == tuple((await harness.fetch("select account_id, live_mode from sync.key"))[0])
    await work(harness)
    assert "acct_room" == await harness.fetchval("select account_id from sync.key")


async def test_restricted_key_after_a_strangers(harness: Harness) -> None:
    """I9: the last key that told its account was of another one. A key that may not tell is taken for that one: it
    applies nothing, and the alarm stands until a key tells that it is of ours.
    """
    await work(harness)
    async with beside(harness, api=saying(200, {"object": "account", "id": "acct_stranger"})) as stranger:
        await work(stranger)
    await harness.receive(event("customer.created", customer(), event_id="evt_mine"))
    async with beside(harness, api=saying(403, {"error": {"message": "no right"}})) as restricted:
        await work(restricted)
        assert {"/v1/account"} == set(restricted.api.asked), "it reads nothing"
    assert {"evt_mine": "pending"} == await harness.event_states()
    assert ["api key of another account"] == list(await alarms(harness))
    async with beside(harness) as ours:
        await work(ours)
    assert {"evt_mine": "applied"} == await harness.event_states()
    assert {} == await alarms(harness)


async def test_silent_stripe_delays_no_event(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I12: an API that never answers costs the first events a second, and no record waits for it."""
    monkeypatch.setattr(engine, "KEY_WAIT_SECONDS", 0.1)
    api = Api()
    gate = api.hold("/v1/account")
    async with open_harness(pool, database_url, api=api) as harness:
        await harness.apply(event("customer.created", customer(name="Ada")))
        assert not gate.open.is_set()
        assert "Ada" == (await harness.record())["name"]
        gate.open.set()
        api.put(customer(name="Ada"))
        await harness.settle()
        assert (await harness.record())["exact"] is True


async def test_silence_becomes_an_alarm(harness: Harness) -> None:
    """An outage of Stripe's is no alarm at once; one that lasts is, within a minute."""
    async with beside(harness, api=saying(503, {})) as worker:
        now = 0.0
        worker.engine._clock = lambda: now
        await work(worker)
        assert {} == await alarms(harness)
        now = 25.0
        await work(worker)
        assert ["api key not checked"] == list(await alarms(harness))


async def test_what_a_wrong_key_quarantined_is_released(harness: Harness) -> None:
    """I9: an older process with a live key had quarantined test events: they are applied once the right key is at work.
    Those of the other mode stay where they are.
    """
    async with harness.pool.acquire() as connection:
        await harness.receive(
            *(event("customer.created", customer(f"cus_{n}"), event_id=f"evt_{n}") for n in range(3)),
            event("customer.created", customer("cus_live"), event_id="evt_live", live=True),
        )
        await connection.execute(
            "update sync.events set state = 'quarantined', applied_at = now(), "
            "error = 'the API key serves ' || case when live_mode then 'test' else 'live' end || ' mode only'"
        )
    harness.api.put(*(customer(f"cus_{n}") for n in range(3)))
    await harness.settle()
    await harness.settle()
    assert {"evt_0": "applied", "evt_1": "applied", "evt_2": "applied", "evt_live": "quarantined"} == (
        await harness.event_states()
    )
    assert 3 == await harness.fetchval("select count(*) from billing.customers where exact")


async def test_without_a_key_both_modes_are_served(pool: Pool, database_url: str) -> None:
    """Nobody has said which mode this database serves, so both are; once a key has, its mode is."""
    both = [
        event("customer.created", customer(f"cus_{live}"), event_id=f"evt_{live}", live=live)
        for live in (False, True)
    ]
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(*both)
        assert {"applied"} == set((await harness.event_states()).values())
        async with beside(harness) as worker:
            await work(worker)
        await harness.apply(event("customer.updated", customer("cus_True"), event_id="evt_2", live=True))
        assert "quarantined" == (await harness.event_states())["evt_2"]


async def test_working_read_ends_the_alarm_of_a_lost_worker(harness: Harness) -> None:
    """A worker with a bad key was stopped: the next read that works ends its alarm. While it lives, it stands."""
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    async with harness.pool.acquire() as connection:
        for worker in ("host:1:1", "host:2:1"):
            await beat(connection, worker, {})
        alarming_worker.set("host:1:1")
        await raise_alarm(connection, "api key", "Stripe does not know the key")
        alarming_worker.set("host:2:1")
    harness.api.put(customer(name="Ada"))
    await harness.apply(event("customer.updated", customer(name="Ada"), after=9))
    await harness.settle()
    assert ["api key"] == list(await alarms(harness))
    await harness.execute("update sync.workers set beat_at = now() - interval '1 min' where id = 'host:1:1'")
    await harness.apply(event("customer.updated", customer(name="Eva"), after=12))
    await harness.settle()
    assert {} == await alarms(harness)


async def test_check_goes_on_alone(harness: Harness) -> None:
    """Loops that begin at the same moment ask once."""
    await asyncio.gather(*(harness.engine.apply() for _ in range(3)), harness.engine.confirm(linger=False))
    assert ["/v1/account"] == harness.api.asked
