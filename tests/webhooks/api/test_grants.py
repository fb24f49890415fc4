"""POST and DELETE /customers/ID/grants: access to a product for a limited time."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.harness import customer, event, subscription
from tests.webhooks.api.client import Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def known(service: Service, customer_id: str, **fields: object) -> None:
    """A customer of Stripe's that webhooks told of, and its record."""
    body = customer(customer_id, **fields)
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    await service.record_of(customer_id)


async def allowed(service: Service, name: str, product_id: str) -> tuple[bool, str]:
    """What a check says."""
    body = (await service.get(f"/customers/{name}/check?product_id={product_id}")).body
    return body["allowed"], body["reason"]


async def test_given_and_ended(service: Service) -> None:
    """The record has the product until then; a later grant takes the place of the first; ended, it has nothing."""
    await service.put("/customers/guest")
    until = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    given = await service.post("/customers/guest/grants", {"product_id": "pro", "until": until.isoformat()})
    assert (200, True, "pro", None, "guest") == (
        given.status,
        given.body["has_access"],
        given.body["product_id"],
        given.body["status"],
        given.body["custom_uid"],
    )
    assert until == datetime.fromisoformat(given.body["sandbox_end"])
    assert (True, "grant") == await allowed(service, "guest", "pro")
    longer = await service.post("/customers/guest/grants", {"product_id": "team", "days": 30})
    assert timedelta(days=29) < datetime.fromisoformat(longer.body["sandbox_end"]) - datetime.now(UTC)
    assert (True, "grant") == await allowed(service, "guest", "team")
    assert (False, "not_bought") == await allowed(service, "guest", "pro")
    for _ in range(2):
        ended = await service.ask("DELETE", "/customers/guest/grants")
        assert (200, False, None) == (ended.status, ended.body["has_access"], ended.body["product_id"])
        assert datetime.fromisoformat(ended.body["sandbox_end"]) <= datetime.now(UTC)
        assert (False, "not_bought") == await allowed(service, "guest", "team")


async def test_of_a_customer_of_stripes(service: Service) -> None:
    """One that Stripe knew first keeps its uid; a grant that its metadata states is ended here, too."""
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    await known(service, "cus_granted", metadata={"sandbox_end": later, "sandbox_product_id": "trial"})
    await service.until_record("cus_granted", has_access=True, product_id="trial")
    ended = await service.ask("DELETE", "/customers/cus_granted/grants")
    assert (200, False) == (ended.status, ended.body["has_access"])
    given = await service.post("/customers/cus_granted/grants", {"product_id": "pro", "days": 1})
    assert (200, True, "pro", ended.body["uid"]) == (
        given.status,
        given.body["has_access"],
        given.body["product_id"],
        given.body["uid"],
    )
    await known(service, "cus_plain")
    nothing = await service.ask("DELETE", "/customers/cus_plain/grants")
    assert (200, None) == (nothing.status, nothing.body["sandbox_end"])
    assert 0 == await service.harness.fetchval(
        "select count(*) from billing.identities where stripe_customer_id = 'cus_plain'"
    )


async def test_refused_while_a_subscription_is_live(service: Service) -> None:
    """A live subscription outranks a grant, also one without access; once it has ended, a grant is given."""
    await known(service, "cus_live")
    for after, (at_stripe, status) in enumerate((("active", "active"), ("unpaid", "past_due"))):
        sold = subscription("sub_live", "cus_live", status=at_stripe)
        service.harness.api.put(sold)
        await service.harness.receive(event("customer.subscription.updated", sold, after=after))
        await service.until_record("cus_live", status=status)
        refused = await service.post("/customers/cus_live/grants", {"product_id": "pro", "days": 1})
        assert 409 == refused.status
        assert "sub_live" in refused.problem("conflict")
    ended = subscription("sub_live", "cus_live", status="canceled")
    service.harness.api.put(ended)
    await service.harness.receive(event("customer.subscription.deleted", ended, after=9))
    await service.until_record("cus_live", status="ended")
    given = await service.post("/customers/cus_live/grants", {"product_id": "pro", "days": 1})
    assert (200, True, "ended") == (given.status, given.body["has_access"], given.body["status"])
    assert (True, "grant") == await allowed(service, "cus_live", "pro")


async def test_what_cannot_be_granted(service: Service) -> None:
    """One end, to come, with a time zone; a product; a customer. What the document cannot forbid is 409."""
    await service.put("/customers/nothing")
    for status, body, field in (
        (409, {"product_id": "pro"}, "body.until"),
        (409, {"product_id": "pro", "days": 1, "until": "2027-01-01T00:00:00Z"}, "body.until"),
        (409, {"product_id": "pro", "until": "2020-01-01T00:00:00Z"}, "body.until"),
        (409, {"product_id": "pro", "until": "9999-12-31T23:59:59-14:00"}, "body.until"),
        (422, {"product_id": "pro", "until": "2999-01-01T00:00:00"}, "body.until"),
        (422, {"product_id": "pro", "days": 0}, "body.days"),
        (422, {"product_id": "pro", "days": 1.5}, "body.days"),
        (422, {"product_id": "", "days": 1}, "body.product_id"),
        (422, {"days": 1}, "body"),
    ):
        refused = await service.post("/customers/nothing/grants", body)
        assert status == refused.status
        assert field in refused.problem({409: "conflict", 422: "invalid"}[status])
    # 1.0 is a whole number in JSON Schema, and so in the document.
    assert 200 == (await service.post("/customers/nothing/grants", {"product_id": "pro", "days": 1.0})).status
    for method, said in (("POST", {"product_id": "pro", "days": 1}), ("DELETE", None)):
        assert 404 == (await service.ask(method, "/customers/no-such/grants", said)).status
