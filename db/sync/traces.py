"""Which events led to what: asked only while traces are on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.connection import Connection
from db.keys import CustomerKey, EventKey, Key, columns_of_keys

RECENT = timedelta(minutes=2)
"""What was marked longer ago has waited for something else: the event's trace is over."""

SELECT_RECEIVED = """
select e.account_id, e.live_mode, e.event_id, e.received_at
from unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, event_id)
join sync.events e using (account_id, live_mode, event_id)
"""


async def select_received(connection: Connection, keys: Sequence[EventKey]) -> dict[EventKey, datetime]:
    """When these events were received."""
    rows = await connection.fetch(SELECT_RECEIVED, *columns_of_keys(EventKey, keys))
    return {EventKey(row[0], row[1], row[2]): row[3] for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The latest event about an object."""

    key: Key
    event_id: str
    customer_id: str | None


SELECT_CAUSES = """
select o.account_id, o.live_mode, o.kind, o.id, o.event_id, o.customer_id
from unnest($1::text[], $2::boolean[], $3::text[], $4::text[]) as k (account_id, live_mode, kind, id)
join sync.objects o using (account_id, live_mode, kind, id)
where o.event_id is not null
"""


async def select_causes(connection: Connection, keys: Sequence[Key]) -> list[Cause]:
    """The latest event about each of these objects, where there is one."""
    rows = await connection.fetch(SELECT_CAUSES, *columns_of_keys(Key, keys))
    return [
        Cause(key=Key(row[0], row[1], row[2], row[3]), event_id=row[4], customer_id=row[5]) for row in rows
    ]


SELECT_CAUSES_OF_CUSTOMERS = """
select distinct o.account_id, o.live_mode, o.customer_id, o.event_id
from unnest($1::text[], $2::boolean[], $3::text[]) as k (account_id, live_mode, customer_id)
join sync.objects o using (account_id, live_mode, customer_id)
where o.unsettled and o.event_id is not null and o.first_marked_at > now() - $4::interval
"""


async def select_causes_of_customers(
    connection: Connection, keys: Collection[CustomerKey]
) -> list[tuple[CustomerKey, str]]:
    """The latest events about objects of these customers that wait for a read, a little while at most."""
    rows = await connection.fetch(
        SELECT_CAUSES_OF_CUSTOMERS, *columns_of_keys(CustomerKey, sorted(keys)), RECENT
    )
    return [(CustomerKey(row[0], row[1], row[2]), row[3]) for row in rows]
