"""What is set here of a customer that Stripe knows reaches Stripe, once, and whatever fails on the way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from sandbox import Faults, Sandbox, create_api
from sandbox.api import Api as SandboxApi
from sandbox.objects import Customer
from tests.conftest import Services, database_copy
from tests.faults import AFTER, BEFORE
from tests.harness import Api, Harness, error
from tests.simulation.deaths import Fate, Mortal, living, mortality
from tests.webhooks.api.client import Answered, Service, open_service
from webhooks.api import shown
from worker.live import push

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "rk_test_two_ways"
MADE_DUE = "update sync.pushes set due_at = now() where due_at > now()"
PROBED = "update sync.refusals set probe_at = now() where probe_at > now()"


class CountedApi(Api):
    """An API that notes what is written."""

    def __init__(self, inner: SandboxApi) -> None:
        super().__init__(inner)
        self.written: list[str] = []
        del self.bodies["/v1/account"]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            self.written.append(scope["path"])
        await super().__call__(scope, receive, send)


@dataclass(slots=True, kw_only=True)
class BothEnds:
    """The service here, and the account at Stripe."""

    service: Service
    sandbox: Sandbox
    stripe: SandboxApi
    asked: CountedApi
    told: int = 0

    @property
    def harness(self) -> Harness:
        return self.service.harness

    async def customer(self, name: str, **fields: Any) -> Customer:
        """A customer of Stripe's, with its record."""
        at_stripe = self.sandbox.home.clients.create(
            fields.pop("name", "Ada"),
            fields.pop("email", "ada@example.com"),
            customer_id=f"cus_{name}",
            **fields,
        )
        await self.settle()
        return at_stripe

    async def tell(self) -> None:
        """Deliver the account's events."""
        events, self.told = self.sandbox.events[self.told :], len(self.sandbox.events)
        await self.harness.receive(*events)
        await self.harness.engine.apply()

    async def send(self) -> None:
        """Send what is to be sent, as if its time had come."""
        await self.harness.execute(MADE_DUE)
        await self.harness.engine.push()
        await self.harness.engine.derive()

    async def settle(self) -> None:
        """Work until nothing is left, but what Stripe does not take."""
        await self.tell()
        await self.send()
        await self.tell()
        await self.harness.settle()
        await self.harness.engine.push()

    async def set(self, customer: Customer, **changes: Any) -> Any:
        """Change the customer here; its record."""
        answer = await self.service.patch(f"/customers/{customer.id}", changes)
        assert 200 == answer.status, answer.body
        await self.harness.engine.derive()
        return await self.get(customer)

    async def get(self, customer: Customer) -> Any:
        answer: Answered = await self.service.get(f"/customers/{customer.id}")
        return answer.body

    def posts(self, customer: Customer) -> int:
        """How many requests have been sent that write this customer."""
        return self.asked.written.count(f"/v1/customers/{customer.id}")


@asynccontextmanager
async def both_ends(url: str, **options: Any) -> AsyncIterator[BothEnds]:
    sandbox = Sandbox(7)
    stripe = create_api(sandbox, [KEY])
    asked = CountedApi(stripe)
    async with open_service(url, api=asked, working=False, **({"api_key": KEY} | options)) as service:
        yield BothEnds(service=service, sandbox=sandbox, stripe=stripe, asked=asked)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ends(servers: Services, template: str, worker_id: str) -> AsyncIterator[BothEnds]:
    """One account and one service for the tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shown, "DERIVED_SECONDS", 0.0)
        async with (
            database_copy(servers, template, f"test_push_{worker_id}") as url,
            both_ends(url) as ends,
        ):
            yield ends


def at_stripe(customer: Customer) -> dict[str, Any]:
    return {
        "name": customer.name,
        "email": customer.email,
        "description": customer.description,
        "metadata": customer.metadata,
    }


def here(record: Any) -> dict[str, Any]:
    return {name: record[name] for name in ("name", "email", "description", "metadata")}


async def test_reaches_stripe_once(ends: BothEnds) -> None:
    """The record shows at once what was set, and says what is on its way. Then Stripe has it, and nothing else of the
    customer was written there; the event that follows changes nothing and causes nothing.
    """
    customer = await ends.customer("once", metadata={"theirs": "1", "old": "2"})
    assert "push" not in await ends.get(customer)
    changes = {"name": "Grace", "email": None, "metadata": {"plan": "team", "old": None}}
    changed = await ends.set(customer, **changes)
    wanted = {
        "name": "Grace",
        "email": None,
        "description": None,
        "metadata": {"theirs": "1", "plan": "team"},
    }
    assert wanted == here(changed)
    waiting = changed["push"]
    assert ["email", "metadata.old", "metadata.plan", "name"] == waiting["fields"]
    assert (0, [], None) == (waiting["attempts"], waiting["refused"], waiting["error"])
    status = await ends.service.get("/status")
    assert 1 == status.body["pending_pushes"]
    assert (None, "Ada") == (
        (await ends.service.get(f"/customers/{customer.id}")).headers.get("ETag"),
        customer.name,
    )
    # Joined with the first: one request.
    await ends.set(customer, description="a", metadata={"plan": "pro"})
    wanted |= {"description": "a", "metadata": {"theirs": "1", "plan": "pro"}}
    await ends.send()
    assert wanted == at_stripe(customer)
    sent = await ends.get(customer)
    assert wanted == here(sent)
    assert "push" not in sent
    await ends.settle()
    settled = await ends.get(customer)
    assert (wanted, True, sent["updated_at"]) == (here(settled), settled["exact"], settled["updated_at"])
    assert 1 == ends.posts(customer)
    assert [] == await ends.harness.fetch("select * from sync.pushes where customer_id = $1", customer.id)
    assert ["customer.created", "customer.updated"] == [
        each.type for each in ends.sandbox.events if each.object_id == customer.id
    ]
    # No webhook need come: what was sent is read.
    await ends.set(customer, description="b")
    await ends.send()
    await ends.harness.settle()
    await ends.harness.engine.push()
    assert [] == await ends.harness.fetch("select * from sync.pushes where customer_id = $1", customer.id)
    record = await ends.get(customer)
    assert ("b", "b", True) == (customer.description, record["description"], record["exact"])
    await ends.set(customer, description="a")
    await ends.settle()
    settled = await ends.get(customer)
    # The same once more changes nothing anywhere.
    await ends.set(customer, **changes | {"metadata": {"plan": "pro"}})
    await ends.settle()
    assert settled["updated_at"] == (await ends.get(customer))["updated_at"]


async def test_the_last_to_reach_stripe_counts(ends: BothEnds) -> None:
    """Field by field: what waits here outranks what Stripe was told before it is sent; afterwards Stripe's word counts,
    also if it says nothing.
    """
    customer = await ends.customer("conflict", metadata={"a": "1"})
    await ends.set(customer, name="Here", metadata={"b": "here"})
    ends.sandbox.home.clients.set_fields(
        customer, {"name": "There", "email": "there@example.com"}, {"a": "there", "b": "there"}
    )
    await ends.tell()
    record = await ends.get(customer)
    assert ("Here", "there@example.com", {"a": "there", "b": "here"}) == (
        record["name"],
        record["email"],
        record["metadata"],
    )
    await ends.settle()
    assert ("Here", {"a": "there", "b": "here"}) == (customer.name, customer.metadata)
    ends.sandbox.home.clients.set_fields(customer, {"name": None}, {"b": None})
    await ends.settle()
    record = await ends.get(customer)
    assert (None, {"a": "there"}, True) == (record["name"], record["metadata"], record["exact"])
    assert 1 == ends.posts(customer)


FAULTS = (
    Faults(lost_share=0.6, seed=1),
    Faults(failed_share=0.6, seed=2),
    Faults(error_share=0.4, reset_share=0.4, seed=3),
    Faults(rate_limited_share=0.4, lock_timeout_share=0.3, lost_share=0.3, seed=4),
)


async def test_whatever_fails_both_ends_are_equal(ends: BothEnds) -> None:
    """Answers are lost, refused or broken off, both ends change: in the end the record is what Stripe has, and the last
    writer of each field counts.
    """
    draws = Random(12)  # noqa: S311 - replayable
    customers = [await ends.customer(f"fault_{number}") for number in range(2)]
    clean = ends.stripe.faults
    last: dict[int, str] = {}
    for faults in FAULTS:
        for turn in range(4):
            for number, customer in enumerate(customers):
                if draws.random() < 0.7:
                    last[number] = f"here {turn} {number}"
                    await ends.set(
                        customer,
                        name=last[number],
                        metadata={draws.choice("abc"): draws.choice((None, str(turn)))},
                    )
                if draws.random() < 0.4:
                    ends.sandbox.home.clients.set_fields(
                        customer, {"email": f"{turn}@there.example"}, {draws.choice("abc"): f"there {turn}"}
                    )
            ends.stripe.faults = faults
            await ends.send()
            ends.stripe.faults = clean
            await ends.tell()
        for _ in range(3):
            await ends.settle()
        for number, customer in enumerate(customers):
            record = await ends.get(customer)
            assert at_stripe(customer) == here(record)
            assert ("push" in record, record["exact"]) == (False, True)
            assert last[number] == customer.name
    assert 0 == await ends.harness.fetchval("select count(*) from sync.pushes where due_at is not null")


async def test_a_lost_answer_is_asked_for_again(ends: BothEnds) -> None:
    """The same request, which Stripe does once: what was changed there since stays. Its attempts and error show."""
    customer = await ends.customer("lost")
    await ends.set(customer, name="Sent once")
    ends.stripe.faults = Faults(lost_share=1.0)
    await ends.send()
    ends.stripe.faults = Faults()
    waiting = (await ends.get(customer))["push"]
    assert (["name"], 1) == (waiting["fields"], waiting["attempts"])
    assert waiting["error"]
    assert "Sent once" == customer.name
    ends.sandbox.home.clients.set_fields(customer, {"name": "Since then"}, {})
    await ends.settle()
    assert ("Since then", 2) == (customer.name, ends.posts(customer))
    assert "Since then" == (await ends.get(customer))["name"]


async def run_mortal(work: Callable[[], Awaitable[object]], fate: Fate) -> bool:
    """Run something as a worker that may die; whether it did."""
    living.set(Mortal(name="pusher", fate=fate))
    try:
        await work()
    except BaseException:
        if not fate.died:
            raise
    return bool(fate.died)


async def test_i4_killed_at_every_commit(ends: BothEnds) -> None:
    """I4: wherever the worker dies, before and after each of its commits, another one goes on, and both ends are equal;
    Stripe was told once.
    """
    customer = await ends.customer("killed")
    with mortality():
        points: list[str] = []
        for number in range(100):
            died_at = (points[(number - 1) // 2], (BEFORE, AFTER)[(number - 1) % 2]) if number else None
            fate = Fate(seed=number, share=0.0, at=() if died_at is None else (died_at,))
            before = len([each for each in ends.sandbox.events if each.object_id == customer.id])
            await ends.set(customer, name=f"life {number}", metadata={"n": str(number)})
            await ends.harness.execute(MADE_DUE)
            died = await asyncio.create_task(run_mortal(ends.harness.another_engine().push, fate))
            assert died is (died_at is not None), died_at
            if not number:
                points = sorted(fate.passed)
                assert {"push.offer"} & set(points) or points
            await ends.settle()
            assert at_stripe(customer) == here(await ends.get(customer))
            assert f"life {number}" == customer.name
            after = len([each for each in ends.sandbox.events if each.object_id == customer.id])
            assert 1 == after - before, died_at
            if number == 2 * len(points):
                break
    assert "push" not in await ends.get(customer)


async def test_a_key_that_may_not_write(ends: BothEnds) -> None:
    """The push stays, an alarm gives the remedy, and one request now and then asks again; then all that waited is sent,
    and the alarm ends.
    """
    customers = [await ends.customer(f"right_{number}") for number in range(3)]
    ends.stripe.unwritable.add("customers")
    await ends.set(customers[0], name="Not yet")
    await ends.send()
    alarm = push.writes_refused("")
    (row,) = await ends.harness.fetch("select remedy from sync.alarms where name = $1", alarm)
    assert push.REMEDY == row["remedy"]
    for customer in customers:
        await ends.set(customer, name="Not yet")
    await ends.send()  # the first refusal may have been a whim: once more
    asked = sum(map(ends.posts, customers))
    for _ in range(3):
        await ends.send()
    assert 2 == asked == sum(map(ends.posts, customers))
    waiting = await ends.get(customers[0])
    assert ("Not yet", ["name"], "Ada") == (waiting["name"], waiting["push"]["fields"], customers[0].name)
    assert "permissions" in waiting["push"]["error"]
    assert 3 == (await ends.service.get("/status")).body["pending_pushes"]
    ends.stripe.unwritable.remove("customers")
    await ends.harness.execute(PROBED)
    await ends.settle()
    assert {"Not yet"} == {customer.name for customer in customers}
    assert [] == await ends.harness.fetch("select * from sync.alarms where name = $1", alarm)
    assert 0 == (await ends.service.get("/status")).body["pending_pushes"]
    # What waits may go with its customer. Then nobody asks again, and the alarm ends all the same.
    ends.stripe.unwritable.add("customers")
    await ends.set(customers[0], name="Gone")
    for _ in range(2):
        await ends.send()
    await ends.harness.execute("delete from sync.pushes")
    await ends.harness.execute(PROBED)
    ends.stripe.unwritable.remove("customers")
    assert 1 == len(await ends.harness.fetch("select * from sync.alarms where name = $1", alarm))
    await ends.send()
    assert [] == await ends.harness.fetch("select * from sync.alarms where name = $1", alarm)


async def test_what_stripe_does_not_take(ends: BothEnds) -> None:
    """A customer that is deleted there, and a field that is refused: not sent again, with the reason; the record shows
    what Stripe has. The next success ends it.
    """
    customer = await ends.customer("refused")
    await ends.set(customer, metadata={"here": "1"})
    ends.sandbox.home.clients.set_fields(customer, {}, {f"key_{number}": "x" for number in range(50)})
    await ends.settle()
    refused = await ends.get(customer)
    assert (["metadata.here"], []) == (refused["push"]["refused"], refused["push"]["fields"])
    assert "50 metadata keys" in refused["push"]["error"]
    assert at_stripe(customer) == here(refused)
    await ends.set(customer, metadata={"key_0": None})
    await ends.settle()
    assert "push" not in await ends.get(customer)

    # Stripe repeats what it refuses: that is for whoever set it, and not for the log.
    message = "Invalid email address: secret@invalid"
    ends.asked.say(f"/v1/customers/{customer.id}", 400, error("email_invalid", message))
    await ends.set(customer, email="secret@invalid")
    with capture_logs() as logged:
        await ends.send()
    assert "secret@invalid" in (await ends.get(customer))["push"]["error"]
    assert [("email",)] == [each["fields"] for each in logged if "refused" in each["event"]]
    assert "secret@invalid" not in str(logged)
    # What was set with it reaches Stripe without it, and does not end what is said of it.
    answer = error("email_invalid", message)
    answer["error"]["param"] = "email"
    ends.asked.say(f"/v1/customers/{customer.id}", 400, answer)
    await ends.set(customer, email="secret@invalid", name="Taken", metadata={"key_1": "taken"})
    for _ in range(2):
        await ends.send()
    assert ("Taken", "taken") == (customer.name, customer.metadata["key_1"])
    await ends.settle()
    record = await ends.get(customer)
    assert (["email"], []) == (record["push"]["refused"], record["push"]["fields"])
    assert message in record["push"]["error"]
    assert at_stripe(customer) == here(record)
    await ends.set(customer, email=None)
    await ends.settle()
    assert "push" not in await ends.get(customer)
    await ends.set(customer, name="Ada")
    await ends.settle()

    await ends.set(customer, name="Too late")
    ends.sandbox.home.clients.delete(customer)
    await ends.settle()
    gone = await ends.get(customer)
    assert (["name"], "Ada") == (gone["push"]["refused"], gone["name"])
    assert "deleted" in gone["push"]["error"]
    late = await ends.service.patch(f"/customers/{customer.id}", {"name": "Later"})
    assert 409 == late.status
    assert "deleted at Stripe" in late.problem("conflict")
    posts = ends.posts(customer)
    await ends.settle()
    assert posts == ends.posts(customer)


async def test_what_stripe_lacks_is_sent_at_the_link(ends: BothEnds) -> None:
    """What was set before the link: what Stripe has none of, once; the rest stays as Stripe has it."""
    customer = await ends.customer("linked", email=None, metadata={"both": "there"})
    said = {"name": "Here", "email": "here@example.com", "metadata": {"both": "here", "ours": "1"}}
    assert 201 == (await ends.service.put("/customers/linked", said)).status
    assert 200 == (await ends.service.put("/customers/linked", {"stripe_id": customer.id})).status
    await ends.settle()
    await ends.settle()
    wanted = {
        "name": "Ada",
        "email": "here@example.com",
        "description": None,
        "metadata": {"both": "there", "ours": "1"},
    }
    assert wanted == at_stripe(customer)
    assert wanted == here(await ends.get(customer))
    ends.sandbox.home.clients.set_fields(customer, {"email": None}, {"ours": None})
    await ends.settle()
    await ends.settle()
    assert (None, {"both": "there"}) == (customer.email, customer.metadata)
    record = await ends.get(customer)
    assert (None, {"both": "there"}) == (record["email"], record["metadata"])
    assert 1 == ends.posts(customer)
    # Created there with all that was set: nothing is lacking, and nothing of it is kept here.
    created = await ends.service.put(
        "/customers/created", {"name": "New", "metadata": {"ours": "1"}, "create_in_stripe": True}
    )
    customer = ends.sandbox.home.customer(created.body["stripe_customer_id"])
    await ends.settle()
    assert "New" == (await ends.get(customer))["name"]
    ends.sandbox.home.clients.set_fields(customer, {"name": None}, {"ours": None})
    await ends.settle()
    record = await ends.get(customer)
    assert (None, {"custom_uid": "created"}) == (record["name"], record["metadata"])
    assert 0 == ends.posts(customer)


async def test_more_metadata_than_fits_at_the_link(ends: BothEnds) -> None:
    """Both ends together have more keys than Stripe takes: those that fit are sent, with the name, and the others stay
    here; nothing that was set is lost.
    """
    theirs = {f"there_{number}": "x" for number in range(20)}
    ours = {f"ours_{number:02}": "y" for number in range(40)}
    customer = await ends.customer("full", email=None, metadata=theirs)
    said = {"email": "here@example.com", "metadata": ours}
    assert 201 == (await ends.service.put("/customers/full", said)).status
    assert 200 == (await ends.service.put("/customers/full", {"stripe_id": customer.id})).status
    await ends.settle()
    await ends.settle()
    record = await ends.get(customer)
    assert ("here@example.com", theirs | ours) == (record["email"], record["metadata"])
    assert "push" not in record
    assert ("here@example.com", 50) == (customer.email, len(customer.metadata))


async def test_without_a_key_it_waits(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set is shown, and waits for a key. I6: derived again, the record is the same."""
    monkeypatch.setattr(shown, "DERIVED_SECONDS", 0.0)
    async with both_ends(database_url, api_key=None) as ends:
        customer = ends.sandbox.home.clients.create("Ada", None, customer_id="cus_waits")
        await ends.tell()
        path = f"/customers/{customer.id}?mode=test"
        assert 200 == (await ends.service.patch(path, {"name": "Grace"})).status
        await ends.harness.engine.push()
        await ends.harness.engine.derive()
        record = (await ends.service.get(path)).body
        assert ("Grace", ["name"], "Ada") == (record["name"], record["push"]["fields"], customer.name)
        await ends.harness.execute("update sync.customers set stale = stale + 1, stale_since = now()")
        await ends.harness.engine.derive()
        assert record == (await ends.service.get(path)).body
