"""`subledger audit`: whether the database equals Stripe, and what to do if it does not."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.backfill import reports
from cli.connect import database, environment, served_mode
from cli.errors import CommandError
from cli.terminal import counted, progress, show, show_json, span, table
from db.connection import PostgresAway
from db.sync.audit_reports import AuditReport, report_audit
from db.sync.audits import Drift, Unread, select_drift, select_undecided
from db.sync.scans import ScanRequest, select_scan
from runtime.printable import shown
from runtime.scan_requests import WrongField, ask_for_scan, read_request
from runtime.settings import SettingsError

EXAMPLES_MAX = 20
DRIFT_FOUND, NOT_FINISHED = 1, 2


def audit(
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only what was created at or after it (UTC).")
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="ID", help="A connected account; left out: the key's own.")
    ] = None,
    repair: Annotated[bool, typer.Option(help="Read differing objects again and correct them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove that the database equals Stripe: a worker compares, this command starts it and watches.

    Exit code 0: no drift; 1: drift, listed by object with counts and money; 2: it could not be finished, or something
    could not be read or understood, and is named.
    """
    try:
        report, drift, undecided = _ask_and_wait(since=since, account=account, repair=repair)
    except (CommandError, SettingsError, *PostgresAway) as error:
        typer.echo(f"subledger: the audit could not be finished: {error}", err=True)
        raise typer.Exit(NOT_FINISHED) from None
    except KeyboardInterrupt:
        typer.echo("subledger: no longer watching; the audit continues", err=True)
        raise typer.Exit(130) from None
    if as_json:
        show_json({"audit": report, "drift": drift, "undecided": [each._asdict() for each in undecided]})
    else:
        show(*_page(report, drift, undecided))
    if report.status != "complete":
        raise typer.Exit(NOT_FINISHED)
    if report.drift:
        raise typer.Exit(DRIFT_FOUND)


Found = tuple[AuditReport, list[Drift], list[Unread]]
"""The report, and the first of what differs and of what is undecided."""


def _ask_and_wait(*, since: str | None, account: str | None, repair: bool) -> Found:
    environ = environment()
    try:
        request = read_request({"since": since, "account": account}, purpose="audit", repair=repair)
    except WrongField as wrong:
        raise typer.BadParameter(str(wrong), param_hint=f"--{wrong.field}") from None
    live_mode = served_mode(environ)
    if live_mode is None:
        raise CommandError(
            "without STRIPE_API_KEY nothing can be read from Stripe: set it, for the worker too"
        )
    return asyncio.run(run_audit(environ, request, live_mode=live_mode))


async def run_audit(environ: Mapping[str, str], request: ScanRequest, *, live_mode: bool) -> Found:
    """Ask for an audit and wait for its end; shows its progress on standard error."""
    async with database(environ) as connection:
        scan, _ = await ask_for_scan(connection, request, live_mode=live_mode)
    with progress("Waiting for a worker") as tell:
        async for report in reports(environ, scan.id):
            rows = sum(each.rows for each in report.objects)
            tell(f"Audit {scan.id}: {counted(rows, 'object')} compared, now: {report.step}")
            if report.finished_at is not None:
                break
    async with database(environ) as connection:
        ended = await select_scan(connection, scan.id)
        if ended is None:
            raise CommandError(f"audit {scan.id} no longer exists")
        return (
            await report_audit(connection, ended),
            await select_drift(connection, ended, limit=EXAMPLES_MAX),
            await select_undecided(connection, ended, limit=EXAMPLES_MAX),
        )


def _page(report: AuditReport, drift: list[Drift], undecided: list[Unread]) -> Iterator[RenderableType]:
    took = ""
    if report.started_at is not None and report.finished_at is not None:
        took = f" in {span((report.finished_at - report.started_at).total_seconds())}"
    compared = f"{counted(report.objects_compared, 'listed object')} compared{took}"
    if report.status != "complete":
        yield Text(f"Audit {report.id} could not be finished ({report.status}): {compared}.", style="red")
        yield Text(shown(report.error or "no reason is known"), style="red", overflow="fold")
    elif not report.drift:
        yield Text(f"No drift: mirror and records equal Stripe; {compared}.", style="green")
    else:
        yield Text(f"Drift: {counted(report.drift, 'difference')}; {compared}.", style="yellow")
    if not report.by_object:
        return
    yield Text()
    yield table(
        "Differences",
        ["object", "differs", "missing here", "extra here", "undecided", "marked for repair", "money"],
        [
            (
                each.object,
                each.differs,
                each.lacking,
                each.surplus,
                each.unverified,
                each.repaired,
                ", ".join(f"{amount:,} {currency}" for currency, amount in each.amounts.items()) or None,
            )
            for each in report.by_object
        ],
    )
    if drift:
        yield Text()
        yield table(
            f"The first {len(drift)}" if report.drift > len(drift) else "Details",
            ["id", "object", "what", "fields"],
            [(each.id, each.kind, each.what, ", ".join(each.fields) or None) for each in drift],
        )
    if undecided:
        yield Text()
        yield table(
            "Undecided", ["id", "object", "why"], [(each.id, each.kind, each.error) for each in undecided]
        )
    yield Text()
    if report.repair:
        yield Text(
            "The differences are marked: `subledger status --wait 60` returns once they are corrected."
        )
    else:
        yield Text("`subledger audit --repair` corrects them.")
