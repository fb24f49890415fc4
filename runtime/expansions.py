"""Expansions that Stripe refuses: one that is refused of several objects is left out of all reads of their kind."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

OBJECTS_MIN = 3
"""Of so many different objects an expansion is refused before it is left out for all of the kind: a single one may be
odd."""
ASK_AGAIN_SECONDS = 600.0
"""After so long it is asked for again: what was refused may be given meanwhile."""


@dataclass(slots=True)
class _Kind:
    objects: set[str] = field(default_factory=set)
    left_out: frozenset[str] = frozenset()
    until: float = float("-inf")


class Expansions:
    """What this API has refused to expand, by account and kind. `clock` gives seconds that never run backwards."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def refused(self, account_id: str, kind: str) -> frozenset[str]:
        """The expansions that reads of this kind leave out now."""
        known = self._kinds.get((account_id, kind))
        return frozenset() if known is None or known.until <= self._clock() else known.left_out

    def note(self, account_id: str, kind: str, object_id: str, left_out: frozenset[str]) -> None:
        """An object was read without these, which Stripe has just refused; or with all, if there are none."""
        if not left_out:
            self._kinds.pop((account_id, kind), None)
            return
        known = self._kinds.setdefault((account_id, kind), _Kind())
        if len(known.objects) < OBJECTS_MIN:
            known.objects.add(object_id)
        known.left_out |= left_out
        if len(known.objects) >= OBJECTS_MIN:
            known.until = self._clock() + ASK_AGAIN_SECONDS
