"""An account to attach to: a sandbox that has lived already, its API, and a worker's engine before it."""

import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from billing.kinds.lists import listed_kinds
from db.connection import Pool
from db.sync.scans import Scan, ScanRequest, request_scan
from runtime.budget import Budget
from runtime.settings import Settings
from runtime.stripe_api import StripeApi
from sandbox import STORIES, Api, Sandbox, create_api, serve
from sandbox.objects import Price
from tests.test_end_to_end import differences, read_records
from worker.engine import Engine, Lanes

API_KEY = "sk_test_attached"
ALL_KINDS = listed_kinds()


def lived_account(*, customers: int, seed: int = 5, clocks: bool = True) -> Sandbox:
    """An account whose stories are over, before we ever heard of it; on request none of them has a test clock."""
    sandbox = Sandbox(seed=seed)
    sandbox.play([name for name in STORIES if clocks or name != "on_a_test_clock"], customers=customers)
    sandbox.run()
    return sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A database, an account, and an engine between them."""

    pool: Pool
    database_url: str
    api: Api
    lanes: Lanes
    engine: Engine
    settings: Settings

    def another_engine(self) -> Engine:
        """The engine of another worker."""
        return Engine(pool=self.pool, lanes=self.lanes, settings=self.settings)

    async def request(self, **given: Any) -> Scan:
        """Ask for a scan: a backfill of everything, unless told otherwise."""
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
                await self.engine.sweep_bulk()
        raise AssertionError(f"the scan has not ended: {row}")

    async def hurry(self) -> None:
        """As if the pauses after failures were over, and the leases of those who died."""
        await self.execute("update sync.scan_windows set due_at = now() where due_at > now()")
        await self.execute("update sync.scans set due_at = now() where due_at > now()")

    async def confirm(self) -> None:
        """Read what is marked, as if its time had come."""
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
            await self.engine.drain()
            await self.confirm()
            await self.engine.sweep_bulk()
            await self.engine.derive()
            left = await self.fetch(
                "select kind, id, error from sync.objects where dirty >= confirmed and not tombstone "
                "and missing_since is null and parked_at is null "
                "union all select 'stale customer', customer_id, error from sync.customers where stale > derived "
                "union all select 'history of', customer_id, history_error from sync.customers "
                "where history_at is not null"
            )
            if not left:
                return
        raise AssertionError(f"{len(left)} left: {left[:10]}")

    async def fetch(self, statement: str, *parameters: object) -> list[asyncpg.Record]:
        async with self.pool.acquire() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *parameters)
            return rows

    async def fetchval(self, statement: str, *parameters: object) -> Any:
        async with self.pool.acquire() as connection:
            return await connection.fetchval(statement, *parameters)

    async def execute(self, statement: str, *parameters: object) -> None:
        async with self.pool.acquire() as connection:
            await connection.execute(statement, *parameters)


def prices_of(sandbox: Sandbox) -> list[Price]:
    """All prices of the key's own account."""
    return [each for each in sandbox.home.shelves["price"].rows if isinstance(each, Price)]


UNTOLD_OF_DELETED = {
    "name": "Stripe answers a deleted customer with its id alone",
    "email": "the same",
    "description": "the same",
    "metadata": "the same",
    "custom_uid": "the same",
    "first_seen": "the same",
    "deleted_at": "only its event told when",
}
"""What nobody can learn of a customer that was deleted before we ever heard of it, each with the reason."""


async def different_records(sandbox: Sandbox, database_url: str) -> list[str]:
    """Every field in which a record and the truth differ, but for what Stripe does not tell of the deleted.

    Of the key's own account: no backfill of others was asked for.
    """
    truth = {key: customer for key, customer in sandbox.truth().items() if key.scope == ("", False)}
    records = {
        key: record for key, record in (await read_records(database_url)).items() if key.scope == ("", False)
    }
    for key, customer in truth.items():
        if customer.deleted_at is not None and key in records:
            assert records[key]["deleted_at"] is not None
            told: dict[str, Any] = {name: records[key][name] for name in UNTOLD_OF_DELETED}
            truth[key] = dataclasses.replace(customer, **told)
    # Of who was deleted and left nothing behind, Stripe tells nothing at all.
    unheard = {key for key in truth.keys() - records.keys() if _left_nothing(sandbox, key.id)}
    return differences({key: truth[key] for key in truth.keys() - unheard}, records)


def _left_nothing(sandbox: Sandbox, customer_id: str) -> bool:
    home = sandbox.home
    rows = (shelf.of_customer.get(customer_id) for shelf in home.shelves.values())
    return home.customer(customer_id).deleted_at is not None and not any(rows)


@asynccontextmanager
async def attached(
    pool: Pool, database_url: str, sandbox: Sandbox, *, keys: Sequence[str] = (API_KEY,)
) -> AsyncIterator[Attached]:
    """An engine before this account's API, on this database."""
    api = create_api(sandbox, keys)
    async with serve(api) as base_url, AsyncExitStack() as stack:
        settings = Settings(
            database_url=database_url,
            redis_url="redis://unused",
            stripe_api_key=keys[0],
            stripe_api_base=base_url,
        )
        live, bulk = [
            await stack.enter_async_context(
                StripeApi(
                    api_key=keys[0],
                    api_base=base_url,
                    budget=Budget(rate_max=10_000.0, concurrency_max=32),
                )
            )
            for _ in range(2)
        ]
        lanes = Lanes(live=live, bulk=bulk, live_mode=bool(settings.live_mode))
        engine = Engine(pool=pool, lanes=lanes, settings=settings)
        yield Attached(
            pool=pool,
            database_url=database_url,
            api=api,
            lanes=lanes,
            engine=engine,
            settings=settings,
        )
