"""The inbox: an answer promises that the event is stored, and all waiting requests share as few inserts as possible."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
import pytest
import pytest_asyncio

from db.connection import Pool, create_pool
from db.migrate import migrate
from db.sync.inbox import SignedEvent
from local.clean import throwaway_home
from local.postgres import start_postgres
from local.processes import Server
from runtime.bell import Bell, connect_redis
from runtime.envelope import read_envelope
from runtime.logs import Complaints
from tests.conftest import Services
from tests.databases import at_database
from tests.faults import replaced
from tests.ports import closed_port, reserve_ports
from tests.signing import signature_header
from tests.system import until
from tests.webhooks.web_harness import SECRET, Answer, Door, event, open_door, settings
from webhooks import inbox as inbox_module
from webhooks.inbox import Inbox, InboxUnavailable

# One database and one server for all: each test finds the inbox empty.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inbox_database_url(servers: Services, template: str) -> AsyncIterator[str]:
    """A migrated database of this module's own."""
    administrator = await asyncpg.connect(servers.postgres_url)
    await administrator.execute(f"create database inbox_tests template {template}")
    yield at_database(servers.postgres_url, "inbox_tests")
    await administrator.execute("drop database inbox_tests with (force)")
    await administrator.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(inbox_database_url: str) -> AsyncIterator[Door]:
    """The endpoint on that database, without Redis."""
    async with open_door(settings(database_url=inbox_database_url)) as door:
        yield door


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connections(inbox_database_url: str) -> AsyncIterator[Pool]:
    """A pool on that database."""
    pool = await create_pool(inbox_database_url, min_size=1, max_size=10, application_name="subledger-test")
    yield pool
    await pool.close()


@pytest_asyncio.fixture(loop_scope="module")
async def pool(connections: Pool) -> Pool:
    """The pool, the inbox being empty."""
    await connections.execute("truncate sync.events")
    return connections


@pytest_asyncio.fixture(loop_scope="module")
async def door(served: Door, pool: Pool) -> Door:
    """The endpoint, the inbox being empty."""
    return served


@dataclass
class Arrivals:
    """How many events have been handed to the inbox."""

    count: int = 0

    async def reach(self, count: int) -> None:
        async def reached() -> bool:
            return self.count >= count

        await until(reached, what=f"{count} events at the inbox")


@pytest.fixture
def arrivals() -> Iterator[Arrivals]:
    """Counts the events that reach the inbox: a test has no other way to see that requests wait in it."""
    arrivals = Arrivals()
    store = Inbox.store

    async def counted(inbox: Inbox, *arguments: object) -> None:
        arrivals.count += 1
        await store(inbox, *arguments)  # type: ignore[arg-type]

    with replaced(Inbox.store, counted):
        yield arrivals


@asynccontextmanager
async def inserts_held_up(pool: Pool) -> AsyncIterator[None]:
    """Nobody can write to the inbox meanwhile; reading goes on."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("lock table sync.events in share mode")
        yield


async def insert_waits(pool: Pool) -> None:
    """Return once an insert waits for the lock."""

    async def waits() -> object:
        return await pool.fetchval(
            "select 1 from pg_locks where relation = 'sync.events'::regclass and not granted"
        )

    await until(waits, what="a waiting insert")


async def stored_ids(pool: Pool) -> list[str]:
    return [row["event_id"] for row in await pool.fetch("select event_id from sync.events order by seq")]


def posting(door: Door, *event_ids: str) -> list[asyncio.Task[Answer]]:
    """Each event on a connection of its own, all at once."""
    return [asyncio.create_task(door.post(event(event_id))) for event_id in event_ids]


def read_all(event_ids: list[str]) -> list[SignedEvent]:
    return [read_envelope(event(event_id), live_mode_default=False) for event_id in event_ids]


def ids(count: int) -> list[str]:
    return [f"evt_{number}" for number in range(1, count + 1)]


async def test_event_is_kept_as_it_came(door: Door, pool: Pool) -> None:
    """The bytes that were signed, and their envelope."""
    body = event(
        "evt_1", account="acct_1", livemode=True, type="invoice.paid", note="ünï\U0001f600 \x00 \ud800"
    )
    answer = await door.post(body)
    assert (200, {"received": True}) == (answer.status, answer.body)
    (row,) = await pool.fetch("select * from sync.events")
    assert body == row["payload"]
    assert {
        "account_id": "acct_1",
        "live_mode": True,
        "event_id": "evt_1",
        "type": "invoice.paid",
        "api_version": "2026-10-28.endive",
        "state": "pending",
        "attempts": 0,
    }.items() <= dict(row).items()
    assert 1_790_000_000 == row["created"].timestamp()


async def test_whatever_is_signed_is_kept(door: Door, pool: Pool) -> None:
    """Unknown, odd, broken: Stripe would send it for days, so it is taken, and looked into later."""
    bodies = [
        event("evt_unknown", type="planet.aligned"),
        event("evt_type", type=["a", {"b": 1}]),
        event("evt_version", api_version="9" * 100_000),
        event("evt_account", account="漢" * 1000),
        event("evt_time", created="0001-01-01T00:00:00+14:00"),
        event("evt_time_2", created=10**30),
        event("evt_mode", livemode="yes"),
        event("evt_\x00"),
        event("evt_\ud800"),
        event("e" * 10_000),
        event("evt_nul", type="a\x00b", api_version="\ud800"),
        b'{"object": "event", "type": "invoice.upcoming", "livemode": false}',
        b'{"id": 17, "type": "x", "livemode": false}',
        b'{"id": null}',
        b'{"id": "evt_deep", "type": "x", "livemode": false, "data": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b"[" * 100_000,
        b"not JSON",
        b"[]",
        b"null",
        b"\x00",
        b"",
    ]
    for number, body in enumerate(bodies, 1):
        for delivery in ("first", "again"):
            answer = await door.post(body)
            assert 200 == answer.status, (delivery, body[:100], answer.body)
        assert number == await pool.fetchval("select count(*) from sync.events"), body[:100]
        assert body == await pool.fetchval("select payload from sync.events order by seq desc limit 1")


async def test_delivered_five_times_at_once(door: Door, pool: Pool) -> None:
    """One row, and every delivery is answered as received, those that come later too."""
    answers = await asyncio.gather(*posting(door, *["evt_1"] * 5))
    answers += await asyncio.gather(*posting(door, *["evt_1"] * 2))
    assert [200] * 7 == [answer.status for answer in answers]
    assert ["evt_1"] == await stored_ids(pool)


async def test_modes_and_accounts_do_not_mix(door: Door, pool: Pool) -> None:
    """I9: the same id in another mode or account is another event."""
    for fields in ({}, {"livemode": True}, {"account": "acct_1"}, {"account": "acct_1", "livemode": True}):
        assert 200 == (await door.post(event("evt_1", **fields))).status
    assert ["evt_1"] * 4 == await stored_ids(pool)


# I1 and the grouped insert


async def test_i1_answered_only_after_the_commit(door: Door, pool: Pool, arrivals: Arrivals) -> None:
    """I1: while nothing can be stored, no request is answered; afterwards every one is."""
    async with inserts_held_up(pool):
        first = posting(door, "evt_1")
        await insert_waits(pool)
        others = posting(door, *ids(30)[1:])
        await arrivals.reach(30)
        # A request that does not need the inbox is served from end to end meanwhile: there was time for answers.
        assert 200 == (await door.ask("GET", "/healthz")).status
        assert [] == [task for task in first + others if task.done()]
        assert [] == await stored_ids(pool)
    assert [200] * 30 == [answer.status for answer in await asyncio.gather(*first, *others)]
    assert set(ids(30)) == set(await stored_ids(pool))


async def test_i1_row_is_there_when_the_answer_comes(door: Door, pool: Pool) -> None:
    """I1: each request that was answered finds its own row, not only its neighbours'."""

    async def post_and_look(event_id: str) -> object:
        assert 200 == (await door.post(event(event_id))).status
        return await pool.fetchval("select event_id from sync.events where event_id = $1", event_id)

    assert ids(100) == await asyncio.gather(*map(post_and_look, ids(100)))


async def group_sizes(pool: Pool) -> list[int]:
    """How many rows each transaction wrote, in the order of the inbox."""
    rows = await pool.fetch("select xmin::text as transaction from sync.events order by seq")
    return list(Counter(row["transaction"] for row in rows).values())


async def test_all_who_wait_share_one_insert(door: Door, pool: Pool, arrivals: Arrivals) -> None:
    """While one insert is under way, the next one gathers all that arrives."""
    async with inserts_held_up(pool):
        tasks = posting(door, "evt_1")
        await insert_waits(pool)
        tasks += posting(door, *ids(41)[1:])
        await arrivals.reach(41)
    assert [200] * 41 == [answer.status for answer in await asyncio.gather(*tasks)]
    assert [1, 40] == await group_sizes(pool)


@pytest.mark.parametrize(
    ("bound", "value", "sizes"), [("GROUP_MAX", 8, [1, 8, 8, 4]), ("GROUP_BYTES_MAX", 10_000, [1, 10, 10])]
)
async def test_groups_are_bounded(
    door: Door,
    pool: Pool,
    arrivals: Arrivals,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: int,
    sizes: list[int],
) -> None:
    """By rows and by bytes, so that a flood neither holds one transaction long nor fills the memory twice."""
    monkeypatch.setattr(inbox_module, bound, value)
    bodies = [event(event_id).ljust(1000) for event_id in ids(21)]
    async with inserts_held_up(pool):
        tasks = [asyncio.create_task(door.post(bodies[0]))]
        await insert_waits(pool)
        tasks += [asyncio.create_task(door.post(body)) for body in bodies[1:]]
        await arrivals.reach(21)
    assert [200] * 21 == [answer.status for answer in await asyncio.gather(*tasks)]
    assert sizes == await group_sizes(pool)


async def test_flood_is_refused(
    door: Door, pool: Pool, arrivals: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When too many wait, Stripe is asked to send again; the waiting ones are still stored."""
    monkeypatch.setattr(inbox_module, "WAITING_MAX", 3)
    async with inserts_held_up(pool):
        tasks = posting(door, "evt_1")
        await insert_waits(pool)
        tasks += posting(door, *ids(4)[1:])
        await arrivals.reach(4)
        assert 503 == (await door.post(event("evt_5"))).status
    assert [200] * 4 == [answer.status for answer in await asyncio.gather(*tasks)]
    assert 200 == (await door.post(event("evt_5"))).status
    assert set(ids(5)) == set(await stored_ids(pool))


async def test_bad_row_does_not_refuse_its_neighbours(door: Door, pool: Pool, arrivals: Arrivals) -> None:
    """I7: a row that Postgres will not take fails its group; the others are stored one by one."""
    await pool.execute(
        """
        create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;
        create trigger refuse before insert on sync.events for each row when (new.event_id = 'evt_7')
          execute function refuse();
        """
    )
    async with inserts_held_up(pool):
        tasks = posting(door, "evt_1")
        await insert_waits(pool)
        tasks += posting(door, *ids(12)[1:])
        await arrivals.reach(12)
    answers = dict(zip(ids(12), await asyncio.gather(*tasks), strict=True))
    assert {"evt_7": 503} == {key: answer.status for key, answer in answers.items() if answer.status != 200}
    assert "the event could not be stored: send it again" == answers["evt_7"].error
    assert set(ids(12)) - {"evt_7"} == set(await stored_ids(pool))
    await pool.execute("drop trigger refuse on sync.events")
    assert 200 == (await door.post(event("evt_7"))).status


# Clients that go away


def raw_request(body: bytes) -> bytes:
    head = (
        "POST /webhooks/stripe HTTP/1.1\r\nHost: h\r\n"
        f"Content-Length: {len(body)}\r\nStripe-Signature: {signature_header(body, SECRET)}\r\n\r\n"
    )
    return head.encode() + body


@pytest.mark.parametrize("sent", [-1, -200, 60], ids=["but a byte", "half a body", "half a header"])
async def test_client_that_leaves_before_the_end(door: Door, pool: Pool, sent: int) -> None:
    """An incomplete body is not stored, and no other request is affected."""
    _, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(raw_request(event("evt_cut"))[:sent])
    await writer.drain()
    tasks = posting(door, *ids(5))
    writer.transport.abort()
    assert [200] * 5 == [answer.status for answer in await asyncio.gather(*tasks)]
    assert set(ids(5)) == set(await stored_ids(pool))


async def test_client_that_leaves_while_its_event_is_stored(
    door: Door, pool: Pool, arrivals: Arrivals
) -> None:
    """Its event came whole and is kept; those that wait in the same group are answered."""
    async with inserts_held_up(pool):
        tasks = posting(door, "evt_1")
        await insert_waits(pool)
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(raw_request(event("evt_gone")))
        tasks += posting(door, *ids(5)[1:])
        await arrivals.reach(6)
        writer.transport.abort()
    assert [200] * 5 == [answer.status for answer in await asyncio.gather(*tasks)]
    assert {*ids(5), "evt_gone"} == set(await stored_ids(pool))


async def test_request_that_is_cancelled(inbox_database_url: str, pool: Pool) -> None:
    """A request that uvicorn cancels takes no other with it: its neighbours are answered, later events are stored."""
    bell = Bell(connect_redis(f"redis://127.0.0.1:{closed_port()}"), timeout_seconds=0.1)
    inbox = Inbox(inbox_database_url, bell, Complaints())
    await inbox.start()
    async with inserts_held_up(pool):
        storing = [asyncio.create_task(inbox.store(each)) for each in read_all(ids(3))]
        await insert_waits(pool)
        storing[0].cancel()
        await asyncio.wait(storing[:1])
        assert storing[0].cancelled()
    async with asyncio.timeout(30):
        await asyncio.gather(*storing[1:])
        await inbox.store(read_all(["evt_later"])[0])
    await inbox.close()
    await bell.close()
    assert {*ids(3), "evt_later"} == set(await stored_ids(pool))


# Postgres in trouble


async def kill_the_inbox_connection(pool: Pool) -> None:
    """As a failover, a pooler or an administrator does. That of an earlier test's inbox may still be on its way out."""
    of_inboxes = "from pg_stat_activity where application_name = 'subledger web inbox' and datname = current_database()"

    async def is_alone() -> bool:
        return bool(1 == await pool.fetchval(f"select count(*) {of_inboxes}"))

    await until(is_alone, what="the inbox's connection, alone")
    assert [True] == [
        row[0] for row in await pool.fetch(f"select pg_terminate_backend(pid, 60000) {of_inboxes}")
    ]


async def test_connection_killed_between_events(door: Door, pool: Pool) -> None:
    """The next event finds a dead connection, and is stored over a new one."""
    assert 200 == (await door.post(event("evt_1"))).status
    await kill_the_inbox_connection(pool)
    assert 200 == (await door.post(event("evt_2"))).status
    assert ids(2) == await stored_ids(pool)


async def test_connection_killed_during_the_insert(door: Door, pool: Pool, arrivals: Arrivals) -> None:
    """An insert whose result was lost is repeated, which stores nothing twice."""
    assert 200 == (await door.post(event("evt_0"))).status
    async with inserts_held_up(pool):
        tasks = posting(door, *ids(3))
        await insert_waits(pool)
        await arrivals.reach(4)
        await kill_the_inbox_connection(pool)
        await insert_waits(pool)
    assert [200] * 3 == [answer.status for answer in await asyncio.gather(*tasks)]
    assert ["evt_0", *ids(3)] == sorted(await stored_ids(pool))


async def test_insert_that_does_not_end(door: Door, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripe is not kept waiting forever; sent again, the event is stored once."""
    monkeypatch.setattr(inbox_module, "INSERT_TIMEOUT_SECONDS", 0.3)
    async with inserts_held_up(pool):
        assert 503 == (await door.post(event("evt_1"))).status
    monkeypatch.setattr(inbox_module, "INSERT_TIMEOUT_SECONDS", 10.0)
    assert 200 == (await door.post(event("evt_1"))).status
    assert ["evt_1"] == await stored_ids(pool)


@pytest.fixture(scope="module")
def own_home() -> Iterator[Path]:
    """A home of this module's own: to make a cluster takes longer than to start its server."""
    with throwaway_home() as home:
        reserve_ports(home)
        with start_postgres(home, durable=False) as server:
            migrate(server.url)
        yield home


@pytest_asyncio.fixture(loop_scope="module")
async def own_postgres(own_home: Path) -> AsyncIterator[Server]:
    """A migrated Postgres, its inbox empty, to be stopped and started."""
    with start_postgres(own_home, durable=False) as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("truncate sync.events")
        await connection.close()
        yield server


async def test_postgres_stopped_and_started(own_home: Path, own_postgres: Server) -> None:
    """503 as long as it is away, hung or stopped, and 200 when it is back, with nothing lost and nothing twice."""
    async with open_door(settings(database_url=own_postgres.url)) as door:
        assert 200 == (await door.post(event("evt_1"))).status
        own_postgres.stop()
        answers = await asyncio.gather(*posting(door, "evt_1", "evt_2", "evt_3"))
        assert [503] * 3 == [answer.status for answer in answers]
        assert (503, "away") == _postgres(await door.ask("GET", "/readyz"))
        assert 200 == (await door.ask("GET", "/healthz")).status
        with start_postgres(own_home, durable=False) as again:
            assert own_postgres.port == again.port, "the test's own server did not come back where it was"
            answers = await asyncio.gather(*posting(door, "evt_1", "evt_2", "evt_2"))
            assert [200] * 3 == [answer.status for answer in answers]
            assert (200, "ok") == _postgres(await door.ask("GET", "/readyz"))
            connection = await asyncpg.connect(again.url)
            rows = await connection.fetch("select event_id from sync.events")
            await connection.close()
            assert ids(2) == sorted(row["event_id"] for row in rows)


def _postgres(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["postgres"]


async def test_postgres_that_hangs(own_postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs with open connections is given up in bounded time and found again later."""
    async with open_door(settings(database_url=own_postgres.url)) as door:
        assert 200 == (await door.post(event("evt_1"))).status
        monkeypatch.setattr(inbox_module, "INSERT_TIMEOUT_SECONDS", 0.5)
        family = [own_postgres.process.pid, *_children(own_postgres.process.pid)]
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert 503 == (await door.post(event("evt_2"))).status
        finally:
            for pid in family:
                os.kill(pid, signal.SIGCONT)
        monkeypatch.setattr(inbox_module, "INSERT_TIMEOUT_SECONDS", 10.0)

        async def stored() -> bool:
            return (await door.post(event("evt_2"))).status == 200

        await until(stored, what="an answer of the revived server")


def _children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


# Closing


async def test_closing_stores_what_waits(inbox_database_url: str, pool: Pool) -> None:
    """A process that is asked to stop ends what it began, and takes nothing new."""
    bell = Bell(connect_redis(f"redis://127.0.0.1:{closed_port()}"), timeout_seconds=0.1)
    inbox = Inbox(inbox_database_url, bell, Complaints())
    await inbox.start()
    events = read_all(ids(3))
    async with inserts_held_up(pool):
        storing = [asyncio.create_task(inbox.store(events[0]))]
        await insert_waits(pool)
        storing.append(asyncio.create_task(inbox.store(events[1])))
        await asyncio.sleep(0)
        closing = asyncio.create_task(inbox.close())
        await asyncio.sleep(0)
        with pytest.raises(InboxUnavailable, match="stopping"):
            await inbox.store(events[2])
        assert not closing.done()
    await asyncio.gather(*storing)
    await closing
    assert ids(2) == await stored_ids(pool)
    await bell.close()


async def test_closing_does_not_wait_for_ever(
    inbox_database_url: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nothing can be stored any more, the process stops anyway, and has promised nothing."""
    bell = Bell(connect_redis(f"redis://127.0.0.1:{closed_port()}"), timeout_seconds=0.1)
    inbox = Inbox(inbox_database_url, bell, Complaints())
    await inbox.start()
    events = read_all(ids(2))
    async with inserts_held_up(pool):
        storing = [asyncio.create_task(inbox.store(events[0]))]
        await insert_waits(pool)
        storing.append(asyncio.create_task(inbox.store(events[1])))
        await asyncio.sleep(0)
        monkeypatch.setattr(inbox_module, "INSERT_TIMEOUT_SECONDS", 0.2)
        async with asyncio.timeout(30):
            await inbox.close()
        for each in storing:
            with pytest.raises(InboxUnavailable, match="stopping"):
                await each
    await bell.close()
    assert [] == await stored_ids(pool)


async def test_inbox_numbers_that_were_set_back(door: Door, pool: Pool) -> None:
    """I1: an event whose number is taken, because somebody set the sequence back, is not answered as if it were known:
    it is refused, Stripe sends it again, and then it is stored under a number above all others.
    """
    for number in range(3):
        assert 200 == (await door.post(event(f"evt_{number}"))).status
    await pool.execute("select setval('sync.events_seq_seq', (select min(seq) from sync.events), false)")
    statuses = []
    for _ in range(3):
        statuses.append((await door.post(event("evt_late"))).status)
        stored = await pool.fetchval("select count(*) from sync.events where event_id = 'evt_late'")
        assert (statuses[-1] == 200) == (stored == 1)
    assert 200 == statuses[-1]
    assert "evt_late" == await pool.fetchval("select event_id from sync.events order by seq desc limit 1")
