"""What the statements of the daily work take beside so many customers: times, and pages of 8 KiB that were looked at.

Pages are the same on every machine, however busy. A statement whose pages grow with the customers reads what it should
look up.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import OwnConnection
from db.mirror import facts, sizes, unsettled
from db.records import compare as audited
from db.records import pages, records
from db.sync import catalogue, customers, due_reads, histories, inbox, retention, status, stretches
from worker.lists.steps import CUSTOMERS_AT_ONCE

EVENTS = 500
"""Claimed at a time."""
DERIVED = 250
"""Customers that are derived together."""
LISTED = 100
"""In one page, and read together."""
LEASE = timedelta(seconds=60)

SELECT_SAMPLE = """
select customer_id from sync.customers
where account_id = '' and not live_mode and complete
order by md5(customer_id)
limit $1
"""
SELECT_OF_SAMPLE = "select id from {table} where account_id = '' and not live_mode and customer_id = any ($1)"
SELECT_UIDS = """
select uid from billing.customers where account_id = '' and not live_mode and stripe_customer_id = any ($1)
"""
SELECT_KEPT = "select customer_uid, currency from billing.customer_mrr where customer_uid = any ($1)"

MAKE_STALE = """
update sync.customers set stale = stale + 1, stale_since = now()
where account_id = '' and not live_mode and customer_id = any ($1)
"""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One statement with what it is run with."""

    statement: str
    parameters: tuple[object, ...]
    before: tuple[str, tuple[object, ...]] | None = None
    """What is run first, in the same transaction."""


async def measure_statements(connection: OwnConnection) -> dict[str, dict[str, float]]:
    """Milliseconds and pages of each statement. Everything is rolled back."""
    found = {}
    for name, each in (await _statements(connection)).items():
        transaction = connection.transaction()
        await transaction.start()
        try:
            if each.before is not None:
                statement, parameters = each.before
                await connection.execute(statement, *parameters)
            explained = await connection.fetchval(
                f"explain (analyze, buffers, format json) {each.statement}", *each.parameters
            )
        finally:
            await transaction.rollback()
        (plan,) = msgspec.json.decode(explained)
        found[name] = {
            "ms": plan["Planning Time"] + plan["Execution Time"],
            "pages": plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"],
        }
    return found


async def _statements(connection: OwnConnection) -> Mapping[str, Measured]:
    async def ids(statement: str, of: object) -> list[Any]:
        return [row[0] for row in await connection.fetch(statement, of)]

    async def of_sample(kind: str) -> list[str]:
        return await ids(SELECT_OF_SAMPLE.format(table=KINDS[kind].table), sample)

    scope = ("", False)
    sample: list[str] = await ids(SELECT_SAMPLE, DERIVED)
    uids: list[UUID] = await ids(SELECT_UIDS, sample)
    kept = await connection.fetch(SELECT_KEPT, uids)
    invoices, charges = await of_sample("invoice"), await of_sample("charge")
    subscriptions = await of_sample("subscription")
    change: int = await connection.fetchval("select max(change) from billing.customers")

    def page(
        statement: str, after: object, status: str | None = None, product_id: str | None = None
    ) -> Measured:
        parameters = (after, pages.WALKED_MAX, *scope, status, product_id, None, None, None, LISTED)
        return Measured(statement=statement, parameters=parameters)

    def looked_up(statement: str, *parameters: object) -> Measured:
        return Measured(statement=statement, parameters=parameters)

    kinds = [kind for kind in KINDS if kind not in LIST_CONFIRMED]
    return {
        "claim 500 events": looked_up(inbox.CLAIM_EVENTS, EVENTS, LEASE, None, inbox.CLAIM_BYTES_MAX),
        "claim 250 customers": Measured(
            statement=customers.CLAIM_STALE,
            parameters=(DERIVED, LEASE, timedelta(0)),
            before=(MAKE_STALE, (sample,)),
        ),
        "claim 100 reads": looked_up(due_reads.CLAIM_READS, kinds, False, LISTED, LEASE, LEASE, LEASE),
        "seconds to the next read": looked_up(due_reads.SECONDS_TO_NEXT_READ, False),
        "claim histories": looked_up(histories.CLAIM_HISTORIES, False, 8, LEASE),
        "deadlines of records": looked_up(customers.MARK_OVERDUE, EVENTS),
        "touched": looked_up(customers.SELECT_TOUCHED, EVENTS, list(catalogue.SELECT_HOLDERS)),
        "fans wait": looked_up(catalogue.SELECT_FANS_WAIT, list(catalogue.SELECT_HOLDERS)),
        "density of invoices": looked_up(
            stretches.SELECT_SECONDS["invoice"], *scope, invoices[:LISTED], LISTED, LISTED // 2
        ),
        "density of subscriptions": looked_up(
            stretches.SELECT_SECONDS["subscription"], *scope, subscriptions[:LISTED], LISTED, LISTED // 2
        ),
        "sizes of customers": looked_up(sizes.COUNT_ROWS, *scope, sample, 5_001),
        "facts: invoices": looked_up(facts.SELECT_INVOICES, *scope, sample),
        "facts: charges": looked_up(facts.SELECT_CHARGES, *scope, sample),
        "facts: refunds": looked_up(facts.SELECT_REFUNDS, *scope, charges),
        "facts: unsettled customers": looked_up(
            unsettled.SELECT_UNSETTLED_CUSTOMERS, *scope, sample, list(LIST_CONFIRMED)
        ),
        "facts: unsettled payments": looked_up(unsettled.SELECT_UNSETTLED_INVOICES, *scope, invoices),
        "other rows of MRR": looked_up(
            records.PART_STATEMENTS["mrr"].select_others,
            uids,
            [row["customer_uid"] for row in kept],
            [row["currency"] for row in kept],
        ),
        "old events": looked_up(retention.TRIM_EVENTS, 0, timedelta(days=31), EVENTS),
        "a page of customers": page(pages.PAGE_BY_UID, UUID(int=1 << 127)),
        "a page by status": page(pages.PAGE_BY_UID, UUID(int=1 << 127), status="past_due"),
        "a page that finds nothing": page(pages.PAGE_BY_UID, UUID(int=1 << 127), product_id="none"),
        "what changed": page(pages.PAGE_BY_CHANGE, change - LISTED),
        "/status": Measured(
            statement=status.SELECT_BACKLOG,
            parameters=(False, list(LIST_CONFIRMED), status.COUNTED_MAX),
            before=(status.BY_INDEX, ()),
        ),
        "billing.freshness": looked_up("select * from billing.freshness"),
        "records counted for /metrics": looked_up(status.COUNT_RECORDS),  # reads all of them, once a minute
        "audit: the next customers": looked_up(
            audited.SELECT_CUSTOMERS_AFTER, *scope, sample[0], CUSTOMERS_AT_ONCE
        ),
        "audit: records": looked_up(audited.SELECT_RECORDS, uids),
        "audit: products": looked_up(audited.SELECT_PARTS["products"], uids),
        "audit: MRR": looked_up(audited.SELECT_PARTS["mrr"], uids),
    }
