"""Absence is not evidence: a 404, a short list or a refused key takes nothing away from a record."""

import pytest

from db.sync.status import select_backlog
from tests.worker.harness import (
    NOON,
    Body,
    Room,
    charge,
    customer,
    error,
    event,
    item,
    listing,
    refund,
    subscription,
)


async def known_customer(room: Room) -> None:
    """A customer with an active subscription, both read: exact."""
    room.api.put(customer(), subscription())
    await room.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await room.settle()
    assert (await room.record())["exact"]


async def test_404_on_a_known_object(room: Room) -> None:
    """I8: a 404 on an object that is known leaves its row as it is: missing, not exact, looked for again later."""
    await known_customer(room)
    del room.api.bodies["/v1/subscriptions/sub_1"]
    await room.apply(event("customer.subscription.updated", subscription(), after=60))
    await room.confirm()
    known = await room.object("subscription", "sub_1")
    assert known["missing_since"] is not None
    assert not known["tombstone"]
    seconds = (known["read_at"] - known["missing_since"]).total_seconds()
    assert 3600 == pytest.approx(seconds, abs=5), "it is re-read later, and not at once"
    record = await room.record()
    assert ("active", True, False) == (record["status"], record["has_access"], record["exact"])
    async with room.pool.acquire() as connection:
        counted = await select_backlog(connection, live_mode=False)
    assert (1, 0) == (counted.missing_objects, counted.unconfirmed_objects)
    room.api.put(subscription())
    await room.execute("update sync.objects set read_at = now() where id = 'sub_1'")
    await room.engine.confirm(linger=False)
    assert (await room.object("subscription", "sub_1"))["missing_since"] is None
    assert (await room.record())["exact"]


async def test_object_that_is_too_young_to_be_seen(room: Room) -> None:
    """I8, A14: 404 for an object one second after its event says that it is young; the next answer counts."""
    room.api.put(customer(), subscription())
    room.api.say("/v1/subscriptions/sub_1", 404, error("resource_missing", "No such subscription"))
    await room.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await room.confirm()
    known = await room.object("subscription", "sub_1")
    assert (None, True) == (known["missing_since"], known["read_at"] is not None)
    assert "active" == (await room.record())["status"]
    await room.settle()
    record = await room.record()
    assert ("active", True) == (record["status"], record["exact"])


async def test_object_that_never_appears(room: Room) -> None:
    """I8: an object that stays unseen through all early tries is missing then: not exact, and nothing is ended."""
    room.api.put(customer())
    await room.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await room.confirm(times=5)
    assert (await room.object("subscription", "sub_1"))["missing_since"] is not None
    record = await room.record()
    assert ("active", False) == (record["status"], record["exact"])


async def test_deleted_event_and_404_are_a_deletion(room: Room) -> None:
    """I8: customer.deleted and a 404 together prove it: a tombstone, which keeps the last full body and is exact."""
    await known_customer(room)
    del room.api.bodies["/v1/customers/cus_1"]
    room.api.put(subscription(status="canceled", ended_at=NOON + 60))
    await room.apply(event("customer.deleted", customer(), after=60))
    await room.settle()
    known = await room.object("customer", "cus_1")
    assert (True, None) == (known["tombstone"], known["missing_since"])
    record = await room.record()
    assert ("ended", False, True) == (record["status"], record["has_access"], record["exact"])
    assert NOON + 60 == record["deleted_at"].timestamp()
    assert '"created"' in await room.fetchval("select raw from stripe.customers")


async def test_404_alone_is_no_deletion_of_a_customer(room: Room) -> None:
    """I8: without a customer.deleted a 404 for a customer proves nothing."""
    await known_customer(room)
    del room.api.bodies["/v1/customers/cus_1"]
    await room.apply(event("customer.updated", customer(), after=60))
    await room.confirm()
    record = await room.record()
    assert ("active", None, False) == (record["status"], record["deleted_at"], record["exact"])


async def test_deleted_body_is_a_deletion(room: Room) -> None:
    """I8: a body that says deleted: true is believed without any event."""
    await known_customer(room)
    room.api.put({"object": "customer", "id": "cus_1", "deleted": True})
    await room.apply(event("customer.updated", customer(), after=60))
    await room.settle()
    assert (await room.object("customer", "cus_1"))["tombstone"]
    record = await room.record()
    assert ("ended", False) == (record["status"], record["has_access"])
    assert record["deleted_at"] is not None


async def test_subscription_deleted_is_no_deletion_of_the_object(room: Room) -> None:
    """I8: customer.subscription.deleted is a change of status; with a 404 the row stays, ended, and is not buried."""
    await known_customer(room)
    del room.api.bodies["/v1/subscriptions/sub_1"]
    ended = subscription(status="canceled", ended_at=NOON + 60)
    await room.apply(event("customer.subscription.deleted", ended, after=60))
    await room.confirm()
    known = await room.object("subscription", "sub_1")
    assert (False, True) == (known["tombstone"], known["missing_since"] is not None)
    assert ("ended", False) == ((await room.record())["status"], (await room.record())["exact"])


async def test_list_that_comes_back_short(room: Room) -> None:
    """I8: a list without what we know to be in it, here a charge's refunds, removes nothing."""
    room.api.put(customer(), charge(amount_refunded=500), refund())
    room.api.put(charge(amount_refunded=500) | {"refunds": listing([refund()])})
    await room.apply(
        event("customer.created", customer()),
        event("charge.refunded", charge(amount_refunded=500)),
        event("refund.created", refund()),
    )
    await room.settle()
    assert 500 == await room.fetchval("select refunded from billing.customer_revenue")
    room.api.put(charge(amount_refunded=500) | {"refunds": listing([])})
    await room.apply(event("charge.updated", charge(amount_refunded=500), after=60))
    await room.settle()
    assert 500 == await room.fetchval("select refunded from billing.customer_revenue")
    assert 1 == await room.fetchval("select count(*) from stripe.refunds")


async def test_nested_list_that_fails_halfway(room: Room) -> None:
    """I8: a subscription whose further items cannot be read is not stored with the first page alone."""
    pages = subscription(
        items=listing([item("si_1")], has_more=True, url="/v1/subscription_items?subscription=sub_1")
    )
    whole = subscription(items=listing([item("si_1"), item("si_2")]))
    room.api.put(customer(), pages)
    room.api.bodies["/v1/products/prod_1"] = {"object": "product", "id": "prod_1", "metadata": {}}
    room.api.bodies["/v1/prices/price_1"] = item("si_1")["price"]
    await room.apply(event("customer.created", customer()), event("customer.subscription.created", whole))
    room.api.say("/v1/subscription_items", 500, error("api_error", "Try again"))
    await room.confirm()
    assert 2 == await room.fetchval("select count(*) from stripe.subscription_items")
    assert not (await room.record())["exact"]
    room.api.bodies["/v1/subscription_items"] = listing([item("si_2"), item("si_3")])
    await room.settle()
    items = await room.fetch("select id from stripe.subscription_items order by position")
    assert ["si_1", "si_2", "si_3"] == [row["id"] for row in items]
    assert (await room.record())["exact"]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_refused_or_failed_reads_change_nothing(room: Room, status: int) -> None:
    """I8: a read that Stripe refuses or fails leaves the record as it was, inexact, and is tried again."""
    await known_customer(room)
    await room.apply(event("customer.subscription.updated", subscription(), after=60))
    room.api.say("/v1/subscriptions/sub_1", status, error("some_code", "Not now"))
    await room.confirm()
    known = await room.object("subscription", "sub_1")
    assert (None, None, True) == (known["missing_since"], known["parked_at"], known["read_at"] is not None)
    assert str(status) in known["error"]
    record = await room.record()
    assert ("active", False) == (record["status"], record["exact"])
    await room.settle()
    assert (await room.record())["exact"]


def coupon(percent: float) -> Body:
    """A coupon whose id somebody chose."""
    return {
        "object": "coupon",
        "id": "WELCOME",
        "created": NOON,
        "duration": "forever",
        "percent_off": percent,
        "valid": True,
        "metadata": {},
    }


COUPON = "select percent_off::float, deleted_at is null as alive from stripe.coupons"


@pytest.fixture
async def deleted_coupon(room: Room) -> Room:
    """A coupon that was read, and has been deleted."""
    room.api.put(coupon(20.0))
    await room.apply(event("coupon.created", coupon(20.0)))
    await room.confirm()
    del room.api.bodies["/v1/coupons/WELCOME"]
    await room.apply(event("coupon.deleted", coupon(20.0), after=60))
    await room.confirm()
    assert (await room.object("coupon", "WELCOME"))["tombstone"]
    return room


@pytest.mark.parametrize("after", [60, 90])
async def test_id_that_is_chosen_again(deleted_coupon: Room, after: int) -> None:
    """Stripe lets people choose the ids of coupons, and choose one again after a deletion: it is read, and alive."""
    room = deleted_coupon
    room.api.put(coupon(50.0))
    await room.apply(event("coupon.created", coupon(50.0), after=after))
    await room.confirm()
    assert not (await room.object("coupon", "WELCOME"))["tombstone"]
    assert [(50.0, True)] == [tuple(row) for row in await room.fetch(COUPON)]
    await room.apply(event("coupon.deleted", coupon(20.0), after=60), event("coupon.created", coupon(20.0)))
    await room.confirm()
    assert [(50.0, True)] == [tuple(row) for row in await room.fetch(COUPON)], "late events of the first one"
    del room.api.bodies["/v1/coupons/WELCOME"]
    await room.apply(event("coupon.deleted", coupon(50.0), after=600))
    await room.settle()
    assert (await room.object("coupon", "WELCOME"))["tombstone"]
    deleted_at = await room.fetchval("select deleted_at from stripe.coupons")
    assert NOON + 600 == deleted_at.timestamp()


async def test_deletion_and_choice_in_any_order(deleted_coupon: Room) -> None:
    """The first one's creation, come again, brings nothing back; nor does the second one's once that is deleted."""
    room = deleted_coupon
    await room.apply(event("coupon.created", coupon(20.0), after=1))
    assert (await room.object("coupon", "WELCOME"))["tombstone"]
    await room.apply(
        event("coupon.deleted", coupon(50.0), after=600), event("coupon.created", coupon(50.0), after=90)
    )
    await room.settle()
    known = await room.object("coupon", "WELCOME")
    assert (True, None) == (known["tombstone"], known["missing_since"])
    assert not await room.fetchval(COUPON.replace("percent_off::float, ", ""))
