"""MRR in the record: known once Stripe has said it, and a history that says when it changed."""

from datetime import UTC, datetime
from typing import Any

from db.connection import Pool
from sandbox import STORIES, Sandbox, create_api
from tests.harness import (
    API_KEY,
    NOON,
    Api,
    Harness,
    customer,
    event,
    item,
    listing,
    open_harness,
    subscription,
    sweep,
)

Body = dict[str, Any]

DAY = 86_400


def price(**fields: object) -> Body:
    """20.00 USD a month, as a read shows it that asks for everything."""
    return {
        "object": "price",
        "id": "price_1",
        "product": "prod_1",
        "created": NOON,
        "active": True,
        "billing_scheme": "per_unit",
        "currency": "usd",
        "unit_amount": 2000,
        "unit_amount_decimal": "2000",
        "type": "recurring",
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
        "tiers": None,
        "currency_options": {"usd": {"unit_amount": 2000, "unit_amount_decimal": "2000"}},
        "metadata": {},
        "livemode": False,
    } | fields


PRODUCT: Body = {
    "object": "product",
    "id": "prod_1",
    "created": NOON,
    "active": True,
    "metadata": {},
    "livemode": False,
}


def to_price(*, quantity: int = 1, **fields: Any) -> Body:
    """A subscription to that price."""
    return subscription(**{"items": listing([item("si_1", quantity=quantity)]), "currency": "usd"} | fields)


def quarter_off(**fields: object) -> Body:
    coupon = {"object": "coupon", "id": "co_1", "percent_off": 25.0, "duration": "forever"}
    return {
        "object": "discount",
        "id": "di_1",
        "end": None,
        "source": {"type": "coupon", "coupon": coupon},
    } | fields


def coupon(**fields: object) -> Body:
    """What takes a quarter off, as an event shows it: what it is limited to is not said."""
    return {
        "object": "coupon",
        "id": "co_1",
        "created": NOON,
        "livemode": False,
        "percent_off": 25.0,
        "duration": "forever",
        "metadata": {},
    } | fields


async def begun(harness: Harness, **fields: Any) -> None:
    """A customer whose subscription, begun at NOON, was announced and read."""
    harness.api.put(customer(), PRODUCT, price(), to_price(**fields))
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", to_price(**fields))
    )
    await harness.settle()


async def mrr(harness: Harness) -> int | None:
    found: int | None = await harness.fetchval("select mrr from billing.customer_mrr")
    return found


async def found_by_an_audit(harness: Harness, subscription_id: str) -> None:
    """An audit has found that the subscription's row is wrong, and it is read."""
    await harness.execute(
        "update sync.objects set dirty = nextval('sync.tick'), read_at = now(), source = 'audit' where id = $1",
        subscription_id,
    )
    await harness.settle()


async def history(harness: Harness) -> list[tuple[int, int, float, bool]]:
    """Before, after, seconds since NOON, exact."""
    rows = await harness.fetch("select * from billing.mrr_changes order by id")
    return [
        (row["mrr_before"], row["mrr_after"], row["changed_at"].timestamp() - NOON, row["exact"])
        for row in rows
    ]


async def test_change_is_shown_confirmed_and_dated_by_its_event(harness: Harness) -> None:
    """A quantity changes: provisional at once, exact with the read, at the moment of the event."""
    await begun(harness)
    assert [(0, 2000, 0, True)] == await history(harness)
    await harness.apply(event("customer.subscription.updated", to_price(quantity=3), after=10 * DAY))
    assert [(0, 2000, 0, True), (2000, 6000, 10 * DAY, False)] == await history(harness)
    harness.api.put(to_price(quantity=3))
    await harness.settle()
    assert [(0, 2000, 0, True), (2000, 6000, 10 * DAY, True)] == await history(harness)
    assert 6000 == await mrr(harness)


async def test_each_currency_has_a_history_of_its_own(harness: Harness) -> None:
    """A subscription in euros begins beside one in dollars: what is confirmed in one currency ends no other history."""
    await begun(harness)
    euros = price(
        id="price_2", currency="eur", unit_amount=900, unit_amount_decimal="900", currency_options=None
    )
    beside = to_price(id="sub_2", currency="eur", items=listing([item("si_2") | {"price": euros}]))
    harness.api.put(euros, beside)
    await harness.apply(event("customer.subscription.created", beside, after=DAY))
    await harness.settle()
    harness.api.put(to_price(quantity=3))
    await harness.apply(event("customer.subscription.updated", to_price(quantity=3), after=10 * DAY))
    await harness.settle()
    rows = await harness.fetch(
        "select currency, mrr_before, mrr_after, exact from billing.mrr_changes order by id"
    )
    assert [("usd", 0, 2000, True), ("eur", 0, 900, True), ("usd", 2000, 6000, True)] == [
        tuple(row) for row in rows
    ]


async def test_items_that_were_left_out_are_not_worth_nothing(harness: Harness) -> None:
    """I8: an event shows the first items only: the sum is not known, rather than too small, until the read has all."""
    await begun(harness)
    both = listing([item("si_1"), item("si_2", quantity=2)])
    harness.api.put(to_price(items=both))
    cut = listing([item("si_1")], has_more=True, url="/v1/subscription_items?subscription=sub_1")
    await harness.apply(event("customer.subscription.updated", to_price(items=cut), after=DAY))
    assert None is await mrr(harness)
    assert [(0, 2000, 0, True)] == await history(harness)
    await harness.settle()
    assert 6000 == await mrr(harness)
    assert [(0, 2000, 0, True), (2000, 6000, DAY, True)] == await history(harness)


async def test_items_that_were_left_out_stay_unknown_without_a_key(webhooks_only: Harness) -> None:
    """I8: without an API key nothing is read: only an event with the whole list tells what is paid a month."""
    harness = webhooks_only
    cut = to_price(items=listing([item("si_1")], has_more=True))
    await harness.apply(
        event("price.created", price()),
        event("customer.created", customer()),
        event("customer.subscription.created", cut),
    )
    assert None is await mrr(harness)
    await harness.apply(event("customer.subscription.updated", to_price(), after=DAY))
    assert 2000 == await mrr(harness)


async def test_change_that_a_read_contradicts_is_taken_back(harness: Harness) -> None:
    """What only an old payload showed leaves no trace."""
    await begun(harness)
    await harness.apply(event("customer.subscription.updated", to_price(quantity=3), after=10 * DAY))
    await harness.settle()
    assert [(0, 2000, 0, True)] == await history(harness)
    assert 2000 == await mrr(harness)


async def test_churn_is_dated_by_the_end_and_not_by_the_news(harness: Harness) -> None:
    """The period ended on day 30; that its event came a day later moves no money into another month."""
    await begun(harness)
    ended = to_price(status="canceled", ended_at=NOON + 30 * DAY, canceled_at=NOON + 5 * DAY)
    harness.api.put(ended)
    await harness.apply(event("customer.subscription.deleted", ended, after=31 * DAY))
    assert [(0, 2000, 0, True), (2000, 0, 30 * DAY, False)] == await history(harness)
    await harness.settle()
    assert [(0, 2000, 0, True), (2000, 0, 30 * DAY, True)] == await history(harness)
    assert None is await mrr(harness)


async def test_churn_that_no_event_told_is_dated_by_the_end(harness: Harness) -> None:
    """An audit finds that a subscription has ended; another one's event of a later day says nothing about it."""
    another = subscription("sub_2")
    await begun(harness)
    harness.api.put(another, to_price(status="canceled", ended_at=NOON + 30 * DAY))
    await harness.apply(
        event("customer.subscription.created", another),
        event("customer.subscription.updated", another, after=45 * DAY),
    )
    assert [(0, 2000, 0, True)] == await history(harness)
    await found_by_an_audit(harness, "sub_1")
    assert [(0, 2000, 0, True), (2000, 0, 30 * DAY, True)] == await history(harness)


async def test_change_that_no_event_told_is_dated_when_it_was_seen(harness: Harness) -> None:
    """A quantity that an audit's read finds changed has no moment of its own: it has changed by now."""
    await begun(harness)
    another = subscription("sub_2")
    harness.api.put(to_price(quantity=2), another)
    await harness.apply(event("customer.subscription.created", another, after=45 * DAY))
    before = datetime.now(UTC)
    await found_by_an_audit(harness, "sub_1")
    rows = await harness.fetch("select mrr_after, changed_at from billing.mrr_changes order by id")
    assert [2000, 4000] == [row["mrr_after"] for row in rows]
    assert before.timestamp() - 5 < rows[-1]["changed_at"].timestamp()


async def test_discount_named_by_its_id_stays_known(harness: Harness) -> None:
    """F109: today's payloads name a discount by its id alone; what a read said about it holds until the next read."""
    await begun(harness, discounts=[quarter_off()])
    assert 1500 == await mrr(harness)
    await harness.apply(
        event("customer.subscription.updated", to_price(quantity=2, discounts=["di_1"]), after=DAY)
    )
    assert 3000 == await mrr(harness)
    await harness.apply(
        event("customer.subscription.updated", to_price(quantity=2, discounts=[]), after=2 * DAY)
    )
    assert 4000 == await mrr(harness)


async def test_customers_discount_stays_known(harness: Harness) -> None:
    """The customer's own discount: its payloads name the coupon by its id, and what a read said about it holds."""
    harness.api.put(customer(discount=quarter_off()), PRODUCT, price(), to_price(), coupon())
    bare = quarter_off(source={"type": "coupon", "coupon": "co_1"})
    await harness.apply(event("price.created", price()))
    await harness.apply(
        event("customer.created", customer(discount=bare)), event("customer.subscription.created", to_price())
    )
    assert None is await mrr(harness)
    await harness.settle()
    assert 1500 == await mrr(harness)
    await harness.apply(event("customer.updated", customer(discount=bare, name="Ada"), after=DAY))
    assert 1500 == await mrr(harness)
    await harness.apply(event("customer.updated", customer(discount=None), after=2 * DAY))
    assert 2000 == await mrr(harness)


async def test_discounts_of_items_beyond_the_first_ten(harness: Harness) -> None:
    """The rest of a cut list of items is read with the expansions that the subscription is read with."""
    half = quarter_off(source={"type": "coupon", "coupon": coupon(percent_off=50.0)})
    cut = listing([item("si_1")], has_more=True, url="/v1/subscription_items?subscription=sub_1")
    harness.api.put(customer(), PRODUCT, price(), to_price(items=cut))
    harness.api.bodies["/v1/subscription_items"] = listing([item("si_2") | {"discounts": [half]}])
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", to_price(items=cut))
    )
    await harness.settle()
    assert 3000 == await mrr(harness)
    asked = harness.api.queries["/v1/subscription_items"]
    assert ["subscription=sub_1&limit=100&expand[]=data.discounts&starting_after=si_1"] == asked


async def test_coupon_of_an_item_is_looked_up(harness: Harness) -> None:
    """A read expands an item's discounts and not their coupons, which are five levels down: the mirror has those."""
    bare = quarter_off(source={"type": "coupon", "coupon": "co_1"})
    of_item = item("si_1") | {"discounts": [bare]}
    await harness.apply(event("coupon.created", coupon()), event("price.created", price()))
    harness.api.put(customer(), PRODUCT, price(), to_price(items=listing([of_item])), coupon())
    told = to_price(items=listing([item("si_1") | {"discounts": ["di_1"]}]))
    await harness.apply(event("customer.created", customer()), event("customer.subscription.created", told))
    assert None is await mrr(harness)
    await harness.settle()
    assert 1500 == await mrr(harness)
    await harness.apply(event("customer.subscription.updated", told, after=DAY))
    assert 1500 == await mrr(harness)


async def test_coupon_that_comes_after_its_subscription(webhooks_only: Harness) -> None:
    """When it comes, every customer with a discount that names it is derived, be it a subscription's or an item's."""
    harness = webhooks_only
    bare = quarter_off(source={"type": "coupon", "coupon": "co_1"})
    of_item = item("si_1") | {"discounts": [bare]}
    named: list[Body] = [{"discounts": [bare]}, {"items": listing([of_item])}, {}]
    await harness.apply(event("product.created", PRODUCT), event("price.created", price()))
    for number, fields in enumerate(named, start=1):
        own = {"id": f"sub_{number}", "customer": f"cus_{number}"}
        body = customer(f"cus_{number}", discount=bare if not fields else None)
        await harness.apply(
            event("customer.created", body), event("customer.subscription.created", to_price() | own | fields)
        )
    known = "select mrr from billing.customer_mrr order by stripe_customer_id"
    assert [None] * 3 == [row[0] for row in await harness.fetch(known)]
    await harness.apply(event("coupon.created", coupon(applies_to=None)))
    await harness.engine.derive()
    assert [1500] * 3 == [row[0] for row in await harness.fetch(known)]


async def test_coupon_that_no_event_told_of_is_read(harness: Harness) -> None:
    """A coupon from before the endpoint: it is read because others name it, with the products it is limited to."""
    bare = quarter_off(source={"type": "coupon", "coupon": "co_1"})
    of_item = item("si_1") | {"discounts": [bare]}
    harness.api.put(coupon(applies_to={"products": ["prod_1"]}))
    await begun(harness, items=listing([of_item]))
    assert 1500 == await mrr(harness)
    assert ["prod_1"] == await harness.fetchval("select applies_to from stripe.coupons")
    assert (await harness.record())["exact"]


async def test_limits_of_a_coupon_stay_known(harness: Harness) -> None:
    """Its events do not say what it is limited to: what a read said holds, and is read again."""
    support = price(id="price_2", product="prod_2", unit_amount=8000, unit_amount_decimal="8000")
    second = item("si_2")
    second["price"] |= {"id": "price_2", "product": "prod_2"}
    two = {"items": listing([item("si_1"), second]), "discounts": [quarter_off()]}
    limited = coupon(applies_to={"products": ["prod_2"]})
    harness.api.put(support, PRODUCT | {"id": "prod_2"}, limited)
    await begun(harness, **two)
    assert 2000 + 6000 == await mrr(harness)
    await harness.apply(event("coupon.updated", coupon(name="Renamed"), after=DAY))
    await harness.engine.derive()
    assert 2000 + 6000 == await mrr(harness)
    assert ["Renamed", ["prod_2"]] == list(
        (await harness.fetch("select name, applies_to from stripe.coupons"))[0]
    )
    harness.api.put(coupon(applies_to=None))
    await harness.settle()
    assert 1500 + 6000 == await mrr(harness)


async def test_redemptions_of_a_coupon_concern_nobody(webhooks_only: Harness) -> None:
    """Its number of redemptions changes all the time, and changes no record."""
    harness = webhooks_only
    await harness.apply(event("coupon.created", coupon(times_redeemed=1)))
    await harness.engine.derive()
    await harness.receive(event("coupon.updated", coupon(times_redeemed=2, valid=False), after=DAY))
    await harness.engine.apply()
    (row,) = await harness.fetch("select touched > resolved from sync.objects where kind = 'coupon'")
    assert not row[0]
    assert (2, False) == tuple((await harness.fetch("select times_redeemed, valid from stripe.coupons"))[0])


async def test_another_discount_is_not_the_one_that_was_told(harness: Harness) -> None:
    """What a read said about a discount holds neither for the next one nor for itself together with a second one."""
    await begun(harness, discounts=[quarter_off()])
    for ids in (["di_2"], ["di_1", "di_2"]):
        await harness.apply(event("customer.subscription.updated", to_price(discounts=ids), after=DAY))
        assert None is await mrr(harness)
        await harness.settle()
        assert 1500 == await mrr(harness)


async def test_discount_that_is_added_without_reads(webhooks_only: Harness) -> None:
    """There was none, and now there is one that nothing describes: not known, and not what it was before."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", customer()),
        event("product.created", PRODUCT),
        event("price.created", price()),
        event("customer.subscription.created", to_price(discounts=[])),
    )
    assert 2000 == await mrr(harness)
    await harness.apply(event("customer.subscription.updated", to_price(discounts=["di_1"]), after=DAY))
    assert None is await mrr(harness)


async def test_unknown_discount_is_no_discount_of_nothing(webhooks_only: Harness) -> None:
    """Without reads a discount that nothing described leaves MRR unknown, and its history as it is."""
    harness = webhooks_only
    await harness.apply(
        event("customer.created", customer()),
        event("product.created", PRODUCT),
        event("price.created", price()),
        event("customer.subscription.created", to_price(discounts=["di_1"])),
    )
    (row,) = await harness.fetch("select * from billing.customer_mrr")
    assert (None, 1) == (row["mrr"], row["subscriptions"])
    assert [] == await history(harness)


async def test_same_discount_in_all_shapes(webhooks_only: Harness) -> None:
    """F109: a list of objects, one object by itself, both with the list holding its id; the coupon where it stood."""
    harness = webhooks_only
    coupon = {"object": "coupon", "id": "co_1", "percent_off": 25.0, "duration": "forever"}
    single = {"object": "discount", "id": "di_1", "end": None, "coupon": coupon}
    shapes: list[Body] = [
        {"discounts": [quarter_off()]},
        {"discounts": [single]},
        {"discount": single},
        {"discount": single, "discounts": ["di_1"]},
    ]
    for number, shape in enumerate(shapes, start=1):
        customer_id, own = f"cus_{number}", {"id": f"sub_{number}", "customer": f"cus_{number}"}
        await harness.apply(
            event("customer.created", customer(customer_id)),
            event("price.created", price()),
            event("customer.subscription.created", to_price() | own | shape),
        )
    assert [1500] * 4 == [row[0] for row in await harness.fetch("select mrr from billing.customer_mrr")]


async def test_tiers_are_asked_for(harness: Harness) -> None:
    """A payload leaves out a price's tiers: unknown until the read, and known from then on."""
    tiered = price(
        billing_scheme="tiered", tiers_mode="volume", unit_amount=None, unit_amount_decimal=None, tiers=[
            {"up_to": 2, "unit_amount": 1000, "unit_amount_decimal": "1000", "flat_amount": None},
            {"up_to": None, "unit_amount": 700, "unit_amount_decimal": "700", "flat_amount": 500},
        ]
    )  # fmt: skip
    told = {name: value for name, value in tiered.items() if name not in ("tiers", "currency_options")}
    harness.api.put(customer(), PRODUCT, tiered, to_price(quantity=3))
    await harness.apply(
        event("customer.created", customer()),
        event("price.created", told),
        event("customer.subscription.created", to_price(quantity=3)),
    )
    assert None is await mrr(harness)
    await harness.settle()
    assert 2600 == await mrr(harness)
    await harness.apply(event("price.updated", told | {"nickname": "renamed"}, after=DAY))
    await harness.engine.derive()
    assert 2600 == await mrr(harness)
    assert [(0, 2600, 0, True)] == await history(harness)


async def test_discount_ends_without_an_event(harness: Harness) -> None:
    """Stripe says nothing when a discount ends: the customer is derived again at that moment."""
    soon = datetime.now(UTC).timestamp() + 3600
    await begun(harness, discounts=[quarter_off(end=int(soon))])
    assert 1500 == await mrr(harness)
    due = await harness.fetchval("select rederive_at from sync.customers")
    assert int(soon) == due.timestamp()
    # As if the hour had passed: the discount ended a minute ago.
    await harness.execute(
        "update stripe.subscriptions set discounts = jsonb_set(discounts, '{0,ends}', "
        "to_jsonb(to_char(now() at time zone 'UTC' - interval '1 minute', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')))"
    )
    await harness.execute("update sync.customers set rederive_at = now() - interval '1 minute'")
    await sweep(harness.engine)
    await harness.engine.derive()
    assert 2000 == await mrr(harness)
    last = (await history(harness))[-1]
    assert (1500, 2000) == last[:2]
    assert abs(NOON + last[2] - (datetime.now(UTC).timestamp() - 60)) < 30


async def test_attached_account_shows_each_beginning_in_its_month(pool: Pool, database_url: str) -> None:
    """A customer first seen long after it began: its history begins and ends when its subscriptions did."""
    api = Api()
    api.put(
        customer(), PRODUCT, price(), to_price(),
        to_price(id="sub_0", start_date=NOON - 90 * DAY, created=NOON - 90 * DAY, status="canceled",
            ended_at=NOON - 30 * DAY),
    )  # fmt: skip
    async with open_harness(pool, database_url, api=api) as harness:
        await harness.apply(
            event("customer.created", customer()),
            event("customer.subscription.updated", to_price(), after=50 * DAY),
            event("customer.subscription.updated", api.bodies["/v1/subscriptions/sub_0"], after=51 * DAY),
        )
        await harness.settle()
        assert [(0, 2000, -90 * DAY, True), (2000, 0, -30 * DAY, True), (0, 2000, 0, True)] == await history(
            harness
        )


async def test_histories_end_where_records_stand(pool: Pool, database_url: str) -> None:
    """Over an account that lived stories of all kinds, applied piece by piece: each history is a chain from 0 to the
    MRR of its record, and the movements of all months add up to the sum of them.
    """
    sandbox = Sandbox(seed=11)
    sandbox.play(["everything_off", "half_off", *sorted(STORIES)[::5]])
    events = sandbox.run()
    async with open_harness(pool, database_url, api=Api(create_api(sandbox, [API_KEY]))) as harness:
        for first in range(0, len(events), 200):
            await harness.apply(*events[first : first + 200])
            await harness.confirm()
        await harness.settle()
        stored = await harness.fetch("select * from billing.customer_mrr order by customer_uid, currency")
        assert [] == [row for row in stored if row["mrr"] is None], "everything can be known of these stories"
        chains: dict[tuple[object, str], int] = {}
        for row in await harness.fetch("select * from billing.mrr_changes order by id"):
            key = (row["customer_uid"], row["currency"])
            assert chains.get(key, 0) == row["mrr_before"]
            chains[key] = row["mrr_after"]
        assert {(row["customer_uid"], row["currency"]): row["mrr"] for row in stored if row["mrr"]} == {
            key: stands for key, stands in chains.items() if stands
        }
        assert len(chains) > len([key for key, stands in chains.items() if stands]), "some have churned"
        by_view = await harness.fetch("""
            select distinct on (live_mode, account_id, currency) live_mode, account_id, currency, mrr_at_end
            from billing.mrr_movements order by live_mode, account_id, currency, month desc
        """)
        by_record = await harness.fetch("""
            select live_mode, account_id, currency, sum(mrr)::bigint from billing.customer_mrr
            group by 1, 2, 3 order by 1, 2, 3
        """)
        assert [tuple(row) for row in by_record if row[3]] == [tuple(row) for row in by_view if row[3]]
