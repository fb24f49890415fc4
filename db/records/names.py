"""Names: which customer has which custom_uid.

Each customer's claim is a row of sync.uid_claims, written in the transaction that stores its record, under the lock
that every writer of records holds to its commit. So claims change one transaction after another, and whoever stores a
record sees all claims that were made before. The first claim of a name, in the order of an index, has it: what a claim
costs does not depend on how many others there are.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from billing.claims import CLAIMANTS_MAX, crowd_of, decide, holder_of
from billing.facts import UidClaim, uid_of_unlinked, unlinked_key
from billing.problems import CUSTOM_UID_CROWDED, CUSTOM_UID_TAKEN, Problem
from db.columns import arrays_of, columns_of, names_of, parameters_of
from db.connection import Connection
from db.keys import Scope
from db.mirror.claims import count_crowds, select_claims, select_crowded, select_first_claims
from db.records.records import LOCK_NUMBERING

_COLUMNS = columns_of(UidClaim)
_NAMES = names_of(_COLUMNS)

WRITE_CLAIMS = f"""
insert into sync.uid_claims (account_id, live_mode, {_NAMES})
select $1, $2, {names_of(_COLUMNS, prefix="new.")}
from unnest({parameters_of(_COLUMNS, first=3)}) as new ({_NAMES})
order by new.customer_id
on conflict (account_id, live_mode, customer_id) do update set
  {", ".join(f"{column.name} = excluded.{column.name}" for column in _COLUMNS if column.name != "customer_id")}
"""

REMOVE_CLAIMS = """
delete from sync.uid_claims where account_id = $1 and live_mode = $2 and customer_id = any ($3::text[])
"""

# A record that has a name whose first claim is another customer's.
TAKE_NAMES = f"""
update billing.customers r
set custom_uid = null, change = nextval('billing.change'), updated_at = now()
from unnest($3::text[], $4::text[]) as holder (custom_uid, customer_id)
where r.account_id = $1 and r.live_mode = $2 and r.custom_uid = holder.custom_uid
  and coalesce(r.stripe_customer_id, '{unlinked_key("")}' || r.uid) <> holder.customer_id
returning r.change
"""

GIVE_NAMES = """
update billing.customers r
set custom_uid = holder.custom_uid, change = nextval('billing.change'), updated_at = now()
from unnest($3::text[], $4::text[]) as holder (custom_uid, customer_id)
where r.account_id = $1 and r.live_mode = $2 and r.stripe_customer_id = holder.customer_id
  and r.custom_uid is distinct from holder.custom_uid
returning r.change
"""

# To customers that Stripe does not know. `coalesce`: by the uid alone, whatever a planner thinks of how many those are.
GIVE_NAMES_TO_UNLINKED = """
update billing.customers r
set custom_uid = holder.custom_uid, change = nextval('billing.change'), updated_at = now()
from unnest($3::text[], $4::uuid[]) as holder (custom_uid, uid)
where r.account_id = $1 and r.live_mode = $2 and r.uid = holder.uid and coalesce(r.stripe_customer_id, '') = ''
  and r.custom_uid is distinct from holder.custom_uid
returning r.change
"""

REPLACE_TAKEN = f"""
with new as (
  select *
  from unnest($4::text[], $5::text[], $6::text[]) as new (customer_id, object_id, detail)
), mended as (
  delete from sync.problems p
  where p.account_id = $1 and p.live_mode = $2 and p.customer_id = any ($3::text[]) and p.kind = '{CUSTOM_UID_TAKEN}'
    and not exists (
      select from new where new.customer_id = p.customer_id and new.object_id = p.object_id
    )
)
insert into sync.problems (account_id, live_mode, customer_id, kind, object_id, detail)
select $1, $2, customer_id, '{CUSTOM_UID_TAKEN}', object_id, detail
from new
order by customer_id, object_id
on conflict (account_id, live_mode, customer_id, kind, object_id) do update set detail = excluded.detail
"""

# When a name has just become crowded: those who had a problem each were not more than CLAIMANTS_MAX.
REMOVE_TAKEN = f"""
delete from sync.problems p
using sync.uid_claims c
where p.account_id = $1 and p.live_mode = $2 and p.kind = '{CUSTOM_UID_TAKEN}'
  and c.account_id = p.account_id and c.live_mode = p.live_mode and c.customer_id = p.customer_id
  and c.custom_uid = any ($3::text[])
"""

REPLACE_CROWDS = f"""
with new as (
  select * from unnest($4::text[], $5::text[]) as new (custom_uid, detail)
), mended as (
  delete from sync.problems p
  where p.account_id = $1 and p.live_mode = $2 and p.customer_id = '' and p.kind = '{CUSTOM_UID_CROWDED}'
    and p.object_id = any ($3::text[]) and not exists (select from new where new.custom_uid = p.object_id)
)
insert into sync.problems as stored (account_id, live_mode, customer_id, kind, object_id, detail)
select $1, $2, '', '{CUSTOM_UID_CROWDED}', custom_uid, detail
from new
order by custom_uid
on conflict (account_id, live_mode, customer_id, kind, object_id) do update set detail = excluded.detail
where stored.detail <> excluded.detail
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Who has the names that some customers claim, now that their claims are stored."""

    holders: Mapping[str, UidClaim] = field(default_factory=dict)
    crowded: Collection[str] = frozenset()
    changes: tuple[int, ...] = ()
    """The numbers of the changes of other customers' records, whose names these claims have changed."""

    def holder(self, claim: UidClaim | None) -> UidClaim | None:
        """The claim that has the name which this one claims."""
        return None if claim is None else self.holders.get(claim.custom_uid)

    def is_crowded(self, claim: UidClaim | None) -> bool:
        """Whether too many customers claim the name which this one claims."""
        return claim is not None and claim.custom_uid in self.crowded


async def settle_names(connection: Connection, scope: Scope, claims: Mapping[str, UidClaim | None]) -> Names:
    """Store these customers' claims, and change the records and problems of the others whose names they change: of each
    name at most the one that loses it and the one that gets it.

    The caller has the right to store these customers' records (`finish_derived`), and stores them in this transaction.
    Where there is a name at all, the numbering lock is taken, and held to the commit.
    """
    stored = await select_claims(connection, scope, claims)
    names = {claim.custom_uid for claim in (*claims.values(), *stored.values()) if claim is not None}
    if not names:
        return Names()
    await connection.execute(LOCK_NUMBERING)
    changed = {customer: claim for customer, claim in claims.items() if claim != stored.get(customer)}
    given_up = {stored[customer].custom_uid for customer in changed if customer in stored}
    taken_up = {claim.custom_uid for claim in changed.values() if claim is not None}
    moved = given_up | taken_up
    before = await _holders(connection, scope, moved)
    crowded_before = await select_crowded(connection, scope, names)
    if written := [claim for claim in changed.values() if claim is not None]:
        await connection.execute(WRITE_CLAIMS, *scope, *arrays_of(_COLUMNS, written))
    if removed := [customer for customer, claim in changed.items() if claim is None]:
        await connection.execute(REMOVE_CLAIMS, *scope, removed)
    holders = await _holders(connection, scope, names)
    # Another claim makes a crowd no smaller.
    counted = (given_up & crowded_before) | (taken_up - crowded_before)
    crowded = crowded_before - counted
    if counted:
        crowded |= await count_crowds(connection, scope, counted)
    passed = {
        name: holders[name].customer_id
        for name in moved
        if name in holders and holders[name].customer_id not in claims
    }
    changes: list[int] = []
    for statement in (TAKE_NAMES, GIVE_NAMES) if passed else ():
        rows = await connection.fetch(statement, *scope, list(passed), list(passed.values()))
        changes += [row[0] for row in rows]
    unlinked = {name: uid for name, key in passed.items() if (uid := uid_of_unlinked(key)) is not None}
    if unlinked:
        rows = await connection.fetch(GIVE_NAMES_TO_UNLINKED, *scope, list(unlinked), list(unlinked.values()))
        changes += [row[0] for row in rows]
    retold = {
        name
        for name in moved
        if before.get(name) != holders.get(name) or (name in crowded_before) != (name in crowded)
    }
    await _retell(connection, scope, retold - crowded, holders, but=claims.keys())
    if begun := crowded - crowded_before:
        await connection.execute(REMOVE_TAKEN, *scope, list(begun))
    if retold & (crowded | crowded_before):
        await _tell_crowds(
            connection, scope, retold, {name: crowd_of(holders[name]) for name in retold & crowded}
        )
    return Names(holders=holders, crowded=crowded, changes=tuple(changes))


async def _holders(connection: Connection, scope: Scope, names: Collection[str]) -> dict[str, UidClaim]:
    """The claim that has each of these names."""
    if not names:
        return {}
    first = await select_first_claims(connection, scope, names, limit=1)
    return {name: holder_of(claims) for name, claims in first.items()}


async def _retell(
    connection: Connection,
    scope: Scope,
    names: Collection[str],
    holders: Mapping[str, UidClaim],
    *,
    but: Collection[str],
) -> None:
    """Tell the claimants of these names, except those whose records are just being stored, who has their name."""
    if not names:
        return
    first = await select_first_claims(connection, scope, names, limit=CLAIMANTS_MAX)
    others = [claim for claims in first.values() for claim in claims if claim.customer_id not in but]
    if not others:
        return
    told: list[tuple[str, Problem]] = []
    for claim in others:
        _, problems = decide(claim, holder=holders[claim.custom_uid], crowded=False)
        told += [(claim.customer_id, problem) for problem in problems]
    await connection.execute(
        REPLACE_TAKEN,
        *scope,
        [claim.customer_id for claim in others],
        [customer for customer, _ in told],
        [problem.object_id for _, problem in told],
        [problem.detail for _, problem in told],
    )


async def _tell_crowds(
    connection: Connection, scope: Scope, names: Collection[str], crowds: Mapping[str, Problem]
) -> None:
    """Of these names, these are crowded, with the problem that each has."""
    await connection.execute(
        REPLACE_CROWDS, *scope, list(names), list(crowds), [problem.detail for problem in crowds.values()]
    )
