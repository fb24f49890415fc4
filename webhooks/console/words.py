"""How pages write what they show: times, amounts, statuses. Each filter of the templates is a function here."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from billing.currencies import format_amount
from runtime.printable import shown

NOTHING = "–"  # noqa: RUF001 - a dash as people write it
STATUSES: Mapping[str | None, str] = {
    "active": "active",
    "trialing": "trialing",
    "canceled": "canceled",
    "past_due": "past due",
    "ended": "ended",
    None: "none",
}
"""From the best to none, in the order in which they are shown."""


def money(minor: int | None, currency: str | None) -> str:
    """An amount with its currency; a dash where it is not known."""
    return (
        NOTHING
        if minor is None or currency is None
        else f"{format_amount(minor, currency)} {currency.upper()}"
    )


def amount(minor: int | None, currency: str) -> str:
    """An amount whose currency stands beside it."""
    return format_amount(minor, currency)


def plain(value: Decimal | None) -> str:
    """A number that may have decimals, without those that say nothing."""
    return NOTHING if value is None else f"{value.normalize():,f}"


def rate(value: float) -> str:
    """How much in a second."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def moment(at: datetime | None) -> str:
    """A time, to the second, in UTC."""
    if at is None:
        return NOTHING
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"), f"{utc:%Y-%m-%d %H:%M:%S}"
    )


def day(at: datetime | date | None) -> str:
    """A day, of a time that of UTC."""
    if at is None:
        return NOTHING
    if isinstance(at, datetime):
        at = at.astimezone(UTC).date()
    return Markup('<time datetime="{0}">{0}</time>').format(at.isoformat())


def number(value: float | None) -> str:
    """A number with commas."""
    return NOTHING if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    """A duration, in the two greatest units that it has."""
    if value is None:
        return NOTHING
    if value < 60:
        return f"{value:.1f} s"
    minutes = int(value) // 60
    for unit, small, size in (("d", "h", 24 * 60), ("h", "min", 60)):
        if minutes >= size:
            rest = minutes % size // (60 if small == "h" else 1)
            return f"{minutes // size} {unit} {rest} {small}"
    return f"{minutes} min"


def yes(value: bool | None) -> str:
    """yes, no, or a dash."""
    return NOTHING if value is None else "yes" if value else "no"


def status_word(status: str | None) -> str:
    """A status as people say it."""
    return STATUSES.get(status, str(status).replace("_", " "))


def status_badge(status: str | None) -> Markup:
    """A status, marked by its colour, too."""
    known = status if status in STATUSES else "other"
    return Markup('<span class="badge status-{}">{}</span>').format(known or "none", status_word(status))


def printable(text: str | None) -> str:
    """A text from a stranger: what would control or reverse a line is an escape; none is empty."""
    return shown(text or "")


def dash(value: object) -> object:
    """The value; a dash for none and for an empty text."""
    return NOTHING if value is None or value == "" else value


FILTERS: Mapping[str, Callable[..., Any]] = {
    "money": money,
    "amount": amount,
    "plain": plain,
    "rate": rate,
    "moment": moment,
    "day": day,
    "number": number,
    "seconds": seconds,
    "yes": yes,
    "status": status_badge,
    "status_word": status_word,
    "dash": dash,
    "printable": printable,
}
