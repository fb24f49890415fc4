"""The rank of a price among all prices of its product, counted without loading them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from billing.products import Catalogue
from db.connection import Pool
from db.mirror.facts import SELECT_PRICES, load_facts
from db.sync.catalogue import SELECT_HOLDERS_OF_PRICE, YOUNGER_MAX
from tests.billing.examples import ITEM, PRICE
from tests.faults import Call, after

DAY = datetime(2026, 3, 1, tzinfo=UTC)
MANY = 300
"""Prices of the product that nobody here has."""

FILL = """
insert into stripe.products (account_id, live_mode, id, metadata) values
  ('', false, 'prod_1', '{}'), ('', false, 'prod_named', '{"version": "7"}');
insert into stripe.prices (account_id, live_mode, id, product_id, created, recurring, metadata)
select '', false, 'price_' || n, 'prod_1', $1::timestamptz + n * interval '1 day', true, '{}'::jsonb
from generate_series(1, $2::int) n
-- Of one moment, in the order of their bytes; one whose creation nobody told; others that do not count.
union all select '', false, 'price_Z', 'prod_1', $1::timestamptz, true, '{}'
union all select '', false, 'price_a', 'prod_1', $1::timestamptz, true, '{}'
union all select '', false, 'price_untold', 'prod_1', null, true, '{}'
union all select '', false, 'price_once', 'prod_1', $1::timestamptz - interval '1 day', false, '{}'
union all select '', false, 'price_other', 'prod_2', $1::timestamptz - interval '1 day', true, '{}'
union all select '', true, 'price_live', 'prod_1', $1::timestamptz - interval '1 day', true, '{}'
union all select '', false, 'price_named', 'prod_1', $1::timestamptz + interval '1 day', true, '{"version": "12"}'
union all select '', false, 'price_of_named', 'prod_named', $1::timestamptz, true, '{}';
insert into stripe.customers (account_id, live_mode, id) values ('', false, 'cus_1'), ('', false, 'cus_2');
insert into stripe.subscriptions (account_id, live_mode, id, customer_id, status) values
  ('', false, 'sub_1', 'cus_1', 'active'), ('', false, 'sub_2', 'cus_2', 'active');
insert into stripe.subscription_items (account_id, live_mode, id, subscription_id, position, price_id, product_id)
select '', false, 'si_' || row_number() over (), 'sub_1', 0, id, product_id from stripe.prices
where id in ('price_a', 'price_250', 'price_once', 'price_untold', 'price_named', 'price_of_named') and not live_mode
union all select '', false, 'si_2', 'sub_2', 0, 'price_Z', 'prod_1';
"""

VERSIONS = {
    "price_a": 3,
    "price_250": 254,
    "price_once": None,
    "price_untold": 1,
    "price_named": 12,
    "price_of_named": 7,
}


async def test_i14_prices_that_nobody_has_cost_no_derivation(pool: Pool) -> None:
    """I14: of a product with hundreds of prices only those that the customers have are loaded; their versions are the
    ranks among all of them, by creation and then by id, or what metadata states.
    """
    loaded: list[str] = []

    async def note(call: Call) -> None:
        loaded.extend(row["id"] for row in call.answer)

    async with pool.acquire() as connection:
        for statement in FILL.strip().split(";\n"):
            await connection.execute(statement, *((DAY, MANY) if "$1" in statement else ()))
        async with connection.transaction(isolation="repeatable_read"):
            with after(SELECT_PRICES, note):
                one, other = await load_facts(connection, "", False, {"cus_1": True, "cus_2": True})
    assert sorted((*VERSIONS, "price_Z")) == sorted(loaded)
    assert set(VERSIONS) == {price.id for price in one.prices}
    catalogue = Catalogue(one.prices, one.products, one.price_ranks)
    assert VERSIONS == {item.price_id: catalogue.version_of(item) for item in one.items}
    assert {"price_Z": 2} == other.price_ranks


EACH_ITS_OWN = """
insert into stripe.prices (account_id, live_mode, id, product_id, created, recurring, metadata)
select '', false, 'price_' || n, 'prod_1', $1::timestamptz + n * interval '1 day', true, '{}'
from generate_series(1, $2::int) n;
insert into stripe.prices (account_id, live_mode, id, product_id, recurring, metadata)
values ('', false, 'price_untold', 'prod_1', true, '{}');
insert into stripe.subscription_items (account_id, live_mode, id, subscription_id, position, price_id, product_id)
select '', false, 'si_' || n, 'sub_' || to_char(n, 'FM0000'), 0, 'price_' || n, 'prod_1'
from (select row_number() over (order by created) as n from stripe.prices where created is not null) prices;
analyze stripe.prices;
analyze stripe.subscription_items
"""


async def test_i14_new_price_costs_its_own_holders_alone(pool: Pool) -> None:
    """I14: of a product with a price for each customer, a new price concerns nobody else, and no other is looked
    at. One that comes late concerns the holders of all younger ones, page by page, and nobody who has an older one.
    """
    prices = YOUNGER_MAX + 500
    async with pool.acquire() as connection:
        for statement in EACH_ITS_OWN.strip().split(";\n"):
            await connection.execute(statement, *((DAY, prices) if "$1" in statement else ()))

        async def holders(price: object, after: str = "", limit: int = 5_000) -> list[str]:
            rows = await connection.fetch(SELECT_HOLDERS_OF_PRICE, "", False, f"price_{price}", after, limit)
            return [row[0] for row in rows]

        every = [f"sub_{number:04}" for number in range(1, prices + 1)]
        assert every[-1:] == await holders(prices)
        assert every[-5:] == await holders(prices - 4)
        assert every[9:] == await holders(10)
        assert every[9:12] == await holders(10, limit=3)
        assert every[12:15] == await holders(10, after=every[11], limit=3)
        assert every == await holders("untold")
        (plan,) = json.loads(
            await connection.fetchval(
                f"explain (analyze, format json) {SELECT_HOLDERS_OF_PRICE}",
                *("", False, f"price_{prices}", "", 1_000),
            )
        )
    assert _rows_of(plan["Plan"]) < 50


def _rows_of(node: Mapping[str, Any]) -> float:
    """How many rows a plan has looked at, in all of its nodes."""
    seen = float(node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    return seen * float(node["Actual Loops"]) + sum(_rows_of(each) for each in node.get("Plans", ()))


def test_rank_of_the_mirror_is_the_rank_among_prices() -> None:
    """Who knows all prices counts the same as the mirror does."""
    prices = [replace(PRICE, id=name, created=DAY, metadata={}) for name in ("price_Z", "price_a")]
    item = replace(ITEM, price_id="price_a", product_id=PRICE.product_id)
    assert 2 == Catalogue(prices, ()).version_of(item)
    assert 2 == Catalogue(prices[1:], (), {"price_a": 2}).version_of(item)
