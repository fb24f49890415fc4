"""Derive: records are recomputed from the mirror, never incremented (ARCHITECTURE.md, deriving).

`stale` is read first, and committed with the lease; then all facts in one snapshot; then the rules run, holding no
lock; then a short transaction stores the records that were not derived from later facts meanwhile.

What a batch loads is bounded. A customer with more than that has a line of its own (heavy.py).
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from uuid import UUID

import asyncpg
import structlog

from billing.facts import CustomerFacts, uid_of_unlinked
from billing.joined import derive_joined
from billing.record import Policy, named
from db.connection import Connection
from db.keys import CustomerKey, Scope
from db.mirror.facts import load_facts
from db.mirror.sizes import have_more_rows, select_sizes
from db.records.joins import Joins, select_joins
from db.records.moved import UsageIsAddedUp, hold_usage
from db.records.names import settle_names
from db.records.records import (
    NUMBERS_ARE_UNIQUE,
    StoredProblem,
    change_uids,
    doubt_record,
    remove_unlinked,
    replace_parts,
    replace_problems,
    select_stored,
    write_records,
)
from db.sync.catalogue import SELECT_HOLDERS, fan_out, fans_wait
from db.sync.customers import (
    StaleCustomer,
    claim_stale,
    finish_derived,
    forget_unlinked,
    park_customer,
    release_stale,
    resolve_touched,
    select_as_stale,
    select_touched,
)
from db.sync.heavy import put_over
from db.sync.incarnation import Numbers, keep_one_history
from db.sync.usage import enlist_metered
from runtime.retry import ATTEMPTS_MAX, NotTheRow, retry_conflicts
from runtime.traces import tracing
from worker.leases import Held, holding
from worker.live.history import Derivation, write_mrr_history, write_status_history
from worker.live.joined import NONE_JOINED, lock_joined, metered_of, pass_on, still_joined, take_over_joined
from worker.live.links import link_by_name
from worker.live.traced import trace_derived

BATCH = 500
FAN_OUT_OBJECTS = 50
FAN_OUT_HOLDERS = 1_000
"""Subscriptions gone through at a time: their customers are locked together, for some milliseconds."""
LEASE = timedelta(seconds=60)
HEAVY_ROWS = 5_000
"""Who has more rows in the mirror is heavy."""
ROWS_AT_ONCE = 10_000
"""What a batch may load: those who become stale meanwhile wait for it."""

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

    if not await fans_wait(connection):
        return 0

    async def mark() -> int:
        async with connection.transaction():
            return await fan_out(connection, objects=objects, holders=holders)

    return await retry_conflicts(mark)


async def derive_batch(
    connection: Connection,
    *,
    policy: Policy,
    limit: int = BATCH,
    since: timedelta = timedelta(0),
    held: Held[StaleCustomer] | None = None,
) -> int:
    """Derive the customers that have been stale longest, and for so long at least; returns how many were claimed.
    `held` notes them while they are.

    A customer that was claimed before, and so may have killed its worker, is derived alone. One that turns out to be
    heavy is left to its own line, and what would be too much at once to the next batch.
    """
    claimed = await claim_stale(connection, limit=limit, lease=LEASE, since=since)
    mine = list(claimed)
    # Held once, to the end: only what was derived shows that Postgres was not brought down again.
    with holding(held, mine):
        mine[:] = await _keep_light(connection, claimed)
        await derive_claimed(connection, mine, policy=policy)
    return len(claimed)


async def _keep_light(connection: Connection, claimed: Sequence[StaleCustomer]) -> list[StaleCustomer]:
    """Give up the claims of all but so many of these customers as are derived now."""
    sizes = await _measure(connection, claimed)
    heavy = [stale for stale in claimed if is_heavy(sizes.get(stale.key, 0))]
    if heavy:
        log.info("heavy customers left to their own line", customers=[stale.key.id for stale in heavy])
        await retry_conflicts(lambda: put_over(connection, heavy))
    light = {stale.key: stale for stale in claimed if not is_heavy(sizes.get(stale.key, 0))}
    first, *later = [*in_pieces(list(light), sizes)] or [[]]
    if later:
        await release_stale(connection, [light[key] for piece in later for key in piece])
    return [light[key] for key in first]


async def _measure(connection: Connection, claimed: Sequence[StaleCustomer]) -> dict[CustomerKey, int]:
    sizes: dict[CustomerKey, int] = {}
    keys = sorted(stale.key for stale in claimed)
    for scope, group in groupby(keys, key=lambda key: key.scope):
        sizes |= await measure(connection, scope, [key.id for key in group])
    return sizes


async def measure(connection: Connection, scope: Scope, ids: Sequence[str]) -> dict[CustomerKey, int]:
    """How many rows each of these customers has, heavy ones at least; of customers who together have few, nothing. The
    rows of those that are joined to one are its own, and theirs are none.
    """
    joins = await select_joins(connection, scope, ids)
    everyone = list({*ids, *joins.mains})
    if not await have_more_rows(connection, scope, everyone, than=HEAVY_ROWS):
        return {}
    sizes: dict[CustomerKey, int] = {}
    for each, rows in (await select_sizes(connection, scope, everyone, up_to=HEAVY_ROWS + 1)).items():
        main = CustomerKey(*scope, joins.main_of(each))
        sizes[main] = sizes.get(main, 0) + rows
    return sizes


async def is_still_heavy(connection: Connection, key: CustomerKey) -> bool:
    """Whether a heavy customer remains one: one at the limit does not go to and fro."""
    joins = await select_joins(connection, key.scope, [key.id])
    if joins.is_joined(key.id):
        return False
    return await have_more_rows(
        connection, key.scope, [key.id, *joins.joined_to(key.id)], than=HEAVY_ROWS // 2
    )


def is_heavy(rows: int) -> bool:
    """Whether a customer with so many rows is derived apart."""
    return rows > HEAVY_ROWS


def in_pieces(keys: Sequence[CustomerKey], sizes: Mapping[CustomerKey, int]) -> Iterator[list[CustomerKey]]:
    """These customers in their order, so many at a time as may be loaded at once; a heavy one alone."""
    piece: list[CustomerKey] = []
    rows = 0
    for key in keys:
        size = sizes.get(key, 0)
        if is_heavy(size):
            size = ROWS_AT_ONCE + 1
        if piece and rows + size > ROWS_AT_ONCE:
            yield piece
            piece, rows = [], 0
        piece.append(key)
        rows += size
    if piece:
        yield piece


async def derive_in_pieces(
    connection: Connection, claimed: Sequence[StaleCustomer], *, policy: Policy
) -> int:
    """Derive customers leased to us, heavy ones too, for a process for which nobody waits; returns how many records
    changed.
    """
    sizes = await _measure(connection, claimed)
    by_key = {stale.key: stale for stale in claimed}
    changed = 0
    for piece in in_pieces(list(by_key), sizes):
        changed += await derive_claimed(connection, [by_key[key] for key in piece], policy=policy)
    return changed


async def derive_claimed(
    connection: Connection, claimed: Sequence[StaleCustomer], *, policy: Policy, apart: bool = False
) -> int:
    """Derive customers leased to us; returns how many records changed. A failure is stored with its customer, unless
    it is one of NotTheRow, which is raised.

    `apart`: they are heavy, so the event loop gets its turns meanwhile.
    """
    changed = 0
    claimed = sorted(claimed, key=lambda stale: stale.key)
    fresh = [stale for stale in claimed if stale.attempts == 1]
    for _, scope in groupby(fresh, key=lambda stale: stale.key.scope):
        group = list(scope)
        try:
            changed += await _derive(connection, group, policy, apart=apart)
        except NotTheRow:
            raise
        except Exception as error:  # noqa: BLE001 - one bad customer must never stop another (I7)
            log.warning(
                "batch not derived, taking its customers one by one", count=len(group), error=repr(error)
            )
            for stale in group:
                changed += await _derive_alone(connection, stale, policy, apart=apart)
    for stale in claimed:
        if stale.attempts > 1:
            changed += await _derive_alone(connection, stale, policy, apart=apart)
    return changed


async def _derive_alone(connection: Connection, stale: StaleCustomer, policy: Policy, *, apart: bool) -> int:
    try:
        if stale.attempts > ATTEMPTS_MAX:
            raise LostWorkers(
                f"taken {stale.attempts - 1} times, and its worker was lost or cut off each time"
            )
        return await _derive(connection, [stale], policy, apart=apart)
    except NotTheRow:
        raise
    except Exception as error:  # noqa: BLE001 - one bad customer must never stop another (I7)
        log.error(
            "customer not derived",
            account=stale.key.account_id,
            customer=stale.key.id,
            attempts=stale.attempts,
            error=repr(error),
        )
        description = repr(error)
        await retry_conflicts(lambda: _park(connection, stale, description))
        return 0


async def _park(connection: Connection, stale: StaleCustomer, error: str) -> None:
    """Note why deriving failed; a customer that is given up keeps a record that is not exact."""
    async with connection.transaction():
        if await park_customer(connection, stale, error=error, attempts_max=ATTEMPTS_MAX):
            await doubt_record(connection, stale.key)


async def _derive(
    connection: Connection, group: Sequence[StaleCustomer], policy: Policy, *, apart: bool
) -> int:
    """Derive customers of one account and mode; returns how many records changed."""
    began_ns = time.time_ns()
    account_id, live_mode, _ = group[0].key
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        joins = await select_joins(connection, group[0].key.scope, [stale.key.id for stale in group])
        own = [stale for stale in group if not joins.is_joined(stale.key.id)]
        others = await _others(connection, own, joins)
        complete = {
            stale.key.id: stale.complete for stale in (*own, *(each for of in others.values() for each in of))
        }
        facts = await load_facts(connection, account_id, live_mode, complete, gently=apart) if own else []
    by_customer = {each.customer_id: each for each in facts}
    gone = [stale for stale in own if by_customer[stale.key.id].is_gone]
    derivations = [
        await _apply_rules(stale, by_customer, others.get(stale.key.id, ()), policy, apart=apart)
        for stale in own
        if stale not in gone
    ]
    joined = {
        stale: CustomerKey(account_id, live_mode, joins.main_of(stale.key.id))
        for stale in group
        if joins.is_joined(stale.key.id)
    }

    async def store() -> int:
        return await store_derivations(connection, derivations, gone=gone, joined=joined)

    try:
        changed = await retry_conflicts(store)
    except asyncpg.UniqueViolationError as taken:
        if taken.constraint_name != NUMBERS_ARE_UNIQUE:
            raise
        # The sequence was set back. No customer is to blame: it is raised, and the records are stored.
        await keep_one_history(connection, Numbers())
        changed = await retry_conflicts(store)
    await link_by_name(connection, derivations)
    if (traces := tracing()) is not None:
        exact = {
            stale.key: each.derived.record.exact
            for each in derivations
            for stale in (each.stale, *each.joined)
        }
        await trace_derived(connection, traces, exact, began_ns=began_ns)
    return changed


async def _others(
    connection: Connection, own: Sequence[StaleCustomer], joins: Joins
) -> dict[str, tuple[StaleCustomer, ...]]:
    """Of each of these customers to whom others are joined: those, as they are in this snapshot."""
    mains = {stale.key.id for stale in own}
    joined = {each: main for each, main in joins.mains.items() if main in mains}
    if not joined:
        return {}
    found = await select_as_stale(connection, own[0].key.scope, joined)
    groups: dict[str, list[StaleCustomer]] = {}
    for each, main in joined.items():
        groups.setdefault(main, []).append(found[each])
    return {main: tuple(of) for main, of in groups.items()}


async def _apply_rules(
    stale: StaleCustomer,
    facts: Mapping[str, CustomerFacts],
    joined: tuple[StaleCustomer, ...],
    policy: Policy,
    *,
    apart: bool,
) -> Derivation:
    """Derive one customer, `apart` from the event loop. Its row will be locked while it is stored: so everything that
    storing it asks for is computed before.
    """

    def apply() -> Derivation:
        own, others = facts[stale.key.id], tuple(facts[each.key.id] for each in joined)
        derived = derive_joined(own, others, as_of=stale.as_of, policy=policy)
        derivation = Derivation(stale=stale, facts=own, derived=derived, others=others, joined=joined)
        if apart:
            derivation.mrr.prepare(as_of=stale.as_of)
        return derivation

    return await asyncio.to_thread(apply) if apart else apply()


async def store_derivations(
    connection: Connection,
    derivations: Sequence[Derivation],
    *,
    gone: Sequence[StaleCustomer] = (),
    joined: Mapping[StaleCustomer, CustomerKey] = NONE_JOINED,
) -> int:
    """Store the records, unless another worker was faster with later facts; returns how many changed.

    All are of one account and mode. `gone`: customers without a Stripe customer whose identity is not there any more,
    or is linked now. `joined`: customers that have no record; the one whose record it is, is to be derived. Who has
    which custom_uid is decided here, when all claims made before are seen.
    """
    try:
        async with connection.transaction():
            return await _store(connection, derivations, gone, joined)
    except UsageIsAddedUp:  # some uids change, which is rare: nobody else takes this lock for it
        async with connection.transaction():
            await hold_usage(connection)
            return await _store(connection, derivations, gone, joined)


async def _store(
    connection: Connection,
    derivations: Sequence[Derivation],
    gone: Sequence[StaleCustomer],
    joined: Mapping[StaleCustomer, CustomerKey],
) -> int:
    reached = await lock_joined(connection, derivations, gone, joined)
    mine = await finish_derived(
        connection,
        {each.stale: each.derived.rederive_at for each in derivations} | dict.fromkeys([*gone, *joined]),
    )
    kept = await still_joined(connection, [each for each in derivations if each.stale.key in mine])
    left = [stale for stale in gone if stale.key in mine]
    await pass_on(connection, {main for stale, main in joined.items() if stale.key in mine} - mine)
    if not kept and not left:
        return 0
    taken, ends = await take_over_joined(connection, kept, reached)
    uids = [each.derived.record.uid for each in kept]
    renamed = await change_uids(connection, {each.derived.record.uid: each.stale.key for each in kept})
    stored = await select_stored(connection, uids)
    parts_changed = await replace_parts(connection, [each.derived for each in kept])
    await write_status_history(connection, kept, stored, ends)
    await write_mrr_history(connection, kept)
    metered = [key for each in kept for key in metered_of(each)]
    if metered:
        await enlist_metered(connection, metered)
    # From here on under the lock of numbering: others change the names and problems of these customers, too.
    scope = next(iter(mine)).scope
    names = await settle_names(
        connection,
        scope,
        {each.stale.key.id: each.derived.claim for each in kept}
        | dict.fromkeys(key.id for key in [*(stale.key for stale in left), *taken]),
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
        [*(each.stale.key for each in kept), *(stale.key for stale in left), *taken],
        [
            StoredProblem(
                customer=CustomerKey(*scope, each.customer_id),
                kind=problem.kind,
                object_id=problem.object_id,
                detail=problem.detail,
            )
            for each in settled
            for problem in each.problems
        ],
    )
    if left:
        await forget_unlinked(connection, left)
        await remove_unlinked(connection, [uid_of(stale) for stale in left])
    return await write_records(
        connection,
        [each.record for each in settled],
        stored=stored,
        parts_changed=parts_changed | renamed,
        passed=names.changes,
    )


def uid_of(stale: StaleCustomer) -> UUID:
    """The uid of a customer that Stripe does not know."""
    uid = uid_of_unlinked(stale.key.id)
    if uid is None:
        raise ValueError(f"{stale.key.id} is an id of Stripe's")
    return uid
