"""One customer, object, page or step that cannot be read costs only itself, and no customer that lacks it is exact. The
backfill counts and names it (I11).
"""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from db.connection import Pool
from db.sync.objects import CONFIRM_OBJECTS
from db.sync.scans import Scan
from sandbox import Sandbox
from sandbox.api import RefusedError
from tests.faults import broken, failing, replaced
from tests.truth import different_records
from tests.worker.account import Attached, attached, lived_account
from tests.worker.lists.test_endings import refuse
from worker.audit.lists import step_audit
from worker.lists.backfill import step_backfill
from worker.live.pages import CUT_LISTS_MAX
from worker.page_writer import PageWriter, ReadPage
from worker.scanner import SCAN_ATTEMPTS_MAX

UNREAD = "objects could not be read, and their customers are not exact"
ENTITLEMENTS = "/v1/entitlements/active_entitlements"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """One account for the tests of this module, which only read it."""
    return lived_account(customers=40, clocks=False)


def rewrite(account: Attached, change: Callable[[str, str, Any], None]) -> None:
    """Let `change` (path, query, body) alter whatever the API answers."""
    answer = account.api._answer

    def changed(scope: Any, *rest: Any) -> bytes:
        body = json.loads(answer(scope, *rest))
        change(scope["path"], scope["query_string"].decode(), body)
        return json.dumps(body).encode()

    account.api._answer = changed  # type: ignore[method-assign,assignment]


async def inexact(account: Attached) -> list[str]:
    """The customers with inexact records, once everything readable is read and all customers are derived."""
    for _ in range(8):
        await account.execute("update sync.customers set history_at = now() where history_at > now()")
        await account.confirm()
        await account.engine.sweep_bulk()
        await account.engine.derive()
    rows = await account.fetch("select stripe_customer_id from billing.customers where not exact")
    return [row[0] for row in rows]


@pytest.mark.parametrize("status", [500, 403, 429])
async def test_entitlements_of_one(pool: Pool, database_url: str, sandbox: Sandbox, status: int) -> None:
    """One customer's entitlements are never answered: everybody has a record, and all others are exact."""
    async with attached(pool, database_url, sandbox) as account:
        chosen: list[bytes] = []
        answer = account.api._answer

        def refusing(scope: Any, *rest: Any) -> bytes:
            if scope["path"] == ENTITLEMENTS:
                chosen[:] = chosen or [scope["query_string"]]
                if scope["query_string"] == chosen[0]:
                    raise RefusedError(status, "forever")
            return answer(scope, *rest)

        account.api._answer = refusing  # type: ignore[method-assign,assignment]
        ended = await account.scanned(await account.request())
        (left,) = await inexact(account)
        assert "complete" == ended["status"]
        assert ended["error"].startswith(f"1 {UNREAD}; active_entitlement_summary {left}: ")
        assert f"customer={left}&".encode() in chosen[0]
        known = await account.fetchval("select count(*) from stripe.customers")
        assert known == await account.fetchval("select count(*) from billing.customers")


@pytest.mark.parametrize("kind", ["active_entitlement_summary", "charge"])
async def test_object_that_breaks_our_storing(
    pool: Pool, database_url: str, sandbox: Sandbox, kind: str
) -> None:
    """I7: our own code fails at one customer's entitlements, or at one charge of a page: the others are stored, and
    that customer alone is not exact.
    """
    chosen: list[str] = []

    def first_of_kind(_: Any, __: Any, kinds: list[str], ids: list[str], *rest: Any) -> bool:
        customers = rest[2]
        found = [ids[n] for n, each in enumerate(kinds) if each == kind and customers[n] is not None]
        chosen[:] = chosen or found[:1]
        return bool(chosen) and chosen[0] in found

    async with attached(pool, database_url, sandbox) as account:
        with failing(CONFIRM_OBJECTS, OverflowError("poison"), when=first_of_kind):
            ended = await account.scanned(await account.request())
            assert "complete" == ended["status"]
            assert ended["error"].startswith(f"1 {UNREAD}; {kind} {next(iter(chosen))}: ")
            (left,) = await inexact(account)
        statement = "select error from sync.objects where unsettled and id = $1 and customer_id = $2"
        said = await account.fetchval(statement, *chosen, left)
        assert "poison" in said


@pytest.mark.parametrize("status", [500, 403])
async def test_step_that_is_given_up(pool: Pool, database_url: str, sandbox: Sandbox, status: int) -> None:
    """No entitlements are answered: later steps are done, no customer is complete, and each history is wanted."""
    async with attached(pool, database_url, sandbox) as account:
        refuse(account, ENTITLEMENTS, status)
        ended = await account.scanned(await account.request())
        assert "partial" == ended["status"]
        assert ended["error"].startswith(f"entitlements: {status} for {ENTITLEMENTS}")
        known = await account.fetchval("select count(*) from sync.customers")
        assert known == await account.fetchval("select count(*) from sync.customers where not complete")
        assert known == await account.fetchval("select count(*) from billing.customers where not exact")
        assert 0 == await account.fetchval("select count(*) from sync.customers where history_at is null")


async def test_limits_are_no_failures(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """Stripe is busy for longer than a step may fail: it waits, and the backfill is complete."""
    async with attached(pool, database_url, sandbox) as account:
        answer, refusals = account.api._answer, [0]

        def busy(scope: Any, *rest: Any) -> bytes:
            if scope["path"] == "/v1/test_helpers/test_clocks" and refusals[0] < SCAN_ATTEMPTS_MAX + 3:
                refusals[0] += 1
                raise RefusedError(429, "slow down")
            return answer(scope, *rest)

        account.api._answer = busy  # type: ignore[method-assign,assignment]
        ended = await account.scanned(await account.request())
        assert ("complete", None, SCAN_ATTEMPTS_MAX + 3) == (ended["status"], ended["error"], refusals[0])


@pytest.mark.parametrize("how", ["unreadable", "refused by Postgres", "unreadable refund"])
async def test_money_that_is_missing(pool: Pool, database_url: str, sandbox: Sandbox, how: str) -> None:
    """The customer whose charge or refund cannot be stored is not exact; all others are."""
    async with attached(pool, database_url, sandbox) as account:
        chosen: list[tuple[str, str]] = []

        def spoil(_path: str, _query: str, body: Any) -> None:
            for each in body["data"] if body.get("object") == "list" else [body]:
                if each.get("object") == "refund" and chosen and each["charge"] == chosen[0][0]:
                    each["amount"] = "odd" if how == "unreadable refund" else each["amount"]
                if each.get("object") != "charge" or not each.get("customer") or not each["amount_refunded"]:
                    continue
                if not each["refunds"]["data"]:
                    continue  # a released rest of a capture
                chosen[:] = chosen or [(each["id"], each["customer"])]
                if each["id"] != chosen[0][0]:
                    continue
                if how == "unreadable refund":
                    for refund in each["refunds"]["data"]:
                        refund["amount"] = "odd"
                else:
                    each["amount_captured"] = "odd" if how == "unreadable" else 2**63 - 1

        rewrite(account, spoil)
        if how == "refused by Postgres":
            await account.execute(
                "alter table stripe.charges add constraint small check (amount_captured < 1e15)"
            )
        ended = await account.scanned(await account.request())
        assert ended["error"].startswith(f"1 {UNREAD}; ")
        assert [chosen[0][1]] == await inexact(account)


@pytest.mark.parametrize("purpose", ["backfill", "audit"])
async def test_page_of_cut_lists(pool: Pool, database_url: str, sandbox: Sandbox, purpose: str) -> None:
    """If Stripe cuts a list in each object of a page, a few are read on, and the others are left to reads by id."""
    async with attached(pool, database_url, sandbox) as account:
        asked: list[str] = []

        def cut(path: str, _query: str, body: Any) -> None:
            asked.append(path)
            if path == "/v1/subscriptions":
                for each in body["data"]:
                    each["items"]["has_more"] = True

        if purpose == "audit":
            await account.scanned(await account.request())
            await account.settle()
        rewrite(account, cut)
        ended = await account.scanned(await account.request(purpose=purpose))
        assert ("complete", None) == (ended["status"], ended["error"])
        by_id = 1  # one has more items than its own read tells
        most = CUT_LISTS_MAX * asked.count("/v1/subscriptions") + by_id
        assert (
            0 < asked.count("/v1/subscription_items") <= most < len(sandbox.home.shelves["subscription"].rows)
        )
        assert 0 == await account.fetchval("select count(*) from sync.drift")
        await account.settle()
        assert [] == await different_records(sandbox, database_url)


@pytest.mark.parametrize("status", [500, 403])
async def test_list_in_an_object_that_never_answers(
    pool: Pool, database_url: str, sandbox: Sandbox, status: int
) -> None:
    """It costs its page nothing: the object is left to a read by its id."""
    async with attached(pool, database_url, sandbox) as account:
        chosen: list[str] = []

        def cut(path: str, query: str, body: Any) -> None:
            if path == "/v1/subscriptions":
                chosen[:] = chosen or [each["id"] for each in body["data"][:1]]
                for each in body["data"]:
                    each["items"]["has_more"] |= each["id"] in chosen
            if path == "/v1/subscription_items" and chosen[0] in query:
                raise RefusedError(status, "forever")

        rewrite(account, cut)
        ended = await account.scanned(await account.request())
        assert ("complete", None) == (ended["status"], ended["error"])
        await account.settle()
        assert [] == await different_records(sandbox, database_url)


async def test_pages_that_nobody_understands(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """A page after the first of which nothing can be read is passed by, and its objects are wanted one by one."""
    async with attached(pool, database_url, sandbox) as account:

        def spoil(path: str, query: str, body: Any) -> None:
            if path == "/v1/invoices" and "starting_after" in query:
                for each in body["data"]:
                    each["amount_due"] = "odd"

        rewrite(account, spoil)
        ended = await account.scanned(await account.request())
        assert ("complete", None) == (ended["status"], ended["error"])
        await account.settle()
        assert [] == await different_records(sandbox, database_url)


async def test_page_that_fails_otherwise(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """Whatever is wrong with one list, the other lists are read to their end, and only it is named."""

    def of_disputes(_: PageWriter, read: ReadPage) -> bool:
        return read.window.kind == "dispute"

    async with attached(pool, database_url, sandbox) as account:
        error = ValueError("something that nobody thought of")
        with broken(PageWriter.store, error, when=of_disputes):
            ended = await account.scanned(await account.request())
        assert "partial" == ended["status"]
        assert "something that nobody thought of" in ended["error"]
        rows = await account.fetch("select kind, attempts from sync.scan_windows where state <> 'done'")
        assert [("dispute", SCAN_ATTEMPTS_MAX)] == [tuple(row) for row in rows]


@pytest.mark.parametrize("purpose", ["backfill", "audit"])
async def test_step_that_fails_otherwise(
    pool: Pool, database_url: str, sandbox: Sandbox, purpose: str
) -> None:
    """A step that raises an unexpected error is tried as often as others, and then the scan ends, naming it."""
    tried: list[str] = []

    async def fails(_turn: Any, scan: Scan) -> None:
        tried.append(scan.step)
        raise ValueError("something that nobody thought of")

    async with attached(pool, database_url, sandbox) as account:
        scan = await account.request(purpose=purpose, kinds=("customer",))
        await account.execute(
            "insert into sync.drift (scan_id, kind, id, what, said) values ($1, 'customer', 'cus_1', 'differs', '{}')",
            scan.id,
        )
        with replaced(step_backfill if purpose == "backfill" else step_audit, fails):
            ended = await account.scanned(scan)
        assert ("partial", "lists: ValueError('something that nobody thought of')") == (
            ended["status"],
            ended["error"],
        )
        assert ["lists"] * SCAN_ATTEMPTS_MAX == tried
        kept = await account.fetchval("select count(said) from sync.drift")
        assert (1 if purpose == "backfill" else 0) == kept


async def test_events_of_a_connected_account(pool: Pool, database_url: str) -> None:
    """Its events are requested from the horizon on, though none has ever come."""
    sandbox = lived_account(customers=20, clocks=False)
    connected = sandbox.account("acct_1SandboxNorth").account_id
    async with attached(pool, database_url, sandbox) as account:
        ended = await account.scanned(await account.request(account_id=connected))
        known = "select cursor_at from sync.accounts where account_id = $1"
        assert ended["horizon"] - timedelta(minutes=50) == await account.fetchval(known, connected)
        # Another request does not move it.
        await account.execute("update sync.accounts set cursor_at = '2026-01-01T00:00:00Z'")
        await account.scanned(await account.request(account_id=connected))
        assert "2026-01-01" == str(await account.fetchval(known, connected))[:10]


async def test_customer_that_nobody_knows(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """A slip of the pen makes no customer: the backfill has failed, and says why."""
    async with attached(pool, database_url, sandbox) as account:
        ended = await account.scanned(await account.request(customer_id="cus_typo"))
        said = "Stripe knows no customer cus_typo in this account and mode"
        assert ("failed", said) == (ended["status"], ended["error"])
        assert 0 == await account.fetchval("select count(*) from sync.customers")
        assert [] == await inexact(account)


@pytest.mark.parametrize("status", [400, 404])
async def test_deleted_cursor(pool: Pool, database_url: str, sandbox: Sandbox, status: int) -> None:
    """The object behind which a page was to begin is gone: its list is read on from that object's second."""
    async with attached(pool, database_url, sandbox) as account:
        gone: list[str] = []
        answer = account.api._answer

        def forgetful(scope: Any, *rest: Any) -> bytes:
            query = scope["query_string"].decode()
            if scope["path"] == "/v1/invoices" and "starting_after" in query and len(gone) < 1:
                gone.append(query)
                raise RefusedError(status, "No such invoice", code="resource_missing")
            return answer(scope, *rest)

        account.api._answer = forgetful  # type: ignore[method-assign,assignment]
        ended = await account.scanned(await account.request())
        assert ("complete", None, 1) == (ended["status"], ended["error"], len(gone))
        await account.settle()
        assert [] == await different_records(sandbox, database_url)
