"""Metrics: what both processes say, who may ask, and that alerts, dashboard and page know the names."""

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp
import asyncpg
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from billing.kinds.lists import listed_kinds
from db.connection import Pool
from db.sync.scans import ScanRequest, request_scan
from db.sync.status import SELECT_BACKLOG, Backlog
from runtime import tally
from runtime.metrics import OWN, exposition
from runtime.settings import Settings
from tests.faults import failing
from tests.harness import customer, error, open_harness
from tests.harness import event as stripe_event
from tests.places import ROOT
from tests.ports import reserved_port
from tests.system import ADMIN_TOKEN
from tests.webhooks.web_harness import event, open_door, settings
from webhooks.metrics import State, metrics_of, pause_seconds
from worker import port as own_port
from worker.port import Health, open_port
from worker.port import metrics_of as worker_metrics

EMPTY = State(
    backlog=Backlog(
        pending_events=0,
        stale_customers=0,
        unconfirmed_objects=None,
        missing_objects=0,
        parked=0,
        oldest_pending_seconds=None,
        last_event_at=None,
        last_gap_fill_at=None,
        alarms=(),
        quarantined_events=0,
        quarantined_of_served_mode=0,
        problems=0,
        pending_pushes=0,
        unsent_meter_events=0,
        oldest_unsent_meter_event_seconds=None,
        behind=False,
        behind_because=None,
    ),
    workers=[],
    records={},
    audit=None,
    backfills=[],
)
HEALTHY = Health(seconds_since_beat=1.0, redis="ok")
WELL_KNOWN = {"process_resident_memory_bytes"}
"""Metrics of the client library that the pages name."""

USE = {
    "limits": {"account": 60.0, "operation": 15.0},
    "requests": {"live": 100, "bulk": 10},
    "per_second": {"live": 14.0, "bulk": 1.0},
    "waiting": {"live": 0, "bulk": 3},
    "refused": {},
}
"""What a worker's sign of life says about Stripe."""

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples_in(text: str) -> Samples:
    """The values of an exposition, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def names_of_ours() -> set[str]:
    """The names of all samples that our processes can say."""
    names = set()
    for family in (*OWN.collect(), *metrics_of(EMPTY), *worker_metrics(HEALTHY)):
        if family.name.startswith("subledger_"):
            match family.type:
                case "counter":
                    names.add(f"{family.name}_total")
                case "histogram":
                    names |= {f"{family.name}_{part}" for part in ("bucket", "count", "sum")}
                case _:
                    names.add(family.name)
    return names


async def ask(port: int, path: str = "/metrics", token: str | None = ADMIN_TOKEN) -> tuple[int, str]:
    """The answer's status and text."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = f"http://127.0.0.1:{port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        return response.status, await response.text()


async def test_web_says_what_it_has_counted_and_what_postgres_knows(
    pool: Pool, database_url: str, redis_url: str
) -> None:
    """New events, repeated ones, refusals; the backlog, and a backfill that is under way."""
    async with pool.acquire() as connection:
        wanted = ScanRequest(kinds=listed_kinds())
        scan = await request_scan(connection, wanted, live_mode=False)
    before = samples_in(exposition().decode())
    async with open_door(settings(database_url=database_url, redis_url=redis_url)) as door:
        for body in (event("evt_1"), event("evt_2"), event("evt_1")):
            assert 200 == (await door.post(body)).status
        assert 400 == (await door.post(event("evt_3"), header="t=1,v1=00")).status
        status, text = await ask(door.port)
        # What was read a moment ago is not read again.
        assert 200 == (await door.post(event("evt_4"))).status
        _, again = await ask(door.port)
    assert 200 == status
    said = samples_in(text)

    def counted(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return said[key] - before.get(key, 0.0)

    assert (2, 1) == (
        counted("subledger_events_received_total", source="webhook"),
        counted("subledger_events_repeated_total", source="webhook"),
    )
    assert 1 == counted("subledger_webhooks_refused_total", status="400")
    assert 1 <= counted("subledger_store_seconds_count") <= 3
    state = {name: value for (name, labels), value in said.items() if not labels}
    assert (1, 2, 0, 0, 1) == tuple(
        state[f"subledger_{name}"]
        for name in ("database_up", "events_pending", "settled", "alarms", "behind")
    )
    assert "subledger_objects_unconfirmed" not in state  # without an API key nobody knows
    assert 0 == said["subledger_backfill_done_ratio", (("backfill", str(scan.id)),)]
    assert 2 == samples_in(again)["subledger_events_pending", ()]


async def test_state_is_told_whole(pool: Pool, database_url: str) -> None:
    """Records by whether they are exact, workers, and the last audit with its drift, from the database's own rows."""
    async with open_harness(pool, database_url) as room:
        room.api.put(customer("cus_1"))
        await room.apply(stripe_event("customer.created", customer("cus_1")))
        await room.execute(
            "insert into sync.workers (id, beat_at, detail) values ('a:1:1', now(), $1), "
            "('b:1:1', now() - interval '1 hour', '{}')",
            json.dumps({"stripe": USE}),
        )
        await room.execute(
            "insert into sync.scans (purpose, account_id, live_mode, kinds, whole, status, finished_at) "
            "values ('audit', '', false, '{customer}', false, 'partial', '2026-01-02 03:04:05Z')"
        )
        await room.execute(
            "insert into sync.drift (scan_id, kind, id, what, verified) "
            "select id, 'customer', 'cus_1', 'differs', true from sync.scans"
        )
    async with open_door(replace(settings(database_url=database_url), metrics_public=True)) as door:
        status, text = await ask(door.port, token=None)
    said = samples_in(text)
    assert 200 == status
    assert {"true": 0, "false": 1} == {
        labels[0][1]: value for (name, labels), value in said.items() if name == "subledger_records"
    }
    assert {"alive": 1, "lost": 1} == {
        labels[0][1]: value for (name, labels), value in said.items() if name == "subledger_workers"
    }
    assert (45.0, 3, 1) == (
        said["subledger_stripe_budget_left", ()],
        said["subledger_stripe_waiting", (("lane", "bulk"),)],
        said["subledger_stripe_requests_per_second", (("lane", "bulk"),)],
    )
    ended = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert (ended, 1, 0) == tuple(
        said[f"subledger_last_audit_{name}", ()] for name in ("timestamp_seconds", "drift", "complete")
    )


def test_looks_that_take_long_are_seldom() -> None:
    """Where much is left to do, counting it is no burden of its own."""
    assert (5.0, 60.0) == (pause_seconds(0.01), pause_seconds(6.0))


async def test_metrics_while_postgres_is_away() -> None:
    """What the process has counted is told all the same."""
    async with open_door(settings()) as door:
        status, text = await ask(door.port)
    said = samples_in(text)
    assert (200, 0) == (status, said["subledger_database_up", ()])
    assert ("subledger_events_pending", ()) not in said
    assert any(name == "subledger_store_seconds_count" for name, _ in said)


async def test_i12_metrics_while_postgres_fails(database_url: str) -> None:
    """The same where its storage fails: just then the process's own figures are needed."""
    with failing(SELECT_BACKLOG, asyncpg.PostgresIOError("could not read block 7")):
        async with open_door(settings(database_url=database_url)) as door:
            status, text = await ask(door.port)
    assert (200, 0) == (status, samples_in(text)["subledger_database_up", ()])


@pytest.mark.parametrize(
    ("given", "token", "status"),
    [
        ({}, None, 401),
        ({}, "another", 401),
        ({"admin_token": None}, ADMIN_TOKEN, 403),
        ({"admin_token": None, "metrics_public": True}, None, 200),
        ({}, ADMIN_TOKEN, 200),
    ],
)
async def test_who_may_ask(given: dict[str, Any], token: str | None, status: int) -> None:
    """Of both processes: who has the admin token, or everybody where METRICS_PUBLIC is set."""
    chosen = replace(settings(), worker_port=reserved_port(), **given)
    async with open_door(chosen) as door, open_port(chosen, lambda: HEALTHY):
        answers = [await ask(port, token=token) for port in (door.port, chosen.worker_port or 0)]
    assert [status, status] == [answer[0] for answer in answers]
    if status != 200:
        assert all("error" in json.loads(text) for _, text in answers)


async def test_worker_counts_by_the_batch(pool: Pool, database_url: str) -> None:
    """Events by their outcome, reads, records, the time of each stage, and calls of Stripe by operation and outcome."""
    before = samples_in(exposition().decode())
    async with open_harness(pool, database_url) as room:
        room.api.put(customer("cus_1"))
        room.api.say("/v1/customers/cus_1", 500, error("api_error", "we are sorry"))
        await room.receive(
            stripe_event("customer.created", customer("cus_1")),
            stripe_event("customer.updated", customer("cus_2")),
            stripe_event("some.thing", {"object": "thing", "id": "th_1"}),
        )
        await room.engine.apply()
        await room.confirm(times=2)
    said = samples_in(exposition().decode())

    def counted(name: str, **labels: str) -> float:
        key = (name, tuple(sorted(labels.items())))
        return said.get(key, 0.0) - before.get(key, 0.0)

    assert (2, 1) == tuple(
        counted("subledger_events_applied_total", state=state) for state in ("applied", "ignored")
    )
    calls = {
        outcome: counted("subledger_stripe_calls_total", operation="GET /v1/customers/{id}", outcome=outcome)
        for outcome in ("ok", "unavailable", "missing", "refused", "limited")
    }
    assert 1 == calls["unavailable"]
    assert calls["ok"] >= 1
    assert calls["missing"] >= 1  # cus_2
    assert (0, 0) == (calls["refused"], calls["limited"])
    assert counted("subledger_objects_read_total") >= 3
    assert counted("subledger_records_derived_total") >= 2
    # One observation for a batch, whatever is in it.
    assert 1 == counted("subledger_batch_seconds_count", stage="apply")
    assert 2 >= counted("subledger_batch_seconds_count", stage="confirm") >= 1
    assert counted("subledger_batch_seconds_count", stage="derive") >= 1


async def test_port_of_a_worker() -> None:
    """It lives; it is ready while Postgres takes its signs of life; Redis is reported, not required."""
    chosen = replace(settings(), worker_port=reserved_port())
    port = chosen.worker_port or 0
    health = Health(seconds_since_beat=None, redis="not asked yet")
    async with open_port(chosen, lambda: health):
        assert (200, {"status": "ok"}) == read(await ask(port, "/healthz", token=None))
        waiting = {"ready": False, "seconds_since_beat": None, "redis": "not asked yet"}
        assert (503, waiting) == read(await ask(port, "/readyz", token=None))
        health = Health(seconds_since_beat=3.0, redis="away")
        assert (200, True, "away") == (
            (answer := read(await ask(port, "/readyz", token=None)))[0],
            answer[1]["ready"],
            answer[1]["redis"],
        )
        said = samples_in((await ask(port))[1])
        assert (1, 0) == (said["subledger_worker_ready", ()], said["subledger_worker_redis_up", ()])
        health = Health(seconds_since_beat=60.0, redis="ok")
        assert 503 == (await ask(port, "/readyz", token=None))[0]
        # Another worker on this machine cannot have the port, and works without it.
        async with open_port(chosen, lambda: HEALTHY):
            assert 503 == (await ask(port, "/readyz", token=None))[0]
    with pytest.raises(aiohttp.ClientConnectionError):
        await ask(port)


async def test_port_of_a_worker_that_many_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are open files, which the worker's work needs: the oldest make room, and whoever asks is answered."""
    monkeypatch.setattr(own_port, "CONNECTIONS_MAX", 4)
    chosen = replace(settings(), worker_port=reserved_port())
    held = []
    async with open_port(chosen, lambda: HEALTHY):
        for _ in range(3 * own_port.CONNECTIONS_MAX):
            reader, writer = await asyncio.open_connection("127.0.0.1", chosen.worker_port)
            writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
            held.append((reader, writer))
            assert 200 == (await ask(chosen.worker_port or 0, "/healthz", token=None))[0]
        for reader, _ in held[: -own_port.CONNECTIONS_MAX]:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
    for _, writer in held:
        writer.close()


async def test_i12_what_is_no_request_does_not_fill_a_workers_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reaches the port gets one line for all of the last seconds, no traceback; what fails of us has one."""
    monkeypatch.setattr(tally, "REPORT_SECONDS", 600.0)
    chosen = replace(settings(), worker_port=reserved_port())

    def broken() -> Health:
        raise RuntimeError("a fault of ours")

    async with open_port(chosen, broken):
        with capture_logs() as lines:
            for sent in 5 * [
                b"GET / HTTP/1.1\r\nno header\r\n\r\n",
                b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
                b"GET /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            ]:
                reader, writer = await asyncio.open_connection("127.0.0.1", chosen.worker_port)
                writer.write(sent)
                assert b" 400 " in await reader.readline()
                writer.close()
        assert [("requests at the worker's port refused", 1)] == [
            (line["event"], line["count"]) for line in lines
        ]
        assert [] == [record.exc_text for record in caplog.records if record.name == "aiohttp.server"]
        assert 500 == (await ask(chosen.worker_port or 0, "/readyz", token=None))[0]
    assert "a fault of ours" in caplog.text


def read(answer: tuple[int, str]) -> tuple[int, Any]:
    return answer[0], json.loads(answer[1])


async def test_no_port_is_opened_unasked() -> None:
    """A worker that nobody gave a port listens nowhere."""
    chosen = settings()
    assert chosen.worker_port is None
    before = len(asyncio.all_tasks())
    async with open_port(chosen, lambda: HEALTHY):
        assert before == len(asyncio.all_tasks())


def test_settings_of_metrics() -> None:
    """Both variables reach their fields."""
    least = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h"}
    assert (True, 9100) == (
        (chosen := Settings.from_env(least | {"METRICS_PUBLIC": "1", "WORKER_PORT": "9100"})).metrics_public,
        chosen.worker_port,
    )


def test_alerts_and_dashboard_know_the_names() -> None:
    """Each metric that they ask for is one that our processes say, and each alert says what to do."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    (group,) = rules["groups"]
    dashboard = json.loads((ROOT / "deploy/grafana/subledger.json").read_text())
    asked = [rule["expr"] for rule in group["rules"]]
    asked += [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for each in asked for name in re.findall(r"\b(?:subledger|process)_\w+", each)}
    assert set() == named - names_of_ours() - WELL_KNOWN
    # Everything that tells of trouble is looked at by somebody.
    assert set() == {name for name in names_of_ours() if not name.endswith(("_sum", "_count"))} - named
    for rule in group["rules"]:
        assert re.fullmatch(r"Subledger[A-Za-z]+", rule["alert"])
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description"} == rule["annotations"].keys()
        assert rule["expr"].count("(") == rule["expr"].count(")")
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])


def test_page_names_every_metric() -> None:
    """docs/metrics.md has a line for each metric, with its kind and its meaning as the processes say it."""
    page = (ROOT / "docs/metrics.md").read_text()
    for family in (*OWN.collect(), *metrics_of(EMPTY), *worker_metrics(HEALTHY)):
        if family.name.startswith("subledger_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            assert f"| `{name}` | {family.type} |" in page, name
            assert family.documentation in page, name
