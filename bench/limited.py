"""What Stripe's published limits leave of the speed: events of a mixed life, and a burst of renewals, made exact by one
worker and by several, while the API refuses every request that is one too many.
"""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench.parts import Account, Figures, calls_since, cpu_per_event, describe, filled_inbox
from bench.plans import Plan
from bench.renewals import SECONDS_MAX, fill, renew
from bench.system import (
    BenchError,
    Machine,
    Meter,
    Site,
    api_requests,
    ready,
    settled,
    watch,
    worker_ready,
)
from local.processes import free_port

ACCOUNT_PER_SECOND, OPERATION_PER_SECOND = 100, 25
"""Stripe's limits in live mode."""
CONNECTIONS = 16


async def measure_mixed(machine: Machine, account: Account, *, workers: int, latency_ms: float) -> Figures:
    """The events of a mixed life, all in the inbox before the workers start."""
    inbox = await filled_inbox(machine, account, account.events)
    return await _measure(machine, account, inbox, workers=workers, latency_ms=latency_ms, posted=False)


async def measure_burst(
    machine: Machine, account: Account, site: Site, *, workers: int, latency_ms: float
) -> Figures:
    """The webhooks of renewals, posted while the workers run, into a mirror that knows what was before."""
    return await _measure(machine, account, site, workers=workers, latency_ms=latency_ms, posted=True)


@asynccontextmanager
async def renewing_account(machine: Machine, *, subscriptions: int) -> AsyncIterator[tuple[Account, Site]]:
    """An account whose subscriptions have just renewed, and a site that knows exactly how they were before."""
    folder = machine.folder / "limited-renewals"
    folder.mkdir()
    port = free_port()
    arguments = ("bench.renewals", str(port), str(folder), str(subscriptions))
    with machine.running("renewals", *arguments, port=port) as process:
        await ready(process, "/tally", seconds_max=SECONDS_MAX)
        site = await machine.site()
        connection = await watch(site)
        try:
            with machine.worker(site, api_port=port) as worker:
                await worker_ready(connection, worker)
                await fill(connection, worker)
        finally:
            await connection.close()
        events = await renew(process)
        yield Account(folder=folder, events=events, api=process), site


async def _measure(
    machine: Machine, account: Account, like: Site, *, workers: int, latency_ms: float, posted: bool
) -> Figures:
    """Until everything is exact, under enforced limits. Raises BenchError if a record is not."""
    api = account.api
    if api is None:
        raise BenchError("without an API nothing is limited")
    limits = f"account={ACCOUNT_PER_SECOND}&operation={OPERATION_PER_SECOND}&latency_ms={latency_ms}"
    await api_requests(api, f"/limits?{limits}")
    site = await machine.site(like=like)
    async with AsyncExitStack() as stack:
        connection = await watch(site)
        stack.push_async_callback(connection.close)
        asked = await api_requests(api)
        # What is in the inbox waits until all of them are there: a start takes as much CPU as thousands of events.
        async with connection.transaction():
            await connection.execute("lock table sync.events in exclusive mode")
            crew = [
                stack.enter_context(machine.worker(site, api_port=api.port, rate_max=ACCOUNT_PER_SECOND))
                for _ in range(workers)
            ]
            await worker_ready(connection, crew[0], workers=workers)
        roles = {f"worker {number}": each for number, each in enumerate(crew)}
        if posted:
            roles["web"] = stack.enter_context(machine.web(site))
            await ready(roles["web"], "/readyz")
        meter = Meter(**roles, api=api, postgres=machine.postgres, valkey=machine.valkey)
        began = time.monotonic()
        if (web := roles.get("web")) is not None:
            plan = Plan(
                port=web.port, path=account.events_path, count=account.events, connections=CONNECTIONS
            )
            began = (await machine.load(plan)).began
        ended = await settled(connection, crew[0], exact=True, events=account.events, seconds_max=SECONDS_MAX)
        cpu = cpu_per_event(meter, account.events)
        state = await describe(connection, exact=True)
        calls = await calls_since(api, asked, account.events)
        refused = await api_requests(api, "/refused")
    await api_requests(api, "/limits")
    worker_cpu_us = sum(cpu.pop(f"worker {number}_cpu_us") for number in range(workers))
    return {
        "workers": workers,
        "events": account.events,
        "records": state["records"],
        "seconds": ended - began,
        "per_second": account.events / (ended - began),
        "calls_per_second": calls["api_calls_per_1000_events"] * account.events / 1000 / (ended - began),
        "refused": dict(refused),
        **calls,
        "worker_cpu_us": worker_cpu_us,
        **cpu,
    }
