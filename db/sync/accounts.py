"""The accounts that events come from, how far their gaps are filled, and the alarms for operators."""

from collections.abc import Collection
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from db.connection import Connection
from db.keys import Key, Scope, columns_of_keys
from db.sync.workers import LOST_AFTER_SECONDS


class KeyAlarm(StrEnum):
    """What may be wrong with an API key: the names of its alarms."""

    REFUSED = "api key"
    FOREIGN = "api key of another account"
    OTHER_MODE = "api key of another mode"
    UNCHECKED = "api key not checked"


def events_expired(account_id: str) -> str:
    """The alarm about events that Stripe forgot before they were read."""
    return f"events expired {account_id}".strip()


def object_refused(key: Key) -> str:
    """The alarm about an object that Stripe refuses to tell."""
    return f"read of {key.kind} {key.id} refused {key.account_id}".strip()


def parts_refused(key: Key) -> str:
    """The alarm about an object of which Stripe refuses to tell a part."""
    return f"parts of {key.kind} {key.id} refused {key.account_id}".strip()


CLOCKS_APART = timedelta(minutes=1)
"""How far Stripe's clock may be ahead of Postgres's. A cursor further ahead would pass over the events until then."""

SEE_ACCOUNTS = """
insert into sync.accounts (account_id, live_mode)
select * from unnest($1::text[], $2::boolean[])
on conflict do nothing
"""


async def see_accounts(connection: Connection, scopes: Collection[Scope]) -> None:
    """Remember that events of these accounts exist: their gaps are filled from now on."""
    ordered = sorted(scopes)
    await connection.execute(SEE_ACCOUNTS, *columns_of_keys(Scope, ordered))


SEE_ACCOUNT_SINCE = """
insert into sync.accounts as a (account_id, live_mode, cursor_at)
values ($1, $2, least($3, now() + $4))
on conflict (account_id, live_mode) do update set cursor_at = coalesce(a.cursor_at, excluded.cursor_at)
"""


async def see_account_since(connection: Connection, scope: Scope, since: datetime) -> None:
    """Remember an account that may not have sent any event yet: its first gap begins at `since`, by Stripe's clock."""
    await connection.execute(SEE_ACCOUNT_SINCE, *scope, since, CLOCKS_APART)


SELECT_EVENTS_SINCE = """
select account_id, live_mode, events_since
from sync.accounts
join unnest($1::text[], $2::boolean[]) as k (account_id, live_mode) using (account_id, live_mode)
"""

# The first fill waits for transactions that continue without it, and then looks at what they have written.
HOLD_OFF_FIRST_FILL = """
select a.account_id, a.live_mode, a.events_since
from sync.accounts a
join unnest($1::text[], $2::boolean[]) as k (account_id, live_mode) using (account_id, live_mode)
where a.events_since is null
order by 1, 2
for share of a
"""


async def select_events_since(connection: Connection, scopes: Collection[Scope]) -> dict[Scope, datetime]:
    """Since when every event of these accounts has come, or will come. If that is not known yet, it stays unknown
    until the caller's transaction ends.
    """
    columns = columns_of_keys(Scope, scopes)
    rows = await connection.fetch(SELECT_EVENTS_SINCE, *columns)
    if any(row["events_since"] is None for row in rows):
        await connection.fetch(HOLD_OFF_FIRST_FILL, *columns)
        rows = await connection.fetch(SELECT_EVENTS_SINCE, *columns)
    return {Scope(row[0], row[1]): row["events_since"] for row in rows if row["events_since"] is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class DueGap:
    """An account whose gap is to be filled; times are by Stripe's clock, except `claimed_at`, which is Postgres's."""

    account_id: str
    live_mode: bool
    cursor_at: datetime | None
    events_since: datetime | None
    claimed_at: datetime
    tick: int  # drawn when it was claimed: its events are all stored only if this is the incarnation still
    filled_tick: int | None = None  # that of the last fill that ended

    @property
    def scope(self) -> Scope:
        return Scope(self.account_id, self.live_mode)


CLAIM_GAP = """
with due as (
  select account_id, live_mode
  from sync.accounts
  where due_at <= now() and live_mode = $1
  order by due_at
  limit 1
  for no key update skip locked
)
update sync.accounts a
set due_at = now() + $2
from due d
where (a.account_id, a.live_mode) = (d.account_id, d.live_mode)
returning a.account_id, a.live_mode, a.cursor_at, a.events_since, now() as claimed_at, nextval('sync.tick') as tick,
  a.filled_tick
"""


async def claim_gap(connection: Connection, *, live_mode: bool, lease: timedelta) -> DueGap | None:
    """Lease the account whose fill has been due longest."""
    row = await connection.fetchrow(CLAIM_GAP, live_mode, lease)
    return None if row is None else DueGap(**row)


FILL_TAKES = timedelta(minutes=2)
"""A fill that has not ended so long after it was due is late: until it ends, what no webhook brought may be lacking."""

FINISH_GAP = """
update sync.accounts
set cursor_at = case
    when cursor_at > now() + $6 then least($3, now() + $6)
    else greatest(cursor_at, least($3, now() + $6))
  end,
  filled_at = now(), due_at = now() + $4, fill_by = now() + $4 + $8, error = null,
  events_since = coalesce($5, events_since), filled_tick = $7
from sync.current_incarnation i
where account_id = $1 and live_mode = $2 and $7 between i.first_tick and i.last_tick
returning true
"""


async def finish_gap(
    connection: Connection,
    gap: DueGap,
    *,
    cursor_at: datetime,
    next_fill: timedelta,
    since: datetime | None = None,
) -> bool:
    """Every event created before `cursor_at` is in the inbox; none is missing `since` then, if that has changed.

    No cursor is left further in the future than clocks are apart. False if the fill began in another incarnation:
    events that it stored may be lost, and the cursor stays.
    """
    finished = await connection.fetchval(
        FINISH_GAP,
        *(gap.account_id, gap.live_mode, cursor_at, next_fill, since, CLOCKS_APART, gap.tick),
        FILL_TAKES,
    )
    return bool(finished)


# A due time that is as it was when the last fill ended: one that has been claimed, or put off, is left alone.
HASTEN_GAPS = """
update sync.accounts
set due_at = now() + $2
where live_mode = $1 and due_at > now() + $2 and due_at = fill_by - $3::interval
"""


async def hasten_gaps(connection: Connection, *, live_mode: bool, every: timedelta) -> None:
    """Have the gaps of each account filled within `every`, whatever the worker that filled them last has set."""
    await connection.execute(HASTEN_GAPS, live_mode, every, FILL_TAKES)


POSTPONE_GAP = """
update sync.accounts set error = $3, due_at = now() + $4 where account_id = $1 and live_mode = $2
"""


async def postpone_gap(connection: Connection, gap: DueGap, *, error: str, retry_after: timedelta) -> None:
    """Note why the fill did not finish; its cursor stays."""
    await connection.execute(POSTPONE_GAP, gap.account_id, gap.live_mode, error, retry_after)


REMEMBER_KEY = """
insert into sync.key as k (account_id, live_mode) values ($1, $2)
on conflict (only_row) do update set account_id = case
  when k.account_id = '' and k.live_mode = excluded.live_mode then excluded.account_id else k.account_id
end
returning account_id, live_mode
"""


async def remember_key(connection: Connection, *, account_id: str, live_mode: bool) -> Scope:
    """The account and mode of the first key that ever worked with this database: this one, if it is the first.

    The account is '' while no key was allowed to say it.
    """
    row = await connection.fetchrow(REMEMBER_KEY, account_id, live_mode)
    return Scope(account_id, live_mode) if row is None else Scope(row[0], row[1])


SELECT_SERVED = "select account_id, live_mode from sync.key"


async def select_served(connection: Connection) -> Scope | None:
    """The account and mode that this database serves; None while no key has worked with it."""
    row = await connection.fetchrow(SELECT_SERVED)
    return None if row is None else Scope(row[0], row[1])


NAMED_ACCOUNT = "select case when exists (select from sync.key k where k.account_id = $1) then '' else $1 end"


async def named_account(connection: Connection, account_id: str) -> str:
    """The account that a request names, as rows bear it: naming the key's own account is the same as naming none."""
    if not account_id:
        return account_id
    named: str = await connection.fetchval(NAMED_ACCOUNT, account_id)
    return named


alarming_worker: ContextVar[str] = ContextVar("alarming_worker", default="")
"""The worker process on whose behalf this code runs (sync.workers.id): its alarms bear the name."""

RAISE_ALARM = """
insert into sync.alarms (name, detail, account_id, remedy, worker) values ($1, $2, $3, $4, $5)
on conflict (name) do update set
  detail = excluded.detail, account_id = excluded.account_id, remedy = excluded.remedy, worker = excluded.worker,
  said_at = now()
"""


async def raise_alarm(
    connection: Connection, name: str, detail: str, *, remedy: str = "", account_id: str = ""
) -> None:
    """Show it in /status and `subledger status` until it is cleared. The detail says what is wrong, and ends with the
    remedy if it does not contain it.
    """
    if remedy not in detail:
        detail = f"{detail}: {remedy}"
    await connection.execute(RAISE_ALARM, name, detail, account_id, remedy, alarming_worker.get())


CLEAR_ALARMS = "delete from sync.alarms where name = any ($1::text[]) returning name"


async def clear_alarms(connection: Connection, names: Collection[str]) -> list[str]:
    """Take these alarms back: what they said is not, or no longer, so. Returns those that stood."""
    return sorted(row[0] for row in await connection.fetch(CLEAR_ALARMS, list(names)))


# By the key in its name. `offset 0` keeps the lookup by that key.
_NAMES_SETTLED = """
a.name like 'read of % refused%' and exists (
  select from (
    select o.unsettled
    from sync.objects o
    where o.account_id = a.account_id and o.live_mode = $1 and o.kind = split_part(a.name, ' ', 3)
      and o.id = substring(a.name from '^read of [^ ]+ (.*) refused')
    offset 0
  ) named
  where not named.unsettled
)
"""
CLEAR_SETTLED = f"delete from sync.alarms a where a.account_id = $2 and {_NAMES_SETTLED}"


async def clear_settled_alarms(connection: Connection, scope: Scope) -> None:
    """Take back the alarms about objects that Stripe refused to tell, and that need no read any more: a list has shown
    them, or they are deleted or forgotten.
    """
    await connection.execute(CLEAR_SETTLED, scope.live_mode, scope.account_id)


_WORKER_IS_GONE = f"""
not exists (
  select from sync.workers w where w.id = a.worker and w.beat_at > now() - interval '{LOST_AFTER_SECONDS} seconds'
)
"""
# A worker whose key is wrong goes on raising its alarm: what another worker may read does not end it.
CLEAR_KEY_ALARMS = f"""
delete from sync.alarms a where a.name = any ($1::text[]) and (a.worker = $2 or {_WORKER_IS_GONE})
"""


async def clear_key_alarms(connection: Connection) -> None:
    """Take back what was said about the key, by this worker or by one that is gone: a read has worked."""
    await connection.execute(CLEAR_KEY_ALARMS, list(KeyAlarm), alarming_worker.get())


SELECT_ENDED = f"""
select a.name
from sync.alarms a
where a.name = any ($2::text[]) and {_WORKER_IS_GONE} or {_NAMES_SETTLED}
"""


async def select_ended_alarms(connection: Connection) -> list[str]:
    """The alarms that say what is over, and that a worker would take back: about objects that need no read any more,
    and about the key of a worker that is gone. The latter has ended only if today's key works.
    """
    served = await select_served(connection)
    live_mode = served is not None and served.live_mode
    return [row[0] for row in await connection.fetch(SELECT_ENDED, live_mode, list(KeyAlarm))]


ALARM_STANDS = "select exists (select from sync.alarms where name = $1)"


async def alarm_stands(connection: Connection, name: str) -> bool:
    """Whether it was raised, and not cleared since."""
    stands: bool = await connection.fetchval(ALARM_STANDS, name)
    return stands


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm that stands."""

    name: str
    since: datetime
    account_id: str
    worker: str
    detail: str
    remedy: str


SELECT_ALARMS = """
select name, raised_at as since, account_id, worker, detail, remedy from sync.alarms order by raised_at, name
"""


async def select_alarms(connection: Connection) -> list[Alarm]:
    """The alarms that stand, the oldest first."""
    return [Alarm(**row) for row in await connection.fetch(SELECT_ALARMS)]
