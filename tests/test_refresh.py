"""What a checkout success page calls: one customer read at Stripe now, webhooks or not."""

from pathlib import Path
from typing import Any

import aiohttp

from db.connection import Pool
from sandbox import Sandbox, create_api, serve
from tests.system import ADMIN_TOKEN, System, running_system, until

API_KEY = "sk_test_refresh"


async def refresh(
    system: System, customer_id: str, *, wait: str = "30", token: str = ADMIN_TOKEN
) -> tuple[int, dict[str, Any]]:
    """POST the refresh; the status and the body."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{system.base_url}/customers/{customer_id}/refresh",
            params={"wait": wait},
            headers={"Authorization": f"Bearer {token}"},
        ) as answer,
    ):
        return answer.status, await answer.json()


async def test_refresh_without_any_webhook(
    pool: Pool, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """A customer that no webhook announced is read from Stripe's lists, and answered with an exact record. What is then
    set of one here, the worker sends to Stripe.
    """
    sandbox = Sandbox(seed=5)
    sandbox.play(customers=1)
    sandbox.run()
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

        async def is_at_work() -> object:
            return await pool.fetchval("select count(*) from sync.workers")

        await until(is_at_work, what="a worker")
        truth = [
            each
            for each in sandbox.truth().values()
            if each.account_id == "" and not each.live_mode and each.deleted_at is None and each.products
        ][:12]
        for expected in truth:
            status, body = await refresh(system, expected.stripe_customer_id)
            assert 200 == status, body
            record = body["customer"]
            assert (expected.status, expected.lifetime_revenue, expected.renewal_number, True) == (
                record["status"],
                record["lifetime_revenue"],
                record["renewal_number"],
                record["exact"],
            ), expected
            assert len(expected.products) == len(record["customer_products"])
        status, body = await refresh(system, "cus_nobody")
        assert (404, "Stripe knows no customer cus_nobody in this account and mode") == (
            status,
            body["error"],
        )
        for table, column in (("billing.customers", "stripe_customer_id"), ("sync.customers", "customer_id")):
            assert 0 == await pool.fetchval(f"select count(*) from {table} where {column} = 'cus_nobody'")
        assert 422 == (await refresh(system, "cus_x", wait="31"))[0]
        assert 401 == (await refresh(system, "cus_x", token="wrong"))[0]
        await _reaches_stripe(system, sandbox, truth[0].stripe_customer_id)


async def _reaches_stripe(system: System, sandbox: Sandbox, customer_id: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.patch(
            f"{system.base_url}/customers/{customer_id}",
            json={"name": "Set here"},
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        ) as answer,
    ):
        assert (200, "Set here") == (answer.status, (await answer.json())["name"])

    async def has_it() -> object:
        return sandbox.home.customer(customer_id).name == "Set here"

    await until(has_it, what="the name at Stripe")


async def test_refresh_needs_a_key(database_url: str, redis_url: str, tmp_path: Path) -> None:
    """Without an API key there is nothing to refresh from: 409, and what to do."""
    async with running_system(database_url=database_url, redis_url=redis_url, folder=tmp_path) as system:
        status, body = await refresh(system, "cus_1")
    assert 409 == status
    assert "STRIPE_API_KEY" in body["error"]
