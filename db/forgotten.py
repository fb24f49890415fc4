"""Forgotten customers: what of them is erased, and how later events and reads are kept out.

Amounts, times, statuses and Stripe's ids stay, because the books need them. Whatever identifies the person goes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields

from billing.kinds.kind import Kind
from billing.kinds.registry import KINDS
from billing.record import customer_uid
from db.connection import Connection
from db.keys import CustomerKey, EventKey, Key, columns_of_keys
from db.records.parts import RECORD_PARTS
from db.records.records import LOCK_NUMBERING, notify

# Keeping later events and reads out

ANY_FORGOTTEN = "select exists (select from sync.forgotten)"

SELECT_FORGOTTEN = """
select f.account_id, f.live_mode, f.customer_id
from sync.forgotten f
join unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, customer_id)
  using (account_id, live_mode, customer_id)
"""

SELECT_OF_FORGOTTEN = """
select o.account_id, o.live_mode, o.kind, o.id, o.customer_id
from sync.objects o
join unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
  using (account_id, live_mode, kind, id)
join sync.forgotten f on f.account_id = o.account_id and f.live_mode = o.live_mode and f.customer_id = o.customer_id
"""


async def any_forgotten(connection: Connection) -> bool:
    """Whether any customer was ever forgotten here; mostly none was, and nothing else needs to be looked up."""
    found: bool = await connection.fetchval(ANY_FORGOTTEN)
    return found


async def select_forgotten(connection: Connection, customers: Collection[CustomerKey]) -> set[CustomerKey]:
    """The forgotten ones among these customers."""
    rows = await connection.fetch(
        SELECT_FORGOTTEN,
        *columns_of_keys(CustomerKey, customers),
    )
    return {CustomerKey(row[0], row[1], row[2]) for row in rows}


async def select_of_forgotten(connection: Connection, keys: Collection[Key]) -> dict[Key, str]:
    """The objects among these that belong to a forgotten customer, with that customer."""
    rows = await connection.fetch(SELECT_OF_FORGOTTEN, *columns_of_keys(Key, keys))
    return {Key(row[0], row[1], row[2], row[3]): row[4] for row in rows}


# A tombstone of the fence: nothing is written of the object, and nothing read, from now on.
CLOSE_OBJECTS = """
insert into sync.objects as o (account_id, live_mode, kind, id, customer_id, tombstone)
select account_id, live_mode, kind, id, customer_id, true
from unnest($1::text[], $2::boolean[], $3::text[], $4::text[], $5::text[])
  as new (account_id, live_mode, kind, id, customer_id)
order by account_id, live_mode, kind, id
on conflict (account_id, live_mode, kind, id) do update set
  customer_id = excluded.customer_id, tombstone = true, read_at = null, first_marked_at = null, error = null,
  missing_since = null, parked_at = null, resolved = o.touched
"""


async def close_objects(connection: Connection, owners: Mapping[Key, str]) -> None:
    """Let nothing be written of these objects any more; `owners` names the customer of each."""
    await connection.execute(CLOSE_OBJECTS, *columns_of_keys(Key, owners), list(owners.values()))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event of the inbox with its payload."""

    account_id: str
    live_mode: bool
    event_id: str
    seq: int
    type: str
    payload: bytes


ERASE_EVENTS = """
update sync.events e
set payload = erased.payload, error = $5, leased_until = null,
  state = 'ignored', applied_at = coalesce(e.applied_at, now())
from (
  select account_id, live_mode, event_id, new.payload
  from sync.events
  join unnest($1::text[], $2::boolean[], $3::text[], $4::bytea[]) as new (account_id, live_mode, event_id, payload)
    using (account_id, live_mode, event_id)
  order by 1, 2, 3
  for no key update of events
) erased
where (e.account_id, e.live_mode, e.event_id) = (erased.account_id, erased.live_mode, erased.event_id)
"""


async def erase_events(connection: Connection, left: Mapping[EventKey, bytes], *, reason: str) -> None:
    """Replace the payloads of events (account, mode, event id) by what is left of them; pending ones are ignored."""
    await connection.execute(
        ERASE_EVENTS,
        *columns_of_keys(CustomerKey, left),
        list(left.values()),
        reason,
    )


# Forgetting

REGISTER_FORGOTTEN = """
insert into sync.forgotten (account_id, live_mode, customer_id)
values ($1, $2, $3)
on conflict (account_id, live_mode, customer_id) do update set erased_at = null
"""

NEWEST_WRITER = "select pg_snapshot_xmax(pg_current_snapshot())::text"

OLDEST_WRITER = "select pg_snapshot_xmin(pg_current_snapshot())::text"


async def register_forgotten(connection: Connection, key: CustomerKey) -> int:
    """Register the customer: transactions that begin after this has committed store nothing of it.

    Returns the number of the first transaction that is sure to see it. Do not call it in a transaction: the number
    means that this has committed.
    """
    await connection.execute(REGISTER_FORGOTTEN, *key)
    return int(await connection.fetchval(NEWEST_WRITER))


async def oldest_writer(connection: Connection) -> int:
    """The oldest transaction that may still be writing. Once it is one that sees the registration, everything that
    earlier ones wrote of the customer is committed and can be found.
    """
    return int(await connection.fetchval(OLDEST_WRITER))


def _names(kind: Kind) -> set[str]:
    return {field.name for field in fields(kind.facts)}


def _select_owned(kind: Kind) -> str | None:
    """The ids of a kind's objects that are a customer's: $3 is the customer, $4.. the ids of each other kind."""
    found = []
    if kind.name == "customer":
        found.append(f"select id from {kind.table} where account_id = $1 and live_mode = $2 and id = $3")
    elif kind.names_customer:
        found.append(
            f"select id from {kind.table} where account_id = $1 and live_mode = $2 and customer_id = $3"
        )
    if kind.name == "charge":
        found.append(
            "select charge_id from sync.charge_owners where account_id = $1 and live_mode = $2 and customer_id = $3"
        )
    for column, owner in kind.belongs_to:
        found.append(
            f"select id from {kind.table} where account_id = $1 and live_mode = $2 and {column} = any ("
            f"select o.id from sync.objects o where o.account_id = $1 and o.live_mode = $2 and o.kind = '{owner}' "
            "and o.customer_id = $3)"
        )
    return "\nunion\n".join(found) or None


SELECT_OWNED: Mapping[str, str] = {
    kind.name: statement for kind in KINDS.values() if (statement := _select_owned(kind)) is not None
}
"""Per kind that a customer can own: the ids of those that are a customer's. Owners must have been closed before."""

SELECT_HEARD_OF = """
select kind, id from sync.objects where account_id = $1 and live_mode = $2 and customer_id = $3
"""


async def select_owned(connection: Connection, kind: str, key: CustomerKey) -> list[str]:
    """The ids of all objects of a kind that are this customer's."""
    return [row[0] for row in await connection.fetch(SELECT_OWNED[kind], *key)]


async def select_heard_of(connection: Connection, key: CustomerKey) -> list[tuple[str, str]]:
    """Kind and id of all objects that the fence knows as this customer's, stored or not."""
    return [(row[0], row[1]) for row in await connection.fetch(SELECT_HEARD_OF, *key)]


def _erase(kind: Kind) -> str:
    emptied = ["raw = null", *(f"{name} = null" for name in kind.personal)]
    if "metadata" in _names(kind):
        emptied.append("metadata = '{}'")
    if kind.name == "customer":
        emptied.append("deleted_at = coalesce(deleted_at, now())")
    return f"""
update {kind.table} set {", ".join(emptied)} where account_id = $1 and live_mode = $2 and id = any ($3::text[])
"""


ERASE_ROWS: Mapping[str, str] = {name: _erase(KINDS[name]) for name in SELECT_OWNED}
"""Per kind that a customer can own: empties the columns that identify the customer."""

ERASE_ITEMS = """
update stripe.subscription_items set metadata = '{}'
where account_id = $1 and live_mode = $2 and subscription_id = any ($3::text[])
"""


ERASE_ENTITLEMENTS = """
delete from stripe.active_entitlements where account_id = $1 and live_mode = $2 and customer_id = any ($3::text[])
"""


async def erase_rows(connection: Connection, kind: str, key: CustomerKey, ids: Sequence[str]) -> None:
    """Empty the columns of these rows of the mirror that identify their customer."""
    await connection.execute(ERASE_ROWS[kind], *key.scope, ids)
    if kind == "subscription":
        await connection.execute(ERASE_ITEMS, *key.scope, ids)
    if kind == "active_entitlement_summary":
        await connection.execute(ERASE_ENTITLEMENTS, *key.scope, ids)


ERASE_IDENTITY = """
delete from billing.identities where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
"""

# Of several that share a record the bare links stay. Else each would have a record of its own, with a history, and past
# months would be counted twice.
EMPTY_IDENTITY = """
update billing.identities
set uid = sync.customer_uid(account_id, live_mode, stripe_customer_id), custom_uid = null, name = null, email = null,
  description = null, fingerprint = null, send_email_receipts = null, metadata = '{}', sandbox_product_id = null,
  sandbox_end = null, last_seen = null, created_at = now()
where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
"""

MOVE_JOINS = """
update billing.joined_customers set customer_uid = $4
where account_id = $1 and live_mode = $2 and main_stripe_customer_id = $3 and customer_uid is not null
"""

ERASE_PROBLEMS = """
delete from sync.problems where account_id = $1 and live_mode = $2 and customer_id = $3
"""

# What Stripe said about its objects goes; that they differed stays.
ERASE_DRIFT = """
update sync.drift d set said = null
from sync.scans s, unnest($3::text[], $4::text[]) as owned (kind, id)
where s.id = d.scan_id and s.account_id = $1 and s.live_mode = $2 and d.kind = owned.kind and d.id = owned.id
"""

# Like a new fact: the record is derived again from what is left.
MARK_FORGOTTEN = """
update sync.customers
set stale = stale + 1, stale_since = case when stale > derived then stale_since else now() end, history_at = null,
  history_error = null, error = null, attempts = 0, parked_at = null
where account_id = $1 and live_mode = $2 and customer_id = $3
"""

ERASE_RECORD = """
update billing.customers
set uid = $4, custom_uid = null, name = null, email = null, description = null, fingerprint = null, metadata = '{}',
  send_email_receipts = null, last_seen = null, change = nextval('billing.change'), updated_at = now()
where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
returning change
"""

# One that is joined has none, unless that was a moment ago.
HAS_RECORD = """
select exists (
  select from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
)
"""

ERASE_PARTS: Mapping[str, str] = {
    name: f"""
delete from {part.table} where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
"""
    for name, part in RECORD_PARTS.items()
    if not part.kept_when_forgotten
}

MOVE_PARTS: Mapping[str, str] = {
    name: f"""
update {part.table} set {", ".join(["customer_uid = $4", *(f"{column} = null" for column in part.personal)])}
where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
"""
    for name, part in RECORD_PARTS.items()
    if part.kept_when_forgotten
}
"""The parts that stay, under another uid."""

MOVE_MRR_CHANGES = """
update billing.mrr_changes set customer_uid = $4
where customer_uid = (
  select uid from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
)
"""

ERASE_LOCAL_ENTITIES = """
delete from billing.local_entities
where customer_uid = (
  select uid from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
)
"""

_UID = """(
  select uid from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
)"""

ERASE_TRACKED = [
    f"delete from {table} where customer_uid = {_UID}"
    for table in ("billing.usage_events", "billing.usage_minutes", "sync.meter_events")
]

# Each call of track takes its lock of the table before it looks for the customer: whoever comes later finds it no more.
STOP_TRACKING = "lock table billing.usage_events in share mode"

ERASE_MERGES = """
delete from billing.merges
where into_uid = (
  select uid from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
)
"""

ERASE_FORMER_UIDS = f"delete from sync.former_uids where after = {_UID}"

ERASE_USAGE = """
delete from billing.customer_usage where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
"""

FORGET_USAGE = """
delete from sync.usage where account_id = $1 and live_mode = $2 and customer_id = $3
"""

ERASE_PUSHES = "delete from sync.pushes where account_id = $1 and live_mode = $2 and customer_id = $3"

MOVE_STATUS_CHANGES = """
update billing.status_changes set customer_uid = $4
where customer_uid = (
  select uid from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
)
"""


async def erase_record(connection: Connection, keys: Sequence[CustomerKey], *, main: CustomerKey) -> None:
    """Delete the identities of these customers, which share the record of `main`, and empty the record, which goes on
    under the uid that follows from that one's id. Of several the bare identities stay, which say that they share it.
    Last in a transaction that has called keep_usage_still first.
    """
    for key in keys:
        await connection.execute(ERASE_PROBLEMS, *key)
        await connection.execute(MARK_FORGOTTEN, *key)
    for key in keys:
        for statement in (
            ERASE_IDENTITY if len(keys) == 1 else EMPTY_IDENTITY,
            *ERASE_PARTS.values(),
            ERASE_LOCAL_ENTITIES,
            ERASE_MERGES,
            ERASE_FORMER_UIDS,
            ERASE_USAGE,
            FORGET_USAGE,
            ERASE_PUSHES,
        ):
            await connection.execute(statement, *key)
    await connection.execute(STOP_TRACKING)
    for key in keys:
        for statement in ERASE_TRACKED:
            await connection.execute(statement, *key)
    owners = {key: key if await connection.fetchval(HAS_RECORD, *key) else main for key in keys}
    for key, owner in owners.items():
        for statement in (MOVE_STATUS_CHANGES, MOVE_MRR_CHANGES, MOVE_JOINS, *MOVE_PARTS.values()):
            await connection.execute(statement, *key, customer_uid(*owner))
    await connection.execute(LOCK_NUMBERING)
    for key in keys:
        change = await connection.fetchval(ERASE_RECORD, *key, customer_uid(*key))
        if change is not None:
            await notify(connection, change)


async def erase_drift(connection: Connection, key: CustomerKey, owned: Collection[tuple[str, str]]) -> None:
    """Empty what Stripe said, in audits, of these objects (kind and id) of the customer."""
    await connection.execute(
        ERASE_DRIFT, *key.scope, [kind for kind, _ in owned], [each for _, each in owned]
    )


SELECT_EVENTS_AFTER = """
select account_id, live_mode, event_id, seq, type, payload
from sync.events
where seq > $1 and account_id = $2 and live_mode = $3
order by seq
limit $4
"""


async def select_events_after(
    connection: Connection, seq: int, *, account_id: str, live_mode: bool, limit: int
) -> list[StoredEvent]:
    """The events of one account and mode that came after this inbox number, in order of receipt."""
    rows = await connection.fetch(SELECT_EVENTS_AFTER, seq, account_id, live_mode, limit)
    return [StoredEvent(**row) for row in rows]


FINISH_FORGETTING = """
update sync.forgotten set erased_at = now() where account_id = $1 and live_mode = $2 and customer_id = $3
"""


async def finish_forgetting(connection: Connection, key: CustomerKey) -> None:
    """Note that nothing is left to be erased."""
    await connection.execute(FINISH_FORGETTING, *key)
