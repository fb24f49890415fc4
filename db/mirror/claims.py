"""Claims of custom_uids, as they are stored: who claims a name, found by the name."""

from collections import defaultdict
from collections.abc import Collection, Iterable

from billing.claims import CLAIMANTS_MAX
from billing.facts import UidClaim
from billing.problems import CUSTOM_UID_CROWDED
from db.columns import columns_of, names_of
from db.connection import Connection
from db.keys import Scope

_COLUMNS = columns_of(UidClaim)
_NAMES = names_of(_COLUMNS)

SELECT_CLAIMS = f"""
select {_NAMES}
from sync.uid_claims
where account_id = $1 and live_mode = $2 and customer_id = any ($3::text[])
"""


async def select_claims(
    connection: Connection, scope: Scope, customers: Collection[str]
) -> dict[str, UidClaim]:
    """The stored claims of these customers, by customer."""
    rows = await connection.fetch(SELECT_CLAIMS, *scope, list(customers))
    return {row["customer_id"]: UidClaim(**row) for row in rows}


# Per name, so that each lookup ends after a few entries of the index.
SELECT_FIRST_CLAIMS = f"""
select {names_of(_COLUMNS, prefix="first.")}
from unnest($3::text[]) as named (custom_uid)
cross join lateral (
  select {_NAMES}
  from sync.uid_claims c
  where c.account_id = $1 and c.live_mode = $2 and c.custom_uid = named.custom_uid
  order by c.rank, c.customer_created, c.customer_id collate "C"
  limit $4
) first
"""

# A crowd is found when a claim makes it, and noted as a problem of the name: so nobody counts it again.
SELECT_CROWDED = f"""
select p.object_id
from sync.problems p
where p.account_id = $1 and p.live_mode = $2 and p.customer_id = '' and p.kind = '{CUSTOM_UID_CROWDED}'
  and p.object_id = any ($3::text[])
"""

COUNT_CROWDS = """
select named.custom_uid
from unnest($3::text[]) as named (custom_uid)
cross join lateral (
  select
  from sync.uid_claims c
  where c.account_id = $1 and c.live_mode = $2 and c.custom_uid = named.custom_uid
  order by c.rank, c.customer_created, c.customer_id collate "C"
  offset $4
  limit 1
) more
"""


async def select_first_claims(
    connection: Connection, scope: Scope, names: Iterable[str], *, limit: int
) -> dict[str, list[UidClaim]]:
    """The first claims of each name, at most so many."""
    claims: dict[str, list[UidClaim]] = defaultdict(list)
    for row in await connection.fetch(SELECT_FIRST_CLAIMS, *scope, list(names), limit):
        claims[row["custom_uid"]].append(UidClaim(**row))
    return claims


async def select_crowded(connection: Connection, scope: Scope, names: Iterable[str]) -> set[str]:
    """Those of the names that are known to be claimed by more than CLAIMANTS_MAX customers."""
    rows = await connection.fetch(SELECT_CROWDED, *scope, list(names))
    return {row[0] for row in rows}


async def count_crowds(connection: Connection, scope: Scope, names: Iterable[str]) -> set[str]:
    """Those of the names that more than CLAIMANTS_MAX customers claim, counted no further than that."""
    rows = await connection.fetch(COUNT_CROWDS, *scope, list(names), CLAIMANTS_MAX)
    return {row[0] for row in rows}
