"""Webhook endpoints of the sandbox's API: registered, listed, changed and refused as Stripe does."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sandbox import Sandbox, create_api, serve

SECRET_KEY, RESTRICTED_KEY, LIVE_KEY = "sk_test_1", "rk_test_1", "sk_live_1"
URL = "https://example.com/webhooks/stripe"


@pytest.fixture
async def base() -> AsyncIterator[str]:
    async with serve(create_api(Sandbox(seed=1), [SECRET_KEY, RESTRICTED_KEY, LIVE_KEY])) as base:
        yield f"{base}/v1/webhook_endpoints"


async def ask(
    method: str, address: str, *, key: str = SECRET_KEY, **fields: str
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, address, data=fields or None) as answer,
    ):
        return answer.status, await answer.json()


async def test_registered_listed_and_changed(base: str) -> None:
    """The secret is shown once; a change of the types replaces them all."""
    fields = {"url": URL, "enabled_events[0]": "invoice.paid", "enabled_events[1]": "customer.created"}
    status, made = await ask("POST", base, **fields)
    assert (200, URL, ["invoice.paid", "customer.created"], "enabled") == (
        status,
        made["url"],
        made["enabled_events"],
        made["status"],
    )
    assert made.pop("secret").startswith("whsec_")
    assert (200, [made]) == ((listed := await ask("GET", base))[0], listed[1]["data"])
    _, changed = await ask("POST", f"{base}/{made['id']}", **{"enabled_events[]": "*", "disabled": "true"})
    assert (["*"], "disabled") == (changed["enabled_events"], changed["status"])
    assert (200, changed) == await ask("GET", f"{base}/{made['id']}")
    # The other mode has its own.
    assert [] == (await ask("GET", base, key=LIVE_KEY))[1]["data"]


@pytest.mark.parametrize(
    ("key", "path", "fields", "status"),
    [
        (SECRET_KEY, "", {"url": URL}, 400),
        (SECRET_KEY, "", {"enabled_events[]": "*"}, 400),
        (SECRET_KEY, "", {"url": "example.com", "enabled_events[]": "*"}, 400),
        (SECRET_KEY, "", {"url": URL, "enabled_events[]": "invoice"}, 400),
        (SECRET_KEY, "", {"url": URL, "enabled_events[]": "*", "secret": "whsec_mine"}, 400),
        (LIVE_KEY, "", {"url": "http://example.com", "enabled_events[]": "*"}, 400),
        (SECRET_KEY, "/we_none", {"disabled": "true"}, 404),
        (RESTRICTED_KEY, "", {"url": URL, "enabled_events[]": "*"}, 403),
    ],
)
async def test_what_is_refused(base: str, key: str, path: str, fields: dict[str, str], status: int) -> None:
    """With Stripe's status; and nothing is registered."""
    assert status == (await ask("POST", f"{base}{path}", key=key, **fields))[0]
    assert [] == (await ask("GET", base, key=key))[1]["data"]
