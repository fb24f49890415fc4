"""Monthly recurring revenue: what a customer's subscriptions bring in a month, and how that came about.

Only subscriptions that are paid for count: active ones, including those with a scheduled end, and past due ones while
Stripe still tries to collect. Nothing is guessed: if an item, a price, its tiers or a discount is not known, the sum is
None rather than too small.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import cached_property
from types import MappingProxyType
from uuid import UUID

from billing.currencies import storable
from billing.facts import CustomerFacts
from billing.kinds.catalogue import Price, Tier
from billing.kinds.discounts import Coupon, Discount
from billing.kinds.invoices import Invoice
from billing.kinds.subscriptions import Subscription, SubscriptionItem
from billing.mrr_history import Change
from billing.renewals import began_with_trial, end_of_first_trial

PAID_FOR = frozenset({"active", "past_due"})
"""Stripe's statuses of a subscription that counts. Trials bring nothing yet, unpaid and paused ones no longer."""

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


class Mrr:
    """The MRR that one customer's facts imply. Amounts are minor units of the subscription's currency a month."""

    def __init__(self, facts: CustomerFacts) -> None:
        self._facts = facts
        self._prices = {price.id: price for price in facts.prices}
        self._coupons: defaultdict[str, list[Coupon]] = defaultdict(list)
        for coupon in facts.coupons:
            self._coupons[coupon.id].append(coupon)
        self._items: defaultdict[str, list[SubscriptionItem]] = defaultdict(list)
        for item in facts.items:
            self._items[item.subscription_id].append(item)
        self._moves: dict[tuple[str, datetime], list[tuple[datetime, Decimal]]] = {}

    @cached_property
    def _invoices(self) -> Mapping[str | None, list[Invoice]]:
        """The invoices of each subscription."""
        of: dict[str | None, list[Invoice]] = {}
        for invoice in self._facts.invoices:
            of.setdefault(invoice.subscription_id, []).append(invoice)
        return of

    def prepare(self, *, as_of: datetime) -> None:
        """Compute now what `moves` and `past` will ask for."""
        for currency in self.currencies():
            self.moves(currency, as_of=as_of)

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
        """How today's MRR in this currency came about, as far as the facts alone show.

        A subscription brought what its present items cost, from its start, or the end of its first trial, to its end,
        and nothing during a later trial; changes in between cannot be seen. Nothing shows since when a subscription is
        unpaid or paused, so such a one brought nothing. The last step ends at the MRR of `rows`, except for amounts
        that are not known there.
        """
        levels: defaultdict[datetime, Decimal] = defaultdict(Decimal)
        for moment, amount in self.moves(currency, as_of=as_of):
            levels[moment] += amount
        changes: list[Change] = []
        exact, before = Decimal(0), 0
        for moment in sorted(levels):
            exact += levels[moment]
            after = rounded(exact)
            if after is not None and after != before:
                changes.append(Change(mrr_before=before, mrr_after=after, changed_at=moment))
                before = after
        return tuple(changes)

    def moves(self, currency: str, *, as_of: datetime) -> list[tuple[datetime, Decimal]]:
        """The changes of MRR in this currency that the facts show, and by how much each changed the sum; unordered.

        Such a change is the start or end of a subscription, or the end of one of its discounts, or a later trial.
        """
        found = self._moves.get((currency, as_of))
        if found is not None:
            return found
        found = self._moves[currency, as_of] = []
        for subscription in self._facts.subscriptions:
            if self._currency(subscription) == currency:
                before = Decimal(0)
                for moment, amount in self._spell(subscription, as_of):
                    found.append((moment, amount - before))
                    before = amount
        return found

    def next_end_of_discount(self, *, as_of: datetime) -> datetime | None:
        """When the next discount ends: Stripe sends no event then, so the customer must be derived again."""
        ends = [
            discount.ends
            for subscription in self._facts.subscriptions
            if self._counts(subscription)
            for discount in self._discounts(subscription)
            if discount.ends is not None and discount.ends > as_of
        ]
        return min(ends, default=None)

    def of_subscription(self, subscription: Subscription, *, at: datetime) -> Decimal | None:
        """What a subscription costs a month, with the discounts that apply at a moment; None: not known."""
        if subscription.pause_collection == "void":
            return Decimal(0)
        if subscription.items_cut:
            return None
        currency = self._currency(subscription)
        lines: list[_Line] = []
        products: set[str | None] = set()
        for item in self._items[subscription.id]:
            price = None if item.price_id is None else self._prices.get(item.price_id)
            product_id = item.product_id or (None if price is None else price.product_id)
            products.add(product_id)
            if price is not None and (not price.recurring or price.usage_type == "metered"):
                continue
            a_month = None if price is None else _per_month(price)
            if price is None or a_month is None:
                return None
            try:
                each = price_of(price, quantity=item.quantity, currency=currency)
            except InvalidOperation:
                each = None  # not a number: somebody has damaged the mirror, and an audit will report it
            if each is None:
                return None
            line = _Line(product_id=product_id, often=a_month, amount=each * a_month)
            if not self._take_off([line], item.discounts, at=at, currency=currency, of_all=True):
                return None
            lines.append(line)
        # Stripe accepts no coupon that applies to none of the products: if there is one product, it applies to that.
        of_all = bool(subscription.discounts) and len(products) == 1
        whole = self._of_whole(subscription)
        if not self._take_off(lines, whole, at=at, currency=currency, of_all=of_all):
            return None
        return sum((line.amount for line in lines), Decimal(0))

    def _of_whole(self, subscription: Subscription) -> tuple[Discount, ...] | None:
        """The discounts of a whole subscription: its own, or if it has none, its customer's; None: not known."""
        customer = self._facts.customer
        if subscription.discounts is None or subscription.discounts:
            return subscription.discounts
        return () if customer is None else customer.discounts

    def _take_off(
        self,
        lines: Sequence["_Line"],
        discounts: Iterable[Discount] | None,
        *,
        at: datetime,
        currency: str | None,
        of_all: bool,
    ) -> bool:
        """Lower the lines by discounts, each applied to what the ones before have left, as Stripe does it.

        `of_all`: a coupon whose products are not known applies to all lines. Returns False if it is not known by how
        much to lower them.
        """
        if not any(line.amount for line in lines):
            return True
        if discounts is None:
            return False
        for discount in map(self._whole, discounts):
            if discount.duration == "once" or (discount.ends is not None and discount.ends <= at):
                continue
            of = self._limited(lines, discount, of_all=of_all)
            if of is None:
                return False
            if discount.percent_off is not None:
                for line in of:
                    line.amount -= line.amount * min(Decimal(discount.percent_off), Decimal(100)) / 100
                continue
            amount_off = self._amount_off(discount, currency)
            if amount_off is None:
                return False
            _share_out(of, Decimal(amount_off))
        return True

    def _amount_off(self, discount: Discount, currency: str | None) -> int | None:
        """What a discount takes off each invoice in this currency; None: not known."""
        if discount.amount_off is not None and discount.currency == currency:
            return discount.amount_off
        coupon = self._coupon_of(discount)
        options = () if coupon is None else coupon.currency_options or ()
        return next((option.amount_off for option in options if option.currency == currency), None)

    def _coupon_of(self, discount: Discount) -> Coupon | None:
        """The coupon that a discount was made from, if it is known: its id may name another one by now."""
        coupons = self._coupons.get(discount.coupon_id or "", [])
        made = [coupon for coupon in coupons if self._may_be_of(coupon, discount)]
        return max(made, key=lambda coupon: coupon.created or _EVER, default=None)

    def _may_be_of(self, coupon: Coupon, discount: Discount) -> bool:
        if coupon.created is None:
            return True
        if discount.coupon_created is not None:
            return coupon.created == discount.coupon_created
        # On a test clock, discounts start by that clock, and coupons are created by ours.
        on_clock = self._facts.customer is not None and self._facts.customer.test_clock is not None
        return on_clock or discount.starts is None or coupon.created <= discount.starts

    def _limited(
        self, lines: Sequence["_Line"], discount: Discount, *, of_all: bool
    ) -> Sequence["_Line"] | None:
        """The lines of the products that a discount's coupon is limited to; None: not known."""
        coupon = self._coupon_of(discount)
        if coupon is None or coupon.applies_to is None:
            return lines if of_all else None
        if not coupon.applies_to:
            return lines
        if any(line.product_id is None for line in lines):
            return None
        return [line for line in lines if line.product_id in coupon.applies_to]

    def _whole(self, discount: Discount) -> Discount:
        """The discount with its coupon's values, if Stripe named the coupon by its id alone."""
        coupon = self._coupon_of(discount)
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
            coupon_created=coupon.created,
            starts=discount.starts,
        )

    def _discounts(self, subscription: Subscription) -> list[Discount]:
        return [
            *(self._of_whole(subscription) or ()),
            *(discount for item in self._items[subscription.id] for discount in item.discounts or ()),
        ]

    def _counts(self, subscription: Subscription) -> bool:
        return subscription.status in PAID_FOR and self._facts.deleted_at is None

    def _currency(self, subscription: Subscription) -> str | None:
        """A subscription's currency; in old shapes, the currency of its first price."""
        if subscription.currency is not None:
            return subscription.currency
        prices = (self._prices.get(item.price_id or "") for item in self._items[subscription.id])
        return next((price.currency for price in prices if price is not None), None)

    def _spell(self, subscription: Subscription, as_of: datetime) -> list[tuple[datetime, Decimal]]:
        """How much a subscription brought a month, from which moment on; empty when it never did, or nothing shows it.

        A later trial brings nothing, but is part of the time during which it is paid for.
        """
        between = _later_trial(subscription)
        ends: datetime | None = None
        if subscription.status in PAID_FOR or subscription.status == "canceled":
            if not self._counts(subscription):
                ends = subscription.ended_at or self._facts.deleted_at
                if ends is None:
                    return []
        elif subscription.status == "trialing" and between is not None:
            ends = between[0]
        else:
            return []  # never paid for, or nothing shows since when it no longer is
        begins = self._begins(subscription)
        if begins is None or (ends is not None and ends <= begins):
            return []  # it ended with its trial
        turns = {
            discount.ends
            for discount in self._discounts(subscription)
            if discount.ends is not None and begins < discount.ends <= (as_of if ends is None else ends)
        }
        turns |= {moment for moment in between or () if begins < moment and (ends is None or moment < ends)}
        spell = [
            (moment, self._brings(subscription, between, at=moment)) for moment in sorted({begins, *turns})
        ]
        return spell if ends is None else [*spell, (ends, Decimal(0))]

    def _begins(self, subscription: Subscription) -> datetime | None:
        """When it began to be paid for: at its start, or when its first trial was over."""
        prices = [self._prices.get(item.price_id or "") for item in self._items[subscription.id]]
        trial_over = end_of_first_trial(subscription, self._invoices.get(subscription.id, ()), prices)
        known = [each for each in (subscription.start_date, trial_over) if each is not None]
        return max(known, default=subscription.created)

    def _brings(
        self, subscription: Subscription, between: tuple[datetime, datetime] | None, *, at: datetime
    ) -> Decimal:
        if between is not None and between[0] <= at < between[1]:
            return Decimal(0)
        return self.of_subscription(subscription, at=at) or Decimal(0)


def _later_trial(subscription: Subscription) -> tuple[datetime, datetime] | None:
    """Begin and end of a trial other than the one with which the subscription began."""
    begins, ends = subscription.trial_start, subscription.trial_end
    if begins is None or ends is None or began_with_trial(subscription):
        return None
    return begins, ends


@dataclass(slots=True, kw_only=True)
class _Line:
    """What an item brings a month while discounts are applied."""

    product_id: str | None
    often: Decimal  # invoices a month
    amount: Decimal


def _share_out(lines: Sequence[_Line], amount_off: Decimal) -> None:
    """Take an amount off each invoice with these lines: from every line its share, and never more than its amount."""
    total = sum((line.amount for line in lines), Decimal(0))
    off = amount_off * max((line.often for line in lines), default=Decimal(0))
    for line in lines if total else ():
        line.amount = Decimal(0) if off >= total else line.amount - off * line.amount / total


def price_of(price: Price, *, quantity: int | None, currency: str | None) -> Decimal | None:
    """What this quantity costs per interval of the price, in minor units of the currency; None: not known."""
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


_EVER = datetime.min.replace(tzinfo=UTC)

_AMPLE = Context(prec=200)


def rounded(amount: Decimal) -> int | None:
    """Whole minor units, half of one rounded up; None for a sum that a bigint cannot hold."""
    # Decimal keeps only some digits of a third: an amount that differs from a half only in the last ones is a half.
    whole = int(
        amount.quantize(Decimal("1e-9"), context=_AMPLE).quantize(Decimal(1), ROUND_HALF_UP, context=_AMPLE)
    )
    return storable(whole)
