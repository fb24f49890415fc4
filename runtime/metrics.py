"""What a process counts and times about itself, for Prometheus: each name, and what it means.

What Postgres knows for all processes together is in webhooks/metrics.py. docs/metrics.md lists both.
"""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

disable_created_metrics()  # type: ignore[no-untyped-call] # a second sample per counter, that nobody asks for

OWN = CollectorRegistry(auto_describe=True)
"""Everything below, and what the operating system says of the process."""
ProcessCollector(registry=OWN)

# The web process, and gap fill

EVENTS_RECEIVED = Counter(
    "subledger_events_received",
    "Events stored in the inbox for the first time, by how they came: webhook or gap_fill.",
    ["source"],
    registry=OWN,
)
EVENTS_REPEATED = Counter(
    "subledger_events_repeated",
    "Events that were in the inbox already when they came, by how they came.",
    ["source"],
    registry=OWN,
)
WEBHOOKS_REFUSED = Counter(
    "subledger_webhooks_refused",
    "Webhooks that were not answered 200, by the status of the answer. 503: the event could not be stored.",
    ["status"],
    registry=OWN,
)
STORE_SECONDS = Histogram(
    "subledger_store_seconds",
    "Seconds that it took to commit the webhooks that waited together.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
    registry=OWN,
)

# Workers

EVENTS_APPLIED = Counter(
    "subledger_events_applied",
    "Events that left the pending state, by the state that they got: applied, ignored, parked, quarantined.",
    ["state"],
    registry=OWN,
)
OBJECTS_READ = Counter(
    "subledger_objects_read", "Reads of single objects that were begun to confirm them.", registry=OWN
)
RECORDS_DERIVED = Counter(
    "subledger_records_derived", "Records that were computed, changed or not.", registry=OWN
)
BATCH_SECONDS = Histogram(
    "subledger_batch_seconds",
    "Seconds that a batch took, by stage: apply, confirm (with its requests to Stripe), derive, heavy (one customer).",
    ["stage"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
    registry=OWN,
)
STRIPE_CALLS = Counter(
    "subledger_stripe_calls",
    "Requests to Stripe, by operation and outcome: ok, missing (404), refused (400, 401, 403), limited (429), "
    "unavailable (5xx, timeouts, resets).",
    ["operation", "outcome"],
    registry=OWN,
)


def count_received(source: str, *, events: int, new: int) -> None:
    """Count the events that were stored together, and how many of them were new."""
    EVENTS_RECEIVED.labels(source).inc(new)
    EVENTS_REPEATED.labels(source).inc(events - new)


def exposition(*further: Iterable[Metric]) -> bytes:
    """What this process has counted, and further metrics, as Prometheus reads them."""
    return generate_latest(OWN) + b"".join(generate_latest(_Given(each)) for each in further)


def gauge(name: str, meaning: str, value: float | None) -> Metric:
    """A metric of one value; without a sample while the value is not known."""
    made = GaugeMetricFamily(name, meaning)
    if value is not None:
        made.add_metric([], float(value))
    return made


def gauges(name: str, meaning: str, label: str, values: Mapping[str, float]) -> Metric:
    """A metric with a value for each of its label's values."""
    made = GaugeMetricFamily(name, meaning, labels=[label])
    for each, value in values.items():
        made.add_metric([each], float(value))
    return made


class _Given(CollectorRegistry):
    """Metrics that have been collected already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        super().__init__()
        self._metrics = tuple(metrics)

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield from self._metrics
