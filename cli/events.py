"""`subledger events`: list and show the events of the inbox, and try them again."""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.connect import database, environment
from cli.errors import CommandError
from cli.event_types import EVENT_TYPES, is_mirrored_only, is_needed, marked_by
from cli.terminal import cell, heading, pairs, show, show_json, table
from db.sync.inbox_admin import (
    CustomerMark,
    EventState,
    FenceEntry,
    InboxEntry,
    TypeCount,
    count_types,
    select_events,
    select_parked_customers,
    select_parked_objects,
    standing,
)
from runtime.event_views import EventView, json_of, view_event
from runtime.printable import pretty_json, shown
from runtime.replays import REPLAYED_BY_STATE, Replayed, replay_all, replay_ids
from runtime.settings import redis_url_from_env

RING_TIMEOUT_SECONDS = 1.0

app = typer.Typer(
    help="List and show received events, and try them again.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

STATE_STYLES = {
    EventState.PENDING: "yellow",
    EventState.APPLIED: "green",
    EventState.IGNORED: "dim",
    EventState.PARKED: "red",
    EventState.QUARANTINED: "magenta",
}

TypeOption = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Only this type; `invoice.*` matches a prefix.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


# list


@app.command("list", short_help="List the newest events.")
def list_events(
    state: Annotated[EventState | None, typer.Option(help="Only events in this state.")] = None,
    event_type: TypeOption = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Maximum number to list.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """The last events, newest first; with --state parked, everything that is parked."""
    listing = asyncio.run(_list(environment(), state=state, event_type=event_type, limit=limit))
    if as_json:
        show_json(listing)
    else:
        show(*_list_page(listing))


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What `events list` shows; objects and customers only when parked ones are requested."""

    events: list[InboxEntry]
    objects: list[FenceEntry] = field(default_factory=list)
    customers: list[CustomerMark] = field(default_factory=list)


async def _list(
    environ: Mapping[str, str], *, state: EventState | None, event_type: str | None, limit: int
) -> Listing:
    async with database(environ) as connection:
        events = await select_events(connection, state=state, event_type=event_type, limit=limit)
        if state is not EventState.PARKED or event_type is not None:
            return Listing(events=events)
        return Listing(
            events=events,
            objects=await select_parked_objects(connection, limit=limit),
            customers=await select_parked_customers(connection, limit=limit),
        )


def _list_page(listing: Listing) -> Iterator[RenderableType]:
    if not (listing.events or listing.objects or listing.customers):
        yield Text("None.")
        return
    if listing.events:
        rows = [
            (
                each.event_id,
                each.received_at,
                each.type,
                _state(each.state),
                _scope(each.account_id, each.live_mode),
                # The reason why an event is ignored adds nothing to its type.
                "" if each.state == EventState.IGNORED else each.error or "",
            )
            for each in listing.events
        ]
        yield table("Events", ["event", "received", "type", "state", "mode", "error"], rows)
    if listing.objects:
        yield Text()
        parked = [
            (
                each.id,
                each.parked_at,
                each.kind,
                each.customer_id,
                _scope(each.account_id, each.live_mode),
                each.error,
            )
            for each in listing.objects
        ]
        yield table("Parked objects", ["object", "parked", "kind", "customer", "mode", "error"], parked)
    if listing.customers:
        yield Text()
        given_up = [
            (each.customer_id, each.parked_at, _scope(each.account_id, each.live_mode), each.error)
            for each in listing.customers
        ]
        yield table("Parked customers", ["customer", "parked", "mode", "error"], given_up)
    if (
        listing.objects
        or listing.customers
        or any(each.state == EventState.PARKED for each in listing.events)
    ):
        yield Text()
        yield Text("Try again: subledger events replay ID ..., or --state parked for all.", style="dim")


def _state(state: str) -> Text:
    return cell(state, STATE_STYLES[EventState(state)])


def _scope(account_id: str, live_mode: bool) -> str:
    return " ".join(part for part in ("live" if live_mode else "test", account_id) if part)


# show


@app.command("show")
def show_event(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID")], as_json: JsonOption = False
) -> None:
    """One event: its state, the objects that it marks, its payload."""
    views = asyncio.run(_read_event(environment(), event_id))
    if not views:
        raise CommandError(
            f"no event {shown(event_id)} was received: `subledger events list` shows the last ones"
        )
    if as_json:
        documents = [view.document() for view in views]
        show_json(documents[0] if len(documents) == 1 else documents)
        return
    for view in views:
        show(*_event_page(view))


async def _read_event(environ: Mapping[str, str], event_id: str) -> Sequence[EventView]:
    async with database(environ) as connection:
        return await view_event(connection, event_id)


def _event_page(view: EventView) -> Iterator[RenderableType]:
    entry = view.entry
    yield pairs(
        f"Event {entry.event_id}",
        [
            ("type", entry.type),
            ("state", _state(entry.state)),
            ("error", cell(entry.error, "red" if entry.error else "")),
            ("mode", _scope(entry.account_id, entry.live_mode)),
            ("created", entry.created),
            ("received", entry.received_at),
            ("applied", entry.applied_at),
            ("attempts", entry.attempts),
            ("leased until", entry.leased_until),
            ("API version", entry.api_version),
            ("inbox number", entry.seq),
            ("payload", f"{len(view.payload):,} bytes"),
        ],
    )
    if view.concerns:
        yield Text()
        rows = [(key.kind, key.id, standing(fence), fence and fence.error) for key, fence in view.concerns]
        yield table("Marks", ["kind", "id", "now", "error"], rows)
    yield Text()
    yield heading("Payload")
    try:
        yield Text(pretty_json(json_of(view.payload)), overflow="fold")
    except ValueError:
        yield Text("not JSON; these are the bytes that came, escaped where they are no text:", style="yellow")
        lines = view.payload.decode("utf-8", "backslashreplace").splitlines()
        yield Text("\n".join(map(shown, lines)), overflow="fold")


# replay


@app.command("replay")
def replay(
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="ID", help="Of an event, an object or a customer.")
    ] = None,
    state: Annotated[
        EventState | None, typer.Option(help="All events in this state: parked, ignored or quarantined.")
    ] = None,
    event_type: TypeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try again: events, objects and customers by id, or all by state.

    An event is applied again as if it had just come; no effect happens twice. A parked, missing or waiting object is
    read from Stripe at once; a parked customer's record is derived again.
    """
    if bool(ids) == (state is not None):
        raise typer.BadParameter("give either ids, or --state")
    if ids and event_type is not None:
        raise typer.BadParameter("--type goes with --state")
    if state is not None and state not in REPLAYED_BY_STATE:
        raise typer.BadParameter(f"events that are {state} are replayed by id only", param_hint="--state")
    done, rung = asyncio.run(_replay(environment(), list(dict.fromkeys(ids or ())), state, event_type))
    unheard = "" if rung is not False else " Redis was not reached: the workers find it by their sweep."
    if as_json:
        show_json(done.document())
    else:
        typer.echo(f"{done.sentence()}{unheard}")
    for name, why in done.refused.items():
        typer.echo(f"subledger: {shown(name)} {why}", err=True)
    if done.refused:
        raise typer.Exit(1)


async def _replay(
    environ: Mapping[str, str], ids: Sequence[str], state: EventState | None, event_type: str | None
) -> tuple[Replayed, bool | None]:
    """What was replayed, and whether the workers have heard of it; None: there was nothing to hear."""
    redis_url = redis_url_from_env(environ)
    async with database(environ) as connection:
        if state is None:
            done = await replay_ids(connection, ids)
        else:
            done = await replay_all(connection, state, event_type)
    return done, await _ring(redis_url) if done else None


async def _ring(redis_url: str | None) -> bool:
    """Wake the workers if Redis is there; without it they find the work by their sweep."""
    if not redis_url:
        return False
    # Loading the client of Redis takes longer than any other command does.
    from runtime.bell import Bell, connect_redis
    from runtime.logs import configure_logs

    configure_logs("console", stream=sys.stderr)
    bell = Bell(connect_redis(redis_url), timeout_seconds=RING_TIMEOUT_SECONDS)
    try:
        return await bell.reachable() and await bell.ring()
    finally:
        await bell.close()


# types


@app.command("types", short_help="List the event types to subscribe to.")
def types(as_json: JsonOption = False) -> None:
    """The event types to choose at the endpoint, and how many of each were received."""
    counts = asyncio.run(_count_types(environment()))
    received: dict[str, dict[str, int]] = defaultdict(dict)
    for count in counts:
        received[count.type][count.state] = count.events
    others = [name for name in received if name not in EVENT_TYPES]
    if as_json:
        show_json(
            {
                "types": [
                    {
                        "type": name,
                        "marks": marked_by(name),
                        "needed": is_needed(name),
                        "received": received.get(name, {}),
                    }
                    for name in EVENT_TYPES
                ],
                "others": [
                    {"type": name, "marks": marked_by(name), "received": received[name]} for name in others
                ],
            }
        )
    else:
        show(*_types_page(received, others))


async def _count_types(environ: Mapping[str, str]) -> list[TypeCount]:
    async with database(environ) as connection:
        return await count_types(connection)


def _types_page(received: Mapping[str, Mapping[str, int]], others: Sequence[str]) -> Iterator[RenderableType]:
    def row(name: str) -> tuple[object, ...]:
        counts = received.get(name, {})
        return name, ", ".join(marked_by(name)) or None, _counts(counts)

    columns = ["type", "marks", "received"]
    needed = [name for name in EVENT_TYPES if is_needed(name)]
    mirrored = [name for name in EVENT_TYPES if is_mirrored_only(name)]
    hints = [name for name in EVENT_TYPES if name not in (*needed, *mirrored)]
    yield table("Needed: choose these at the endpoint", columns, map(row, needed))
    yield Text()
    yield table("Mirrored: optional, no record depends on these", columns, map(row, mirrored))
    yield Text()
    yield table("Useful: they only point at objects that have events of their own", columns, map(row, hints))
    if others:
        yield Text()
        yield table("Also received", columns, map(row, others))
        yield Text(
            "Those that mark nothing are stored and ignored: the endpoint does not need them.", style="dim"
        )


def _counts(counts: Mapping[str, int]) -> Text:
    text = Text()
    for position, state in enumerate(state for state in EventState if counts.get(state)):
        text.append(", " if position else "")
        text.append(f"{counts[state]:,} {state}", STATE_STYLES[state])
    return text
