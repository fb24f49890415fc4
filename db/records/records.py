"""The records: rows of the billing schema, rewritten only if a derivation came out different."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from billing.record import CustomerRecord, Derived
from db.columns import arrays_of, columns_of, names_of, parameters_of, values_of
from db.connection import Connection
from db.keys import CustomerKey, Scope, columns_of_keys
from db.records.moved import MOVE_USAGE, try_to_hold_usage
from db.records.parts import RECORD_PARTS, TABLES_BY_UID, RecordPart

RECORD_COLUMNS = columns_of(CustomerRecord)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """The stored values whose change has consequences elsewhere."""

    uid: UUID
    custom_uid: str | None
    status: str | None
    stripe_subscription_id: str | None


SELECT_STORED = """
select uid, custom_uid, status, stripe_subscription_id from billing.customers where uid = any ($1::uuid[])
"""


async def select_stored(connection: Connection, uids: Sequence[UUID]) -> dict[UUID, StoredRecord]:
    """The stored records of these customers, by uid."""
    rows = await connection.fetch(SELECT_STORED, uids)
    return {row["uid"]: StoredRecord(**row) for row in rows}


SELECT_RENAMED = """
select stored.uid as before, new.uid as after
from unnest($1::uuid[], $2::text[], $3::boolean[], $4::text[]) as new (uid, account_id, live_mode, customer_id)
join billing.customers stored
  on stored.account_id = new.account_id and stored.live_mode = new.live_mode
    and stored.stripe_customer_id = new.customer_id
where stored.uid <> new.uid
"""

RENAME_PARTS = [
    f"""
update {table} part set customer_uid = renamed.after
from unnest($1::uuid[], $2::uuid[]) as renamed (before, after)
where part.customer_uid = renamed.before
"""
    for table in TABLES_BY_UID
]
"""Rows that belong to a record follow it to its new uid."""

# Services may have created one by the same id for either uid: then each stays where it is.
MOVE_ENTITIES = """
update billing.local_entities e set customer_uid = renamed.after
from unnest($1::uuid[], $2::uuid[]) as renamed (before, after)
where e.customer_uid = renamed.before and not exists (
  select from billing.local_entities other where other.customer_uid = renamed.after and other.id = e.id
)
"""

# A customer may have two records: one under the uid of its identity, and one that its events have made meanwhile. That
# one's history goes on, and so does its status.
REMOVE_DOUBLES = """
with removed as (
  delete from billing.customers stored
  using unnest($1::uuid[], $2::uuid[]) as renamed (before, after)
  where stored.uid = renamed.before and exists (select from billing.customers kept where kept.uid = renamed.after)
  returning renamed.after, stored.status, stored.stripe_subscription_id
)
update billing.customers kept
set status = removed.status, stripe_subscription_id = removed.stripe_subscription_id
from removed
where kept.uid = removed.after and kept.stripe_customer_id is null
"""

RENAME_RECORDS = """
update billing.customers stored set uid = renamed.after
from unnest($1::uuid[], $2::uuid[]) as renamed (before, after)
where stored.uid = renamed.before
"""


async def change_uids(connection: Connection, customers: Mapping[UUID, CustomerKey]) -> set[UUID]:
    """Change the uids of these customers' records if an identity has given or taken one away; returns the new uids.

    The caller writes those records, which notifies readers. Raises UsageIsAddedUp: then the transaction is done again.
    """
    keys = list(customers.values())
    rows = await connection.fetch(
        SELECT_RENAMED,
        list(customers),
        *columns_of_keys(CustomerKey, keys),
    )
    if not rows:
        return set()
    await try_to_hold_usage(connection)
    # Before any of these rows: every writer of records takes this lock first.
    await connection.execute(LOCK_NUMBERING)
    before, after = [row["before"] for row in rows], [row["after"] for row in rows]
    for statement in (*RENAME_PARTS, MOVE_ENTITIES, *MOVE_USAGE, REMOVE_DOUBLES, RENAME_RECORDS):
        await connection.execute(statement, before, after)
    return set(after)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStatements:
    """How the rows of one part are written and removed."""

    write: str
    """One array per column; returns the customer of each row that was written: only those that differ are."""
    select_others: str
    """The keys of the rows that do not stay, and whose they are. $1 are the customers, then one array per column of the
    identity: the rows that stay. All parts at once: `SELECT_OTHERS`."""
    remove_others: str
    """One array per column of the key."""
    remove: str
    """$1 are the customers."""


def _select_others(part: RecordPart, *, first: int) -> str:
    """`PartStatements.select_others`, with the columns of the identity from this parameter on."""
    columns = part.columns
    key = [column for name in part.key for column in columns if column.name == name]
    identity = [column for name in part.identity for column in columns if column.name == name]
    identified = [column for column in columns if column.name in {"customer_uid", *part.key, *part.identity}]
    # By index for each customer: a join would read the whole table, until that is far larger than a batch. And `not
    # exists`, because `not in` compares with every row that stays.
    return f"""
with own as materialized (
  select part.*
  from unnest($1::uuid[]) as derived (customer_uid)
  join lateral (
    select {names_of(identified)}
    from {part.table} part
    where part.customer_uid = derived.customer_uid
    offset 0
  ) part on true
)
select {names_of(key)}, customer_uid
from own
where not exists (
  select from unnest({parameters_of(identity, first=first)}) as kept ({names_of(identity)})
  where ({names_of(identity, prefix="kept.")}) = ({names_of(identity, prefix="own.")})
)
"""


def _part_statements(part: RecordPart) -> PartStatements:
    columns = part.columns
    names = names_of(columns)
    rest = [column for column in columns if column.name not in part.key]
    key = [column for name in part.key for column in columns if column.name == name]
    return PartStatements(
        # A row that is there already is left out: `do update` would lock it, which writes its page, to change nothing.
        # Looked up by the key, as in db/sync/inbox.py.
        write=f"""
insert into {part.table} as stored ({names})
select {values_of(columns)}
from unnest({parameters_of(columns, first=1)}) as new ({names})
where (
  select true
  from {part.table} known
  where ({names_of(key, prefix="known.")}) = ({names_of(key, prefix="new.")})
    and ({names_of(rest, prefix="known.")}) is not distinct from ({values_of(rest)})
) is null
order by {names_of(key, prefix="new.")}
on conflict ({names_of(key)}) do update set {", ".join(f"{each.name} = excluded.{each.name}" for each in rest)}
returning customer_uid
""",
        select_others=_select_others(part, first=2),
        remove_others=f"""
delete from {part.table} part
using unnest({parameters_of(key, first=1)}) as other ({names_of(key)})
where ({names_of(key, prefix="part.")}) = ({names_of(key, prefix="other.")})
""",
        remove=f"delete from {part.table} where customer_uid = any ($1::uuid[])",
    )


PART_STATEMENTS: Mapping[str, PartStatements] = {
    name: _part_statements(part) for name, part in RECORD_PARTS.items()
}
"""The statements of each part, by its field of `Derived`."""


def _select_others_of_all() -> str:
    branches, first = [], 2
    for name, part in RECORD_PARTS.items():
        branches.append(f"select '{name}', others.* from ({_select_others(part, first=first)}) others")
        first += len(part.identity)
    return "\nunion all\n".join(branches)


SELECT_OTHERS = _select_others_of_all()
"""The rows that do not stay, of all parts: the part's name, then as `PartStatements.select_others`. Their keys are of
the same types."""


async def replace_parts(connection: Connection, derived: Sequence[Derived]) -> set[UUID]:
    """Make what was derived of these customers their only parts; returns the customers with changes."""
    uids = [each.record.uid for each in derived]
    rows = {
        name: [row for each in derived for row in part.rows_of(each)] for name, part in RECORD_PARTS.items()
    }
    kept = [
        [getattr(row, column) for row in rows[name]]
        for name, part in RECORD_PARTS.items()
        for column in part.identity
    ]
    others = await connection.fetch(SELECT_OTHERS, uids, *kept)
    changed: list[UUID] = [row["customer_uid"] for row in others]
    for name, part in RECORD_PARTS.items():
        if gone := [row for row in others if row[0] == name]:
            keys = [[row[at] for row in gone] for at, _ in enumerate(part.key, start=1)]
            await connection.execute(PART_STATEMENTS[name].remove_others, *keys)
    for name, part in RECORD_PARTS.items():
        if rows[name]:
            written = await connection.fetch(
                PART_STATEMENTS[name].write, *arrays_of(part.columns, rows[name])
            )
            changed += [row["customer_uid"] for row in written]
    return set(changed)


RESTORE_CUSTOMER_IDS = """
update billing.customers r
set stripe_customer_id = k.customer_id
from unnest($3::uuid[], $4::text[]) as k (uid, customer_id)
where r.account_id = $1 and r.live_mode = $2 and r.uid = k.uid and r.stripe_customer_id is distinct from k.customer_id
"""


async def restore_customer_ids(connection: Connection, scope: Scope, names: Mapping[UUID, str]) -> None:
    """Point records (uid -> Stripe customer id) back at the customer they belong to: readers find them by that id."""
    await connection.execute(RESTORE_CUSTOMER_IDS, *scope, list(names), list(names.values()))


REMOVE_RECORDS = "delete from billing.customers where uid = any ($1::uuid[])"


async def remove_records(connection: Connection, uids: Sequence[UUID]) -> None:
    """Remove records that belong to nobody, with their parts."""
    for statements in PART_STATEMENTS.values():
        await connection.execute(statements.remove, uids)
    await connection.execute(REMOVE_RECORDS, uids)


REMOVE_UNLINKED = """
delete from billing.customers r
where r.uid = any ($1::uuid[]) and r.stripe_customer_id is null
  -- One that is linked now passes its record on to the derivation of its Stripe customer.
  and not exists (select from billing.identities i where i.uid = r.uid)
"""


async def remove_unlinked(connection: Connection, uids: Sequence[UUID]) -> None:
    """Remove the records of these customers without a Stripe customer whose identities are gone."""
    await connection.execute(REMOVE_UNLINKED, uids)


REPLACE_PROBLEMS = """
with new as (
  select *
  from unnest($4::text[], $5::boolean[], $6::text[], $7::text[], $8::text[], $9::text[])
    as new (account_id, live_mode, customer_id, kind, object_id, detail)
), mended as (
  delete from sync.problems p
  using unnest($1::text[], $2::boolean[], $3::text[]) as derived (account_id, live_mode, customer_id)
  where (p.account_id, p.live_mode, p.customer_id) = (derived.account_id, derived.live_mode, derived.customer_id)
    and not exists (
      select from new
      where (new.account_id, new.live_mode, new.customer_id, new.kind, new.object_id)
        = (p.account_id, p.live_mode, p.customer_id, p.kind, p.object_id)
    )
)
insert into sync.problems (account_id, live_mode, customer_id, kind, object_id, detail)
select account_id, live_mode, customer_id, kind, object_id, detail
from new
order by account_id, live_mode, customer_id, kind, object_id
on conflict (account_id, live_mode, customer_id, kind, object_id) do update set detail = excluded.detail
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProblem:
    """A problem of one customer, as sync.problems keeps it."""

    customer: CustomerKey
    kind: str
    object_id: str
    detail: str


async def replace_problems(
    connection: Connection, customers: Sequence[CustomerKey], problems: Sequence[StoredProblem]
) -> None:
    """Make these the customers' only problems: those that are mended are removed."""
    await connection.execute(
        REPLACE_PROBLEMS,
        *columns_of_keys(CustomerKey, customers),
        *columns_of_keys(CustomerKey, [problem.customer for problem in problems]),
        [problem.kind for problem in problems],
        [problem.object_id for problem in problems],
        [problem.detail for problem in problems],
    )


NUMBERS_ARE_UNIQUE = "customers_change"
"""The index that refuses a number of `change` that another record bears."""

# `change` is drawn under this lock, which is held to the commit, so that readers that poll by it miss nothing. Taken by
# an empty table and not as an advisory lock, which any role may take, and this mode only by who may write the table. It
# conflicts with itself, and with no reader.
LOCK_NUMBERING = "lock table sync.numbering in share update exclusive mode"

FREE_CUSTOM_UIDS = """
update billing.customers holder
set custom_uid = null, change = nextval('billing.change'), updated_at = now()
from unnest($1::text[], $2::boolean[], $3::text[], $4::uuid[]) as winner (account_id, live_mode, custom_uid, uid)
where (holder.account_id, holder.live_mode, holder.custom_uid)
    = (winner.account_id, winner.live_mode, winner.custom_uid)
  and holder.uid <> winner.uid
returning holder.change
"""

INSERT_RECORDS = f"""
insert into billing.customers ({names_of(RECORD_COLUMNS)}, change)
select {values_of(RECORD_COLUMNS)}, nextval('billing.change')
from unnest({parameters_of(RECORD_COLUMNS, first=1)}) as new ({names_of(RECORD_COLUMNS)})
order by new.uid
returning change
"""

_OTHER = [column for column in RECORD_COLUMNS if column.name not in ("uid", "exact")]
_ASSIGNMENTS = ", ".join(
    f"{column.name} = {column.value}" for column in RECORD_COLUMNS if column.name != "uid"
)
_DIFFERENT = f"({names_of(_OTHER, prefix='stored.')}) is distinct from ({values_of(_OTHER)})"
_PARTS_CHANGED = f"${len(RECORD_COLUMNS) + 1}::uuid[]"

# A flip of `exact` alone moves `change`, by which readers poll, and not `updated_at`.
UPDATE_RECORDS = f"""
update billing.customers stored
set {_ASSIGNMENTS},
  change = nextval('billing.change'),
  updated_at = case when {_DIFFERENT} or stored.uid = any ({_PARTS_CHANGED}) then now() else stored.updated_at end
from unnest({parameters_of(RECORD_COLUMNS, first=1)}) as new ({names_of(RECORD_COLUMNS)})
where stored.uid = new.uid
  and ({_DIFFERENT} or stored.exact <> new.exact or stored.uid = any ({_PARTS_CHANGED}))
returning stored.change
"""

QUEUE_USAGE_MAX = 0.9
"""How full Postgres's queue of notifications may be for one more of ours."""

# The queue is the whole server's, and whoever may connect can fill it: by listening in a transaction that stays open. A
# commit that must notify and finds it full fails (54000). Readers poll by `change`: they find the record all the same.
NOTIFY = "select pg_notify('billing_customers', $1) where pg_notification_queue_usage() < $2"


async def notify(connection: Connection, change: int) -> None:
    """Tell who listens, when this transaction commits, that records have changed up to this number; nobody while the
    queue of notifications is almost full (`db/sync/listeners.py` has an alarm for that).
    """
    await connection.execute(NOTIFY, str(change), QUEUE_USAGE_MAX)


async def write_records(
    connection: Connection,
    records: Sequence[CustomerRecord],
    *,
    stored: dict[UUID, StoredRecord],
    parts_changed: set[UUID],
    passed: Sequence[int] = (),
) -> int:
    """Write the records that differ from the stored ones, number the changes, notify; returns how many changed.

    `passed`: the numbers of other customers' records that this transaction has changed (`settle_names`). Call it last
    in its transaction: the numbering lock is taken here and held to the commit.
    """
    await connection.execute(LOCK_NUMBERING)
    taken = [
        record
        for record in records
        if record.custom_uid is not None
        and (record.uid not in stored or stored[record.uid].custom_uid != record.custom_uid)
    ]
    changes = []
    if taken:
        changes += await connection.fetch(
            FREE_CUSTOM_UIDS,
            [record.account_id for record in taken],
            [record.live_mode for record in taken],
            [record.custom_uid for record in taken],
            [record.uid for record in taken],
        )
    new = [record for record in records if record.uid not in stored]
    if new:
        changes += await connection.fetch(INSERT_RECORDS, *arrays_of(RECORD_COLUMNS, new))
    old = [record for record in records if record.uid in stored]
    if old:
        changes += await connection.fetch(
            UPDATE_RECORDS, *arrays_of(RECORD_COLUMNS, old), list(parts_changed)
        )
    numbers = [*passed, *(row[0] for row in changes)]
    if numbers:
        await notify(connection, max(numbers))
    return len(numbers)


# That of the main one, if it is joined.
DOUBT_RECORD = """
update billing.customers
set exact = false, change = nextval('billing.change')
where account_id = $1 and live_mode = $2 and exact and stripe_customer_id = coalesce(
  (
    select j.main_stripe_customer_id
    from billing.joined_customers j
    where j.account_id = $1 and j.live_mode = $2 and j.stripe_customer_id = $3
  ),
  $3
)
returning change
"""


async def doubt_record(connection: Connection, key: CustomerKey) -> None:
    """Mark the record of a customer as not exact: it is not derived from the latest facts; number the change, notify.

    Call it last in its transaction, like `write_records`.
    """
    await connection.execute(LOCK_NUMBERING)
    change = await connection.fetchval(DOUBT_RECORD, *key)
    if change is not None:
        await notify(connection, change)
