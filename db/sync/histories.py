"""Customers whose history is to be pulled, because they were first seen in the middle of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from db.connection import Connection
from db.keys import CustomerKey, columns_of_keys

HISTORY_ATTEMPTS_MAX = 5
"""Failures in a row, after which nobody waits for a history any longer; retries go on, at growing intervals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueHistory:
    """A customer whose history is due."""

    key: CustomerKey
    attempts: int
    asked: int
    """How often it had been asked for when it was claimed: this pull does not answer later requests."""
    tick: int
    """Drawn when it was claimed: its pages are all stored only if this is the incarnation still."""
    is_read: bool
    """Whether the customer itself was read for its events, and since the last of them."""


CLAIM_HISTORIES = """
with due as (
  select account_id, live_mode, customer_id
  from sync.customers
  where history_at <= now() and live_mode = $1
  order by history_at
  limit $2
  for no key update skip locked
)
update sync.customers c
set history_at = now() + $3, history_attempts = c.history_attempts + 1
from due d
where (c.account_id, c.live_mode, c.customer_id) = (d.account_id, d.live_mode, d.customer_id)
returning c.account_id, c.live_mode, c.customer_id, c.history_attempts, c.history_asked, nextval('sync.tick'),
  exists (
    select from sync.objects o
    where (o.account_id, o.live_mode, o.kind, o.id) = (c.account_id, c.live_mode, 'customer', c.customer_id)
      and o.confirmed > o.dirty and o.source = 'event' and not o.tombstone and o.missing_since is null
  )
"""


async def claim_histories(
    connection: Connection, *, live_mode: bool, limit: int, lease: timedelta
) -> list[DueHistory]:
    """Lease customers whose history is due, counting the attempt. Must be committed before any request."""
    rows = await connection.fetch(CLAIM_HISTORIES, live_mode, limit, lease)
    return [
        DueHistory(
            key=CustomerKey(row[0], row[1], row[2]),
            attempts=row[3],
            asked=row[4],
            tick=row[5],
            is_read=row[6],
        )
        for row in rows
    ]


RELEASE_HISTORIES = """
with held as (
  select account_id, live_mode, customer_id
  from sync.customers c
  join unnest($1::text[], $2::boolean[], $3::text[], $4::integer[], $5::bigint[])
    as k (account_id, live_mode, customer_id, history_attempts, history_asked)
    using (account_id, live_mode, customer_id, history_attempts, history_asked)
  where c.history_at is not null
  order by 1, 2, 3
  for no key update of c
)
update sync.customers c
set history_attempts = c.history_attempts - 1, history_at = now()
from held h
where (c.account_id, c.live_mode, c.customer_id) = (h.account_id, h.live_mode, h.customer_id)
"""


async def release_histories(connection: Connection, histories: Sequence[DueHistory]) -> None:
    """Undo their claims, if they were not pulled after all and no other worker has claimed them since."""
    await connection.execute(
        RELEASE_HISTORIES,
        *columns_of_keys(CustomerKey, [history.key for history in histories]),
        [history.attempts for history in histories],
        [history.asked for history in histories],
    )


# A request that came while it was being pulled keeps its appointment.
FINISH_HISTORIES = """
with done as (
  select account_id, live_mode, customer_id, k.asked
  from sync.customers
  join unnest($1::text[], $2::boolean[], $3::text[], $4::bigint[], $5::bigint[])
    as k (account_id, live_mode, customer_id, asked, tick) using (account_id, live_mode, customer_id)
  cross join sync.current_incarnation i
  where k.tick between i.first_tick and i.last_tick
  order by 1, 2, 3
  for no key update of customers
)
update sync.customers c
set complete = true,
  history_at = case when c.history_asked > d.asked then c.history_at end,
  history_attempts = case when c.history_asked > d.asked then c.history_attempts else 0 end,
  history_error = null,
  stale = c.stale + 1, stale_since = case when c.stale > c.derived then c.stale_since else now() end
from done d
where (c.account_id, c.live_mode, c.customer_id) = (d.account_id, d.live_mode, d.customer_id)
returning c.account_id, c.live_mode, c.customer_id
"""


async def finish_histories(connection: Connection, histories: Sequence[DueHistory]) -> set[CustomerKey]:
    """Every list of these customers was read to its end: from now on their records may be exact.

    One that began in another incarnation is not among those returned: what it stored may be lost, and it is to be read
    again.
    """
    rows = await connection.fetch(
        FINISH_HISTORIES,
        *columns_of_keys(CustomerKey, [history.key for history in histories]),
        [history.asked for history in histories],
        [history.tick for history in histories],
    )
    return {CustomerKey(row[0], row[1], row[2]) for row in rows}


POSTPONE_HISTORY = """
update sync.customers set history_at = now() + $4, history_error = $5
where account_id = $1 and live_mode = $2 and customer_id = $3 and history_at is not null
  and history_asked = $6
"""


async def postpone_history(
    connection: Connection, history: DueHistory, *, error: str, retry_after: timedelta
) -> None:
    """Note why the pull did not finish, and when to begin it again; a request that came meanwhile is left alone."""
    await connection.execute(POSTPONE_HISTORY, *history.key, retry_after, error, history.asked)


DROP_UNKNOWN = """
delete from sync.customers c
where c.account_id = $1 and c.live_mode = $2 and c.customer_id = $3 and c.stale = 0 and not c.complete
  and not exists (
    select from sync.objects o
    where o.account_id = $1 and o.live_mode = $2 and (o.customer_id = $3 or o.kind = 'customer' and o.id = $3)
  )
returning true
"""


async def drop_unknown(connection: Connection, key: CustomerKey) -> bool:
    """Forget a customer that was asked for and that Stripe does not know; False if anything else is known."""
    return bool(await connection.fetchval(DROP_UNKNOWN, *key))


WANT_HISTORY = """
insert into sync.customers as c (account_id, live_mode, customer_id, stale, stale_since, history_at, history_asked)
values ($1, $2, $3, 1, now(), now(), 1)
on conflict (account_id, live_mode, customer_id) do update set
  history_at = now(), history_attempts = 0, history_asked = c.history_asked + 1
"""


async def want_history(connection: Connection, key: CustomerKey) -> None:
    """Schedule a pull of the customer's history now, whatever is known about it."""
    await connection.execute(WANT_HISTORY, *key)


# Only customers that are complete: the others are wanted when the backfill comes to its customers.
WANT_CLOCK_HISTORIES = """
update sync.customers c
set history_at = now(), history_attempts = 0, history_asked = c.history_asked + 1
from stripe.customers s
where c.account_id = $1 and c.live_mode = $2 and c.complete
  and (s.account_id, s.live_mode, s.id) = (c.account_id, c.live_mode, c.customer_id)
  and s.test_clock is not null and s.deleted_at is null
"""


async def want_clock_histories(connection: Connection, account_id: str, *, live_mode: bool) -> None:
    """Schedule another pull of the histories of all known customers on test clocks: no list holds them."""
    await connection.execute(WANT_CLOCK_HISTORIES, account_id, live_mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedHistory:
    """A customer whose history is still to be pulled: how often that was begun, and what the last failure said."""

    customer_id: str
    attempts: int
    error: str | None


SELECT_CLOCK_HISTORIES = """
select c.customer_id, c.history_attempts as attempts, c.history_error as error
from sync.customers c
join stripe.customers s on (s.account_id, s.live_mode, s.id) = (c.account_id, c.live_mode, c.customer_id)
where c.account_id = $1 and c.live_mode = $2 and c.history_at is not null
  and s.test_clock is not null and s.deleted_at is null
order by c.history_attempts, c.customer_id
limit $3
"""


async def select_clock_histories(
    connection: Connection, account_id: str, *, live_mode: bool, limit: int
) -> list[WantedHistory]:
    """Customers on test clocks whose histories are still to be pulled, those that were tried least first."""
    rows = await connection.fetch(SELECT_CLOCK_HISTORIES, account_id, live_mode, limit)
    return [WantedHistory(**row) for row in rows]
