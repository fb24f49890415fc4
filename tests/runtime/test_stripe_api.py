"""Requests to Stripe: what goes wrong is said without what we sent."""

import asyncio
import base64

import pytest

from runtime.budget import Budget
from runtime.stripe_api import StripeApi, StripeUnavailable

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
    assert not [secret for secret in (KEY, header[:20], "Authorization") if secret in repr(failed.value)]
