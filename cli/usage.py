"""`subledger usage CUSTOMER`: a customer's metered usage in the current period, read from Stripe now."""

import asyncio
import time
from collections.abc import Mapping
from typing import Annotated

import typer

from billing.currencies import format_amount
from billing.usage import CustomerUsage
from cli.connect import database, environment, find_one, served_mode
from cli.errors import CommandError
from cli.terminal import show, show_json, table
from db.connection import Connection
from db.keys import CustomerKey
from db.records.joins import select_all_of
from db.sync.usage import ask_for_usage, select_usage_rows, select_usage_state
from runtime.printable import shown

POLL_SECONDS = 0.2


def usage(
    name: Annotated[
        str, typer.Argument(metavar="CUSTOMER", help="custom_uid, Stripe customer id, uid or email.")
    ],
    account: Annotated[
        str | None, typer.Option(help="Only of this connected account; '' is the endpoint's own.")
    ] = None,
    live: Annotated[bool | None, typer.Option("--live/--test", help="Only of this mode.")] = None,
    wait: Annotated[
        int, typer.Option(min=0, help="Seconds to wait for Stripe; 0: show the last reading.")
    ] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """A customer's usage in the current period and the expected charge; a worker reads it at Stripe now."""
    rows, note = asyncio.run(
        _usage(environment(), name.strip(), account_id=account, live_mode=live, wait_seconds=wait)
    )
    if as_json:
        show_json({"usage": rows, "note": note})
        return
    if not rows:
        typer.echo(f"{shown(name)} has no metered subscription that is running")
    else:
        show(table("Usage", COLUMNS, [_row(row) for row in rows]))
    if note is not None:
        typer.echo(shown(note), err=True)


COLUMNS = ["meter", "subscription", "used", "of", "since", "until", "expected charge", "read"]


def _row(row: CustomerUsage) -> tuple[object, ...]:
    charge = None
    if row.expected_charge is not None and row.currency is not None:
        charge = f"{format_amount(row.expected_charge, row.currency)} {row.currency.upper()}"
    return (
        row.display_name or row.event_name or row.meter_id,
        row.stripe_subscription_id,
        f"{row.value.normalize():f}",
        row.quota_limit,
        row.period_start,
        row.period_end,
        charge,
        row.read_at,
    )


async def _usage(
    environ: Mapping[str, str],
    name: str,
    *,
    account_id: str | None,
    live_mode: bool | None,
    wait_seconds: int,
) -> tuple[list[CustomerUsage], str | None]:
    async with database(environ) as connection:
        record = await find_one(connection, name, account_id=account_id, live_mode=live_mode)
        if record.stripe_customer_id is None:
            raise CommandError(f"{shown(name)} is no customer at Stripe, where usage is counted")
        key = CustomerKey(record.account_id, record.live_mode, record.stripe_customer_id)
        note = None
        if wait_seconds:
            if served_mode(environ) != key.live_mode:
                raise CommandError(
                    f"STRIPE_API_KEY is not of {'live' if key.live_mode else 'test'} mode: "
                    "--wait 0 shows the last reading"
                )
            for each in await select_all_of(connection, key):
                note = await _ask(connection, each, wait_seconds=wait_seconds) or note
        return await select_usage_rows(connection, key), note


async def _ask(connection: Connection, key: CustomerKey, *, wait_seconds: int) -> str | None:
    """Let a worker read it now; returns what Stripe refused to give. Raises CommandError when that takes too long."""
    asked = await ask_for_usage(connection, key)
    deadline = time.monotonic() + wait_seconds
    while True:
        state = await select_usage_state(connection, key, asked)
        if state.answered:
            return state.error
        if state.error is not None:
            raise CommandError(f"Stripe was not read: {state.error}")
        if time.monotonic() > deadline:
            raise CommandError(
                f"no worker has read it within {wait_seconds} s: see `subledger status`; --wait 0 shows the last "
                "reading"
            )
        await asyncio.sleep(POLL_SECONDS)
