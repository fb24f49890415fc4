"""The mask: takes secrets out of values before a line of the log is written."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

MASK = "****"
LONG_LENGTH_MIN = 8
"""From this length on a secret is masked within words too: a shorter one may be a part of a harmless word."""
DEPTH_MAX = 20
"""What is nested deeper is shown as text: it may be nested in itself."""

# What looks like a secret, whether we know it or not: Stripe's keys and signing secrets, passwords in URLs, and
# credentials in headers.
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])((?:sk|rk)_(?:org_)?(?:live|test)_|whsec_)[A-Za-z0-9+/=_-]+"
    r"|(://[^\s:/@\"]*:)[^\s/@\"]+(?=@)"
    r"|([?&](?:ssl)?password=)[^\s&\"']+"
    r"|\b((?:Basic|Bearer) )[A-Za-z0-9+/=_.~-]{8,}"
)
# A short secret stands alone where it ends on both sides: `-` and `.` join words, as in customer.updated.
# So does one after an escaped line break, and after a percent-encoded character.
_BEGINS = r"(?:(?<!\w)|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))(?<!\w[-.])"
_ENDS = r"(?!\w|[-.]\w)"


class Mask:
    """Masks known secrets, and all that looks like one, in text and in everything that contains text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {form for secret in secrets for form in (secret, unquote(secret)) if form}
        # The longest first, so that one which contains another leaves nothing behind.
        self._known = [_pattern(secret) for secret in sorted(known, key=lambda each: (-len(each), each))]

    def text(self, text: str) -> str:
        """The text without secrets."""
        for pattern in self._known:
            text = pattern.sub(MASK, text)
        return _SHAPES.sub(rf"\1\2\3\4{MASK}", text)

    def value(self, value: Any, *, depth: int = 0) -> Any:
        """The value without secrets: keys, and numbers that are none, stay as they are; other objects become text."""
        match value:
            case None | bool():
                return value
            case int() | float():
                shown = str(value)
                masked = self.text(shown)
                return value if masked == shown else masked
            case Mapping() if depth < DEPTH_MAX:
                return {str(key): self.value(each, depth=depth + 1) for key, each in value.items()}
            case list() | tuple() | set() | frozenset() if depth < DEPTH_MAX:
                return [self.value(each, depth=depth + 1) for each in value]
            case _:
                return self.text(str(value))


def _pattern(secret: str) -> re.Pattern[str]:
    pattern = "".join(map(_written, secret))
    if len(secret) < LONG_LENGTH_MIN:
        pattern = _BEGINS + pattern + _ENDS
    return re.compile(pattern)


def _written(character: str) -> str:
    """All ways to write a character: as it is, percent-encoded as in URLs, escaped as in JSON and in `repr`."""
    encoded = character.encode("utf-8", "surrogatepass")
    percent = "".join(f"%{byte:02X}" for byte in encoded)
    forms = {
        *(character, percent, percent.lower()),
        *(repr(character)[1:-1], repr(encoded)[2:-1]),
        *(json.dumps(character)[1:-1], json.dumps(character, ensure_ascii=False)[1:-1]),
    }
    if character == " ":
        forms.add("+")
    if character in "'\"":
        forms.add(f"\\{character}")
    alternatives = map(re.escape, sorted(forms, key=lambda each: (-len(each), each)))
    # What is escaped more than once has more backslashes.
    return f"(?:{'|'.join(alternatives)})".replace(r"\\", r"\\+")
