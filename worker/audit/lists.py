"""Audit: whether the mirror says what Stripe's lists say, and the records what the mirror implies.

A list only raises a suspicion, and a read by id decides on each. Nothing is written from either: with `repair`,
objects that differ are marked, and confirm and derive mend them. Only kinds that lists confirm, on which no record
depends, are updated from the lists at once, since no event was expected to announce their changes. An object that a
list lacks is looked for by its id before it is reported (ARCHITECTURE.md, I8). Records are compared with what the
mirror would imply if it were right, so that a wrong row is counted once, and not again for each record that follows
from it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from billing.kinds.found import ObjectRef
from billing.kinds.lists import PER_CUSTOMER, THROUGH
from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import Connection, Pool
from db.keys import Key, Scope
from db.mirror.compare import (
    select_buried,
    select_changed_parts,
    select_surplus,
    select_surplus_parts,
    select_unlisted,
)
from db.mirror.tables import PARTS, MirrorRow, select_changed
from db.sync.accounts import clear_alarms, events_expired
from db.sync.audits import (
    Unread,
    close_audit,
    count_suspects,
    has_drift,
    note_unread,
    select_audits_due,
    select_suspects,
    select_unread,
    select_unsettled,
    suspect,
)
from db.sync.coverage import select_holes
from db.sync.inbox import reach_milestone
from db.sync.scans import Scan, finish_scan
from db.sync.windows import Window
from runtime.scan_requests import ask_for_scan, read_request
from runtime.stripe_api import StripeMissing, StripeRefused
from worker.audit.objects import compare_entitlements, too_many, verify_objects
from worker.audit.records import compare_records, verify_records
from worker.audit.repair import repair, repair_charges, repair_parts, repair_records
from worker.forget import set_aside_answers
from worker.lists.clocks import each_clock, pages_of
from worker.lists.steps import HOLES_NAMED_MAX, Step, Turn, bounds_of, say_holes, step_of
from worker.live.answers import Answered, Inside, unpack
from worker.live.fence import ask_again, store_answers
from worker.live.pages import SECOND, Page

AUDITS_KEPT = 30
NIGHTLY_HOUR_UTC = 3
TEST_CLOCK = "test_clock"
"""The kind, in sync.drift, of test clocks, which are not mirrored: their customers could not be asked for."""

LOST_TRANSACTIONS = "history of the database"
"""The alarm that is raised in SQL if another incarnation begins (db/migrations/0005_one_history.sql)."""

log = structlog.get_logger()


async def ask_for_nightly_audits(pool: Pool, *, live_mode: bool) -> list[str]:
    """Request a repairing audit of each account, the key's own and connected ones, once a night; the accounts for which
    this call has requested it.
    """
    asked = []
    async with pool.acquire() as connection, connection.transaction():
        for account_id in await select_audits_due(connection, live_mode=live_mode, hour=NIGHTLY_HOUR_UTC):
            request = read_request({"account": account_id}, purpose="audit", repair=True)
            _, new = await ask_for_scan(connection, request, live_mode=live_mode)
            asked += [account_id] if new else []
    return asked


# Suspicions of a page


async def audit_page(connection: Connection, window: Window, after: Window, page: Page) -> None:
    """Note where a page differs from the mirror, in the transaction that moves the window's cursor."""
    listed: dict[Key, Answered] = {}
    inside = Inside()
    for answer in page.answers:
        for each in unpack(answer, inside):
            listed.setdefault(each.key, each)
    scope = Scope(window.scan.account_id, window.scan.live_mode)
    kept = await _without_forgotten(connection, listed)
    suspects: dict[Key, str] = dict.fromkeys(await _differing(connection, scope, kept), "differs")
    await _refresh(
        connection,
        [listed[key] for key in suspects if key.kind in LIST_CONFIRMED]
        + [each for each in kept if KINDS[each.key.kind].eventless_fields and each.key not in suspects],
    )
    suspects = {key: what for key, what in suspects.items() if key.kind not in LIST_CONFIRMED}
    suspects |= dict.fromkeys([each.key for each in page.cut if each.key.kind not in LIST_CONFIRMED], "cut")
    suspects |= dict.fromkeys([*page.unreadable, *inside.unreadable], "unread")
    ids = {each.key.id for each in (*page.answers, *page.cut)} | {key.id for key in page.unreadable}
    for object_id in await _surplus(connection, scope, window, after, page, ids):
        suspects.setdefault(Key(*scope, window.kind, object_id), "surplus")
    for part, parent in THROUGH.items():
        if parent == window.kind:
            parts = {key.id for key in (*listed, *inside.unreadable) if key.kind == part}
            for object_id in await select_surplus_parts(
                connection, scope, part, parents=sorted(ids), listed=parts
            ):
                suspects.setdefault(Key(*scope, part, object_id), "surplus")
    await suspect(connection, window.scan, suspects, tick=page.tick)


async def _without_forgotten(connection: Connection, listed: dict[Key, Answered]) -> list[Answered]:
    """The answers without those about forgotten customers."""
    forgotten = await set_aside_answers(connection, {key: each.parsed for key, each in listed.items()})
    return [each for key, each in listed.items() if key not in forgotten]


async def _refresh(connection: Connection, answers: list[Answered]) -> None:
    """Store changes that no event was expected to announce."""
    if answers:
        doubted = await store_answers(connection, answers, source="audit", of_whole=True)
        await ask_again(connection, doubted)


async def _differing(connection: Connection, scope: Scope, listed: Sequence[Answered]) -> list[Key]:
    """The keys whose stored facts differ from the listed ones."""
    found: list[Key] = []
    for kind in KINDS:
        of_kind = [each for each in listed if each.key.kind == kind and each.parsed.facts is not None]
        if not of_kind:
            continue
        rows = [
            MirrorRow(
                account_id=scope.account_id, live_mode=scope.live_mode, facts=each.parsed.facts, raw=each.raw
            )
            for each in of_kind
            if each.parsed.facts is not None
        ]
        found += await select_changed(connection, kind, rows)
        ids = [each.key.id for each in of_kind]
        found += [Key(*scope, kind, named) for named in await select_buried(connection, scope, kind, ids)]
        if kind in PARTS:
            parts = [part for each in of_kind for part in each.parsed.parts]
            whole = [each.key.id for each in of_kind if not each.parsed.items_cut]
            changed = await select_changed_parts(connection, scope, kind, whole, parts)
            found += [Key(*scope, kind, named) for named in changed]
    return found


async def _surplus(
    connection: Connection,
    scope: Scope,
    window: Window,
    after: Window,
    page: Page,
    listed: set[str],
) -> list[str]:
    """The rows that should be in this page and are not.

    A page usually ends in the middle of a second: rows created in its last second are looked for with the next page,
    whose `edge_ids` say which objects of that second have been seen. For a kind without `created`, the `edge_ids` of
    the last page say everything that has been seen.
    """
    if not KINDS[window.kind].says_created and page.has_more:
        return []
    if page.has_more and after.cursor_created is None:
        return []  # nothing of the page was understood: how far it reaches, the next page says
    high = window.high if window.cursor_created is None else window.cursor_created + SECOND
    low = window.low
    if page.has_more and after.cursor_created is not None:
        low = after.cursor_created + SECOND
    if low >= high or not KINDS[window.kind].list_holds_all:
        return []
    return await select_surplus(
        connection,
        scope,
        window.kind,
        low=low,
        high=high,
        listed=listed | set(window.edge_ids),
        variant=window.variant,
    )


# The steps after the lists


async def step_audit(turn: Turn, scan: Scan) -> None:
    """Do the scan's next step after its lists, bounded in time; each is safe to do again."""
    match step_of(scan):
        case Step.LISTS:
            await _suspect_unlisted(turn, scan)
        case Step.CLOCKS:
            await _compare_clocks(turn, scan)
        case Step.ENTITLEMENTS:
            await compare_entitlements(turn, scan)
        case Step.READS:
            await verify_objects(turn, scan)
        case Step.RECORDS:
            await compare_records(turn, scan)
        case Step.SECOND_LOOK:
            await verify_records(turn, scan)
        case Step.REPAIR:
            await repair(turn, scan)
        case Step.REPAIR_CHARGES:
            await repair_charges(turn, scan)
        case Step.REPAIR_PARTS:
            await repair_parts(turn, scan)
        case Step.REPAIR_RECORDS:
            await repair_records(turn, scan)
        case _:
            await _finish(turn, scan)


async def _suspect_unlisted(turn: Turn, scan: Scan) -> None:
    """Suspect rows that no list can have held, objects that were read and have no row, and those whose own read has not
    come, or fails: a list may have told of them, and may not.
    """
    scope = scan.scope
    low, high = bounds_of(scan, scan.horizon or datetime.now(UTC))
    kinds = (
        [kind for kind in KINDS if {**THROUGH, **PER_CUSTOMER}.get(kind, kind) in scan.kinds]
        if scan.whole
        else []
    )
    for kind in kinds:
        async with turn.pool.acquire() as connection:
            found = await select_unlisted(
                connection, scope, kind, low=low, high=high, tick=scan.begun_tick or 0
            )
            await suspect(connection, scan, found, tick=scan.begun_tick or 0)
    if scan.whole:
        async with turn.pool.acquire() as connection:
            unsettled = {Key(*scope, *ref): "unsettled" for ref in await select_unsettled(connection, scan)}
            await suspect(connection, scan, unsettled, tick=scan.begun_tick or 0)
    await turn.go_on(scan)


async def _compare_clocks(turn: Turn, scan: Scan) -> None:
    """Compare the objects on test clocks, which the lists leave out. Rows that no clock holds are suspected already."""
    scope = scan.scope

    async def compare(clock: str) -> None:
        for kind in ("customer", "subscription"):
            try:
                pages = await pages_of(turn, scan, clock, kind)
            except (StripeMissing, StripeRefused) as refused:
                async with turn.pool.acquire() as connection:
                    await note_unread(
                        connection, scan, [Unread(TEST_CLOCK, f"{clock} ({kind}s)", str(refused))]
                    )
                continue
            for page in pages:
                listed = {answer.key: answer for answer in page.answers}
                async with turn.pool.acquire() as connection, connection.transaction():
                    found = await _differing(connection, scope, await _without_forgotten(connection, listed))
                    suspects = dict.fromkeys(found, "differs")
                    suspects |= dict.fromkeys([each.key for each in page.cut], "cut")
                    suspects |= dict.fromkeys(page.unreadable, "unread")
                    await suspect(connection, scan, suspects, tick=page.tick)

    async def refused(why: str) -> None:
        async with turn.pool.acquire() as connection:
            await note_unread(connection, scan, [Unread(TEST_CLOCK, "all", why)])

    await each_clock(turn, scan, compare, refused=refused)


async def _finish(turn: Turn, scan: Scan) -> None:
    low, high = bounds_of(scan, scan.horizon or datetime.now(UTC))
    async with turn.pool.acquire() as connection:
        notes: list[str] = []
        if low < high and scan.status == "running":
            holes = await select_holes(connection, scan, low=low, high=high)
            notes += [say_holes(holes)] if holes else []
        if many := await too_many(connection, scan):
            differ = f"{many} objects differ: more than can be read one by one, so no record was compared"
            notes = [f"{differ}; run `subledger backfill`, then audit again"]
        else:
            notes += await _say_undecided(connection, scan)
        status = "partial" if notes else "complete"
        async with connection.transaction():
            if status == "complete" and scan.status == "running" and scan.whole:
                await reach_milestone(connection, "audit")
                # What expired was found by this audit, or by one before it that repaired it.
                if scan.repair and not await has_drift(connection, scan):
                    found = [events_expired(scan.account_id)]
                    # So was what lost transactions have left in the key's own account.
                    await clear_alarms(
                        connection, [*found, *([] if scan.account_id else [LOST_TRANSACTIONS])]
                    )
            await end_audit(connection, scan, status=status, error="; ".join(notes) or None)
    log.info("audit ended", scan=scan.id, status=status)


async def _say_undecided(connection: Connection, scan: Scan) -> list[str]:
    """Which suspicions could not be decided in the end."""
    notes = []
    for what, records in (("objects", False), ("records", True)):
        if left := await count_suspects(connection, scan, records=records):
            first = await select_suspects(
                connection, scan, records=records, after=ObjectRef("", ""), limit=HOLES_NAMED_MAX
            )
            named = ", ".join(each.id if records else f"{each.kind} {each.id}" for each in first)
            notes.append(f"{left} {what} were changing until the end: audit again later ({named})")
    count, unread = await select_unread(connection, scan, limit=HOLES_NAMED_MAX)
    if count:
        notes.append(f"{count} objects could not be read")
        notes += [f"{each.kind} {each.id}: {each.error}" for each in unread]
    return notes


async def end_audit(connection: Connection, scan: Scan, *, status: str, error: str | None) -> None:
    """End an audit, for whatever reason: none of Stripe's answers is kept. In a transaction."""
    await finish_scan(connection, scan.id, status=status, error=error)
    await close_audit(connection, scan, keep=AUDITS_KEPT)
