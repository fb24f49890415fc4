"""The views that count money: the same numbers as the rules in billing/, and Stripe's arithmetic for months."""

import json
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from subledger.db.connection import Pool
from subledger.sandbox import STORIES, Sandbox, create_api
from tests.worker.room import API_KEY, Api, open_room

Body = dict[str, Any]


async def test_months_add_up_to_what_customers_paid(pool: Pool, database_url: str) -> None:
    """Over an account that lived every story, the months of each currency sum up to the customers' revenue: every
    column, by two ways that share no code.
    """
    sandbox = Sandbox(seed=8)
    sandbox.play(sorted(STORIES))
    async with open_room(pool, database_url, api=Api(create_api(sandbox, [API_KEY]))) as room:
        await room.apply(*sandbox.run())
        await room.settle()
        sums = "sum(gross), sum(refunded), sum(disputed), sum(out_of_band), sum(net)"
        by_month, by_customer = [
            await room.fetch(
                f"select account_id, live_mode, currency, {sums} from billing.{table} group by 1, 2, 3 order by 1, 2, 3"
            )
            for table in ("monthly_revenue", "customer_revenue")
        ]
        assert by_customer == by_month
        totals = [sum(row[place] for row in by_customer) for place in (3, 4, 5, 6)]
        assert all(totals), "the stories have no refund, dispute or payment outside Stripe"
        months = await room.fetchval("select count(distinct month) from billing.monthly_revenue")
        assert months > 1


AMOUNT = 1000
"""Minor units of the price in these tests, for one."""


def price(**fields: object) -> Body:
    return {
        "unit_amount_decimal": str(AMOUNT),
        "interval": "month",
        "interval_count": 1,
        "recurring": True,
    } | {
        "billing_scheme": "per_unit",
        "usage_type": "licensed",
        "currency": "usd",
        **fields,
    }


def discount(percent: float | None = None, amount: int | None = None, **fields: object) -> Body:
    coupon = {
        "id": "co_1",
        "object": "coupon",
        "percent_off": percent,
        "amount_off": amount,
        "duration": "forever",
    }
    coupon |= {"currency": None if amount is None else "usd"} | fields.pop("coupon", {})  # type: ignore[operator]
    return {
        "id": "di_1",
        "object": "discount",
        "end": None,
        "source": {"type": "coupon", "coupon": coupon},
    } | fields


async def mrr(
    pool: Pool,
    *prices: Body,
    status: str = "active",
    quantity: int | None = 1,
    pause_collection: str | None = None,
    raw: Body | None = None,
) -> Decimal | None:
    """MRR of a customer with one subscription to these prices."""
    async with pool.acquire() as connection:
        await connection.execute(
            "insert into billing.customers (uid, stripe_customer_id, account_id, live_mode, change) "
            "values (gen_random_uuid(), 'cus_1', '', false, 1)"
        )
        await connection.execute(
            "insert into stripe.subscriptions (account_id, live_mode, id, customer_id, status, currency, "
            "pause_collection, raw) values ('', false, 'sub_1', 'cus_1', $1, 'usd', $2, $3)",
            status,
            pause_collection,
            json.dumps(raw or {}),
        )
        for position, of in enumerate(prices):
            await connection.execute(
                "insert into stripe.prices (account_id, live_mode, id, currency, unit_amount_decimal, billing_scheme, "
                "recurring, interval, interval_count, usage_type) values ('', false, $1, $2, $3, $4, $5, $6, $7, $8)",
                f"price_{position}",
                *[
                    of[name]
                    for name in ("currency", "unit_amount_decimal", "billing_scheme", "recurring", "interval")
                ],
                of["interval_count"],
                of["usage_type"],
            )
            await connection.execute(
                "insert into stripe.subscription_items (account_id, live_mode, subscription_id, id, position, "
                "price_id, quantity) values ('', false, 'sub_1', $1, $2, $3, $4)",
                f"si_{position}",
                position,
                f"price_{position}",
                quantity,
            )
        rows: list[asyncpg.Record] = await connection.fetch("select * from billing.customer_mrr")
        if not rows:
            return Decimal(-1)
        (row,) = rows
        assert ("cus_1", "usd", 1) == (row["stripe_customer_id"], row["currency"], row["subscriptions"])
        found: Decimal | None = row["mrr"]
        return found


NOTHING = Decimal(-1)
"""Stands for: the view has no row."""


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (price(), 1000),
        (price(interval_count=3), "333.3333"),
        (price(interval="year"), "83.3333"),
        (price(interval="week"), "4333.3333"),
        (price(interval="day"), "30416.6667"),
        (price(unit_amount_decimal="0.5"), "0.5"),
        (price(usage_type="metered"), 0),
        (price(recurring=False, interval=None, interval_count=None), 0),
        (price(billing_scheme="tiered", unit_amount_decimal=None), None),
        (price(currency="eur"), None),
        (price(interval="fortnight"), None),
    ],
)
async def test_month_of_a_price(pool: Pool, of: Body, expected: object) -> None:
    """A year is 12 months, a week 12/52 of one, a day 12/365; what cannot be known is NULL and never 0."""
    assert (None if expected is None else Decimal(str(expected))) == await mrr(pool, of)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("active", Decimal(1000)),
        ("past_due", Decimal(1000)),
        ("trialing", NOTHING),
        ("unpaid", NOTHING),
        ("paused", NOTHING),
        ("canceled", NOTHING),
        ("incomplete", NOTHING),
    ],
)
async def test_only_what_is_paid_for_counts(pool: Pool, status: str, expected: Decimal) -> None:
    """Trials bring nothing yet, and who does not pay brings nothing any more."""
    assert expected == await mrr(pool, price(), status=status)


async def test_items_are_added_up(pool: Pool) -> None:
    """Three seats a month and three things a year."""
    assert Decimal(3250) == await mrr(pool, price(), price(interval="year"), quantity=3)


async def test_collection_paused_for_good_brings_nothing(pool: Pool) -> None:
    """Case 44: pause_collection = void, and MRR is 0."""
    assert Decimal(0) == await mrr(pool, price(), pause_collection="void")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"discounts": []}, 1000),
        ({"discounts": [discount(percent=25)]}, 750),
        ({"discounts": [discount(percent=25.5)]}, 745),
        ({"discounts": [discount(percent=100)]}, 0),
        ({"discounts": [discount(amount=300)]}, 700),
        ({"discounts": [discount(amount=3000)]}, 0),
        ({"discounts": [discount(percent=50), discount(percent=50, id="di_2")]}, 250),
        ({"discounts": [discount(percent=25, end=1)]}, 1000),
        ({"discounts": [discount(percent=25, end=9_999_999_999, coupon={"duration": "repeating"})]}, 750),
        ({"discounts": [discount(percent=25, coupon={"duration": "once"})]}, 1000),
        ({"discounts": [discount(amount=300, coupon={"currency": "eur"})]}, None),
        ({"discounts": ["di_1"]}, None),
        ({"discounts": [discount() | {"source": {"type": "coupon", "coupon": "co_1"}}]}, None),
        ({"items": {"data": [{"id": "si_1", "discounts": ["di_9"]}]}}, None),
        # Before 2025-09-30 the coupon stood in the discount, before 2025-03-31 the one discount by itself.
        ({"discounts": [{"id": "di_1", "coupon": {"percent_off": 25.0, "duration": "forever"}}]}, 750),
        ({"discount": {"id": "di_1", "coupon": {"percent_off": 25.0, "duration": "forever"}}}, 750),
        ({"discount": {"id": "di_1", "coupon": {"percent_off": 25.0}}, "discounts": ["di_1"]}, 750),
    ],
)  # fmt: skip
async def test_discounts_that_go_on_are_taken_off(pool: Pool, raw: Body, expected: object) -> None:
    """Case 109: ids, objects, a single discount: the same MRR where Stripe says what it is, NULL where it does not."""
    found = await mrr(pool, price(), raw=raw)
    assert (None if expected is None else Decimal(str(expected))) == found


async def test_deleted_customers_bring_nothing(pool: Pool) -> None:
    """Deleting a customer ends its subscriptions, whether or not their events came."""
    await mrr(pool, price())
    async with pool.acquire() as connection:
        await connection.execute("update billing.customers set deleted_at = now()")
        assert [] == await connection.fetch("select * from billing.customer_mrr")


async def test_coupons_are_asked_for(pool: Pool, database_url: str) -> None:
    """Today's payloads name a discount by its id alone: unknown until the read, which asks for the coupon."""
    sandbox = Sandbox(seed=8)
    sandbox.play(["everything_off", "half_off"])
    events = sandbox.run()
    query = "select mrr from billing.customer_mrr order by mrr nulls last"
    async with open_room(pool, database_url, api=Api(create_api(sandbox, [API_KEY]))) as room:
        await room.apply(*events)
        assert {None} == {row["mrr"] for row in await room.fetch(query)}
        await room.settle()
        assert [Decimal(0), Decimal(1000)] == [row["mrr"] for row in await room.fetch(query)]
