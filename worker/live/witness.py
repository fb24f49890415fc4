"""The second witness: a read is not believed yet if it differs from the newest payload, soon after its event.

Stripe does not say how late its replicas and lists may be. A read that agrees with the newest payload has seen its
change, and is believed at once; so is one that began when no replica can be that late any more. Any other is asked for
again by the object's id (ARCHITECTURE.md, the fence). A thin event has no payload: a read that says in every field what
was stored before that event may have missed its change, and any other has seen one. If nothing was stored before, or
several thin events have come since, the type of the newest may be the witness (`shows_step`), and else a second read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType

import structlog

from billing.kinds.fields import UnknownShape
from billing.kinds.found import Json, ObjectRef
from billing.kinds.parse import Parsed, parse_object
from billing.kinds.registry import KINDS
from billing.kinds.thin import snapshot_type
from billing.kinds.witness import (
    Payload,
    comes_after,
    cut_lists,
    first_difference,
    repeats,
    shows_step,
    without_pages,
)
from db.connection import Connection
from db.keys import Key
from db.mirror.tables import select_raw
from db.sync.objects import FailedRead
from db.sync.witnesses import Tied, Witness, select_tied, select_witnesses
from runtime.payload import NotJson, as_text, data_object, previous_attributes, read_object
from runtime.stripe_api import API_VERSION
from worker.live.answers import Answered

DOUBTED_AGAIN_AFTER = tuple(timedelta(seconds=seconds) for seconds in (2, 5, 10, 20))

log = structlog.get_logger()


async def doubt_late(connection: Connection, answers: Mapping[Key, Answered]) -> list[FailedRead]:
    """The answers that differ from what the newest event about their object says, while they may be late for it; each
    with the time to ask again.
    """
    asked = {key: each.asked_at for key, each in answers.items() if not each.doubted_long}
    if not asked:
        return []
    doubted = []
    witnesses = await select_witnesses(connection, asked)
    stored = await select_raw(connection, [each.key for each in witnesses if each.changed_since])
    tied = await select_tied(connection, witnesses)
    for witness in witnesses:
        answer = answers[witness.key]
        difference = _difference(witness, answer.parsed, tied)
        if difference is None and _says_nothing_new(witness.key, stored.get(witness.key), answer.raw):
            difference = "nothing is new"
        said, doubts = None, witness.doubts
        if difference is None and _is_alone(witness, answer.parsed):
            said = _digest(witness, answer)
            if said != witness.doubted_as:
                difference = "no other read has said the same"
                # A replica that is as late again must be later than the burst was long.
                doubts += witness.told_often
        if difference is None:
            continue
        doubted.append(
            FailedRead(
                key=witness.key,
                tick=answer.tick,
                error=f"it differs from the newest event, and may be late: {difference}",
                retry_after=DOUBTED_AGAIN_AFTER[min(doubts, len(DOUBTED_AGAIN_AFTER) - 1)],
                doubted=True,
                doubted_as=said,
                customer_id=None if said is None else answer.parsed.customer_id,
            )
        )
    if doubted:
        first = doubted[0]
        log.info("reads may be late", count=len(doubted), first=first.key.id, because=first.error)
    return doubted


async def select_contradicted(
    connection: Connection, confirmed_at: Mapping[Key, datetime | None]
) -> set[Key]:
    """The objects among these whose stored read differs from the newest payload, which came after it, while it may
    have been late; each with the moment of the read by Stripe's clock.
    """
    stored = await select_raw(connection, list(confirmed_at))
    contradicted = set()
    for witness in await select_witnesses(
        connection, {key: at for key, at in confirmed_at.items() if at is not None}
    ):
        try:
            read = parse_object(read_object(stored[witness.key].encode()), asked=True)
        except (KeyError, NotJson, UnknownShape):
            contradicted.add(witness.key)
            continue
        if _difference(witness, read) is not None:
            contradicted.add(witness.key)
    return contradicted


def _is_alone(witness: Witness, read: Parsed) -> bool:
    """Whether nothing but this read says that it has seen the newest event: only thin events have told of the object,
    or several since what is stored, and it does not show the step that the newest of them is about.
    """
    if witness.told_by is None or read.deleted:
        return False
    told_by = snapshot_type(witness.told_by)
    # Of a creation the time is less than a whole second; otherwise another event of that second is the newest.
    is_first = witness.payload_created is not None and witness.payload_created.microsecond != 0
    if told_by.endswith(".created") and not is_first and not KINDS[read.kind].id_is_chosen:
        return True
    return not shows_step(told_by, read)


def _digest(witness: Witness, answer: Answered) -> str:
    """What a read said after this event, however its body was written."""
    said = f"{witness.payload_created} {without_pages(as_text(read_object(answer.raw.encode())))}"
    return sha256(said.encode()).hexdigest()


def _says_nothing_new(key: Key, stored: str | None, answer: str) -> bool:
    """Whether a read repeats what is stored. Of one object, Stripe indents what comes in a list by more than the rest,
    and a payload has no expansions: so it is never a question of letters.
    """
    if stored is None:
        return False
    try:
        return repeats(key.kind, read_object(stored.encode()), read_object(answer.encode()))
    except NotJson:  # nested too deep
        return stored == answer


def _difference(
    witness: Witness, read: Parsed, tied: Mapping[int, Tied] = MappingProxyType({})
) -> str | None:
    """`tied`: events by their inbox numbers. Of several events of one second, the read has to agree with each that may
    be the last.
    """
    if witness.deleted:
        return None if read.deleted else "deleted"
    told = [_read_event(witness.key, witness.payload, witness.api_version)]
    told += [
        _read_event(witness.key, event.payload, event.api_version)
        for seq in witness.tied
        # In the second of its deletion an id may have been chosen again: that says nothing of the one that has it now.
        if (event := tied.get(seq)) is not None and event.type != KINDS[witness.key.kind].deleted_event
    ]
    may_be_last = _may_be_last([each for each in told if each is not None])
    return next(filter(None, (first_difference(each.payload, read) for each in may_be_last)), None)


def _may_be_last(told: "Sequence[_Told]") -> "Sequence[_Told]":
    """Those of the events of one second after which none of the others is known to have come; or all of them."""
    if len(told) < 2:
        return told
    updates = [(each, previous_attributes(each.event)) for each in told if each.of_own]
    return [
        each
        for each in told
        if not any(comes_after(previous, each.body) for other, previous in updates if other is not each)
    ] or told


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What an event says of an object."""

    payload: Payload
    body: Json
    event: bytes
    of_own: bool  # the event is about this object, and not about one around it


def _read_event(key: Key, event: bytes, api_version: str | None) -> _Told | None:
    """What an event says of an object, which may be inside another; None if that cannot be read."""
    try:
        _, body = data_object(event)
    except NotJson:
        return None
    wanted = ObjectRef(key.kind, key.id)
    todo: list[Json] = [body]
    while todo:
        each = todo.pop()
        try:
            parsed = parse_object(each)
        except UnknownShape:
            continue
        if (parsed.kind, parsed.id) == wanted:
            of_ours = api_version == API_VERSION
            return _Told(
                payload=Payload(
                    parsed=parsed, fields=each.keys(), of_our_version=of_ours, cut=cut_lists(each)
                ),
                body=each,
                event=event,
                of_own=each is body,
            )
        todo.extend(parsed.embedded)
    return None
