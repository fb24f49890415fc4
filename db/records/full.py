"""A customer's record as it is shown everywhere: by the API, by a refresh and by the command line."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from msgspec import UNSET, UnsetType

from billing.features import CustomerFeature
from billing.mrr import CustomerMrr
from billing.products import CustomerProduct
from billing.revenue import Revenue
from billing.usage import CustomerUsage
from db.columns import columns_of, names_of
from db.connection import Connection
from db.keys import CustomerKey, Scope
from db.records.customer import StoredCustomer, read_rows, select_part, select_status_changes
from db.records.feature_usage import FeatureUsage, select_feature_usage
from db.records.history import StatusChange
from db.records.joins import select_main_of
from db.records.parts import RECORD_PARTS
from db.sync.pushes import Push, select_pushes
from db.sync.usage import select_usage_rows

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """One row of billing.entities."""

    uid: UUID
    customer_uid: UUID
    id: str
    type: str | None
    name: str | None
    metadata: dict[str, Any]
    created_at: datetime | None
    feature_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer(StoredCustomer):
    """One row of billing.customers, with those of its parts that are asked for."""

    customer_products: tuple[CustomerProduct, ...] | UnsetType = UNSET
    entities: tuple[Entity, ...] | UnsetType = UNSET
    features: tuple[CustomerFeature, ...] | UnsetType = UNSET
    revenue: tuple[Revenue, ...] | UnsetType = UNSET
    mrr: tuple[CustomerMrr, ...] | UnsetType = UNSET
    usage: tuple[CustomerUsage, ...] | UnsetType = UNSET
    feature_usage: tuple[FeatureUsage, ...] | UnsetType = UNSET
    status_changes: tuple[StatusChange, ...] | UnsetType = UNSET
    push: Push | UnsetType = UNSET
    """What Stripe has not got yet of what was set here, or has refused; absent for nearly all customers."""


def rows_of(part: tuple[T, ...] | UnsetType) -> tuple[T, ...]:
    """The rows of a part, none if it was not asked for."""
    return () if isinstance(part, UnsetType) else part


PARTS = tuple(RECORD_PARTS)
"""What is derived with a record, and so shown by a refresh."""
ENTITIES = "entities"
"""Subscriptions name some of them; the others are ours."""
USAGE = "usage"
TIMELINE = "timeline"
EXPANDS = (*PARTS, USAGE, TIMELINE)
"""What may be asked for with a record."""

FIND_CUSTOMER = f"""
select {names_of(columns_of(StoredCustomer))}
from (
  select *, 1 as rank from billing.customers where uid = $4 and account_id = $1 and live_mode = $2
  union all
  select *, 2 from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
  union all
  select *, 3 from billing.customers where account_id = $1 and live_mode = $2 and custom_uid = $3
) meant
order by rank
limit 1
"""


async def find_customer(connection: Connection, scope: Scope, name: str) -> StoredCustomer | None:
    """The customer of this account and mode with this uid; else Stripe id, also of one that is joined to it; else
    custom_uid.
    """
    rows = read_rows(StoredCustomer, await connection.fetch(FIND_CUSTOMER, *scope, name, uid_in(name)))
    # Looked up apart, for the few that are joined. A custom_uid may be anything, even such a Stripe id.
    if name.startswith("cus_") and not (rows and rows[0].stripe_customer_id == name):
        main = await select_main_of(connection, CustomerKey(*scope, name))
        if main.id != name:
            return await find_by_stripe_id(connection, main)
    return rows[0] if rows else None


FIND_BY_NAME = f"""
select {names_of(columns_of(StoredCustomer))}
from billing.customers
where account_id = $1 and live_mode = $2 and custom_uid = $3
"""


async def find_by_name(connection: Connection, scope: Scope, custom_uid: str) -> StoredCustomer | None:
    """The record that has this custom_uid."""
    rows = read_rows(StoredCustomer, await connection.fetch(FIND_BY_NAME, *scope, custom_uid))
    return rows[0] if rows else None


FIND_BY_STRIPE_ID = f"""
select {names_of(columns_of(StoredCustomer))}
from billing.customers
where account_id = $1 and live_mode = $2 and stripe_customer_id = $3
"""


async def find_by_stripe_id(connection: Connection, key: CustomerKey) -> StoredCustomer | None:
    """The record of this customer of Stripe's: its own, or that of the one to which it is joined."""
    rows = read_rows(StoredCustomer, await connection.fetch(FIND_BY_STRIPE_ID, *key))
    if not rows and (main := await select_main_of(connection, key)) != key:
        rows = read_rows(StoredCustomer, await connection.fetch(FIND_BY_STRIPE_ID, *main))
    return rows[0] if rows else None


def uid_in(name: str) -> UUID | None:
    """The uid that a name is, if it can be one."""
    try:
        return UUID(name) if len(name) == len(str(UUID(int=0))) else None
    except ValueError:
        return None


SELECT_ENTITIES = f"""
select {names_of(columns_of(Entity))} from billing.entities where customer_uid = $1 order by id
"""


async def _pushes_of(connection: Connection, records: Collection[StoredCustomer]) -> dict[UUID, Push]:
    """What of these customers is on its way to Stripe, by uid: of nearly all nothing."""
    keys = {
        CustomerKey(record.account_id, record.live_mode, record.stripe_customer_id): record.uid
        for record in records
        if record.stripe_customer_id is not None
    }
    return {keys[key]: push for key, push in (await select_pushes(connection, keys)).items()}


async def listed(connection: Connection, records: Collection[StoredCustomer]) -> list[Customer]:
    """The records without parts, and what of them is on its way to Stripe."""
    pushes = await _pushes_of(connection, records)
    return [Customer(**_fields(record), push=pushes.get(record.uid, UNSET)) for record in records]  # type: ignore[arg-type]  # as below


async def with_parts(connection: Connection, record: StoredCustomer, expand: Collection[str]) -> Customer:
    """The record with those of its parts that `expand` names (`EXPANDS`), and what is on its way to Stripe."""
    parts: dict[str, tuple[object, ...]] = {
        part.shown_as: tuple(await select_part(connection, part.row, record.uid))
        for name, part in RECORD_PARTS.items()
        if name in expand and name != ENTITIES
    }
    if ENTITIES in expand:
        parts["entities"] = tuple(read_rows(Entity, await connection.fetch(SELECT_ENTITIES, record.uid)))
    if USAGE in expand:
        key = CustomerKey(record.account_id, record.live_mode, record.stripe_customer_id or "")
        parts["usage"] = tuple(await select_usage_rows(connection, key))
        parts["feature_usage"] = tuple(await select_feature_usage(connection, record.uid))
    if TIMELINE in expand:
        parts["status_changes"] = tuple(await select_status_changes(connection, record.uid))
    (whole,) = [record] if isinstance(record, Customer) else await listed(connection, [record])
    return replace(whole, **parts)  # type: ignore[arg-type]  # the parts are those of its fields


def _fields(record: StoredCustomer) -> Mapping[str, object]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


SELECT_EPOCH = "select epoch from billing.epoch"


async def select_epoch(connection: Connection) -> UUID | None:
    """The epoch in which `change` counts now; None before the first session of ours."""
    epoch: UUID | None = await connection.fetchval(SELECT_EPOCH)
    return epoch
