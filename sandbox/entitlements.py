"""What subscriptions entitle to: the features of the products that a customer has access to."""

from collections import defaultdict

from sandbox import shapes
from sandbox.objects import ActiveEntitlement, Feature, Product, Subscription, Thing
from sandbox.store import Store


class Entitlements:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._features_of: defaultdict[str, list[str]] = defaultdict(list)
        """Features by product."""
        self._buyers_of: defaultdict[str, set[str]] = defaultdict(set)
        """Customers by the products that they have had in a subscription."""
        store.after_events(self._follow)

    def _follow(self, thing: Thing) -> None:
        if isinstance(thing, Subscription) and thing.customer is not None:
            self.review(thing.customer)

    def feature(self, lookup_key: str, name: str | None = None) -> Feature:
        store = self._store
        feature = Feature(
            id=store.new_id("feat_test_"),
            created=store.now,
            lookup_key=lookup_key,
            name=name or lookup_key.replace("_", " ").capitalize(),
        )
        store.add(feature)
        return feature

    def grant(self, product: Product, feature: Feature) -> None:
        """Customers that have the product have the feature, also those that bought it before."""
        self._features_of[product.id].append(feature.id)
        self._review_buyers(product)

    def withdraw(self, product: Product, feature: Feature) -> None:
        """The product no longer comes with the feature."""
        self._features_of[product.id].remove(feature.id)
        self._review_buyers(product)

    def rename(self, feature: Feature, name: str) -> None:
        """Stripe sends no event for that."""
        feature.name = name
        self._store.changed(feature)

    def of(self, customer_id: str) -> list[ActiveEntitlement]:
        """What the customer is entitled to now, oldest first."""
        return self._store.of_customer(customer_id, ActiveEntitlement)

    def _review_buyers(self, product: Product) -> None:
        buyers = [self._store.customer(customer_id) for customer_id in self._buyers_of[product.id]]
        for customer in sorted(buyers, key=lambda entry: entry.serial):
            self.review(customer.id)

    def review(self, customer_id: str) -> None:
        """Make the customer's entitlements follow its subscriptions; emits an event when something changed."""
        store = self._store
        for subscription in store.subscriptions_of(customer_id):
            for item in subscription.items:
                self._buyers_of[store.price(item.price).product].add(customer_id)
        if not self._features_of:
            return
        had = {entry.feature: entry for entry in self.of(customer_id)}
        due = self._due(customer_id)
        if had.keys() == due.keys():
            return
        for feature_id in had.keys() - due.keys():
            store.remove(had[feature_id])
        for feature_id in due:
            if feature_id in had:
                continue
            feature = store.find(feature_id)
            if isinstance(feature, Feature):
                store.add(
                    ActiveEntitlement(
                        id=store.new_id("ent_test_"),
                        created=store.now,
                        customer=customer_id,
                        feature=feature.id,
                        lookup_key=feature.lookup_key,
                    )
                )
        store.emit_body(
            "entitlements.active_entitlement_summary.updated",
            store.customer(customer_id),
            lambda shape: shapes.show_entitlement_summary(customer_id, self.of(customer_id), shape, store),
        )

    def _due(self, customer_id: str) -> dict[str, None]:
        store = self._store
        if store.customer(customer_id).deleted_at is not None:
            return {}
        due: dict[str, None] = {}
        for subscription in store.subscriptions_of(customer_id):
            if subscription.status not in ("trialing", "active", "past_due"):
                continue
            for item in subscription.items:
                due |= dict.fromkeys(self._features_of.get(store.price(item.price).product, ()))
        return due
