"""/customers/ID/entities/ENTITY: entities of services', and those that subscriptions name."""

import pytest

from tests.harness import customer, event, item, listing, subscription
from tests.webhooks.api.client import READ_TOKEN, Service

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_put_get_remove(service: Service) -> None:
    """Created, replaced as a whole, shown with the customer, removed."""
    uid = (await service.put("/customers/owner")).body["uid"]
    path = "/customers/owner/entities/team%201"
    said = {"type": "workspace", "name": "One", "metadata": {"region": "eu"}}
    created = await service.put(path, said)
    assert (201, uid, "team 1") == (created.status, created.body["customer_uid"], created.body["id"])
    assert said | {"customer_products": []} == {
        name: created.body[name] for name in (*said, "customer_products")
    }
    again = await service.put(path, {"name": "Uno"})
    assert (200, created.body["uid"], "Uno", None, {}) == (
        again.status,
        *(again.body[name] for name in ("uid", "name", "type", "metadata")),
    )
    assert again.body == (await service.get(path, token=READ_TOKEN)).body
    (shown,) = (await service.get("/customers/owner?expand=entities")).body["entities"]
    assert "team 1" == shown["id"]
    assert 204 == (await service.ask("DELETE", path)).status
    for method in ("GET", "DELETE"):
        missing = await service.ask(method, path)
        assert 404 == missing.status
        assert "path.entity_id" in missing.problem("not_found")


async def test_named_by_a_subscription(service: Service) -> None:
    """It shows with its products; ours of the same id comes before it; only Stripe can take it away."""
    body = customer("cus_entity")
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    sold = subscription(
        "sub_entity",
        "cus_entity",
        metadata={"entity_id": "team", "entity_name": "Team"},
        items=listing([item("si_entity")]),
    )
    service.harness.api.put(sold)
    await service.harness.receive(event("customer.subscription.created", sold))
    await service.until_record("cus_entity", status="active")
    path = "/customers/cus_entity/entities/team"
    derived = (await service.get(path)).body
    assert ("Team", ["sub_entity"]) == (
        derived["name"],
        [each["stripe_subscription_id"] for each in derived["customer_products"]],
    )
    ours = await service.put(path, {"name": "Ours"})
    assert (201, "Ours", derived["customer_products"][0]["id"]) == (
        ours.status,
        ours.body["name"],
        ours.body["customer_products"][0]["id"],
    )
    assert 204 == (await service.ask("DELETE", path)).status
    assert "Team" == (await service.get(path)).body["name"]
    refused = await service.ask("DELETE", path)
    assert 409 == refused.status
    assert "metadata" in refused.problem("conflict")


async def test_what_cannot_be_an_entity(service: Service) -> None:
    """An id that is too long, a customer that nobody knows."""
    await service.put("/customers/careless")
    refused = await service.put(f"/customers/careless/entities/{'x' * 501}", {})
    assert 422 == refused.status
    assert "path.entity_id" in refused.problem("invalid")
    assert 404 == (await service.put("/customers/no-such/entities/team", {})).status
