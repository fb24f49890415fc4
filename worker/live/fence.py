"""The fence's writer: each object that Stripe answers with is stored if its read is newer than what is known.

Which answer is believed is decided here and in the statements of db/sync/objects.py. There, a read loses to a later
read and to a tombstone. Here, an answer that takes back what Stripe never takes back is asked for again (`_doubt`), so
is one that may be late (witness.py), and a 404 proves a deletion only together with its event (`judge_absence`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import structlog

from billing.deadlines import next_look
from billing.kinds.monotone import MONOTONE, goes_back
from billing.kinds.parse import parse_object
from billing.kinds.registry import KINDS, LIST_CONFIRMED, owner_named_by
from billing.kinds.subscriptions import Subscription
from db.connection import Connection, PostgresFails, PostgresRefuses
from db.keys import CustomerKey, Key
from db.mirror.tables import bury_rows, select_monotone
from db.sync.accounts import raise_alarm
from db.sync.coverage import mark_known_stale
from db.sync.customers import mark_stale
from db.sync.due_reads import DueRead
from db.sync.incarnation import select_incarnation
from db.sync.not_understood import note_not_understood
from db.sync.objects import (
    Confirmed,
    FailedRead,
    Reading,
    confirm_objects,
    mark_objects,
    postpone_reads,
    select_unknown,
)
from db.sync.recreated import outlive_deletions
from db.sync.refusals import select_owners_deletion
from runtime.payload import as_text, read_object
from runtime.retry import TryLater, retry_conflicts
from worker.forget import set_aside_answers
from worker.live.answers import Answered, Inside, unpack
from worker.live.marks import bare_mark
from worker.live.mirror import Shown, is_terminal, write_mirror
from worker.live.twins import marks_around
from worker.live.witness import call_witnesses, doubt_late, has_told_more

# Reads may lag behind the event that announced a change. After these, one more an hour after the first is believed.
ASK_AGAIN_AFTER = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 60, 1200))
CONTRADICTIONS_BELIEVED = 3
# An object that was never seen may be too young for the API's replicas. After these it is missing, and looked for now
# and then: the row stays, because absence is not evidence.
UNSEEN_AFTER = tuple(timedelta(seconds=seconds) for seconds in (1, 5, 30, 120))
MISSING_AFTER = tuple(timedelta(hours=hours) for hours in (1, 6, 24))
OWNER_GONE_AFTER = timedelta(seconds=5)
NOT_STORED_AGAIN_AFTER = timedelta(seconds=30)

log = structlog.get_logger()


async def store_safely(
    connection: Connection, answers: list[Answered], *, source: str, of_whole: bool = False
) -> list[FailedRead]:
    """Store a group as store_answers does; if that fails, its answers one by one. Returns which were not stored, and
    why.
    """
    if not answers:
        return []
    try:
        return await retry_conflicts(
            lambda: store_answers(connection, answers, source=source, of_whole=of_whole)
        )
    except TryLater:
        raise  # their leases run out
    except Exception as error:  # noqa: BLE001 - one bad answer must never stop another (I7)
        if len(answers) > 1:
            return [
                failure
                for answer in answers
                for failure in await store_safely(connection, [answer], source=source, of_whole=of_whole)
            ]
        key = answers[0].key
        owner = owner_named_by(read_object(answers[0].raw.encode()))
        log.error("answer not stored", account=key.account_id, kind=key.kind, id=key.id, error=repr(error))
        if isinstance(error, PostgresRefuses):
            said = f"Postgres refuses the answer: {error}"
            return [
                FailedRead(
                    key=key,
                    tick=answers[0].tick,
                    error=said,
                    retry_after=timedelta(hours=1),
                    parked=True,
                    owner=owner,
                )
            ]
        said = f"an internal error: {error!r}"
        return [
            FailedRead(
                key=key,
                tick=answers[0].tick,
                error=said,
                retry_after=NOT_STORED_AGAIN_AFTER,
                unreadable=not isinstance(error, PostgresFails),  # its storage is no fault of the answer
                owner=owner,
            )
        ]


async def store_answers(
    connection: Connection,
    answers: list[Answered],
    *,
    source: str,
    of_whole: bool = False,
    not_understood: set[Key] | None = None,
) -> list[FailedRead]:
    """Store what Stripe said, each answer if the fence lets it through, in one transaction.

    An answer that takes back what Stripe never takes back is old, and one that differs from the newest payload may be
    late: it is not stored but asked for again, which the returned failures say. `of_whole`: the answers are a page of a
    backfill of everything. What they name comes with another page, so nothing is marked for it; and customers without a
    record get theirs when the backfill ends, so that each is derived once. Objects inside an answer that cannot be
    understood are marked anyway, as its customer's; `not_understood` collects their keys. What was asked for in another
    incarnation of the database is marked too: marks that came before the request may be lost.
    """
    inside = Inside()
    by_key = _newest([each for answer in answers for each in unpack(answer, inside)])
    async with connection.transaction():
        incarnation = await select_incarnation(connection)
        lost = {key: each for key, each in by_key.items() if not incarnation.drew(each.tick)}
        by_key = {key: each for key, each in by_key.items() if key not in lost}
        doubted = await _doubt(connection, by_key)
        for failure in doubted:
            del by_key[failure.key]
        witnesses = await call_witnesses(connection, by_key)
        late = doubt_late(by_key, witnesses)
        for failure in late:
            del by_key[failure.key]
        doubted += late
        named = {key: owner for key, owner in inside.references.items() if key not in by_key}
        passed, unseen = await confirm_objects(
            connection,
            [_reading(each, of_whole=of_whole) for each in by_key.values()],
            source=source,
            named={} if of_whole else await select_unknown(connection, named),
        )
        forgotten = await set_aside_answers(
            connection,
            {key: each.parsed for key, each in inside.shown.items()}
            | {key: each.parsed for key, each in by_key.items()},
        )
        passed = {key: each for key, each in passed.items() if key not in forgotten}
        # The rows are locked now: an event that was being applied while we looked for its witness is there to be seen.
        seen = {key: by_key[key] for key in passed if not by_key[key].contradicted_long}
        read = {key: passed[key] for key in seen}
        if has_told_more(by_key, read, witnesses) or await _doubt(connection, seen):
            raise asyncpg.SerializationError(
                "an event was applied while a read of its object was being stored"
            )
        await _write(connection, {key: by_key[key] for key in passed}, passed, touches=not of_whole)
        if reborn := _created_after_deletion(by_key, passed):
            await outlive_deletions(connection, reborn)
        shown = {key: inside.shown[key] for key in unseen - forgotten if key in inside.shown}
        await write_mirror(connection, shown, confirmed=False)
        stale = {
            CustomerKey(key.account_id, key.live_mode, each.customer_id)
            for key, each in passed.items()
            if each.customer_id is not None and key.kind not in LIST_CONFIRMED
        }
        around = marks_around(by_key, passed, source=source)
        unread = inside.unreadable | {key: each.parsed.customer_id for key, each in lost.items()}
        if unread or around:
            marks = [bare_mark(key, source=source, customer_id=owner) for key, owner in unread.items()]
            around = [mark for mark in around if mark.key not in unread]
            marked = await mark_objects(connection, [*marks, *around])
            await note_not_understood(connection, inside.owners)
            stale |= {
                CustomerKey(*mark.key.scope, owner)
                for mark in around
                if (owner := marked[mark.key].customer_id) is not None and not marked[mark.key].confirmed
            }
            if not_understood is not None:
                not_understood.update(inside.unreadable)
            stale |= {
                CustomerKey(*key.scope, owner)
                for key, owner in unread.items()
                if owner is not None and key.kind not in LIST_CONFIRMED
            }
        if stale:
            await (mark_known_stale if of_whole else mark_stale)(connection, list(stale))
    return doubted


def _created_after_deletion(
    answers: Mapping[Key, Answered], passed: Mapping[Key, Confirmed]
) -> dict[Key, datetime]:
    """The objects whose deletion was announced, and whose id was chosen again, with the times of their creation."""
    found = {}
    for key, known in passed.items():
        facts = answers[key].parsed.facts
        created = None if facts is None else getattr(facts, "created", None)
        if KINDS[key.kind].id_is_chosen and known.deleted_event_at is not None and created is not None:
            found[key] = created
    return found


async def ask_again(connection: Connection, doubted: Sequence[FailedRead]) -> None:
    """Have those objects of a page read by their ids whose answers are not believed yet."""
    if not doubted:
        return
    owners = {each.key: each.owner for each in doubted if each.owner is not None}
    async with connection.transaction():
        stale = await postpone_reads(connection, doubted)
        await note_not_understood(connection, owners)
        if stale:
            await mark_known_stale(connection, sorted(set(stale)))


def _newest(answers: list[Answered]) -> dict[Key, Answered]:
    """The newest answer about each object: an object may be inside several."""
    newest: dict[Key, Answered] = {}
    for answer in answers:
        known = newest.get(answer.key)
        if known is None or known.tick < answer.tick:
            newest[answer.key] = answer
    return newest


async def _write(
    connection: Connection,
    answers: dict[Key, Answered],
    passed: Mapping[Key, Confirmed],
    *,
    touches: bool,
) -> None:
    """Write what the fence has let through: the objects that there are, and the deletion of the others, each at the
    time of its event, or else when Stripe said so.
    """
    shown = {
        key: Shown(parsed=each.parsed, raw=each.raw)
        for key, each in answers.items()
        if not each.parsed.deleted
    }
    await write_mirror(connection, shown, confirmed=True, touches=touches)
    gone = {key: each for key, each in answers.items() if each.parsed.deleted and not each.row_stays}
    deleted_at = {key: passed[key].deleted_event_at for key in gone}
    by_event = {key: at for key, at in deleted_at.items() if at is not None}
    await bury_rows(connection, by_event, by_event=True)
    by_read = {key: each.asked_at for key, each in gone.items() if deleted_at[key] is None}
    await bury_rows(connection, by_read, by_event=False)


async def _doubt(connection: Connection, answers: dict[Key, Answered]) -> list[FailedRead]:
    """The answers that take back a monotone fact of the stored row, each with the time to ask again."""
    doubted = []
    for kind in MONOTONE:
        keys = [key for key in answers if key.kind == kind]
        stored = await select_monotone(connection, kind, keys) if keys else {}
        for key, row in stored.items():
            answer = answers[key]
            reason = None if answer.parsed.facts is None else goes_back(row, answer.parsed.facts)
            if reason is None or answer.audited:
                continue
            if answer.contradicted_long and answer.contradictions >= CONTRADICTIONS_BELIEVED:
                log.error(
                    "a read is accepted although it takes back a final state",
                    account=key.account_id,
                    kind=kind,
                    id=key.id,
                    reason=reason,
                )
                detail = f"{kind} {key.id}: {reason}: Stripe has said so for an hour, and is believed"
                await raise_alarm(
                    connection,
                    f"contradiction {kind} {key.id}",
                    detail,
                    remedy="see that it is right at Stripe, then clear this alarm",
                    account_id=key.account_id,
                )
                continue
            log.warning("a read is old", account=key.account_id, kind=kind, id=key.id, reason=reason)
            again = ASK_AGAIN_AFTER[min(answer.contradictions, len(ASK_AGAIN_AFTER) - 1)]
            doubted.append(
                FailedRead(
                    key=key,
                    tick=answer.tick,
                    error=f"an old answer: {reason}",
                    retry_after=again,
                    contradicts=True,
                )
            )
    return doubted


def _reading(answer: Answered, *, of_whole: bool) -> Reading:
    kind, parsed = KINDS[answer.parsed.kind], answer.parsed
    wait, late_reads = None, 0
    if isinstance(parsed.facts, Subscription):
        wait, late_reads = next_look(
            parsed.facts, parsed.items, read_at=answer.asked_at, late_reads=answer.late_reads
        )
    return Reading(
        key=answer.key,
        tick=answer.tick,
        read_at=answer.asked_at,
        customer_id=parsed.customer_id,
        # Of a whole backfill, the object around it has named its customer in the same page.
        ownerless=kind.confirmed_by == "reads"
        and not kind.catalogue
        and parsed.customer_id is None
        and not (of_whole and answer.found_inside),
        terminal=is_terminal(parsed),
        deleted=parsed.deleted,
        next_read=wait,
        late_reads=late_reads,
    )


def judge_absence(due: DueRead, error: str) -> Answered | FailedRead:
    """What a 404 means for an object: together with a `*.deleted` event it proves the deletion, alone it proves nothing
    (ARCHITECTURE.md, I8).
    """
    if due.deleted_event_at is not None:
        body = {"object": KINDS[due.key.kind].stripe_object, "id": due.key.id, "deleted": True}
        return Answered(
            key=due.key,
            tick=due.tick,
            parsed=parse_object(body),
            raw=as_text(body),
            asked_at=due.deleted_event_at,
        )
    if due.never_read and due.attempts <= len(UNSEEN_AFTER):
        wait = UNSEEN_AFTER[due.attempts - 1]
        return FailedRead(key=due.key, tick=due.tick, error=error, retry_after=wait, absent=True)
    step = due.attempts - 1 - (len(UNSEEN_AFTER) if due.never_read else 0)
    return FailedRead(
        key=due.key,
        tick=due.tick,
        error=error,
        retry_after=MISSING_AFTER[min(max(step, 0), len(MISSING_AFTER) - 1)],
        missing=True,
        absent=True,
    )


async def judge_absent(
    connection: Connection, failures: list[FailedRead]
) -> tuple[list[Answered], list[FailedRead]]:
    """What belonged to a deleted customer, and answers 404, is gone with it: so does a deleted test clock take its
    customers with all that is theirs. Until a read has proved that the customer is deleted, it is asked for again.
    """
    absent = [each.key for each in failures if each.absent]
    owners = await select_owners_deletion(connection, absent) if absent else {}
    gone, left = [], []
    for failure in failures:
        proved, deleted_at = owners.get(failure.key, (False, None))
        # One that was never read may be too young to be found (UNSEEN_AFTER): a charge stays when its customer goes.
        if failure.missing and proved:
            body = {"object": KINDS[failure.key.kind].stripe_object, "id": failure.key.id, "deleted": True}
            gone.append(
                Answered(
                    key=failure.key,
                    tick=failure.tick,
                    parsed=parse_object(body),
                    raw=as_text(body),
                    asked_at=deleted_at or datetime.now(UTC),
                    row_stays=True,
                )
            )
        elif failure.missing and failure.key in owners:
            left.append(
                replace(failure, missing=False, retry_after=min(failure.retry_after, OWNER_GONE_AFTER))
            )
        else:
            left.append(failure)
    return gone, left
