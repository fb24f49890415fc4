"""Text and JSON from strangers, made safe to show.

A character that would control a terminal, or reverse a line, becomes an escape; JSON stays JSON.
"""

import json
from decimal import Decimal
from typing import Any

import msgspec


def shown(text: str) -> str:
    """The text on one line, with each unprintable character as its escape: ESC is \\x1b."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escape(each) for each in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def pretty_json(value: object) -> str:
    """The value as indented JSON that is safe on a terminal. Raises ValueError for values that JSON lacks (NaN)."""
    built: Any = msgspec.to_builtins(value, builtin_types=(float, Decimal))
    text = json.dumps(built, indent=2, ensure_ascii=False, allow_nan=False, default=_number)
    if text.replace("\n", "").isprintable():
        return text
    # Such characters occur only inside strings, where JSON has an escape for each UTF-16 unit.
    return "".join(each if each == "\n" or each.isprintable() else _json_escape(each) for each in text)


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))
