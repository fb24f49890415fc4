"""The budget: what waits for its turn gets it, and what ends gives its place back."""

import asyncio

import pytest

from runtime.budget import Budget
from runtime.limiter import Lane
from runtime.limits import Limits

OPERATION = "GET /v1/invoices"


async def test_no_more_at_once_than_allowed() -> None:
    """At most so many requests of a lane are under way."""
    budget = Budget(places_max=3)
    under_way = most = 0

    async def request() -> None:
        nonlocal under_way, most
        turn = await budget.enter(Lane.LIVE, "", OPERATION)
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        budget.leave(turn)

    await asyncio.gather(*(request() for _ in range(50)))
    assert 3 == most
    assert 50 == budget.passed[Lane.LIVE]


async def test_canceled_request_gives_its_place_back() -> None:
    """A request that is canceled while it waits, or just as its turn has come, blocks no later one."""
    budget = Budget(places_max=1)
    first = await budget.enter(Lane.LIVE, "", OPERATION)
    waiting = [asyncio.create_task(budget.enter(Lane.LIVE, "", OPERATION)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    budget.leave(first)  # the second one's turn has come
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    budget.leave(await waiting[2])
    assert 0 == sum(budget.waiting.values())
    budget.leave(await budget.enter(Lane.LIVE, "", OPERATION))


async def test_nothing_passes_without_a_part() -> None:
    """A worker that has no part of the limits asks nothing, and goes on as soon as it gets one."""
    now = 0.0
    budget = Budget(Limits(account=100.0, operation=100.0), part=0.0, clock=lambda: now)
    assert budget.closed
    assert 0 == budget.requests_within(30.0)
    waiting = asyncio.create_task(budget.enter(Lane.BULK, "", OPERATION))
    await asyncio.sleep(0)
    budget.set_part(1.0)
    now = 1.0
    budget.set_part(1.0)
    budget.leave(await waiting)
    assert budget.requests_within(30.0) > 2000


async def test_request_that_cannot_ask_keeps_no_place() -> None:
    """If asking for a turn fails, the request does not wait on as one that nobody will ever take out."""
    moments = [0.0]
    budget = Budget(Limits(account=100.0, operation=100.0), clock=lambda: moments[-1])
    moments.clear()
    with pytest.raises(IndexError):
        await budget.enter(Lane.LIVE, "", OPERATION)
    assert 0 == sum(budget.waiting.values())
    moments.append(1.0)
    budget.leave(await budget.enter(Lane.LIVE, "", OPERATION))
    assert 1 == budget.passed[Lane.LIVE]
