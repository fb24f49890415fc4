"""The dashboard of `subledger up`: customers, revenue and lag, as a table or as one line."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from billing.currencies import format_amount
from db.sync.status import Overview

# From the best to none; statuses that are added later come last.
STATUSES = ("active", "trialing", "canceled", "past_due", "ended", None)
CURRENCIES_SHOWN_MAX = 6
TRY_NEXT = (
    ("subledger status", "the backlog, the lag and the workers"),
    ("subledger customer cus_...", "one record, and why it is what it is"),
    ("subledger psql", "the records in SQL (README)"),
)
TRY_NEXT_IN_DEMO = (
    ("subledger customer acme", "two workspaces, each with its products"),
    ("subledger usage acme", "what its meter has counted"),
    ("subledger customer late_lantern", "past due and back again, with each event"),
    ("subledger customer second_thoughts", "disputes, lost and won"),
    ("subledger psql --reader", "the records in SQL (README)"),
    ("subledger doctor", "what is odd about this setup"),
)
"""The customers are those of sandbox/demo.py."""


def table(overview: Overview, *, url: str, stripe: str, console: str, demo: bool = False) -> RenderableType:
    """The dashboard for a terminal. `console`: where it is, and how to log in; `demo`: it names customers that are
    always there.
    """
    board = Table(title=f"Subledger  {url}", title_justify="left", min_width=48)
    board.add_column("status")
    board.add_column("customers", justify="right")
    for status, count in _by_status(overview):
        board.add_row(status, f"{count:,}")
    board.add_section()
    board.add_row("all", f"{_total(overview):,}", style="bold")
    board.add_row("exact", _exact(overview))
    board.add_section()
    for currency, net in list(overview.net_minor.items())[:CURRENCIES_SHOWN_MAX]:
        board.add_row(f"net revenue {currency.upper()}", format_amount(net, currency))
    board.add_row("events received", f"{overview.events:,}")
    board.add_row("events waiting", f"{overview.pending:,}")
    board.add_row("lag", f"{overview.oldest_pending_seconds:.1f} s")
    alarms = [Text(f"ALARM {_printable(alarm)}", style="bold red") for alarm in overview.alarms]
    ending = Text(
        f"{console}\n{stripe}  Ctrl-C stops everything.\nTry next, in a second terminal:", style="dim"
    )
    hints = [
        Text.assemble(f"  {command:<36}", (what, "dim"))
        for command, what in (TRY_NEXT_IN_DEMO if demo else TRY_NEXT)
    ]
    return Group(board, *alarms, ending, *hints)


def line(overview: Overview) -> str:
    """The dashboard for a log or a pipe."""
    statuses = ", ".join(f"{status} {count}" for status, count in _by_status(overview))
    revenue = ", ".join(
        f"{currency.upper()} {format_amount(net, currency)}"
        for currency, net in list(overview.net_minor.items())[:CURRENCIES_SHOWN_MAX]
    )
    return (
        f"customers {_total(overview)} ({statuses or 'none yet'}), exact {_exact(overview)}, net {revenue or '-'}, "
        f"events {overview.events} received, {overview.pending} waiting, lag {overview.oldest_pending_seconds:.1f} s"
        + "".join(f", ALARM {_printable(alarm)}" for alarm in overview.alarms)
    )


def _printable(text: str) -> str:
    """On one line, without characters that would control a terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _by_status(overview: Overview) -> list[tuple[str, int]]:
    known = [status for status in STATUSES if status in overview.customers]
    unknown = sorted(status for status in overview.customers if status and status not in STATUSES)
    return [(status or "none", overview.customers[status]) for status in (*known, *unknown)]


def _total(overview: Overview) -> int:
    return sum(overview.customers.values())


def _exact(overview: Overview) -> str:
    total = _total(overview)
    # Rounded down, so that 100 % means all.
    return f"{100 * overview.exact // total} %" if total else "-"
