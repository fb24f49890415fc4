"""POST /customers and /customers/ID/identify: customers before they have a name, and when they get one."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from db.connection import Connection
from db.keys import CustomerKey, Scope
from db.records.customer import StoredCustomer
from db.records.full import Customer
from db.records.identities import (
    IdentityFields,
    StoredIdentity,
    give_up_name,
    insert_identity,
    lock_name,
    lock_uid,
    name_identity,
    select_identity,
    select_named_identity,
)
from db.records.joins import JOINED_MAX
from db.records.merges import JoinRefusal, JoinRefused, merge_identities, select_merged_into
from db.records.moved import hold_usage
from webhooks.api.examples import CUSTOMER
from webhooks.api.naming import (
    customer_to_change,
    identity_of,
    name_given,
    owner_of,
    require_no_uid,
    require_not_forgotten,
)
from webhooks.api.operation import Answer, Call, Operation, Reply
from webhooks.api.problems import CONFLICT, INVALID, NOT_FOUND, Problem
from webhooks.api.read import Expanding, found_customer
from webhooks.api.shown import policy_of, shown
from webhooks.api.write import (
    CREATED,
    CUSTOM_UID,
    Description,
    Email,
    Fingerprint,
    MetadataKey,
    MetadataText,
    Name,
    require_custom_uid,
    require_no_other_name,
)

CustomUid: TypeAlias = Annotated[str, Meta(pattern=CUSTOM_UID)]


class AnonymousCustomer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A customer without a custom_uid. By a fingerprint, or else an email, it is recognised when it comes again."""

    fingerprint: Annotated[
        Fingerprint | None, Meta(description="What recognises it, in the browser or on the device.")
    ] = None
    email: Annotated[Email | None, Meta(description="Recognises it if there is no fingerprint.")] = None
    name: Annotated[Name | None, Meta(description="A person's or a business's name.")] = None
    description: Annotated[Description | None, Meta(description="For people.")] = None
    metadata: Annotated[
        dict[MetadataKey, MetadataText],
        Meta(max_length=50, description="Whatever the company keeps with it."),
    ] = msgspec.field(default_factory=dict)
    send_email_receipts: Annotated[
        bool | None, Meta(description="Whether the customer wants receipts by mail.")
    ] = None


class Identification(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Who a customer has turned out to be."""

    custom_uid: Annotated[CustomUid, Meta(description="The company's own name of the customer.")]


async def post(call: Call[Expanding, AnonymousCustomer]) -> Reply:
    """The customer that is recognised by this fingerprint or email, created if there is none."""
    context, body = call.context, call.body
    require_no_other_name(body.metadata, None)
    async with context.database.connection() as connection:
        scope = await call.scope(connection)
        uid = uid_recognised(scope, body.fingerprint, body.email)
        async with connection.transaction():
            fields = IdentityFields(
                uid=uid,
                name=body.name,
                email=body.email,
                description=body.description,
                fingerprint=body.fingerprint,
                send_email_receipts=body.send_email_receipts,
                metadata=body.metadata,
            )
            # Without the lock, one that is merged just now would be made anew.
            await lock_uid(connection, uid)
            into = await select_merged_into(connection, scope, uid)
            created = await insert_identity(connection, scope, fields) if into is None else None
            identity = created or await select_identity(connection, scope, into or uid)
        if identity is None:
            record = await found_customer(connection, scope, str(into or uid), policy=policy_of(context))
            return Reply(content=record)
    customer = await shown(context, scope, identity, call.query.expand)
    headers = {} if created is None else {"Location": f"/customers/{customer.uid}"}
    return Reply(content=customer, status=200 if created is None else 201, headers=headers)


def uid_recognised(scope: Scope, fingerprint: str | None, email: str | None) -> UUID:
    """The uid of an anonymous customer: it follows from what it is recognised by, so that there is one, however many
    create it at the same time. Raises Problem without either.
    """
    if fingerprint is None and email is None:
        raise Problem(
            INVALID,
            "nothing says by what the customer is recognised",
            field="body.fingerprint",
            remedy="give a fingerprint or an email; or use PUT /customers/YOUR_ID, if it has signed up",
        )
    by = ["email", (email or "").lower()] if fingerprint is None else ["fingerprint", fingerprint]
    digest = hashlib.sha256(msgspec.json.encode([*scope, *by])).digest()[:16]
    # Version 8: made by ourselves. Those of version 5 belong to customers of Stripe's.
    number = int.from_bytes(digest) & ~(0xF << 76) & ~(0x3 << 62) | (0x8 << 76) | (0x2 << 62)
    return UUID(int=number)


async def identify(call: Call[Expanding, Identification]) -> Reply:
    """The customer with its name: given to it, or merged into the customer that has it."""
    context, custom_uid = call.context, call.body.custom_uid
    require_custom_uid(custom_uid, "body.custom_uid")
    async with context.database.connection() as connection:
        scope = await call.scope(connection)
        record = await customer_to_change(
            connection, scope, call.name("customer_id"), policy=policy_of(context)
        )
        async with connection.transaction():
            await lock_name(connection, scope, custom_uid)
            await require_no_uid(connection, scope, custom_uid, "body.custom_uid")
            identity = await _identify(connection, scope, record, custom_uid)
    return Reply(content=await shown(context, scope, identity, call.query.expand))


async def _identify(
    connection: Connection, scope: Scope, record: StoredCustomer, custom_uid: str
) -> StoredIdentity:
    """In a transaction that holds the lock of the name."""
    if (
        await select_named_identity(connection, scope, custom_uid) is not None
        or await owner_of(connection, scope, custom_uid) is not None
    ):
        await hold_usage(connection)  # it may become a merge, and this comes before the lock of any identity
    identity = await identity_of(connection, scope, record)
    if identity.custom_uid == custom_uid:
        return identity
    given = identity.custom_uid or await name_given(connection, scope, record)
    if given not in (None, custom_uid):
        raise Problem(
            CONFLICT,
            f"the customer is {given} already",
            field="body.custom_uid",
            remedy="a customer that has a name keeps it",
        )
    named = await owner_of(connection, scope, custom_uid)
    if named is not None and named.deleted_at is not None:
        await give_up_name(connection, scope, named.uid)
        named = None
    target = await select_named_identity(connection, scope, custom_uid)
    if target is None and named is not None and named.uid != record.uid:
        target = await identity_of(connection, scope, named)
    if target is None:
        return await name_identity(connection, scope, identity.uid, custom_uid) or identity
    if target.stripe_customer_id is not None:
        key = CustomerKey(*scope, target.stripe_customer_id)
        await require_not_forgotten(connection, key, field="body.custom_uid")
    try:
        merged = await merge_identities(connection, scope, identity, target)
    except JoinRefused as refused:
        reason, remedy = _NOT_JOINED[refused.why]
        raise Problem(
            CONFLICT,
            f"{custom_uid} is another customer, both have a customer at Stripe "
            f"({target.stripe_customer_id} and {identity.stripe_customer_id}), and {reason}",
            field="body.custom_uid",
            remedy=remedy,
        ) from None
    if not merged:
        raise Problem(
            CONFLICT, "somebody else changes this customer just now", remedy="send the request again"
        )
    return await select_identity(connection, scope, target.uid) or target


_NOT_JOINED: Mapping[JoinRefusal, tuple[str, str]] = {
    JoinRefusal.DELETED: (
        "one of these is deleted there, or forgotten",
        "leave them as they are: a customer that is deleted buys nothing more",
    ),
    JoinRefusal.NOT_SETTLED: (
        "not everything of them is confirmed by Stripe yet",
        "send the request again once both are exact: GET /customers/ID?fresh=true reads one now",
    ),
    JoinRefusal.TOO_MANY: (
        f"one record has {JOINED_MAX} others at most",
        "create another customer, or move subscriptions at Stripe",
    ),
}


_EXAMPLE: Mapping[str, object] = {"fingerprint": "fp_abc123", "email": "ada@example.com"}

POST: Operation[Expanding, AnonymousCustomer] = Operation(
    method="POST",
    path="/customers",
    name="createAnonymousCustomer",
    summary="Get or create a customer that has no name yet",
    description=(
        "By its fingerprint, or else its email: the same one is answered with the same customer, also after it was "
        "identified or merged."
    ),
    handle=post,
    query=Expanding,
    body=AnonymousCustomer,
    body_needs=("fingerprint", "email"),
    body_example=_EXAMPLE,
    answers={
        200: Answer(description="It is known already.", type=Customer, example=CUSTOMER),
        201: CREATED,
    },
    problems=(NOT_FOUND, CONFLICT),
)

IDENTIFY: Operation[Expanding, Identification] = Operation(
    method="POST",
    path="/customers/{customer_id}/identify",
    name="identifyCustomer",
    summary="Give a customer its name, or merge it into the customer that has the name",
    description=(
        "It keeps its products, usage and history. If another customer has the name already, what is known of this one "
        "is given to that one, whose own values count, and billing.merges records it: the old uid still leads there. "
        "If both have a customer at Stripe, the record is of both from then on, and either Stripe id finds it."
    ),
    handle=identify,
    query=Expanding,
    body=Identification,
    body_example={"custom_uid": "user_123"},
    answers={200: Answer(description="The customer with the name.", type=Customer, example=CUSTOMER)},
    problems=(NOT_FOUND, CONFLICT),
)
