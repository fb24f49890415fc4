"""The measurements, one function each. docs/benchmarks.md says what their figures mean."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from bench.plans import Plan, quantile
from bench.system import (
    BenchError,
    Machine,
    Meter,
    Process,
    Site,
    api_requests,
    ready,
    settled,
    watch,
    worker_ready,
)
from db.connection import OwnConnection
from local.processes import free_port
from runtime.stripe_api import API_VERSION

CONNECTIONS = 64
API_CONNECTIONS = 16
WARM_UP = 500

Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Account:
    """The events of a sandbox account, and its API if it is served."""

    folder: Path
    events: int
    api: Process | None = None

    @property
    def events_path(self) -> str:
        return str(self.folder / "events.jsonl")

    @property
    def api_port(self) -> int | None:
        return self.api.port if self.api is not None else None

    def bodies(self, first: int, count: int) -> list[bytes]:
        return _lines(self.folder / "events.jsonl", first, count)

    def probes(self, count: int) -> list[bytes]:
        """The events of the first `count` customers that were created at the end, named "probe 0", "probe 1", ..."""
        return _lines(self.folder / "probes.jsonl", 0, count)


def _lines(path: Path, first: int, count: int) -> list[bytes]:
    with path.open("rb") as file:
        return [line.rstrip(b"\n") for line in islice(file, first, first + count)]


@asynccontextmanager
async def played_account(
    machine: Machine, name: str, *, customers: int, stories_every: int = 1, seed: int = 11, served: bool
) -> AsyncIterator[Account]:
    """An account whose stories have been played to their ends; with `served`, its API answers."""
    folder = machine.folder / name
    folder.mkdir()
    port = free_port() if served else 0
    arguments = ("bench.account", str(port), str(folder), str(customers), str(seed), str(stories_every))
    with machine.running(name, *arguments, port=port) as process:
        if served:
            await ready(process, "/tally")
        elif await asyncio.to_thread(process.process.wait):
            process.check()
        with (folder / "events.jsonl").open("rb") as file:
            events = sum(1 for _ in file)
        yield Account(folder=folder, events=events, api=process if served else None)


async def measure_generator(machine: Machine, account: Account, *, count: int) -> Figures:
    """How many webhooks a second the load generator posts to a server that does nothing."""
    port = free_port()
    with machine.running("fixed", "bench.fixed", str(port), port=port) as fixed:
        await _listening(fixed)
        plan = Plan(port=port, path=account.events_path, count=count, connections=CONNECTIONS)
        outcome = await machine.load(plan)
    return {"per_second": outcome.per_second, "p99_ms": outcome.p99_ms}


async def measure_receive(machine: Machine, account: Account, *, rounds: int, count: int) -> Figures:
    """Webhooks a second through the door, and through the same door without storing; the worker is not running."""
    site = await machine.site()
    stored: list[Figures] = []
    bare: list[Figures] = []
    with machine.web(site) as web, machine.web(site, bare=True) as without:
        for process in (web, without):
            await ready(process, "/readyz")
            await machine.load(Plan(port=process.port, path=account.events_path, count=WARM_UP))
        for number in range(rounds):
            for process, results in ((web, stored), (without, bare)):
                plan = Plan(
                    port=process.port,
                    path=account.events_path,
                    first=WARM_UP + number * count,
                    count=count,
                    connections=CONNECTIONS,
                )
                meter = Meter(web=process, postgres=machine.postgres, valkey=machine.valkey)
                outcome = await machine.load(plan, begin=meter.start)
                results.append(
                    {
                        "per_second": outcome.per_second,
                        "p50_ms": outcome.p50_ms,
                        "p99_ms": outcome.p99_ms,
                        **cpu_per_event(meter, count),
                    }
                )
    connection = await watch(site)
    try:
        rows = await connection.fetchval("select count(*) from sync.events")
    finally:
        await connection.close()
    accepted = WARM_UP + rounds * count
    if rows != accepted:
        raise BenchError(f"{accepted} webhooks were accepted, and {rows} events are stored")
    ratios = [
        with_it["per_second"] / plain["per_second"] for with_it, plain in zip(stored, bare, strict=True)
    ]
    return {
        "accepted": accepted,
        "events_stored": rows,
        "stored": spread_all(stored),
        "without_storing": spread_all(bare),
        "ratio": _spread(ratios),
    }


async def measure_api(machine: Machine, account: Account) -> Figures:
    """Reads a second that the simulated API answers to the load generator."""
    reads = account.folder / "reads.jsonl"
    with reads.open("rb") as file:
        count = sum(1 for _ in file)
    plan = Plan(
        port=account.api_port or 0,
        path=str(reads),
        of="reads",
        api_version=API_VERSION,
        count=count,
        connections=API_CONNECTIONS,
    )
    return {"objects": count, "per_second": (await machine.load(plan)).per_second}


async def measure_backlog(machine: Machine, account: Account, *, rounds: int, count: int) -> Figures:
    """From the start of a worker that finds `count` events in the inbox until nothing is left to do."""
    results = []
    state: Figures = {}
    inbox = await filled_inbox(machine, account, count)
    for _ in range(rounds):
        site = await machine.site(like=inbox)
        connection = await watch(site)
        try:
            calls = await _calls(account)
            with machine.worker(site, api_port=account.api_port) as worker:
                await worker_ready(connection, worker)
                began = time.monotonic()
                meter = Meter(
                    worker=worker, postgres=machine.postgres, valkey=machine.valkey, **_api(account)
                )
                ended = await settled(connection, worker, exact=account.api is not None, events=count)
                cpu = cpu_per_event(meter, count)
            results.append(
                {"per_second": count / (ended - began), **await _calls_since(account, calls, count), **cpu}
            )
            state = await describe(connection, exact=account.api is not None)
        finally:
            await connection.close()
    return {"events": count, **state, **spread_all(results)}


async def measure_live(machine: Machine, account: Account, *, rounds: int, count: int) -> Figures:
    """From the first post of a flood until the last record is up to date, web and worker running."""
    results = []
    state: Figures = {}
    exact = account.api is not None
    for _ in range(rounds):
        site = await machine.site()
        connection = await watch(site)
        try:
            calls = await _calls(account)
            with machine.web(site) as web, machine.worker(site, api_port=account.api_port) as worker:
                await ready(web, "/readyz")
                await worker_ready(connection, worker)
                plan = Plan(port=web.port, path=account.events_path, count=count, connections=CONNECTIONS)
                meter = Meter(
                    web=web, worker=worker, postgres=machine.postgres, valkey=machine.valkey, **_api(account)
                )
                outcome = await machine.load(plan, begin=meter.start)
                ended = await settled(connection, worker, exact=exact, events=count)
                cpu = cpu_per_event(meter, count)
            results.append(
                {
                    "per_second": count / (ended - outcome.began),
                    "accepted_per_second": outcome.per_second,
                    "answer_p99_ms": outcome.p99_ms,
                    **await _calls_since(account, calls, count),
                    **cpu,
                }
            )
            state = await describe(connection, exact=exact)
        finally:
            await connection.close()
    return {"events": count, **state, **spread_all(results)}


async def measure_latency(
    machine: Machine,
    account: Account,
    *,
    rate: float,
    seconds: float,
    history: int,
) -> Figures:
    """From when a webhook is due to be posted until a listening reader has read the record that it changed.

    Every second webhook creates a customer, whose name the reader looks for; the others are the account's own,
    after a history of `history` events.
    """
    site = await filled_inbox(machine, account, history)
    exact = account.api is not None
    async with AsyncExitStack() as stack:
        connection = await watch(site)
        stack.push_async_callback(connection.close)
        web = stack.enter_context(machine.web(site))
        with machine.worker(site, api_port=account.api_port) as worker:
            await ready(web, "/readyz")
            await settled(connection, worker, exact=exact, events=history)
        await connection.execute("vacuum analyze")
        # Another one, which finds the database as it is after some months.
        worker = stack.enter_context(machine.worker(site, api_port=account.api_port))
        await worker_ready(connection, worker)

        probes = round(rate * seconds / 2)
        ordinary = account.bodies(history, probes)
        if len(ordinary) < probes:
            raise BenchError(f"the account has {account.events} events, {history + probes} are needed")
        created = account.probes(probes)
        if len(created) < probes:
            raise BenchError(f"at most {len(created)} customers are created: {probes} are too many")
        lines = [body for pair in zip(ordinary, created, strict=True) for body in pair]
        path = machine.folder / f"steady-{'exact' if exact else 'provisional'}.jsonl"
        path.write_bytes(b"".join(line + b"\n" for line in lines))

        reader = await stack.enter_async_context(_reader(site))
        meter = Meter(
            web=web, worker=worker, postgres=machine.postgres, valkey=machine.valkey, **_api(account)
        )
        plan = Plan(port=web.port, path=str(path), count=len(lines), connections=CONNECTIONS, rate=rate)
        outcome = await machine.load(plan, begin=meter.start)
        cpu = meter.stop()
        await settled(connection, worker, exact=exact, events=history + len(lines))
        await reader.read()
    if len(reader.seen) < probes:
        raise BenchError(f"of {probes} new customers a reader saw {len(reader.seen)}")
    waits = sorted(
        1000 * (seen - (outcome.began + (2 * number + 1) / rate)) for number, seen in reader.seen.items()
    )
    return {
        "rate_per_second": rate,
        "probes": probes,
        "probes_seen": len(reader.seen),
        "p50_ms": quantile(waits, 0.5),
        "p99_ms": quantile(waits, 0.99),
        "max_ms": waits[-1],
        "answer_p50_ms": outcome.p50_ms,
        "answer_p99_ms": outcome.p99_ms,
        "cpu_share": {
            name: value / (outcome.ended - outcome.began)
            for name, value in cpu.items()
            if name != "others_share"
        },
        "others_share": cpu["others_share"],
    }


async def filled_inbox(machine: Machine, account: Account, count: int) -> Site:
    """A site whose inbox holds the account's first `count` events, posted through the door with no worker running."""
    site = await machine.site()
    with machine.web(site) as web:
        await ready(web, "/readyz")
        await machine.load(
            Plan(port=web.port, path=account.events_path, count=count, connections=CONNECTIONS)
        )
    return site


async def describe(connection: OwnConnection, *, exact: bool) -> Figures:
    """The outcome. Raises BenchError when something was left over or, in exact mode, a record is not exact."""
    states = await connection.fetch("select state, count(*) from sync.events group by state order by state")
    row = await connection.fetchrow(
        "select count(*) as records, count(*) filter (where exact) as exact_records from billing.customers"
    )
    figures: Figures = {
        "events_by_state": {state["state"]: state["count"] for state in states},
        **dict(row or {}),
    }
    if set(figures["events_by_state"]) - {"applied", "ignored"} or not figures["records"]:
        raise BenchError(f"events were left over: {figures}")
    if exact and figures["exact_records"] != figures["records"]:
        raise BenchError(f"records are settled but not exact: {figures}")
    return figures


class _Reader:
    """A reader as readers are meant to be: listens, and polls by `change`."""

    def __init__(self, connection: OwnConnection) -> None:
        self._connection = connection
        self._rung = asyncio.Event()
        self._reading = asyncio.Lock()
        self._change = 0
        self.seen: dict[int, float] = {}

    async def begin(self) -> None:
        await self._connection.add_listener("billing_customers", self._ring)
        self._change = await self._connection.fetchval("select max(change) from billing.customers")

    async def read_for_ever(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            await self.read()

    async def read(self) -> None:
        async with self._reading:
            rows = await self._connection.fetch(
                "select name, change from billing.customers where change > $1", self._change
            )
            now = time.monotonic()
            for row in rows:
                self._change = max(self._change, row["change"])
                word, _, number = (row["name"] or "").partition(" ")
                if word == "probe":
                    self.seen.setdefault(int(number), now)

    def _ring(self, *_: object) -> None:
        self._rung.set()


@asynccontextmanager
async def _reader(site: Site) -> AsyncIterator[_Reader]:
    connection = await watch(site)
    reader = _Reader(connection)
    await reader.begin()
    task = asyncio.create_task(reader.read_for_ever(), name="reader")
    try:
        yield reader
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await connection.close()


async def _listening(process: Process) -> None:
    deadline = time.monotonic() + 30
    while True:
        process.check()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", process.port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


def _api(account: Account) -> dict[str, Process]:
    return {} if account.api is None else {"api": account.api}


async def _calls(account: Account) -> Counter[str]:
    return Counter() if account.api is None else await api_requests(account.api)


async def _calls_since(account: Account, before: Counter[str], events: int) -> Figures:
    return {} if account.api is None else await calls_since(account.api, before, events)


async def calls_since(api: Process, before: Counter[str], events: int) -> Figures:
    """API calls per 1,000 events: all of them, and those of each operation."""
    calls = await api_requests(api) - before
    return {
        "api_calls_per_1000_events": 1000 * calls.total() / events,
        "calls_of_each_per_1000": {name: 1000 * number / events for name, number in calls.most_common()},
    }


def cpu_per_event(meter: Meter, events: int) -> Figures:
    """CPU microseconds of each process per event, and the share of the machine that others used."""
    used = meter.stop()
    others = used.pop("others_share")
    return {f"{name}_cpu_us": 1e6 * value / events for name, value in used.items()} | {"others_share": others}


def _spread(values: list[float]) -> Figures:
    return {"median": median(values), "min": min(values), "max": max(values), "values": values}


def spread_all(results: list[Figures]) -> Figures:
    """The spread of each figure over the rounds; of a table of figures, the median of each."""
    return {name: _spread_of([result[name] for result in results]) for name in results[0]}


def _spread_of(values: list[Any]) -> Figures:
    if isinstance(values[0], dict):
        names = list(dict.fromkeys(name for value in values for name in value))
        return {name: median([value.get(name, 0.0) for value in values]) for name in names}
    return _spread(values)
