"""Two witnesses: a read that differs from the newest payload, soon after its event, is not believed yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from billing.kinds.parse import parse_object
from db.keys import Key
from db.sync.objects import LATE_MAX, draw_tick
from runtime.budget import Budget
from tests.harness import (
    NOON,
    Body,
    Harness,
    charge,
    customer,
    event,
    item,
    listing,
    open_lanes,
    refund,
    subscription,
)
from worker.engine import Engine
from worker.live.answers import Answered
from worker.live.fence import ask_again, store_answers

SUBSCRIPTION = "/v1/subscriptions/sub_1"
PAST_DUE = subscription(status="past_due")


async def settled(harness: Harness) -> None:
    """A customer with an active subscription, known from the start and exact, of whom Stripe said so at noon."""
    harness.api.now = NOON + 60
    harness.api.put(customer(), subscription())
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.settle()
    assert ("active", True) == await told(harness)


async def told(harness: Harness) -> tuple[str, bool]:
    record = await harness.record()
    return record["status"], record["exact"]


async def clock(harness: Harness) -> datetime:
    """What time it is for Postgres."""
    moment: datetime = await harness.fetchval("select clock_timestamp()")
    return moment


async def waits(harness: Harness, seconds: int, *, since: datetime) -> bool:
    """Whether the subscription is to be read so many seconds after a moment between `since` and now: how much time has
    passed between them depends on the machine.
    """
    return bool(
        await harness.fetchval(
            "select read_at between $1::timestamptz + $2::interval and clock_timestamp() + $2::interval "
            "from sync.objects where kind = 'subscription' and id = 'sub_1'",
            since,
            timedelta(seconds=seconds),
        )
    )


async def test_late_read_never_becomes_exact(harness: Harness) -> None:
    """I3: a GET that still answers the old state 1.5 s after the event is not stored. It is asked for again after
    2, 5, 10 and 20 s; the first that agrees with the payload is believed.
    """
    await settled(harness)
    await harness.apply(event("customer.subscription.updated", PAST_DUE, after=60))
    for seconds, wait in ((61, 2), (63, 5), (68, 10), (78, 20)):
        harness.api.now = NOON + seconds
        began = await clock(harness)
        await harness.confirm()
        assert ("past_due", False) == await told(harness)
        assert await waits(harness, wait, since=began)
    harness.api.put(PAST_DUE)
    await harness.confirm()
    assert ("past_due", True) == await told(harness)
    held = await harness.object("subscription", "sub_1")
    assert (0, None) == (held["doubts"], held["doubted_at"])


async def test_payload_that_nobody_understands_is_a_witness_too(harness: Harness) -> None:
    """I3: an event says that an object has changed, in a shape that nobody understands. A late read that knows nothing
    of the change is not believed for that, nor is an older payload that was understood a measure.
    """
    await settled(harness)
    odd = PAST_DUE | {"status": {"now": "past_due"}}
    await harness.apply(event("customer.subscription.updated", odd, after=100))
    harness.api.now = NOON + 101
    await harness.confirm()
    assert ("active", False) == await told(harness)
    harness.api.put(PAST_DUE)
    await harness.confirm()
    assert ("past_due", True) == await told(harness)
    canceled = PAST_DUE | {"status": "canceled", "canceled_at": NOON + 142, "ended_at": NOON + 142}
    await harness.apply(
        event("customer.subscription.updated", PAST_DUE | {"cancel_at_period_end": True}, after=140),
        event("customer.subscription.deleted", canceled | {"status": {"now": "canceled"}}, after=142),
    )
    harness.api.put(canceled)
    harness.api.now = NOON + 144
    await harness.confirm(times=2)
    assert ("ended", True) == await told(harness)


async def test_date_ahead_of_our_clock(harness: Harness) -> None:
    """I3: something between us and Stripe writes a Date that is half a minute ahead. A late read does not count for it
    as one that began long after the event.
    """
    await settled(harness)
    await harness.apply(event("customer.subscription.updated", PAST_DUE, after=60))
    harness.api.now = NOON + 60 + 2 + int(LATE_MAX.total_seconds())
    ours = datetime.fromtimestamp(NOON + 61, UTC)
    async with open_lanes(harness.settings, Budget(places_max=32), now=lambda: ours) as lanes:
        await harness.make_due()
        await Engine(pool=harness.pool, lanes=lanes, settings=harness.settings).confirm(linger=False)
    assert ("past_due", False) == await told(harness)


async def test_read_that_no_replica_can_be_late_for_is_believed(harness: Harness) -> None:
    """I3: a read that began 30 s after the event decides, whatever the payload said."""
    await settled(harness)
    await harness.apply(event("customer.subscription.updated", PAST_DUE, after=60))
    harness.api.now = NOON + 60 + 29
    await harness.confirm()
    assert ("past_due", False) == await told(harness)
    harness.api.now = NOON + 60 + 30
    await harness.confirm()
    assert ("active", True) == await told(harness)


async def test_event_of_the_future_wedges_nothing(harness: Harness) -> None:
    """I7: where clocks disagree by a year, a read that differs is believed once it was doubted for 30 s of ours."""
    await settled(harness)
    await harness.apply(event("customer.subscription.updated", PAST_DUE, after=365 * 86_400))
    for _ in range(4):
        await harness.confirm()
        assert ("past_due", False) == await told(harness)
    await harness.confirm()
    assert ("active", True) == await told(harness)


async def test_newer_payload_begins_anew(harness: Harness) -> None:
    """A doubt concerns one payload: the read that the next event asks for is compared with that event's."""
    await settled(harness)
    await harness.apply(event("customer.subscription.updated", PAST_DUE, after=60))
    await harness.confirm(times=3)
    await harness.apply(event("customer.subscription.updated", subscription(metadata={"a": "b"}), after=62))
    held = await harness.object("subscription", "sub_1")
    assert (0, None) == (held["doubts"], held["doubted_at"])
    asked = len(harness.api.asked)
    harness.api.put(subscription(metadata={"a": "b"}))
    await harness.confirm()
    assert ("active", True) == await told(harness)
    assert 1 == len(harness.api.asked) - asked


async def test_payload_that_is_not_shown_is_a_witness(harness: Harness) -> None:
    """I3: an event that happened before a read, and came after it, is not shown; a read that still differs from it is
    not believed, and the row stays as it is.
    """
    await settled(harness)
    await harness.apply(event("customer.subscription.updated", PAST_DUE, after=50))
    await harness.confirm()
    assert ("active", False) == await told(harness)
    harness.api.put(PAST_DUE)
    await harness.confirm()
    assert ("past_due", True) == await told(harness)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a payload and a read of one object say, and whether the read is believed."""

    payload: Body
    read: Body
    believed: bool
    version: str = "2026-10-28.endive"


def items(*data: Body, has_more: bool = False) -> Body:
    return listing(list(data), has_more=has_more, url="/v1/subscription_items?subscription=sub_1")


COUPON = {"object": "coupon", "id": "half", "percent_off": 50, "duration": "forever", "valid": True}
DISCOUNT = {"object": "discount", "id": "di_1", "source": {"type": "coupon", "coupon": COUPON}, "start": NOON}

INVOICE = {
    "object": "invoice",
    "id": "in_1",
    "customer": "cus_1",
    "created": NOON,
    "status": "paid",
    "billing_reason": "subscription_update",
    "period_end": NOON,
    "subscription": "sub_1",
    "lines": listing([{"id": "il_1", "period": {"end": NOON}}], has_more=True),
}
ALL_LINES = {"lines": listing([{"id": f"il_{n}", "period": {"end": NOON + n}} for n in (0, 9)])}

CASES: Mapping[str, Case] = {
    "the same": Case(payload=subscription(), read=subscription(), believed=True),
    "another status": Case(payload=PAST_DUE, read=subscription(), believed=False),
    "a cancellation that was taken back": Case(
        payload=subscription(cancel_at=None), read=subscription(cancel_at=NOON + 9), believed=False
    ),
    "the same of an older version": Case(
        payload=subscription(cancel_at=None),
        read=subscription(cancel_at=NOON + 9),
        believed=False,
        version="2020-08-27",
    ),
    "what an older version does not say": Case(
        payload=subscription(),
        read=subscription(billing_mode={"type": "flexible"}),
        believed=True,
        version="2020-08-27",
    ),
    "what ours says": Case(
        payload=subscription(), read=subscription(billing_mode={"type": "flexible"}), believed=False
    ),
    "a discount by its id, and whole": Case(
        payload=subscription(discounts=["di_1"]), read=subscription(discounts=[DISCOUNT]), believed=True
    ),
    "another discount": Case(
        payload=subscription(discounts=["di_2"]), read=subscription(discounts=[DISCOUNT]), believed=False
    ),
    "no discount any more": Case(
        payload=subscription(discounts=[]), read=subscription(discounts=[DISCOUNT]), believed=False
    ),
    "the same item": Case(
        payload=subscription(items=items(item("si_1"))),
        read=subscription(items=items(item("si_1"))),
        believed=True,
    ),
    "another quantity": Case(
        payload=subscription(items=items(item("si_1", quantity=2))),
        read=subscription(items=items(item("si_1"))),
        believed=False,
    ),
    "an item more": Case(
        payload=subscription(items=items(item("si_1"))),
        read=subscription(items=items(item("si_1"), item("si_2"))),
        believed=False,
    ),
    "an item less": Case(
        payload=subscription(items=items(item("si_1"), item("si_2"))),
        read=subscription(items=items(item("si_1"))),
        believed=False,
    ),
    "the rest of a list that was cut": Case(
        payload=subscription(items=items(item("si_1"), has_more=True)),
        read=subscription(items=items(item("si_1"), item("si_2"))),
        believed=True,
    ),
    "an item of a list that was cut": Case(
        payload=subscription(items=items(item("si_1", quantity=2), has_more=True)),
        read=subscription(items=items(item("si_1"), item("si_2"))),
        believed=False,
    ),
    "the rest of an invoice's lines": Case(payload=INVOICE, read=INVOICE | ALL_LINES, believed=True),
    "an invoice with such lines": Case(
        payload=INVOICE, read=INVOICE | ALL_LINES | {"status": "open"}, believed=False
    ),
    "what changes without events": Case(
        payload=COUPON | {"times_redeemed": 1}, read=COUPON | {"times_redeemed": 2}, believed=True
    ),
    "what only a read states": Case(
        payload=COUPON, read=COUPON | {"applies_to": {"products": ["prod_1"]}}, believed=True
    ),
    "a deletion that no event told": Case(
        payload=customer(), read={"object": "customer", "id": "cus_1", "deleted": True}, believed=True
    ),
    "a deletion of an id that was chosen again": Case(
        payload=COUPON, read={"object": "coupon", "id": "half", "deleted": True}, believed=False
    ),
    "a step that is never taken back": Case(
        payload=subscription(), read=subscription(status="canceled", ended_at=NOON), believed=True
    ),
    "money that was captured": Case(
        payload=charge(captured=False, amount_captured=0), read=charge(), believed=True
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_is_compared(harness: Harness, name: str) -> None:
    """I3: only what both tell is compared, and all of that."""
    case = CASES[name]
    kind = case.payload["object"]
    event_type = f"customer.{kind}.updated" if kind == "subscription" else f"{kind}.updated"
    await harness.apply(event(event_type, case.payload, api_version=case.version))
    key = Key("", False, kind, case.payload["id"])
    assert case.believed == (await stored(harness, case.read, key=key))


async def stored(harness: Harness, body: Body, *, key: Key, after: int = 2) -> bool:
    """Whether a read of now, answered `after` seconds after noon, is stored."""
    async with harness.pool.acquire() as connection:
        answer = Answered(
            key=key,
            tick=await draw_tick(connection),
            parsed=parse_object(body, asked=True),
            raw="{}",
            asked_at=datetime.fromtimestamp(NOON + after, UTC),
        )
        doubted = await store_answers(connection, [answer], source="backfill")
        await ask_again(connection, doubted)
    confirmed: bool = await harness.fetchval(
        "select confirmed = $1 from sync.objects where kind = $2 and id = $3", answer.tick, key.kind, key.id
    )
    assert confirmed == (key not in {failure.key for failure in doubted})
    return confirmed


async def test_deleted_stays_deleted_for_a_late_read(harness: Harness) -> None:
    """I5: a `*.deleted` event, and a GET that still answers with the object: it does not come back; neither if a change
    of the same second is delivered later.
    """
    await settled(harness)
    await harness.apply(
        event("customer.deleted", customer(), after=60), event("customer.updated", customer(), after=60)
    )
    await harness.confirm()
    assert (await harness.record())["deleted_at"] is not None
    assert "ended" == (await harness.record())["status"]
    harness.api.put({"object": "customer", "id": "cus_1", "deleted": True})
    await harness.confirm()
    assert (await harness.object("customer", "cus_1"))["tombstone"]


async def test_object_inside_a_late_read(harness: Harness) -> None:
    """I3: a refund inside a charge is judged as a read of its own would be; the charge itself agrees."""
    harness.api.put(customer(), charge())
    await harness.apply(event("charge.succeeded", charge()), event("refund.updated", refund(status="failed")))
    key = Key("", False, "charge", "ch_1")
    assert await stored(harness, charge(refunds=listing([refund(status="succeeded")])), key=key)
    held = await harness.object("refund", "re_1")
    assert (0, 1, True) == (held["confirmed"], held["doubts"], held["unsettled"])
    assert "failed" == await harness.fetchval("select status from stripe.refunds")


async def test_late_page_makes_nobody_wrong_or_exact(harness: Harness) -> None:
    """I3: a page whose row differs is not stored; the object is read by its id, and its customer is not exact
    meanwhile, although it was.
    """
    await settled(harness)
    await harness.apply(event("customer.subscription.updated", PAST_DUE, after=60))
    harness.api.put(PAST_DUE)
    await harness.confirm()
    assert ("past_due", True) == await told(harness)
    began = await clock(harness)
    assert not await stored(harness, subscription(), key=Key("", False, "subscription", "sub_1"), after=65)
    await harness.engine.derive()
    assert ("past_due", False) == await told(harness)
    assert await waits(harness, 2, since=began)
    await harness.confirm()
    assert ("past_due", True) == await told(harness)


async def test_late_page_of_what_names_no_customer(harness: Harness) -> None:
    """I3: the same of a refund, whose customer is found through its charge."""
    harness.api.now = NOON + 60
    harness.api.put(customer(), charge(), refund(status="failed"))
    await harness.apply(
        event("customer.created", customer()),
        event("charge.succeeded", charge()),
        event("refund.updated", refund(status="failed")),
    )
    await harness.settle()
    assert (await harness.record())["exact"]
    assert not await stored(harness, refund(), key=Key("", False, "refund", "re_1"))
    await harness.engine.derive()
    assert not (await harness.record())["exact"]
    await harness.settle()
    assert (await harness.record())["exact"]
    assert "failed" == await harness.fetchval("select status from stripe.refunds")


async def test_creation_is_the_first_of_its_second(harness: Harness) -> None:
    """I3: of one second, an update comes before the creation. The update's state is shown, and a late read of what was
    before agrees with the creation alone: it is not believed.
    """
    before = subscription(status="incomplete")
    harness.api.put(customer(), subscription(status="active"))
    await harness.apply(
        event("customer.created", customer()),
        event("customer.subscription.updated", subscription(status="active"), after=5),
        event("customer.subscription.created", before, after=5),
    )
    assert "active" == await harness.fetchval("select status from stripe.subscriptions")
    harness.api.now = NOON + 6
    harness.api.say("/v1/subscriptions/sub_1", 200, before)
    await harness.confirm()
    assert not (await harness.record())["exact"]
    await harness.settle()
    record = await harness.record()
    assert ("active", True) == (record["status"], record["exact"])


@pytest.mark.parametrize("together", [True, False])
async def test_two_events_of_one_second(harness: Harness, together: bool) -> None:
    """I3: two events of one second, in either order. A late read, which has missed the second one, is not believed,
    whichever came last; one that has seen both is believed at once if the events say which was the second.
    """
    first = {"status": "active", "metadata": {"a": "1"}}
    second = {"status": "past_due", "metadata": {"a": "2"}}
    swapped, says = [False, True], [{"status": "active", "metadata": {"a": "1"}}, None]
    for number, (swaps, previous) in enumerate((each, told) for each in swapped for told in says):
        name = f"sub_{number}"
        bodies = [subscription(name) | first, subscription(name) | second]
        data = [
            {"object": body} | ({} if before is None else {"previous_attributes": before})
            for body, before in zip(bodies, [previous and {"metadata": {"a": None}}, previous], strict=True)
        ]
        events = [
            event("customer.subscription.updated", body, data=each)
            for body, each in zip(bodies, data, strict=True)
        ]
        for each in reversed(events) if swaps else events:
            await (harness.receive(each) if together else harness.apply(each))
        await harness.engine.apply()
        key = Key("", False, "subscription", name)
        assert not await stored(harness, bodies[0], key=key), (swaps, previous)
        assert (previous is not None) == await stored(harness, bodies[1], key=key), (swaps, previous)
        assert await stored(harness, bodies[1], key=key, after=31), (swaps, previous)
