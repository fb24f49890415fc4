"""`make soak`: the real web and worker processes for an hour at a steady rate, with faults; then a verdict.

ARGS="--minutes 60 --rate 20" is what it does by default; ARGS="--json FILE" keeps every sample. The exit code is 0 if
memory stayed flat, the lag did not grow, nothing is parked, and the audit at the end found no drift; 1 otherwise.
"""

import asyncio
import json
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec
import psutil
import typer
from rich.console import Console
from rich.table import Table

from bench.plans import Living
from bench.system import BenchError, Machine, Process, Site, machine, ready, watch, worker_ready
from db.connection import OwnConnection
from db.sync.audit_reports import report_audit
from db.sync.audits import select_drift
from db.sync.scans import request_scan, select_scan
from db.sync.status import Backlog, select_backlog
from local.processes import free_port, last_lines
from runtime.scan_requests import read_request

MEMORY_PER_HOUR_MAX = 16 * 2**20
"""Bytes an hour: the slope of a process's memory over the second half of a soak."""
MEMORY_GROWTH_MIN = 4 * 2**20
"""Bytes: less than that between the ends of the second half is noise, whatever its slope."""
LAG_SECONDS_MIN = 5.0
"""A lag that grew by less is none: it is at most as long as a poll that lost its turn."""
JUDGED_SECONDS_MIN = 240.0
"""Shorter soaks end before memory and lag are steady: both are shown and not judged."""
GAP_FILL_SECONDS = 20.0
SETTLED_SECONDS_MAX = 900.0
AUDIT_SECONDS_MAX = 3_600.0
SAMPLES = 120
"""About so many samples are taken, but not more than two a second."""
ROWS_SHOWN, EXAMPLES_MAX = 12, 10

COUNT_CONNECTIONS = """
select count(*) from pg_stat_activity
where datname = current_database() and application_name like 'subledger%'
"""
BEHIND = """
select count(*) from sync.accounts
where not live_mode and (cursor_at is null or cursor_at < to_timestamp($1))
"""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The system at one moment."""

    seconds: float
    """Since the beginning."""
    posted: int
    pending: int
    lag_seconds: float
    """How long the oldest pending event has waited."""
    parked: int
    unconfirmed: int
    connections: int
    """To Postgres, of web and worker together."""
    web_bytes: int
    worker_bytes: int


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of the verdict."""

    what: str
    found: str
    holds: bool | None
    """None: the soak was too short to tell."""


@dataclass(kw_only=True)
class Soak:
    """What was asked for, seen and found."""

    seconds: float
    rate: float
    samples: list[Sample] = field(default_factory=list)
    living: Living = field(default_factory=Living)
    settled_after_seconds: float = 0.0
    parked: int = 0
    alarms: tuple[str, ...] = ()
    objects_compared: int = 0
    drift: int = 0
    examples: list[str] = field(default_factory=list)
    """The first of what differs."""
    checks: list[Check] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether nothing failed."""
        return all(check.holds is not False for check in self.checks)


async def soak(machine: Machine, site: Site, *, seconds: float, rate: float, seed: int = 1) -> Soak:
    """Run the system for so long, wait until nothing is left to do, audit, and judge.

    `rate`: webhooks a second. Raises BenchError if a process ends, or if the system does not settle.
    """
    found = Soak(seconds=seconds, rate=rate)
    port = free_port()
    connection = await watch(site)
    try:
        with machine.web(site) as web:
            await ready(web, "/readyz")
            arguments = (
                "bench.living",
                str(port),
                f"http://127.0.0.1:{web.port}/webhooks/stripe",
                str(rate),
                str(seed),
            )
            with (
                machine.running("living", *arguments, port=port) as account,
                machine.worker(site, api_port=port, gap_fill_seconds=GAP_FILL_SECONDS) as worker,
            ):
                await ready(account, "/report")
                await worker_ready(connection, worker)
                await _ask(account, "/begin")
                await _watch(found, connection, web=web, worker=worker, account=account)
                await _settle(found, connection, worker=worker, account=account)
                await _audit(found, connection, worker)
    finally:
        await connection.close()
    found.checks = judge(found)
    return found


async def _watch(
    found: Soak, connection: OwnConnection, *, web: Process, worker: Process, account: Process
) -> None:
    began = time.monotonic()
    every = max(0.5, found.seconds / SAMPLES)
    memory = {each.role: psutil.Process(each.process.pid) for each in (web, worker)}
    while time.monotonic() - began < found.seconds:
        for process in (web, worker, account):
            process.check()
        found.living = await _ask(account, "/report")
        backlog = await select_backlog(connection, live_mode=False)
        found.samples.append(
            Sample(
                seconds=time.monotonic() - began,
                posted=found.living.posted,
                pending=backlog.pending_events,
                lag_seconds=backlog.oldest_pending_seconds or 0.0,
                parked=backlog.parked,
                unconfirmed=backlog.unconfirmed_objects or 0,
                connections=await connection.fetchval(COUNT_CONNECTIONS),
                web_bytes=memory["web"].memory_info().rss,
                worker_bytes=memory["worker"].memory_info().rss,
            )
        )
        await asyncio.sleep(every)


async def _settle(found: Soak, connection: OwnConnection, *, worker: Process, account: Process) -> None:
    """Stop the account, and wait until all is posted, every gap is filled, and nothing is left to do."""
    began = time.monotonic()
    backlog: Backlog | None = None
    found.living = await _ask(account, "/end")
    while True:
        worker.check()
        found.living = await _ask(account, "/report")
        if found.living.ended and not await connection.fetchval(BEHIND, found.living.now):
            backlog = await select_backlog(connection, live_mode=False)
            left = backlog.pending_events or backlog.stale_customers or backlog.unconfirmed_objects
            if not left:
                break
        if time.monotonic() - began > SETTLED_SECONDS_MAX:
            raise BenchError(f"not settled: {found.living}, {backlog}\n{last_lines(worker.log)}")
        await asyncio.sleep(0.1)
    found.settled_after_seconds = time.monotonic() - began
    found.parked, found.alarms = backlog.parked, backlog.alarms


async def _audit(found: Soak, connection: OwnConnection, worker: Process) -> None:
    """Compare mirror and records with all that the account's API lists."""
    scan = await request_scan(connection, read_request({}, purpose="audit"), live_mode=False)
    deadline = time.monotonic() + AUDIT_SECONDS_MAX
    while scan.finished_at is None:
        worker.check()
        if time.monotonic() > deadline:
            raise BenchError(f"the audit did not end: {scan}")
        await asyncio.sleep(0.2)
        scan = await select_scan(connection, scan.id) or scan
    report = await report_audit(connection, scan)
    if report.status != "complete":
        raise BenchError(f"the audit ended {report.status}: {report.error}")
    found.objects_compared, found.drift = report.objects_compared, report.drift
    drift = await select_drift(connection, scan, limit=EXAMPLES_MAX)
    found.examples = [f"{each.kind} {each.id}: {each.what} {', '.join(each.fields)}" for each in drift]


async def _ask(account: Process, path: str) -> Living:
    def ask() -> Living:
        with urllib.request.urlopen(f"http://127.0.0.1:{account.port}{path}", timeout=30) as response:
            return msgspec.json.decode(response.read(), type=Living)

    return await asyncio.to_thread(ask)


def judge(found: Soak) -> list[Check]:
    """The verdict, line by line."""
    long_enough = found.seconds >= JUDGED_SECONDS_MIN
    second = found.samples[len(found.samples) // 2 :]
    checks = []
    for role in ("web", "worker"):
        places = [(each.seconds, float(getattr(each, f"{role}_bytes"))) for each in second]
        per_hour = 3600 * slope(places)
        grown = per_hour / 3600 * (places[-1][0] - places[0][0]) if places else 0.0
        flat = per_hour <= MEMORY_PER_HOUR_MAX or grown <= MEMORY_GROWTH_MIN
        said = f"{per_hour / 2**20:+.1f} MiB an hour ({grown / 2**20:+.1f} MiB in the second half)"
        checks.append(
            Check(what=f"memory of {role} is flat", found=said, holds=flat if long_enough else None)
        )
    before, after = (
        median([each.lag_seconds for each in part] or [0.0])
        for part in (found.samples[: len(found.samples) // 2], second)
    )
    checks.append(
        Check(
            what="the lag does not grow",
            found=f"{before:.1f} s, then {after:.1f} s (medians of the halves)",
            holds=after <= max(2 * before, before + LAG_SECONDS_MIN) if long_enough else None,
        )
    )
    refused = found.living.attempts - found.living.posted
    checks += [
        Check(what="every webhook is accepted at once", found=f"{refused} were not", holds=not refused),
        Check(what="nothing is parked", found=f"{found.parked} parked", holds=not found.parked),
        Check(what="no alarm stands", found=", ".join(found.alarms) or "none", holds=not found.alarms),
        Check(
            what="no drift",
            found=f"{found.drift} of {found.objects_compared:,} listed objects",
            holds=not found.drift and found.objects_compared > 0,
        ),
    ]
    return checks


def slope(places: list[tuple[float, float]]) -> float:
    """The slope of the straight line that fits best (least squares); 0 for fewer than two places."""
    if len(places) < 2:
        return 0.0
    mean_x = sum(x for x, _ in places) / len(places)
    mean_y = sum(y for _, y in places) / len(places)
    spread = sum((x - mean_x) ** 2 for x, _ in places)
    return sum((x - mean_x) * (y - mean_y) for x, y in places) / spread if spread else 0.0


def samples_table(found: Soak) -> Table:
    """Some of the samples, evenly over the time."""
    grid = Table(
        "minute",
        "posted",
        "pending",
        "lag, s",
        "unconfirmed",
        "parked",
        "connections",
        "web, MiB",
        "worker, MiB",
    )
    step = -(-len(found.samples) // ROWS_SHOWN) or 1
    for each in found.samples[::step]:
        grid.add_row(
            f"{each.seconds / 60:.1f}",
            f"{each.posted:,}",
            f"{each.pending:,}",
            f"{each.lag_seconds:.1f}",
            f"{each.unconfirmed:,}",
            f"{each.parked}",
            f"{each.connections}",
            f"{each.web_bytes / 2**20:.1f}",
            f"{each.worker_bytes / 2**20:.1f}",
        )
    return grid


def verdict_table(found: Soak) -> Table:
    """The verdict."""
    grid = Table("what must hold", "found", "verdict")
    for check in found.checks:
        verdict = {True: "yes", False: "NO", None: "too short to tell"}[check.holds]
        grid.add_row(check.what, check.found, verdict)
    return grid


def figures(found: Soak) -> dict[str, object]:
    """All of it, for JSON."""
    return asdict(found) | {"living": msgspec.to_builtins(found.living), "held": found.held}


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()
if not console.is_terminal:
    console = Console(width=140)


@app.command()
def main(
    minutes: Annotated[float, typer.Option(min=0.05, help="How long webhooks are posted.")] = 60.0,
    rate: Annotated[float, typer.Option(min=1, help="Webhooks a second.")] = 20.0,
    seed: Annotated[int, typer.Option(help="The account, and what goes wrong.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all samples to this file.")] = None,
) -> None:
    """Soak on durable servers of its own, in a directory that is removed at the end."""

    async def run(servers: Machine) -> Soak:
        return await soak(servers, await servers.site(), seconds=60 * minutes, rate=rate, seed=seed)

    console.print(f"Posting {rate:g} webhooks a second for {minutes:g} minutes")
    try:
        with machine() as servers:
            found = asyncio.run(run(servers))
    except BenchError as error:
        raise SystemExit(f"soak: {error}") from None
    console.print(samples_table(found))
    living = found.living
    console.print(
        f"{living.events:,} events, {living.posted:,} webhooks, {living.dropped:,} events never posted; "
        f"settled {found.settled_after_seconds:.0f} s after the last post"
    )
    console.print(verdict_table(found))
    for example in found.examples:
        console.print(example)
    if json_file is not None:
        json_file.write_text(json.dumps(figures(found), indent=2) + "\n")
    if not found.held:
        raise SystemExit(1)


if __name__ == "__main__":
    app(prog_name="make soak")
