"""Absence is not evidence: a 404, a short list or a refused key takes nothing away from a record."""

import json

import pytest

from billing.kinds.registry import KINDS
from db.sync.status import select_backlog
from tests.harness import (
    NOON,
    Body,
    Harness,
    charge,
    customer,
    error,
    event,
    item,
    listing,
    refund,
    subscription,
)
from worker.live.pages import read_page


async def known_customer(harness: Harness) -> None:
    """A customer with an active subscription, both read: exact."""
    harness.api.put(customer(), subscription())
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.settle()
    assert (await harness.record())["exact"]


async def test_404_on_a_known_object(harness: Harness) -> None:
    """I8: a 404 on an object that is known leaves its row as it is: missing, not exact, looked for again later."""
    await known_customer(harness)
    del harness.api.bodies["/v1/subscriptions/sub_1"]
    await harness.apply(event("customer.subscription.updated", subscription(), after=60))
    await harness.confirm()
    known = await harness.object("subscription", "sub_1")
    assert known["missing_since"] is not None
    assert not known["tombstone"]
    seconds = (known["read_at"] - known["missing_since"]).total_seconds()
    assert 3600 == pytest.approx(seconds, abs=5), "it is re-read later, and not at once"
    record = await harness.record()
    assert ("active", True, False) == (record["status"], record["has_access"], record["exact"])
    async with harness.pool.acquire() as connection:
        counted = await select_backlog(connection, live_mode=False)
    assert (1, 0) == (counted.missing_objects, counted.unconfirmed_objects)
    harness.api.put(subscription())
    await harness.execute("update sync.objects set read_at = now() where id = 'sub_1'")
    await harness.engine.confirm(linger=False)
    assert (await harness.object("subscription", "sub_1"))["missing_since"] is None
    assert (await harness.record())["exact"]


async def test_object_that_is_too_young_to_be_seen(harness: Harness) -> None:
    """I8, A14: 404 for an object one second after its event says that it is young; the next answer counts."""
    harness.api.put(customer(), subscription())
    harness.api.say("/v1/subscriptions/sub_1", 404, error("resource_missing", "No such subscription"))
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.confirm()
    known = await harness.object("subscription", "sub_1")
    assert (None, True) == (known["missing_since"], known["read_at"] is not None)
    assert "active" == (await harness.record())["status"]
    await harness.settle()
    record = await harness.record()
    assert ("active", True) == (record["status"], record["exact"])


async def test_object_that_never_appears(harness: Harness) -> None:
    """I8: an object that stays unseen through all early tries is missing then: not exact, and nothing is ended."""
    harness.api.put(customer())
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.confirm(times=5)
    assert (await harness.object("subscription", "sub_1"))["missing_since"] is not None
    record = await harness.record()
    assert ("active", False) == (record["status"], record["exact"])


async def test_deleted_event_and_404_are_a_deletion(harness: Harness) -> None:
    """I8: customer.deleted and a 404 together prove it: a tombstone, which keeps the last full body and is exact."""
    await known_customer(harness)
    del harness.api.bodies["/v1/customers/cus_1"]
    harness.api.put(subscription(status="canceled", ended_at=NOON + 60))
    await harness.apply(event("customer.deleted", customer(), after=60))
    await harness.settle()
    known = await harness.object("customer", "cus_1")
    assert (True, None) == (known["tombstone"], known["missing_since"])
    record = await harness.record()
    assert ("ended", False, True) == (record["status"], record["has_access"], record["exact"])
    assert NOON + 60 == record["deleted_at"].timestamp()
    assert '"created"' in await harness.fetchval("select raw from stripe.customers")


async def test_404_alone_is_no_deletion_of_a_customer(harness: Harness) -> None:
    """I8: without a customer.deleted a 404 for a customer proves nothing."""
    await known_customer(harness)
    del harness.api.bodies["/v1/customers/cus_1"]
    await harness.apply(event("customer.updated", customer(), after=60))
    await harness.confirm()
    record = await harness.record()
    assert ("active", None, False) == (record["status"], record["deleted_at"], record["exact"])


async def test_deleted_body_is_a_deletion(harness: Harness) -> None:
    """I8: a body that says deleted: true is believed without any event."""
    await known_customer(harness)
    harness.api.put({"object": "customer", "id": "cus_1", "deleted": True})
    await harness.apply(event("customer.updated", customer(), after=60))
    await harness.settle()
    assert (await harness.object("customer", "cus_1"))["tombstone"]
    record = await harness.record()
    assert ("ended", False) == (record["status"], record["has_access"])
    assert record["deleted_at"] is not None


async def test_subscription_deleted_is_no_deletion_of_the_object(harness: Harness) -> None:
    """I8: customer.subscription.deleted is a change of status; with a 404 the row stays, ended, and is not buried."""
    await known_customer(harness)
    del harness.api.bodies["/v1/subscriptions/sub_1"]
    ended = subscription(status="canceled", ended_at=NOON + 60)
    await harness.apply(event("customer.subscription.deleted", ended, after=60))
    await harness.confirm()
    known = await harness.object("subscription", "sub_1")
    assert (False, True) == (known["tombstone"], known["missing_since"] is not None)
    assert ("ended", False) == ((await harness.record())["status"], (await harness.record())["exact"])


async def test_list_that_comes_back_short(harness: Harness) -> None:
    """I8: a list without what we know to be in it, here a charge's refunds, removes nothing."""
    harness.api.put(customer(), charge(amount_refunded=500), refund())
    harness.api.put(charge(amount_refunded=500) | {"refunds": listing([refund()])})
    await harness.apply(
        event("customer.created", customer()),
        event("charge.refunded", charge(amount_refunded=500)),
        event("refund.created", refund()),
    )
    await harness.settle()
    assert 500 == await harness.fetchval("select refunded from billing.customer_revenue")
    harness.api.put(charge(amount_refunded=500) | {"refunds": listing([])})
    await harness.apply(event("charge.updated", charge(amount_refunded=500), after=60))
    await harness.settle()
    assert 500 == await harness.fetchval("select refunded from billing.customer_revenue")
    assert 1 == await harness.fetchval("select count(*) from stripe.refunds")


async def test_nested_list_that_fails_halfway(harness: Harness) -> None:
    """I8: a subscription whose further items cannot be read is not stored with the first page alone."""
    pages = subscription(
        items=listing([item("si_1")], has_more=True, url="/v1/subscription_items?subscription=sub_1")
    )
    whole = subscription(items=listing([item("si_1"), item("si_2")]))
    harness.api.put(customer(), pages)
    harness.api.bodies["/v1/products/prod_1"] = {"object": "product", "id": "prod_1", "metadata": {}}
    harness.api.bodies["/v1/prices/price_1"] = item("si_1")["price"]
    await harness.apply(event("customer.created", customer()), event("customer.subscription.created", whole))
    harness.api.say("/v1/subscription_items", 500, error("api_error", "Try again"))
    await harness.confirm()
    assert 2 == await harness.fetchval("select count(*) from stripe.subscription_items")
    assert not (await harness.record())["exact"]
    harness.api.bodies["/v1/subscription_items"] = listing([item("si_2"), item("si_3")])
    await harness.settle()
    items = await harness.fetch("select id from stripe.subscription_items order by position")
    assert ["si_1", "si_2", "si_3"] == [row["id"] for row in items]
    assert (await harness.record())["exact"]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_refused_or_failed_reads_change_nothing(harness: Harness, status: int) -> None:
    """I8: a read that Stripe refuses or fails leaves the record as it was, inexact, and is tried again."""
    await known_customer(harness)
    await harness.apply(event("customer.subscription.updated", subscription(), after=60))
    harness.api.say("/v1/subscriptions/sub_1", status, error("some_code", "Not now"))
    await harness.confirm()
    known = await harness.object("subscription", "sub_1")
    assert (None, None, True) == (known["missing_since"], known["parked_at"], known["read_at"] is not None)
    assert str(status) in known["error"]
    record = await harness.record()
    assert ("active", False) == (record["status"], record["exact"])
    await harness.settle()
    assert (await harness.record())["exact"]


def coupon(percent: float) -> Body:
    """A coupon with an id that somebody chose."""
    return {
        "object": "coupon",
        "id": "WELCOME",
        "created": NOON,
        "duration": "forever",
        "percent_off": percent,
        "valid": True,
        "metadata": {},
    }


LOOK_AGAIN = "update sync.objects set read_at = now() where missing_since is not null"
COUPON = "select percent_off::float, deleted_at is null as alive from stripe.coupons"


@pytest.fixture
async def deleted_coupon(harness: Harness) -> Harness:
    """A coupon that was read, and has been deleted."""
    harness.api.put(coupon(20.0))
    await harness.apply(event("coupon.created", coupon(20.0)))
    await harness.confirm()
    del harness.api.bodies["/v1/coupons/WELCOME"]
    await harness.apply(event("coupon.deleted", coupon(20.0), after=60))
    await harness.confirm()
    assert (await harness.object("coupon", "WELCOME"))["tombstone"]
    return harness


@pytest.mark.parametrize("after", [60, 90])
async def test_id_that_is_chosen_again(deleted_coupon: Harness, after: int) -> None:
    """Stripe lets people choose the ids of coupons, and choose one again after a deletion: it is read, and alive."""
    harness = deleted_coupon
    harness.api.put(coupon(50.0))
    await harness.apply(event("coupon.created", coupon(50.0), after=after))
    await harness.confirm()
    assert not (await harness.object("coupon", "WELCOME"))["tombstone"]
    assert [(50.0, True)] == [tuple(row) for row in await harness.fetch(COUPON)]
    harness.api.now += 120
    await harness.apply(
        event("coupon.deleted", coupon(20.0), after=60), event("coupon.created", coupon(20.0))
    )
    await harness.confirm()
    assert [(50.0, True)] == [tuple(row) for row in await harness.fetch(COUPON)], (
        "late events of the first one"
    )
    del harness.api.bodies["/v1/coupons/WELCOME"]
    await harness.apply(event("coupon.deleted", coupon(50.0), after=600))
    await harness.settle()
    assert (await harness.object("coupon", "WELCOME"))["tombstone"]
    deleted_at = await harness.fetchval("select deleted_at from stripe.coupons")
    assert NOON + 600 == deleted_at.timestamp()


async def test_nested_list_of_several_pages(harness: Harness) -> None:
    """I8: the rest of a cut list is read to its end, however many pages that takes."""
    cut = subscription(
        items=listing([item("si_1")], has_more=True, url="/v1/subscription_items?subscription=sub_1")
    )
    harness.api.put(customer(), cut)
    harness.api.bodies["/v1/products/prod_1"] = {"object": "product", "id": "prod_1", "metadata": {}}
    harness.api.bodies["/v1/prices/price_1"] = item("si_1")["price"]
    for each, has_more in (("si_2", True), ("si_3", True), ("si_4", False)):
        harness.api.say("/v1/subscription_items", 200, listing([item(each)], has_more=has_more))
    await harness.apply(event("customer.created", customer()), event("customer.subscription.created", cut))
    await harness.settle()
    items = await harness.fetch("select id from stripe.subscription_items order by position")
    assert ["si_1", "si_2", "si_3", "si_4"] == [row[0] for row in items]


async def test_cut_lists_of_a_page(harness: Harness) -> None:
    """Of the objects of a page whose lists are cut, as many are read to their end as are allowed, and are kept as they
    then are; the others are left to reads by id.
    """
    assert harness.lanes is not None
    path = "/v1/subscription_items"
    names = ["sub_1", "sub_2", "sub_3"]
    harness.api.bodies["/v1/subscriptions"] = listing(
        [subscription(name, items=listing([item("si_1")], has_more=True, url=path)) for name in names]
    )
    harness.api.bodies[path] = listing([item("si_2")])
    page = await read_page(
        harness.lanes.bulk,
        KINDS["subscription"],
        account_id="",
        live_mode=False,
        tick=1,
        after=None,
        cut_lists_max=2,
    )
    assert ["sub_1", "sub_2"] == [each.key.id for each in page.answers]
    assert ["sub_3"] == [each.key.id for each in page.cut]
    assert 2 == harness.api.asked.count(path)
    for each in page.answers:
        kept = json.loads(each.raw)["items"]
        assert (["si_1", "si_2"], False) == ([of["id"] for of in kept["data"]], kept["has_more"])


@pytest.mark.parametrize("after", [60, 90])
async def test_id_that_was_chosen_again_is_not_deleted_twice(deleted_coupon: Harness, after: int) -> None:
    """I8: the first one's deletion is no proof against the second one, even of the same second: that a replica knows it
    not yet, or answers 404 later, deletes nothing.
    """
    harness = deleted_coupon
    missing = error("resource_missing", "No such coupon")
    second = coupon(50.0) | {"created": NOON + after}
    harness.api.put(second)
    harness.api.say("/v1/coupons/WELCOME", 404, missing)
    await harness.apply(event("coupon.created", second, after=after))
    await harness.confirm()
    assert not (await harness.object("coupon", "WELCOME"))["tombstone"]
    await harness.execute(LOOK_AGAIN)
    await harness.confirm()
    assert [(50.0, True)] == [tuple(row) for row in await harness.fetch(COUPON)]
    # The first one's events come again, late: its deletion is told anew, and a read finds the second one.
    harness.api.now += 120
    await harness.apply(event("coupon.deleted", coupon(20.0), after=60))
    await harness.settle()
    assert (await harness.object("coupon", "WELCOME"))["deleted_event_at"] is None
    harness.api.say("/v1/coupons/WELCOME", 404, missing)
    await harness.apply(event("coupon.updated", second, after=200))
    await harness.confirm()
    known = await harness.object("coupon", "WELCOME")
    assert (False, True) == (known["tombstone"], known["missing_since"] is not None)
    assert [(50.0, True)] == [tuple(row) for row in await harness.fetch(COUPON)]


async def test_deletion_and_choice_before_any_read(harness: Harness) -> None:
    """I8: an id is deleted and chosen again within one batch: a 404 of a late replica deletes nothing."""
    harness.api.put(coupon(20.0))
    await harness.apply(event("coupon.created", coupon(20.0)))
    await harness.confirm()
    second = coupon(50.0) | {"created": NOON + 90}
    harness.api.put(second)
    harness.api.say("/v1/coupons/WELCOME", 404, error("resource_missing", "No such coupon"))
    await harness.apply(
        event("coupon.deleted", coupon(20.0), after=60), event("coupon.created", second, after=90)
    )
    await harness.confirm()
    assert not (await harness.object("coupon", "WELCOME"))["tombstone"]
    await harness.execute(LOOK_AGAIN)
    await harness.confirm()
    assert [(50.0, True)] == [tuple(row) for row in await harness.fetch(COUPON)]


async def test_deletion_and_choice_in_any_order(deleted_coupon: Harness) -> None:
    """The first one's creation, come again, brings nothing back; nor does the second one's once that is deleted."""
    harness = deleted_coupon
    await harness.apply(event("coupon.created", coupon(20.0), after=1))
    assert (await harness.object("coupon", "WELCOME"))["tombstone"]
    await harness.apply(
        event("coupon.deleted", coupon(50.0), after=600), event("coupon.created", coupon(50.0), after=90)
    )
    await harness.settle()
    known = await harness.object("coupon", "WELCOME")
    assert (True, None) == (known["tombstone"], known["missing_since"])
    assert not await harness.fetchval(COUPON.replace("percent_off::float, ", ""))


async def test_404_of_the_rest_of_a_list(harness: Harness) -> None:
    """I8: if the list was changed while it was read, the object is not missing, and is read again soon."""
    await known_customer(harness)
    cut = subscription(
        items=listing([item("si_1")], has_more=True, url="/v1/subscription_items?subscription=sub_1")
    )
    harness.api.put(cut)
    harness.api.bodies["/v1/subscription_items"] = listing([item("si_2")])
    for status in (404, 400):
        gone = error("resource_missing", "No such subscription_item: 'si_1'")
        harness.api.say("/v1/subscription_items", status, gone)
        await harness.apply(event("customer.subscription.updated", cut, after=60))
        await harness.confirm()
        known = await harness.object("subscription", "sub_1")
        assert "the rest of a list was not found" in known["error"]
        assert known["missing_since"] is None
        seconds = "select extract(epoch from read_at - now()) from sync.objects where id = 'sub_1'"
        assert await harness.fetchval(seconds) < 30
        await harness.settle()
        assert (await harness.record())["exact"]


async def test_404_of_a_young_object_whose_customer_was_deleted(harness: Harness) -> None:
    """I8: it may be too young to be found, and does not go with its customer: it is asked for again."""
    await known_customer(harness)
    harness.api.bodies["/v1/customers/cus_1"] = {"object": "customer", "id": "cus_1", "deleted": True}
    await harness.apply(event("customer.deleted", customer(), after=11))
    await harness.settle()
    harness.api.put(charge())
    harness.api.say("/v1/charges/ch_1", 404, error("resource_missing", "No such charge"))
    await harness.apply(event("charge.succeeded", charge(), after=10))
    await harness.confirm()
    assert not (await harness.object("charge", "ch_1"))["tombstone"]
    await harness.settle()
    record = await harness.record()
    assert (2000, True) == (record["lifetime_revenue"], record["exact"])


@pytest.mark.parametrize("batches", [1, 3])
async def test_chosen_id_that_is_deleted_twice(harness: Harness, batches: int) -> None:
    """I2: in whatever batches the events come, the last deletion counts, and a 404 proves it."""
    coupon = {"object": "coupon", "id": "SALE", "duration": "forever", "percent_off": 10, "metadata": {}}
    first, second = {**coupon, "created": NOON}, {**coupon, "created": NOON + 200}
    harness.api.put(first)
    await harness.apply(event("coupon.created", first))
    await harness.settle()
    del harness.api.bodies["/v1/coupons/SALE"]
    told = [
        event("coupon.deleted", first, after=100),
        event("coupon.created", second, after=200),
        event("coupon.deleted", second, after=300),
    ]
    for each in [told] if batches == 1 else [[one] for one in told]:
        await harness.apply(*each)
    harness.api.now = NOON + 400
    await harness.settle()
    known = await harness.object("coupon", "SALE")
    assert (True, None) == (known["tombstone"], known["missing_since"])
