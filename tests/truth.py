"""Records compared with the sandbox's truth, field by field."""

import dataclasses
import json
from typing import Any

import asyncpg

from db.connection import Connection, Pool
from sandbox import Sandbox
from sandbox.truth import CustomerKey, ExpectedCustomer

LEFT_OUT = {
    "uid": "ours: a hash of account, mode and Stripe id, which Stripe knows nothing of",
    "fingerprint": "ours: comes from billing.identities, which this account has none of",
    "send_email_receipts": "ours: comes from billing.identities",
    "change": "ours: numbers the changes of records",
    "created_at": "ours: when the row was first written",
    "updated_at": "ours: when the row last changed",
}
"""Columns of billing.customers that truth does not speak of, each with the reason."""

PRODUCT_LEFT_OUT = {
    "id": "ours: a hash of the key",
    "customer_uid": "ours: see uid",
    "account_id": "compared as part of the customer's key",
    "live_mode": "compared as part of the customer's key",
    "stripe_customer_id": "compared as part of the customer's key",
    "processor": "always stripe",
    "free_trial_id": "a source that is not mirrored yet",
    "is_custom": "a source that is not mirrored yet",
    "api_version": "a source that is not mirrored yet",
}


LISTED = ("products", "revenue", "mrr", "features", "entities", "status_changes")
"""What of a customer is rows of tables of their own."""


async def read_records(database: "str | Pool") -> dict[CustomerKey, dict[str, object]]:
    """Every record in the shape of the truth; of a pool, whose sessions know the tables already, they come sooner."""
    if isinstance(database, str):
        connection = await asyncpg.connect(database)
        try:
            return await _read_records(connection)
        finally:
            await connection.close()
    async with database.acquire() as lent:
        return await _read_records(lent)


async def _read_records(connection: Connection) -> dict[CustomerKey, dict[str, object]]:
    records: dict[CustomerKey, dict[str, object]] = {}
    keys: dict[object, CustomerKey] = {}
    for row in await _rows(connection, "select * from billing.customers"):
        key = CustomerKey(row["account_id"], row["live_mode"], row["stripe_customer_id"])
        keys[row["uid"]] = key
        records[key] = {name: value for name, value in row.items() if name not in LEFT_OUT}
        records[key] |= {name: [] for name in LISTED}
    for row in await _rows(
        connection,
        'select * from billing.customer_products order by stripe_subscription_id collate "C", '
        'stripe_product_id collate "C"',
    ):
        product = {name: value for name, value in row.items() if name not in PRODUCT_LEFT_OUT}
        for ids in ("subscription_ids", "scheduled_ids"):
            product[ids] = tuple(row[ids])
        _append(records, keys[row["customer_uid"]], "products", product)
    for row in await _rows(connection, "select * from billing.customer_revenue order by currency"):
        amounts = ("currency", "gross", "refunded", "disputed", "out_of_band", "net")
        _append(records, keys[row["customer_uid"]], "revenue", {name: row[name] for name in amounts})
    for row in await _rows(
        connection, 'select * from billing.customer_features order by lookup_key collate "C"'
    ):
        _append(records, keys[row["customer_uid"]], "features", row["lookup_key"])
    for row in await _rows(
        connection, "select * from billing.customer_mrr where mrr is distinct from 0 order by currency"
    ):
        _append(records, keys[row["customer_uid"]], "mrr", {"currency": row["currency"], "mrr": row["mrr"]})
    for row in await _rows(connection, 'select * from billing.entities order by id collate "C"'):
        entity = {name: row[name] for name in ("id", "type", "name", "created_at")}
        _append(records, keys[row["customer_uid"]], "entities", entity)
    for row in await _rows(connection, "select * from billing.status_changes order by id"):
        change = (row["status_before"], row["status_after"], row["exact"])
        _append(records, keys[row["customer_uid"]], "status_changes", change)
    return records


async def _rows(connection: Connection, statement: str) -> list[dict[str, Any]]:
    """The rows, with each jsonb as what it says."""
    prepared = await connection.prepare(statement)
    documents = {each.name for each in prepared.get_attributes() if each.type.name == "jsonb"}
    return [
        {
            name: json.loads(value) if name in documents and value is not None else value
            for name, value in row.items()
        }
        for row in await prepared.fetch()
    ]


def _append(
    records: dict[CustomerKey, dict[str, object]], key: CustomerKey, field: str, value: object
) -> None:
    rows = records[key][field]
    assert isinstance(rows, list)
    rows.append(value)


def differences(
    truth: dict[CustomerKey, ExpectedCustomer], records: dict[CustomerKey, dict[str, object]]
) -> list[str]:
    """Every field in which a record and the truth differ, as lines to read."""
    found = [f"{key}: no record" for key in truth.keys() - records.keys()]
    found += [f"{key}: a record of nobody" for key in records.keys() - truth.keys()]
    for key in truth.keys() & records.keys():
        expected, record = truth[key], records[key]
        for field in dataclasses.fields(ExpectedCustomer):
            wanted: object = getattr(expected, field.name)
            got = record[field.name]
            if field.name == "status_changes":
                found += [f"{key}: {line}" for line in broken_history(expected, got)]
                continue
            if field.name == "products":
                wanted = [dataclasses.asdict(product) for product in expected.products]
            elif field.name == "revenue":
                wanted = [{**dataclasses.asdict(row), "net": row.net} for row in expected.revenue]
            elif field.name == "features":
                wanted = list(expected.features)
            elif field.name in ("mrr", "entities"):
                wanted = [dataclasses.asdict(row) for row in getattr(expected, field.name)]
            if wanted != got:
                found.append(f"{key}: {field.name}: wanted {wanted!r}, got {got!r}")
    return sorted(found)


def broken_history(expected: ExpectedCustomer, rows: object) -> list[str]:
    """What is wrong with a history: it is a chain, confirmed, ends at the status, and skips but never invents."""
    assert isinstance(rows, list)
    lines = []
    if [before for before, _, _ in rows] != [None, *(after for _, after, _ in rows)][: len(rows)]:
        lines.append(f"status_changes are no chain: {rows}")
    if not all(exact for _, _, exact in rows):
        lines.append(f"status_changes are not all confirmed: {rows}")
    end = rows[-1][1] if rows else None
    if end != expected.status:
        lines.append(f"status_changes end at {end}, not at {expected.status}")
    story = iter(expected.status_changes)
    if not all(any(after == lived for lived in story) for _, after, _ in rows):
        lines.append(f"status_changes {rows} were not lived through: {expected.status_changes}")
    return lines


async def assert_true(
    database: "str | Pool", truth: dict[CustomerKey, ExpectedCustomer], *, what: str = ""
) -> None:
    """Every record equals the truth in every field, and is exact."""
    different = differences(truth, await read_records(database))
    assert not different, "\n".join([what, *different])


UNTOLD_OF_DELETED = {
    "name": "Stripe answers a deleted customer with its id alone",
    "email": "the same",
    "description": "the same",
    "metadata": "the same",
    "custom_uid": "the same",
    "first_seen": "the same",
    "deleted_at": "only its event said when",
}
"""What cannot be known about a customer that was deleted before we first heard of it, each with the reason."""


async def different_records(sandbox: Sandbox, database_url: str) -> list[str]:
    """Every field in which a record and the truth differ, but for what Stripe does not tell of the deleted.

    Of the key's own account: no backfill of others was asked for.
    """
    truth = {key: customer for key, customer in sandbox.truth().items() if key.scope == ("", False)}
    records = {
        key: record for key, record in (await read_records(database_url)).items() if key.scope == ("", False)
    }
    for key, customer in truth.items():
        if customer.deleted_at is not None and key in records:
            assert records[key]["deleted_at"] is not None
            unknown: dict[str, Any] = {name: records[key][name] for name in UNTOLD_OF_DELETED}
            truth[key] = dataclasses.replace(customer, **unknown)
    # Stripe says nothing about deleted customers that left no objects behind.
    unheard = {key for key in truth.keys() - records.keys() if _left_nothing(sandbox, key.id)}
    return differences({key: truth[key] for key in truth.keys() - unheard}, records)


def _left_nothing(sandbox: Sandbox, customer_id: str) -> bool:
    home = sandbox.home
    rows = (shelf.of_customer.get(customer_id) for shelf in home.shelves.values())
    return home.customer(customer_id).deleted_at is not None and not any(rows)
