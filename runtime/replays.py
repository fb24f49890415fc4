"""Trying again what was given up: the commands and the console do it in the same way.

An event is applied again as if it had just come; no effect happens twice. A parked, missing or waiting object is read
from Stripe at once; a parked customer's record is derived again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from db.connection import Connection
from db.keys import CustomerKey, Key
from db.sync.inbox import ClaimedEvent
from db.sync.inbox_admin import (
    CustomerMark,
    EventState,
    FenceEntry,
    replay_customers,
    replay_events,
    replay_objects,
    replay_state,
    select_events_by_id,
    select_marks_by_id,
    select_now,
    select_objects_by_id,
    select_parked_customers,
    select_parked_objects,
)
from runtime.event_views import objects_concerned
from runtime.retry import retry_conflicts

BATCH = 100
"""Events replayed in one transaction; each may have 2 MiB."""

PARKED_BATCH = 2000
"""Objects, and customers, that are replayed in one transaction."""

REPLAYED_BY_STATE = (EventState.PARKED, EventState.IGNORED, EventState.QUARANTINED)
"""The states whose events may be replayed all together."""


@dataclass(kw_only=True)
class Replayed:
    """What is tried again."""

    events: int = 0
    objects: set[Key] = field(default_factory=set)
    customers: set[CustomerKey] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    """Why nothing is tried again, by the id that was given."""
    whole: bool = True
    """False if it ended before everything was replayed."""

    def __bool__(self) -> bool:
        return bool(self.events or self.objects or self.customers)

    def document(self) -> dict[str, object]:
        """The same as JSON has it."""
        return {
            "events": self.events,
            "objects": [key._asdict() for key in sorted(self.objects)],
            "customers": [key._asdict() for key in sorted(self.customers)],
            "refused": self.refused,
        }

    def sentence(self) -> str:
        """What was done, in words."""
        parts = [
            f"{count:,} {noun}{'' if count == 1 else 's'} {what}"
            for count, noun, what in (
                (self.events, "event", "pending again"),
                (len(self.objects), "object", "to be read again"),
                (len(self.customers), "customer", "to be derived again"),
            )
            if count
        ]
        return f"{', '.join(parts)}." if parts else "Nothing was replayed."


async def replay_ids(connection: Connection, ids: Iterable[str]) -> Replayed:
    """Try again the events, objects and customers of these ids."""
    done = Replayed()
    for name in ids:
        known = await select_events_by_id(connection, name)
        objects = await select_objects_by_id(connection, [name])
        marks = await select_marks_by_id(connection, [name])
        before = (done.events, len(done.objects), len(done.customers))
        if known:
            await _replay_some_events(connection, done, [name])
        if objects or marks:
            await _replay_objects_and_customers(connection, done, objects, marks)
        if before != (done.events, len(done.objects), len(done.customers)):
            continue
        if known:
            done.refused[name] = "is pending already"
        elif objects or marks:
            done.refused[name] = (
                "is neither parked, missing nor waiting for a read: there is nothing to try again"
            )
        else:
            done.refused[name] = "is the id of no known event, object or customer"
    return done


async def replay_all(
    connection: Connection,
    state: EventState,
    event_type: str | None,
    *,
    enough: Callable[[int], bool] = lambda _: False,
) -> Replayed:
    """Try again every event in this state, of this type if one is given (`invoice.*`: of all that begin so); with the
    parked ones of every type also what else is parked. `enough` is asked after each batch, with the events so far.
    """
    done = Replayed()
    last_seq: int | None = -1
    while last_seq is not None:
        # An event that is parked again meanwhile keeps its number, so it is not met twice.
        last_seq = await _replay_batch(connection, done, state, event_type, after_seq=last_seq)
        if last_seq is not None and enough(done.events):
            done.whole = False
            return done
    if state is EventState.PARKED and event_type is None:
        done.whole = await _replay_what_else_is_parked(connection, done, enough)
    return done


async def _replay_what_else_is_parked(
    connection: Connection, done: Replayed, enough: Callable[[int], bool]
) -> bool:
    """Try again the objects and customers that are parked now; False if there were more than enough."""
    # One that is parked again meanwhile is not met twice.
    until = await select_now(connection)
    while True:
        objects = await select_parked_objects(connection, until=until, limit=PARKED_BATCH)
        marks = await select_parked_customers(connection, until=until, limit=PARKED_BATCH)
        if not objects and not marks:
            return True
        await _replay_objects_and_customers(connection, done, objects, marks)
        if enough(done.events):
            return max(len(objects), len(marks)) < PARKED_BATCH


async def _replay_batch(
    connection: Connection, done: Replayed, state: EventState, event_type: str | None, *, after_seq: int
) -> int | None:
    """Replay the next events in this state; returns the inbox number of the last one, None when none was left."""
    events: list[ClaimedEvent] = []

    async def replay_them() -> None:
        nonlocal events
        async with connection.transaction():
            events = await replay_state(
                connection, state=state, event_type=event_type, after_seq=after_seq, limit=BATCH
            )
            done.objects |= await _unpark_concerned(connection, events)

    await retry_conflicts(replay_them)
    done.events += len(events)
    return max((event.seq for event in events), default=None)


async def _replay_some_events(connection: Connection, done: Replayed, event_ids: Sequence[str]) -> None:
    async def replay_them() -> None:
        async with connection.transaction():
            events = await replay_events(connection, event_ids)
            done.objects |= await _unpark_concerned(connection, events)
        done.events += len(events)

    await retry_conflicts(replay_them)


async def _unpark_concerned(connection: Connection, events: Iterable[ClaimedEvent]) -> set[Key]:
    """Unpark the parked objects that these events concern: otherwise their marks would cause no read."""
    keys = {
        Key(event.account_id, event.live_mode, *ref)
        for event in events
        for ref in objects_concerned(event.type, event.payload)
    }
    return set(await replay_objects(connection, sorted(keys), parked_only=True))


async def _replay_objects_and_customers(
    connection: Connection, done: Replayed, objects: Sequence[FenceEntry], marks: Sequence[CustomerMark]
) -> None:
    async def replay_them() -> None:
        async with connection.transaction():
            read = await replay_objects(connection, [each.key for each in objects], parked_only=False)
            derived = await replay_customers(connection, marks)
        done.objects |= set(read)
        done.customers |= set(derived)

    await retry_conflicts(replay_them)
