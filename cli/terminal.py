"""What the commands print: safe text, tables, times and JSON.

Names and payloads come from strangers. A character that would control a terminal, or reverse a line, is printed as an
escape; JSON stays JSON.
"""

import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import typer
from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from runtime.printable import pretty_json, shown

PIPE_WIDTH = 10_000
"""A pipe has no margin: one row is one line."""

LINE_SECONDS = 5.0
"""How often progress is said on a pipe."""
GAP = 2
LAST_MIN = 30
"""What must be left for the last column if it is wrapped."""

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


def say(what: str) -> None:
    """A line of progress, to standard error."""
    typer.echo(f"subledger: {what}", err=True)


def error_console() -> Console:
    """Standard error, for progress and errors."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False)


@contextmanager
def progress(first: str) -> Iterator[Callable[[str], None]]:
    """What a command is doing, on standard error: on a terminal one line that changes, elsewhere one now and then."""
    console = error_console()
    if not console.is_terminal:
        yield now_and_then()
        return
    with console.status(Text(first)) as status:
        yield lambda news: status.update(Text(shown(news)))


def now_and_then() -> Callable[[str], None]:
    """Says how far a command is where no bar can be shown: when it is news, and every LINE_SECONDS at most. On a
    terminal it says nothing.
    """
    is_terminal = error_console().is_terminal
    said, said_at = "", time.monotonic()

    def tell(news: str) -> None:
        nonlocal said, said_at
        if is_terminal or news == said or time.monotonic() - said_at < LINE_SECONDS:
            return
        said, said_at = news, time.monotonic()
        say(shown(news))

    return tell


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


def table(
    title: str, columns: Iterable[str], rows: Iterable[Iterable[object]], *, width: int | None = None
) -> Group:
    """A table with safe cells; numbers are aligned right, and columns of times have (UTC) in their name.

    No word is broken, and so no id, which can be copied whole. If the terminal (`width`, by default its own) is too
    narrow, the last column is wrapped between words; if too little is left for that, the last columns stand below the
    row, each after its name.
    """
    names, body = list(columns), [list(row) for row in rows]
    by_column = list(zip(*body, strict=True)) or [()] * len(names)
    cells = [[_table_cell(each) for each in column] for column in by_column]
    for position, column in enumerate(by_column):
        if any(isinstance(each, datetime) for each in column):
            names[position] += " (UTC)"
    numeric = [
        any(column) and all(isinstance(each, int) and not isinstance(each, bool) for each in column)
        for column in by_column
    ]
    whole = [
        max([len(name), *(each.cell_len for each in column)])
        for name, column in zip(names, cells, strict=True)
    ]
    width = width or _console().width
    left = width - sum(whole[:-1]) - GAP * (len(names) - 1)
    longest_word = max(map(_longest_word, cells[-1]), default=0)
    if left < min(whole[-1], max(LAST_MIN, longest_word)):
        return Group(heading(title), *_in_lines(names, cells, numeric, whole, width))
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    for position, name in enumerate(names):
        justify: JustifyMethod = "right" if numeric[position] else "left"
        made.add_column(name, justify=justify, overflow="fold", no_wrap=position < len(names) - 1)
    for row in zip(*cells, strict=True):
        made.add_row(*row)
    return Group(heading(title), made)


def _longest_word(text: Text) -> int:
    return max((cell_len(word) for word in text.plain.split()), default=0)


def _in_lines(
    names: Sequence[str],
    cells: Sequence[Sequence[Text]],
    numeric: Sequence[bool],
    widths: Sequence[int],
    width: int,
) -> Iterator[RenderableType]:
    """The first columns as a table, as many as fit whole; the others of each row below it."""
    count = 1
    while sum(widths[: count + 1]) + GAP * count <= width:
        count += 1

    def line(row: Sequence[Text]) -> Text:
        line = Text(overflow="fold")
        for position, each in enumerate(row):
            padded = each.copy()
            if numeric[position]:
                padded.pad_left(widths[position] - each.cell_len)
            elif position < count - 1:
                padded.pad_right(widths[position] - each.cell_len)
            line.append_text(padded).append(" " * (GAP if position < count - 1 else 0))
        return line

    yield line([Text(name, style="dim") for name in names[:count]])
    for row in zip(*cells, strict=True):
        yield line(row[:count])
        below = Text(overflow="fold")
        for name, each in zip(names[count:], row[count:], strict=True):
            if each.plain:
                below.append(f"{name} ", style="dim").append_text(each).append("  ")
        below.rstrip()
        yield Padding(below, (0, 0, 0, GAP))


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
