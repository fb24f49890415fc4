"""Requests to Stripe: what goes wrong is said without what we sent."""

import asyncio
import base64
import json

import pytest

from runtime.budget import Budget
from runtime.limiter import Lane
from runtime.limits import Limits
from runtime.stripe_api import StripeApi, StripeUnavailable
from tests.ports import closed_port

KEY = "rk_live_tests_only_0123456789"
ODD_ANSWERS = {
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("odd", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
async def test_an_odd_answer_tells_no_key(odd: bytes) -> None:
    """Whatever stands between us and Stripe answers what is no HTTP: the error, which is shown, holds no key."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(odd)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, StripeApi(api_key=KEY, api_base=f"http://127.0.0.1:{port}", budget=Budget()) as api:
        with pytest.raises(StripeUnavailable) as failed:
            await api.read("/v1/account", account_id="")
    header = base64.b64encode(f"{KEY}:".encode()).decode()
    assert "/v1/account" in str(failed.value)
    assert failed.value.reached
    assert not [secret for secret in (KEY, header[:20], "Authorization") if secret in repr(failed.value)]


async def test_what_cannot_have_reached_stripe() -> None:
    """Without a connection nothing was done there: whoever must not do it twice may send it again."""
    base = f"http://127.0.0.1:{closed_port()}"
    async with StripeApi(api_key=KEY, api_base=base, budget=Budget()) as api:
        with pytest.raises(StripeUnavailable) as failed:
            await api.change("/v1/billing/meter_events", {}, account_id="")
    assert not failed.value.reached


async def test_i12_date_that_no_clock_can_show() -> None:
    """I12: a Date header beyond all dates is as none: it is no reason to throw the answer away."""
    body = b'{"object": "account", "id": "acct_1"}'
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nDate: Fri, 31 Dec 9999 23:59:59 -1200\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + body)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, StripeApi(api_key=KEY, api_base=f"http://127.0.0.1:{port}", budget=Budget()) as api:
        answered = await api.read("/v1/account", account_id="")
    assert body == answered.body
    assert answered.answered_at.year < 9999


REFUSALS = {
    "a lock": ("", "lock_timeout", "lock_timeout"),
    "a proxy that says nothing": ("", None, "unknown"),
    "a limit without its reason": ("", "rate_limit", "unknown"),
    "an account's limit": ("global-rate", "rate_limit", "global-rate"),
}


@pytest.mark.parametrize(("header", "code", "reason"), REFUSALS.values(), ids=REFUSALS)
async def test_a_429_slows_down_unless_it_is_a_lock(header: str, code: str | None, reason: str) -> None:
    """Only Stripe's word for a lock on one object says nothing about the rate; a 429 without a reason slows down."""
    body = json.dumps({"error": {"code": code, "message": "Too many."}} if code else {}).encode()
    head = f"HTTP/1.1 429 Too Many Requests\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    head += f"Stripe-Rate-Limited-Reason: {header}\r\n" if header else ""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head.encode() + b"\r\n" + body)
        writer.close()

    now = 0.0
    budget = Budget(Limits(account=60.0, operation=15.0), clock=lambda: now)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, StripeApi(api_key=KEY, api_base=f"http://127.0.0.1:{port}", budget=budget) as api:
        with pytest.raises(StripeUnavailable) as failed:
            await api.read("/v1/account", account_id="")
    assert reason == failed.value.limited_by
    assert {reason: 1} == dict(budget.refusals)
    now = 0.2
    waiting = asyncio.create_task(budget.enter(Lane.LIVE, "", "GET /v1/account"))
    await asyncio.sleep(0)
    assert (reason == "lock_timeout") == waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
