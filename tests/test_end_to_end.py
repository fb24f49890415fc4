"""The whole path: a sandbox account plays its stories through real processes, and every record equals its truth."""

import dataclasses
import json
from pathlib import Path

import asyncpg
import pytest

from sandbox import MIXED, NEW, Plan, Sandbox, arrange, create_api, deliver, serve
from sandbox.truth import CustomerKey, ExpectedCustomer
from tests.system import SECRET, running_system, until

API_KEY = "sk_test_end_to_end"

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


async def read_records(database_url: str) -> dict[CustomerKey, dict[str, object]]:
    """Every record in the shape of the truth."""
    connection = await asyncpg.connect(database_url)
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    try:
        records: dict[CustomerKey, dict[str, object]] = {}
        keys: dict[object, CustomerKey] = {}
        for row in await connection.fetch("select * from billing.customers"):
            key = CustomerKey(row["account_id"], row["live_mode"], row["stripe_customer_id"])
            keys[row["uid"]] = key
            records[key] = {name: value for name, value in row.items() if name not in LEFT_OUT}
            records[key] |= {name: [] for name in LISTED}
        for row in await connection.fetch(
            'select * from billing.customer_products order by stripe_subscription_id collate "C", '
            'stripe_product_id collate "C"'
        ):
            product = {name: value for name, value in row.items() if name not in PRODUCT_LEFT_OUT}
            for ids in ("subscription_ids", "scheduled_ids"):
                product[ids] = tuple(row[ids])
            _append(records, keys[row["customer_uid"]], "products", product)
        for row in await connection.fetch("select * from billing.customer_revenue order by currency"):
            amounts = ("currency", "gross", "refunded", "disputed", "out_of_band", "net")
            _append(records, keys[row["customer_uid"]], "revenue", {name: row[name] for name in amounts})
        for row in await connection.fetch(
            'select * from billing.customer_features order by lookup_key collate "C"'
        ):
            _append(records, keys[row["customer_uid"]], "features", row["lookup_key"])
        for row in await connection.fetch(
            "select * from billing.customer_mrr where mrr is distinct from 0 order by currency"
        ):
            _append(
                records, keys[row["customer_uid"]], "mrr", {"currency": row["currency"], "mrr": row["mrr"]}
            )
        for row in await connection.fetch('select * from billing.entities order by id collate "C"'):
            entity = {name: row[name] for name in ("id", "type", "name", "created_at")}
            _append(records, keys[row["customer_uid"]], "entities", entity)
        for row in await connection.fetch("select * from billing.status_changes order by id"):
            change = (row["status_before"], row["status_after"], row["exact"])
            _append(records, keys[row["customer_uid"]], "status_changes", change)
        return records
    finally:
        await connection.close()


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


@pytest.mark.parametrize("shapes", [NEW, MIXED], ids=["new", "mixed"])
async def test_records_equal_the_truth(
    database_url: str, redis_url: str, tmp_path: Path, shapes: tuple[str, ...]
) -> None:
    """At least 200 customers, every story, delivered as Stripe delivers: shuffled within a burst, some twice."""
    sandbox = Sandbox(seed=11, event_versions=shapes)
    sandbox.play(customers=210)
    async with (
        serve(create_api(sandbox, [API_KEY])) as api_base,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=api_base,
        ) as system,
    ):
        events = sandbox.run()
        plan = Plan(duplicate_share=0.1, reid_share=0.05, seed=11)
        report = await deliver(events, system.webhook_url, SECRET, plan=plan)
        assert report.refused == 0
        status = await system.settled(within_seconds=120)
        assert status["parked"] == 0
    # The API key serves test mode; what is live is kept apart, and seen.
    truth = {key: customer for key, customer in sandbox.truth().items() if not customer.live_mode}
    records = await read_records(database_url)
    assert len(truth) >= 200
    sent, _ = arrange(events, plan)
    assert status["quarantined_events"] == len({event.id for event in sent if event.live_mode})
    different = differences(truth, records)
    assert not different, "\n".join(different)


async def test_gap_fill_alone_keeps_records_right(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """No webhook ever reaches the endpoint (a laptop, a locked-down network): reading /v1/events every second is
    enough, also where the account had customers before.
    """
    sandbox = Sandbox(seed=23, event_retention_seconds=10 * 365 * 86_400)
    sandbox.play(customers=40)
    sandbox.advance(5 * 86_400)
    async with (
        serve(create_api(sandbox, [API_KEY])) as api_base,
        running_system(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            api_key=API_KEY,
            api_base=api_base,
            settings={"GAP_FILL_SECONDS": "1"},
        ) as system,
    ):

        async def filled() -> object:
            return (await system.status())["last_gap_fill_at"]

        await until(filled, what="the first gap fill")
        sandbox.run()
        filled_at = await filled()

        async def filled_again() -> object:
            return await filled() != filled_at

        # Two fills: one may have been under way while the account went on.
        for _ in range(2):
            filled_at = await filled()
            await until(filled_again, what="another gap fill")
        status = await system.settled(within_seconds=120)
        assert 0 == status["parked"]
        # The account's clock has jumped by months: a real Stripe would have forgotten events by then, and this is said.
        assert "run `subledger audit --repair`" in str(status["alarms"])
    truth = {
        key: customer
        for key, customer in sandbox.truth().items()
        if customer.account_id == "" and not customer.live_mode
    }
    records = await read_records(database_url)
    # Customers that did nothing since the first fill are the business of the backfill.
    known = {key: truth[key] for key in truth.keys() & records.keys()}
    different = differences(known, records)
    assert not different, "\n".join(different)
    assert len(known) >= 40
