"""`subledger doctor`: each broken state is named with its remedy, and nothing is said that is not so."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import redis

from cli.attach import _attach
from cli.checks.finding import Cure, Finding, State
from cli.checks.postgres import _of_server
from cli.checks.settings import read_settings
from cli.checks.stripe import findings_of
from cli.connect import settings
from cli.doctor import _look
from cli.errors import message_of
from cli.event_types import EVENT_TYPES
from cli.repairs import Repaired, do, plan
from db.connection import Pool
from db.sync.fitness import Server
from runtime.webhook_endpoints import Endpoint
from sandbox import Api, Sandbox, create_api, serve
from tests.cli.command import subledger
from tests.ports import closed_port

SECRET_KEY, RESTRICTED_KEY, UNKNOWN_KEY = "sk_test_doctor", "rk_test_doctor", "rk_test_nobody"
URL = "https://billing.example.com/webhooks/stripe"
ODD_HERE = {"setting STRIPE_API_BASE", "postgres durability"}
"""What is odd about every test: Stripe is a double, and what Postgres commits need not last."""


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A system in good health, which a test makes ill."""

    environ: dict[str, str]
    pool: Pool
    api: Api

    @property
    def endpoint(self) -> dict[str, Any]:
        """Ours at Stripe; its fields may be set."""
        (found,) = self.api.endpoints.of(self.api.sandbox.home)
        return found

    async def look(self, **environ: str) -> dict[str, list[Finding]]:
        """What the doctor finds that is not well, by check."""
        found: dict[str, list[Finding]] = {}
        for each in await _look(self.environ | environ, None):
            if each.state in (State.WARNING, State.FAILURE) and each.check not in ODD_HERE:
                found.setdefault(each.check, []).append(each)
        return found

    async def fix(
        self, url: str | None = None, *, secret_file: Path | None = None, **environ: str
    ) -> list[Repaired]:
        """What the doctor does about what it finds."""
        given = self.environ | environ
        repairs = plan(await _look(given, url))
        return await do(read_settings(given).settings, repairs, secret_file=secret_file)


@asynccontextmanager
async def healthy(pool: Pool, database_url: str, redis_url: str) -> AsyncIterator[Patient]:
    """Settings, a worker's sign of life, an endpoint, and an event that came."""
    sandbox = Sandbox(seed=3)
    sandbox.play("refunded_in_two_parts")
    events = sandbox.run()
    api = create_api(sandbox, [SECRET_KEY, RESTRICTED_KEY])
    api.endpoints.register(sandbox.home, url=URL, enabled_events=EVENT_TYPES, created=sandbox.now)
    async with serve(api) as api_base:
        async with pool.acquire() as connection:
            await connection.execute(
                "insert into sync.workers (id, detail) values ('host:1:1', '{\"redis\": \"ok\"}')"
            )
            await connection.execute(
                "insert into sync.events (account_id, live_mode, event_id, type, payload, state) "
                "select '', false, id, '', '', 'applied' from unnest($1::text[]) as came (id)",
                [each.id for each in events],
            )
        yield Patient(
            environ={
                "DATABASE_URL": database_url,
                "REDIS_URL": redis_url,
                "STRIPE_API_BASE": api_base,
                "STRIPE_API_KEY": RESTRICTED_KEY,
                "STRIPE_WEBHOOK_SECRET": "whsec_doctor",
                "ADMIN_TOKEN": "a-long-enough-token-of-tests",
            },
            pool=pool,
            api=api,
        )


async def test_nothing_is_wrong(pool: Pool, database_url: str, redis_url: str) -> None:
    """A healthy system: no failure, exit code 0, and every part was looked at; in JSON too."""
    async with healthy(pool, database_url, redis_url) as patient:
        assert {} == await patient.look()
        done = await subledger(database_url, "doctor", "--json", **patient.environ)
    said = json.loads(done.out)
    found = {each["check"]: each for each in said["findings"]}
    failed = [
        each for each in said["findings"] if each["state"] == "failure" and each["check"] not in ODD_HERE
    ]
    assert [] == failed
    assert (said["ok"], done.code) in ((True, 0), (False, 1))
    assert {
        *("setting DATABASE_URL", "setting STRIPE_WEBHOOK_SECRET", "postgres version", "postgres migrations"),
        *(
            "postgres rights",
            "postgres sequences",
            "clock of postgres",
            "workers",
            "lag",
            "disk of the inbox",
        ),
        *("redis connection", "redis eviction", "stripe key", "stripe key and database", "stripe rights"),
        "stripe writes",
        *("clock of stripe", "arrival of events", "webhook endpoint we_00000000000001"),
    } <= found.keys()
    assert "may read all" in found["stripe rights"]["said"]


SET_BACK = """
insert into sync.objects (account_id, live_mode, kind, id, dirty, confirmed)
values ('', false, 'customer', 'cus_1', 4611686018427387904, 4611686018427387905)
"""
IN_DATABASE = [
    (
        "update sync.workers set beat_at = now() - interval '1 hour'",
        "workers",
        "none is alive",
        "subledger worker",
    ),
    (
        "insert into sync.workers (id, beat_at) values ('host:2:2', now() - interval '1 hour')",
        "workers",
        "lost: host:2:2",
        "see why",
    ),
    ('update sync.workers set detail = \'{"redis": "away"}\'', "workers' redis", "host:1:1", "REDIS_URL"),
    (
        (
            "insert into sync.events (account_id, live_mode, event_id, type, payload, received_at) "
            "values ('', false, 'evt_late', '', '', now() - interval '10 minutes')"
        ),
        "lag",
        "1 event pending, the oldest for 10 min",
        "workers",
    ),
    (
        (
            "insert into sync.events (account_id, live_mode, event_id, type, payload, state) "
            "values ('', false, 'evt_parked', '', '', 'parked')"
        ),
        "parked",
        "1 event, object or customer given up",
        "subledger events replay --state parked",
    ),
    (
        "insert into sync.alarms (name, detail, remedy) values ('account acct_1', 'away: call them', 'call them')",
        "alarm account acct_1",
        "away",
        "call them",
    ),
    (SET_BACK, "postgres sequences", "sync.tick was set back", "restart a worker"),
    ("delete from sync.events where type = ''", "arrival of events", "has not come", "STRIPE_WEBHOOK_SECRET"),
]


async def test_what_is_wrong_in_the_database(pool: Pool, database_url: str, redis_url: str) -> None:
    """Workers, lag, what was given up, alarms, sequences, a key of something else, events that do not come."""
    async with healthy(pool, database_url, redis_url) as patient:
        for statement, check, said, remedy in IN_DATABASE:
            kept = {}
            for name in ("workers", "events", "alarms", "objects", "key"):
                kept[name] = await pool.fetch(f"select * from sync.{name}")
            await pool.execute(statement)
            expect(await patient.look(), check, said, remedy)
            async with pool.acquire() as connection:
                for name, rows in kept.items():
                    await connection.execute(f"delete from sync.{name}")
                    for row in rows:
                        named = {key: value for key, value in row.items() if key not in ("seq", "unsettled")}
                        places = ", ".join(f"${place}" for place in range(1, len(named) + 1))
                        await connection.execute(
                            f"insert into sync.{name} ({', '.join(named)}) values ({places})", *named.values()
                        )
        assert {} == await patient.look()


def expect(found: dict[str, list[Finding]], check: str, said: str, remedy: str) -> None:
    """This is found, and nothing else."""
    assert [check] == list(found), found
    assert any(said in each.said and remedy in each.remedy for each in found[check]), found


async def test_what_is_wrong_at_stripe(pool: Pool, database_url: str, redis_url: str) -> None:
    """The endpoint, and rights that the key lacks: what records need fails, what is only mirrored is a warning."""
    async with healthy(pool, database_url, redis_url) as patient:
        home = patient.api.sandbox.home
        ours = "webhook endpoint we_00000000000001"
        complete = list(EVENT_TYPES)
        cases: list[tuple[dict[str, Any], str, State, str]] = [
            (
                {"enabled_events": [each for each in complete if each != "invoice.paid"]},
                ours,
                State.FAILURE,
                "1 type that records need: invoice.paid",
            ),
            (
                {"enabled_events": [each for each in complete if not each.startswith("payout.")]},
                ours,
                State.WARNING,
                "of the mirror: payout.created",
            ),
            ({"api_version": "2019-12-03"}, ours, State.WARNING, "its API version is 2019-12-03"),
            (
                {"url": "https://billing.example.com/hooks"},
                "webhook endpoint",
                State.FAILURE,
                "none posts to /webhooks/stripe; there are https://billing.example.com/hooks",
            ),
        ]
        for fields, check, state, said in cases:
            before = dict(patient.endpoint)
            patient.endpoint.update(fields)
            found = await patient.look()
            expect(found, check, said, "" if "api_version" in fields else "subledger attach --url")
            assert [state] == [each.state for each in found[check]]
            patient.endpoint.update(before)
        patient.endpoint["enabled_events"] = ["*"]
        assert {} == await patient.look()
        again = patient.api.endpoints.register(home, url=URL, enabled_events=["*"], created=0)
        expect(await patient.look(), "webhook endpoint", "two have the same address", "delete one")
        patient.api.endpoints.of(home)[:] = [
            each for each in patient.api.endpoints.of(home) if each["id"] != again["id"]
        ]
        for forbidden, check, state, said in (
            ("payouts", "stripe rights", State.WARNING, "only mirrored: payouts"),
            ("account", "stripe key", State.WARNING, "may not read its own account"),
            ("webhook_endpoints", "webhook endpoint", State.WARNING, "may not read endpoints"),
        ):
            patient.api.forbidden = {forbidden}
            found = await patient.look()
            expect(found, check, said, "allow")
            assert [state] == [each.state for each in found[check]]
        patient.api.forbidden = set()
        written, changes = set(patient.api.unwritable), patient.api.sandbox.changes
        for unwritable, calls in (
            ({"customers"}, "create_in_stripe and changes of customers"),
            ({"checkout/sessions", "billing/meter_events"}, "docs/api.md): checkout, track"),
        ):
            patient.api.unwritable = written | unwritable
            found = await patient.look()
            expect(found, "stripe writes", "may not write", calls)
            assert [State.WARNING] == [each.state for each in found["stripe writes"]]
        # A key that only reads is what docs/attach.md asks for.
        patient.api.unwritable |= {"customers", "billing_portal"}
        assert {} == await patient.look()
        patient.api.unwritable = written
        assert changes == patient.api.sandbox.changes, "the doctor changes nothing"
        found = await patient.look(STRIPE_API_KEY=SECRET_KEY)
        expect(found, "setting STRIPE_API_KEY", "which may do everything", "restricted key")


async def test_what_is_wrong_with_servers(pool: Pool, database_url: str, redis_url: str) -> None:
    """Postgres closed to this role; Redis away, or one that evicts."""
    async with healthy(pool, database_url, redis_url) as patient:
        await pool.execute("create role doctor_stranger login password 'stranger'")
        try:
            parts = urlsplit(database_url)
            place = f"doctor_stranger:stranger@{parts.hostname}:{parts.port}"
            stranger = urlunsplit(parts._replace(netloc=place))
            found = await patient.look(DATABASE_URL=stranger)
            assert {"postgres migrations"} <= found.keys(), found
            assert "the role that migrated" in found["postgres migrations"][0].remedy
        finally:
            await pool.execute("drop role doctor_stranger")
        expect(
            await patient.look(REDIS_URL=f"redis://127.0.0.1:{closed_port()}/0"),
            "redis connection",
            "a second slower",
            "REDIS_URL",
        )
        with evicting(redis_url):
            expect(await patient.look(), "redis eviction", "allkeys-lru", "noeviction")


@contextmanager
def evicting(redis_url: str) -> Iterator[None]:
    """A cache in place of a queue, with room for everything."""
    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory", 10 * 2**30)
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            yield
        finally:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", 0)


async def test_command_that_fails(database_url: str, redis_url: str) -> None:
    """Exit code 1, what was found and then what to do; settings that cannot be used are findings, not a usage error."""
    done = await subledger(
        database_url,
        "doctor",
        REDIS_URL=redis_url,
        STRIPE_API_KEY="pk_test_1",
        PORT="eighty",
    )
    assert 1 == done.code, done.out
    assert "" == done.err
    (line,) = done.lines("setting STRIPE_API_KEY")
    assert "failure" in line
    assert "publishable key" in line
    todo = done.out[done.out.index("To do") :]
    for variable in ("STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET", "PORT"):
        assert f"setting {variable}" in todo
    assert "* workers: start `subledger worker`" in todo


def test_settings_without_which_nothing_works() -> None:
    """Each is named; the others are read all the same."""
    read = read_settings({"STRIPE_API_KEY": "rk_test_1", "ADMIN_TOKEN": "short"})
    assert {"DATABASE_URL", "REDIS_URL"} == read.unusable
    states = {(each.check, each.state) for each in read.findings}
    for name in ("DATABASE_URL", "REDIS_URL", "STRIPE_WEBHOOK_SECRET"):
        assert (f"setting {name}", State.FAILURE) in states
    assert ("setting ADMIN_TOKEN", State.WARNING) in states
    assert not read.settings.live_mode


def test_server_that_is_not_fit() -> None:
    """Too old, a standby, no durability, no connection left, another time: each with its remedy."""
    fine = Server(
        version="18.4",
        version_number=180004,
        is_standby=False,
        fsync=True,
        synchronous_commit="on",
        connections=10,
        connections_max=100,
        now=datetime.now(UTC),
        oldest_seconds=60.0,
        oldest_pid=7,
    )
    assert {State.OK} == {each.state for each in _of_server(fine)}
    for changed, check, state, remedy in (
        ({"version": "14.9", "version_number": 140009}, "version", State.FAILURE, "Postgres 15 or later"),
        ({"is_standby": True}, "role", State.FAILURE, "target_session_attrs=read-write"),
        ({"fsync": False}, "durability", State.FAILURE, "fsync = on"),
        ({"synchronous_commit": "off"}, "durability", State.WARNING, "synchronous_commit = on"),
        ({"connections": 95}, "connections", State.WARNING, "max_connections"),
        ({"oldest_seconds": 7200.0}, "transactions", State.WARNING, "idle_in_transaction_session_timeout"),
        ({"now": datetime.now(UTC) + timedelta(minutes=3)}, "clock of postgres", State.WARNING, "NTP"),
    ):
        server = replace(fine, **changed)
        (found,) = [each for each in _of_server(server) if each.state is not State.OK]
        assert check in found.check
        assert (state, True) == (found.state, remedy in found.remedy)


def test_endpoint_in_live_mode_must_be_https() -> None:
    """Stripe posts live events to nothing else."""
    endpoint = Endpoint(id="we_1", url="http://host/webhooks/stripe", status="enabled", enabled_events=("*",))
    (found,) = findings_of(endpoint, live_mode=True)
    assert (State.FAILURE, "http://host/webhooks/stripe is not https") == (found.state, found.said)
    (found,) = findings_of(endpoint, live_mode=False)
    assert State.OK is found.state


SICK = """
insert into sync.objects (account_id, live_mode, kind, id, dirty, confirmed)
select '', false, 'customer', 'cus_1', last_value + 1000, last_value + 1001 from sync.tick;
insert into sync.alarms (name, detail, worker) values ('api key', 'refused', 'host:9:9');
insert into sync.alarms (name, detail, worker) values ('api key of another mode', 'it is', 'host:1:1');
insert into sync.alarms (name, detail) values ('read of invoice in_1 refused', 'it is');
insert into sync.objects (account_id, live_mode, kind, id, dirty, confirmed)
values ('', false, 'invoice', 'in_1', 1, 2);
revoke usage on schema billing from billing_reader;
"""


NO_KEY = {"STRIPE_API_KEY": ""}


async def test_what_it_repairs(pool: Pool, database_url: str, redis_url: str) -> None:
    """Sequences, rights of readers, alarms that are over and the endpoint; an alarm that a worker still raises stays,
    and so does everything else. Then there is nothing more to repair.
    """
    async with healthy(pool, database_url, redis_url) as patient:
        await pool.execute(SICK)
        patient.endpoint.update(status="disabled", enabled_events=["invoice.paid"])
        # While no key works, nobody knows whether what was said about one is over.
        assert "api key" not in {each.target for each in plan(await _look(patient.environ | NO_KEY, None))}
        repaired = await patient.fix(STRIPE_API_KEY=SECRET_KEY)
        assert [
            (Cure.READERS, "", True, "readers may read"),
            (Cure.SEQUENCES, "", True, "they are above every row; readers of `change` read everything again"),
            (Cure.ALARM, "api key", True, "taken back"),
            (Cure.ALARM, "read of invoice in_1 refused", True, "taken back"),
            (Cure.ENDPOINT, URL, True, "the endpoint is repaired"),
        ] == [(each.repair.cure, each.repair.target, each.done, each.said) for each in repaired]
        assert ("enabled", list(EVENT_TYPES)) == (
            patient.endpoint["status"],
            patient.endpoint["enabled_events"],
        )
        # That the history of the database was broken is itself an alarm.
        assert {"alarm api key of another mode", "alarm history of the database"} == set(await patient.look())
        assert [] == await patient.fix()


async def test_what_it_registers_and_migrates(
    pool: Pool, database_url: str, empty_database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """An endpoint whose address is known, with its secret, also if that cannot be written into its file; the schema.
    What the key may not do is said, and keeps nothing else from being done.
    """
    other = "https://other.example.com/webhooks/stripe"
    async with healthy(pool, database_url, redis_url) as patient:
        (registered,) = await patient.fix(
            other, secret_file=tmp_path / "nowhere" / "secret", STRIPE_API_KEY=SECRET_KEY
        )
        assert (True, "the endpoint is registered") == (registered.done, registered.said)
        assert registered.secret is not None
        registered_ones = patient.api.endpoints.of(patient.api.sandbox.home)
        registered_ones[:] = [each for each in registered_ones if each["url"] != other]
        migrated, refused = await patient.fix(other, DATABASE_URL=empty_database_url)
        assert (Cure.MIGRATE, True) == (migrated.repair.cure, migrated.done)
        assert "the key may not write webhook endpoints" in refused.said
        assert "postgres migrations" not in await patient.look(DATABASE_URL=empty_database_url)


async def test_it_asks_first(pool: Pool, database_url: str, redis_url: str) -> None:
    """Nobody answers: it says what it would do, does nothing, and ends as what it found says; --yes asks nothing."""
    async with healthy(pool, database_url, redis_url) as patient:
        await pool.execute("revoke usage on schema billing from billing_reader")
        asked = await subledger(database_url, "doctor", "--fix", **patient.environ)
        assert "this would be done:\n* give billing_reader the rights of readers" in asked.err
        assert asked.err.endswith("subledger: nothing was repaired\n")
        may_read = "select has_schema_privilege('billing_reader', 'billing', 'usage')"
        assert not await pool.fetchval(may_read)
        done = await subledger(database_url, "doctor", "--fix", "--yes", "--json", **patient.environ)
        assert "readers may read" == json.loads(done.out)["repaired"][0]["said"]
        assert await pool.fetchval(may_read)
        wrong = await subledger(database_url, "doctor", "--yes", **patient.environ)
        assert (2, True) == (wrong.code, "goes with --fix" in wrong.err)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A broken state, and what is said of it: the doctor names the check, and both the fault and the remedy."""

    check: str
    fault: str
    remedy: str
    sql: str = "select"
    environ: dict[str, str] = field(default_factory=dict)
    endpoint: dict[str, object] = field(default_factory=dict)
    forbidden: frozenset[str] = frozenset()
    attach_says: tuple[str, str] | None = None
    """Where it says so in other words."""


def ten_broken_states(empty_database_url: str) -> list[Broken]:
    """What keeps an account from being attached, outside of Subledger itself."""
    by_hand = ("may not write webhook endpoints", "stripe webhook_endpoints create -d url=")
    nowhere = closed_port()
    return [
        Broken(
            check="setting STRIPE_API_KEY",
            fault="it is not set",
            remedy="set it to a restricted key",
            environ={"STRIPE_API_KEY": ""},
            attach_says=("without STRIPE_API_KEY", "set it"),
        ),
        Broken(
            check="stripe key",
            fault="Stripe does not know it",
            remedy="put a valid key into STRIPE_API_KEY",
            environ={"STRIPE_API_KEY": UNKNOWN_KEY},
        ),
        Broken(
            check="stripe key",
            fault="gives no answer",
            remedy="firewall",
            environ={"STRIPE_API_BASE": f"http://127.0.0.1:{nowhere}"},
        ),
        Broken(
            check="stripe rights",
            fault="what records need: invoices",
            remedy="allow the key to read invoices",
            forbidden=frozenset({"invoices"}),
        ),
        Broken(
            check="stripe key and database",
            fault="filled from acct_other, and the key is of acct_sandbox",
            remedy="a key of acct_other",
            sql="insert into sync.key (account_id, live_mode) values ('acct_other', false)",
        ),
        Broken(
            check="stripe key and database",
            fault="serves live mode, and the key is of test mode",
            remedy="a live key",
            sql="insert into sync.key (account_id, live_mode) values ('', true)",
        ),
        Broken(
            check="webhook endpoint we_00000000000001",
            fault="it is disabled",
            remedy=f"subledger attach --url {URL}",
            endpoint={"status": "disabled"},
            attach_says=by_hand,
        ),
        Broken(
            check="webhook endpoint we_00000000000001",
            fault="types that records need",
            remedy=f"subledger attach --url {URL}",
            endpoint={"enabled_events": ["ping.pong"]},
            attach_says=by_hand,
        ),
        Broken(
            check="postgres migrations",
            fault="the database is not migrated",
            remedy="run `subledger migrate`",
            environ={"DATABASE_URL": empty_database_url},
        ),
        Broken(
            check="postgres connection",
            fault="cannot be reached",
            remedy="DATABASE_URL",
            environ={"DATABASE_URL": f"postgresql://nobody@127.0.0.1:{nowhere}/none"},
        ),
    ]


async def what_attach_says(environ: dict[str, str]) -> str:
    """The one message with which it ends."""
    try:
        await _attach(environ, settings(environ), url=URL, secret_file=None, wait=0)
    except Exception as error:
        message = message_of(error)
        if message is None:
            raise
        return message
    raise AssertionError("attach did not fail")


async def test_ten_broken_states(
    pool: Pool, database_url: str, empty_database_url: str, redis_url: str
) -> None:
    """For each the doctor and `attach` name the fault and the remedy, with a key that may not write endpoints; and
    once it is mended, nothing is wrong.
    """
    states = ten_broken_states(empty_database_url)
    assert 10 == len(states)
    async with healthy(pool, database_url, redis_url) as patient:
        for each in states:
            before = dict(patient.endpoint)
            patient.endpoint.update(each.endpoint)
            patient.api.forbidden = set(each.forbidden)
            await pool.execute(each.sql)
            expect(await patient.look(**each.environ), each.check, each.fault, each.remedy)
            fault, remedy = each.attach_says or (each.fault, each.remedy)
            if each.environ.get("STRIPE_API_KEY") == "":
                done = await subledger(
                    database_url, "attach", "--url", URL, **(patient.environ | each.environ)
                )
                said = done.err
            else:
                said = await what_attach_says(patient.environ | each.environ)
            assert fault in said, said
            assert remedy in said, said
            patient.endpoint.update(before)
            patient.api.forbidden = set()
            await pool.execute("delete from sync.key")
        assert {} == await patient.look()
