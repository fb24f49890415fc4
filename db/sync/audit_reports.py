"""What audits have found, as operators see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from billing.kinds.registry import KINDS
from db.connection import Connection
from db.sync.audits import RECORD
from db.sync.scans import Scan, select_scan


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftOfKind:
    """How much of one kind differs."""

    object: str
    differs: int
    lacking: int
    surplus: int
    repaired: int
    unverified: int
    """Suspicions that no second look has decided; they are not counted as drift."""
    amounts: Mapping[str, int]
    """Minor units by currency: the sum of the absolute differences between the right and the stored amounts."""


SELECT_DRIFT_BY_KIND = """
select kind, count(*) filter (where verified and what = 'differs') as differs,
  count(*) filter (where verified and what = 'lacking') as lacking,
  count(*) filter (where verified and what = 'surplus') as surplus,
  count(*) filter (where repaired) as repaired, count(*) filter (where not verified) as unverified
from sync.drift
where scan_id = $1
group by kind
"""


SELECT_DRIFT_AMOUNTS = """
select kind, currency, sum(abs(amount::numeric)) as amount
from sync.drift
where scan_id = $1 and verified and currency is not null and amount <> 0
group by kind, currency
order by kind, currency
"""


async def select_drift_by_kind(connection: Connection, scan_id: int) -> list[DriftOfKind]:
    """The result of an audit, in the registry's order, the records last."""
    amounts: dict[str, dict[str, int]] = {}
    for row in await connection.fetch(SELECT_DRIFT_AMOUNTS, scan_id):
        amounts.setdefault(row["kind"], {})[row["currency"]] = int(row["amount"])
    rows = {row["kind"]: row for row in await connection.fetch(SELECT_DRIFT_BY_KIND, scan_id)}
    return [
        DriftOfKind(
            object=kind,
            amounts=amounts.get(kind, {}),
            **{
                name: rows[kind][name] for name in ("differs", "lacking", "surplus", "repaired", "unverified")
            },
        )
        for kind in (*KINDS, RECORD)
        if kind in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """An audit as operators see it."""

    id: int
    status: str
    account: str
    live_mode: bool
    since: datetime | None
    repair: bool
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    step: str
    error: str | None
    objects_compared: int
    drift: int
    by_object: tuple[DriftOfKind, ...]


COUNT_COMPARED = "select coalesce(sum(objects), 0)::bigint from sync.scan_windows where scan_id = $1"


async def report_audit(connection: Connection, scan: Scan) -> AuditReport:
    """How far an audit is, and what it has found."""
    by_object = tuple(await select_drift_by_kind(connection, scan.id))
    return AuditReport(
        id=scan.id,
        status=scan.status,
        account=scan.account_id,
        live_mode=scan.live_mode,
        since=scan.since,
        repair=scan.repair,
        requested_at=scan.requested_at,
        started_at=scan.started_at,
        finished_at=scan.finished_at,
        step=scan.step,
        error=scan.error,
        objects_compared=await connection.fetchval(COUNT_COMPARED, scan.id),
        drift=sum(each.differs + each.lacking + each.surplus for each in by_object),
        by_object=by_object,
    )


SELECT_LAST_AUDIT = """
select id from sync.scans where purpose = 'audit' and status in ('complete', 'partial') order by id desc limit 1
"""


async def select_last_audit(connection: Connection) -> AuditReport | None:
    """The latest audit that came to an end; None if there was none yet."""
    scan_id = await connection.fetchval(SELECT_LAST_AUDIT)
    scan = None if scan_id is None else await select_scan(connection, scan_id, "audit")
    return None if scan is None else await report_audit(connection, scan)
