"""Everything about one customer: the record, its parts, its history and its last events."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from billing.kinds.registry import LIST_CONFIRMED
from billing.record import CustomerFeature, CustomerMrr, CustomerRecord, Revenue
from db.columns import columns_of, names_of
from db.connection import Connection
from db.keys import CustomerKey, in_each_scope
from db.records.history import StatusChange
from db.records.parts import RECORD_PARTS
from db.sync.inbox_admin import CustomerMark, FenceEntry

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCustomer(CustomerRecord):
    """One whole row of billing.customers."""

    change: int
    created_at: datetime
    updated_at: datetime


def _names(row: type[Any]) -> str:
    return names_of(columns_of(row))


# Each arm has its index; `or` over four columns would read the whole table. What only we or Stripe can give comes
# first: a custom_uid may be anything, even another customer's Stripe id.
FIND_CUSTOMERS = f"""
with recursive {in_each_scope("billing.customers", "stripe_customer_id = $1 or custom_uid = $1")}, meant as (
  select *, 1 as rank from billing.customers where uid = $2
  union all
  select main.*, 2
  from billing.joined_customers j
  join billing.customers main
    on main.account_id = j.account_id and main.live_mode = j.live_mode
      and main.stripe_customer_id = j.main_stripe_customer_id
  where j.stripe_customer_id = $1
  union all select *, case when stripe_customer_id = $1 then 3 else 4 end from found
  union all select *, 5 from billing.customers where email in ($1, lower($1))
), ranked as (
  select *, min(rank) over () as first
  from meant
)
select {_names(StoredCustomer)}
from ranked
-- What was meant is decided in all accounts and both modes: the filters must not turn a Stripe id into a custom_uid.
where rank = first and ($3::text is null or account_id = $3) and ($4::boolean is null or live_mode = $4)
order by deleted_at is not null, live_mode desc, account_id, created_at, uid
limit $5
"""


async def find_customers(
    connection: Connection, name: str, *, account_id: str | None, live_mode: bool | None, limit: int
) -> list[StoredCustomer]:
    """The customers with this uid; if there are none, with this Stripe id, also of one that is joined to them; else
    custom_uid; else email. Deleted ones last. None: no filter.
    """
    try:
        uid = UUID(name)
    except ValueError:
        uid = None
    rows = await connection.fetch(FIND_CUSTOMERS, name, uid, account_id, live_mode, limit)
    return read_rows(StoredCustomer, rows)


_ORDER_FOR_PEOPLE: Mapping[type, str] = {
    Revenue: "gross + out_of_band desc, currency",
    CustomerFeature: "lookup_key, feature_id",
    CustomerMrr: "mrr desc nulls last, currency",
}
"""Where people want another order than programs."""

SELECT_PART_OF_CUSTOMER: Mapping[type, str] = {
    part.row: f"""
select {names_of(part.columns)}
from {part.table}
where customer_uid = $1
order by {_ORDER_FOR_PEOPLE.get(part.row) or ", ".join(part.order)}
"""
    for part in RECORD_PARTS.values()
}
"""The rows of each part, by its dataclass."""


async def select_part(connection: Connection, row: type[T], uid: UUID) -> list[T]:
    """The customer's rows of the part that has this dataclass, in the order in which people are shown them."""
    return read_rows(row, await connection.fetch(SELECT_PART_OF_CUSTOMER[row], uid))


SELECT_STATUS_CHANGES = f"""
select {_names(StatusChange)}
from billing.status_changes
where customer_uid = $1
order by id
"""


async def select_status_changes(connection: Connection, uid: UUID) -> list[StatusChange]:
    """The changes of the customer's status, oldest first."""
    return read_rows(StatusChange, await connection.fetch(SELECT_STATUS_CHANGES, uid))


SELECT_MARK = f"""
select {_names(CustomerMark)}
from sync.customers
where account_id = $1 and live_mode = $2 and customer_id = $3
"""


async def select_mark(connection: Connection, key: CustomerKey) -> CustomerMark | None:
    """How far the derivation of the customer's record is."""
    row = await connection.fetchrow(SELECT_MARK, *key)
    return None if row is None else CustomerMark(**row)


# All objects that the record depends on, except the catalogue. Mirrored objects are found by what they belong to;
# objects that are known only by name, by the customer that is believed to own them.
_OBJECTS = f"""
with charges as materialized (
  select charge_id from sync.charge_owners where account_id = $1 and live_mode = $2 and customer_id = $3
), invoices as materialized (
  select id from stripe.invoices where account_id = $1 and live_mode = $2 and customer_id = $3
), names (kind, id) as (
  select 'customer', $3::text
  union select 'subscription', id from stripe.subscriptions
    where account_id = $1 and live_mode = $2 and customer_id = $3
  union select 'subscription_schedule', id from stripe.subscription_schedules
    where account_id = $1 and live_mode = $2 and customer_id = $3
  union select 'checkout_session', id from stripe.checkout_sessions
    where account_id = $1 and live_mode = $2 and customer_id = $3
  union select 'invoice', id from invoices
  union select 'credit_note', id from stripe.credit_notes
    where account_id = $1 and live_mode = $2 and customer_id = $3
  union select 'invoice_payment', p.id from stripe.invoice_payments p
    where p.account_id = $1 and p.live_mode = $2 and p.invoice_id in (select id from invoices)
  union select 'charge', charge_id from charges
  union select 'refund', r.id from stripe.refunds r
    where r.account_id = $1 and r.live_mode = $2 and r.charge_id in (select charge_id from charges)
  union select 'dispute', d.id from stripe.disputes d
    where d.account_id = $1 and d.live_mode = $2 and d.charge_id in (select charge_id from charges)
  union select u.kind, u.id from sync.not_understood u
    where u.account_id = $1 and u.live_mode = $2 and (
      (u.named_kind = 'charge' and u.named_id in (select charge_id from charges))
      or (u.named_kind = 'invoice' and u.named_id in (select id from invoices))
      or (u.named_kind = 'payment_intent' and u.named_id in (
        select id from stripe.payment_intents where account_id = $1 and live_mode = $2 and customer_id = $3
      ))
    )
  union select kind, id from sync.objects
    where account_id = $1 and live_mode = $2 and customer_id = $3 and unsettled
      and kind not in ({", ".join(f"'{kind}'" for kind in sorted(LIST_CONFIRMED))})
), objects as (
  select o.*
  from names n
  join sync.objects o on o.account_id = $1 and o.live_mode = $2 and o.kind = n.kind and o.id = n.id
)
"""

SELECT_UNSETTLED_OF_CUSTOMER = f"""{_OBJECTS}
select {_names(FenceEntry)}
from objects
where unsettled
order by parked_at, missing_since, kind, id
"""


async def select_unsettled(connection: Connection, key: CustomerKey) -> list[FenceEntry]:
    """The customer's objects for which a read is pending, or that are missing or parked: why it is not exact."""
    rows = await connection.fetch(SELECT_UNSETTLED_OF_CUSTOMER, *key)
    return [FenceEntry(**row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastEvent:
    """An event that was the last to concern some of a customer's objects."""

    event_id: str
    type: str
    created: datetime | None
    received_at: datetime
    state: str
    error: str | None
    objects: tuple[str, ...]
    """Kind and id of each object whose last event it is."""


SELECT_LAST_EVENTS = f"""{_OBJECTS}
select e.event_id, e.type, e.created, e.received_at, e.state, e.error, last.objects
from (
  select event_id, array_agg(kind || ' ' || id order by kind, id) as objects
  from objects
  where event_id is not null
  group by event_id
) last
join sync.events e on e.account_id = $1 and e.live_mode = $2 and e.event_id = last.event_id
order by e.seq desc
limit $4
"""


async def select_last_events(connection: Connection, key: CustomerKey, *, limit: int) -> list[LastEvent]:
    """The last events of the customer's objects, newest first: the fence keeps one event for each object."""
    rows = await connection.fetch(SELECT_LAST_EVENTS, *key, limit)
    return [LastEvent(**{**row, "objects": tuple(row["objects"])}) for row in rows]


_DOCUMENTS = {"metadata", "options"}


def read_rows(row_type: type[T], rows: Iterable[asyncpg.Record | Mapping[str, Any]]) -> list[T]:
    """The rows as values of their dataclass; jsonb arrives as text."""
    return [
        msgspec.convert(
            {
                name: msgspec.json.decode(value) if name in _DOCUMENTS else value
                for name, value in row.items()
            },
            row_type,
        )
        for row in rows
    ]
