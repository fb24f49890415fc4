"""`subledger rebuild`: derive every record again from the mirror."""

import asyncio
import sys
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from billing.record import Policy
from cli.connect import database, environment, settings
from cli.errors import CommandError
from cli.terminal import counted, error_console, show_json
from runtime.logs import configure_logs
from worker import rebuild as work


def rebuild(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Derive every record again from the mirror; correct records stay untouched.

    For a new version with changed rules, or to prove that the records follow from the mirror. Reads nothing from
    Stripe. Workers may keep running; an interrupted rebuild continues where it stopped.
    """
    done = asyncio.run(_rebuild(environment()))
    if as_json:
        show_json(done)
    else:
        typer.echo(
            f"{counted(done.derived, 'customer')} derived, {counted(done.changed, 'record')} changed"
            + (", continuing where the last rebuild stopped" if done.resumed else "")
        )
    if done.failed:
        typer.echo(
            f"subledger: {counted(done.failed, 'customer')} could not be derived: see `subledger events list --state "
            "parked`",
            err=True,
        )
        sys.exit(1)


async def _rebuild(environ: Mapping[str, str]) -> work.Rebuilt:
    given = settings(environ)
    policy = Policy(past_due_has_access=given.past_due_has_access)
    bar = Progress(
        TextColumn("deriving"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[changed]} changed"),
        console=error_console(),
        disable=not sys.stderr.isatty(),
    )
    task = bar.add_task("rebuild", total=None, changed=0)
    tenths = 0

    def progressed(progress: work.Progress) -> None:
        nonlocal tenths
        bar.update(task, completed=progress.derived, total=progress.total, changed=progress.changed)
        # In a log, one line for each tenth.
        if bar.disable and progress.derived * 10 >= (tenths + 1) * progress.total > 0:
            tenths = progress.derived * 10 // progress.total
            typer.echo(f"{progress.derived} of {counted(progress.total, 'customer')} derived", err=True)

    configure_logs("console", secrets=given.secrets, stream=sys.stderr)

    async with database(environ) as connection, database(environ) as holder:
        try:
            async with work.rebuilding_alone(holder):
                with bar:
                    return await work.rebuild(connection, policy=policy, progressed=progressed)
        except work.RebuildBusy as busy:
            raise CommandError(str(busy)) from busy
