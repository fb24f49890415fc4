"""A living account for the soak, in a process of its own: it posts its webhooks at a steady rate, and answers the API.

`python -m bench.living PORT WEBHOOK_URL RATE SEED` is inhabited as the one of `make up`, but its clock runs as fast as
the rate needs. Webhooks come twice, late, in another order, under a second id, or not at all; the API has Stripe's
limits and fails now and then. It answers Stripe's API on PORT; /begin starts it, /report says how far it is, and /end
makes it stop: no new events, no failures of the API, what is on its way still posted.
"""

import asyncio
import sys
from collections import deque
from dataclasses import replace
from random import Random
from time import time

import aiohttp
import msgspec
from starlette.types import Receive, Scope, Send

from bench.account import say, with_tally
from bench.plans import API_KEY, SECRET, Living
from bench.serving import serve
from sandbox import MIXED, Event, Faults, Gate, Plan, RateLimits, Sandbox, create_api
from sandbox.delivery import Report, arrange, post
from sandbox.life import inhabit

DAY = 86_400
CUSTOMERS_PER_RATE = 15
"""So many customers at a time for each event a second: the account's clock then runs about as fast as in `make up`."""
CHUNK_SECONDS = 10.0
"""Late and reordered is what comes within so long."""
YEARS_BEFORE = 10
"""So long ago its life begins. An hour at the default rate is about two years of it, and it must not get ahead of the
clock: workers believe no `Date` of Stripe's that is ahead of Postgres, and would look for lost events for ever.
"""
EVENTS_KEPT = 20_000
"""So many events are in the list that gaps are filled from."""
POSTERS = 16
ATTEMPTS_MAX = 1_000_000
POST_SECONDS_MAX = 30.0
FAULTS = Faults(
    latency_seconds=0.02,
    latency_jitter_seconds=0.08,
    rate_limited_share=0.01,
    lock_timeout_share=0.01,
    error_share=0.01,
    reset_share=0.005,
)


class LivingAccount:
    """The account, what it posts, and its API."""

    def __init__(self, *, webhook_url: str, rate: float, seed: int) -> None:
        self._url = webhook_url
        self._rate = rate
        self._draws = Random(f"{seed}:living")  # noqa: S311 - replayable
        self._sandbox = Sandbox(
            seed,
            start=int(time()) - YEARS_BEFORE * 365 * DAY,
            event_versions=MIXED,
            inversions=True,
            event_retention_seconds=100 * 365 * DAY,
        )
        # The audit at the end compares with all that was ever there.
        inhabit(self._sandbox, customers=max(20, round(rate * CUSTOMERS_PER_RATE)), forgets=False)
        self._faults = replace(FAULTS)
        self._api = create_api(self._sandbox, [API_KEY], faults=self._faults)
        self._api.gate = Gate(RateLimits())
        self._answer = with_tally(self._api)
        self._waiting: deque[Event] = deque()
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self._report = Report()
        self._told = Living()
        self._living: asyncio.Task[None] | None = None
        self._ends = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ("/begin", "/report", "/end"):
            await self._answer(scope, receive, send)
            return
        if scope["path"] == "/begin" and self._living is None:
            self._living = asyncio.create_task(self._live())
        elif scope["path"] == "/end":
            self._ends = True
        if self._living is not None and self._living.done():
            self._living.result()
        self._told.attempts = self._report.posted
        self._told.now = self._sandbox.now
        await say(send, msgspec.json.encode(self._told))

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        connector = aiohttp.TCPConnector(limit=POSTERS, keepalive_timeout=4.0)
        async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
            posters = [group.create_task(self._post(session)) for _ in range(POSTERS)]
            due = loop.time()
            while not self._ends:
                if not self._waiting:
                    self._play_on()
                self._queue.put_nowait(self._waiting.popleft())
                due += 1 / self._rate
                await asyncio.sleep(due - loop.time())
            for event in self._waiting:
                self._queue.put_nowait(event)
            await self._queue.join()
            for poster in posters:
                poster.cancel()
        # A look for lost events whose cursor stands a minute later has begun when everything had happened.
        self._faults.rate_limited_share = self._faults.lock_timeout_share = 0.0
        self._faults.error_share = self._faults.reset_share = 0.0
        self._told.events += len(self._sandbox.advance(60))
        self._told.now = self._sandbox.now
        self._told.ended = True

    def _play_on(self) -> None:
        """Let the account live until there are events for the next seconds."""
        events: list[Event] = []
        while len(events) < max(10, self._rate * CHUNK_SECONDS):
            events += self._sandbox.step()
        self._sandbox.forget_events(keep=EVENTS_KEPT)
        plan = Plan(
            shuffle=self._draws.random() < 0.5,
            duplicate_share=0.1,
            reid_share=0.02,
            drop_share=0.02,
            late_share=0.05,
            seed=self._draws.getrandbits(32),
        )
        deliveries, dropped = arrange(events, plan)
        self._told.events += len(events)
        self._told.dropped += len(dropped)
        self._waiting.extend(deliveries)

    async def _post(self, session: aiohttp.ClientSession) -> None:
        while True:
            event = await self._queue.get()
            await post(event, self._url, SECRET, session, self._report, ATTEMPTS_MAX, POST_SECONDS_MAX)
            self._told.posted += 1
            self._report.seconds.clear()
            self._queue.task_done()


def main() -> None:
    port, webhook_url, rate, seed = sys.argv[1:]
    serve(LivingAccount(webhook_url=webhook_url, rate=float(rate), seed=int(seed)), port=int(port))


if __name__ == "__main__":
    main()
