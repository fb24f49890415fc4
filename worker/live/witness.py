"""The second witness: a read is not believed yet if it differs from the newest payload, soon after its event.

Stripe does not say how late its replicas and lists may be. A read that agrees with the newest payload has seen its
change, and is believed at once; so is one that began when no replica can be that late any more. Any other is asked for
again by the object's id (ARCHITECTURE.md, the fence). A thin event has no payload: a read that says, letter by letter,
what was stored before that event may have missed its change, and any other has seen one.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog

from billing.kinds.fields import UnknownShape
from billing.kinds.found import Json, ObjectRef
from billing.kinds.parse import Parsed, parse_object
from billing.kinds.witness import Payload, first_difference
from db.connection import Connection
from db.keys import Key
from db.mirror.tables import select_raw
from db.sync.objects import FailedRead
from db.sync.witnesses import Witness, select_witnesses
from runtime.stripe_api import API_VERSION
from worker.live.answers import Answered
from worker.payload import NotJson, data_object, read_object

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
        if difference is None and stored.get(witness.key) == answer.raw:
            difference = "nothing is new"
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
