"""Whether this Postgres, and what it holds, is fit for us: what `subledger doctor` asks it."""

from dataclasses import dataclass
from datetime import datetime

from db.connection import Connection
from db.migrate import READERS, READERS_WITHOUT_RIGHTS

VERSION_MIN = 150000
"""As in server_version_num: Postgres 15."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server, and how it is set up."""

    version: str
    version_number: int
    is_standby: bool
    fsync: bool
    synchronous_commit: str
    connections: int
    connections_max: int
    now: datetime
    """By its clock."""
    oldest_seconds: float
    """How long the oldest transaction seen from here has kept others' traces; 0: none does."""
    oldest_pid: int | None


# Of sessions of other roles only a role with pg_read_all_stats sees since when their transactions are open.
SELECT_SERVER = """
with oldest as (
  select extract(epoch from clock_timestamp() - xact_start)::float8 as seconds, pid
  from pg_stat_activity
  where datname = current_database() and xact_start is not null and backend_xmin is not null
    and backend_type = 'client backend' and pid <> pg_backend_pid()
  order by xact_start
  limit 1
)
select
  current_setting('server_version') as version,
  current_setting('server_version_num')::integer as version_number,
  pg_is_in_recovery() as is_standby,
  current_setting('fsync')::boolean as fsync,
  current_setting('synchronous_commit') as synchronous_commit,
  (select count(*) from pg_stat_activity where backend_type = 'client backend') as connections,
  current_setting('max_connections')::integer as connections_max,
  clock_timestamp() as now,
  coalesce((select seconds from oldest), 0) as oldest_seconds,
  (select pid from oldest) as oldest_pid
"""


async def select_server(connection: Connection) -> Server:
    """What Postgres says about itself; needs none of our tables."""
    row = await connection.fetchrow(SELECT_SERVER)
    if row is None:
        raise LookupError("Postgres says nothing about itself")
    return Server(**row)


SELECT_LACKING_RIGHTS = """
select c.oid::regclass::text
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname in ('sync', 'stripe', 'billing') and c.relkind in ('r', 'p') and not (
  has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
  and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete')
)
order by 1
"""

SELECT_MISSING_READERS = """
select name
from unnest(array['billing_reader', 'billing_raw']) as readers (name)
where not exists (select from pg_roles where rolname = name)
order by 1
"""


MAY_CREATE_ROLES = "select rolsuper or rolcreaterole from pg_roles where rolname = current_user"


async def may_create_roles(connection: Connection) -> bool:
    """Whether our role may create those of readers."""
    may: bool = await connection.fetchval(MAY_CREATE_ROLES)
    return may


async def select_readers_without_rights(connection: Connection) -> list[str]:
    """The roles of readers that do not exist, or may not read the records."""
    without: list[str] = await connection.fetchval(READERS_WITHOUT_RIGHTS, READERS)
    return without


async def select_lacking_rights(connection: Connection) -> list[str]:
    """The tables of ours that this role may not read and write."""
    return [row[0] for row in await connection.fetch(SELECT_LACKING_RIGHTS)]


async def select_missing_readers(connection: Connection) -> list[str]:
    """The roles of readers that do not exist."""
    return [row[0] for row in await connection.fetch(SELECT_MISSING_READERS)]


SELECT_BROKEN_HISTORY = "select sync.broken_history(0, 0, true)"


async def select_broken_history(connection: Connection) -> str | None:
    """Which sequence is below the rows that bear its numbers; None: none is. Reads all of sync.objects."""
    said: str | None = await connection.fetchval(SELECT_BROKEN_HISTORY)
    return said


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """How much there is."""

    bytes: int
    database_bytes: int
    oldest_at: datetime | None


SELECT_INBOX = """
select
  pg_total_relation_size('sync.events') as bytes,
  pg_database_size(current_database()) as database_bytes,
  (select received_at from sync.events order by seq limit 1) as oldest_at
"""


async def select_inbox(connection: Connection) -> Inbox:
    """The size of the inbox with its indexes, and of the whole database."""
    row = await connection.fetchrow(SELECT_INBOX)
    if row is None:
        raise LookupError("the inbox has no size")
    return Inbox(**row)


SELECT_KNOWN_EVENT = (
    "select exists (select from sync.events where account_id = '' and live_mode = $1 and event_id = $2)"
)


async def is_known_event(connection: Connection, event_id: str, *, live_mode: bool) -> bool:
    """Whether an event of the key's own account is in the inbox."""
    known: bool = await connection.fetchval(SELECT_KNOWN_EVENT, live_mode, event_id)
    return known


@dataclass(frozen=True, slots=True, kw_only=True)
class Exactness:
    """How many of Stripe's customers that are not deleted have an exact record."""

    customers: int
    exact: int
    stuck: int
    """Of the others, those that do not become exact on their own: their history is not known, something of theirs is
    missing or was given up. The rest has just changed, and waits for its read."""


COUNT_EXACT = """
select
  count(*) as customers,
  count(*) filter (where c.exact) as exact,
  count(*) filter (where not c.exact and (
    not s.complete or s.parked_at is not null or exists (
      select from sync.objects o
      where o.account_id = c.account_id and o.live_mode = c.live_mode and o.customer_id = c.stripe_customer_id
        and o.unsettled and (o.missing_since is not null or o.parked_at is not null)
    )
  )) as stuck
from billing.customers c
left join sync.customers s
  on s.account_id = c.account_id and s.live_mode = c.live_mode and s.customer_id = c.stripe_customer_id
where c.account_id = '' and c.live_mode = $1 and c.stripe_customer_id is not null and c.deleted_at is null
"""


async def count_exact(connection: Connection, *, live_mode: bool) -> Exactness:
    """Count the records of the key's own account; reads all of them."""
    row = await connection.fetchrow(COUNT_EXACT, live_mode)
    return Exactness(customers=0, exact=0, stuck=0) if row is None else Exactness(**row)
