"""One thing that was looked at: how it is, and what to do."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and may not go on to, or not as well as it could."""
    FAILURE = "failure"
    """Something does not work until somebody acts."""
    SKIPPED = "skipped"
    """It could not be looked at; why not is another finding, or a choice."""


class Cure(StrEnum):
    """What `subledger doctor --fix` can do, in the order in which it does it."""

    MIGRATE = "migrate"
    READERS = "readers"
    SEQUENCES = "sequences"
    ALARM = "alarm"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What would be done about a finding. It is safe: nothing is lost by it, and doing it twice does no harm."""

    cure: Cure
    what: str
    """In words: `bring the database to the newest schema`."""
    target: str = ""
    """The endpoint's address, or the alarm's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, in a sentence, and the remedy if there is something to do."""

    check: str
    """What was looked at: `postgres version`."""
    state: State
    said: str
    remedy: str = ""
    repair: Repair | None = None


def ok(check: str, said: str) -> Finding:
    """Nothing is to be done."""
    return Finding(check=check, state=State.OK, said=said)


def warning(check: str, said: str, remedy: str, repair: Repair | None = None) -> Finding:
    """Something should be done."""
    return Finding(check=check, state=State.WARNING, said=said, remedy=remedy, repair=repair)


def failure(check: str, said: str, remedy: str, repair: Repair | None = None) -> Finding:
    """Something must be done."""
    return Finding(check=check, state=State.FAILURE, said=said, remedy=remedy, repair=repair)


def skipped(check: str, said: str) -> Finding:
    """It could not be looked at."""
    return Finding(check=check, state=State.SKIPPED, said=said)
