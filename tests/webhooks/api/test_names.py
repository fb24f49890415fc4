"""Whose a name is: the company says so, and no buyer, deleted or merged customer keeps it from that (I13)."""

from typing import Any

import pytest

from db.keys import CustomerKey
from db.records import full
from tests import faults
from tests.harness import charge, checkout_session, customer, event
from tests.system import until
from tests.webhooks.api.client import Service, open_service
from webhooks.api import shown
from worker.forget import forget

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def bought(service: Service, number: str, reference: str) -> str:
    """A customer of Stripe's whose buyer wrote this reference into a payment link; its Stripe id."""
    customer_id = f"cus_{number}"
    session = checkout_session(
        f"cs_{number}",
        customer_id,
        client_reference_id=reference,
        payment_link="plink_1",
        payment_status="paid",
        url=None,
    )
    buyer, paid = customer(customer_id), charge(f"ch_{number}", customer_id)
    service.harness.api.put(buyer, paid)
    service.harness.api.bodies[f"/v1/checkout/sessions/cs_{number}"] = session
    events = [
        ("customer.created", buyer),
        ("charge.succeeded", paid),
        ("checkout.session.completed", session),
    ]
    await service.harness.receive(
        *(event(kind, body, event_id=f"evt_{kind}_{number}") for kind, body in events)
    )
    await service.until_record(customer_id, custom_uid=reference, exact=True)
    return customer_id


async def test_a_buyers_reference_is_nobodys_name(service: Service) -> None:
    """I13: a guest is not merged into a buyer who claims its name, and nothing is given to one by that name."""
    buyer = await bought(service, "claims", "victim")
    for answer in (
        await service.post("/customers/victim/grants", {"product_id": "pro", "days": 3}),
        await service.put("/customers/victim/entities/team", {"name": "T"}),
        await service.patch("/customers/victim", {"metadata": {"seen": "1"}}),
        await service.post("/customers/victim/portal", {}),
        await service.post("/customers/victim/track", {"feature_id": "calls"}),
    ):
        assert 404 == answer.status, answer.body
        assert "a buyer" in answer.problem("not_found")
    guest = (await service.post("/customers", {"fingerprint": "fp_victim", "name": "Victim"})).body
    named = await service.post(f"/customers/{guest['uid']}/identify", {"custom_uid": "victim"})
    assert (200, guest["uid"], None) == (named.status, named.body["uid"], named.body["stripe_customer_id"])
    await service.until_record(buyer, custom_uid=None)
    assert guest["uid"] == (await service.get("/customers/victim")).body["uid"]


async def test_a_buyers_reference_keeps_no_other_name_out(service: Service) -> None:
    """I13: the company names its customer whatever a buyer's browser wrote: by PUT, by identify, and by a link."""
    first, second, third = [await bought(service, f"odd{n}", f"whatever-{n}") for n in range(3)]
    linked = await service.put("/customers/mine-0", {"stripe_id": first})
    assert (200, "mine-0") == (linked.status, linked.body["custom_uid"])
    named = await service.post(f"/customers/{second}/identify", {"custom_uid": "mine-1"})
    assert (200, "mine-1") == (named.status, named.body["custom_uid"])
    await service.put("/customers/mine-2")
    patched = await service.patch("/customers/mine-2", {"stripe_id": third})
    assert (200, third) == (patched.status, patched.body["stripe_customer_id"])


async def test_a_name_that_the_company_gave_stays(service: Service) -> None:
    """I13: a customer with a name in Stripe's metadata gets no second one here, also once it has an identity."""
    alice = customer("cus_alice", metadata={"custom_uid": "alice"})
    service.harness.api.put(alice)
    await service.harness.receive(event("customer.created", alice, event_id="evt_alice"))
    await service.until_record("cus_alice", custom_uid="alice")
    assert 200 == (await service.patch("/customers/alice", {"send_email_receipts": True})).status
    assert 409 == (await service.put("/customers/bob", {"stripe_id": "cus_alice"})).status
    assert "cus_alice" == (await service.get("/customers/alice")).body["stripe_customer_id"]


async def test_a_deleted_customer_is_followed(service: Service) -> None:
    """Who was deleted at Stripe and comes back gets the name, and a record of its own; so does a guest."""
    harness = service.harness
    deleted: dict[str, Any] = {"object": "customer", "deleted": True}
    for number in ("1", "2"):
        old = customer(f"cus_old{number}", metadata={"custom_uid": f"user-{number}"})
        harness.api.put(old)
        await harness.receive(event("customer.created", old, event_id=f"evt_old{number}"))
        await service.until_record(f"cus_old{number}", custom_uid=f"user-{number}", exact=True)
    # The second one is known here, too.
    assert 200 == (await service.patch("/customers/user-2", {"send_email_receipts": True})).status
    for number in ("1", "2"):
        harness.api.bodies[f"/v1/customers/cus_old{number}"] = {**deleted, "id": f"cus_old{number}"}
        old = customer(f"cus_old{number}", metadata={"custom_uid": f"user-{number}"})
        await harness.receive(event("customer.deleted", old, event_id=f"evt_end{number}", after=10))

        async def gone(customer_id: str = f"cus_old{number}") -> bool:
            return bool((await service.get(f"/customers/{customer_id}")).body["deleted_at"])

        await until(gone, what="the deletion is in the record")
    kept = await service.put("/customers/user-1")
    assert (200, "cus_old1") == (kept.status, kept.body["stripe_customer_id"])

    new, paid = customer("cus_new1"), charge("ch_new1", "cus_new1")
    harness.api.put(new, paid)
    await harness.receive(
        event("customer.created", new, event_id="evt_new1", after=20),
        event("charge.succeeded", paid, event_id="evt_ch_new1", after=21),
    )
    await service.until_record("cus_new1", exact=True)
    back = await service.put("/customers/user-1", {"stripe_id": "cus_new1"})
    assert (200, "cus_new1", "user-1") == (
        back.status,
        back.body["stripe_customer_id"],
        back.body["custom_uid"],
    )
    assert back.body["uid"] != kept.body["uid"]
    guest = (await service.post("/customers", {"fingerprint": "fp_user2"})).body["uid"]
    named = await service.post(f"/customers/{guest}/identify", {"custom_uid": "user-2"})
    assert (200, guest, None) == (named.status, named.body["uid"], named.body["stripe_customer_id"])
    granted = await service.post("/customers/user-2/grants", {"product_id": "pro", "days": 3})
    assert (200, True) == (granted.status, granted.body["has_access"])


async def test_metadata_give_no_name(service: Service) -> None:
    """A name is given by PUT and identify, which say if it is another customer's or none: not by metadata, which a
    worker would send on to Stripe. The customer's own name may be among them.
    """
    body = customer("cus_meta_name", metadata={"custom_uid": "meta-name"})
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    await service.until_record("cus_meta_name", custom_uid="meta-name", exact=True)
    for said in ("malice", "a b", None):
        refused = await service.patch("/customers/meta-name", {"metadata": {"custom_uid": said, "k": "v"}})
        assert "identify gives a customer its name" in refused.problem("conflict"), said
    same = await service.patch("/customers/meta-name", {"metadata": {"custom_uid": "meta-name", "k": "v"}})
    assert (200, "meta-name", "v") == (same.status, same.body["custom_uid"], same.body["metadata"]["k"])
    other = {"metadata": {"custom_uid": "other"}}
    assert 409 == (await service.put("/customers/meta-new", other)).status
    assert 409 == (await service.post("/customers", {"fingerprint": "fp_meta"} | other)).status


async def test_nothing_is_kept_of_a_forgotten_customer(service: Service) -> None:
    """Who was forgotten does not come back through the API, while Stripe has the customer still: no name, email or
    entity is written of it.
    """
    body = customer("cus_forgotten", metadata={"custom_uid": "forgotten"})
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    await service.until_record("cus_forgotten", exact=True)
    async with service.harness.pool.acquire() as connection:
        await forget(connection, CustomerKey("", live_mode=False, id="cus_forgotten"))
    guest = (await service.post("/customers", {"email": "guest@example.com"})).body["uid"]
    linked = {"stripe_id": "cus_forgotten"}
    for answer in (
        await service.put("/customers/forgotten", linked | {"name": "Bob"}),
        await service.put("/customers/another", linked),
        await service.patch(f"/customers/{guest}", linked),
        await service.put("/customers/cus_forgotten/entities/bobs-team", {"name": "Bob's team"}),
    ):
        assert "nothing more is kept of it" in answer.problem("conflict")
    assert 0 == await service.harness.fetchval(
        "select count(*) from billing.identities where stripe_customer_id = 'cus_forgotten'"
    )


async def test_a_uid_is_no_name(service: Service) -> None:
    """No customer gets the uid of another one as its name; that of a merged one leads on, whoever claims it."""
    named = (await service.put("/customers/uid-named")).body["uid"]
    guest = (await service.post("/customers", {"fingerprint": "fp_uid"})).body["uid"]
    other = (await service.post("/customers", {"fingerprint": "fp_uid2"})).body["uid"]
    assert "uid of a customer" in (await service.put(f"/customers/{named}")).problem("conflict")
    await service.post(f"/customers/{guest}/identify", {"custom_uid": "uid-named"})
    for taken in (named, guest):
        refused = await service.post(f"/customers/{other}/identify", {"custom_uid": taken})
        assert "uid of a customer" in refused.problem("conflict")
    await service.until_gone(f"uid/{guest}")
    await bought(service, "takes_uid", guest)
    assert named == (await service.get(f"/customers/{guest}")).body["uid"]
    assert "not_bought" == (await service.get(f"/customers/{guest}/check?product_id=pro")).body["reason"]


async def test_what_is_said_of_a_merged_customer_reaches_the_other(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I4: also before a worker has derived the two anew, and if they are merged while the request is under way."""
    monkeypatch.setattr(shown, "DERIVED_SECONDS", 0.0)
    async with open_service(database_url, api_key=None, working=False) as service:
        named = (await service.put("/customers/left?mode=test")).body["uid"]
        guests = []
        for number in range(2):
            created = await service.post("/customers?mode=test", {"fingerprint": f"fp_left{number}"})
            guests.append(created.body["uid"])
        await service.harness.engine.derive()

        async def merge(_: Any) -> None:
            into = {"custom_uid": "left"}
            assert 200 == (await service.post(f"/customers/{guests[0]}/identify?mode=test", into)).status

        with faults.after(full.FIND_CUSTOMER, merge, times=1):
            patched = await service.patch(f"/customers/{guests[0]}?mode=test", {"metadata": {"k": "v"}})
        assert (200, named) == (patched.status, patched.body["uid"])
        await service.post(f"/customers/{guests[1]}/identify?mode=test", {"custom_uid": "left"})
        grant = {"product_id": "pro", "days": 3}
        granted = await service.post(f"/customers/{guests[1]}/grants?mode=test", grant)
        assert (200, named) == (granted.status, granted.body["uid"])
        entity = await service.put(f"/customers/{guests[1]}/entities/team?mode=test", {"name": "T"})
        assert (201, named) == (entity.status, entity.body["customer_uid"])
        rows = await service.harness.fetch(
            "select uid::text, metadata, sandbox_product_id from billing.identities"
        )
        assert [(named, '{"k": "v"}', "pro")] == [tuple(row) for row in rows]


async def test_entities_move_no_tag(service: Service) -> None:
    """A record with its entities has no ETag: they change without its `change`."""
    await service.put("/customers/tagged")
    assert "ETag" in (await service.get("/customers/tagged")).headers
    assert "ETag" not in (await service.get("/customers/tagged?expand=entities")).headers
