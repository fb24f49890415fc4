"""Apply: events of the inbox mark the objects that they concern, and show their payloads provisionally.

A batch is one transaction, in the lock order: events, objects, mirror tables, customers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import structlog

from billing.kinds.fields import UnknownShape
from billing.kinds.found import ObjectRef, is_id
from billing.kinds.parse import Parsed, parse_object
from billing.kinds.registry import HINTED, KINDS, concerned, customer_named_by, kind_of
from db.connection import Connection, PostgresAway
from db.keys import CustomerKey, EventKey, Key, Scope
from db.mirror.tables import PARTS, HeldParts, MirrorRow, bury_rows, select_changed, write_parts, write_rows
from db.sync.accounts import see_accounts, select_events_since
from db.sync.customers import mark_stale
from db.sync.inbox import ClaimedEvent, Outcome, claim_events, finish_events, reach_milestone
from db.sync.objects import Mark, mark_objects, raise_reborn, select_unheard, touch_objects
from worker.forget import set_aside_events
from worker.leases import Held
from worker.payload import NotJson, as_text, data_object, read_object
from worker.retry import ATTEMPTS_MAX, retry_conflicts

BATCH = 500
LEASE = timedelta(seconds=60)

# Failures that say nothing against an event: Postgres is away, or the transaction has lost every race.
TryLater = (*PostgresAway, asyncpg.TransactionRollbackError)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A payload that may be shown for an object until a read confirms it."""

    parsed: Parsed
    raw: str


@dataclass(slots=True, kw_only=True)
class EventReading:
    """What one event says, before anything is known of the database."""

    event: ClaimedEvent
    outcome: Outcome
    concerns: tuple[ObjectRef, ...] = ()
    customer_id: str | None = None  # whom the event's object names: what it concerns is of the same customer
    payloads: dict[ObjectRef, Shown] = field(default_factory=dict)  # of objects that it concerns
    beside: dict[ObjectRef, Shown] = field(
        default_factory=dict
    )  # of others: shown only where nothing is known yet
    references: dict[ObjectRef, str | None] = field(
        default_factory=dict
    )  # others, with the customer they belong to
    deleted: ObjectRef | None = None
    first_of_customer: str | None = None  # customer.created: its history is known from the start


def read_event(event: ClaimedEvent, *, served_mode: bool | None, confirms: bool) -> EventReading:
    """Everything that applying the event needs; pure. What cannot be read costs the payload, never the mark."""

    if served_mode is not None and event.live_mode != served_mode:
        served = "live" if served_mode else "test"
        return EventReading(
            event=event, outcome=_outcome(event, "quarantined", f"the API key serves {served} mode only")
        )
    try:
        raw, body = data_object(event.payload)
    except NotJson as not_snapshot:
        related = _related_object(event)
        if related is None:
            return EventReading(event=event, outcome=_outcome(event, "parked", str(not_snapshot)))
        return EventReading(event=event, outcome=_outcome(event, "applied"), concerns=(related,))
    reading = _marks_of(event, body, _outcome(event, "applied"))
    if not reading.concerns:
        reason = f"{event.type or 'an event without a type'} concerns nothing that is mirrored"
        return EventReading(event=event, outcome=_outcome(event, "ignored", reason))
    own = reading.concerns[0]
    if event.type == "customer.created":
        reading.first_of_customer = own.id
    stripe_object = body.get("object")
    if not (isinstance(stripe_object, str) and kind_of(stripe_object)):
        return reading  # an object that is not mirrored, but names some that are
    try:
        _collect(reading, raw, body)
    except UnknownShape as error:
        # With an API key the read decides; without one, or where no read is asked for, this payload was all there was.
        reads = confirms and KINDS[own.kind].confirmed_on_event
        reading.outcome = _outcome(event, "applied" if reads else "parked", str(error))
    return reading


def _marks_of(event: ClaimedEvent, body: Mapping[str, Any], outcome: Outcome) -> EventReading:
    """What an event says of an object whose payload need not make sense: what is to be read, and whose it is."""
    concerns = concerned(event.type, body)
    deleted = concerns[0] if concerns and event.type == KINDS[concerns[0].kind].deleted_event else None
    return EventReading(
        event=event,
        outcome=outcome,
        concerns=concerns,
        customer_id=customer_named_by(body) if concerns else None,
        deleted=deleted,
    )


def _collect(reading: EventReading, raw: str, body: Mapping[str, object]) -> None:
    """Sort the payload, and every whole object inside it, by what may be done with it."""
    todo: list[tuple[str | None, Mapping[str, object]]] = [(raw, body)]
    customer_id: str | None = None
    while todo:
        text, each = todo.pop()
        try:
            parsed = parse_object(each)
        except UnknownShape:
            if each is body:
                raise
            continue  # the object around it was readable: it is fetched by its own name
        customer_id = customer_id or parsed.customer_id
        ref = ObjectRef(parsed.kind, parsed.id)
        if ref.kind in HINTED and ref not in reading.concerns:
            continue  # nothing is fetched because something names it
        if not parsed.deleted:
            shown = Shown(parsed=parsed, raw=text or as_text(each))
            (reading.payloads if ref in reading.concerns else reading.beside)[ref] = shown
        todo.extend((None, inner) for inner in parsed.embedded)
        for named in parsed.references:
            reading.references.setdefault(named, None)
    for named in reading.references:
        if KINDS[named.kind].names_customer:
            reading.references[named] = named.id if named.kind == "customer" else customer_id


def _outcome(event: ClaimedEvent, state: str, error: str | None = None) -> Outcome:
    return Outcome(
        account_id=event.account_id,
        live_mode=event.live_mode,
        event_id=event.event_id,
        state=state,
        error=error,
    )


def _related_object(event: ClaimedEvent) -> ObjectRef | None:
    """The object that a thin event names; it carries no state."""
    try:
        related = read_object(event.payload).get("related_object")
    except NotJson:
        return None
    if not isinstance(related, dict):
        return None
    kind = kind_of(str(related.get("type")))
    object_id = related.get("id")
    return ObjectRef(kind.name, object_id) if kind is not None and is_id(object_id) else None


async def drain_batch(
    connection: Connection,
    *,
    served_mode: bool | None,
    confirms: bool,
    limit: int = BATCH,
    in_hand: Held[ClaimedEvent] | None = None,
) -> int:
    """Claim and apply one batch; returns how many events were claimed. `in_hand` notes them while they are.

    Events that were claimed before, and so may be what killed their worker, come first, each claimed and taken alone.
    """
    taken = 0
    while taken < limit:
        events = await claim_events(connection, limit=limit - taken, lease=LEASE)
        taken += len(events)
        readings = [_read_safely(event, served_mode=served_mode, confirms=confirms) for event in events]
        if not readings or readings[0].event.attempts == 1:
            with (in_hand or Held()).holding(events):
                await _apply_fresh(connection, readings)
            break
        for reading in readings:
            await _apply_alone(connection, reading)
    return taken


async def _apply_fresh(connection: Connection, readings: Sequence[EventReading]) -> None:
    """Apply events that nobody has tried before, together if they let us."""
    if not readings:
        return
    try:
        await retry_conflicts(lambda: _apply(connection, readings))
    except TryLater:
        raise
    except Exception as error:  # noqa: BLE001 - one bad event must never stop another (I7)
        log.warning("batch not applied, taking its events one by one", count=len(readings), error=repr(error))
        for reading in readings:
            await _apply_alone(connection, reading)


def _read_safely(event: ClaimedEvent, *, served_mode: bool | None, confirms: bool) -> EventReading:
    """`read_event`, but an event that we fail at, or that has cost several workers their life, is parked.

    Its marks are kept, since reads tell what it cannot; unless we fail at them too, or they cost one life more.
    """
    if event.attempts > ATTEMPTS_MAX:
        error = f"taken {event.attempts - 1} times, and its worker was lost each time"
    else:
        try:
            return read_event(event, served_mode=served_mode, confirms=confirms)
        except Exception as failure:  # noqa: BLE001 - one bad event must never stop another (I7)
            error = f"an error of ours: {failure!r}"
    log.error("event parked", event_id=event.event_id, type=event.type, error=error)
    parked = _outcome(event, "parked", error)
    served = served_mode is None or event.live_mode == served_mode
    if served and event.attempts <= ATTEMPTS_MAX + 1:
        try:
            return _marks_of(event, data_object(event.payload)[1], parked)
        except Exception as failure:  # noqa: BLE001 - the same
            log.error("event not even marked", event_id=event.event_id, type=event.type, error=repr(failure))
    return EventReading(event=event, outcome=parked)


async def _apply_alone(connection: Connection, reading: EventReading) -> None:
    """Apply one event; where its payload cannot be written, its marks alone; where even they cannot, park it."""
    event = reading.event
    try:
        await retry_conflicts(lambda: _apply(connection, [reading]))
        return
    except TryLater:
        raise
    except Exception as failure:  # noqa: BLE001 - one bad event must never stop another (I7)
        error = f"its payload cannot be written: {failure!r}"
    log.error("event parked", event_id=event.event_id, type=event.type, error=error)
    parked = _outcome(event, "parked", error)
    marks = EventReading(
        event=event,
        outcome=parked,
        concerns=reading.concerns,
        customer_id=reading.customer_id,
        deleted=reading.deleted,
        first_of_customer=reading.first_of_customer,
    )
    try:
        await retry_conflicts(lambda: _apply(connection, [marks]))
    except TryLater:
        raise
    except Exception as failure:  # noqa: BLE001 - the same
        log.error("event not even marked", event_id=event.event_id, type=event.type, error=repr(failure))
        await retry_conflicts(lambda: _apply(connection, [EventReading(event=event, outcome=parked)]))


async def _apply(connection: Connection, readings: Sequence[EventReading]) -> None:
    async with connection.transaction():
        await see_accounts(
            connection, {Scope(each.event.account_id, each.event.live_mode) for each in readings}
        )
        await finish_events(connection, [reading.outcome for reading in readings])
        batch = _Batch()
        for reading in await _without_forgotten(connection, readings):
            batch.add(reading)
        if batch.marks:
            await _show(connection, batch)
        await reach_milestone(connection, "apply")


async def _without_forgotten(connection: Connection, readings: Sequence[EventReading]) -> list[EventReading]:
    """The readings of events that are not about forgotten customers; the others' payloads are erased."""
    by_key = {
        EventKey(each.event.account_id, each.event.live_mode, each.event.event_id): each for each in readings
    }
    set_aside = await set_aside_events(
        connection,
        {key: each.event for key, each in by_key.items()},
        {
            key: [Key(*key.scope, *ref) for ref in (*each.concerns, *each.beside, *each.references)]
            for key, each in by_key.items()
        },
    )
    return [each for key, each in by_key.items() if key not in set_aside]


@dataclass(slots=True)
class _Batch:
    """The events of a batch, joined per object: one statement may meet each key only once."""

    marks: dict[Key, Mark] = field(default_factory=dict)
    payloads: dict[Key, Shown] = field(default_factory=dict)
    beside: dict[Key, Shown] = field(default_factory=dict)
    references: dict[Key, str | None] = field(default_factory=dict)
    firsts: dict[CustomerKey, datetime | None] = field(default_factory=dict)
    deletions: dict[Key, datetime] = field(default_factory=dict)
    births: dict[Key, datetime] = field(default_factory=dict)  # of ids that may have been used before

    def add(self, reading: EventReading) -> None:
        event = reading.event
        scope = Scope(event.account_id, event.live_mode)
        for ref in reading.concerns:
            key = Key(*scope, *ref)
            shown = reading.payloads.get(ref)
            mark = _mark(key, event, shown, owner=reading.customer_id, deleted=ref == reading.deleted)
            if ref == reading.deleted and event.created is not None:
                self.deletions.setdefault(key, event.created)
            if event.created is not None and _is_birth(event, ref.kind):
                self.births[key] = max(event.created, self.births.get(key, event.created))
            earlier = self.marks.get(key)
            if earlier is not None:
                mark, kept = _joined(earlier, mark)
                shown = self.payloads.get(key) if kept else shown
            self.marks[key] = mark
            if shown is not None:
                self.payloads[key] = shown
        for ref, shown in reading.beside.items():
            self.beside[Key(*scope, *ref)] = shown
            self.references.setdefault(Key(*scope, *ref), shown.parsed.customer_id)
        for ref, customer_id in reading.references.items():
            self.references.setdefault(Key(*scope, *ref), customer_id)
        if reading.first_of_customer is not None:
            self.firsts[CustomerKey(*scope, reading.first_of_customer)] = event.created


def _is_birth(event: ClaimedEvent, kind: str) -> bool:
    return KINDS[kind].id_is_chosen and event.type == f"{KINDS[kind].stripe_object}.created"


def _mark(key: Key, event: ClaimedEvent, shown: Shown | None, *, owner: str | None, deleted: bool) -> Mark:
    kind = KINDS[key.kind]
    customer_id = None if shown is None else shown.parsed.customer_id
    if kind.id_is_customers:
        customer_id = key.id
    owned = kind.confirmed_on_event and not kind.catalogue
    return Mark(
        key=key,
        # Who is concerned before its first read can tell, and where that read fails.
        customer_id=customer_id or (owner if owned else None),
        nameless=owned and customer_id is None and (shown is not None or not kind.names_customer),
        event_id=event.event_id,
        event_created=event.created,
        source="event",
        payload_created=None if shown is None else event.created,
        payload_seq=0 if shown is None else event.seq,
        terminal=shown is not None and is_terminal(shown.parsed),
        deleted_event_at=event.created if deleted else None,
        asks=kind.confirmed_on_event,
    )


def _named_mark(key: Key, customer_id: str | None) -> Mark:
    """The mark of an object that an event only names: it is to be fetched."""
    return Mark(
        key=key,
        customer_id=customer_id,
        nameless=False,
        event_id=None,
        event_created=None,
        source="event",
    )


def is_terminal(parsed: Parsed) -> bool:
    """Whether the object is in a state that Stripe never leaves."""
    status = getattr(parsed.facts, "status", None)
    return status in KINDS[parsed.kind].absorbing


def _joined(earlier: Mark, later: Mark) -> tuple[Mark, bool]:
    """Two marks of one object in one batch: the newer payload by the provisional rule, the newer event, all facts
    of both. True when the earlier mark's payload is the one to show.
    """
    keep_payload = _payload_rank(earlier) > _payload_rank(later)
    payload = earlier if keep_payload else later
    event = earlier if _event_rank(earlier) > _event_rank(later) else later
    joined = Mark(
        key=later.key,
        customer_id=payload.customer_id or earlier.customer_id or later.customer_id,
        nameless=earlier.nameless or later.nameless,
        event_id=event.event_id,
        event_created=event.event_created,
        source=later.source,
        payload_created=payload.payload_created,
        payload_seq=payload.payload_seq,
        terminal=payload.terminal,
        deleted_event_at=earlier.deleted_event_at or later.deleted_event_at,
        asks=later.asks,
    )
    return joined, keep_payload


def _payload_rank(mark: Mark) -> tuple[bool, bool, float, int]:
    created = mark.payload_created.timestamp() if mark.payload_created else float("-inf")
    return mark.payload_seq > 0, mark.terminal, created, mark.payload_seq


def _event_rank(mark: Mark) -> float:
    return mark.event_created.timestamp() if mark.event_created else float("-inf")


async def _show(connection: Connection, batch: _Batch) -> None:
    """Mark, then write the payloads that the provisional rule lets through, then tell the customers."""
    references = {key: customer for key, customer in batch.references.items() if key not in batch.marks}
    unheard = await select_unheard(connection, references)
    named = [_named_mark(key, customer) for key, customer in unheard.items()]
    if batch.births:
        await raise_reborn(connection, batch.births)
    marked = await mark_objects(connection, [*batch.marks.values(), *named])
    shown = {
        key: payload
        for key, payload in batch.payloads.items()
        if marked[key].shown_seq == batch.marks[key].payload_seq
    }
    shown |= {key: payload for key, payload in batch.beside.items() if key in unheard and marked[key].unseen}
    await write_mirror(connection, shown, confirmed=False)
    await bury_rows(connection, batch.deletions, told_by_event=True)
    stale = {
        CustomerKey(*key.scope, each.customer_id)
        for key, each in marked.items()
        if each.customer_id is not None and key.kind not in HINTED and key not in unheard
    }
    stale |= {
        CustomerKey(*key.scope, payload.parsed.customer_id)
        for key, payload in shown.items()
        if payload.parsed.customer_id is not None and key.kind not in HINTED
    }
    stale |= batch.firsts.keys()
    if stale:
        await mark_stale(connection, list(stale), complete=await _known_since(connection, batch.firsts))


async def _known_since(
    connection: Connection, firsts: Mapping[CustomerKey, datetime | None]
) -> dict[CustomerKey, datetime | None]:
    """Those customers of whom everything since their customer.created has come, or comes with a fill of gaps. Before
    the first fill nobody knows that: it tells afterwards of whom it was not so.
    """
    if not firsts:
        return {}
    since = await select_events_since(connection, sorted({key.scope for key in firsts}))
    return {
        key: created
        for key, created in firsts.items()
        if key.scope not in since or (created is not None and created >= since[key.scope])
    }


async def write_mirror(
    connection: Connection, shown: Mapping[Key, Shown], *, confirmed: bool, touches: bool = True
) -> None:
    """Write objects into the mirror, one statement per table, in the registry's order.

    The caller has locked their rows in sync.objects. What is sold, and a coupon, is touched when its facts changed: it
    concerns customers whom it does not name. `touches` is False where all customers are derived afterwards.
    """
    rows_of: dict[str, dict[Key, MirrorRow]] = {}
    for key, each in shown.items():
        if each.parsed.facts is not None:
            row = MirrorRow(
                account_id=key.account_id, live_mode=key.live_mode, facts=each.parsed.facts, raw=each.raw
            )
            rows_of.setdefault(key.kind, {})[key] = row
    for kind in KINDS.values():
        rows = rows_of.get(kind.name)
        if not rows:
            continue
        if touches and kind.catalogue and kind.confirmed_on_event:
            changed = await select_changed(connection, kind.name, list(rows.values()))
            if changed:
                await touch_objects(connection, changed)
        await write_rows(connection, kind.name, list(rows.values()), confirmed=confirmed)
        if kind.name in PARTS:
            held = [
                HeldParts(
                    account_id=key.account_id,
                    live_mode=key.live_mode,
                    owner_id=key.id,
                    parts=shown[key].parsed.parts,
                    cut=shown[key].parsed.items_cut,
                )
                for key in rows
            ]
            await write_parts(connection, kind.name, held)
