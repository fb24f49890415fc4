"""Backfills and audits: how far they are, starting and canceling them, and what audits have found."""

from dataclasses import dataclass

from starlette.responses import Response

from billing.kinds.lists import listed_kinds
from db.connection import Connection
from db.sync.audit_reports import AuditReport, report_audit, select_last_audit
from db.sync.audits import Drift, Unread, select_drift, select_undecided
from db.sync.scan_reports import ObjectsReport, ScanReport, report_scan
from db.sync.scans import Purpose, Scan, ScanRequest, cancel_scan, select_scan, select_scans
from db.sync.status import select_workers
from runtime.scan_requests import WrongField, ask_for_scan, read_request
from webhooks.answers import Refusal
from webhooks.console.pages import Page, Visit
from webhooks.ids import id_in_path

LISTED_MAX = 20
NAMED_MAX = 100
"""So many of the differences that an audit found are named; all of them are counted."""
REFRESH_SECONDS = 2
SCAN_ID_DIGITS_MAX = 18
NO_KEY = "without STRIPE_API_KEY nothing can be read from Stripe: set it and restart"


# Backfills


async def show_backfills(visit: Visit) -> Response:
    """The latest backfills, and a form for another one."""
    return await _backfills(visit)


async def _backfills(visit: Visit, wrong: WrongField | None = None) -> Response:
    async with visit.desk.context.readers.connection() as connection:
        scans = await select_scans(connection, "backfill", limit=LISTED_MAX)
        reports = [await report_scan(connection, scan) for scan in scans]
    return visit.page(
        "backfills.html",
        status=422 if wrong else 200,
        title="Backfills",
        reports=[(report, sum(each.rows for each in report.objects)) for report in reports],
        kinds=listed_kinds(),
        chosen=visit.form.all("objects"),
        given={name: visit.form.get(name) for name in ("since", "until", "customer", "account")},
        wrong=wrong,
        possible=visit.desk.admin.live_mode is not None,
    )


async def start_backfill(visit: Visit) -> Response:
    """Ask for a backfill; an identical one that is not over is shown instead."""
    fields: dict[str, object] = {
        name: visit.form.get(name) or None for name in ("since", "until", "customer", "account")
    }
    fields["objects"] = visit.form.all("objects") or None
    try:
        request = read_request(fields)
    except WrongField as wrong:
        return await _backfills(visit, wrong)
    return await _start(visit, request)


async def show_backfill(visit: Visit) -> Response:
    """How far one backfill is, for each kind."""
    async with visit.desk.context.readers.connection() as connection:
        scan = await _scan(visit, connection, "backfill")
        report = await report_scan(connection, scan)
        waits = await _waits_for_worker(connection, report)
    return visit.page(
        "backfill.html",
        title=f"Backfill {report.id}",
        refresh_seconds=None if report.finished_at else REFRESH_SECONDS,
        report=report,
        rows=sum(each.rows for each in report.objects),
        objects=[(each, _share_done(report, each)) for each in report.objects],
        said=_said("Backfill", report),
        waits=waits,
    )


def _share_done(report: ScanReport, kind: ObjectsReport) -> float:
    """How much of this kind is read, from 0 to 1, as far as one can know before its end."""
    if kind.windows_done == kind.windows:
        return 1.0
    if kind.eta_seconds is None or not kind.rows_per_second or report.finished_at is not None:
        return 0.0
    elapsed = kind.rows / kind.rows_per_second
    return elapsed / (elapsed + kind.eta_seconds)


# Audits


async def show_audits(visit: Visit) -> Response:
    """The latest audits, the last one with what it found, and a form for another one."""
    return await _audits(visit)


async def _audits(visit: Visit, wrong: WrongField | None = None) -> Response:
    async with visit.desk.context.readers.connection() as connection:
        scans = await select_scans(connection, "audit", limit=LISTED_MAX)
        reports = [await report_audit(connection, scan) for scan in scans]
        last = await select_last_audit(connection)
        scan = None if last is None else await select_scan(connection, last.id, "audit")
        found = None if scan is None else await _found(connection, scan)
    return visit.page(
        "audits.html",
        status=422 if wrong else 200,
        title="Audits",
        reports=reports,
        found=found,
        given={
            **{name: visit.form.get(name) for name in ("since", "account")},
            "repair": visit.form.get("repair"),
        },
        wrong=wrong,
        possible=visit.desk.admin.live_mode is not None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one audit found."""

    report: AuditReport
    drift: list[Drift]
    undecided: list[Unread]
    undecided_count: int


async def _found(connection: Connection, scan: Scan) -> Found:
    report = await report_audit(connection, scan)
    return Found(
        report=report,
        drift=await select_drift(connection, scan, limit=NAMED_MAX),
        undecided=await select_undecided(connection, scan, limit=NAMED_MAX),
        undecided_count=sum(each.unverified for each in report.by_object),
    )


async def start_audit(visit: Visit) -> Response:
    """Ask for an audit, which repairs what differs if `repair` is chosen."""
    fields = {name: visit.form.get(name) or None for name in ("since", "account")}
    try:
        request = read_request(fields, purpose="audit", repair=bool(visit.form.get("repair")))
    except WrongField as wrong:
        return await _audits(visit, wrong)
    return await _start(visit, request)


async def show_audit(visit: Visit) -> Response:
    """How far one audit is, and what it has found."""
    async with visit.desk.context.readers.connection() as connection:
        scan = await _scan(visit, connection, "audit")
        found = await _found(connection, scan)
        waits = await _waits_for_worker(connection, found.report)
    return visit.page(
        "audit.html",
        title=f"Audit {scan.id}",
        refresh_seconds=None if found.report.finished_at else REFRESH_SECONDS,
        found=found,
        said=_said("Audit", found.report),
        waits=waits,
    )


# Both


def _said(what: str, report: ScanReport | AuditReport) -> str:
    """How it is, in a sentence that changes seldom: it is read aloud each time."""
    if report.finished_at is None and report.status == "running":
        return f"{what} {report.id} is running. Step: {report.step.replace('_', ' ')}."
    return f"{what} {report.id} is {report.status}."


async def _waits_for_worker(connection: Connection, report: ScanReport | AuditReport) -> bool:
    """Whether it cannot go on, since no worker is alive."""
    return report.finished_at is None and not any(worker.alive for worker in await select_workers(connection))


async def _start(visit: Visit, request: ScanRequest) -> Response:
    live_mode = visit.desk.admin.live_mode
    if live_mode is None:
        raise Refusal(409, NO_KEY)
    async with visit.desk.admin.connection() as connection:
        scan, new = await ask_for_scan(connection, request, live_mode=live_mode)
    await visit.desk.admin.bell.ring_bulk("scan")
    notice = f"{scan.purpose.capitalize()} {scan.id} " + (
        "was requested." if new else "is under way already."
    )
    return visit.redirect(f"/console/{scan.purpose}s/{scan.id}", notice=notice)


async def cancel_backfill(visit: Visit) -> Response:
    """Stop it at its next page; what was stored stays."""
    return await _cancel(visit, "backfill")


async def cancel_audit(visit: Visit) -> Response:
    """Stop it at its next page; what it has found so far stays."""
    return await _cancel(visit, "audit")


async def _cancel(visit: Visit, purpose: Purpose) -> Response:
    async with visit.desk.admin.connection() as connection:
        scan = await _scan(visit, connection, purpose)
        canceled = await cancel_scan(connection, scan.id, purpose)
    if canceled is None:
        notice, tone = f"{purpose.capitalize()} {scan.id} is over already.", "bad"
    else:
        await visit.desk.admin.bell.ring_bulk("scan")
        notice, tone = f"{purpose.capitalize()} {scan.id} is canceled.", "good"
    return visit.redirect(f"/console/{purpose}s/{scan.id}", notice=notice, tone=tone)


async def _scan(visit: Visit, connection: Connection, purpose: Purpose) -> Scan:
    text = id_in_path(visit.request, "number")
    known = text.isascii() and text.isdigit() and len(text) <= SCAN_ID_DIGITS_MAX
    scan = await select_scan(connection, int(text), purpose) if known else None
    if scan is None:
        raise Refusal(404, f"there is no {purpose} {text}")
    return scan


PAGES = (
    Page(path="/console/backfills", get=show_backfills, post=start_backfill),
    Page(path="/console/backfills/{number:id}", get=show_backfill),
    Page(path="/console/backfills/{number:id}/cancel", post=cancel_backfill),
    Page(path="/console/audits", get=show_audits, post=start_audit),
    Page(path="/console/audits/{number:id}", get=show_audit),
    Page(path="/console/audits/{number:id}/cancel", post=cancel_audit),
)
