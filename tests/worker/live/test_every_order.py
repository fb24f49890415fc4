"""The cases A of order, loss, duplicates and truth, through the real inbox, drain, reads and derivations.

Each is played in five orders of delivery: as listed, reversed, shuffled, each event twice, and every second one lost
and delivered at the end. Whatever the order, every record ends equal to the sandbox's truth in every field.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from db.connection import Pool
from db.sync.incarnation import Numbers, keep_one_history
from sandbox import ENDIVE, OLDEST, Event, Faults, Plan, Sandbox, arrange, create_api
from sandbox.api import Api as SandboxApi
from sandbox.periods import DAY, HOUR
from sandbox.shapes import render
from sandbox.stories import STORIES
from sandbox.stories.stage import Stage
from sandbox.versions import version
from tests.databases import empty_tables
from tests.harness import API_KEY, Api, Harness, error, open_harness
from tests.system import until
from tests.truth import assert_true

ORDERS = ("listed", "reversed", "shuffled", "doubled", "half lost")


def arranged(events: Sequence[Event], order: str) -> list[Event]:
    """The deliveries of these events in one of the five orders."""
    plans = {
        "listed": Plan(),
        "reversed": Plan(reverse=True),
        "shuffled": Plan(shuffle=True, seed=1),
        "doubled": Plan(duplicate_share=1.0, seed=2),
        "half lost": Plan(drop_every=2),
    }
    sent, lost = arrange(events, plans[order])
    return sent + lost


def stamped(event: Event, created: int) -> Event:
    """The same event with another `created`."""
    body = json.loads(event.body) | {"created": created}
    return replace(event, created=created, body=json.dumps(body).encode())


def again(event: Event, event_id: str, created: int | None = None) -> Event:
    """The same change under another event id."""
    body = json.loads(event.body) | {"id": event_id}
    twin = replace(event, id=event_id, body=json.dumps(body).encode())
    return twin if created is None else stamped(twin, created)


def of_type(events: Iterable[Event], event_type: str) -> list[Event]:
    return [event for event in events if event.type == event_type]


@dataclass(slots=True)
class Case:
    """A case on stage: its world, the API before it, the harness, and what was delivered in which order."""

    order: str
    sandbox: Sandbox
    stage: Stage
    api: SandboxApi
    harness: Harness
    draws: Random = field(default_factory=lambda: Random(17))  # noqa: S311 - a test must replay

    async def deliver(self, events: Sequence[Event], *, reads: bool = True) -> None:
        """Receive the events in this case's order, a few at a time, each group applied before the next comes; read
        from Stripe in the middle.
        """
        deliveries = arranged(events, self.order)
        half = len(deliveries) // 2
        start = 0
        while start < len(deliveries):
            end = start + self.draws.randint(2, 9)
            await self.harness.apply(*deliveries[start:end])
            if reads and start <= half < end:
                await self.harness.confirm()
            start = end

    async def settle_and_compare(self) -> None:
        """Nothing is left to be done, and every record equals the truth."""
        await self.harness.settle()
        truth = {key: known for key, known in self.sandbox.truth().items() if not known.live_mode}
        await assert_true(self.harness.pool, truth, what=f"in the order {self.order!r}")


Play = Callable[[Case], Awaitable[None]]


async def in_every_order(
    play: Play, pool: Pool, database_url: str, *, versions: tuple[str, ...] = (ENDIVE,)
) -> None:
    """Play a case once in each order, on empty tables."""
    for order in ORDERS:
        sandbox = Sandbox(seed=29, event_versions=versions)
        api = create_api(sandbox, [API_KEY], faults=Faults())
        async with open_harness(pool, database_url, api=Api(api)) as harness:
            stage = Stage(sandbox, STORIES["one_payment"], number=1)
            await play(Case(order=order, sandbox=sandbox, stage=stage, api=api, harness=harness))
        async with pool.acquire() as connection:
            await empty_tables(connection)
            await keep_one_history(connection, Numbers())  # as a new session does


def past_due_and_back(case: Case) -> tuple[list[Event], Event, Event]:
    """A renewal fails, and is paid in the same second; the events, with those two changes of status."""
    stage, sandbox = case.stage, case.sandbox
    ada = stage.customer()
    subscription = stage.subscribe(ada, stage.plan())
    sandbox.advance(5 * DAY)
    ada.payment_method = "declined"
    sandbox.advance(stage.past_boundary(subscription))
    while subscription.status == "active":
        sandbox.step()
    ada.payment_method = "good"
    stage.account.invoices.pay(stage.latest_invoice(subscription))
    assert "active" == subscription.status
    updates = of_type(sandbox.events, "customer.subscription.updated")
    down = next(e for e in updates if json.loads(e.body)["data"]["object"]["status"] == "past_due")
    return list(sandbox.events), down, updates[-1]


async def test_a1_two_changes_of_one_second(pool: Pool, database_url: str) -> None:
    """A1: active to past_due and back, both stamped in the same second, in whatever order: active."""

    async def play(case: Case) -> None:
        events, down, up = past_due_and_back(case)
        same = [stamped(each, down.created) if each is up else each for each in events]
        same.sort(key=lambda each: each.id == down.id)  # the earlier of the two comes last
        await case.deliver(same)
        await case.settle_and_compare()

    await in_every_order(play, pool, database_url)


async def test_a2_created_contradicts_the_order(pool: Pool, database_url: str) -> None:
    """A2: the event of the earlier change is stamped later than that of the later one, and arrives last."""

    async def play(case: Case) -> None:
        events, down, up = past_due_and_back(case)
        inverted = [each for each in events if each is not down] + [stamped(down, up.created + 30)]
        await case.deliver(inverted)
        await case.settle_and_compare()

    await in_every_order(play, pool, database_url)


async def test_a3_late_update_after_the_end(pool: Pool, database_url: str) -> None:
    """A3: after customer.subscription.deleted an update to active comes late, and is stamped later: ended stays, and
    so does ended_at.
    """

    async def play(case: Case) -> None:
        stage, sandbox = case.stage, case.sandbox
        subscription = stage.subscribe(stage.customer(), stage.plan())
        sandbox.advance(3 * DAY)
        stage.account.subscriptions.edit_metadata(subscription, {"external_id": "x"})
        update = of_type(sandbox.events, "customer.subscription.updated")[-1]
        sandbox.advance(1 * DAY)
        stage.account.subscriptions.end(subscription)
        ended = of_type(sandbox.events, "customer.subscription.deleted")[0]
        events = [each for each in sandbox.events if each is not update]
        await case.deliver([*events, stamped(update, ended.created + 30)])
        if case.order in ("listed", "doubled"):
            status = await case.harness.fetchval("select status from billing.customers")
            assert "ended" == status, "not even for a moment"
        await case.settle_and_compare()
        (product,) = await case.harness.fetch("select ended_at from billing.customer_products")
        assert subscription.ended_at == product["ended_at"].timestamp()

    await in_every_order(play, pool, database_url)


async def test_a4_event_of_an_earlier_change_after_the_read(pool: Pool, database_url: str) -> None:
    """A4: a read has seen change y already when the event of the earlier change x arrives, stamped after the read."""

    async def play(case: Case) -> None:
        events, down, up = past_due_and_back(case)
        first = [each for each in events if each not in (down, up)]
        await case.deliver(first)
        await case.settle_and_compare()
        await case.deliver([stamped(down, case.sandbox.now + 1)], reads=False)
        await case.settle_and_compare()
        await case.deliver([up, down])
        await case.settle_and_compare()

    await in_every_order(play, pool, database_url)


async def test_a5_answer_of_the_earlier_read_is_written_last(pool: Pool, database_url: str) -> None:
    """A5: two workers read one subscription, the first before a change and the second after; the first writes last."""

    async def play(case: Case) -> None:
        stage, sandbox, harness = case.stage, case.sandbox, case.harness
        ada = stage.customer()
        subscription = stage.subscribe(ada, stage.plan())
        await case.deliver(sandbox.events, reads=False)
        known = len(sandbox.events)
        path = f"/v1/subscriptions/{subscription.id}"
        before = render(subscription, version(ENDIVE), stage.account)
        gate = harness.api.hold(path)
        harness.api.say(path, 200, before)
        await harness.make_due()
        first = asyncio.create_task(harness.engine.confirm(linger=False))
        await gate.asked.wait()
        sandbox.advance(1 * DAY)
        stage.account.subscriptions.cancel_at_period_end(subscription)
        await harness.receive(*arranged(sandbox.events[known:], case.order))
        second = harness.another_engine()
        await second.apply()

        async def later_read_is_stored() -> bool:
            # The first worker may have claimed the later read, and left it, since its own is under way.
            await harness.make_due()
            await second.confirm(linger=False)
            await second.derive()
            stored = "select confirmed > dirty from sync.objects where kind = 'subscription'"
            return bool(await harness.fetchval(stored))

        await until(later_read_is_stored, what="the later read")
        gate.open.set()
        await first
        assert "canceled" == await harness.fetchval("select status from billing.customers")
        await case.settle_and_compare()

    await in_every_order(play, pool, database_url)


async def test_a6_one_event_on_five_connections(pool: Pool, database_url: str) -> None:
    """A6, I2: each event is received five times at once on five connections, and drained by three workers: one row of
    the inbox, one record, the money once.
    """

    async def play(case: Case) -> None:
        stage, harness = case.stage, case.harness
        stage.subscribe(stage.customer(), stage.plan(2000))
        events = list(case.sandbox.events)
        for event in arranged(events, case.order):
            await asyncio.gather(*(harness.receive(event) for _ in range(5)))
        await asyncio.gather(
            harness.engine.apply(), harness.another_engine().apply(), harness.another_engine().apply()
        )
        assert len(events) == await harness.fetchval("select count(*) from sync.events")
        await case.settle_and_compare()
        assert 1 == await harness.fetchval("select count(*) from billing.customers")
        assert 2000 == await harness.fetchval("select gross from billing.customer_revenue")

    await in_every_order(play, pool, database_url)


async def test_a7_two_ids_for_one_change(pool: Pool, database_url: str) -> None:
    """A7, I2: every event comes under a second id as well: money and renewals are counted once."""

    async def play(case: Case) -> None:
        stage, sandbox = case.stage, case.sandbox
        subscription = stage.subscribe(stage.customer(), stage.plan(2000))
        sandbox.advance(stage.past_payment(subscription))
        events = list(sandbox.events)
        twins = [again(each, f"evt_twin_{number}") for number, each in enumerate(events)]
        await case.deliver([each for pair in zip(events, twins, strict=True) for each in pair])
        await case.settle_and_compare()
        (record,) = await case.harness.fetch("select renewal_number, lifetime_revenue from billing.customers")
        assert (1, 4000) == tuple(record)

    await in_every_order(play, pool, database_url)


async def test_a8_payment_before_everything_else(pool: Pool, database_url: str) -> None:
    """A8: invoice.paid arrives before invoice.created, customer.created and the subscription's creation: nothing is
    refused for what is not there yet.
    """

    async def play(case: Case) -> None:
        stage = case.stage
        stage.subscribe(stage.customer(), stage.plan())
        paid = of_type(case.sandbox.events, "invoice.paid")
        await case.harness.apply(*paid)
        assert {"applied"} == set((await case.harness.event_states()).values())
        rest = [each for each in case.sandbox.events if each not in paid]
        await case.deliver([*paid, *rest])
        await case.settle_and_compare()

    await in_every_order(play, pool, database_url)


async def test_a13_reads_that_fail(pool: Pool, database_url: str) -> None:
    """A13: while the API answers 500, 429 or breaks off, objects stay dirty, records provisional; later all is read."""

    async def play(case: Case) -> None:
        stage, harness, faults = case.stage, case.harness, case.api.faults
        stage.subscribe(stage.customer(), stage.plan())
        faults.error_share = 1.0
        await case.deliver(case.sandbox.events)
        await harness.confirm()
        faults.error_share, faults.lock_timeout_share = 0.0, 1.0
        await harness.confirm()
        faults.lock_timeout_share, faults.reset_share = 0.0, 1.0
        await harness.confirm()
        assert 0 == await harness.fetchval("select max(confirmed) from sync.objects")
        assert await harness.left()
        (record,) = await harness.fetch("select status, exact from billing.customers")
        assert ("active", False) == tuple(record)
        faults.reset_share = 0.0
        await case.settle_and_compare()

    await in_every_order(play, pool, database_url)


async def test_a14_missing_for_a_second(pool: Pool, database_url: str) -> None:
    """A14: the subscription answers 404 one second after its event, then 200: it is never ended."""

    async def play(case: Case) -> None:
        stage, harness = case.stage, case.harness
        subscription = stage.subscribe(stage.customer(), stage.plan())
        path = f"/v1/subscriptions/{subscription.id}"
        harness.api.say(path, 404, error("resource_missing", "No such subscription"))
        await case.deliver(case.sandbox.events)
        await harness.confirm()
        statuses = await harness.fetch("select distinct status_after from billing.status_changes")
        assert "ended" not in {row[0] for row in statuses}
        await case.settle_and_compare()
        assert None is (await harness.object("subscription", subscription.id))["missing_since"]

    await in_every_order(play, pool, database_url)


NORMAL_COLUMNS = {
    "subscriptions": "status, customer_id, start_date, current_period_start, current_period_end, "
    "cancel_at_period_end, latest_invoice_id",
    "invoices": "status, customer_id, subscription_id, billing_reason, period_start, period_end, total, amount_due",
    "charges": "status, customer_id, amount, amount_captured, currency",
    "subscription_items": "price_id, product_id, quantity, current_period_start, current_period_end",
}


async def test_a15_old_payload_and_new_answer_are_one_row(pool: Pool, database_url: str) -> None:
    """A15: what a payload of 2020-08-27 shows is, in every normalised column, what an answer of endive confirms."""

    async def play(case: Case) -> None:
        stage, sandbox, harness = case.stage, case.sandbox, case.harness
        subscription = stage.subscribe(stage.customer(), stage.plan())
        sandbox.advance(stage.past_payment(subscription))
        await case.deliver(sandbox.events, reads=False)
        shown = {
            table: await harness.fetch(f"select id, {names} from stripe.{table} order by id")
            for table, names in NORMAL_COLUMNS.items()
        }
        assert all(shown.values())
        await case.settle_and_compare()
        for table, names in NORMAL_COLUMNS.items():
            assert shown[table] == await harness.fetch(
                f"select id, {names} from stripe.{table} order by id"
            ), table

    await in_every_order(play, pool, database_url, versions=(OLDEST,))


async def test_a16_unknown_status(pool: Pool, database_url: str) -> None:
    """A16: an unknown status is past_due without access, with a problem, and the rest continues."""

    async def play(case: Case) -> None:
        stage, sandbox, harness = case.stage, case.sandbox, case.harness
        subscription = stage.subscribe(stage.customer(), stage.plan())
        sandbox.advance(1 * DAY)
        stage.account.subscriptions.set_status(subscription, "hibernating")
        await case.deliver(sandbox.events)
        await case.settle_and_compare()
        (record,) = await harness.fetch("select status, has_access from billing.customers")
        assert ("past_due", False) == tuple(record)
        kinds = await harness.fetch("select kind, object_id from sync.problems")
        assert [("status_unknown", subscription.id)] == [tuple(row) for row in kinds]

    await in_every_order(play, pool, database_url)


async def test_a17_late_update_of_a_deleted_customer(pool: Pool, database_url: str) -> None:
    """A17, I5: a customer.updated after customer.deleted revives no customer: ended, the money kept."""

    async def play(case: Case) -> None:
        stage, sandbox, harness = case.stage, case.sandbox, case.harness
        ada = stage.customer()
        stage.subscribe(ada, stage.plan())
        sandbox.advance(2 * DAY)
        # A change that no column shows: of a deleted customer nothing can be read any more.
        stage.account.clients.set_payment_method(ada, "needs_3ds")
        update = of_type(sandbox.events, "customer.updated")[-1]
        sandbox.advance(1 * HOUR)
        stage.account.clients.delete(ada)
        rest = [each for each in sandbox.events if each is not update]
        await case.deliver([*rest, stamped(update, sandbox.now + 60)])
        await case.settle_and_compare()
        (record,) = await harness.fetch(
            "select status, has_access, lifetime_revenue, deleted_at is not null from billing.customers"
        )
        assert ("ended", False, 2000, True) == tuple(record)

    await in_every_order(play, pool, database_url)


async def test_a18_customer_deleted_and_nothing_else_heard(pool: Pool, database_url: str) -> None:
    """A18: customer.deleted came, and none of the subscriptions' own events: every one of them is ended."""

    async def play(case: Case) -> None:
        stage, sandbox, harness = case.stage, case.sandbox, case.harness
        ada = stage.customer()
        for _ in range(2):
            stage.subscribe(ada, stage.plan())
        sandbox.advance(2 * DAY)
        before = len(sandbox.events)
        stage.account.clients.delete(ada)
        told = of_type(sandbox.events[before:], "customer.deleted")
        await case.deliver([*sandbox.events[:before], *told])
        await harness.settle()
        (record,) = await harness.fetch("select status, has_access, lifetime_revenue from billing.customers")
        assert ("ended", False, 4000) == tuple(record)
        products = await harness.fetch("select status, has_access, ended_at from billing.customer_products")
        assert [("ended", False, sandbox.now)] * 2 == [
            (row["status"], row["has_access"], row["ended_at"].timestamp()) for row in products
        ]

    await in_every_order(play, pool, database_url)


@pytest.mark.parametrize("story", ["renewal_fails_and_recovers", "captured_in_part", "many_items"])
async def test_a20_derived_twice(pool: Pool, database_url: str, story: str) -> None:
    """A20, I6: in every order of delivery the records equal the truth, and derived again twice change in no column."""

    async def play(case: Case) -> None:
        harness = case.harness
        case.sandbox.play(story)
        await case.deliver(case.sandbox.run())
        await case.settle_and_compare()
        tables = ("customers", "customer_products", "customer_revenue", "status_changes")
        before = [await harness.fetch(f"select * from billing.{name} t order by t::text") for name in tables]
        for _ in range(2):
            await harness.execute("update sync.customers set stale = stale + 1, stale_since = now()")
            assert await harness.engine.derive()
        after = [await harness.fetch(f"select * from billing.{name} t order by t::text") for name in tables]
        assert before == after

    await in_every_order(play, pool, database_url)
