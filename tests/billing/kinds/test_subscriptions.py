"""Subscriptions, items and schedules: where their fields were in older API versions."""

from copy import deepcopy

import pytest

from billing.kinds.found import ObjectRef
from billing.kinds.parse import nested_lists, parse_object
from tests.billing.kinds.bodies import (
    BASE_SUBSCRIPTION,
    CUSTOMER_BODY,
    INVOICE_BODY,
    PLAN,
    PRICE,
    T1,
    T2,
    T3,
    Body,
    at,
    body_of,
    facts_of,
    items,
    month,
    without,
)
from tests.billing.kinds.shapes import story

PLACES: list[tuple[str, Body, Body, str, object]] = [
    # row, base, what is there, fact, expected
    ("period: old", BASE_SUBSCRIPTION, month(T1, T2), "current_period_end", at(T2)),
    ("period: old start", BASE_SUBSCRIPTION, month(T1, T2), "current_period_start", at(T1)),
    ("period: new", BASE_SUBSCRIPTION, items(month(T1, T2)), "current_period_end", at(T2)),
    (
        "period: mixed intervals end with the latest",
        BASE_SUBSCRIPTION,
        items(month(T1, T2), month(T1, T3)),
        "current_period_end",
        at(T3),
    ),
    (
        "period: mixed intervals start with the latest",
        BASE_SUBSCRIPTION,
        items(month(T1, T2), month(T2, T3)),
        "current_period_start",
        at(T2),
    ),
    (
        "period: both, as old versions carry them now",
        BASE_SUBSCRIPTION,
        month(T1, T2) | items(month(T1, T3)),
        "current_period_end",
        at(T2),
    ),
    ("period: nowhere", BASE_SUBSCRIPTION, items({}), "current_period_end", None),
    (
        "billing_mode: flexible",
        BASE_SUBSCRIPTION,
        {"billing_mode": {"type": "flexible"}},
        "billing_mode",
        "flexible",
    ),
    ("billing_mode: absent", without(BASE_SUBSCRIPTION, "billing_mode"), {}, "billing_mode", None),
    (
        "cancel_at alone: flexible portal",
        BASE_SUBSCRIPTION,
        {"cancel_at_period_end": False},
        "cancel_at",
        at(T2),
    ),
    (
        "cancellation reason of tomorrow",
        BASE_SUBSCRIPTION,
        {"cancellation_details": {"reason": "canceled_by_retention_policy"}},
        "cancellation_reason",
        "canceled_by_retention_policy",
    ),
    ("status: paused", BASE_SUBSCRIPTION, {"status": "paused"}, "status", "paused"),
    ("status of tomorrow", BASE_SUBSCRIPTION, {"status": "dormant"}, "status", "dormant"),
    ("pause_collection: null", BASE_SUBSCRIPTION, {"pause_collection": None}, "pause_collection", None),
    ("latest invoice: id", BASE_SUBSCRIPTION, {"latest_invoice": "in_1"}, "latest_invoice_id", "in_1"),
    (
        "latest invoice: expanded",
        BASE_SUBSCRIPTION,
        {"latest_invoice": INVOICE_BODY},
        "latest_invoice_id",
        "in_aug",
    ),
    (
        "schedule: expanded",
        BASE_SUBSCRIPTION,
        {"schedule": {"id": "sub_sched_2"}},
        "schedule_id",
        "sub_sched_2",
    ),
    ("test clock: expanded", BASE_SUBSCRIPTION, {"test_clock": {"id": "clock_2"}}, "test_clock", "clock_2"),
    (
        "subscription.customer: expanded",
        BASE_SUBSCRIPTION,
        {"customer": CUSTOMER_BODY},
        "customer_id",
        "cus_ada",
    ),
    (
        "subscription.customer: Accounts v2",
        BASE_SUBSCRIPTION,
        {"customer": None, "customer_account": "acct_1"},
        "customer_id",
        "acct_1",
    ),
    ("subscription.ended_at", BASE_SUBSCRIPTION, {"ended_at": T2}, "ended_at", at(T2)),
]


@pytest.mark.parametrize(
    ("base", "there", "fact", "expected"), [row[1:] for row in PLACES], ids=[row[0] for row in PLACES]
)
def test_place_of_a_field(base: Body, there: Body, fact: str, expected: object) -> None:
    """Wherever this field was, and whether it held an id or the object, the fact is the same."""
    assert expected == getattr(parse_object(base | there).facts, fact)


ITEM_PRICES: list[tuple[Body, str | None, str | None]] = [
    ({"price": PRICE}, "price_1", "prod_1"),
    ({"price": PRICE, "plan": PLAN}, "price_1", "prod_1"),
    ({"price": PRICE | {"product": {"id": "prod_9", "object": "product"}}}, "price_1", "prod_9"),
    ({"price": None, "plan": PLAN}, "gold", "prod_2"),
    ({"plan": PLAN}, "gold", "prod_2"),
    ({"plan": PLAN | {"product": None}}, "gold", None),
    ({"price": "price_1"}, "price_1", None),
    ({}, None, None),
]


@pytest.mark.parametrize(("entry", "price_id", "product_id"), ITEM_PRICES)
def test_item_price_or_plan(entry: Body, price_id: str | None, product_id: str | None) -> None:
    """Before prices, items had plans; a plan's id is the id of its price."""
    (item,) = parse_object(BASE_SUBSCRIPTION | items(entry)).items
    assert (price_id, product_id) == (item.price_id, item.product_id)


@pytest.mark.parametrize("flag", [None, False])
def test_cancel_at_period_end_is_false_unless_said(flag: bool | None) -> None:
    assert False is facts_of("subscription", cancel_at_period_end=flag).cancel_at_period_end


@pytest.mark.parametrize(
    ("changes", "count", "cut"),
    [
        (items({}), 1, False),
        (items(), 0, False),
        (items({}, has_more=True), 1, True),
        (items({}, has_more=None), 1, False),
        ({"items": None}, 0, True),
    ],
)
def test_cut_items(changes: Body, count: int, cut: bool) -> None:
    """No item may be removed because of a list that goes on or is not there."""
    parsed = parse_object(body_of("subscription", **changes))
    assert (count, cut) == (len(parsed.items), parsed.items_cut)


def test_item_on_two_pages_is_one_item() -> None:
    """Pages that are read while a list changes may overlap: the first occurrence counts."""
    twice = items({"id": "si_a", "quantity": 1}, {"id": "si_b"}, {"id": "si_a", "quantity": 1})
    assert [("si_a", 0), ("si_b", 1)] == [
        (item.id, item.position) for item in parse_object(BASE_SUBSCRIPTION | twice).items
    ]


def test_spliced_list_is_whole() -> None:
    """The caller appends the rest to `data` at the path, and the object is as if never cut."""
    whole = story()["subscription"]
    cut = deepcopy(whole)
    rest = cut["items"]["data"][1:]
    cut["items"] |= {"data": cut["items"]["data"][:1], "has_more": True}
    (nested,) = nested_lists(cut)
    assert "si_seats" == nested.last_id
    target = cut
    for field in nested.path:
        target = target[field]
    target["data"] += rest
    target["has_more"] = False
    assert parse_object(whole) == parse_object(cut)


def test_prices_of_a_schedule_are_fetched() -> None:
    """A price that only a schedule names makes a row of customer_products; an expanded one is embedded."""
    price = story()["price"]
    phases = [
        {"start_date": 1, "end_date": 2, "items": [{"price": price}, {"price": "price_2"}, {"plan": "gold"}]}
    ]
    parsed = parse_object(body_of("subscription_schedule", phases=phases))
    assert (price,) == parsed.embedded
    assert {ObjectRef("price", "price_2"), ObjectRef("price", "gold")} <= set(parsed.references)
    assert ["0.0", "0.1", "0.2"] == [part.id for part in parsed.parts]
