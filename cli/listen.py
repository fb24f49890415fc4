"""`subledger listen`: follows a Stripe account from a machine that Stripe cannot reach, and shows what comes."""

import asyncio
import json
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated

import msgspec
import typer
import uvloop

import worker.process
from cli.connect import database, environment
from cli.errors import CommandError
from cli.terminal import say
from db.connection import Connection, PostgresAway
from db.sync.accounts import hasten_gaps
from db.sync.inbox_admin import ArrivedEvent, select_arrived, select_last_seq
from db.sync.status import require_migrated
from runtime.logs import configure_logs
from runtime.printable import shown
from runtime.settings import Settings

LOOK_SECONDS = 0.25
SHOWN_AT_ONCE = 500
LATE_COMMITS = 1_000
"""Numbers are drawn before transactions commit: an event may come into sight after so many that have a greater one."""
AWAY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What is shown of an event."""

    event_id: str
    type: str
    account_id: str
    live_mode: bool
    created: datetime | None
    object_id: str | None


class _Named(msgspec.Struct):
    id: str | None = None


class _Data(msgspec.Struct):
    object: _Named | None = None


class _Payload(msgspec.Struct):
    data: _Data | None = None
    related_object: _Named | None = None


def listen(
    every: Annotated[
        float,
        typer.Option(min=1, max=300, metavar="SECONDS", help="How often Stripe's list of events is read."),
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per event.")] = False,
) -> None:
    """Follow an account without webhooks, on a machine that Stripe cannot reach, until Ctrl-C.

    Works as `subledger worker` does, reads /v1/events every few seconds, and prints each event that is new. Needs no
    public address, no endpoint and no signing secret.
    """
    environ = environment()
    settings = replace(Settings.from_env(environ), gap_fill_seconds=every)
    if settings.stripe_api_key is None:
        raise CommandError("without STRIPE_API_KEY nothing can be read from Stripe: set it")
    configure_logs("console", level="warning", secrets=settings.secrets, stream=sys.stderr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_listen(environ, settings, as_json=as_json))


async def _listen(environ: Mapping[str, str], settings: Settings, *, as_json: bool) -> None:
    async with database(environ) as connection:
        await require_migrated(connection)
        last = await select_last_seq(connection)
    mode = "live" if settings.live_mode else "test"
    say(f"listening: events of {mode} mode are read every {settings.gap_fill_seconds:g} s, until Ctrl-C")
    showing = asyncio.create_task(_show(environ, settings, last, as_json=as_json), name="show")
    try:
        await worker.process.run(settings)
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def _show(environ: Mapping[str, str], settings: Settings, last: int, *, as_json: bool) -> None:
    """Show what comes, and see that other workers fill gaps as often; through outages of Postgres."""
    shown_before: deque[int] = deque(maxlen=2 * LATE_COMMITS)
    first = last + 1
    every = timedelta(seconds=settings.gap_fill_seconds)
    while True:
        try:
            async with database(environ) as connection:
                while True:
                    await hasten_gaps(connection, live_mode=bool(settings.live_mode), every=every)
                    after = max(last - LATE_COMMITS, first - 1)
                    for each in await _arrived(connection, after, shown_before):
                        _print(arrival_of(each), as_json=as_json)
                        last = max(last, each.seq)
                    await asyncio.sleep(LOOK_SECONDS)
        except PostgresAway:
            await asyncio.sleep(AWAY_SECONDS)  # the worker's log says so


async def _arrived(connection: Connection, after: int, shown_before: deque[int]) -> list[ArrivedEvent]:
    new = await select_arrived(connection, after=after, known=shown_before, limit=SHOWN_AT_ONCE)
    shown_before.extend(each.seq for each in new)
    return new


def arrival_of(event: ArrivedEvent) -> Arrival:
    """The event as it is shown; what cannot be read of its payload is left out."""
    try:
        payload = msgspec.json.decode(event.payload, type=_Payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        payload = _Payload()
    named = payload.data.object if payload.data is not None else payload.related_object
    return Arrival(
        event_id=event.event_id,
        type=event.type,
        account_id=event.account_id,
        live_mode=event.live_mode,
        created=event.created,
        object_id=named.id if named is not None else None,
    )


def _print(event: Arrival, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(event), default=str))
        return
    at = f"{event.created:%H:%M:%S}" if event.created is not None else "--:--:--"
    said = f"{at}  {event.type:<32}  {event.object_id or '-':<30}  {event.event_id}"
    typer.echo(shown(f"{said}  {event.account_id}" if event.account_id else said))
