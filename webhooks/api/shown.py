"""A customer as the API shows it, also before a worker has stored its record."""

import time
from collections.abc import Collection
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from billing.record import Policy, derive_record
from db.connection import Connection
from db.keys import Scope
from db.mirror.facts import load_facts
from db.records.customer import StoredCustomer
from db.records.full import Customer, find_customer, uid_in, with_parts
from db.records.identities import (
    StoredIdentity,
    is_derived,
    select_identity,
    select_named_identity,
    select_stale,
)
from db.records.merges import leads_to
from webhooks.api.operation import Context
from webhooks.refreshing import wait_until

DERIVED_SECONDS = 5.0
"""How long an answer waits for a worker to store a record that was just changed."""


async def look_up(
    connection: Connection, scope: Scope, name: str, *, policy: Policy
) -> StoredCustomer | None:
    """The customer with this uid, Stripe id or custom_uid: its record, or, of one whose record no worker has stored
    yet, what it will be.
    """
    uid = uid_in(name)
    if uid is not None and (into := await leads_to(connection, scope, uid)) is not None:
        return await look_up(connection, scope, str(into), policy=policy)
    record = await find_customer(connection, scope, name)
    if record is not None and uid in (None, record.uid):
        return record
    # Somebody may have given another customer this uid as its name.
    identity = None if uid is None else await select_identity(connection, scope, uid)
    if identity is None and record is None:
        identity = await select_named_identity(connection, scope, name)
    return record if identity is None else await _foreseen(connection, scope, identity, policy)


async def shown(
    context: Context, scope: Scope, identity: StoredIdentity, expand: Collection[str] = ()
) -> Customer:
    """The record of this identity as of now, once a worker has stored it; after `DERIVED_SECONDS` what it will
    be. Of one that was merged meanwhile, the customer that it was merged into.
    """
    key = identity.key(scope)
    async with context.database.connection() as connection:
        stale = await select_stale(connection, key)
        derived = await is_derived(connection, key, stale)

    async def look(connection: Connection) -> bool | None:
        return await is_derived(connection, key, stale)

    if derived is False:
        await context.bell.ring()
        derived = await wait_until(
            context.database,
            look,
            lambda so: so is not False,
            deadline=time.monotonic() + DERIVED_SECONDS,
            poll_seconds=0.02,
        )
    async with context.database.connection() as connection:
        record = await find_customer(connection, scope, str(identity.uid))
        into = await leads_to(connection, scope, identity.uid) if record is None else None
        remaining = await select_identity(connection, scope, into) if into is not None else None
        if remaining is None:
            if record is None:
                record = await _foreseen(connection, scope, identity, policy_of(context))
            elif not derived:
                record = replace(record, exact=False)
            return await with_parts(connection, record, expand)
    return await shown(context, scope, remaining, expand)


def policy_of(context: Context) -> Policy:
    """The policy that records are derived with."""
    return Policy(past_due_has_access=context.settings.past_due_has_access)


async def _foreseen(
    connection: Connection, scope: Scope, identity: StoredIdentity, policy: Policy
) -> StoredCustomer:
    """What the record will be: not exact, and without a number of `change`."""
    key = identity.key(scope)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        (facts,) = await load_facts(connection, *scope, {key.id: False})
    now = datetime.now(UTC)
    record = derive_record(facts, as_of=now, policy=policy).record
    known: dict[str, Any] = {field.name: getattr(record, field.name) for field in fields(record)}
    created = now if facts.identity is None else facts.identity.created_at
    return StoredCustomer(**{**known, "exact": False}, change=0, created_at=created, updated_at=now)
