"""Records, each compared with what the mirror would imply if it were right.

A customer in motion is not judged: which customers are compared, and whether they are in motion, is read in the same
snapshot that compares them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from operator import attrgetter

import asyncpg
import msgspec
import structlog

from billing.currencies import storable
from billing.facts import CustomerFacts, UidClaim
from billing.joined import derive_joined
from billing.kinds.found import ObjectRef
from billing.kinds.parse import parse_object
from billing.record import Derived, customer_uid
from db.columns import differing
from db.connection import Connection, PostgresAway
from db.keys import CustomerKey, Key
from db.mirror.claims import select_claims
from db.mirror.facts import load_facts
from db.mirror.tables import bury_rows, remove_rows
from db.records.compare import (
    AuditedCustomer,
    StoredWhole,
    count_unresolved,
    differing_parts,
    select_customers_after,
    select_customers_by_id,
    select_snapshot_time,
    select_surplus_records,
    select_whole_records,
    with_joined,
)
from db.sync.audits import (
    RECORD,
    Drift,
    Mending,
    ReadAt,
    Unread,
    count_suspects,
    dismiss,
    note_drift,
    note_unread,
    select_drift,
    select_mending,
    select_motion,
    select_suspects,
)
from db.sync.customers import mark_overdue
from db.sync.scans import Scan
from runtime.payload import as_text
from runtime.retry import retry_conflicts
from worker.audit.objects import DRIFT_EXAMINED_MAX
from worker.lists.steps import CUSTOMERS_AT_ONCE, HOLD, Place, Turn, go_on, stay
from worker.live.derive import in_pieces, is_heavy, measure
from worker.live.mirror import Shown, write_mirror

log = structlog.get_logger()

MOTION_WAIT = timedelta(seconds=1)
MOTION_WAITS_MAX = 120
"""A customer that never stops changing is left undecided: the audit then ends as partial."""


async def compare_records(turn: Turn, scan: Scan) -> None:
    """Compare every record with what the mirror would imply if it were right. Customers in motion are left to the
    second look.
    """
    scope = scan.scope
    after = scan.step_cursor
    async with turn.pool.acquire() as connection:
        mending = await select_mending(connection, scan, limit=DRIFT_EXAMINED_MAX)
    while not turn.over():
        async with turn.pool.acquire() as connection:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                customers = await select_customers_after(connection, scope, after, limit=CUSTOMERS_AT_ONCE)
                customers, joined = await with_joined(connection, scope, customers)
                found, failed = await _wrong_records(turn, connection, scan, customers, joined)
            if (found or failed) and mending:
                suspects = found + [Drift(kind=RECORD, id=each.id, what="unsettled") for each in failed]
                wrong, moving, failed = await _as_if_mended(
                    turn, connection, scan, mending, [each.id for each in suspects]
                )
                found = wrong + [each for each in suspects if each.id in moving]
            found += [Drift(kind=RECORD, id=each.id, what="unsettled") for each in customers if each.moving]
            async with connection.transaction():
                await note_drift(connection, scan, found, verified=False)
                await note_unread(connection, scan, failed)
                if customers:
                    after = customers[-1].id
                    await stay(connection, scan, cursor=after, wait=HOLD)
            if len(customers) < CUSTOMERS_AT_ONCE:
                await go_on(connection, scan)
                return
    await turn.stay(scan, cursor=after)


async def _wrong_records(
    turn: Turn,
    connection: Connection,
    scan: Scan,
    customers: Sequence[AuditedCustomer],
    joined: Mapping[str, Sequence[AuditedCustomer]],
) -> tuple[list[Drift], list[Unread]]:
    """The records that differ from what the facts in this snapshot imply, without those of customers in motion; and
    those that cannot be loaded or derived, which cost no other (I7). `joined`: who is joined to them.
    """
    still = {each.id: each.complete for each in customers if not each.moving and not each.is_joined}
    if not still:
        return [], []
    now = await select_snapshot_time(connection)
    derived: list[Derived] = []
    failed: list[Unread] = []
    sizes = await measure(connection, scan.scope, list(still))
    for piece in in_pieces([CustomerKey(*scan.scope, each) for each in still], sizes):
        apart = is_heavy(sizes.get(piece[0], 0))
        owners = {key.id: key.id for key in piece}
        complete = {key.id: still[key.id] for key in piece}
        for key in piece:
            for other in joined.get(key.id, ()):
                complete[other.id], owners[other.id] = other.complete, key.id
        facts, unread = await _loaded(connection, scan, complete, apart=apart)
        failed += [Unread(RECORD, owners[each.id], each.error) for each in unread]
        bad = {owners[each.id] for each in unread}
        by_id = {each.customer_id: each for each in facts}
        for key in piece:
            if key.id in bad or (each := by_id[key.id]).is_gone:
                continue
            others = [by_id[other.id] for other in joined.get(key.id, ())]
            derive = partial(derive_joined, each, others, as_of=now, policy=turn.policy)
            try:
                derived.append(await asyncio.to_thread(derive) if apart else derive())
            except Exception as error:
                log.exception("record not derived", scan=scan.id, customer=each.customer_id)
                failed.append(Unread(RECORD, each.customer_id, repr(error)))
    stored = await select_whole_records(connection, [each.record.uid for each in derived])
    claims = await select_claims(connection, scan.scope, still)
    found = (_compare_record(each, stored[each.record.uid], claims.get(each.customer_id)) for each in derived)
    return [each for each in found if each is not None], failed


async def _loaded(
    connection: Connection, scan: Scan, complete: Mapping[str, bool], *, apart: bool
) -> tuple[list[CustomerFacts], list[Unread]]:
    """The facts of these customers, and those whose facts are no facts: a damaged row may hold anything. `apart`: of a
    heavy one.
    """
    try:
        return await load_facts(connection, *scan.scope, complete, gently=apart), []
    except (*PostgresAway, asyncpg.PostgresError):
        raise
    except Exception as error:
        if len(complete) == 1:
            log.exception("facts not loaded", scan=scan.id, customers=[*complete])
            return [], [Unread(RECORD, customer_id, repr(error)) for customer_id in complete]
    found: list[CustomerFacts] = []
    failed: list[Unread] = []
    for customer_id, known in complete.items():
        more, bad = await _loaded(connection, scan, {customer_id: known}, apart=apart)
        found += more
        failed += bad
    return found, failed


class _TakenBack(Exception):
    """Ends a transaction whose writes are to leave no trace."""


@asynccontextmanager
async def _taken_back(connection: Connection) -> AsyncIterator[None]:
    """A transaction that sees one moment of the database, and whose writes are rolled back at its end."""
    try:
        async with connection.transaction(isolation="repeatable_read"):
            yield
            raise _TakenBack
    except _TakenBack:
        pass


async def _as_if_mended(
    turn: Turn, connection: Connection, scan: Scan, mending: Sequence[Mending], ids: Sequence[str]
) -> tuple[list[Drift], set[str], list[Unread]]:
    """Which of these customers' records would be wrong if the mirror were right; which customers are in motion, so that
    nothing can be said of them yet; and which records cannot be derived.

    The mirror is mended and its records derived in a transaction that is rolled back: so a wrong row is counted once,
    and not again for each record that follows from it.
    """

    async def look() -> tuple[list[Drift], set[str], list[Unread]]:
        async with _taken_back(connection):
            customers = await select_customers_by_id(connection, scan.scope, ids)
            customers, joined = await with_joined(connection, scan.scope, customers)
            # Rows that name no customer may concern any of them until they are resolved.
            unresolved = await count_unresolved(connection, scan.scope)
            moving = {each.id for each in customers if each.moving or unresolved}
            still = [each for each in customers if each.id not in moving]
            found: list[Drift] = []
            failed: list[Unread] = []
            if still:
                await _write_answers(connection, scan, mending)
                found, failed = await _wrong_records(turn, connection, scan, still, joined)
            return found, moving, failed

    return await retry_conflicts(look)


async def _write_answers(connection: Connection, scan: Scan, mending: Sequence[Mending]) -> None:
    """Write into the mirror what Stripe said about wrong rows, unless an event or a read came since: there the
    mirror knows better.
    """
    scope = scan.scope
    motion = await select_motion(
        connection, scope, [ReadAt(each.kind, each.id, each.tick) for each in mending]
    )
    shown: dict[Key, Shown] = {}
    deleted: dict[Key, datetime] = {}
    surplus: list[ObjectRef] = []
    for each in mending:
        ref = ObjectRef(each.kind, each.id)
        if motion.get(ref, False):
            continue
        if each.said is None:
            surplus.append(ref)
            continue
        key = Key(*scope, each.kind, each.id)
        body = msgspec.json.decode(each.said)
        parsed = parse_object(body, asked=True)
        if parsed.deleted:
            deleted[key] = scan.horizon or datetime.now(UTC)
        else:
            shown[key] = Shown(parsed=parsed, raw=as_text(body))
    await write_mirror(connection, shown, confirmed=True)
    await bury_rows(connection, deleted, by_event=False)
    for kind, refs in groupby(sorted(surplus), key=attrgetter("kind")):
        await remove_rows(connection, scope, kind, [ref.id for ref in refs])


def _compare_record(derived: Derived, stored: StoredWhole, claim: UidClaim | None) -> Drift | None:
    """How a record with its products, revenue, features, entities and MRR, and its claim of a custom_uid, differs from
    what is stored; None if it does not.
    """
    record = derived.record
    currency, amount = _net_difference(derived, stored)
    if stored.record is None:
        return Drift(kind=RECORD, id=derived.customer_id, what="lacking", currency=currency, amount=amount)
    fields = list(differing(record, stored.record))
    fields += differing_parts(derived, stored)
    if derived.claim != claim:
        fields.append("uid_claims")
    if not fields:
        return None
    return Drift(
        kind=RECORD,
        id=derived.customer_id,
        what="differs",
        fields=tuple(fields),
        currency=currency,
        amount=amount,
    )


def _net_difference(derived: Derived, stored: StoredWhole) -> tuple[str | None, int]:
    """The first currency in which the net revenue differs, and by how much: right minus stored."""
    right = {row.currency: row.net for row in derived.revenue}
    wrong = {row["currency"]: row["net"] for row in stored.parts["revenue"].values()}
    for currency in sorted(right.keys() | wrong.keys()):
        if right.get(currency, 0) != wrong.get(currency, 0):
            return currency, _minus(right.get(currency, 0), wrong.get(currency, 0))
    record, main = derived.record, None if stored.record is None else stored.record
    if main is not None and record.revenue_currency == main["revenue_currency"]:
        return record.revenue_currency, _minus(record.lifetime_revenue, main["lifetime_revenue"])
    return None, 0


def _minus(right: int | None, stored: int | None) -> int:
    """The difference; 0 if one of the two is too large to be told, or if it is itself."""
    return 0 if right is None or stored is None else storable(right - stored) or 0


async def verify_records(turn: Turn, scan: Scan) -> None:
    """Look at the wrong records once more, when nothing that may put them right is under way any longer.

    A customer in motion is looked at again a little later, and is left undecided after the last time.
    """
    place = Place.of(scan)
    async with turn.pool.acquire() as connection:
        # A record that only time has changed is no drift.
        while await mark_overdue(connection, limit=CUSTOMERS_AT_ONCE) == CUSTOMERS_AT_ONCE:
            pass
    await turn.derive()
    mending: list[Mending] | None = None
    while not turn.over():
        async with turn.pool.acquire() as connection:
            suspects = await select_suspects(
                connection, scan, records=True, after=place.after, limit=CUSTOMERS_AT_ONCE
            )
            if suspects and mending is None:
                mending = await select_mending(connection, scan, limit=DRIFT_EXAMINED_MAX)
            ids = [suspect.id for suspect in suspects]
            found, moving, failed = await _as_if_mended(turn, connection, scan, mending or [], ids)
            decided = {*ids} - moving - {each.id for each in failed}
            wrong = {each.id for each in found}
            async with connection.transaction():
                await dismiss(
                    connection, scan, [ObjectRef(RECORD, named) for named in sorted(decided - wrong)]
                )
                await note_drift(connection, scan, found, verified=True)
                await note_unread(connection, scan, failed)
                if suspects:
                    place = place._replace(after=suspects[-1].ref)
                    await stay(connection, scan, cursor=place.cursor, wait=HOLD)
            if len(suspects) == CUSTOMERS_AT_ONCE:
                continue
            left = await count_suspects(connection, scan, records=True)
            if left and place.round < MOTION_WAITS_MAX:
                await stay(connection, scan, cursor=place.next_round().cursor, wait=MOTION_WAIT)
                return
            await _note_surplus_records(connection, scan)
            await go_on(connection, scan)
            return
    await turn.stay(scan, cursor=place.cursor)


async def _note_surplus_records(connection: Connection, scan: Scan) -> None:
    """Note records of no customer. A record whose customer id was changed is counted as its customer's already."""
    scope = scan.scope
    counted = await select_drift(connection, scan, limit=DRIFT_EXAMINED_MAX)
    known = {customer_uid(*scope, each.id) for each in counted if each.kind == RECORD}
    surplus = await select_surplus_records(connection, scope)
    drift = [
        Drift(kind=RECORD, id=named, what="surplus") for named, uid in surplus.items() if uid not in known
    ]
    await note_drift(connection, scan, drift, verified=True)
