"""Postgres goes away while a worker has rows in hand: they are not tried, and wait for no lease."""

from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

from subledger.db.connection import PostgresAway, connect
from subledger.worker import confirm, derive, drain, in_hand
from tests.worker.room import Room, customer, event

OTHERS_END = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""

# What of the work goes on over a connection that Postgres ends under it: the module and function that begin it.
PLACES = {
    "events": (drain, "_apply"),
    "customers": (derive, "load_facts"),
    "reads": (confirm, "store_answers"),
}

ATTEMPTS = """
select 'event', attempts, leased_until is not null from sync.events where state = 'pending'
union all select 'customer', attempts, leased_until is not null from sync.customers where stale > derived
union all select 'read', attempts, read_at > now() + interval '30 seconds' from sync.objects
  where not tombstone and dirty >= confirmed
"""


async def shut_postgres_during(
    room: Room,
    patch: pytest.MonkeyPatch,
    place: tuple[ModuleType, str],
    work: Callable[[], Awaitable[object]],
) -> None:
    """Do the work, and have every connection of this process ended when it reaches the place, as a restart does."""
    module, name = place
    real = getattr(module, name)

    async def cut(connection: Any, *arguments: Any, **options: Any) -> object:
        administrator = await connect(room.settings.database_url, application_name="administrator")
        try:
            await administrator.execute(OTHERS_END)
        finally:
            await administrator.close()
        return await real(connection, *arguments, **options)

    with patch.context() as while_cut:
        while_cut.setattr(module, name, cut)
        with pytest.raises(PostgresAway):
            await work()
    # Others were idle when they were ended; whoever takes one of them now would only learn of that.
    await room.pool.expire_connections()


@pytest.mark.parametrize("what", PLACES)
async def test_given_back_when_postgres_returns(
    room: Room, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What was in hand is taken again at the next turn, and no attempt was counted."""
    room.api.put(customer())
    engine = room.engine
    await room.receive(event("customer.created", customer()))
    work: Callable[[], Awaitable[object]] = engine.drain
    if what == "reads":
        await engine.drain()
        await room.execute("update sync.objects set read_at = now()")

        async def work() -> None:
            await engine.confirm(linger=False)

    await shut_postgres_during(room, monkeypatch, PLACES[what], work)
    held = {tuple(row) for row in await room.fetch(ATTEMPTS)}
    assert (what.removesuffix("s"), 1, True) in held
    await room.another_engine().sweep()  # another process does not know: it waits for the lease
    assert (what.removesuffix("s"), 1, True) in {tuple(row) for row in await room.fetch(ATTEMPTS)}

    await engine.sweep()
    left = await room.fetch(ATTEMPTS)
    assert what.removesuffix("s") not in {row[0] for row in left if row[1]}
    assert (await room.record())["stripe_customer_id"] == "cus_1"


async def test_what_always_brings_postgres_down_is_not_tried_for_ever(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few times in a row the attempt counts, so that an event at which Postgres fails is found in the end."""
    await room.receive(event("customer.created", customer()))
    attempts = []
    for _ in range(in_hand.GIVEN_BACK_MAX + 1):
        await shut_postgres_during(room, monkeypatch, PLACES["events"], room.engine.drain)
        attempts.append(await room.fetchval("select leased_until is not null from sync.events"))
    assert [True] * len(attempts) == attempts
    await room.engine.drain()
    assert "pending" == await room.fetchval("select state from sync.events")
    assert (1, True) == tuple((await room.fetch("select attempts, leased_until > now() from sync.events"))[0])


async def test_only_what_is_still_ours_is_given_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that another worker has taken meanwhile, or finished, is left alone."""
    await room.receive(event("customer.created", customer()), event("customer.updated", customer("cus_2")))
    await shut_postgres_during(room, monkeypatch, PLACES["events"], room.engine.drain)
    await room.execute(
        "update sync.events set attempts = 2, leased_until = now() + interval '1 hour' where type = 'customer.created'"
    )
    await room.execute(
        "update sync.events set state = 'applied', leased_until = null where type = 'customer.updated'"
    )
    await room.engine.drain()
    rows = await room.fetch("select type, attempts, state from sync.events order by type")
    assert [("customer.created", 2, "pending"), ("customer.updated", 1, "applied")] == [
        tuple(r) for r in rows
    ]
