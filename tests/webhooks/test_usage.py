"""POST /customers/{id}/usage: what services call to show a customer its usage of now."""

import asyncio
from dataclasses import replace
from typing import Any

from db.connection import Pool
from sandbox import create_api
from tests.harness import API_KEY, Api, Harness, error, open_harness
from tests.system import ADMIN_TOKEN
from tests.webhooks.web_harness import Door, open_door, settings
from tests.worker.telephony import Telephony, live
from worker.engine import Engine

HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


async def post(door: Door, customer_id: str, *, query: str = "wait=20", headers: Any = None) -> Any:
    """Ask for a customer's usage."""
    return await door.ask("POST", f"/customers/{customer_id}/usage?{query}", headers=headers or HEADERS)


async def worked(engine: Engine, asking: "asyncio.Task[Any]") -> Any:
    """The answer, while a worker does what it is asked for."""
    while not asking.done():
        await engine.sweep_bulk()
        await asyncio.wait([asking], timeout=0.05)
    return asking.result()


async def test_usage_of_now(pool: Pool, database_url: str) -> None:
    """Read at Stripe on request, not an hour old; Stripe's refusals are reported."""
    telephony = Telephony()
    asked_for = replace(settings(database_url=database_url), stripe_api_key=API_KEY)
    async with (
        open_harness(pool, database_url, api=Api(create_api(telephony.world, [API_KEY]))) as harness,
        open_door(asked_for) as door,
    ):
        engine = only_asked(harness)
        await live(harness, telephony)
        for used in (4, 9):
            telephony.account.metering.use(telephony.ada, telephony.calls, used - (used == 9) * 4)
            answer = await worked(engine, asyncio.create_task(post(door, telephony.ada.id)))
            assert (200, None) == (answer.status, answer.body["note"])
            (row,) = answer.body["usage"]
            assert (used, 1000, 2000 + 3 * used, "usd") == (
                row["value"],
                row["quota_limit"],
                row["expected_charge"],
                row["currency"],
            )
        nobody = await worked(engine, asyncio.create_task(post(door, "cus_nobody")))
        assert (200, []) == (nobody.status, nobody.body["usage"])
        harness.api.say("/v1/invoices/create_preview", 403, error("more_permissions_required", "No."))
        refused = await worked(engine, asyncio.create_task(post(door, telephony.ada.id)))
        assert 200 == refused.status
        assert "more_permissions_required" in refused.body["note"]
        assert refused.body["usage"][0]["expected_charge"] is None
        for _ in range(9):  # also when it is tried again before the answer is looked at
            harness.api.say(telephony.meter_path, 500, error("api_error", "No."))
        failed = await worked(engine, asyncio.create_task(post(door, telephony.ada.id)))
        assert (504, 9) == (failed.status, failed.body["usage"][0]["value"])
        assert "api_error" in failed.error


def only_asked(harness: Harness) -> Engine:
    """A worker with the schedule off."""
    return Engine(
        pool=harness.pool, lanes=harness.lanes, settings=replace(harness.settings, usage_seconds=0.0)
    )


async def test_no_worker_answers(database_url: str) -> None:
    """504 with what was read last, in the time that was allowed."""
    asked_for = replace(settings(database_url=database_url), stripe_api_key=API_KEY)
    async with open_door(asked_for) as door:
        answer = await post(door, "cus_1", query="wait=1")
    assert (504, []) == (answer.status, answer.body["usage"])
    assert "in time" in answer.error


async def test_who_may_ask(database_url: str) -> None:
    """As the refresh: with the admin token, an id of Stripe, a wait that makes sense, and an API key to read with."""
    async with open_door(settings(database_url=database_url)) as door:
        assert 401 == (await post(door, "cus_1", headers={"Authorization": "Bearer wrong"})).status
        keyless = await post(door, "cus_1")
        assert 409 == keyless.status
        assert "STRIPE_API_KEY" in keyless.error
    asked_for = replace(settings(database_url=database_url), stripe_api_key=API_KEY)
    async with open_door(asked_for) as door:
        for customer_id, query in (("cus_1", "wait=31"), ("cus_1", "wait=soon"), ("c" * 256, "wait=1")):
            assert 422 == (await post(door, customer_id, query=query)).status
    async with open_door(settings(admin_token=None)) as door:
        assert 403 == (await post(door, "cus_1")).status
