"""The rank of a price among all prices of its product, counted without loading them."""

from dataclasses import replace
from datetime import UTC, datetime

from billing.products import Catalogue
from db.connection import Pool
from db.mirror.facts import SELECT_PRICES, load_facts
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


def test_rank_of_the_mirror_is_the_rank_among_prices() -> None:
    """Who knows all prices counts the same as the mirror does."""
    prices = [replace(PRICE, id=name, created=DAY, metadata={}) for name in ("price_Z", "price_a")]
    item = replace(ITEM, price_id="price_a", product_id=PRICE.product_id)
    assert 2 == Catalogue(prices, ()).version_of(item)
    assert 2 == Catalogue(prices[1:], (), {"price_a": 2}).version_of(item)
