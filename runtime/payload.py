"""Bytes from Stripe as JSON that Postgres takes: without NUL characters and lone surrogates.

Only the parsed copy is cleaned; the inbox keeps the bytes that came.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from billing.kinds.fields import UnknownShape
from runtime.stripe_api import StripeError

_SUSPECT = re.compile(rb"\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}|[dD][c-fC-F][0-9a-fA-F]{2})")
_REFUSED = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class NotJson(StripeError):
    """Bytes that came from Stripe, as an answer or as an event, are not the JSON that they should be."""


ReadFailures = (StripeError, UnknownShape)
"""All that reading one of Stripe's objects may raise: there is no answer, or none that we can read."""


def said_by(error: Exception) -> str:
    """A failed read in words for an operator: expected errors say what to do, any other is an internal error."""
    return str(error) if isinstance(error, ReadFailures) else f"an internal error: {error!r}"


class _Data(msgspec.Struct):
    object: msgspec.Raw


class _Update(msgspec.Struct):
    previous_attributes: Any = None


class _UpdateEvent(msgspec.Struct):
    data: _Update


class _Event(msgspec.Struct):
    data: _Data


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_update = msgspec.json.Decoder(_UpdateEvent).decode


def clean_json(body: bytes) -> bytes:
    """The same JSON without what Postgres refuses. Raises NotJson for suspicious bytes that cannot be read."""
    if not _SUSPECT.search(body):
        return body
    # Most suspects are halves of a proper pair (an emoji), which the reader joins.
    try:
        return json.dumps(_cleaned(json.loads(body)), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise NotJson(f"not JSON: {error}") from None


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _REFUSED.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {_REFUSED.sub(REPLACEMENT, key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value


def read_object(body: bytes) -> Mapping[str, Any]:
    """A JSON object. Raises NotJson."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotJson(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise NotJson("not a JSON object")
    return found


def data_object(event: bytes) -> tuple[str, Mapping[str, Any]]:
    """The event's data.object, as cleaned text and read. Raises NotJson if there is none."""
    body = clean_json(event)
    try:
        text = bytes(_decode_event(body).data.object)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotJson(f"no data.object: {error}") from None
    return text.decode(), read_object(text)


def previous_attributes(event: bytes) -> object:
    """What an event of an update says of the former values of the fields that it changed; None if it says nothing."""
    try:
        return _decode_update(clean_json(event)).data.previous_attributes
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, NotJson):
        return None


def as_text(body: Mapping[str, object]) -> str:
    """An object found inside another one, as JSON of its own."""
    return msgspec.json.encode(body).decode()
