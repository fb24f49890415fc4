"""The main job on real input: Stripe's own example objects, as events of every API version, land as records."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from billing.kinds.registry import KINDS, kind_of
from sandbox import sign
from tests.billing.kinds.shapes import NEWEST, OLD_VERSIONS, story, stripe_examples
from tests.system import SECRET, System, running_system

EVENT_TYPES = {
    "customer": "customer.created",
    "product": "product.created",
    "price": "price.created",
    "subscription": "customer.subscription.updated",
    "invoice": "invoice.updated",
    "invoice_payment": "invoice_payment.paid",
    "charge": "charge.succeeded",
    "refund": "refund.created",
    "dispute": "charge.dispute.created",
    "checkout.session": "checkout.session.completed",
    "entitlements.active_entitlement_summary": "entitlements.active_entitlement_summary.updated",
    # There is no event of features alone: one would be read anyway.
    "entitlements.feature": "entitlements.feature.updated",
    "billing.meter": "billing.meter.updated",
    "subscription_schedule": "subscription_schedule.updated",
    "credit_note": "credit_note.created",
    "plan": "plan.created",
    "coupon": "coupon.created",
    "payment_intent": "payment_intent.succeeded",
    "payment_method": "payment_method.attached",
    "setup_intent": "setup_intent.succeeded",
    "tax_id": "customer.tax_id.created",
    "review": "review.opened",
    "radar.early_fraud_warning": "radar.early_fraud_warning.created",
    "payout": "payout.paid",
    # Nor is there one of balance transactions, which only lists tell of.
    "balance_transaction": "balance_transaction.created",
}


async def post_events(
    system: System, bodies: dict[str, dict[str, Any]], *, version: str, account: str | None = None
) -> None:
    """Wrap each object into an event of its type, sign it as Stripe does, and post it."""
    async with aiohttp.ClientSession() as session:
        for number, (name, body) in enumerate(bodies.items()):
            event: dict[str, Any] = {
                "id": f"evt_{account}_{number}",
                "object": "event",
                "api_version": version,
                "created": 1_770_000_000 + number,
                "data": {"object": body},
                "livemode": False,
                "pending_webhooks": 1,
                "request": {"id": None, "idempotency_key": None},
                "type": EVENT_TYPES[name],
            }
            if account is not None:
                event["account"] = account
            payload = json.dumps(event, indent=2).encode()
            headers = {"Stripe-Signature": sign(payload, SECRET)}
            async with session.post(system.webhook_url, data=payload, headers=headers) as answer:
                assert (200, {"received": True}) == (answer.status, await answer.json())


async def test_stripes_examples_land(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Each of Stripe's own examples becomes a row of its mirror table, and their customer a record."""
    examples = stripe_examples()
    async with running_system(database_url=database_url, redis_url=redis_url, folder=tmp_path) as system:
        await post_events(system, examples, version=NEWEST)
        status = await system.settled()
    assert (0, None) == (status["parked"], status["unconfirmed_objects"])
    connection = await asyncpg.connect(database_url)
    try:
        for name, body in examples.items():
            kind = kind_of(name)
            assert kind is not None
            raw = await connection.fetchval(
                f"select raw from {kind.table} where id = $1", body[kind.id_field]
            )
            assert body == json.loads(raw), name
        assert len(KINDS) == len(examples)
        customer, subscription = examples["customer"], examples["subscription"]
        record = await connection.fetchrow(
            "select * from billing.customers where stripe_customer_id = $1", customer["id"]
        )
        assert record is not None
        assert customer["id"] == record["stripe_customer_id"]
        assert subscription["id"] == record["stripe_subscription_id"]
        # Active, with a cancellation scheduled by cancel_at: still has access.
        assert ("canceled", True, False) == (record["status"], record["has_access"], record["exact"])
        price = subscription["items"]["data"][0]["price"]
        assert (price["product"], price["id"]) == (record["stripe_product_id"], record["stripe_price_id"])
    finally:
        await connection.close()


async def test_every_version_lands_as_the_same_record(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """One story in four API versions, each on a connected account of its own, makes the same record four times."""
    versions = (NEWEST, *OLD_VERSIONS)
    async with running_system(database_url=database_url, redis_url=redis_url, folder=tmp_path) as system:
        for version in versions:
            await post_events(system, story(version), version=version, account=f"acct_{version}")
        assert 0 == (await system.settled())["parked"]
    connection = await asyncpg.connect(database_url)
    try:
        for version in versions:
            scope = f"acct_{version}"
            record = await connection.fetchrow("select * from billing.customers where account_id = $1", scope)
            assert record is not None, version
            assert EXPECTED_RECORD == {name: record[name] for name in EXPECTED_RECORD}, version
            products = await connection.fetch(
                "select * from billing.customer_products where account_id = $1 order by stripe_product_id",
                scope,
            )
            found = [{name: product[name] for name in EXPECTED_PRODUCTS[0]} for product in products]
            assert EXPECTED_PRODUCTS == found, version
            revenue = await connection.fetchrow(
                "select * from billing.customer_revenue where account_id = $1", scope
            )
            assert revenue is not None, version
            assert EXPECTED_REVENUE == {name: revenue[name] for name in EXPECTED_REVENUE}, version
            for name, body in story(version).items():
                kind = kind_of(name)
                assert kind is not None
                raw = await connection.fetchval(
                    f"select raw from {kind.table} where account_id = $1 and id = $2",
                    scope,
                    body[kind.id_field],
                )
                assert body == json.loads(raw), (version, name)
            phases = await connection.fetch(
                "select phase, price_id, quantity from stripe.subscription_schedule_items "
                "where account_id = $1 order by phase, position",
                scope,
            )
            assert EXPECTED_PHASES == [tuple(row) for row in phases], version
    finally:
        await connection.close()


def _day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# Ada paid 3 seats and some calls in August, got 5.00 back and 4.00 in cash, and disputes the rest; she has asked to
# cancel, and a schedule runs her subscription.
EXPECTED_RECORD: dict[str, object] = {
    "custom_uid": "ada-1",
    "stripe_customer_id": "cus_ada",
    "name": "Ada",
    "email": "ada@example.com",
    "status": "canceled",
    "has_access": True,
    "product_id": "pro",
    "product_version_number": 3,
    "stripe_product_id": "prod_pro",
    "stripe_price_id": "price_pro",
    "stripe_subscription_id": "sub_ada",
    "quantity": 3,
    "lifetime_revenue": -400,
    "revenue_currency": "usd",
    "renewal_number": 1,
    "is_trial": False,
    "trial_end": None,
    "subscription_date": _day("2025-07-01"),
    "first_seen": _day("2025-06-30T23:59:00"),
    "last_seen": _day("2025-06-30T23:59:30"),
    "exact": False,
    "deleted_at": None,
}
EXPECTED_PRODUCTS: list[dict[str, object]] = [
    {
        "stripe_product_id": product,
        "stripe_price_id": price,
        "status": "canceled",
        "stripe_status": "active",
        "canceled": True,
        "starts_at": _day("2025-07-01"),
        "ended_at": None,
        "current_period_start": _day("2025-08-01"),
        "current_period_end": _day("2025-09-01"),
        "quantity": quantity,
        "external_id": "x-1",
        "scheduled_ids": ["sub_sched_1"],
    }
    for product, price, quantity in (("prod_calls", "price_calls", None), ("prod_pro", "price_pro", 3))
]
EXPECTED_REVENUE: dict[str, object] = {
    "currency": "usd",
    "gross": 6100,
    "refunded": 500,
    "disputed": 5600,
    "out_of_band": -400,
    "net": -400,
}
EXPECTED_PHASES = [(0, "price_pro", 3), (0, "price_calls", None), (1, "price_max", 1)]
