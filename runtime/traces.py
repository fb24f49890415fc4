"""Traces with OpenTelemetry (the extra `traces`): off, unless the standard OTEL_ variables name an exporter.

An event is a trace, from the webhook to the records. The ids of the trace and of its root follow from the event's id,
so web and workers need tell each other nothing, and nothing is stored. While traces are off, each batch asks once
whether they are on, and nothing else is done for them.
"""

import hashlib
import os
import threading
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple

import structlog

from runtime.settings import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

ROOT = "event"
"""The name of an event's root, from its receipt to the end of its application."""
NAMES_AN_EXPORTER = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
)
GROUP = "opentelemetry_traces_exporter"
"""Where packages that export traces enter themselves."""
END_SECONDS_MAX = 2.0
"""For what waits to be sent when a process ends: nobody waits longer for a collector that is away."""
INSTALL = "install subledger[traces] (in a checkout: requirements-traces.txt)"

Value = str | bool | int

log = structlog.get_logger()


class Traced(NamedTuple):
    """An event as traces know it: ids are unique in Stripe, but for the mode."""

    event_id: str
    live_mode: bool


class Traces:
    """Writes the spans of events. Times are nanoseconds since 1970."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
        from opentelemetry.sdk.trace.sampling import Decision

        class Ids(RandomIdGenerator):
            """Random, but for a root's."""

            root: tuple[int, int] | None = None

            def generate_trace_id(self) -> int:
                return super().generate_trace_id() if self.root is None else self.root[0]

            def generate_span_id(self) -> int:
                return super().generate_span_id() if self.root is None else self.root[1]

        self._ids = provider.id_generator = Ids()
        self._provider = provider
        self._tracer = provider.get_tracer("subledger")
        self._sampled = Decision.RECORD_AND_SAMPLE
        self._complained = False

    def is_sampled(self, event: Traced) -> bool:
        """Whether the sampler wants this event: every process of ours decides the same."""
        trace_id, _ = ids_of(event)
        return self._provider.sampler.should_sample(None, trace_id, ROOT).decision is self._sampled

    def root(
        self, event: Traced, *, began_ns: int, ended_ns: int, error: str | None = None, **said: Value
    ) -> None:
        """The event as a whole. To be written once, by the worker that has applied it. Raises nothing."""
        from opentelemetry.context import Context

        self._ids.root = ids_of(event)
        try:
            self._write(ROOT, Context(), event, began_ns, ended_ns, error, said)
        except Exception as fault:  # noqa: BLE001 - what is traced is done, and must not fail for it
            self.complain(fault)
        finally:
            self._ids.root = None

    def step(
        self,
        event: Traced,
        name: str,
        *,
        began_ns: int,
        ended_ns: int,
        error: str | None = None,
        **said: Value,
    ) -> None:
        """Something that was done because of the event. Raises nothing."""
        from opentelemetry import trace
        from opentelemetry.context import Context

        try:
            if not self.is_sampled(event):
                return
            trace_id, span_id = ids_of(event)
            parent = trace.SpanContext(
                trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
            )
            context = trace.set_span_in_context(trace.NonRecordingSpan(parent), Context())
            self._write(name, context, event, began_ns, ended_ns, error, said)
        except Exception as fault:  # noqa: BLE001 - the same
            self.complain(fault)

    def complain(self, fault: Exception) -> None:
        """Log that something was not traced: once, since it concerns every event."""
        if not self._complained:
            self._complained = True
            log.warning("not traced", error=repr(fault))

    def _write(
        self,
        name: str,
        context: object,
        event: Traced,
        began_ns: int,
        ended_ns: int,
        error: str | None,
        said: Mapping[str, Value],
    ) -> None:
        from opentelemetry.context import Context
        from opentelemetry.trace import Status, StatusCode

        attributes: dict[str, Value] = {
            "subledger.event": event.event_id,
            "subledger.live_mode": event.live_mode,
        }
        attributes |= {f"subledger.{key}": value for key, value in said.items()}
        span = self._tracer.start_span(
            name,
            context if isinstance(context, Context) else None,
            start_time=began_ns,
            attributes=attributes,
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(max(began_ns, ended_ns))

    def end(self) -> None:
        """Send what waits, if the collector takes it within END_SECONDS_MAX, and stop."""
        ending = threading.Thread(target=self._provider.shutdown, name="end of traces", daemon=True)
        ending.start()
        ending.join(END_SECONDS_MAX)
        if ending.is_alive():
            log.warning("traces not sent", remedy="look whether the collector answers")


def ids_of(event: Traced) -> tuple[int, int]:
    """The ids of the event's trace and of its root."""
    digest = hashlib.sha256(f"{event.live_mode:d}:{event.event_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])


_traces: Traces | None = None


def tracing() -> Traces | None:
    """What writes traces in this process; None while they are off."""
    return _traces


def start(provider: "TracerProvider") -> Traces:
    """Write traces from now on."""
    global _traces
    _traces = Traces(provider)
    return _traces


def stop() -> None:
    """Send what waits, and write none any more."""
    global _traces
    traces, _traces = _traces, None
    if traces is not None:
        traces.end()


def configure_traces(environ: Mapping[str, str], *, role: str) -> bool:
    """Write traces as the OTEL_ variables say (exporter, endpoint, headers, sampler, resource); False if they name no
    exporter. Raises SettingsError if the extra `traces` is not installed, or has no such exporter.

    `role` is `web` or `worker`: the service is `subledger-web` unless OTEL_SERVICE_NAME says otherwise.
    """
    given = {name: value for name, value in environ.items() if name.startswith("OTEL_") and value.strip()}
    exporter = given.get("OTEL_TRACES_EXPORTER", "otlp").strip()
    off = given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if off or exporter == "none" or not any(name in given for name in NAMES_AN_EXPORTER):
        return False
    # The SDK reads them itself, where a `.env` of ours would not reach it.
    for name, value in given.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("OTEL_SERVICE_NAME", f"subledger-{role}")
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        raise SettingsError(
            [f"OTEL_TRACES_EXPORTER is set, but OpenTelemetry is not here: {INSTALL}"]
        ) from None
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(_exporter(exporter, given)))
    start(provider)
    return True


def _exporter(name: str, given: Mapping[str, str]) -> "SpanExporter":
    if name == "otlp":
        protocol = given.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or given.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = [each for each in entry_points(group=GROUP) if each.name == name]
    if not found:
        known = ", ".join(sorted({each.name for each in entry_points(group=GROUP)})) or "none"
        raise SettingsError(
            [f"OTEL_TRACES_EXPORTER names {name}, which is not installed (there is {known}): {INSTALL}"]
        )
    made: SpanExporter = found[0].load()()
    return made
