"""GET /customers/ID: one customer's record."""

import time
from collections.abc import Collection
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta
from starlette.requests import Request

from billing.kinds.found import is_id_of
from billing.record import Policy
from db.connection import Connection
from db.keys import CustomerKey, Scope
from db.records.customer import StoredCustomer
from db.records.full import ENTITIES, USAGE, Customer, find_customer, listed, select_epoch, with_parts
from webhooks.api.examples import CUSTOMER
from webhooks.api.operation import Answer, Call, NoBody, Operation, Reply, Where
from webhooks.api.problems import NO_KEY, NOT_FOUND, NOT_IN_TIME, Problem
from webhooks.api.shown import look_up, policy_of
from webhooks.refreshing import NOT_IN_TIME as NOT_READ_IN_TIME
from webhooks.refreshing import refresh_customer

WAIT_SECONDS = 10

Expand: TypeAlias = Literal["products", "entities", "features", "revenue", "mrr", "usage", "timeline"]


class Expanding(Where, kw_only=True, forbid_unknown_fields=True):
    """What a record is answered with."""

    expand: Annotated[
        list[Expand],
        Meta(
            description=(
                "Parts of the record, separated by commas: products (as customer_products), entities, features, "
                "revenue, mrr, usage, timeline (as status_changes)."
            )
        ),
    ] = msgspec.field(default_factory=list)


class Reading(Expanding, kw_only=True, forbid_unknown_fields=True):
    """What GET /customers/ID takes."""

    fresh: Annotated[
        bool,
        Meta(
            description=(
                "true: have Stripe read now, and answer once the record is exact: a refresh, which needs ADMIN_TOKEN."
            )
        ),
    ] = False
    wait: Annotated[
        Annotated[int, Meta(ge=1, le=30)] | None,
        Meta(description="With fresh=true: seconds to wait, 10 if left out."),
    ] = None


async def show(call: Call[Reading, NoBody]) -> Reply:
    """The record; 304 where the client has it already."""
    name, query, database = call.name("customer_id"), call.query, call.context.database
    if query.fresh:
        call.require_admin("query.fresh")
    if not (query.fresh or query.expand):
        async with call.context.hot.connection() as connection:
            return await _reply(connection, await call.scope(connection), name, call)
    async with database.connection() as connection:
        scope = await call.scope(connection)
        if not query.fresh:
            return await _reply(connection, scope, name, call)
        record = await find_customer(connection, scope, name)
    key = _at_stripe(call, scope, name, record)
    if key is not None:
        await _refresh(call, key, record)
    async with database.connection() as connection:
        return await _reply(connection, scope, name, call)


async def _reply(connection: Connection, scope: Scope, name: str, call: Call[Reading, NoBody]) -> Reply:
    record = await found_customer(connection, scope, name, policy=policy_of(call.context))
    (shown,) = await listed(connection, [record])
    tag = await tag_of(connection, shown, call.query.expand)
    headers = {} if tag is None else {"ETag": tag}
    if tag is not None and is_known(call.request, tag):
        return Reply(content=None, status=304, headers=headers)
    return Reply(content=await with_parts(connection, shown, call.query.expand), headers=headers)


async def found_customer(
    connection: Connection, scope: Scope, name: str, *, policy: Policy
) -> StoredCustomer:
    """The customer with this custom_uid, uid or Stripe id. Raises Problem if there is none."""
    record = await look_up(connection, scope, name, policy=policy)
    if record is None:
        raise not_found(name)
    return record


def not_found(name: str) -> Problem:
    """The answer about a customer that nobody knows."""
    return Problem(
        NOT_FOUND,
        f"there is no customer {name[:255]} in this account and mode",
        field="path.customer_id",
        remedy="give its custom_uid, uid or Stripe id, and account and mode if it is of others",
    )


async def tag_of(connection: Connection, record: Customer, expand: Collection[str]) -> str | None:
    """The ETag of a record; None if it shows what changes without its `change`: usage, or a push.

    A number of `change` means something only within its epoch.
    """
    epoch = await select_epoch(connection)
    changes_apart = not {ENTITIES, USAGE}.isdisjoint(expand) or record.push is not UNSET
    if changes_apart or epoch is None or not record.change:
        return None
    return f'W/"{".".join([epoch.hex[:12], str(record.change), *sorted(set(expand))])}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether If-None-Match says that the client has what this tag stands for."""
    given = [each.strip() for each in request.headers.get("if-none-match", "").split(",")]
    return "*" in given or tag.removeprefix("W/") in [each.removeprefix("W/") for each in given]


def _at_stripe(
    call: Call[Reading, NoBody], scope: Scope, name: str, record: StoredCustomer | None
) -> CustomerKey | None:
    """The customer to read at Stripe; None for one that Stripe does not know."""
    if record is not None and record.stripe_customer_id is None:
        return None
    customer_id = name if record is None else record.stripe_customer_id or ""
    # Stripe may know a customer of which nothing has come yet.
    if record is None and not (name.startswith("cus_") and is_id_of(name, "customer")):
        raise not_found(name)
    live_mode = call.context.settings.live_mode
    if live_mode is None:
        raise Problem(
            NO_KEY,
            "without STRIPE_API_KEY nothing can be read from Stripe",
            field="query.fresh",
            remedy="leave out fresh, or set STRIPE_API_KEY and restart",
        )
    if live_mode != scope.live_mode:
        raise Problem(
            NO_KEY, "the API key is of the other mode", field="query.mode", remedy="leave out fresh or mode"
        )
    return CustomerKey(*scope, customer_id)


async def _refresh(call: Call[Reading, NoBody], key: CustomerKey, record: StoredCustomer | None) -> None:
    context = call.context
    deadline = time.monotonic() + (call.query.wait or WAIT_SECONDS)
    state = await refresh_customer(context.database, context.bell, key, deadline=deadline)
    if state.finished:
        return
    if state.unknown:
        raise not_found(key.id)
    async with context.database.connection() as connection:
        found = await find_customer(connection, key.scope, key.id if record is None else str(record.uid))
        shown = None if found is None else await with_parts(connection, found, call.query.expand)
    raise Problem(
        NOT_IN_TIME,
        state.error or NOT_READ_IN_TIME,
        remedy="ask again, or use the record so far",
        more={"customer": shown},
    )


SHOW = Operation(
    method="GET",
    path="/customers/{customer_id}",
    name="getCustomer",
    summary="One customer's record",
    description=(
        "The ETag comes from the record's `change`: send it as If-None-Match, and a record that is still the same is "
        "answered with 304 and no body."
    ),
    handle=show,
    query=Reading,
    body=NoBody,
    answers={
        200: Answer(
            description="The record.",
            type=Customer,
            example=CUSTOMER,
            headers={
                "ETag": "Stands for this state of the record. Absent with expand=entities or usage, and with push."
            },
        ),
        304: Answer(description="The client has it already, as If-None-Match says."),
    },
    problems=(NOT_FOUND, NO_KEY, NOT_IN_TIME),
    reads=True,
)
