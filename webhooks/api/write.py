"""PUT and PATCH /customers/ID: get or create a customer by the company's own name, and change one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from billing.claims import is_url_safe
from billing.kinds.found import is_id_of
from billing.pushes import METADATA_KEYS_MAX
from db.connection import Connection
from db.keys import CustomerKey, Scope
from db.records.customer import StoredCustomer
from db.records.full import Customer, find_by_stripe_id, with_parts
from db.records.identities import (
    IdentityFields,
    StoredIdentity,
    change_identity,
    give_up_name,
    insert_identity,
    is_at_stripe,
    link_identity,
    lock_name,
    name_identity,
    select_identity,
    select_linked_identity,
    select_named_identity,
)
from db.records.joins import select_main_of
from db.records.refresh import want_refresh
from webhooks.api.examples import CUSTOMER, UNLINKED
from webhooks.api.naming import (
    being_changed,
    customer_to_change,
    identity_of,
    name_given,
    owner_of,
    require_no_uid,
    require_not_forgotten,
)
from webhooks.api.operation import END, Answer, Call, Context, Operation, Reply, Where
from webhooks.api.problems import CONFLICT, INVALID, NO_KEY, NOT_FOUND, STRIPE_REFUSES, Problem
from webhooks.api.pushing import push_what_is_stripes
from webhooks.api.read import Expanding
from webhooks.api.shown import look_up, policy_of, shown

STORABLE = r"^[^\x00]+" + END
"""Postgres stores no U+0000."""
BLANKS = r"\x00-\x20\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Controls and spaces, for a class of characters: what `\\s` means differs between those who read the document."""
CUSTOM_UID_KEY = "custom_uid"
"""The key of metadata that is a customer's name at Stripe."""
CUSTOM_UID = r"^(?!\.{1,2}$|cus_)[A-Za-z0-9._~-]{1,255}" + END

# Stripe's limits, where it has one: what is set here may be passed on.
Name: TypeAlias = Annotated[str, Meta(max_length=256, pattern=STORABLE)]
Email: TypeAlias = Annotated[str, Meta(max_length=512, pattern=rf"^[^@{BLANKS}]+@[^@{BLANKS}]+" + END)]
Description: TypeAlias = Annotated[str, Meta(max_length=350, pattern=STORABLE)]
Fingerprint: TypeAlias = Annotated[str, Meta(max_length=255, pattern=STORABLE)]
StripeId: TypeAlias = Annotated[str, Meta(pattern=r"^cus_[A-Za-z0-9_]{1,251}" + END)]
MetadataKey: TypeAlias = Annotated[str, Meta(max_length=40, pattern=r"^[^\[\]\x00]+" + END)]
MetadataText: TypeAlias = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*" + END)]

_FINGERPRINT = Meta(description="What recognises a customer who has not signed up yet.")
_RECEIPTS = Meta(description="Whether the customer wants receipts by mail. null: not said.")
_STRIPE_ID = Meta(
    description=(
        "Link the customer to this customer of Stripe's: it must exist there and be nobody else's. It is read at once."
    )
)


class NewCustomer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a customer may be created with. Of one that exists already only stripe_id and create_in_stripe count."""

    name: Annotated[Name | None, Meta(description="A person's or a business's name.")] = None
    email: Annotated[Email | None, Meta(description="Not unique.")] = None
    description: Annotated[Description | None, Meta(description="For people.")] = None
    metadata: Annotated[
        dict[MetadataKey, MetadataText],
        Meta(
            max_length=METADATA_KEYS_MAX,
            description=(
                "Whatever the company keeps with it. With create_in_stripe one key less, unless custom_uid is among "
                "them: that one is added."
            ),
        ),
    ] = msgspec.field(default_factory=dict)
    fingerprint: Annotated[Fingerprint | None, _FINGERPRINT] = None
    send_email_receipts: Annotated[bool | None, _RECEIPTS] = None
    stripe_id: Annotated[StripeId | None, _STRIPE_ID] = None
    create_in_stripe: Annotated[
        bool,
        Meta(
            description=(
                "Create a customer at Stripe, too, with metadata.custom_uid, once. Otherwise Stripe has none "
                "before the customer first pays."
            )
        ),
    ] = False


class Creating(Where, kw_only=True, forbid_unknown_fields=True):
    """What an operation takes that may be the first one about a customer."""

    create: Annotated[
        bool,
        Meta(
            description=(
                "true: if there is no such customer, create it, as PUT does, with the name in the path as custom_uid."
            )
        ),
    ] = False


class CustomerChanges(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What of a customer may be changed: what is left out stays, null removes it."""

    name: Annotated[Name | UnsetType | None, Meta(description="A person's or a business's name.")] = UNSET
    email: Annotated[Email | UnsetType | None, Meta(description="Not unique.")] = UNSET
    description: Annotated[Description | UnsetType | None, Meta(description="For people.")] = UNSET
    metadata: Annotated[
        dict[MetadataKey, MetadataText | None] | UnsetType,
        Meta(description="Keys to set; null removes a key, and others stay: 50 at most in all."),
    ] = UNSET
    fingerprint: Annotated[Fingerprint | UnsetType | None, _FINGERPRINT] = UNSET
    send_email_receipts: Annotated[bool | UnsetType | None, _RECEIPTS] = UNSET
    stripe_id: Annotated[StripeId | UnsetType, _STRIPE_ID] = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """What a transaction has come to."""

    identity: StoredIdentity | None
    record: StoredCustomer | None = None
    """Of a customer without an identity here."""
    created: bool = False
    linked: bool = False


async def put(call: Call[Expanding, NewCustomer]) -> Reply:
    """The customer with this custom_uid, created if there is none."""
    context, body = call.context, call.body
    custom_uid = require_custom_uid(call.request.path_params["customer_id"], "path.customer_id")
    if body.create_in_stripe and len(body.metadata.keys() | {"custom_uid"}) > METADATA_KEYS_MAX:
        raise Problem(
            INVALID,
            f"custom_uid is added at Stripe, which takes {METADATA_KEYS_MAX} keys in all",
            field="body.metadata",
            remedy=f"give {METADATA_KEYS_MAX - 1} keys, or leave out create_in_stripe",
        )
    require_no_other_name(body.metadata, custom_uid)
    async with context.database.connection() as connection:
        scope = await call.scope(connection)
    if body.stripe_id is not None:
        await _require_at_stripe(context, CustomerKey(*scope, body.stripe_id))
    async with context.database.connection() as connection, connection.transaction():
        await lock_name(connection, scope, custom_uid)
        await require_no_uid(connection, scope, custom_uid, "path.customer_id")
        settled = await _get_or_create(connection, scope, custom_uid, body)
    identity = settled.identity
    if body.create_in_stripe and identity is not None and identity.stripe_customer_id is None:
        identity = await _create_at_stripe(context, scope, identity)
        settled = _Settled(identity=identity, created=settled.created, linked=True)
    customer = await _shown(context, scope, settled, call.query)
    headers = {"Location": f"/customers/{custom_uid}"} if settled.created else {}
    return Reply(content=customer, status=201 if settled.created else 200, headers=headers)


async def get_or_create(call: Call[Creating, Any], scope: Scope) -> UUID:
    """The uid of the customer with the name in the path, created if there is none, however many ask at the same time.
    Raises Problem: 404 if the name can be no custom_uid.
    """
    context, name = call.context, call.name("customer_id")
    async with context.database.connection() as connection:
        record = await look_up(connection, scope, name, policy=policy_of(context))
        if record is not None and (
            name != record.custom_uid or await name_given(connection, scope, record) is not None
        ):
            return record.uid
        try:
            custom_uid = require_custom_uid(name, "path.customer_id")
        except Problem as wrong:
            raise Problem(
                NOT_FOUND,
                f"there is no customer {name[:255]}, and none can be created: {wrong.detail}",
                field=wrong.field,
                remedy=wrong.remedy,
            ) from None
        async with connection.transaction():
            await lock_name(connection, scope, custom_uid)
            await require_no_uid(connection, scope, custom_uid, "path.customer_id")
            settled = await _get_or_create(connection, scope, custom_uid, NewCustomer())
    await context.bell.ring()
    found = settled.identity or settled.record
    if found is None:
        raise RuntimeError("neither an identity nor a record")
    return found.uid


async def patch(call: Call[Expanding, CustomerChanges]) -> Reply:
    """The customer, changed."""
    context, name = call.context, call.name("customer_id")
    said = {
        field: value
        for field in call.body.__struct_fields__
        if (value := getattr(call.body, field)) is not UNSET
    }
    stripe_id: str | None = said.pop("stripe_id", None)
    async with context.database.connection() as connection:
        scope = await call.scope(connection)
        record = await customer_to_change(connection, scope, name, policy=policy_of(context))
    if stripe_id is not None:
        await _require_at_stripe(context, CustomerKey(*scope, stripe_id))
    async with context.database.connection() as connection, connection.transaction():
        settled = await _change(connection, scope, record, said, stripe_id)
    return Reply(content=await _shown(context, scope, settled, call.query))


def require_custom_uid(given: str, field: str) -> str:
    """The custom_uid. Raises Problem with what is wrong with it."""
    wrong = sorted({each for each in given if not is_url_safe(each)})
    if wrong:
        reason = f"has {wrong[0]!r}" if wrong[0].isprintable() else f"has {wrong[0]!a}"
    elif not is_url_safe(given):
        reason = "is empty" if not given else "has more than 255 characters"
    elif given in (".", ".."):
        reason = "is a way to another path"
    elif given.startswith("cus_"):
        reason = "looks like an id of Stripe's, which stripe_id in the body takes"
    else:
        return given
    raise Problem(
        INVALID,
        f"the custom_uid {reason}",
        field=field,
        remedy="it is part of URLs: use 1 to 255 letters, digits and . _ ~ - of ASCII, and do not begin with cus_",
    )


def require_no_other_name(metadata: Mapping[str, str | None], custom_uid: str | None) -> None:
    """Return if the metadata, which may reach Stripe, say no other custom_uid than this. Raises Problem.

    Whoever gives a name is to be told if it is none, or another customer's: PUT and identify do.
    """
    if metadata.get(CUSTOM_UID_KEY, custom_uid) == custom_uid:
        return
    raise Problem(
        CONFLICT,
        "custom_uid in the metadata is what Stripe calls a customer's name, and this is another one",
        field=f"body.metadata.{CUSTOM_UID_KEY}",
        remedy="leave it out: POST /customers/ID/identify gives a customer its name, once",
    )


async def _require_at_stripe(context: Context, key: CustomerKey) -> None:
    """Return if Stripe has this customer: as far as the mirror knows, or else as Stripe says. Raises Problem."""
    async with context.database.connection() as connection:
        known = await is_at_stripe(connection, key)
    if not known or not is_id_of(key.id, "customer"):
        await context.stripe.require(key)


async def _get_or_create(
    connection: Connection, scope: Scope, custom_uid: str, body: NewCustomer
) -> _Settled:
    """In a transaction that holds the lock of the name."""
    record = await owner_of(connection, scope, custom_uid)
    if record is not None and record.deleted_at is not None and _wants_another(record, body):
        await give_up_name(connection, scope, record.uid)
        record = None
    identity = await select_named_identity(connection, scope, custom_uid)
    if identity is not None:
        if body.stripe_id in (None, identity.stripe_customer_id):
            return _Settled(identity=identity)
        return await _link(connection, scope, identity, body.stripe_id or "")
    if record is not None:
        if body.stripe_id is not None:
            await _require_its_own(connection, scope, body.stripe_id, record.stripe_customer_id)
        return _Settled(identity=None, record=record)
    created = True
    if body.stripe_id is not None:
        key = CustomerKey(*scope, body.stripe_id)
        await require_not_forgotten(connection, key, field="body.stripe_id")
        at_stripe = await find_by_stripe_id(connection, key)
        created = at_stripe is None
        await _require_unnamed(connection, scope, body.stripe_id, at_stripe, custom_uid)
        linked = await select_linked_identity(connection, scope, body.stripe_id)
        if linked is not None:
            named = await name_identity(connection, scope, linked.uid, custom_uid)
            if named is None:
                raise _taken(body.stripe_id, linked.custom_uid or str(linked.uid))
            return _Settled(identity=named)
    identity = await insert_identity(connection, scope, _fields(custom_uid, body))
    if identity is None:
        raise _taken(body.stripe_id or "", "somebody else since a moment ago")
    return _Settled(identity=identity, created=created, linked=body.stripe_id is not None)


def _wants_another(record: StoredCustomer, body: NewCustomer) -> bool:
    """Whether a customer that was deleted at Stripe is to be followed by another one, which gets its name."""
    return body.create_in_stripe or body.stripe_id not in (None, record.stripe_customer_id)


async def _require_unnamed(
    connection: Connection,
    scope: Scope,
    stripe_id: str,
    at_stripe: StoredCustomer | None,
    custom_uid: str | None,
) -> None:
    """Return if the company gave this customer of Stripe's, whose record is `at_stripe`, no other name. Raises
    Problem.
    """
    if at_stripe is None:
        return
    given = await name_given(connection, scope, at_stripe)
    if given not in (None, custom_uid):
        raise _taken(stripe_id, given or "")


def _fields(custom_uid: str, body: NewCustomer) -> IdentityFields:
    return IdentityFields(
        custom_uid=custom_uid,
        stripe_customer_id=body.stripe_id,
        name=body.name,
        email=body.email,
        description=body.description,
        fingerprint=body.fingerprint,
        send_email_receipts=body.send_email_receipts,
        metadata=body.metadata,
    )


async def _change(
    connection: Connection,
    scope: Scope,
    record: StoredCustomer,
    said: Mapping[str, Any],
    stripe_id: str | None,
) -> _Settled:
    """Change the customer's identity, which it gets if it has none."""
    identity = await identity_of(connection, scope, record)
    if CUSTOM_UID_KEY in said.get("metadata", {}):
        name = identity.custom_uid or await name_given(connection, scope, record)
        require_no_other_name(said["metadata"], name)
    settled = _Settled(identity=identity)
    if stripe_id not in (None, identity.stripe_customer_id):
        settled = await _link(connection, scope, identity, stripe_id or "")
    if said:
        said = await push_what_is_stripes(connection, record, settled.identity or identity, said)
        changed = await change_identity(connection, scope, identity.uid, said)
        if changed is None:
            raise _not_changed(settled.identity or identity, said)
        settled = _Settled(identity=changed, linked=settled.linked)
    return settled


def _not_changed(identity: StoredIdentity, said: Mapping[str, Any]) -> Problem:
    metadata = identity.metadata | said.get("metadata", {})
    count = sum(value is not None for value in metadata.values())
    if count > METADATA_KEYS_MAX:
        return Problem(
            CONFLICT,
            f"the customer would have {count} keys, and may have {METADATA_KEYS_MAX}",
            field="body.metadata",
            remedy="set others to null",
        )
    return being_changed()


async def _link(connection: Connection, scope: Scope, identity: StoredIdentity, stripe_id: str) -> _Settled:
    """Link an identity to a customer that Stripe has. Raises Problem if either is linked already, but not if they share
    a record.
    """
    if identity.stripe_customer_id is not None:
        await _require_its_own(connection, scope, stripe_id, identity.stripe_customer_id)
        return _Settled(identity=identity)
    key = CustomerKey(*scope, stripe_id)
    await require_not_forgotten(connection, key, field="body.stripe_id")
    at_stripe = await find_by_stripe_id(connection, key)
    await _require_unnamed(connection, scope, stripe_id, at_stripe, identity.custom_uid)
    linked = await link_identity(connection, scope, identity.uid, stripe_id)
    if linked is None:
        other = await select_linked_identity(connection, scope, stripe_id)
        raise _taken(stripe_id, "somebody else" if other is None else other.custom_uid or str(other.uid))
    return _Settled(identity=linked, linked=True)


async def _create_at_stripe(context: Context, scope: Scope, identity: StoredIdentity) -> StoredIdentity:
    """The identity, linked to a customer that was created for it at Stripe. Raises Problem.

    The key says for whom, so whoever is interrupted here, or asks twice, gets the same customer of Stripe's.
    """
    fields = {
        name: value
        for name, value in (
            ("name", identity.name),
            ("email", identity.email),
            ("description", identity.description),
        )
        if value is not None
    }
    metadata = {key: value for key, value in identity.metadata.items() if isinstance(value, str)}
    metadata["custom_uid"] = identity.custom_uid or ""
    if len(metadata) > METADATA_KEYS_MAX:
        raise Problem(
            CONFLICT,
            f"the customer has {len(metadata) - 1} keys of metadata, and custom_uid is added at Stripe, which takes "
            f"{METADATA_KEYS_MAX}",
            field="body.create_in_stripe",
            remedy="remove keys first, by PATCH",
        )
    fields |= {f"metadata[{key}]": value for key, value in metadata.items()}
    try:
        stripe_id = await context.stripe.create(scope, fields, idempotency_key=f"subledger-{identity.uid}")
    except Problem as problem:
        raise Problem(
            problem.kind,
            f"the customer {identity.custom_uid} is kept here, without a customer at Stripe: {problem.detail}",
            field=problem.field,
            remedy=problem.remedy,
            headers=problem.headers,
        ) from None
    async with context.database.connection() as connection:
        linked = await link_identity(connection, scope, identity.uid, stripe_id)
        linked = linked or await select_identity(connection, scope, identity.uid)
    if linked is None or linked.stripe_customer_id != stripe_id:
        raise Problem(
            CONFLICT,
            f"{stripe_id} was created at Stripe, but the customer was linked to another one meanwhile",
            field="body.create_in_stripe",
            remedy=f"delete {stripe_id} at Stripe, if nothing needs it",
        )
    return linked


async def _shown(context: Context, scope: Scope, settled: _Settled, query: Expanding) -> Customer:
    identity = settled.identity
    if settled.linked and identity is not None and identity.stripe_customer_id is not None:
        async with context.database.connection() as connection:
            await want_refresh(connection, identity.key(scope))
        await context.bell.ring_bulk()
    if settled.record is not None:
        async with context.database.connection() as connection:
            return await with_parts(connection, settled.record, query.expand)
    if identity is None:
        raise RuntimeError("neither an identity nor a record")
    return await shown(context, scope, identity, query.expand)


async def _require_its_own(
    connection: Connection, scope: Scope, stripe_id: str, linked_to: str | None
) -> None:
    """Return if this is the customer of Stripe's to which the customer is linked, or one that is joined to it. Raises
    Problem.
    """
    if (await select_main_of(connection, CustomerKey(*scope, stripe_id))).id != linked_to:
        raise Problem(
            CONFLICT,
            f"the customer is linked to {linked_to} already",
            field="body.stripe_id",
            remedy="leave stripe_id out, or give the one that it has",
        )


def _taken(stripe_id: str, by: str) -> Problem:
    return Problem(
        CONFLICT,
        f"{stripe_id} is the customer {by} already",
        field="body.stripe_id",
        remedy=f"use the customer {by}, or another stripe_id",
    )


_EXAMPLE: Mapping[str, object] = {
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "metadata": {"company": "Analytical Engines"},
}

CREATED = Answer(
    description="It was created. Location names it.",
    type=Customer,
    example=UNLINKED,
    headers={"Location": "Where to get it."},
)

PUT: Operation[Expanding, NewCustomer] = Operation(
    method="PUT",
    path="/customers/{customer_id}",
    name="putCustomer",
    summary="Get a customer by the company's own name, or create it",
    description=(
        "However many ask for one name at the same time, there is one customer. A customer that exists is answered as "
        "it is."
    ),
    handle=put,
    query=Expanding,
    body=NewCustomer,
    body_example=_EXAMPLE,
    answers={
        200: Answer(description="The customer exists already.", type=Customer, example=CUSTOMER),
        201: CREATED,
    },
    problems=(NOT_FOUND, CONFLICT, NO_KEY, STRIPE_REFUSES),
    path_names={
        "customer_id": {
            "description": "The company's own name of the customer: its custom_uid.",
            "schema": {"type": "string", "pattern": CUSTOM_UID},
        }
    },
)

PATCH: Operation[Expanding, CustomerChanges] = Operation(
    method="PATCH",
    path="/customers/{customer_id}",
    name="changeCustomer",
    summary="Change a customer",
    description=(
        "Name, email, description and metadata of a customer that Stripe knows are changed there, too: a worker sends "
        "them. Until Stripe has got them, the record shows what was set here, and push what is on its way."
    ),
    handle=patch,
    query=Expanding,
    body=CustomerChanges,
    body_example={"send_email_receipts": True, "metadata": {"plan": "team", "trial_note": None}},
    answers={200: Answer(description="The customer as it is now.", type=Customer, example=CUSTOMER)},
    problems=(NOT_FOUND, CONFLICT, NO_KEY, STRIPE_REFUSES),
)
