"""Usage: which meters of a customer are asked for, over which period, and what the answers mean."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from billing.facts import CustomerFacts
from billing.kinds.entitlements import Feature
from billing.kinds.fields import UnknownShape
from billing.usage import Metering, counted, expected_of, meterings_of, whole_minutes
from tests.billing.examples import FACTS, ITEM, PRICE, PRODUCT, START, SUBSCRIPTION, month

CALLS = replace(PRICE, id="price_calls", meter_id="mtr_calls", usage_type="metered")
CALLS_ITEM = replace(ITEM, id="si_calls", price_id="price_calls", position=1)
METERED = replace(
    FACTS,
    subscriptions=(SUBSCRIPTION,),
    items=(ITEM, CALLS_ITEM),
    prices=(PRICE, CALLS),
    products=(PRODUCT,),
)
FEATURE = Feature(id="feat_calls", lookup_key="calls", name=None, active=True, metadata={"quota_limit": "7"})


def metering(**changes: Any) -> Metering:
    usual = Metering(
        subscription_id="sub_1",
        meter_id="mtr_calls",
        period_start=START,
        period_end=month(2),
        quota_limit=None,
        feature_id=None,
    )
    return replace(usual, **changes)


def test_what_is_metered() -> None:
    """Each meter of a running subscription once, in the period of its item; licensed prices have none."""
    assert (metering(),) == meterings_of(METERED)
    assert () == meterings_of(replace(METERED, items=(ITEM,)))
    assert () == meterings_of(replace(METERED, prices=(PRICE,)))


@pytest.mark.parametrize(
    ("status", "runs"),
    [("trialing", True), ("active", True), ("past_due", True), ("unpaid", True), ("paused", True)]
    + [("canceled", False), ("incomplete", False), ("incomplete_expired", False), (None, False)],
)
def test_only_running_subscriptions_count(status: str | None, runs: bool) -> None:
    """One that has ended, or never began, has no current period."""
    facts = replace(METERED, subscriptions=(replace(SUBSCRIPTION, status=status),))
    assert runs == bool(meterings_of(facts))
    assert () == meterings_of(replace(facts, deleted_at=START))


def test_period_is_the_items() -> None:
    """Items of one subscription may have periods of their own; before basil the subscription has it."""
    own = replace(CALLS_ITEM, current_period_start=month(3), current_period_end=month(4))
    (found,) = meterings_of(replace(METERED, items=(ITEM, own)))
    assert (month(3), month(4)) == (found.period_start, found.period_end)
    bare = replace(CALLS_ITEM, current_period_start=None, current_period_end=None)
    (found,) = meterings_of(replace(METERED, items=(ITEM, bare)))
    assert (SUBSCRIPTION.current_period_start, SUBSCRIPTION.current_period_end) == (
        found.period_start,
        found.period_end,
    )
    without = replace(SUBSCRIPTION, current_period_start=None, current_period_end=None)
    assert () == meterings_of(replace(METERED, items=(ITEM, bare), subscriptions=(without,)))


QUOTAS: list[tuple[dict[str, str], dict[str, str], bool, int | None]] = [
    ({"quota_limit": "100"}, {"quota_limit": "50"}, True, 100),
    ({"quota_limit": "lots"}, {"quota_limit": "50"}, True, 50),
    ({"feature_id": "feat_calls"}, {}, True, 7),
    ({}, {"feature_id": "calls"}, True, 7),
    ({"feature_id": "calls"}, {}, False, None),
    ({}, {}, True, None),
    ({"quota_limit": "-1"}, {"quota_limit": "1.5"}, True, None),
    ({"quota_limit": "9" * 19}, {}, True, None),
]


@pytest.mark.parametrize(("of_price", "of_product", "entitled", "expected"), QUOTAS)
def test_quota(
    of_price: dict[str, str], of_product: dict[str, str], entitled: bool, expected: int | None
) -> None:
    """From the price, else the product, else the feature that either names, which the meter counts; a whole number or
    nothing.
    """
    facts = replace(
        METERED,
        prices=(PRICE, replace(CALLS, metadata=of_price)),
        products=(replace(PRODUCT, metadata=of_product),),
        features=(FEATURE,) if entitled else (),
    )
    named = of_price.get("feature_id") or of_product.get("feature_id")
    assert (metering(quota_limit=expected, feature_id=named),) == meterings_of(facts)


def test_one_meter_of_several_items_is_asked_once() -> None:
    """The period comes from the first item, the quota from the first that states one, whatever the order of rows."""
    second = replace(CALLS_ITEM, id="si_more", price_id="price_more", position=2, current_period_end=month(9))
    more = replace(CALLS, id="price_more", metadata={"quota_limit": "3"})
    facts = replace(METERED, items=(second, CALLS_ITEM), prices=(more, CALLS))
    assert (metering(quota_limit=3),) == meterings_of(facts)


def test_two_subscriptions_are_asked_apart() -> None:
    other = replace(SUBSCRIPTION, id="sub_0")
    facts = replace(
        METERED,
        subscriptions=(SUBSCRIPTION, other),
        items=(CALLS_ITEM, replace(CALLS_ITEM, subscription_id="sub_0")),
    )
    assert ["sub_0", "sub_1"] == [each.subscription_id for each in meterings_of(facts)]


def test_periods_are_told_in_whole_minutes() -> None:
    """Both ends are rounded the same way, so that one period begins where the last ended; none is empty."""
    start, end = START + timedelta(seconds=61), month(2) + timedelta(seconds=59)
    first = metering(period_start=start, period_end=end)
    assert (int(START.timestamp()) + 60, int(month(2).timestamp())) == whole_minutes(first)
    then = metering(period_start=end, period_end=month(3))
    assert whole_minutes(first)[1] == whole_minutes(then)[0]
    short = metering(period_start=START, period_end=START + timedelta(seconds=5))
    assert (int(START.timestamp()), int(START.timestamp()) + 60) == whole_minutes(short)


def test_counted() -> None:
    """Without an event there is no summary; fractions are kept as Stripe writes them."""
    assert Decimal(0) == counted([])
    assert Decimal("25.3") == counted([{"aggregated_value": 25.1}, {"aggregated_value": 0.2}])
    for wrong in ({}, {"aggregated_value": "25"}, {"aggregated_value": True}, None):
        with pytest.raises(UnknownShape):
            counted([wrong])


def test_expected() -> None:
    """The amount due after credit; an answer that is not an invoice is refused."""
    assert (1500, "usd") == expected_of({"total": 2000, "amount_due": 1500, "currency": "usd"})
    wrong: list[dict[str, object]] = [{}, {"amount_due": "1", "currency": "usd"}, {"amount_due": 1}]
    for body in wrong:
        with pytest.raises(UnknownShape):
            expected_of(body)


def test_order_of_facts_does_not_matter() -> None:
    """The order of the facts does not change what is asked of Stripe."""
    facts: CustomerFacts = replace(METERED, features=(FEATURE, replace(FEATURE, id="feat_b")))
    turned = replace(
        facts,
        items=facts.items[::-1],
        prices=facts.prices[::-1],
        features=facts.features[::-1],
    )
    assert meterings_of(facts) == meterings_of(turned)
