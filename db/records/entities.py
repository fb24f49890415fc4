"""Entities of one customer: those that services write, and what subscriptions attach to an entity."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from billing.products import CustomerProduct
from db.columns import columns_of, names_of
from db.connection import Connection
from db.records.customer import read_rows
from db.records.full import Entity

PRODUCTS_MAX = 1_000
"""Products shown with an entity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityWithProducts(Entity):
    """One row of billing.entities, with the products that were bought for it."""

    customer_products: tuple[CustomerProduct, ...] = field(default=())


SELECT_ENTITY = f"""
select {names_of(columns_of(Entity))} from billing.entities where customer_uid = $1 and id = $2
"""

# By the customer's index.
SELECT_PRODUCTS_OF_ENTITY = f"""
select {names_of(columns_of(CustomerProduct))}
from billing.customer_products
where customer_uid = $1 and entity_id = $2
order by starts_at desc nulls last, stripe_subscription_id, stripe_product_id
limit $3
"""


async def find_entity(
    connection: Connection, customer_uid: UUID, entity_id: str
) -> EntityWithProducts | None:
    """The entity with the products that subscriptions attach to it, those that began last first."""
    found = read_rows(Entity, await connection.fetch(SELECT_ENTITY, customer_uid, entity_id))
    if not found:
        return None
    products = await connection.fetch(SELECT_PRODUCTS_OF_ENTITY, customer_uid, entity_id, PRODUCTS_MAX)
    (entity,) = found
    return EntityWithProducts(
        uid=entity.uid,
        customer_uid=entity.customer_uid,
        id=entity.id,
        type=entity.type,
        name=entity.name,
        metadata=entity.metadata,
        created_at=entity.created_at,
        feature_id=entity.feature_id,
        customer_products=tuple(read_rows(CustomerProduct, products)),
    )


# Whoever comes second changes what the first one has inserted.
PUT_ENTITY = """
insert into billing.local_entities as e (uid, customer_uid, id, type, name, metadata, feature_id)
values (gen_random_uuid(), $1, $2, $3, $4, $5::jsonb, $6)
on conflict (customer_uid, id) do update set
  type = excluded.type, name = excluded.name, metadata = excluded.metadata, feature_id = excluded.feature_id
returning xmax = 0
"""


async def put_entity(
    connection: Connection,
    customer_uid: UUID,
    entity_id: str,
    *,
    type_: str | None,
    name: str | None,
    metadata: Mapping[str, str],
    feature_id: str | None,
) -> bool:
    """Write an entity of ours, in place of one with this id; returns whether there was none."""
    said = msgspec.json.encode(metadata).decode()
    created: bool = await connection.fetchval(
        PUT_ENTITY, customer_uid, entity_id, type_, name, said, feature_id
    )
    return created


REMOVE_ENTITY = "delete from billing.local_entities where customer_uid = $1 and id = $2 returning true"


async def remove_entity(connection: Connection, customer_uid: UUID, entity_id: str) -> bool:
    """Remove an entity of ours; returns whether there was one. One that subscriptions name stays."""
    return bool(await connection.fetchval(REMOVE_ENTITY, customer_uid, entity_id))
