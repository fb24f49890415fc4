"""Derive: records are recomputed from the mirror, never incremented (ARCHITECTURE.md, deriving).

`stale` is read first, and committed with the lease; then all facts in one snapshot; then the rules run, holding no
lock; then a short transaction stores the records that were not derived from later facts meanwhile.
"""

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby

import asyncpg
import structlog

from billing.record import Policy, derive_record, named
from db.connection import Connection, PostgresAway
from db.keys import CustomerKey
from db.mirror.facts import load_facts
from db.records.names import settle_names
from db.records.records import (
    NUMBERS_ARE_UNIQUE,
    StoredProblem,
    change_uids,
    doubt_record,
    replace_parts,
    replace_problems,
    select_stored,
    write_records,
)
from db.sync.catalogue import SELECT_HOLDERS, fan_out
from db.sync.customers import (
    StaleCustomer,
    claim_stale,
    finish_derived,
    park_customer,
    resolve_touched,
    select_touched,
)
from db.sync.incarnation import Numbers, keep_one_history
from db.sync.usage import enlist_metered
from worker.leases import Held, holding
from worker.live.history import Derivation, write_mrr_history, write_status_history
from worker.retry import ATTEMPTS_MAX, retry_conflicts

BATCH = 500
FAN_OUT_OBJECTS = 50
FAN_OUT_HOLDERS = 1_000
"""Subscriptions gone through at a time: their customers are locked together, for some milliseconds."""
LEASE = timedelta(seconds=60)

log = structlog.get_logger()


class LostWorkers(RuntimeError):
    """Several workers died while they derived this customer."""


async def resolve_batch(connection: Connection, *, limit: int = BATCH) -> int:
    """Mark the customers that touched rows concern, except the catalogue's; returns how many rows were looked at."""
    touched = await select_touched(connection, limit=limit, but=SELECT_HOLDERS)
    if touched:

        async def resolve() -> None:
            async with connection.transaction():
                await resolve_touched(connection, touched)

        await retry_conflicts(resolve)
    return len(touched)


async def fan_out_batch(
    connection: Connection, *, objects: int = FAN_OUT_OBJECTS, holders: int = FAN_OUT_HOLDERS
) -> int:
    """Mark customers that a change of the catalogue concerns, in one short transaction; returns how many objects of the
    catalogue were looked at. Each call continues where the last one stopped, in any process.
    """

    async def mark() -> int:
        async with connection.transaction():
            return await fan_out(connection, objects=objects, holders=holders)

    return await retry_conflicts(mark)


async def derive_batch(
    connection: Connection, *, policy: Policy, limit: int = BATCH, held: Held[StaleCustomer] | None = None
) -> int:
    """Derive the customers that have been stale longest; returns how many were claimed. `held` notes them while they
    are.

    A customer that was claimed before, and so may have killed its worker, is derived alone.
    """
    claimed = await claim_stale(connection, limit=limit, lease=LEASE)
    with holding(held, claimed):
        await derive_claimed(connection, claimed, policy=policy)
    return len(claimed)


async def derive_claimed(connection: Connection, claimed: Sequence[StaleCustomer], *, policy: Policy) -> int:
    """Derive customers leased to us; returns how many records changed. A failure is stored with its customer."""
    changed = 0
    claimed = sorted(claimed, key=lambda stale: stale.key)
    fresh = [stale for stale in claimed if stale.attempts == 1]
    for _, scope in groupby(fresh, key=lambda stale: stale.key.scope):
        group = list(scope)
        try:
            changed += await _derive(connection, group, policy)
        except PostgresAway:
            raise
        except Exception as error:  # noqa: BLE001 - one bad customer must never stop another (I7)
            log.warning(
                "batch not derived, taking its customers one by one", count=len(group), error=str(error)
            )
            for stale in group:
                changed += await _derive_alone(connection, stale, policy)
    for stale in claimed:
        if stale.attempts > 1:
            changed += await _derive_alone(connection, stale, policy)
    return changed


async def _derive_alone(connection: Connection, stale: StaleCustomer, policy: Policy) -> int:
    try:
        if stale.attempts > ATTEMPTS_MAX:
            raise LostWorkers(
                f"taken {stale.attempts - 1} times, and its worker was lost or cut off each time"
            )
        return await _derive(connection, [stale], policy)
    except PostgresAway:
        raise
    except Exception as error:  # noqa: BLE001 - one bad customer must never stop another (I7)
        log.error("customer not derived", customer=stale.key.id, attempts=stale.attempts, error=repr(error))
        description = repr(error)
        await retry_conflicts(lambda: _park(connection, stale, description))
        return 0


async def _park(connection: Connection, stale: StaleCustomer, error: str) -> None:
    """Note why deriving failed; a customer that is given up keeps a record that is not exact."""
    async with connection.transaction():
        if await park_customer(connection, stale, error=error, attempts_max=ATTEMPTS_MAX):
            await doubt_record(connection, stale.key)


async def _derive(connection: Connection, group: Sequence[StaleCustomer], policy: Policy) -> int:
    """Derive customers of one account and mode; returns how many records changed."""
    account_id, live_mode, _ = group[0].key
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        facts = await load_facts(
            connection, account_id, live_mode, {stale.key.id: stale.complete for stale in group}
        )
    by_customer = {each.customer_id: each for each in facts}
    derivations = [
        Derivation(
            stale=stale,
            facts=by_customer[stale.key.id],
            derived=derive_record(by_customer[stale.key.id], as_of=stale.as_of, policy=policy),
        )
        for stale in group
    ]
    try:
        return await retry_conflicts(lambda: store_derivations(connection, derivations))
    except asyncpg.UniqueViolationError as taken:
        if taken.constraint_name != NUMBERS_ARE_UNIQUE:
            raise
        # The sequence was set back. No customer is to blame: it is raised, and the records are stored.
        await keep_one_history(connection, Numbers())
        return await retry_conflicts(lambda: store_derivations(connection, derivations))


async def store_derivations(connection: Connection, derivations: Sequence[Derivation]) -> int:
    """Store the records, unless another worker was faster with later facts; returns how many changed.

    All are of one account and mode. Who has which custom_uid is decided here, when all claims made before are seen.
    """
    async with connection.transaction():
        mine = await finish_derived(
            connection, {each.stale: each.derived.rederive_at for each in derivations}
        )
        kept = [each for each in derivations if each.stale.key in mine]
        if not kept:
            return 0
        uids = [each.derived.record.uid for each in kept]
        renamed = await change_uids(connection, {each.derived.record.uid: each.stale.key for each in kept})
        stored = await select_stored(connection, uids)
        parts_changed = await replace_parts(connection, [each.derived for each in kept])
        await write_status_history(connection, kept, stored)
        await write_mrr_history(connection, kept)
        metered = [each.stale.key for each in kept if each.derived.metered]
        if metered:
            await enlist_metered(connection, metered)
        # From here on under the lock of numbering: others change the names and problems of these customers, too.
        scope = kept[0].stale.key.scope
        names = await settle_names(
            connection, scope, {each.stale.key.id: each.derived.claim for each in kept}
        )
        settled = [
            named(
                each.derived,
                holder=names.holder(each.derived.claim),
                crowded=names.is_crowded(each.derived.claim),
            )
            for each in kept
        ]
        await replace_problems(
            connection,
            [each.stale.key for each in kept],
            [
                StoredProblem(
                    customer=CustomerKey(*scope, each.record.stripe_customer_id),
                    kind=problem.kind,
                    object_id=problem.object_id,
                    detail=problem.detail,
                )
                for each in settled
                for problem in each.problems
            ],
        )
        return await write_records(
            connection,
            [each.record for each in settled],
            stored=stored,
            parts_changed=parts_changed | renamed,
            passed=names.changes,
        )
