"""Traces: one for each event, from the webhook to the records; nothing at all while they are off."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

from db.connection import Pool
from runtime import traces
from runtime.settings import SettingsError
from runtime.traces import Traced, configure_traces, ids_of, tracing
from sandbox import Event, Sandbox, create_api
from tests.harness import Api, Harness, open_harness
from tests.webhooks.web_harness import Door, open_door, settings
from webhooks.app import create_app
from webhooks.endpoint import WebhookEndpoint
from webhooks.inbox import Inbox

KEY = "sk_test_traces"
UNREADABLE = b'{"id": "evt_odd", "object": "event", "type": "invoice.paid", "livemode": false, "data": {}}'


@contextmanager
def traced(*, share: float = 1.0) -> Iterator[InMemorySpanExporter]:
    """Traces are on, and kept in memory."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(share)), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces.start(provider)
    try:
        yield exporter
    finally:
        traces.stop()


def by_trace(exporter: InMemorySpanExporter) -> dict[int, list[ReadableSpan]]:
    """The spans of each trace."""
    found: dict[int, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        assert span.context is not None
        found.setdefault(span.context.trace_id, []).append(span)
    return found


def trace_of(exporter: InMemorySpanExporter, event_id: str) -> list[ReadableSpan]:
    """The spans of one event, each a child of its root."""
    trace_id, root_id = ids_of(Traced(event_id, False))
    spans = by_trace(exporter).get(trace_id, [])
    for span in spans:
        assert span.context is not None
        if span.name == "event":
            assert (root_id, None) == (span.context.span_id, span.parent)
        else:
            assert span.parent is not None
            assert root_id == span.parent.span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.start_time <= span.end_time
    return spans


def names(spans: list[ReadableSpan]) -> set[str]:
    return {span.name for span in spans}


async def played(door: Door, harness: Harness, sandbox: Sandbox) -> list[Event]:
    """A story through web and worker, from posts to exact records; its events."""
    sandbox.play("refunded_in_two_parts")
    events = sandbox.run()
    for each in events:
        assert 200 == (await door.post(each.body)).status
    await harness.settle()
    return events


async def test_an_event_is_one_trace(pool: Pool, database_url: str, redis_url: str) -> None:
    """From the webhook to the exact record: receipt by web, application, reads and derivations by the worker, under one
    root, which is written once, also if the event is sent again; with the customer, the object and the error.
    """
    sandbox = Sandbox(seed=5)
    api = Api(create_api(sandbox, [KEY]))
    with traced() as exporter:
        async with (
            open_harness(pool, database_url, api=api, api_key=KEY) as harness,
            open_door(settings(database_url=database_url, redis_url=redis_url)) as door,
        ):
            events = await played(door, harness, sandbox)
            assert 200 == (await door.post(events[0].body)).status
            assert 200 == (await door.post(UNREADABLE)).status
            await harness.settle()
        by_event = {each.id: trace_of(exporter, each.id) for each in events}
        odd = trace_of(exporter, "evt_odd")
    for event_id, spans in by_event.items():
        assert {"event", "receive", "apply"} <= names(spans), event_id
        assert 1 == sum(span.name == "event" for span in spans)
    whole = [spans for spans in by_event.values() if {"confirm", "derive"} <= names(spans)]
    assert whole
    derived = [span for spans in whole for span in spans if span.name == "derive"]
    assert {True, False} == {(span.attributes or {})["subledger.exact"] for span in derived}
    assert all(str((span.attributes or {})["subledger.customer"]).startswith("cus_") for span in derived)
    assert {"receive", "event", "apply"} == names(odd)


async def test_all_processes_sample_alike(pool: Pool, database_url: str, redis_url: str) -> None:
    """An event that the sampler leaves out has no span at all; of the others none is left out."""
    sandbox = Sandbox(seed=5)
    api = Api(create_api(sandbox, [KEY]))
    with traced(share=0.5) as exporter:
        async with (
            open_harness(pool, database_url, api=api, api_key=KEY) as harness,
            open_door(settings(database_url=database_url, redis_url=redis_url)) as door,
        ):
            event_ids = [each.id for each in await played(door, harness, sandbox)]
        sampled = [each for each in event_ids if trace_of(exporter, each)]
        assert 0 < len(sampled) < len(event_ids)
        assert all({"event", "receive", "apply"} <= names(trace_of(exporter, each)) for each in sampled)


def test_nothing_is_traced_without_an_exporter() -> None:
    """Web stores events as if there were no traces."""
    assert not configure_traces({"OTEL_SERVICE_NAME": "billing"}, role="web")
    assert not configure_traces({"OTEL_TRACES_EXPORTER": "none"}, role="web")
    assert not configure_traces({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, role="web")
    assert tracing() is None
    (route,) = [
        each for each in create_app(settings()).routes if getattr(each, "path", "") == "/webhooks/stripe"
    ]
    endpoint = getattr(route, "endpoint", None)
    assert isinstance(endpoint, WebhookEndpoint)
    assert isinstance(endpoint._inbox, Inbox)


def test_standard_variables_turn_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """They name the exporter, its address and the service; one that is not installed is said, with the remedy."""
    for name in ("OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"):
        monkeypatch.setenv(name, "kept so that it is restored")
        monkeypatch.delenv(name)
    try:
        assert configure_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, role="worker")
        assert tracing() is not None
        assert "subledger-worker" == os.environ["OTEL_SERVICE_NAME"]
    finally:
        traces.stop()
    with pytest.raises(SettingsError, match="names jaeger, which is not installed"):
        configure_traces({"OTEL_TRACES_EXPORTER": "jaeger"}, role="web")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"install subledger\[traces\]"):
        configure_traces({"OTEL_TRACES_EXPORTER": "otlp"}, role="web")
    assert tracing() is None


class Broken(Sampler):
    """Raises whatever it is asked."""

    def should_sample(self, *_: object, **__: object) -> NoReturn:
        raise ValueError("broken")

    def get_description(self) -> str:
        return "broken"


async def test_what_fails_of_a_trace_fails_nothing_else(
    pool: Pool, database_url: str, redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Webhooks are answered and records become exact, and one line says what is wrong."""
    sandbox = Sandbox(seed=5)
    api = Api(create_api(sandbox, [KEY]))
    traces.start(TracerProvider(sampler=Broken(), shutdown_on_exit=False))
    try:
        async with (
            open_harness(pool, database_url, api=api, api_key=KEY) as harness,
            open_door(settings(database_url=database_url, redis_url=redis_url)) as door,
        ):
            await played(door, harness, sandbox)
            assert await harness.fetch("select from billing.customers where exact")
    finally:
        traces.stop()
    assert 1 == capsys.readouterr().out.count("not traced")
