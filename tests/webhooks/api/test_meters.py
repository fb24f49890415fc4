"""What was tracked reaches Stripe's meters: at least once, and counted once, whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import pytest_asyncio

from db.keys import Scope
from db.sync import meter_events
from db.sync.refusals import WHOLE_ACCOUNT
from sandbox import Api as SandboxApi
from sandbox import Faults, Gate, RateLimits, Sandbox, create_api
from sandbox.objects import Customer, Meter
from tests.conftest import Services, database_copy
from tests.faults import failing, rewritten
from tests.harness import API_KEY, Api, error
from tests.webhooks.api.client import Service, open_service
from webhooks.api import shown
from worker import meters
from worker.live.closed import end_refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/billing/meter_events"
QUEUE_FOUR = (
    "insert into sync.meter_events (account_id, live_mode, customer_uid, event_name, value, used_at) "
    "select account_id, false, uid, 'calls', 4, date_trunc('second', now()) - interval '1 hour' "
    "from billing.customers where stripe_customer_id = $1"
)


@dataclass(slots=True, kw_only=True)
class Telephone:
    """An account at Stripe whose meters count calls, and the API before it. No worker is at work: tests are."""

    service: Service
    world: Sandbox
    stripe: SandboxApi
    api: Api
    calls: Meter
    told: int = 0
    feature: str = "calls"

    async def caller(self) -> Customer:
        """A customer with a record."""
        customer = self.world.home.clients.create("Ada", "ada@example.com")
        await self.listen()
        return customer

    async def listen(self) -> None:
        """What Stripe has said comes, and is worked on."""
        events = self.world.events[self.told :]
        self.told += len(events)
        await self.service.harness.apply(*events)
        await self.service.harness.settle()

    async def call(self, customer: Customer, times: int = 1, value: int = 1, **more: Any) -> None:
        for number in range(times):
            answer = await self.service.post(
                f"/customers/{customer.id}/track",
                {"feature_id": self.feature, "value": value, "idempotency_key": f"{customer.id} {number}"}
                | more,
            )
            assert answer.status in (200, 201), answer.body

    async def send(self) -> None:
        """One turn of a worker."""
        await self.service.harness.engine.add_up_usage()
        await self.service.harness.engine.send_meter_events()

    async def send_again(self) -> None:
        """The same once what waits is due."""
        await self.service.harness.execute(
            "update sync.meter_events set due_at = now() where state = 'queued'"
        )
        await self.send()

    def counted(self, customer: Customer, meter: Meter | None = None) -> int | None:
        """What Stripe has counted."""
        return self.world.home.metering.used(customer.id, (meter or self.calls).id, 0, 2**40)

    async def queue(self, customer: Customer) -> list[Any]:
        """The customer's meter events."""
        return await self.service.harness.fetch(
            "select e.* from sync.meter_events e join billing.customers c on c.uid = e.customer_uid "
            "where c.stripe_customer_id = $1 order by e.id",
            customer.id,
        )

    async def status(self) -> Any:
        return (await self.service.get("/status")).body


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def telephone(
    request: pytest.FixtureRequest, servers: Services, template: str, worker_id: str
) -> AsyncIterator[Telephone]:
    """One account for all tests of this module."""
    name = f"{request.module.__name__.replace('.', '_')}_{worker_id}"[-60:]
    world = Sandbox(seed=5, start=int(datetime.now(UTC).timestamp()))
    stripe = create_api(world, [API_KEY])
    calls = world.home.metering.meter("calls")
    product = world.home.catalogue.product("Calls", metadata={"feature_id": "calls", "quota_limit": "100"})
    world.home.catalogue.price(product, 3, meter=calls)
    api = Api(stripe)
    async with (
        database_copy(servers, template, name) as url,
        open_service(url, api=api, working=False) as service,
    ):
        telephone = Telephone(service=service, world=world, stripe=stripe, api=api, calls=calls)
        await telephone.listen()
        yield telephone


async def test_what_is_tracked_is_billed(telephone: Telephone) -> None:
    """Several uses of one second are one meter event; a feature that no meter counts is told to nobody."""
    ada = await telephone.caller()
    now = datetime.now(UTC).isoformat()
    await telephone.call(ada, 5, value=3, timestamp=now)
    await telephone.call(ada, feature_id="seats", idempotency_key="seats")
    await telephone.send()
    (event,) = await telephone.queue(ada)
    assert ("sent", "calls", 15) == (event["state"], event["event_name"], event["value"])
    assert 15 == telephone.counted(ada)
    # A price, and so its meter, may be named by the feature's own metadata.
    bob = await telephone.caller()
    meter = telephone.world.home.metering.meter("minutes")
    feature = telephone.world.home.entitlements.feature("talk")
    await telephone.listen()
    await telephone.service.harness.execute(
        "insert into stripe.features (account_id, live_mode, id, lookup_key, metadata) "
        "values ('', false, $1, 'talk', '{\"meter\": \"minutes\"}')",
        feature.id,
    )
    await telephone.call(bob, 2, feature_id="talk")
    await telephone.send()
    assert 2 == telephone.counted(bob, meter)


async def test_of_several_meters_the_customers_own(telephone: Telephone) -> None:
    """Two plans count one feature by a meter each: what a customer uses is told to the meter that it is charged by,
    from the first minute on, though no meter was read for it yet.
    """
    home = telephone.world.home
    plans = {
        name: home.catalogue.price(
            home.catalogue.product(name, metadata={"feature_id": "storage"}),
            5,
            meter=home.metering.meter(name),
        )
        for name in ("archive", "bulk")
    }
    for name, plan in plans.items():
        customer = await telephone.caller()
        home.subscriptions.start(customer, [(plan, 1)])
        await telephone.listen()
        await telephone.call(customer, feature_id="storage")
        await telephone.send()
        assert [name] == [each["event_name"] for each in await telephone.queue(customer)]


async def test_round_numbers(telephone: Telephone) -> None:
    """Stripe is told ten thousand, and not 1E+4, which it refuses: such a Decimal comes from Postgres."""
    ada = await telephone.caller()
    await telephone.call(ada, value=10_000)
    await telephone.send()
    assert 10_000 == telephone.counted(ada)


async def test_the_longest_names(telephone: Telephone) -> None:
    """I7: a feature and an entity with as many bytes as the API takes stop nobody's use from being added up."""
    draws = Random(1)  # noqa: S311 - replayable
    feature, entity = ("".join(chr(draws.randrange(0x20000, 0x2A6D0)) for _ in range(n)) for n in (255, 500))
    ada = await telephone.caller()
    await telephone.call(ada, 2, feature_id=feature, entity_id=entity)
    await telephone.call(ada, value=3, idempotency_key="next to it")
    await telephone.send()
    await telephone.call(ada, feature_id=feature, entity_id=entity, idempotency_key="once more")
    await telephone.send()
    assert 3 == telephone.counted(ada)
    assert 3 == await telephone.service.harness.fetchval(
        "select sum(value) from billing.usage_minutes where entity_id = $1", entity
    )


async def test_an_answer_that_gets_lost(telephone: Telephone) -> None:
    """Stripe has counted it and the connection breaks: it is sent again with its identifier, and counted once."""
    ada = await telephone.caller()
    await telephone.call(ada, value=7)
    telephone.stripe.faults = Faults(lost_share=1.0)
    await telephone.send()
    telephone.stripe.faults = Faults()
    (event,) = await telephone.queue(ada)
    assert ("queued", True, 7) == (event["state"], event["unsure_since"] is not None, telephone.counted(ada))
    await telephone.send_again()
    (event,) = await telephone.queue(ada)
    assert ("sent", 7) == (event["state"], telephone.counted(ada))


async def test_killed_between_send_and_note(telephone: Telephone) -> None:
    """I4: a worker that ends before it has noted what it sent leaves a lease; another one sends it again."""
    ada = await telephone.caller()
    await telephone.call(ada, value=7)
    with (
        failing(meter_events.FINISH_METER_EVENTS, asyncio.CancelledError),
        pytest.raises(asyncio.CancelledError),
    ):
        await telephone.send()
    assert 7 == telephone.counted(ada)
    (event,) = await telephone.queue(ada)
    assert "queued" == event["state"]
    await telephone.send_again()
    (event,) = await telephone.queue(ada)
    assert ("sent", 2, 7) == (event["state"], event["attempts"], telephone.counted(ada))


async def test_stripe_is_away(telephone: Telephone) -> None:
    """What cannot be sent waits, and /status and /metrics show it; what was refused as one too many was not counted."""
    ada = await telephone.caller()
    before_it = (await telephone.status())["unsent_meter_events"]
    await telephone.call(ada)
    telephone.stripe.faults = Faults(error_share=1.0)
    await telephone.send()
    status = await telephone.status()
    assert before_it + 1 == status["unsent_meter_events"]
    assert status["oldest_unsent_meter_event_seconds"] >= 0
    metrics = await telephone.service.session.get(
        f"http://127.0.0.1:{telephone.service.port}/metrics",
        headers={"Authorization": f"Bearer {telephone.service.token}"},
    )
    assert "subledger_meter_events_unsent 1.0" in await metrics.text()
    (event,) = await telephone.queue(ada)
    assert ("queued", True) == (event["state"], "500" in event["error"])
    telephone.stripe.faults = Faults()
    await telephone.send_again()
    assert 1 == telephone.counted(ada)
    assert before_it == (await telephone.status())["unsent_meter_events"]
    bob = await telephone.caller()
    await telephone.call(bob)
    telephone.stripe.faults = Faults(rate_limited_share=1.0)
    await telephone.send()
    telephone.stripe.faults = Faults()
    (event,) = await telephone.queue(bob)
    assert ("queued", None) == (event["state"], event["unsure_since"])
    await telephone.send_again()
    assert 1 == telephone.counted(bob)


async def test_a_key_that_may_not_write(telephone: Telephone) -> None:
    """An alarm says what is lacking; nothing is lost, and the alarm ends with the next event that is sent."""
    ada, bob = await telephone.caller(), await telephone.caller()
    await telephone.call(ada)
    await telephone.call(bob)
    for _ in range(2):
        telephone.api.say(PATH, 403, error("", "The provided key does not have the required permissions"))
    await telephone.send()
    (alarm,) = (await telephone.status())["alarms"]
    assert alarm.startswith(f"{meters.MAY_NOT_WRITE}: ")
    assert "right to write meter events" in alarm
    telephone.api.scripted.clear()
    await telephone.send_again()
    assert (1, 1, []) == (
        telephone.counted(ada),
        telephone.counted(bob),
        (await telephone.status())["alarms"],
    )


async def test_alarms_end_once_nothing_waits(telephone: Telephone) -> None:
    """What the key may not write, or Stripe does not take, is of no matter any more once its customer was deleted: no
    event would ever be sent that ends the alarm. While one waits, the alarm stands.
    """
    for status, said, name in (
        (403, "The provided key does not have the required permissions", meters.MAY_NOT_WRITE),
        (400, "No active meter found", meters.NOT_TAKEN),
    ):
        ada = await telephone.caller()
        await telephone.call(ada)
        telephone.api.say(PATH, status, error("", said))
        await telephone.send()
        await telephone.send()
        (alarm,) = (await telephone.status())["alarms"]
        assert alarm.startswith(f"{name}: ")
        telephone.world.home.clients.delete(ada)
        await telephone.listen()
        await telephone.send_again()
        await telephone.send()
        assert [] == (await telephone.status())["alarms"]


async def test_a_key_that_stripe_does_not_know(telephone: Telephone) -> None:
    """The alarm ends with the next event that Stripe takes, though only a connected account has any."""
    telephone.world.account("acct_calls").metering.meter("calls")
    carl = telephone.world.account("acct_calls").clients.create("Carl", "carl@example.com")
    await telephone.listen()
    await telephone.service.harness.execute(QUEUE_FOUR, carl.id)
    telephone.api.say(PATH, 401, error("", "Invalid API Key provided"))
    await telephone.send()
    (alarm,) = (await telephone.status())["alarms"]
    assert alarm.startswith(f"{meters.MAY_NOT_WRITE} acct_calls: ")
    await telephone.send_again()
    assert [] == (await telephone.status())["alarms"]


async def test_an_account_that_is_closed(telephone: Telephone) -> None:
    """I7: a connected account that has taken its access back keeps no other account's events. Nothing more of it is
    sent until it can be read again.
    """
    there = telephone.world.account("acct_shop")
    calls = there.metering.meter("calls")
    carl = there.clients.create("Carl", "carl@example.com")
    callers = [await telephone.caller() for _ in range(meters.CONCURRENCY_MAX + 2)]
    await telephone.service.harness.execute(QUEUE_FOUR, carl.id)
    for caller in callers:
        await telephone.call(caller)
    telephone.stripe.faults = Faults(revoked=frozenset({"acct_shop"}))
    await telephone.send()
    assert [1] * len(callers) == [telephone.counted(caller) for caller in callers]
    (alarm,) = (await telephone.status())["alarms"]
    assert "acct_shop connected again" in alarm
    await telephone.send_again()
    (event,) = await telephone.queue(carl)
    assert ("queued", 1) == (event["state"], event["attempts"])
    telephone.stripe.faults = Faults()
    async with telephone.service.harness.pool.acquire() as connection:  # as a fill of its gaps does
        await end_refusal(connection, Scope("acct_shop", live_mode=False), WHOLE_ACCOUNT)
    await telephone.send_again()
    assert 4 == there.metering.used(carl.id, calls.id, 0, 2**40)


async def test_one_that_stripe_does_not_take(telephone: Telephone) -> None:
    """I7: it is sent again every hour, an alarm says why, and the others of its batch are sent."""
    ada, bob = await telephone.caller(), await telephone.caller()
    telephone.world.home.metering.deactivate(telephone.calls)
    spare = telephone.world.home.metering.meter("spare")
    await telephone.service.harness.execute(
        "insert into sync.meter_events (account_id, live_mode, customer_uid, event_name, value, used_at) "
        "select '', false, uid, case stripe_customer_id when $1 then 'calls' else 'spare' end, 4, "
        "date_trunc('second', now()) from billing.customers where stripe_customer_id in ($1, $2)",
        ada.id,
        bob.id,
    )
    await telephone.send()
    assert (None, 4) == (telephone.counted(ada), telephone.counted(bob, spare))
    (alarm,) = (await telephone.status())["alarms"]
    assert "No active meter" in alarm
    telephone.calls.status = "active"
    await telephone.send_again()
    assert (4, []) == (telephone.counted(ada), (await telephone.status())["alarms"])


async def test_too_late_to_ask(telephone: Telephone) -> None:
    """What Stripe may have, and no longer recognises, is never sent again by itself: counted twice it would be billed
    twice. Nor is what Stripe takes no more. An alarm names them.
    """
    ada = await telephone.caller()
    await telephone.call(ada)
    telephone.stripe.faults = Faults(lost_share=1.0)
    await telephone.send()
    telephone.stripe.faults = Faults()
    await telephone.service.harness.execute(
        "update sync.meter_events set unsure_since = unsure_since - interval '23 hours' where state = 'queued'"
    )
    await telephone.send_again()
    (event,) = await telephone.queue(ada)
    assert ("undecided", 1) == (event["state"], telephone.counted(ada))
    (alarm,) = (await telephone.status())["alarms"]
    assert "undecided: 1" in alarm
    await telephone.service.harness.execute("delete from sync.alarms")


async def test_whatever_the_clocks_say(telephone: Telephone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a lease still holds follows from how long ago it was taken: a worker whose clock is an hour ahead of
    Postgres' sends, and one that was held up does not.
    """
    ada = await telephone.caller()
    await telephone.call(ada)
    with monkeypatch.context() as patch:
        patch.setattr(meters, "LEASE", timedelta(0))
        await telephone.send()
    (event,) = await telephone.queue(ada)
    assert ("queued", "its turn came too late", None) == (
        event["state"],
        event["error"],
        event["unsure_since"],
    )
    behind = meter_events.CLAIM_METER_EVENTS.replace("e.due_at as", "e.due_at - interval '1 hour' as")
    with rewritten(meter_events.CLAIM_METER_EVENTS, behind):
        await telephone.send_again()
    assert 1 == telephone.counted(ada)


async def test_the_oldest_use(telephone: Telephone) -> None:
    """What the API has just taken, 34 days old, is told: Stripe takes 35 days."""
    ada = await telephone.caller()
    await telephone.call(ada, timestamp=(datetime.now(UTC) - timedelta(days=34, seconds=-30)).isoformat())
    await telephone.service.harness.execute(  # a minute later
        "update billing.usage_events set used_at = used_at - interval '1 minute' where pending"
    )
    await telephone.send()
    assert 1 == telephone.counted(ada)


async def test_the_customer_comes_later(telephone: Telephone, monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody used before Stripe knew it waits without work, and is sent once the customer is linked. Whom Stripe
    never comes to know owes nothing: no alarm asks for a decision.
    """
    service = telephone.service
    monkeypatch.setattr(shown, "DERIVED_SECONDS", 0.0)  # no worker is at work
    made = await service.put("/customers/later", {"name": "Later"})
    await service.harness.engine.derive()
    now = datetime.now(UTC)
    for value, at in ((6, now), (7, now - timedelta(days=33))):
        use = {"feature_id": "calls", "value": value, "timestamp": at.isoformat()}
        assert 201 == (await service.post("/customers/later/track", use)).status
    await telephone.send()
    select = (
        "select state, due_at > now() + interval '23 hours' as rests, attempts, value from sync.meter_events "
        "where customer_uid = $1::text::uuid order by value"
    )
    waiting = await service.harness.fetch(select, made.body["uid"])
    assert [("queued", False, 0, 6), ("queued", False, 0, 7)] == [tuple(row) for row in waiting]
    # Two hours and two days later.
    await service.harness.execute(
        "update sync.meter_events set queued_at = queued_at - interval '2 hours', due_at = now(), "
        "used_at = used_at - case when value = 7 then interval '2 days' else '0' end "
        "where customer_uid = $1::text::uuid",
        made.body["uid"],
    )
    await telephone.send()
    waiting = await service.harness.fetch(select, made.body["uid"])
    assert [("queued", True, 0, 6), ("refused", True, 0, 7)] == [tuple(row) for row in waiting]
    assert [] == (await telephone.status())["alarms"]
    customer = telephone.world.home.clients.create(
        "Later", "later@example.com", metadata={"custom_uid": "later"}
    )
    await telephone.listen()
    await service.patch("/customers/later", {"stripe_id": customer.id})
    await telephone.send()
    assert 6 == telephone.counted(customer)


async def test_within_the_limits(telephone: Telephone) -> None:
    """Under Stripe's limits of a sandbox, what is refused as one too many waits, and everything is counted once."""
    callers = [await telephone.caller() for _ in range(8)]
    for caller in callers:
        await telephone.call(caller, 2, value=2)
    seconds = [0.0]
    telephone.stripe.gate = Gate(
        RateLimits(account=5, operation=5, meter_events=None), clock=lambda: seconds[0]
    )
    await telephone.send()
    assert telephone.stripe.gate.refused
    for _ in range(4):
        seconds[0] += 2.0
        await telephone.send_again()
    telephone.stripe.gate = None
    assert [4] * len(callers) == [telephone.counted(caller) for caller in callers]
