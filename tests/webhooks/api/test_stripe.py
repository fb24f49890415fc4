"""What the API asks of Stripe: nobody waits for a turn that does not come (test_turns.py tells when one comes)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from db.keys import CustomerKey
from runtime.logs import Complaints
from runtime.settings import Settings
from tests.webhooks.api.client import open_service
from webhooks.api import stripe
from webhooks.api.problems import AWAY, Problem
from webhooks.api.stripe import Customers
from webhooks.database import Database

ANSWER = b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"id":"cus_1","object":"customer"}'
SOMEBODY = CustomerKey("", False, "cus_1")


class Slow:
    """A Stripe that answers only after `may_answer` is set."""

    def __init__(self) -> None:
        self.asked = 0
        self.is_asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        self.is_asked.set()
        await self.may_answer.wait()
        writer.write(ANSWER)
        writer.close()


@asynccontextmanager
async def customers_of(slow: Slow) -> AsyncIterator[Customers]:
    server = await asyncio.start_server(slow.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    customers = Customers(
        Settings(
            database_url="",
            redis_url="",
            stripe_api_key="rk_test_tests_only",
            stripe_api_base=f"http://127.0.0.1:{port}",
        ),
        Database("", application_name="unused", connections_max=1),
        Complaints(),
    )
    async with server:
        await customers.start()
        try:
            yield customers
        finally:
            await customers.close()


@pytest.mark.parametrize("many", [False, True], ids=["too long", "too many"])
async def test_nobody_waits_for_a_turn_without_end(monkeypatch: pytest.MonkeyPatch, *, many: bool) -> None:
    """A request whose turn does not come in time, or before which many wait, is answered 503 and never sent; one that
    was sent is waited for.
    """
    slow = Slow()
    monkeypatch.setattr(stripe, "CONCURRENCY_MAX", 1)
    monkeypatch.setattr(stripe, "WAITING_MAX", 1)
    monkeypatch.setattr(stripe, "TURN_SECONDS_MAX", 600.0 if many else 0.05)
    async with customers_of(slow) as customers:
        sent = asyncio.create_task(customers.require(SOMEBODY))
        await slow.is_asked.wait()
        waiting = asyncio.create_task(customers.require(SOMEBODY)) if many else None
        await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            await asyncio.wait_for(customers.require(SOMEBODY), 60.0)
        assert (AWAY, True) == (refused.value.kind, refused.value.remedy is not None)
        assert "Retry-After" in refused.value.headers
        assert ("wait already" if many else "no turn came") in refused.value.detail
        assert not sent.done()
        slow.may_answer.set()
        await sent
        if waiting is not None:
            await waiting
        await customers.require(SOMEBODY)  # nobody keeps a place
    assert slow.asked == (3 if many else 2)


async def test_says_when_to_ask_again(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a customer that could not be created in time carries Retry-After."""
    monkeypatch.setattr(stripe, "CONCURRENCY_MAX", 0)
    monkeypatch.setattr(stripe, "TURN_SECONDS_MAX", 1.0)
    async with open_service(database_url, working=False) as service:
        late = await service.put("/customers/late", {"create_in_stripe": True})
    assert (503, "1") == (late.status, late.headers["Retry-After"])
    assert "is kept here" in late.problem("away")
