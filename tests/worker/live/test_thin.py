"""Thin events: what they name is read, and a thin event and its snapshot twin are one change and one read."""

import itertools
import json
from datetime import UTC, datetime

from db.sync.inbox_admin import replay_events
from tests.harness import NOON, Body, Harness, charge, customer, event, listing, refund, subscription

_numbers = itertools.count(1)


def thin(
    event_type: str,
    name: str,
    object_id: str,
    *,
    twin: str | None = None,
    event_id: str | None = None,
    at: float = 0.0,
    context: str | None = None,
    url: str = "/v1/things",
) -> bytes:
    """A thin event's bytes; `at` is how many seconds after NOON it happened."""
    body: Body = {
        "id": event_id or f"evt_thin_{next(_numbers)}",
        "object": "v2.core.event",
        "type": f"v1.{event_type}",
        "livemode": False,
        "created": datetime.fromtimestamp(NOON + at, UTC).isoformat(timespec="milliseconds"),
        "related_object": {"id": object_id, "type": name, "url": url},
        "snapshot_event": twin,
        "context": context,
    }
    return json.dumps(body).encode()


def asked(harness: Harness, *paths: str) -> list[int]:
    """How often each of these was read."""
    return [harness.api.asked.count(path) for path in paths]


async def told(harness: Harness, *names: str) -> tuple[object, ...]:
    """What the record says."""
    record = await harness.record()
    return tuple(record[name] for name in names)


async def test_new_objects_of_thin_events_are_read_by_one_page(harness: Harness) -> None:
    """Where an object lies in its list that only thin events have told of, their time says: four cost one request, and
    a fifth, which is older than its event, one of its own.
    """
    charges = [charge(f"ch_{number}") for number in range(4)]
    older = charge("ch_older", created=NOON - 86_400)
    harness.api.put(customer(), *charges, older)
    harness.api.bodies["/v1/charges"] = listing(charges)
    await harness.apply(
        event("customer.created", customer()),
        *(thin("charge.succeeded", "charge", each["id"], at=0.5) for each in charges),
        thin("charge.captured", "charge", "ch_older", at=0.5),
    )
    await harness.settle()
    assert ["/v1/charges", "/v1/charges/ch_older"] == [
        path for path in harness.api.asked if path.startswith("/v1/charges")
    ]
    assert (True, 10_000) == await told(harness, "exact", "lifetime_revenue")


async def test_twins_in_any_order_are_one_read(harness: Harness) -> None:
    """I2: whichever of a thin event and its snapshot twin comes later, even after the read that the other one caused:
    the change is read once. So are two thin events with one twin. The later one's payload takes nothing back.
    """
    harness.api.put(customer(), charge(), charge("ch_2"), charge("ch_3"))
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    for first, second, charge_id in (
        (
            thin("charge.succeeded", "charge", "ch_1", twin="evt_a"),
            event("charge.succeeded", charge("ch_1", description="as it was"), event_id="evt_a", after=-60),
            "ch_1",
        ),
        (
            event("charge.succeeded", charge("ch_2"), event_id="evt_b"),
            thin("charge.succeeded", "charge", "ch_2", twin="evt_b"),
            "ch_2",
        ),
        (
            thin("charge.succeeded", "charge", "ch_3", twin="evt_c"),
            thin("charge.captured", "charge", "ch_3", twin="evt_c"),
            "ch_3",
        ),
    ):
        await harness.apply(first)
        # Whose a new object is, its thin event does not say.
        assert (await harness.record())["exact"] == first.startswith(b'{"id": "evt_thin')
        await harness.settle()
        assert (await harness.record())["exact"]
        await harness.apply(second)
        row = await harness.object("charge", charge_id)
        assert row["confirmed"] > row["dirty"], charge_id
        assert (await harness.record())["exact"]
        await harness.settle()
        assert [1] == asked(harness, f"/v1/charges/{charge_id}")
    assert 6000 == (await harness.record())["lifetime_revenue"]
    assert {"applied"} == set((await harness.event_states()).values())


async def test_twin_that_contradicts_the_read_is_another_change(harness: Harness) -> None:
    """Two witnesses: the read that a thin event caused came from a late replica. The snapshot twin, which comes after
    it, says so: the object is read again.
    """
    harness.api.put(customer(name="Ada"))
    await harness.apply(event("customer.created", customer(name="Ada")))
    await harness.settle()
    await harness.apply(thin("customer.updated", "customer", "cus_1", twin="evt_twin", at=10))
    harness.api.now = NOON + 12
    await harness.settle()
    assert ("Ada", True) == await told(harness, "name", "exact")
    harness.api.put(customer(name="Bob"))
    await harness.apply(event("customer.updated", customer(name="Bob"), event_id="evt_twin", after=10))
    assert not (await harness.record())["exact"]
    await harness.settle()
    assert ("Bob", True) == await told(harness, "name", "exact")


async def test_read_that_repeats_what_was_stored_is_late(harness: Harness) -> None:
    """Two witnesses: a read just after a thin event says in every field what was stored before it, so a late replica
    may have answered: it is asked for again. An event that only announces something changes nothing.
    """
    harness.api.put(customer(name="Ada"), subscription())
    await harness.apply(
        event("customer.created", customer(name="Ada")),
        event("customer.subscription.created", subscription()),
    )
    await harness.settle()
    harness.api.now = NOON + 112
    await harness.apply(
        thin("customer.updated", "customer", "cus_1", at=110),
        thin("customer.subscription.trial_will_end", "subscription", "sub_1", at=110),
    )
    await harness.confirm()
    assert (1, 0) == (
        (await harness.object("customer", "cus_1"))["doubts"],
        (await harness.object("subscription", "sub_1"))["doubts"],
    )
    assert not (await harness.record())["exact"]
    harness.api.put(customer(name="Bob"))
    await harness.confirm()
    assert ("Bob", True) == await told(harness, "name", "exact")
    assert [3, 2] == asked(harness, "/v1/customers/cus_1", "/v1/subscriptions/sub_1")


async def test_late_read_of_what_a_list_brought(harness: Harness) -> None:
    """I3, two witnesses: charges came in a page, or by their ids, and the late answer about them in the other way. It
    is indented in another way, and says the same: it is not believed.
    """
    api = harness.api
    both = [charge("ch_1"), charge("ch_2")]
    refunded = [each | {"amount_refunded": 2000, "refunded": True} for each in both]
    api.put(customer(), *both)
    api.bodies["/v1/charges"] = listing(both)
    await harness.apply(
        event("customer.created", customer()), *(event("charge.succeeded", each) for each in both)
    )
    await harness.settle()
    assert [1, 0] == asked(harness, "/v1/charges", "/v1/charges/ch_1")
    await harness.apply(thin("charge.refunded", "charge", "ch_1", at=110))
    api.now = NOON + 112
    await harness.confirm()
    assert [1, 1] == asked(harness, "/v1/charges", "/v1/charges/ch_1")
    assert (4000, False) == await told(harness, "lifetime_revenue", "exact")
    api.put(*refunded)
    await harness.settle()  # that charge is stored as it was read by its id
    assert (2000, True) == await told(harness, "lifetime_revenue", "exact")
    api.now = NOON + 212
    api.bodies["/v1/charges"] = listing([refunded[0], both[1]])
    await harness.apply(*(thin("charge.refunded", "charge", each, at=210) for each in ("ch_1", "ch_2")))
    await harness.confirm()
    assert [2, 2] == asked(harness, "/v1/charges", "/v1/charges/ch_1")
    assert [1, 1] == [(await harness.object("charge", each))["doubts"] for each in ("ch_1", "ch_2")]
    assert (2000, False) == await told(harness, "lifetime_revenue", "exact")


async def test_thin_event_is_the_witness_beside_an_older_payload(harness: Harness) -> None:
    """I2, I3: a snapshot event and a newer thin event, in one batch or in two: the payload is shown, and a late read
    that agrees with it has perhaps missed the second change.
    """
    old = {name: customer(name, name="Old") for name in ("cus_1", "cus_2")}
    ada = {name: customer(name, name="Ada") for name in old}
    harness.api.put(*old.values())
    await harness.apply(*(event("customer.created", each) for each in old.values()))
    await harness.settle()
    snapshot = {name: event("customer.updated", each, after=100) for name, each in ada.items()}
    newer = {name: thin("customer.updated", "customer", name, at=110) for name in ada}
    await harness.apply(snapshot["cus_1"], newer["cus_1"])
    await harness.apply(snapshot["cus_2"])
    await harness.apply(newer["cus_2"])
    harness.api.now = NOON + 112
    harness.api.put(*ada.values())
    await harness.confirm()
    for name in ada:
        record = await harness.record(name)
        assert ("Ada", False) == (record["name"], record["exact"]), name
        assert 1 == (await harness.object("customer", name))["doubts"], name


async def test_thin_event_in_the_second_of_the_stored_read(harness: Harness) -> None:
    """I3: a thin event happened in the very second in which the stored read began, and came after it. A read that says
    the same again is not believed; one that says something else, so soon after the stored one, has to be repeated.
    """
    harness.api.now = NOON + 10
    harness.api.put(customer(name="Old"))
    await harness.apply(event("customer.created", customer(name="Old")))
    await harness.settle()
    await harness.apply(thin("customer.updated", "customer", "cus_1", at=10.9))
    harness.api.now = NOON + 12
    await harness.confirm()
    assert ("Old", False) == await told(harness, "name", "exact")
    harness.api.put(customer(name="New"))
    await harness.confirm()
    assert ("Old", False) == await told(harness, "name", "exact")
    await harness.confirm()
    assert ("New", True) == await told(harness, "name", "exact")


async def test_read_that_shows_the_first_of_two_thin_events(harness: Harness) -> None:
    """I3, two witnesses: two thin events in one burst, and a late read that shows the first change alone. It differs
    from what was stored, and is not believed before another read says the same. A read that shows the step of which the
    newest event's type tells is.
    """
    harness.api.put(
        customer(name="Old"), customer("cus_2", name="Old"), charge(captured=False, amount_captured=0)
    )
    await harness.apply(
        event("customer.created", customer(name="Old")),
        event("customer.created", customer("cus_2", name="Old")),
        event("charge.succeeded", charge(captured=False, amount_captured=0)),
    )
    await harness.settle()
    before = asked(harness, "/v1/customers/cus_1", "/v1/customers/cus_2", "/v1/charges/ch_1")
    await harness.apply(
        thin("customer.updated", "customer", "cus_1", at=110),
        thin("customer.updated", "customer", "cus_1", at=112),
        thin("customer.updated", "customer", "cus_2", at=112),
        thin("charge.updated", "charge", "ch_1", at=111),
    )
    await harness.apply(thin("charge.captured", "charge", "ch_1", at=112))
    harness.api.now = NOON + 114
    harness.api.put(customer(name="Middle"), customer("cus_2", name="New"), charge())
    await harness.confirm()
    assert ("Old", False) == await told(harness, "name", "exact")
    other = await harness.record("cus_2")
    assert ("New", True) == (other["name"], other["exact"])
    assert (await harness.object("charge", "ch_1"))["confirmed"] > (await harness.object("charge", "ch_1"))[
        "dirty"
    ]
    harness.api.put(customer(name="New"))
    await harness.confirm()
    assert ("Old", False) == await told(harness, "name", "exact")
    await harness.confirm()
    assert ("New", True) == await told(harness, "name", "exact")
    after = asked(harness, "/v1/customers/cus_1", "/v1/customers/cus_2", "/v1/charges/ch_1")
    assert [3, 1, 1] == [now - then for now, then in zip(after, before, strict=True)]


async def test_gap_fill_brings_no_second_read(harness: Harness) -> None:
    """I2: /v1/events lists the twins of thin events, and again what came by webhook: neither is read again."""
    harness.api.put(customer(), charge(), charge("ch_2"))
    snapshots = [
        event("customer.created", customer(), event_id="evt_1"),
        event("charge.succeeded", charge(), event_id="evt_2"),
        event("charge.succeeded", charge("ch_2"), event_id="evt_3"),
    ]
    await harness.apply(
        thin("customer.created", "customer", "cus_1", twin="evt_1"),
        thin("charge.succeeded", "charge", "ch_1", twin="evt_2"),
        snapshots[2],
    )
    await harness.settle()
    before = len(harness.api.asked)
    harness.api.bodies["/v1/events"] = listing([json.loads(body) for body in reversed(snapshots)])
    await harness.engine.fill_gaps()
    await harness.settle()
    assert {"/v1/events"} == set(harness.api.asked[before:])
    assert (4000, True) == await told(harness, "lifetime_revenue", "exact")
    assert 5 == len(await harness.event_states())


async def test_thin_deletion_needs_a_404(harness: Harness) -> None:
    """I8: a thin `.deleted` event makes a tombstone together with a 404, as its twin does, and not alone."""
    gone = {"error": {"code": "resource_missing", "message": "No such thing"}}
    coupon = {
        "object": "coupon", "id": "SAVE", "created": NOON, "duration": "forever", "percent_off": 10, "metadata": {},
    }  # fmt: skip
    harness.api.put(coupon)
    await harness.apply(event("coupon.created", coupon))
    await harness.settle()
    await harness.apply(thin("coupon.deleted", "coupon", "SAVE", at=5.9))
    await harness.settle()
    assert not (await harness.object("coupon", "SAVE"))["tombstone"], (
        "it is still there: a late replica, or a mistake"
    )
    del harness.api.bodies["/v1/coupons/SAVE"]
    harness.api.say("/v1/coupons/SAVE", 404, gone)
    await harness.apply(thin("coupon.deleted", "coupon", "SAVE", at=5.9))
    await harness.settle()
    row = await harness.object("coupon", "SAVE")
    assert (True, NOON + 5) == (row["tombstone"], row["deleted_event_at"].timestamp())
    assert NOON + 5 == await harness.fetchval(
        "select extract(epoch from deleted_at)::int from stripe.coupons where id = 'SAVE'"
    )
    harness.api.put(coupon | {"created": NOON + 5})
    await harness.apply(thin("coupon.created", "coupon", "SAVE", at=5.95))
    await harness.settle()
    assert not (await harness.object("coupon", "SAVE"))["tombstone"], "its id was chosen again"


async def test_thin_creation_begins_completeness(harness: Harness) -> None:
    """A customer whose `v1.customer.created` came is complete: its history is not pulled."""
    harness.api.put(customer())
    await harness.apply(thin("customer.created", "customer", "cus_1"))
    await harness.settle()
    assert (await harness.record())["exact"]
    assert await harness.fetchval("select complete and history_at is null from sync.customers")
    assert "/v1/subscriptions" not in harness.api.asked


async def test_finer_types_mark_what_they_name(harness: Harness) -> None:
    """A finer type has no twin: its subscription is read, and the older payload is no witness against it. A discount
    names its customer in its address alone.
    """
    harness.api.put(customer(), subscription())
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.settle()
    assert "active" == (await harness.record())["status"]
    harness.api.put(subscription(status="past_due"))
    harness.api.now = NOON + 102
    await harness.apply(thin("customer.subscription.past_due", "subscription", "sub_1", at=100))
    await harness.settle()
    assert "past_due" == (await harness.record())["status"]
    await harness.apply(
        thin("customer.discount.created", "discount", "", url="/v1/customers/cus_1/discount"),
    )
    assert not (await harness.record())["exact"]
    await harness.settle()
    assert [2, 2] == asked(harness, "/v1/customers/cus_1", "/v1/subscriptions/sub_1")


async def test_read_tells_what_else_a_thin_event_concerns(harness: Harness) -> None:
    """A snapshot of a dispute marks its charge; a thin event names the dispute alone, so its read marks the charge:
    unless that was read since the event.
    """
    dispute = {
        "object": "dispute", "id": "dp_1", "charge": "ch_1", "amount": 2000, "currency": "usd", "created": NOON,
        "status": "needs_response", "livemode": False, "metadata": {}, "balance_transactions": [],
    }  # fmt: skip
    harness.api.now = NOON + 60  # no read is late
    harness.api.put(customer(), charge(), dispute)
    await harness.apply(event("customer.created", customer()), event("charge.succeeded", charge()))
    await harness.settle()
    await harness.apply(thin("charge.dispute.created", "dispute", "dp_1"))
    await harness.settle()
    assert [2, 1] == asked(harness, "/v1/charges/ch_1", "/v1/disputes/dp_1")
    await harness.apply(
        thin("charge.dispute.updated", "dispute", "dp_1"), thin("charge.updated", "charge", "ch_1")
    )
    await harness.settle()
    assert [3, 2] == asked(harness, "/v1/charges/ch_1", "/v1/disputes/dp_1")


async def test_new_object_of_an_unknown_customer_is_behind(harness: Harness) -> None:
    """Nobody can say whose a charge is that a thin event names before it is read. If that takes longer than a minute,
    readers learn that records are behind; not of one that Stripe does not know, or may not tell.
    """
    behind = "select coalesce(behind_because, '') from billing.freshness"
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    await harness.execute("insert into sync.workers (id, beat_at) values ('w', now() + interval '1 hour')")
    await harness.apply(thin("charge.succeeded", "charge", "ch_9"), thin("refund.created", "refund", "re_9"))
    assert (await harness.record())["exact"]
    assert "" == await harness.fetchval(behind)
    await harness.execute(
        "update sync.objects set first_marked_at = now() - interval '2 minutes' where thin_tick > 0"
    )
    assert "nobody knows whose they are" in await harness.fetchval(behind)
    await harness.execute("update sync.objects set missing_since = now() where id = 'ch_9'")
    assert "nobody knows whose they are" in await harness.fetchval(behind)
    await harness.execute("update sync.objects set missing_since = now() where id = 're_9'")
    assert "" == await harness.fetchval(behind)
    await harness.execute("update sync.objects set missing_since = null, read_at = now()")
    harness.api.put(charge("ch_9"), refund("re_9", "ch_9"))
    await harness.settle()
    assert "" == await harness.fetchval(behind)
    assert (2000 - 500, True) == await told(harness, "lifetime_revenue", "exact")


async def test_organization_endpoint_keeps_accounts_apart(harness: Harness) -> None:
    """I9: an organization's endpoint says by `context` whose a snapshot event is, and so does a thin event; one of the
    key's own account is no account apart, before the key has worked as well.
    """
    own = "acct_room"
    harness.api.put(customer())
    await harness.apply(
        event("customer.created", customer(name="here"), context=f"org_1/{own}"),
        event("customer.created", customer(name="there"), context="org_1/acct_1"),
        event("customer.created", customer(name="yonder"), account="acct_2"),
    )
    await harness.receive(thin("customer.updated", "customer", "cus_1", context="org_1/acct_1"))
    await harness.engine.apply()
    rows = await harness.fetch("select account_id, name from billing.customers order by account_id")
    assert [("", "here"), ("acct_1", "there"), ("acct_2", "yonder")] == [tuple(row) for row in rows]
    assert {"", "acct_1", "acct_2"} == {
        row[0] for row in await harness.fetch("select account_id from sync.objects")
    }


async def test_customer_that_was_deleted_before_it_was_read(harness: Harness) -> None:
    """Of a customer that only thin events have told, and that was deleted before anybody read it, nothing is known but
    that. It is not exact until a fill of gaps has begun after that: it brings what events say, or there is nothing.
    """
    for name in ("cus_1", "cus_2"):
        harness.api.put({"object": "customer", "id": name, "deleted": True})
        await harness.apply(
            thin("customer.created", "customer", name), thin("customer.deleted", "customer", name, at=1)
        )
    told_of = json.loads(event("customer.created", customer(name="Ada")))
    harness.api.bodies["/v1/events"] = listing([])
    await harness.engine.fill_gaps()
    await harness.apply(thin("customer.deleted", "customer", "cus_1", at=1))  # no fill has begun after it
    await harness.settle()
    assert [(None, False), (None, True)] == [
        (record["name"], record["exact"])
        for record in [await harness.record("cus_1"), await harness.record("cus_2")]
    ]
    harness.api.bodies["/v1/events"] = listing([told_of])
    await harness.execute("update sync.accounts set due_at = now()")
    await harness.engine.fill_gaps()
    await harness.settle()
    assert ("Ada", True) == await told(harness, "name", "exact")


async def test_replayed_thin_event_is_read_again(harness: Harness) -> None:
    """I7: an event that is replayed is applied as if it had just come, and a thin one with its twin."""
    harness.api.put(customer(), charge())
    await harness.apply(
        event("customer.created", customer()),
        thin("charge.succeeded", "charge", "ch_1", twin="evt_twin", event_id="evt_thin"),
    )
    await harness.settle()
    await harness.apply(event("charge.succeeded", charge(), event_id="evt_twin"))
    await harness.settle()
    for reads, replayed in ((2, "evt_twin"), (3, "evt_thin")):
        async with harness.pool.acquire() as connection, connection.transaction():
            await replay_events(connection, [replayed])
        assert {"pending"} == {
            state for key, state in (await harness.event_states()).items() if key == replayed
        }
        await harness.settle()
        assert [reads] == asked(harness, "/v1/charges/ch_1")


async def test_first_read_of_a_new_object_has_a_witness(harness: Harness) -> None:
    """Two witnesses: a new object that only thin events have told is read once if it shows what the event's type says.
    Any other is read until two reads agree, and neither a replica's old answer nor two that differ are exact; or until
    no replica can be that late. Its customer is inexact from the first read on.
    """
    harness.api.now = NOON + 12
    customers = [f"cus_{number}" for number in range(1, 6)]
    harness.api.put(
        *(customer(each) for each in customers),
        charge("ch_1", "cus_1"),
        subscription("sub_2", "cus_2", status="active"),
        charge("ch_3", "cus_3"),
        subscription("sub_4", "cus_4"),
    )
    await harness.apply(*(event("customer.created", customer(each)) for each in customers))
    await harness.settle()

    async def said() -> list[tuple[str | None, bool]]:
        records = [await harness.record(each) for each in customers]
        return [(each["status"], each["exact"]) for each in records]

    # The second is active by now, and a replica does not know it; the third comes late; the fourth is an old event.
    late = subscription("sub_2", "cus_2", status="trialing")
    harness.api.say("/v1/subscriptions/sub_2", 200, late)
    harness.api.say("/v1/charges/ch_3", 200, charge("ch_3", "cus_3", status="pending", captured=False))
    await harness.apply(
        thin("charge.succeeded", "charge", "ch_1", at=10),
        thin("customer.subscription.created", "subscription", "sub_2", at=9),
        thin("customer.subscription.updated", "subscription", "sub_2", at=10),
        thin("charge.succeeded", "charge", "ch_3", at=10),
        thin("customer.subscription.updated", "subscription", "sub_4", at=-60),
    )
    await harness.confirm()
    paths = [
        "/v1/charges/ch_1", "/v1/subscriptions/sub_2", "/v1/charges/ch_3", "/v1/subscriptions/sub_4"
    ]  # fmt: skip
    assert [1, 1, 1, 1] == asked(harness, *paths)
    assert [(None, True), (None, False), (None, False), ("active", True), (None, True)] == await said()
    await harness.confirm()
    assert [1, 2, 2, 1] == asked(harness, *paths)
    assert [(None, True), (None, False), (None, True), ("active", True), (None, True)] == await said()
    await harness.settle()
    assert [1, 3, 2, 1] == asked(harness, *paths)
    assert [(None, True), ("active", True), (None, True), ("active", True), (None, True)] == await said()
