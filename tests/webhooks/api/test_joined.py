"""Two customers that both have one at Stripe become one: by whichever Stripe id one asks, the record is of both."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from billing.record import customer_uid
from db.keys import CustomerKey
from db.records import merges
from db.records.customer import find_customers
from db.records.tracking import Seen, move_last_seen
from db.records.view import read_view
from sandbox import Api as SandboxApi
from sandbox import Sandbox, create_api
from sandbox.objects import CheckoutSession, Customer, Price
from tests.conftest import Services, database_copy
from tests.harness import API_KEY, Api
from tests.system import until
from tests.webhooks.api.client import Service, open_service
from tests.webhooks.console.browser import browser_at
from webhooks.api import seen, shown
from worker.forget import forget

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True, kw_only=True)
class Town:
    """An account at Stripe that sells by the month and by the call, and the API before it, a worker at work."""

    service: Service
    world: Sandbox
    stripe: SandboxApi
    monthly: Price
    calls: Price
    told: int = 0

    async def listen(self) -> None:
        events, self.told = self.world.events[self.told :], len(self.world.events)
        await self.service.harness.receive(*events)

    async def person(self, name: str, *prices: Price) -> Customer:
        """A customer of Stripe's with an exact record, who has paid 5.00 and subscribes to these prices."""
        home = self.world.home
        customer = home.clients.create(name, f"{name}@example.com", payment_method="good")
        home.payments.pay_once(customer, 500)
        if prices:
            home.subscriptions.start(customer, [(price, 1) for price in prices])
        await self.listen()
        await self.service.until_record(customer.id, exact=True, status="active" if prices else None)
        return customer

    async def pair(self, name: str, guest: tuple[Price, ...], own: tuple[Price, ...] = ()) -> "Pair":
        """Somebody who has bought as a guest, and under a name, and is both from now on."""
        joined, main = await self.person(f"guest-{name}", *guest), await self.person(name, *own)
        before = (await self.service.get(f"/customers/{joined.id}")).body
        await self.service.put(
            f"/customers/{name}"
        )  # it has a uid of its own, which follows from no id of Stripe's
        named = await self.service.put(f"/customers/{name}", {"stripe_id": main.id})
        await self.service.until_uid(named.body["uid"], exact=True)
        answer = await self.service.post(
            f"/customers/{joined.id}/identify?expand=products,revenue,mrr", {"custom_uid": name}
        )
        assert 200 == answer.status, answer.body
        return Pair(name=name, joined=joined, main=main, guest=before, named=named.body, record=answer.body)

    async def counted(self, customer: Customer, value: int) -> None:
        """Return once the meter has counted so much for this customer of Stripe's."""

        async def so() -> bool:
            return (self.world.home.metering.used(customer.id, str(self.calls.meter), 0, 2**40) or 0) == value

        await until(so, what=f"{value} calls of {customer.id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two customers of Stripe's that are one."""

    name: str
    joined: Customer
    main: Customer
    guest: dict[str, Any]
    """The record of the first one before."""
    named: dict[str, Any]
    record: dict[str, Any]
    """What identify has answered."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(
    request: pytest.FixtureRequest, servers: Services, template: str, worker_id: str
) -> AsyncIterator[Town]:
    """One account for all tests of this module."""
    name = f"{request.module.__name__.replace('.', '_')}_{worker_id}"[-60:]
    world = Sandbox(seed=13, start=int(datetime.now(UTC).timestamp()))
    catalogue = world.home.catalogue
    monthly = catalogue.price(catalogue.product("Pro", metadata={"product_id": "pro"}), 2000)
    metered = catalogue.product("Calls", metadata={"feature_id": "calls"})
    calls = catalogue.price(metered, 3, meter=world.home.metering.meter("calls"))
    stripe = create_api(world, [API_KEY])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shown, "DERIVED_SECONDS", 120.0)  # however slow this machine is
        patch.setattr(seen, "PAUSE_SECONDS", 0.05)
        async with (
            database_copy(servers, template, name) as url,
            open_service(url, api=Api(stripe)) as service,
        ):
            town = Town(service=service, world=world, stripe=stripe, monthly=monthly, calls=calls)
            await town.listen()
            yield town


async def test_one_record_of_both(town: Town) -> None:
    """The named one keeps uid and name, and has what the guest had; each id leads to it, for whoever asks."""
    service = town.service
    pair = await town.pair("ada", (town.monthly,))
    record = pair.record
    assert (pair.named["uid"], "ada", pair.main.id, True, "active", True) == (
        *(
            record[key]
            for key in ("uid", "custom_uid", "stripe_customer_id", "has_access", "status", "exact")
        ),
    )
    assert (3000, [3000], [2000]) == (
        record["lifetime_revenue"],
        [each["net"] for each in record["revenue"]],
        [each["mrr"] for each in record["mrr"]],
    )
    assert [pair.joined.id] == [each["stripe_customer_id"] for each in record["customer_products"]]
    for name in ("ada", pair.main.id, pair.joined.id, pair.named["uid"], pair.guest["uid"]):
        assert record["uid"] == (await service.get(f"/customers/{name}")).body["uid"]
        check = (await service.get(f"/customers/{name}/check?product_id=pro")).body
        assert (True, "active") == (check["allowed"], check["status"])
        counted = await service.post(f"/customers/{name}/track", {"feature_id": "seats"})
        assert record["uid"] == counted.body["customer_uid"]
    again = await service.post(f"/customers/{pair.joined.id}/identify", {"custom_uid": "ada"})
    assert (200, record["uid"]) == (again.status, again.body["uid"])
    refreshed = await service.post(f"/customers/{pair.joined.id}/refresh?wait=30")
    assert (200, record["uid"]) == (refreshed.status, refreshed.body["customer"]["uid"]), refreshed.body
    fresh = await service.get(f"/customers/{pair.joined.id}?fresh=true&wait=30")
    assert (200, record["uid"]) == (fresh.status, fresh.body["uid"])
    assert [(pair.main.id, True), (pair.joined.id, False)] == [
        tuple(row)
        for row in await service.harness.fetch(
            "select stripe_customer_id, is_main from billing.stripe_customers where uid = $1::text::uuid "
            "order by is_main desc",
            record["uid"],
        )
    ]
    for view, amount in (("invoices", "amount_paid"), ("charges", "amount")):
        owners = await service.harness.fetch(
            f"select customer_uid::text, stripe_customer_id, sum({amount}) from billing.{view} "
            "where stripe_customer_id = any ($1) group by 1, 2 order by 2",
            [pair.main.id, pair.joined.id],
        )
        assert {record["uid"]} == {row[0] for row in owners}
        assert {row[1] for row in owners} >= {pair.joined.id}
    async with service.harness.pool.acquire() as connection:
        (found,) = await find_customers(connection, pair.joined.id, account_id=None, live_mode=None, limit=3)
        view_ = await read_view(connection, found, events_max=50)
    assert (record["uid"], (pair.main.id, pair.joined.id)) == (str(found.uid), view_.stripe_ids)
    assert {pair.main.id, pair.joined.id} == {
        each.removeprefix("customer ")
        for event in view_.last_events
        for each in event.objects
        if each.startswith("customer ")
    }
    async with browser_at(service.port) as browser:
        await browser.enter()
        page = await browser.see(f"/console/customers/{record['uid']}")
        assert f"{pair.main.id}, {pair.joined.id}" in page.text


async def test_whose_stripe_id_it_is(town: Town) -> None:
    """A joined customer's Stripe id is the named one's; nobody else can be linked to it, or found by it as a name."""
    service = town.service
    pair = await town.pair("bea", ())
    same = await service.put("/customers/bea", {"stripe_id": pair.joined.id})
    assert (200, pair.record["uid"]) == (same.status, same.body["uid"])
    patched = await service.patch(
        "/customers/bea", {"stripe_id": pair.joined.id, "send_email_receipts": True}
    )
    assert (200, pair.main.id, True) == (
        patched.status,
        patched.body["stripe_customer_id"],
        patched.body["send_email_receipts"],
    )
    other = await service.put("/customers/someone-else", {"stripe_id": pair.joined.id})
    assert (409, True) == (other.status, f"{pair.joined.id} is the customer bea" in other.problem("conflict"))
    await service.put("/customers/unlinked")
    other = await service.put("/customers/unlinked", {"stripe_id": pair.joined.id})
    assert (409, True) == (other.status, f"{pair.joined.id} is the customer bea" in other.problem("conflict"))
    renamed = await service.post(f"/customers/{pair.joined.id}/identify", {"custom_uid": "another"})
    assert (409, True) == (renamed.status, "is bea already" in renamed.problem("conflict"))
    granted = await service.post(f"/customers/{pair.joined.id}/grants", {"product_id": "pro", "days": 3})
    assert (200, pair.record["uid"], True) == (
        granted.status,
        granted.body["uid"],
        granted.body["has_access"],
    )
    like = town.world.home.clients.create("Like", "x@y.z", metadata={"custom_uid": pair.joined.id})
    await town.listen()
    await service.until_record(like.id, custom_uid=pair.joined.id)
    found = await service.get(f"/customers/{pair.joined.id}")
    allowed = await service.get(f"/customers/{pair.joined.id}/check?product_id=pro")
    tracked = await service.post(f"/customers/{pair.joined.id}/track", {"feature_id": "seats"})
    assert (pair.record["uid"], True, pair.record["uid"]) == (
        found.body["uid"],
        allowed.body["allowed"],
        tracked.body["customer_uid"],
    )
    entity = await service.put(f"/customers/{pair.joined.id}/entities/team", {"name": "Team"})
    assert (201, pair.record["uid"]) == (entity.status, entity.body["customer_uid"])


async def test_what_is_sent_to_stripe(town: Town) -> None:
    """A change goes to both; use is told to the one that is charged for it; what is bought is bought by the one that
    has the subscription, and by the main one without one.
    """
    service = town.service
    pair = await town.pair("cleo", (town.monthly, town.calls))
    changed = await service.patch("/customers/cleo", {"email": "new@example.com"})
    assert ("new@example.com", ["email"]) == (changed.body["email"], changed.body["push"]["fields"])
    await service.harness.engine.push()
    assert {"new@example.com"} == {each.email for each in (pair.main, pair.joined)}
    await town.listen()
    await service.until_uid(pair.record["uid"], email="new@example.com", exact=True)

    await service.post("/customers/cleo/track", {"feature_id": "calls", "value": 4})
    await town.counted(pair.joined, 4)
    usage = await service.post(f"/customers/{pair.main.id}/usage?wait=30")
    assert [(pair.record["uid"], pair.joined.id, 4)] == [
        (each["customer_uid"], each["stripe_customer_id"], each["value"]) for each in usage.body["usage"]
    ]
    expanded = (await service.get("/customers/cleo?expand=usage")).body["usage"]
    assert [pair.joined.id] == [each["stripe_customer_id"] for each in expanded]

    plain = await town.pair("dora", ())
    for name, payer in (("cleo", pair.joined), ("dora", plain.main)):
        bought = await service.post(
            f"/customers/{name}/checkout",
            {"price_id": town.monthly.id, "success_url": "https://example.com/welcome"},
        )
        session = town.world.home.find(bought.body["id"])
        assert isinstance(session, CheckoutSession)
        assert payer.id == session.customer
        assert 201 == (await service.post(f"/customers/{name}/portal", {})).status


async def test_one_of_them_is_deleted(town: Town) -> None:
    """The record lives on, its subscriptions there have ended, and Stripe is told only of the other one. Once both are
    deleted, so is the record.
    """
    service, home = town.service, town.world.home
    pair = await town.pair("eve", (town.monthly,), (town.monthly,))
    assert (4000, 5000) == (pair.record["mrr"][0]["mrr"], pair.record["lifetime_revenue"])
    home.clients.delete(pair.main)
    await town.listen()
    await service.until_uid(
        pair.record["uid"], exact=True, name="guest-eve", status="active", deleted_at=None
    )
    kept = (await service.get("/customers/eve?expand=mrr,revenue")).body
    assert ([2000], 5000) == ([each["mrr"] for each in kept["mrr"]], kept["lifetime_revenue"])
    assert 200 == (await service.patch("/customers/eve", {"description": "left"})).status
    await service.harness.engine.push()
    assert ("left", None) == (pair.joined.description, pair.main.description)
    assert 0 == await service.harness.fetchval(
        "select count(*) from sync.pushes where customer_id = $1", pair.main.id
    )
    bought = await service.post(
        "/customers/eve/checkout",
        {"price_id": town.monthly.id, "success_url": "https://example.com/welcome"},
    )
    session = town.world.home.find(bought.body["id"])
    assert isinstance(session, CheckoutSession)
    assert pair.joined.id == session.customer
    home.clients.delete(pair.joined)
    await town.listen()
    await service.until_uid(pair.record["uid"], exact=True, status="ended")
    assert (await service.get("/customers/eve")).body["deleted_at"] is not None


async def test_apart_again(town: Town) -> None:
    """Once the row of the join is removed, each id and uid leads to its own record, and use counts for that one."""
    service = town.service
    pair = await town.pair("hope", (town.monthly, town.calls))
    await service.harness.execute(
        "delete from billing.joined_customers where stripe_customer_id = $1", pair.joined.id
    )
    await service.until_uid(pair.guest["uid"], exact=True, stripe_customer_id=pair.joined.id, status="active")
    await service.until_uid(pair.record["uid"], exact=True, stripe_customer_id=pair.main.id, status=None)
    assert pair.guest["uid"] == (await service.get(f"/customers/{pair.joined.id}")).body["uid"]
    tracked = await service.post(f"/customers/{pair.joined.id}/track", {"feature_id": "calls", "value": 2})
    assert pair.guest["uid"] == tracked.body["customer_uid"]
    await town.counted(pair.joined, 2)
    assert pair.guest["uid"] == await service.harness.fetchval(
        "select customer_uid::text from billing.usage_minutes where feature_id = 'calls' "
        "and customer_uid = any ($1::text[]::uuid[])",
        [pair.guest["uid"], pair.record["uid"]],
    )
    assert 0 == await service.harness.fetchval(
        "select count(*) from billing.merges where merged_uid = $1::text::uuid", pair.guest["uid"]
    )


async def test_what_is_not_joined(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was deleted or forgotten, what is not confirmed, and more than a record may have: each with its reason, and
    nothing has happened.
    """
    service, home = town.service, town.world.home
    pair = await town.pair("fay", ())
    third = await town.person("third")

    async def refused(word: str) -> None:
        answer = await service.post(f"/customers/{third.id}/identify", {"custom_uid": "fay"})
        assert (409, True) == (answer.status, word in answer.problem("conflict")), answer.body
        alone = (await service.get(f"/customers/{third.id}")).body
        assert (third.id, None) == (alone["stripe_customer_id"], alone["custom_uid"])

    monkeypatch.setattr(merges, "JOINED_MAX", 1)
    await refused("others at most")
    monkeypatch.undo()
    known = "update sync.customers set complete = $2, stale = stale + 1, stale_since = now() where customer_id = $1"
    await service.harness.execute(known, third.id, False)
    await service.until_record(third.id, exact=False)
    await refused("confirmed")
    await service.harness.execute(known, third.id, True)
    home.clients.delete(third)
    await town.listen()

    async def deleted() -> bool:
        record = (await service.get(f"/customers/{third.id}")).body
        return record["exact"] and record["deleted_at"] is not None

    await until(deleted, what="the end of the third one")
    await refused("deleted")
    assert [(pair.joined.id, pair.main.id)] == [
        tuple(row)
        for row in await service.harness.fetch(
            "select stripe_customer_id, main_stripe_customer_id from billing.joined_customers "
            "where main_stripe_customer_id = $1",
            pair.main.id,
        )
    ]


async def mrr_at(service: Service, moment: datetime, ids: list[str]) -> int:
    """What the histories say of that moment, whosever they are."""
    mrr: int = await service.harness.fetchval(
        "select sum(mrr_after - mrr_before) from billing.mrr_changes where changed_at <= $1 "
        "and customer_uid in (select uid from billing.stripe_customers where stripe_customer_id = any ($2))",
        moment,
        ids,
    )
    return mrr


@pytest.mark.parametrize("by", ["joined", "main"])
async def test_all_are_forgotten(town: Town, by: str) -> None:
    """By whichever id, both are forgotten; money and the past stay as they were, under a uid that says nothing, and
    nothing can be kept of either any more.
    """
    service = town.service
    pair = await town.pair(f"gwen-{by}", (town.monthly,), (town.monthly,))
    ids = [pair.main.id, pair.joined.id]
    before = await service.harness.fetchval("select clock_timestamp()")
    assert 4000 == await mrr_at(service, before, ids)
    async with service.harness.pool.acquire() as connection:
        await forget(connection, CustomerKey("", False, getattr(pair, by).id))

    async def derived() -> bool:
        return not await service.harness.fetchval(
            "select exists (select from sync.customers where customer_id = any ($1) and stale > derived)", ids
        )

    await until(derived, what="the records of those who are forgotten")
    (record,) = await service.harness.fetch(
        "select * from billing.customers where stripe_customer_id = any ($1)", ids
    )
    assert (pair.main.id, None, None, None, {}) == (
        *(record[key] for key in ("stripe_customer_id", "custom_uid", "name", "email")),
        json.loads(record["metadata"]),
    )
    assert pair.record["uid"] != str(record["uid"]) == str(customer_uid("", False, pair.main.id))
    assert (5000, 4000) == (record["lifetime_revenue"], await mrr_at(service, before, ids))
    assert 0 == await service.harness.fetchval(
        "select count(*) from billing.identities where stripe_customer_id = any ($1) "
        "and (coalesce(custom_uid, name, email, fingerprint) is not null or uid = $2::text::uuid)",
        ids,
        pair.record["uid"],
    )
    assert 404 == (await service.get(f"/customers/{pair.name}")).status
    again = Seen(
        customer_uid=record["uid"],
        account_id="",
        live_mode=False,
        stripe_customer_id=pair.main.id,
        seen_at=datetime.now(UTC),
    )
    async with service.harness.pool.acquire() as connection:
        await move_last_seen(connection, [again])
    assert 0 == await service.harness.fetchval(
        "select count(last_seen) from billing.identities where stripe_customer_id = any ($1)", ids
    )
    for each in ids:
        answer = await service.patch(f"/customers/{each}", {"name": "Known again"})
        assert (409, True) == (answer.status, "forgotten" in answer.problem("conflict"))
        answer = await service.put("/customers/another", {"stripe_id": each})
        assert (409, True) == (answer.status, "forgotten" in answer.problem("conflict"))
