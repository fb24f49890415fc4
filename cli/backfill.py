"""`subledger backfill`: let a worker read the account from its beginning, watch its progress, list and cancel."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from cli.connect import database, environment, served_mode
from cli.errors import CommandError
from cli.terminal import counted, error_console, now_and_then, show, show_json, span, table
from db.sync.scan_reports import ScanReport, report_scan
from db.sync.scans import ScanRequest, cancel_scan, select_scan, select_scans
from db.sync.status import select_workers
from runtime.printable import shown
from runtime.scan_requests import WrongField, ask_for_scan, read_request

POLL_SECONDS = 0.5


app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def backfill(
    context: typer.Context,
    objects: Annotated[
        str,
        typer.Option(
            "--objects", "--object", metavar="NAMES", help="Which objects: customer,invoice,... or all."
        ),
    ] = "all",
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only what was created at or after it (UTC).")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only what was created before it (UTC).")
    ] = None,
    customer: Annotated[
        str | None, typer.Option(metavar="ID", help="Only this Stripe customer and its objects.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="ID", help="A connected account; left out: the key's own.")
    ] = None,
    detach: Annotated[bool, typer.Option(help="Start it and return at once.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, as GET /backfills/ID does.")] = False,
) -> None:
    """Fill the database from Stripe's lists: a worker does it, this command starts it and watches.

    An identical unfinished backfill is watched, not started again. Exit code 0: complete; 1: not everything could be
    read.
    """
    if context.invoked_subcommand is not None:
        return
    environ = environment()
    try:
        request = read_request(
            {"objects": objects, "since": since, "until": until, "customer": customer, "account": account}
        )
    except WrongField as wrong:
        raise typer.BadParameter(str(wrong), param_hint=f"--{wrong.field}") from None
    live_mode = served_mode(environ)
    if live_mode is None:
        raise CommandError(
            "without STRIPE_API_KEY nothing can be read from Stripe: set it, for the worker too"
        )
    try:
        report = asyncio.run(run_backfill(environ, request, live_mode=live_mode, watch=not detach))
    except KeyboardInterrupt:
        typer.echo("subledger: no longer watching; the backfill continues", err=True)
        raise typer.Exit(130) from None
    if as_json:
        show_json(report)
    else:
        show(*_page(report))
    if not detach and report.status != "complete":
        raise typer.Exit(1)


@app.command("list")
def list_backfills(
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20, as_json: JsonOption = False
) -> None:
    """The latest backfills, the newest first, as GET /backfills shows them."""
    found = asyncio.run(_list(environment(), limit))
    if as_json:
        show_json(found)
    elif not found:
        typer.echo("There is no backfill yet.")
    else:
        show(
            table(
                "Backfills",
                ["id", "status", "account", "requested", "finished", "rows", "step"],
                [
                    (
                        each.id,
                        each.status,
                        each.account or "-",
                        each.requested_at,
                        each.finished_at,
                        sum(kind.rows for kind in each.objects),
                        each.step,
                    )
                    for each in found
                ],
            )
        )


async def _list(environ: Mapping[str, str], limit: int) -> list[ScanReport]:
    async with database(environ) as connection:
        scans = await select_scans(connection, "backfill", limit=limit)
        return [await report_scan(connection, scan) for scan in scans]


@app.command("cancel")
def cancel(
    number: Annotated[int, typer.Argument(metavar="ID", help="The backfill's number.")],
    as_json: JsonOption = False,
) -> None:
    """Stop a backfill at its next page; what was stored stays. Exit code 1 if it is over, or there is none."""
    report = asyncio.run(_cancel(environment(), number))
    if as_json:
        show_json(report)
    else:
        typer.echo(f"Backfill {number} is canceled: its lists stop at the next page.")


async def _cancel(environ: Mapping[str, str], number: int) -> ScanReport:
    async with database(environ) as connection:
        canceled = await cancel_scan(connection, number, "backfill")
        if canceled is not None:
            return await report_scan(connection, canceled)
        known = await select_scan(connection, number, "backfill")
    if known is None:
        raise CommandError(f"there is no backfill {number}: `subledger backfill list` lists them")
    raise CommandError(f"backfill {number} is over: it is {known.status}")


async def run_backfill(
    environ: Mapping[str, str], request: ScanRequest, *, live_mode: bool, watch: bool = True
) -> ScanReport:
    """Ask for a backfill and, unless `watch` is false, wait for its end; shows its progress on standard error."""
    async with database(environ) as connection:
        scan, new = await ask_for_scan(connection, request, live_mode=live_mode)
    if watch and not new:
        typer.echo(f"subledger: watching backfill {scan.id}, which is under way", err=True)
    last: ScanReport | None = None
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[progress]}"),
        console=error_console(),
        transient=True,
        disable=not watch,
    ) as progress:
        bars: dict[str, TaskID] = {}
        tell = now_and_then() if watch else None
        async for report in reports(environ, scan.id):
            last = report
            if tell is not None:
                rows = sum(each.rows for each in report.objects)
                done = sum(each.windows_done == each.windows for each in report.objects)
                lists = f"{done} of {counted(len(report.objects), 'list')} done"
                tell(f"Backfill {scan.id}: {counted(rows, 'row')} read, {lists}, now: {report.step}")
            for each in report.objects:
                if each.object not in bars:
                    bars[each.object] = progress.add_task(each.object, total=1.0, progress="")
                said = f"{each.rows:,} rows, {each.rows_per_second:,.0f}/s"
                if each.eta_seconds:
                    said += f", {span(each.eta_seconds)} left"
                share = 1.0 if each.windows_done == each.windows else 0.0
                if share < 1 and each.eta_seconds is not None and report.started_at is not None:
                    elapsed = each.rows / each.rows_per_second if each.rows_per_second else 0.0
                    share = elapsed / (elapsed + each.eta_seconds) if elapsed else 0.0
                progress.update(bars[each.object], completed=share, progress=said)
            if not watch or report.finished_at is not None:
                break
    if last is None:
        raise CommandError(f"backfill {scan.id} no longer exists")
    return last


async def reports(environ: Mapping[str, str], scan_id: int) -> AsyncIterator[ScanReport]:
    """The progress of a scan, repeatedly; says once on standard error when no worker is alive."""
    async with database(environ) as connection:
        warned = False
        while True:
            scan = await select_scan(connection, scan_id)
            if scan is None:
                return
            workers = await select_workers(connection)
            if not warned and not any(each.alive for each in workers):
                typer.echo("subledger: no worker is alive: start `subledger worker`", err=True)
                warned = True
            yield await report_scan(connection, scan)
            await asyncio.sleep(POLL_SECONDS)


def _page(report: ScanReport) -> Iterator[RenderableType]:
    rows = sum(each.rows for each in report.objects)
    style = {"complete": "green", "queued": "", "running": ""}.get(report.status, "yellow")
    took = ""
    if report.started_at is not None and report.finished_at is not None:
        seconds = max((report.finished_at - report.started_at).total_seconds(), 0.001)
        took = f" in {span(seconds)}"
    yield Text(f"Backfill {report.id} is {report.status}: {counted(rows, 'row')} read{took}.", style=style)
    if report.error:
        yield Text(shown(report.error), style="red", overflow="fold")
    if report.objects:
        yield Text()
        yield table(
            "Objects",
            ["object", "windows", "done", "rows", "requests", "errors"],
            [
                (
                    each.object,
                    each.windows,
                    each.windows_done,
                    each.rows,
                    each.requests,
                    "; ".join(each.errors) or None,
                )
                for each in report.objects
            ],
        )
    if report.status == "complete":
        yield Text()
        yield Text("Next: `subledger status --wait 60`, then `subledger audit`, which proves it.")
