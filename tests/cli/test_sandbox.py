"""`subledger sandbox`: the simulated account as a process, and the example of its page."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sandbox import serve
from tests.cli.command import ended, running, subledger
from tests.places import ROOT

URL = "http://127.0.0.1:1/hook"


async def test_example_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler verifies and keeps what the sandbox posts, late, twice and out of order, and the API agrees."""
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/sandbox.md").read_text(), re.DOTALL | re.MULTILINE
    )
    handler: dict[str, Any] = {}
    check: dict[str, Any] = {}
    for block, names in zip(blocks, (handler, check), strict=True):
        exec(block, names)  # noqa: S102
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_test")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    async with serve(handler["app"]) as base:
        await asyncio.to_thread(check["check"], handler["paid"], f"{base}/webhooks/stripe")
    assert all(amount >= 0 for amount in handler["paid"].values())


async def test_it_says_what_it_is_and_what_it_did() -> None:
    """The first line is enough to use it; the last one says that nobody answered its webhooks."""
    key = "sk_test_mine"
    options = ["--webhook-url", URL, "--port", "0", "--seed", "3", "--api-key", key]
    async with running("", "sandbox", *options, "--json") as command:
        account = json.loads(await command.printed())
        assert (key, URL, 3, "2025-01-01") == tuple(
            account[name] for name in ("api_key", "webhook_url", "seed", "start")
        )
        assert account["webhook_secret"].startswith("whsec_")
        headers = {"authorization": f"Bearer {key}"}
        async with (
            aiohttp.ClientSession(account["api_base"], headers=headers) as api,
            api.get("/v1/account") as answer,
        ):
            assert 200 == answer.status
        port = account["api_base"].rpartition(":")[2]
        taken = await subledger("", "sandbox", "--webhook-url", URL, "--port", port)
        assert (1, "") == (taken.code, taken.out)
        assert f"127.0.0.1:{port} cannot be listened on" in taken.err
        command.interrupt()
        done = await ended(command)
    assert (0, "") == (done.code, done.err)
    _, last = done.out.splitlines()
    summary = json.loads(last)
    assert (0, 1) == (summary["accepted"], summary["api_requests"])
    assert {*summary["answers"]} <= {"none"}

    async with running("", "sandbox", *options, "--speed", "0") as quiet:
        await quiet.printed()
        quiet.interrupt()
        done = await ended(quiet)
    assert 0 == done.code
    assert [f"api key {key}"] == [
        " ".join(line.split()) for line in done.out.splitlines() if "api key" in line
    ]
    assert "The sandbox has ended" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing option '--webhook-url'"),
        (["--webhook-url", "localhost:8000"], "give it as http://HOST:PORT/PATH"),
        (["--webhook-url", URL, "--styles", "fat"], "fat: choose of snapshot, thin"),
        (
            ["--webhook-url", URL, "--faults", "late,slow"],
            "slow: choose of late, twice, reordered, lost, limits",
        ),
        (["--webhook-url", URL, "--api-key", "secret"], "begins with sk_test_"),
        (["--webhook-url", URL, "--start", "soon"], "does not match the format"),
        (["--webhook-url", URL, "--speed", "-1"], "greater than or equal to 0"),
    ],
)
async def test_bad_arguments(arguments: list[str], said: str) -> None:
    """Exit code 2, and what is right instead."""
    done = await subledger("", "sandbox", *arguments)
    assert (2, "") == (done.code, done.out)
    assert said in " ".join(done.err.split())
