"""Customers with very many objects are derived apart: nobody else waits for them."""

import asyncio
from contextlib import nullcontext

import asyncpg
import pytest

from billing.record import derive_record
from billing.status import Policy
from db.mirror import facts
from db.mirror.facts import SELECT_CUSTOMERS
from db.sync.customers import FINISH_DERIVED
from db.sync.heavy import KEEP_LEASE
from runtime.retry import ATTEMPTS_MAX
from tests.faults import Call, about, after, before, broken, failing, held_up
from tests.harness import Harness, customer, event, subscription
from tests.system import until
from worker import rebuild
from worker.live import derive, heavy

CHARGES = 120

# Each charge brings 20.00, and every second one gives 5.00 back; the last one is disputed, and of the first one's
# invoice 3.00 came from outside.
GIVE_CHARGES = """
insert into stripe.charges (account_id, live_mode, id, created, customer_id, status, captured, amount, amount_captured,
  amount_refunded, currency)
select '', false, $1 || '_ch_' || n, now(), $1, 'succeeded', true, 2000, 2000, 0, 'usd'
from generate_series(1, $2::int) n;
"""
GIVE_REFUNDS = """
insert into stripe.refunds (account_id, live_mode, id, charge_id, status, amount, currency)
select '', false, $1 || '_re_' || n, $1 || '_ch_' || n, 'succeeded', 500, 'usd'
from generate_series(2, $2::int, 2) n;
"""
GIVE_DISPUTE = """
insert into stripe.disputes (account_id, live_mode, id, charge_id, status, amount, currency)
values ('', false, $1 || '_dp', $1 || '_ch_' || $2::int, 'lost', 1000, 'usd')
"""
GIVE_INVOICES = """
insert into stripe.invoices (account_id, live_mode, id, customer_id, subscription_id, status, currency,
  amount_paid_off_stripe, billing_reason, period_end)
select '', false, $1 || '_in_' || n, $1, 'sub_' || $1, 'paid', 'usd', case when n = 1 then 300 end,
  'subscription_cycle', timestamptz '2026-01-01' + n * interval '1 month'
from generate_series(1, greatest($2::int / 10, 1)) n
"""
STALE = "update sync.customers set stale = stale + 1, stale_since = now() where customer_id = $1"
STANDING = """
select attempts, leased_until is not null, parked_at is not null, stale > derived from sync.customers
where customer_id = $1
"""


@pytest.fixture(autouse=True)
def low_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred rows are many here."""
    monkeypatch.setattr(derive, "HEAVY_ROWS", 100)
    monkeypatch.setattr(derive, "ROWS_AT_ONCE", 100)
    monkeypatch.setattr(facts, "PORTION_ROWS", 50)
    monkeypatch.setattr(facts, "PORTION_IDS", 70)


async def create(harness: Harness, **charges: int) -> None:
    """Customers with so many charges each, and what belongs to them; they are stale, and have records without them."""
    for customer_id in charges:
        await harness.receive(
            event("customer.created", customer(customer_id)),
            event("customer.subscription.created", subscription(f"sub_{customer_id}", customer_id)),
        )
    await harness.engine.apply()
    for customer_id, number in charges.items():
        for statement in (GIVE_CHARGES, GIVE_REFUNDS, GIVE_DISPUTE, GIVE_INVOICES):
            await harness.execute(statement, customer_id, number)
        await harness.execute(STALE, customer_id)


def revenue_of(charges: int) -> int:
    return 2000 * charges - 500 * (charges // 2) - 1000 + 300


async def revenue(harness: Harness, customer_id: str) -> int:
    found: int = (await harness.record(customer_id))["lifetime_revenue"]
    return found


async def standing(harness: Harness, customer_id: str) -> tuple[object, ...]:
    """Attempts, whether it is leased, parked, stale."""
    (row,) = await harness.fetch(STANDING, customer_id)
    return tuple(row)


async def test_i14_nobody_waits_for_a_heavy_customer(webhooks_only: Harness) -> None:
    """I14: while a heavy customer is being derived, others are; and events that rain on it meanwhile cause one more
    derivation, after this one.
    """
    harness = webhooks_only
    await create(harness, cus_big=CHARGES, cus_2=3)
    derived = []

    async def note(call: Call) -> None:
        derived.extend(call.args[2])

    with (
        after(FINISH_DERIVED, note),
        held_up(derive_record, when=lambda of, **_: of.customer_id == "cus_big", times=1) as hold,
    ):
        await harness.engine.derive()
        assert ["cus_2"] == derived
        deriving = asyncio.create_task(harness.engine.derive_heavy())
        await hold.reached_by(deriving)
        for name in ("Ann", "Ben"):
            await harness.apply(
                event("customer.updated", customer("cus_big", name=name), after=9),
                event("customer.updated", customer("cus_2", name=name), after=9),
            )
            assert name == (await harness.record("cus_2"))["name"]
        assert not await harness.engine.derive_heavy()
        assert ["cus_2"] * 3 == derived
        hold.open.set()
        assert 2 == await deriving
    assert ["cus_big"] * 2 == derived[3:]
    assert (revenue_of(CHARGES), "Ben") == (
        await revenue(harness, "cus_big"),
        (await harness.record("cus_big"))["name"],
    )
    assert not await harness.fetchval("select count(*) from sync.customers where stale > derived")


async def test_found_to_be_heavy_in_the_middle_of_a_batch(webhooks_only: Harness) -> None:
    """I7, I12: a customer that turns out to be heavy is put over to its own line before its facts are loaded, and what
    failed for its size counts no longer; the rest of the batch is derived.
    """
    harness = webhooks_only
    await create(harness, cus_1=3, cus_big=CHARGES, cus_3=3)
    with before(SELECT_CUSTOMERS, _nothing) as loaded:
        await harness.engine.derive()
        assert loaded.met == 1
    assert [revenue_of(3)] * 2 == [await revenue(harness, each) for each in ("cus_1", "cus_3")]
    assert (0, False, False, True) == await standing(harness, "cus_big")
    assert ["cus_big"] == [row[0] for row in await harness.fetch("select customer_id from sync.heavy")]

    # Derived by a version without this line, it was tried in vain.
    await harness.execute("delete from sync.heavy")
    await harness.execute("update sync.customers set attempts = 4 where customer_id = 'cus_big'")
    await harness.engine.derive()
    assert (0, False, False, True) == await standing(harness, "cus_big")
    assert 1 == await harness.engine.derive_heavy()
    assert (0, False, False, False) == await standing(harness, "cus_big")
    assert revenue_of(CHARGES) == await revenue(harness, "cus_big")


async def _nothing(_: Call) -> None: ...


async def test_a_batch_loads_no_more_than_it_may(webhooks_only: Harness) -> None:
    """I14: customers with much, though none is heavy, are derived a few at a time; what is left to the next batch
    counts as no attempt.
    """
    harness = webhooks_only
    names = [f"cus_{number}" for number in range(1, 6)]
    await create(harness, **dict.fromkeys(names, 35))
    loaded: list[list[str]] = []

    async def note(call: Call) -> None:
        loaded.append(call.args[2])

    with before(SELECT_CUSTOMERS, note):
        async with harness.pool.acquire() as connection:
            await derive.derive_batch(connection, policy=Policy())
        waiting = [each for each in names if each not in loaded[0]]
        assert [(0, False, False, True)] * 3 == [await standing(harness, each) for each in waiting]
        await harness.engine.derive()
    assert [2, 2, 1] == [len(each) for each in loaded]
    assert {revenue_of(35)} == {await revenue(harness, each) for each in names}


@pytest.mark.parametrize("waiting", ["nothing", "charge", "refund", "dispute", "invoice"])
async def test_i6_a_heavy_record_is_the_same(
    webhooks_only: Harness, monkeypatch: pytest.MonkeyPatch, waiting: str
) -> None:
    """I6: derived apart, in portions, a record is what it is otherwise; also that it is not exact, whatever waits."""
    harness = webhooks_only
    await create(harness, cus_big=CHARGES)
    # The objects of these tests were written by hand: no read is pending but the one that is said here.
    await harness.execute("delete from sync.objects")
    of = {"charge": "ch_120", "refund": "re_118", "dispute": "dp", "invoice": "in_11"}
    if waiting != "nothing":
        if waiting == "charge":  # a guest's, which is found by its Checkout session
            await harness.execute(
                "update stripe.charges set customer_id = null, payment_intent_id = 'pi' where id = 'cus_big_ch_120'"
            )
            await harness.execute(
                "insert into stripe.checkout_sessions (account_id, live_mode, id, customer_id, payment_intent_id) "
                "values ('', false, 'cs', 'cus_big', 'pi')"
            )
        await harness.execute(
            "insert into sync.objects (account_id, live_mode, kind, id, customer_id, dirty) "
            "values ('', false, $1, 'cus_big_' || $2, case when $1 = 'invoice' then 'cus_big' end, 1)",
            waiting,
            of[waiting],
        )
    await harness.engine.derive()
    assert 1 == await harness.engine.derive_heavy()
    assert revenue_of(CHARGES) == await revenue(harness, "cus_big")
    record = await harness.record("cus_big")
    assert (waiting == "nothing", CHARGES // 10) == (record["exact"], record["renewal_number"])

    monkeypatch.setattr(derive, "HEAVY_ROWS", 1_000_000)
    monkeypatch.setattr(derive, "ROWS_AT_ONCE", 1_000_000)
    await harness.execute("delete from sync.heavy")
    await harness.execute(STALE, "cus_big")
    assert 1 == await harness.engine.derive()
    assert record == await harness.record("cus_big")


async def test_no_longer_heavy(webhooks_only: Harness) -> None:
    """A customer that has lost most of its objects is derived with all others again, and counts no attempt for it."""
    harness = webhooks_only
    await create(harness, cus_big=CHARGES)
    await harness.engine.derive()
    await harness.engine.derive_heavy()
    await harness.execute("delete from stripe.charges where id not like '%\\_1'")
    await harness.execute(STALE, "cus_big")
    assert 0 == await harness.engine.derive()
    await harness.engine.derive_heavy()
    assert (0, False, False, True) == await standing(harness, "cus_big")
    assert 1 == await harness.engine.derive()
    assert 2000 + 300 == await revenue(harness, "cus_big")


async def test_a_rule_that_fails_at_a_heavy_customer(webhooks_only: Harness) -> None:
    """I7: it is tried five times and parked, as any other; its next event is a new chance."""
    harness = webhooks_only
    await create(harness, cus_big=CHARGES)
    await harness.engine.derive()
    with broken(derive_record, ValueError("rule"), when=lambda of, **_: of.customer_id == "cus_big"):
        for _ in range(ATTEMPTS_MAX):
            # Not by the engine: on a slow machine the wait after an attempt is over within the same turn.
            pool, database_url = harness.pool, harness.settings.database_url
            assert 1 == await heavy.derive_heavy(pool, database_url, policy=Policy())
            await harness.make_due()
    assert (ATTEMPTS_MAX, False, True, True) == await standing(harness, "cus_big")
    await harness.apply(event("customer.updated", customer("cus_big", name="Ann"), after=9))
    assert 1 == await harness.engine.derive_heavy()
    assert "Ann" == (await harness.record("cus_big"))["name"]


async def test_i12_postgres_goes_away_at_a_heavy_customer(webhooks_only: Harness) -> None:
    """I12: it is given back, and no attempt counts; only work of ten minutes is cut off, and that one counts."""
    harness = webhooks_only
    await create(harness, cus_big=CHARGES)
    await harness.engine.derive()
    away = asyncpg.QueryCanceledError("statement timeout")
    with failing(SELECT_CUSTOMERS, away, when=about("cus_big")), pytest.raises(asyncpg.QueryCanceledError):
        await harness.engine.derive_heavy()
    assert (1, True, False, True) == await standing(harness, "cus_big")
    await harness.engine.give_back()
    assert (0, False, False, True) == await standing(harness, "cus_big")


@pytest.mark.parametrize("error", [None, asyncpg.PostgresIOError, ConnectionError])
async def test_lease_is_kept_while_it_works(
    webhooks_only: Harness, monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None
) -> None:
    """However long a heavy customer takes, no other worker takes it meanwhile, although leases are short; nor where
    Postgres was away, or its storage failed, when the lease was to be prolonged.
    """
    harness = webhooks_only
    monkeypatch.setattr(heavy, "LEASE_KEPT_EVERY_SECONDS", 0.01)
    await create(harness, cus_big=CHARGES)
    await harness.engine.derive()
    with (
        held_up(derive_record, times=1) as hold,
        nullcontext() if error is None else failing(KEEP_LEASE, error("a fault"), times=1),
    ):
        deriving = asyncio.create_task(harness.engine.derive_heavy())
        await hold.reached_by(deriving)
        await harness.make_due()

        async def is_leased() -> object:
            return await harness.fetchval(
                "select leased_until > now() from sync.customers where customer_id = 'cus_big'"
            )

        await until(is_leased, what="the lease that is kept")
        assert 0 == await harness.another_engine().derive_heavy()
        hold.open.set()
        await deriving
    assert (0, False, False, False) == await standing(harness, "cus_big")


async def test_a_rebuild_derives_heavy_customers_too(webhooks_only: Harness) -> None:
    """A rebuild leaves nobody out, and derives a heavy customer apart from its batch."""
    harness = webhooks_only
    await create(harness, cus_1=3, cus_big=CHARGES, cus_3=3)
    async with harness.pool.acquire() as connection:
        done = await rebuild.rebuild(connection, policy=Policy())
    assert (3, 0) == (done.derived, done.failed)
    assert revenue_of(CHARGES) == await revenue(harness, "cus_big")
    assert not await harness.fetchval("select count(*) from sync.customers where stale > derived")


async def test_who_is_stale_again_has_not_waited_for_ever(webhooks_only: Harness) -> None:
    """A customer on whom events rain is stale since the claim of its last derivation: nobody is told that records have
    waited, and it goes behind those who have.
    """
    harness = webhooks_only
    await create(harness, cus_1=3)
    await harness.execute("update sync.customers set stale_since = now() - interval '1 hour'")

    async def rain(_: Call) -> None:
        await harness.execute("update sync.customers set stale = stale + 1")

    async with harness.pool.acquire() as connection:
        with before(SELECT_CUSTOMERS, rain, times=1):
            await derive.derive_batch(connection, policy=Policy())
    assert await harness.fetchval(
        "select stale > derived and stale_since > now() - interval '1 minute' from sync.customers"
    )
