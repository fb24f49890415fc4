"""The second witness: a read is not believed yet if it differs from the newest payload, soon after its event.

Stripe does not say how late its replicas and lists may be. A read that agrees with the newest payload has seen its
change, and is believed at once; so is one that began when no replica can be that late any more. Any other is asked for
again by the object's id (ARCHITECTURE.md, the fence).
"""

from collections.abc import Mapping
from datetime import timedelta

import structlog

from billing.kinds.fields import UnknownShape
from billing.kinds.found import Json, ObjectRef
from billing.kinds.parse import parse_object
from billing.kinds.witness import Payload, first_difference
from db.connection import Connection
from db.keys import Key
from db.sync.objects import FailedRead
from db.sync.witnesses import Witness, select_witnesses
from runtime.stripe_api import API_VERSION
from worker.live.answers import Answered
from worker.payload import NotJson, data_object

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
    for witness in await select_witnesses(connection, asked):
        answer = answers[witness.key]
        if (difference := _difference(witness, answer)) is None:
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


def _difference(witness: Witness, answer: Answered) -> str | None:
    if witness.deleted:
        return None if answer.parsed.deleted else "deleted"
    payload = read_witness(witness)
    return None if payload is None else first_difference(payload, answer.parsed)


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
