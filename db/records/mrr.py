"""The history of MRR: steps per customer and currency, which a confirmation may take back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from billing.mrr import Chain, Change
from db.columns import arrays_of, columns_of, names_of, parameters_of, values_of
from db.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class MrrChange:
    """One row of billing.mrr_changes; amounts are minor units a month."""

    customer_uid: UUID
    account_id: str
    live_mode: bool
    currency: str
    mrr_before: int
    mrr_after: int
    changed_at: datetime
    exact: bool


COLUMNS = columns_of(MrrChange)

# What stands at the end is all that a revision needs: the last confirmed step, and those that are not.
SELECT_CHAINS = """
select c.customer_uid, c.currency, c.id, c.mrr_before, c.mrr_after, c.changed_at, c.exact
from billing.mrr_changes c
where c.customer_uid = any ($1::uuid[])
  and not (c.exact and exists (
    select from billing.mrr_changes later
    where later.customer_uid = c.customer_uid and later.currency = c.currency and later.id > c.id and later.exact
  ))
order by c.customer_uid, c.currency, c.id
"""

TAKE_BACK_MRR = "delete from billing.mrr_changes where id = any ($1::bigint[])"

CONFIRM_MRR = "update billing.mrr_changes set exact = true where id = any ($1::bigint[])"

APPEND_MRR = f"""
insert into billing.mrr_changes ({names_of(COLUMNS)})
select {values_of(COLUMNS)}
from unnest({parameters_of(COLUMNS, first=1)}) with ordinality as new ({names_of(COLUMNS)}, place)
order by new.place
"""


async def select_chains(connection: Connection, uids: Sequence[UUID]) -> dict[UUID, dict[str, Chain]]:
    """Where the histories of these customers stand, by currency; those without a step are not there."""
    rows = await connection.fetch(SELECT_CHAINS, uids)
    chains: dict[UUID, dict[str, Chain]] = {}
    for row in rows:
        of = chains.setdefault(row["customer_uid"], {})
        before = of.get(row["currency"], Chain())
        step = Change(mrr_before=row["mrr_before"], mrr_after=row["mrr_after"], changed_at=row["changed_at"])
        of[row["currency"]] = Chain(
            settled=before.settled or row["exact"],
            ends_at=step.mrr_after,
            changed_at=step.changed_at,
            settled_at=step.changed_at if row["exact"] else before.settled_at,
            tail=before.tail if row["exact"] else (*before.tail, (row["id"], step)),
        )
    return chains


async def write_mrr_changes(
    connection: Connection,
    *,
    taken_back: Sequence[int],
    confirmed: Sequence[int],
    appended: Sequence[MrrChange],
) -> None:
    """Take back what a confirmation contradicts, confirm what it agrees with, append what is new, in this order."""
    if taken_back:
        await connection.execute(TAKE_BACK_MRR, taken_back)
    if confirmed:
        await connection.execute(CONFIRM_MRR, confirmed)
    if appended:
        await connection.execute(APPEND_MRR, *arrays_of(COLUMNS, appended))
