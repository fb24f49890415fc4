"""PUT and PATCH /customers/ID: one customer per name, with or without a customer at Stripe."""

import asyncio
from urllib.parse import quote

import pytest

from sandbox import Api as SandboxApi
from sandbox import Faults
from tests.harness import charge, checkout_session, customer, error, event
from tests.webhooks.api.client import Service, open_service
from webhooks.api import shown
from webhooks.api.problems import AWAY

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def told(service: Service, customer_id: str, **fields: object) -> None:
    """A customer of Stripe's that webhooks told of, and its record."""
    body = customer(customer_id, **fields)
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    await service.record_of(customer_id)


async def test_created_once(service: Service) -> None:
    """201 with the record and where it is; then 200 with the same, whatever else is said; no other row."""
    said = {
        "name": "Ada",
        "email": "ada@example.com",
        "description": "first",
        "metadata": {"company": "Engines"},
        "fingerprint": "fp_1",
        "send_email_receipts": True,
    }
    created = await service.put("/customers/ada", said)
    assert (201, "/customers/ada") == (created.status, created.headers["Location"])
    assert said | {"custom_uid": "ada", "stripe_customer_id": None, "status": None, "exact": True} == {
        name: created.body[name] for name in (*said, "custom_uid", "stripe_customer_id", "status", "exact")
    }
    again = await service.put("/customers/ada", {"name": "Somebody else"})
    assert (200, created.body) == (again.status, again.body)
    for name in ("ada", created.body["uid"]):
        assert created.body == (await service.get(f"/customers/{name}")).body
    assert 201 == (await service.put("/customers/nobody-knows")).status


async def test_fifty_at_once(service: Service) -> None:
    """However many ask for one name at the same time, one creates it, and all see one customer."""
    answers = await asyncio.gather(
        *(service.put("/customers/crowd", {"metadata": {"from": str(number)}}) for number in range(50))
    )
    assert [200] * 49 + [201] == sorted(each.status for each in answers)
    assert 1 == len({each.body["uid"] for each in answers})
    for table in ("billing.identities", "billing.customers"):
        assert 1 == await service.harness.fetchval(f"select count(*) from {table} where custom_uid = 'crowd'")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("asdfj45 345345345 %%%", "has ' '"),
        ("%%%%", "has '%'"),
        ("!!#123. 45", "has ' '"),
        ("a/b", "has '/'"),
        ("ä", "has 'ä'"),
        ("a\n", "has '\\n'"),
        ("..", "another path"),
        ("x" * 256, "255"),
        ("cus_123", "stripe_id"),
    ],
)
async def test_names_that_are_none(service: Service, given: str, reason: str) -> None:
    """A custom_uid is part of URLs: what cannot be is refused with the reason."""
    refused = await service.put(f"/customers/{quote(given, safe='')}")
    assert 422 == refused.status
    said = refused.problem("invalid")
    assert reason in said
    assert "path.customer_id" in said
    assert "letters, digits" in said


async def test_known_through_stripe(service: Service) -> None:
    """A customer that Stripe's metadata names is got, not created again."""
    await told(service, "cus_meta", metadata={"custom_uid": "meta"}, name="Meta")
    got = await service.put("/customers/meta", {"name": "Other", "create_in_stripe": True})
    assert (200, "cus_meta", "Meta") == (got.status, got.body["stripe_customer_id"], got.body["name"])
    assert 0 == await service.harness.fetchval(
        "select count(*) from billing.identities where custom_uid = 'meta'"
    )


async def test_link(service: Service) -> None:
    """A customer is linked to one that Stripe has, of which nothing has come yet: its record says what Stripe says, and
    bears the uid that it had.
    """
    service.harness.api.put(customer("cus_link", name="Linked"))
    created = await service.put("/customers/link", {"name": "Before"})
    linked = await service.put("/customers/link", {"stripe_id": "cus_link"})
    assert (200, created.body["uid"], "cus_link") == (
        linked.status,
        linked.body["uid"],
        linked.body["stripe_customer_id"],
    )
    await service.until_record("cus_link", name="Linked", exact=True)
    again = await service.put("/customers/link", {"stripe_id": "cus_link"})
    assert (200, "Linked", "link") == (again.status, again.body["name"], again.body["custom_uid"])
    assert 1 == await service.harness.fetchval(
        "select count(*) from billing.customers where custom_uid = 'link'"
    )
    await service.until_gone(f"uid/{created.body['uid']}")


async def test_link_to_a_known_customer(service: Service) -> None:
    """One that has a record already gets the name, and keeps its history; as creation or afterwards."""
    for number, first in enumerate(({}, {"name": "Before"})):
        customer_id, name = f"cus_known_{number}", f"known-{number}"
        await told(service, customer_id)
        paid = charge(f"ch_known_{number}", customer_id)
        service.harness.api.put(paid)
        await service.harness.receive(event("charge.succeeded", paid))
        await service.until_record(customer_id, lifetime_revenue=2000)
        before = (await service.get(f"/customers/{customer_id}")).body
        uid = before["uid"]
        if first:
            created = await service.put(f"/customers/{name}", first)
            assert 201 == created.status
            uid = created.body["uid"]
        linked = await service.put(f"/customers/{name}", {"stripe_id": customer_id})
        assert (200, name, 2000) == (
            linked.status,
            linked.body["custom_uid"],
            linked.body["lifetime_revenue"],
        )
        assert uid == linked.body["uid"]
        assert 1 == await service.harness.fetchval(
            "select count(*) from billing.customers where stripe_customer_id = $1", customer_id
        )


async def test_links_that_are_refused(service: Service) -> None:
    """404 for one that Stripe does not have, 409 for one that is somebody else's, or when the customer has another."""
    await told(service, "cus_one")
    await told(service, "cus_two")
    await told(service, "cus_named", metadata={"custom_uid": "of-metadata"})
    assert 200 == (await service.put("/customers/one", {"stripe_id": "cus_one"})).status
    for name, stripe_id, status, problem, reason in (
        ("other", "cus_one", 409, "conflict", "is the customer one already"),
        ("one", "cus_two", 409, "conflict", "is linked to cus_one already"),
        ("other", "cus_named", 409, "conflict", "is the customer of-metadata already"),
        ("of-metadata", "cus_two", 409, "conflict", "is linked to cus_named already"),
        ("other", "cus_unheard", 404, "not_found", "unknown to Stripe"),
        ("other", "acct_1", 422, "invalid", "body.stripe_id"),
    ):
        refused = await service.put(f"/customers/{name}", {"stripe_id": stripe_id})
        assert status == refused.status, refused.body
        assert reason in refused.problem(problem)
    assert 404 == (await service.get("/customers/other")).status
    service.harness.api.say("/v1/customers/cus_later", 500, error("api_error", "No."))
    away = await service.put("/customers/other", {"stripe_id": "cus_later"})
    assert 503 == away.status
    assert "again" in away.problem("away")
    service.harness.api.say("/v1/customers/cus_later", 403, error("more_permissions_required", "No."))
    assert 502 == (await service.put("/customers/other", {"stripe_id": "cus_later"})).status
    for other in (
        customer("cus_another"),
        customer("cus_later") | {"object": "charge"},
        {"object": "martian"},
    ):
        service.harness.api.say("/v1/customers/cus_later", 200, other)
        refused = await service.put("/customers/other", {"stripe_id": "cus_later"})
        assert 502 == refused.status, other
        assert "with something else" in refused.problem("stripe_refuses")
    service.harness.api.put(customer("cus_later"))
    service.harness.api.bodies["/v1/customers/cus_later"] |= {"deleted": True}
    deleted = await service.put("/customers/other", {"stripe_id": "cus_later"})
    assert "deleted" in deleted.problem("not_found")


async def test_created_at_stripe(service: Service) -> None:
    """create_in_stripe makes one customer there, with the name in its metadata, however often it is asked for; without
    it there is none.
    """
    assert (await service.put("/customers/plain")).body["stripe_customer_id"] is None
    said = {"name": "Grace", "email": "g@example.com", "metadata": {"k": "v"}, "create_in_stripe": True}
    answers = await asyncio.gather(*(service.put("/customers/grace", said) for _ in range(5)))
    assert {200, 201} == {each.status for each in answers}, [each.body for each in answers]
    (stripe_id,) = {each.body["stripe_customer_id"] for each in answers}
    await service.until_record(stripe_id, name="Grace", exact=True)
    record = (await service.get("/customers/grace")).body
    assert ({"k": "v", "custom_uid": "grace"}, stripe_id) == (
        record["metadata"],
        record["stripe_customer_id"],
    )
    later = await service.put("/customers/plain", {"create_in_stripe": True})
    assert (200, True) == (later.status, later.body["stripe_customer_id"].startswith("cus_"))


async def test_created_after_a_failure(service: Service) -> None:
    """Stripe repeats an answer 500 for the same idempotency key, for 24 hours: who asks again gets a customer, one."""
    stripe = service.harness.api.inner
    assert isinstance(stripe, SandboxApi)
    stripe.faults = Faults(failed_share=1.0)
    for _ in range(2):
        failed = await service.put("/customers/failed", {"create_in_stripe": True})
        assert "is kept here" in failed.problem("away")
    stripe.faults = Faults()
    answers = [await service.put("/customers/failed", {"create_in_stripe": True}) for _ in range(2)]
    assert [200, 200] == [each.status for each in answers], answers[0].body
    assert answers[0].body["stripe_customer_id"] is not None
    assert answers[0].body["stripe_customer_id"] == answers[1].body["stripe_customer_id"]


async def test_not_created_at_stripe(database_url: str) -> None:
    """If Stripe fails or refuses, the answer says that the customer is here all the same; asked again, it is linked."""
    async with open_service(database_url, working=False) as service:
        said = {"create_in_stripe": True}
        for status, answered, kind in ((503, 500, "away"), (502, 400, "stripe_refuses")):
            service.harness.api.say("/v1/customers", answered, error("api_error", "No."))
            failed = await service.put("/customers/late", said)
            assert status == failed.status
            assert "customer late is kept here, without a customer at Stripe" in failed.problem(kind)
        assert 1 == await service.harness.fetchval(
            "select count(*) from billing.identities where custom_uid = 'late' and stripe_customer_id is null"
        )
    assert "Nothing was done." not in AWAY.meaning


def keys(count: int) -> dict[str, str]:
    """So many keys of metadata."""
    return {f"key_{number}": "x" for number in range(count)}


async def test_fifty_keys_of_metadata(service: Service) -> None:
    """There and here: custom_uid is one of those at Stripe, and what a change would add counts with what is there."""
    many = await service.put("/customers/many", {"metadata": keys(50), "create_in_stripe": True})
    assert 422 == many.status
    assert "body.metadata: custom_uid is added at Stripe" in many.problem("invalid")
    assert 404 == (await service.get("/customers/many")).status
    assert 201 == (await service.put("/customers/many", {"metadata": keys(50)})).status
    later = await service.put("/customers/many", {"create_in_stripe": True})
    assert 409 == later.status
    assert "has 50 keys" in later.problem("conflict")
    for metadata, status in (
        ({"one": "more"}, 409),
        ({"one": "more", "key_0": None}, 200),
        (keys(1), 409),
        ({"key_1": "y"}, 200),
    ):
        changed = await service.patch("/customers/many", {"name": "Many", "metadata": metadata})
        assert status == changed.status, (metadata, changed.body)
        if status == 409:
            assert "body.metadata: the customer would have 51 keys" in changed.problem("conflict")
    await service.harness.execute(
        "update billing.identities set metadata = metadata || jsonb_build_object('a', '1', 'b', '2') "
        "where custom_uid = 'many'"
    )
    assert 200 == (await service.patch("/customers/many", {"metadata": {"a": None}})).status
    fits = {"metadata": {**keys(49), "custom_uid": "fits"}, "create_in_stripe": True}
    assert 201 == (await service.put("/customers/fits", fits)).status


async def test_changes(service: Service) -> None:
    """PATCH sets what is named, null removes, and metadata is merged; whoever has no identity gets one."""
    await service.put("/customers/change", {"name": "A", "email": "a@b.c", "metadata": {"a": "1", "b": "2"}})
    changed = await service.patch(
        "/customers/change",
        {"name": "B", "email": None, "metadata": {"a": None, "c": "3"}, "send_email_receipts": False},
    )
    assert 200 == changed.status
    assert ("B", None, {"b": "2", "c": "3"}, False) == (
        changed.body["name"],
        changed.body["email"],
        changed.body["metadata"],
        changed.body["send_email_receipts"],
    )
    await told(service, "cus_change", name="At Stripe", metadata={"a": "1"})
    uid = (await service.get("/customers/cus_change")).body["uid"]
    ours = await service.patch("/customers/cus_change", {"fingerprint": "fp_9", "metadata": {"mine": "x"}})
    assert (200, uid, "fp_9", {"a": "1", "mine": "x"}) == (
        ours.status,
        ours.body["uid"],
        ours.body["fingerprint"],
        ours.body["metadata"],
    )
    theirs = await service.patch("/customers/cus_change", {"name": "Here"})
    assert (200, "Here", ["metadata.mine", "name"]) == (
        theirs.status,
        theirs.body["name"],
        theirs.body["push"]["fields"],
    )
    assert 404 == (await service.patch("/customers/unheard", {})).status
    linked = await service.patch("/customers/change", {"stripe_id": "cus_change"})
    assert 409 == linked.status


async def test_bodies_that_do_not_fit(service: Service) -> None:
    """Each field is checked: type, length, shape."""
    for body, field in (
        ({"name": 5}, "body.name"),
        ({"name": ""}, "body.name"),
        ({"email": "nobody"}, "body.email"),
        ({"email": "a@b.c\n"}, "body.email"),
        ({"metadata": {"a": 1}}, "body.metadata"),
        ({"metadata": {"a[b]": "x"}}, "body.metadata"),
        ({"metadata": {str(n): "x" for n in range(51)}}, "body.metadata"),
        ({"stripe_id": "cus_1/../2"}, "body.stripe_id"),
        ({"stripe_id": "cus_1\n"}, "body.stripe_id"),
        ({"send_email_receipts": "yes"}, "body.send_email_receipts"),
    ):
        refused = await service.put("/customers/unfit", body)
        assert 422 == refused.status
        assert field in refused.problem("invalid"), body
    assert 404 == (await service.get("/customers/unfit")).status


async def test_grants_of_customers_that_stripe_does_not_know(service: Service) -> None:
    """A customer that only we know has a record like any other: a grant gives it access."""
    created = await service.put("/customers/granted")
    await service.harness.execute(
        "update billing.identities set sandbox_end = now() + interval '1 day', sandbox_product_id = 'pro' "
        "where custom_uid = 'granted'"
    )
    await service.until_uid(created.body["uid"], has_access=True, product_id="pro", exact=True)


async def test_links_itself(service: Service) -> None:
    """I13: a customer of Stripe's that bears the name in its metadata is the same customer."""
    name, customer_id = "self", "cus_self"
    at_stripe = customer(customer_id, metadata={"custom_uid": name}, name="Stripe's")
    service.harness.api.put(at_stripe)
    created = await service.put(f"/customers/{name}", {"name": "Ours", "fingerprint": "fp"})
    await service.harness.receive(event("customer.created", at_stripe))
    await service.until_record(customer_id, custom_uid=name, name="Stripe's", fingerprint="fp", exact=True)
    found = await service.put(f"/customers/{name}")
    assert (200, created.body["uid"], customer_id) == (
        found.status,
        found.body["uid"],
        found.body["stripe_customer_id"],
    )


async def test_buyers_name_nobody(service: Service) -> None:
    """I13: a customer of Stripe's that followed a payment link with a name is not the customer of that name, whichever
    came first; who is meant is said with stripe_id.
    """
    for name, customer_id, ours_first in (("page-1", "cus_page_1", True), ("page-2", "cus_page_2", False)):
        bought = checkout_session(f"cs_{name}", customer_id, client_reference_id=name, payment_link="plink_1")
        if ours_first:
            assert 201 == (await service.put(f"/customers/{name}")).status
        await told(service, customer_id)
        service.harness.api.bodies[f"/v1/checkout/sessions/{bought['id']}"] = bought
        await service.harness.receive(event("checkout.session.completed", bought, after=1))
        if ours_first:
            await service.until_record(customer_id, exact=True, custom_uid=None)
        else:
            await service.until_record(customer_id, exact=True, custom_uid=name)
        ours = await service.put(f"/customers/{name}")
        assert (200 if ours_first else 201, None) == (ours.status, ours.body["stripe_customer_id"])
        assert ours.body == (await service.get(f"/customers/{name}")).body
        linked = await service.put(f"/customers/{name}", {"stripe_id": customer_id})
        assert (200, ours.body["uid"], name, customer_id) == (
            linked.status,
            linked.body["uid"],
            linked.body["custom_uid"],
            linked.body["stripe_customer_id"],
        )


async def test_without_a_worker(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is alive: the answer is what the record will be, and the record is that once one is."""
    monkeypatch.setattr(shown, "DERIVED_SECONDS", 0.0)
    async with open_service(database_url, api_key=None, working=False) as service:
        created = await service.put("/customers/alone?mode=test", {"name": "Ada"})
        assert (201, "Ada", False, 0) == (
            created.status,
            created.body["name"],
            created.body["exact"],
            created.body["change"],
        )
        assert created.body["uid"] == (await service.get("/customers/alone?mode=test")).body["uid"]
        assert 200 == (await service.put("/customers/alone?mode=test")).status
        changed = await service.patch("/customers/alone?mode=test", {"name": "Eve"})
        assert "Eve" == changed.body["name"]
        await service.harness.engine.derive()
        derived = (await service.get("/customers/alone?mode=test")).body
        moved = {"exact", "change", "created_at", "updated_at"}
        assert {key: value for key, value in changed.body.items() if key not in moved} == {
            key: value for key, value in derived.items() if key not in moved
        }


async def test_i6_rebuild_and_removal(database_url: str) -> None:
    """I6: a rebuild gives equal rows; a record without a Stripe customer goes with its identity."""
    async with open_service(database_url, api_key=None, working=False) as service:
        harness = service.harness
        await harness.execute(
            "insert into billing.identities (live_mode, custom_uid, name) select false, 'user-' || n, 'N' || n "
            "from generate_series(1, 5) n"
        )
        await harness.apply(event("customer.created", customer("cus_1", metadata={"custom_uid": "user-1"})))
        await harness.engine.derive()
        rows = await harness.fetch("select * from billing.customers order by uid")
        assert 6 == len(rows)
        claims = await harness.fetch("select * from sync.uid_claims order by customer_id")
        await harness.execute("update sync.customers set stale = stale + 1, stale_since = now()")
        await harness.engine.derive()
        assert rows == await harness.fetch("select * from billing.customers order by uid")
        assert claims == await harness.fetch("select * from sync.uid_claims order by customer_id")
        await harness.execute("delete from billing.identities where custom_uid = 'user-1'")
        await harness.engine.derive()
        assert "user-1" == (await harness.record("cus_1"))["custom_uid"]
        assert 5 == await harness.fetchval("select count(*) from billing.customers")
        assert 5 == await harness.fetchval("select count(*) from sync.customers")
        assert 5 == await harness.fetchval("select count(*) from sync.uid_claims")
