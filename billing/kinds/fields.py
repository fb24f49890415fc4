"""Reading the fields of Stripe's JSON strictly.

Each reader takes an object, a field, and the path to that object for the error message. A null or absent field reads
as None (or as empty), and so does something empty of another shape (`{}`, `[]`, `""`, 0, false), which some senders
write for "nothing". Where a record depends on the field, `needed=True` refuses that as well. Any other shape than the
wanted one raises `Refused`, which `parse.parse_object` turns into `UnknownShape`. Plain dict checks, since JSON gives
nothing else and this runs for every event.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from billing.kinds.found import Found, Json, ObjectRef, is_id, is_id_of

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL_NUMBER = re.compile(r"[+-]?[0-9]{1,40}(?:\.[0-9]{1,40})?")
_BIGINT_END = 2**63


class UnknownShape(ValueError):
    """A Stripe object in a shape that we do not read; says which field, what came, and what to do."""


class Refused(Exception):
    """A field that cannot be read; parse_object says of which object."""

    def __init__(self, field: str, came: object, wanted: str) -> None:
        super().__init__(field)
        self.field = field
        self.came = shown(came)
        self.wanted = wanted


def text_of(body: Json, field: str, path: str = "", *, needed: bool = False) -> str | None:
    """Text."""
    value = body.get(field)
    if value is None or isinstance(value, str):
        return value
    if _nothing(value, needed):
        return None
    raise Refused(path + field, value, "text")


def flag_of(body: Json, field: str, path: str = "", *, needed: bool = False) -> bool | None:
    """True or false."""
    value = body.get(field)
    if value is None or isinstance(value, bool):
        return value
    if _nothing(value, needed):
        return None
    raise Refused(path + field, value, "true or false")


def integer_of(body: Json, field: str, path: str = "", *, needed: bool = False) -> int | None:
    """A whole number that fits a bigint, also if Stripe writes it as text or as 12.0 (but not as the text 12.0)."""
    value = body.get(field)
    if value is None:
        return None
    if type(value) is int:  # for isinstance a bool is an int, for us it is not
        number = value
    elif (isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        number = int(value)
    elif _nothing(value, needed):
        return None
    else:
        raise Refused(path + field, value, "a whole number")
    if -_BIGINT_END <= number < _BIGINT_END:
        return number
    raise Refused(path + field, value, "a whole number within a bigint")


def decimal_of(body: Json, field: str, path: str = "", *, needed: bool = False) -> str | None:
    """A decimal number as text, with the digits as Stripe writes them."""
    value = body.get(field)
    if value is None:
        return None
    text = str(value) if type(value) is int and value.bit_length() <= 64 else value
    if isinstance(text, str) and _DECIMAL_NUMBER.fullmatch(text):
        return text
    if _nothing(value, needed):
        return None
    raise Refused(path + field, value, "a decimal number as text")


def percent_of(body: Json, field: str, path: str = "", *, needed: bool = False) -> str | None:
    """A percentage as exact text: Stripe sends these as numbers, such as 25.5."""
    value = body.get(field)
    if isinstance(value, float):
        return decimal_of({field: repr(value).removesuffix(".0")}, field, path, needed=needed)
    return decimal_of(body, field, path, needed=needed)


def exact_amount_of(body: Json, field: str, path: str) -> str | None:
    """A needed amount with its fractions of a minor unit, which Stripe states next to the whole amount."""
    exact = decimal_of(body, field + "_decimal", path, needed=True)
    if exact is not None:
        return exact
    whole = integer_of(body, field, path, needed=True)
    return None if whole is None else str(whole)


def moment_of(body: Json, field: str, path: str = "", *, needed: bool = False) -> datetime | None:
    """The UTC time of a field in seconds of Unix time."""
    seconds = integer_of(body, field, path, needed=needed)
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        raise Refused(path + field, seconds, "seconds of Unix time within the years 1 to 9999") from None


def object_of(body: Json, field: str, path: str = "", *, needed: bool = False) -> Json:
    """The object in a field; an empty one where it is null or absent."""
    value = body.get(field)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    if _nothing(value, needed):
        return {}
    raise Refused(path + field, value, "an object")


def metadata_of(body: Json, path: str = "") -> dict[str, str]:
    """The object's metadata; values that are no text are left out."""
    value = body.get("metadata")
    if not value:
        return {}
    if isinstance(value, dict):
        return {key: text for key, text in value.items() if isinstance(text, str)}
    raise Refused(path + "metadata", value, "an object")


def entries_of(body: Json, field: str, *, needed: bool = False) -> tuple[list[Json], bool]:
    """The objects of a list, and whether the list is absent or goes on."""
    value = body.get(field)
    if value is None or _nothing(value, needed):
        return [], True
    if not isinstance(value, dict):
        raise Refused(field, value, "a list object")
    data = value.get("data")
    if not isinstance(data, list):
        if not (data or needed):
            return [], True
        raise Refused(field + ".data", data, "a list")
    return _objects(data, field + ".data", needed=needed), flag_of(
        value, "has_more", field + ".", needed=needed
    ) is True


def objects_of(body: Json, field: str, path: str = "", *, needed: bool = False) -> list[Json]:
    """The objects of an array; none where it is null or absent."""
    value = body.get(field)
    if value is None or _nothing(value, needed):
        return []
    if not isinstance(value, list):
        raise Refused(path + field, value, "a list")
    return _objects(value, path + field, needed=needed)


def _objects(entries: list[object], path: str, *, needed: bool) -> list[Json]:
    """The entries of a list, all of which are objects; without those that are nothing, unless they are needed."""
    objects: list[Json] = []
    for position, entry in enumerate(entries):
        if isinstance(entry, dict):
            objects.append(entry)
        elif entry or needed:
            raise Refused(f"{path}[{position}]", entry, "an object")
    return objects


def id_of(
    body: Json, field: str, path: str = "", *, kind: str | None = None, needed: bool = False
) -> str | None:
    """The id in a field that holds an id, a whole object, or null; with `kind`, only one that it can have."""
    value = body.get(field)
    if value is None:
        return None
    named = value.get("id") if isinstance(value, dict) else value
    if is_id(named) and (kind is None or is_id_of(named, kind)):
        return named
    if _nothing(value, needed):
        return None
    raise Refused(path + field, named, "an id")


def link(
    body: Json, field: str, kind: str, found: Found, path: str = "", *, needed: bool = True
) -> str | None:
    """`id_of` for a field that names a mirrored object, which is remembered."""
    named = id_of(body, field, path, kind=kind, needed=needed)
    if named is not None:
        note(found, kind, body[field])
    return named


def customer_of(body: Json, found: Found) -> str | None:
    """The customer; if Accounts v2 leaves it null, the account that replaces it."""
    customer = link(body, "customer", "customer", found)
    if customer is not None:
        return customer
    return id_of(body, "customer_account", kind="customer", needed=True)


def owner_of(body: Json) -> str | None:
    """`customer_of` for kinds that only lists confirm: nothing is fetched because they name it."""
    customer = id_of(body, "customer", kind="customer")
    return id_of(body, "customer_account", kind="customer") if customer is None else customer


def note(found: Found, kind: str, value: object) -> None:
    """Remember the mirrored object that a field names or holds; skip a value that is neither an id nor an object."""
    named = value.get("id") if isinstance(value, dict) else value
    if is_id_of(named, kind):
        found.named.append((ObjectRef(kind, named), value))


def _nothing(value: object, needed: bool) -> bool:
    """Whether a value of an unexpected shape is an empty one, which says nothing."""
    return not needed and not value


def latest(moments: Iterable[datetime | None]) -> datetime | None:
    """The latest of the times that are known; None if none is."""
    return max((moment for moment in moments if moment is not None), default=None)


def shown(value: object) -> str:
    """A value for an error message: short, and never a whole structure, which may hold personal data."""
    if value is None:
        return "missing"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."
