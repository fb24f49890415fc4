"""What Stripe answered about an object, and the objects inside the answer."""

from dataclasses import dataclass
from datetime import datetime

import structlog

from billing.kinds.fields import UnknownShape
from billing.kinds.parse import Parsed, nested_lists, parse_object
from billing.kinds.registry import HINTED, KINDS, customer_named_by, kind_of
from db.keys import Key
from worker.live.mirror import Shown
from worker.payload import as_text

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a read that began at `tick` told of one object."""

    key: Key
    tick: int
    parsed: Parsed
    raw: str
    answered_at: datetime
    late_reads: int = 0  # how many reads before it found a passed deadline unkept
    contradictions: int = 0  # how many reads before it took back what Stripe never takes back
    also: tuple["Answered", ...] = ()  # what was read with it
    believed: bool = False  # they have agreed for so long that it is stored all the same
    audited: bool = False  # an audit has found already that the stored row is wrong
    beside: bool = False  # came inside an object that names its customer


def whole_objects(answer: Answered) -> list[Answered]:
    """The answer, and the objects inside it that it tells of as a read of their own would."""
    return [answer, *told_beside(answer, {}, {}, {})]


def told_beside(
    answer: Answered,
    references: dict[Key, str | None],
    beside: dict[Key, Shown],
    unreadable: dict[Key, str | None],
) -> list[Answered]:
    """The objects inside an answer that it confirms as well, being whole and read with it (an invoice's payments, a
    charge's refunds). Others go to `references` and `beside`: fetched, and shown, only where nothing is known yet.
    What records depend on and nobody understands goes to `unreadable`, each with whose it is.
    """
    told: list[Answered] = list(answer.also)
    scope, owner = answer.key.scope, answer.parsed.customer_id
    todo = [answer.parsed]
    while todo:
        each = todo.pop()
        for body in each.embedded:
            try:
                inner = parse_object(body)
            except UnknownShape as unknown:
                log.error("object not understood", inside=answer.key, error=str(unknown))
                inner_kind = kind_of(str(body.get("object")))
                if inner_kind is not None and inner_kind.name not in HINTED:
                    key = Key(*scope, inner_kind.name, str(body[inner_kind.id_field]))
                    unreadable.setdefault(key, owner or customer_named_by(body))
                continue
            todo.append(inner)
            key, kind = Key(*scope, inner.kind, inner.id), KINDS[inner.kind]
            if not kind.catalogue and not kind.expands and not nested_lists(body):
                told.append(
                    Answered(
                        key=key,
                        tick=answer.tick,
                        parsed=inner,
                        raw=as_text(body),
                        answered_at=answer.answered_at,
                        beside=owner is not None,
                    )
                )
                continue
            references.setdefault(key, inner.customer_id)
            if not inner.deleted:
                beside.setdefault(key, Shown(parsed=inner, raw=as_text(body)))
        for ref in each.references:
            named_owner = ref.id if ref.kind == "customer" else owner
            references.setdefault(Key(*scope, *ref), named_owner if KINDS[ref.kind].names_customer else None)
    return told
