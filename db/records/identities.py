"""Identities: what we know of a customer and Stripe does not. The customers API writes them, deriving reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from billing.facts import unlinked_key
from billing.pushes import METADATA_KEYS_MAX
from db.connection import Connection
from db.keys import CustomerKey, Scope
from db.records.customer import read_rows
from db.records.joins import main_of_sql


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredIdentity:
    """One row of billing.identities, as far as it says who is meant."""

    uid: UUID
    stripe_customer_id: str | None
    custom_uid: str | None
    name: str | None
    email: str | None
    description: str | None
    metadata: dict[str, object]

    def key(self, scope: Scope) -> CustomerKey:
        """How its record is derived."""
        return CustomerKey(*scope, self.stripe_customer_id or unlinked_key(self.uid))


_COLUMNS = "uid, stripe_customer_id, custom_uid, name, email, description, metadata"

# Two who want one name at the same time wait for each other; the index on names cannot be unique, for services that
# write identities by SQL may have given one twice.
# A row of our own and no advisory lock, which any role could take. Whoever inserts a row that another transaction has
# inserted waits until that one ends; since it is deleted at once, nobody finds it, and nothing is left.
HOLD_NAME = "insert into sync.names (name) values ($1)"

LET_NAME_GO = "delete from sync.names where name = $1"


async def lock_name(connection: Connection, scope: Scope, custom_uid: str) -> None:
    """Let nobody else give this name until the transaction ends."""
    mode = "live" if scope.live_mode else "test"
    await _hold(connection, f"name {scope.account_id} {mode} {custom_uid}")


async def lock_uid(connection: Connection, uid: UUID) -> None:
    """Let nobody else merge the identity with this uid, or make it anew, until the transaction ends. Whoever needs the
    lock of a name, too, takes that one first.
    """
    await _hold(connection, f"uid {uid}")


async def _hold(connection: Connection, name: str) -> None:
    await connection.execute(HOLD_NAME, name)
    await connection.execute(LET_NAME_GO, name)


SELECT_NAMED_IDENTITY = f"""
select {_COLUMNS}
from billing.identities
where account_id = $1 and live_mode = $2 and custom_uid = $3
order by created_at, uid
limit 1
"""


async def select_named_identity(
    connection: Connection, scope: Scope, custom_uid: str
) -> StoredIdentity | None:
    """The identity that was given this name."""
    return _one(await connection.fetch(SELECT_NAMED_IDENTITY, *scope, custom_uid))


SELECT_IDENTITY = f"""
select {_COLUMNS}
from billing.identities i
where account_id = $1 and live_mode = $2 and uid = $3 and {main_of_sql("i.stripe_customer_id")} is null
"""


async def select_identity(connection: Connection, scope: Scope, uid: UUID) -> StoredIdentity | None:
    """The identity with this uid. That of a customer which is joined to another one is nobody's: None."""
    return _one(await connection.fetch(SELECT_IDENTITY, *scope, uid))


SELECT_LINKED_IDENTITY = f"""
select {_COLUMNS}
from billing.identities
where account_id = $1 and live_mode = $2 and stripe_customer_id = coalesce({main_of_sql("$3")}, $3)
"""


async def select_linked_identity(
    connection: Connection, scope: Scope, stripe_customer_id: str
) -> StoredIdentity | None:
    """The identity that is linked to this customer of Stripe's, or to the one to which it is joined."""
    return _one(await connection.fetch(SELECT_LINKED_IDENTITY, *scope, stripe_customer_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityFields:
    """What may be set of an identity; None: not said."""

    uid: UUID | None = None
    custom_uid: str | None = None
    stripe_customer_id: str | None = None
    name: str | None = None
    email: str | None = None
    description: str | None = None
    fingerprint: str | None = None
    send_email_receipts: bool | None = None
    metadata: Mapping[str, str] | None = None


INSERT_IDENTITY = f"""
insert into billing.identities (
  account_id, live_mode, custom_uid, stripe_customer_id, name, email, description, fingerprint, send_email_receipts,
  metadata, uid
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11)
on conflict do nothing
returning {_COLUMNS}
"""


async def insert_identity(
    connection: Connection, scope: Scope, fields: IdentityFields
) -> StoredIdentity | None:
    """A new identity; None if there is one with its uid, or another one is linked to its customer of Stripe's."""
    metadata = msgspec.json.encode(fields.metadata or {}).decode()
    return _one(
        await connection.fetch(
            INSERT_IDENTITY,
            *scope,
            fields.custom_uid,
            fields.stripe_customer_id,
            fields.name,
            fields.email,
            fields.description,
            fields.fingerprint,
            fields.send_email_receipts,
            metadata,
            fields.uid,
        )
    )


LOCK_IDENTITY = """
select from billing.identities where account_id = $1 and live_mode = $2 and uid = $3 for no key update
"""


async def lock_identity(connection: Connection, scope: Scope, uid: UUID) -> None:
    """Let nobody else change it until the transaction ends: taken before the locks of what follows from it."""
    await connection.execute(LOCK_IDENTITY, *scope, uid)


LINK_IDENTITY = f"""
update billing.identities i
set stripe_customer_id = $4
where i.account_id = $1 and i.live_mode = $2 and i.uid = $3 and i.stripe_customer_id is null
  and not exists (
    select from billing.identities other
    where other.account_id = $1 and other.live_mode = $2 and other.stripe_customer_id = $4
  )
returning {_COLUMNS}
"""


async def link_identity(
    connection: Connection, scope: Scope, uid: UUID, stripe_customer_id: str
) -> StoredIdentity | None:
    """Say which customer of Stripe's it is; None if it is linked already, or another identity is linked to that one."""
    try:
        async with connection.transaction():
            rows = await connection.fetch(LINK_IDENTITY, *scope, uid, stripe_customer_id)
    except asyncpg.UniqueViolationError:  # another one was faster
        return None
    return _one(rows)


class Namesakes(NamedTuple):
    """An identity without a Stripe customer, and a customer of Stripe's, with one name."""

    uid: UUID
    stripe_customer_id: str


# Only to a customer that is known for certain: a link stays. `coalesce`: by the uid alone, whatever a planner thinks of
# how many are not linked.
LINK_NAMESAKES = """
update billing.identities i
set stripe_customer_id = pair.customer_id
from unnest($3::uuid[], $4::text[]) as pair (uid, customer_id)
where i.account_id = $1 and i.live_mode = $2 and i.uid = pair.uid and coalesce(i.stripe_customer_id, '') = ''
  and exists (
    select from billing.customers r
    where r.account_id = $1 and r.live_mode = $2 and r.stripe_customer_id = pair.customer_id and r.exact
      and r.deleted_at is null
  )
  and exists (
    select from sync.uid_claims c
    where c.account_id = $1 and c.live_mode = $2 and c.customer_id = pair.customer_id
      and c.custom_uid = i.custom_uid and c.source in ('metadata', 'checkout')
  )
  and not exists (
    select from billing.identities other
    where other.account_id = $1 and other.live_mode = $2 and other.stripe_customer_id = pair.customer_id
  )
returning i.stripe_customer_id
"""


async def link_namesakes(connection: Connection, scope: Scope, pairs: Sequence[Namesakes]) -> list[str]:
    """Link each identity to the customer of Stripe's that has its name, if that one's record is exact, it was not
    deleted, and nobody is linked to it; returns the Stripe ids.
    """
    rows = await connection.fetch(
        LINK_NAMESAKES, *scope, [pair.uid for pair in pairs], [pair.stripe_customer_id for pair in pairs]
    )
    return sorted(row[0] for row in rows)


NAME_IDENTITY = f"""
update billing.identities
set custom_uid = $4
where account_id = $1 and live_mode = $2 and uid = $3 and custom_uid is null
returning {_COLUMNS}
"""


async def name_identity(
    connection: Connection, scope: Scope, uid: UUID, custom_uid: str
) -> StoredIdentity | None:
    """Give it a name; None if it has one."""
    return _one(await connection.fetch(NAME_IDENTITY, *scope, uid, custom_uid))


GIVE_UP_NAME = """
update billing.identities set custom_uid = null where account_id = $1 and live_mode = $2 and uid = $3
"""


async def give_up_name(connection: Connection, scope: Scope, uid: UUID) -> None:
    """Take its name from the identity with this uid, for a customer that follows one which was deleted at Stripe."""
    await connection.execute(GIVE_UP_NAME, *scope, uid)


_METADATA = "case when jsonb_typeof(metadata) = 'object' then metadata else '{}' end"
_CHANGED_METADATA = f"jsonb_strip_nulls({_METADATA} || ($4::jsonb -> 'metadata'))"

# Who has more keys, by SQL or a merge, may still change and remove some.
CHANGE_IDENTITY = f"""
update billing.identities
set
  name = case when $4::jsonb ? 'name' then $4::jsonb ->> 'name' else name end,
  email = case when $4::jsonb ? 'email' then $4::jsonb ->> 'email' else email end,
  description = case when $4::jsonb ? 'description' then $4::jsonb ->> 'description' else description end,
  fingerprint = case when $4::jsonb ? 'fingerprint' then $4::jsonb ->> 'fingerprint' else fingerprint end,
  send_email_receipts = case
    when $4::jsonb ? 'send_email_receipts' then ($4::jsonb ->> 'send_email_receipts')::boolean else send_email_receipts
  end,
  metadata = case when $4::jsonb ? 'metadata' then {_CHANGED_METADATA} else metadata end
where account_id = $1 and live_mode = $2 and uid = $3
  and (select count(*) from jsonb_object_keys({_CHANGED_METADATA}))
    <= greatest({METADATA_KEYS_MAX}, (select count(*) from jsonb_object_keys({_METADATA})))
returning {_COLUMNS}
"""


async def change_identity(
    connection: Connection, scope: Scope, uid: UUID, changes: Mapping[str, object]
) -> StoredIdentity | None:
    """Set those of its fields that are named, null for none; `metadata` is merged, and null removes a key. None,
    and nothing is set, if there is no such identity, or it would get more than METADATA_KEYS_MAX keys.
    """
    said = msgspec.json.encode(changes).decode()
    return _one(await connection.fetch(CHANGE_IDENTITY, *scope, uid, said))


GIVE_GRANT = """
update billing.identities set sandbox_product_id = $4, sandbox_end = $5
where account_id = $1 and live_mode = $2 and uid = $3
returning uid
"""


async def give_grant(connection: Connection, scope: Scope, uid: UUID, product_id: str, end: datetime) -> bool:
    """Give access to this product until then, in place of the grant before. False: there is no such identity."""
    return await connection.fetchval(GIVE_GRANT, *scope, uid, product_id, end) is not None


# An end in the past and no NULL: it outranks what Stripe's metadata states.
END_GRANT = """
update billing.identities set sandbox_end = now()
where account_id = $1 and live_mode = $2 and uid = $3 and (sandbox_end > now() or sandbox_end is null and $4)
"""


async def end_grant(connection: Connection, scope: Scope, uid: UUID, *, stated_elsewhere: bool) -> None:
    """End the grant that runs; `stated_elsewhere`: also one that was not given here."""
    await connection.execute(END_GRANT, *scope, uid, stated_elsewhere)


IS_AT_STRIPE = """
select deleted_at is null from stripe.customers where account_id = $1 and live_mode = $2 and id = $3
"""


async def is_at_stripe(connection: Connection, key: CustomerKey) -> bool | None:
    """Whether Stripe has this customer, as far as the mirror knows; None: it has not heard of it."""
    found: bool | None = await connection.fetchval(IS_AT_STRIPE, *key)
    return found


SELECT_DERIVED = """
select c.derived >= $4 from sync.customers c where account_id = $1 and live_mode = $2 and customer_id = $3
"""

SELECT_STALE = (
    "select stale from sync.customers where account_id = $1 and live_mode = $2 and customer_id = $3"
)


async def select_stale(connection: Connection, key: CustomerKey) -> int:
    """The counter that the customer's record must reach to show what is committed now."""
    stale: int | None = await connection.fetchval(SELECT_STALE, *key)
    return stale or 0


async def is_derived(connection: Connection, key: CustomerKey, stale: int) -> bool | None:
    """Whether the record shows what was committed when `stale` was read; None: there is no such customer any more."""
    derived: bool | None = await connection.fetchval(SELECT_DERIVED, *key, stale)
    return derived


def _one(rows: list[asyncpg.Record]) -> StoredIdentity | None:
    found = read_rows(StoredIdentity, rows)
    return found[0] if found else None
