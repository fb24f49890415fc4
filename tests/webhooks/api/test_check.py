"""GET /customers/ID/check, and billing.access: what a customer may use."""

from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.harness import customer, event, item, listing, subscription
from tests.webhooks.api.client import READ_TOKEN, Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORD = """
insert into billing.customers (
  uid, account_id, live_mode, stripe_customer_id, custom_uid, status, has_access, product_id, sandbox_end, exact,
  change, last_seen
)
values ($1, '', false, 'cus_' || $2::text, $2::text, $3, $4, $5, now() + $6::int * interval '1 hour', true,
  nextval('billing.change'), now())
"""

PRODUCT = """
insert into billing.customer_products (
  id, customer_uid, account_id, live_mode, stripe_customer_id, stripe_subscription_id, stripe_product_id, product_id,
  status, has_access, entity_id, options, current_period_end, canceled, subscription_ids
)
values (gen_random_uuid(), $1, '', false, 'cus', gen_random_uuid()::text, 'prod', $2, $3, $4, $5, $6::jsonb,
  '2026-12-31T12:00:00Z', false, '{}')
"""

FEATURE = """
insert into billing.customer_features (customer_uid, account_id, live_mode, stripe_customer_id, feature_id, lookup_key)
values ($1, '', false, 'cus_' || $1::uuid, $2, $3)
"""


async def record(
    service: Service,
    name: str,
    *,
    status: str | None = "active",
    has_access: bool = True,
    product_id: str | None = None,
    hours: int | None = None,
) -> UUID:
    """A record that nothing derives again, not even to move last_seen; `hours`: until its grant ends."""
    uid = uuid4()
    await service.harness.execute(RECORD, uid, name, status, has_access, product_id, hours)
    return uid


async def bought(
    service: Service,
    uid: UUID,
    product_id: str,
    *,
    status: str | None = "active",
    has_access: bool = True,
    entity: str | None = None,
    options: str = "{}",
) -> None:
    """A product of that record."""
    await service.harness.execute(PRODUCT, uid, product_id, status, has_access, entity, options)


async def asked(service: Service, name: str, query: str) -> dict[str, Any]:
    """The answer, for which READ_TOKEN suffices. billing.access has a row of it."""
    answer = await service.get(f"/customers/{name}/check?{query}", token=READ_TOKEN)
    assert 200 == answer.status, answer.body
    assert ["allowed", "reason", "status", "until", "balance", "exact"] == list(answer.body)
    body: dict[str, Any] = answer.body
    return body


async def test_a_subscription_from_webhooks(service: Service) -> None:
    """What Stripe says of a subscription decides, by each name of the customer: past_due has access while Stripe tries
    to collect, and unpaid has none.
    """
    body = customer("cus_check", metadata={"custom_uid": "check"})
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    for after, (at_stripe, status, allowed) in enumerate(
        (("active", "active", True), ("past_due", "past_due", True), ("unpaid", "past_due", False))
    ):
        sold = subscription("sub_check", "cus_check", status=at_stripe, items=listing([item("si_check")]))
        service.harness.api.put(sold)
        await service.harness.receive(event("customer.subscription.updated", sold, after=after))
        await service.until_record("cus_check", status=status, has_access=allowed)
        uid = await service.harness.fetchval(
            "select uid from billing.customers where stripe_customer_id = 'cus_check'"
        )
        for name in ("check", "cus_check", str(uid)):
            said = await asked(service, name, "product_id=prod_1")
            assert (allowed, status) == (said["allowed"], said["status"])
            assert ("subscription" if allowed else "past_due") == said["reason"]


async def test_a_metered_feature(service: Service) -> None:
    """What a metered price sells may be used before any meter is read: up to the agreed limit, if there is one."""
    body = customer("cus_metered")
    for feature, limit in (("calls", {}), ("texts", {"quota_limit": "40"})):
        sold = item(f"si_{feature}")
        sold["quantity"] = None
        sold["price"] |= {
            "id": f"price_{feature}",
            "product": f"prod_{feature}",
            "recurring": {"usage_type": "metered"},
        }
        sold["price"]["metadata"] = {"feature_id": feature, **limit}
        paid = subscription(f"sub_{feature}", "cus_metered", items=listing([sold]))
        service.harness.api.put(body, paid, sold["price"])
        await service.harness.receive(event("customer.subscription.created", paid))
    await service.until_record("cus_metered", status="active", exact=True)
    for feature, left in (("calls", None), ("texts", 40)):
        said = await asked(service, "cus_metered", f"feature_id={feature}")
        assert (True, "subscription", left) == (said["allowed"], said["reason"], said["balance"])


async def test_never_bought(service: Service) -> None:
    """Not allowed, with the reason; a customer without a record has nothing, and one that nobody knows is not found."""
    await record(service, "poor", status=None, has_access=False)
    for query in ("product_id=pro", "feature_id=api", "product_id=pro&entity_id=team"):
        assert {
            "allowed": False,
            "reason": "not_bought",
            "status": None,
            "until": None,
            "balance": None,
            "exact": True,
        } == await asked(service, "poor", query)
    assert 201 == (await service.put("/customers/poor-new")).status
    assert not (await asked(service, "poor-new", "product_id=pro"))["allowed"]
    assert 404 == (await service.get("/customers/no-such/check?product_id=pro")).status


async def test_the_best_counts(service: Service) -> None:
    """Of several subscriptions to one product, the one that gives access; billing.access has one row of them."""
    uid = await record(service, "twice")
    await bought(service, uid, "pro", status="ended", has_access=False)
    await bought(service, uid, "pro")
    await bought(service, uid, "pro", status="past_due", has_access=False)
    await bought(service, uid, "waiting", status=None, has_access=False)
    said = await asked(service, "twice", "product_id=pro")
    assert (True, "subscription", "active", "2026-12-31T12:00:00Z") == (
        said["allowed"],
        said["reason"],
        said["status"],
        said["until"],
    )
    assert "not_started" == (await asked(service, "twice", "product_id=waiting"))["reason"]
    rows = await service.harness.fetch(
        "select product_id, allowed from billing.access where customer_uid = $1 order by 1", uid
    )
    assert [("pro", True), ("waiting", False)] == [tuple(row) for row in rows]


async def test_entities(service: Service) -> None:
    """What was bought for an entity counts for it and not for another one; what the customer has counts for each."""
    uid = await record(service, "teams")
    await bought(service, uid, "pro", entity="red", options='{"seats": 5}')
    await bought(service, uid, "pro", entity="blue", status="ended", has_access=False, options='{"seats": 9}')
    await bought(service, uid, "base", options='{"seats": 2}')
    for entity, pro, seats in (("red", True, 7), ("blue", False, 2), ("green", False, 2)):
        assert pro == (await asked(service, "teams", f"product_id=pro&entity_id={entity}"))["allowed"]
        assert (await asked(service, "teams", f"product_id=base&entity_id={entity}"))["allowed"]
        assert seats == (await asked(service, "teams", f"feature_id=seats&entity_id={entity}"))["balance"]
    assert (await asked(service, "teams", "product_id=pro"))["allowed"]
    assert 7 == (await asked(service, "teams", "feature_id=seats"))["balance"]


async def test_features(service: Service) -> None:
    """An entitlement allows without a count; a quantity that was bought must be enough for `required`."""
    uid = await record(service, "featured")
    await service.harness.execute(FEATURE, uid, "feat_api", "api")
    await service.harness.execute(FEATURE, uid, "feat_plain", None)
    await bought(service, uid, "pro", options='{"seats": 5}')
    for feature in ("api", "feat_plain"):
        said = await asked(service, "featured", f"feature_id={feature}&required=100")
        assert (True, "entitlement", None) == (said["allowed"], said["reason"], said["balance"])
    assert (await asked(service, "featured", "feature_id=seats&required=5"))["allowed"]
    said = await asked(service, "featured", "feature_id=seats&required=6")
    assert (False, "balance", 5) == (said["allowed"], said["reason"], said["balance"])


async def test_grants(service: Service) -> None:
    """A grant gives its product until it ends, to the second, and nothing beside a live subscription."""
    await record(service, "granted", status=None, product_id="pro", hours=1)
    said = await asked(service, "granted", "product_id=pro")
    assert (True, "grant", None) == (said["allowed"], said["reason"], said["status"])
    assert said["until"]
    assert not (await asked(service, "granted", "product_id=other"))["allowed"]
    # It has just ended, and no worker has noticed yet.
    await record(service, "over", status="ended", product_id="pro", hours=-1)
    said = await asked(service, "over", "product_id=pro")
    assert (False, "grant_ended") == (said["allowed"], said["reason"])
    await record(service, "paying", status="active", product_id="pro", hours=1)
    assert not (await asked(service, "paying", "product_id=pro"))["allowed"]


USED = """
insert into billing.usage_events (account_id, live_mode, idempotency_key, customer_uid, feature_id, entity_id, value)
values ('', false, gen_random_uuid()::text, $1, $2, $3, $4)
"""

ACCESS = """
select allowed, reason, status, until, balance, exact from billing.access
where customer_uid = $1 and (product_id = $2 or feature_id = $3)
  and ($4::text is null or entity_id is null or entity_id = $4)
"""


async def test_the_view_says_the_same(service: Service) -> None:
    """Of random customers, whatever they bought and used: allowed by some row of billing.access, with the reason,
    status and end of that row, and with the sum of the balances.
    """
    chance = Random(19)  # noqa: S311 - replayable
    products, features, entities = ("pro", "base"), ("seats", "api"), (None, "red", "blue")
    reasons = set()
    for number in range(12):
        name, status = f"random-{number}", chance.choice(("active", "past_due", "ended", None))
        uid = await record(
            service,
            name,
            status=status,
            product_id=chance.choice((None, "pro")),
            hours=chance.choice((-1, 1)),
        )
        for _ in range(chance.randrange(4)):
            status_of_it = chance.choice(("active", "past_due", "ended", None))
            await bought(
                service,
                uid,
                chance.choice(products),
                status=status_of_it,
                has_access=status_of_it == "active" or (status_of_it == "past_due" and chance.random() < 0.5),
                entity=chance.choice(entities),
                options=chance.choice(("{}", '{"seats": 5}', '{"seats": 2, "api": 3}')),
            )
        if chance.random() < 0.3:
            await service.harness.execute(FEATURE, uid, "feat_api", "api")
        for _ in range(chance.randrange(3)):
            used = chance.choice(features), chance.choice(entities), chance.randrange(1, 6)
            await service.harness.execute(USED, uid, *used)
        for product_id, feature_id in (
            *((each, None) for each in products),
            *((None, each) for each in features),
        ):
            entity = chance.choice(entities)
            asks = f"product_id={product_id}" if product_id else f"feature_id={feature_id}"
            who = chance.choice((name, f"cus_{name}", str(uid)))
            said = await asked(service, who, asks + (f"&entity_id={entity}" if entity else ""))
            reasons.add(said["reason"])
            rows = await service.harness.fetch(ACCESS, uid, product_id, feature_id, entity)
            if not rows:
                assert (False, "not_bought", status, None, None) == tuple(said.values())[:5]
                continue
            best = [each for each in rows if each["allowed"] == any(each["allowed"] for each in rows)]
            assert best[0]["allowed"] == said["allowed"]
            until = said["until"] and datetime.fromisoformat(said["until"])
            assert (said["reason"], said["status"], until, said["exact"]) in {
                (each["reason"], each["status"], each["until"], each["exact"]) for each in best
            }
            counts = [each["balance"] for each in best if said["allowed"] or each["reason"] == "balance"]
            if None in counts or not counts:
                assert said["balance"] is None
            else:
                assert (sum(counts) if said["allowed"] else max(counts)) == said["balance"]
    assert {"subscription", "entitlement", "grant", "balance", "not_bought", "ended"} <= reasons


async def test_what_cannot_be_asked(service: Service) -> None:
    """Either a product or a feature; `required` only of a feature. The document can forbid no contradiction: 409."""
    await record(service, "unclear")
    for query, field, kind in (
        ("", "query.product_id", "conflict"),
        ("product_id=a&feature_id=b", "query.product_id", "conflict"),
        ("product_id=a&required=2", "query.required", "conflict"),
        ("feature_id=a&required=0", "query.required", "invalid"),
        ("feature_id=a%00", "query.feature_id", "invalid"),
    ):
        refused = await service.get(f"/customers/unclear/check?{query}")
        assert {"conflict": 409, "invalid": 422}[kind] == refused.status
        assert field in refused.problem(kind)
