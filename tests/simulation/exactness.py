"""Zero false exact: a record that says so equals the truth at any moment, if events have told all of its customer."""

import dataclasses
import json

from db.connection import Connection
from sandbox import Sandbox
from sandbox.thin import thin_id
from sandbox.truth import CustomerKey, ExpectedCustomer
from tests.simulation.guests import truth_with_joins

# What was derived from all that is known: `exact` is no word about what waits to be derived.
SELECT_EXACT = """
select c.*
from billing.customers c
join sync.customers s
  on s.account_id = c.account_id and s.live_mode = c.live_mode and s.customer_id = c.stripe_customer_id
where c.exact and not c.live_mode and s.stale <= s.derived
  -- What was set here is shown before Stripe has got it.
  and not exists (
    select from sync.pushes p
    where p.account_id = c.account_id and p.live_mode = c.live_mode and p.customer_id = c.stripe_customer_id
      and p.due_at is not null
  )
  and not exists (select from sync.objects where touched > resolved)
  -- Of all whose record it is.
  and not exists (
    select from billing.joined_customers j
    join sync.customers o
      on o.account_id = j.account_id and o.live_mode = j.live_mode and o.customer_id = j.stripe_customer_id
    where j.account_id = c.account_id and j.live_mode = c.live_mode
      and j.main_stripe_customer_id = c.stripe_customer_id and o.stale > o.derived
  )
"""
SELECT_TOLD = "select event_id, type, state from sync.events where state in ('applied', 'ignored')"

# A thin event tells of a new object, and nobody knows whose it is until it is read.
SELECT_UNREAD = """
select id from sync.objects where unsettled and thin_tick > 0 and confirmed = 0 and customer_id is null
"""

# Of a customer that was deleted before anybody read it, only events still tell. What is received and not yet applied is
# no word about `exact`.
SELECT_BODYLESS = "select id from stripe.customers where deleted_at is not null and created is null"
SELECT_PENDING = "select event_id from sync.events where state not in ('applied', 'ignored')"

OF_OTHERS = {
    "custom_uid": "events about other customers decide who has a name",
    "product_id": "of the catalogue, whose objects do not count",
    "product_version_number": "the same",
}
"""Fields of a record that can be wrong though all is told about its customer, each with the reason."""

FALSELY_EXACT = "says exact"

FIELDS = [field.name for field in dataclasses.fields(ExpectedCustomer) if field.name not in OF_OTHERS]


async def falsely_exact(connection: Connection, sandbox: Sandbox) -> tuple[int, list[str]]:
    """How many records say that they are exact, while nothing about their customer is still on its way; and every field
    in which one of them differs from the truth.
    """
    rows = await connection.fetch(SELECT_TOLD)
    # A thin event that is ignored names nothing: its twin has not told it.
    told = {row["event_id"] for row in rows if row["state"] == "applied" or not row["type"].startswith("v1.")}
    unread = {row[0] for row in await connection.fetch(SELECT_UNREAD)}
    bodyless = {row[0] for row in await connection.fetch(SELECT_BODYLESS)}
    pending = {row[0] for row in await connection.fetch(SELECT_PENDING)}
    untold = {
        CustomerKey(event.account_id, event.live_mode, _whose(event.type, event.object_id, event.customer))
        for event in sandbox.events
        if event.id not in told
        and (
            thin_id(event.id) not in told
            or event.object_id in unread
            or (event.object_id in bodyless and event.id in pending)
        )
    }
    rows = await connection.fetch(SELECT_EXACT)
    truth, mains = await truth_with_joins(connection, sandbox)
    untold |= {mains[key] for key in untold & mains.keys()}
    looked_at, found = 0, []
    for row in rows:
        key = CustomerKey(row["account_id"], row["live_mode"], row["stripe_customer_id"])
        if key in untold or key not in truth:
            continue
        looked_at += 1
        record = dict(row) | {"metadata": json.loads(row["metadata"])}
        for name in FIELDS:
            wanted = getattr(truth[key], name)
            if name in record and wanted != record[name]:
                found.append(f"{key} {FALSELY_EXACT}: {name}: wanted {wanted!r}, got {record[name]!r}")
    return looked_at, found


def _whose(event_type: str, object_id: str | None, customer: str | None) -> str:
    """The customer whom an event concerns; nobody for the catalogue."""
    of_customer = event_type.startswith("customer.") and event_type.count(".") == 1
    return (object_id if of_customer else customer) or ""
