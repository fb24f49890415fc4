"""How fast an account with a history is read into an empty database, and what that costs."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec
import psutil

from bench.parts import Figures, spread_all
from bench.system import BenchError, Machine, Meter, Process, ready, settled, tally, watch, worker_ready
from billing.kinds.lists import listed_kinds
from billing.kinds.registry import KINDS
from db.connection import OwnConnection
from db.sync.scans import Scan, ScanRequest, request_scan, select_scan
from local.processes import free_port, last_lines
from worker.lists.steps import Step

SECONDS_MAX = 600.0
POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Lists:
    """The lists of an account, in files."""

    folder: Path
    counts: dict[str, int]
    """Objects by kind, including the kinds that are read together with their parents."""
    unlisted: dict[str, int]
    """Objects by kind that no list names. The mirror has those that others show, as a subscription its prices."""

    @property
    def objects(self) -> int:
        return sum(self.counts.values())

    @property
    def listed(self) -> int:
        """The objects that the pages themselves contain."""
        return sum(self.counts[kind] for kind in listed_kinds())


async def written_lists(machine: Machine, *, customers: int, stories_every: int = 1) -> Lists:
    """An account's lists, once its stories are over."""
    folder = machine.folder / f"lists-{customers}"
    arguments = ("bench.account", "lists", str(folder), str(customers), "11", str(stories_every))
    with machine.running("lists", *arguments) as process:
        if await asyncio.to_thread(process.process.wait):
            process.check()
    return read_lists(folder)


def read_lists(folder: Path) -> Lists:
    """What `bench.account` has written."""
    counts = msgspec.json.decode((folder / "parts.json").read_bytes(), type=dict[str, int])
    for kind in listed_kinds():
        counts[kind] = 0
        for variant in KINDS[kind].list_variants:
            with (folder / f"{kind}{variant}.jsonl").open("rb") as file:
                counts[kind] += sum(1 for _ in file)
    unlisted = msgspec.json.decode((folder / "unlisted.json").read_bytes(), type=dict[str, int])
    return Lists(folder=folder, counts=counts, unlisted=unlisted)


@asynccontextmanager
async def double(machine: Machine, lists: Lists, *, latency_ms: float) -> AsyncIterator[Process]:
    """The lists, served from memory."""
    port = free_port()
    arguments = ("bench.double", str(port), str(lists.folder), str(latency_ms))
    with machine.running("double", *arguments, port=port) as process:
        await ready(process, "/tally")
        yield process


async def measure_backfill(machine: Machine, lists: Lists, *, latency_ms: float, rounds: int) -> Figures:
    """Backfills of everything, each into a database of its own, alternating with backfills that store nothing."""
    stored: list[Figures] = []
    unstored: list[Figures] = []
    async with double(machine, lists, latency_ms=latency_ms) as api:
        for _ in range(rounds):
            stored.append(await _backfill(machine, lists, api, storing=True))
            unstored.append(await _backfill(machine, lists, api, storing=False))
    return {
        "objects": lists.objects,
        "objects_listed": lists.listed,
        "latency_ms": latency_ms,
        "stored": spread_all(stored),
        "without_storing": spread_all(unstored),
        "ratio": spread_all(
            [
                {"ratio": plain["lists_seconds"] / with_it["lists_seconds"]}
                for with_it, plain in zip(stored, unstored, strict=True)
            ]
        )["ratio"],
    }


async def _backfill(machine: Machine, lists: Lists, api: Process, *, storing: bool) -> Figures:
    site = await machine.site()
    connection = await watch(site)
    try:
        with machine.worker(site, api_port=api.port, storing=storing) as worker:
            await worker_ready(connection, worker)
            requests_before = (await tally(api))["requests"]
            meter = Meter(worker=worker, postgres=machine.postgres, api=api)
            scan = await request_scan(connection, ScanRequest(kinds=listed_kinds()), live_mode=False)
            memory = psutil.Process(worker.process.pid)
            peak, lists_read, lists_cpu = 0, None, None
            deadline = time.monotonic() + SECONDS_MAX
            while scan.finished_at is None:
                worker.check()
                if time.monotonic() > deadline:
                    raise BenchError(f"the backfill did not end: {scan}")
                await asyncio.sleep(POLL_SECONDS)
                peak = max(peak, memory.memory_info().rss)
                scan = await select_scan(connection, scan.id) or scan
                if lists_read is None and scan.step not in (Step.BEGIN, Step.LISTS):
                    lists_read, lists_cpu = await _now(connection), meter.stop()
            cpu = meter.stop()
            lists_cpu = lists_cpu or cpu
            asked = await tally(api)
            if storing:
                await settled(connection, worker, exact=True, events=0)
        pages = await connection.fetchval("select sum(requests) from sync.scan_windows")
        await _check(connection, lists, scan, storing=storing)
        if asked["refused"]:
            raise BenchError(
                f"the double did not understand {asked['refused']} requests\n{last_lines(api.log)}"
            )
    finally:
        await connection.close()
    began, ended = scan.started_at, scan.finished_at
    if began is None or ended is None:
        raise BenchError(f"the backfill never began: {scan}")
    lists_seconds = ((lists_read or ended) - began).total_seconds()
    seconds = (ended - began).total_seconds()
    return {
        "lists_seconds": lists_seconds,
        "seconds": seconds,
        "lists_per_second": lists.objects / lists_seconds,
        "per_second": lists.objects / seconds,
        "api_calls": asked["requests"] - requests_before,
        "pages_per_1000_listed": 1000 * pages / lists.listed,
        "worker_memory_bytes": peak,
        **{
            f"lists_{name}_cpu_us": 1e6 * value / lists.objects
            for name, value in lists_cpu.items()
            if name != "others_share"
        },
        **{
            f"{name}_cpu_us": 1e6 * value / lists.objects
            for name, value in cpu.items()
            if name != "others_share"
        },
        "others_share": cpu["others_share"],
    }


async def _now(connection: OwnConnection) -> datetime:
    now: datetime = await connection.fetchval("select clock_timestamp()")
    return now


async def _check(connection: OwnConnection, lists: Lists, scan: Scan, *, storing: bool) -> None:
    """Raise BenchError if anything is missing."""
    if scan.status != "complete":
        raise BenchError(f"the backfill ended {scan.status}: {scan.error}")
    if not storing:
        return
    for name, count in lists.counts.items():
        table = KINDS[name].table
        rows = await connection.fetchval(f"select count(*) from {table} where deleted_at is null")
        if not count <= rows <= count + lists.unlisted.get(name, 0):
            raise BenchError(f"{rows} rows in {table}, {count} objects in the account's lists")
    inexact = await connection.fetchval("select count(*) from billing.customers where not exact")
    records = await connection.fetchval("select count(*) from billing.customers")
    if inexact or records < lists.counts["customer"]:
        raise BenchError(f"of {records} records {inexact} are not exact")
