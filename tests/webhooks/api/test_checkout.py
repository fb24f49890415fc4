"""POST /customers/ID/checkout and /portal: a buyer goes to Stripe, and the record finds by itself what was bought."""

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from sandbox import Api as SandboxApi
from sandbox import Event, Faults, Sandbox, create_api
from sandbox.objects import CheckoutSession
from tests.conftest import Services, database_copy
from tests.harness import API_KEY, Api, error
from tests.places import ROOT
from tests.ports import reserved_port
from tests.system import until
from tests.webhooks.api.client import Answered, Service, open_service
from webhooks.api import shown

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = {"success_url": "https://example.com/welcome", "cancel_url": "https://example.com/prices"}


@dataclass(slots=True, kw_only=True)
class Shop:
    """An account at Stripe that sells, and the API before it."""

    service: Service
    world: Sandbox
    stripe: SandboxApi
    told: int = 0
    prices: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        catalogue = self.world.home.catalogue
        product = catalogue.product("Pro", metadata={"product_id": "pro"})
        self.prices = {
            "monthly": catalogue.price(product, 2000).id,
            "once": catalogue.price(product, 5000, interval=None).id,
        }

    async def buy(self, name: str, price: str, **more: object) -> Answered:
        """A link for this customer."""
        return await self.service.post(
            f"/customers/{name}/checkout", {"price_id": self.prices[price], **PAGES, **more}
        )

    def session(self, answer: Answered) -> CheckoutSession:
        """The session that an answer leads to."""
        assert 201 == answer.status, answer.body
        session = self.world.home.find(answer.body["id"])
        assert isinstance(session, CheckoutSession)
        assert session.id in answer.body["url"]
        return session

    async def pay(self, session: CheckoutSession) -> None:
        """The buyer pays, and what Stripe says of it comes."""
        self.world.home.checkouts.pay(session)
        await self.service.harness.receive(*self.news())

    def news(self) -> list[Event]:
        events = self.world.events[self.told :]
        self.told += len(events)
        return events


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(
    request: pytest.FixtureRequest, servers: Services, template: str, worker_id: str
) -> AsyncIterator[Shop]:
    """One shop for all tests of this module."""
    name = f"{request.module.__name__.replace('.', '_')}_{worker_id}"[-60:]
    world = Sandbox(seed=3)
    api = create_api(world, [API_KEY])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shown, "DERIVED_SECONDS", 120.0)  # however slow this machine is
        async with (
            database_copy(servers, template, name) as url,
            open_service(url, api=Api(api)) as service,
        ):
            yield Shop(service=service, world=world, stripe=api)


async def test_a_new_customer_subscribes(shop: Shop) -> None:
    """A customer that Stripe does not know is linked to the one that Checkout makes, by the name that the session
    bears, and nobody does anything: the record has its uid, the subscription and the trial.
    """
    made = await shop.service.put("/customers/new", {"email": "new@example.com"})
    answer = await shop.buy("new", "monthly", quantity=3, trial_days=7, entity_id="team_1")
    assert "subscription" == answer.body["mode"]
    session = shop.session(answer)
    assert ("new", {"custom_uid": "new"}, None) == (
        session.client_reference_id,
        session.metadata,
        session.customer,
    )
    await shop.pay(session)
    await shop.service.until_uid(
        made.body["uid"], stripe_customer_id=session.customer, status="trialing", quantity=3, product_id="pro"
    )
    body = (await shop.service.get("/customers/new?expand=products,entities")).body
    assert ["team_1"] == [each["entity_id"] for each in body["customer_products"]]
    assert "new@example.com" == body["email"]


async def test_a_new_customer_pays_once(shop: Shop) -> None:
    """A one-off price is paid by a customer of Stripe's, too, and no guest: the record has the revenue. The call may be
    the first one about the customer, and creates it then.
    """
    answer = await shop.service.post(
        "/customers/once/checkout?create=true", {"price_id": shop.prices["once"], "quantity": 2, **PAGES}
    )
    made = await shop.service.put("/customers/once")
    assert 200 == made.status
    assert "payment" == answer.body["mode"]
    session = shop.session(answer)
    await shop.pay(session)
    await shop.service.until_uid(
        made.body["uid"], stripe_customer_id=session.customer, status=None, lifetime_revenue=10000
    )


async def test_a_known_customer(shop: Shop) -> None:
    """A customer that is linked buys as the customer that it is at Stripe, and sees its portal there."""
    buyer = shop.world.home.clients.create("Ada", "ada@example.com")
    await shop.service.harness.receive(*shop.news())
    await shop.service.record_of(buyer.id)
    session = shop.session(await shop.buy(buyer.id, "monthly"))
    assert (buyer.id, None) == (session.customer, session.client_reference_id)
    portal = await shop.service.post(
        f"/customers/{buyer.id}/portal", {"return_url": "https://example.com/account"}
    )
    assert (201, ["id", "url"]) == (portal.status, list(portal.body))


async def test_a_buyers_reference_stays_the_buyers(shop: Shop) -> None:
    """I13: what a buyer wrote into a payment link does not come back from a session that the company makes for it, as
    the company's own word.
    """
    clients = shop.world.home.clients
    buyer = clients.create("Eve", "eve@example.com")
    followed = clients.open_checkout(
        buyer, mode="payment", amount=500, client_reference_id="victim", payment_link="plink_1"
    )
    clients.complete_checkout(followed)
    await shop.service.harness.receive(*shop.news())
    await shop.service.until_record(buyer.id, custom_uid="victim")
    session = shop.session(await shop.buy(buyer.id, "monthly"))
    assert (buyer.id, None, {}) == (session.customer, session.client_reference_id, session.metadata)
    await shop.pay(session)
    await shop.service.until_record(buyer.id, status="active")
    named = await shop.service.put("/customers/victim")
    assert (201, None) == (named.status, named.body["stripe_customer_id"])


async def test_one_session_for_one_key(shop: Shop) -> None:
    """The same key gives the same session; with another body Stripe refuses, and its words are handed on."""
    await shop.service.put("/customers/twice")
    first, second = [await shop.buy("twice", "monthly", idempotency_key="a") for _ in range(2)]
    assert first.body == second.body
    other = await shop.buy("twice", "monthly", idempotency_key="a", quantity=2)
    assert (409, True) == (other.status, "same parameters" in other.problem("conflict"))
    assert first.body["id"] != (await shop.buy("twice", "monthly")).body["id"]
    # An answer 500 is repeated for a day, too: who asks again gets a session all the same, and always that one.
    shop.stripe.faults = Faults(failed_share=1.0)
    assert 503 == (await shop.buy("twice", "monthly", idempotency_key="b")).status
    shop.stripe.faults = Faults()
    third, fourth = [await shop.buy("twice", "monthly", idempotency_key="b") for _ in range(2)]
    assert (201, third.body) == (third.status, fourth.body)


async def test_what_cannot_be_bought(shop: Shop) -> None:
    """What Stripe refuses is said in its words, with the field; what makes no sense is refused here."""
    await shop.service.put("/customers/odd")
    shop.prices["unknown"] = "price_unknown"
    refused = await shop.buy("odd", "unknown")
    assert (409, "body.price_id") == (refused.status, refused.body["field"])
    assert "No such price" in refused.problem("conflict")
    inactive = shop.world.home.catalogue.price(shop.world.home.catalogue.product("Old"), 100)
    inactive.active = False
    shop.prices["inactive"] = inactive.id
    refused = await shop.buy("odd", "inactive")
    assert (409, "body.price_id") == (refused.status, refused.body["field"])
    for field_ in ("trial_days", "entity_id"):
        refused = await shop.buy("odd", "once", **{field_: 7 if field_ == "trial_days" else "team"})
        assert (409, f"body.{field_}") == (refused.status, refused.body["field"])
    refused = await shop.buy("odd", "once", success_url="nowhere")
    assert (422, "body.success_url") == (refused.status, refused.body["field"])
    assert 404 == (await shop.buy("nobody", "once")).status
    refused = await shop.service.post("/customers/odd/portal")
    assert "does not know" in refused.problem("conflict")
    anonymous = await shop.service.post("/customers", {"fingerprint": "fp_checkout"})
    refused = await shop.buy(anonymous.body["uid"], "once")
    assert "identify" in refused.problem("conflict")


@pytest.mark.parametrize("route", ["checkout", "portal"])
async def test_stripe_refuses_or_is_away(shop: Shop, route: str) -> None:
    """A key that may not write is told which right it lacks; while Stripe is away the answer is 503, and says so."""
    buyer = shop.world.home.clients.create("Kim", "kim@example.com")
    await shop.service.harness.receive(*shop.news())
    await shop.service.record_of(buyer.id)
    path, right = {
        "checkout": ("/v1/checkout/sessions", "Checkout Sessions"),
        "portal": ("/v1/billing_portal/sessions", "Customer portal"),
    }[route]
    body = {"price_id": shop.prices["once"], **PAGES} if route == "checkout" else {}
    for status, said, kind in (
        (403, error("", "The provided key does not have the required permissions"), "stripe_refuses"),
        (500, error("", "An unknown error occurred"), "away"),
    ):
        shop.service.harness.api.say(path, status, said)
        answer = await shop.service.post(f"/customers/{buyer.id}/{route}", body)
        assert (502 if status == 403 else 503) == answer.status
        problem = answer.problem(kind)
        assert status != 403 or f"right to write {right}" in problem
    assert 201 == (await shop.service.post(f"/customers/{buyer.id}/{route}", body)).status


async def test_needs_a_key(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an API key there are no pages, and the answer says so."""
    monkeypatch.setattr(shown, "DERIVED_SECONDS", 0.0)  # no worker is at work
    async with open_service(database_url, api_key=None, working=False) as service:
        await service.put("/customers/keyless?mode=test")
        refused = await service.post(
            "/customers/keyless/checkout?mode=test", {"price_id": "price_1", **PAGES}
        )
    assert (409, True) == (refused.status, "STRIPE_API_KEY" in refused.problem("no_api_key"))


async def test_the_service_of_the_page(shop: Shop) -> None:
    """docs/api.md: the service in thirty lines, run as it stands there. A user signs in, may use nothing, buys, and
    then may use what it has bought.
    """
    (program,) = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/api.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert 30 >= len([line for line in program.splitlines() if line.strip()])
    catalogue = shop.world.home.catalogue
    price = catalogue.price(catalogue.product("Calls"), 5, metadata={"feature_id": "api_calls"})
    port = reserved_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        env={
            "SUBLEDGER": f"http://127.0.0.1:{shop.service.port}",
            "TOKEN": shop.service.token,
            "PRICE": price.id,
            "PORT": str(port),
        },
        stderr=asyncio.subprocess.DEVNULL,
    )

    async def use(action: str) -> Any:
        async with shop.service.session.post(f"http://127.0.0.1:{port}/page_user/{action}") as response:
            assert 200 == response.status, action
            return json.loads(await response.text())

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    async def allowed() -> bool:
        return bool((await use("call"))["allowed"])

    try:
        await until(listens, what="a service that listens")
        uid = (await use("sign-in"))["uid"]
        assert (False, "not_bought") == tuple((await use("call")).values())[:2]
        session = shop.world.home.find((await use("buy"))["id"])
        assert isinstance(session, CheckoutSession)
        await shop.pay(session)
        await until(allowed, what="a call that is allowed")
        balances = [(await use("call"))["balance"] for _ in range(2)]
        assert [99, 98] == balances
        account = await use("account")
        assert (uid, "active", 3) == (account["uid"], account["status"], account["feature_usage"][0]["used"])
    finally:
        process.terminate()
        await process.wait()
