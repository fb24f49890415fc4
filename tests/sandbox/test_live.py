"""The living account: busy, bounded, the same again from its state, and stopped by a signal."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import stripe
from starlette.types import Receive, Scope, Send

from sandbox import Sandbox, serve
from sandbox.life import FIRST_BURST, inhabit
from sandbox.live import EVENTS_REPEATED, Mishaps, Origin, Place, Post, StateFile, live, open_account, replay
from sandbox.periods import DAY, HOUR
from tests.ports import reserved_port

ORIGIN = Origin(seed=3, epoch=1_735_732_800, customers=40)
SECRET = "whsec_live"
KEY = "sk_test_live"


def test_first_burst_comes_at_once() -> None:
    """A viewer has something to see: the first customers come within a minute and buy within the hour."""
    sandbox = open_account(ORIGIN, live_mode=False)
    sandbox.advance(60)
    assert FIRST_BURST == len(sandbox.truth())
    sandbox.advance(HOUR)
    assert {"active", "trialing"} <= {truth.status for truth in sandbox.truth().values()}


def test_nobody_is_forgotten_on_request() -> None:
    """Whoever compares the account with what it has told finds everybody who was ever there."""
    sandbox = Sandbox(seed=3)
    inhabit(sandbox, customers=20, forgets=False)
    sandbox.advance(3 * 365 * DAY)
    came = {
        json.loads(each.body)["data"]["object"]["id"]
        for each in sandbox.events
        if each.type == "customer.created"
    }
    assert len(came) > 20
    assert came <= sandbox.home.things.keys()


def test_the_account_stays_lively_and_small() -> None:
    """Over five years customers come, fail, leave and are replaced, and their number and their objects are bounded."""
    sandbox = open_account(ORIGIN, live_mode=False)
    sizes: list[int] = []
    seen: set[str] = set()
    types: set[str] = set()
    for _ in range(20):
        types |= {event.type for event in replay(sandbox, 91 * DAY)}
        sizes.append(len(sandbox.home.things))
        truth = sandbox.truth()
        seen |= {key.id for key in truth}
        assert len(truth) <= ORIGIN.customers
    assert len(seen) > ORIGIN.customers
    assert max(sizes[10:]) < 2 * max(sizes[:10])
    assert {
        "customer.subscription.deleted",
        "invoice.payment_failed",
        "charge.refunded",
        "invoice.paid",
    } <= types


def test_a_replay_is_the_same_account() -> None:
    """An account that is replayed in other steps has the same objects and the same truth."""
    lived = open_account(ORIGIN, live_mode=False)
    for _ in range(40):
        lived.advance(DAY + 7)
    again = open_account(ORIGIN, live_mode=False)
    latest = replay(again, 40 * (DAY + 7))
    assert lived.truth() == again.truth()
    assert lived.home.things == again.home.things
    assert [event.body for event in lived.events[-len(latest) :]] == [event.body for event in latest]


def test_state_file(tmp_path: Path) -> None:
    state = StateFile(tmp_path / "deep" / "sandbox.json")
    assert state.load() is None
    state.save(ORIGIN, 5)
    state.save(ORIGIN, 6)
    assert (ORIGIN, 6) == state.load()
    (tmp_path / "deep" / "sandbox.json").write_text("{half")
    assert state.load() is None


class Inbox:
    """Takes webhooks, verifies them, and wakes the test that waits for the n-th."""

    def __init__(self) -> None:
        self.events: list[stripe.Event] = []
        self._came = asyncio.Condition()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        signature = dict(scope["headers"])[b"stripe-signature"].decode()
        async with self._came:
            self.events.append(stripe.Webhook.construct_event(body, signature, SECRET))
            self._came.notify_all()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def has(self, count: int) -> None:
        async with asyncio.timeout(120), self._came:
            await self._came.wait_for(lambda: len(self.events) >= count)


@asynccontextmanager
async def process(port: int, webhook_url: str, state: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", "--port", str(port), "--webhook-url", webhook_url),
        *("--secret", f"{SECRET},whsec_next", "--api-key", KEY, "--state", str(state), "--speed", "86400"),
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def test_the_process_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """It posts signed webhooks, answers the API, ends cleanly on a signal, and comes back as the same account."""
    port = reserved_port()
    state = tmp_path / "sandbox.json"
    inbox = Inbox()
    auth = {"authorization": f"Bearer {KEY}"}
    async with serve(inbox) as base, aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=auth) as api:
        async with process(port, f"{base}/hook", state) as child:
            await inbox.has(200)
            customer_id = next(
                event.data.object["id"] for event in inbox.events if event.type == "customer.created"
            )
            async with api.get(f"/v1/customers/{customer_id}") as response:
                assert (200, customer_id) == (response.status, (await response.json())["id"])
            child.send_signal(signal.SIGTERM)
            assert 0 == await asyncio.wait_for(child.wait(), 120)
        elapsed = msgspec.json.decode(state.read_bytes())["elapsed_seconds"]
        assert elapsed > 0

        before = len(inbox.events)
        async with process(port, f"{base}/hook", state) as child:
            await inbox.has(before + EVENTS_REPEATED + 1)
            async with api.get(f"/v1/customers/{customer_id}") as response:
                assert 200 == response.status
            child.send_signal(signal.SIGINT)
            assert 0 == await asyncio.wait_for(child.wait(), 120)
        assert msgspec.json.decode(state.read_bytes())["elapsed_seconds"] > elapsed


async def test_what_the_api_writes_is_posted() -> None:
    """A customer that a request to the API creates has a webhook as every other, also while the clock stands still."""
    inbox, stop = Inbox(), asyncio.Event()
    base: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with serve(inbox) as hook:
        place = Place(host="127.0.0.1", port=0, webhook_url=hook, secrets=(SECRET,), api_keys=(KEY,))
        living = asyncio.create_task(live(ORIGIN, place, speed=0, stop=stop, started=base.set_result))
        auth = {"authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession(await base, headers=auth) as api,
            api.post("/v1/customers", data={"email": "new@example.com"}) as response,
        ):
            created = await response.json()
        async with asyncio.timeout(120):
            while created["id"] not in {event.data.object["id"] for event in inbox.events}:
                await inbox.has(len(inbox.events) + 1)
        stop.set()
        summary = await living
    assert (1, 0) == (summary.api_requests, summary.waiting)
    assert summary.events == summary.accepted == summary.answers["200"] == len(inbox.events)


async def test_mishaps() -> None:
    """Of 200 webhooks some are lost, some come twice or late, and they change places; all of it is counted."""
    sandbox = open_account(ORIGIN, live_mode=False)
    events = sandbox.advance(DAY)[:200]
    inbox = Inbox()
    async with serve(inbox) as hook:
        mishaps = Mishaps(
            late_share=0.1, late_seconds=0.2, twice_share=0.1, reordered_seconds=0.1, lost_share=0.1
        )
        place = Place(host="", port=0, webhook_url=hook, secrets=(SECRET,), api_keys=(KEY,), mishaps=mishaps)
        mail = Post(place)
        mail.add(events)
        posting = asyncio.create_task(mail.run())
        await inbox.has(200 - mail.lost + mail.twice)
        posting.cancel()
    assert min(mail.lost, mail.twice, mail.late) > 0
    came = [event.id for event in inbox.events]
    assert 200 - mail.lost == len({*came})
    assert came != [event.id for event in events if event.id in came]
