"""What commands print fits on a terminal of 80 columns, and breaks no word."""

import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group

from cli import terminal
from cli.terminal import progress, table

WIDTH = 80
IDS = ("evt_1SandboxWithALongId0000001", "cus_QuietLakeWithALongId01", "sub_1SandboxWithALongId0000001")
AT = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)


def printed(made: Group) -> list[str]:
    """The lines on a terminal that is so wide."""
    console = Console(file=io.StringIO(), width=WIDTH, color_system=None)
    console.print(made)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_no_rows() -> None:
    """A query that finds nothing is shown with its columns: it was a TypeError."""
    assert ["0 rows", "a  b"] == [line.rstrip() for line in printed(table("0 rows", ["a", "b"], []))]


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        (["event", "received", "type"], [IDS[0], AT, "customer.updated"]),
        (
            ["event", "received", "type", "state", "mode", "error"],
            [
                IDS[0],
                AT,
                "customer.subscription.pending_update_applied",
                "parked",
                "test",
                "KeyError: 'items'",
            ],
        ),
        (
            ["alarm", "since", "account", "worker", "what is wrong, and what to do"],
            [
                f"read of subscription {IDS[2]} refused acct_1SandboxNorth",
                *(AT, "acct_1SandboxNorth", "billing-worker-7f6d:1:1790000000:0123abcd"),
                "Stripe refuses the key: allow it to read subscriptions in Stripe's dashboard under API keys",
            ],
        ),
        (["product", "subscription", "customer", "rows"], ["prod_1", IDS[2], IDS[1], 1_234_567]),
        (["one"], ["x" * 70]),
    ],
    ids=lambda value: "" if isinstance(value, list) and len(value) < 2 else None,
)
def test_no_word_is_broken_at_80_columns(columns: list[str], row: list[object]) -> None:
    """Each word stands whole on one line, in the order of the columns, however long the ids are."""
    lines = printed(table("Rows", columns, [row, row], width=WIDTH))
    assert all(len(line.rstrip()) <= WIDTH for line in lines)
    words = {word for line in lines for word in line.split()}
    shown = [f"{each:%Y-%m-%d %H:%M:%S}" if isinstance(each, datetime) else str(each) for each in row]
    assert {word for each in [*columns, *shown] for word in each.split()} <= words


def test_what_fits_is_a_plain_table() -> None:
    """One line for each row, columns below one another."""
    made = table("Rows", ["id", "rows"], [["a", 5], ["bcd", 1000]], width=WIDTH)
    assert ["Rows", "id   rows", "a       5", "bcd  1000"] == [line.rstrip() for line in printed(made)]


words = st.text("abc_1", min_size=1, max_size=40)


@given(st.lists(st.lists(words, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=7))
def test_any_row_of_words_that_fit(row: list[str]) -> None:
    """Whatever the cells are, if each of their words fits on a line."""
    lines = printed(table("Rows", [f"c{place}" for place in range(len(row))], [row], width=WIDTH))
    assert all(len(line.rstrip()) <= WIDTH for line in lines)
    assert {word for each in row for word in each.split()} <= {
        word for line in lines for word in line.split()
    }


def test_progress_on_a_pipe_is_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only news, and no more often than every few seconds: a short command says nothing."""
    with progress("Looking") as tell:
        tell("1 of 2")
    assert "" == capsys.readouterr().err
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0.0)
    with progress("Looking") as tell:
        for news in ("1 of 2", "1 of 2", "2 of 2\x1b[2J"):
            tell(news)
    assert "subledger: 1 of 2\nsubledger: 2 of 2\\x1b[2J\n" == capsys.readouterr().err
