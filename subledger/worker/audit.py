"""Audit: whether the mirror says what Stripe's lists say, and the records what the mirror implies.

A list only raises a suspicion. A read by id decides on each, and nothing is ever written from either: with `repair`,
what differs is marked, and confirm and derive mend it. Only kinds that no event has read, and that no record depends
on, are brought up to date by the lists at once, since until then nobody could know. What a list lacks is looked for by
its id before anything is said of it (DESIGN.md, I8). Records are compared with what the mirror would imply once it is
right, so that a wrong row is counted once, and not again for each record that follows from it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
import structlog

from subledger.billing.facts import Facts, Part
from subledger.billing.lists import PER_CUSTOMER, THROUGH
from subledger.billing.parse import Parsed, parse_object
from subledger.billing.record import Derived, customer_uid, derive_record
from subledger.billing.registry import HINTED, KINDS
from subledger.db.connection import Connection, Pool
from subledger.db.queries.audits import (
    RECORD,
    AuditedCustomer,
    Drift,
    StoredWhole,
    close_audit,
    count_suspects,
    count_unexplained,
    count_unresolved,
    differing,
    dismiss,
    is_audit_due,
    keys_of,
    mark_repaired,
    note_drift,
    raise_tombstones,
    remove_records,
    remove_rows,
    rename_records,
    select_buried,
    select_changed_parts,
    select_customers_after,
    select_customers_by_id,
    select_drift,
    select_motion,
    select_stored_facts,
    select_surplus,
    select_surplus_parts,
    select_surplus_records,
    select_suspects,
    select_unlisted,
    select_waiting,
    select_whole_records,
    suspect,
)
from subledger.db.queries.backfills import Scan, Window, finish_scan, move_scan, select_holes
from subledger.db.queries.customers import mark_stale
from subledger.db.queries.facts import load_facts
from subledger.db.queries.inbox import reach_milestone
from subledger.db.queries.mirror import PARTS, MirrorRow, bury_rows, select_changed
from subledger.db.queries.objects import DueRead, Key, draw_tick, mark_objects
from subledger.runtime.backfills import ask_for_scan, read_request
from subledger.runtime.stripe_api import StripeMissing
from subledger.worker import clocks, entitlements
from subledger.worker.confirm import Answered, read_whole, store_answers, whole_objects
from subledger.worker.drain import Shown, write_mirror
from subledger.worker.forget import set_aside_answers
from subledger.worker.pages import SECOND, Page
from subledger.worker.payload import as_text
from subledger.worker.retry import retry_conflicts
from subledger.worker.steps import HOLD, Helpers, bare_mark, bounds_of, say_holes

READS_AT_ONCE = 20
CUSTOMERS_AT_ONCE = 500
DRIFT_EXAMINED_MAX = 10_000
"""Beyond it the mirror is not damaged but empty or of something else: a backfill is what helps, not reads by id."""
AUDITS_KEPT = 30
NIGHTLY_HOUR_UTC = 3
MOTION_WAIT = timedelta(seconds=1)
MOTION_WAITS_MAX = 120
"""What changes without an end, or cannot be read, is left unsaid: the audit then ends as partial."""

_AMOUNTS = {
    "charge": "amount_captured",
    "refund": "amount",
    "dispute": "amount",
    "invoice": "amount_paid",
    "invoice_payment": "amount_paid",
}
"""Per kind with money: the column whose difference is reported."""

log = structlog.get_logger()


async def ask_for_nightly_audit(pool: Pool, *, live_mode: bool) -> bool:
    """Have the key's own account audited and mended once a night; True when this call has asked for it."""
    async with pool.acquire() as connection, connection.transaction():
        if not await is_audit_due(connection, live_mode=live_mode, hour=NIGHTLY_HOUR_UTC):
            return False
        await ask_for_scan(connection, read_request({}), purpose="audit", live_mode=live_mode, repair=True)
        return True


# --- What a page raises ----------------------------------------------------------------------------------------------


async def audit_page(connection: Connection, window: Window, after: Window, page: Page) -> None:
    """Note what a page says otherwise than the mirror, in the transaction that moves the window's cursor."""
    told: dict[Key, Answered] = {}
    for answer in page.answers:
        for each in whole_objects(answer):
            told.setdefault(each.key, each)
    scope = (window.scan.account_id, window.scan.live_mode)
    forgotten = await set_aside_answers(connection, {key: each.parsed for key, each in told.items()})
    told_of = [each for key, each in told.items() if key not in forgotten]
    suspects: dict[Key, str] = dict.fromkeys(await _otherwise(connection, scope, told_of), "differs")
    await _refresh(
        connection,
        [told[key] for key in suspects if key[2] in HINTED]
        + [each for each in told_of if KINDS[each.key[2]].untold and each.key not in suspects],
    )
    suspects = {key: what for key, what in suspects.items() if key[2] not in HINTED}
    listed = {answer.key[3] for answer in page.answers} | {key[3] for key in page.unreadable}
    for object_id in await _surplus(connection, scope, window, after, page, listed):
        suspects.setdefault((*scope, window.kind, object_id), "surplus")
    for part, parent in THROUGH.items():
        if parent == window.kind:
            parts = {key[3] for key in told if key[2] == part}
            for object_id in await select_surplus_parts(
                connection, scope, part, parents=sorted(listed), listed=parts
            ):
                suspects.setdefault((*scope, part, object_id), "surplus")
    await suspect(connection, window.scan, suspects, tick=page.tick)


async def _refresh(connection: Connection, answers: list[Answered]) -> None:
    """Store what has changed without that anybody promised that it would be known by now."""
    if answers:
        await store_answers(connection, answers, source="audit", of_whole=True)


async def _otherwise(connection: Connection, scope: tuple[str, bool], told: Sequence[Answered]) -> list[Key]:
    """The keys whose stored facts are not those that were told."""
    found: list[Key] = []
    for kind in KINDS:
        of_kind = [each for each in told if each.key[2] == kind and each.parsed.facts is not None]
        if not of_kind:
            continue
        rows = [
            MirrorRow(account_id=scope[0], live_mode=scope[1], facts=each.parsed.facts, raw=each.raw)
            for each in of_kind
            if each.parsed.facts is not None
        ]
        found += await select_changed(connection, kind, rows)
        ids = [each.key[3] for each in of_kind]
        found += [(*scope, kind, named) for named in await select_buried(connection, scope, kind, ids)]
        if kind in PARTS:
            parts = [part for each in of_kind for part in each.parsed.parts]
            whole = [each.key[3] for each in of_kind if not each.parsed.items_cut]
            changed = await select_changed_parts(connection, scope, kind, whole, parts)
            found += [(*scope, kind, named) for named in changed]
    return found


async def _surplus(
    connection: Connection,
    scope: tuple[str, bool],
    window: Window,
    after: Window,
    page: Page,
    listed: set[str],
) -> list[str]:
    """The rows that should stand in this page and do not.

    A page ends in the middle of a second as a rule: rows created in its last second are looked for with the next page,
    which knows by `edge_ids` what of that second has been seen. Of a kind that does not say when, the last page knows
    by them all that has been seen.
    """
    if not KINDS[window.kind].says_created and page.has_more:
        return []
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


# --- The steps after the lists ---------------------------------------------------------------------------------------


async def step_audit(helpers: Helpers, scan: Scan) -> None:
    """Do what comes after the lists, one bounded step a call; each is safe to do again."""
    if scan.status != "running":
        await _finish(helpers, scan)
        return
    match scan.step:
        case "lists":
            await _suspect_unlisted(helpers, scan)
        case clocks.STEP:
            await _compare_clocks(helpers, scan)
        case entitlements.STEP:
            await _compare_entitlements(helpers, scan)
        case "reads":
            await _verify_objects(helpers, scan)
        case "records":
            await _compare_records(helpers, scan)
        case "second look":
            await _verify_records(helpers, scan)
        case "repair":
            await _repair(helpers, scan)
        case "repair parts":
            await _repair_parts(helpers, scan)
        case "repair records":
            await _repair_records(helpers, scan)
        case _:
            await _finish(helpers, scan)


async def _suspect_unlisted(helpers: Helpers, scan: Scan) -> None:
    """Rows that no list can have met, and objects that were read and have no row."""
    scope = (scan.account_id, scan.live_mode)
    low, high = bounds_of(scan, scan.horizon or datetime.now(UTC))
    kinds = (
        [kind for kind in KINDS if {**THROUGH, **PER_CUSTOMER}.get(kind, kind) in scan.kinds]
        if scan.whole
        else []
    )
    for kind in kinds:
        async with helpers.pool.acquire() as connection:
            found = await select_unlisted(
                connection, scope, kind, low=low, high=high, tick=scan.begun_tick or 0
            )
            await suspect(connection, scan, found, tick=scan.begun_tick or 0)
    on_clocks = entitlements.STEP if scan.live_mode else clocks.STEP
    await _move(helpers, scan, on_clocks if scan.whole else "reads")


async def _compare_clocks(helpers: Helpers, scan: Scan) -> None:
    """Compare what is on test clocks, which the lists leave out. Rows that no clock holds are suspected already."""
    scope = (scan.account_id, scan.live_mode)

    async def compare(clock: str) -> None:
        for kind in ("customer", "subscription"):
            for page in await clocks.pages_of(helpers, scan, clock, kind):
                told = {answer.key: answer for answer in page.answers}
                async with helpers.pool.acquire() as connection, connection.transaction():
                    forgotten = await set_aside_answers(
                        connection, {key: each.parsed for key, each in told.items()}
                    )
                    told_of = [each for key, each in told.items() if key not in forgotten]
                    found = await _otherwise(connection, scope, told_of)
                    await suspect(connection, scan, dict.fromkeys(found, "differs"), tick=page.tick)

    await clocks.each_clock(helpers, scan, compare, then=entitlements.STEP)


async def _compare_entitlements(helpers: Helpers, scan: Scan) -> None:
    """Read everybody's entitlements, which no list holds; such a read is by id, and so decides at once."""
    after = scan.step_cursor
    while not helpers.over():
        customers = await entitlements.entitled_after(helpers, scan, after)
        if not customers:
            await _move(helpers, scan, "reads")
            return
        verdicts = await asyncio.gather(
            *(_read(helpers, scan, entitlements.KIND, customer_id) for customer_id in customers)
        )
        after = customers[-1]
        async with helpers.pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            await _judge(connection, scan, verdicts)  # of what is in motion, the fence takes care
            await move_scan(connection, scan.id, step=entitlements.STEP, cursor=after, wait=HOLD)
    await _move(helpers, scan, entitlements.STEP, cursor=after)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """What a read by id said: `parsed` is None where Stripe knows no such object."""

    kind: str
    id: str
    tick: int
    parsed: Parsed | None
    raw: str | None


async def _verify_objects(helpers: Helpers, scan: Scan) -> None:
    """Read every suspect by its id. What is in motion is left for later; what agrees was no drift."""
    async with helpers.pool.acquire() as connection:
        many = await count_unexplained(connection, scan)
    if many > DRIFT_EXAMINED_MAX:
        log.error("too much drift to be examined", scan=scan.id, count=many)
        await _move(helpers, scan, "done")
        return
    moving = 0
    while not helpers.over():
        async with helpers.pool.acquire() as connection:
            suspects = await select_suspects(connection, scan, records=False, limit=READS_AT_ONCE + moving)
        suspects = suspects[moving:]
        if not suspects:
            if moving and await _wait(helpers, scan):
                return
            await _move(helpers, scan, "records")
            return
        verdicts = await asyncio.gather(*(_read(helpers, scan, kind, named) for kind, named, _ in suspects))
        async with helpers.pool.acquire() as connection, connection.transaction(isolation="repeatable_read"):
            moving += await _judge(connection, scan, verdicts)
    await _move(helpers, scan, "reads", cursor=scan.step_cursor)


async def _read(helpers: Helpers, scan: Scan, kind: str, object_id: str) -> _Verdict:
    key = (scan.account_id, scan.live_mode, kind, object_id)
    async with helpers.pool.acquire() as connection:
        tick = await draw_tick(connection)
    due = DueRead(key=key, tick=tick, attempts=1, never_read=False, deleted_event_at=None)
    try:
        answer = await read_whole(helpers.stripe, due)
    except StripeMissing:
        return _Verdict(kind=kind, id=object_id, tick=tick, parsed=None, raw=None)
    return _Verdict(kind=kind, id=object_id, tick=tick, parsed=answer.parsed, raw=answer.raw)


async def _judge(connection: Connection, scan: Scan, verdicts: Sequence[_Verdict]) -> int:
    """Note what differs and dismiss what agrees; returns how many are in motion, of which nothing can be said yet."""
    scope = (scan.account_id, scan.live_mode)
    motion = await select_motion(connection, scope, [(each.kind, each.id, each.tick) for each in verdicts])
    drift: list[Drift] = []
    agreed: list[tuple[str, str]] = []
    moving = 0
    for kind, group in groupby(sorted(verdicts, key=lambda each: each.kind), key=lambda each: each.kind):
        of_kind = list(group)
        stored = await select_stored_facts(connection, scope, kind, [each.id for each in of_kind])
        for each in of_kind:
            if motion.get((kind, each.id), False):
                moving += 1
                continue
            if _is_nothing(each) and (kind, each.id) not in motion:
                each = replace(each, parsed=None, raw=None)  # none there, and none ever told of
            found = _compare_object(each, stored.get(each.id))
            if found is None:
                agreed.append((kind, each.id))
            else:
                drift.append(found)
    await dismiss(connection, scan, agreed)
    await note_drift(connection, scan, drift, verified=True)
    return moving


def _is_nothing(verdict: _Verdict) -> bool:
    """Whether this is what Stripe says of a customer for whom it keeps nothing of a kind."""
    return verdict.kind in PER_CUSTOMER and verdict.parsed is not None and not verdict.parsed.parts


def _compare_object(verdict: _Verdict, stored: Mapping[str, Any] | None) -> Drift | None:
    """How an object and its row differ; None where they agree."""
    kind, parsed = verdict.kind, verdict.parsed
    if parsed is None or parsed.facts is None:
        if stored is None and parsed is None:
            return None  # neither knows it: it went between the list and the read
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
        return Drift(
            kind=kind, id=verdict.id, what="lacking", currency=currency, amount=amount, said=verdict.raw
        )
    fields = tuple(name for name in differing(parsed.facts, stored) if name not in KINDS[kind].untold)
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
        differing(part, by_id[part.id]) for part in wanted
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


# --- Records ---------------------------------------------------------------------------------------------------------


async def _compare_records(helpers: Helpers, scan: Scan) -> None:
    """Compare every record with what the mirror, once it is right, implies."""
    scope = (scan.account_id, scan.live_mode)
    after = scan.step_cursor
    async with helpers.pool.acquire() as connection:
        mending = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX)
    mending = [each for each in mending if each.kind != RECORD]
    while not helpers.over():
        async with helpers.pool.acquire() as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                customers = await select_customers_after(connection, scope, after, limit=CUSTOMERS_AT_ONCE)
                found = await _wrong_records(helpers, connection, scan, customers)
            if found and mending:
                doubtful = {each.id for each in found}
                found = await _as_if_mended(
                    helpers, connection, scan, mending, [each for each in customers if each.id in doubtful]
                )
            async with connection.transaction():
                await note_drift(connection, scan, found, verified=False)
                if customers:
                    after = customers[-1].id
                    await move_scan(connection, scan.id, step="records", cursor=after, wait=HOLD)
        if len(customers) < CUSTOMERS_AT_ONCE:
            await _move(helpers, scan, "second look")
            return
    await _move(helpers, scan, "records", cursor=after)


async def _wrong_records(
    helpers: Helpers, connection: Connection, scan: Scan, customers: Sequence[AuditedCustomer]
) -> list[Drift]:
    """The records that are not what the facts in this snapshot imply; of customers in motion nothing is said."""
    still = {each.id: each.complete for each in customers if not each.moving}
    if not still:
        return []
    now = datetime.now(UTC)
    facts = await load_facts(connection, scan.account_id, scan.live_mode, still)
    derived = [derive_record(each, as_of=now, policy=helpers.policy) for each in facts]
    stored = await select_whole_records(connection, [each.record.uid for each in derived])
    found = (_compare_record(each, stored[each.record.uid]) for each in derived)
    return [each for each in found if each is not None]


class _Undo(Exception):  # noqa: N818 - it names what is wanted
    """Take back what was written only to be looked at."""


async def _as_if_mended(
    helpers: Helpers,
    connection: Connection,
    scan: Scan,
    mending: Sequence[Drift],
    customers: Sequence[AuditedCustomer],
) -> list[Drift]:
    """The wrong records among these, were the mirror as Stripe says. What is written for this look is taken back."""

    async def look() -> list[Drift]:
        found: list[Drift] = []
        try:
            async with connection.transaction(isolation="repeatable_read"):
                await _mend(connection, scan, mending)
                found = await _wrong_records(helpers, connection, scan, customers)
                raise _Undo
        except _Undo:
            return found

    return await retry_conflicts(look)


async def _mend(connection: Connection, scan: Scan, mending: Sequence[Drift]) -> None:
    scope = (scan.account_id, scan.live_mode)
    shown: dict[Key, Shown] = {}
    deleted: dict[Key, datetime] = {}
    for each in mending:
        key = (*scope, each.kind, each.id)
        if each.said is None:
            continue
        body = msgspec.json.decode(each.said)
        parsed = parse_object(body, asked=True)
        if parsed.deleted:
            deleted[key] = scan.horizon or datetime.now(UTC)
        else:
            shown[key] = Shown(parsed=parsed, raw=as_text(body))
    await write_mirror(connection, shown, confirmed=True)
    await bury_rows(connection, deleted, told_by_event=False)
    surplus = sorted((each.kind, each.id) for each in mending if each.said is None)
    for kind, group in groupby(surplus, key=itemgetter(0)):
        await remove_rows(connection, scope, kind, [named for _, named in group])


def _compare_record(derived: Derived, stored: StoredWhole) -> Drift | None:
    """How a record with its products and revenue differs from what is stored; None where it does not."""
    record = derived.record
    currency, amount = _net_difference(derived, stored)
    if stored.record is None:
        return Drift(
            kind=RECORD, id=record.stripe_customer_id, what="lacking", currency=currency, amount=amount
        )
    fields = list(differing(record, stored.record))
    products = {product.id: product for product in derived.products}
    if products.keys() != stored.products.keys() or any(
        differing(product, stored.products[product.id]) for product in derived.products
    ):
        fields.append("customer_products")
    revenue = {row.currency: row for row in derived.revenue}
    if revenue.keys() != stored.revenue.keys() or any(
        differing(row, stored.revenue[row.currency]) for row in derived.revenue
    ):
        fields.append("customer_revenue")
    features = {row.feature_id: row for row in derived.features}
    if features.keys() != stored.features.keys() or any(
        differing(row, stored.features[row.feature_id]) for row in derived.features
    ):
        fields.append("customer_features")
    entities = {row.id: row for row in derived.entities}
    if entities.keys() != stored.entities.keys() or any(
        differing(row, stored.entities[row.id]) for row in derived.entities
    ):
        fields.append("entities")
    mrr = {row.currency: row for row in derived.mrr}
    if mrr.keys() != stored.mrr.keys() or any(
        differing(row, stored.mrr[row.currency]) for row in derived.mrr
    ):
        fields.append("customer_mrr")
    if not fields:
        return None
    return Drift(
        kind=RECORD,
        id=record.stripe_customer_id,
        what="differs",
        fields=tuple(fields),
        currency=currency,
        amount=amount,
    )


def _net_difference(derived: Derived, stored: StoredWhole) -> tuple[str | None, int]:
    """The first currency in which the net revenue differs, and by how much: right minus stored."""
    right = {row.currency: row.net for row in derived.revenue}
    wrong = {str(currency): row["net"] for currency, row in stored.revenue.items()}
    for currency in sorted(right.keys() | wrong.keys()):
        if right.get(currency, 0) != wrong.get(currency, 0):
            return currency, right.get(currency, 0) - wrong.get(currency, 0)
    record, main = derived.record, None if stored.record is None else stored.record
    if main is not None and record.revenue_currency == main["revenue_currency"]:
        return record.revenue_currency, record.lifetime_revenue - main["lifetime_revenue"]
    return None, 0


async def _verify_records(helpers: Helpers, scan: Scan) -> None:
    """Look at the wrong records once more when nothing is on its way any more that may put them right."""
    scope = (scan.account_id, scan.live_mode)
    await helpers.derive()
    async with helpers.pool.acquire() as connection:
        unresolved = await count_unresolved(connection)
        suspects = await select_suspects(connection, scan, records=True, limit=DRIFT_EXAMINED_MAX)
        customers = await select_customers_by_id(connection, scope, [named for _, named, _ in suspects])
    if (unresolved or any(each.moving for each in customers)) and await _wait(helpers, scan):
        return
    async with helpers.pool.acquire() as connection:
        mending = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX)
    mending = [each for each in mending if each.kind != RECORD]
    while not helpers.over():
        async with helpers.pool.acquire() as connection:
            suspects = await select_suspects(connection, scan, records=True, limit=CUSTOMERS_AT_ONCE)
            ids = [named for _, named, _ in suspects]
            customers = await select_customers_by_id(connection, scope, ids)
            found = await _as_if_mended(helpers, connection, scan, mending, customers) if customers else []
            wrong = {each.id for each in found}
            async with connection.transaction():
                await dismiss(connection, scan, [(RECORD, named) for named in ids if named not in wrong])
                await note_drift(connection, scan, found, verified=True)
        if len(suspects) < CUSTOMERS_AT_ONCE:
            await _note_surplus_records(helpers, scan)
            await _move(helpers, scan, "repair" if scan.repair else "done")
            return
    await _move(helpers, scan, "second look", cursor=scan.step_cursor)


async def _note_surplus_records(helpers: Helpers, scan: Scan) -> None:
    """Records of nobody. One whose customer id was changed is its customer's: it has been counted there."""
    scope = (scan.account_id, scan.live_mode)
    async with helpers.pool.acquire() as connection:
        counted = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX)
        known = {customer_uid(*scope, each.id) for each in counted if each.kind == RECORD}
        surplus = await select_surplus_records(connection, scope)
        drift = [
            Drift(kind=RECORD, id=named, what="surplus") for named, uid in surplus.items() if uid not in known
        ]
        await note_drift(connection, scan, drift, verified=True)


# --- Repair and end --------------------------------------------------------------------------------------------------


async def _repair(helpers: Helpers, scan: Scan) -> None:
    """Have what names a customer read again; what concerns customers only by such objects comes after them.

    A row that Stripe does not know, and that no event and no read ever told of, is nobody's: it goes. One that was
    told of stays, as missing, since a 404 proves nothing. Rows and records of nobody go first, and so do wrong names of
    records: whoever is derived meanwhile would count the rows, and tells others by the names.
    """
    scope = (scan.account_id, scan.live_mode)
    async with helpers.pool.acquire() as connection, connection.transaction():
        drift = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX + CUSTOMERS_AT_ONCE)
        records = [each for each in drift if each.kind == RECORD]
        surplus = await select_surplus_records(connection, scope)
        nobody = [each.id for each in records if each.what == "surplus"]
        await remove_records(connection, [surplus[each] for each in nobody if each in surplus])
        names = {
            customer_uid(*scope, each.id): each.id for each in records if "stripe_customer_id" in each.fields
        }
        await rename_records(connection, scope, names)
        for kind, ids in (await _invented(connection, scope, drift)).items():
            await remove_rows(connection, scope, kind, ids)
    await _repair_objects(helpers, scan, [kind for kind in KINDS if not _is_part(kind)], then="repair parts")


async def _repair_parts(helpers: Helpers, scan: Scan) -> None:
    """The rest, once what names customers is right: whom a refund or a price concerns, is asked of the mirror."""
    scope = (scan.account_id, scan.live_mode)
    async with helpers.pool.acquire() as connection:
        drift = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX)
        owners = [(each.kind, each.id) for each in drift if each.kind != RECORD and not _is_part(each.kind)]
        waiting = await select_waiting(connection, scope, owners)
    if waiting and await _wait(helpers, scan):
        return
    await _repair_objects(helpers, scan, [kind for kind in KINDS if _is_part(kind)], then="repair records")


def _is_part(kind: str) -> bool:
    return not KINDS[kind].names_customer


async def _repair_objects(helpers: Helpers, scan: Scan, kinds: Sequence[str], *, then: str) -> None:
    scope = (scan.account_id, scan.live_mode)

    async def mark() -> None:
        async with helpers.pool.acquire() as connection, connection.transaction():
            drift = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX)
            objects = [each for each in drift if each.kind in kinds]
            invented = await _invented(connection, scope, objects)
            marked = [each for each in objects if each.id not in invented.get(each.kind, ())]
            await raise_tombstones(connection, scope, [(each.kind, each.id) for each in marked])
            marks = await mark_objects(
                connection,
                [bare_mark((*scope, each.kind, each.id), source="audit") for each in marked],
            )
            for kind in kinds:
                await mark_repaired(
                    connection, scan, kind, [each.id for each in objects if each.kind == kind]
                )
            stale = {each.customer_id for each in marks.values() if each.customer_id is not None}
            if stale:
                await mark_stale(connection, keys_of(scope, sorted(stale)))
            await move_scan(connection, scan.id, step=then)

    await retry_conflicts(mark)


async def _invented(
    connection: Connection, scope: tuple[str, bool], drift: Sequence[Drift]
) -> dict[str, list[str]]:
    """The rows, by kind, that Stripe does not know and that no event and no read ever told of."""
    unknown = [each for each in drift if each.kind != RECORD and each.said is None]
    heard_of = await select_motion(connection, scope, [(each.kind, each.id, 0) for each in unknown])
    invented: dict[str, list[str]] = {}
    for each in unknown:
        if (each.kind, each.id) not in heard_of:
            invented.setdefault(each.kind, []).append(each.id)
    return invented


async def _repair_records(helpers: Helpers, scan: Scan) -> None:
    """Have the wrong records derived anew."""
    scope = (scan.account_id, scan.live_mode)

    async def mark() -> None:
        async with helpers.pool.acquire() as connection, connection.transaction():
            drift = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX + CUSTOMERS_AT_ONCE)
            records = [each for each in drift if each.kind == RECORD]
            wrong = sorted(each.id for each in records if each.what != "surplus")
            if wrong:
                await mark_stale(connection, keys_of(scope, wrong))
            await mark_repaired(connection, scan, RECORD, [each.id for each in records])
            await move_scan(connection, scan.id, step="done")

    await retry_conflicts(mark)


async def _finish(helpers: Helpers, scan: Scan) -> None:
    low, high = bounds_of(scan, scan.horizon or datetime.now(UTC))
    async with helpers.pool.acquire() as connection:
        holes = (
            await select_holes(connection, scan, low=low, high=high)
            if low < high and scan.status == "running"
            else []
        )
        left = await count_suspects(connection, scan)
        many = await count_unexplained(connection, scan)
        error = say_holes(holes) if holes else None
        if many > DRIFT_EXAMINED_MAX:
            error = (
                f"{many} objects differ: more than can be read one by one, so no record was compared; "
                "run `subledger backfill`, then audit again"
            )
        elif left:
            error = (
                error
                or f"{left} objects were changing, or could not be read, until the end: audit again later"
            )
        status = "partial" if error else "complete"
        async with connection.transaction():
            await finish_scan(connection, scan.id, status=status, error=error)
            if status == "complete" and scan.status == "running" and scan.whole:
                await reach_milestone(connection, "audit")
            await close_audit(connection, scan, keep=AUDITS_KEPT)
    log.info("audit ended", scan=scan.id, status=status)


async def _wait(helpers: Helpers, scan: Scan) -> bool:
    """Do this step again a little later, since something is in motion; False when it has been long enough."""
    waits = int(scan.step_cursor or 0) + 1
    if waits > MOTION_WAITS_MAX:
        return False
    async with helpers.pool.acquire() as connection:
        await move_scan(connection, scan.id, step=scan.step, cursor=str(waits), wait=MOTION_WAIT)
    return True


async def _move(helpers: Helpers, scan: Scan, step: str, *, cursor: str = "") -> None:
    async with helpers.pool.acquire() as connection:
        await move_scan(connection, scan.id, step=step, cursor=cursor)
