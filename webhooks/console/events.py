"""Events: what came, what became of it, and trying it again."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlencode

from starlette.responses import Response

from billing.kinds.found import is_shown_id_of
from db.connection import Connection
from db.sync.inbox_admin import (
    EventState,
    InboxEntry,
    TypeCount,
    count_types,
    select_events,
    select_last_looked_at,
    select_parked_customers,
    select_parked_objects,
    standing,
)
from runtime.event_views import EventView, json_of, view_event
from runtime.printable import pretty_json, shown
from runtime.replays import Replayed, replay_all, replay_ids
from webhooks.answers import Refusal
from webhooks.console.pages import Page, Visit
from webhooks.ids import id_in_path

ROWS_MAX = 50
LOOKED_AT_MAX = 20_000
"""Of the events without an index: a page looks at so many, and the next one goes on behind them. And so many of those
that wait for a replay are counted."""
PARSED_BYTES_MAX = 256 * 1024
"""A larger payload is shown as it came: laying it out would take the process's time from webhooks."""
SHOWN_CHARACTERS_MAX = 64 * 1024
REPLAY_SECONDS_MAX = 5.0
"""So long may one request replay: the rest is left for the next."""
INBOX_NUMBER_DIGITS_MAX = 18
TEXT_MAX = 200

WAITING = (EventState.PARKED, EventState.QUARANTINED)
"""The states whose events the console replays all together: there are indexes of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events a page shows."""

    state: EventState | None
    event_type: str
    account: str
    text: str
    before: int | None

    @property
    def narrowed(self) -> bool:
        """Whether by more than the state."""
        return bool(self.event_type or self.account or self.text)

    def address(self, *, before: int | None = None) -> str:
        """Where the page of these events is; `before`: with those of smaller inbox numbers."""
        fields = {
            "state": self.state or "",
            "type": self.event_type,
            "account": self.account,
            "text": self.text,
            "before": "" if before is None else str(before),
        }
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"/console/events?{query}" if query else "/console/events"


def _wanted(visit: Visit) -> Wanted:
    state, before, account = visit.asked("state"), visit.asked("before"), visit.asked("account")
    if before and not (before.isascii() and before.isdigit() and len(before) <= INBOX_NUMBER_DIGITS_MAX):
        raise Refusal(422, "before must be an inbox number")
    if account and not is_shown_id_of(account, "account"):
        raise Refusal(422, "account must be an id of Stripe: acct_...")
    return Wanted(
        state=_state(state) if state else None,
        event_type=_text(visit, "type"),
        account=account,
        text=_text(visit, "text"),
        before=int(before) if before else None,
    )


def _state(named: str) -> EventState:
    try:
        return EventState(named)
    except ValueError:
        raise Refusal(422, f"state must be one of {', '.join(EventState)}") from None


def _text(visit: Visit, name: str) -> str:
    text = visit.asked(name)
    if len(text) > TEXT_MAX:
        raise Refusal(422, f"{name} has more than {TEXT_MAX} characters")
    return text


async def show_events(visit: Visit) -> Response:
    """The newest events, by state, type, account and text; with the parked ones all else that is parked."""
    wanted = _wanted(visit)
    async with visit.desk.context.readers.connection() as connection:
        events, before = await _page_of(connection, wanted)
        counts = [await _count(connection, state) for state in WAITING]
        parked = wanted.state is EventState.PARKED and not wanted.narrowed and wanted.before is None
        objects = await select_parked_objects(connection, limit=ROWS_MAX + 1) if parked else []
        customers = await select_parked_customers(connection, limit=ROWS_MAX + 1) if parked else []
    return visit.page(
        "events.html",
        title="Events",
        wanted=wanted,
        states=tuple(EventState),
        events=events,
        older=None if before is None else wanted.address(before=before),
        replays=[count for count in counts if count.events],
        types=[
            each.type
            for count in counts
            if count.state == (wanted.state or EventState.PARKED)
            for each in count.by_type
        ],
        objects=objects[:ROWS_MAX],
        customers=customers[:ROWS_MAX],
        more_parked=max(len(objects), len(customers)) > ROWS_MAX,
    )


async def _page_of(connection: Connection, wanted: Wanted) -> tuple[list[InboxEntry], int | None]:
    """The events of one page, and the inbox number before which the next one goes on; None if none follows."""
    events = await select_events(
        connection,
        state=wanted.state,
        event_type=wanted.event_type or None,
        account_id=wanted.account or None,
        text=wanted.text or None,
        before_seq=wanted.before,
        looked_at_max=LOOKED_AT_MAX,
        limit=ROWS_MAX + 1,
    )
    if len(events) > ROWS_MAX:
        return events[:ROWS_MAX], events[ROWS_MAX - 1].seq
    before = await select_last_looked_at(
        connection, state=wanted.state, before_seq=wanted.before, looked_at_max=LOOKED_AT_MAX
    )
    return events, before


@dataclass(frozen=True, slots=True, kw_only=True)
class AllOf:
    """Events that may be replayed all together."""

    state: EventState
    by_type: tuple[TypeCount, ...]
    """The types with most events first."""

    @property
    def events(self) -> int:
        return sum(count.events for count in self.by_type)

    @property
    def more(self) -> bool:
        """Whether there may be more than were counted."""
        return self.events >= LOOKED_AT_MAX

    def of_type(self, event_type: str) -> int:
        """How many of those that were counted are of this type, or of those that it stands for."""
        return sum(count.events for count in self.by_type if _is_of(count.type, event_type))


async def _count(connection: Connection, state: EventState) -> AllOf:
    types = await count_types(connection, state, counted_max=LOOKED_AT_MAX)
    return AllOf(state=state, by_type=tuple(sorted(types, key=lambda count: (-count.events, count.type))))


# One event


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """A payload as text that is safe to show."""

    text: str
    is_json: bool
    cut: bool


def _payload(view: EventView) -> Payload:
    text, is_json = None, True
    if len(view.payload) <= PARSED_BYTES_MAX:
        try:
            text = pretty_json(json_of(view.payload))
        except ValueError:
            is_json = False
    if text is None:
        lines = view.payload[:SHOWN_CHARACTERS_MAX].decode("utf-8", "backslashreplace").splitlines()
        text = "\n".join(map(shown, lines))
    whole = len(text) <= SHOWN_CHARACTERS_MAX and len(view.payload) <= PARSED_BYTES_MAX
    return Payload(text=text[:SHOWN_CHARACTERS_MAX], is_json=is_json, cut=not whole)


async def show_event(visit: Visit) -> Response:
    """One event: its state, what it marks, its payload."""
    event_id = id_in_path(visit.request, "event_id")
    async with visit.desk.context.readers.connection() as connection:
        views = await view_event(connection, event_id)
    if not views:
        raise Refusal(404, f"no event {event_id} is in the inbox")
    return visit.page(
        "event.html",
        title=f"Event {event_id}",
        event_id=event_id,
        views=[
            (view, _payload(view), [(key, fence, standing(fence)) for key, fence in view.concerns])
            for view in views
        ],
    )


# Replays


async def replay_one(visit: Visit) -> Response:
    """Try again one event, object or customer."""
    name = visit.form.get("id")
    async with visit.desk.admin.connection() as connection:
        done = await replay_ids(connection, [name])
    if done:
        return visit.redirect(_back(visit), notice=f"{shown(name)}: {await _told(visit, done)}")
    why = done.refused.get(name, "was not replayed")
    return visit.redirect(_back(visit), notice=f"{shown(name[:TEXT_MAX])} {why}.", tone="bad")


async def _told(visit: Visit, done: Replayed) -> str:
    """What was replayed, in words, once the workers have been told of it."""
    heard = not done or await visit.desk.admin.bell.ring()
    return done.sentence() + ("" if heard else " Redis was not reached: the workers find it by their sweep.")


def _back(visit: Visit) -> str:
    """Where the form was: the list that it names, or the event's own page."""
    if (query := visit.form.get("list")) or not visit.form.get("event"):
        kept = urlencode(parse_qsl(query))
        return f"/console/events?{kept}" if kept else "/console/events"
    return f"/console/events/{quote(visit.form.get('event'), safe='')}"


async def ask_to_replay_all(visit: Visit) -> Response:
    """How many events would be replayed: they are, if the form is sent."""
    state, event_type = _replayable(visit.asked("state")), _text(visit, "type")
    async with visit.desk.context.readers.connection() as connection:
        counted = await _count(connection, state)
    return visit.page(
        "replay.html",
        title="Replay events",
        state=state,
        event_type=event_type,
        count=counted.of_type(event_type),
        more=counted.more,
    )


async def replay_by_filter(visit: Visit) -> Response:
    """Try again every parked, or every quarantined event, of one type if it is named."""
    state, event_type = _replayable(visit.form.get("state")), visit.form.get("type")
    ends = time.monotonic() + REPLAY_SECONDS_MAX
    async with visit.desk.admin.connection() as connection:
        done = await replay_all(
            connection, state, event_type or None, enough=lambda _: time.monotonic() > ends
        )
    said = await _told(visit, done) + ("" if done.whole else " More are left: replay again.")
    fields: Mapping[str, str] = {"state": state, **({"type": event_type} if event_type else {})}
    return visit.redirect(f"/console/events?{urlencode(fields)}", notice=said)


def _replayable(named: str) -> EventState:
    state = _state(named)
    if state not in WAITING:
        raise Refusal(422, f"all events of a state are replayed here only if it is {' or '.join(WAITING)}")
    return state


def _is_of(event_type: str, wanted: str) -> bool:
    if wanted.endswith("*"):
        return event_type.startswith(wanted[:-1])
    return not wanted or event_type == wanted


PAGES = (
    Page(path="/console/events", get=show_events),
    Page(path="/console/events/{event_id:id}", get=show_event),
    Page(path="/console/replay", post=replay_one),
    Page(path="/console/replays", get=ask_to_replay_all, post=replay_by_filter),
)
