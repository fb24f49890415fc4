"""What objects looked like some time ago, for answers that come from a late replica."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from copy import deepcopy
from time import monotonic

from sandbox.account import Account
from sandbox.objects import Thing
from sandbox.store import Store
from sandbox.world import World


class History:
    """What objects looked like some time ago. `clock`: whose seconds count; the world's own clock leaps."""

    def __init__(
        self, sandbox: World, *, keep_seconds: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._clock = clock
        self._keep_seconds = keep_seconds
        self._copies: dict[tuple[int, str], deque[tuple[float, Thing]]] = {}
        self._born: dict[tuple[int, str], float] = {}
        for account in sandbox.accounts.values():
            for thing in account.things.values():
                # Objects from before this history count as having always been as they are now.
                self._copies[id(account), thing.id] = deque([(float("-inf"), deepcopy(thing))])
                self._born[id(account), thing.id] = float("-inf")
        sandbox.listen(self._remember)

    def _remember(self, account: Store, thing: Thing) -> None:
        now = self._clock()
        key = (id(account), thing.id)
        self._born.setdefault(key, now)
        copies = self._copies.setdefault(key, deque())
        copies.append((now, deepcopy(thing)))
        while len(copies) > 1 and copies[1][0] < now - self._keep_seconds:
            copies.popleft()

    def age_seconds(self, account: Account, object_id: str) -> float:
        """How long ago the object was born; infinite when that was before this history began."""
        return self._clock() - self._born.get((id(account), object_id), float("-inf"))

    def as_of(self, account: Account, seconds_ago: float) -> "PastView":
        return PastView(self, account, self._clock() - seconds_ago)

    def find(self, account: Account, object_id: str, moment: float) -> Thing | None:
        copies = self._copies.get((id(account), object_id))
        if copies is None or account.find(object_id) is None:
            return account.find(object_id)
        index = bisect_right([at for at, _ in copies], moment)
        return copies[index - 1][1] if index else None


class PastView:
    """An account as it was at a moment, for shapes to render a stale answer from."""

    def __init__(self, history: History, account: Account, moment: float) -> None:
        self._history = history
        self._account = account
        self._moment = moment
        self.live_mode = account.live_mode

    def find(self, object_id: str) -> Thing | None:
        return self._history.find(self._account, object_id, self._moment)
