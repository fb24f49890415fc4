"""The sandbox as others use it: a world, and the stories that play in it.

sandbox = Sandbox(seed=7)
sandbox.play(STORIES, customers=200)
events = sandbox.run()          # or advance() step by step
expected = sandbox.truth()
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from random import Random
from uuid import UUID

from sandbox.events import Event
from sandbox.periods import DAY
from sandbox.stories import STORIES, Story
from sandbox.stories.stage import Stage
from sandbox.world import NEW, START, World

START_WITHIN = 3 * DAY
"""Stories start spread over some days, so that their events mix as in a real account."""


class Sandbox(World):
    """A world whose accounts live by stories; see `World` for the parameters."""

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
        super().__init__(
            seed,
            live_mode=live_mode,
            start=start,
            event_versions=event_versions,
            inversions=inversions,
            side_events=side_events,
            event_retention_seconds=event_retention_seconds,
        )
        self.playing = 0
        """How many stories have not reached their end."""
        self._requests = Random(f"{seed}:requests")
        self._cast = count()

    def play(
        self,
        stories: Iterable[str | Story] | str | Story | None = None,
        *,
        customers: int = 0,
        account_id: str = "",
    ) -> None:
        """Put stories on stage: each of them once, or in turn until they have brought about `customers` customers.

        Repeated plays of one story draw different names, amounts and moments. `account_id`: the account in which they
        play; the one that owns the endpoint when left out.
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

    def run(self) -> list[Event]:
        """Play on until every story has ended; returns the events of that stretch."""
        first = len(self.events)
        while self.playing:
            self.step()
        return self.events[first:]

    def _act(self, acts: Iterator[int]) -> None:
        """Play a story to its next pause."""
        self._journal.request = self._new_request()
        pause = next(acts, None)
        self._journal.request = None
        if pause is None:
            self.playing -= 1
        else:
            self.at(self.now + pause, lambda: self._act(acts))

    def _new_request(self) -> str:
        return "req_" + UUID(int=self._requests.getrandbits(128)).hex[:14]
