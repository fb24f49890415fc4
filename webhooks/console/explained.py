"""Why a status changed, in words: what the event says that announced it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from db.records.figures import CitedEvent
from db.records.history import StatusChange

LINES_MAX = 8
TEXT_MAX = 120
SOURCES: Mapping[str, str] = {
    "event": "An event of Stripe's announced it.",
    "deadline": "A date passed, and Stripe was read again.",
    "backfill": "A read of the customer's history found it.",
    "sweep": "A fill of gaps, or a read by id, found it.",
    "audit": "An audit found it.",
}
_TIMES = ("_at", "_end", "_start", "_date", "_anchor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A change of status, what found it, and what the event says that it names."""

    change: StatusChange
    found_by: str
    event: CitedEvent | None
    """None: none is named, or the inbox does not have it any more."""
    about: str
    """The object that the event is about: its kind and id."""
    lines: Sequence[str]
    """What changed in it, as Stripe states it."""


def explained(change: StatusChange, event: CitedEvent | None) -> Explained:
    """The change in words; what cannot be read of the event is left out."""
    about, lines = ("", []) if event is None else _said(event.payload)
    return Explained(
        change=change,
        found_by=SOURCES.get(change.source, change.source),
        event=event,
        about=about,
        lines=lines,
    )


def _said(payload: bytes) -> tuple[str, list[str]]:
    try:
        envelope = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "", []
    data = _mapping(_mapping(envelope).get("data"))
    body, before = _mapping(data.get("object")), _mapping(data.get("previous_attributes"))
    about = " ".join(_text(body.get(name)) for name in ("object", "id") if body.get(name))
    return about, list(_lines(body, before))


def _lines(body: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[str]:
    told = 0
    # The status explains most, so it comes first.
    for name in sorted(before, key=lambda name: (name != "status", name)):
        old, new = before[name], body.get(name)
        if told == LINES_MAX or isinstance(old, dict | list) or isinstance(new, dict | list):
            continue
        told += 1
        yield f"{name}: {_value(name, old)} → {_value(name, new)}"
    if "status" not in before and body.get("status") is not None:
        yield f"status: {_value('status', body['status'])}"


def _value(name: str, value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith(_TIMES) and 0 < value < 2**34:
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
    return _text(value)


def _text(value: object) -> str:
    text = str(value)
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
