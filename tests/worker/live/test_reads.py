"""When Stripe is read: once for a burst, again for an old answer, later for a deadline, and never with a wrong key."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from billing.deadlines import GRACE, deadline_of, next_look
from billing.kinds.parse import parse_object
from billing.kinds.subscriptions import Subscription
from db.connection import Pool
from db.sync.objects import CONFIRM_OBJECTS, QUIET, QUIET_MAX, UNREADABLE_MAX
from tests.faults import Call, after
from tests.harness import (
    NOON,
    Api,
    Harness,
    charge,
    customer,
    error,
    event,
    item,
    listing,
    open_harness,
    subscription,
    sweep,
    sweep_bulk,
)
from tests.system import until
from worker.live import confirm

HOUR = 3600
DAY = 24 * HOUR
SUBSCRIPTION = "/v1/subscriptions/sub_1"


async def told(harness: Harness, *names: str) -> tuple[object, ...]:
    """These fields of the record."""
    record = await harness.record()
    return tuple(record[name] for name in names)


def reads_of(harness: Harness, path: str) -> int:
    """How often this path was asked for."""
    return harness.api.asked.count(path)


async def test_answers_that_flood_in_are_told_together(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While more is due than is read at once, their customers are not derived after each group; after the last they
    are.
    """
    monkeypatch.setattr(confirm, "TOLD_TOGETHER_SECONDS", 3600.0)
    monkeypatch.setattr(confirm, "STORED_TOGETHER_SECONDS", 30.0)
    groups: list[int] = []
    told: list[int] = []

    async def note(call: Call) -> None:
        groups.append(len(call.args[3]))

    bodies = [customer(f"cus_{number}") for number in range(5)]
    harness.api.put(*bodies)
    for body in bodies:
        await harness.apply(event("customer.updated", body))
    await harness.execute("update sync.objects set read_at = now()")
    assert harness.lanes is not None
    stripe = harness.lanes.live
    stripe.unlistable.add(("", "customer"))
    with after(CONFIRM_OBJECTS, note):
        await confirm.confirm_batch(
            harness.pool,
            stripe,
            live_mode=False,
            limit=2,
            more=lambda: True,
            stored=lambda: told.append(sum(groups)),
        )
    assert ([2, 2, 1], [2, 5]) == (groups, told)


async def test_burst_is_read_once(harness: Harness) -> None:
    """Coalescing: twelve events about one subscription cost one read, and one more a later event."""
    harness.api.put(customer(), subscription())
    for number in range(12):
        await harness.apply(event("customer.subscription.updated", subscription(), after=number))
    assert 0 == reads_of(harness, SUBSCRIPTION)
    await harness.settle()
    assert 1 == reads_of(harness, SUBSCRIPTION)
    await harness.apply(event("customer.subscription.updated", subscription(), after=60))
    await harness.settle()
    assert 2 == reads_of(harness, SUBSCRIPTION)


async def test_burst_does_not_postpone_its_read_for_ever(harness: Harness) -> None:
    """Each event moves the read 1.5 s on, but never beyond 5 s after the first."""
    harness.api.put(customer(), subscription())
    await harness.apply(event("customer.subscription.updated", subscription()))
    await harness.execute("update sync.objects set first_marked_at = now() - interval '4.9 seconds'")
    await harness.apply(event("customer.subscription.updated", subscription(), after=4))
    wait = await harness.fetchval("select read_at - now() from sync.objects where kind = 'subscription'")
    assert wait < timedelta(seconds=0.5)


async def test_what_comes_during_a_read_is_a_burst_of_its_own(harness: Harness) -> None:
    """Events that come while a read is under way, or while one that failed waits, are read once as well: the age of
    what that read was to see is not theirs.
    """
    harness.api.put(customer(), subscription())
    await harness.apply(event("customer.subscription.updated", subscription()))
    gate = harness.api.hold(SUBSCRIPTION)
    reading = asyncio.create_task(harness.confirm())
    await gate.asked.wait()
    await harness.execute("update sync.objects set first_marked_at = now() - interval '1 minute'")
    waits = "select read_at - first_marked_at from sync.objects where kind = 'subscription'"
    await harness.apply(event("customer.subscription.updated", subscription(), after=10))
    assert QUIET == await harness.fetchval(waits)
    gate.open.set()
    await reading
    await harness.apply(event("customer.subscription.updated", subscription(), after=11))
    assert QUIET <= await harness.fetchval(waits) <= QUIET_MAX

    harness.api.say(SUBSCRIPTION, 500, {})
    await harness.execute(
        "update sync.objects set attempts = 6, first_marked_at = now() - interval '1 minute'"
    )
    await harness.confirm()
    assert await harness.fetchval(
        "select read_at > now() + $1 from sync.objects where kind = 'subscription'", QUIET_MAX
    )
    await harness.apply(event("customer.subscription.updated", subscription(), after=12))
    assert QUIET == await harness.fetchval(waits)


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (subscription(status="canceled", ended_at=NOON), subscription(status="active")),
        (subscription(status="incomplete_expired"), subscription(status="incomplete")),
        (charge(amount_captured=2000), charge(amount_captured=0, captured=False)),
    ],
    ids=["a canceled subscription lives", "an expired one waits", "captured money is back"],
)
async def test_old_answer_is_asked_for_again(
    harness: Harness, said: dict[str, Any], answered: dict[str, Any]
) -> None:
    """An answer that takes back what Stripe never takes back is not stored; the next one is."""
    kind = said["object"]
    event_type = {"subscription": "customer.subscription.updated", "charge": "charge.captured"}[kind]
    harness.api.put(customer(), answered)
    await harness.apply(event("customer.created", customer()), event(event_type, said))
    before = await harness.fetchval(f"select raw::text from stripe.{kind}s")
    await harness.confirm()
    assert before == await harness.fetchval(f"select raw::text from stripe.{kind}s")
    doubted = await harness.object(kind, said["id"])
    assert (1, True) == (doubted["contradictions"], doubted["unsettled"])
    assert "an old answer" in doubted["error"]
    assert (await harness.record())["exact"] is False
    harness.api.put(said)
    await harness.settle()
    believed = await harness.object(kind, said["id"])
    assert (0, False) == (believed["contradictions"], believed["unsettled"])
    assert (await harness.record())["exact"] is True


async def test_agreeing_answers_are_believed_after_an_hour(harness: Harness) -> None:
    """I5: after three agreeing reads over an hour a read is believed even then, with an alarm: no row may wedge."""
    harness.api.put(customer(), subscription(status="active"))
    await harness.apply(
        event("customer.created", customer()),
        event("customer.subscription.deleted", subscription(status="canceled", ended_at=NOON)),
    )
    await harness.confirm(times=4)
    assert "ended" == (await harness.record())["status"]
    assert 4 == (await harness.object("subscription", "sub_1"))["contradictions"]
    await harness.execute("update sync.objects set contradicted_at = now() - interval '61 minutes'")
    harness.api.now += 61 * 60
    await harness.confirm()
    record = await harness.record()
    assert ("active", True) == (record["status"], record["exact"])
    assert "contradiction subscription sub_1" == await harness.fetchval("select name from sync.alarms")


def facts(**fields: Any) -> Subscription:
    found = parse_object(subscription(**fields)).facts
    assert isinstance(found, Subscription)
    return found


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(NOON + seconds, UTC)


@pytest.mark.parametrize(
    ("fields", "deadline"),
    [
        ({"status": "trialing", "trial_end": NOON + DAY}, DAY),
        ({"status": "trialing", "trial_end": NOON + DAY, "cancel_at": NOON + HOUR}, HOUR),
        ({"status": "active", "current_period_end": NOON + 30 * DAY}, 30 * DAY),
        ({"status": "active", "current_period_end": NOON + 30 * DAY, "cancel_at": NOON + DAY}, DAY),
        ({"status": "active", "trial_end": NOON + DAY, "current_period_end": NOON + 30 * DAY}, 30 * DAY),
        ({"status": "past_due", "current_period_end": NOON + DAY}, DAY),
        ({"status": "incomplete"}, DAY),
        ({"status": "paused", "current_period_end": NOON + DAY}, None),
        ({"status": "unpaid", "cancel_at": NOON + DAY}, DAY),
        ({"status": "canceled", "current_period_end": NOON + DAY, "cancel_at": NOON + DAY}, None),
        ({"status": "incomplete_expired"}, None),
        ({"status": "a status of tomorrow", "cancel_at": NOON + DAY}, DAY),
    ],
)
def test_deadlines(fields: dict[str, Any], deadline: int | None) -> None:
    """Which moment each status waits for."""
    assert (None if deadline is None else moment(deadline)) == deadline_of(facts(**fields), ())


def test_deadline_that_has_passed_is_looked_at_ever_less_often() -> None:
    """1, 2, 4 ... 24 hours after a read that found the deadline passed and nothing changed."""
    late = facts(status="active", current_period_end=NOON - 3 * HOUR)
    waits, late_reads = [], 0
    for _ in range(7):
        wait, late_reads = next_look(late, (), read_at=moment(0), late_reads=late_reads)
        assert wait is not None
        waits.append(wait // timedelta(hours=1))
    assert [1, 2, 4, 8, 16, 24, 24] == waits


def test_test_clock_is_no_tight_loop() -> None:
    """The time of a test clock does not move until somebody moves it, which events announce."""
    frozen = facts(status="active", current_period_end=NOON - 90 * DAY, test_clock="clock_1")
    assert (timedelta(hours=24), 0) == next_look(frozen, (), read_at=moment(0), late_reads=5)


async def test_lost_event_is_found_by_its_deadline(harness: Harness) -> None:
    """B31: canceled at period end, and the event of its end is lost: two hours after the end it is read again."""
    end = NOON + 30 * DAY
    running = subscription(cancel_at_period_end=True, cancel_at=end, current_period_end=end)
    harness.api.put(customer(), running)
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.updated", running)
    )
    await harness.settle()
    assert ("canceled", True) == await told(harness, "status", "exact")
    appointed = await harness.fetchval("select read_at - now() from sync.objects where kind = 'subscription'")
    assert abs(appointed - (timedelta(days=30) + GRACE)) < timedelta(minutes=1)
    harness.api.now = end + 2 * HOUR
    harness.api.put(subscription(status="canceled", ended_at=end, cancel_at_period_end=True, cancel_at=end))
    await harness.execute("update sync.objects set read_at = now() where kind = 'subscription'")
    await harness.engine.confirm(linger=False)
    record = await harness.record()
    assert ("ended", True) == (record["status"], record["exact"])
    change = (await harness.fetch("select * from billing.status_changes order by id"))[-1]
    assert ("canceled", "ended", "deadline") == tuple(
        change[name] for name in ("status_before", "status_after", "source")
    )


async def test_late_reads_are_counted_from_read_to_read(harness: Harness) -> None:
    """I10: each read that finds the deadline passed doubles the wait for the next one, also across reads."""
    late = subscription(current_period_end=NOON - 3 * HOUR)
    harness.api.put(customer(), late)
    await harness.apply(event("customer.created", customer()), event("customer.subscription.updated", late))
    await harness.settle()
    waits = []
    for _ in range(5):
        waits.append(
            await harness.fetchval(
                "select round(extract(epoch from read_at - now()) / 3600)::int "
                "from sync.objects where kind = 'subscription'"
            )
        )
        await harness.execute("update sync.objects set read_at = now() where kind = 'subscription'")
        await harness.engine.confirm(linger=False)
    assert [1, 2, 4, 8, 16] == waits


async def test_waiting_for_a_deadline_is_settled(harness: Harness) -> None:
    """A read that only time has appointed leaves the record exact."""
    harness.api.put(customer(), subscription(current_period_end=NOON + 30 * DAY))
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.settle()
    assert (await harness.object("subscription", "sub_1"))["read_at"] is not None
    assert (await harness.record())["exact"] is True


async def test_first_sight_of_a_customer_pulls_its_history(harness: Harness) -> None:
    """A customer whose customer.created never came is complete, and so exact, once its lists were read."""
    ended = subscription("sub_0", status="canceled", ended_at=NOON - DAY, start_date=NOON - 90 * DAY)
    harness.api.put(customer(), subscription())
    harness.api.bodies |= {
        "/v1/subscriptions": listing([subscription(), ended]),
        "/v1/invoices": listing([]),
        "/v1/charges": listing([charge(), charge("ch_0", amount=500, amount_captured=500)]),
        "/v1/checkout/sessions": listing([]),
        "/v1/subscription_schedules": listing([]),
        "/v1/credit_notes": listing([]),
        "/v1/payment_intents": listing([]),
    }
    await harness.apply(event("customer.subscription.updated", subscription()))
    await harness.settle()
    assert (False, 0) == await told(harness, "exact", "lifetime_revenue")
    await sweep_bulk(harness.engine)
    assert 0 == reads_of(harness, "/v1/charges")  # its customer.created may still come
    await harness.execute("update sync.customers set history_at = now()")
    await sweep_bulk(harness.engine)
    await harness.settle()
    record = await harness.record()
    assert (True, 2500, "active") == (record["exact"], record["lifetime_revenue"], record["status"])
    assert {"sub_0", "sub_1"} == {
        row[0] for row in await harness.fetch("select id from stripe.subscriptions")
    }
    assert await harness.fetchval("select history_at is null and complete from sync.customers")


async def test_object_that_nobody_understands_stops_no_history(harness: Harness) -> None:
    """I7: what is wrong with one object costs that object: the rest is stored, and the customer is not exact."""
    strange = subscription("sub_0", items="?")
    harness.api.put(customer(), subscription(), strange)
    harness.api.bodies |= {
        "/v1/subscriptions": listing([strange, subscription()]),
        "/v1/invoices": listing([]),
        "/v1/charges": listing([charge()]),
        "/v1/checkout/sessions": listing([]),
        "/v1/subscription_schedules": listing([]),
        "/v1/credit_notes": listing([]),
        "/v1/payment_intents": listing([]),
    }
    await harness.apply(event("customer.subscription.updated", subscription()))
    await harness.execute("update sync.customers set history_at = now()")
    await sweep_bulk(harness.engine)
    assert await harness.fetchval("select complete and history_error is null from sync.customers")
    await harness.confirm(times=UNREADABLE_MAX)
    record = await harness.record()
    assert (False, 2000, "active") == (record["exact"], record["lifetime_revenue"], record["status"])
    assert (await harness.object("subscription", "sub_0"))["parked_at"] is not None


async def test_history_that_fails_is_begun_again(harness: Harness) -> None:
    """A list that cannot be read leaves the customer incomplete, and its error to be seen."""
    harness.api.put(customer(), subscription())
    harness.api.say("/v1/subscriptions", 500, {"error": {"message": "no"}})
    await harness.apply(event("customer.subscription.updated", subscription()))
    await harness.execute("update sync.customers set history_at = now()")
    await sweep_bulk(harness.engine)
    (row,) = await harness.fetch(
        "select complete, history_at > now() as later, history_error from sync.customers"
    )
    assert (False, True) == (row["complete"], row["later"])
    assert "500" in row["history_error"]


async def test_unknown_references_are_fetched(harness: Harness) -> None:
    """A charge names an unknown customer: it is read, too."""
    harness.api.put(customer(name="Ada"), charge())
    await harness.apply(event("charge.succeeded", charge()))
    await harness.settle()
    assert "Ada" == (await harness.record())["name"]


async def test_product_is_read_with_all_its_prices(harness: Harness) -> None:
    """A price's rank among its product's prices is a version number: an unknown price counts."""
    older = {"object": "price", "id": "price_0", "product": "prod_1", "created": NOON - DAY, "metadata": {}}
    prices = [older | {"recurring": {"interval": "month", "interval_count": 1}}]
    prices.append(prices[0] | {"id": "price_1", "created": NOON})
    harness.api.put(customer(), subscription(items=listing([item("si_1")])))
    harness.api.bodies |= {
        "/v1/prices": listing(prices),
        "/v1/prices/price_1": prices[1],
        "/v1/products/prod_1": {"object": "product", "id": "prod_1", "created": NOON - DAY, "metadata": {}},
    }
    await harness.apply(
        event("customer.created", customer()),
        event("customer.subscription.created", subscription(items=listing([item("si_1")]))),
    )
    await harness.settle()
    assert 2 == (await harness.record())["product_version_number"]


async def test_prices_of_several_products_are_listed_together(harness: Harness) -> None:
    """For two products all prices of the account are listed once, the archived ones too, instead of twice; prices of
    which nothing was known count. The prices that are due themselves are not asked for.
    """
    price = {
        "object": "price",
        "created": NOON,
        "metadata": {},
        "recurring": {"interval": "month", "interval_count": 1},
    }
    known = [price | {"id": f"price_{n}", "product": f"prod_{n}"} for n in (1, 2)]
    unknown = [
        price | {"id": f"price_0{n}", "product": f"prod_{n}", "created": NOON - DAY} for n in (1, 2, 3)
    ]
    products = [
        {"object": "product", "id": f"prod_{n}", "created": NOON - DAY, "metadata": {}} for n in (1, 2)
    ]
    harness.api.put(customer(), subscription(items=listing([item("si_1")])), *products)
    harness.api.bodies["/v1/prices"] = listing([*known, *unknown])
    await harness.apply(
        event("customer.created", customer()),
        event("customer.subscription.created", subscription(items=listing([item("si_1")]))),
        *(event(f"{each['object']}.created", each) for each in (*products, *known)),
    )
    await harness.settle()
    assert 2 == (await harness.record())["product_version_number"]
    assert 2 == harness.api.asked.count("/v1/prices")
    assert not [path for path in harness.api.asked if path.startswith("/v1/prices/")]
    rows = await harness.fetch("select id from stripe.prices order by id")
    assert ["price_01", "price_02", "price_1", "price_2"] == [row["id"] for row in rows]


async def test_thin_event_marks_and_its_twin_adds_nothing(harness: Harness) -> None:
    """A v1 thin event carries no state: its object is read. Its snapshot twin is the same change, and one effect."""
    thin = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "v1.charge.succeeded",
        "livemode": False,
        "created": "2026-10-01T12:00:00.000Z",
        "related_object": {"id": "ch_1", "type": "charge", "url": "/v1/charges/ch_1"},
        "snapshot_event": "evt_twin",
    }
    harness.api.put(customer(), charge())
    await harness.apply(
        event("customer.created", customer()), event("charge.succeeded", charge(), event_id="evt_twin")
    )
    await harness.apply(json.dumps(thin).encode())
    await harness.settle()
    assert (2000, True) == await told(harness, "lifetime_revenue", "exact")
    assert 1 == reads_of(harness, "/v1/charges/ch_1")
    assert {"applied"} == set((await harness.event_states()).values())


async def test_thin_event_alone(harness: Harness) -> None:
    """Without a twin, too, the read brings the record."""
    thin = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "v1.charge.succeeded",
        "livemode": False,
        "created": "2026-10-01T12:00:00.000Z",
        "related_object": {"id": "ch_1", "type": "charge", "url": "/v1/charges/ch_1"},
    }
    harness.api.put(customer(), charge())
    await harness.apply(json.dumps(thin).encode())
    await harness.settle()
    assert 2000 == (await harness.record())["lifetime_revenue"]


async def test_same_id_with_another_payload(webhooks_only: Harness) -> None:
    """Two endpoints of other API versions send one event in two shapes: the first to come is kept."""
    harness = webhooks_only
    await harness.apply(event("customer.created", customer(name="Ada"), event_id="evt_1"))
    await harness.apply(event("customer.created", customer(name="Bob"), event_id="evt_1"))
    assert "Ada" == (await harness.record())["name"]
    assert 1 == await harness.fetchval("select count(*) from sync.events")


async def test_gap_is_filled_once(harness: Harness) -> None:
    """Events that were never delivered come from /v1/events; delivered ones are not taken twice."""
    kept = event("customer.created", customer(), event_id="evt_kept")
    lost = event("charge.succeeded", charge(), event_id="evt_lost")
    harness.api.put(customer(), charge())
    harness.api.bodies["/v1/events"] = listing([json.loads(body) for body in (lost, kept)])
    await harness.apply(kept)
    await sweep_bulk(harness.engine)
    await harness.settle()
    assert (2000, True) == await told(harness, "lifetime_revenue", "exact")
    assert {"evt_kept": "applied", "evt_lost": "applied"} == dict(await harness.event_states())
    (account,) = await harness.fetch("select * from sync.accounts")
    assert datetime.fromtimestamp(harness.api.now, UTC) == account["cursor_at"]
    assert await harness.fetchval("select last_gap_fill_at is not null from billing.freshness")


async def test_gap_that_cannot_be_filled_keeps_its_cursor(harness: Harness) -> None:
    """The cursor moves only when the last page is stored."""
    await harness.apply(event("customer.created", customer()))
    harness.api.bodies["/v1/events"] = listing([])
    await sweep_bulk(harness.engine)
    harness.api.now += DAY
    await harness.execute("update sync.accounts set due_at = now()")
    harness.api.say("/v1/events", 500, {"error": {"message": "no"}})
    await sweep_bulk(harness.engine)
    (account,) = await harness.fetch("select * from sync.accounts")
    assert datetime.fromtimestamp(NOON, UTC) == account["cursor_at"]
    assert "500" in account["error"]


async def test_events_that_expired_raise_an_alarm(harness: Harness) -> None:
    """A cursor older than the 30 days that Stripe keeps events: only an audit can find what was lost."""
    harness.api.bodies["/v1/events"] = listing([])
    await sweep_bulk(harness.engine)
    harness.api.now += 31 * DAY
    await harness.execute("update sync.accounts set due_at = now()")
    await sweep_bulk(harness.engine)
    assert "subledger audit --repair" in await harness.fetchval("select detail from sync.alarms")


async def test_date_in_the_future_moves_no_cursor(harness: Harness) -> None:
    """I10: a Date a year ahead hides no event of that year: a cursor goes at most a minute beyond Postgres's clock."""
    harness.api.bodies["/v1/events"] = listing([])
    harness.api.now = int(time.time()) + 366 * DAY
    for _ in range(2):  # the first fill asks Stripe's clock where to begin
        await harness.execute("update sync.accounts set due_at = now()")
        await sweep_bulk(harness.engine)
        assert await harness.fetchval(
            "select cursor_at between now() and now() + interval '1 minute' from sync.accounts"
        )
    assert 0 == await harness.fetchval("select count(*) from sync.alarms")


async def test_cursor_in_the_future_is_brought_back(harness: Harness) -> None:
    """I10: a cursor that a wrong Date has moved is brought back: all events that Stripe keeps are read again, and an
    alarm says that older ones may be lost.
    """
    harness.api.put(customer(), charge())
    lost = event("charge.succeeded", charge(), event_id="evt_lost")
    harness.api.bodies["/v1/events"] = listing([json.loads(lost)])
    harness.api.now = int(time.time())
    await harness.execute(
        "insert into sync.accounts (account_id, live_mode, cursor_at, events_since) "
        "values ('', false, now() + interval '1 year', now() - interval '2 years')"
    )
    assert harness.lanes is not None
    paths, reading = list[str](), harness.lanes.bulk.read

    async def read(path: str, **given: Any) -> Any:
        paths.append(path)
        return await reading(path, **given)

    harness.lanes.bulk.read = read  # type: ignore[method-assign]
    await sweep_bulk(harness.engine)
    (account,) = await harness.fetch(
        "select cursor_at <= now() + interval '1 minute' as back, "
        "events_since between now() - interval '31 days' and now() - interval '29 days' as doubted from sync.accounts"
    )
    assert (True, True) == tuple(account)
    (asked,) = [int(path.rpartition("=")[2]) for path in paths if path.startswith("/v1/events")]
    assert 29 * DAY < time.time() - asked < 31 * DAY
    assert {"evt_lost"} == (await harness.event_states()).keys()
    assert "still to come" in await harness.fetchval(
        "select detail from sync.alarms where name = 'events expired'"
    )


async def test_key_of_another_account_reads_nothing(pool: Pool, database_url: str) -> None:
    """I8: with a key of another account everything would look missing; nothing is read, and the alarm says why."""
    async with open_harness(pool, database_url) as harness:
        harness.api.put(customer(name="Ada"))
        await harness.apply(event("customer.created", customer(name="Ada")))
        await harness.settle()
    stranger = Api()
    stranger.bodies = {"/v1/account": {"object": "account", "id": "acct_stranger"}}
    async with open_harness(pool, database_url, api=stranger) as harness:
        await harness.apply(event("customer.updated", customer(name="Ada"), after=9))
        await harness.confirm(times=2)
        assert 0 == reads_of(harness, "/v1/customers/cus_1")
        assert (await harness.object("customer", "cus_1"))["missing_since"] is None
        alarm = await harness.fetchval(
            "select detail from sync.alarms where name = 'api key of another account'"
        )
        assert "acct_room" in alarm
        assert "acct_stranger" in alarm


@pytest.mark.parametrize(
    ("status", "body"),
    [(503, {}), (404, {}), (400, {}), (403, {}), (200, b"<html>"), (200, b"\xff"), (401, {})],
    ids=["unavailable", "missing", "bad request", "restricted", "html", "no text", "unknown"],
)
async def test_key_of_another_account_stays_out(harness: Harness, status: int, body: object) -> None:
    """I8, I9: a check that says nothing does not clear another account's key: its events would become records."""
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    harness.api.put(customer("cus_foreign"))
    foreign = json.loads(event("customer.created", customer("cus_foreign"), event_id="evt_foreign"))
    harness.api.bodies["/v1/events"] = listing([foreign], url="/v1/events")
    harness.api.bodies["/v1/account"] = {"object": "account", "id": "acct_other"}
    restarted = harness.another_engine()
    await sweep_bulk(restarted)
    harness.api.say("/v1/account", status, body)
    restarted._key_checked_at = float("-inf")
    await sweep_bulk(restarted)
    await sweep(restarted)
    assert 0 == reads_of(harness, "/v1/events")
    assert 1 == await harness.fetchval(
        "select count(*) from sync.alarms where name = 'api key of another account'"
    )
    # The right key is let in again as soon as Stripe says which account it belongs to.
    harness.api.bodies["/v1/account"] = {"object": "account", "id": "acct_room"}
    restarted._key_checked_at = float("-inf")
    await sweep_bulk(restarted)
    assert 0 == await harness.fetchval("select count(*) from sync.alarms")
    assert reads_of(harness, "/v1/events")


async def test_key_that_may_not_read_its_account(harness: Harness) -> None:
    """A restricted key is let through if nothing speaks against it, also when a wrong one was there before it."""
    harness.api.say("/v1/account", 401, error("", "Invalid API Key"))
    harness.api.put(customer())
    await harness.confirm()
    await harness.apply(event("customer.created", customer()))
    await harness.confirm()
    assert 0 == reads_of(harness, "/v1/customers/cus_1")
    assert "api key" == await harness.fetchval("select name from sync.alarms")
    harness.api.say("/v1/account", 403, error("", "no right"))
    assert "pending" in (await harness.event_states()).values()
    harness.engine._key_checked_at = float("-inf")
    await harness.settle()
    assert 1 == reads_of(harness, "/v1/customers/cus_1")
    assert 0 == await harness.fetchval("select count(*) from sync.alarms")


async def test_kind_that_the_key_may_not_read(harness: Harness) -> None:
    """A restricted key without a right leaves its objects dirty; an alarm names the right, and goes with its cause."""
    harness.api.put(customer())
    harness.api.say("/v1/customers/cus_1", 403, {"error": {"message": "not allowed"}})
    await harness.apply(event("customer.created", customer()))
    await harness.confirm()
    assert "/v1/customers" in await harness.fetchval("select detail from sync.alarms")
    await harness.settle()
    assert (await harness.record())["exact"] is True
    assert 0 == await harness.fetchval("select count(*) from sync.alarms")


async def test_mark_that_comes_during_a_long_read_waits_for_no_lease(harness: Harness) -> None:
    """The worker claims it, and finds the earlier read under way: once that is stored, it is read again soon."""
    harness.api.put(customer())
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    await harness.apply(event("customer.updated", customer(name="Ada"), after=40))
    gate = harness.api.hold("/v1/customers/cus_1")
    await harness.make_due()
    reading = asyncio.create_task(harness.engine.confirm(linger=False))
    await gate.reached_by(reading)
    await harness.apply(event("customer.updated", customer(name="Ada L."), after=41))
    waits = "select extract(epoch from read_at - now())::float8 from sync.objects where kind = 'customer'"
    await harness.make_due()

    async def claimed() -> bool:
        return bool(await harness.fetchval(waits) > 5)

    await until(claimed, what="the second claim")
    gate.open.set()
    await reading
    assert await harness.fetchval(waits) <= 5


async def test_subscription_that_only_the_eleventh_line_names(harness: Harness) -> None:
    """A renewal counts wherever its invoice names the subscription: the lines are read on, and only then."""
    added = {"parent": {"type": "invoice_item_details", "invoice_item_details": {"invoice_item": "ii_1"}}}
    renewed = {
        "parent": {"subscription_item_details": {"subscription": "sub_1", "subscription_item": "si_1"}}
    }
    period = {"object": "line_item", "period": {"start": NOON, "end": NOON + 100}}
    invoice = {
        "object": "invoice",
        "id": "in_1",
        "customer": "cus_1",
        "created": NOON + 100,
        "status": "paid",
        "billing_reason": "subscription_cycle",
        "period_start": NOON,
        "period_end": NOON + 100,
        "currency": "usd",
        "parent": None,
        "lines": listing(
            [{"id": f"il_{number}", **period, **added} for number in range(10)],
            has_more=True,
            url="/v1/invoices/in_1/lines",
        ),
    }
    harness.api.put(customer(), subscription(), invoice)
    harness.api.bodies["/v1/invoices/in_1/lines"] = listing([{"id": "il_10", **period, **renewed}])
    harness.api.now = NOON + 200
    await harness.apply(
        event("customer.created", customer()),
        event("customer.subscription.created", subscription()),
        event("invoice.paid", invoice, after=100),
    )
    await harness.settle()
    assert (1, True) == await told(harness, "renewal_number", "exact")
    assert 1 == reads_of(harness, "/v1/invoices/in_1/lines")
