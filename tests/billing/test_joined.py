"""Several customers of Stripe's that are one: what is derived of each, added up."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import permutations
from random import Random
from typing import Any

import pytest

from billing.facts import CustomerFacts
from billing.joined import StatusStep, derive_joined, join_changes, join_status_steps
from billing.kinds.entitlements import ActiveEntitlement
from billing.mrr_history import Change
from billing.record import Derived, Policy, Status
from tests.billing.examples import (
    AS_OF,
    CHARGE,
    CUSTOMER,
    FACTS,
    IDENTITY,
    ITEM,
    PRICE,
    PRODUCT,
    REFUND,
    SUBSCRIPTION,
    day,
    derive,
)

SEEDS = range(60)
STATES = ("active", "trialing", "past_due", "unpaid", "canceled", "incomplete_expired")


def some_customer(number: int, random: Random, **fields: Any) -> CustomerFacts:
    """A customer with up to two subscriptions and up to two payments."""
    name = f"cus_{number}"
    subscriptions = tuple(
        replace(
            SUBSCRIPTION,
            id=f"sub_{number}_{each}",
            customer_id=name,
            status=(status := random.choice(STATES)),
            start_date=day(random.randrange(4)),
            created=day(random.randrange(4)),
            ended_at=day(random.randrange(10, 14)) if status in ("canceled", "incomplete_expired") else None,
            metadata=random.choice([{}, {"entity_id": "shared"}, {"entity_id": f"own_{number}"}]),
        )
        for each in range(random.randrange(3))
    )
    charges = tuple(
        replace(CHARGE, id=f"ch_{number}_{each}", customer_id=name, currency=random.choice(["usd", "eur"]))
        for each in range(random.randrange(3))
    )
    price = random.choice([PRICE, PRICE, replace(PRICE, unit_amount=None, unit_amount_decimal=None)])
    return replace(
        FACTS,
        customer_id=name,
        customer=replace(CUSTOMER, id=name, created=day(random.randrange(5)), name=f"Name {number}"),
        subscriptions=subscriptions,
        items=tuple(
            replace(
                ITEM,
                id=f"si_{each.id}",
                subscription_id=each.id,
                price_id=price.id,
                quantity=random.randrange(1, 4),
            )
            for each in subscriptions
        ),
        prices=(price,),
        products=(PRODUCT,),
        charges=charges,
        refunds=tuple(replace(REFUND, id=f"re_{each.id}", charge_id=each.id) for each in charges[:1]),
        entitlements=tuple(
            ActiveEntitlement(id=f"ent_{number}_{each}", customer_id=name, feature_id=each, lookup_key=None)
            for each in random.sample(["feat_a", "feat_b"], random.randrange(3))
        ),
        complete=random.random() < 0.8,
        **fields,
    )


def joined(main: CustomerFacts, *others: CustomerFacts, as_of: datetime = AS_OF) -> Derived:
    return derive_joined(main, others, as_of=as_of, policy=Policy(past_due_has_access=True))


def as_one(main: CustomerFacts, others: Sequence[CustomerFacts]) -> CustomerFacts:
    """One customer that has the objects of all."""
    everything = (main, *others)
    names = ("subscriptions", "items", "charges", "refunds", "entitlements")
    objects: dict[str, Any] = {
        name: tuple(one for each in everything for one in getattr(each, name)) for name in names
    }
    return replace(main, complete=all(each.complete for each in everything), **objects)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_i6_added_up_in_any_order(count: int) -> None:
    """I6: one customer alone is what it was; of several, none of which was deleted, the record is that of one customer
    that had bought all of it, in whatever order they are given. All rows are under the main one's uid.
    """
    for seed in SEEDS:
        random = Random(seed)  # noqa: S311 - replays from its seed
        main, *others = [some_customer(number, random) for number in range(count)]
        whole = joined(main, *others)
        if not others:
            assert whole == derive(main)
        for order in permutations(others):
            assert whole == joined(main, *order)
        if any(each.prices != main.prices for each in others):
            continue  # one id of a price has one meaning in one customer's facts
        one = derive(as_one(main, others))
        for name in (
            "uid", "status", "has_access", "product_id", "stripe_subscription_id", "quantity", "is_trial", "exact",
            "subscription_date", "renewal_number", "lifetime_revenue", "revenue_currency", "stripe_customer_id", "name",
        ):  # fmt: skip
            assert getattr(one.record, name) == getattr(whole.record, name), (seed, name)
        assert one.revenue == whole.revenue
        assert one.mrr == whole.mrr
        assert [each.id for each in one.entities] == [each.id for each in whole.entities]
        assert [each.feature_id for each in one.features] == [each.feature_id for each in whole.features]
        assert [each.id for each in one.products] == [each.id for each in whole.products]
        for rows in (whole.products, whole.features, whole.entities, whole.mrr, whole.revenue):
            assert {row.customer_uid for row in rows} <= {whole.record.uid}


def test_unknown_mrr_of_one_is_unknown() -> None:
    """Nothing is guessed: the sum is as unknown as its parts."""
    random = Random(0)  # noqa: S311
    paying = replace(SUBSCRIPTION, status="active")
    known = replace(some_customer(1, random), subscriptions=(paying,), items=(ITEM,), prices=(PRICE,))
    unknown = replace(
        some_customer(2, random), subscriptions=(replace(paying, id="sub_2", items_cut=True),), items=()
    )
    assert [(None, 2)] == [(row.mrr, row.subscriptions) for row in joined(known, unknown).mrr]


def test_deleted_only_if_all_are() -> None:
    """A customer that was deleted at Stripe ends only its own subscriptions; who is left says who it is."""
    active = replace(SUBSCRIPTION, status="active", start_date=day(3))
    main = replace(FACTS, subscriptions=(active,), items=(ITEM,), prices=(PRICE,), deleted_at=day(5))
    other = replace(
        FACTS,
        customer_id="cus_2",
        customer=replace(CUSTOMER, id="cus_2", name="Grace"),
        subscriptions=(replace(active, id="sub_2", status="past_due", customer_id="cus_2"),),
    )
    record = joined(main, other).record
    assert (Status.PAST_DUE, "sub_2", "Grace", None, "cus_1") == (
        record.status,
        record.stripe_subscription_id,
        record.name,
        record.deleted_at,
        record.stripe_customer_id,
    )
    record = joined(main, replace(other, deleted_at=day(7))).record
    assert (Status.ENDED, day(7), False) == (record.status, record.deleted_at, record.has_access)


def test_grant_is_outranked_by_any_subscription() -> None:
    """What was given here is given to all of them, and a subscription of any outranks it, also without access."""
    given = replace(IDENTITY, sandbox_end=day(9999), sandbox_product_id="gift")
    main = replace(FACTS, identity=given)
    other = replace(FACTS, customer_id="cus_2", customer=replace(CUSTOMER, id="cus_2"))
    record = joined(main, other).record
    assert (True, "gift", None) == (record.has_access, record.product_id, record.status)
    unpaid = replace(SUBSCRIPTION, id="sub_2", customer_id="cus_2", status="unpaid")
    record = joined(main, replace(other, subscriptions=(unpaid,))).record
    assert (False, Status.PAST_DUE, None) == (record.has_access, record.status, record.product_id)


def steps(*values: tuple[int, int], before: int = 0) -> tuple[Change, ...]:
    found = []
    for at, after in values:
        found.append(Change(mrr_before=before, mrr_after=after, changed_at=day(at)))
        before = after
    return tuple(found)


def test_histories_are_added_up_at_each_moment() -> None:
    """At any moment the joined MRR is the sum, in whatever order they are given; each step begins where the one before
    ended, and none changes nothing; one history alone stays as it is, also two steps of one moment.
    """
    twice = steps((1, 5), (1, 7), (1, 5))
    assert twice == join_changes([twice]) == join_changes([(), twice, ()])
    assert steps((1, 5), (3, 7)) == join_changes([steps((1, 5), (2, 0)), steps((2, 5), (3, 7))])
    for seed in SEEDS:
        random = Random(seed)  # noqa: S311 - replays from its seed
        histories = []
        for _ in range(3):
            levels = [random.choice([0, 10, 20]) for _ in range(6)]
            kept = [
                (at, now)
                for at, (was, now) in enumerate(zip([0, *levels], levels, strict=False))
                if was != now
            ]
            histories.append(steps(*kept))
        whole = join_changes(histories)
        for order in permutations(histories):
            assert whole == join_changes(order)
        assert [0, *(each.mrr_after for each in whole)][:-1] == [each.mrr_before for each in whole]
        assert all(each.mrr_before != each.mrr_after for each in whole)
        for moment in range(7):
            assert level_at(whole, moment) == sum(level_at(each, moment) for each in histories)


def level_at(history: Sequence[Change], moment: int) -> int:
    return next((each.mrr_after for each in reversed(history) if each.changed_at <= day(moment)), 0)


def test_joined_status_is_the_better_one() -> None:
    """While one of them is active, what happens to the other is no news; each step keeps its cause."""

    def of(name: str, *values: tuple[int, Status]) -> list[StatusStep]:
        found: list[StatusStep] = []
        for at, after in values:
            before = found[-1].after if found else None
            found.append(
                StatusStep(
                    before=before, after=after, changed_at=day(at), event_id=f"{name}{at}", source="event"
                )
            )
        return found

    guest = of("guest", (1, Status.ACTIVE), (6, Status.ENDED))
    buyer = of("buyer", (2, Status.TRIALING), (4, Status.ACTIVE), (8, Status.ENDED))
    expected = [
        (None, Status.ACTIVE, "guest1"),
        (Status.ACTIVE, Status.ENDED, "buyer8"),
    ]
    for histories in ([guest, buyer], [buyer, guest]):
        found = join_status_steps(histories)
        assert expected == [(each.before, each.after, each.event_id) for each in found]
    assert tuple(buyer) == join_status_steps([[], buyer])
