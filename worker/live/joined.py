"""Joined customers: none has a record of its own. To derive one is to have the main one derived, whose record takes
over what it had.

Whoever derives the main one has the facts of all in one snapshot, and so derives all of them: a derivation of a joined
one that began before stores nothing any more. The rows of all are locked first, in the order of keys.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from billing.usage import meterings_of
from db.connection import Connection
from db.keys import CustomerKey
from db.records.joins import select_joins
from db.records.takeover import Taken, note_taken, take_over
from db.sync.customers import StaleCustomer, derive_within, finish_derived, lock_customers, mark_stale
from worker.live.history import NO_ENDS, Derivation

NONE_JOINED: Mapping[StaleCustomer, CustomerKey] = MappingProxyType({})
NOTED_LATER = timedelta(minutes=1)
"""After so long a record is derived again of which it could not be noted that it has taken another one over."""


async def lock_joined(
    connection: Connection,
    derivations: Sequence[Derivation],
    gone: Sequence[StaleCustomer],
    joined: Mapping[StaleCustomer, CustomerKey],
) -> Mapping[CustomerKey, int]:
    """If any of these customers is joined, or has some that are: lock all of them, in the order of keys; up to which
    `stale` each is derived.
    """
    others = [stale.key for each in derivations for stale in each.joined]
    if not others and not joined:
        return {}
    keys = {*others, *joined.values(), *(stale.key for stale in (*gone, *joined))}
    keys |= {each.stale.key for each in derivations}
    return await lock_customers(connection, next(iter(keys)).scope, [key.id for key in keys])


async def still_joined(connection: Connection, derivations: Sequence[Derivation]) -> list[Derivation]:
    """Those whose joined customers are joined to them still. With the locks of all: whoever changes joins marks them,
    and so waits, or has committed.

    The others must not be stored: a customer that has a record of its own again would lose the rows that it bought.
    They are stale, as the end of a join marks both.
    """
    joined = [stale.key for each in derivations for stale in each.joined]
    if not joined:
        return list(derivations)
    joins = await select_joins(connection, joined[0].scope, [key.id for key in joined])
    return [
        each
        for each in derivations
        if all(joins.main_of(stale.key.id) == each.stale.key.id for stale in each.joined)
    ]


async def pass_on(connection: Connection, mains: Collection[CustomerKey]) -> None:
    """Have these derived: customers that are joined to them have new facts."""
    if mains:
        await mark_stale(connection, sorted(mains))


async def take_over_joined(
    connection: Connection, kept: Sequence[Derivation], reached: Mapping[CustomerKey, int]
) -> tuple[list[CustomerKey], Mapping[UUID, str | None]]:
    """Make the joined customers part of these records, which are stored now: who they are, and where the histories of
    status end that were joined.

    One that was derived from later facts is left: it was marked after this snapshot, and so was the main one.
    """
    if not reached:
        return [], NO_ENDS
    taken = {
        stale: Taken(
            customer_id=facts.customer_id, uid=UUID(facts.identity.uid), into_uid=each.derived.record.uid
        )
        for each in kept
        for stale, facts in zip(each.joined, each.others, strict=True)
        if reached[stale.key] <= stale.stale and facts.identity is not None
    }
    if not taken:
        return [], NO_ENDS
    scope = next(iter(taken)).key.scope
    await finish_derived(connection, dict.fromkeys(taken))
    if unnoted := await note_taken(connection, scope, list(taken.values())):
        await derive_within(connection, scope, sorted(unnoted), NOTED_LATER)
    ends = await take_over(connection, scope, list(taken.values()))
    return [stale.key for stale in taken], ends


def metered_of(each: Derivation) -> list[CustomerKey]:
    """The customers of this record, by Stripe's ids, whose use is read."""
    if not each.others:
        return [each.stale.key] if each.derived.metered else []
    return [
        CustomerKey(*each.stale.key.scope, facts.customer_id)
        for facts in each.all_facts
        if meterings_of(facts)
    ]
