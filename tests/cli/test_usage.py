"""`subledger usage`, by the real command."""

import asyncio

from db.connection import Pool
from sandbox import create_api
from tests.cli.command import Done, subledger
from tests.harness import API_KEY, Api, error, open_harness
from tests.worker.telephony import Telephony, live


async def test_usage(pool: Pool, database_url: str) -> None:
    """Read now by a worker, or shown as last read; unreadable usage and customers without metering are reported."""
    telephony = Telephony()
    telephony.account.metering.use(telephony.ada, telephony.calls, 42)
    telephony.account.clients.create("Cy", "cy@example.com", payment_method="good")
    async with open_harness(pool, database_url, api=Api(create_api(telephony.world, [API_KEY]))) as harness:
        await live(harness, telephony)

        async def command(*arguments: str) -> Done:
            """The command, while a worker runs."""
            asking = asyncio.create_task(subledger(database_url, "usage", *arguments, STRIPE_API_KEY=API_KEY))
            while not asking.done():
                await harness.engine.sweep_bulk()
                await asyncio.wait([asking], timeout=0.05)
            return asking.result()

        page = await command("ada@example.com")
        assert (0, "") == (page.code, page.err)
        (line,) = page.lines("Api calls")
        assert line.startswith(f"Api calls {telephony.subscription.id} 42 1000 ")
        assert " 21.26 USD " in line
        shown = (await command(telephony.ada.id, "--json")).json
        assert (None, "42", 2126) == (
            shown["note"],
            str(shown["usage"][0]["value"]),
            shown["usage"][0]["expected_charge"],
        )
        assert "has no metered subscription" in (await command("cy@example.com")).out
        for _ in range(9):  # also when it is tried again before the command looks
            harness.api.say(telephony.meter_path, 500, error("api_error", "No."))
        failed = await command("ada@example.com")
        harness.api.scripted.clear()
        assert (1, True) == (failed.code, "api_error" in failed.err)
        for _ in range(5):  # the question that failed is tried again meanwhile
            harness.api.say("/v1/invoices/create_preview", 403, error("more_permissions_required", "No."))
        noted = await command("ada@example.com")
        assert (0, True) == (noted.code, "more_permissions_required" in noted.err)
    last = await subledger(database_url, "usage", "ada@example.com", "--wait", "0", STRIPE_API_KEY=API_KEY)
    assert (0, 1) == (last.code, len(last.lines("Api calls")))
    alone = await subledger(database_url, "usage", "ada@example.com", "--wait", "1", STRIPE_API_KEY=API_KEY)
    assert (1, True) == (alone.code, "no worker has read it" in alone.err)
    keyless = await subledger(database_url, "usage", "ada@example.com")
    assert (1, True) == (keyless.code, "STRIPE_API_KEY is not of test mode" in keyless.err)
    unknown = await subledger(database_url, "usage", "nobody@example.com")
    assert (1, True) == (unknown.code, "no customer" in unknown.err)
