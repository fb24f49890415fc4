"""What Stripe answered about an object, and the objects inside the answer."""

from dataclasses import dataclass, field
from datetime import datetime

import structlog

from billing.kinds.fields import UnknownShape
from billing.kinds.found import ObjectRef
from billing.kinds.parse import Parsed, nested_lists, parse_object
from billing.kinds.registry import KINDS, LIST_CONFIRMED, customer_named_by, kind_of, owner_named_by
from db.keys import Key
from runtime.payload import as_text
from worker.live.mirror import Shown

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a read that began at `tick` said about one object."""

    key: Key
    tick: int
    parsed: Parsed
    raw: str
    asked_at: datetime  # by Stripe's clock: what happened later need not be in it
    late_reads: int = 0  # how many reads before it found that a deadline had passed without effect
    contradictions: int = 0  # how many reads before it took back what Stripe never takes back
    contradicted_long: bool = False  # the first of them is an hour ago or more
    doubted_long: bool = (
        False  # reads before it have differed from the newest payload for as long as Stripe may be late
    )
    also: tuple["Answered", ...] = ()  # what was read with it
    audited: bool = False  # an audit has found already that the stored row is wrong
    twins_asked: bool = (
        False  # the twins of thin events about it were asked for, so that it might be believed
    )
    twins_refused: bool = False  # and the key may not read them
    left_out: tuple[str, ...] = ()  # what Stripe refused to tell with it
    row_stays: bool = (
        False  # it is gone with its customer: nothing says in which state, so the row stays as it is
    )
    found_inside: bool = False  # it came inside an object that names its customer


@dataclass(frozen=True, slots=True)
class Inside:
    """What answers hold or name but do not confirm: it is shown, and fetched, only if nothing is known yet."""

    shown: dict[Key, Shown] = field(default_factory=dict)
    references: dict[Key, str | None] = field(default_factory=dict)
    """To be fetched, each with the customer that it belongs to."""
    unreadable: dict[Key, str | None] = field(default_factory=dict)
    """Objects that records depend on and that could not be parsed, each with the customer that it belongs to."""
    owners: dict[Key, ObjectRef] = field(default_factory=dict)
    """Of these: what leads to the customer, if their kind names none."""


def unpack(answer: Answered, inside: Inside) -> list[Answered]:
    """The answer, and the objects inside it that it confirms as well, since they are whole and were read with it (an
    invoice's payments, a charge's refunds). All others go into `inside`.
    """
    confirmed = [answer, *answer.also]
    account_id, live_mode, _, _ = answer.key  # spelt out: this runs for every object of a backfill
    owner = answer.parsed.customer_id
    todo = [answer.parsed]
    while todo:
        each = todo.pop()
        for body in each.embedded:
            try:
                inner = parse_object(body)
            except UnknownShape as unknown:
                log.error("object not understood", inside=answer.key, error=str(unknown))
                inner_kind = kind_of(str(body.get("object")))
                if inner_kind is not None and inner_kind.name not in LIST_CONFIRMED:
                    key = Key(account_id, live_mode, inner_kind.name, str(body[inner_kind.id_field]))
                    inside.unreadable.setdefault(key, owner or customer_named_by(body))
                    if ref := owner_named_by(body):
                        inside.owners[key] = ref
                continue
            todo.append(inner)
            key, kind = Key(account_id, live_mode, inner.kind, inner.id), KINDS[inner.kind]
            if not kind.catalogue and not kind.expands and not nested_lists(body):
                confirmed.append(
                    Answered(
                        key=key,
                        tick=answer.tick,
                        parsed=inner,
                        raw=as_text(body),
                        asked_at=answer.asked_at,
                        found_inside=owner is not None,
                    )
                )
                continue
            inside.references.setdefault(key, inner.customer_id)
            if not inner.deleted:
                inside.shown.setdefault(key, Shown(parsed=inner, raw=as_text(body)))
        for ref in each.references:
            named_owner = ref.id if ref.kind == "customer" else owner
            inside.references.setdefault(
                Key(account_id, live_mode, *ref), named_owner if KINDS[ref.kind].names_customer else None
            )
    return confirmed
