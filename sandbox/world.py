"""The sandbox's world: one clock, any number of accounts, the events of all of them, and the truth about them.

Nothing here reads a wall clock or global randomness: the same seed and the same calls give the same bytes.
"""

from collections.abc import Callable, Sequence

from sandbox.account import Account
from sandbox.clock import SandboxClock
from sandbox.events import Event, EventStyle
from sandbox.objects import Thing
from sandbox.periods import DAY
from sandbox.store import Journal, Store
from sandbox.truth import CustomerKey, ExpectedCustomer, ExpectedUsage, expected_usage, read_truth
from sandbox.versions import BEFORE_BASIL, ENDIVE, OLDEST

START = 1_735_732_800
"""1 January 2025, 12:00 UTC."""

NEW: Sequence[str] = (ENDIVE,)
OLD: Sequence[str] = (BEFORE_BASIL,)
MIXED: Sequence[str] = (ENDIVE, BEFORE_BASIL, OLDEST)

Listener = Callable[[Store, Thing], None]


class World:
    """A simulated Stripe with its own clock, in which nothing happens by itself; `play.Sandbox` adds the stories.

    `live_mode`: the mode in which stories play. `event_versions`: the API versions in which event payloads are
    rendered; with several, each event draws one. `inversions`: let `created` of events contradict their order, which
    Stripe allows. `side_events`: also emit the events of payouts and payment methods, on which no record depends.
    """

    def __init__(
        self,
        seed: int | str = 0,
        *,
        live_mode: bool = False,
        start: int = START,
        event_versions: Sequence[str] = NEW,
        inversions: bool = False,
        side_events: bool = False,
        event_retention_seconds: int = 30 * DAY,
    ) -> None:
        self.seed = seed
        self.live_mode = live_mode
        self.event_retention_seconds = event_retention_seconds
        self.accounts: dict[tuple[str, bool], Account] = {}
        self._clock = SandboxClock(start)
        style = EventStyle(versions=tuple(event_versions), inversions=inversions, side_events=side_events)
        self._journal = Journal(self._clock, style)

    def account(self, account_id: str = "", *, live_mode: bool | None = None) -> Account:
        """The account in the given mode (without it, the sandbox's own), opened on first use.

        '' is the account that owns the endpoint, others are connected to it.
        """
        mode = self.live_mode if live_mode is None else live_mode
        key = (account_id, mode)
        if key not in self.accounts:
            self.accounts[key] = Account(self._journal, self.seed, account_id, live_mode=mode)
        return self.accounts[key]

    @property
    def home(self) -> Account:
        """The account that owns the endpoint, in the mode of this sandbox: where stories play."""
        return self.account()

    # Time

    @property
    def now(self) -> int:
        """Seconds since 1970 on the sandbox clock."""
        return self._clock.now

    def at(self, moment: int, act: Callable[[], object]) -> None:
        """Let `act` happen at a moment of the sandbox clock; one in the past happens when its turn comes."""
        self._clock.at(moment, act)

    def advance(self, seconds: int = 0, *, until: int | None = None) -> list[Event]:
        """Move the clock on by `seconds`, or to `until`; returns the events of that stretch in order of creation."""
        first = len(self.events)
        end = self.now + seconds if until is None else until
        while (moment := self._clock.next_alarm) is not None and moment <= end:
            self._ring()
        self._clock.now = max(self.now, end)
        return self.events[first:]

    def step(self) -> list[Event]:
        """Let the next thing happen, whenever that is; returns its events, often none.

        Raises RuntimeError when nothing is left to happen.
        """
        if self._clock.next_alarm is None:
            raise RuntimeError("nothing is left to happen")
        first = len(self.events)
        self._ring()
        return self.events[first:]

    def _ring(self) -> None:
        self._journal.request = None
        self._journal.changes += 1
        self._clock.ring()

    # What others see

    @property
    def events(self) -> list[Event]:
        """Every event of every account since the start, or since `forget_events`, in order of creation."""
        return self._journal.events

    @property
    def changes(self) -> int:
        """Grows with everything that happens: an answer stays valid as long as this number does not change."""
        return self._journal.changes

    def listen(self, listener: Listener) -> None:
        """Call the listener with every object that was created or may have changed, afterwards."""
        self._journal.listen(listener)

    def truth(self) -> dict[CustomerKey, ExpectedCustomer]:
        """What every customer's record must say at this moment."""
        return {key: value for account in self.accounts.values() for key, value in read_truth(account)}

    def usage(self) -> dict[CustomerKey, tuple[ExpectedUsage, ...]]:
        """What metered customers have used so far in their current periods."""
        return {
            CustomerKey(account.account_id, account.live_mode, customer.id): rows
            for account in self.accounts.values()
            for customer in account.customers()
            if (rows := tuple(expected_usage(account, customer)))
        }

    def forget_events(self, *, keep: int) -> None:
        """Drop all but the latest `keep` events of each account (bounds a long play's memory)."""
        for account in self.accounts.values():
            account.log.keep_latest(keep)
        self._journal.events.clear()
