"""Customers before they have a name, and what becomes of them when they get one."""

import asyncio
from typing import Any

import pytest

from db.records.identities import GIVE_GRANT
from db.records.merges import LOCK_IDENTITIES, SELECT_MERGED_INTO
from tests import faults
from tests.harness import charge, customer, event
from tests.system import until
from tests.webhooks.api.client import Answered, Service, open_service
from webhooks.api import shown

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def paying(service: Service, number: str) -> dict[str, Any]:
    """A customer of Stripe's that has paid, without a name; its record."""
    customer_id, paid = f"cus_{number}", charge(f"ch_{number}", f"cus_{number}")
    service.harness.api.put(customer(customer_id), paid)
    await service.harness.receive(
        event("customer.created", customer(customer_id)), event("charge.succeeded", paid)
    )
    await service.until_record(customer_id, lifetime_revenue=2000, exact=True)
    body: dict[str, Any] = (await service.get(f"/customers/{customer_id}")).body
    return body


async def identified(service: Service, who: str, name: str) -> Any:
    answer = await service.post(f"/customers/{who}/identify?expand=entities,revenue", {"custom_uid": name})
    assert 200 == answer.status, answer.body
    return answer.body


async def test_recognised(service: Service) -> None:
    """One customer per fingerprint, or per email without one, however many come at once; something must be said."""
    answers = await asyncio.gather(
        *(service.post("/customers", {"fingerprint": "fp_1", "email": "f@example.com"}) for _ in range(20))
    )
    assert [200] * 19 + [201] == sorted(each.status for each in answers)
    assert 1 == len({each.body["uid"] for each in answers})
    (created,) = [each for each in answers if each.status == 201]
    assert (f"/customers/{created.body['uid']}", None, "fp_1", "f@example.com") == (
        created.headers["Location"],
        created.body["custom_uid"],
        created.body["fingerprint"],
        created.body["email"],
    )
    by_mail = [
        await service.post("/customers", {"email": each}) for each in ("F@example.com", "f@example.com")
    ]
    assert [201, 200] == [each.status for each in by_mail]
    assert by_mail[0].body["uid"] == by_mail[1].body["uid"] != created.body["uid"]
    refused = await service.post("/customers", {"name": "Nobody"})
    assert 422 == refused.status
    assert "fingerprint" in refused.problem("invalid")


async def test_gets_its_name(service: Service) -> None:
    """The same customer, with its uid and its history; and it is recognised afterwards."""
    created = (await service.post("/customers", {"fingerprint": "fp_named"})).body
    named = await identified(service, created["uid"], "named")
    assert (created["uid"], "named") == (named["uid"], named["custom_uid"])
    assert named["uid"] == (await identified(service, created["uid"], "named"))["uid"]
    again = await service.post("/customers", {"fingerprint": "fp_named"})
    assert (200, "named") == (again.status, again.body["custom_uid"])
    other = await service.post(f"/customers/{created['uid']}/identify", {"custom_uid": "other"})
    assert 409 == other.status
    assert "is named already" in other.problem("conflict")
    record = await paying(service, "unnamed")
    bought = await identified(service, "cus_unnamed", "bought")
    assert (record["uid"], "bought", 2000) == (
        bought["uid"],
        bought["custom_uid"],
        bought["lifetime_revenue"],
    )
    for body in ({"custom_uid": "%%%%"}, {"custom_uid": "cus_1"}, {}):
        assert 422 == (await service.post("/customers/named/identify", body)).status
    assert 404 == (await service.post("/customers/unheard/identify", {"custom_uid": "x"})).status


async def test_merged(service: Service) -> None:
    """What the named customer lacks it gets; what it says counts; the old uid leads to it; the merge is recorded."""
    harness = service.harness
    named = (await service.put("/customers/merged", {"name": "Named", "metadata": {"a": "named"}})).body
    guest = (
        await service.post(
            "/customers",
            {
                "fingerprint": "fp_m",
                "name": "Guest",
                "email": "g@x.y",
                "metadata": {"a": "guest", "b": "guest"},
            },
        )
    ).body
    for uid, names in ((named["uid"], ("both",)), (guest["uid"], ("both", "guests"))):
        for name in names:
            await harness.execute(
                "insert into billing.local_entities (uid, customer_uid, id, name) "
                "values (gen_random_uuid(), $1::text::uuid, $2, $1)",
                uid,
                name,
            )
    for uid, days, product_id in ((named["uid"], 1, "basic"), (guest["uid"], 2, "pro")):
        await harness.execute(
            "update billing.identities set sandbox_end = now() + $2 * interval '1 day', sandbox_product_id = $3, "
            "created_at = created_at - $2 * interval '1 day', last_seen = now() + $2 * interval '1 hour' "
            "where uid = $1::text::uuid",
            uid,
            days,
            product_id,
        )
    times = "select sandbox_end, created_at, last_seen from billing.identities where uid = $1::text::uuid"
    (of_the_guest,) = await harness.fetch(times, guest["uid"])
    unlocked: list[object] = []

    async def look(_: faults.Call) -> None:
        # Who links one of the two to a customer of Stripe's meanwhile must wait: two links cannot become one.
        unlocked.extend(
            await harness.fetch(
                "select uid from billing.identities where uid = any ($1::text[]::uuid[]) for update skip locked",
                [named["uid"], guest["uid"]],
            )
        )

    with faults.after(LOCK_IDENTITIES, look):
        merged = await identified(service, guest["uid"], "merged")
    assert [] == unlocked
    assert [of_the_guest] == await harness.fetch(times, named["uid"]), "the later end, the earlier beginning"
    assert (named["uid"], "Named", "g@x.y", "fp_m", {"a": "named", "b": "guest"}, True, "pro") == (
        merged["uid"],
        merged["name"],
        merged["email"],
        merged["fingerprint"],
        merged["metadata"],
        merged["has_access"],
        merged["product_id"],
    )
    assert [("both", named["uid"]), ("guests", guest["uid"])] == [
        (each["id"], each["name"]) for each in merged["entities"]
    ]
    assert merged["uid"] == (await service.get(f"/customers/{guest['uid']}")).body["uid"]
    assert merged["uid"] == (await service.post("/customers", {"fingerprint": "fp_m"})).body["uid"]
    (row,) = await harness.fetch("select * from billing.merges where into_uid = $1::text::uuid", named["uid"])
    assert (guest["uid"], None, None) == (
        str(row["merged_uid"]),
        row["merged_custom_uid"],
        row["merged_stripe_customer_id"],
    )
    await service.until_gone(f"uid/{guest['uid']}")
    assert 0 == await harness.fetchval(
        "select count(*) from billing.customers where uid = $1::text::uuid", guest["uid"]
    )


@pytest.mark.parametrize("who", ["the guest", "the named"])
async def test_merged_with_stripe(service: Service, who: str) -> None:
    """Status and revenue come along with the customer of Stripe's, on whichever side it is."""
    name = who.split()[-1]
    at_stripe = {side: who == side for side in ("the guest", "the named")}
    if at_stripe["the guest"]:
        guest = await paying(service, f"g_{name}")
    else:
        guest = (await service.post("/customers", {"fingerprint": f"fp_stripe_{name}"})).body
    if at_stripe["the named"]:
        await paying(service, f"n_{name}")
        named = (await service.put(f"/customers/m-{name}", {"stripe_id": f"cus_n_{name}"})).body
    else:
        named = (await service.put(f"/customers/m-{name}")).body
    merged = await identified(service, guest["uid"], f"m-{name}")
    assert (named["uid"], f"m-{name}", f"cus_{'g' if at_stripe['the guest'] else 'n'}_{name}", 2000) == (
        merged["uid"],
        merged["custom_uid"],
        merged["stripe_customer_id"],
        merged["lifetime_revenue"],
    )
    assert [2000] == [each["net"] for each in merged["revenue"]]
    assert 1 == await service.harness.fetchval(
        "select count(*) from billing.customers where stripe_customer_id = $1", merged["stripe_customer_id"]
    )
    await service.until_uid(merged["uid"], exact=True)


async def test_merged_one_after_another(service: Service) -> None:
    """A chain of merges ends at the customer that is left, also for the first uid; all at once, one wins."""
    guests = [
        (await service.post("/customers", {"fingerprint": f"fp_chain_{n}"})).body["uid"] for n in range(6)
    ]
    answers = await asyncio.gather(
        *(service.post(f"/customers/{uid}/identify", {"custom_uid": "chain"}) for uid in guests)
    )
    assert {200} == {each.status for each in answers}
    (left,) = {each.body["uid"] for each in answers}
    for uid in guests:
        assert left == (await service.get(f"/customers/{uid}")).body["uid"]
    assert 1 == await service.harness.fetchval(
        "select count(*) from billing.identities where fingerprint like 'fp_chain%' or custom_uid = 'chain'"
    )
    assert 5 == await service.harness.fetchval(
        "select count(*) from billing.merges where into_uid = $1::text::uuid", left
    )


WAITING = """
select exists (
  select from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock' and application_name like 'subledger web%'
)
"""


async def test_merged_while_it_comes_again(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest who is merged just while the fingerprint comes again is not made anew, and leads to the one that is left;
    one that was made anew all the same is merged once more.
    """
    monkeypatch.setattr(shown, "DERIVED_SECONDS", 0.0)
    async with open_service(database_url, api_key=None, working=False) as service:
        named = (await service.put("/customers/named?mode=test")).body["uid"]
        guest = (await service.post("/customers?mode=test", {"fingerprint": "fp"})).body["uid"]
        merging: list[asyncio.Task[Answered]] = []

        async def merge(_: faults.Call) -> None:
            task = asyncio.create_task(
                service.post(f"/customers/{guest}/identify?mode=test", {"custom_uid": "named"})
            )
            merging.append(task)

            async def ended_or_waits() -> bool:
                return task.done() or await service.harness.fetchval(WAITING)

            await until(ended_or_waits, what="the merge, or its wait")

        with faults.after(SELECT_MERGED_INTO, merge, times=1):
            assert 200 == (await service.post("/customers?mode=test", {"fingerprint": "fp"})).status
        assert (200, named) == ((await merging[0]).status, merging[0].result().body["uid"])
        identities = "select uid::text from billing.identities order by uid"
        assert [named] == [row["uid"] for row in await service.harness.fetch(identities)]
        again = await service.post("/customers?mode=test", {"fingerprint": "fp"})
        assert (200, named) == (again.status, again.body["uid"])

        await service.harness.execute(
            "insert into billing.identities (live_mode, uid) values (false, $1::text::uuid)", guest
        )
        once_more = await service.post(f"/customers/{guest}/identify?mode=test", {"custom_uid": "named"})
        assert (200, named) == (once_more.status, once_more.body["uid"])
        assert [named] == [row["uid"] for row in await service.harness.fetch(identities)]


async def test_merged_just_after_a_grant(service: Service) -> None:
    """The answer to a grant shows it, also if its customer is merged before the answer: as the remaining customer's."""
    named = (await service.put("/customers/granted")).body["uid"]
    guest = (await service.post("/customers", {"fingerprint": "fp-granted"})).body["uid"]

    async def merge(_: faults.Call) -> None:
        await identified(service, guest, "granted")

    with faults.after_commit(GIVE_GRANT, merge, times=1):
        answer = await service.post(f"/customers/{guest}/grants", {"product_id": "pro", "days": 3})
    assert (200, named, "pro") == (answer.status, answer.body["uid"], answer.body["product_id"])
    assert answer.body["sandbox_end"] is not None
