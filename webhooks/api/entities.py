"""/customers/ID/entities/ENTITY: the workspaces, teams or stores that a customer buys products for."""

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from db.connection import Connection
from db.keys import CustomerKey
from db.records.entities import EntityWithProducts, find_entity, put_entity, remove_entity
from db.records.identities import lock_uid
from db.records.merges import leads_to
from webhooks.api.naming import customer_to_change, require_not_forgotten
from webhooks.api.operation import Answer, Call, NoBody, Operation, Reply, Where
from webhooks.api.problems import CONFLICT, INVALID, NOT_FOUND, Problem
from webhooks.api.read import found_customer
from webhooks.api.shown import policy_of
from webhooks.api.write import STORABLE, MetadataKey, MetadataText, Name

ENTITY_ID_MAX = 500
"""Characters of an entity's id: Stripe's metadata, which name it, take no longer text."""


class EntityFields(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is said of an entity. What is left out is not said, and removed from one that exists."""

    type: Annotated[
        Annotated[str, Meta(max_length=255, pattern=STORABLE)] | None,
        Meta(description="workspace, project or what the company calls it."),
    ] = None
    name: Annotated[Name | None, Meta(description="For people.")] = None
    metadata: Annotated[
        dict[MetadataKey, MetadataText],
        Meta(max_length=50, description="Whatever the company keeps with it."),
    ] = msgspec.field(default_factory=dict)
    feature_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255, pattern=STORABLE)] | None,
        Meta(
            description="The feature of which it takes one as long as it is there: a seat, as check counts it."
        ),
    ] = None


async def put(call: Call[Where, EntityFields]) -> Reply:
    """The entity as it is now."""
    entity_id, body = _entity_id(call), call.body
    async with call.context.database.connection() as connection, connection.transaction():
        uid = await _uid_to_change(connection, call)
        created = await put_entity(
            connection,
            uid,
            entity_id,
            type_=body.type,
            name=body.name,
            metadata=body.metadata,
            feature_id=body.feature_id,
        )
        entity = await _found(connection, uid, entity_id)
    return Reply(content=entity, status=201 if created else 200)


async def show(call: Call[Where, NoBody]) -> Reply:
    """The entity, whether services have written it or subscriptions name it."""
    entity_id = _entity_id(call)
    async with call.context.database.connection() as connection:
        scope, name = await call.scope(connection), call.name("customer_id")
        customer = await found_customer(connection, scope, name, policy=policy_of(call.context))
        return Reply(content=await _found(connection, customer.uid, entity_id))


async def remove(call: Call[Where, NoBody]) -> Reply:
    """What services have written of it is gone."""
    entity_id = _entity_id(call)
    async with call.context.database.connection() as connection, connection.transaction():
        uid = await _uid_to_change(connection, call)
        if not await remove_entity(connection, uid, entity_id):
            await _found(connection, uid, entity_id)
            raise Problem(
                CONFLICT,
                f"only subscriptions name the entity {entity_id}, by their metadata",
                field="path.entity_id",
                remedy="remove entity_id from the metadata of these subscriptions at Stripe",
            )
    return Reply(content=None, status=204)


def _entity_id(call: Call[Any, Any]) -> str:
    entity_id = call.name("entity_id")
    if len(entity_id) > ENTITY_ID_MAX:
        raise Problem(
            INVALID,
            f"the id of the entity has {len(entity_id)} characters",
            field="path.entity_id",
            remedy=f"give one of {ENTITY_ID_MAX} characters at most",
        )
    return entity_id


async def _uid_to_change(connection: Connection, call: Call[Any, Any]) -> UUID:
    """The uid of the customer, which nobody merges until the transaction ends."""
    scope, name = await call.scope(connection), call.name("customer_id")
    customer = await customer_to_change(connection, scope, name, policy=policy_of(call.context))
    await lock_uid(connection, customer.uid)
    if customer.stripe_customer_id is not None:
        key = CustomerKey(*scope, customer.stripe_customer_id)
        await require_not_forgotten(connection, key, field="path.customer_id")
    return await leads_to(connection, scope, customer.uid) or customer.uid


async def _found(connection: Connection, uid: UUID, entity_id: str) -> EntityWithProducts:
    entity = await find_entity(connection, uid, entity_id)
    if entity is None:
        raise Problem(
            NOT_FOUND,
            f"the customer has no entity {entity_id}",
            field="path.entity_id",
            remedy="PUT it, or give entity_id in the metadata of a subscription",
        )
    return entity


_EXAMPLE = EntityWithProducts(
    uid=UUID("3b9f1c9e-6d0a-4c55-9a0e-1f2d3c4b5a69"),
    customer_uid=UUID("8d0e4bd5-7c8e-4a36-b7a6-1b2c3d4e5f60"),
    id="team_1",
    type="workspace",
    name="Analytical Engines",
    metadata={"region": "eu"},
    created_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    feature_id=None,
)
_PATH = "/customers/{customer_id}/entities/{entity_id}"

PUT: Operation[Where, EntityFields] = Operation(
    method="PUT",
    path=_PATH,
    name="putEntity",
    summary="Create or replace an entity of a customer",
    description="It comes before one that subscriptions name by the same id.",
    handle=put,
    query=Where,
    body=EntityFields,
    body_example={"type": "workspace", "name": "Analytical Engines", "metadata": {"region": "eu"}},
    answers={
        200: Answer(description="It was replaced.", type=EntityWithProducts, example=_EXAMPLE),
        201: Answer(description="It was created.", type=EntityWithProducts, example=_EXAMPLE),
    },
    problems=(NOT_FOUND, CONFLICT),
)

SHOW: Operation[Where, NoBody] = Operation(
    method="GET",
    path=_PATH,
    name="getEntity",
    summary="An entity of a customer, with the products bought for it",
    description="Products are attached by entity_id in a subscription's metadata; 1,000 at most are shown.",
    handle=show,
    query=Where,
    body=NoBody,
    answers={200: Answer(description="The entity.", type=EntityWithProducts, example=_EXAMPLE)},
    problems=(NOT_FOUND,),
    reads=True,
)

REMOVE: Operation[Where, NoBody] = Operation(
    method="DELETE",
    path=_PATH,
    name="removeEntity",
    summary="Remove an entity of a customer",
    description="One that subscriptions name, too, stays as they name it.",
    handle=remove,
    query=Where,
    body=NoBody,
    answers={204: Answer(description="It is removed.")},
    problems=(NOT_FOUND, CONFLICT),
)
