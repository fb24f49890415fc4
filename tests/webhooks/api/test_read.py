"""GET /customers/ID: by any name, with its parts, only when it has changed, and read at Stripe first."""

import json

import pytest

from tests.harness import charge, customer, event, subscription
from tests.webhooks.api.client import READ_TOKEN, Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def known(service: Service, customer_id: str, **fields: object) -> None:
    """A customer of Stripe's that webhooks told of, and its record."""
    body = customer(customer_id, **fields)
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    await service.record_of(customer_id)


async def test_by_each_of_its_names(service: Service) -> None:
    """custom_uid, uid and Stripe id lead to one customer; an email does not, since several may have it."""
    await known(service, "cus_names", metadata={"custom_uid": "user_1"}, email="a@b.c", name="Ada")
    by_id = await service.get("/customers/cus_names")
    assert (200, "user_1", "Ada") == (by_id.status, by_id.body["custom_uid"], by_id.body["name"])
    for name in ("user_1", by_id.body["uid"]):
        found = await service.get(f"/customers/{name}", token=READ_TOKEN)
        assert (200, by_id.body["uid"]) == (found.status, found.body["uid"])
    missing = await service.get("/customers/a@b.c")
    assert 404 == missing.status
    assert "a@b.c" in missing.problem("not_found")


async def test_parts(service: Service) -> None:
    """`expand` adds parts, and nothing else is answered."""
    await known(service, "cus_parts")
    await service.harness.receive(
        event("customer.subscription.created", subscription("sub_parts", "cus_parts")),
        event("charge.succeeded", charge("ch_parts", "cus_parts")),
    )
    service.harness.api.put(subscription("sub_parts", "cus_parts"), charge("ch_parts", "cus_parts"))
    parts = {
        "products": {"customer_products"},
        "entities": {"entities"},
        "features": {"features"},
        "revenue": {"revenue"},
        "mrr": {"mrr"},
        "usage": {"usage", "feature_usage"},
        "timeline": {"status_changes"},
    }
    fields = set().union(*parts.values())
    plain = (await service.get("/customers/cus_parts")).body
    assert not fields & plain.keys()
    for name, added in parts.items():
        assert added == (await service.get(f"/customers/cus_parts?expand={name}")).body.keys() - plain.keys()
    whole = await service.get(f"/customers/cus_parts?expand={','.join(parts)}")
    assert fields == whole.body.keys() - plain.keys()
    await service.until_record("cus_parts", lifetime_revenue=2000)
    (revenue,) = (await service.get("/customers/cus_parts?expand=revenue")).body["revenue"]
    assert (2000, "usd") == (revenue["net"], revenue["currency"])
    unknown = await service.get("/customers/cus_parts?expand=products,money")
    assert 422 == unknown.status
    assert "query.expand" in unknown.problem("invalid")


async def test_only_if_it_has_changed(service: Service) -> None:
    """304 without a body for whoever has it already; another state, epoch or choice of parts is another tag."""
    await known(service, "cus_tag", name="Ada")
    await service.until_record("cus_tag", exact=True)  # and nothing of it changes any more
    path = "/customers/cus_tag"
    first = await service.get(path)
    tag = first.headers["ETag"]
    for said in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
        again = await service.get(path, headers={"If-None-Match": said})
        assert (304, "", tag) == (again.status, again.body, again.headers["ETag"])
    assert 200 == (await service.get(f"{path}?expand=revenue", headers={"If-None-Match": tag})).status
    await service.harness.execute(
        "update billing.customers set change = nextval('billing.change') where stripe_customer_id = 'cus_tag'"
    )
    assert 200 == (await service.get(path, headers={"If-None-Match": tag})).status
    assert "ETag" not in (await service.get(f"{path}?expand=usage")).headers
    before = (await service.get(path)).headers["ETag"]
    await service.harness.execute("select sync.begin_incarnation('a test', 0, 0)")
    assert before != (await service.get(path)).headers["ETag"]


async def test_fresh(service: Service) -> None:
    """fresh=true reads Stripe, and answers with the exact record of a customer that no webhook told of."""
    service.harness.api.put(customer("cus_fresh", name="Nova"))
    refused = await service.get("/customers/cus_fresh?fresh=true", token=READ_TOKEN)
    assert (403, True) == (refused.status, "query.fresh" in refused.problem("not_allowed"))
    assert 0 == await service.harness.fetchval(
        "select count(*) from sync.customers where customer_id = 'cus_fresh'"
    )
    fresh = await service.get("/customers/cus_fresh?fresh=true&wait=30")
    assert 404 == (await service.get("/customers/cus_nobody?fresh=true&wait=30")).status
    assert (200, "Nova", True) == (fresh.status, fresh.body.get("name"), fresh.body.get("exact")), fresh.body
    assert 404 == (await service.get("/customers/not_stripes?fresh=true")).status
    for query, field in (
        ("mode=null", "query.mode"),
        ("fresh=true&wait=31", "query.wait"),
        ("fresh=maybe", "query.fresh"),
    ):
        refused = await service.get(f"/customers/cus_fresh?{query}")
        assert 422 == refused.status
        assert field in refused.problem("invalid")


async def test_account_and_mode(service: Service) -> None:
    """I9: one account and mode at a time. The key's own account, by its name, is the same as none."""
    harness = service.harness
    await known(service, "cus_scope")
    far = customer("cus_scope", livemode=False)
    await harness.receive(event("customer.created", far, account="acct_far"))
    await service.record_of("cus_scope", account="acct_far")
    for query, account in (
        ("", ""),
        ("?mode=test", ""),
        ("?account=acct_far", "acct_far"),
        ("?account=acct_room", ""),
    ):
        found = await service.get(f"/customers/cus_scope{query}")
        assert (200, account) == (found.status, found.body["account_id"])
    refreshed = await service.post("/customers/cus_scope/refresh?wait=30&account=acct_room")
    assert "" == refreshed.body["customer"]["account_id"]
    assert 404 == (await service.get("/customers/cus_scope?mode=live")).status
    for query in ("mode=both", "account=other"):
        assert 422 == (await service.get(f"/customers/cus_scope?{query}")).status


async def test_one_shape(service: Service) -> None:
    """A refresh answers with the record as a reading does."""
    await known(service, "cus_shape", metadata={"plan": "x"})
    refreshed = await service.post("/customers/cus_shape/refresh?wait=30")
    read = await service.get("/customers/cus_shape?expand=products,revenue,features,entities,mrr")
    assert read.body == refreshed.body["customer"], json.dumps(refreshed.body)
