"""POST, GET and DELETE /backfills on the real app, and the same asked by the command."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from billing.kinds.lists import listed_kinds
from db.connection import Pool
from runtime.settings import Settings
from tests.cli.command import subledger
from tests.system import ADMIN_TOKEN
from tests.webhooks.web_harness import open_door

API_KEY = "sk_test_routes"


@pytest.fixture
async def desk(database_url: str, redis_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with the admin token before the web process's application."""
    settings = Settings(
        database_url=database_url,
        redis_url=redis_url,
        stripe_api_key=API_KEY,
        stripe_webhook_secrets=("whsec_routes",),
        admin_token=ADMIN_TOKEN,
    )
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with (
        open_door(settings) as door,
        aiohttp.ClientSession(f"http://127.0.0.1:{door.port}", headers=headers) as session,
    ):
        yield session


async def test_asked_for_shown_and_canceled(desk: aiohttp.ClientSession) -> None:
    """202 with the id and where to look; the same words again are the same backfill; DELETE ends it, once."""
    async with desk.post("/backfills", json={"objects": ["all"]}) as response:
        assert 202 == response.status
        asked = await response.json()
        location = response.headers["Location"]
    assert "queued" == asked["status"]
    async with desk.post("/backfills") as response:
        assert (200, asked) == (response.status, await response.json())
    async with desk.get(location) as response:
        shown = await response.json()
    assert (asked["id"], "queued", [], None) == (
        shown["id"],
        shown["status"],
        shown["objects"],
        shown["finished_at"],
    )
    async with desk.get("/backfills") as response:
        assert {"backfills": [shown]} == await response.json()
    async with desk.delete(location) as response:
        assert (200, "canceled") == (response.status, (await response.json())["status"])
    async with desk.delete(location) as response:
        assert 409 == response.status
        assert "it is canceled" in (await response.json())["error"]
    async with desk.put("/backfills") as response:
        assert (405, {"GET", "HEAD", "POST"}) == (response.status, set(response.headers["Allow"].split(", ")))


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, "JSON"),
        (b"[]", 400, "JSON"),
        (b'{"objects": ["invoices"]}', 422, "objects names 'invoices'"),
        (b'{"objects": []}', 422, "objects"),
        (b'{"objects": [1]}', 422, "objects"),
        (b'{"since": "yesterday"}', 422, "since"),
        (b'{"until": 5}', 422, "until"),
        (b'{"since": "0001-01-01T00:00:00+05:00"}', 422, "since"),
        (b'{"since": "2026-02-01", "until": "2026-01-01"}', 422, "until must be later"),
        (b'{"customer": "cus_\\u0000"}', 422, "customer"),
        (b'{"customer": "cus_1", "since": "2026-01-01"}', 422, "customer"),
        (b'{"account": 7}', 422, "account"),
        (b'{"object": "all"}', 422, "object is unknown"),
    ],
)
async def test_wrong_field_is_named(
    desk: aiohttp.ClientSession, pool: Pool, body: bytes, status: int, field: str
) -> None:
    """What cannot be understood is refused with the field's name, and nothing is begun."""
    async with desk.post("/backfills", data=body) as response:
        assert status == response.status
        assert field in (await response.json())["error"]
    assert 0 == await pool.fetchval("select count(*) from sync.scans")


@pytest.mark.parametrize("number", ["1", "x", "0" * 30, "-1"])
async def test_unknown_backfill(desk: aiohttp.ClientSession, number: str) -> None:
    """404, whatever the number is."""
    for method in ("GET", "DELETE"):
        async with desk.request(method, f"/backfills/{number}") as response:
            assert 404 == response.status


async def test_only_with_the_token(desk: aiohttp.ClientSession) -> None:
    """401 without it, on every route."""
    nobody = {"Authorization": "Bearer nobody"}
    for method, path in (("POST", ""), ("GET", ""), ("GET", "/1"), ("DELETE", "/1")):
        async with desk.request(method, f"/backfills{path}", headers=nobody) as response:
            assert 401 == response.status


async def test_command_asks_in_the_same_words(database_url: str, pool: Pool) -> None:
    """--detach returns with what was asked for; wrong words are a usage error that names the option."""
    done = await subledger(
        database_url,
        *("backfill", "--object", "refund,charge", "--since", "2026-01-31", "--detach", "--json"),
        STRIPE_API_KEY=API_KEY,
    )
    assert 0 == done.code, done
    row = await pool.fetchrow("select kinds, since::text, whole, status from sync.scans")
    assert row is not None
    assert (["charge"], "2026-01-31 00:00:00+00", False, "queued") == tuple(row)
    wrong = await subledger(database_url, "backfill", "--object", "invoices", STRIPE_API_KEY=API_KEY)
    assert (2, True) == (wrong.code, "--objects" in wrong.err)
    keyless = await subledger(database_url, "backfill")
    assert (1, True) == (keyless.code, "STRIPE_API_KEY" in keyless.err)
    keyless = await subledger(database_url, "audit")
    assert (2, True) == (keyless.code, "STRIPE_API_KEY" in keyless.err)


def test_parts_are_read_with_their_parents() -> None:
    """Asking for refunds reads the charges, which carry them; nothing is read twice for `all`."""
    assert ("charge",) == listed_kinds(["refund"])
    assert "refund" not in listed_kinds()
    assert "invoice_payment" not in listed_kinds()
