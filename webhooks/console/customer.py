"""One customer: the record with all its parts, why its status is what it is, and Stripe asked anew."""

import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from starlette.responses import Response

from db.connection import Connection
from db.keys import CustomerKey, Scope
from db.records.access import select_feature_access
from db.records.customer import StoredCustomer, find_customers
from db.records.figures import select_cited_events
from db.records.full import Customer, rows_of
from db.records.view import read_view
from webhooks.answers import Refusal
from webhooks.console.explained import Explained, explained
from webhooks.console.pages import Page, Visit
from webhooks.console.words import dash, moment, money, number, status_badge, yes
from webhooks.ids import id_in_path
from webhooks.refreshing import NOT_IN_TIME, refresh_customer

REFRESH_SECONDS = 10
EVENTS_MAX = 20
CHANGES_MAX = 200
"""Changes of status that are explained, the latest first."""
PAYLOAD_BYTES_MAX = 64 * 1024
"""A larger event is named, and not read."""
UNSETTLED_MAX = 20

Show = Callable[[Any], object]
SECTIONS: Mapping[str, Mapping[str, tuple[str, Show]]] = {
    "Identity": {
        "name": ("Name", dash),
        "email": ("Email", dash),
        "description": ("Description", dash),
        "custom_uid": ("Our own id", dash),
        "uid": ("Uid", dash),
        "stripe_customer_id": ("Stripe id", dash),
        "account_id": ("Connected account", lambda account: account or "none: the account of the key"),
        "live_mode": ("Mode", lambda live: "live" if live else "test"),
        "fingerprint": ("Fingerprint", dash),
        "send_email_receipts": ("Email receipts", yes),
        "first_seen": ("First seen", moment),
        "last_seen": ("Last seen", moment),
        "deleted_at": ("Deleted at Stripe", moment),
    },
    "Subscription": {
        "status": ("Status", status_badge),
        "has_access": ("Has access", yes),
        "product_id": ("Product", dash),
        "product_version_number": ("Version of the product", number),
        "quantity": ("Quantity", number),
        "subscription_date": ("Began", moment),
        "renewal_number": ("Renewals", number),
        "is_trial": ("In trial", yes),
        "trial_end": ("Trial ends", moment),
        "sandbox_end": ("Grant ends", moment),
        "stripe_subscription_id": ("Subscription at Stripe", dash),
        "stripe_product_id": ("Product at Stripe", dash),
        "stripe_price_id": ("Price at Stripe", dash),
    },
    "Record": {
        "exact": ("Exact", yes),
        "change": ("Number of change", number),
        "created_at": ("Stored since", moment),
        "updated_at": ("Changed last", moment),
    },
}
"""How each field of the record is called and shown. `metadata` and the lifetime revenue have places of their own."""


async def show(visit: Visit) -> Response:
    """Everything that is known of the customer, from one moment."""
    database = visit.desk.context.readers
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        found = await _customer(connection, visit)
        view = await read_view(connection, found, events_max=EVENTS_MAX)
        access = await select_feature_access(connection, found.uid)
        timeline = await _timeline(connection, view.record)
    record, reasons = view.record, view.reasons()
    return visit.page(
        "customer.html",
        title=record.name
        or record.email
        or record.custom_uid
        or record.stripe_customer_id
        or str(record.uid),
        record=record,
        sections=[
            (
                section,
                [(field, words, write(getattr(record, field))) for field, (words, write) in fields.items()],
            )
            for section, fields in SECTIONS.items()
        ],
        joined_ids=view.stripe_ids[1:],
        lifetime=money(record.lifetime_revenue, record.revenue_currency),
        products=rows_of(record.customer_products),
        revenue=rows_of(record.revenue),
        mrr=rows_of(record.mrr),
        entities=rows_of(record.entities),
        features=rows_of(record.features),
        usage=rows_of(record.usage),
        feature_usage=rows_of(record.feature_usage),
        access=access,
        reasons=reasons[:UNSETTLED_MAX],
        reasons_left=max(len(reasons) - UNSETTLED_MAX, 0),
        view=view,
        timeline=timeline,
        changes_left=max(len(rows_of(record.status_changes)) - CHANGES_MAX, 0),
        can_refresh=visit.desk.admin.live_mode is not None and record.stripe_customer_id is not None,
    )


async def _customer(connection: Connection, visit: Visit) -> StoredCustomer:
    """The customer whose uid is in the path. Raises Refusal."""
    name = id_in_path(visit.request, "uid")
    try:
        uid = UUID(name)
    except ValueError:
        raise Refusal(
            404, "the address of a customer's page ends with its uid: search for the customer"
        ) from None
    found = await find_customers(connection, str(uid), account_id=None, live_mode=None, limit=1)
    if not found or found[0].uid != uid:
        raise Refusal(404, f"no customer has the uid {uid}: it was forgotten, or merged into another one")
    return found[0]


async def _timeline(connection: Connection, record: Customer) -> list[Explained]:
    """The changes of its status, the latest first, each with what its event says."""
    changes = rows_of(record.status_changes)[::-1][:CHANGES_MAX]
    cited = sorted({change.event_id for change in changes if change.event_id is not None})
    events = await select_cited_events(
        connection, Scope(record.account_id, record.live_mode), cited, bytes_max=PAYLOAD_BYTES_MAX
    )
    return [explained(change, events.get(change.event_id or "")) for change in changes]


async def refresh(visit: Visit) -> Response:
    """Have Stripe read now, as POST /customers/ID/refresh does."""
    admin = visit.desk.admin
    async with visit.desk.context.readers.connection() as connection:
        record = await _customer(connection, visit)
    here = f"/console/customers/{record.uid}"
    if admin.live_mode is None:
        raise Refusal(409, "without STRIPE_API_KEY nothing can be read from Stripe: set it, and restart web")
    if record.stripe_customer_id is None:
        raise Refusal(409, "Stripe does not know this customer: there is nothing to read")
    if record.live_mode != admin.live_mode:
        raise Refusal(409, "STRIPE_API_KEY is of the other mode, and cannot read this customer")
    key = CustomerKey(record.account_id, record.live_mode, record.stripe_customer_id)
    state = await refresh_customer(
        admin.database, admin.bell, key, deadline=time.monotonic() + REFRESH_SECONDS
    )
    if state.finished:
        return visit.redirect(here, notice="Stripe was read, and the record is exact.")
    return visit.redirect(here, notice=f"Not yet exact: {state.error or NOT_IN_TIME}", tone="bad")


PAGES = (
    Page(path="/console/customers/{uid:id}", get=show),
    Page(path="/console/customers/{uid:id}/refresh", post=refresh),
)
