"""A history of a customer's status or MRR: what a new record adds to it, confirms in it, or takes back from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step(Generic[Value]):
    """A stored change that no exact record has confirmed yet."""

    id: int
    before: Value
    after: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision(Generic[Value]):
    """What happens to the history: rows to take back, rows to confirm, and one row to append, if any."""

    taken_back: tuple[int, ...]
    confirmed: tuple[int, ...]
    appended: tuple[Value, Value] | None


def revise_history(
    provisional: Sequence[Step[Value]], *, before: Value, now: Value, exact: bool
) -> Revision[Value]:
    """The changes after which the history ends at `now`.

    `provisional` is its unconfirmed tail, oldest first; `before` is where the history ends. A provisional record only
    appends. An exact one confirms a first step that leads straight to its value, and takes back all others: a detour
    may only mean that payloads of several objects came in an unusual order (a second subscription before the first). A
    history may leave out a change that happened, but must never contain one that did not.
    """
    if not exact:
        appended = None if now == before else (before, now)
        return Revision(taken_back=(), confirmed=(), appended=appended)
    start = provisional[0].before if provisional else before
    straight = bool(provisional) and provisional[0].after == now
    return Revision(
        taken_back=tuple(step.id for step in provisional[int(straight) :]),
        confirmed=(provisional[0].id,) if straight else (),
        appended=None if straight or start == now else (start, now),
    )
