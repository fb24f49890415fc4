"""Charts: data in, one SVG out. Nothing in them is a style, which the console's security policy would refuse.

Colours are classes of console.css. Each chart says in words what it shows, and the page has its numbers as a table.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from math import ceil, floor, log10

WIDTH, HEIGHT = 520, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 10, 26
TICKS = 4
LABELS_MAX = 6
BAR_WIDTH_MAX = 44

Write = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One value for each place of the axis; None where it is not known."""

    name: str
    colour: str
    """c1 to c6."""
    values: Sequence[int | None]


def areas(series: Sequence[Series], places: Sequence[str], *, says: str, write: Write) -> str:
    """Series that add up, one above the other."""
    count = len(places)
    levels = [[0] * count]
    for each in series:
        levels.append([below + (value or 0) for below, value in zip(levels[-1], each.values, strict=True)])
    scale = _Scale(0, max(levels[-1], default=0), count, points=True)
    shapes = [
        f'<path class="{each.colour}" d="{_outline(scale, lower, upper)}"><title>{escape(each.name)}</title></path>'
        for each, lower, upper in zip(series, levels, levels[1:], strict=False)
    ]
    return _svg(scale, places, shapes, says=says, write=write)


def line(values: Sequence[int | None], places: Sequence[str], *, says: str, write: Write) -> str:
    """One series as a line above its shade. Where a value is not known, there is a gap."""
    known = [value for value in values if value is not None]
    scale = _Scale(min(known, default=0), max(known, default=0), len(places), points=True)
    shapes = []
    for start, run in _runs(values):
        points = [f"{scale.x(start + place):.1f} {scale.y(value):.1f}" for place, value in enumerate(run)]
        base = scale.y(0)
        first, last = scale.x(start), scale.x(start + len(run) - 1)
        shapes.append(
            f'<path class="under" d="M{first:.1f} {base:.1f}L{"L".join(points)}L{last:.1f} {base:.1f}Z"/>'
            f'<path class="line" d="M{"L".join(points)}"/>'
        )
        place = start + len(run) - 1
        shapes.append(f'<circle class="dot" cx="{scale.x(place):.1f}" cy="{scale.y(run[-1]):.1f}" r="3"/>')
    return _svg(scale, places, shapes, says=says, write=write)


def bars(series: Sequence[Series], places: Sequence[str], *, says: str, write: Write) -> str:
    """A bar for each place: what is more than 0 upwards, one above the other, and what is less downwards."""
    count = len(places)
    above, below = [0] * count, [0] * count
    spans: list[tuple[Series, int, int, int]] = []
    for each in series:
        for place, value in enumerate(each.values):
            if not value:
                continue
            ends = above if value > 0 else below
            spans.append((each, place, ends[place], ends[place] + value))
            ends[place] += value
    scale = _Scale(min(below, default=0), max(above, default=0), count, points=False)
    width = min(max(scale.step * 0.64, 1.5), BAR_WIDTH_MAX)
    shapes = []
    for each, place, start, end in spans:
        high, low = scale.y(max(start, end)), scale.y(min(start, end))
        shapes.append(
            f'<rect class="{each.colour}" x="{scale.x(place) - width / 2:.1f}" y="{high:.1f}" width="{width:.1f}" '
            f'height="{max(low - high, 0.5):.1f}"><title>{escape(f"{places[place]}: {each.name} {write(end - start)}")}'
            "</title></rect>"
        )
    return _svg(scale, places, shapes, says=says, write=write)


def swatch(colour: str) -> str:
    """The sign of a series in a legend."""
    return f'<svg viewBox="0 0 10 10" aria-hidden="true"><rect class="{colour}" width="10" height="10" rx="2"/></svg>'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers that embrace both, 0 among them."""
    low, high = min(low, 0), max(high, 0)
    if low == high:
        return [0, 1]
    rough = (high - low) / TICKS
    size = 10 ** floor(log10(rough))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= rough)
    if step < 1:
        step = 1
    return [step * number for number in range(floor(low / step), ceil(high / step) + 1)]


def compact(value: float) -> str:
    """A number in few letters: 1.2k, 3M."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return (
                f"{value / size:.3g}{letter}" if abs(value) < 1000 * size else f"{value / size:.0f}{letter}"
            )
    return f"{value:.3g}" if value % 1 else f"{value:.0f}"


def month_name(month: date) -> str:
    """Nov 2026: two years are drawn, and each month is in both."""
    return f"{month:%b %Y}"


def day_name(day: date) -> str:
    """14 Nov."""
    return f"{day.day} {day:%b}"


class _Scale:
    """Where values and places are on the drawing."""

    def __init__(self, low: float, high: float, count: int, *, points: bool) -> None:
        self.ticks = ticks(low, high)
        self.count = count
        self._low, self._high = self.ticks[0], self.ticks[-1]
        room = WIDTH - LEFT - RIGHT
        # Points lie on both edges; bars need half of their room on each side.
        self.step = room / max(count - 1, 1) if points else room / max(count, 1)
        self._first = LEFT + (0 if points and count > 1 else room / 2 if points else self.step / 2)

    def x(self, place: int) -> float:
        return self._first + place * self.step

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self._high - value) / (self._high - self._low)


def _outline(scale: _Scale, lower: Sequence[int], upper: Sequence[int]) -> str:
    there = [f"{scale.x(place):.1f} {scale.y(value):.1f}" for place, value in enumerate(upper)]
    back = [f"{scale.x(place):.1f} {scale.y(value):.1f}" for place, value in enumerate(lower)][::-1]
    return f"M{'L'.join([*there, *back])}Z"


def _runs(values: Sequence[int | None]) -> Iterator[tuple[int, list[int]]]:
    """The stretches of known values, and where each begins."""
    run: list[int] = []
    for place, value in enumerate(values):
        if value is not None:
            run.append(value)
        elif run:
            yield place - len(run), run
            run = []
    if run:
        yield len(values) - len(run), run


def _svg(scale: _Scale, places: Sequence[str], shapes: Sequence[str], *, says: str, write: Write) -> str:
    return "".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(says)}">',
            *_frame(scale, write),
            *shapes,
            *_names(scale, places),
            "</svg>",
        ]
    )


def _frame(scale: _Scale, write: Write) -> Iterator[str]:
    for tick in scale.ticks:
        height = f"{scale.y(tick):.1f}"
        kind = "grid" if tick else "axis"
        yield f'<line class="{kind}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height}" y2="{height}"/>'
        yield (
            f'<text x="{LEFT - 8}" y="{height}" dy="4" text-anchor="end" aria-hidden="true">'
            f"{escape(write(tick))}</text>"
        )


def _names(scale: _Scale, places: Sequence[str]) -> Iterator[str]:
    every = max(ceil(len(places) / LABELS_MAX), 1)
    # Counted from the end: what is now has its name.
    for place in range(len(places) - 1, -1, -every):
        at = scale.x(place)
        anchor = "end" if at > WIDTH - RIGHT - 20 else "start" if at < LEFT + 20 else "middle"
        yield (
            f'<text x="{at:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}" aria-hidden="true">'
            f"{escape(places[place])}</text>"
        )
