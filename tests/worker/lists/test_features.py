"""Features: entitlements are read whole, per customer, and the record shows them."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from starlette.types import Receive, Scope, Send

from billing.kinds.lists import listed_kinds
from billing.kinds.registry import KINDS
from db.connection import Pool, connect
from db.keys import CustomerKey
from db.sync.scans import ScanRequest, request_scan
from tests.harness import Api, Body, Harness, customer, error, event, listing, open_harness, subscription
from tests.worker.test_rebuild import run as rebuild
from worker.forget import forget
from worker.lists import clocks

ENTITLED_PATH = "/v1/entitlements/active_entitlements"
PAGE_MAX = 10
"""This Stripe cuts every list there, whatever the requested limit, so that paging shows in small worlds."""


def feature(feature_id: str, **fields: object) -> Body:
    """A feature as Stripe shows it."""
    return {
        "object": "entitlements.feature",
        "id": feature_id,
        "lookup_key": feature_id.removeprefix("feat_"),
        "name": f"Feature {feature_id}",
        "active": True,
        "livemode": False,
        "metadata": {},
    } | fields


def entitlement(feature_id: str) -> Body:
    return {
        "object": "entitlements.active_entitlement",
        "id": f"ent_{feature_id}",
        "feature": feature_id,
        "livemode": False,
        "lookup_key": feature_id.removeprefix("feat_"),
    }


def summary(customer_id: str, feature_ids: list[str]) -> Body:
    """The summary of an event, which Stripe cuts at ten."""
    return {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer_id,
        "entitlements": listing(
            [entitlement(each) for each in feature_ids[:10]],
            has_more=len(feature_ids) > 10,
            url=f"/v1/customer/{customer_id}/entitlements",
        ),
        "livemode": False,
    }


def told(customer_id: str, feature_ids: list[str], **when: Any) -> bytes:
    return event("entitlements.active_entitlement_summary.updated", summary(customer_id, feature_ids), **when)


class Stripe:
    """An account behind an `Api`: its objects in their lists, and the customers' entitlements."""

    def __init__(self) -> None:
        self.entitled: dict[str, list[str]] = {}
        self.objects: list[Body] = []
        self.refuses_unknown_customers = 400

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        path = scope["path"]
        wanted = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        status, body = 404, error("resource_missing", path)
        found = [each for each in self.objects if path == f"{_list_path(each)}/{each['id']}"]
        if path == ENTITLED_PATH:
            status, body = self._entitlements(wanted)
        elif path == clocks.LIST_PATH:
            status, body = 200, listing([], has_more=False, url=path)
        elif found:
            status, body = 200, found[-1]
        elif any(path == kind.list_path for kind in KINDS.values()):
            rows = [each for each in self.objects if path == _list_path(each)]
            if "customer" in wanted:
                rows = [each for each in rows if each.get("customer") == wanted["customer"]]
            status, body = 200, _page(rows, wanted, url=path)
        content = json.dumps(body).encode()
        headers = [
            (b"content-length", str(len(content)).encode()),
            (b"date", b"Mon, 21 Sep 2026 12:00:00 GMT"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _entitlements(self, wanted: dict[str, str]) -> tuple[int, Body]:
        if not any(each["id"] == wanted.get("customer") and not each.get("deleted") for each in self.objects):
            return self.refuses_unknown_customers, error("resource_missing", "No such customer")
        rows = [entitlement(each) for each in self.entitled.get(wanted["customer"], [])]
        return 200, _page(rows, wanted, url=ENTITLED_PATH)


def _list_path(body: Body) -> str | None:
    return next(kind.list_path for kind in KINDS.values() if kind.stripe_object == body["object"])


def _page(rows: list[Body], wanted: dict[str, str], *, url: str) -> Body:
    after = wanted.get("starting_after")
    start = 0 if after is None else [row["id"] for row in rows].index(after) + 1
    end = start + min(int(wanted.get("limit", 10)), PAGE_MAX)
    return listing(rows[start:end], has_more=end < len(rows), url=url)


TWELVE = [f"feat_{n:02}" for n in range(1, 13)]


@pytest.fixture
def stripe() -> Stripe:
    """An account with twelve features and one customer with a subscription."""
    account = Stripe()
    account.objects = [customer(), subscription(), *(feature(each) for each in TWELVE)]
    return account


@pytest.fixture
async def entitling(pool: Pool, database_url: str, stripe: Stripe) -> AsyncIterator[Harness]:
    """A harness before this account."""
    async with open_harness(pool, database_url, api=Api(stripe)) as harness:
        yield harness


async def features_of(harness: Harness, customer_id: str = "cus_1") -> list[str]:
    rows = await harness.fetch(
        "select feature_id from billing.customer_features where stripe_customer_id = $1 order by 1",
        customer_id,
    )
    return [row[0] for row in rows]


async def test_f116_twelve_entitlements_are_twelve(entitling: Harness, stripe: Stripe) -> None:
    """F116: the payload tells ten, provisionally; the read tells all, with the names of the features."""
    harness = entitling
    stripe.entitled = {"cus_1": TWELVE}
    await harness.apply(event("customer.created", customer()), told("cus_1", TWELVE))
    assert TWELVE[:10] == await features_of(harness)
    assert (await harness.record())["exact"] is False
    await harness.settle()
    assert TWELVE == await features_of(harness)
    assert (await harness.record())["exact"] is True
    rows = await harness.fetch("select lookup_key, name from billing.customer_features order by 1")
    assert [(each.removeprefix("feat_"), f"Feature {each}") for each in TWELVE] == [
        tuple(row) for row in rows
    ]
    (uid,) = {row[0] for row in await harness.fetch("select customer_uid from billing.customer_features")}
    assert (await harness.record())["uid"] == uid


async def test_cut_payload_removes_nothing(entitling: Harness, stripe: Stripe) -> None:
    """A list that goes on adds and never removes; one that is whole may remove at once; the read decides."""
    harness = entitling
    stripe.entitled = {"cus_1": TWELVE}
    await harness.apply(event("customer.created", customer()), told("cus_1", TWELVE))
    await harness.settle()
    await harness.apply(told("cus_1", TWELVE[1:], after=9))
    assert TWELVE == await features_of(harness)
    await harness.apply(told("cus_1", TWELVE[:3], after=10))
    assert TWELVE[:3] == await features_of(harness)
    await harness.settle()
    assert TWELVE == await features_of(harness)
    stripe.entitled = {"cus_1": []}
    await harness.apply(told("cus_1", [], after=11))
    await harness.settle()
    assert [] == await features_of(harness)
    assert (await harness.record())["exact"] is True


async def test_burst_of_summaries_is_read_once(entitling: Harness, stripe: Stripe) -> None:
    """As any object: events coalesce, an older one is not shown over a newer, and the customer is inexact meanwhile."""
    harness = entitling
    stripe.entitled = {"cus_1": TWELVE[:2]}
    await harness.apply(event("customer.created", customer()))
    await harness.settle()
    for seconds, known in ((5, TWELVE[:1]), (3, TWELVE[:4]), (7, TWELVE[:2])):
        await harness.apply(told("cus_1", known, after=seconds))
    assert TWELVE[:2] == await features_of(harness)
    await harness.apply(told("cus_1", TWELVE[:5], after=6))
    assert TWELVE[:2] == await features_of(harness), "older than what is shown"
    await harness.settle()
    assert 1 == harness.api.asked.count(ENTITLED_PATH)


async def test_unknown_customer_of_a_summary_is_fetched(entitling: Harness, stripe: Stripe) -> None:
    """A summary may be the first that is heard of a customer."""
    stripe.entitled = {"cus_1": TWELVE[:1]}
    await entitling.apply(told("cus_1", TWELVE[:1]))
    await entitling.settle()
    assert TWELVE[:1] == await features_of(entitling)
    assert 1 == await entitling.fetchval("select count(*) from stripe.customers")


@pytest.mark.parametrize("status", [400, 404])
async def test_deleted_customer_is_entitled_to_nothing(
    entitling: Harness, stripe: Stripe, status: int
) -> None:
    """Stripe knows no entitlements of a deleted customer: its record has none, and is exact."""
    harness = entitling
    stripe.refuses_unknown_customers = status
    stripe.entitled = {"cus_1": TWELVE[:2]}
    await harness.apply(event("customer.created", customer()), told("cus_1", TWELVE[:2]))
    await harness.settle()
    assert TWELVE[:2] == await features_of(harness)
    stripe.objects.append({"object": "customer", "id": "cus_1", "deleted": True})
    stripe.objects = [each for each in stripe.objects if each != customer()]
    await harness.apply(event("customer.deleted", customer(), after=5), told("cus_1", TWELVE[:1], after=6))
    await harness.settle()
    assert [] == await features_of(harness)
    assert 0 == await harness.fetchval("select count(*) from stripe.active_entitlements")
    assert (await harness.record())["exact"] is True


async def test_entitlements_that_cannot_be_read_make_inexact(entitling: Harness, stripe: Stripe) -> None:
    """A 404 for a customer that exists proves nothing: what is known stays, and the record is not exact."""
    harness = entitling
    stripe.entitled = {"cus_1": TWELVE[:2]}
    await harness.apply(event("customer.created", customer()), told("cus_1", TWELVE[:2]))
    await harness.settle()
    for _ in range(9):
        harness.api.say(ENTITLED_PATH, 404, error("resource_missing", "No such customer"))
    await harness.apply(told("cus_1", TWELVE[:2], after=5))
    await harness.confirm()
    assert TWELVE[:2] == await features_of(harness)
    assert (await harness.record())["exact"] is False
    assert "No such customer" in (await harness.object("active_entitlement_summary", "cus_1"))["error"]


async def test_renamed_feature_is_renamed_in_the_records(entitling: Harness, stripe: Stripe) -> None:
    """A feature concerns the customers entitled to it, and no others; no event of theirs is needed."""
    harness = entitling
    stripe.objects += [customer("cus_2"), customer("cus_3")]
    stripe.entitled = {"cus_1": TWELVE[:1], "cus_2": TWELVE[:2], "cus_3": TWELVE[1:2]}
    for customer_id in ("cus_1", "cus_2", "cus_3"):
        await harness.apply(event("customer.created", customer(customer_id)))
        await harness.apply(told(customer_id, stripe.entitled[customer_id]))
    await harness.settle()
    before = {n: (await harness.record(f"cus_{n}"))["change"] for n in (1, 2, 3)}
    renamed = feature("feat_01", name="Seats", lookup_key="seats")
    stripe.objects.append(renamed)
    await harness.apply(event("entitlements.feature.updated", renamed, after=9))
    await harness.settle()
    rows = await harness.fetch(
        "select stripe_customer_id, name from billing.customer_features where lookup_key = 'seats' order by 1"
    )
    assert [("cus_1", "Seats"), ("cus_2", "Seats")] == [tuple(row) for row in rows]
    changed = {n for n in (1, 2, 3) if (await harness.record(f"cus_{n}"))["change"] > before[n]}
    assert {1, 2} == changed


async def test_rebuild_changes_no_feature(entitling: Harness, stripe: Stripe) -> None:
    """Features are derived with the record: a rebuild gives the same rows, and gives lost ones back."""
    harness = entitling
    stripe.entitled = {"cus_1": TWELVE}
    await harness.apply(event("customer.created", customer()), told("cus_1", TWELVE))
    await harness.settle()
    assert 0 == (await rebuild(harness))[-1].changed
    before = await harness.fetch("select * from billing.customer_features order by feature_id")
    await harness.execute("delete from billing.customer_features where feature_id > 'feat_06'")
    await harness.execute(
        "update billing.customer_features set name = 'spoiled' where feature_id = 'feat_02'"
    )
    assert 1 == (await rebuild(harness))[-1].changed
    assert before == await harness.fetch("select * from billing.customer_features order by feature_id")


async def test_history_brings_features(entitling: Harness, stripe: Stripe) -> None:
    """A customer first seen in the middle is complete only with its entitlements, if the account has any feature."""
    harness = entitling
    stripe.entitled = {"cus_1": TWELVE, "cus_2": TWELVE[:1]}
    stripe.objects += [customer("cus_2")]
    await harness.apply(event("customer.subscription.updated", subscription()))
    await harness.execute("update sync.customers set history_at = now()")
    await harness.engine.sweep_bulk()
    await harness.settle()
    assert ENTITLED_PATH not in harness.api.asked
    await harness.apply(event("customer.updated", customer("cus_2")), told("cus_2", TWELVE[:1]))
    await harness.execute("update sync.customers set history_at = now()")
    await harness.engine.sweep_bulk()
    await harness.settle()
    assert TWELVE == await features_of(harness)
    assert [True, True] == [(await harness.record(f"cus_{n}"))["exact"] for n in (1, 2)]


async def scan(harness: Harness, **given: Any) -> Any:
    """Have the account read to the end."""
    async with harness.pool.acquire() as connection:
        wanted = ScanRequest(**({"kinds": listed_kinds()} | given))
        asked = await request_scan(connection, wanted, live_mode=False)
    for _ in range(20):
        await harness.execute("update sync.scans set due_at = now() where finished_at is null")
        await harness.engine.scan()
        await harness.settle()
        row = (await harness.fetch("select * from sync.scans where id = $1", asked.id))[0]
        if row["finished_at"] is not None:
            return row
    raise AssertionError("the scan has not ended")


async def test_backfill_reads_entitlements_of_subscribers(entitling: Harness, stripe: Stripe) -> None:
    """From nothing: only customers with a subscription that has not ended are read, and cut lists are read on."""
    harness = entitling
    stripe.objects += [
        customer("cus_2"),
        subscription("sub_2", "cus_2", status="canceled", ended_at=1_790_000_000),
        customer("cus_3"),
    ]
    stripe.entitled = {"cus_1": TWELVE}
    ended = await scan(harness)
    assert ("complete", None) == (ended["status"], ended["error"])
    assert TWELVE == await features_of(harness)
    assert 2 == harness.api.asked.count(ENTITLED_PATH), "two pages of one customer"
    assert [True] * 3 == [(await harness.record(f"cus_{n}"))["exact"] for n in (1, 2, 3)]


async def test_backfill_of_an_account_without_features_asks_for_none(
    entitling: Harness, stripe: Stripe
) -> None:
    """An account that does not use entitlements pays nothing for them but the one page that says so."""
    stripe.objects = [customer(), subscription()]
    ended = await scan(entitling)
    assert "complete" == ended["status"]
    assert ENTITLED_PATH not in entitling.api.asked


async def test_backfill_of_features_alone(entitling: Harness, stripe: Stripe) -> None:
    """Requested by their name, entitlements come with the list of features, of customers that are known."""
    stripe.entitled = {"cus_1": TWELVE[:3]}
    await entitling.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await entitling.settle()
    assert [] == await features_of(entitling)
    ended = await scan(entitling, kinds=listed_kinds(["active_entitlement_summary"]))
    assert "complete" == ended["status"]
    assert TWELVE[:3] == await features_of(entitling)


async def test_first_feature_has_everybody_read(entitling: Harness, stripe: Stripe) -> None:
    """A customer that was exact before the first feature was known is read after it, in the bulk lane, and once."""
    harness = entitling
    stripe.objects += [customer("cus_2")]
    stripe.entitled = {"cus_1": TWELVE[:2], "cus_2": TWELVE[:1]}
    await harness.apply(
        event("customer.created", customer()), event("customer.subscription.created", subscription())
    )
    await harness.settle()
    await harness.engine.scan()
    assert 0 == await harness.fetchval("select count(*) from sync.scans")
    await harness.apply(event("customer.created", customer("cus_2")), told("cus_2", TWELVE[:1]))
    await harness.settle()
    assert [] == await features_of(harness)
    for _ in range(3):
        await harness.another_engine().scan()
    await harness.settle()
    assert TWELVE[:2] == await features_of(harness)
    assert ["complete"] == [row[0] for row in await harness.fetch("select status from sync.scans")]


async def test_audit_finds_and_mends_entitlements(entitling: Harness, stripe: Stripe) -> None:
    """What no event reported is drift: one more, one less, a renamed feature; after the repair, an audit finds none."""
    harness = entitling
    stripe.objects += [customer("cus_2"), subscription("sub_2", "cus_2"), customer("cus_3")]
    stripe.entitled = {"cus_1": TWELVE, "cus_2": TWELVE[:2]}
    await scan(harness)
    stripe.entitled = {"cus_1": TWELVE[1:], "cus_2": TWELVE[:3]}
    stripe.objects.append(feature("feat_02", name="Seats"))
    stripe.objects = [each for each in stripe.objects if each != feature("feat_02")]
    found = await scan(harness, purpose="audit", repair=True)
    assert ("complete", None) == (found["status"], found["error"])
    rows = await harness.fetch(
        "select kind, id, what, fields from sync.drift where scan_id = $1 order by 1, 2", found["id"]
    )
    assert [
        ("active_entitlement_summary", "cus_1", "differs", ["parts"]),
        ("active_entitlement_summary", "cus_2", "differs", ["parts"]),
        ("feature", "feat_02", "differs", ["name"]),
    ] == [tuple(row) for row in rows]
    await harness.settle()
    assert (TWELVE[1:], TWELVE[:3]) == (await features_of(harness), await features_of(harness, "cus_2"))
    assert 2 == await harness.fetchval("select count(*) from billing.customer_features where name = 'Seats'")
    again = await scan(harness, purpose="audit")
    assert 0 == await harness.fetchval("select count(*) from sync.drift where scan_id = $1", again["id"])


async def test_audit_compares_the_derived_features(entitling: Harness, stripe: Stripe) -> None:
    """Rows of billing.customer_features that the mirror does not imply are drift of the record."""
    stripe.entitled = {"cus_1": TWELVE}
    await scan(entitling)
    await entitling.execute("delete from billing.customer_features where feature_id = 'feat_05'")
    found = await scan(entitling, purpose="audit", repair=True)
    rows = await entitling.fetch("select kind, id, fields from sync.drift where scan_id = $1", found["id"])
    assert [("record", "cus_1", ["customer_features"])] == [tuple(row) for row in rows]
    await entitling.settle()
    assert TWELVE == await features_of(entitling)


async def test_forgotten_customer_has_no_features(entitling: Harness, stripe: Stripe) -> None:
    """Forgetting takes them away, and neither a later event nor an audit brings them back."""
    harness = entitling
    stripe.entitled = {"cus_1": TWELVE}
    await scan(harness)
    connection = await connect(harness.settings.database_url, application_name="forget")
    try:
        await forget(connection, CustomerKey("", False, "cus_1"))
    finally:
        await connection.close()
    await harness.settle()
    await harness.apply(told("cus_1", TWELVE, after=60))
    await scan(harness, purpose="audit", repair=True)
    for table in ("billing.customer_features", "stripe.active_entitlements"):
        assert 0 == await harness.fetchval(f"select count(*) from {table}")
    assert 0 == await harness.fetchval(
        "select count(*) from stripe.active_entitlement_summaries where raw is not null"
    )


async def test_audit_knows_features_by_their_list(entitling: Harness, stripe: Stripe) -> None:
    """Stripe does not say when a feature was created: the last page of its list tells what is surplus."""
    harness = entitling
    await scan(harness)
    asked = len(harness.api.asked)
    await scan(harness, purpose="audit")
    assert 0 == await harness.fetchval("select count(*) from sync.drift")
    pages = [path for path in harness.api.asked[asked:] if path.startswith("/v1/entitlements/features")]
    assert ["/v1/entitlements/features"] * 2 == pages
    await harness.execute(
        "insert into stripe.features (account_id, live_mode, id) values ('', false, 'feat_00'), ('', false, 'feat_99')"
    )
    found = await scan(harness, purpose="audit", repair=True)
    rows = await harness.fetch("select id, what from sync.drift where scan_id = $1 order by 1", found["id"])
    assert [("feat_00", "surplus"), ("feat_99", "surplus")] == [tuple(row) for row in rows]
    assert 12 == await harness.fetchval("select count(*) from stripe.features")


async def test_audit_compares_the_derived_entities(entitling: Harness, stripe: Stripe) -> None:
    """The same of rows of billing.subscription_entities."""
    stripe.objects.append(subscription("sub_team", "cus_1", metadata={"entity_id": "team"}))
    await scan(entitling)
    entities = "select id, name from billing.entities"
    assert [("team", None)] == [tuple(row) for row in await entitling.fetch(entities)]
    await entitling.execute("update billing.subscription_entities set name = 'invented'")
    found = await scan(entitling, purpose="audit", repair=True)
    rows = await entitling.fetch("select kind, id, fields from sync.drift where scan_id = $1", found["id"])
    assert [("record", "cus_1", ["entities"])] == [tuple(row) for row in rows]
    await entitling.settle()
    assert [("team", None)] == [tuple(row) for row in await entitling.fetch(entities)]
