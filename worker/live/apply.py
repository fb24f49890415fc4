"""Apply: events of the inbox mark the objects that they concern, and show their payloads provisionally.

A batch is one transaction, in the lock order: events, objects, mirror tables, customers.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from billing.kinds.found import ObjectRef
from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import Connection
from db.keys import CustomerKey, Key
from db.mirror.tables import bury_rows
from db.sync.accounts import see_accounts, select_events_since
from db.sync.customers import mark_stale
from db.sync.inbox import CLAIM_BYTES_MAX, ClaimedEvent, claim_events, finish_events, reach_milestone
from db.sync.not_understood import note_not_understood
from db.sync.objects import Mark, mark_objects, select_unknown
from db.sync.recreated import raise_recreated
from runtime.metrics import EVENTS_APPLIED
from runtime.retry import ATTEMPTS_MAX, NotTheRow, retry_conflicts
from runtime.traces import tracing
from worker.forget import set_aside_events
from worker.leases import Held, excusing, holding
from worker.live.event import EventReading, outcome_of, read_event, read_marks_alone
from worker.live.marks import event_mark, join_marks, named_mark, without_past_deletion
from worker.live.mirror import Shown, write_mirror
from worker.live.traced import trace_applied
from worker.live.twins import find_contradicted, tell_twins, want_twins

BATCH = 500
LEASE = timedelta(seconds=60)

log = structlog.get_logger()


async def apply_batch(
    connection: Connection,
    *,
    served_mode: bool | None,
    confirms: bool,
    only_mode: bool | None = None,
    limit: int = BATCH,
    held: Held[ClaimedEvent] | None = None,
) -> int:
    """Claim and apply one batch, large events in several claims; returns how many events were claimed. `held` notes
    them while they are.

    `served_mode`: events of the other one are quarantined. `only_mode`: those of the other one are left to wait.

    Events that were claimed before, and so may have killed their worker, come first, each claimed and applied alone.
    """
    taken = 0
    while taken < limit:
        events = await claim_events(connection, limit=limit - taken, lease=LEASE, only_mode=only_mode)
        taken += len(events)
        readings = [_read_safely(event, served_mode=served_mode, confirms=confirms) for event in events]
        if not readings or readings[0].event.attempts == 1:
            with holding(held, events):
                await _apply_fresh(connection, readings)
            if sum(len(event.payload) for event in events) < CLAIM_BYTES_MAX:
                break
            continue
        for reading in readings:
            with excusing(held, [reading.event]):
                await _apply_alone(connection, reading)
    return taken


async def _apply_fresh(connection: Connection, readings: Sequence[EventReading]) -> None:
    """Apply events that were never tried before: all together, or one by one if that fails."""
    if not readings:
        return
    try:
        await retry_conflicts(lambda: _apply(connection, readings))
    except NotTheRow:
        raise
    except Exception as error:  # noqa: BLE001 - one bad event must never stop another (I7)
        log.warning("batch not applied, taking its events one by one", count=len(readings), error=repr(error))
        for reading in readings:
            await _apply_alone(connection, reading)


def _read_safely(event: ClaimedEvent, *, served_mode: bool | None, confirms: bool) -> EventReading:
    """`read_event`, but an event that our code cannot handle, or that several workers died on, is parked.

    Its marks are kept, because reads find what it does not say; unless our code cannot handle them either, or one
    more worker dies.
    """
    if event.attempts > ATTEMPTS_MAX:
        error = f"taken {event.attempts - 1} times, and its worker was lost or cut off each time"
    else:
        try:
            return read_event(event, served_mode=served_mode, confirms=confirms)
        except Exception as failure:  # noqa: BLE001 - one bad event must never stop another (I7)
            error = f"an internal error: {failure!r}"
    log.error("event parked", account=event.account_id, event_id=event.event_id, type=event.type, error=error)
    parked = outcome_of(event, "parked", error)
    served = served_mode is None or event.live_mode == served_mode
    if served and event.attempts <= ATTEMPTS_MAX + 1:
        try:
            return read_marks_alone(event, parked)
        except Exception as failure:  # noqa: BLE001 - the same
            log.error(
                "event not even marked",
                account=event.account_id,
                event_id=event.event_id,
                type=event.type,
                error=repr(failure),
            )
    return EventReading(event=event, outcome=parked)


async def _apply_alone(connection: Connection, reading: EventReading) -> None:
    """Apply one event; only its marks if its payload cannot be written; if they cannot either, park it."""
    event = reading.event
    try:
        await retry_conflicts(lambda: _apply(connection, [reading]))
        return
    except NotTheRow:
        raise
    except Exception as failure:  # noqa: BLE001 - one bad event must never stop another (I7)
        error = f"its payload cannot be written: {failure!r}"
    log.error("event parked", account=event.account_id, event_id=event.event_id, type=event.type, error=error)
    parked = outcome_of(event, "parked", error)
    marks = EventReading(
        event=event,
        outcome=parked,
        concerns=reading.concerns,
        customer_id=reading.customer_id,
        owner=reading.owner,
        deleted=reading.deleted,
        first_of_customer=reading.first_of_customer,
        thin=reading.thin,
        twin_id=reading.twin_id,
        of_own=reading.of_own,
    )
    try:
        await retry_conflicts(lambda: _apply(connection, [marks]))
    except NotTheRow:
        raise
    except Exception as failure:  # noqa: BLE001 - the same
        log.error(
            "event not even marked",
            account=event.account_id,
            event_id=event.event_id,
            type=event.type,
            error=repr(failure),
        )
        await retry_conflicts(lambda: _apply(connection, [EventReading(event=event, outcome=parked)]))


async def _apply(connection: Connection, readings: Sequence[EventReading]) -> None:
    began_ns = time.time_ns()
    async with connection.transaction():
        await see_accounts(connection, {each.scope for each in readings})
        await finish_events(connection, [reading.outcome for reading in readings])
        await want_twins(connection, readings)
        batch = _Batch()
        for reading in await tell_twins(connection, await _without_forgotten(connection, readings)):
            batch.add(reading)
        if batch.marks:
            await _show(connection, batch)
        await reach_milestone(connection, "apply")
    for state, count in Counter(reading.outcome.state for reading in readings).items():
        EVENTS_APPLIED.labels(state).inc(count)
    if (traces := tracing()) is not None:
        applied = [(each.event, each.outcome, _customer_of(each)) for each in readings]
        await trace_applied(connection, traces, applied, began_ns=began_ns)


def _customer_of(reading: EventReading) -> CustomerKey | None:
    if reading.customer_id is None:
        return None
    return CustomerKey(*reading.scope, reading.customer_id)


async def _without_forgotten(connection: Connection, readings: Sequence[EventReading]) -> list[EventReading]:
    """The readings of events that are not about forgotten customers; the payloads of the others are erased."""
    by_key = {each.event.key: each for each in readings}
    set_aside = await set_aside_events(
        connection,
        {key: each.event for key, each in by_key.items()},
        {
            key: [Key(*each.scope, *ref) for ref in (*each.concerns, *each.found_inside, *each.references)]
            for key, each in by_key.items()
        },
    )
    return [each for key, each in by_key.items() if key not in set_aside]


@dataclass(slots=True)
class _Batch:
    """The events of a batch, joined per object: one statement may meet each key only once."""

    marks: dict[Key, Mark] = field(default_factory=dict)
    payloads: dict[Key, Shown] = field(default_factory=dict)
    found_inside: dict[Key, Shown] = field(default_factory=dict)
    references: dict[Key, str | None] = field(default_factory=dict)
    firsts: dict[CustomerKey, datetime | None] = field(default_factory=dict)
    deletions: dict[Key, datetime] = field(default_factory=dict)
    recreated: dict[Key, datetime] = field(default_factory=dict)  # of ids that may have been used before
    not_understood: dict[Key, ObjectRef] = field(default_factory=dict)  # with what leads to their customers

    def add(self, reading: EventReading) -> None:
        event, scope = reading.event, reading.scope
        for ref in reading.concerns:
            key = Key(*scope, *ref)
            shown = reading.payloads.get(ref)
            mark = event_mark(
                key,
                event,
                shown,
                owner=reading.customer_id,
                deleted=ref == reading.deleted,
                known_since=reading.known_since,
                thin=reading.thin,
                of_own=reading.of_own and ref == reading.concerns[0],
            )
            if ref == reading.deleted and event.created is not None:
                self.deletions[key] = max(event.created, self.deletions.get(key, event.created))
            if event.created is not None and _may_recreate(event, ref.kind):
                self.recreated[key] = max(event.created, self.recreated.get(key, event.created))
            earlier = self.marks.get(key)
            if earlier is not None:
                mark, kept = join_marks(earlier, mark)
                shown = self.payloads.get(key) if kept else shown
            self.marks[key] = mark
            if shown is not None:
                self.payloads[key] = shown
        if reading.owner is not None and reading.concerns and reading.concerns[0] not in reading.payloads:
            self.not_understood[Key(*scope, *reading.concerns[0])] = reading.owner
        for ref, shown in reading.found_inside.items():
            self.found_inside[Key(*scope, *ref)] = shown
            self.references.setdefault(Key(*scope, *ref), shown.parsed.customer_id)
        for ref, customer_id in reading.references.items():
            self.references.setdefault(Key(*scope, *ref), customer_id)
        if reading.first_of_customer is not None:
            self.firsts[CustomerKey(*scope, reading.first_of_customer)] = event.created


def _may_recreate(event: ClaimedEvent, kind: str) -> bool:
    return KINDS[kind].id_is_chosen and event.type == f"{KINDS[kind].stripe_object}.created"


async def _show(connection: Connection, batch: _Batch) -> None:
    """Mark, then write the payloads that the provisional rule lets through, then raise `stale` of the customers."""
    references = {key: customer for key, customer in batch.references.items() if key not in batch.marks}
    unknown = await select_unknown(connection, references)
    named = [named_mark(key, customer) for key, customer in unknown.items()]
    if batch.recreated:
        await raise_recreated(connection, batch.recreated)
    marks = {key: without_past_deletion(mark, batch.recreated.get(key)) for key, mark in batch.marks.items()}
    marked = await mark_objects(connection, [*marks.values(), *named])
    await note_not_understood(connection, batch.not_understood)
    if contradicted := await find_contradicted(connection, marks, marked):
        anew = [replace(marks[key], known_since=None) for key in sorted(contradicted)]
        marked |= await mark_objects(connection, anew)
    shown = {
        key: payload
        for key, payload in batch.payloads.items()
        if marked[key].shown_seq == batch.marks[key].payload_seq
    }
    shown |= {
        key: payload for key, payload in batch.found_inside.items() if key in unknown and marked[key].unseen
    }
    await write_mirror(connection, shown, confirmed=False)
    await bury_rows(connection, batch.deletions, by_event=True)
    stale = {
        CustomerKey(key.account_id, key.live_mode, each.customer_id)
        for key, each in marked.items()
        if each.customer_id is not None and key.kind not in LIST_CONFIRMED and key not in unknown
    }
    stale |= {
        CustomerKey(key.account_id, key.live_mode, payload.parsed.customer_id)
        for key, payload in shown.items()
        if payload.parsed.customer_id is not None and key.kind not in LIST_CONFIRMED
    }
    stale |= batch.firsts.keys()
    if stale:
        complete = await _known_since(connection, batch.firsts)
        await mark_stale(connection, list(stale), complete=complete, told=batch.firsts.keys())


async def _known_since(
    connection: Connection, firsts: Mapping[CustomerKey, datetime | None]
) -> dict[CustomerKey, datetime | None]:
    """The customers whose every event since their customer.created has come, or comes with a fill of gaps. Before the
    first fill that is not known: the fill finds the customers for which it was not true.
    """
    if not firsts:
        return {}
    since = await select_events_since(connection, sorted({key.scope for key in firsts}))
    return {
        key: created
        for key, created in firsts.items()
        if key.scope not in since or (created is not None and created >= since[key.scope])
    }
