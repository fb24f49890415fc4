"""What one body from Stripe contains: its facts, its parts, and the other objects inside it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeGuard

Json = Mapping[str, object]

ID_LENGTH_MAX = 255  # Stripe promises that no id is longer


CHOSEN_BY_PEOPLE = frozenset({"coupon", "product", "price", "plan"})
"""The kinds whose ids people may choose, and write as they like."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_OF_A_PATH = re.compile(r"[/\\?#%]")


def is_id(value: object) -> TypeGuard[str]:
    """Whether this can be an id of Stripe's: text of 1 to `ID_LENGTH_MAX` characters that is no way to another path."""
    if not isinstance(value, str) or not 0 < len(value) <= ID_LENGTH_MAX:
        return False
    return not (_CONTROL.search(value) or value in (".", ".."))


def is_id_of(value: object, kind: str) -> TypeGuard[str]:
    """Whether this can be the id of an object of this kind. Previews of invoices have ids, but cannot be read."""
    if not is_id(value):
        return False
    if kind == "invoice" and value.startswith("upcoming_in"):
        return False
    return kind in CHOSEN_BY_PEOPLE or not _OF_A_PATH.search(value)


def is_shown_id_of(value: object, kind: str) -> TypeGuard[str]:
    """The same of an id that somebody has written down: each character of it can be shown."""
    return is_id_of(value, kind) and value.isprintable()


class ObjectRef(NamedTuple):
    """One Stripe object by name: the kind as in `Kind.name`, and Stripe's id."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of one mirrored object, in one shape for every API version.

    A field is a column of the mirror of the same name, in the same order. Amounts are minor units of the currency
    in the same facts, times are aware UTC datetimes, and None means that Stripe said null or that this API version does
    not say.
    """

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The facts of something that only travels with the object that holds it, such as an item of a subscription."""

    id: str


class Found:
    """What a parser finds in an object in addition to its own facts."""

    __slots__ = ("asked", "items_cut", "named", "parts")

    def __init__(self, *, asked: bool) -> None:
        self.asked = asked  # the body answers a request that expands what the registry says
        # Mirrored objects inside it, each with its id or its whole body.
        self.named: list[tuple[ObjectRef, object]] = []
        self.parts: dict[str, Part] = {}  # by their id
        self.items_cut = False  # the list of the parts is absent or goes on
