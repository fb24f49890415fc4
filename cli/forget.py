"""`subledger forget CUSTOMER`: erase a customer's personal data."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated

import typer

from billing.record import Policy
from cli.connect import database, environment, find_one, settings
from cli.errors import CommandError
from cli.terminal import counted, show_json
from db.connection import Connection
from db.keys import CustomerKey
from db.sync.rebuilds import claim_one
from runtime.logs import configure_logs
from runtime.printable import shown
from worker import forget as work
from worker.live.derive import derive_claimed

REPORTED_EVERY = 100_000
"""Events searched between two lines of progress."""


def forget(
    name: Annotated[
        str, typer.Argument(metavar="CUSTOMER", help="custom_uid, Stripe customer id, uid or email.")
    ],
    account: Annotated[
        str | None, typer.Option(help="Only of this connected account; '' is the endpoint's own.")
    ] = None,
    live: Annotated[bool | None, typer.Option("--live/--test", help="Only of this mode.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Erase a customer's personal data for good; later events do not bring it back.

    Erases the identity, names, emails, descriptions, metadata, and the payloads of its objects and events. Keeps
    amounts, times, statuses and Stripe's ids, so that the books stay right. All customers at Stripe that share the
    record are forgotten with it. Delete them at Stripe first: later changes there are no longer followed.
    """
    key, done = asyncio.run(_forget(environment(), name.strip(), account_id=account, live_mode=live, yes=yes))
    if as_json:
        show_json({"customer_id": key.id, **asdict(done)})
    else:
        typer.echo(
            f"{shown(key.id)} is forgotten: {counted(done.objects, 'object')} and {counted(done.events, 'event')} "
            "erased"
        )


async def _forget(
    environ: Mapping[str, str], name: str, *, account_id: str | None, live_mode: bool | None, yes: bool
) -> tuple[CustomerKey, work.Forgotten]:
    given = settings(environ)
    configure_logs("console", secrets=given.secrets, stream=sys.stderr)
    policy = Policy(past_due_has_access=given.past_due_has_access)
    async with database(environ) as connection:
        key = await _find(connection, name, account_id=account_id, live_mode=live_mode)
        if not yes:
            where = f"{'live' if key.live_mode else 'test'} mode" + (
                f", account {shown(key.account_id)}" if key.account_id else ""
            )
            if not typer.confirm(f"Erase the personal data of {shown(key.id)} ({where}) for good?", err=True):
                raise CommandError("nothing was erased")
        done = await work.forget(connection, key, searched=_say_searched)
        # The record shows it at once; if we died here, a worker would derive it.
        await derive_claimed(connection, await claim_one(connection, key), policy=policy)
    return key, done


async def _find(
    connection: Connection, name: str, *, account_id: str | None, live_mode: bool | None
) -> CustomerKey:
    record = await find_one(connection, name, account_id=account_id, live_mode=live_mode)
    if record.stripe_customer_id is None:
        raise CommandError(
            f"{shown(name)} is no customer at Stripe: the owner of billing.identities has to erase it"
        )
    return CustomerKey(record.account_id, record.live_mode, record.stripe_customer_id)


def _say_searched(events: int) -> None:
    if events % REPORTED_EVERY < work.EVENTS_BATCH and events >= REPORTED_EVERY:
        typer.echo(f"{counted(events, 'event')} searched", err=True)
