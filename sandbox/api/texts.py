"""Answers as text: JSON indented as Stripe writes it, and what was written once kept until anything changes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

_INDENT = 2
_DEEPER = b"\n" + b" " * 2 * _INDENT
"""An object in a list is indented by more than the same object by itself."""


@dataclass(frozen=True, slots=True)
class Text:
    """JSON that is indented already."""

    json: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a list, of objects that are text."""

    url: str
    data: Sequence[Text]
    has_more: bool


def written(answer: object) -> bytes:
    """An answer as text."""
    match answer:
        case Text():
            return answer.json
        case Page():
            return _written_page(answer)
        case _:
            return msgspec.json.format(msgspec.json.encode(answer), indent=_INDENT)


def _written_page(page: Page) -> bytes:
    """As `written` writes the same list in one piece, for a fraction of the time."""
    data = b"[]"
    if page.data:
        rows = (b"," + _DEEPER).join(text.json.replace(b"\n", _DEEPER) for text in page.data)
        data = b"[%b%b\n  ]" % (_DEEPER, rows)
    return b'{\n  "object": "list",\n  "data": %b,\n  "has_more": %b,\n  "url": %b\n}' % (
        data,
        msgspec.json.encode(page.has_more),
        msgspec.json.encode(page.url),
    )


class Kept:
    """What was written, as of one moment of the sandbox (`Sandbox.changes`)."""

    def __init__(self) -> None:
        self._texts: dict[tuple[object, ...], Text] = {}
        self._as_of = -1

    def text(self, key: tuple[object, ...], body: Callable[[], object], *, as_of: int) -> Text:
        """What is kept under this key, or else the body that is made now."""
        if self._as_of != as_of:
            self._texts.clear()
            self._as_of = as_of
        found = self._texts.get(key)
        if found is None:
            found = self._texts[key] = Text(written(body()))
        return found
