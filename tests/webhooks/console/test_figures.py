"""The figures of the console: counted seldom, however often somebody looks."""

import pytest

from webhooks.console import figures
from webhooks.console.figures import PAUSE_SECONDS, SHARE, Figure, read_counts, read_history


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is, a count is awaited."""
    monkeypatch.setattr(figures, "PATIENCE_SECONDS", 120.0)


async def test_counted_seldom(database_url: str) -> None:
    """Many looks have one count, until the pause is over."""
    now = 0.0
    seen = Figure(database_url, read_history, clock=lambda: now)
    first = await seen.look()
    assert first is not None
    assert first is await seen.look()
    now += PAUSE_SECONDS - 0.1
    assert first is await seen.look()
    now += 0.1
    assert first is not await seen.look()
    await seen.close()


async def test_a_count_that_takes_long_has_a_long_pause(database_url: str) -> None:
    """Counting takes no more than a small share of the time."""
    times = iter([0.0, 0.0, 60.0, 60.0])
    last = 60.0

    def clock() -> float:
        """A count that takes a minute."""
        return next(times, last)

    seen = Figure(database_url, read_counts, clock=clock)
    first = await seen.look()
    last += 60.0 / SHARE - 1
    assert first is await seen.look()
    last += 2
    assert first is not await seen.look()
    await seen.close()


async def test_what_cannot_be_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is told, and is shown without figures; a look does not wait for a count that hangs."""
    seen = Figure("postgresql://nobody@127.0.0.1:1/none", read_counts)
    assert await seen.look() is None
    assert seen.failed
    await seen.close()
    monkeypatch.setattr(figures, "PATIENCE_SECONDS", 0.0)
    late = Figure("postgresql://nobody@127.0.0.1:1/none", read_counts)
    assert await late.look() is None
    await late.close()
