"""Summaries of a customer's entitlements."""

import pytest

from billing.kinds.entitlements import ActiveEntitlement
from billing.kinds.fields import UnknownShape
from billing.kinds.parse import parse_object
from tests.billing.kinds.shapes import story


def test_entitlements_of_a_summary() -> None:
    """The entitlements of a summary, whether it names or holds the feature; a list that goes on is cut."""
    body = story()["entitlements.active_entitlement_summary"]
    seats = ActiveEntitlement(
        id="ent_seats", customer_id="cus_ada", feature_id="feat_seats", lookup_key="seats"
    )
    export = ActiveEntitlement(
        id="ent_export", customer_id="cus_ada", feature_id="feat_export", lookup_key="export"
    )
    parsed = parse_object(body)
    assert ((seats, export), False) == (parsed.parts, parsed.items_cut)
    body["entitlements"]["has_more"] = True
    assert parse_object(body).items_cut
    assert parse_object({"object": body["object"], "customer": "cus_ada"}).items_cut
    with pytest.raises(UnknownShape, match="id is missing"):
        parse_object(body | {"entitlements": {"object": "list", "data": [{"feature": "feat_1"}]}})
