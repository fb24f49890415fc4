"""Reads requests into the types that operations declare; what does not fit is a problem that names the field."""

import re
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from starlette.requests import Request

from webhooks.api.problems import INVALID, UNREADABLE, Problem
from webhooks.bodies import read_body

BODY_BYTES_MAX = 64 * 1024

_AT = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>.*)`", re.DOTALL)
_LACKING = re.compile(r"Object missing required field `(?P<field>.*)`", re.DOTALL)
_IN_BRACKETS = re.compile(r"(?P<name>[a-z_]+)\[(?P<key>.*)\]", re.DOTALL)

_BOOL = re.compile("true|false")
_INT = re.compile("-?[0-9]{1,20}", re.ASCII)

S = TypeVar("S", bound=msgspec.Struct)


def _number(written: str) -> float | int:
    """A number with a point or an exponent: 2.0 is the whole number 2, as JSON Schema has it."""
    number = float(written)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


_decode = msgspec.json.Decoder(float_hook=_number).decode


def read_query(request: Request, into: type[S]) -> S:
    """The query of a request. Raises Problem."""
    lists, maps = _fields_of(into, list), _fields_of(into, dict)
    given: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        inner = _IN_BRACKETS.fullmatch(name)
        if inner is not None and inner["name"] in maps:
            of, key = given.setdefault(inner["name"], {}), inner["key"]
        else:
            of, key = given, name
        if key in of:
            raise _wrong("query", name, "is given more than once")
        of[key] = _items(value) if key in lists else value
    refuse_unstorable(given, "query")
    # The conversion takes more ways to write them, and null for what is left out, which no document tells of.
    for name in given.keys() - _fields_of(into, str):
        if str(given[name]).lower() == "null":
            raise _wrong("query", name, "is null", remedy="leave it out")
    for kind, written, what in ((bool, _BOOL, "true or false"), (int, _INT, "a whole number")):
        for name in _fields_of(into, kind) & given.keys():
            if not written.fullmatch(given[name]):
                raise _wrong("query", name, f"is not {what}", remedy=f"write {what}")
    return _convert(given, into, "query")


async def read_body_of(request: Request, into: type[S]) -> S:
    """The body of a request; no body is an empty object. Raises Problem, or Refusal if it is too large."""
    body = await read_body(request, bytes_max=BODY_BYTES_MAX)
    try:
        given = _decode(body) if body else {}
        refuse_unstorable(given, "body")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(
            UNREADABLE, f"the body is not JSON: {error}", field="body", remedy="send one JSON object"
        ) from None
    except RecursionError:
        raise Problem(
            UNREADABLE,
            "the body is nested deeper than anything here",
            field="body",
            remedy="see /docs for what it may be",
        ) from None
    return _convert(given, into, "body")


def refuse_unstorable(given: object, where: str) -> None:
    """Raise Problem if a text in it has a character that Postgres cannot store."""
    match given:
        case str():
            if "\0" in given or (not given.isascii() and any("\ud800" <= each <= "\udfff" for each in given)):
                raise _wrong(where, "", "has the character U+0000 or half of a surrogate pair")
        case list():
            for each in given:
                refuse_unstorable(each, where)
        case dict():
            for name, value in given.items():
                refuse_unstorable(name, where)
                refuse_unstorable(value, f"{where}.{name}")
        case _:
            pass


def _convert(given: Mapping[str, Any], into: type[S], where: str) -> S:
    try:
        return msgspec.convert(given, into, strict=where == "body")
    except msgspec.ValidationError as error:
        raise _problem_of(error, into, where) from None


def _problem_of(error: msgspec.ValidationError, into: type[msgspec.Struct], where: str) -> Problem:
    found = _AT.match(str(error))
    what, path = (found["what"], found["path"] or "") if found else (str(error), "")
    if unknown := _UNKNOWN.match(what):
        known = ", ".join(into.__struct_fields__)
        return _wrong(where, f"{path}.{unknown['field']}", "is not known here", remedy=f"use: {known}")
    if lacking := _LACKING.match(what):
        return _wrong(where, f"{path}.{lacking['field']}", "is missing", remedy="give it")
    return _wrong(where, path, f"cannot be used: {what[:1].lower()}{what[1:]}")


def _wrong(where: str, path: str, what: str, *, remedy: str | None = None) -> Problem:
    field = f"{where}.{path.lstrip('.')}" if path.strip(".") else where
    shown = field if field.isprintable() else ascii(field)
    return Problem(
        INVALID,
        f"{shown[:200]} {what}"[:1000],
        field=shown[:200],
        remedy=remedy or "see /docs for what it may be",
    )


def _items(value: str) -> list[str]:
    """The items of a list that is written with commas; none in an empty text."""
    return value.split(",") if value else []


@cache
def _fields_of(struct: type[msgspec.Struct], kind: type) -> frozenset[str]:
    """The fields that may have a value of this kind."""
    return frozenset(name for name, hint in get_type_hints(struct).items() if kind in _kinds(hint))


def _kinds(hint: object) -> set[object]:
    """What a value of this type may be, whatever it consists of."""
    origin = get_origin(hint) or hint
    if origin in (UnionType, Union):
        return set().union(*(_kinds(arm) for arm in get_args(hint)))
    return {origin}
