"""What an audit cannot decide it names, and judges the rest; and what only happens meanwhile is no drift."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from billing.record import derive_record
from db.connection import Pool
from db.mirror import facts
from db.records.compare import SELECT_CUSTOMERS_BY_ID, AuditedCustomer, select_customers_after
from db.sync.audit_reports import report_audit
from db.sync.audits import SELECT_MENDING
from db.sync.customers import MARK_OVERDUE
from db.sync.scans import select_scan
from sandbox import Sandbox
from sandbox.api import RefusedError
from tests.conftest import Services, database_copy
from tests.faults import Call, after, before, broken, held_up, replaced
from tests.worker.account import Attached, attached, filled_database, lived_account
from tests.worker.lists.test_endings import refuse
from tests.worker.lists.test_spoiled import rewrite
from worker.audit import records
from worker.live import derive


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """One account for the tests of this module, which only read it."""
    return lived_account(customers=30, clocks=False)


@pytest.fixture(scope="module")
def filled(servers: Services, template: str, sandbox: Sandbox) -> str:
    """The name of a database with all of this account, and nothing left to do."""
    return asyncio.run(filled_database(servers, template, sandbox))


@pytest.fixture
async def database_url(servers: Services, filled: str) -> AsyncIterator[str]:
    """A copy of it."""
    async with database_copy(servers, filled, f"copy_{uuid4().hex}") as url:
        yield url


async def damaged_invoices(account: Attached, count: int) -> list[str]:
    """Damage some invoices; their ids."""
    rows = await account.fetch("select id from stripe.invoices order by id limit $1", count)
    ids = [row[0] for row in rows]
    await account.execute(
        "update stripe.invoices set amount_due = amount_due + 1 where id = any ($1::text[])", ids
    )
    return ids


async def test_read_that_may_be_late_shows_no_drift(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """I11: a row that differs from a read less than 30 s after its newest event is no drift, but undecided; half a
    minute later it is drift.
    """
    async with attached(pool, database_url, sandbox) as account:
        (invoice,) = await damaged_invoices(account, 1)
        for age, status, drift, undecided in ((29, "partial", [], 1), (30, "complete", [invoice], 0)):
            await account.execute(
                "update sync.objects set payload_created = to_timestamp($1) where kind = 'invoice' and id = $2",
                sandbox.now - age,
                invoice,
            )
            ended = await account.scanned(await account.request(purpose="audit"))
            rows = await account.fetch("select id, verified from sync.drift where scan_id = $1", ended["id"])
            assert (status, drift) == (ended["status"], [row["id"] for row in rows if row["verified"]])
            assert undecided == sum(not row["verified"] for row in rows)


@pytest.mark.parametrize("status", [200, 500, 403])
async def test_suspect_that_cannot_be_read(
    pool: Pool, database_url: str, sandbox: Sandbox, status: int
) -> None:
    """One that cannot be understood, or is never answered, is named; all others are judged and mended."""
    async with attached(pool, database_url, sandbox) as account:
        ids = await damaged_invoices(account, 30)
        path = f"/v1/invoices/{ids[-1]}"
        if status == 200:
            answer = account.api._answer
            strange = json.dumps({"id": ids[-1], "object": "invoice", "amount_due": "odd"}).encode()
            account.api._answer = (  # type: ignore[method-assign]
                lambda scope, *rest: strange if scope["path"] == path else answer(scope, *rest)
            )
        else:
            refuse(account, path, status)
        ended = await account.scanned(await account.request(purpose="audit", repair=True))
        assert "partial" == ended["status"]
        assert ended["error"].startswith(f"1 objects could not be read; invoice {ids[-1]}: ")
        rows = await account.fetch(
            "select id, verified, repaired, said is null as bare from sync.drift where kind = 'invoice' order by id"
        )
        assert [(named, True, True, True) for named in ids[:-1]] + [(ids[-1], False, False, True)] == [
            tuple(row) for row in rows
        ]
        async with pool.acquire() as connection:
            scan = await select_scan(connection, ended["id"])
            assert scan is not None
            report = await report_audit(connection, scan)
        assert (29, [1]) == (report.drift, [each.unverified for each in report.by_object])
        await account.confirm()
        left = await account.fetch(
            "select id from stripe.invoices i where amount_due <> (raw ->> 'amount_due')::int"
        )
        assert [ids[-1]] == [row[0] for row in left]


async def test_what_is_answered_in_a_later_round(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """Only unanswered suspects are read again: five rounds without an answer spoil nothing."""
    async with attached(pool, database_url, sandbox) as account:
        ids = await damaged_invoices(account, 25)
        answer, asked = account.api._answer, []

        def late(scope: Any, *rest: Any) -> bytes:
            if scope["path"].startswith("/v1/invoices/in_"):
                asked.append(scope["path"].rpartition("/")[2])
                if asked[-1] == ids[3] and asked.count(ids[3]) <= 5:
                    raise RefusedError(500, "not yet")
            return answer(scope, *rest)

        account.api._answer = late  # type: ignore[method-assign,assignment]
        ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        assert 25 == await account.fetchval("select count(*) from sync.drift where verified")
        # Each difference is seen twice, also the one that is answered late.
        assert (7, 55) == (asked.count(ids[3]), len(asked))


@pytest.mark.parametrize("status", [500, 403])
@pytest.mark.parametrize("whose", ["one customer's", "everybody's"])
async def test_entitlements_that_cannot_be_read(
    pool: Pool, database_url: str, sandbox: Sandbox, status: int, whose: str
) -> None:
    """Where some entitlements are never answered, the audit ends and judges everything else."""
    async with attached(pool, database_url, sandbox) as account:
        (damaged,) = await damaged_invoices(account, 1)
        answer = account.api._answer
        chosen: list[str] = []
        asked: list[str] = []

        def refusing(scope: Any, *rest: Any) -> bytes:
            query = scope.get("query_string", b"").decode()
            if scope["path"] == "/v1/entitlements/active_entitlements":
                asked.append(query)
                chosen[:] = chosen or [query]
                if whose == "everybody's" or query == chosen[0]:
                    raise RefusedError(status, "forever")
            return answer(scope, *rest)

        account.api._answer = refusing  # type: ignore[method-assign,assignment]
        ended = await account.scanned(await account.request(purpose="audit"), turns=80)
        assert "partial" == ended["status"]
        assert f"{status} for /v1/entitlements/active_entitlements" in ended["error"]
        rows = await account.fetch("select kind, id from sync.drift where verified")
        assert [("invoice", damaged)] == [tuple(row) for row in rows]
        if whose == "everybody's" and status == 403:
            assert len(asked) <= 20


async def test_every_ending_forgets_what_stripe_said(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """Also one that is canceled in the middle."""
    async with attached(pool, database_url, sandbox) as account:
        await damaged_invoices(account, 3)
        scan = await account.request(purpose="audit")

        async def cancel(_: Call) -> None:
            await account.execute("update sync.scans set status = 'canceled' where id = $1", scan.id)
            assert 3 == await account.fetchval("select count(said) from sync.drift")

        with before(SELECT_MENDING, cancel):
            assert "canceled" == (await account.scanned(scan))["status"]
        assert 0 == await account.fetchval("select count(said) from sync.drift")


# --- What no list shows as it is -------------------------------------------------------------------------------------


async def running_out(account: Attached) -> tuple[str, str]:
    """A subscription that is over at Stripe while its row and record say that it runs, and its customer: the event was
    lost.
    """
    (row,) = await account.fetch(
        "select id, customer_id from stripe.subscriptions s where status = 'canceled' and deleted_at is null "
        "and exists (select from stripe.customers c where c.id = s.customer_id and c.deleted_at is null) "
        "order by id limit 1"
    )
    await account.execute(
        "update stripe.subscriptions set status = 'active', ended_at = null, canceled_at = null, cancel_at = null, "
        "cancel_at_period_end = false where id = $1",
        row["id"],
    )
    await account.execute(
        "update sync.customers set stale = stale + 1, stale_since = now() where customer_id = $1",
        row["customer_id"],
    )
    await account.engine.derive()
    told = "select status, has_access, exact from billing.customers where stripe_customer_id = $1"
    assert ("active", True, True) == tuple((await account.fetch(told, row["customer_id"]))[0])
    return row["id"], row["customer_id"]


@pytest.mark.parametrize(
    "how",
    ["unknown shape", "marked, its reads refused", "marked, its reads unanswered", "parked", "no such id"],
)
async def test_subscription_that_only_the_mirror_says_is_active(
    pool: Pool, database_url: str, sandbox: Sandbox, how: str
) -> None:
    """I11: what the list cannot show, or what waits for a read that never comes, is no agreement."""
    async with attached(pool, database_url, sandbox) as account:
        subscription, _ = await running_out(account)
        path = f"/v1/subscriptions/{subscription}"
        if how in ("unknown shape", "parked"):

            def spoil(_path: str, _query: str, body: Any) -> None:
                for each in body["data"] if body.get("object") == "list" else [body]:
                    if each.get("id") == subscription:
                        each["items"] = "odd"

            rewrite(account, spoil)
        if how == "parked":
            await account.execute(
                "update sync.objects set dirty = nextval('sync.tick'), parked_at = now(), error = 'odd' where id = $1",
                subscription,
            )
        if how.startswith("marked"):
            refuse(account, path, 403 if how.endswith("refused") else 500)
            await account.execute(
                "update sync.objects set dirty = nextval('sync.tick'), read_at = now() where id = $1",
                subscription,
            )
        if how == "no such id":
            refuse(account, path, 404)
            await account.execute(
                "delete from stripe.subscription_items where subscription_id = $1", subscription
            )
            await account.execute("delete from stripe.subscriptions where id = $1", subscription)
            await account.execute("delete from sync.objects where id = $1", subscription)
        ended = await account.scanned(await account.request(purpose="audit"), turns=80)
        assert "partial" == ended["status"]
        assert ended["error"].startswith(f"1 objects could not be read; subscription {subscription}: ")


async def test_object_inside_another_that_nobody_understands(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """I11: a refund of an unknown shape is named, wherever Stripe shows it, also if we never heard of it."""
    async with attached(pool, database_url, sandbox) as account:
        refund = await account.fetchval("select min(id) from stripe.refunds where deleted_at is null")
        await account.execute("delete from stripe.refunds where id = $1", refund)
        await account.execute("delete from sync.objects where id = $1", refund)

        def spoil(path: str, _query: str, body: Any) -> None:
            data = body["data"] if body.get("object") == "list" else [body]
            if path == "/v1/refunds":  # in no list of its own
                body["data"] = [each for each in data if each["id"] != refund]
            for each in data:
                held = (
                    (each.get("refunds") or {}).get("data", []) if each.get("object") == "charge" else [each]
                )
                for inner in held:
                    if inner.get("id") == refund:
                        inner["amount"] = "odd"

        rewrite(account, spoil)
        ended = await account.scanned(await account.request(purpose="audit"), turns=80)
        assert "partial" == ended["status"]
        assert f"refund {refund}: " in ended["error"]


async def test_parked_object_of_no_list(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """I11: what no list holds is read by its id, if its own read has failed."""
    async with attached(pool, database_url, sandbox) as account:
        await account.execute(
            "insert into sync.objects (account_id, live_mode, kind, id, dirty, parked_at, error) "
            "values ('', false, 'coupon', 'GONE', 1, now(), 'odd')"
        )
        refuse(account, "/v1/coupons/GONE", 403)
        ended = await account.scanned(await account.request(purpose="audit"), turns=80)
        assert "partial" == ended["status"]
        assert ended["error"].startswith("1 objects could not be read; coupon GONE: 403 for ")


async def test_record_that_cannot_be_derived(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """I7, I11: a customer at which the rules fail is named, and everybody else's record is judged."""
    async with attached(pool, database_url, sandbox) as account:
        poison, wrong = [
            row[0]
            for row in await account.fetch(
                "select stripe_customer_id from billing.customers where deleted_at is null order by 1 limit 2"
            )
        ]
        await account.execute("update billing.customers set name = 'x' where stripe_customer_id = $1", wrong)
        with broken(
            derive_record, OverflowError("poison"), when=lambda facts, **_: facts.customer_id == poison
        ):
            ended = await account.scanned(await account.request(purpose="audit"))
        assert ("partial", f"1 objects could not be read; record {poison}: OverflowError('poison')") == (
            ended["status"],
            ended["error"],
        )
        rows = await account.fetch("select id from sync.drift where verified")
        assert [wrong] == [row["id"] for row in rows]


@pytest.mark.parametrize("said", [True, False])
async def test_row_that_holds_no_facts(pool: Pool, database_url: str, sandbox: Sandbox, said: bool) -> None:
    """I7, I11: a damaged row that cannot even be loaded stops no audit. If Stripe says what is right, the row is drift,
    and its customer's record is judged as if the row were mended; if nothing can, the customer is named.
    """
    async with attached(pool, database_url, sandbox) as account:
        (row,) = await account.fetch(
            "select id, customer_id from stripe.subscriptions where deleted_at is null order by id limit 1"
        )
        await account.execute(
            "update stripe.subscriptions set discounts = '[{\"coupon_id\": 7}]' where id = $1", row["id"]
        )
        if not said:
            refuse(account, f"/v1/subscriptions/{row['id']}", 500)
            leave_out(account, row["id"])
        ended = await account.scanned(await account.request(purpose="audit"))
        drift = await account.fetch("select id from sync.drift where verified")
        assert ([row["id"]] if said else []) == [each["id"] for each in drift]
        assert ("complete" if said else "partial") == ended["status"]
        assert said or row["customer_id"] in ended["error"]


def leave_out(account: Attached, object_id: str) -> None:
    """Let no list of Stripe's name this object."""

    def without(_path: str, _query: str, body: Any) -> None:
        if body.get("object") == "list":
            body["data"] = [each for each in body["data"] if each.get("id") != object_id]

    rewrite(account, without)


async def test_heavy_customer_is_compared_apart(
    pool: Pool, database_url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I14: the record of a customer with very many objects is compared as any other, beside the event loop."""
    monkeypatch.setattr(derive, "HEAVY_ROWS", 3)
    monkeypatch.setattr(derive, "ROWS_AT_ONCE", 4)
    monkeypatch.setattr(facts, "PORTION_ROWS", 2)
    monkeypatch.setattr(facts, "PORTION_IDS", 3)
    async with attached(pool, database_url, sandbox) as account:
        big, small = [
            await account.fetchval(
                "select customer_id from stripe.charges where customer_id is not null "
                f"group by 1 order by count(*) {way}, 1 limit 1"
            )
            for way in ("desc", "asc")
        ]
        await account.execute(
            "update billing.customers set name = 'x' where stripe_customer_id = any ($1::text[])",
            [big, small],
        )
        with held_up(derive_record, when=lambda of, **_: of.customer_id == big) as hold:
            hold.open.set()
            ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        rows = await account.fetch("select id from sync.drift where verified")
        assert sorted([big, small]) == sorted(row["id"] for row in rows)


async def test_customer_in_motion_is_looked_at_later(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """I11: a customer that is being changed at the first look is compared at the second one."""
    async with attached(pool, database_url, sandbox) as account:
        chosen = await account.fetchval(
            "select min(stripe_customer_id) from billing.customers where deleted_at is null"
        )
        await account.execute("update billing.customers set name = 'x' where stripe_customer_id = $1", chosen)

        async def moving(*given: Any, **named: Any) -> list[AuditedCustomer]:
            found = await select_customers_after(*given, **named)
            return [replace(each, moving=each.id == chosen) for each in found]

        with replaced(select_customers_after, moving):
            ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        rows = await account.fetch("select id, verified from sync.drift")
        assert [(chosen, True)] == [tuple(row) for row in rows]


# --- While events come -----------------------------------------------------------------------------------------------


async def an_event(account: Attached, customer_id: str) -> None:
    """A customer's row and mark are written as one event does it, and the record is not derived yet."""
    async with account.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "update stripe.customers set email = 'new@example.com' where id = $1", customer_id
        )
        await connection.execute(
            "update sync.customers set stale = stale + 1 where customer_id = $1", customer_id
        )


async def an_event_of_a_refund(account: Attached, customer_id: str) -> None:
    """The same by an object that names no customer: the customers that it concerns are still to be resolved."""
    async with account.pool.acquire() as connection, connection.transaction():
        await connection.execute(
            "update stripe.customers set email = 'new@example.com' where id = $1", customer_id
        )
        await connection.execute(
            "update sync.objects o set touched = touched + 1, touched_at = now() "
            "from stripe.refunds r join stripe.charges h on h.id = r.charge_id "
            "where o.kind = 'refund' and o.id = r.id and h.customer_id = $1",
            customer_id,
        )


@pytest.mark.parametrize("when", ["before", "before, unresolved", "after"])
async def test_event_around_the_second_look(
    pool: Pool, database_url: str, sandbox: Sandbox, when: str
) -> None:
    """A record that was wrong at the first look and is right at the second is no drift, whatever happens meanwhile."""
    async with attached(pool, database_url, sandbox) as account:
        chosen = await account.fetchval(
            "select min(c.stripe_customer_id) from billing.customers c "
            "join stripe.charges h on h.customer_id = c.stripe_customer_id "
            "join stripe.refunds r on r.charge_id = h.id where c.deleted_at is null"
        )
        await account.execute("update billing.customers set name = 'x' where stripe_customer_id = $1", chosen)
        looked: list[bool] = []

        async def put_right(_: Call) -> None:
            await account.execute(
                "update sync.customers set stale = stale + 1 where customer_id = $1", chosen
            )

        async def about_to_look(_: Call) -> None:
            if when == "before":
                await an_event(account, chosen)
            if when == "before, unresolved":
                await an_event_of_a_refund(account, chosen)

        async def have_looked(call: Call) -> None:
            if not looked and when == "after":
                await an_event(account, chosen)
            looked.append(any(row["moving"] for row in call.answer))

        with (
            before(MARK_OVERDUE, put_right),
            before(SELECT_CUSTOMERS_BY_ID, about_to_look, times=1),
            after(SELECT_CUSTOMERS_BY_ID, have_looked),
        ):
            ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        assert [] == await account.fetch("select * from sync.drift")
        moving = {"before": [True, False], "before, unresolved": [False, False], "after": [False]}
        assert moving[when] == looked


async def test_change_whose_event_is_on_its_way(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """I11: what has changed at Stripe a moment ago differs, and is no drift once its event has come."""
    async with attached(pool, database_url, sandbox) as account:
        chosen = await account.fetchval("select min(id) from stripe.customers where deleted_at is null")

        def rename(_path: str, _query: str, body: Any) -> None:
            for each in body["data"] if body.get("object") == "list" else [body]:
                if each.get("id") == chosen:
                    each["name"] = "Changed"

        rewrite(account, rename)
        scan = await account.request(purpose="audit")
        await account.engine.scan()
        (seen,) = await account.fetch("select id, verified, fields from sync.drift")
        assert (chosen, False, ["name"]) == tuple(seen)
        await account.execute(
            "update sync.objects set dirty = nextval('sync.tick'), read_at = now() where id = $1", chosen
        )
        ended = await account.scanned(scan)
        assert ("complete", None) == (ended["status"], ended["error"])
        assert [] == await account.fetch("select * from sync.drift")


async def test_nothing_stands_while_events_wait(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """I11: what differs may be what an event of the inbox says that nobody has applied yet: it stays undecided."""
    async with attached(pool, database_url, sandbox) as account:
        chosen = await account.fetchval("select min(id) from stripe.customers where deleted_at is null")

        def rename(_path: str, _query: str, body: Any) -> None:
            for each in body["data"] if body.get("object") == "list" else [body]:
                if each.get("id") == chosen:
                    each["name"] = "Changed"

        rewrite(account, rename)
        await account.execute(
            "insert into sync.events (account_id, live_mode, event_id, type, payload, received_at) "
            "values ('', false, 'evt_waiting', 'customer.updated', '', now() - interval '1 minute')"
        )
        await account.scanned(await account.request(purpose="audit"))
        assert [(chosen, False)] == [
            tuple(row) for row in await account.fetch("select id, verified from sync.drift")
        ]


async def test_payment_inside_an_invoice_that_is_still_to_be_read(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """I11: what only a read of its invoice can bring is no drift while that read is pending, however long it takes."""
    async with attached(pool, database_url, sandbox) as account:
        (row,) = await account.fetch(
            "select id, invoice_id from stripe.invoice_payments where invoice_id is not null order by id limit 1"
        )
        payment, invoice = row
        await account.execute("delete from stripe.invoice_payments where id = $1", payment)
        await account.execute("delete from sync.objects where id = $1", payment)
        await account.execute(
            "update sync.objects set dirty = nextval('sync.tick'), read_at = now() where id = $1", invoice
        )
        scan = await account.request(purpose="audit")
        for _ in range(3):
            await account.hurry()
            await account.engine.scan()
        waiting = {row[0] for row in await account.fetch("select id from sync.drift where not verified")}
        assert payment in waiting <= {payment, invoice}
        ended = await account.scanned(scan)
        assert ("complete", None) == (ended["status"], ended["error"])
        assert [] == await account.fetch("select * from sync.drift")


async def test_what_was_read_since_is_not_written_over(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """What Stripe said about a wrong row is old once the row has been read again: records are compared with the row.
    Those of other wrong rows are still compared with what Stripe said.
    """
    async with attached(pool, database_url, sandbox) as account:
        wrong = await account.fetch(
            "update stripe.customers set email = 'wrong@example.com' where id in (select stripe_customer_id "
            "from billing.customers where deleted_at is null order by 1 limit 2) returning id"
        )
        chosen = min(row["id"] for row in wrong)

        async def read_again(_: Call) -> None:
            await an_event(account, chosen)
            await account.execute(
                "update sync.objects set confirmed = nextval('sync.tick') where kind = 'customer' and id = $1",
                chosen,
            )
            await account.engine.derive()
            await account.execute(
                "update billing.customers set name = 'x' where stripe_customer_id = $1", chosen
            )

        with before(SELECT_MENDING, read_again, times=1):
            ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        rows = await account.fetch("select kind, fields from sync.drift order by kind")
        assert [("customer", ["email"])] * 2 + [("record", ["name"])] == [tuple(row) for row in rows]


async def test_customer_that_is_deleted_between_list_and_read(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """I11: a customer that the list still shows, that has no row, and whose read says that it is deleted, lacks the row
    that says so; the audit goes on.
    """
    async with attached(pool, database_url, sandbox) as account:
        chosen = await account.fetchval(
            "delete from stripe.customers where id = (select min(id) from stripe.customers where deleted_at is null) "
            "returning id"
        )

        def delete(path: str, _query: str, body: Any) -> None:
            if path == f"/v1/customers/{chosen}":
                body.clear()
                body.update(id=chosen, object="customer", deleted=True)

        rewrite(account, delete)
        ended = await account.scanned(await account.request(purpose="audit"))
        assert ("complete", None) == (ended["status"], ended["error"])
        rows = await account.fetch(
            "select id, what, fields, verified from sync.drift where kind = 'customer'"
        )
        assert [(chosen, "lacking", ["deleted_at"], True)] == [tuple(row) for row in rows]


async def test_customer_that_moves_without_an_end(
    pool: Pool, database_url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays undecided, and so the audit is partial; others' records are decided."""
    async with attached(pool, database_url, sandbox) as account:
        moving, still = [
            row[0]
            for row in await account.fetch(
                "select stripe_customer_id from billing.customers where deleted_at is null order by 1 limit 2"
            )
        ]
        await account.execute(
            "update billing.customers set name = 'x' where stripe_customer_id = any ($1::text[])",
            [moving, still],
        )

        async def move(_: Call) -> None:
            await an_event(account, moving)

        monkeypatch.setattr(records, "MOTION_WAITS_MAX", 3)
        with before(SELECT_CUSTOMERS_BY_ID, move):
            ended = await account.scanned(await account.request(purpose="audit"))
        assert ("partial", f"1 records were changing until the end: audit again later ({moving})") == (
            ended["status"],
            ended["error"],
        )
        rows = await account.fetch("select id, verified from sync.drift order by id")
        assert [(moving, False), (still, True)] == [tuple(row) for row in rows]
