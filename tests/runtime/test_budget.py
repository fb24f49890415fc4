"""The rate budget: halved when Stripe says too many, grown back by success, never above its share."""

import asyncio
import time

import pytest

from runtime.budget import RATE_MIN, Budget


@pytest.mark.parametrize(
    "reason", ["global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency"]
)
def test_rate_halves_once_per_volley(reason: str) -> None:
    """All requests under way hear the same refusal: it counts once."""
    budget = Budget(rate_max=64.0, concurrency_max=4)
    for _ in range(10):
        budget.limited(reason)
    assert 32.0 == budget.rate


@pytest.mark.parametrize("reason", ["lock_timeout", "resource-specific"])
def test_lock_on_one_object_slows_nobody(reason: str) -> None:
    """A 429 without a rate in its reason is about one object."""
    budget = Budget(rate_max=64.0, concurrency_max=4)
    budget.limited(reason)
    assert 64.0 == budget.rate


def test_rate_never_falls_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often Stripe refuses, one request a second is tried."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    budget = Budget(rate_max=64.0, concurrency_max=4)
    for _ in range(20):
        now += 2.0
        budget.limited("global-rate")
    assert RATE_MIN == budget.rate


def test_rate_grows_back_to_its_share() -> None:
    """Success restores the rate step by step, and never beyond the share."""
    budget = Budget(rate_max=64.0, concurrency_max=4)
    budget.limited("global-rate")
    budget.succeeded()
    assert 32.0 < budget.rate < 40.0
    for _ in range(10_000):
        budget.succeeded()
    assert 64.0 == budget.rate


async def test_no_more_at_once_than_allowed() -> None:
    """At most so many requests are under way."""
    budget = Budget(rate_max=100_000.0, concurrency_max=3)
    under_way = most = 0

    async def request() -> None:
        nonlocal under_way, most
        async with budget:
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0)
            under_way -= 1

    await asyncio.gather(*(request() for _ in range(50)))
    assert 3 == most


async def test_canceled_request_gives_its_place_back() -> None:
    """A request that is cancelled while it waits for its turn blocks no later one."""
    budget = Budget(rate_max=0.001, concurrency_max=1)
    async with budget:
        pass
    waiting = asyncio.create_task(budget.__aenter__())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    budget.rate, budget._next_at = 1000.0, 0.0
    async with asyncio.timeout(30), budget:
        pass
