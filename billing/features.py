"""The features that a customer may use: its active entitlements, as Stripe states them.

Stripe decides them from products, subscriptions and grace periods. They are never computed from a status here.
"""

from dataclasses import dataclass
from uuid import UUID

from billing.facts import CustomerFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerFeature:
    """One row of billing.customer_features: a feature that the customer may use now."""

    customer_uid: UUID
    account_id: str
    live_mode: bool
    stripe_customer_id: str
    feature_id: str
    lookup_key: str | None
    name: str | None


def features_of(facts: CustomerFacts, *, customer_uid: UUID) -> tuple[CustomerFeature, ...]:
    """The customer's features, each once, in order of their ids; none for a deleted customer.

    Name and lookup key come from the feature; while the feature is unknown, the key comes from the entitlement.
    """
    if facts.deleted_at is not None:
        return ()
    known = {feature.id: feature for feature in facts.features}
    keys: dict[str, str | None] = {}
    for entitlement in sorted(facts.entitlements, key=lambda each: each.id):
        if entitlement.feature_id is not None:
            keys[entitlement.feature_id] = keys.get(entitlement.feature_id) or entitlement.lookup_key
    return tuple(
        CustomerFeature(
            customer_uid=customer_uid,
            account_id=facts.account_id,
            live_mode=facts.live_mode,
            stripe_customer_id=facts.customer_id,
            feature_id=feature_id,
            lookup_key=(known[feature_id].lookup_key if feature_id in known else None) or lookup_key,
            name=known[feature_id].name if feature_id in known else None,
        )
        for feature_id, lookup_key in sorted(keys.items())
    )
