"""The sandbox: one simulated clock, any number of accounts, the stories that play in them.

    sandbox = Sandbox(seed=7)
    sandbox.play(STORIES, customers=200)
    events = sandbox.run()          # or advance() step by step
    expected = sandbox.truth()

Nothing here reads a wall clock or global randomness: the same seed and the same calls give the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import count
from random import Random
from uuid import UUID

from sandbox.account import Account, Event
from sandbox.objects import Thing
from sandbox.periods import DAY
from sandbox.stories import STORIES, Story
from sandbox.stories.stage import Stage
from sandbox.truth import CustomerKey, ExpectedCustomer, ExpectedUsage, expected_usage, read_truth
from sandbox.versions import BEFORE_BASIL, ENDIVE, OLDEST

START = 1_735_732_800
"""1 January 2025, 12:00 UTC."""

START_WITHIN = 3 * DAY
"""Stories start over some days, so that their events mix as those of an account do."""

NEW: Sequence[str] = (ENDIVE,)
OLD: Sequence[str] = (BEFORE_BASIL,)
MIXED: Sequence[str] = (ENDIVE, BEFORE_BASIL, OLDEST)

Listener = Callable[[Account, Thing], None]


class Sandbox:
    """A simulated Stripe with its own clock.

    `live_mode`: the mode in which stories play. `event_versions`: the API versions in which event payloads are
    rendered; with several, each event draws one. `inversions`: let `created` of events contradict their order, which
    Stripe allows. `side_events`: also tell of each payout and payment method, on which no record depends.
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
        self.now = start
        self.event_versions = tuple(event_versions)
        self.inversions = inversions
        self.side_events = side_events
        self.event_retention_seconds = event_retention_seconds
        self.accounts: dict[tuple[str, bool], Account] = {}
        self.live_mode = live_mode
        self.events: list[Event] = []
        """Every event of every account since the start, or since `forget_events`, in order of creation."""
        self.changes = 0
        self.request: str | None = None
        """The id of the API request behind what happens just now; None: Stripe's own engine acts."""
        self.playing = 0
        """How many stories have not reached their end."""
        self._alarms: list[tuple[int, int, Callable[[], object]]] = []
        self._alarm_numbers = count()
        self._requests = Random(f"{seed}:requests")
        self._cast = count()
        self._listeners: list[Listener] = []

    def account(self, account_id: str = "", *, live_mode: bool | None = None) -> Account:
        """The account in the given mode (that of the sandbox when left out), opened on first use.

        '' is the account that owns the endpoint, others are connected to it.
        """
        mode = self.live_mode if live_mode is None else live_mode
        key = (account_id, mode)
        if key not in self.accounts:
            self.accounts[key] = Account(self, account_id, mode)
        return self.accounts[key]

    @property
    def home(self) -> Account:
        """The account that owns the endpoint, in the mode of this sandbox: where stories play."""
        return self.account()

    # Time

    def at(self, moment: int, act: Callable[[], object]) -> None:
        """Let something happen at a moment of the sandbox clock; at once in its turn when that is past."""
        heappush(self._alarms, (max(moment, self.now), next(self._alarm_numbers), act))

    def advance(self, seconds: int = 0, *, until: int | None = None) -> list[Event]:
        """Move the clock on by `seconds`, or to `until`, and answer the events of that stretch in order of creation."""
        first = len(self.events)
        end = self.now + seconds if until is None else until
        while self._alarms and self._alarms[0][0] <= end:
            self._ring()
        self.now = max(self.now, end)
        return self.events[first:]

    def run(self) -> list[Event]:
        """Play on until every story has ended; answers the events of that stretch."""
        first = len(self.events)
        while self.playing:
            self.step()
        return self.events[first:]

    def step(self) -> list[Event]:
        """Let the next thing happen, whenever that is; answers its events, often none."""
        if not self._alarms:
            raise RuntimeError("nothing is to happen any more")
        first = len(self.events)
        self._ring()
        return self.events[first:]

    def _ring(self) -> None:
        moment, _, act = heappop(self._alarms)
        self.now = max(self.now, moment)
        self.request = None
        self.changes += 1
        act()

    # Stories

    def play(
        self,
        stories: Iterable[str | Story] | str | Story | None = None,
        *,
        customers: int = 0,
        account_id: str = "",
    ) -> None:
        """Put stories on stage: each of them once, or in turn until they have brought about `customers` customers.

        Repeated plays of one story draw different names, amounts and moments. `account_id`: the account whose life
        they are; the one that owns the endpoint when left out.
        """
        if isinstance(stories, (str, Story)):
            stories = [stories]
        chosen = [
            STORIES[entry] if isinstance(entry, str) else entry for entry in stories or STORIES.values()
        ]
        brought = 0
        for story in chosen:
            self.begin(story, within_seconds=START_WITHIN, account_id=account_id)
            brought += story.customers
        while brought < customers:
            for story in chosen:
                if brought >= customers:
                    break
                self.begin(story, within_seconds=START_WITHIN, account_id=account_id)
                brought += story.customers

    def begin(self, story: Story, *, within_seconds: int = 0, account_id: str = "") -> None:
        """Start one performance of a story at some moment of the coming `within_seconds`."""
        stage = Stage(self, story, number=next(self._cast), account=self.account(account_id))
        acts = story.plot(stage)
        self.playing += 1
        self.at(self.now + stage.choices.randint(0, within_seconds), lambda: self._act(acts))

    def _act(self, acts: Iterator[int]) -> None:
        """Play a story to its next pause."""
        self.request = self._new_request()
        pause = next(acts, None)
        self.request = None
        if pause is None:
            self.playing -= 1
        else:
            self.at(self.now + pause, lambda: self._act(acts))

    def _new_request(self) -> str:
        return "req_" + UUID(int=self._requests.getrandbits(128)).hex[:14]

    # What others see

    def changed(self, account: Account, thing: Thing) -> None:
        """Called by accounts whenever an object was born or may have changed."""
        self.changes += 1
        for listener in self._listeners:
            listener(account, thing)

    def listen(self, listener: Listener) -> None:
        """Be told of every object that was born or may have changed, after the fact."""
        self._listeners.append(listener)

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
        self.events.clear()
