"""Statements of audits, each at the rows that make a difference to it."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from db.connection import Connection, Pool
from db.keys import Key
from db.sync.audits import count_unexplained, dismiss_settled, suspect
from db.sync.scans import Scan, ScanRequest, request_scan

Audit = tuple[Connection, Scan]


@pytest.fixture
async def audit(pool: Pool) -> AsyncIterator[Audit]:
    """An audit that began at tick 100."""
    wanted = ScanRequest(purpose="audit", kinds=("customer", "plan"))
    async with pool.acquire() as connection:
        scan = await request_scan(connection, wanted, live_mode=False)
        yield connection, replace(scan, begun_tick=100)


async def suspects(connection: Connection) -> set[tuple[str, str]]:
    return {tuple(row) for row in await connection.fetch("select kind, id from sync.drift")}


async def test_read_of_another_kind_clears_nobody(audit: Audit) -> None:
    """I11: a plan and a price share their id; that the price was read since the list says nothing of the plan."""
    connection, scan = audit
    await connection.execute(
        "insert into sync.objects (account_id, live_mode, kind, id, dirty, confirmed) "
        "values ('', false, 'price', 'gold', 1, 900), ('', false, 'plan', 'read', 1, 900)"
    )
    differing = {Key("", False, "plan", each): "lacking" for each in ("gold", "read")}
    await suspect(connection, scan, differing, tick=500)
    assert {("plan", "gold")} == await suspects(connection)


async def test_what_waits_again_is_not_settled(audit: Audit) -> None:
    """I11: an object that was read since the audit began, and marked again since, is still to be looked at."""
    connection, scan = audit
    await connection.execute(
        "insert into sync.objects (account_id, live_mode, kind, id, dirty, confirmed) values "
        "('', false, 'customer', 'cus_read', 1, 200), ('', false, 'customer', 'cus_marked', 300, 200), "
        "('', false, 'customer', 'cus_before', 1, 50)"
    )
    for each in ("cus_read", "cus_marked", "cus_before"):
        await connection.execute(
            "insert into sync.drift (scan_id, kind, id, what) values ($1, 'customer', $2, 'unsettled')",
            scan.id,
            each,
        )
    await dismiss_settled(connection, scan)
    assert {("customer", "cus_marked"), ("customer", "cus_before")} == await suspects(connection)


async def test_one_customer_on_a_clock_explains_no_other(audit: Audit) -> None:
    """I11: only customers and subscriptions that are on test clocks themselves are missing from lists for that, and
    prices. What differs otherwise is unexplained; what was read, is still to be read or was not understood is no sign.
    """
    connection, scan = audit
    for table, prefix in (("customers", "cus"), ("subscriptions", "sub")):
        await connection.execute(
            f"insert into stripe.{table} (account_id, live_mode, id, test_clock) "
            f"values ('', false, '{prefix}_clock', 'clock_1'), ('', false, '{prefix}_none', null)"
        )
        await connection.execute(
            "insert into sync.drift (scan_id, kind, id, what) "
            f"select $1, '{table.removesuffix('s')}', id, 'surplus' from stripe.{table}",
            scan.id,
        )
    for kind, what, verified, error in (
        ("price", "surplus", False, None),
        ("price", "lacking", False, None),
        ("invoice", "surplus", False, None),
        ("invoice", "cut", False, None),
        ("charge", "unread", False, None),
        ("charge", "unsettled", False, None),
        ("dispute", "differs", True, None),
        ("dispute", "lacking", False, "no answer"),
        ("record", "differs", False, None),
    ):
        await connection.execute(
            "insert into sync.drift (scan_id, kind, id, what, verified, error) values ($1, $2, $3, $3, $4, $5)",
            scan.id,
            kind,
            what,
            verified,
            error,
        )
    unexplained = {"cus_none", "sub_none", "price lacking", "invoice surplus"}
    assert len(unexplained) == await count_unexplained(connection, scan)
