"""Thin events among others: a thin event and its snapshot twin are one change, and one read.

Whichever of the two comes later marks with the tick at which the first was applied: a read that has begun since then
has seen the change, and is not made again. A twin whose payload contradicts that read is a change of its own
(ARCHITECTURE.md, two witnesses).
"""

from collections.abc import Mapping, Sequence

from billing.kinds.registry import concerned
from db.connection import Connection
from db.keys import EventKey, Key
from db.sync.objects import Confirmed, Mark, Marked
from db.sync.twins import remember_twins, select_known_since
from runtime.payload import read_object
from worker.live.answers import Answered
from worker.live.event import EventReading
from worker.live.marks import bare_mark
from worker.live.witness import select_contradicted


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
