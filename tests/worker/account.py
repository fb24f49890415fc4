"""An account to attach to: a sandbox that has lived already, its API, and a worker's engine before it."""

import bisect
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg

from billing.kinds.lists import listed_kinds
from db.connection import Pool, create_pool
from db.sync.scans import Scan, ScanRequest, request_scan
from sandbox import STORIES, Api, Sandbox, create_api, serve
from sandbox.objects import Price
from tests.conftest import Services, execute
from tests.databases import at_database
from tests.harness import LET_DOUBTS_AGE, EngineHarness, open_engine, sweep_bulk
from worker.engine import Lanes

API_KEY = "sk_test_attached"
ALL_KINDS = listed_kinds()


THEMES = 12


def lived_account(*, customers: int, seed: int = 5, clocks: bool = True) -> Sandbox:
    """An account whose stories are over, before we ever heard of it; on request none of them has a test clock."""
    sandbox = Sandbox(seed=seed)
    sandbox.play(spread_stories(customers=customers, clocks=clocks), customers=customers)
    sandbox.run()
    return sandbox


def spread_stories(*, customers: int, clocks: bool = True) -> list[str]:
    """So many stories, of different themes, as bring about so many customers; all of them from about 170 on."""
    names = [name for name in STORIES if clocks or name != "on_a_test_clock"]
    # In the order of the registry, stories of one theme stand together.
    spread = [name for first in range(THEMES) for name in names[first::THEMES]]
    brought = list(itertools.accumulate(STORIES[name].customers for name in spread))
    return spread[: bisect.bisect_left(brought, customers) + 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached(EngineHarness):
    """A database, an account, and an engine between them."""

    lanes: Lanes
    api: Api

    async def request(self, **given: Any) -> Scan:
        """Ask for a scan: by default a backfill of everything."""
        wanted = ScanRequest(**({"kinds": ALL_KINDS} | given))
        async with self.pool.acquire() as connection:
            return await request_scan(connection, wanted, live_mode=False)

    async def scanned(self, scan: Scan, *, turns: int = 50) -> asyncpg.Record:
        """Work until a scan has ended; its row."""
        row: asyncpg.Record | None = None
        for _ in range(turns):
            await self.hurry()
            await self.engine.scan()
            await self.confirm()
            (row,) = await self.fetch("select * from sync.scans where id = $1", scan.id)
            if row["finished_at"] is not None:
                return row
            if row["step"] == "clock histories":
                await self.execute("update sync.customers set history_at = now() where history_at > now()")
                await sweep_bulk(self.engine)
        raise AssertionError(f"the scan has not ended: {row}")

    async def fill(self) -> None:
        """Backfill everything, and leave nothing to do."""
        assert "complete" == (await self.scanned(await self.request()))["status"]
        await self.settle()

    async def hurry(self) -> None:
        """As if the pauses after failures were over, and the leases of dead workers."""
        await self.execute("update sync.scan_windows set due_at = now() where due_at > now()")
        await self.execute("update sync.scans set due_at = now() where due_at > now()")

    async def confirm(self) -> None:
        """Read what is marked, as if its time had come."""
        await self.execute(LET_DOUBTS_AGE)
        await self.execute(
            "update sync.objects set read_at = now() where read_at > now() and dirty >= confirmed "
            "and missing_since is null and parked_at is null"
        )
        await self.engine.confirm(linger=False)

    async def settle(self) -> None:
        """Read what is marked, and derive, until nothing is left."""
        left: list[asyncpg.Record] = []
        for _ in range(20):
            await self.execute("update sync.customers set history_at = now() where history_at > now()")
            await self.execute("update sync.customers set leased_until = now() where leased_until > now()")
            await self.engine.apply()
            await self.confirm()
            await sweep_bulk(self.engine)
            await self.engine.derive()
            left = await self.fetch(
                "select kind, id, error from sync.objects where dirty >= confirmed and not tombstone "
                "and missing_since is null and parked_at is null "
                "union all select 'stale customer', customer_id, error from sync.customers where stale > derived "
                "union all select 'event', event_id, error from sync.events where state = 'pending' "
                "union all select 'history of', customer_id, history_error from sync.customers "
                "where history_at is not null"
            )
            if not left:
                return
        raise AssertionError(f"{len(left)} left: {left[:10]}")


def prices_of(sandbox: Sandbox) -> list[Price]:
    """All prices of the key's own account."""
    return [each for each in sandbox.home.shelves["price"].rows if isinstance(each, Price)]


@asynccontextmanager
async def attached(
    pool: Pool, database_url: str, sandbox: Sandbox, *, keys: Sequence[str] = (API_KEY,)
) -> AsyncIterator[Attached]:
    """An engine before this account's API, on this database."""
    api = create_api(sandbox, keys)
    async with (
        serve(api) as api_base,
        open_engine(pool, database_url, api_base, api_key=keys[0]) as opened,
    ):
        assert opened.lanes is not None
        yield Attached(pool=pool, settings=opened.settings, lanes=opened.lanes, engine=opened.engine, api=api)


async def filled_database(servers: Services, template: str, sandbox: Sandbox) -> str:
    """The name of a new database with all of the account in it, to be copied."""
    name = f"filled_{uuid4().hex}"
    await execute(servers.postgres_url, f"create database {name} template {template} strategy file_copy")
    url = at_database(servers.postgres_url, name)
    pool = await create_pool(
        url, min_size=1, max_size=10, application_name="subledger-test", keeps_plans=True
    )
    try:
        async with attached(pool, url, sandbox) as account:
            await account.fill()
    finally:
        await pool.close()
    return name
