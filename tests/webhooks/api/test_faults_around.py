"""Faults around the API: they are told as what they are, undone, and hold nobody else up."""

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from db.records.identities import CHANGE_IDENTITY
from db.records.moved import take_turn
from tests.faults import failing
from tests.harness import customer, event
from tests.system import until
from tests.webhooks.api.client import Service, open_service
from webhooks import database
from webhooks.api import shown
from webhooks.api.api import CONNECTIONS_MAX

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """However slow this machine is, nobody gives up waiting for a lock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "LOCK_TIMEOUT_SECONDS", 9.0)
        yield


WAITING = """
select count(*) from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock' and application_name like 'subledger web%'
"""

HELD_UP = """
select count(*) from pg_locks
where relation = 'sync.usage_turn'::regclass and not granted
  and database = (select oid from pg_database where datname = current_database())
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
        for name in ("cus_n", "cus_other"):
            harness.api.put(customer(name))
            await harness.receive(event("customer.created", customer(name)))
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
        # So does a derivation that changes a uid, and whoever adds up: it holds no customer while it waits for that.
        await service.put("/customers/other")
        other = await service.put("/customers/other", {"stripe_id": "cus_other"})
        async with harness.pool.acquire() as connection:
            async with connection.transaction():
                assert await take_turn(connection)
                deriving = asyncio.create_task(harness.engine.derive())

                async def is_held_up() -> bool:
                    return bool(await harness.fetchval(HELD_UP))

                await until(is_held_up, what="a derivation that waits")
                await connection.execute(f"{lock} nowait", "cus_other")
            await deriving
        assert other.body["uid"] == str((await harness.record("cus_other"))["uid"])


async def test_who_waits_for_a_lock_holds_no_reader_up(
    service: Service,
) -> None:
    """I12: more changes of one customer than there are connections wait for a lock: who reads another is answered."""
    await service.put("/customers/hot")
    await service.put("/customers/cold")
    harness = service.harness
    async with harness.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "select from billing.identities where custom_uid = 'hot' for update",
        )
        changes = [
            asyncio.create_task(service.patch("/customers/hot", {"metadata": {"k": str(n)}}))
            for n in range(2 * CONNECTIONS_MAX)
        ]

        async def all_wait() -> bool:
            return bool(await harness.fetchval(WAITING) == CONNECTIONS_MAX)

        await until(all_wait, what="connections that wait for a lock")
        reading = asyncio.create_task(service.get("/customers/cold"))
        await asyncio.wait([reading, *changes], return_when=asyncio.FIRST_COMPLETED)
        assert reading.done()
        assert 200 == reading.result().status
    assert {200, 503} >= {each.status for each in await asyncio.gather(*changes)}


async def test_i12_reader_holds_no_name(service: Service) -> None:
    """I12: a reader that holds every advisory lock that our code ever named keeps nobody from being created, and no
    usage from being added up.
    """
    held = "select pg_advisory_xact_lock(hashtextextended($1, 0))"
    async with service.harness.pool.acquire() as reader, reader.transaction():
        await reader.execute("set local role billing_reader")
        for name in ("subledger name  f wanted", "subledger usage"):
            await reader.execute(held, name)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with reader.transaction():
                await reader.execute("insert into sync.names values ('name  test wanted')")
        assert 201 == (await service.put("/customers/wanted")).status
        tracked = await service.post("/customers/wanted/track", {"feature_id": "calls", "value": 1})
        assert tracked.status < 300

        async def added_up() -> bool:
            return not await service.harness.fetchval(
                "select count(*) from billing.usage_events where pending"
            )

        await until(added_up, what="usage that is added up")
