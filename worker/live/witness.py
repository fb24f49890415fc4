"""The second witness: a read is not believed yet if it differs from the newest payload, soon after its event.

Stripe does not say how late its replicas and lists may be. A read that agrees with the newest payload has seen its
change, and is believed at once; so is one that began when no replica can be that late any more. Any other is asked for
again by the object's id (ARCHITECTURE.md, the fence).

A thin event has no payload. A read has seen it if it shows the step that its type tells (`shows_step`), or agrees with
its twin, which is asked for if nothing else helps (twins.py). If it is the only one since what is stored, and that is
older than replicas are late, a read that says something else has seen it, too. One that names no twin, or whose twin
the key may not read, needs a second read that says the same.
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
from billing.kinds.registry import KINDS, owner_named_by
from billing.kinds.witness import (
    Payload,
    comes_after,
    contradicts,
    cut_lists,
    first_difference,
    repeats,
    shows_step,
    without_pages,
)
from db.connection import Connection
from db.keys import Key
from db.mirror.tables import select_raw
from db.sync.objects import LATE_MAX, Confirmed, FailedRead, UnreadTwin
from db.sync.witnesses import (
    ThinTold,
    Tied,
    Witness,
    select_thin_told,
    select_tied,
    select_witnesses,
)
from runtime.payload import NotJson, as_text, data_object, previous_attributes, read_object
from runtime.stripe_api import API_VERSION
from worker.live.answers import Answered

DOUBTED_AGAIN_AFTER = tuple(timedelta(seconds=seconds) for seconds in (2, 5, 10, 20))
TOLD_WITHIN = timedelta(seconds=5)
"""How much later than what it tells of an event may be created, by Stripe's clock."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """What events say of the objects of some answers, while reads may be late for them."""

    of: Mapping[Key, Witness]
    stored: Mapping[Key, str]
    """What is stored of objects that a thin event has told of since, or before."""
    tied: Mapping[int, Tied]
    thin: Mapping[int, ThinTold]


async def call_witnesses(connection: Connection, answers: Mapping[Key, Answered]) -> Witnesses:
    """What is to be known before these answers are believed."""
    asked = {key: each.asked_at for key, each in answers.items() if not each.doubted_long}
    found = await select_witnesses(connection, asked) if asked else []
    of_thin = [each.key for each in found if each.is_stored and (each.changed_since or each.thin_seqs)]
    return Witnesses(
        of={each.key: each for each in found},
        stored=await select_raw(connection, of_thin),
        tied=await select_tied(connection, found),
        thin=await select_thin_told(connection, found),
    )


def has_told_more(
    answers: Mapping[Key, Answered], passed: Mapping[Key, Confirmed], witnesses: Witnesses
) -> bool:
    """Whether an event about one of these objects, whose rows are locked now, was applied since its witness was called
    and may have come too late for the read.
    """
    for key, each in passed.items():
        answer = answers[key]
        times = [at for at in (each.payload_created, each.deleted_event_at) if at is not None]
        # Deleted stays deleted, unless the id is chosen again.
        is_final = answer.parsed.deleted and not KINDS[key.kind].id_is_chosen
        if answer.doubted_long or is_final or not times:
            continue
        before = witnesses.of.get(key)
        if max(times) > answer.asked_at - LATE_MAX and (before is None or before.told != each.told):
            return True
    return False


def doubt_late(answers: Mapping[Key, Answered], witnesses: Witnesses) -> list[FailedRead]:
    """The answers that differ from what the newest event about their object says, while they may be late for it; each
    with the time to ask again, and with what would say whether it is late.
    """
    judged = (_doubt(witness, answers[key], witnesses) for key, witness in witnesses.of.items())
    doubted = [each for each in judged if each is not None]
    if doubted:
        first = doubted[0]
        log.info("reads may be late", count=len(doubted), first=first.key.id, because=first.error)
    return doubted


def _doubt(witness: Witness, answer: Answered, witnesses: Witnesses) -> FailedRead | None:
    key, read = witness.key, answer.parsed
    thin = [witnesses.thin[seq] for seq in witness.thin_seqs if seq in witnesses.thin]
    twins = [
        None if each.twin is None else _read_event(key, each.twin.payload, each.twin.api_version)
        for each in thin
    ]
    seen = [each for each in twins if each is not None]
    difference = _difference(witness, read, witnesses.tied, seen)
    said, doubts = None, witness.doubts
    unread: tuple[UnreadTwin, ...] = ()
    if difference is None and (not read.deleted or _may_be_there(witness, thin)):
        unseen = [
            each.unread
            for each, twin in zip(thin, twins, strict=True)
            if twin is None and not _shows(each, witness, read)
        ]
        if not answer.twins_refused:
            unread = tuple(each for each in unseen if each is not None)
        repeating = _says_nothing_new(key, witnesses.stored.get(key), answer.raw)
        if unread:
            difference = _lacks_twins(witness, witnesses.stored.get(key), read, repeating=repeating)
        elif not seen and witness.payload_seq == 0:
            if witness.changed_since and repeating:
                difference = "nothing is new"
                unread = tuple(each.unread for each in thin if each.unread is not None)
            elif _needs_another(witness, read, repeating=repeating) and (unseen or not thin):
                said = _digest(witness, answer)
                if said != witness.doubted_as:
                    difference = "no other read has said the same"
                    # A replica that is as late again must be later than the burst was long.
                    doubts += witness.thins > 1
    if difference is None:
        return None
    return FailedRead(
        key=key,
        tick=answer.tick,
        error=f"it differs from the newest event, and may be late: {difference}",
        retry_after=DOUBTED_AGAIN_AFTER[min(doubts, len(DOUBTED_AGAIN_AFTER) - 1)],
        doubted=True,
        doubted_as=said,
        twins=unread,
        customer_id=read.customer_id,
        owner=_owner(answer) if not witness.is_stored else None,
    )


def _may_be_there(witness: Witness, thin: Sequence[ThinTold]) -> bool:
    """Whether a read that says "deleted" may be late, since the id was chosen again. If it is the second of the
    deletion, only a creation in it says so.
    """
    if not KINDS[witness.key.kind].id_is_chosen or witness.deleted:
        return False
    return witness.deleted_at != witness.payload_created or any(map(_tells_of_creation, thin))


def _tells_of_creation(told: ThinTold) -> bool:
    return told.type.endswith(".created")


def _shows(told: ThinTold, witness: Witness, read: Parsed) -> bool:
    """Whether a read shows the step that a thin event tells. Being there shows no creation if another object may have
    had the id before.
    """
    if KINDS[read.kind].id_is_chosen and _tells_of_creation(told):
        created: datetime | None = getattr(read.facts, "created", None)
        told_at = witness.payload_created
        return created is not None and told_at is not None and told_at - created <= TOLD_WITHIN
    return shows_step(told.type, read)


def _owner(answer: Answered) -> ObjectRef | None:
    """What leads to the customer of an object that names none, and of which nothing is stored."""
    if not KINDS[answer.key.kind].ownerless:
        return None
    try:
        return owner_named_by(read_object(answer.raw.encode()))
    except NotJson:  # nested too deep
        return None


def _lacks_twins(witness: Witness, stored: str | None, read: Parsed, *, repeating: bool) -> str | None:
    """Why a read needs the twins of the thin events of the newest second, whose steps it does not show, beside what is
    stored; None if it does not.
    """
    if witness.is_stored and witness.tells == 0 and repeating:
        return None  # what is stored has seen them
    is_first = witness.payload_seq == 0 and _is_alone(witness) and not read.deleted
    if is_first and not repeating and stored is not None and _says_else(stored, read):
        return None  # nothing else has changed since what is stored
    return "it has to agree with the twin of a thin event"


def _is_alone(witness: Witness) -> bool:
    """Whether there is one change only between what is stored and what any replica shows: an answer is the one or the
    other. Otherwise a late replica may show a third state, from before what is stored or in between.
    """
    return witness.tells == 1 and witness.is_older


def _needs_another(witness: Witness, read: Parsed, *, repeating: bool) -> bool:
    """Whether, without a twin, a second read has to say the same."""
    if witness.thins > 1 or not witness.is_stored or read.deleted:
        return True
    return not repeating and not _is_alone(witness)


def _says_else(stored: str, read: Parsed) -> bool:
    """Whether a read says something else than what is stored in a fact. What records do not depend on may change
    without any event.
    """
    try:
        known = parse_object(read_object(stored.encode()), asked=True)
    except (NotJson, UnknownShape):
        return False
    return contradicts(known, read)


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
    witness: Witness,
    read: Parsed,
    tied: Mapping[int, Tied] = MappingProxyType({}),
    twins: "Sequence[_Told]" = (),
) -> str | None:
    """`tied`: events by their inbox numbers; `twins`: of thin events. Of several events of one second, the read has to
    agree with each that may be the last.
    """
    if witness.deleted:
        return None if read.deleted else "deleted"
    told = [_read_event(witness.key, witness.payload, witness.api_version), *twins]
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
