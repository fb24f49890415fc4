"""The sandbox's own clock: it moves only when it is told to, and alarms go off on the way."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count


class SandboxClock:
    """Seconds since 1970, and what is to happen at later moments."""

    def __init__(self, start: int) -> None:
        self.now = start
        self._alarms: list[tuple[int, int, Callable[[], object]]] = []
        self._numbers = count()

    def at(self, moment: int, act: Callable[[], object]) -> None:
        """Let something happen at a moment; a moment in the past means as soon as its turn comes."""
        heappush(self._alarms, (max(moment, self.now), next(self._numbers), act))

    @property
    def next_alarm(self) -> int | None:
        """The moment of the next alarm; None when nothing is to happen any more."""
        return self._alarms[0][0] if self._alarms else None

    def ring(self) -> None:
        """Move on to the next alarm and let it happen."""
        moment, _, act = heappop(self._alarms)
        self.now = max(self.now, moment)
        act()
