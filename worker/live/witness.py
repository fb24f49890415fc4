"""The second witness: a read is not believed yet if it differs from the newest payload, soon after its event.

Stripe does not say how late its replicas and lists may be. A read that agrees with the newest payload has seen its
change, and is believed at once; so is one that began when no replica can be that late any more. Any other is asked for
again by the object's id (ARCHITECTURE.md, the fence). A thin event has no payload: a read that says in every field what
was stored before that event may have missed its change, and any other has seen one. If nothing was stored before,
the type of the event may be the witness (`shows_step`), and else a second read.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import sha256

import structlog

from billing.kinds.fields import UnknownShape
from billing.kinds.found import Json, ObjectRef
from billing.kinds.parse import Parsed, parse_object
from billing.kinds.registry import KINDS
from billing.kinds.thin import snapshot_type
from billing.kinds.witness import Payload, first_difference, repeats, shows_step
from db.connection import Connection
from db.keys import Key
from db.mirror.tables import select_raw
from db.sync.objects import FailedRead
from db.sync.witnesses import Witness, select_witnesses
from runtime.stripe_api import API_VERSION
from worker.live.answers import Answered
from worker.payload import NotJson, as_text, data_object, read_object

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
    for witness in witnesses:
        answer = answers[witness.key]
        difference = _difference(witness, answer.parsed)
        if difference is None and _says_nothing_new(witness.key, stored.get(witness.key), answer.raw):
            difference = "nothing is new"
        said = None
        if difference is None and _is_alone(witness, answer.parsed):
            said = _digest(witness, answer)
            if said != witness.doubted_as:
                difference = "no other read has said the same"
        if difference is None:
            continue
        log.info("a read may be late", kind=witness.key.kind, id=witness.key.id, differs=difference)
        doubted.append(
            FailedRead(
                key=witness.key,
                tick=answer.tick,
                error=f"it differs from the newest event, and may be late: {difference}",
                retry_after=DOUBTED_AGAIN_AFTER[min(witness.doubts, len(DOUBTED_AGAIN_AFTER) - 1)],
                doubted=True,
                doubted_as=said,
                customer_id=None if said is None else answer.parsed.customer_id,
            )
        )
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
    """Whether nothing but this read says what the object is: only thin events have told of it, and it does not show
    the step that the newest of them is about.
    """
    if witness.first_told_by is None or read.deleted:
        return False
    told_by = snapshot_type(witness.first_told_by)
    # Of a creation the time is less than a whole second; otherwise another event of that second is the newest.
    is_first = witness.payload_created is not None and witness.payload_created.microsecond != 0
    if told_by.endswith(".created") and not is_first and not KINDS[read.kind].id_is_chosen:
        return True
    return not shows_step(told_by, read)


def _digest(witness: Witness, answer: Answered) -> str:
    """What a read said after this event, however its body was written."""
    said = f"{witness.payload_created} {as_text(read_object(answer.raw.encode()))}"
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


def _difference(witness: Witness, read: Parsed) -> str | None:
    if witness.deleted:
        return None if read.deleted else "deleted"
    payload = read_witness(witness)
    return None if payload is None else first_difference(payload, read)


def read_witness(witness: Witness) -> Payload | None:
    """What the event says of the object, which may be inside another; None if that cannot be read."""
    try:
        _, body = data_object(witness.payload)
    except NotJson:
        return None
    wanted = ObjectRef(witness.key.kind, witness.key.id)
    todo: list[Json] = [body]
    while todo:
        each = todo.pop()
        try:
            parsed = parse_object(each)
        except UnknownShape:
            continue
        if (parsed.kind, parsed.id) == wanted:
            return Payload(
                parsed=parsed, fields=each.keys(), of_our_version=witness.api_version == API_VERSION
            )
        todo.extend(parsed.embedded)
    return None
