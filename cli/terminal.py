"""What the commands print: safe text, tables, times and JSON.

Names and payloads come from strangers. A character that would control a terminal, or reverse a line, is printed as an
escape; JSON stays JSON.
"""

import io
import sys
from collections.abc import Iterable
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from runtime.printable import pretty_json, shown

PIPE_WIDTH = 10_000
"""A pipe has no margin: one row is one line."""

GAP = 2
COLUMN_MIN = 8

_UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


def show_json(value: object) -> None:
    """Print the value as JSON, and nothing else, to standard output."""
    _console().out(pretty_json(value), highlight=False)


def show(*parts: RenderableType) -> None:
    """Print tables and lines: with colour on a terminal; in a pipe plain, one line per row, without trailing blanks."""
    console = _console()
    if console.is_terminal:
        console.print(*parts, sep="\n")
        return
    plain = Console(
        file=io.StringIO(), width=PIPE_WIDTH, color_system=None, markup=False, emoji=False, highlight=False
    )
    plain.print(*parts, sep="\n")
    written = plain.file.getvalue() if isinstance(plain.file, io.StringIO) else ""
    for line in written.splitlines():
        console.out(line.rstrip(), highlight=False)


def error_console() -> Console:
    """Standard error, for progress and errors."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False)


def _console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal's encoding lacks must not end the command.
        sys.stdout.reconfigure(errors="backslashreplace")
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console


def cell(value: object, style: str = "") -> Text:
    """A value in a table: safe, times in UTC to the second, `-` for None, yes and no for booleans."""
    match value:
        case None:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case datetime():
            text = moment(value)
        case _:
            text = str(value)
    return Text(shown(text), style=style or ("dim" if value is None else ""), overflow="fold")


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Group:
    """A table with safe cells; numbers are aligned right, and columns of times have (UTC) in their name.

    On a narrow terminal only the last columns are broken into lines: an id belongs in the first one, so that it can be
    copied whole. (Rich alone would shrink the widest column first.)
    """
    names, body = list(columns), [list(row) for row in rows]
    by_column = list(zip(*body, strict=True)) or [()] * len(names)
    cells = [[_table_cell(each) for each in column] for column in by_column]
    for position, column in enumerate(by_column):
        if any(isinstance(each, datetime) for each in column):
            names[position] += " (UTC)"
    widths = [
        max(len(name), *(each.cell_len for each in column)) for name, column in zip(names, cells, strict=True)
    ]
    left, whole = _console().width, 0
    while whole < len(names) and widths[whole] + (len(names) - whole - 1) * (COLUMN_MIN + GAP) <= left:
        left -= widths[whole] + GAP
        whole += 1
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for position, (name, column) in enumerate(zip(names, by_column, strict=True)):
        numeric = any(column) and all(isinstance(each, int) and not isinstance(each, bool) for each in column)
        made.add_column(
            name, justify="right" if numeric else "left", overflow="fold", no_wrap=position < whole
        )
    for row in zip(*cells, strict=True):
        made.add_row(*row)
    return Group(heading(title), made)


def _table_cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    return cell(f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value)


def pairs(title: str, rows: Iterable[tuple[str, object]]) -> Group:
    """Names and their values, one below the other."""
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_header=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(Text(shown(name)), value if isinstance(value, Text) else cell(value))
    return Group(heading(title), made)


def heading(text: str) -> Text:
    """A title for the lines below it. A table's own title would be broken at the table's width."""
    return Text(shown(text), style="bold", overflow="fold")


def moment(at: datetime) -> str:
    """A time to the second; all our times are UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """A length of time for people: 0.4 s, 12 min, 3 h, 5 d."""
    for unit, size in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def counted(count: int, noun: str) -> str:
    """1 event, 2 events, 1,200 events."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
