"""/customers/ID/entities/ENTITY: entities of services', and those that subscriptions name."""

import pytest

from tests.harness import customer, event, item, listing, subscription
from tests.webhooks.api.client import READ_TOKEN, Service
from tests.webhooks.api.test_check import bought, record

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


async def test_seats(service: Service) -> None:
    """An entity with a feature_id takes one of what was bought, in every period, until it is removed or is none any
    more; check and expand=usage count it beside what is tracked.
    """
    uid = await record(service, "crew")
    await bought(service, uid, "team", options='{"seats": 3}')

    async def free(query: str = "") -> object:
        return (await service.get(f"/customers/crew/check?feature_id=seats{query}")).body["balance"]

    path = "/customers/crew/entities/"
    free_seats = [await free()]
    for name in ("ada", "bob"):
        seat = await service.put(path + name, {"feature_id": "seats"})
        assert (201, "seats") == (seat.status, seat.body["feature_id"])
        free_seats.append(await free())
    assert 201 == (await service.post("/customers/crew/track", {"feature_id": "seats"})).status
    free_seats.append(await free())
    said = (await service.get("/customers/crew/check?feature_id=seats&required=1")).body
    assert (False, "balance") == (said["allowed"], said["reason"])
    await service.harness.execute(
        "update billing.customer_products set current_period_start = now() + interval '1 hour' where customer_uid = $1",
        uid,
    )
    free_seats.append(await free())
    usage = (await service.get("/customers/crew?expand=usage")).body["feature_usage"]
    assert [("seats", None, 2)] == [(each["feature_id"], each["entity_id"], each["used"]) for each in usage]
    assert 200 == (await service.put(path + "ada", {"type": "member"})).status
    free_seats.append(await free())
    assert 204 == (await service.ask("DELETE", path + "bob")).status
    free_seats.append(await free())
    assert [3, 2, 1, 0, 1, 2, 3] == free_seats
