"""`subledger alarms`: what an operator must see, since when, what to do, and how to take it back."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.connect import database, environment
from cli.terminal import cell, show, show_json, table
from db.sync.accounts import Alarm, clear_alarms, select_alarms
from runtime.printable import shown

app = typer.Typer(
    help="List what an operator must see, and clear it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_alarms(as_json: JsonOption = False) -> None:
    """The alarms that stand, the oldest first, each with its remedy."""
    alarms = asyncio.run(_list(environment()))
    if as_json:
        show_json(alarms)
    elif not alarms:
        typer.echo("No alarm stands.")
    else:
        rows = [
            (cell(each.name, "bold red"), each.since, each.account_id or "-", each.worker or "-", each.detail)
            for each in alarms
        ]
        show(table("Alarms", ["alarm", "since", "account", "worker", "what is wrong, and what to do"], rows))


async def _list(environ: Mapping[str, str]) -> list[Alarm]:
    async with database(environ) as connection:
        return await select_alarms(connection)


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """What `alarms clear` has done."""

    cleared: list[str]
    unknown: list[str]


@app.command("clear")
def clear(
    names: Annotated[list[str] | None, typer.Argument(metavar="ALARM", help="Its name, in quotes.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every alarm that stands.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take alarms back by name, or all of them; what is still wrong raises its alarm again.

    Exit code 1 if no alarm of such a name stands.
    """
    if bool(names) == every:
        raise typer.BadParameter("give either names of alarms, or --all")
    done = asyncio.run(_clear(environment(), names))
    if as_json:
        show_json(done)
    else:
        typer.echo(
            "Cleared: " + ", ".join(map(shown, done.cleared)) if done.cleared else "Nothing was cleared."
        )
    for name in done.unknown:
        typer.echo(f"subledger: no alarm {shown(name)} stands: see `subledger alarms list`", err=True)
    if done.unknown:
        raise typer.Exit(1)


async def _clear(environ: Mapping[str, str], names: Sequence[str] | None) -> Cleared:
    async with database(environ) as connection:
        wanted = names if names is not None else [each.name for each in await select_alarms(connection)]
        cleared = await clear_alarms(connection, wanted)
    unknown = sorted(set(wanted) - set(cleared)) if names is not None else []
    return Cleared(cleared=cleared, unknown=unknown)
