"""The board: counts, money and lag as people read them."""

import io
import re
from dataclasses import replace

import pytest
import typer.main
from rich.console import Console, RenderableType

from billing.currencies import format_amount
from cli.app import app
from db.connection import Pool
from db.sync.status import Overview, read_overview
from local import dashboard
from tests.places import ROOT

OVERVIEW = Overview(
    customers={"ended": 30, "active": 1200, None: 4, "past_due": 3},
    exact=1236,
    net_minor={"usd": 123456, "jpy": 5000},
    events=9876,
    pending=12,
    oldest_pending_seconds=0.26,
)


@pytest.mark.parametrize(
    ("minor", "currency", "expected"),
    [
        (123456, "usd", "1,234.56"),
        (5, "eur", "0.05"),
        (-1999, "usd", "-19.99"),
        (5000, "jpy", "5,000"),
        (-5000, "JPY", "-5,000"),
        (1234, "kwd", "1.234"),
        (0, "usd", "0.00"),
    ],
)
def test_amount_has_the_decimals_of_its_currency(minor: int, currency: str, expected: str) -> None:
    """Yen have no cents, dinars have a thousand."""
    assert expected == format_amount(minor, currency)


def test_line_says_all_in_one() -> None:
    """Best status first; 1,236 of 1,237 is not 100 %."""
    assert (
        "customers 1237 (active 1200, past_due 3, ended 30, none 4), exact 99 %, net USD 1,234.56, JPY 5,000, "
        "events 9876 received, 12 waiting, lag 0.3 s"
    ) == dashboard.line(OVERVIEW)


def board(overview: Overview, *, demo: bool = False) -> RenderableType:
    """The dashboard as `up` shows it."""
    return dashboard.table(
        overview,
        url="http://127.0.0.1:8000",
        stripe="Events come from a sandbox account.",
        console="The console is at http://127.0.0.1:8000/: log in with the token in .subledger/admin.token.",
        demo=demo,
    )


def test_table_shows_address_customers_revenue_and_lag() -> None:
    """What the line says, for a terminal, with the address."""
    console = Console(file=io.StringIO(), width=80)
    console.print(board(OVERVIEW))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for part in (
        "http://127.0.0.1:8000",
        "subledger psql",
        "The console is at",
        ".subledger/admin.token",
        "past_due",
        "1,237",
        "99 %",
        "net revenue JPY",
        "9,876",
        "0.3 s",
        "Ctrl-C",
    ):
        assert part in shown


def test_alarms_are_on_the_board() -> None:
    """What an operator must see is on the table and in the line, and controls no terminal."""
    alarmed = replace(OVERVIEW, alarms=("api key: Stripe does not know it\x1b[2J",))
    console = Console(file=io.StringIO(), width=80)
    console.print(board(alarmed))
    assert isinstance(console.file, io.StringIO)
    for said in (console.file.getvalue(), dashboard.line(alarmed)):
        assert "ALARM api key: Stripe does not know it?[2J" in said


async def test_overview_of_an_empty_database(pool: Pool) -> None:
    """Nothing is zero, not an error."""
    async with pool.acquire() as connection:
        overview = await read_overview(connection)
    expected = Overview(customers={}, exact=0, net_minor={}, events=0, pending=0, oldest_pending_seconds=0)
    assert expected == overview
    assert dashboard.line(overview).startswith("customers 0 (none yet), exact -, net -")


async def test_overview_counts_what_is_there(pool: Pool) -> None:
    """By status without the deleted, by currency with the largest first, and the wait of the oldest event."""
    async with pool.acquire() as connection:
        await connection.execute(
            """
            insert into billing.customers (uid, account_id, live_mode, status, exact, change, deleted_at)
            select gen_random_uuid(), '', false, status, exact, row_number() over (), deleted_at
            from (values ('active', true, null), ('active', false, null), (null, true, null), ('ended', true, now()))
              as new (status, exact, deleted_at);

            insert into billing.customer_revenue
              (customer_uid, account_id, live_mode, stripe_customer_id, currency, gross, refunded, disputed,
               out_of_band, net)
            values (gen_random_uuid(), '', false, 'cus_1', 'eur', 100, 0, 0, 0, 100),
                   (gen_random_uuid(), '', false, 'cus_1', 'usd', 900, 400, 0, 50, 550),
                   (gen_random_uuid(), '', false, 'cus_2', 'usd', 50, 0, 0, 0, 50);

            insert into sync.events (account_id, live_mode, event_id, type, payload, state, received_at)
            values ('', false, 'evt_1', 'a', '', 'applied', now() - interval '1 hour'),
                   ('', false, 'evt_2', 'a', '', 'pending', now() - interval '10 seconds'),
                   ('', false, 'evt_3', 'a', '', 'pending', now());
            """
        )
        overview = await read_overview(connection)
    assert ({"active": 2, None: 1}, 2) == (overview.customers, overview.exact)
    assert [("usd", 600), ("eur", 100)] == list(overview.net_minor.items())
    assert (3, 2) == (overview.events, overview.pending)
    assert 10 <= overview.oldest_pending_seconds < 60


def test_board_says_what_to_try_next() -> None:
    """Commands that exist, about customers who are always there: those of the demo, where it is played."""
    root = typer.main.get_command(app)
    for demo in (False, True):
        console = Console(file=io.StringIO(), width=80)
        console.print(board(OVERVIEW, demo=demo))
        assert isinstance(console.file, io.StringIO)
        said = re.findall(r"^  subledger (\w+)(?: (\w+))?", console.file.getvalue(), re.MULTILINE)
        assert {name for name, _ in said} <= getattr(root, "commands", {}).keys()
        assert 3 <= len(said)
        names = {name for command, name in said if command in ("customer", "usage") and name != "cus_"}
        assert all(f'"{name}"' in (ROOT / "sandbox/demo.py").read_text() for name in names)
        assert bool(names) == demo
