"""What every customer's record must say: read from the books and the account's own state, never from rendered objects.

The fields have the names and the meaning of the readers' tables. Times are aware datetimes, amounts minor units.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import floor
from re import compile as pattern
from typing import NamedTuple

from sandbox.account import Account
from sandbox.books import Status, current_subscription, grants_access, subscription_status
from sandbox.objects import CheckoutSession, Customer, Item, Meter, Price, Subscription, SubscriptionSchedule
from sandbox.periods import instant


class CustomerKey(NamedTuple):
    """One customer, by Stripe's id."""

    account_id: str
    live_mode: bool
    id: str

    @property
    def scope(self) -> tuple[str, bool]:
        """The account, and the mode."""
        return self.account_id, self.live_mode


_URL_SAFE = pattern(r"[A-Za-z0-9._~-]{1,255}")
_WHOLE_NUMBER = pattern(r"[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedProduct:
    """One product of one subscription, or of a schedule that has not started (then under the schedule's id)."""

    stripe_subscription_id: str
    stripe_product_id: str
    product_id: str
    stripe_price_id: str
    status: Status | None
    stripe_status: str
    has_access: bool
    canceled: bool
    canceled_at: datetime | None
    starts_at: datetime
    ended_at: datetime | None
    trial_ends_at: datetime | None
    current_period_start: datetime | None
    current_period_end: datetime | None
    quantity: int | None
    options: dict[str, int | None]
    collection_method: str | None
    subscription_ids: tuple[str, ...]
    scheduled_ids: tuple[str, ...]
    entity_id: str | None
    external_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedRevenue:
    currency: str
    gross: int
    refunded: int
    disputed: int
    out_of_band: int

    @property
    def net(self) -> int:
        return self.gross - self.refunded - self.disputed + self.out_of_band


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedEntity:
    """What the customer's subscriptions are for: a workspace, a team, a store."""

    id: str
    type: str | None
    name: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedMrr:
    """Monthly recurring revenue in one currency."""

    currency: str
    mrr: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedUsage:
    """What one metered subscription has used of one meter so far, and the amount of its next invoice."""

    stripe_subscription_id: str
    meter_id: str
    event_name: str
    value: int
    period_start: datetime
    period_end: datetime
    expected_charge: int | None
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedCustomer:
    account_id: str
    live_mode: bool
    stripe_customer_id: str
    custom_uid: str | None
    name: str | None
    email: str | None
    description: str | None
    metadata: dict[str, str]
    status: Status | None
    has_access: bool
    product_id: str | None
    product_version_number: int | None
    stripe_product_id: str | None
    stripe_price_id: str | None
    stripe_subscription_id: str | None
    quantity: int | None
    lifetime_revenue: int
    revenue_currency: str | None
    renewal_number: int
    is_trial: bool
    trial_end: datetime | None
    sandbox_end: datetime | None
    subscription_date: datetime | None
    first_seen: datetime
    last_seen: datetime | None
    deleted_at: datetime | None
    exact: bool
    products: tuple[ExpectedProduct, ...]
    """By subscription id, then product id."""
    revenue: tuple[ExpectedRevenue, ...]
    """By currency; without currencies in which all four amounts are 0."""
    mrr: tuple[ExpectedMrr, ...]
    """By currency; without currencies in which nothing comes in."""
    features: tuple[str, ...]
    """The lookup keys of what the customer is entitled to, in alphabetical order."""
    entities: tuple[ExpectedEntity, ...]
    """By id."""
    status_changes: tuple[Status | None, ...]
    """The statuses that the customer had, oldest first; a reader may have missed some of them."""


def read_truth(account: Account) -> Iterator[tuple[CustomerKey, ExpectedCustomer]]:
    uids = custom_uids(account)
    for customer in account.customers():
        key = CustomerKey(account.account_id, account.live_mode, customer.id)
        yield key, expected_customer(account, customer, uids.get(customer.id))


def expected_customer(account: Account, customer: Customer, custom_uid: str | None) -> ExpectedCustomer:
    current = current_subscription(customer, account.subscriptions_of(customer.id))
    deleted = customer.deleted_at is not None
    first = None if current is None else current.items[0]
    price = None if first is None else account.price(first.price)
    is_trial = current is not None and current.status == "trialing" and not deleted
    status = None if current is None else subscription_status(current, customer_deleted=deleted)
    grant = _grant(account, customer)
    # A live subscription decides, even if it is past_due.
    granted = grant is not None and grant[0] > account.now and not deleted and status in (None, "ended")
    product_id = None if price is None else _product_id(account, price)
    version_number = None if price is None else _version_number(account, price)
    if granted and grant is not None and grant[1] is not None:
        product_id, version_number = grant[1], None
    revenue = _revenue(account, customer)
    most = max(revenue, key=lambda entry: entry.gross + entry.out_of_band, default=None)
    sessions = _completed_sessions(account, customer)
    return ExpectedCustomer(
        account_id=account.account_id,
        live_mode=account.live_mode,
        stripe_customer_id=customer.id,
        custom_uid=custom_uid,
        name=customer.name,
        email=customer.email,
        description=customer.description,
        metadata=dict(customer.metadata),
        status=status,
        has_access=granted
        or any(
            grants_access(subscription, customer_deleted=deleted)
            for subscription in account.subscriptions_of(customer.id)
        ),
        product_id=product_id,
        product_version_number=version_number,
        stripe_product_id=None if price is None else price.product,
        stripe_price_id=None if price is None else price.id,
        stripe_subscription_id=None if current is None else current.id,
        quantity=None if first is None else first.quantity,
        lifetime_revenue=0 if most is None else most.net,
        revenue_currency=None if most is None else most.currency,
        renewal_number=0 if current is None else account.books.cycles[current.id],
        is_trial=is_trial,
        trial_end=_moment(current.trial_end) if current is not None and is_trial else None,
        sandbox_end=None if grant is None else instant(grant[0]),
        subscription_date=None if current is None else instant(current.start_date),
        first_seen=instant(customer.created),
        last_seen=instant(sessions[-1].created) if sessions else None,
        deleted_at=_moment(customer.deleted_at),
        exact=True,
        products=tuple(_products(account, customer)),
        revenue=tuple(revenue),
        mrr=tuple(_mrr(account, customer)),
        entities=tuple(_entities(account, customer)),
        features=tuple(sorted(entry.lookup_key for entry in account.entitlements.of(customer.id))),
        status_changes=tuple(account.books.statuses.get(customer.id, ())),
    )


def _grant(account: Account, customer: Customer) -> tuple[int, str | None] | None:
    """Until when access was granted without a subscription, and to which product of ours.

    The customer's metadata decide, else those of the latest subscription that names a grant.
    """
    by_start = sorted(
        account.subscriptions_of(customer.id),
        key=lambda entry: (entry.start_date, entry.created, entry.id),
        reverse=True,
    )
    for metadata in (customer.metadata, *(subscription.metadata for subscription in by_start)):
        said = metadata.get("sandbox_end", "")
        try:
            end = int(said) if said.isdigit() else int(datetime.fromisoformat(said).timestamp())
        except ValueError:
            continue
        return end, metadata.get("sandbox_product_id")
    return None


def _entities(account: Account, customer: Customer) -> Iterator[ExpectedEntity]:
    subscriptions = sorted(
        account.subscriptions_of(customer.id), key=lambda entry: (entry.start_date, entry.created, entry.id)
    )
    named: dict[str, list[Subscription]] = {}
    for subscription in subscriptions:
        if "entity_id" in subscription.metadata:
            named.setdefault(subscription.metadata["entity_id"], []).append(subscription)
    for entity_id, its in sorted(named.items()):
        said = {key: value for entry in its for key, value in entry.metadata.items()}
        yield ExpectedEntity(
            id=entity_id,
            type=said.get("entity_type"),
            name=said.get("entity_name"),
            created_at=instant(its[0].start_date),
        )


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None else instant(seconds)


def _revenue(account: Account, customer: Customer) -> list[ExpectedRevenue]:
    cash = account.books.cash.get(customer.id)
    if cash is None:
        return []
    rows = [
        ExpectedRevenue(
            currency=currency,
            gross=cash[currency, "gross"],
            refunded=cash[currency, "refunded"],
            disputed=cash[currency, "disputed"],
            out_of_band=cash[currency, "out_of_band"],
        )
        for currency in sorted({currency for currency, _ in cash})
    ]
    return [row for row in rows if row.gross or row.refunded or row.disputed or row.out_of_band]


_MONTHS = {"year": Fraction(12), "month": Fraction(1), "week": Fraction(12, 52), "day": Fraction(12, 365)}


def _mrr(account: Account, customer: Customer) -> Iterator[ExpectedMrr]:
    sums: defaultdict[str, Fraction] = defaultdict(Fraction)
    for subscription in account.subscriptions_of(customer.id):
        sums[subscription.currency] += _monthly(account, subscription)
    for currency in sorted(sums):
        mrr = floor(sums[currency] + Fraction(1, 2))
        if mrr:
            yield ExpectedMrr(currency=currency, mrr=mrr)


def _monthly(account: Account, subscription: Subscription) -> Fraction:
    """What a paying subscription brings in a month, after its lasting discounts; exact."""
    if subscription.status not in ("active", "past_due") or subscription.pause_collection == "void":
        return Fraction(0)
    amounts: dict[str, Fraction] = {}  # by item
    for item in subscription.items:
        if item.quantity is not None:
            price = account.price(item.price)
            amounts[item.id] = price.amount_for(item.quantity) / _months_of(price)
    for discount in subscription.discounts:
        coupon = discount.coupon
        ended = discount.end is not None and discount.end <= account.now
        if ended or coupon.duration == "once":
            continue
        prices = {item.id: account.price(item.price) for item in subscription.items if item.id in amounts}
        limits = coupon.applies_to or {price.product for price in prices.values()}
        of = {key: price for key, price in prices.items() if price.product in limits}
        left = sum((amounts[key] for key in of), Fraction(0))
        if not left:
            continue
        if coupon.percent_off is not None:
            off = left * coupon.percent_off / 100
        else:
            off = min(left, coupon.amount_in(subscription.currency) / min(map(_months_of, of.values())))
        for key in of:
            amounts[key] -= off * amounts[key] / left
    return sum(amounts.values(), Fraction(0))


def _months_of(price: Price) -> Fraction:
    """How many months one period of the price lasts."""
    return _MONTHS[price.interval or "month"] * price.interval_count


def expected_usage(account: Account, customer: Customer) -> Iterator[ExpectedUsage]:
    """What the customer's metered subscriptions have used in their current periods, up to this moment."""
    for subscription in account.subscriptions_of(customer.id):
        if subscription.ended_at is not None:
            continue
        preview = account.billing.preview(subscription)
        for item in subscription.items:
            meter = account.find(account.price(item.price).meter or "")
            if not isinstance(meter, Meter):
                continue
            used = account.metering.used(customer.id, meter.id, item.period_start, item.period_end)
            yield ExpectedUsage(
                stripe_subscription_id=subscription.id,
                meter_id=meter.id,
                event_name=meter.event_name,
                value=used or 0,
                period_start=instant(item.period_start),
                period_end=instant(item.period_end),
                expected_charge=None if preview is None else preview.amount_due,
                currency=subscription.currency,
            )


def _product_id(account: Account, price: Price) -> str:
    return account.product(price.product).metadata.get("product_id", price.product)


def _version_number(account: Account, price: Price) -> int:
    for metadata in (price.metadata, account.product(price.product).metadata):
        given = metadata.get("version", "")
        if _WHOLE_NUMBER.fullmatch(given):
            return int(given)
    siblings = account.catalogue.prices_of[price.product]
    recurring = sorted((other.created, other.id) for other in siblings if other.interval is not None)
    return recurring.index((price.created, price.id)) + 1


def _products(account: Account, customer: Customer) -> Iterator[ExpectedProduct]:
    holders: list[Subscription | SubscriptionSchedule] = [*account.subscriptions_of(customer.id)]
    holders += [entry for entry in account.schedules.of(customer.id) if entry.status == "not_started"]
    for holder in sorted(holders, key=lambda entry: entry.id):
        if isinstance(holder, SubscriptionSchedule):
            for product_id in sorted(
                {account.price(price_id).product for price_id, _ in holder.phases[0].plans}
            ):
                yield _scheduled_product(account, holder, product_id)
            continue
        for product_id in sorted({account.price(item.price).product for item in holder.items}):
            yield _product(account, customer, holder, product_id)


def _scheduled_product(account: Account, schedule: SubscriptionSchedule, product_id: str) -> ExpectedProduct:
    """What a schedule that has not started will begin with."""
    plans = [
        (price_id, quantity)
        for price_id, quantity in schedule.phases[0].plans
        if account.price(price_id).product == product_id
    ]
    return ExpectedProduct(
        stripe_subscription_id=schedule.id,
        stripe_product_id=product_id,
        product_id=_product_id(account, account.price(plans[0][0])),
        stripe_price_id=plans[0][0],
        status=None,
        stripe_status="not_started",
        has_access=False,
        canceled=False,
        canceled_at=None,
        starts_at=instant(schedule.phases[0].start),
        ended_at=None,
        trial_ends_at=None,
        current_period_start=None,
        current_period_end=None,
        quantity=sum(quantity for _, quantity in plans),
        options=_options(account, plans),
        collection_method=None,
        subscription_ids=(),
        scheduled_ids=(schedule.id,),
        entity_id=None,
        external_id=None,
        created_at=instant(schedule.created),
    )


def _options(account: Account, plans: Iterable[tuple[str, int | None]]) -> dict[str, int | None]:
    """How much of each of our features was bought; of use that is paid for afterwards, what was agreed as its limit."""
    options: dict[str, int | None] = {}
    for price_id, quantity in plans:
        said = account.product(account.price(price_id).product).metadata | account.price(price_id).metadata
        if (feature := said.get("feature_id")) is None:
            continue
        if quantity is None and "quota_limit" in said:
            quantity = int(said["quota_limit"])
        known = [each for each in (options.get(feature), quantity) if each is not None]
        options[feature] = sum(known) if known else None
    return options


def _carries(account: Account, subscription: Subscription, product_id: str) -> list[Item]:
    return [item for item in subscription.items if account.price(item.price).product == product_id]


def _product(
    account: Account, customer: Customer, subscription: Subscription, product_id: str
) -> ExpectedProduct:
    items = _carries(account, subscription, product_id)
    deleted = customer.deleted_at is not None
    ended_at = subscription.ended_at
    if ended_at is None and deleted:
        ended_at = customer.deleted_at
    counted = [item.quantity for item in items if item.quantity is not None]
    siblings = [
        other for other in account.subscriptions_of(customer.id) if _carries(account, other, product_id)
    ]
    siblings.sort(key=lambda other: (other.start_date, other.created, other.id))
    return ExpectedProduct(
        stripe_subscription_id=subscription.id,
        stripe_product_id=product_id,
        product_id=_product_id(account, account.price(items[0].price)),
        stripe_price_id=items[0].price,
        status=subscription_status(subscription, customer_deleted=deleted),
        stripe_status=subscription.status,
        has_access=grants_access(subscription, customer_deleted=deleted),
        canceled=(
            deleted
            or subscription.status == "canceled"
            or subscription.cancel_at_period_end
            or subscription.cancel_at is not None
        ),
        canceled_at=_moment(subscription.canceled_at),
        starts_at=instant(subscription.start_date),
        ended_at=_moment(ended_at),
        trial_ends_at=_moment(subscription.trial_end) if subscription.status == "trialing" else None,
        current_period_start=instant(max(item.period_start for item in items)),
        current_period_end=instant(max(item.period_end for item in items)),
        quantity=sum(counted) if counted else None,
        options=_options(account, [(item.price, item.quantity) for item in items]),
        collection_method=subscription.collection_method,
        subscription_ids=tuple(other.id for other in siblings),
        scheduled_ids=tuple(
            sorted(
                schedule.id
                for schedule in account.schedules.of(customer.id)
                if schedule.status == "active" and schedule.subscription == subscription.id
            )
        ),
        entity_id=subscription.metadata.get("entity_id"),
        external_id=subscription.metadata.get("external_id"),
        created_at=instant(subscription.created),
    )


def _completed_sessions(account: Account, customer: Customer) -> list[CheckoutSession]:
    rows = account.shelves["checkout.session"].of_customer.get(customer.id, ())
    return [row for row in rows if isinstance(row, CheckoutSession) and row.status == "complete"]


class _Claim(NamedTuple):
    """A name that a customer is given, and what decides who has it: the smallest of all claims of one name."""

    written_by_buyer: bool
    by_checkout: bool
    deleted: bool
    born: int
    customer_id: bytes
    uid: str


def custom_uids(account: Account) -> dict[str, str]:
    """The custom_uid of each customer that has one. The company's word comes before a buyer's, then the customer's own
    metadata before a Checkout, then the oldest customer that is not deleted, then the smallest id.
    """
    holders: dict[str, Customer] = {}
    claims = ((claim, customer) for customer in account.customers() if (claim := _claim(account, customer)))
    for claim, customer in sorted(claims, key=lambda each: each[0]):
        holders.setdefault(claim.uid, customer)
    return {customer.id: uid for uid, customer in holders.items()}


def custom_uid_of(account: Account, customer: Customer) -> str | None:
    """The same for one customer. A customer that claims none is compared with nobody: in an account of 20,000, whose
    stories ask at every step, comparing took longer than everything else.
    """
    claim = _claim(account, customer)
    if claim is None:
        return None
    others = (_claim(account, other) for other in account.customers())
    return claim.uid if claim == min(other for other in others if other and other.uid == claim.uid) else None


def _claim(account: Account, customer: Customer) -> _Claim | None:
    """What the customer is called by whoever comes first: its metadata, a Checkout of the company, a payment link."""
    sessions = [each for each in _completed_sessions(account, customer) if each.client_reference_id]
    made = [each.client_reference_id for each in sessions if each.payment_link is None]
    followed = [each.client_reference_id for each in sessions if each.payment_link is not None]
    called = [
        (customer.metadata.get("custom_uid"), False, False),
        (made[-1] if made else None, False, True),
        (followed[-1] if followed else None, True, True),
    ]
    for uid, written_by_buyer, by_checkout in called:
        if uid is not None and _URL_SAFE.fullmatch(uid):
            deleted = customer.deleted_at is not None
            born = 0 if deleted else customer.created
            return _Claim(written_by_buyer, by_checkout, deleted, born, customer.id.encode(), uid)
    return None
