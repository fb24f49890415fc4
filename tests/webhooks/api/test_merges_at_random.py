"""Customers that are created, named, paid by, changed and merged at random, several at a time, with and without one at
Stripe: what was said of them is kept.
"""

import asyncio
from collections import defaultdict
from datetime import datetime
from random import Random
from typing import Any

import pytest

from tests.harness import charge, customer, event
from tests.webhooks.api.client import Answered, Service

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = [f"random-{number}" for number in range(5)]
FINGERPRINTS = [f"random-fp-{number}" for number in range(6)]


class Said:
    """What was answered with success, by the uid that the answer had."""

    def __init__(self) -> None:
        self.metadata: dict[str, dict[str, str]] = defaultdict(dict)
        self.entities: dict[str, set[str]] = defaultdict(set)
        self.granted: dict[str, list[datetime]] = defaultdict(list)
        self.named: dict[str, str] = {}
        """Which customer a name was given to."""
        self.merged: list[tuple[str, str]] = []
        """A uid by which a customer was identified, and that of the answer."""
        self.paid: dict[str, str] = {}
        """The uid of each customer of Stripe's: every one has paid 20.00."""

    def created(self, answer: Answered, key: str, value: str) -> None:
        """A customer was created with this metadata; of one that there was already, it does not count."""
        metadata = self.metadata[answer.body["uid"]]
        if answer.status == 201:
            metadata[key] = value

    @property
    def uids(self) -> set[str]:
        return {*self.metadata, *self.entities, *self.granted, *self.named.values(), *sum(self.merged, ())}


async def step(service: Service, said: Said, chance: Random, number: int) -> None:
    """One call about somebody. Only identify may be refused: a customer that has a name takes no other one, and who has
    just paid is not settled.
    """
    key, value, name = f"k{number}", str(number), chance.choice(NAMES)
    known = sorted(said.uids)
    who = chance.choice(known or [name])
    kind = chance.choice(
        ("put", "post", "pay", "pay", "pay", "identify", "identify", "identify", "patch", "entity", "grant")
    )
    if not known or kind in ("put", "post"):
        body: dict[str, Any] = {"metadata": {key: value}}
        if kind == "post":
            answer = await service.post("/customers", {**body, "fingerprint": chance.choice(FINGERPRINTS)})
            said.created(succeeded(answer, 200, 201), key, value)
            return
        answer = await service.put(f"/customers/{name}", body)
        said.created(succeeded(answer, 200, 201), key, value)
        said.named[name] = answer.body["uid"]
    elif kind == "pay":
        await pay(service, said, number)
    elif kind == "identify":
        answer = await service.post(f"/customers/{who}/identify", {"custom_uid": name})
        if succeeded(answer, 200, 409).status == 200:
            said.merged.append((who, answer.body["uid"]))
            said.named[name] = answer.body["uid"]
    elif kind == "patch":
        answer = succeeded(await service.patch(f"/customers/{who}", {"metadata": {key: value}}), 200)
        said.metadata[answer.body["uid"]][key] = value
    elif kind == "entity":
        answer = succeeded(await service.put(f"/customers/{who}/entities/{key}", {"name": value}), 201)
        said.entities[answer.body["customer_uid"]].add(key)
    else:
        grant = {"product_id": "pro", "days": chance.randrange(1, 30)}
        answer = succeeded(await service.post(f"/customers/{who}/grants", grant), 200)
        said.granted[answer.body["uid"]] = [datetime.fromisoformat(answer.body["sandbox_end"])]


async def pay(service: Service, said: Said, number: int) -> str:
    """Somebody pays who has no name here; the Stripe id."""
    customer_id = f"cus_random{number}"
    created, paid = customer(customer_id), charge(f"ch_random{number}", customer_id)
    service.harness.api.put(created, paid)
    await service.harness.receive(event("customer.created", created), event("charge.succeeded", paid))
    await service.until_record(customer_id, lifetime_revenue=2000, exact=True)
    answer = succeeded(await service.get(f"/customers/{customer_id}"), 200)
    said.paid[customer_id] = answer.body["uid"]
    said.entities[answer.body["uid"]] |= set()  # known from now on
    return customer_id


def succeeded(answer: Answered, *statuses: int) -> Answered:
    assert answer.status in statuses, answer.body
    return answer


@pytest.mark.parametrize("seed", [1, 2])
async def test_nothing_is_lost(service: Service, seed: int) -> None:
    """No two customers have one name; every uid that was ever answered leads to a customer, and this one has all
    metadata and entities, the name, a grant that was given, and what was paid; those that were merged lead to the same
    one. Metadata at Stripe are those of the main one alone.
    """
    chance, said = Random(seed), Said()  # noqa: S311 - replayable
    for round_ in range(12):
        numbers = range(100 * seed + 3 * round_, 100 * seed + 3 * round_ + 3)
        await asyncio.gather(*(step(service, said, chance, number) for number in numbers))
    for number in range(2):  # whatever came before, these two are one
        customer_id = await pay(service, said, 1000 * seed + number)
        named = await service.post(f"/customers/{customer_id}/identify", {"custom_uid": f"both-{seed}"})
        said.named[f"both-{seed}"] = succeeded(named, 200).body["uid"]
    answers = await asyncio.gather(
        *(service.get(f"/customers/{uid}?expand=entities") for uid in sorted(said.uids))
    )
    now = {uid: succeeded(answer, 200).body for uid, answer in zip(sorted(said.uids), answers, strict=True)}
    assert said.merged
    at_stripe = {
        row["uid"]: row["count"]
        for row in await service.harness.fetch(
            "select uid::text, count(*) from billing.stripe_customers group by uid"
        )
    }
    assert 2 == at_stripe[said.named[f"both-{seed}"]]
    for customer_id, uid in said.paid.items():
        assert now[uid]["uid"] == (await service.get(f"/customers/{customer_id}")).body["uid"]
    for uid, body in now.items():
        count = at_stripe.get(body["uid"], 0)
        assert 2000 * count == body["lifetime_revenue"]
        assert count > 1 or said.metadata[uid].items() <= body["metadata"].items()
        assert said.entities[uid] <= {each["id"] for each in body["entities"]}
        assert not said.granted[uid] or body["sandbox_end"] is not None
    for before, after in said.merged:
        assert now[before]["uid"] == now[after]["uid"]
    for name, uid in said.named.items():
        assert name == now[uid]["custom_uid"]
        assert now[uid]["uid"] == (await service.get(f"/customers/{name}")).body["uid"]
    assert [] == await service.harness.fetch(
        "select custom_uid from billing.customers group by custom_uid having count(*) > 1 and custom_uid is not null"
    )
