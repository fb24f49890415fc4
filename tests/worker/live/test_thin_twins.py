"""The twin of a thin event as the witness of reads: it is asked for if nothing else says whether a read is late."""

import asyncio
import json

from tests.harness import NOON, Body, Harness, charge, customer, error, event, listing, refund, subscription
from tests.worker.live.test_thin import asked, thin

LAST_SECOND = 253_402_300_799
"""Of the year 9999: Python knows no later time."""


def keep(harness: Harness, *events: bytes) -> None:
    """Let /v1/events/{id} answer with these."""
    for each in events:
        body = json.loads(each)
        harness.api.bodies[f"/v1/events/{body['id']}"] = body


def updated(customer_id: str, name: str, *, event_id: str, after: int, before: str | None = None) -> bytes:
    """The snapshot event of a customer's new name."""
    data: Body = {"object": customer(customer_id, name=name)}
    if before is not None:
        data["previous_attributes"] = {"name": before}
    return event("customer.updated", customer(customer_id), after=after, event_id=event_id, data=data)


async def names(harness: Harness, *customer_ids: str) -> list[tuple[str, bool]]:
    """The name of each, and whether its record says that it is exact."""
    records = [await harness.record(each) for each in customer_ids]
    return [(record["name"], record["exact"]) for record in records]


async def know(harness: Harness, *customer_ids: str) -> None:
    """Let these be known by their old names."""
    old = [customer(each, name="Old") for each in customer_ids]
    harness.api.put(*old)
    await harness.apply(*(event("customer.created", each) for each in old))
    await harness.settle()
    assert [("Old", True)] * len(old) == await names(harness, *customer_ids)
    harness.api.asked.clear()


async def test_replica_that_is_late_twice_in_the_same_way(harness: Harness) -> None:
    """I3, two witnesses: reads that are late in the same way agree with one another, and not with the twin of the
    newest thin event. A read that agrees with it is believed at once. So with several changes of a known object, with a
    new one, and with a second in which a snapshot event told the one change and a thin event the other.
    """
    api = harness.api
    await know(harness, "cus_1", "cus_2", "cus_3", "cus_4")
    api.now = NOON + 12
    shown = updated("cus_4", "Middle", event_id="evt_twin_4a", after=11, before="Old")
    keep(
        harness,
        updated("cus_1", "New", event_id="evt_twin_1", after=11),
        updated("cus_2", "New", event_id="evt_twin_2", after=11),
        event(
            "customer.subscription.updated", subscription("sub_1", "cus_3"), after=11, event_id="evt_twin_3"
        ),
        updated("cus_4", "New", event_id="evt_twin_4", after=11, before="Middle"),
    )
    api.put(
        customer("cus_1", name="Middle"),
        customer("cus_2", name="New"),
        subscription("sub_1", "cus_3", status="trialing"),
        customer("cus_4", name="Middle"),
    )
    await harness.apply(
        *(
            thin(
                "customer.updated", "customer", each, at=at, twin=f"evt_twin_{each[-1]}" if at > 11 else None
            )
            for each in ("cus_1", "cus_2")
            for at in (10, 11.5)
        ),
        thin("customer.subscription.updated", "subscription", "sub_1", at=11, twin="evt_twin_3"),
        thin("customer.updated", "customer", "cus_4", at=11.9, twin="evt_twin_4"),
    )
    await harness.apply(shown)
    for _ in range(2):
        await harness.confirm()
        await harness.engine.apply()
        found = await names(harness, "cus_1", "cus_2", "cus_4")
        assert [False, True, False] == [exact for _, exact in found], found
        assert ("New", True) == found[1]
        assert not (await harness.record("cus_3"))["exact"]
    # The one that was right from the first has cost no second read.
    assert [2, 1, 2, 2] == asked(harness, *(f"/v1/{each}" for each in (
        "customers/cus_1", "customers/cus_2", "subscriptions/sub_1", "customers/cus_4"
    )))  # fmt: skip
    api.put(customer("cus_1", name="New"), subscription("sub_1", "cus_3"), customer("cus_4", name="New"))
    await harness.confirm()
    await harness.engine.derive()
    assert [("New", True)] * 3 == await names(harness, "cus_1", "cus_2", "cus_4")
    record = await harness.record("cus_3")
    assert ("active", True) == (record["status"], record["exact"])
    assert [1] * 4 == asked(harness, *(f"/v1/events/evt_twin_{number}" for number in range(1, 5)))
    # The inbox has them now, as if they had been posted, and nothing is read again.
    reads = len(api.asked)
    await harness.settle()
    assert {"applied"} == set((await harness.event_states()).values())
    assert reads == len(api.asked)


async def test_late_read_after_one_that_was_believed(harness: Harness) -> None:
    """I3: what one thin event told is read, and another mark has the object read again: a late replica that knows
    nothing of it is not believed. An answer that repeats what is stored costs nothing.
    """
    api = harness.api
    await know(harness, "cus_1", "cus_2")
    keep(harness, *(updated(each, "New", event_id=f"evt_{each}", after=40) for each in ("cus_1", "cus_2")))
    api.put(customer("cus_1", name="New"), customer("cus_2", name="New"))
    api.now = NOON + 42
    await harness.apply(
        *(
            thin("customer.updated", "customer", each, at=40, twin=f"evt_{each}")
            for each in ("cus_1", "cus_2")
        )
    )
    await harness.confirm()
    assert [("New", True)] * 2 == await names(harness, "cus_1", "cus_2")
    assert 0 == sum(path.startswith("/v1/events") for path in api.asked)
    # An older event comes late: whatever it told, a read has to have seen the newer one.
    await harness.apply(*(thin("customer.updated", "customer", each, at=35) for each in ("cus_1", "cus_2")))
    api.say("/v1/customers/cus_1", 200, customer("cus_1", name="Old"))
    api.now = NOON + 44
    await harness.confirm()
    assert [("New", False), ("New", True)] == await names(harness, "cus_1", "cus_2")
    await harness.confirm()
    assert ("New", True) == (await names(harness, "cus_1"))[0]
    assert [1, 1] == asked(harness, "/v1/events/evt_cus_1", "/v1/events/evt_cus_2")
    # What was read a moment ago is no measure: a late replica may show what was before it.
    keep(harness, updated("cus_2", "Newest", event_id="evt_newest", after=50))
    await harness.apply(thin("customer.updated", "customer", "cus_2", at=50, twin="evt_newest"))
    api.say("/v1/customers/cus_2", 200, customer("cus_2", name="Old"))
    api.put(customer("cus_2", name="Newest"))
    api.now = NOON + 52
    await harness.confirm()
    assert [("New", False)] == await names(harness, "cus_2")
    await harness.confirm()
    assert [("Newest", True)] == await names(harness, "cus_2")


async def test_what_a_payload_shows_is_no_measure(harness: Harness) -> None:
    """I3: payloads are stored of a customer, and no read: Stripe created the newer event first, so the older one is
    shown. A late read differs from it, and has seen nothing of what a thin event tells.
    """
    await harness.apply(
        event("customer.created", customer(name="Old")),
        event("customer.updated", customer(name="Middle"), after=-2),
    )
    assert [("Old", False)] == await names(harness, "cus_1")
    keep(harness, updated("cus_1", "New", event_id="evt_new", after=100))
    await harness.apply(thin("customer.updated", "customer", "cus_1", at=100, twin="evt_new"))
    harness.api.now = NOON + 102
    harness.api.put(customer(name="Middle"))
    await harness.confirm(times=2)
    assert not (await harness.record())["exact"]
    harness.api.put(customer(name="New"))
    await harness.confirm()
    assert [("New", True)] == await names(harness, "cus_1")


async def test_many_twins_come_with_one_page(harness: Harness) -> None:
    """Three twins or more are looked for in one page of the account's events, and what it does not show by its id."""
    customers = ("cus_1", "cus_2", "cus_3", "cus_4")
    await know(harness, *customers)
    harness.api.now = NOON + 12
    twins = [updated(each, "New", event_id=f"evt_{each}", after=11) for each in customers]
    harness.api.bodies["/v1/events"] = listing([json.loads(each) for each in twins[:3]])
    keep(harness, twins[3])
    harness.api.put(*(customer(each, name="New") for each in customers))
    await harness.apply(
        *(
            thin("customer.updated", "customer", each, at=at, twin=f"evt_{each}" if at > 11 else None)
            for each in customers
            for at in (10, 11.5)
        )
    )
    await harness.confirm()
    assert [("New", True)] * 4 == await names(harness, *customers)
    assert [1, 0, 1] == asked(harness, "/v1/events", "/v1/events/evt_cus_1", "/v1/events/evt_cus_4")
    (query,) = harness.api.queries["/v1/events"]
    assert f"created[gte]={NOON + 9}" in query
    assert "types[]=customer.updated" in query


async def test_page_of_twins_that_stripe_refuses(harness: Harness) -> None:
    """I7: a type that only thin events have, or a time after which there is none, may cost the page of twins, and no
    read: all twins are asked for by their ids.
    """
    customers = ("cus_1", "cus_2", "cus_3", "cus_4")
    await know(harness, *customers)
    harness.api.now = NOON + 12
    keep(harness, *(updated(each, "New", event_id=f"evt_{each}", after=11) for each in customers))
    harness.api.say("/v1/events", 400, error("parameter_invalid", "Invalid types"))
    harness.api.put(*(customer(each, name="New") for each in customers))
    await harness.apply(
        *(
            thin("customer.updated", "customer", each, at=at, twin=f"evt_{each}" if at > 10 else None)
            for each, last in zip(customers, (11.5, 11.5, 11.5, LAST_SECOND - NOON), strict=True)
            for at in (10, last)
        )
    )
    await harness.confirm()
    assert [("New", True)] * 3 == await names(harness, *customers[:3])
    assert [1, 1] == asked(harness, "/v1/events", "/v1/events/evt_cus_1")


async def test_twin_of_an_event_that_named_our_own_account(harness: Harness) -> None:
    """I3: events that came before the key had said whose it is, and name its account: their twins are found, and a
    replica that is late twice in the same way is not believed.
    """
    harness.api.now = NOON + 12
    keep(harness, updated("cus_1", "New", event_id="evt_new", after=11, before="Middle"))
    harness.api.put(customer(name="Middle"))
    await harness.execute("delete from sync.key")
    await harness.receive(
        event("customer.created", customer(name="Old"), account="acct_room"),
        thin("customer.updated", "customer", "cus_1", at=10, context="acct_room"),
        thin("customer.updated", "customer", "cus_1", at=11, twin="evt_new", context="acct_room"),
    )
    await harness.engine.apply()
    await harness.confirm(times=2)
    assert not (await harness.record())["exact"]
    harness.api.put(customer(name="New"))
    await harness.confirm()
    assert [("New", True)] == await names(harness, "cus_1")


async def test_late_read_of_an_id_that_was_chosen_again(harness: Harness) -> None:
    """I5, two witnesses: thin events tell that objects were deleted, and their ids chosen again. A late replica shows
    the one that was deleted, or none, or says that it is deleted: it has not seen the creation.
    """
    api = harness.api
    api.bodies["/v1/prices"] = listing([])
    olds = [named("coupon", "AGAIN"), named("product", "prod_1"), named("product", "prod_2")]
    api.put(*olds)
    await harness.apply(*(event(f"{each['object']}.created", each) for each in olds))
    await harness.settle()
    api.now = NOON + 43
    news = [
        named("coupon", "NEW", created=NOON + 41),
        *(each | {"created": NOON + 41, "name": "New"} for each in olds),
    ]
    keep(
        harness,
        *(event(f"{each['object']}.created", each, after=41, event_id=f"evt_{each['id']}") for each in news),
    )
    api.put(named("coupon", "NEW"), {"object": "product", "id": "prod_1", "deleted": True})
    del api.bodies["/v1/coupons/AGAIN"], api.bodies["/v1/products/prod_2"]
    await harness.apply(
        *(
            thin(f"{each['object']}.{step}", each["object"], each["id"], at=at, twin=f"evt_{each['id']}")
            for each in news
            # Of two events in one second nobody knows which is the later one.
            for step, at in (
                ("deleted", 41.1 if each["id"] in ("AGAIN", "prod_2") else 40),
                ("created", 41.6),
            )
        )
    )
    await harness.confirm()
    for each in news:
        known = await harness.object(each["object"], each["id"])
        assert known["confirmed"] < known["dirty"], each["id"]
        assert not known["tombstone"], each["id"]
    api.put(*news)
    await harness.settle()
    rows = await harness.fetch(
        "select id, created from stripe.coupons where deleted_at is null "
        "union all select id, created from stripe.products where deleted_at is null"
    )
    assert {each["id"]: NOON + 41 for each in news} == {row[0]: row[1].timestamp() for row in rows}


def named(name: str, object_id: str, **fields: object) -> Body:
    """A coupon or a product whose id was chosen."""
    of_coupon: Body = {"duration": "forever", "percent_off": 25} if name == "coupon" else {}
    common: Body = {"object": name, "id": object_id, "created": NOON, "name": "Old", "metadata": {}}
    return common | of_coupon | fields


async def test_twins_that_cannot_be_read(harness: Harness) -> None:
    """If Stripe does not answer with the twin now, nothing is believed before it does, or no replica can be so late. If
    the key may not read events, two reads that agree are.
    """
    await know(harness, "cus_1", "cus_2")
    for customer_id, name, at in (("cus_1", "Middle", 12), ("cus_2", "New", 62)):
        harness.api.now = NOON + at
        harness.api.put(customer(customer_id, name=name))
        await harness.apply(
            thin("customer.updated", "customer", customer_id, at=at - 2, twin="evt_other"),
            thin("customer.updated", "customer", customer_id, at=at - 1, twin=f"evt_{customer_id}"),
        )
        await harness.confirm(times=2)
        assert [("Old", False)] == await names(harness, customer_id) or customer_id == "cus_2"
        # One request for each read that needed it.
        assert [2] == asked(harness, f"/v1/events/evt_{customer_id}")
        if customer_id == "cus_1":
            harness.api.now = NOON + 42
            await harness.confirm()
            assert [("Middle", True)] == await names(harness, customer_id)
            denied = {"error": {"type": "invalid_request_error", "message": "The provided key lacks a right"}}
            for _ in range(2):
                harness.api.say("/v1/events/evt_cus_2", 403, denied)
    assert [("New", True)] == await names(harness, "cus_2")
    assert [2] == asked(harness, "/v1/events/evt_cus_1")


async def test_replica_that_goes_back_and_no_twin_says_so(harness: Harness) -> None:
    """I3: two changes follow each other within seconds, and a replica that is later than the one asked before shows
    what was before both: that is neither what is stored nor new. Without a twin to say so, a second read has to agree;
    so too if only another mark has the object read again, or if the first change was told by a payload.
    """
    api = harness.api
    await know(harness, "cus_1", "cus_2", "cus_3")
    for number, customer_id in enumerate(("cus_1", "cus_2", "cus_3")):
        at = 40 + 100 * number
        api.now = NOON + at + 2
        api.put(customer(customer_id, name="First"))
        if customer_id == "cus_3":
            await harness.apply(updated(customer_id, "First", event_id="evt_first", after=at))
        else:
            await harness.apply(thin("customer.updated", "customer", customer_id, at=at))
            await harness.confirm()
            assert [("First", True)] == await names(harness, customer_id)
        # To the second customer comes what was told before, late.
        again = at + 5 if customer_id != "cus_2" else at - 1
        api.say(f"/v1/customers/{customer_id}", 200, customer(customer_id, name="Old"))
        api.put(customer(customer_id, name="New"))
        api.now = NOON + at + 7
        await harness.apply(thin("customer.updated", "customer", customer_id, at=again))
        await harness.confirm()
        assert [("First", False)] == await names(harness, customer_id)
        await harness.confirm(times=2)
        assert [("New", True)] == await names(harness, customer_id)


async def test_steps_are_enough(harness: Harness) -> None:
    """A step that the type tells is enough, and asks for nothing; every event of the second has to have been seen."""
    harness.api.now = NOON + 12
    await know(harness, "cus_1", "cus_2")
    harness.api.put(charge("ch_1", "cus_1"), charge("ch_2", "cus_2", description="as it was"))
    keep(
        harness,
        event("charge.updated", charge("ch_2", "cus_2", description="new"), after=11, event_id="evt_twin_2"),
    )
    await harness.apply(
        thin("charge.succeeded", "charge", "ch_1", at=11, twin="evt_twin_1"),
        thin("charge.updated", "charge", "ch_2", at=11.2, twin="evt_twin_2"),
        thin("charge.captured", "charge", "ch_2", at=11.1, twin="evt_twin_3"),
    )
    await harness.confirm()
    assert [0, 1] == asked(harness, "/v1/events/evt_twin_1", "/v1/events/evt_twin_2")


async def test_what_names_no_customer_and_is_doubted(harness: Harness) -> None:
    """I11: a refund and a dispute of which only thin events have told, and nothing is stored: from their first read on,
    which is not believed yet, the customer of the charge that they name is not exact.
    """
    await know(harness, "cus_1", "cus_2")
    charges = [charge("ch_1", "cus_1"), charge("ch_2", "cus_2")]
    harness.api.put(*charges)
    await harness.apply(*(event("charge.succeeded", each) for each in charges))
    await harness.settle()
    assert [("Old", True)] * 2 == await names(harness, "cus_1", "cus_2")
    harness.api.now = NOON + 12
    found: list[Body] = [
        refund("re_1", "ch_1", status="pending"),
        {
            "object": "dispute", "id": "du_1", "charge": "ch_2", "status": "under_review", "amount": 2000,
            "currency": "usd", "created": NOON, "balance_transactions": [], "reason": "general", "livemode": False,
        },
    ]  # fmt: skip
    harness.api.put(*found)
    await harness.apply(
        thin("refund.updated", "refund", "re_1", at=11),
        thin("charge.dispute.updated", "dispute", "du_1", at=11),
    )
    await harness.confirm()
    await harness.engine.derive()
    assert [("Old", False)] * 2 == await names(harness, "cus_1", "cus_2")
    await harness.settle()
    assert [("Old", True)] * 2 == await names(harness, "cus_1", "cus_2")
    assert 0 == await harness.fetchval("select count(*) from sync.not_understood")


async def test_what_names_nothing_is_told_by_its_twin(harness: Harness) -> None:
    """A thin event of entitlements names no object. Its twin is asked for, until it comes, and is applied as if it had
    been posted; no read waits for it (I7). One that is not told by its twin, or has come already, asks for nothing.
    """
    await know(harness, "cus_1")
    summary: Body = {
        "object": "entitlements.active_entitlement_summary",
        "customer": "cus_1",
        "livemode": False,
        "entitlements": listing([]),
    }
    harness.api.bodies["/v1/entitlements/active_entitlements"] = listing([])
    of_summary = "entitlements.active_entitlement_summary.updated"
    nameless = json.loads(thin(of_summary, "", "", twin="evt_summary"))
    del nameless["related_object"]
    upcoming = nameless | {
        "id": "evt_thin_other",
        "type": "v1.invoice.upcoming",
        "snapshot_event": "evt_other",
    }
    await harness.apply(json.dumps(nameless).encode(), json.dumps(upcoming).encode())
    gate = harness.api.hold("/v1/events/evt_summary")
    telling = asyncio.create_task(harness.engine.read_twins())
    await gate.reached_by(telling)
    # No read waits for them, however long Stripe takes to answer with one.
    harness.api.now = NOON + 12
    harness.api.put(customer(name="New"))
    await harness.apply(updated("cus_1", "New", event_id="evt_new", after=11))
    await harness.make_due()
    await harness.engine.confirm(linger=False)
    assert [("New", True)] == await names(harness, "cus_1")
    gate.open.set()
    await telling
    await harness.engine.read_twins()
    assert [1, 0] == asked(harness, "/v1/events/evt_summary", "/v1/events/evt_other")
    keep(harness, event(of_summary, summary, event_id="evt_summary"))
    await harness.execute("update sync.wanted_twins set due_at = now()")
    await harness.settle()
    assert "applied" == (await harness.event_states())["evt_summary"]
    known = await harness.object("active_entitlement_summary", "cus_1")
    assert known["confirmed"] > known["dirty"] > 0
    assert 0 == await harness.fetchval("select count(*) from sync.wanted_twins")
    again = nameless | {"id": "evt_thin_again"}
    await harness.apply(json.dumps(again).encode())
    await harness.settle()
    assert [2] == asked(harness, "/v1/events/evt_summary")
    assert 0 == await harness.fetchval("select count(*) from sync.wanted_twins")
