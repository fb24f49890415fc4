"""`subledger doctor`: looks at everything around us, names what is wrong, and says what to do, or does it (`--fix`)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.checks.finding import Finding, Repair, State, skipped
from cli.checks.postgres import look_at_postgres
from cli.checks.redis import look_at_redis
from cli.checks.settings import Read, read_settings
from cli.checks.stripe import look_at_stripe
from cli.connect import unchecked_environment
from cli.errors import CommandError
from cli.repairs import Repaired, do, plan
from cli.terminal import cell, counted, progress, say, show, show_json, table
from runtime.printable import shown

STYLES = {State.OK: "green", State.WARNING: "yellow", State.FAILURE: "bold red", State.SKIPPED: "dim"}


def doctor(
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The address that Stripe posts to; left out: found by its path."),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair what is safe to repair, after asking, and look again.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Of --fix: do not ask.")] = False,
    secret_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Of --fix: write a new endpoint's signing secret into this new file, not to the terminal.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at settings, Postgres, Redis, the key, the endpoint, clocks and workers, and say what to do.

    Changes nothing without --fix. Exit code 0: all is well, or there are warnings alone; 1: something does not work,
    with --fix: still.
    """
    if (yes or secret_file is not None) and not fix:
        raise typer.BadParameter("goes with --fix", param_hint="--yes" if yes else "--secret-file")
    if secret_file is not None and secret_file.exists():
        raise CommandError(f"{secret_file} exists already: name a new file for --secret-file")
    environ = unchecked_environment()
    found = asyncio.run(_look(environ, url))
    repaired: list[Repaired] = []
    if fix:
        if not as_json:
            show(*_page(found))
        repairs = plan(found)
        if not repairs:
            say("there is nothing to repair here")
        elif yes or _is_confirmed(repairs):
            repaired = asyncio.run(do(read_settings(environ).settings, repairs, secret_file=secret_file))
            if not as_json:
                # Before the second look, which may be broken off: Stripe says a secret only once.
                show(*_done(repaired), Text())
            found = asyncio.run(_look(environ, url))
        else:
            say("nothing was repaired")
    failed = any(each.state is State.FAILURE for each in found)
    if as_json:
        show_json({"ok": not failed, "findings": found} | ({"repaired": repaired} if fix else {}))
    elif repaired or not fix:
        show(*_page(found))
    if failed:
        raise typer.Exit(1)


def _is_confirmed(repairs: Sequence[Repair]) -> bool:
    say("this would be done:")
    for each in repairs:
        typer.echo(f"* {shown(each.what)}", err=True)
    try:
        return typer.confirm("Do it?", err=True)
    except typer.Abort:
        return False  # nobody is there to answer


def _done(repaired: Sequence[Repaired]) -> Iterator[RenderableType]:
    yield table(
        "Repairs",
        ["repair", "done", "what came of it"],
        [
            (each.repair.cure, cell(each.done, STYLES[State.OK if each.done else State.FAILURE]), each.said)
            for each in repaired
        ],
    )
    for secret in filter(None, (each.secret for each in repaired)):
        yield Text()
        yield Text(f"STRIPE_WEBHOOK_SECRET={secret}", overflow="fold")
        yield Text("Stripe shows it only now: set it for web, and restart web.", style="yellow")


async def _look(environ: Mapping[str, str], url: str | None) -> list[Finding]:
    read = read_settings(environ)
    found = [*read.findings]
    with progress("Looking") as tell:
        for name, looking in _parts(read, url):
            tell(f"Looking at {name}")
            found += [finding async for finding in looking]
    return found


def _parts(read: Read, url: str | None) -> Iterator[tuple[str, AsyncIterator[Finding]]]:
    settings, unusable = read.settings, read.unusable
    has_database = "DATABASE_URL" not in unusable
    yield "Postgres", look_at_postgres(settings) if has_database else _skip("postgres", "DATABASE_URL")
    has_redis = "REDIS_URL" not in unusable
    yield "Redis", look_at_redis(settings.redis_url) if has_redis else _skip("redis", "REDIS_URL")
    yield "Stripe", look_at_stripe(settings, url=url, with_database=has_database)


async def _skip(check: str, variable: str) -> AsyncIterator[Finding]:
    yield skipped(check, f"{variable} cannot be used")


def _page(found: list[Finding]) -> Iterator[RenderableType]:
    yield table(
        "What was looked at",
        ["check", "state", "what was found"],
        [(each.check, cell(each.state, STYLES[each.state]), each.said) for each in found],
    )
    for state, title in ((State.FAILURE, "To do"), (State.WARNING, "To consider")):
        chosen = [each for each in found if each.state is state]
        if chosen:
            yield Text()
            yield Text(title, style=STYLES[state])
            for each in chosen:
                yield Text(f"* {shown(each.check)}: {shown(each.remedy)}", overflow="fold")
    count = Counter(each.state for each in found)
    yield Text()
    if count[State.FAILURE]:
        yield Text(
            f"{counted(count[State.FAILURE], 'failure')}, {counted(count[State.WARNING], 'warning')}.",
            style=STYLES[State.FAILURE],
        )
    elif count[State.WARNING]:
        yield Text(f"It works, with {counted(count[State.WARNING], 'warning')}.", style=STYLES[State.WARNING])
    else:
        yield Text("All is well.", style=STYLES[State.OK])
