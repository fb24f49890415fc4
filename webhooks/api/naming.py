"""Whose a name is. What the company wrote counts, and not what a buyer's browser wrote (I13)."""

from billing.facts import unlinked_key
from billing.record import Policy
from db.connection import Connection
from db.forgotten import select_forgotten
from db.keys import CustomerKey, Scope
from db.mirror.claims import select_claims
from db.records.customer import StoredCustomer
from db.records.full import find_by_name, find_customer, uid_in
from db.records.identities import (
    IdentityFields,
    StoredIdentity,
    insert_identity,
    lock_uid,
    select_identity,
)
from db.records.merges import select_merged_into
from webhooks.api.problems import CONFLICT, NOT_FOUND, Problem
from webhooks.api.read import found_customer, not_found


async def customer_to_change(
    connection: Connection, scope: Scope, name: str, *, policy: Policy
) -> StoredCustomer:
    """The customer with this custom_uid, uid or Stripe id. Raises Problem if there is none, or if only a buyer, through
    a payment link, says that this is its name.
    """
    record = await found_customer(connection, scope, name, policy=policy)
    by_name = name == record.custom_uid and name not in (str(record.uid), record.stripe_customer_id)
    if by_name and await name_given(connection, scope, record) is None:
        raise Problem(
            NOT_FOUND,
            f"nobody but a buyer, through a payment link, says that {record.stripe_customer_id} is {name}",
            field="path.customer_id",
            remedy=f"name it {record.stripe_customer_id}, or PUT /customers/{name} first",
        )
    return record


async def owner_of(connection: Connection, scope: Scope, custom_uid: str) -> StoredCustomer | None:
    """The record to which the company gave this name."""
    record = await find_by_name(connection, scope, custom_uid)
    if record is None or await name_given(connection, scope, record) is None:
        return None
    return record


async def name_given(connection: Connection, scope: Scope, record: StoredCustomer) -> str | None:
    """The custom_uid that the company gave this customer."""
    if record.custom_uid is None:
        return None
    customer_id = record.stripe_customer_id or unlinked_key(record.uid)
    claim = (await select_claims(connection, scope, [customer_id])).get(customer_id)
    return record.custom_uid if claim is None or claim.source != "page" else None


async def require_no_uid(connection: Connection, scope: Scope, custom_uid: str, field: str) -> None:
    """Return if this name is no customer's uid, nor was one's that was merged. Raises Problem.

    By such a name one would find the other customer.
    """
    uid = uid_in(custom_uid)
    if uid is None:
        return
    record = await find_customer(connection, scope, str(uid))
    if (
        (record is not None and record.uid == uid)
        or await select_identity(connection, scope, uid) is not None
        or await select_merged_into(connection, scope, uid) is not None
    ):
        raise Problem(
            CONFLICT,
            f"{custom_uid} is the uid of a customer",
            field=field,
            remedy="give the company's own name of the customer; GET and PATCH take the uid, too",
        )


async def identity_of(connection: Connection, scope: Scope, record: StoredCustomer) -> StoredIdentity:
    """The customer's identity, which one of Stripe's gets if it has none; of a customer that was merged meanwhile, the
    one that it was merged into. Nobody merges it until the transaction ends. Raises Problem.
    """
    await lock_uid(connection, record.uid)
    if record.stripe_customer_id is not None:
        key = CustomerKey(*scope, record.stripe_customer_id)
        await require_not_forgotten(connection, key, field="path.customer_id")
    uid = record.uid
    while (identity := await select_identity(connection, scope, uid)) is None:
        into = await select_merged_into(connection, scope, uid)
        if into is None:
            break
        uid = into
        await lock_uid(connection, uid)
    if identity is not None:
        return identity
    if uid != record.uid:
        raise being_changed()
    if record.stripe_customer_id is None:
        raise not_found(str(record.uid))
    fields = IdentityFields(stripe_customer_id=record.stripe_customer_id)
    identity = await insert_identity(connection, scope, fields)
    if identity is None:
        raise being_changed()
    return identity


def being_changed() -> Problem:
    """Somebody else changes the customer at the same time."""
    return Problem(CONFLICT, "somebody else changes this customer just now", remedy="send the request again")


async def require_not_forgotten(connection: Connection, key: CustomerKey, *, field: str) -> None:
    """Return if something may be kept of this customer of Stripe's. In a transaction that has written already: whoever
    forgets the customer later waits for it. Raises Problem.
    """
    if await select_forgotten(connection, [key]):
        raise Problem(
            CONFLICT,
            f"{key.id} is forgotten: nothing more is kept of it",
            field=field,
            remedy="create another customer",
        )
