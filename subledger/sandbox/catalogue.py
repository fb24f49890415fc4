"""Products and prices of the account."""

from collections import defaultdict
from typing import TYPE_CHECKING

from subledger.sandbox import shapes
from subledger.sandbox.objects import Metadata, Price, Product

if TYPE_CHECKING:
    from subledger.sandbox.account import Account


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
        metadata: Metadata | None = None,
    ) -> Price:
        account = self._account
        price = Price(
            id=account.new_id("price_"),
            created=account.now,
            product=product.id,
            currency=currency,
            unit_amount=unit_amount,
            interval=interval,
            interval_count=interval_count,
            metered=metered,
            metadata=dict(metadata or {}),
        )
        account.add(price)
        self.prices_of[product.id].append(price)
        if interval is not None:
            account.emit_body("plan.created", price, lambda shape: shapes.plan(price, shape, account))
        account.emit("price.created", price)
        return price

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
