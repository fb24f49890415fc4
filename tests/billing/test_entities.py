"""Entities, as the metadata of subscriptions names them."""

from dataclasses import replace
from uuid import UUID

from billing.kinds.subscriptions import Subscription
from tests.billing.examples import FACTS, SUBSCRIPTION, day, derive, facts_with


def of(subscription_id: str, number: float, **metadata: str) -> Subscription:
    """A subscription that began on a day."""
    return replace(SUBSCRIPTION, id=subscription_id, start_date=day(number), metadata=metadata)


def test_one_row_per_entity() -> None:
    """Subscriptions of one entity are one row, from the earliest start; the last that has type and name gives them."""
    facts = facts_with(
        of("sub_1", 5, entity_id="team-b", entity_type="team", entity_name="Old"),
        of("sub_2", 3, entity_id="team-b"),
        of("sub_3", 9, entity_id="team-b", entity_name="New", entity_type=""),
        of("sub_4", 1, entity_id="team-a"),
        of("sub_5", 1, entity_id=""),
        of("sub_6", 1, entity_name="of no entity"),
    )
    rows = [(row.id, row.type, row.name, row.created_at) for row in derive(facts).entities]
    assert [("team-a", None, None, day(1)), ("team-b", "team", "New", day(3))] == rows


def test_subscriptions_of_any_status_count() -> None:
    """Every entity_id of a product row is an entity, also of subscriptions that never started or have ended."""
    facts = facts_with(
        replace(of("sub_1", 1, entity_id="a"), status="incomplete_expired", start_date=None, created=day(2)),
        replace(of("sub_2", 1, entity_id="b"), status="canceled", ended_at=day(9)),
        replace(of("sub_3", 1, entity_id="c"), start_date=None, created=None),
    )
    assert [("a", day(2)), ("b", day(1)), ("c", None)] == [
        (row.id, row.created_at) for row in derive(facts).entities
    ]


def test_uid_is_the_same_everywhere() -> None:
    """Made from the key alone: equal on every machine, different for each account, mode, customer and entity."""
    subscription = of("sub_1", 1, entity_id="a")
    keys = [("", True, "cus_1"), ("", False, "cus_1"), ("acct_1", True, "cus_1"), ("", True, "cus_2")]
    uids = {
        derive(
            replace(
                FACTS,
                account_id=account_id,
                live_mode=live_mode,
                customer_id=customer_id,
                subscriptions=(subscription,),
            )
        )
        .entities[0]
        .uid
        for account_id, live_mode, customer_id in keys
    }
    assert len(keys) == len(uids)
    (known,) = derive(replace(facts_with(subscription), account_id="", live_mode=True)).entities
    assert UUID("9b57f179-3777-5762-9441-dfdf9b69e71a") == known.uid
