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


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found, in a sentence, and the remedy if there is something to do."""

    check: str
    """What was looked at: `postgres version`."""
    state: State
    said: str
    remedy: str = ""


def ok(check: str, said: str) -> Finding:
    """Nothing is to be done."""
    return Finding(check=check, state=State.OK, said=said)


def warning(check: str, said: str, remedy: str) -> Finding:
    """Something should be done."""
    return Finding(check=check, state=State.WARNING, said=said, remedy=remedy)


def failure(check: str, said: str, remedy: str) -> Finding:
    """Something must be done."""
    return Finding(check=check, state=State.FAILURE, said=said, remedy=remedy)


def skipped(check: str, said: str) -> Finding:
    """It could not be looked at."""
    return Finding(check=check, state=State.SKIPPED, said=said)
