"""The alarm about sessions that listen and keep Postgres's queue of notifications full."""

from enum import StrEnum

from db.connection import Connection
from db.sync.accounts import clear_alarms, raise_alarm


class ListenerAlarm(StrEnum):
    """What a session that listens may do to others: the names of its alarms."""

    QUEUE_FULL = "queue of notifications"


USAGE_ALARMING = 0.5
"""From here on Postgres warns of it in its own log, too."""

# Of sessions of other roles only a role with pg_read_all_stats sees since when their transactions are open.
SELECT_QUEUE = """
select pg_notification_queue_usage() as usage, (
  select pid from pg_stat_activity
  where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()
    and backend_type = 'client backend'
  order by xact_start
  limit 1
) as oldest
"""


async def look_at_queue(connection: Connection) -> None:
    """Raise the alarm if the queue is half full, or take it back."""
    row = await connection.fetchrow(SELECT_QUEUE)
    if row is None or row["usage"] < USAGE_ALARMING:
        await clear_alarms(connection, [ListenerAlarm.QUEUE_FULL])
        return
    oldest = (
        "" if row["oldest"] is None else f" The oldest transaction seen from here has pid {row['oldest']}."
    )
    await raise_alarm(
        connection,
        ListenerAlarm.QUEUE_FULL,
        f"Postgres's queue of notifications is {row['usage']:.0%} full, because a session that listens stays in one "
        f"transaction: from 90% on nobody is notified of changed records, which are right all the same.{oldest}",
        remedy="end the session whose pid Postgres's log names (select pg_terminate_backend(pid))",
    )
