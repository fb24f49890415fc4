"""Thin events among others: a thin event and its snapshot twin are one change, and one read.

A twin that has not come is asked for if nothing else says whether a read has seen its change.

Whichever of the two comes later marks with the tick at which the first was applied: a read that has begun since then
has seen the change, and is not made again. A twin whose payload contradicts that read is a change of its own
(ARCHITECTURE.md, two witnesses).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote

import msgspec
import structlog

from billing.kinds.registry import concerned
from billing.kinds.thin import snapshot_type
from db.connection import Connection, Pool
from db.keys import EventKey, Key, Scope
from db.sync.inbox import SignedEvent, record_events
from db.sync.objects import Confirmed, Mark, Marked, UnreadTwin
from db.sync.twins import claim_wanted, drop_wanted, note_wanted, remember_twins, select_known_since
from runtime.envelope import read_envelope
from runtime.payload import NotJson, read_object
from runtime.stripe_api import StripeApi, StripeError, StripeMissing, StripeRefused
from worker.live.answers import Answered
from worker.live.event import EventReading
from worker.live.marks import bare_mark
from worker.live.witness import select_contradicted

PAGE = 100
LISTED_MIN = 3
"""So many twins of one account are looked for in a page of its list of events first."""
APART_SECONDS = 2
"""How far the times of a thin event and of its twin may lie from each other."""

log = structlog.get_logger()


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]


_decode_page = msgspec.json.Decoder(_Page).decode


async def tell_twins(connection: Connection, readings: Sequence[EventReading]) -> list[EventReading]:
    """The readings that tell something: all but thin events whose twin was applied. Each knows since when another
    event has told its change.
    """
    concerning = [each for each in readings if each.concerns]
    told = await remember_twins(
        connection,
        {
            EventKey(*each.scope, each.event.event_id): each.twin_id
            for each in concerning
            if each.twin_id is not None
        },
    )
    left = [each for each in concerning if EventKey(*each.scope, each.event.event_id) not in told]
    changes = [EventKey(*each.scope, each.twin_id or each.event.event_id) for each in left]
    known = await select_known_since(connection, sorted(set(changes)))
    for each, change in zip(left, changes, strict=True):
        each.known_since = known.get(change)
    return left


async def want_twins(connection: Connection, readings: Sequence[EventReading]) -> None:
    """Note the twins of thin events that name no object: what they tell is in these alone."""
    wanted: defaultdict[Scope, list[UnreadTwin]] = defaultdict(list)
    for each in readings:
        if each.asks_twin and each.twin_id is not None and each.event.created is not None:
            type_ = snapshot_type(each.event.type)
            wanted[each.scope].append(
                UnreadTwin(event_id=each.twin_id, type=type_, created=each.event.created)
            )
    if wanted:
        await note_wanted(connection, wanted)


async def read_wanted_twins(pool: Pool, stripe: StripeApi, *, live_mode: bool) -> int:
    """Ask for the twins that are wanted for themselves, and put them into the inbox; returns how many came."""
    async with pool.acquire() as connection:
        due = await claim_wanted(connection, live_mode=live_mode, limit=PAGE)
    came = 0
    for scope, twins in due.items():
        events, _ = await read_twins(stripe, scope, twins)
        async with pool.acquire() as connection, connection.transaction():
            await record_events(connection, events)
            await drop_wanted(connection, [EventKey(*scope, each.event_id) for each in events])
        came += len(events)
    return came


async def find_contradicted(
    connection: Connection, marks: Mapping[Key, Mark], marked: Mapping[Key, Marked]
) -> set[Key]:
    """The objects that a read had confirmed before these events came, and of which the newest payload differs."""
    late = {
        key: marked[key].shown_created
        for key, mark in marks.items()
        if mark.known_since is not None
        and mark.witness_seq
        and marked[key].confirmed
        and marked[key].payload_seq == mark.witness_seq
    }
    return await select_contradicted(connection, late) if late else set()


def marks_around(
    answers: Mapping[Key, Answered], passed: Mapping[Key, Confirmed], *, source: str
) -> list[Mark]:
    """The marks of what else thin events concern, now that a read of the objects which they name says what that is."""
    marks = {}
    for key, each in passed.items():
        answer = answers[key]
        if each.thin_tick is None or answer.parsed.deleted:
            continue
        for ref in concerned("", read_object(answer.raw.encode())):
            other = Key(*key.scope, *ref)
            if other not in passed:
                marks[other] = bare_mark(
                    other, source=source, customer_id=answer.parsed.customer_id, known_since=each.thin_tick
                )
    return list(marks.values())


async def read_twins(
    stripe: StripeApi, scope: Scope, twins: Iterable[UnreadTwin]
) -> tuple[list[SignedEvent], bool]:
    """Ask for these snapshot events; returns those that came, and whether the key may not read events. What else fails
    is asked for another time.
    """
    wanted = {each.event_id: each for each in twins}
    found: dict[str, SignedEvent] = {}
    answers: Sequence[SignedEvent | BaseException]
    try:
        if len(wanted) >= LISTED_MIN:
            with suppress(StripeMissing, NotJson):  # they are asked for by their ids
                found = await _list_twins(stripe, scope, wanted)
        left = [event_id for event_id in wanted if event_id not in found]
        answers = await asyncio.gather(
            *(_read_twin(stripe, scope, event_id) for event_id in left), return_exceptions=True
        )
    except StripeError as error:
        answers = [error]
    refused = False
    for answer in answers:
        if isinstance(answer, SignedEvent):
            found[answer.event_id] = answer
        elif isinstance(answer, StripeError):
            log.info("the twin of a thin event was not read", account=scope.account_id, error=str(answer))
            refused = refused or (isinstance(answer, StripeRefused) and answer.status == 403)
        else:
            raise answer
    return [found[event_id] for event_id in found if event_id in wanted], refused


async def _list_twins(
    stripe: StripeApi, scope: Scope, wanted: Mapping[str, UnreadTwin]
) -> dict[str, SignedEvent]:
    """Those among one page of events of these types and times; none if Stripe does not take such a time, or a type that
    only thin events have.
    """
    seconds = [int(each.created.timestamp()) for each in wanted.values()]
    path = f"/v1/events?limit={PAGE}&created[gte]={min(seconds) - APART_SECONDS}"
    path += f"&created[lte]={max(seconds) + APART_SECONDS}"
    path += "".join(
        f"&types[]={quote(each)}" for each in sorted({each.type for each in wanted.values()})[:20]
    )
    try:
        answer = await stripe.read(path, account_id=scope.account_id)
    except StripeRefused as refused:
        if refused.status != 400:
            raise
        return {}
    try:
        page = _decode_page(answer.body)
    except msgspec.MsgspecError as error:
        raise NotJson(f"/v1/events answered no list of events: {error}") from None
    events = [_of_scope(bytes(raw), scope) for raw in page.data]
    return {each.event_id: each for each in events if each.event_id in wanted}


async def _read_twin(stripe: StripeApi, scope: Scope, event_id: str) -> SignedEvent:
    answer = await stripe.read(f"/v1/events/{quote(event_id, safe='')}", account_id=scope.account_id)
    return _of_scope(answer.body, scope)


def _of_scope(body: bytes, scope: Scope) -> SignedEvent:
    """The event as a webhook would have brought it. One that is asked for does not name its account."""
    event = read_envelope(body, live_mode_default=scope.live_mode)
    return replace(event, account_id=scope.account_id, live_mode=scope.live_mode)
