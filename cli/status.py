"""`subledger status`: how far the records are behind, what each number means, and how to fix it."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.connect import database, environment, served_mode
from cli.terminal import cell, counted, moment, progress, show, show_json, span, table
from db.connection import Connection, PostgresAway
from db.sync.status import (
    COUNTED_MAX,
    Backlog,
    KnownProblem,
    WorkerSign,
    select_backlog,
    select_problems,
    select_workers,
    stripe_use,
)
from runtime.printable import shown

PROBLEMS_SHOWN_MAX = 5
POLL_SECONDS = 0.25
LOOK_SECONDS_MIN = 5.0
"""One query may take this long, even when the time to wait is over sooner."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What the command shows, all of it from one moment."""

    backlog: Backlog
    workers: list[WorkerSign]
    problems: list[KnownProblem]
    """The first few; `backlog.problems` is the number of all."""

    @property
    def alive(self) -> int:
        return sum(worker.alive for worker in self.workers)


def status(
    wait: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Return once settled; exit 1 after this many seconds."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the keys of GET /status.")
    ] = False,
) -> None:
    """How far the records are behind, who works, and what to fix."""
    environ = environment()
    live_mode = served_mode(environ)
    if wait is None:
        health = asyncio.run(_look(environ, live_mode))
    else:
        with progress("Looking") as tell:
            began = datetime.now(UTC)

            def report(news: str) -> None:
                waited = (datetime.now(UTC) - began).total_seconds()
                tell(f"{news} ({waited:.0f} of {wait:g} s)")

            health = asyncio.run(until_settled(environ, live_mode, seconds=wait, report=report))
    if as_json:
        show_json(_document(health))
    else:
        show(*_page(health))
    if wait is not None and not health.backlog.settled:
        typer.echo(f"subledger: not settled after {wait:g} s: {left(health.backlog)}", err=True)
        raise typer.Exit(1)


def left(backlog: Backlog) -> str:
    """The work that is left, in words; "nothing" when the records are settled."""
    parts = [
        counted(count, noun)
        for count, noun in (
            (backlog.pending_events, "pending event"),
            (backlog.stale_customers, "stale customer"),
            (backlog.unconfirmed_objects or 0, "unconfirmed object"),
            (backlog.quarantined_of_served_mode, "quarantined event"),
            (len(backlog.alarms), "alarm"),
        )
        if count
    ]
    return ", ".join(parts) or "nothing"


async def _look(environ: Mapping[str, str], live_mode: bool | None) -> Health:
    async with database(environ) as connection:
        return await _read_health(connection, live_mode)


async def until_settled(
    environ: Mapping[str, str], live_mode: bool | None, *, seconds: float, report: Callable[[str], None]
) -> Health:
    """The state as soon as it is settled, or when the time is over.

    A restart of Postgres is waited out; raises one of PostgresAway when it is still away at the end.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        try:
            async with database(environ) as connection:
                return await _watch(connection, live_mode, deadline=deadline, report=report)
        except PostgresAway:
            if loop.time() >= deadline:
                raise
            report("Postgres cannot be reached")
            await asyncio.sleep(min(POLL_SECONDS, max(deadline - loop.time(), 0)))


async def _watch(
    connection: Connection, live_mode: bool | None, *, deadline: float, report: Callable[[str], None]
) -> Health:
    loop = asyncio.get_running_loop()
    while True:
        async with asyncio.timeout(max(deadline - loop.time(), LOOK_SECONDS_MIN)):
            health = await _read_health(connection, live_mode)
        if health.backlog.settled or loop.time() >= deadline:
            return health
        report(f"Left: {left(health.backlog)}")
        await asyncio.sleep(min(POLL_SECONDS, max(deadline - loop.time(), 0)))


async def _read_health(connection: Connection, live_mode: bool | None) -> Health:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return Health(
            backlog=await select_backlog(connection, live_mode=live_mode),
            workers=await select_workers(connection),
            problems=await select_problems(connection, limit=PROBLEMS_SHOWN_MAX),
        )


def _document(health: Health) -> dict[str, object]:
    return {
        **dataclasses.asdict(health.backlog),
        "settled": health.backlog.settled,
        "stripe": stripe_use(health.workers),
        "workers": [{**dataclasses.asdict(each), "alive": each.alive} for each in health.workers],
        "first_problems": health.problems,
    }


def _page(health: Health) -> Iterator[RenderableType]:
    backlog = health.backlog
    if backlog.settled:
        yield Text("Settled: every received event has reached its record.", style="green")
    else:
        yield Text(f"Not settled: {left(backlog)}.", style="yellow")
    if backlog.behind:
        yield Text(f"Behind: {shown(backlog.behind_because or '')}.", style="yellow", overflow="fold")
    for alarm in backlog.alarms:
        yield Text(shown(alarm), style="bold red", overflow="fold")
    yield Text()
    yield table("Backlog", ["what", "now", "meaning"], _backlog_rows(health))
    yield Text()
    if health.workers:
        yield table(
            "Workers",
            ["worker", "state", "last beat", "redis", "redis restarts"],
            _worker_rows(health.workers),
        )
    else:
        yield Text("No worker runs: start one with `subledger worker`.", style="red")
    if health.problems:
        yield Text()
        rows = [(each.customer_id, each.kind, each.detail) for each in health.problems]
        yield table(
            f"Problems (the first {len(rows)} of {backlog.problems})", ["customer", "kind", "detail"], rows
        )


def _backlog_rows(health: Health) -> Iterator[tuple[object, object, object]]:
    backlog = health.backlog
    working = (
        "the workers are working on it" if health.alive else "no worker is alive: start `subledger worker`"
    )
    # Name, number, its meaning while it is zero, what to do when it is not.
    counts: list[tuple[str, int | None, str, str]] = [
        (
            "pending events",
            backlog.pending_events,
            "received, not applied yet",
            f"received, not applied yet: {working}",
        ),
        (
            "stale customers",
            backlog.stale_customers,
            "records older than their facts",
            f"records older than their facts: {working}",
        ),
        (
            "unconfirmed objects",
            backlog.unconfirmed_objects,
            "changed, not read from Stripe yet",
            f"changed, to be read from Stripe: {working}",
        ),
        (
            "missing objects",
            backlog.missing_objects,
            "Stripe does not find them, and nothing proves a deletion",
            "Stripe does not find them, and nothing proves a deletion: is the API key of the same account?",
        ),
        (
            "parked",
            backlog.parked,
            "events, objects and customers given up after several attempts",
            "given up: see `subledger events list --state parked`, then `subledger events replay --state parked`",
        ),
        (
            "quarantined events",
            backlog.quarantined_events,
            "of the mode that the API key does not serve",
            f"{backlog.quarantined_of_served_mode:,} of the mode served here: "
            "`subledger events replay --state quarantined` once the right key is at work"
            if backlog.quarantined_of_served_mode
            else "of the mode that the API key does not serve: that mode needs its own Subledger",
        ),
        (
            "problems",
            backlog.problems,
            "contradictions that somebody should fix",
            "somebody should fix them: see below",
        ),
        (
            "pending pushes",
            backlog.pending_pushes,
            "customers written here, and not at Stripe yet",
            "customers written here, and not at Stripe yet: `push` in GET /customers/ID says why",
        ),
        (
            "unsent meter events",
            backlog.unsent_meter_events,
            "tracked here, and Stripe's meters are to be told",
            "wait for Stripe, for a right of the key, or for customers to be linked: an alarm says which of the former",
        ),
    ]
    for name, count, meaning, remedy in counts:
        if count is None:
            yield name, None, "no STRIPE_API_KEY here: nothing is read, records stay provisional"
        elif count:
            more = "+" if count >= COUNTED_MAX else ""
            yield name, cell(f"{count:,}{more}", "bold yellow"), remedy
        else:
            yield name, cell(count, "green"), cell(meaning, "dim")
    yield "lag", _lag(backlog), cell("how long the oldest pending event has waited", "dim")
    yield "last event", _since(backlog.last_event_at), cell(_when(backlog.last_event_at), "dim")
    yield "last gap fill", _since(backlog.last_gap_fill_at), cell(_when(backlog.last_gap_fill_at), "dim")


def _lag(backlog: Backlog) -> str:
    return "none" if backlog.oldest_pending_seconds is None else span(backlog.oldest_pending_seconds)


def _since(at: datetime | None) -> str:
    return "never" if at is None else f"{span(max((datetime.now(UTC) - at).total_seconds(), 0))} ago"


def _when(at: datetime | None) -> str:
    return "" if at is None else moment(at)


def _worker_rows(workers: list[WorkerSign]) -> Iterator[tuple[object, ...]]:
    for worker in workers:
        redis = worker.detail.get("redis")
        yield (
            worker.id,
            cell("alive" if worker.alive else "lost", "green" if worker.alive else "red"),
            f"{span(worker.seconds_since_beat)} ago",
            cell(redis, "" if redis == "ok" else "yellow"),
            worker.detail.get("arq_restarts"),
        )
