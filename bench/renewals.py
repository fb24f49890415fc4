"""A renewal burst: thousands of subscriptions that renew within minutes, each with an invoice, a payment and a charge.

The records are there and exact when it begins. It ends when they are exact again, and then each has to equal the
account's truth.

`python -m bench.renewals PORT FOLDER SUBSCRIPTIONS` is the account, in a process of its own: it answers Stripe's API on
PORT, with /tally as in `bench.account`. A request of /renew lets the month of every subscription end, writes
FOLDER/events.jsonl and FOLDER/truth.pickle, and is answered with the number of events.
"""

import asyncio
import pickle
import sys
import time
import urllib.request
from pathlib import Path

from starlette.types import Receive, Scope, Send

from bench.account import say, with_tally, write_down
from bench.parts import CONNECTIONS, Figures, calls_since, cpu_per_event, describe, spread_all
from bench.plans import API_KEY, Plan
from bench.serving import serve
from bench.system import (
    BenchError,
    Machine,
    Meter,
    Process,
    api_requests,
    ready,
    settled,
    watch,
    worker_ready,
)
from billing.kinds.lists import listed_kinds
from db.connection import OwnConnection
from db.sync.scans import ScanRequest, request_scan, select_scan
from local.processes import free_port
from sandbox import Sandbox, create_api
from tests.truth import differences, read_records

STARTED_PER_SECOND = 20
"""Subscriptions: they renew at the same rate."""
BEFORE = 20 * 86_400
"""Seconds from the start of the subscriptions to the backfill."""
RENEWING = 12 * 86_400
"""Seconds after which every subscription has renewed and been paid, and none for the second time. Fewer than Stripe
keeps events: a gap fill that begins after them raises no alarm.
"""
SECONDS_MAX = 1_800.0


async def measure_renewals(machine: Machine, *, subscriptions: int) -> Figures:
    """From the first post of the burst's webhooks until every record is exact, web and worker running."""
    folder = machine.folder / "renewals"
    folder.mkdir()
    port = free_port()
    site = await machine.site()
    connection = await watch(site)
    try:
        with machine.running(
            "renewals", "bench.renewals", str(port), str(folder), str(subscriptions), port=port
        ) as api:
            await ready(api, "/tally", seconds_max=SECONDS_MAX)
            with machine.web(site) as web, machine.worker(site, api_port=port) as worker:
                await ready(web, "/readyz")
                await worker_ready(connection, worker)
                await fill(connection, worker)
                count = await renew(api)
                before = await api_requests(api)
                plan = Plan(
                    port=web.port,
                    path=str(folder / "events.jsonl"),
                    count=count,
                    connections=CONNECTIONS,
                )
                meter = Meter(
                    web=web, worker=worker, api=api, postgres=machine.postgres, valkey=machine.valkey
                )
                outcome = await machine.load(plan, begin=meter.start)
                ended = await settled(connection, worker, exact=True, events=count, seconds_max=SECONDS_MAX)
                cpu = cpu_per_event(meter, count)
                calls = await calls_since(api, before, count)
            state = await describe(connection, exact=True)
    finally:
        await connection.close()
    truth = pickle.loads((folder / "truth.pickle").read_bytes())  # noqa: S301 - written by our own process
    wrong = differences(truth, await read_records(site.database_url))
    if wrong:
        raise BenchError(f"{len(wrong)} fields are wrong after the burst, such as {wrong[0]}")
    figures = {"per_second": count / (ended - outcome.began), "answer_p99_ms": outcome.p99_ms, **calls, **cpu}
    return {"subscriptions": subscriptions, "events": count, "wrong": 0, **state, **spread_all([figures])}


async def fill(connection: OwnConnection, worker: Process) -> None:
    """Fill the mirror from the account's lists, and wait until every record is exact."""
    scan = await request_scan(connection, ScanRequest(kinds=listed_kinds()), live_mode=False)
    deadline = time.monotonic() + SECONDS_MAX
    while scan.finished_at is None:
        worker.check()
        if time.monotonic() > deadline:
            raise BenchError(f"the backfill did not end: {scan}")
        await asyncio.sleep(0.1)
        scan = await select_scan(connection, scan.id) or scan
    if scan.status != "complete":
        raise BenchError(f"the backfill ended {scan.status}: {scan.error}")
    await settled(connection, worker, exact=True, events=0)


async def renew(api: Process) -> int:
    """Let the month of every subscription end; returns how many events came of it."""

    def ask() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{api.port}/renew", timeout=SECONDS_MAX) as response:
            return int(response.read())

    return await asyncio.to_thread(ask)


class Renewals:
    """The account, and its burst."""

    def __init__(self, folder: Path, *, subscriptions: int) -> None:
        self._folder = folder
        self._sandbox = Sandbox(11)
        home = self._sandbox.home
        price = home.catalogue.price(home.catalogue.product("Team"), 2000)
        for number in range(subscriptions):
            customer = home.clients.create(
                f"customer {number}", f"{number}@example.com", payment_method="good"
            )
            home.subscriptions.start(customer, [price])
            if number % STARTED_PER_SECOND == 0:
                self._sandbox.advance(1)
        self._sandbox.advance(BEFORE)
        self._sandbox.forget_events(keep=0)
        self._stripe = create_api(self._sandbox, [API_KEY])
        self._api = with_tally(self._stripe)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/renew":
            await self._api(scope, receive, send)
            return
        events = self.renew()
        await write_down(self._stripe)
        await say(send, b"%d" % events)

    def renew(self) -> int:
        """Let the month of every subscription end, and write what came of it; returns how many events."""
        events = self._sandbox.advance(RENEWING)
        (self._folder / "events.jsonl").write_bytes(b"".join(event.body + b"\n" for event in events))
        (self._folder / "truth.pickle").write_bytes(pickle.dumps(self._sandbox.truth()))
        return len(events)


def main() -> None:
    port, folder, subscriptions = sys.argv[1:]
    serve(Renewals(Path(folder), subscriptions=int(subscriptions)), port=int(port))


if __name__ == "__main__":
    main()
