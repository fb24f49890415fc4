"""The fence's writer: of what Stripe answers, each object is stored where its read is newer than what is known.

Who is believed is decided here, and in the statement that locks the objects (db/sync/objects.py, which tells how ticks
and marks are ordered).
"""

from datetime import timedelta

import structlog

from billing.deadlines import next_look
from billing.kinds.monotone import MONOTONE, goes_back
from billing.kinds.registry import HINTED, KINDS
from billing.kinds.subscriptions import Subscription
from db.connection import Connection, PostgresRefuses
from db.keys import CustomerKey, Key
from db.mirror.tables import bury_rows, select_monotone
from db.sync.accounts import raise_alarm
from db.sync.coverage import mark_known_stale
from db.sync.customers import mark_stale
from db.sync.objects import FailedRead, Reading, confirm_objects, mark_objects, select_unheard
from worker.forget import set_aside_answers
from worker.live.answers import Answered, told_beside
from worker.live.marks import bare_mark
from worker.live.mirror import Shown, is_terminal, write_mirror
from worker.retry import TryLater, retry_conflicts

# Reads may lag behind the event that told of a change. After these, one more an hour after the first is believed.
ASK_AGAIN_AFTER = tuple(timedelta(seconds=seconds) for seconds in (2, 10, 60, 1200))
NOT_STORED_AGAIN_AFTER = timedelta(seconds=30)

log = structlog.get_logger()


async def store_safely(
    connection: Connection, answers: list[Answered], *, source: str, of_whole: bool = False
) -> list[FailedRead]:
    """Store a group as store_answers does; where that fails, its answers one by one. Tells which were not stored, and
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
        log.error("answer not stored", kind=key.kind, id=key.id, error=repr(error))
        if isinstance(error, PostgresRefuses):
            said = f"Postgres refuses the answer: {error}"
            return [
                FailedRead(
                    key=key, tick=answers[0].tick, error=said, retry_after=timedelta(hours=1), parked=True
                )
            ]
        said = f"an error of ours: {error!r}"
        return [
            FailedRead(
                key=key, tick=answers[0].tick, error=said, retry_after=NOT_STORED_AGAIN_AFTER, unreadable=True
            )
        ]


async def store_answers(
    connection: Connection, answers: list[Answered], *, source: str, of_whole: bool = False
) -> list[FailedRead]:
    """Store what Stripe said, each answer where the fence lets it through, in one transaction.

    An answer that takes back what Stripe never takes back is old: it is not stored but asked for again, which the
    returned failures say. `of_whole`: the answers are a page of a backfill of everything. What they name comes with
    another page, so nothing is marked for it; and customers without a record get theirs when the backfill ends, so
    that each is derived once. What inside an answer cannot be understood is marked all the same, as its customer's.
    """
    beside: dict[Key, Shown] = {}
    references: dict[Key, str | None] = {}
    unreadable: dict[Key, str | None] = {}
    by_key: dict[Key, Answered] = {}
    for answer in answers:
        for told in (answer, *told_beside(answer, references, beside, unreadable)):
            known = by_key.get(told.key)
            if known is None or known.tick < told.tick:
                by_key[told.key] = told
    async with connection.transaction():
        doubted = await _doubt(connection, by_key)
        for failure in doubted:
            del by_key[failure.key]
        named = {} if of_whole else {key: owner for key, owner in references.items() if key not in by_key}
        passed, unknown = await confirm_objects(
            connection,
            [_reading(each, of_whole=of_whole) for each in by_key.values()],
            source=source,
            named=await select_unheard(connection, named),
        )
        forgotten = await set_aside_answers(
            connection,
            {key: each.parsed for key, each in beside.items()}
            | {key: each.parsed for key, each in by_key.items()},
        )
        passed = {key: each for key, each in passed.items() if key not in forgotten}
        stored = {key: by_key[key] for key in passed}
        shown = {
            key: Shown(parsed=each.parsed, raw=each.raw)
            for key, each in stored.items()
            if not each.parsed.deleted
        }
        await write_mirror(connection, shown, confirmed=True, touches=not of_whole)
        await write_mirror(
            connection, {key: beside[key] for key in unknown - forgotten if key in beside}, confirmed=False
        )
        gone = {key: each for key, each in stored.items() if each.parsed.deleted}
        deleted_at = {key: passed[key].deleted_event_at for key in gone}
        await bury_rows(
            connection, {key: at for key, at in deleted_at.items() if at is not None}, told_by_event=True
        )
        await bury_rows(
            connection,
            {key: each.answered_at for key, each in gone.items() if deleted_at[key] is None},
            told_by_event=False,
        )
        stale = {
            CustomerKey(*key.scope, each.customer_id)
            for key, each in passed.items()
            if each.customer_id is not None and key.kind not in HINTED
        }
        if unreadable:
            await mark_objects(
                connection, [bare_mark(key, source=source, customer_id=unreadable[key]) for key in unreadable]
            )
            stale |= {
                CustomerKey(*key.scope, owner) for key, owner in unreadable.items() if owner is not None
            }
        if stale:
            await (mark_known_stale if of_whole else mark_stale)(connection, list(stale))
    return doubted


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
            if answer.believed:
                log.error("a read is believed against all rules", kind=kind, id=key.id, reason=reason)
                detail = f"{kind} {key.id}: {reason}: Stripe has said so for an hour, and is believed"
                await raise_alarm(connection, f"contradiction {kind} {key.id}", detail)
                continue
            log.warning("a read is old", kind=kind, id=key.id, reason=reason)
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
            parsed.facts, parsed.items, read_at=answer.answered_at, late_reads=answer.late_reads
        )
    return Reading(
        key=answer.key,
        tick=answer.tick,
        read_at=answer.answered_at,
        customer_id=parsed.customer_id,
        # Of a whole backfill, the object around it has named its customer in the same page.
        nameless=kind.confirmed_on_event
        and not kind.catalogue
        and parsed.customer_id is None
        and not (of_whole and answer.beside),
        terminal=is_terminal(parsed),
        deleted=parsed.deleted,
        next_read=wait,
        late_reads=late_reads,
    )
