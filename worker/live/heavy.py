"""Heavy customers: each is derived apart, on a connection of its own, so that no other customer waits for it.

Its row says since when it is stale, however many events come: it is derived again when it has been derived.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from billing.record import Policy
from db.connection import PATIENT_TIMEOUT_SECONDS, Pool, PostgresAway, PostgresFails, connect
from db.sync.customers import StaleCustomer
from db.sync.heavy import claim_heavy, keep_lease, take_back
from worker.leases import Held, holding
from worker.live.derive import LEASE, derive_claimed, is_still_heavy

LEASE_KEPT_EVERY_SECONDS = LEASE.total_seconds() / 3

log = structlog.get_logger()


async def derive_heavy(
    pool: Pool, database_url: str, *, policy: Policy, held: Held[StaleCustomer] | None = None
) -> int:
    """Derive the heavy customer that has been stale longest; returns how many were claimed. `held` notes it while it
    is.
    """
    async with pool.acquire() as connection:
        claimed = await claim_heavy(connection, lease=LEASE)
    if claimed is None:
        return 0
    with holding(held, [claimed]):
        own = await connect(
            database_url,
            application_name="subledger worker, heavy customer",
            command_timeout_seconds=PATIENT_TIMEOUT_SECONDS,
        )
        try:
            if await is_still_heavy(own, claimed.key):
                async with _keeping_lease(pool, claimed):
                    await derive_claimed(own, [claimed], policy=policy, apart=True)
            else:
                await take_back(own, claimed)
        finally:
            await own.close()
    return 1


@asynccontextmanager
async def _keeping_lease(pool: Pool, customer: StaleCustomer) -> AsyncIterator[None]:
    """Prolong the lease while the body works, however long that is."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(LEASE_KEPT_EVERY_SECONDS)
            try:
                async with pool.acquire() as connection:
                    await keep_lease(connection, customer, lease=LEASE)
            except (*PostgresAway, *PostgresFails) as error:
                log.warning(
                    "lease not prolonged",
                    account=customer.key.account_id,
                    customer=customer.key.id,
                    error=repr(error),
                )

    keeping = asyncio.create_task(keep(), name="keep lease")
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
