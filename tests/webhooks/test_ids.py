"""Ids in the paths of routes: refused with the reason if they can be nobody's, before anything is asked."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.harness import API_KEY
from tests.system import ADMIN_TOKEN
from tests.webhooks.web_harness import Door, open_door, settings

HEADERS = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
ROUTES = [
    ("POST", "/customers/{}/refresh?wait=1"),
    ("POST", "/customers/{}/usage?wait=1"),
    ("GET", "/backfills/{}"),
    ("DELETE", "/backfills/{}"),
]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door() -> AsyncIterator[Door]:
    """A web process with a key, and without a database: what is refused needs none."""
    async with open_door(replace(settings(), stripe_api_key=API_KEY)) as door:
        yield door


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "is ''"),
        ("%2e", "is '.'"),
        ("%2E%2e", "is '..'"),
        ("..%2f..%2fv1%2fevents", "has '/'"),
        ("cus_1%2F..%2Fcus_2", "has '/'"),
        ("cus_1/../cus_2", "has '/'"),
        ("cus_1%5C..", r"has '\\'"),
        ("cus_1%3Flimit=1", "has '?'"),
        ("cus_1%23", "has '#'"),
        ("cus_1%252e", "has '%'"),
        ("cus_1%00", "cannot be shown"),
        ("cus_1%0A", "cannot be shown"),
        ("%0d%0aX:%20y", "cannot be shown"),
        ("cus_1%1b%5b2J", "cannot be shown"),
        ("cus_1%7f", "cannot be shown"),
        ("cus_1%e2%80%ae", "cannot be shown"),
        ("cus_1%ff", "cannot be shown"),
    ],
)
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_what_is_no_id(door: Door, method: str, path: str, written: str, reason: str) -> None:
    """422 with the reason: an id becomes a part of a path at Stripe, and of what operators read."""
    answer = await door.ask(method, path.format(written), headers=HEADERS)
    assert 422 == answer.status
    assert reason in answer.error
    assert answer.error.isprintable()


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_only_with_the_token(door: Door, method: str, path: str) -> None:
    """Nobody else learns which ids are accepted."""
    assert 401 == (await door.ask(method, path.format("%2e%2e"))).status


@pytest.mark.parametrize("account", ["acct_1%2f..", "acct_1%0d%0aX:%20y", "..", "acct_%00", "a" * 256])
async def test_what_is_no_account(door: Door, account: str) -> None:
    """The account becomes a header at Stripe."""
    answer = await door.ask("POST", f"/customers/cus_1/usage?account={account}", headers=HEADERS)
    assert (422, "account must be an id of Stripe: acct_...") == (answer.status, answer.error)


async def test_id_that_is_too_long(door: Door) -> None:
    """Stripe promises that none is longer than 255 characters."""
    answer = await door.ask("POST", f"/customers/{'c' * 256}/usage", headers=HEADERS)
    assert (422, "the id of the customer is longer than any of Stripe's") == (answer.status, answer.error)
