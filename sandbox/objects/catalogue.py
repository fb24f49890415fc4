"""What is sold, and what it costs: products, prices, coupons, meters, features."""

from dataclasses import dataclass, field
from typing import ClassVar

from sandbox.objects.thing import Metadata, Thing


@dataclass(slots=True, kw_only=True)
class Product(Thing):
    kind: ClassVar[str] = "product"

    name: str
    active: bool = True
    metadata: Metadata = field(default_factory=dict)
    updated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """What the units up to and including `up_to` cost; None: all remaining units."""

    up_to: int | None
    unit_amount: int
    flat_amount: int = 0


@dataclass(slots=True, kw_only=True)
class Price(Thing):
    kind: ClassVar[str] = "price"

    product: str
    currency: str
    unit_amount: int
    """0 for a tiered price, whose tiers say what it costs."""
    interval: str | None
    """day, week, month, year; None for a one-off price."""
    interval_count: int = 1
    metered: bool = False
    meter: str | None = None
    tiers: tuple[Tier, ...] = ()
    tiers_mode: str | None = None
    """graduated: each unit costs what its own tier says; volume: all cost what the last one's tier says."""
    active: bool = True
    inline: bool = False
    """Created within another request (`price_data`): found by its id, and in no list."""
    nickname: str | None = None
    metadata: Metadata = field(default_factory=dict)

    def amount_for(self, quantity: int) -> int:
        """What this many units cost for one period."""
        if not self.tiers:
            return self.unit_amount * quantity
        if self.tiers_mode == "volume":
            tier = next(tier for tier in self.tiers if tier.up_to is None or quantity <= tier.up_to)
            return tier.flat_amount + tier.unit_amount * quantity
        amount = counted = 0
        for tier in self.tiers:
            reached = quantity if tier.up_to is None else min(quantity, tier.up_to)
            amount += tier.flat_amount + tier.unit_amount * (reached - counted)
            counted = reached
            if counted == quantity:
                break
        return amount


@dataclass(slots=True, kw_only=True)
class Coupon(Thing):
    kind: ClassVar[str] = "coupon"

    percent_off: int | None = None
    amount_off: int | None = None
    currency: str | None = None
    """That of `amount_off`."""
    duration: str = "forever"
    """forever, once, repeating."""
    duration_in_months: int | None = None
    currency_options: dict[str, int] = field(default_factory=dict)
    """What it takes off in other currencies than its own."""
    applies_to: tuple[str, ...] = ()
    """The products that it is limited to; empty: not limited."""
    times_redeemed: int = 0

    def off(self, amount: int, currency: str) -> int:
        """What the coupon takes off an amount that it applies to; never more than the amount."""
        if self.percent_off is not None:
            return amount * self.percent_off // 100
        return min(self.amount_in(currency), amount)

    def amount_in(self, currency: str) -> int:
        """What it takes off an invoice in this currency."""
        return (self.amount_off or 0) if currency == self.currency else self.currency_options[currency]


@dataclass(slots=True, kw_only=True)
class Discount:
    """A coupon that was given to a subscription, from its start to its end."""

    id: str
    coupon: Coupon
    start: int
    end: int | None = None
    used: bool = False
    """True for a `once` coupon that was on an invoice: it has no further effect."""


@dataclass(slots=True, kw_only=True)
class Meter(Thing):
    kind: ClassVar[str] = "billing.meter"

    event_name: str
    display_name: str
    status: str = "active"
    deactivated_at: int | None = None
    updated: int = 0


@dataclass(slots=True, kw_only=True)
class Feature(Thing):
    """Something that products entitle to. Stripe does not show when it was created."""

    kind: ClassVar[str] = "entitlements.feature"

    lookup_key: str
    name: str
    active: bool = True
    metadata: Metadata = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ActiveEntitlement(Thing):
    kind: ClassVar[str] = "entitlements.active_entitlement"

    feature: str
    lookup_key: str
