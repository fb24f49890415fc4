"""Faults around the API: they are told as what they are, undone, and hold nobody else up."""

import asyncio

import asyncpg
import pytest

from db.records.identities import CHANGE_IDENTITY
from tests.faults import failing
from tests.harness import customer, event
from tests.system import until
from tests.webhooks.api.client import Service, open_service
from webhooks.api import shown

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAITING = """
select count(*) from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and application_name like 'subledger web%'
"""


async def test_i12_faults_of_postgres_are_no_mistake_of_ours(service: Service) -> None:
    """I12: a lost race is tried again; storage that fails, a time limit and somebody's lock are a 503 that says so."""
    await service.put("/customers/faulty")
    for lost in (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
        with failing(CHANGE_IDENTITY, lost("lost"), times=2):
            changed = await service.patch("/customers/faulty", {"metadata": {"race": lost.__name__}})
        assert (200, lost.__name__) == (changed.status, changed.body["metadata"]["race"])
    for error, said in (
        (asyncpg.DeadlockDetectedError, "other requests change the same at this moment"),
        (asyncpg.PostgresIOError, "Postgres fails: PostgresIOError"),
        (asyncpg.TransactionTimeoutError, "Postgres is away"),
        (asyncpg.LockNotAvailableError, "another transaction has held"),
    ):
        with failing(CHANGE_IDENTITY, error("around us")):
            refused = await service.patch("/customers/faulty", {"metadata": {"race": "none"}})
        assert 503 == refused.status
        assert said in refused.problem("away")


async def test_merge_and_derivation_wait_in_one_order(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I12: a merge locks both customers as a derivation does, in the order of their keys: neither is undone."""
    monkeypatch.setattr(shown, "DERIVED_SECONDS", 0.0)
    lock = "select from sync.customers where customer_id = $1 for no key update"
    async with open_service(database_url, working=False) as service:
        harness = service.harness
        harness.api.put(customer("cus_n"))
        await harness.receive(event("customer.created", customer("cus_n")))
        await harness.settle()
        assert (await service.put("/customers/named", {"stripe_id": "cus_n"})).status < 300
        guest = (await service.post("/customers", {"fingerprint": "fp"})).body["uid"]
        async with harness.pool.acquire() as connection, connection.transaction():
            await connection.execute(lock, "cus_n")
            merging = asyncio.create_task(
                service.post(f"/customers/{guest}/identify", {"custom_uid": "named"})
            )

            async def waits() -> bool:
                return bool(await harness.fetchval(WAITING))

            await until(waits, what="a merge that waits")
            await connection.execute(lock, f"uid/{guest}")
        assert 200 == (await merging).status
