"""The answers to operators and load balancers, in good times and bad."""

import asyncio
import time
from datetime import datetime

import pytest
from starlette.types import Receive, Scope, Send

from db.connection import Pool
from db.sync.status import SELECT_BACKLOG
from db.sync.workers import beat
from runtime.budget import Budget, Use
from runtime.limiter import Lane
from runtime.limits import limits_of
from tests.faults import failing
from tests.system import ADMIN_TOKEN, until
from tests.webhooks.web_harness import client_of, event, open_door, served, settings, silent_server
from webhooks import admin as admin_module
from webhooks.app import create_app

STATUS_KEYS = {
    *("pending_events", "stale_customers", "unconfirmed_objects", "missing_objects", "parked"),
    *("oldest_pending_seconds", "last_event_at", "last_gap_fill_at"),
}
"""What other programs rely on."""


async def test_ready(database_url: str, redis_url: str) -> None:
    """With Postgres and Redis up, and the schema in place."""
    async with open_door(settings(database_url=database_url, redis_url=redis_url)) as door:
        answer = await door.ask("GET", "/readyz")
    assert (200, {"postgres": "ok", "redis": "ok"}) == (answer.status, answer.body)


async def test_ready_without_redis(database_url: str) -> None:
    """Redis is reported, not required."""
    async with open_door(settings(database_url=database_url)) as door:
        answer = await door.ask("GET", "/readyz")
    assert 200 == answer.status
    assert {"postgres": "ok", "redis": "away: the sweep does its work"} == answer.body


async def test_many_who_ask_at_once_cost_one_look() -> None:
    """Whoever asks while Postgres is asked waits for the same answer: the route is open to all."""
    async with silent_server() as silent:
        app = create_app(settings(database_url=f"postgresql://h@127.0.0.1:{silent.port}/d"))
        asked = 0

        async def counting(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal asked
            asked += scope.get("path") == "/readyz"
            await app(scope, receive, send)

        async with served(counting, connections=1000) as port, client_of(port) as door:
            for looks in (1, 2):
                asking = [asyncio.create_task(door.ask("GET", "/readyz")) for _ in range(50)]

                async def all_wait(looks: int = looks) -> bool:
                    return (50 * looks, looks) == (asked, len(silent.connections))

                await until(all_wait, what="50 requests that wait for one connection")
                silent.connections[-1].close()  # and the look ends, without an answer
                assert {503} == {answer.status for answer in await asyncio.gather(*asking)}
                assert looks == len(silent.connections)


async def test_not_ready_before_the_migration(empty_database_url: str, redis_url: str) -> None:
    """A database without our tables is named as such, with the command that makes them."""
    async with open_door(settings(database_url=empty_database_url, redis_url=redis_url)) as door:
        ready, status = await door.ask("GET", "/readyz"), await door.status()
        event_answer = await door.post(event("evt_1"))
    assert (503, "not migrated: run `subledger migrate`") == (ready.status, ready.body["postgres"])
    assert (503, "Postgres is not migrated: run `subledger migrate`") == (status.status, status.error)
    assert 503 == event_answer.status


async def test_neither_postgres_nor_redis() -> None:
    """The process starts and lives without either, and says what it misses."""
    async with open_door(settings()) as door:
        alive, ready, status = [
            await door.ask("GET", "/healthz"),
            await door.ask("GET", "/readyz"),
            await door.status(),
        ]
    assert (200, {"status": "ok"}) == (alive.status, alive.body)
    assert (503, {"postgres": "away", "redis": "away: the sweep does its work"}) == (ready.status, ready.body)
    assert (503, "Postgres is away") == (status.status, status.error)


async def test_postgres_that_refuses_us(database_url: str) -> None:
    """A wrong password is not reported as a missing migration, and is in no answer."""
    wrong = database_url.replace("://subledger:", "://subledger:wrong-")
    assert wrong != database_url
    async with open_door(settings(database_url=wrong)) as door:
        answer = await door.ask("GET", "/readyz")
    assert 503 == answer.status
    assert "refuses: InvalidPasswordError: check DATABASE_URL" == answer.body["postgres"]


async def test_postgres_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes connections and says nothing is away, and the answer does not wait for it."""
    monkeypatch.setattr(admin_module, "READY_TIMEOUT_SECONDS", 1.0)
    async with silent_server() as silent:
        async with open_door(settings(database_url=f"postgresql://u@127.0.0.1:{silent.port}/d")) as door:
            answer = await door.ask("GET", "/readyz")
        assert silent.connections
    assert (503, "away") == (answer.status, answer.body["postgres"])


async def test_head_of_the_health_checks() -> None:
    """Some load balancers ask by HEAD."""
    async with open_door(settings()) as door:
        assert 200 == (await door.ask("HEAD", "/healthz")).status


# Admin routes


async def test_admin_routes_are_off_without_a_token() -> None:
    """Without ADMIN_TOKEN nothing opens them, and the answer says how to turn them on."""
    async with open_door(settings(admin_token=None)) as door:
        for token in ("", "None", ADMIN_TOKEN):
            answer = await door.status(token)
            assert 403 == answer.status
            assert "set ADMIN_TOKEN" in answer.error


WRONG_HEADERS = (
    *(None, "", "Bearer", "Bearer ", "Bearer wrong", "Bearer é", ADMIN_TOKEN, f"Basic {ADMIN_TOKEN}"),
    *(f"Bearer {ADMIN_TOKEN}x", f"Bearer {ADMIN_TOKEN[:-1]}", f"Bearer {ADMIN_TOKEN.upper()}"),
)


async def test_wrong_token() -> None:
    """Only the very token opens; the answer names the header and not the token."""
    async with open_door(settings()) as door:
        for header in WRONG_HEADERS:
            headers = {} if header is None else {"Authorization": header}
            answer = await door.ask("GET", "/status", headers=headers)
            assert (401, "Bearer") == (answer.status, answer.headers["WWW-Authenticate"]), header
            assert "the Authorization header must be: Bearer ADMIN_TOKEN" == answer.error


@pytest.mark.parametrize("token", [ADMIN_TOKEN, "schlüssel"])
async def test_right_token(database_url: str, token: str) -> None:
    """The token opens the routes; the scheme's case does not matter, and the token may have any character."""
    async with open_door(settings(database_url=database_url, admin_token=token)) as door:
        assert 200 == (await door.status(token)).status
        headers = {"Authorization": f"bearer  {token}"}
        assert 200 == (await door.ask("GET", "/status", headers=headers)).status


async def test_status(database_url: str, pool: Pool) -> None:
    """All that the contract names, before and after an event."""
    async with open_door(settings(database_url=database_url)) as door:
        empty = (await door.status()).body
        before = time.time()
        assert 200 == (await door.post(event("evt_1"))).status
        waiting = (await door.status()).body
    assert empty.keys() >= STATUS_KEYS
    assert [0, 0, None, 0, 0, None, None, None, True] == [
        empty[name]
        for name in (
            *("pending_events", "stale_customers", "unconfirmed_objects", "missing_objects", "parked"),
            *("oldest_pending_seconds", "last_event_at", "last_gap_fill_at", "settled"),
        )
    ]
    assert (1, False) == (waiting["pending_events"], waiting["settled"])
    assert 0 <= waiting["oldest_pending_seconds"] <= time.time() - before + 1
    received_at = await pool.fetchval("select received_at from sync.events")
    assert received_at == datetime.fromisoformat(waiting["last_event_at"])


async def test_status_sums_up_what_workers_ask_of_stripe(database_url: str, pool: Pool) -> None:
    """Requests, refusals and what waits, of all workers that live; nothing where no worker has an API key."""
    async with open_door(settings(database_url=database_url)) as door:
        async with pool.acquire() as connection:
            await beat(connection, "without a key", {"redis": "ok"})
            assert (await door.status()).body["stripe"] is None
            for number in range(3):
                budget = Budget(limits_of(60.0, live_mode=True))
                use = Use(budget)
                turn = await budget.enter(Lane.LIVE, "", "GET /v1/invoices")
                budget.limited(turn, "endpoint-rate")
                budget.leave(turn)
                await beat(connection, f"worker {number}", {"stripe": use.since_last()})
            await connection.execute(
                "update sync.workers set beat_at = now() - interval '1 min' where id = 'worker 2'"
            )
        use_of_all = (await door.status()).body["stripe"]
    assert {"live", "bulk"} == use_of_all.pop("per_second").keys()
    assert {
        "workers": 2,
        "limits": {"account": 60.0, "operation": 15.0},
        "requests": {"live": 2, "bulk": 0},
        "waiting": {"live": 0, "bulk": 0},
        "refused": {"endpoint-rate": 2},
    } == use_of_all


async def test_fault_of_ours(database_url: str) -> None:
    """An error in our own code is answered in JSON too, without details."""
    with failing(SELECT_BACKLOG, ValueError(ADMIN_TOKEN[::-1])):
        async with open_door(settings(database_url=database_url)) as door:
            answer = await door.status()
    assert (500, {"error": "an internal error: the log has the details"}) == (answer.status, answer.body)
