"""POST /customers/ID/track: what is used counts once, at once, and reaches Stripe's meters."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from billing.record import customer_uid
from db.keys import CustomerKey
from db.records.feature_usage import SELECT_FEATURE_USAGE
from db.records.moved import MOVE_USAGE
from db.records.tracking import ADD_USAGE
from tests import faults
from tests.harness import customer, event
from tests.system import until
from tests.webhooks.api.client import READ_TOKEN, Answered, Service
from tests.webhooks.api.test_check import FEATURE, bought, record
from worker.forget import forget

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADDED_OR_WAITS = """
select not exists (select from billing.usage_events where pending) or exists (
  select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'
)
"""


async def track(service: Service, name: str, feature: str = "api", value: int = 1, **more: Any) -> Answered:
    return await service.post(f"/customers/{name}/track", {"feature_id": feature, "value": value, **more})


async def left(service: Service, name: str, feature: str = "api", query: str = "") -> Any:
    answer = await service.get(f"/customers/{name}/check?feature_id={feature}{query}", token=READ_TOKEN)
    assert 200 == answer.status
    return answer.body["balance"]


async def none_pending(service: Service) -> None:
    """Return once a worker has added up everything."""

    async def done() -> bool:
        rows: bool = await service.harness.fetchval(
            "select exists (select from billing.usage_events where pending)"
        )
        return not rows

    await until(done, what="usage that is added up")


async def test_counts_at_once(service: Service) -> None:
    """check subtracts what was used in the current period, before a worker has seen it and after; nothing is left, and
    it may not be used. billing.access says the same.
    """
    uid = await record(service, "user")
    await bought(service, uid, "pro", options='{"api": 10}')
    assert 10 == await left(service, "user")
    for value, rest in ((3, 7), (5, 2), (-1, 3)):
        assert 201 == (await track(service, "user", value=value)).status
        assert rest == await left(service, "user")
    await none_pending(service)
    assert 3 == await left(service, "user")
    assert 201 == (await track(service, str(uid), value=3)).status
    said = (await service.get("/customers/user/check?feature_id=api")).body
    assert (False, "balance", 0) == (said["allowed"], said["reason"], said["balance"])
    (row,) = await service.harness.fetch(
        "select allowed, reason, granted, used, balance from billing.access "
        "where customer_uid = $1 and feature_id = 'api'",
        uid,
    )
    assert (False, "balance", 10, 10, 0) == tuple(row)
    usage = (await service.get("/customers/user?expand=usage")).body["feature_usage"]
    assert [("api", None, 10)] == [(each["feature_id"], each["entity_id"], each["used"]) for each in usage]


async def test_a_key_counts_once(service: Service) -> None:
    """However many calls with one key come at the same time: one counts, and all are told what is counted. With another
    body the key is refused; without a key each call counts.
    """
    uid = await record(service, "keyed")
    await bought(service, uid, "pro", options='{"api": 100}')
    answers = await asyncio.gather(
        *(track(service, "keyed", value=3, idempotency_key="k1") for _ in range(20))
    )
    assert [200] * 19 + [201] == sorted(each.status for each in answers)
    assert 1 == len({str(each.body) for each in answers})
    assert 97 == await left(service, "keyed")
    await none_pending(service)
    for wrong in (
        {"value": 4},
        {"value": 3, "feature": "other"},
        {"value": 3, "entity_id": "red"},
        {"value": 3, "timestamp": datetime.now(UTC).isoformat()},
    ):
        refused = await track(service, "keyed", idempotency_key="k1", **wrong)
        assert (409, "body.idempotency_key") == (refused.status, refused.body["field"])
    other = await record(service, "keyed-too")
    assert 409 == (await track(service, str(other), value=3, idempotency_key="k1")).status
    assert 200 == (await track(service, str(uid), value=3, idempotency_key="k1")).status
    assert [201, 201] == [(await track(service, "keyed")).status for _ in range(2)]
    assert 95 == await left(service, "keyed")


async def test_only_the_current_period(service: Service) -> None:
    """What was used before the period does not count; it begins at its minute, as Stripe's meters have it."""
    uid = await record(service, "monthly")
    await bought(service, uid, "pro", options='{"api": 10}')
    began = datetime.now(UTC) - timedelta(days=3)
    await service.harness.execute(
        "update billing.customer_products set current_period_start = $2 where customer_uid = $1", uid, began
    )
    for after, rest in ((-timedelta(minutes=2), 10), (timedelta(minutes=1), 9), (timedelta(days=2), 8)):
        assert 201 == (await track(service, "monthly", timestamp=(began + after).isoformat())).status
        assert rest == await left(service, "monthly")
    await none_pending(service)
    assert 8 == await left(service, "monthly")
    for wrong in (timedelta(days=-35), timedelta(hours=1)):
        refused = await track(service, "monthly", timestamp=(datetime.now(UTC) + wrong).isoformat())
        assert (409, "body.timestamp") == (refused.status, refused.body["field"])


async def test_entities_use_their_own_first(service: Service) -> None:
    """What an entity uses is taken from what was bought for it, then from what is for the whole customer; one that
    bought nothing takes it from there at once. All together is what is left.
    """
    uid = await record(service, "teams")
    await bought(service, uid, "pro", entity="red", options='{"api": 5}')
    await bought(service, uid, "base", options='{"api": 10}')
    seen = []
    for value, entity in ((3, "red"), (4, "blue"), (4, "red"), (1, None)):
        more = {} if entity is None else {"entity_id": entity}
        assert 201 == (await track(service, "teams", value=value, **more)).status
        seen.append(
            [await left(service, "teams", query=query) for query in ("&entity_id=red", "&entity_id=blue", "")]
        )
    assert [[12, 10, 12], [8, 6, 8], [4, 4, 4], [3, 3, 3]] == seen
    await none_pending(service)
    said = (await service.get("/customers/teams/check?feature_id=api&entity_id=red&required=4")).body
    assert (False, "balance", 3) == (said["allowed"], said["reason"], said["balance"])


async def test_i14_use_is_added_up_once(service: Service) -> None:
    """I14: the use of a feature is gone through once, and not once for each entity that it was bought for."""
    uid = await record(service, "many")
    for number in range(12):
        await bought(service, uid, "pro", entity=f"team_{number}", options='{"api": 5}')
    await service.harness.execute(
        "insert into billing.usage_minutes (customer_uid, feature_id, entity_id, minute, value) "
        "select $1, 'api', 'team_' || n % 12, date_trunc('minute', now()) - n * interval '1 minute', 1 "
        "from generate_series(0, 59) n",
        uid,
    )
    for statement in ("select * from billing.access where customer_uid = $1", SELECT_FEATURE_USAGE):
        plan = await service.harness.fetchval(f"explain (analyze, timing off, format json) {statement}", uid)
        assert rows_of("usage_minutes", json.loads(plan)[0]["Plan"]) <= 2 * 60
    assert 0 == await left(service, "many")


MANY_PRICES = """
with meter as (
  insert into stripe.meters (account_id, live_mode, id, event_name, status, formula)
  values ('', false, 'mtr_many', 'many', 'active', 'sum')
)
insert into stripe.prices (account_id, live_mode, id, meter_id, metadata)
select '', false, 'price_many_' || n, 'mtr_many', jsonb_build_object('feature_id', 'feature_' || n % 12)
from generate_series(1, 240) n
"""

MANY_FEATURES = """
insert into billing.usage_events (account_id, live_mode, idempotency_key, customer_uid, feature_id, value)
select '', false, 'many ' || n, $1, 'feature_' || n % 12, 1 from generate_series(1, 120) n
"""

ADDED_UP_LONG_AGO = """
insert into billing.usage_events
  (account_id, live_mode, idempotency_key, customer_uid, feature_id, value, pending)
select '', false, 'old ' || n, $1, 'old', 1, false from generate_series(1, 1000) n
"""


async def test_i14_a_batch_of_use_is_gone_through_once(service: Service) -> None:
    """I14: what is tracked is added up in one pass over it, and finds its meters in one over the metered prices."""
    uid = await record(service, "busy")
    async with service.harness.pool.acquire() as connection:
        attempt = connection.transaction()
        await attempt.start()
        # As is usual: nothing is pending when the planner learns of the table.
        await connection.execute(ADDED_UP_LONG_AGO, uid)
        await connection.execute("analyze billing.usage_events")
        await connection.execute(MANY_PRICES)
        await connection.execute(MANY_FEATURES, uid)
        plan = await connection.fetchval(
            f"explain (analyze, timing off, format json) {ADD_USAGE}", 200, timedelta(minutes=15)
        )
        told = await connection.fetchval(
            "select sum(value) from sync.meter_events where customer_uid = $1", uid
        )
        await attempt.rollback()
    assert 120 == told
    (plan,) = json.loads(plan)
    assert rows_of("prices", plan["Plan"]) <= 3 * 240
    assert rows_of("usage_events", plan["Plan"]) <= 4 * 120


def rows_of(table: str, node: dict[str, Any]) -> int:
    """How many rows of a table a plan has gone through."""
    own = 0.0
    if node.get("Relation Name") == table:
        own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return round(own) + sum(rows_of(table, each) for each in node.get("Plans", ()))


async def test_limits(service: Service) -> None:
    """An entitlement has the limit that its feature states, and none if it states none: then nothing is subtracted."""
    uid = await record(service, "entitled")
    await service.harness.execute(
        "insert into stripe.features (account_id, live_mode, id, lookup_key, metadata) "
        "values ('', false, 'feat_limited', 'limited', '{\"quota_limit\": \"5\"}')"
    )
    await service.harness.execute(FEATURE, uid, "feat_limited", "limited")
    await service.harness.execute(FEATURE, uid, "feat_free", "free")
    for feature, rest in (("limited", 3), ("free", None)):
        await track(service, "entitled", feature, 2)
        assert rest == await left(service, "entitled", feature)
    assert not (await service.get("/customers/entitled/check?feature_id=limited&required=4")).body["allowed"]
    assert (await service.get("/customers/entitled/check?feature_id=free&required=4")).body["allowed"]


async def test_moves_last_seen(service: Service) -> None:
    """Using something and being checked are activity; a check writes nothing while somebody waits for it."""
    made = await service.put("/customers/active")
    uid = made.body["uid"]
    assert None is made.body["last_seen"]
    used = datetime.now(UTC) - timedelta(hours=2)
    await track(service, "active", timestamp=used.isoformat())
    await service.until_uid(uid, last_seen=used)
    await service.get("/customers/active/check?product_id=pro")

    async def moved() -> bool:
        seen: bool = await service.harness.fetchval(
            "select last_seen > $2 from billing.customers where uid = $1::text::uuid", uid, used
        )
        return seen

    await until(moved, what="a check that moves last_seen")
    # At most every quarter of an hour: each time the record is derived again.
    before = (await service.get("/customers/active")).body["change"]
    await track(service, "active")
    await none_pending(service)
    await service.harness.engine.derive()
    assert before == (await service.get("/customers/active")).body["change"]


async def test_use_follows_the_customer(service: Service) -> None:
    """What somebody used before it signed up, or while it does, counts for the customer that it turns out to be, beside
    its own.
    """
    moment = datetime.now(UTC).isoformat()
    anonymous = (await service.post("/customers", {"fingerprint": "fp_track"})).body["uid"]
    assert 201 == (await service.put("/customers/signed-up")).status
    for name in (anonymous, "signed-up"):
        assert 201 == (await track(service, name, value=2, timestamp=moment, idempotency_key=name)).status
    await none_pending(service)
    assert 201 == (await track(service, anonymous, value=5, idempotency_key="last")).status

    async def use_meanwhile(_: faults.Call) -> None:
        """Something is used when all is moved but not committed: a worker would add that up, if it did not wait."""
        assert 201 == (await track(service, anonymous, value=4, idempotency_key="meanwhile")).status
        await until(tried, what="a worker that adds up, or waits")

    async def tried() -> bool:
        return bool(await service.harness.fetchval(ADDED_OR_WAITS))

    with faults.after(MOVE_USAGE[-1], use_meanwhile, times=1):
        merged = await service.post(f"/customers/{anonymous}/identify", {"custom_uid": "signed-up"})
    assert 200 == merged.status
    await none_pending(service)
    for name in (anonymous, "signed-up"):
        usage = (await service.get(f"/customers/{name}?expand=usage")).body["feature_usage"]
        assert [("api", 13)] == [(each["feature_id"], each["used"]) for each in usage]
    # Its key is known under the new uid.
    assert 200 == (await track(service, anonymous, value=5, idempotency_key="last")).status


async def test_what_cannot_be_tracked(service: Service) -> None:
    """Whole units only, as Stripe's meters have it; of a customer that exists."""
    await record(service, "wrong")
    for body, field in (
        ({}, "body.feature_id"),
        ({"feature_id": "api", "value": 0.5}, "body.value"),
        ({"feature_id": "api", "value": 10**13}, "body.value"),
        ({"feature_id": ""}, "body.feature_id"),
        ({"feature_id": "api", "timestamp": "2026-01-01T00:00:00"}, "body.timestamp"),
    ):
        refused = await service.post("/customers/wrong/track", body)
        assert (422, field) == (refused.status, refused.body["field"])
    assert 404 == (await track(service, "nobody")).status
    assert 403 == (await service.post("/customers/wrong/track", {"feature_id": "a"}, token=READ_TOKEN)).status


async def test_nothing_is_kept_of_who_was_forgotten(service: Service) -> None:
    """What is tracked of a forgotten customer, by its Stripe id or by the uid under which its record goes on, is
    refused for good, with create=true too; nothing of it is stored, and nobody's last_seen moves.
    """
    body = customer("cus_forgotten")
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    await service.record_of("cus_forgotten")
    assert 201 == (await track(service, "cus_forgotten", value=2)).status
    await none_pending(service)
    key = CustomerKey("", False, "cus_forgotten")
    async with service.harness.pool.acquire() as connection:
        await forget(connection, key)
    uid = customer_uid(*key)
    await service.until_uid(str(uid), status=None)
    for name in ("cus_forgotten", str(uid), "cus_forgotten?", f"{uid}?"):
        path = f"/customers/{name.rstrip('?')}/track" + ("?create=true" if "?" in name else "")
        refused = await service.post(path, {"feature_id": "api", "entity_id": "annabelle"})
        assert 409 == refused.status, refused.body
        assert "path.customer_id: cus_forgotten is forgotten" in refused.problem("conflict")
    await none_pending(service)
    for table in ("billing.usage_events", "billing.usage_minutes", "billing.identities"):
        column = "uid" if table == "billing.identities" else "customer_uid"
        assert 0 == await service.harness.fetchval(
            f"select count(*) from {table} where {column} = $1", uid
        ), table


async def test_use_follows_a_link(service: Service) -> None:
    """What a customer of Stripe's used before it was linked counts for the customer that it is linked to."""
    body = customer("cus_used")
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    await service.record_of("cus_used")
    assert 201 == (await track(service, "cus_used", value=2, idempotency_key="before")).status
    await none_pending(service)
    assert 201 == (await track(service, "cus_used", value=3, idempotency_key="after")).status
    linked = await service.put("/customers/linked-later", {"stripe_id": "cus_used"})
    await service.until_uid(linked.body["uid"], stripe_customer_id="cus_used")
    usage = (await service.get("/customers/linked-later?expand=usage")).body["feature_usage"]
    assert [("api", 5)] == [(each["feature_id"], each["used"]) for each in usage]


async def test_the_first_that_is_heard_of_a_customer(service: Service) -> None:
    """With create=true a customer that does not exist is created, once, however many calls come at the same time, and
    what was used counts for it. What can be no custom_uid is nobody's name.
    """
    new = "/customers/first-heard/track?create=true"
    answers = await asyncio.gather(
        *(
            service.post(new, {"feature_id": "api", "value": 2, "idempotency_key": f"n{n % 3}"})
            for n in range(12)
        )
    )
    assert [200] * 9 + [201] * 3 == sorted(each.status for each in answers)
    (uid,) = {each.body["customer_uid"] for each in answers}
    assert 200 == (await service.put("/customers/first-heard")).status
    assert [(uid, "first-heard")] == [
        (str(row[0]), row[1])
        for row in await service.harness.fetch(
            "select uid, custom_uid from billing.customers where custom_uid = 'first-heard'"
        )
    ]
    usage = (await service.get(f"/customers/{uid}?expand=usage")).body["feature_usage"]
    assert [("api", 6)] == [(each["feature_id"], each["used"]) for each in usage]
    for name in ("cus_nobody", "not a name", "%C3%A9"):
        refused = await service.post(
            f"/customers/{name.replace(' ', '%20')}/track?create=true", {"feature_id": "api"}
        )
        assert (404, "path.customer_id") == (refused.status, refused.body["field"])
    assert 404 == (await service.post("/customers/unheard/track?create=false", {"feature_id": "api"})).status


async def test_tracked_while_the_uid_changes(service: Service) -> None:
    """A service links a customer by SQL, and so its uid changes. What is tracked when all has moved, and nothing of it
    is committed, is stored under the old uid, and counts under the new one.
    """
    body = customer("cus_renamed")
    service.harness.api.put(body)
    await service.harness.receive(event("customer.created", body))
    await service.record_of("cus_renamed")

    async def use_meanwhile(_: faults.Call) -> None:
        assert 201 == (await track(service, "cus_renamed", value=7, idempotency_key="renamed")).status

    uid = uuid4()
    with faults.after(MOVE_USAGE[-1], use_meanwhile, times=1):
        await service.harness.execute(
            "insert into billing.identities (uid, stripe_customer_id) values ($1, 'cus_renamed')", uid
        )
        await service.until_uid(str(uid), stripe_customer_id="cus_renamed")
    await none_pending(service)
    usage = (await service.get("/customers/cus_renamed?expand=usage")).body["feature_usage"]
    assert [("api", 7)] == [(each["feature_id"], each["used"]) for each in usage]
