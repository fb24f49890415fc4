"""Taking over: a customer that is joined to another one has no record. Its history becomes part of the other one's, and
what it has used follows, in the transaction that stores that record.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from billing.joined import StatusStep, join_changes, join_status_steps
from billing.mrr_history import Change
from billing.record import customer_uid
from billing.status import Status
from db.connection import Connection
from db.keys import Scope
from db.records.history import MrrChange, StatusChange, write_mrr_changes, write_status_changes
from db.records.moved import MOVE_USAGE, try_to_hold_usage
from db.records.records import LOCK_NUMBERING, MOVE_ENTITIES, remove_records


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A customer that is joined: what it had by itself becomes another one's."""

    customer_id: str  # Stripe's
    uid: UUID  # of its identity
    into_uid: UUID  # of the record to which it belongs


# A record may have another uid than the identity, which is younger.
SELECT_OWN = """
select uid, stripe_customer_id
from billing.customers
where account_id = $1 and live_mode = $2 and stripe_customer_id = any ($3::text[])
"""

SELECT_LEFT = """
select uid from billing.customers where uid = any ($1::uuid[])
union
select customer_uid from billing.status_changes where customer_uid = any ($1::uuid[])
union
select customer_uid from billing.mrr_changes where customer_uid = any ($1::uuid[])
union
select customer_uid from billing.customer_usage where customer_uid = any ($1::uuid[])
"""

# Who removes or moves one of these joins holds its row, and waits for the locks of customers that we hold: it must not
# be waited for.
NOTE_TAKEN = """
with news as materialized (
  select j.account_id, j.live_mode, j.stripe_customer_id, taken.uid
  from billing.joined_customers j
  join unnest($3::text[], $4::uuid[]) as taken (stripe_customer_id, uid) using (stripe_customer_id)
  where j.account_id = $1 and j.live_mode = $2 and j.customer_uid is distinct from taken.uid
), free as materialized (
  select j.account_id, j.live_mode, j.stripe_customer_id, news.uid
  from billing.joined_customers j
  join news using (account_id, live_mode, stripe_customer_id)
  for no key update of j skip locked
), noted as (
  update billing.joined_customers j
  set customer_uid = free.uid
  from free
  where (j.account_id, j.live_mode, j.stripe_customer_id) = (free.account_id, free.live_mode, free.stripe_customer_id)
)
select stripe_customer_id from news
except
select stripe_customer_id from free
"""


async def note_taken(connection: Connection, scope: Scope, taken: Sequence[Taken]) -> set[str]:
    """Note which record has taken these customers over; returns those of which it could not be noted, by Stripe's ids:
    somebody ends that join just now, or gives it up again.
    """
    rows = await connection.fetch(
        NOTE_TAKEN, *scope, [each.customer_id for each in taken], [each.into_uid for each in taken]
    )
    return {row[0] for row in rows}


SELECT_STATUS_STEPS = """
select customer_uid, status_before, status_after, changed_at, event_id, source
from billing.status_changes
where customer_uid = any ($1::uuid[]) and exact
order by customer_uid, id
"""

SELECT_MRR_STEPS = """
select customer_uid, currency, mrr_before, mrr_after, changed_at
from billing.mrr_changes
where customer_uid = any ($1::uuid[]) and exact
order by customer_uid, currency, id
"""

REMOVE_STATUS_STEPS = "delete from billing.status_changes where customer_uid = any ($1::uuid[])"

REMOVE_MRR_STEPS = "delete from billing.mrr_changes where customer_uid = any ($1::uuid[])"

MOVE_READ_USAGE = """
update billing.customer_usage u set customer_uid = moved.after
from unnest($1::uuid[], $2::uuid[]) as moved (before, after)
where u.customer_uid = moved.before
"""


async def take_over(connection: Connection, scope: Scope, taken: Sequence[Taken]) -> dict[UUID, str | None]:
    """Remove what these customers still have of their own, and join their histories with those of the customers that
    take them over: where the history of status of each of these ends now, by uid. Nearly always there is nothing left.

    The caller holds the locks of all of them, and stores the records of those that take over. What nothing has
    confirmed is taken back: what the record says now is appended. Raises UsageIsAddedUp like `change_uids`.
    """
    ids = {each.customer_id: each for each in taken}
    owners = {each.uid: each for each in taken} | {
        customer_uid(*scope, each.customer_id): each for each in taken
    }
    for row in await connection.fetch(SELECT_OWN, *scope, list(ids)):
        owners[row["uid"]] = ids[row["stripe_customer_id"]]
    left = sorted(row[0] for row in await connection.fetch(SELECT_LEFT, list(owners)))
    if not left:
        return {}
    await try_to_hold_usage(connection)
    # Before any of these rows: every writer of records takes this lock first.
    await connection.execute(LOCK_NUMBERING)
    into = {uid: owners[uid].into_uid for uid in left}
    ends = await _join_status(connection, into)
    await _join_mrr(connection, scope, into)
    for statement in (MOVE_ENTITIES, *MOVE_USAGE, MOVE_READ_USAGE):
        await connection.execute(statement, left, [into[uid] for uid in left])
    await remove_records(connection, left)
    return ends


def _together(into: Mapping[UUID, UUID]) -> dict[UUID, list[UUID]]:
    """The uids whose histories become that of each uid: its own first."""
    groups: dict[UUID, list[UUID]] = {}
    for uid, main in into.items():
        groups.setdefault(main, [main]).append(uid)
    return groups


async def _join_status(connection: Connection, into: Mapping[UUID, UUID]) -> dict[UUID, str | None]:
    groups = _together(into)
    everyone = [uid for group in groups.values() for uid in group]
    steps: dict[UUID, list[StatusStep]] = {uid: [] for uid in everyone}
    for row in await connection.fetch(SELECT_STATUS_STEPS, everyone):
        steps[row["customer_uid"]].append(
            StatusStep(
                before=_status(row["status_before"]),
                after=_status(row["status_after"]),
                changed_at=row["changed_at"],
                event_id=row["event_id"],
                source=row["source"],
            )
        )
    joined = {main: join_status_steps([steps[uid] for uid in group]) for main, group in groups.items()}
    await connection.execute(REMOVE_STATUS_STEPS, everyone)
    written = [
        StatusChange(
            customer_uid=main,
            status_before=step.before,
            status_after=step.after,
            changed_at=step.changed_at,
            exact=True,
            event_id=step.event_id,
            source=step.source,
        )
        for main, history in joined.items()
        for step in history
    ]
    await write_status_changes(connection, taken_back=(), confirmed=(), appended=written)
    return {main: history[-1].after if history else None for main, history in joined.items()}


def _status(text: str | None) -> Status | None:
    return None if text is None else Status(text)


async def _join_mrr(connection: Connection, scope: Scope, into: Mapping[UUID, UUID]) -> None:
    groups = _together(into)
    everyone = [uid for group in groups.values() for uid in group]
    steps: dict[tuple[UUID, str], list[Change]] = {}
    currencies: set[str] = set()
    for row in await connection.fetch(SELECT_MRR_STEPS, everyone):
        currencies.add(row["currency"])
        steps.setdefault((row["customer_uid"], row["currency"]), []).append(
            Change(mrr_before=row["mrr_before"], mrr_after=row["mrr_after"], changed_at=row["changed_at"])
        )
    await connection.execute(REMOVE_MRR_STEPS, everyone)
    written = [
        MrrChange(
            customer_uid=main,
            account_id=scope.account_id,
            live_mode=scope.live_mode,
            currency=currency,
            mrr_before=step.mrr_before,
            mrr_after=step.mrr_after,
            changed_at=step.changed_at,
            exact=True,
        )
        for main, group in groups.items()
        for currency in sorted(currencies)
        for step in join_changes([steps.get((uid, currency), []) for uid in group])
    ]
    await write_mrr_changes(connection, taken_back=(), confirmed=(), appended=written)
