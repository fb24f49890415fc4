"""Monthly recurring revenue: what a customer's subscriptions bring in a month, and how that came about.

Only subscriptions that are paid for count: active ones, also when their end is scheduled, and past due ones while
Stripe still tries to collect. Nothing is guessed: where Stripe has not told a price, its tiers or a discount, the sum
is None and not too small.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from types import MappingProxyType
from uuid import UUID

from subledger.billing.facts import (
    Coupon,
    CustomerFacts,
    Discount,
    Price,
    Subscription,
    SubscriptionItem,
    Tier,
)
from subledger.billing.history import Step, revise_history

PAID_FOR = frozenset({"active", "past_due"})
"""Words of Stripe for a subscription that counts. Trials bring nothing yet, unpaid and paused ones nothing any more."""

_PER_MONTH: Mapping[str | None, Decimal] = MappingProxyType(
    {
        "year": 1 / Decimal(12),
        "month": Decimal(1),
        "week": 52 / Decimal(12),
        "day": 365 / Decimal(12),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerMrr:
    """One row of billing.customer_mrr: what one customer brings in a month in one currency, in its minor units."""

    customer_uid: UUID
    account_id: str
    live_mode: bool
    stripe_customer_id: str
    currency: str
    mrr: int | None  # None: not known
    subscriptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One step of the history, which chains to the one before."""

    mrr_before: int
    mrr_after: int
    changed_at: datetime


class Mrr:
    """The MRR that one customer's facts imply. Amounts are minor units of the subscription's currency a month."""

    def __init__(self, facts: CustomerFacts) -> None:
        self._facts = facts
        self._prices = {price.id: price for price in facts.prices}
        self._coupons = {coupon.id: coupon for coupon in facts.coupons}
        self._items: defaultdict[str, list[SubscriptionItem]] = defaultdict(list)
        for item in facts.items:
            self._items[item.subscription_id].append(item)

    def rows(self, *, customer_uid: UUID, as_of: datetime) -> tuple[CustomerMrr, ...]:
        """One row for each currency in which a subscription is paid for, in order of currency.

        `as_of` decides which discounts have not ended.
        """
        sums: dict[str, tuple[Decimal | None, int]] = {}
        for subscription in self._facts.subscriptions:
            currency = self._currency(subscription)
            if currency is not None and self._counts(subscription):
                before, count = sums.get(currency, (Decimal(0), 0))
                amount = self.of_subscription(subscription, at=as_of)
                both = None if before is None or amount is None else before + amount
                sums[currency] = (both, count + 1)
        return tuple(
            CustomerMrr(
                customer_uid=customer_uid,
                account_id=self._facts.account_id,
                live_mode=self._facts.live_mode,
                stripe_customer_id=self._facts.customer_id,
                currency=currency,
                mrr=None if amount is None else rounded(amount),
                subscriptions=count,
            )
            for currency, (amount, count) in sorted(sums.items())
        )

    def currencies(self) -> set[str]:
        """The currencies of all its subscriptions."""
        found = (self._currency(subscription) for subscription in self._facts.subscriptions)
        return {currency for currency in found if currency is not None}

    def past(self, currency: str, *, as_of: datetime) -> tuple[Change, ...]:
        """How today's MRR in this currency came about, as far as the facts alone tell.

        A subscription brought what its present items cost from its start, or the end of its trial, to its end; what was
        changed in it meanwhile cannot be seen. Of one that is unpaid or paused nothing tells since when, so it brought
        nothing. Ends where `rows` is, save for what is not known there.
        """
        levels: defaultdict[datetime, Decimal] = defaultdict(Decimal)  # by how much the sum changed, and when
        for subscription in self._facts.subscriptions:
            if self._currency(subscription) == currency:
                before = Decimal(0)
                for moment, amount in self._spell(subscription, as_of):
                    levels[moment] += amount - before
                    before = amount
        changes: list[Change] = []
        exact, stands = Decimal(0), 0
        for moment in sorted(levels):
            exact += levels[moment]
            after = rounded(exact)
            if after is not None and after != stands:
                changes.append(Change(mrr_before=stands, mrr_after=after, changed_at=moment))
                stands = after
        return tuple(changes)

    def moments(self, currency: str, *, as_of: datetime) -> list[datetime]:
        """The moments of which the facts tell that MRR in this currency changed by them: begins, ends, discounts."""
        return [
            moment
            for subscription in self._facts.subscriptions
            if self._currency(subscription) == currency
            for moment, _ in self._spell(subscription, as_of)
        ]

    def next_end_of_discount(self, *, as_of: datetime) -> datetime | None:
        """When a discount ends next, of which Stripe sends no event: then the customer must be derived again."""
        ends = [
            discount.ends
            for subscription in self._facts.subscriptions
            if self._counts(subscription)
            for discount in self._discounts(subscription)
            if discount.ends is not None and discount.ends > as_of
        ]
        return min(ends, default=None)

    def of_subscription(self, subscription: Subscription, *, at: datetime) -> Decimal | None:
        """What a subscription costs a month, with the discounts that go on at a moment; None: not known."""
        if subscription.pause_collection == "void":
            return Decimal(0)
        currency = self._currency(subscription)
        total: Decimal | None = Decimal(0)
        often = Decimal(0)  # invoices a month
        for item in self._items[subscription.id]:
            price = None if item.price_id is None else self._prices.get(item.price_id)
            if price is not None and (not price.recurring or price.usage_type == "metered"):
                continue
            a_month = None if price is None else _per_month(price)
            if price is None or a_month is None:
                return None
            often = max(often, a_month)
            try:
                each = price_of(price, quantity=item.quantity, currency=currency)
            except InvalidOperation:
                each = None  # no number: somebody has damaged the mirror, and an audit will say so
            amount = None if each is None else each * a_month
            amount = self._discounted(amount, item.discounts, often=a_month, at=at, currency=currency)
            total = None if total is None or amount is None else total + amount
        return self._discounted(total, self._of_whole(subscription), often=often, at=at, currency=currency)

    def _of_whole(self, subscription: Subscription) -> tuple[Discount, ...] | None:
        """The discounts of a whole subscription: its own, and where it has none, its customer's; None: not known."""
        customer = self._facts.customer
        if subscription.discounts is None or subscription.discounts:
            return subscription.discounts
        return () if customer is None else customer.discounts

    def _discounted(
        self,
        amount: Decimal | None,
        discounts: Iterable[Discount] | None,
        *,
        often: Decimal,
        at: datetime,
        currency: str | None,
    ) -> Decimal | None:
        """An amount a month after discounts, each taken from what the ones before have left, as Stripe does it."""
        if not amount:
            return amount
        if discounts is None:
            return None
        for discount in map(self._whole, discounts):
            if discount.duration == "once" or (discount.ends is not None and discount.ends <= at):
                continue
            if discount.percent_off is not None:
                amount -= amount * min(Decimal(discount.percent_off), Decimal(100)) / 100
            elif discount.amount_off is not None and discount.currency == currency:
                amount = max(amount - discount.amount_off * often, Decimal(0))
            else:
                return None
        return amount

    def _whole(self, discount: Discount) -> Discount:
        """A discount with what its coupon says, where Stripe named that by its id alone."""
        coupon: Coupon | None = self._coupons.get(discount.coupon_id or "")
        if coupon is None or discount.percent_off is not None or discount.amount_off is not None:
            return discount
        return Discount(
            id=discount.id,
            coupon_id=discount.coupon_id,
            percent_off=coupon.percent_off,
            amount_off=coupon.amount_off,
            currency=coupon.currency,
            duration=coupon.duration,
            ends=discount.ends,
        )

    def _discounts(self, subscription: Subscription) -> list[Discount]:
        return [
            *(self._of_whole(subscription) or ()),
            *(discount for item in self._items[subscription.id] for discount in item.discounts or ()),
        ]

    def _counts(self, subscription: Subscription) -> bool:
        return subscription.status in PAID_FOR and self._facts.deleted_at is None

    def _currency(self, subscription: Subscription) -> str | None:
        """A subscription's currency; in old shapes that of its first price."""
        if subscription.currency is not None:
            return subscription.currency
        prices = (self._prices.get(item.price_id or "") for item in self._items[subscription.id])
        return next((price.currency for price in prices if price is not None), None)

    def _spell(self, subscription: Subscription, as_of: datetime) -> list[tuple[datetime, Decimal]]:
        """From when on a subscription brought how much a month; empty when it never did, or nothing tells."""
        counts = self._counts(subscription)
        ends = None if counts else (subscription.ended_at or self._facts.deleted_at)
        begins = max(
            (each for each in (subscription.start_date, subscription.trial_end) if each is not None),
            default=subscription.created,
        )
        was_paid_for = counts or subscription.status == "canceled" or self._facts.deleted_at is not None
        if begins is None or not was_paid_for or (not counts and ends is None):
            return []
        if ends is not None and ends <= begins:
            return []  # it ended with its trial
        turns = {
            discount.ends
            for discount in self._discounts(subscription)
            if discount.ends is not None and begins < discount.ends <= (as_of if ends is None else ends)
        }
        spell = [
            (moment, self.of_subscription(subscription, at=moment) or Decimal(0))
            for moment in sorted({begins, *turns})
        ]
        return spell if ends is None else [*spell, (ends, Decimal(0))]


def price_of(price: Price, *, quantity: int | None, currency: str | None) -> Decimal | None:
    """What so many of a price cost at each of its intervals, minor units of the currency; None: not known."""
    unit_amount: str | int | None = price.unit_amount_decimal
    if unit_amount is None:
        unit_amount = price.unit_amount
    tiers = price.tiers
    if currency is not None and price.currency != currency:
        option = next((each for each in price.currency_options or () if each.currency == currency), None)
        if option is None:
            return None
        unit_amount, tiers = option.unit_amount, option.tiers
    number = Decimal(1 if quantity is None else quantity)
    if price.billing_scheme == "tiered":
        match price.tiers_mode:
            case "graduated" if tiers:
                return _graduated(tiers, number)
            case "volume" if tiers:
                return _volume(tiers, number)
            case _:
                return None
    if unit_amount is None:
        return None
    if price.divide_quantity_by:
        rounding = ROUND_CEILING if price.round_quantity == "up" else ROUND_FLOOR
        number = (number / price.divide_quantity_by).to_integral_value(rounding)
    return Decimal(unit_amount) * number


def _graduated(tiers: Sequence[Tier], quantity: Decimal) -> Decimal:
    """Each tier's part of the quantity at that tier's price; a flat amount for each tier that is reached.

    The first tier is reached by a quantity of 0.
    """
    total, below = Decimal(0), Decimal(0)
    for tier in tiers:
        top = quantity if tier.up_to is None else min(quantity, Decimal(tier.up_to))
        total += Decimal(tier.flat_amount or 0) + Decimal(tier.unit_amount or 0) * (top - below)
        below = top
        if tier.up_to is None or quantity <= tier.up_to:
            break
    return total


def _volume(tiers: Sequence[Tier], quantity: Decimal) -> Decimal:
    """All of the quantity at the price of the tier that it reaches."""
    reached = next((tier for tier in tiers if tier.up_to is None or quantity <= tier.up_to), tiers[-1])
    return Decimal(reached.flat_amount or 0) + Decimal(reached.unit_amount or 0) * quantity


def _per_month(price: Price) -> Decimal | None:
    """How often a price is charged in a month; None for an interval that we do not know."""
    often = _PER_MONTH.get(price.interval)
    return None if often is None else often / (price.interval_count or 1)


_AMPLE = Context(prec=200)
_BIGINT_MAX = 2**63 - 1


def rounded(amount: Decimal) -> int | None:
    """Whole minor units, half of one rounded up; None for a sum that nobody pays (more than a bigint holds)."""
    # Decimal keeps so many digits of a third: what is half but for the last of them is half.
    whole = int(
        amount.quantize(Decimal("1e-9"), context=_AMPLE).quantize(Decimal(1), ROUND_HALF_UP, context=_AMPLE)
    )
    return whole if abs(whole) <= _BIGINT_MAX else None


# The history


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Where a stored history stands: what is confirmed of it, and all that is not, oldest first."""

    settled: bool = False  # something in it is confirmed
    ends_at: int = 0  # MRR after its last step
    changed_at: datetime | None = None  # of its last step
    settled_at: datetime | None = None  # of its last confirmed step
    tail: tuple[tuple[int, Change], ...] = ()  # id and step


@dataclass(frozen=True, slots=True, kw_only=True)
class MrrRevision:
    """What happens to a history: steps to take back, steps to confirm, and steps to append, oldest first."""

    taken_back: tuple[int, ...] = ()
    confirmed: tuple[int, ...] = ()
    appended: tuple[Change, ...] = ()


def is_begun(chain: Chain, *, exact: bool) -> bool:
    """Whether a history goes on from where it stands; else it is what the facts tell of the past."""
    return chain.settled or (bool(chain.tail) and not exact)


def revise_mrr(
    chain: Chain, *, mrr: int, exact: bool, past: Sequence[Change], moment: datetime
) -> MrrRevision:
    """How a history comes to end at `mrr`.

    Before anything in it is confirmed, `past` is what it should be: a customer first seen in the middle began when its
    subscriptions began, and not when we saw it. Afterwards it is revised like the history of the status
    (`revise_history`), and a step that is appended happened at `moment`. Times never go back along a chain.
    """
    tail = [Step(id=number, before=step.mrr_before, after=step.mrr_after) for number, step in chain.tail]
    if not is_begun(chain, exact=exact):
        wanted = _ending_at(past, mrr, moment)
        if [step for _, step in chain.tail] == wanted:
            return MrrRevision(confirmed=tuple(number for number, _ in chain.tail))
        return MrrRevision(taken_back=tuple(number for number, _ in chain.tail), appended=tuple(wanted))
    revision = revise_history(tail, before=chain.ends_at, now=mrr, exact=exact)
    appended: tuple[Change, ...] = ()
    if revision.appended is not None:
        before, after = revision.appended
        last = chain.settled_at if exact else chain.changed_at
        changed_at = moment if last is None else max(moment, last)
        appended = (Change(mrr_before=before, mrr_after=after, changed_at=changed_at),)
    return MrrRevision(taken_back=revision.taken_back, confirmed=revision.confirmed, appended=appended)


def _ending_at(past: Sequence[Change], mrr: int, moment: datetime) -> list[Change]:
    ends_at = past[-1].mrr_after if past else 0
    if ends_at == mrr:
        return list(past)
    changed_at = max(moment, past[-1].changed_at) if past else moment
    return [*past, Change(mrr_before=ends_at, mrr_after=mrr, changed_at=changed_at)]


def moment_of_change(
    *,
    told_by_facts: Iterable[datetime],
    told_by_events: Iterable[datetime],
    after: datetime | None,
    as_of: datetime,
) -> datetime:
    """When the change happened that has just been noticed: the latest moment that is told of since the one before.

    Facts tell of begins and ends, which the change before may have been; an event in the same second may be news.
    Nothing was told since then: it has happened by now.
    """
    moments = [each for each in told_by_facts if after is None or each > after]
    moments += [each for each in told_by_events if after is None or each >= after]
    return max(moments, default=as_of)
