"""How features and a customer's entitlements are shown."""

from sandbox.objects import ActiveEntitlement, Feature
from sandbox.versions import Body, Version, View, cut_listing


def show_feature(thing: Feature, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "entitlements.feature",
        "active": thing.active,
        "livemode": view.live_mode,
        "lookup_key": thing.lookup_key,
        "metadata": dict(thing.metadata),
        "name": thing.name,
    }


def show_active_entitlement(thing: ActiveEntitlement, _shape: Version, view: View) -> Body:
    return {
        "id": thing.id,
        "object": "entitlements.active_entitlement",
        "feature": thing.feature,
        "livemode": view.live_mode,
        "lookup_key": thing.lookup_key,
    }


def show_entitlement_summary(
    customer_id: str, entitlements: list[ActiveEntitlement], shape: Version, view: View
) -> Body:
    """A customer's entitlements as their event shows them: without an id, and ten at most."""
    rows = [show_active_entitlement(entry, shape, view) for entry in entitlements]
    return {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer_id,
        "entitlements": cut_listing(f"/v1/customer/{customer_id}/entitlements", rows),
        "livemode": view.live_mode,
    }
