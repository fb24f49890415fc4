"""How far scans are, as operators see it."""

from dataclasses import dataclass
from datetime import datetime

from billing.kinds.registry import KINDS
from db.connection import Connection
from db.sync.scans import Scan


@dataclass(frozen=True, slots=True, kw_only=True)
class KindProgress:
    """How far the lists of one kind are read."""

    kind: str
    windows: int
    windows_done: int
    objects: int
    requests: int
    share_done: float
    """The part of the lists' stretch of time that has been read, from 0 to 1."""
    errors: tuple[str, ...]


SELECT_PROGRESS = """
select kind, count(*) as windows, count(*) filter (where state = 'done') as windows_done,
  sum(objects)::bigint as objects, sum(requests)::bigint as requests,
  (
    sum(
      extract(epoch from case
        when state = 'done' then high - low
        else high - coalesce(least(cursor_created, high), high)
      end)
    ) / greatest(sum(extract(epoch from high - low)), 1)
  )::float8 as share_done,
  array_agg(error order by high) filter (where error is not null and state <> 'done') as errors
from sync.scan_windows
where scan_id = $1
group by kind
"""


async def select_progress(connection: Connection, scan_id: int) -> list[KindProgress]:
    """How far each kind is, in the registry's order."""
    rows = {row["kind"]: row for row in await connection.fetch(SELECT_PROGRESS, scan_id)}
    return [
        KindProgress(**{**rows[kind], "errors": tuple(rows[kind]["errors"] or ())})
        for kind in KINDS
        if kind in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsReport:
    """How far one kind of a scan is, as operators see it."""

    object: str
    windows: int
    windows_done: int
    rows: int
    requests: int
    rows_per_second: float
    eta_seconds: float | None
    """Estimated from the stretch of time that is left; None if nothing is known yet."""
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """A backfill or audit as operators see it."""

    id: int
    status: str
    account: str
    live_mode: bool
    since: datetime | None
    until: datetime | None
    customer: str | None
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    step: str
    error: str | None
    objects: tuple[ObjectsReport, ...]


SELECT_NOW = "select clock_timestamp()"


async def report_scan(connection: Connection, scan: Scan) -> ScanReport:
    """How far a scan is."""
    now: datetime = await connection.fetchval(SELECT_NOW)
    seconds = 0.0
    if scan.started_at is not None:
        seconds = max(((scan.finished_at or now) - scan.started_at).total_seconds(), 0.001)
    objects = []
    for kind in await select_progress(connection, scan.id):
        done = kind.windows_done == kind.windows
        left = (1 - kind.share_done) / kind.share_done * seconds if kind.share_done > 0 else None
        objects.append(
            ObjectsReport(
                object=kind.kind,
                windows=kind.windows,
                windows_done=kind.windows_done,
                rows=kind.objects,
                requests=kind.requests,
                rows_per_second=round(kind.objects / seconds, 1) if seconds else 0.0,
                eta_seconds=0.0 if done or scan.finished_at else None if left is None else round(left, 1),
                errors=kind.errors,
            )
        )
    return ScanReport(
        id=scan.id,
        status=scan.status,
        account=scan.account_id,
        live_mode=scan.live_mode,
        since=scan.since,
        until=scan.until,
        customer=scan.customer_id,
        requested_at=scan.requested_at,
        started_at=scan.started_at,
        finished_at=scan.finished_at,
        step=scan.step,
        error=scan.error,
        objects=tuple(objects),
    )
