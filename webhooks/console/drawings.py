"""Which charts the overview has: the figures, brought into the form that charts.py draws, each with its numbers."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TypeVar

from markupsafe import Markup

from billing.currencies import decimals_of, format_amount
from db.records.figures import MrrMonth, RevenueMonth, StatusFlow
from webhooks.console.charts import Series, areas, bars, compact, day_name, line, month_name, swatch
from webhooks.console.figures import MONTHS, Counts, History
from webhooks.console.words import NOTHING, STATUSES, status_word

DAYS_MAX, WEEKS_MAX = 45, 45
"""How many days are drawn one by one, before weeks are, and how many weeks before months are."""
CURRENCIES_MAX = 3
Month = TypeVar("Month", MrrMonth, RevenueMonth)
LIVING: Mapping[str, str] = {"active": "c1", "trialing": "c2", "canceled": "c3", "past_due": "c4"}
"""The statuses that are drawn, from below, and their colours: those of a subscription that has not ended."""
MOVEMENTS: Mapping[str, str] = {
    "new": "c1",
    "expansion": "c2",
    "reactivation": "c6",
    "contraction": "c3",
    "churn": "c4",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart, and what it shows as a table."""

    title: str
    svg: Markup
    legend: Sequence[tuple[Markup, str]]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The newest first."""


def charts_of(history: History, counts: Counts | None, *, live_mode: bool) -> list[Chart]:
    """Every chart that there is something to draw for; `counts`: in which currencies most customers pay."""
    flows = [each for each in history.flows if each.live_mode == live_mode]
    drawn = [status_chart(flows, today=history.today)] if flows else []
    currencies = [each.currency for each in counts.mrr if each.live_mode == live_mode] if counts else []
    months = (
        each for each in history.mrr_months if each.live_mode == live_mode and each.month <= history.today
    )
    mrr = _by_currency(months)
    revenue = _by_currency(each for each in history.revenue_months if each.live_mode == live_mode)
    paid = [revenue_chart(revenue[currency], today=history.today) for currency in _first(revenue, currencies)]
    # Two stand side by side: MRR beside what moved it.
    drawn += paid[:1]
    for currency in _first(mrr, currencies):
        drawn += [mrr_chart(mrr[currency]), movements_chart(mrr[currency])]
    return drawn + paid[1:]


def status_chart(flows: Sequence[StatusFlow], *, today: date) -> Chart:
    """How many customers had which status at the end of each day, week or month."""
    days = [each.day for each in flows]
    places, name = _places(min(days), max(today, *days))
    levels = levels_at(flows, places)
    shown = {status: levels.get(status, [0] * len(places)) for status in LIVING}
    series = [
        Series(name=status_word(status), colour=colour, values=shown[status])
        for status, colour in LIVING.items()
    ]
    now = ", ".join(f"{each.values[-1]:,} {each.name}" for each in series)
    words = [name(place) for place in places]
    columns = [status for status in STATUSES if status is not None]
    return Chart(
        title="Customers by status",
        svg=Markup(areas(series, words, says=f"Customers by status over time. Now: {now}.", write=compact)),  # noqa: S704 - charts.py escapes
        legend=_legend(series),
        columns=["at the end of", *(status_word(status) for status in columns)],
        rows=[
            [
                place.isoformat(),
                *(f"{levels[status][at]:,}" if status in levels else "0" for status in columns),
            ]
            for at, place in reversed(list(enumerate(places)))
        ],
    )


def levels_at(flows: Sequence[StatusFlow], places: Sequence[date]) -> dict[str, list[int]]:
    """How many customers had each status at the end of each of these days, which are in order."""
    changes: dict[str, list[int]] = {}
    for flow in flows:
        at = bisect_left(places, flow.day)
        if at == len(places):
            continue
        for status, by in ((flow.status_after, flow.customers), (flow.status_before, -flow.customers)):
            if status is not None:
                changes.setdefault(status, [0] * len(places))[at] += by
    for values in changes.values():
        for at in range(1, len(values)):
            values[at] += values[at - 1]
    return changes


def mrr_chart(months: Sequence[MrrMonth]) -> Chart:
    """MRR at the end of each month."""
    currency = months[0].currency
    # The line begins with what there was before, so that one month is a line, too.
    first = months[0]
    moved = [getattr(first, name) for name in MOVEMENTS]
    before = None if first.mrr_at_end is None or None in moved else first.mrr_at_end - sum(moved)
    values = [before, *(each.mrr_at_end for each in months)]
    places = [first.month - timedelta(days=1), *(each.month for each in months)]
    said = "too large to be stored" if values[-1] is None else _money(values[-1], currency)
    return Chart(
        title=f"Monthly recurring revenue, {currency.upper()}",
        svg=Markup(  # noqa: S704 - charts.py escapes
            line(
                values,
                [month_name(each) for each in places],
                says=f"Monthly recurring revenue at the end of each month. Now: {said}.",
                write=_writer(currency),
            )
        ),
        legend=_said(f"now {said}"),
        columns=["month", "at its end"],
        rows=[[f"{each.month:%Y-%m}", _amount(each.mrr_at_end, currency)] for each in reversed(months)],
    )


def movements_chart(months: Sequence[MrrMonth]) -> Chart:
    """What raised MRR in each month, and what lowered it."""
    currency = months[0].currency
    series = [
        Series(name=name, colour=colour, values=[getattr(each, name) for each in months])
        for name, colour in MOVEMENTS.items()
    ]
    last = ", ".join(f"{each.name} {_amount(each.values[-1], currency)}" for each in series)
    return Chart(
        title=f"What moved it, {currency.upper()}",
        svg=Markup(  # noqa: S704 - charts.py escapes
            bars(
                series,
                [month_name(each.month) for each in months],
                says=f"Movements of monthly recurring revenue by month. This month: {last}.",
                write=_writer(currency),
            )
        ),
        legend=_legend(series),
        columns=["month", *MOVEMENTS],
        rows=[
            [f"{each.month:%Y-%m}", *(_amount(getattr(each, name), currency) for name in MOVEMENTS)]
            for each in reversed(months)
        ],
    )


def revenue_chart(months: Sequence[RevenueMonth], *, today: date) -> Chart:
    """What customers paid in each month, less what was given back of it."""
    currency = months[0].currency
    by_month = {each.month: each for each in months}
    # In a month without a row nothing was paid.
    places = list(_months(months[0].month, max(today.replace(day=1), months[-1].month)))[-MONTHS:]
    values = [by_month[month].net if month in by_month else 0 for month in places]
    said = "too large to be stored" if values[-1] is None else _money(values[-1], currency)
    series = [Series(name="net", colour="c1", values=values)]
    columns = ("gross", "refunded", "disputed", "out_of_band", "net")
    return Chart(
        title=f"Net revenue by month, {currency.upper()}",
        svg=Markup(  # noqa: S704 - charts.py escapes
            bars(
                series,
                [month_name(month) for month in places],
                says=f"Net revenue by month. This month: {said}.",
                write=_writer(currency),
            )
        ),
        legend=_said(f"this month {said}"),
        columns=["month", *(column.replace("_", " ") for column in columns)],
        rows=[
            [
                f"{month:%Y-%m}",
                *(
                    _amount(getattr(by_month[month], column) if month in by_month else 0, currency)
                    for column in columns
                ),
            ]
            for month in reversed(places)
        ],
    )


def _legend(series: Iterable[Series]) -> list[tuple[Markup, str]]:
    return [(Markup(swatch(each.colour)), each.name) for each in series]  # noqa: S704 - nothing in it is a text


def _said(what: str) -> list[tuple[Markup, str]]:
    """In place of a legend, if there is but one series."""
    return [(Markup(""), what)]


def _places(first: date, today: date) -> tuple[list[date], Callable[[date], str]]:
    """The days at whose ends customers are counted, the last one today, and how they are called."""
    days = (today - first).days + 1
    for step, most in ((1, DAYS_MAX), (7, WEEKS_MAX)):
        if days <= step * most:
            count = max(-(-days // step), 2)
            return [today - timedelta(days=step * back) for back in range(count - 1, -1, -1)], day_name
    ends = [_next_month(month) - timedelta(days=1) for month in _months(first.replace(day=1), today)]
    return [*(end for end in ends if end < today), today][-MONTHS:], month_name


def _months(first: date, last: date) -> Iterator[date]:
    """The first days of the months from one to another."""
    while first <= last:
        yield first
        first = _next_month(first)


def _next_month(month: date) -> date:
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def _by_currency(rows: Iterable[Month]) -> dict[str, list[Month]]:
    found: dict[str, list[Month]] = {}
    for row in rows:
        found.setdefault(row.currency, []).append(row)
    return found


def _first(found: Mapping[str, object], currencies: Sequence[str]) -> list[str]:
    """The currencies to draw: those that most customers pay in first."""
    known = [currency for currency in currencies if currency in found]
    return [*known, *sorted(found.keys() - set(known))][:CURRENCIES_MAX]


def _writer(currency: str) -> Callable[[float], str]:
    size = 10 ** decimals_of(currency)
    return lambda minor: compact(minor / size)


def _amount(minor: int | None, currency: str) -> str:
    return NOTHING if minor is None else format_amount(minor, currency)


def _money(minor: int, currency: str) -> str:
    return f"{format_amount(minor, currency)} {currency.upper()}"
