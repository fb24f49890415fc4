"""The whole path: a sandbox account plays its stories through real processes, and every record equals its truth."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.traces import Traced, ids_of
from sandbox import MIXED, NEW, STORIES, Event, Plan, Sandbox, arrange, create_api, deliver, serve
from tests.collector import Collector, collecting
from tests.system import SECRET, running_system, until
from tests.truth import differences, read_records

API_KEY = "sk_test_end_to_end"
STEPS = {"receive", "apply", "event", "confirm", "derive"}
# Sent at the end, if not 512 are there before.
TRACED = {
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.5",
    "OTEL_BSP_SCHEDULE_DELAY": "3600000",
}


def assert_traced(collector: Collector, events: Sequence[Event]) -> None:
    """Web and worker have sampled the same events, and each is one trace under one root, whole."""
    traces = {
        ids: collector.trace(ids[0]) for ids in {ids_of(Traced(each.id, each.live_mode)) for each in events}
    }
    sampled = {ids: spans for ids, spans in traces.items() if spans}
    assert len(traces) / 3 < len(sampled) < len(traces) * 2 / 3
    for (_, root_id), spans in sampled.items():
        (root,) = [span for span in spans if not span.parent_id]
        assert ("event", root_id, "subledger-worker") == (root.name, root.span_id, root.service)
        assert {root_id} == {span.parent_id for span in spans if span is not root}
        assert {"subledger-web"} == {span.service for span in spans if span.name == "receive"}
        assert {root.attributes["subledger.event"]} == {span.attributes["subledger.event"] for span in spans}
        assert all(span.began_ns <= span.ended_ns for span in spans)
    whole = [spans for spans in sampled.values() if STEPS <= {span.name for span in spans}]
    last = [max(spans, key=lambda span: span.ended_ns) for spans in whole]
    # Only what is read last of a customer's objects makes it exact.
    assert any(span.name == "derive" and span.attributes["subledger.exact"] for span in last)


@pytest.mark.parametrize(
    ("shapes", "stories_every", "customers"), [(NEW, 3, 60), (MIXED, 1, 210)], ids=["new", "mixed"]
)
async def test_records_equal_the_truth(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    shapes: tuple[str, ...],
    stories_every: int,
    customers: int,
) -> None:
    """At least 200 customers, every story, delivered as Stripe delivers: shuffled within a burst, some twice. And a
    third of the stories in the newest version alone. Of every second event a collector has one trace, from its webhook
    to the exact record.
    """
    sandbox = Sandbox(seed=11, event_versions=shapes)
    sandbox.play([*STORIES][::stories_every], customers=customers)
    async with (
        serve(create_api(sandbox, [API_KEY])) as api_base,
        collecting() as collector,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=api_base,
            settings=TRACED | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
        ) as system,
    ):
        events = sandbox.run()
        plan = Plan(duplicate_share=0.1, reid_share=0.05, seed=11)
        report = await deliver(events, system.webhook_url, SECRET, plan=plan)
        assert report.refused == 0
        status = await system.settled(within_seconds=400)
        assert status["parked"] == 0
        # What has not been sent yet is sent at the end.
        for process in (system.web, *system.workers):
            await process.stop()
        assert_traced(collector, events)
    # The API key serves test mode; what is live is kept apart, and seen.
    truth = {key: customer for key, customer in sandbox.truth().items() if not customer.live_mode}
    records = await read_records(database_url)
    assert len(truth) >= customers - 10
    sent, _ = arrange(events, plan)
    assert status["quarantined_events"] == len({event.id for event in sent if event.live_mode})
    different = differences(truth, records)
    assert not different, "\n".join(different)


async def test_gap_fill_alone_keeps_records_right(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """No webhook ever reaches the endpoint (a laptop, a locked-down network): reading /v1/events every second is
    enough, also if the account had customers before. A third of the stories: what an event says does not depend on how
    it came, and the test above plays all.
    """
    sandbox = Sandbox(seed=23, event_retention_seconds=10 * 365 * 86_400)
    sandbox.play([*STORIES][2::3], customers=60)
    sandbox.advance(5 * 86_400)
    async with (
        serve(create_api(sandbox, [API_KEY])) as api_base,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=api_base,
            settings={"GAP_FILL_SECONDS": "1"},
        ) as system,
    ):

        async def filled() -> object:
            return (await system.status())["last_gap_fill_at"]

        await until(filled, what="the first gap fill")
        sandbox.run()
        filled_at = await filled()

        async def filled_again() -> object:
            return await filled() != filled_at

        # Two fills: one may have been under way while the account went on.
        for _ in range(2):
            filled_at = await filled()
            await until(filled_again, what="another gap fill")
        status = await system.settled(within_seconds=400)
        assert 0 == status["parked"]
        # The account's clock has jumped by months: a real Stripe would have forgotten events by then, and this is said.
        assert "run `subledger audit --repair`" in str(status["alarms"])
    truth = {
        key: customer
        for key, customer in sandbox.truth().items()
        if customer.account_id == "" and not customer.live_mode
    }
    records = await read_records(database_url)
    # Customers that did nothing since the first fill are the business of the backfill.
    known = {key: truth[key] for key in truth.keys() & records.keys()}
    different = differences(known, records)
    assert not different, "\n".join(different)
    assert len(known) >= 40
    # Each line of the log says which process it is of, and each job's which lane.
    lines = [json.loads(line) for each in tmp_path.glob("*.log") for line in each.read_text().splitlines()]
    assert {"web", "worker"} == {line["role"] for line in lines}
    lanes = {line["event"]: line.get("lane") for line in lines}
    assert ("live", "live", "bulk") == (
        lanes["events applied"],
        lanes["objects read"],
        lanes["gap filled"],
    )
