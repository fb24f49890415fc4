"""Features: what Stripe's entitlements make of a customer's record."""

from dataclasses import replace
from uuid import UUID

from billing.facts import CustomerFacts
from billing.features import features_of
from billing.kinds.entitlements import ActiveEntitlement, Feature
from tests.billing.examples import FACTS, START

UID = UUID(int=1)


def entitlement(
    feature_id: str | None, *, named: str = "", lookup_key: str | None = "key"
) -> ActiveEntitlement:
    return ActiveEntitlement(
        id=named or f"ent_{feature_id}",
        customer_id=FACTS.customer_id,
        feature_id=feature_id,
        lookup_key=lookup_key,
    )


def feature(feature_id: str, *, name: str | None = "Name", lookup_key: str | None = "now") -> Feature:
    return Feature(id=feature_id, lookup_key=lookup_key, name=name, active=True, metadata={})


def shown(facts: CustomerFacts) -> list[tuple[str, str | None, str | None]]:
    return [(each.feature_id, each.lookup_key, each.name) for each in features_of(facts, customer_uid=UID)]


def test_each_entitlement_is_a_feature() -> None:
    """F116: twelve entitlements are twelve features, in the order of their ids, each of this customer."""
    facts = replace(FACTS, entitlements=tuple(entitlement(f"feat_{n:02}") for n in range(12, 0, -1)))
    rows = features_of(facts, customer_uid=UID)
    assert [f"feat_{n:02}" for n in range(1, 13)] == [row.feature_id for row in rows]
    for row in rows:
        assert (UID, FACTS.account_id, FACTS.live_mode, FACTS.customer_id) == (
            row.customer_uid,
            row.account_id,
            row.live_mode,
            row.stripe_customer_id,
        )


def test_a_feature_tells_its_own_name() -> None:
    """The feature as it is now; until it has been read, the key comes from the entitlement and the name is unknown."""
    facts = replace(FACTS, entitlements=(entitlement("feat_1"),))
    assert [("feat_1", "key", None)] == shown(facts)
    assert [("feat_1", "now", "Name")] == shown(replace(facts, features=(feature("feat_1"),)))
    assert [("feat_1", "key", None)] == shown(
        replace(facts, features=(feature("feat_1", name=None, lookup_key=None), feature("feat_2")))
    )


def test_a_feature_stands_once() -> None:
    """Two products may entitle to one feature; an entitlement without a feature id gives none."""
    facts = replace(
        FACTS,
        entitlements=(
            entitlement("feat_1", named="ent_b", lookup_key="b"),
            entitlement("feat_1", named="ent_a", lookup_key=None),
            entitlement(None, named="ent_c"),
        ),
    )
    assert [("feat_1", "b", None)] == shown(facts)


def test_a_deleted_customer_has_none() -> None:
    """Deleting a customer cancels all that it has, whether or not we saw every event."""
    facts = replace(FACTS, entitlements=(entitlement("feat_1"),), deleted_at=START)
    assert [] == shown(facts)
