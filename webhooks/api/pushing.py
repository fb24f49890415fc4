"""What is set of a customer that Stripe knows goes to Stripe: here it is noted, a worker sends it."""

from collections.abc import Mapping
from typing import Any

from billing.pushes import METADATA, METADATA_KEYS_MAX, TEXTS
from db.connection import Connection
from db.keys import CustomerKey
from db.records.customer import StoredCustomer
from db.records.identities import StoredIdentity, is_at_stripe, lock_identity
from db.records.joins import select_all_of
from db.sync.pushes import want_push
from webhooks.api.problems import CONFLICT, Problem


async def push_what_is_stripes(
    connection: Connection, record: StoredCustomer, identity: StoredIdentity, said: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Note what of these changes goes to Stripe; returns what is to be changed of the identity. In a transaction.

    What goes to Stripe is removed from the identity: once Stripe has got it, what Stripe says counts, even nothing. It
    goes to all customers there that share the record, and are not deleted.
    Raises Problem if the customer is deleted there, or would have more metadata than Stripe takes.
    """
    customer_id = identity.stripe_customer_id
    pushed = {field: said[field] for field in (*TEXTS, METADATA) if field in said and said[field] != {}}
    if customer_id is None or not pushed:
        return said
    if record.deleted_at is not None:
        raise Problem(
            CONFLICT,
            f"{customer_id} is deleted at Stripe, which keeps nothing more of it",
            field=f"body.{min(pushed)}",
            remedy="create another customer",
        )
    # Stripe keeps no empty texts.
    set_here: Mapping[str, str | None] = {key: text or None for key, text in pushed.get(METADATA, {}).items()}
    if set_here:
        pushed[METADATA] = set_here
    kept = {key: value for key, value in record.metadata.items() if key not in set_here}
    count = len(kept) + sum(value is not None for value in set_here.values())
    if count > max(METADATA_KEYS_MAX, len(record.metadata)):
        raise Problem(
            CONFLICT,
            f"the customer would have {count} keys, and may have {METADATA_KEYS_MAX}",
            field="body.metadata",
            remedy="set others to null",
        )
    key = CustomerKey(record.account_id, record.live_mode, customer_id)
    await lock_identity(connection, key.scope, identity.uid)
    keys = await select_all_of(connection, key)
    for each in keys:
        if len(keys) == 1 or await is_at_stripe(connection, each) is not False:
            await want_push(connection, each, pushed)
    none_here = {field: None for field in pushed if field != METADATA}
    return {**said, **none_here, **({METADATA: dict.fromkeys(set_here)} if set_here else {})}
