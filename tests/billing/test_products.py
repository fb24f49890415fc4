"""What was bought: the products of a customer, their names, versions and quantities."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from billing.facts import CustomerFacts
from billing.kinds.catalogue import Price
from billing.kinds.subscriptions import SubscriptionItem
from billing.products import SUBSCRIPTION_IDS_MAX, CustomerProduct
from billing.record import Status, customer_uid
from tests.billing.examples import (
    FACTS,
    IDENTITY,
    ITEM,
    OUR_UID,
    PRICE,
    PRODUCT,
    SCHEDULE,
    SCHEDULE_ITEM,
    START,
    SUBSCRIPTION,
    day,
    derive,
    facts_with,
    month,
    record_fields,
)

SUBSCRIBED = facts_with(SUBSCRIPTION, items=(ITEM,))


def catalogue(*prices: Price, product: dict[str, str] | None = None) -> CustomerFacts:
    """The customer on price_1, among these prices."""
    return replace(SUBSCRIBED, prices=prices, products=(replace(PRODUCT, metadata=product or {}),))


def test_a_whole_row() -> None:
    """Every column of a product, once."""
    subscription = replace(
        SUBSCRIPTION,
        metadata={"external_id": "order 7", "entity_id": "team-1", "other": "x"},
        created=day(1),
        start_date=day(0),
    )
    facts = replace(
        facts_with(subscription, items=(replace(ITEM, quantity=3),)),
        account_id="acct_1",
        live_mode=False,
        prices=(replace(PRICE, metadata={"feature_id": "seats"}),),
        products=(replace(PRODUCT, metadata={"product_id": "plan"}),),
    )
    (product,) = derive(facts).products
    expected = CustomerProduct(
        id=product.id,
        customer_uid=customer_uid("acct_1", False, "cus_1"),
        account_id="acct_1",
        live_mode=False,
        stripe_customer_id="cus_1",
        stripe_subscription_id="sub_1",
        stripe_product_id="prod_1",
        product_id="plan",
        stripe_price_id="price_1",
        status=Status.ACTIVE,
        stripe_status="active",
        has_access=True,
        canceled=False,
        canceled_at=None,
        starts_at=day(0),
        ended_at=None,
        trial_ends_at=None,
        free_trial_id=None,
        current_period_start=month(1),
        current_period_end=month(2),
        quantity=3,
        options={"seats": 3},
        collection_method="charge_automatically",
        processor="stripe",
        subscription_ids=("sub_1",),
        scheduled_ids=(),
        is_custom=None,
        api_version=None,
        external_id="order 7",
        entity_id="team-1",
        created_at=day(1),
    )
    assert expected == product


def test_ids_are_of_the_key() -> None:
    """The same key always has the same id; another account, mode, subscription or product gives another."""
    variants = [
        SUBSCRIBED,
        replace(SUBSCRIBED, account_id="acct_1"),
        replace(SUBSCRIBED, live_mode=False),
        replace(
            SUBSCRIBED,
            subscriptions=(replace(SUBSCRIPTION, id="sub_2"),),
            items=(replace(ITEM, subscription_id="sub_2"),),
        ),
        replace(SUBSCRIBED, items=(replace(ITEM, product_id="prod_2"),)),
    ]
    ids = [product.id for facts in variants for product in derive(facts).products]
    assert len(variants) == len(set(ids))
    assert UUID("10c41d01-aab9-5f19-8f96-96e18f344f2b") == ids[0]


def test_products_name_our_uid() -> None:
    """A customer that we knew first keeps our uid, in its products and in its record."""
    derived = derive(replace(SUBSCRIBED, identity=IDENTITY))
    assert UUID(OUR_UID) == derived.products[0].customer_uid == derived.record.uid


# --- Items ------------------------------------------------------------------------------------------------------------

SECOND = replace(ITEM, id="si_2", position=1, price_id="price_2", product_id="prod_2", quantity=5)


def test_the_first_item_decides() -> None:
    """Product, price and quantity of the record come from the first of several items in Stripe's order."""
    facts = facts_with(
        SUBSCRIPTION, items=(replace(SECOND, position=1), replace(ITEM, position=0, quantity=2))
    )
    expected = {"stripe_product_id": "prod_1", "stripe_price_id": "price_1", "quantity": 2}
    assert expected == record_fields(derive(facts), expected)
    swapped = replace(facts, items=(replace(SECOND, position=0), replace(ITEM, position=1)))
    expected = {"stripe_product_id": "prod_2", "stripe_price_id": "price_2", "quantity": 5}
    assert expected == record_fields(derive(swapped), expected)


def test_f108_twenty_five_items() -> None:
    """Each product has its row, however many items there are."""
    items = tuple(
        replace(ITEM, id=f"si_{number}", position=number, product_id=f"prod_{number:02}")
        for number in range(25)
    )
    products = derive(facts_with(SUBSCRIPTION, items=items)).products
    assert [f"prod_{number:02}" for number in range(25)] == [each.stripe_product_id for each in products]


def test_f110_each_product_has_its_own_period() -> None:
    """Mixed intervals: the latest start and end among the product's items, not the subscription's."""
    yearly = replace(SECOND, current_period_start=day(-1), current_period_end=month(13))
    monthly = replace(ITEM, id="si_3", position=2, current_period_start=day(3), current_period_end=day(20))
    facts = facts_with(
        replace(SUBSCRIPTION, current_period_start=day(7), current_period_end=day(8)),
        items=(ITEM, yearly, monthly),
    )
    periods = {
        each.stripe_product_id: (each.current_period_start, each.current_period_end)
        for each in derive(facts).products
    }
    assert {"prod_1": (day(3), month(2)), "prod_2": (day(-1), month(13))} == periods


def test_items_without_a_period_have_the_subscriptions() -> None:
    """Before basil only the subscription had a period."""
    item = replace(ITEM, current_period_start=None, current_period_end=None)
    (product,) = derive(facts_with(SUBSCRIPTION, items=(item,))).products
    assert (month(1), month(2)) == (product.current_period_start, product.current_period_end)


def test_f112_trial_end_only_in_the_trial() -> None:
    """Stripe keeps trial_end forever; a product has an end of trial only while it is in one."""
    trial = replace(SUBSCRIPTION, status="trialing", trial_end=day(14))
    assert day(14) == derive(facts_with(trial)).products[0].trial_ends_at
    assert day(14) == derive(facts_with(replace(trial, cancel_at=day(14)))).products[0].trial_ends_at
    assert derive(facts_with(replace(trial, status="active"))).products[0].trial_ends_at is None
    deleted = derive(replace(facts_with(trial), deleted_at=day(3)))
    assert deleted.products[0].trial_ends_at is None
    assert (False, None) == (deleted.record.is_trial, deleted.record.trial_end)


@pytest.mark.parametrize(
    ("quantities", "expected"), [((1, 5), 6), ((1, None), 1), ((None, None), None), ((0, None), 0)]
)
def test_f114_two_items_of_one_product(quantities: tuple[int | None, ...], expected: int | None) -> None:
    """Their quantities are summed; metered items have none. The price is that of the first item."""
    items = tuple(
        replace(ITEM, id=f"si_{number}", position=number, price_id=f"price_{number}", quantity=quantity)
        for number, quantity in enumerate(quantities)
    )
    (product,) = derive(facts_with(SUBSCRIPTION, items=items)).products
    assert (expected, "price_0") == (product.quantity, product.stripe_price_id)


def test_f114_two_subscriptions_of_one_product() -> None:
    """Each row names exactly the subscriptions that have the product, by start, creation and id."""
    started_last = replace(SUBSCRIPTION, id="sub_a", start_date=day(5))
    created_last = replace(SUBSCRIPTION, id="sub_b", created=day(2))
    first = replace(SUBSCRIPTION, id="sub_c", status="canceled")
    second = replace(SUBSCRIPTION, id="sub_d", status="incomplete")
    elsewhere = replace(SUBSCRIPTION, id="sub_e")
    facts = facts_with(started_last, created_last, second, first, elsewhere)
    items = tuple(
        replace(item, product_id="prod_2") if item.subscription_id == "sub_e" else item
        for item in facts.items
    )
    products = derive(replace(facts, items=items)).products
    assert ["sub_a", "sub_b", "sub_c", "sub_d", "sub_e"] == [each.stripe_subscription_id for each in products]
    expected = ("sub_c", "sub_d", "sub_b", "sub_a")
    assert [expected] * 4 + [("sub_e",)] == [each.subscription_ids for each in products]


def test_i14_a_row_names_a_hundred_subscriptions() -> None:
    """I14: what all rows name together grows with the subscriptions, and not with their square."""
    many = [replace(SUBSCRIPTION, id=f"sub_{number:03}", start_date=day(number)) for number in range(250)]
    products = derive(facts_with(*many)).products
    latest = tuple(each.id for each in many[-SUBSCRIPTION_IDS_MAX:])
    assert [("sub_000", *latest[1:])] + [latest] * 100 == [
        each.subscription_ids for each in (products[0], *products[-100:])
    ]
    assert {SUBSCRIPTION_IDS_MAX} == {len(each.subscription_ids) for each in products}
    assert all(each.stripe_subscription_id in each.subscription_ids for each in products)


def test_never_started_and_expired_subscriptions_have_rows() -> None:
    """A subscription that was begun but not paid is shown without a status."""
    facts = facts_with(
        replace(SUBSCRIPTION, id="sub_a", status="incomplete"),
        replace(SUBSCRIPTION, id="sub_b", status="incomplete_expired", ended_at=day(1)),
    )
    rows = [(each.status, each.stripe_status, each.ended_at) for each in derive(facts).products]
    assert [(None, "incomplete", None), (None, "incomplete_expired", day(1))] == rows


def test_without_items_or_products_no_row() -> None:
    """A row needs a product, so an item with a still unknown product gives none."""
    assert () == derive(facts_with(SUBSCRIPTION, items=())).products
    unknown = replace(facts_with(SUBSCRIPTION, items=(replace(ITEM, product_id=None),)), prices=())
    assert () == derive(unknown).products
    expected = {"stripe_price_id": "price_1", "stripe_product_id": None, "product_id": None, "quantity": 1}
    assert expected == record_fields(derive(unknown), expected)


def test_the_price_knows_the_product() -> None:
    """An item that names only its price belongs to that price's product."""
    derived = derive(facts_with(SUBSCRIPTION, items=(replace(ITEM, product_id=None),)))
    assert "prod_1" == derived.products[0].stripe_product_id == derived.record.stripe_product_id


def test_items_of_other_subscriptions_stay_there() -> None:
    """An item counts for its own subscription only."""
    facts = facts_with(SUBSCRIPTION, items=(ITEM, replace(SECOND, subscription_id="sub_0", position=0)))
    assert ["prod_1"] == [each.stripe_product_id for each in derive(facts).products]


# --- Names, versions and options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [({"product_id": "plan"}, "plan"), ({"product_id": ""}, "prod_1"), ({}, "prod_1")],
)
def test_product_id(metadata: dict[str, str], expected: str) -> None:
    """The company's own name, else Stripe's id, in the record and in the product."""
    derived = derive(catalogue(PRICE, product=metadata))
    assert expected == derived.record.product_id == derived.products[0].product_id
    assert "prod_1" == derived.record.stripe_product_id == derived.products[0].stripe_product_id


def test_a_product_not_seen_yet_has_stripes_id() -> None:
    """Until its row comes, the product has the name that its item states."""
    assert "prod_1" == derive(replace(SUBSCRIBED, products=())).record.product_id


LATER = replace(PRICE, id="price_0", created=day(1))
VERSION_CASES: list[tuple[str, CustomerFacts, int | None]] = [
    ("the price says", catalogue(replace(PRICE, metadata={"version": "7"}), product={"version": "4"}), 7),
    ("the product says", catalogue(PRICE, product={"version": "4"}), 4),
    (
        "the price says no number",
        catalogue(replace(PRICE, metadata={"version": "v7"}), product={"version": "4"}),
        4,
    ),
    ("nobody says a number", catalogue(PRICE, product={"version": "4.5"}), 1),
    ("a number too great to store", catalogue(PRICE, product={"version": "9" * 19}), 1),
    ("digits of another script", catalogue(PRICE, product={"version": "٤"}), 1),
    ("zero", catalogue(PRICE, product={"version": "0"}), 0),
    ("the only price", catalogue(PRICE), 1),
    ("the first price", catalogue(LATER, PRICE), 1),
    ("the second price", catalogue(replace(PRICE, created=day(2)), LATER), 2),
    ("created together: by id", catalogue(PRICE, replace(LATER, created=PRICE.created)), 2),
    (
        "archived prices keep their place",
        catalogue(replace(PRICE, created=day(2)), replace(LATER, active=False)),
        2,
    ),
    (
        "one-off prices have none",
        catalogue(replace(PRICE, created=day(2)), replace(LATER, recurring=False)),
        1,
    ),
    (
        "prices of other products have another",
        catalogue(replace(PRICE, created=day(2)), replace(LATER, product_id="prod_2")),
        1,
    ),
    ("the price itself is a one-off", catalogue(replace(PRICE, recurring=False)), None),
    ("the price is not known yet", catalogue(LATER), None),
    ("no price", replace(SUBSCRIBED, items=(replace(ITEM, price_id=None),)), None),
    (
        "the price's product is not known yet",
        replace(
            SUBSCRIBED,
            items=(replace(ITEM, product_id=None),),
            prices=(replace(PRICE, product_id=None),),
        ),
        None,
    ),
    (
        "the price is not known yet, the product says",
        replace(SUBSCRIBED, prices=(), products=(replace(PRODUCT, metadata={"version": "4"}),)),
        4,
    ),
]


@pytest.mark.parametrize(("facts", "expected"), [pytest.param(*row[1:], id=row[0]) for row in VERSION_CASES])
def test_product_version_number(facts: CustomerFacts, expected: int | None) -> None:
    """Stated by price or product, else the price's place among the product's recurring prices."""
    assert expected == derive(facts).record.product_version_number


def item_of(price_id: str, quantity: int | None, position: int) -> SubscriptionItem:
    return replace(ITEM, id=f"si_{position}", position=position, price_id=price_id, quantity=quantity)


OPTION_CASES: list[tuple[str, dict[str, str], tuple[SubscriptionItem, ...], dict[str, int | None]]] = [
    ("the price names the feature", {}, (item_of("price_seats", 3, 0),), {"seats": 3}),
    ("before the product", {"feature_id": "any"}, (item_of("price_seats", 3, 0),), {"seats": 3}),
    ("else the product does", {"feature_id": "any"}, (item_of("price_1", 3, 0),), {"any": 3}),
    (
        "summed by feature",
        {"feature_id": "any"},
        (
            item_of("price_1", 1, 0),
            item_of("price_seats", 3, 1),
            item_of("price_seats", 4, 2),
            item_of("price_unknown", 5, 3),
        ),
        {"any": 6, "seats": 7},
    ),
    ("nothing limits a metered item", {}, (item_of("price_seats", None, 0),), {"seats": None}),
    ("but an agreement", {"quota_limit": "9"}, (item_of("price_seats", None, 0),), {"seats": 9}),
    ("if that is a number", {"quota_limit": "9.5"}, (item_of("price_seats", None, 0),), {"seats": None}),
    (
        "beside what was bought beforehand",
        {},
        (item_of("price_seats", None, 0), item_of("price_seats", 4, 1), item_of("price_seats", None, 2)),
        {"seats": 4},
    ),
    ("nothing of items whose feature is empty", {"feature_id": ""}, (item_of("price_1", 3, 0),), {}),
    ("nor items without a feature", {}, (item_of("price_1", 3, 0),), {}),
    ("nothing bought is said", {}, (item_of("price_seats", 0, 0),), {"seats": 0}),
]


@pytest.mark.parametrize(
    ("product", "items", "expected"), [pytest.param(*row[1:], id=row[0]) for row in OPTION_CASES]
)
def test_options(
    product: dict[str, str], items: tuple[SubscriptionItem, ...], expected: dict[str, int | None]
) -> None:
    """How much of each feature the product's items sell."""
    seats = replace(PRICE, id="price_seats", metadata={"feature_id": "seats"})
    facts = replace(catalogue(PRICE, seats, product=product), items=items)
    (row,) = derive(facts).products
    assert expected == row.options


@pytest.mark.parametrize("metadata", [{}, {"external_id": "", "entity_id": ""}])
def test_external_ids_of_the_subscription(metadata: dict[str, Any]) -> None:
    """They are as the subscription's metadata has them."""
    (product,) = derive(facts_with(replace(SUBSCRIPTION, metadata=metadata))).products
    assert (metadata.get("external_id"), metadata.get("entity_id")) == (
        product.external_id,
        product.entity_id,
    )


def test_no_subscription_no_products() -> None:
    """A customer that never bought anything has an empty record."""
    assert () == derive(FACTS).products


# --- Schedules ---------------------------------------------------------------------------------------------------

PLANNED = replace(
    FACTS, schedules=(SCHEDULE,), schedule_items=(SCHEDULE_ITEM,), prices=(PRICE,), products=(PRODUCT,)
)


def test_c59_only_schedules_that_have_not_started() -> None:
    """No status and no access yet; what will begin, when, and by which schedule."""
    derived = derive(PLANNED)
    assert (None, False, None) == (
        derived.record.status,
        derived.record.has_access,
        derived.record.stripe_subscription_id,
    )
    (row,) = derived.products
    assert (
        CustomerProduct(
            id=row.id,
            customer_uid=customer_uid("", True, "cus_1"),
            account_id="",
            live_mode=True,
            stripe_customer_id="cus_1",
            stripe_subscription_id="sub_sched_1",
            stripe_product_id="prod_1",
            product_id="prod_1",
            stripe_price_id="price_1",
            status=None,
            stripe_status="not_started",
            has_access=False,
            canceled=False,
            canceled_at=None,
            starts_at=month(2),
            ended_at=None,
            trial_ends_at=None,
            free_trial_id=None,
            current_period_start=None,
            current_period_end=None,
            quantity=2,
            options={},
            collection_method=None,
            processor="stripe",
            subscription_ids=(),
            scheduled_ids=("sub_sched_1",),
            is_custom=None,
            api_version=None,
            external_id=None,
            entity_id=None,
            created_at=START,
        )
        == row
    )


# The schedule next to a running subscription, and the scheduled_ids of the rows, by holder.
SCHEDULED: list[tuple[str, dict[str, Any], dict[str, tuple[str, ...]]]] = [
    ("none", {}, {"sub_1": ()}),
    ("one that runs it", {"status": "active", "subscription_id": "sub_1"}, {"sub_1": ("sub_sched_1",)}),
    (
        "F123 released",
        {"status": "released", "subscription_id": None, "released_subscription_id": "sub_1"},
        {"sub_1": ()},
    ),
    ("F123 canceled", {"status": "canceled", "subscription_id": "sub_1"}, {"sub_1": ()}),
    ("F123 completed", {"status": "completed", "subscription_id": "sub_1"}, {"sub_1": ()}),
    ("one of another subscription", {"status": "active", "subscription_id": "sub_2"}, {"sub_1": ()}),
    ("one that has not started", {"status": "not_started"}, {"sub_1": (), "sub_sched_1": ("sub_sched_1",)}),
    ("a state of tomorrow", {"status": "resting", "subscription_id": "sub_1"}, {"sub_1": ()}),
]


@pytest.mark.parametrize(
    ("schedule", "expected"), [pytest.param(*case[1:], id=case[0]) for case in SCHEDULED]
)
def test_f123_schedules_of_a_subscription(
    schedule: dict[str, Any], expected: dict[str, tuple[str, ...]]
) -> None:
    """A schedule is named while it has phases to come; the status is always the subscription's."""
    schedules = (replace(SCHEDULE, **schedule),) if schedule else ()
    derived = derive(replace(SUBSCRIBED, schedules=schedules, schedule_items=(SCHEDULE_ITEM,)))
    assert expected == {row.stripe_subscription_id: row.scheduled_ids for row in derived.products}
    assert Status.ACTIVE is derived.record.status
    assert "sub_1" == derived.record.stripe_subscription_id


def test_a_schedule_begins_with_its_first_phase() -> None:
    """Items of one product are one row; later phases are not shown yet."""
    items = (
        SCHEDULE_ITEM,
        replace(SCHEDULE_ITEM, id="0.1", position=1, quantity=5),
        replace(SCHEDULE_ITEM, id="1.0", phase=1, price_id="price_2"),
        replace(SCHEDULE_ITEM, id="0.2", position=2, price_id="price_unheard_of"),
    )
    prices = (PRICE, replace(PRICE, id="price_2", product_id="prod_2"))
    facts = replace(PLANNED, schedule_items=items, prices=prices)
    assert [("prod_1", 7)] == [(row.stripe_product_id, row.quantity) for row in derive(facts).products]


def test_a_deleted_customers_schedules_begin_nothing() -> None:
    assert () == derive(replace(PLANNED, deleted_at=day(9))).products


def test_several_schedules_stand_in_order() -> None:
    """Whatever order the facts come in, the rows are in order of their key."""
    later = replace(SCHEDULE, id="sub_sched_2", status="active", subscription_id="sub_1")
    first = replace(SCHEDULE, id="sub_sched_0", status="active", subscription_id="sub_1")
    for schedules in ((later, first, SCHEDULE), (SCHEDULE, first, later)):
        rows = derive(replace(SUBSCRIBED, schedules=schedules, schedule_items=(SCHEDULE_ITEM,))).products
        assert [
            ("sub_1", ("sub_sched_0", "sub_sched_2")),
            ("sub_sched_1", ("sub_sched_1",)),
        ] == [(row.stripe_subscription_id, row.scheduled_ids) for row in rows]
