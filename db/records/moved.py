"""What customers have used follows them to other uids: never while it is being added up.

One worker adds up, and waits for those who move use; they wait for it, and not for each other. The locks are of a table
without rows and not advisory ones, which any role could take, and come before the locks of all rows.
"""

import asyncpg

from db.connection import Connection

TAKE_TURN = "lock table sync.usage_turn in share update exclusive mode nowait"

WAIT_FOR_MOVERS = "lock table sync.usage_turn in share mode"

HOLD_USAGE = "lock table sync.usage_turn in row exclusive mode"

KEEP_USAGE_STILL = "lock table sync.usage_turn in share row exclusive mode"

TRY_TO_HOLD_USAGE = "lock table sync.usage_turn in row exclusive mode nowait"


class UsageIsAddedUp(Exception):
    """Use is being added up just now: do the transaction again, and call hold_usage first in it."""


async def take_turn(connection: Connection) -> bool:
    """Let nobody else add up, nor move, what was used until the transaction ends. False: another worker adds up."""
    try:
        async with connection.transaction():  # a savepoint
            await connection.execute(TAKE_TURN)
    except asyncpg.LockNotAvailableError:
        return False
    await connection.execute(WAIT_FOR_MOVERS)
    return True


async def hold_usage(connection: Connection) -> None:
    """Let nobody add up what was used until the transaction ends. Before the lock of any identity, use or customer."""
    await connection.execute(HOLD_USAGE)


async def keep_usage_still(connection: Connection) -> None:
    """Let nobody add up, nor move, what was used until the transaction ends. Before all other locks."""
    await connection.execute(KEEP_USAGE_STILL)


async def try_to_hold_usage(connection: Connection) -> None:
    """The same with other locks held, if it is free. Raises UsageIsAddedUp: the transaction can only be given up."""
    try:
        await connection.execute(TRY_TO_HOLD_USAGE)
    except asyncpg.LockNotAvailableError:
        raise UsageIsAddedUp from None


# What is stored under the old uid just now finds the new one by this.
_NOTE_FORMER = """
with moved as (
  select * from unnest($1::uuid[], $2::uuid[]) as moved (before, after)
), followed as (
  update sync.former_uids f set after = moved.after from moved where f.after = moved.before and f.before <> moved.after
), used_again as (
  delete from sync.former_uids f using moved where f.before = moved.after
)
insert into sync.former_uids (before, after)
select before, after from moved order by before
on conflict (before) do update set after = excluded.after, changed_at = now()
"""
_MOVE_EVENTS = """
update billing.usage_events e set customer_uid = moved.after
from unnest($1::uuid[], $2::uuid[]) as moved (before, after)
where e.customer_uid = moved.before
"""
_MOVE_MINUTES = """
with left_behind as (
  delete from billing.usage_minutes m
  using unnest($1::uuid[], $2::uuid[]) as moved (before, after)
  where m.customer_uid = moved.before
  returning moved.after as customer_uid, m.feature_id, m.entity_id, m.minute, m.value
)
insert into billing.usage_minutes as m (customer_uid, feature_id, entity_id, minute, value)
select customer_uid, feature_id, entity_id, minute, sum(value)
from left_behind
group by 1, 2, 3, 4
order by 1, 2, 4, 3
on conflict (customer_uid, feature_id, minute, md5(entity_id)) do update set value = m.value + excluded.value
"""
# What waited for a link is looked at again: the other customer may be linked.
_MOVE_METER_EVENTS = """
update sync.meter_events e
set customer_uid = moved.after,
  due_at = case when e.state = 'queued' and e.attempts = 0 then now() else e.due_at end
from unnest($1::uuid[], $2::uuid[]) as moved (before, after)
where e.customer_uid = moved.before
"""
MOVE_USAGE = (_NOTE_FORMER, _MOVE_EVENTS, _MOVE_MINUTES, _MOVE_METER_EVENTS)
"""What customers have used follows them to other uids: $1 before, $2 after."""


TRIM_FORMER = """
delete from sync.former_uids
where before = any (array(select before from sync.former_uids where changed_at < now() - interval '1 day' limit $1))
"""


async def trim_former_uids(connection: Connection, *, limit: int) -> int:
    """Forget former uids under which nothing can be stored any more; returns how many. What was is added up."""
    done = await connection.execute(TRIM_FORMER, limit)
    return int(done.rpartition(" ")[2])
