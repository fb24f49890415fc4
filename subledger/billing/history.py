"""The history of a customer's status: what a new record adds to it, confirms in it, or takes back from it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A status change that is stored and that no exact record has confirmed yet."""

    id: int
    status_before: str | None
    status_after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """What happens to the history: rows to take back, rows to confirm, and one row to append, if any."""

    taken_back: tuple[int, ...]
    confirmed: tuple[int, ...]
    appended: tuple[str | None, str | None] | None


def revise_history(
    provisional: Sequence[Step], *, status_before: str | None, status: str | None, exact: bool
) -> Revision:
    """How the history comes to end at `status`.

    `provisional` is its unconfirmed tail, oldest first; `status_before` is where the history ends now. A provisional
    record only appends. An exact one confirms a first step that leads straight to its status, and takes back all
    others: a detour may only show that payloads of several objects came in a strange order (a second subscription
    before the first), and a history may skip what was lived through but never tell what was not.
    """
    if not exact:
        appended = None if status == status_before else (status_before, status)
        return Revision(taken_back=(), confirmed=(), appended=appended)
    start = provisional[0].status_before if provisional else status_before
    straight = bool(provisional) and provisional[0].status_after == status
    return Revision(
        taken_back=tuple(step.id for step in provisional[int(straight) :]),
        confirmed=(provisional[0].id,) if straight else (),
        appended=None if straight or start == status else (start, status),
    )
