"""Kinds on which no record depends: shown by their payloads, never read because of an event, confirmed by lists."""

import itertools
import json
from datetime import UTC, datetime
from typing import Any

from billing.kinds.parse import parse_object
from billing.kinds.registry import KINDS
from db.keys import CustomerKey, Key
from db.sync.objects import draw_tick
from db.sync.scans import ScanRequest, request_scan
from db.sync.status import select_backlog
from tests.harness import NOON, Body, Harness, charge, customer, event, listing
from worker.forget import forget
from worker.live.answers import Answered
from worker.live.apply import apply_batch
from worker.live.fence import store_answers
from worker.live.pages import read_page

KEY = Key("", False, "payment_intent", "pi_1")


def intent(**fields: object) -> Body:
    """A payment intent that waits for its payment method."""
    return {
        "object": "payment_intent",
        "id": "pi_1",
        "customer": "cus_1",
        "created": NOON,
        "status": "requires_payment_method",
        "amount": 2000,
        "currency": "usd",
        "payment_method": "pm_unheard_of",
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
    } | fields


async def shown(harness: Harness) -> tuple[Any, ...]:
    (row,) = await harness.fetch("select status, amount, deleted_at from stripe.payment_intents")
    return tuple(row)


async def exact_customer(harness: Harness) -> None:
    """A customer with an exact record."""
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    assert (await harness.record())["exact"]


async def backfilled(
    harness: Harness,
    *bodies: Body,
    purpose: Any = "backfill",
    repair: bool = False,
    kind: str = "payment_intent",
) -> str:
    """Read the list of a kind, holding these; how the scan ended."""
    harness.api.now = NOON + 100  # long enough after every event for a page to be believed
    harness.api.bodies[KINDS[kind].list_path or ""] = listing(list(bodies))
    async with harness.pool.acquire() as connection:
        wanted = ScanRequest(purpose=purpose, kinds=(kind,), repair=repair)
        scan = await request_scan(connection, wanted, live_mode=False)
    for _ in range(20):
        await harness.execute("update sync.scans set due_at = now() where due_at > now()")
        await harness.engine.scan()
        await harness.confirm()
        (row,) = await harness.fetch("select status, finished_at from sync.scans where id = $1", scan.id)
        if row["finished_at"] is not None:
            return str(row["status"])
    raise AssertionError("the scan has not ended")


async def test_an_event_shows_and_asks_for_nothing(harness: Harness) -> None:
    """The payload is shown at once; nothing is read, no customer is stale or inexact, and no work is left."""
    await exact_customer(harness)
    before = await harness.record()
    asked = len(harness.api.asked)
    await harness.apply(event("payment_intent.created", intent(), after=1))
    assert ("requires_payment_method", 2000, None) == await shown(harness)
    fence = await harness.object(*KEY[2:])
    assert (None, False, 0) == (fence["read_at"], fence["unsettled"], fence["confirmed"])
    assert [] == await harness.left()
    async with harness.pool.acquire() as connection:
        backlog = await select_backlog(connection, live_mode=False)
    assert (True, 0, 0) == (backlog.settled, backlog.unconfirmed_objects, backlog.missing_objects)
    await harness.settle()
    assert asked == len(harness.api.asked)
    assert before == await harness.record()


async def test_events_of_what_nobody_knows_fetch_nothing(harness: Harness) -> None:
    """Neither the customer nor the payment method that it names is read, and no customer begins to exist."""
    await harness.apply(event("payment_intent.created", intent(), after=1))
    await harness.settle()
    assert not [path for path in harness.api.asked if path != "/v1/account"]
    assert [] == await harness.fetch("select * from sync.customers")
    assert ["payment_intent"] == [row[0] for row in await harness.fetch("select kind from sync.objects")]


async def test_the_newer_payload_stays(harness: Harness) -> None:
    """The provisional rule holds as for any object: an older event changes nothing, nor does one after the end."""
    await harness.apply(event("payment_intent.processing", intent(status="processing"), after=5))
    await harness.apply(event("payment_intent.created", intent(), after=1))
    assert "processing" == (await shown(harness))[0]
    await harness.apply(event("payment_intent.succeeded", intent(status="succeeded"), after=6))
    await harness.apply(event("payment_intent.processing", intent(status="processing"), after=9))
    assert "succeeded" == (await shown(harness))[0]


async def test_what_it_concerns_is_read(harness: Harness) -> None:
    """The charge that it names is one that records depend on: that is read as before."""
    await harness.apply(event("payment_intent.succeeded", intent(latest_charge="ch_1"), after=1))
    await harness.confirm()
    assert ["/v1/charges/ch_1"] == [path for path in harness.api.asked if "charges" in path]
    assert not [path for path in harness.api.asked if "payment_intents" in path]


async def test_a_payload_that_cannot_be_read_is_parked(harness: Harness) -> None:
    """No read would ever say what it was: an operator must see it."""
    await harness.apply(event("payment_intent.created", intent(amount="much"), event_id="evt_odd"))
    assert {"evt_odd": "parked"} == await harness.event_states()


async def test_a_list_confirms(harness: Harness) -> None:
    """What a backfill's page says is stored over what payloads have shown."""
    await harness.apply(event("payment_intent.created", intent(), after=1))
    assert "complete" == await backfilled(harness, intent(status="canceled", amount=1500))
    assert ("canceled", 1500, None) == await shown(harness)
    fence = await harness.object(*KEY[2:])
    assert (True, False, None) == (fence["confirmed"] > fence["told"], fence["unsettled"], fence["read_at"])


async def test_a_page_that_an_event_overtook_is_not_the_last_word(harness: Harness) -> None:
    """The event came after the page was asked for, so the page may be older: the object is read once by its id."""
    harness.api.now = NOON + 100
    harness.api.bodies["/v1/payment_intents"] = listing([intent()])
    async with harness.pool.acquire() as connection:
        page = await read_page(
            harness.lanes.bulk if harness.lanes else None,  # type: ignore[arg-type]
            KINDS["payment_intent"],
            account_id="",
            live_mode=False,
            low=datetime.fromtimestamp(NOON - 1, UTC),
            high=datetime.fromtimestamp(NOON + 1, UTC),
            after=None,
            after_created=None,
            tick=await draw_tick(connection),
        )
        harness.api.bodies["/v1/payment_intents/pi_1"] = intent(status="succeeded")
        await harness.apply(event("payment_intent.succeeded", intent(status="succeeded"), after=5))
        await store_answers(connection, list(page.answers), source="backfill", of_whole=True)
    assert (await harness.object(*KEY[2:]))["unsettled"], "no audit calls it different meanwhile"
    await harness.confirm()
    assert "succeeded" == (await shown(harness))[0]
    fence = await harness.object(*KEY[2:])
    assert (False, True) == (fence["unsettled"], fence["confirmed"] > fence["told"])


async def test_an_audit_brings_up_to_date(harness: Harness) -> None:
    """Changes that no event announces are stored from the audit's list, new objects too, and are no drift."""
    await exact_customer(harness)
    await harness.apply(event("payment_intent.created", intent(), after=1))
    now = [intent(status="canceled"), intent(id="pi_2", amount=700)]
    assert "complete" == await backfilled(harness, *now, purpose="audit")
    rows = await harness.fetch("select id, status, amount from stripe.payment_intents order by id")
    assert [("pi_1", "canceled", 2000), ("pi_2", "requires_payment_method", 700)] == [
        tuple(row) for row in rows
    ]
    assert [] == await harness.fetch("select * from sync.drift")
    assert not [path for path in harness.api.asked if path.startswith("/v1/payment_intents/")]
    await harness.engine.derive()
    assert (await harness.record())["exact"]


async def test_one_that_stripe_does_not_know_costs_no_exactness(harness: Harness) -> None:
    """A repair that meets a 404 leaves the row, and neither the customer nor /status is any worse for it."""
    await exact_customer(harness)
    await harness.apply(event("payment_intent.created", intent(), after=1))
    assert "complete" == await backfilled(harness, purpose="audit", repair=True)
    await harness.confirm()
    fence = await harness.object(*KEY[2:])
    assert fence["missing_since"] is not None
    assert ("requires_payment_method", 2000, None) == await shown(harness)
    await harness.engine.derive()
    assert (await harness.record())["exact"]
    async with harness.pool.acquire() as connection:
        backlog = await select_backlog(connection, live_mode=False)
    assert (0, 0, True) == (backlog.unconfirmed_objects, backlog.missing_objects, backlog.settled)


async def test_what_only_lists_tell_of_a_forgotten_customer(harness: Harness) -> None:
    """A balance transaction belongs to the customer of its charge: it is emptied with the customer, and no list that is
    read later brings it back or adds another of that customer's.
    """
    await exact_customer(harness)
    await harness.apply(event("charge.succeeded", charge()))
    moved: Body = {
        "object": "balance_transaction",
        "id": "txn_1",
        "amount": 2000,
        "fee": 88,
        "net": 1912,
        "currency": "usd",
        "created": NOON,
        "description": "for Anna",
        "source": "ch_1",
    }
    assert "complete" == await backfilled(harness, moved, kind="balance_transaction")
    async with harness.pool.acquire() as connection:
        await forget(connection, CustomerKey("", False, "cus_1"))
    assert "complete" == await backfilled(
        harness, moved, {**moved, "id": "txn_2"}, kind="balance_transaction"
    )
    rows = await harness.fetch(
        "select id, net, description, raw from stripe.balance_transactions order by id"
    )
    assert [("txn_1", 1912, None, None)] == [tuple(row) for row in rows]


async def test_what_changes_without_an_event_is_no_drift(harness: Harness) -> None:
    """How often a coupon was redeemed: an audit brings it up to date, counts nothing, and derives no customer again."""
    coupon: Body = {"object": "coupon", "id": "co_1", "created": NOON, "livemode": False, "percent_off": 25,
        "times_redeemed": 1, "valid": True, "metadata": {}}  # fmt: skip
    harness.api.put(coupon | {"applies_to": None})
    await harness.apply(event("coupon.created", coupon))
    await harness.settle()
    later = coupon | {"times_redeemed": 9, "valid": False, "applies_to": None}
    assert "complete" == await backfilled(harness, later, kind="coupon", purpose="audit")
    assert [] == await harness.fetch("select * from sync.drift")
    (row,) = await harness.fetch("select times_redeemed, valid from stripe.coupons")
    assert (9, False) == tuple(row)
    assert 0 == await harness.fetchval("select count(*) from sync.objects where touched > resolved")
    # What it takes off is another matter.
    assert "complete" == await backfilled(
        harness, later | {"percent_off": 50}, kind="coupon", purpose="audit"
    )
    harness.api.put(later | {"percent_off": 50})
    assert "complete" == await backfilled(
        harness, later | {"percent_off": 50}, kind="coupon", purpose="audit"
    )
    (drift,) = await harness.fetch("select kind, id, fields from sync.drift")
    assert ("coupon", "co_1", ["percent_off"]) == tuple(drift)


async def test_payment_methods_are_one_list(harness: Harness) -> None:
    """Their list takes no `created`; what it lacks may have been detached, and is not even asked for by an audit."""
    method: Body = {
        "object": "payment_method",
        "id": "pm_1",
        "customer": None,
        "created": NOON,
        "type": "card",
    }
    await harness.apply(event("payment_method.detached", method))
    other = {**method, "id": "pm_2", "customer": "cus_1"}
    assert "complete" == await backfilled(harness, other, kind="payment_method")
    assert "complete" == await backfilled(harness, other, kind="payment_method", purpose="audit")
    assert [] == await harness.fetch("select * from sync.drift")
    rows = await harness.fetch("select id from stripe.payment_methods order by id")
    assert ["pm_1", "pm_2"] == [row[0] for row in rows]
    assert {"/v1/account", "/v1/payment_methods"} == set(harness.api.asked)


async def test_a_deleted_plan_stays_deleted(harness: Harness) -> None:
    """Its event alone says so, and no late event takes that back."""
    plan: Body = {"object": "plan", "id": "price_1", "created": NOON, "amount": 2550, "metadata": {}}
    await harness.apply(event("plan.created", plan, after=1))
    await harness.apply(event("plan.deleted", plan | {"deleted": True}, after=9))
    await harness.apply(event("plan.updated", plan, after=5))
    await harness.settle()
    (row,) = await harness.fetch("select amount, deleted_at from stripe.plans")
    assert (2550, datetime.fromtimestamp(NOON + 9, UTC)) == tuple(row)
    assert not [path for path in harness.api.asked if "plans" in path]


EACH_SECONDS = 40
"""Between two steps: longer than a page may be late, so that it is believed."""
STEPS = ("first change", "second change", "ask A", "ask B", "store A", "store B")


def orders() -> list[tuple[str, ...]]:
    """Every order in which two changes and two readings of the list can meet."""

    def possible(order: tuple[str, ...]) -> bool:
        return all(
            order.index(before) < order.index(after)
            for before, after in (STEPS[:2], ("ask A", "store A"), ("ask B", "store B"), ("ask A", "ask B"))
        )

    return [order for order in itertools.permutations(STEPS) if possible(order)]


async def test_every_order_of_two_changes_and_two_lists(harness: Harness) -> None:
    """Each change is announced by its event when it happens. Whatever is read and stored when, the final state is
    the last change, nothing waits for a read, and nothing is read: a page that an event has overtaken differs from
    that event's payload, and is not believed.
    """
    every = orders()
    assert 45 == len(every)
    harness.api.now = NOON + EACH_SECONDS * 10
    async with harness.pool.acquire() as connection:
        for number, order in enumerate(every):
            object_id, version, pages = f"pi_{number}", 0, {}
            await harness.apply(event("payment_intent.created", intent(id=object_id, amount=0), after=0))
            for moment, step in enumerate(order, start=1):
                if step.endswith("change"):
                    version += 1
                    await harness.receive(
                        event(
                            "payment_intent.processing",
                            intent(id=object_id, amount=version),
                            after=EACH_SECONDS * moment,
                        )
                    )
                    await apply_batch(connection, served_mode=False, confirms=True)
                elif step.startswith("ask"):
                    pages[step[-1]] = answered(
                        intent(id=object_id, amount=version),
                        tick=await draw_tick(connection),
                        at=EACH_SECONDS * moment,
                    )
                else:
                    await store_answers(connection, [pages[step[-1]]], source="backfill", of_whole=True)
    await harness.confirm()
    rows = await harness.fetch("select id, amount from stripe.payment_intents where amount <> 2")
    assert [] == [(every[int(row[0].removeprefix("pi_"))], row[1]) for row in rows]
    assert 0 == await harness.fetchval(
        "select count(*) from sync.objects where unsettled or read_at is not null"
    )
    assert not [path for path in harness.api.asked if "/pi_" in path]


def answered(body: Body, *, tick: int, at: int) -> Answered:
    """What a page that was asked for at this tick says of one object."""
    parsed = parse_object(body)
    return Answered(
        key=Key("", False, parsed.kind, parsed.id),
        tick=tick,
        parsed=parsed,
        raw=json.dumps(body),
        asked_at=datetime.fromtimestamp(NOON + at, UTC),
    )
