"""GET /metrics: what this process has counted, and what Postgres knows for all processes, as Prometheus reads it."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client.core import Metric
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from db.connection import Connection, PostgresAway, PostgresFails
from db.sync.audit_reports import AuditReport, select_last_audit
from db.sync.scan_reports import KindProgress, select_progress
from db.sync.scans import Scan, select_scans
from db.sync.status import (
    Backlog,
    WorkerSign,
    count_records,
    select_backlog,
    select_workers,
    stripe_use,
)
from runtime.metrics import CONTENT_TYPE, exposition, gauge, gauges
from webhooks.admin import Admin

LOOK_SECONDS = 5.0
"""However often somebody asks, Postgres is looked at no more often than this ..."""
LOOK_SHARE = 0.1
"""... and, where a look takes long, for no more than this share of the time ..."""
RECORDS_SECONDS = 60.0
"""... and the records are counted no more often than this: that reads all of billing.customers."""
BACKFILLS_MAX = 10

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class State:
    """What Postgres knows."""

    backlog: Backlog
    workers: Sequence[WorkerSign]
    records: Mapping[bool, int]
    """Customers that are not deleted: how many of them are exact, and how many are not."""
    audit: AuditReport | None
    backfills: Sequence[tuple[Scan, Sequence[KindProgress]]]
    """Those under way."""


class MetricsRoute:
    """GET /metrics."""

    def __init__(self, admin: Admin, *, public: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._admin = admin
        self._public = public
        self._clock = clock
        self._looking = asyncio.Lock()
        self._due_at = self._counted_at = float("-inf")
        self._state: State | None = None
        self._records: dict[bool, int] = {}

    @property
    def routes(self) -> list[Route]:
        """What create_app adds."""
        return [Route("/metrics", self.metrics)]

    async def metrics(self, request: Request) -> Response:
        """What is counted here, and the state that Postgres knows: the latter not while Postgres is away."""
        if not self._public:
            self._admin.require_token(request)
        async with self._looking:
            if (began := self._clock()) >= self._due_at:
                self._state = await self._look()
                ended = self._clock()
                self._due_at = ended + pause_seconds(ended - began)
            state = self._state
        return Response(exposition(metrics_of(state)), media_type=CONTENT_TYPE)

    async def _look(self) -> State | None:
        try:
            async with (await self._admin.database.pool()).acquire() as connection:
                return await self._read(connection)
        except (*PostgresAway, *PostgresFails) as error:
            log.warning("state not read for /metrics", error=repr(error))
            return None

    async def _read(self, connection: Connection) -> State:
        if self._clock() - self._counted_at >= RECORDS_SECONDS:
            self._records = await count_records(connection)
            self._counted_at = self._clock()
        scans = await select_scans(connection, "backfill", limit=BACKFILLS_MAX)
        return State(
            backlog=await select_backlog(connection, live_mode=self._admin.live_mode),
            workers=await select_workers(connection),
            records=self._records,
            audit=await select_last_audit(connection),
            backfills=[
                (scan, await select_progress(connection, scan.id))
                for scan in scans
                if scan.finished_at is None
            ],
        )


def pause_seconds(took_seconds: float) -> float:
    """How long after a look that took so long the next one may begin."""
    return max(LOOK_SECONDS, took_seconds / LOOK_SHARE)


def metrics_of(state: State | None) -> Iterator[Metric]:
    """The state as metrics; None: Postgres could not be asked."""
    yield gauge(
        "subledger_database_up", "1 if the following could be read from Postgres.", float(state is not None)
    )
    if state is None:
        return
    yield from _of_backlog(state.backlog)
    alive = sum(each.alive for each in state.workers)
    yield gauges(
        "subledger_workers",
        "Worker processes, by state: alive, or lost (no sign of life for 35 s, and no orderly end).",
        "state",
        {"alive": alive, "lost": len(state.workers) - alive},
    )
    yield gauges(
        "subledger_records",
        "Customers that are not deleted, by whether their record is exact. Counted once a minute.",
        "exact",
        {str(exact).lower(): state.records.get(exact, 0) for exact in (True, False)},
    )
    yield from _of_stripe(state.workers)
    yield from _of_audit(state.audit)
    yield from _of_backfills(state.backfills)


def _of_backlog(backlog: Backlog) -> Iterator[Metric]:
    yield gauge(
        "subledger_events_pending", "Events that are received and not applied yet.", backlog.pending_events
    )
    yield gauge(
        "subledger_lag_seconds",
        "How long the oldest pending event has waited; 0 if none is pending.",
        backlog.oldest_pending_seconds or 0.0,
    )
    yield gauge(
        "subledger_customers_stale",
        "Customers whose record is older than its facts.",
        backlog.stale_customers,
    )
    yield gauge(
        "subledger_objects_unconfirmed",
        "Objects that wait for their read from Stripe. Nothing without an API key.",
        backlog.unconfirmed_objects,
    )
    yield gauge(
        "subledger_objects_missing",
        "Objects that Stripe does not find, although no deletion was announced.",
        backlog.missing_objects,
    )
    yield gauge("subledger_parked", "Events, objects and customers that were given up.", backlog.parked)
    yield gauges(
        "subledger_events_quarantined",
        "Events in quarantine, by mode: the one served here, or the other.",
        "mode",
        {
            "served": backlog.quarantined_of_served_mode,
            "other": backlog.quarantined_events - backlog.quarantined_of_served_mode,
        },
    )
    yield gauge("subledger_problems", "Contradictions that somebody should fix.", backlog.problems)
    yield gauge(
        "subledger_pushes_pending",
        "Customers of whom something that was set here has not reached Stripe yet.",
        backlog.pending_pushes,
    )
    yield gauge(
        "subledger_meter_events_unsent",
        "Meter events that Stripe is to be told of what was tracked.",
        backlog.unsent_meter_events,
    )
    yield gauge(
        "subledger_meter_events_unsent_seconds",
        "How long the oldest of them that was tried has waited; 0 if none waits.",
        backlog.oldest_unsent_meter_event_seconds or 0.0,
    )
    yield gauge("subledger_alarms", "Alarms that stand.", len(backlog.alarms))
    yield gauge(
        "subledger_behind", "1 if records, exact ones too, may be older than Stripe's events.", backlog.behind
    )
    yield gauge(
        "subledger_settled",
        "1 if every event received has reached its record, and no alarm stands.",
        backlog.settled,
    )
    for name, meaning, at in (
        ("event", "When the latest event was received.", backlog.last_event_at),
        ("gap_fill", "When gaps were last filled from /v1/events.", backlog.last_gap_fill_at),
    ):
        yield gauge(
            f"subledger_last_{name}_timestamp_seconds", meaning, None if at is None else at.timestamp()
        )


def _of_stripe(workers: Sequence[WorkerSign]) -> Iterator[Metric]:
    use = stripe_use(workers) or {}
    per_second, limits = use.get("per_second", {}), use.get("limits")
    yield gauges(
        "subledger_stripe_requests_per_second",
        "What all workers ask of Stripe, by lane, as of their last signs of life.",
        "lane",
        per_second,
    )
    yield gauges(
        "subledger_stripe_waiting",
        "Requests to Stripe that wait for their turn.",
        "lane",
        use.get("waiting", {}),
    )
    yield gauge(
        "subledger_stripe_budget_left",
        "Requests a second that all workers have left of their limit. Nothing where there is no limit.",
        limits["account"] - sum(per_second.values()) if limits else None,
    )


def _of_audit(audit: AuditReport | None) -> Iterator[Metric]:
    ended = None if audit is None or audit.finished_at is None else audit.finished_at.timestamp()
    yield gauge("subledger_last_audit_timestamp_seconds", "When the last audit ended.", ended)
    yield gauge(
        "subledger_last_audit_drift",
        "Objects and records that the last audit found to differ from Stripe.",
        None if audit is None else audit.drift,
    )
    yield gauge(
        "subledger_last_audit_complete",
        "1 if the last audit compared everything; 0 if it names what it could not read or understand.",
        None if audit is None else audit.status == "complete",
    )


def _of_backfills(backfills: Sequence[tuple[Scan, Sequence[KindProgress]]]) -> Iterator[Metric]:
    shares, objects = {}, {}
    for scan, kinds in backfills:
        shares[str(scan.id)] = sum(kind.share_done for kind in kinds) / len(kinds) if kinds else 0.0
        objects[str(scan.id)] = sum(kind.objects for kind in kinds)
    yield gauges(
        "subledger_backfill_done_ratio",
        "How far a backfill under way has read its lists, from 0 to 1, by its number.",
        "backfill",
        shares,
    )
    yield gauges(
        "subledger_backfill_objects", "Objects that a backfill under way has read.", "backfill", objects
    )
