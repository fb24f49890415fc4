"""Products, prices and coupons of the account."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sandbox import shapes
from sandbox.objects import Coupon, Metadata, Meter, Price, Product, Tier
from sandbox.store import Store


class Catalogue:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.prices_of: defaultdict[str, list[Price]] = defaultdict(list)

    def product(self, name: str, *, metadata: Metadata | None = None) -> Product:
        store = self._store
        product = Product(
            id=store.new_id("prod_"),
            created=store.now,
            updated=store.now,
            name=name,
            metadata=dict(metadata or {}),
        )
        store.add(product)
        store.emit("product.created", product)
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
        """Offer the product at a price. `meter`: use is billed when the period is over.

        `inline`: created within a Checkout or a subscription (`price_data`), for one use.
        """
        store = self._store
        price = Price(
            id=store.new_id("price_"),
            created=store.now,
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
        store.add(price)
        self.prices_of[product.id].append(price)
        if interval is not None:
            store.emit_body("plan.created", price, lambda shape: shapes.show_plan(price, shape, store))
        store.emit("price.created", price)
        return price

    def coupon(
        self,
        *,
        percent_off: int | None = None,
        amount_off: int | None = None,
        currency: str = "usd",
        duration: str = "forever",
        duration_in_months: int | None = None,
        currency_options: Mapping[str, int] | None = None,
        applies_to: Sequence[Product] = (),
        chosen_id: str | None = None,
    ) -> Coupon:
        """A reduction, in per cent or in minor units of a currency: forever, once, or for some months.

        `applies_to`: only these products are reduced. `chosen_id`: instead of an id that Stripe makes up.
        """
        store = self._store
        coupon = Coupon(
            id=chosen_id or store.new_id(""),
            created=store.now,
            percent_off=percent_off,
            amount_off=amount_off,
            currency=None if amount_off is None else currency,
            duration=duration,
            duration_in_months=duration_in_months,
            currency_options=dict(currency_options or {}),
            applies_to=tuple(product.id for product in applies_to),
        )
        store.add(coupon)
        store.emit("coupon.created", coupon)
        return coupon

    def delete_coupon(self, coupon: Coupon) -> None:
        """It cannot be given to anybody any more, and its id can be chosen again."""
        self._store.remove(coupon)
        self._store.emit("coupon.deleted", coupon)

    def edit_product(
        self, product: Product, *, name: str | None = None, metadata: Metadata | None = None
    ) -> None:
        product.name = name or product.name
        product.metadata = dict(product.metadata if metadata is None else metadata)
        product.updated = self._store.now
        self._store.emit("product.updated", product)

    def archive(self, price: Price) -> None:
        """Take a price off sale; subscriptions that use it keep it."""
        price.active = False
        self._store.emit("price.updated", price)
