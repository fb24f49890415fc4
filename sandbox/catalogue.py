"""Products and prices of the account."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sandbox import shapes
from sandbox.objects import Coupon, Metadata, Meter, Price, Product, Tier

if TYPE_CHECKING:
    from sandbox.account import Account


class Catalogue:
    def __init__(self, account: "Account") -> None:
        self._account = account
        self.prices_of: defaultdict[str, list[Price]] = defaultdict(list)

    def product(self, name: str, *, metadata: Metadata | None = None) -> Product:
        account = self._account
        product = Product(
            id=account.new_id("prod_"),
            created=account.now,
            updated=account.now,
            name=name,
            metadata=dict(metadata or {}),
        )
        account.add(product)
        account.emit("product.created", product)
        return product

    def price(
        self,
        product: Product,
        unit_amount: int,
        *,
        currency: str = "usd",
        interval: str | None = "month",
        interval_count: int = 1,
        metered: bool = False,
        meter: Meter | None = None,
        tiers: Sequence[Tier] = (),
        tiers_mode: str = "graduated",
        inline: bool = False,
        metadata: Metadata | None = None,
    ) -> Price:
        """Offer the product at a price. `meter`: what is used is billed when the period is over.

        `inline`: made in the middle of a Checkout or a subscription (`price_data`), for this once.
        """
        account = self._account
        price = Price(
            id=account.new_id("price_"),
            created=account.now,
            product=product.id,
            currency=currency,
            unit_amount=unit_amount,
            interval=interval,
            interval_count=interval_count,
            metered=metered or meter is not None,
            meter=None if meter is None else meter.id,
            tiers=tuple(tiers),
            tiers_mode=tiers_mode if tiers else None,
            inline=inline,
            metadata=dict(metadata or {}),
        )
        account.add(price)
        self.prices_of[product.id].append(price)
        if interval is not None:
            account.emit_body("plan.created", price, lambda shape: shapes.plan(price, shape, account))
        account.emit("price.created", price)
        return price

    def coupon(
        self,
        *,
        percent_off: int | None = None,
        amount_off: int | None = None,
        currency: str = "usd",
        duration: str = "forever",
        duration_in_months: int | None = None,
        applies_to: Sequence[Product] = (),
        chosen_id: str | None = None,
    ) -> Coupon:
        """Something off, in per cent or in minor units of a currency: forever, once, or for some months.

        `applies_to`: off these products alone. `chosen_id`: instead of one that Stripe makes up.
        """
        account = self._account
        coupon = Coupon(
            id=chosen_id or account.new_id(""),
            created=account.now,
            percent_off=percent_off,
            amount_off=amount_off,
            currency=None if amount_off is None else currency,
            duration=duration,
            duration_in_months=duration_in_months,
            applies_to=tuple(product.id for product in applies_to),
        )
        account.add(coupon)
        account.emit("coupon.created", coupon)
        return coupon

    def delete_coupon(self, coupon: Coupon) -> None:
        """It can be given to nobody any more, and its id be chosen again."""
        self._account.remove(coupon)
        self._account.emit("coupon.deleted", coupon)

    def edit_product(
        self, product: Product, *, name: str | None = None, metadata: Metadata | None = None
    ) -> None:
        product.name = name or product.name
        product.metadata = dict(product.metadata if metadata is None else metadata)
        product.updated = self._account.now
        self._account.emit("product.updated", product)

    def archive(self, price: Price) -> None:
        """Take a price off sale; subscriptions that use it keep it."""
        price.active = False
        self._account.emit("price.updated", price)
