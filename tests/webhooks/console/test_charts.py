"""Charts: data in, one SVG out."""

from datetime import UTC, date, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from db.records.figures import MrrMonth, MrrNow, RevenueMonth, StatusFlow
from webhooks.console.charts import Series, areas, bars, compact, line, ticks
from webhooks.console.drawings import Chart, charts_of, levels_at
from webhooks.console.figures import Counts, History, first_month

TODAY = date(2026, 11, 30)


def drawn(svg: str) -> dict[str, list[dict[str, str]]]:
    """The shapes by name; fails if it is no well-formed SVG, has a style, or a number that is none."""
    root = ET.fromstring(svg)  # noqa: S314 - of our own making
    assert "img" == root.attrib["role"]
    assert root.attrib["aria-label"]
    assert not [name for name in ("style", "nan", "inf", "None") if name in svg]
    shapes: dict[str, list[dict[str, str]]] = {}
    for each in root:
        shapes.setdefault(each.tag, []).append(dict(each.attrib))
    return shapes


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 0, [0, 1]),
        (0, 3, [0, 1, 2, 3]),
        (0, 97, [0, 25, 50, 75, 100]),
        (-40, 100, [-50, 0, 50, 100]),
        (5, 9, [0, 2.5, 5, 7.5, 10]),
        (0, 123_456, [0, 50_000, 100_000, 150_000]),
        (-7, -1, [-8, -6, -4, -2, 0]),
    ],
)
def test_ticks(low: int, high: int, expected: list[float]) -> None:
    """Round numbers around everything, 0 among them."""
    assert expected == ticks(low, high)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (950, "950"),
        (1200, "1.2k"),
        (2_500_000, "2.5M"),
        (-40_000, "-40k"),
        (2.5, "2.5"),
        (9e18, "9000P"),
    ],
)
def test_compact(value: float, expected: str) -> None:
    """Few letters."""
    assert expected == compact(value)


def test_areas_add_up() -> None:
    """Each area begins where the one below ends, and what is unknown adds nothing."""
    svg = areas(
        [Series(name="a & b", colour="c1", values=[1, 2]), Series(name="c", colour="c2", values=[None, 2])],
        ["x", "<y>"],
        says='"now"',
        write=compact,
    )
    shapes = drawn(svg)
    first, second = (each["d"] for each in shapes["path"])
    assert first[1:].removesuffix("Z").split("L")[1] in second.split("L")[2]  # its right upper corner
    assert "a &amp; b" in svg
    assert "&lt;y&gt;" in svg


def test_bars_grow_both_ways() -> None:
    """What is lost hangs below the axis, what is won stands on it, and nothing is drawn for 0 and for the unknown."""
    shapes = drawn(
        bars(
            [
                Series(name="won", colour="c1", values=[100, 0, None]),
                Series(name="lost", colour="c4", values=[-50, 0, -10]),
            ],
            ["a", "b", "c"],
            says="x",
            write=compact,
        )
    )
    (axis,) = [each for each in shapes["line"] if each["class"] == "axis"]
    won, lost, more = shapes["rect"]
    zero = float(axis["y1"])
    assert zero == pytest.approx(float(won["y"]) + float(won["height"]))
    assert zero == float(lost["y"]) == float(more["y"])
    assert 2 * float(lost["height"]) == pytest.approx(float(won["height"]), abs=0.2)


def test_line_with_a_gap() -> None:
    """Where a value is not known there is no line."""
    shapes = drawn(line([1, 2, None, 4], ["a", "b", "c", "d"], says="x", write=compact))
    assert ["under", "line", "under", "line"] == [each["class"] for each in shapes["path"]]


@pytest.mark.parametrize("places", [0, 1, 60])
def test_any_number_of_places(places: int) -> None:
    """None, one and many; no more names than there is room for."""
    names, values = [str(each) for each in range(places)], [2**62] * places
    series = [Series(name="s", colour="c1", values=values)]
    for svg in (
        areas(series, names, says="x", write=compact),
        bars(series, names, says="x", write=compact),
        line(values, names, says="x", write=compact),
    ):
        texts = [each for each in drawn(svg).get("text", []) if each["y"] == "222"]
        assert min(places, 1) <= len(texts) <= 6


def flow(day: date, before: str | None, after: str | None, customers: int = 1) -> StatusFlow:
    return StatusFlow(live_mode=False, day=day, status_before=before, status_after=after, customers=customers)


def test_levels() -> None:
    """A status has who came to it, less who left it, up to the end of each day."""
    flows = [
        flow(date(2026, 1, 1), None, "trialing", 5),
        flow(date(2026, 1, 2), "trialing", "active", 3),
        flow(date(2026, 1, 4), "active", "ended"),
        flow(date(2026, 1, 9), "active", "ended"),
    ]
    places = [date(2026, 1, 1), date(2026, 1, 3), date(2026, 1, 5)]
    assert {"trialing": [5, 2, 2], "active": [0, 3, 2], "ended": [0, 0, 1]} == levels_at(flows, places)


@pytest.mark.parametrize(
    ("first", "rows", "oldest"),
    [
        (TODAY, 2, "2026-11-29"),
        (TODAY - timedelta(days=40), 41, "2026-10-21"),
        (TODAY - timedelta(days=100), 15, "2026-08-24"),
        (date(2019, 3, 14), 24, "2024-12-31"),
    ],
)
def test_days_weeks_or_months(first: date, rows: int, oldest: str) -> None:
    """A young account is drawn by days, an old one by months, and not all of them; the last place is now."""
    (chart,) = drawings(flows=[flow(first, None, "active", 7)])
    drawn(chart.svg)
    assert (rows, oldest, TODAY.isoformat()) == (len(chart.rows), chart.rows[-1][0], chart.rows[0][0])
    assert "7" == chart.rows[0][1]


def drawings(
    *,
    flows: list[StatusFlow] | None = None,
    mrr: list[MrrNow] | None = None,
    mrr_months: list[MrrMonth] | None = None,
    revenue_months: list[RevenueMonth] | None = None,
    live_mode: bool = False,
) -> list[Chart]:
    """The charts of these figures."""
    at = datetime(2026, 11, 30, 12, tzinfo=UTC)
    history = History(
        at=at,
        today=TODAY,
        flows=flows or [],
        mrr_months=mrr_months or [],
        revenue_months=revenue_months or [],
    )
    return charts_of(history, Counts(at=at, customers=[], mrr=mrr or []), live_mode=live_mode)


def test_money_is_drawn_by_currency() -> None:
    """What was paid first, then MRR beside what moved it, the currencies of most customers first; minor units are
    written as people write them, and a month in which nothing was paid is there.
    """
    now = [
        MrrNow(live_mode=False, currency=currency, mrr=1, customers=customers, unknown=0)
        for currency, customers in (("jpy", 9), ("usd", 2))
    ]
    months = [
        MrrMonth(
            live_mode=False,
            currency=currency,
            month=date(2026, 11, 1),
            new=123_456,
            expansion=0,
            contraction=0,
            churn=-100,
            reactivation=0,
            mrr_at_end=amount,
        )
        for currency, amount in (("usd", 123_356), ("jpy", None))
    ]
    paid = [
        RevenueMonth(
            live_mode=False,
            currency="usd",
            month=month,
            gross=500,
            refunded=0,
            disputed=0,
            out_of_band=0,
            net=500,
        )
        for month in (date(2026, 8, 1), date(2026, 10, 1))
    ]
    charts = drawings(mrr=now, mrr_months=months, revenue_months=paid)
    assert ["USD", "JPY", "JPY", "USD", "USD"] == [chart.title[-3:] for chart in charts]
    for chart in charts:
        drawn(chart.svg)
        assert {len(chart.columns)} == {len(row) for row in chart.rows}
    by_title: dict[str, Chart] = {chart.title: chart for chart in charts}
    assert [["2026-11", "–"]] == by_title["Monthly recurring revenue, JPY"].rows  # noqa: RUF001
    assert [["2026-11", "1,233.56"]] == by_title["Monthly recurring revenue, USD"].rows
    assert "1,234.56" in by_title["What moved it, USD"].rows[0]
    revenue = {row[0]: row[-1] for row in by_title["Net revenue by month, USD"].rows}
    assert {"2026-11": "0.00", "2026-10": "5.00", "2026-09": "0.00", "2026-08": "5.00"} == revenue
    assert [] == drawings(mrr_months=months, revenue_months=paid, live_mode=True)


@pytest.mark.parametrize(
    ("today", "expected"), [(TODAY, date(2024, 12, 1)), (date(2026, 12, 1), date(2025, 1, 1))]
)
def test_first_month(today: date, expected: date) -> None:
    """Two years, the running month among them."""
    assert expected == first_month(today)
