"""Repair: objects that differ are marked, so that confirm reads them again, and derive follows."""

from collections.abc import Sequence

from billing.kinds.found import ObjectRef
from billing.kinds.registry import KINDS
from billing.record import customer_uid
from db.connection import Connection
from db.keys import Key, Scope
from db.mirror.tables import remove_rows
from db.records.compare import select_surplus_records
from db.records.records import remove_records, restore_customer_ids
from db.sync.audits import (
    RECORD,
    Drift,
    ReadAt,
    keys_of,
    mark_repaired,
    raise_tombstones,
    select_drift,
    select_motion,
    select_waiting,
)
from db.sync.customers import mark_stale
from db.sync.objects import mark_objects
from db.sync.scans import Scan
from runtime.retry import retry_conflicts
from worker.audit.objects import DRIFT_EXAMINED_MAX
from worker.audit.records import MOTION_WAIT, MOTION_WAITS_MAX
from worker.lists.steps import CUSTOMERS_AT_ONCE, Place, Turn, go_on, stay
from worker.live.marks import bare_mark


async def repair(turn: Turn, scan: Scan) -> None:
    """Mark the objects that name a customer; objects that concern customers only through these come in later steps.

    A row that Stripe does not know, and that no event and no read ever reported, belongs to nobody: it is removed. One
    that was reported stays, as missing, since a 404 proves nothing. Such rows, records of no customer and wrong
    customer ids of records are mended first: a derivation meanwhile would count the rows, and it finds records by these
    ids.
    """
    scope = scan.scope
    async with turn.pool.acquire() as connection, connection.transaction():
        drift = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX + CUSTOMERS_AT_ONCE)
        records = [each for each in drift if each.kind == RECORD]
        surplus = await select_surplus_records(connection, scope)
        nobody = [each.id for each in records if each.what == "surplus"]
        await remove_records(connection, [surplus[each] for each in nobody if each in surplus])
        names = {
            customer_uid(*scope, each.id): each.id for each in records if "stripe_customer_id" in each.fields
        }
        await restore_customer_ids(connection, scope, names)
        for kind, ids in (await _invented(connection, scope, drift)).items():
            await remove_rows(connection, scope, kind, ids)
    await _repair_objects(turn, scan, rank=0)


async def repair_charges(turn: Turn, scan: Scan) -> None:
    """Mark charges, once their owners are right: one that names no customer belongs to its Checkout session's or
    invoice's.
    """
    await _repair_next(turn, scan, rank=1)


async def repair_parts(turn: Turn, scan: Scan) -> None:
    """Mark the rest, once the objects that name customers are right: the mirror says which customers a refund or a
    price concerns.
    """
    await _repair_next(turn, scan, rank=2)


def _rank(kind: str) -> int:
    """The order of repair: a kind comes after the kinds that say which customers it concerns. A wrong row among these
    would name customers that do not exist, and they would be requested forever.
    """
    if kind == "charge":
        return 1
    return 0 if KINDS[kind].names_customer else 2


async def _repair_next(turn: Turn, scan: Scan, *, rank: int) -> None:
    scope = scan.scope
    async with turn.pool.acquire() as connection:
        drift = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX)
        owners = [
            ObjectRef(each.kind, each.id) for each in drift if each.kind != RECORD and _rank(each.kind) < rank
        ]
        waiting = await select_waiting(connection, scope, owners)
        place = Place.of(scan)
        if waiting and place.round < MOTION_WAITS_MAX:
            await stay(connection, scan, cursor=place.next_round().cursor, wait=MOTION_WAIT)
            return
    await _repair_objects(turn, scan, rank=rank)


async def _repair_objects(turn: Turn, scan: Scan, *, rank: int) -> None:
    scope = scan.scope
    kinds = [kind for kind in KINDS if _rank(kind) == rank]

    async def mark() -> None:
        async with turn.pool.acquire() as connection, connection.transaction():
            drift = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX)
            objects = [each for each in drift if each.kind in kinds]
            invented = await _invented(connection, scope, objects)
            marked = [each for each in objects if each.id not in invented.get(each.kind, ())]
            await raise_tombstones(connection, scope, [ObjectRef(each.kind, each.id) for each in marked])
            marks = await mark_objects(
                connection,
                [bare_mark(Key(*scope, each.kind, each.id), source="audit") for each in marked],
            )
            for kind in kinds:
                await mark_repaired(
                    connection, scan, kind, [each.id for each in objects if each.kind == kind]
                )
            stale = {each.customer_id for each in marks.values() if each.customer_id is not None}
            if stale:
                await mark_stale(connection, keys_of(scope, sorted(stale)))
            await go_on(connection, scan)

    await retry_conflicts(mark)


async def _invented(connection: Connection, scope: Scope, drift: Sequence[Drift]) -> dict[str, list[str]]:
    """The rows, by kind, that Stripe does not know and that no event and no read ever reported."""
    unknown = [each for each in drift if each.kind != RECORD and each.said is None]
    heard_of = await select_motion(connection, scope, [ReadAt(each.kind, each.id, 0) for each in unknown])
    invented: dict[str, list[str]] = {}
    for each in unknown:
        if ObjectRef(each.kind, each.id) not in heard_of:
            invented.setdefault(each.kind, []).append(each.id)
    return invented


async def repair_records(turn: Turn, scan: Scan) -> None:
    """Mark the customers of wrong records, so that they are derived again."""
    scope = scan.scope

    async def mark() -> None:
        async with turn.pool.acquire() as connection, connection.transaction():
            drift = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX + CUSTOMERS_AT_ONCE)
            records = [each for each in drift if each.kind == RECORD]
            wrong = sorted(each.id for each in records if each.what != "surplus")
            if wrong:
                await mark_stale(connection, keys_of(scope, wrong))
            await mark_repaired(connection, scan, RECORD, [each.id for each in records])
            await go_on(connection, scan)

    await retry_conflicts(mark)
