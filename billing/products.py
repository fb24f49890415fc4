"""What a customer has bought: its products, subscription by subscription, and what the catalogue says about them."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID, uuid5

from billing.currencies import storable
from billing.facts import CustomerFacts
from billing.kinds.catalogue import Price, Product
from billing.kinds.subscriptions import SubscriptionItem, SubscriptionSchedule, SubscriptionScheduleItem
from billing.status import BEFORE_ALL_TIMES, Standing, Status, start_order

NAMESPACE = UUID("de58e270-f9f0-4048-ab1e-f63051485ef5")
"""The namespace of every id (uuid5) that is made from a Stripe id. Never changes: readers keep these ids."""

_AHEAD = frozenset({"not_started", "active"})
"""The statuses of a schedule that still has phases to come."""

_VERSION = re.compile(r"[0-9]{1,18}")
_QUOTA = re.compile(r"[0-9]{1,18}")

SUBSCRIPTION_IDS_MAX = 100
"""How many subscriptions to its product a row names: with all of them in each row, a customer with twice as many would
cost four times as much (I14)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerProduct:
    """One row of billing.customer_products: one product of one subscription, over all its items of that product.

    Or one product of a schedule that has not started, and so has no subscription yet.
    """

    id: UUID
    customer_uid: UUID
    account_id: str
    live_mode: bool
    stripe_customer_id: str
    stripe_subscription_id: str
    stripe_product_id: str
    product_id: str
    stripe_price_id: str | None
    status: Status | None
    stripe_status: str | None
    has_access: bool
    canceled: bool
    canceled_at: datetime | None
    starts_at: datetime | None
    ended_at: datetime | None
    trial_ends_at: datetime | None
    free_trial_id: str | None
    current_period_start: datetime | None
    current_period_end: datetime | None
    quantity: int | None
    options: dict[str, int | None]
    collection_method: str | None
    processor: str
    subscription_ids: tuple[str, ...]
    scheduled_ids: tuple[str, ...]
    is_custom: bool | None
    api_version: str | None
    external_id: str | None
    entity_id: str | None
    created_at: datetime | None


SoldItem = SubscriptionItem | SubscriptionScheduleItem


class Catalogue:
    """The prices and products that the customer's items name, and what their metadata says."""

    def __init__(
        self,
        prices: Iterable[Price],
        products: Iterable[Product],
        ranks: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._prices: Mapping[str, Price] = {price.id: price for price in prices}
        self._ranks = ranks
        self._products: Mapping[str, Product] = {product.id: product for product in products}

    def price_of(self, item: SoldItem) -> Price | None:
        return None if item.price_id is None else self._prices.get(item.price_id)

    def stripe_product_id_of(self, item: SoldItem) -> str | None:
        if isinstance(item, SubscriptionItem) and item.product_id is not None:
            return item.product_id
        price = self.price_of(item)
        return None if price is None else price.product_id

    def product_id(self, stripe_product_id: str) -> str:
        """The company's own name of the product: its metadata.product_id, else Stripe's id."""
        return self._product_metadata(stripe_product_id).get("product_id") or stripe_product_id

    def version_of(self, item: SoldItem) -> int | None:
        """The version of the product that was sold: as price or product metadata states it, else the price's rank.

        The rank counts the product's recurring prices from 1 in order of creation, including archived ones, so that
        the rank of a price never changes. None for a price that is unknown or not recurring.
        """
        price = self.price_of(item)
        stripe_product_id = self.stripe_product_id_of(item)
        product = None if stripe_product_id is None else self._products.get(stripe_product_id)
        stated = stated_version(price, product)
        if stated is not None or price is None or not price.recurring or stripe_product_id is None:
            return stated
        if price.id in self._ranks:
            return self._ranks[price.id]
        place = _age(price)
        return 1 + sum(
            each.recurring and each.product_id == stripe_product_id and _age(each) < place
            for each in self._prices.values()
        )

    def feature_id_of(self, item: SoldItem) -> str | None:
        """The feature whose quantity the item sells: its price's metadata.feature_id, else its product's."""
        price = self.price_of(item)
        feature_id = None if price is None else price.metadata.get("feature_id")
        if not feature_id and (stripe_product_id := self.stripe_product_id_of(item)) is not None:
            feature_id = self._product_metadata(stripe_product_id).get("feature_id")
        return feature_id or None

    def quota_of(self, item: SoldItem) -> int | None:
        """The limit that was agreed for its price: the price's metadata.quota_limit, else its product's; None if that
        is no whole number.
        """
        price, stripe_product_id = self.price_of(item), self.stripe_product_id_of(item)
        stated: list[Mapping[str, str]] = [] if price is None else [price.metadata]
        stated += [] if stripe_product_id is None else [self._product_metadata(stripe_product_id)]
        return next((limit for each in stated if (limit := quota_in(each)) is not None), None)

    def _product_metadata(self, stripe_product_id: str) -> Mapping[str, str]:
        product = self._products.get(stripe_product_id)
        return {} if product is None else product.metadata


def quota_in(metadata: Mapping[str, str]) -> int | None:
    """The limit that metadata state as `quota_limit`; None if that is no whole number."""
    return int(quota) if _QUOTA.fullmatch(quota := metadata.get("quota_limit", "")) else None


def stated_version(price: Price | None, product: Product | None) -> int | None:
    """The version in the metadata of a price, else of its product; None: it is the rank of the price."""
    for metadata in (each.metadata for each in (price, product) if each is not None):
        if _VERSION.fullmatch(version := metadata.get("version", "")):
            return int(version)
    return None


def _age(price: Price) -> tuple[datetime, str]:
    return price.created or BEFORE_ALL_TIMES, price.id


def items_by_subscription(items: Iterable[SubscriptionItem]) -> dict[str, list[SubscriptionItem]]:
    """Each subscription's items in Stripe's order."""
    of: dict[str, list[SubscriptionItem]] = {}
    for item in sorted(items, key=lambda item: (item.position, item.id)):
        of.setdefault(item.subscription_id, []).append(item)
    return of


def products_of(
    facts: CustomerFacts,
    *,
    customer_uid: UUID,
    standings: Iterable[Standing],
    items: Mapping[str, Sequence[SubscriptionItem]],
    catalogue: Catalogue,
) -> tuple[CustomerProduct, ...]:
    """One row per subscription and product, and one per product of a schedule that has not started; in order of key.

    Subscriptions that never started or have ended are included. An item with a still unknown product gives no row.
    """
    schedules = [schedule for schedule in facts.schedules if schedule.status in _AHEAD]
    scheduled: dict[str | None, list[str]] = {}
    for schedule in sorted(schedules, key=lambda each: each.id):
        scheduled.setdefault(schedule.subscription_id, []).append(schedule.id)
    sold: list[tuple[Standing, str, list[SubscriptionItem]]] = []
    carriers: dict[str, list[str]] = {}
    for standing in sorted(standings, key=lambda each: start_order(each.subscription)):
        of_product: dict[str, list[SubscriptionItem]] = {}
        for item in items.get(standing.subscription.id, ()):
            stripe_product_id = catalogue.stripe_product_id_of(item)
            if stripe_product_id is not None:
                of_product.setdefault(stripe_product_id, []).append(item)
        for stripe_product_id, its_items in of_product.items():
            sold.append((standing, stripe_product_id, its_items))
            carriers.setdefault(stripe_product_id, []).append(standing.subscription.id)
    latest = {product: tuple(ids[-SUBSCRIPTION_IDS_MAX:]) for product, ids in carriers.items()}
    rows = [
        _product(
            facts,
            customer_uid=customer_uid,
            standing=standing,
            stripe_product_id=stripe_product_id,
            items=its_items,
            subscription_ids=_with_own(latest[stripe_product_id], standing.subscription.id),
            scheduled_ids=tuple(scheduled.get(standing.subscription.id, ())),
            catalogue=catalogue,
        )
        for standing, stripe_product_id, its_items in sold
    ]
    if facts.deleted_at is None:
        for schedule in schedules:
            if schedule.status == "not_started":
                rows += _scheduled_products(facts, schedule, customer_uid=customer_uid, catalogue=catalogue)
    return tuple(sorted(rows, key=lambda row: (row.stripe_subscription_id, row.stripe_product_id)))


def _with_own(latest: tuple[str, ...], own: str) -> tuple[str, ...]:
    """The latest subscriptions to a product, and a row's own in place of the earliest of them if it is older."""
    return latest if own in latest else (own, *latest[1:])


def _product(
    facts: CustomerFacts,
    *,
    customer_uid: UUID,
    standing: Standing,
    stripe_product_id: str,
    items: Sequence[SubscriptionItem],
    subscription_ids: tuple[str, ...],
    scheduled_ids: tuple[str, ...],
    catalogue: Catalogue,
) -> CustomerProduct:
    subscription = standing.subscription
    starts = [item.current_period_start for item in items if item.current_period_start is not None]
    ends = [item.current_period_end for item in items if item.current_period_end is not None]
    quantities = [item.quantity for item in items if item.quantity is not None]
    return CustomerProduct(
        id=_row_id(facts, subscription.id, stripe_product_id),
        customer_uid=customer_uid,
        account_id=facts.account_id,
        live_mode=facts.live_mode,
        stripe_customer_id=facts.customer_id,
        stripe_subscription_id=subscription.id,
        stripe_product_id=stripe_product_id,
        product_id=catalogue.product_id(stripe_product_id),
        stripe_price_id=items[0].price_id,
        status=standing.status,
        stripe_status=subscription.status,
        has_access=standing.has_access,
        canceled=standing.canceled,
        canceled_at=subscription.canceled_at,
        starts_at=subscription.start_date,
        ended_at=standing.ended_at,
        trial_ends_at=subscription.trial_end if standing.is_trial else None,  # Stripe never clears it
        free_trial_id=None,
        current_period_start=max(starts, default=subscription.current_period_start),
        current_period_end=max(ends, default=subscription.current_period_end),
        quantity=storable(sum(quantities)) if quantities else None,
        options=_options(items, catalogue),
        collection_method=subscription.collection_method,
        processor="stripe",
        subscription_ids=subscription_ids,
        scheduled_ids=scheduled_ids,
        is_custom=None,
        api_version=None,
        external_id=subscription.metadata.get("external_id"),
        entity_id=subscription.metadata.get("entity_id"),
        created_at=subscription.created,
    )


def _scheduled_products(
    facts: CustomerFacts, schedule: SubscriptionSchedule, *, customer_uid: UUID, catalogue: Catalogue
) -> list[CustomerProduct]:
    """What a schedule that has not started will begin with.

    Until Stripe creates its subscription, the schedule's own id takes the place of the subscription's. The row goes
    when the subscription comes, or when the schedule is canceled.
    """
    of_product: dict[str, list[SubscriptionScheduleItem]] = {}
    items = (item for item in facts.schedule_items if item.schedule_id == schedule.id and item.phase == 0)
    for item in sorted(items, key=lambda item: item.position):
        stripe_product_id = catalogue.stripe_product_id_of(item)
        if stripe_product_id is not None:
            of_product.setdefault(stripe_product_id, []).append(item)
    rows = []
    for stripe_product_id, its_items in of_product.items():
        quantities = [item.quantity for item in its_items if item.quantity is not None]
        rows.append(
            CustomerProduct(
                id=_row_id(facts, schedule.id, stripe_product_id),
                customer_uid=customer_uid,
                account_id=facts.account_id,
                live_mode=facts.live_mode,
                stripe_customer_id=facts.customer_id,
                stripe_subscription_id=schedule.id,
                stripe_product_id=stripe_product_id,
                product_id=catalogue.product_id(stripe_product_id),
                stripe_price_id=its_items[0].price_id,
                status=None,
                stripe_status=schedule.status,
                has_access=False,
                canceled=False,
                canceled_at=None,
                starts_at=schedule.starts_at,
                ended_at=None,
                trial_ends_at=None,
                free_trial_id=None,
                current_period_start=None,
                current_period_end=None,
                quantity=storable(sum(quantities)) if quantities else None,
                options=_options(its_items, catalogue),
                collection_method=None,
                processor="stripe",
                subscription_ids=(),
                scheduled_ids=(schedule.id,),
                is_custom=None,
                api_version=None,
                external_id=schedule.metadata.get("external_id"),
                entity_id=schedule.metadata.get("entity_id"),
                created_at=schedule.created,
            )
        )
    return rows


def _row_id(facts: CustomerFacts, holder_id: str, stripe_product_id: str) -> UUID:
    mode = "live" if facts.live_mode else "test"
    return uuid5(NAMESPACE, f"{facts.account_id}/{mode}/{holder_id}/{stripe_product_id}")


def _options(items: Iterable[SoldItem], catalogue: Catalogue) -> dict[str, int | None]:
    """How much of each feature was bought: quantities summed by feature, in order of feature. Of a metered price it is
    the agreed limit; None: nothing limits it.
    """
    options: dict[str, int | None] = {}
    for item in items:
        feature_id = catalogue.feature_id_of(item)
        if feature_id is None:
            continue
        sold = catalogue.quota_of(item) if item.quantity is None else item.quantity
        before = options.get(feature_id)
        options[feature_id] = sold if before is None else before + (sold or 0)
    return dict(sorted(options.items()))
