"""Several Stripe customers of one record: derived together, taken over whole, in any order and whatever is lost."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from billing.record import Policy
from db.keys import Scope
from db.records.identities import select_identity
from db.records.joins import JOINED_MAX
from db.records.merges import JoinRefusal, JoinRefused, merge_identities
from db.records.moved import hold_usage
from db.records.parts import TABLES_BY_UID
from db.records.records import REMOVE_RECORDS, UPDATE_RECORDS
from db.records.takeover import NOTE_TAKEN, REMOVE_MRR_STEPS
from db.sync.customers import FINISH_DERIVED, LOCK_CUSTOMERS, MARK_STALE, claim_stale
from runtime.retry import ATTEMPTS_MAX, retry_conflicts
from tests import faults
from tests.harness import NOON, Harness, charge, customer, event, item, listing, refund, sweep
from tests.harness import subscription as bare_subscription
from tests.worker.live.test_mrr import DAY, PRODUCT, price
from tests.worker.live.test_stale import LEASE, derive_from_claim
from worker.engine import Engine
from worker.live import derive
from worker.live.derive import store_derivations
from worker.live.joined import NOTED_LATER
from worker.rebuild import rebuild

SCOPE = Scope("", False)
AWAY = asyncpg.ConnectionDoesNotExistError
"""What the loss of a connection raises: Postgres takes the transaction back."""
TAKING_OVER = (
    LOCK_CUSTOMERS,
    FINISH_DERIVED,
    NOTE_TAKEN,
    REMOVE_MRR_STEPS,
    REMOVE_RECORDS,
    UPDATE_RECORDS,
)
LINK = (
    "insert into billing.identities (live_mode, stripe_customer_id) values (false, $1) on conflict do nothing"
)
JOIN = """
insert into billing.joined_customers (account_id, live_mode, stripe_customer_id, main_stripe_customer_id)
values ('', false, $1, $2) on conflict do nothing
"""
UNJOIN = "delete from billing.joined_customers where stripe_customer_id = $1"


def subscription(name: str, *, day: int, quantity: int = 1, **fields: Any) -> dict[str, Any]:
    """20.00 USD a month for each, from a day on."""
    return bare_subscription(
        f"sub_{name}",
        f"cus_{name}",
        created=NOON + day * DAY,
        start_date=NOON + day * DAY,
        currency="usd",
        items=listing([item(f"si_{name}", quantity=quantity)]),
        **fields,
    )


async def open_shop(harness: Harness) -> None:
    """What is sold is known."""
    harness.api.put(PRODUCT, price())
    await harness.apply(event("product.created", PRODUCT), event("price.created", price()))
    await harness.settle()


async def bought(harness: Harness, name: str, *, day: int, quantity: int = 1) -> None:
    """A customer with an identity, a subscription from that day on, and a payment; its record is exact."""
    bodies = [
        customer(f"cus_{name}"),
        subscription(name, day=day, quantity=quantity),
        charge(f"ch_{name}", f"cus_{name}"),
    ]
    harness.api.put(*bodies)
    types = ("customer.created", "customer.subscription.created", "charge.succeeded")
    await harness.apply(*(event(of, body, after=day * DAY) for of, body in zip(types, bodies, strict=True)))
    await harness.execute(LINK, f"cus_{name}")
    await harness.settle()


async def mrr_history(harness: Harness) -> list[tuple[int, int, int]]:
    """Before, after, and the day."""
    rows = await harness.fetch("select * from billing.mrr_changes order by customer_uid, id")
    assert all(row["exact"] for row in rows)
    return [
        (row["mrr_before"], row["mrr_after"], round((row["changed_at"].timestamp() - NOON) / DAY))
        for row in rows
    ]


async def uids_with_rows(harness: Harness) -> set[str]:
    """Whoever has a record, or a row of one."""
    found = {row[0] for row in await harness.fetch("select uid::text from billing.customers")}
    for table in TABLES_BY_UID:
        rows = await harness.fetch(f"select customer_uid::text from {table} where customer_uid is not null")
        found |= {row[0] for row in rows}
    return found


async def assert_one(harness: Harness, main: str, **expected: object) -> None:
    """There is one record, the main one's, with nothing left of any other; its histories end with what it says."""
    (record,) = await harness.fetch("select *, uid::text as id from billing.customers")
    assert (main, True) == (record["stripe_customer_id"], record["exact"])
    assert expected == {name: record[name] for name in expected}
    assert {record["id"]} == await uids_with_rows(harness)
    statuses = await harness.fetch("select * from billing.status_changes order by id")
    chain = [None, *(row["status_after"] for row in statuses)]
    assert chain[:-1] == [row["status_before"] for row in statuses]
    assert record["status"] == chain[-1]
    sums = await harness.fetch("select mrr from billing.customer_mrr")
    steps = await mrr_history(harness)
    assert [0, *(after for _, after, _ in steps)][:-1] == [before for before, _, _ in steps]
    assert ([row["mrr"] for row in sums] or [0]) == [steps[-1][1] if steps else 0]
    (revenue,) = await harness.fetch("select sum(net)::bigint from billing.customer_revenue")
    assert record["lifetime_revenue"] == (revenue[0] or 0)


async def assert_apart(harness: Harness) -> None:
    """Each of the two has a record of its own, with what it bought."""
    rows = await harness.fetch(
        "select stripe_customer_id, lifetime_revenue from billing.customers order by 1"
    )
    assert [("cus_guest", 2000), ("cus_main", 2000)] == [tuple(row) for row in rows]
    products = await harness.fetch(
        "select p.stripe_subscription_id, r.stripe_customer_id "
        "from billing.customer_products p join billing.customers r on r.uid = p.customer_uid order by 1"
    )
    assert [("sub_guest", "cus_guest"), ("sub_main", "cus_main")] == [tuple(row) for row in products]


async def test_joined_and_apart_again(harness: Harness) -> None:
    """I6: what both bought is one record with one history: the merge is neither churn nor new business. Whatever
    happens to either later shows there, and apart again, each has what is its own.
    """
    await open_shop(harness)
    await bought(harness, "main", day=5, quantity=2)
    await bought(harness, "guest", day=1)
    await harness.execute(JOIN, "cus_guest", "cus_main")
    await harness.settle()
    await assert_one(
        harness,
        "cus_main",
        lifetime_revenue=4000,
        stripe_subscription_id="sub_main",
        quantity=2,
        status="active",
    )
    assert [(0, 2000, 1), (2000, 6000, 5)] == await mrr_history(harness)
    assert ["sub_guest", "sub_main"] == [
        row[0]
        for row in await harness.fetch(
            "select stripe_subscription_id from billing.customer_products order by 1"
        )
    ]
    ended = subscription("guest", day=1, status="canceled", ended_at=NOON + 9 * DAY)
    harness.api.put(ended, refund("re_guest", "ch_guest"))
    await harness.apply(
        event("customer.subscription.deleted", ended, after=9 * DAY),
        event("refund.created", refund("re_guest", "ch_guest"), after=9 * DAY),
    )
    await harness.settle()
    await assert_one(harness, "cus_main", lifetime_revenue=3500, status="active", has_access=True)
    assert [(0, 2000, 1), (2000, 6000, 5), (6000, 4000, 9)] == await mrr_history(harness)
    before = await harness.record("cus_main")
    await harness.execute("update sync.customers set stale = stale + 1")
    await harness.settle()
    assert before == await harness.record("cus_main"), "derived again, nothing changes"

    await harness.execute(UNJOIN, "cus_guest")
    await harness.settle()
    records = await harness.fetch(
        "select stripe_customer_id, lifetime_revenue, status, exact from billing.customers order by 1"
    )
    assert [("cus_guest", 1500, "ended", True), ("cus_main", 2000, "active", True)] == [
        tuple(row) for row in records
    ]


async def test_i3_whoever_is_slower_destroys_nothing(harness: Harness) -> None:
    """I3: a derivation of one customer from before the join, stored after the other has taken it over, leaves nothing;
    and one of both from before they were taken apart, stored after each was derived by itself, removes nothing.
    """
    await open_shop(harness)
    await bought(harness, "main", day=2)
    await bought(harness, "guest", day=1)
    await harness.execute("update sync.customers set stale = stale + 1 where customer_id = 'cus_guest'")
    async with harness.pool.acquire() as connection:
        slow = await derive_from_claim(connection, await claim_stale(connection, limit=10, lease=LEASE))
        await harness.execute(JOIN, "cus_guest", "cus_main")
        await harness.engine.derive()  # of the main one alone: the other one's lease runs
        assert 0 == await store_derivations(connection, slow)
    await harness.settle()
    await assert_one(harness, "cus_main", lifetime_revenue=4000)

    async def apart(_: faults.Call) -> None:
        await harness.execute(UNJOIN, "cus_guest")
        await harness.another_engine().derive()

    await harness.execute("update sync.customers set stale = stale + 1 where customer_id = 'cus_main'")
    with faults.before(LOCK_CUSTOMERS, apart, times=1):
        await harness.engine.derive()
    await harness.settle()
    await assert_apart(harness)


async def test_derived_like_any_other(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """I7, I14: a rebuild leaves the record as it is; with the rows of all it is heavy; if one of its customers is given
    up, it is not exact until that one has news.
    """
    await open_shop(harness)
    await bought(harness, "main", day=2)
    await bought(harness, "guest", day=1)
    await harness.execute(JOIN, "cus_guest", "cus_main")
    await harness.settle()
    before = await harness.record("cus_main")
    async with harness.pool.acquire() as connection:
        done = await rebuild(connection, policy=Policy())
    assert (2, 0, 0) == (done.derived, done.changed, done.failed)
    await harness.settle()
    assert before == await harness.record("cus_main")

    with monkeypatch.context() as limits:
        limits.setattr(derive, "HEAVY_ROWS", 3)
        await harness.execute("update sync.customers set stale = stale + 1")
        await harness.engine.derive()
        assert ["cus_main"] == [row[0] for row in await harness.fetch("select customer_id from sync.heavy")]
        await harness.engine.derive_heavy()
        assert [] == await harness.left()
    await harness.execute("update sync.customers set stale = stale + 1")
    await harness.engine.derive_heavy()
    assert [] == await harness.fetch("select customer_id from sync.heavy")
    await harness.settle()

    await harness.execute(
        "update sync.customers set attempts = $2, stale = stale + 1 where customer_id = $1",
        "cus_guest",
        ATTEMPTS_MAX,
    )
    await harness.engine.derive()
    assert not (await harness.record("cus_main"))["exact"]
    await harness.apply(event("charge.updated", charge("ch_guest", "cus_guest"), after=9 * DAY))
    await harness.settle()
    assert (await harness.record("cus_main"))["exact"]


async def test_i3_in_any_order_with_anything_lost(harness: Harness) -> None:
    """I3, I6: events of both in any order, joined at any moment, and again after it was undone; connections lost at any
    statement of a store. In the end there is one record of all that both bought, and nothing of the other one.
    """
    await open_shop(harness)
    for seed in range(4):
        random = Random(seed)  # noqa: S311 - replays from its seed
        main, guest = f"main{seed}", f"guest{seed}"
        last = {name: random.choice(["active", "past_due", "canceled"]) for name in (main, guest)}
        steps: list[Callable[[], Awaitable[object]]] = []
        for name in (main, guest):
            ends = {"ended_at": NOON + 9 * DAY} if last[name] == "canceled" else {}
            bodies = [
                customer(f"cus_{name}"),
                subscription(name, day=random.randrange(5)),
                charge(f"ch_{name}", f"cus_{name}"),
            ]
            later = bodies[1] | {"status": last[name]} | ends
            harness.api.put(bodies[0], later, bodies[2])
            of = "deleted" if ends else "updated"
            events = [
                event("customer.created", bodies[0]),
                event("customer.subscription.created", bodies[1], after=5 * DAY),
                event(f"customer.subscription.{of}", later, after=9 * DAY),
                event("charge.succeeded", bodies[2], after=5 * DAY),
            ]
            steps += [lambda one=one: harness.apply(one) for one in events]  # type: ignore[misc]
            steps.append(lambda name=name: harness.execute(LINK, f"cus_{name}"))  # type: ignore[misc]
        joining: list[Callable[[], Awaitable[object]]] = [
            lambda: harness.execute(JOIN, f"cus_{guest}", f"cus_{main}"),  # noqa: B023 - run in this round
            harness.engine.derive,
            harness.confirm,
            lambda: harness.execute(UNJOIN, f"cus_{guest}"),  # noqa: B023
            lambda: lost_at(harness, random.choice(TAKING_OVER)),  # noqa: B023
        ]
        steps += joining * 2
        random.shuffle(steps)
        for step in steps:
            with contextlib.suppress(Exception):  # it cannot be joined before both are linked
                await step()
        for name in (main, guest):
            await harness.execute(LINK, f"cus_{name}")
        await harness.execute(JOIN, f"cus_{guest}", f"cus_{main}")
        await harness.settle()
        paying = [name for name in (main, guest) if last[name] != "canceled"]
        status = next((each for each in ("active", "past_due") if each in last.values()), "ended")
        await assert_one(harness, f"cus_{main}", lifetime_revenue=4000, status=status)
        mrr = await harness.fetchval("select sum(mrr)::bigint from billing.customer_mrr")
        assert (2000 * len(paying) or None) == mrr
        await forget_all(harness)


async def test_i3_joined_and_apart_beside_workers(harness: Harness) -> None:
    """I3: several workers derive both while joins begin and end, and facts change: nobody fails, and in the end each
    record has what is its own.
    """
    await open_shop(harness)
    await bought(harness, "main", day=2)
    await bought(harness, "guest", day=1)
    over = asyncio.Event()

    async def derive_on(engine: Engine) -> None:
        while not over.is_set():
            await engine.derive()
            await asyncio.sleep(0)

    async def change() -> None:
        while not over.is_set():
            await harness.execute(
                "update sync.customers set stale = stale + 1 where customer_id = 'cus_guest'"
            )
            await asyncio.sleep(0.01)

    async def join_and_end() -> None:
        random = Random(1)  # noqa: S311 - replayable
        for _ in range(40):
            await retry_conflicts(lambda: harness.execute(JOIN, "cus_guest", "cus_main"))
            await asyncio.sleep(random.random() / 20)
            await retry_conflicts(lambda: harness.execute(UNJOIN, "cus_guest"))
            await asyncio.sleep(random.random() / 20)
        over.set()

    async with asyncio.TaskGroup() as group:
        for engine in (harness.engine, harness.another_engine(), harness.another_engine()):
            group.create_task(derive_on(engine))
        group.create_task(change())
        group.create_task(join_and_end())
    await harness.settle()
    await assert_apart(harness)
    await harness.execute(JOIN, "cus_guest", "cus_main")
    await harness.settle()
    await assert_one(harness, "cus_main", lifetime_revenue=4000)


async def lost_at(harness: Harness, statement: str) -> None:
    """Derive, and lose the connection there, if it comes to it."""
    with faults.failing(statement, AWAY):
        await harness.engine.derive()


async def forget_all(harness: Harness) -> None:
    """As if there had been nobody."""
    await harness.execute("delete from billing.identities")
    for table in ("customers", "subscriptions", "subscription_items", "charges"):
        await harness.execute(f"delete from stripe.{table}")
    for table in (*TABLES_BY_UID, "billing.customers", "sync.customers", "sync.uid_claims", "sync.events"):
        await harness.execute(f"delete from {table}")
    await harness.execute("delete from sync.objects where kind not in ('price', 'product')")


async def test_i3_killed_while_it_takes_over(harness: Harness) -> None:
    """I3: a connection that is lost at any statement of the transaction that takes over leaves two whole records; the
    next one leaves one.
    """
    await open_shop(harness)
    for number, statement in enumerate(TAKING_OVER):
        main, guest = f"main{number}", f"guest{number}"
        await bought(harness, main, day=2)
        await bought(harness, guest, day=1)
        whole = await harness.fetch("select * from billing.customers order by uid")
        await harness.execute(JOIN, f"cus_{guest}", f"cus_{main}")
        with faults.failing(statement, AWAY), pytest.raises(AWAY):
            await harness.engine.derive()
        assert whole == await harness.fetch("select * from billing.customers order by uid")
        await harness.settle()
        await assert_one(harness, f"cus_{main}", lifetime_revenue=4000)
        assert [(0, 2000, 1), (2000, 4000, 2)] == await mrr_history(harness)
        if (
            statement == FINISH_DERIVED
        ):  # the joined one's own news, lost at either statement, reaches the main one
            for lost in (LOCK_CUSTOMERS, MARK_STALE):
                await harness.execute(
                    "update sync.customers set stale = stale + 1 where customer_id = $1", f"cus_{guest}"
                )
                with faults.failing(lost, AWAY), pytest.raises(AWAY):
                    await harness.engine.derive()
                await harness.settle()
                await assert_one(harness, f"cus_{main}", lifetime_revenue=4000)
        await forget_all(harness)


async def test_i3_a_join_whose_end_is_given_up(harness: Harness) -> None:
    """I3: while somebody ends the join, who took the other one over cannot be noted, and waits for nobody; given up, it
    is noted: invoices and charges find the record.
    """
    await open_shop(harness)
    await bought(harness, "main", day=2)
    await bought(harness, "guest", day=1)
    await harness.execute(JOIN, "cus_guest", "cus_main")
    async with harness.pool.acquire() as connection:
        ending = connection.transaction()
        await ending.start()
        await connection.execute("select from billing.joined_customers for update")
        await harness.engine.derive()
        await ending.rollback()
    await assert_one(harness, "cus_main", lifetime_revenue=4000)
    await harness.execute("update sync.customers set rederive_at = rederive_at - $1::interval", NOTED_LATER)
    await sweep(harness.engine)
    await harness.settle()
    await assert_one(harness, "cus_main", lifetime_revenue=4000)
    assert [("cus_main", "cus_guest"), ("cus_main", "cus_main")] == await owners_of_charges(harness)


async def merged(harness: Harness, guest: str, main: str) -> bool:
    """What POST /customers/ID/identify does with two customers that both have one at Stripe."""
    found = await harness.fetch(
        "select stripe_customer_id, uid from billing.identities where stripe_customer_id = any ($1::text[])",
        [f"cus_{guest}", f"cus_{main}"],
    )
    uids = {row[0].removeprefix("cus_"): row[1] for row in found}
    return await uids_merged(harness, uids[guest], uids[main])


async def uids_merged(harness: Harness, uid: UUID, into: UUID) -> bool:
    """The same with any two."""
    async with harness.pool.acquire() as connection, connection.transaction():
        await hold_usage(connection)
        identities = [await select_identity(connection, SCOPE, each) for each in (uid, into)]
        assert identities[0] is not None
        assert identities[1] is not None
        return await merge_identities(connection, SCOPE, identities[0], identities[1])


async def owners_of_charges(harness: Harness) -> list[tuple[str | None, str]]:
    """Whose record each charge is shown under, and who paid it."""
    rows = await harness.fetch(
        "select r.stripe_customer_id, h.stripe_customer_id "
        "from billing.charges h left join billing.customers r on r.uid = h.customer_uid order by 2"
    )
    return [(row[0], row[1]) for row in rows]


async def test_all_follow_to_somebody_without_a_stripe_customer(harness: Harness) -> None:
    """Merged into one whom Stripe does not know, the main one and who is joined to it stay one, at every moment."""
    await open_shop(harness)
    await bought(harness, "guest", day=1)
    await bought(harness, "third", day=2)
    assert await merged(harness, "third", "guest")
    await harness.settle()
    joined_at = await harness.fetchval("select joined_at from billing.joined_customers")
    guest = await harness.fetchval("select uid from billing.customers")
    named = await harness.fetchval(
        "insert into billing.identities (live_mode, custom_uid) values (false, 'x') returning uid"
    )
    await harness.settle()
    assert await uids_merged(harness, guest, named)
    whole = [("cus_guest", "cus_guest"), ("cus_guest", "cus_third")]
    assert whole == await owners_of_charges(harness)
    await harness.settle()
    assert whole == await owners_of_charges(harness)
    await assert_one(harness, "cus_guest", lifetime_revenue=4000, custom_uid="x", uid=named)
    assert joined_at == await harness.fetchval("select joined_at from billing.joined_customers")
    assert {named} == {row[0] for row in await harness.fetch("select into_uid from billing.merges")}


async def test_merged_with_all_that_is_set_here(harness: Harness) -> None:
    """What was set here of the guest is the buyer's; who had been joined to the guest follows it.
    Refused: who was deleted, who has facts that nothing has confirmed, and too many.
    """
    await open_shop(harness)
    for day, name in enumerate(("main", "guest", "third"), start=1):
        await bought(harness, name, day=day)
    await harness.execute(
        "update billing.identities set email = 'g@example.com', fingerprint = 'fp', sandbox_end = '2030-01-01', "
        "metadata = '{\"a\": \"b\"}' where stripe_customer_id = 'cus_third'"
    )
    await harness.settle()
    assert await merged(harness, "third", "guest")
    await harness.settle()
    assert await merged(harness, "guest", "main")
    await harness.settle()
    await assert_one(
        harness, "cus_main", lifetime_revenue=6000, email="g@example.com", fingerprint="fp",
        metadata=json.dumps({"a": "b"}),
    )  # fmt: skip
    assert [(0, 2000, 1), (2000, 4000, 2), (4000, 6000, 3)] == await mrr_history(harness)
    left = await harness.fetch(
        "select email, fingerprint, sandbox_end, metadata from billing.identities where stripe_customer_id <> $1",
        "cus_main",
    )
    assert [(None, None, None, "{}")] * 2 == [tuple(row) for row in left]
    assert 2 == await harness.fetchval(
        "select count(*) from billing.merges m join billing.customers c on c.uid = m.into_uid"
    )

    await bought(harness, "late", day=4)
    await harness.apply(
        event("charge.updated", charge("ch_late", "cus_late", metadata={"x": "y"}), after=9 * DAY)
    )
    with pytest.raises(JoinRefused) as refused:
        await merged(harness, "late", "main")
    assert JoinRefusal.NOT_SETTLED is refused.value.why
    await harness.settle()
    for number in range(JOINED_MAX - 2):
        await harness.execute(LINK, f"cus_more{number}")
        await harness.execute(JOIN, f"cus_more{number}", "cus_main")
    with pytest.raises(JoinRefused) as refused:
        await merged(harness, "late", "main")
    assert JoinRefusal.TOO_MANY is refused.value.why
    await harness.execute(
        "update billing.customers set deleted_at = now() where stripe_customer_id = 'cus_late'"
    )
    with pytest.raises(JoinRefused) as refused:
        await merged(harness, "late", "main")
    assert JoinRefusal.DELETED is refused.value.why
