"""Audits while the account lives and posts webhooks: what is on its way is no drift."""

import asyncio
import os
from contextlib import suppress
from datetime import timedelta
from random import Random

import pytest

from db.connection import Pool
from db.sync.inbox import record_events
from runtime.envelope import read_envelope
from sandbox import Event, Sandbox
from sandbox.life import inhabit
from tests.harness import sweep
from tests.worker.account import Attached, attached
from worker.audit import objects

AUDITS = int(os.environ.get("LIVING_AUDITS", "3"))
POSTED_MIN = 100
"""How many webhooks come meanwhile, at least."""
SPEED = 6 * 3600
"""Seconds of the account in each of ours, as in the demo."""
LATE_SECONDS_MAX = 1.0
"""How long a webhook is on its way."""


class Life:
    """An account that lives, its webhooks, late and out of order, and a worker."""

    def __init__(self, account: Attached, sandbox: Sandbox) -> None:
        self._account = account
        self._sandbox = sandbox
        self._draws = Random(7)  # noqa: S311 - a test draws what it may draw again
        self._posts = set[asyncio.Task[None]]()
        self.posted = 0

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(0.05)
            now = loop.time()
            for event in self._sandbox.advance(int(min(now - last, 1.0) * SPEED)):
                task = asyncio.create_task(self._post(event))
                self._posts.add(task)
                task.add_done_callback(self._posts.discard)
            last = now

    async def _post(self, event: Event) -> None:
        await asyncio.sleep(self._draws.uniform(0, LATE_SECONDS_MAX))
        async with self._account.pool.acquire() as connection:
            await record_events(connection, [read_envelope(event.body, live_mode_default=False)])
        self.posted += 1

    async def work(self) -> None:
        while True:
            await sweep(self._account.engine)
            await asyncio.sleep(0.05)

    async def scan(self) -> None:
        while True:
            await self._account.engine.scan()
            await asyncio.sleep(0.05)


async def test_living_account_has_no_drift(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I11: one audit after another, while customers buy, pay and leave: each is complete, and none finds drift."""
    monkeypatch.setattr(objects, "SETTLE", timedelta(seconds=5))
    sandbox = Sandbox(seed=13)
    inhabit(sandbox, customers=40)
    sandbox.advance(20 * 86_400)
    async with attached(pool, database_url, sandbox) as account:
        assert "complete" == (await account.scanned(await account.request()))["status"]
        await account.settle()
        life = Life(account, sandbox)
        tasks = [asyncio.create_task(each) for each in (life.live(), life.work(), life.scan())]
        try:
            audits = 0
            while audits < AUDITS or life.posted <= POSTED_MIN:
                audits += 1
                scan = await account.request(purpose="audit")
                while not await account.fetchval("select finished_at from sync.scans where id = $1", scan.id):
                    done, _ = await asyncio.wait(tasks, timeout=0.1)
                    assert not done, [task.exception() for task in done]
                (row,) = await account.fetch("select status, error from sync.scans where id = $1", scan.id)
                drift = await account.fetch("select * from sync.drift where scan_id = $1", scan.id)
                assert (("complete", None), []) == (tuple(row), drift)
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks)
