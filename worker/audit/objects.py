"""Suspects of an audit, read by their ids to decide whether what a list raised as a suspicion is true.

One read that agrees decides. A difference is drift once two reads found it, with a pause between them in which neither
an event nor a read of ours came: what has just changed at Stripe is on its way. An object that cannot be read is left
undecided, and the audit then ends as partial, naming it; the rest is judged anyway.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import structlog

from billing.kinds.found import Facts, ObjectRef, Part
from billing.kinds.lists import PER_CUSTOMER, THROUGH
from billing.kinds.parse import Parsed
from billing.kinds.registry import KINDS
from db.columns import differing as differing_fields
from db.connection import Connection
from db.keys import Key
from db.mirror.compare import select_stored_facts
from db.mirror.tables import PARTS
from db.sync.audits import (
    Drift,
    ReadAt,
    Suspect,
    Unread,
    count_suspects,
    count_unexplained,
    dismiss,
    dismiss_settled,
    events_wait,
    note_drift,
    note_unread,
    select_deleted,
    select_late,
    select_motion,
    select_suspects,
    suspect,
)
from db.sync.scans import Scan, move_scan
from runtime.payload import NotJson
from runtime.retry import retry_conflicts
from runtime.stripe_api import StripeMissing, StripeRefused, StripeUnavailable
from worker.lists import entitlements
from worker.lists.steps import HOLD, READS_AT_ONCE, Place, Step, Turn, go_on, stay
from worker.live.reads import due_now, read_whole

DRIFT_EXAMINED_MAX = 10_000
"""With more drift the mirror is not damaged but empty, or of another account: a backfill helps, reads by id do not."""
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 4, 8, 16, 30, 60, 60, 60, 60))
"""Before each new round over objects that were in motion or got no answer: five minutes, as for an unanswered list."""
SETTLE = timedelta(seconds=10)
"""The shortest pause while an object differs: its event takes a few seconds to come and be applied."""
LISTED = ("differs", "cut", "unread")
"""Suspicions of objects that a list held."""
INSIDE: Mapping[str, str] = {**THROUGH, "refund": "charge"}
"""By kind whose objects may become known only through a read of their parent: the parent's kind."""

_AMOUNTS = {
    "charge": "amount_captured",
    "refund": "amount",
    "dispute": "amount",
    "invoice": "amount_paid",
    "invoice_payment": "amount_paid",
}
"""Per kind with money: the column whose difference is reported."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """The answer to a read by id: `parsed` is None if Stripe knows no such object."""

    kind: str
    id: str
    tick: int
    parsed: Parsed | None
    raw: str | None
    answered_at: datetime | None = None  # by Stripe's clock, if it answered with an object
    listed: bool = False
    """Whether a list held it."""
    differed_at: int | None = None
    """The tick of the read that found it to differ in an earlier round."""

    @property
    def read_at(self) -> ReadAt:
        return ReadAt(self.kind, self.id, self.tick, self.answered_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """A read by id that decides nothing; `later` if the next one may."""

    kind: str
    id: str
    tick: int
    error: Exception
    later: bool


async def compare_entitlements(turn: Turn, scan: Scan) -> None:
    """Read all customers' entitlements, which no list holds. Such a read is by id, so it decides at once."""
    after = scan.step_cursor
    while not turn.over():
        customers = await entitlements.entitled_after(turn, scan, after)
        if not customers:
            await turn.go_on(scan)
            return
        verdicts, unread = await _read_all(
            turn, scan, [Suspect(entitlements.KIND, each, "differs", None) for each in customers]
        )
        if not verdicts and unread[0].later and scan.attempts < entitlements.OUTAGE_TRIES:
            raise unread[0].error  # Stripe, and not an object: this step waits
        # A key that may not read the first few may read none: their errors are noted, and no more are read.
        refused = not verdicts and all(isinstance(each.error, StripeRefused) for each in unread)
        after = customers[-1]
        await _note(turn, scan, verdicts, unread, cursor=after)
        if refused:
            await turn.go_on(scan)
            return
    await turn.stay(scan, cursor=after)


async def verify_objects(turn: Turn, scan: Scan) -> None:
    """Read every suspect by its id: one that agrees was no drift, and one that differs is read once more in the next
    round. One that is in motion, or got no answer, is read again in later rounds, with pauses between them, and is left
    undecided after the last.
    """
    async with turn.pool.acquire() as connection:
        if many := await too_many(connection, scan):
            log.error("too much drift to be examined", scan=scan.id, count=many)
            await move_scan(connection, scan.id, step=Step.DONE)
            return
        await dismiss_settled(connection, scan)
    place = Place.of(scan)
    last = place.round >= len(PAUSES)
    while not turn.over():
        async with turn.pool.acquire() as connection:
            suspects = await select_suspects(
                connection, scan, records=False, after=place.after, limit=READS_AT_ONCE
            )
            if not suspects:
                left = await count_suspects(connection, scan, records=False)
                if left and not last:
                    cursor = place.next_round().cursor
                    await stay(connection, scan, cursor=cursor, wait=max(PAUSES[place.round], SETTLE))
                else:
                    await go_on(connection, scan)
                return
        if place.round == 0:  # what was read by an earlier step differed too short a time ago
            suspects = [each._replace(read_tick=None) for each in suspects]
        verdicts, unread = await _read_all(turn, scan, suspects)
        place = place._replace(after=suspects[-1].ref)
        await _note(turn, scan, verdicts, unread, cursor=place.cursor, last=last)
    await turn.stay(scan, cursor=place.cursor)


async def too_many(connection: Connection, scan: Scan) -> int:
    """How many objects differ, if they are more than are read one by one; 0 if they are not."""
    many = await count_unexplained(connection, scan)
    return many if many > DRIFT_EXAMINED_MAX else 0


async def _read_all(
    turn: Turn, scan: Scan, objects: Sequence[Suspect]
) -> tuple[list[_Verdict], list[_Failure]]:
    found = await asyncio.gather(*(_read(turn, scan, each) for each in objects))
    verdicts = [each for each in found if isinstance(each, _Verdict)]
    return verdicts, [each for each in found if isinstance(each, _Failure)]


async def _read(turn: Turn, scan: Scan, suspect: Suspect) -> _Verdict | _Failure:
    """One bad object must never stop another (I7): raises StripeRefused only if Stripe refuses the key itself."""
    due = await due_now(turn.pool, Key(*scan.scope, *suspect.ref))
    unknown = _Verdict(
        kind=suspect.kind,
        id=suspect.id,
        tick=due.tick,
        parsed=None,
        raw=None,
        listed=suspect.what in LISTED and suspect.kind not in PER_CUSTOMER,
        differed_at=suspect.read_tick,
    )
    try:
        answer = await read_whole(turn.stripe, due)
    except StripeMissing:
        return unknown
    except Exception as error:
        if isinstance(error, StripeRefused) and error.status == 401:
            raise
        log.warning("suspect not read", scan=scan.id, kind=suspect.kind, id=suspect.id, error=str(error))
        later = isinstance(error, (StripeUnavailable, NotJson))
        return _Failure(kind=suspect.kind, id=suspect.id, tick=due.tick, error=error, later=later)
    return replace(unknown, parsed=answer.parsed, raw=answer.raw, answered_at=answer.asked_at)


async def _note(
    turn: Turn,
    scan: Scan,
    verdicts: Sequence[_Verdict],
    unread: Sequence[_Failure],
    *,
    cursor: str,
    last: bool = False,
) -> None:
    """Judge what was read, and move the cursor past it: in one transaction, which sees one moment of the mirror.

    An object that a later round may read stays, or becomes, a suspect, except in the last round.
    """

    async def note() -> None:
        async with (
            turn.pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read"),
        ):
            contradicted = await _judge(connection, scan, verdicts)
            for each in unread:
                if each.later and not last:
                    key = Key(*scan.scope, each.kind, each.id)
                    await suspect(connection, scan, {key: "differs"}, tick=each.tick)
            given_up = [
                Unread(each.kind, each.id, str(each.error)) for each in unread if last or not each.later
            ]
            if last:
                given_up += [
                    Unread(*each, "a list holds it, and Stripe knows no such id") for each in contradicted
                ]
            await note_unread(connection, scan, given_up)
            await stay(connection, scan, cursor=cursor, wait=HOLD)

    await retry_conflicts(note)


async def _judge(connection: Connection, scan: Scan, verdicts: Sequence[_Verdict]) -> list[ObjectRef]:
    """Note objects that differ and dismiss those that agree. Objects in motion cannot be judged yet, and neither can
    one that differs from a read that may be late for an event. Returns those that a list held and that Stripe does not
    know by their ids.
    """
    scope = scan.scope
    motion = await select_motion(connection, scope, [each.read_at for each in verdicts])
    differing: dict[ObjectRef, tuple[_Verdict, Drift]] = {}
    agreed: list[ObjectRef] = []
    contradicted: list[ObjectRef] = []
    parents: dict[ObjectRef, ObjectRef] = {}
    for kind, group in groupby(sorted(verdicts, key=lambda each: each.kind), key=lambda each: each.kind):
        of_kind = list(group)
        stored = await select_stored_facts(connection, scope, kind, [each.id for each in of_kind])
        for each in of_kind:
            ref = ObjectRef(kind, each.id)
            if motion.get(ref, False):
                continue
            if _is_nothing(each) and ref not in motion:
                each = replace(each, parsed=None, raw=None)  # there is none, and no event ever announced one
            found = _compare_object(each, stored.get(each.id))
            if found is not None:
                differing[ref] = (each, found)
                if (parent := _parent_of(each, stored.get(each.id))) is not None:
                    parents[ref] = parent
            elif each.listed and each.parsed is None and each.id not in stored:
                contradicted.append(ref)
            else:
                agreed.append(ref)
    deleted = await select_deleted(connection, scope, contradicted) if contradicted else set()
    await dismiss(connection, scan, [*agreed, *deleted])
    stood = await _which_stood(connection, scan, {ref: each for ref, (each, _) in differing.items()}, parents)
    for verified in (True, False):
        noted = [found for ref, found in differing.items() if (ref in stood) == verified]
        await note_drift(
            connection,
            scan,
            [drift for _, drift in noted],
            verified=verified,
            ticks=[each.tick for each, _ in noted],
        )
    return [ref for ref in contradicted if ref not in deleted]


async def _which_stood(
    connection: Connection,
    scan: Scan,
    differing: Mapping[ObjectRef, _Verdict],
    parents: Mapping[ObjectRef, ObjectRef],
) -> set[ObjectRef]:
    """Those that differed in an earlier round, and of which nothing has been heard or read since; nor of the object
    that they are inside of, by whose read alone they may become known. None while events wait to be applied, and none
    whose read may be late for an event.
    """
    earlier = {ref: each.differed_at for ref, each in differing.items() if each.differed_at is not None}
    if not earlier or await events_wait(connection, scan.scope):
        return set()
    late = set(await select_late(connection, scan.scope, [differing[ref].read_at for ref in earlier]))
    reads = [ReadAt(*ref, tick) for ref, tick in earlier.items()]
    reads += [ReadAt(*parents[ref], tick) for ref, tick in earlier.items() if ref in parents]
    moving = {ref for ref, moves in (await select_motion(connection, scan.scope, reads)).items() if moves}
    return {ref for ref in earlier if ref not in moving | late and parents.get(ref) not in moving}


def _parent_of(verdict: _Verdict, stored: Mapping[str, Any] | None) -> ObjectRef | None:
    """The object inside which this one is, as Stripe says or, if it knows none, as we do."""
    kind = INSIDE.get(verdict.kind)
    if kind is None:
        return None
    column = f"{kind}_id"
    facts = None if verdict.parsed is None else verdict.parsed.facts
    named = getattr(facts, column, None) or (None if stored is None else stored.get(column))
    return None if named is None else ObjectRef(kind, named)


def _is_nothing(verdict: _Verdict) -> bool:
    """Whether this is Stripe's answer for a customer that has no objects of a kind."""
    return verdict.kind in PER_CUSTOMER and verdict.parsed is not None and not verdict.parsed.parts


def _compare_object(verdict: _Verdict, stored: Mapping[str, Any] | None) -> Drift | None:
    """How an object and its row differ; None if they agree."""
    kind, parsed = verdict.kind, verdict.parsed
    if parsed is None or parsed.facts is None:
        if stored is None and parsed is None:
            return None  # neither has it: it was deleted between the list and the read
        if stored is None:
            return Drift(kind=kind, id=verdict.id, what="lacking", fields=("deleted_at",), said=verdict.raw)
        if stored["deleted_at"] is not None:
            return None
        currency, amount = _amount(kind, None, stored)
        gone: tuple[str, ...] = ("deleted_at",) if parsed is not None else ()
        what = "differs" if parsed is not None else "surplus"
        return Drift(
            kind=kind,
            id=verdict.id,
            what=what,
            fields=gone,
            currency=currency,
            amount=amount,
            said=verdict.raw,
        )
    currency, amount = _amount(kind, parsed.facts, stored)
    if stored is None:
        if getattr(parsed.facts, "status", None) in KINDS[kind].eventless_statuses:
            return None
        return Drift(
            kind=kind, id=verdict.id, what="lacking", currency=currency, amount=amount, said=verdict.raw
        )
    fields = tuple(
        name for name in differing_fields(parsed.facts, stored) if name not in KINDS[kind].eventless_fields
    )
    if stored["deleted_at"] is not None:
        fields += ("deleted_at",)
    if kind in PARTS and not _same_parts(parsed.parts, stored["parts"]):
        fields += ("parts",)
    if not fields:
        return None
    return Drift(
        kind=kind,
        id=verdict.id,
        what="differs",
        fields=fields,
        currency=currency,
        amount=amount,
        said=verdict.raw,
    )


def _same_parts(wanted: Sequence[Part], stored: Sequence[Mapping[str, Any]]) -> bool:
    by_id = {row["id"]: row for row in stored}
    return by_id.keys() == {part.id for part in wanted} and not any(
        differing_fields(part, by_id[part.id]) for part in wanted
    )


def _amount(kind: str, facts: Facts | None, stored: Mapping[str, Any] | None) -> tuple[str | None, int]:
    """The money that is missing in the mirror (negative: too much), in minor units, and its currency."""
    column = _AMOUNTS.get(kind)
    if column is None:
        return None, 0
    right = 0 if facts is None else getattr(facts, column) or 0
    wrong = 0 if stored is None or stored["deleted_at"] is not None else stored[column] or 0
    currency = None if facts is None else getattr(facts, "currency", None)
    if currency is None and stored is not None:
        currency = stored["currency"]
    return currency, right - wrong
