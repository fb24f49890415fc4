"""`subledger doctor`: looks at everything around us, names what is wrong, and says what to do."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.checks.finding import Finding, State, skipped
from cli.checks.postgres import look_at_postgres
from cli.checks.redis import look_at_redis
from cli.checks.settings import Read, read_settings
from cli.checks.stripe import look_at_stripe
from cli.connect import unchecked_environment
from cli.terminal import cell, counted, error_console, show, show_json, table
from runtime.printable import shown

STYLES = {State.OK: "green", State.WARNING: "yellow", State.FAILURE: "bold red", State.SKIPPED: "dim"}


def doctor(
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The address that Stripe posts to; left out: found by its path."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at settings, Postgres, Redis, the key, the endpoint, clocks and workers, and say what to do.

    Changes nothing. Exit code 0: all is well, or there are warnings alone; 1: something does not work.
    """
    found = asyncio.run(_look(unchecked_environment(), url))
    failed = any(each.state is State.FAILURE for each in found)
    if as_json:
        show_json({"ok": not failed, "findings": found})
    else:
        show(*_page(found))
    if failed:
        raise typer.Exit(1)


async def _look(environ: Mapping[str, str], url: str | None) -> list[Finding]:
    read = read_settings(environ)
    found = [*read.findings]
    with error_console().status("Looking") as progress:
        for name, looking in _parts(read, url):
            progress.update(f"Looking at {name}")
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
