"""What is refused, for the log: whoever has no secret or token gets one line for all of the last seconds."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

REPORT_SECONDS = 10.0
REASONS_MAX = 10
"""In one line: some reasons hold a number that the client chooses."""


class Tally:
    """Counts by reason. The first is told at once, the others when the time is over. `tell`: logs how many there were,
    and how many for each reason.
    """

    def __init__(self, tell: Callable[[int, Mapping[str, int]], None]) -> None:
        self._say = tell
        self._reasons: Counter[str] = Counter()
        self._resting: asyncio.TimerHandle | None = None

    def count(self, reason: str) -> None:
        """Note it for the log."""
        full = len(self._reasons) >= REASONS_MAX and reason not in self._reasons
        self._reasons["others" if full else reason] += 1
        if self._resting is None:
            self._tell()

    def _tell(self) -> None:
        self._resting = None
        if self._reasons:
            self._say(self._reasons.total(), dict(self._reasons))
            self._reasons.clear()
            self._resting = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._tell)
