"""What to ask Stripe about a customer's usage, and what the answers mean.

Usage is a reading of Stripe at one moment: meters count asynchronously and send no event per customer. So it is not
part of the record, and nothing else is computed from it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from billing.facts import CustomerFacts
from billing.kinds.catalogue import Price
from billing.kinds.fields import UnknownShape
from billing.kinds.found import Json
from billing.kinds.subscriptions import SubscriptionItem
from billing.products import Catalogue, items_by_subscription, quota_in

RUNNING = frozenset({"trialing", "active", "past_due", "unpaid", "paused"})
"""Stripe's statuses of a subscription with a current period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metering:
    """One meter that a running subscription charges for, in the current period of the item that charges for it."""

    subscription_id: str
    meter_id: str
    period_start: datetime
    period_end: datetime
    quota_limit: int | None
    feature_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerUsage:
    """One row of billing.customer_usage."""

    customer_uid: UUID
    account_id: str
    live_mode: bool
    stripe_customer_id: str
    stripe_subscription_id: str
    meter_id: str
    event_name: str | None
    display_name: str | None
    value: Decimal
    quota_limit: int | None
    period_start: datetime
    period_end: datetime
    expected_charge: int | None  # minor units of `currency`
    currency: str | None
    read_at: datetime
    feature_id: str | None


def meterings_of(facts: CustomerFacts) -> tuple[Metering, ...]:
    """The meters of the customer's running subscriptions, each once per subscription, in order of their ids.

    Where several items of a subscription charge for one meter, the period comes from the first in Stripe's order, and
    the quota from the first that states one. An item without a period, or with an unknown price, is left out.
    """
    if facts.deleted_at is not None or not any(price.meter_id for price in facts.prices):
        return ()
    catalogue = Catalogue(facts.prices, facts.products)
    items = items_by_subscription(facts.items)
    found: dict[tuple[str, str], Metering] = {}
    for subscription in facts.subscriptions:
        if subscription.status not in RUNNING:
            continue
        for item in items.get(subscription.id, ()):
            price = catalogue.price_of(item)
            start = item.current_period_start or subscription.current_period_start
            end = item.current_period_end or subscription.current_period_end
            if price is None or price.meter_id is None or start is None or end is None:
                continue
            key = (subscription.id, price.meter_id)
            known = found.get(key)
            if known is not None and known.quota_limit is not None:
                continue
            found[key] = Metering(
                subscription_id=subscription.id,
                meter_id=price.meter_id,
                period_start=start if known is None else known.period_start,
                period_end=end if known is None else known.period_end,
                quota_limit=_quota_limit(facts, item, price, catalogue),
                feature_id=(None if known is None else known.feature_id) or catalogue.feature_id_of(item),
            )
    return tuple(found[key] for key in sorted(found))


def _quota_limit(
    facts: CustomerFacts, item: SubscriptionItem, price: Price, catalogue: Catalogue
) -> int | None:
    """`quota_limit` in the metadata of the price, else of its product, else of its feature; None if no whole number.

    An item's feature is the one that its price or product names as `feature_id`, by id or by lookup key.
    """
    product_id = catalogue.stripe_product_id_of(item)
    feature_id = catalogue.feature_id_of(item)
    stated: list[Mapping[str, str]] = [price.metadata]
    stated += [product.metadata for product in facts.products if product.id == product_id]
    stated += [
        feature.metadata
        for feature in sorted(facts.features, key=lambda each: each.id)
        if feature_id is not None and feature_id in (feature.id, feature.lookup_key)
    ]
    return next((limit for each in stated if (limit := quota_in(each)) is not None), None)


def whole_minutes(metering: Metering) -> tuple[int, int]:
    """The period in Unix seconds, both ends rounded down to minutes: Stripe accepts nothing finer.

    Both ends are rounded in the same way, so the periods of a subscription still follow each other without a gap.
    """
    start, end = (
        int(moment.timestamp()) // 60 * 60 for moment in (metering.period_start, metering.period_end)
    )
    return start, max(end, start + int(timedelta(minutes=1).total_seconds()))


def counted(summaries: Iterable[object]) -> Decimal:
    """The sum of a meter's event summaries of one period; 0 if there are none. Raises UnknownShape."""
    total = Decimal(0)
    for summary in summaries:
        value = summary.get("aggregated_value") if isinstance(summary, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnknownShape("a meter event summary has no number as aggregated_value: read it in usage.py")
        total += Decimal(str(value))
    return total


def expected_of(preview: Json) -> tuple[int, str]:
    """The amount of an invoice preview, in minor units, and its currency. Raises UnknownShape."""
    amount, currency = preview.get("amount_due"), preview.get("currency")
    if type(amount) is not int or not isinstance(currency, str):
        raise UnknownShape("an invoice preview has no amount_due with its currency: read it in usage.py")
    return amount, currency
