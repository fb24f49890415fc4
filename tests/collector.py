"""What a collector of OpenTelemetry does with OTLP over HTTP: it takes protobuf, and answers in protobuf."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

MEDIA_TYPE = "application/x-protobuf"


@dataclass(frozen=True, slots=True, kw_only=True)
class SentSpan:
    """A span as it came over the wire."""

    service: object
    trace_id: int
    span_id: int
    parent_id: int
    """0: it is a root."""
    name: str
    attributes: Mapping[str, object]
    began_ns: int
    ended_ns: int


@dataclass(slots=True, kw_only=True)
class Collector:
    """What a receiver was sent."""

    url: str = ""
    """For OTEL_EXPORTER_OTLP_ENDPOINT."""
    spans: list[SentSpan] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """POST /v1/traces."""
        if request.content_type != MEDIA_TYPE:
            return web.Response(status=415)
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for process in sent.resource_spans:
            service = _values(process.resource.attributes).get("service.name")
            self.spans += [
                SentSpan(
                    service=service,
                    trace_id=int.from_bytes(span.trace_id),
                    span_id=int.from_bytes(span.span_id),
                    parent_id=int.from_bytes(span.parent_span_id),
                    name=span.name,
                    attributes=_values(span.attributes),
                    began_ns=span.start_time_unix_nano,
                    ended_ns=span.end_time_unix_nano,
                )
                for library in process.scope_spans
                for span in library.spans
            ]
        return web.Response(body=ExportTraceServiceResponse().SerializeToString(), content_type=MEDIA_TYPE)

    def trace(self, trace_id: int) -> list[SentSpan]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace_id == trace_id]


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A receiver on a port of this machine."""
    collector = Collector()
    app = web.Application(client_max_size=64 * 2**20)
    app.add_routes([web.post("/v1/traces", collector.take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        collector.url = f"http://{host}:{port}"
        yield collector
    finally:
        await runner.cleanup()


def _values(attributes: Iterable[KeyValue]) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "", None) for each in attributes}
