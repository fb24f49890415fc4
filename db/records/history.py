"""The histories of status and MRR: steps per customer, which a confirmation may take back, and what caused them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from billing.history import Step
from billing.mrr_history import Chain, Change
from db.columns import arrays_of, columns_of, names_of, parameters_of, values_of
from db.connection import Connection
from db.keys import Key, columns_of_keys

# Status


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChange:
    """One row of billing.status_changes."""

    customer_uid: UUID
    status_before: str | None
    status_after: str | None
    changed_at: datetime
    exact: bool
    event_id: str | None
    source: str


STATUS_CHANGE_COLUMNS = columns_of(StatusChange)

SELECT_PROVISIONAL_CHANGES = """
select customer_uid, id, status_before, status_after
from billing.status_changes
where customer_uid = any ($1::uuid[]) and not exact
order by customer_uid, id
"""

TAKE_BACK_CHANGES = "delete from billing.status_changes where id = any ($1::bigint[])"

CONFIRM_CHANGES = "update billing.status_changes set exact = true where id = any ($1::bigint[])"

APPEND_CHANGES = f"""
insert into billing.status_changes ({names_of(STATUS_CHANGE_COLUMNS)})
select {values_of(STATUS_CHANGE_COLUMNS)}
from unnest({parameters_of(STATUS_CHANGE_COLUMNS, first=1)}) with ordinality
  as new ({names_of(STATUS_CHANGE_COLUMNS)}, place)
order by new.place
"""


async def select_provisional_changes(
    connection: Connection, uids: Sequence[UUID]
) -> dict[UUID, list[Step[str | None]]]:
    """The unconfirmed tail of each customer's status changes, oldest first."""
    tails: dict[UUID, list[Step[str | None]]] = {}
    for row in await connection.fetch(SELECT_PROVISIONAL_CHANGES, uids):
        tails.setdefault(row["customer_uid"], []).append(
            Step(id=row["id"], before=row["status_before"], after=row["status_after"])
        )
    return tails


SELECT_LAST_CHANGES = """
select customer_uid, max(changed_at) as changed_at, max(changed_at) filter (where exact) as settled_at
from billing.status_changes
where customer_uid = any ($1::uuid[])
group by customer_uid
"""


async def select_last_changes(
    connection: Connection, uids: Sequence[UUID]
) -> dict[UUID, tuple[datetime, datetime | None]]:
    """When each customer's status changed last, and the last such time that is confirmed; customers without a change
    are left out.
    """
    rows = await connection.fetch(SELECT_LAST_CHANGES, uids)
    return {row["customer_uid"]: (row["changed_at"], row["settled_at"]) for row in rows}


async def write_status_changes(
    connection: Connection,
    *,
    taken_back: Sequence[int],
    confirmed: Sequence[int],
    appended: Sequence[StatusChange],
) -> None:
    """Take back what a confirmation contradicts, confirm what it agrees with, append what is new."""
    if taken_back:
        await connection.execute(TAKE_BACK_CHANGES, taken_back)
    if confirmed:
        await connection.execute(CONFIRM_CHANGES, confirmed)
    if appended:
        await connection.execute(APPEND_CHANGES, *arrays_of(STATUS_CHANGE_COLUMNS, appended))


# MRR


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


MRR_CHANGE_COLUMNS = columns_of(MrrChange)

# A revision needs only the end: the last confirmed step, and the unconfirmed ones after it.
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
insert into billing.mrr_changes ({names_of(MRR_CHANGE_COLUMNS)})
select {values_of(MRR_CHANGE_COLUMNS)}
from unnest({parameters_of(MRR_CHANGE_COLUMNS, first=1)}) with ordinality as new ({names_of(MRR_CHANGE_COLUMNS)}, place)
order by new.place
"""


async def select_chains(connection: Connection, uids: Sequence[UUID]) -> dict[UUID, dict[str, Chain]]:
    """Where these customers' histories end, by currency; histories without a step are left out."""
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
        await connection.execute(APPEND_MRR, *arrays_of(MRR_CHANGE_COLUMNS, appended))


# Causes


@dataclass(frozen=True, slots=True, kw_only=True)
class LastCause:
    """What last moved an object: the event that was applied last, and who marked it."""

    event_id: str | None
    event_created: datetime | None
    source: str | None
    tick: int  # of the change: a later one has a greater tick


# A change that an event announces counts from the event on; the read that follows only confirms it. A change that a
# deadline, an audit or a backfill finds counts from its read on.
SELECT_LAST_CAUSES = """
select account_id, live_mode, kind, id, event_id, event_created, source,
  greatest(dirty, told, case when source <> 'event' then confirmed end) as tick
from sync.objects
join unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
  using (account_id, live_mode, kind, id)
"""


async def select_last_causes(connection: Connection, keys: Sequence[Key]) -> dict[Key, LastCause]:
    """What last moved each of these objects (account, mode, kind, id)."""
    rows = await connection.fetch(
        SELECT_LAST_CAUSES,
        *columns_of_keys(Key, keys),
    )
    return {
        Key(row["account_id"], row["live_mode"], row["kind"], row["id"]): LastCause(
            event_id=row["event_id"],
            event_created=row["event_created"],
            source=row["source"],
            tick=row["tick"],
        )
        for row in rows
    }
