"""The sandbox's own clock: it moves only when a caller moves it, and alarms go off on the way."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class SandboxClock:
    """The time in seconds since 1970, and what is to happen later."""

    def __init__(self, start: int) -> None:
        self.now = start
        self._alarms: list[tuple[int, int, Callable[[], object]]] = []
        self._numbers = count()

    def at(self, moment: int, act: Callable[[], object]) -> None:
        """Let `act` happen at a moment (seconds since 1970); one in the past happens when its turn comes."""
        heappush(self._alarms, (max(moment, self.now), next(self._numbers), act))

    @property
    def next_alarm(self) -> int | None:
        """The moment of the next alarm; None when there is none."""
        return self._alarms[0][0] if self._alarms else None

    def ring(self) -> None:
        """Move on to the next alarm and let it happen."""
        moment, _, act = heappop(self._alarms)
        self.now = max(self.now, moment)
        act()
