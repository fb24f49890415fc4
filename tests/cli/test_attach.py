"""`subledger attach`: one command from an account with customers to exact records, and what it says on the way."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.attach import Attached, _attach
from cli.connect import settings
from cli.errors import CommandError
from cli.event_types import EVENT_TYPES
from db.connection import Pool
from db.sync.fitness import Exactness, count_exact
from runtime.webhook_endpoints import list_endpoints
from sandbox import Sandbox
from tests.cli.command import subledger
from tests.harness import customer, event, open_harness
from tests.worker.account import API_KEY, attached, lived_account
from tests.worker.account import Attached as Room

RESTRICTED_KEY = "rk_test_attached"
URL = "https://billing.example.com/webhooks/stripe"


@asynccontextmanager
async def at_work(room: Room) -> AsyncIterator[None]:
    """A worker that lives, and does what it does as if no time had to pass."""
    await room.execute("insert into sync.workers (id) values ('host:1:1')")

    async def work() -> None:
        while True:
            await room.hurry()
            await room.execute("update sync.customers set history_at = now() where history_at > now()")
            await room.engine.apply()
            await room.engine.scan()
            await room.confirm()
            await room.engine.sweep_bulk()
            await room.engine.derive()
            await asyncio.sleep(0.05)

    working = asyncio.create_task(work())
    try:
        yield
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def run(
    room: Room, database_url: str, *, key: str = API_KEY, secret_file: Path | None = None
) -> Attached:
    """The command, in this process."""
    environ = {
        "DATABASE_URL": database_url,
        "STRIPE_API_KEY": key,
        "STRIPE_API_BASE": room.settings.stripe_api_base,
    }
    return await _attach(environ, settings(environ), url=URL, secret_file=secret_file, wait=120)


def endpoint_of(room: Room) -> dict[str, Any]:
    (found,) = room.api.endpoints.of(room.api.sandbox.home)
    return found


async def test_from_nothing_to_exact(
    pool: Pool, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The endpoint is registered with exactly our types, the account is read, and the audit proves it; again, and
    nothing changes; a key that may only read does the same once the endpoint is right.
    """
    sandbox = lived_account(customers=6, clocks=False)
    async with attached(pool, database_url, sandbox, keys=[API_KEY, RESTRICTED_KEY]) as room, at_work(room):
        secret_file = tmp_path / "secret"
        done = await run(room, database_url, secret_file=secret_file)
        assert ("registered", None, 0, False, 0) == (
            done.endpoint,
            done.secret,
            done.drift,
            done.undecided,
            done.stuck,
        )
        assert done.is_exact
        assert done.customers == done.exact > 0
        assert (URL, "enabled", list(EVENT_TYPES)) == tuple(
            endpoint_of(room)[name] for name in ("url", "status", "enabled_events")
        )
        # What Stripe shows once is in the file, for its owner alone, and nowhere else.
        assert "whsec_" + "1".rjust(32, "0") == secret_file.read_text().strip()
        assert 0o600 == stat.S_IMODE(secret_file.stat().st_mode)
        output = capsys.readouterr()
        assert "whsec_" not in output.out + output.err
        assert "STRIPE_WEBHOOK_SECRET_FILE" in output.err

        endpoint_of(room).update(status="disabled", enabled_events=["invoice.paid", "ping.pong"])
        again = await run(room, database_url)
        assert ("repaired", None, True) == (again.endpoint, again.secret, again.is_exact)
        assert ("enabled", list(EVENT_TYPES)) == (
            endpoint_of(room)["status"],
            endpoint_of(room)["enabled_events"],
        )
        reading = await run(room, database_url, key=RESTRICTED_KEY)
        assert ("right", True) == (reading.endpoint, reading.is_exact)
        assert done.customers == reading.customers


async def test_key_that_may_not_write_endpoints(
    pool: Pool, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says what to do by hand, with every type; nothing is begun. One that lacks only what is mirrored is left."""
    async with attached(pool, database_url, Sandbox(seed=1), keys=[RESTRICTED_KEY]) as room:
        with pytest.raises(CommandError, match="may not write webhook endpoints") as caught:
            await run(room, database_url, key=RESTRICTED_KEY)
        assert f"stripe webhook_endpoints create -d url={URL}" in str(caught.value)
        assert all(f"enabled_events[]={each}'" in str(caught.value) for each in EVENT_TYPES)
        assert 0 == await room.fetchval("select count(*) from sync.scans")

        room.api.endpoints.register(
            sandbox_home(room), url=URL, enabled_events=["customer.created"], created=0
        )
        with pytest.raises(CommandError, match="may not write webhook endpoints"):
            await run(room, database_url, key=RESTRICTED_KEY)
        endpoint_of(room)["enabled_events"] = ["*"]
        room.api.forbidden = {"webhook_endpoints"}
        async with at_work(room):
            done = await run(room, database_url, key=RESTRICTED_KEY)
        assert ("unknown", True) == (done.endpoint, done.is_exact)
        assert "the key may not read webhook endpoints" in capsys.readouterr().err


def sandbox_home(room: Room) -> Any:
    return room.api.sandbox.home


async def test_key_that_may_not_read(pool: Pool, database_url: str) -> None:
    """Neither endpoint nor backfill comes before the key's rights: the missing one is named."""
    async with attached(pool, database_url, Sandbox(seed=1), keys=[RESTRICTED_KEY]) as room:
        room.api.forbidden = {"invoices"}
        with pytest.raises(CommandError, match="allow the key to read invoices"):
            await run(room, database_url, key=RESTRICTED_KEY)
        assert [] == room.api.endpoints.of(sandbox_home(room))
        assert await list_endpoints(room.lanes.bulk) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("billing.example.com/webhooks/stripe", "give it as https://HOST/webhooks/stripe"),
        ("http://billing.example.com/webhooks/stripe", "must be https"),
        ("https://billing.example.com/hooks", "must end in /webhooks/stripe"),
    ],
)
async def test_address_that_cannot_be_right(database_url: str, url: str, said: str) -> None:
    """It is refused before anything is asked."""
    done = await subledger(database_url, "attach", "--url", url, STRIPE_API_KEY="sk_test_1")
    assert 2 == done.code
    assert said in " ".join(done.err.split())


async def test_who_is_stuck(pool: Pool, database_url: str) -> None:
    """Whose history is not known, of whom an object is missing or was given up, or whose record was: they do not become
    exact on their own. Who waits for a read does, whatever another account's customer of the same id lacks.
    """
    names = (
        "cus_exact",
        "cus_new",
        "cus_waiting",
        "cus_missing",
        "cus_unreadable",
        "cus_unknown",
        "cus_parked",
    )
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(
            *(event("customer.created", customer(name)) for name in names),
            event("customer.created", customer("cus_waiting"), account="acct_1"),
        )
        for statement in (
            "update billing.customers set exact = true where stripe_customer_id = 'cus_exact'",
            "update sync.objects set missing_since = now() where id = 'cus_missing'",
            "update sync.objects set parked_at = now() where id = 'cus_unreadable'",
            "update sync.customers set complete = customer_id <> 'cus_unknown' and account_id = ''",
            "update sync.customers set parked_at = now() where customer_id = 'cus_parked'",
        ):
            await harness.execute(statement)
        async with pool.acquire() as connection:
            count = await count_exact(connection, live_mode=False)
    assert Exactness(customers=7, exact=1, stuck=4) == count


def test_what_is_exact() -> None:
    """Customers who have just changed are no fault; drift, what is undecided, and customers not known are."""
    fine = Attached(endpoint="right", secret=None, drift=0, undecided=False, customers=9, exact=8, stuck=0)
    assert fine.is_exact
    assert not replace(fine, stuck=1).is_exact
    assert not replace(fine, drift=1).is_exact
    assert not replace(fine, undecided=True).is_exact
