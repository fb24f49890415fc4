"""`make bench`: measure the real web and worker processes on this machine, and print a table.

ARGS="--quick" is a smoke run; ARGS="--only receive" measures one part; ARGS="--json FILE" keeps the figures.
"""

import asyncio
import enum
import json
import os
import platform
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import psutil
import redis
import typer
from rich.console import Console
from rich.table import Table

from bench.backfill import measure_backfill, written_lists
from bench.growth import SETTINGS, growth_rows, measure_growth
from bench.limited import measure_burst, measure_mixed, renewing_account
from bench.parts import (
    WARM_UP,
    Figures,
    measure_api,
    measure_backlog,
    measure_generator,
    measure_latency,
    measure_live,
    measure_receive,
    played_account,
)
from bench.renewals import measure_renewals
from bench.soak import figures as soak_figures
from bench.soak import soak
from bench.system import BenchError, Machine, machine, watch


class Part(enum.StrEnum):
    """What can be measured by itself."""

    RECEIVE = "receive"
    PROVISIONAL = "provisional"
    EXACT = "exact"
    LATENCY = "latency"
    BACKFILL = "backfill"
    RENEWALS = "renewals"
    LIMITS = "limits"
    GROWTH = "growth"
    SOAK = "soak"


LONG = {Part.GROWTH, Part.SOAK}
"""Parts that take many minutes: measured only if they are asked for, or in a smoke run."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    rounds: int = 3
    webhooks: int = 10_000
    backlog: int = 15_000
    exact_customers: int = 100
    rate: float = 100.0
    seconds: float = 15.0
    history: int = 4_000
    backfill_customers: int = 2_000
    backfill_latency_ms: float = 100.0
    """Backfills are measured without latency, and with this one."""
    backfill_growth: int = 10
    """How many times as large the second account is; measured only with `--only backfill`."""
    renewals: int = 1_000
    """Subscriptions that renew at one time."""
    limits_renewals: int = 500
    """The same under Stripe's limits; 0: none."""
    limits_stories_every: int = 4
    """Under limits every fourth story is enough: each takes as many seconds as it has requests in a hundred."""
    limits_customers: int = 60
    """Customers of the mixed life under Stripe's limits."""
    limits_latency_ms: float = 80.0
    limits_workers: tuple[int, ...] = (1, 4)
    growth: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Numbers of customers beside which events and records are measured."""
    growth_events: int = 3_000
    growth_records: int = 3_000
    """Records that are derived again."""
    growth_asks: int = 5_000
    """Customers about whom services ask: with check, and for their records."""
    growth_ask_rates: tuple[float, ...] = (250.0, 500.0, 1_000.0)
    """A second."""
    soak_seconds: float = 3_600.0
    soak_rate: float = 20.0
    stories_every: int = 1
    """1: every story of the sandbox; n: every n-th."""


QUICK = Sizes(
    rounds=1,
    webhooks=600,
    backlog=600,
    exact_customers=4,
    seconds=1.0,
    history=300,
    backfill_customers=40,
    backfill_latency_ms=5.0,
    renewals=30,
    limits_renewals=0,
    limits_stories_every=30,
    limits_customers=3,
    limits_latency_ms=5.0,
    limits_workers=(2,),
    growth=(60,),
    growth_events=60,
    growth_records=20,
    growth_asks=40,
    growth_ask_rates=(100.0,),
    soak_seconds=6.0,
    stories_every=12,
)
GROWTH_CUSTOMERS = 100
"""Customers of the small account that is multiplied: fewer, and the planner would see few different values."""
GROWTH_STORIES_EVERY = 11
"""These leave 22 objects of a customer, of every kind that counts money."""
EVENTS_PER_CUSTOMER_MIN = 20
"""The stories make about 55: enough customers are played for the events that are needed."""

CALLS_SHOWN_MIN = 1.0
"""Per 1,000 events: operations of which there are fewer stand in the JSON alone."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()
if not console.is_terminal:
    console = Console(width=170)  # in a file: no narrower than the table


@app.command()
def main(
    quick: Annotated[bool, typer.Option("--quick", help="A smoke run: everything once, and small.")] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="How often each part is measured.")] = None,
    webhooks: Annotated[int | None, typer.Option(min=1, help="Webhooks of each round of receive.")] = None,
    backlog: Annotated[int | None, typer.Option(min=1, help="Events through to provisional records.")] = None,
    exact_customers: Annotated[int | None, typer.Option(min=1, help="Customers of the exact parts.")] = None,
    rate: Annotated[float | None, typer.Option(min=1, help="Webhooks a second in latency.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="How long latency is watched.")] = None,
    backfill_customers: Annotated[int | None, typer.Option(min=1, help="Customers of a backfill.")] = None,
    renewals: Annotated[int | None, typer.Option(min=1, help="Subscriptions that renew at one time.")] = None,
    customers: Annotated[
        list[int] | None, typer.Option(min=1, help="A size of growth; may be repeated.")
    ] = None,
    only: Annotated[list[Part] | None, typer.Option(help="Measure this part; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
) -> None:
    """Measure on durable servers of its own, in a directory that is removed at the end."""
    base = QUICK if quick else Sizes()
    sizes = replace(
        base,
        rounds=rounds or base.rounds,
        webhooks=webhooks or base.webhooks,
        backlog=backlog or base.backlog,
        exact_customers=exact_customers or base.exact_customers,
        rate=rate or base.rate,
        seconds=seconds or base.seconds,
        backfill_customers=backfill_customers or base.backfill_customers,
        renewals=renewals or base.renewals,
        limits_renewals=renewals or base.limits_renewals,
        growth=tuple(sorted(customers)) if customers else base.growth,
    )
    figures: Figures = {}
    parts = set(only or Part) if only or quick else set(Part) - LONG
    try:
        with machine(SETTINGS if parts == {Part.GROWTH} else None) as servers:
            asyncio.run(_measure(servers, sizes, parts, figures, grow=bool(only) and not quick))
    except BenchError as error:
        raise SystemExit(f"bench: {error}") from None
    finally:
        # What was measured before a failure took minutes, and is still valid.
        console.print(table(figures))
        if json_file is not None:
            json_file.write_text(json.dumps(figures, indent=2) + "\n")


async def _measure(servers: Machine, sizes: Sizes, parts: set[Part], figures: Figures, *, grow: bool) -> None:
    figures |= {"machine": await facts(servers), "sizes": sizes.__dict__}
    for line in machine_lines(figures["machine"]):
        console.print(line)
    await _measure_webhooks_alone(servers, sizes, parts, figures)
    await _measure_with_api(servers, sizes, parts, figures)
    if Part.BACKFILL in parts:
        await _measure_backfill(servers, sizes, figures, grow=grow)
    if Part.RENEWALS in parts:
        console.print(f"A burst of {sizes.renewals:,} renewals")
        figures["renewals"] = await measure_renewals(servers, subscriptions=sizes.renewals)
    if Part.LIMITS in parts:
        await _measure_under_limits(servers, sizes, figures)
    if Part.GROWTH in parts:
        await _measure_growth(servers, sizes, figures)
    if Part.SOAK in parts:
        console.print("Soak")  # what `make soak` runs and judges
        soaked = await soak(servers, await servers.site(), seconds=sizes.soak_seconds, rate=sizes.soak_rate)
        figures["soak"] = soak_figures(soaked)


async def _measure_webhooks_alone(servers: Machine, sizes: Sizes, parts: set[Part], figures: Figures) -> None:
    """What needs no API: the door, and the worker in webhooks-only mode."""
    if not parts & {Part.RECEIVE, Part.PROVISIONAL, Part.LATENCY}:
        return
    events = max(WARM_UP + sizes.rounds * sizes.webhooks, sizes.backlog, sizes.history * 2)
    console.print(f"Playing the stories of an account with {events:,} events or more")
    async with played_account(
        servers,
        "crowd",
        customers=events // EVENTS_PER_CUSTOMER_MIN,
        stories_every=sizes.stories_every,
        served=False,
    ) as crowd:
        figures["generator"] = await measure_generator(servers, crowd, count=sizes.webhooks)
        if Part.RECEIVE in parts:
            console.print("Receive")
            figures["receive"] = await measure_receive(
                servers, crowd, rounds=sizes.rounds, count=sizes.webhooks
            )
        if Part.PROVISIONAL in parts:
            console.print("Through to provisional records")
            figures["provisional"] = {
                "backlog": await measure_backlog(servers, crowd, rounds=sizes.rounds, count=sizes.backlog),
                "live": await measure_live(servers, crowd, rounds=sizes.rounds, count=sizes.backlog),
            }
        if Part.LATENCY in parts:
            console.print("Latency")
            figures["latency"] = await measure_latency(
                servers, crowd, rate=sizes.rate, seconds=sizes.seconds, history=sizes.history
            )


async def _measure_with_api(servers: Machine, sizes: Sizes, parts: set[Part], figures: Figures) -> None:
    """What needs the simulated API, which runs in a process of its own."""
    if not parts & {Part.EXACT, Part.LATENCY}:
        return
    async with played_account(
        servers,
        "api",
        customers=sizes.exact_customers,
        stories_every=sizes.stories_every,
        served=True,
    ) as account:
        figures["api"] = await measure_api(servers, account)
        if Part.EXACT in parts:
            console.print("Through to exact records")
            figures["exact"] = {
                "backlog": await measure_backlog(servers, account, rounds=sizes.rounds, count=account.events),
                "live": await measure_live(servers, account, rounds=sizes.rounds, count=account.events),
            }
        if Part.LATENCY in parts:
            console.print("Latency during the reads")
            history = min(sizes.history, account.events // 2)
            figures["latency_exact"] = await measure_latency(
                servers,
                account,
                rate=sizes.rate,
                seconds=sizes.seconds,
                history=history,
            )


async def _measure_backfill(servers: Machine, sizes: Sizes, figures: Figures, *, grow: bool) -> None:
    """Filling from nothing, from lists that are served from memory; with `grow`, a larger account as well."""
    console.print("Backfill")
    lists = await written_lists(
        servers, customers=sizes.backfill_customers, stories_every=sizes.stories_every
    )
    figures["backfill"] = [
        await measure_backfill(servers, lists, latency_ms=latency_ms, rounds=sizes.rounds)
        for latency_ms in (0.0, sizes.backfill_latency_ms)
    ]
    if grow:
        console.print("Backfill of a larger account")
        larger = await written_lists(
            servers,
            customers=sizes.backfill_growth * sizes.backfill_customers,
            stories_every=sizes.stories_every,
        )
        figures["backfill"].append(await measure_backfill(servers, larger, latency_ms=0.0, rounds=1))


async def _measure_under_limits(servers: Machine, sizes: Sizes, figures: Figures) -> None:
    """While the simulated API enforces Stripe's limits, with one worker and with several that share them."""
    latency_ms = sizes.limits_latency_ms
    found = figures["limits"] = {"mixed": [], "renewals": []}
    console.print("A mixed life under Stripe's limits")
    async with played_account(
        servers,
        "limited",
        customers=sizes.limits_customers,
        stories_every=sizes.limits_stories_every,
        served=True,
    ) as account:
        for workers in sizes.limits_workers:
            found["mixed"].append(
                await measure_mixed(servers, account, workers=workers, latency_ms=latency_ms)
            )
    if not sizes.limits_renewals:
        return
    console.print("A burst of renewals under Stripe's limits")
    async with renewing_account(servers, subscriptions=sizes.limits_renewals) as (account, site):
        for workers in sizes.limits_workers:
            found["renewals"].append(
                await measure_burst(servers, account, site, workers=workers, latency_ms=latency_ms)
            )


async def _measure_growth(servers: Machine, sizes: Sizes, figures: Figures) -> None:
    """The same events and records beside ever more customers."""
    console.print(f"Growth up to {max(sizes.growth):,} customers")
    events = 2 * len(sizes.growth) * sizes.growth_events
    async with (
        played_account(
            servers,
            "small",
            customers=min(GROWTH_CUSTOMERS, min(sizes.growth) // 2),
            stories_every=max(sizes.stories_every, GROWTH_STORIES_EVERY),
            served=True,
        ) as account,
        played_account(
            servers,
            "newcomers",
            customers=events // EVENTS_PER_CUSTOMER_MIN + 1,
            stories_every=sizes.stories_every,
            seed=12,
            served=False,
        ) as newcomers,
    ):
        figures["growth"] = await measure_growth(
            servers,
            account,
            newcomers,
            customers=sizes.growth,
            count=sizes.growth_events,
            derived=sizes.growth_records,
            asks=sizes.growth_asks,
            ask_rates=sizes.growth_ask_rates,
        )


async def facts(servers: Machine) -> Figures:
    """What was measured, on which machine, when, and how busy the machine was otherwise."""
    site = await servers.site()
    connection = await watch(site)
    try:
        postgres = await connection.fetchval("show server_version")
        fsync = await connection.fetchval("show fsync")
    finally:
        await connection.close()
    with redis.Redis.from_url(servers.valkey.url) as client:
        valkey: Any = client.info("server")
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "memory_bytes": psutil.virtual_memory().total,
        "load_average": os.getloadavg(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "postgres": postgres,
        "fsync": fsync,
        "valkey": valkey["valkey_version"],
        "packages": {
            name: version(name) for name in ("asyncpg", "uvicorn", "uvloop", "starlette", "arq", "aiohttp")
        },
        "revision": _revision(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def machine_lines(facts: Figures) -> list[str]:
    """The machine in words."""
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    cores = facts["cores_usable"] or facts["cores"]
    memory = facts["memory_bytes"] / 2**30
    return [
        f"{facts['cpu']}, {cores} cores (everything runs on them), {memory:.0f} GiB",
        f"load average at the start {facts['load_average'][0]:.1f}",
        f"Python {facts['python']}, {packages}",
        f"Postgres {facts['postgres']} (fsync {facts['fsync']}), Valkey {facts['valkey']}",
        f"revision {facts['revision']}, {facts['at']}",
    ]


def table(figures: Figures) -> Table:
    """The main figures: medians, with the minimum and the maximum of the rounds."""
    grid = Table("what", "figure", "least to greatest", "and", "others' CPU")

    def row(
        what: str, spread: Figures, notes: str, others: Figures | float | None, *, digits: int = 0
    ) -> None:
        share = others["max"] if isinstance(others, dict) else others
        span = f"{spread['min']:,.{digits}f} - {spread['max']:,.{digits}f}" if "min" in spread else ""
        busy = "" if share is None else f"{share:.0%}"
        grid.add_row(what, f"{spread['median']:,.{digits}f}", span, notes, busy)

    def cpu(spreads: Figures) -> str:
        return "CPU us per event: " + ", ".join(
            f"{name.removesuffix('_cpu_us')} {spread['median'] if isinstance(spread, dict) else spread:.0f}"
            for name, spread in spreads.items()
            if name.endswith("_cpu_us") and not name.startswith("lists_")
        )

    if "generator" in figures:
        row("load generator alone, posts/s", {"median": figures["generator"]["per_second"]}, "", None)
    if "receive" in figures:
        for name, what in (
            ("stored", "receive, accepted/s"),
            ("without_storing", "  without storing, answered/s"),
        ):
            spreads = figures["receive"][name]
            answer = (
                f"answer p50 {spreads['p50_ms']['median']:.1f} ms, p99 {spreads['p99_ms']['median']:.1f} ms; "
            )
            row(what, spreads["per_second"], answer + cpu(spreads), spreads["others_share"])
        row("  ratio", figures["receive"]["ratio"], "", None, digits=2)
    if "api" in figures:
        row("sandbox API alone, reads/s", {"median": figures["api"]["per_second"]}, "", None)
    through = [
        (f"through, {name}, {way}, events/s", figures.get(name, {}).get(way))
        for name in ("provisional", "exact")
        for way in ("backlog", "live")
    ]
    through.append(("through, exact, renewals, events/s", figures.get("renewals")))
    for what, spreads in through:
        if spreads is None:
            continue
        notes = cpu(spreads)
        if "api_calls_per_1000_events" in spreads:
            calls = spreads["api_calls_per_1000_events"]["median"]
            notes = f"{calls:.0f} API calls per 1,000 events; {notes}"
        if "answer_p99_ms" in spreads:
            notes = f"answers p99 {spreads['answer_p99_ms']['median']:.0f} ms; {notes}"
        row(what, spreads["per_second"], notes, spreads["others_share"])
        for operation, each in spreads.get("calls_of_each_per_1000", {}).items():
            if each >= CALLS_SHOWN_MIN:
                row(f"  {operation}, calls per 1,000 events", {"median": each}, "", None, digits=1)
    for found in figures.get("backfill", ()):
        spreads = found["stored"]
        what = f"backfill, {found['objects']:,} objects, API {found['latency_ms']:g} ms, objects/s"
        notes = (
            f"{spreads['pages_per_1000_listed']['median']:.1f} pages per 1,000 listed objects, "
            f"{spreads['api_calls']['median']:,.0f} API calls in all; "
            f"worker memory {spreads['worker_memory_bytes']['max'] / 2**20:.0f} MiB; "
            + cpu(spreads).replace("event", "object")
        )
        row(what, spreads["per_second"], notes, spreads["others_share"])
        row("  its lists alone", spreads["lists_per_second"], "", None)
        plain = found["without_storing"]
        row("  without storing", plain["lists_per_second"], "", plain["others_share"])
        row("  ratio", found["ratio"], "", None, digits=2)
    for name, what in (("mixed", "a mixed life"), ("renewals", "renewals")):
        for found in figures.get("limits", {}).get(name, ()):
            notes = (
                f"{found['api_calls_per_1000_events']:.0f} API calls per 1,000 events, "
                f"{found['calls_per_second']:.0f} a second; {sum(found['refused'].values())} refused; {cpu(found)}"
            )
            workers = "1 worker" if found["workers"] == 1 else f"{found['workers']} workers"
            what_of = f"under limits, {what}, {workers}, events/s"
            row(what_of, {"median": found["per_second"]}, notes, found["others_share"])
    for what, figure, digits, notes, others in growth_rows(figures.get("growth", ())):
        row(what, {"median": figure}, notes, others, digits=digits)
    for name, what in (("latency", "post to record, ms"), ("latency_exact", "  during reads, ms")):
        if name in figures:
            found = figures[name]
            notes = f"p99 {found['p99_ms']:.0f}, max {found['max_ms']:.0f}; answer p50 {found['answer_p50_ms']:.1f} ms"
            notes += "; CPU share of a core: " + ", ".join(
                f"{role} {share:.0%}" for role, share in found["cpu_share"].items()
            )
            row(what, {"median": found["p50_ms"]}, notes, found["others_share"], digits=1)
    return grid


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _revision() -> str:
    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],  # noqa: S607 - git is found on the path
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


if __name__ == "__main__":
    app(prog_name="make bench")
