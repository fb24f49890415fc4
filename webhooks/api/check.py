"""GET /customers/ID/check: whether a customer may use a product or a feature."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta

from db.connection import Connection
from db.keys import Scope
from db.records.access import Access, Checked, check_feature, check_product
from db.records.customer import StoredCustomer
from webhooks.api.operation import Answer, Call, NoBody, Operation, Reply, Where
from webhooks.api.problems import CONFLICT, NOT_FOUND, Problem
from webhooks.api.read import found_customer
from webhooks.api.shown import policy_of
from webhooks.api.write import STORABLE


class Checking(Where, kw_only=True, forbid_unknown_fields=True):
    """What is asked about. Either product_id or feature_id."""

    product_id: Annotated[
        Annotated[str, Meta(max_length=255, pattern=STORABLE)] | None,
        Meta(description="The product: the company's own name of it, else Stripe's id."),
    ] = None
    feature_id: Annotated[
        Annotated[str, Meta(max_length=255, pattern=STORABLE)] | None,
        Meta(description="The feature: its lookup key, or Stripe's id if it has none."),
    ] = None
    entity_id: Annotated[
        Annotated[str, Meta(max_length=500, pattern=STORABLE)] | None,
        Meta(
            description=(
                "For this entity: what was bought for it counts, and what was bought for the whole customer. "
                "Left out: what was bought for any of its entities counts, too."
            )
        ),
    ] = None
    required: Annotated[
        Annotated[int, Meta(ge=1, le=10**15)] | None,
        Meta(
            description="With feature_id: not allowed if the balance is less. A feature without one has enough."
        ),
    ] = None


async def check(call: Call[Checking, NoBody]) -> Reply:
    """Whether it may be used; of one that was never bought, too."""
    query, name = call.query, call.name("customer_id")
    if (query.product_id is None) == (query.feature_id is None):
        raise Problem(
            CONFLICT,
            "either a product or a feature is asked about",
            field="query.product_id",
            remedy="give product_id or feature_id, and not both",
        )
    if query.required is not None and query.feature_id is None:
        raise Problem(
            CONFLICT,
            "a product has no balance",
            field="query.required",
            remedy="leave it out, or give feature_id",
        )
    async with call.context.hot.connection() as connection:
        scope = await call.scope(connection)
        found = await _asked(connection, scope, name, query)
        if found is None:
            # It may have been created a moment ago.
            record = await found_customer(connection, scope, name, policy=policy_of(call.context))
            found = await _asked(connection, scope, str(record.uid), query) or _foreseen(record, query)
    if found.seen is not None:
        call.context.seen.note(found.seen)
    return Reply(content=_enough(found.access, query.required))


async def _asked(connection: Connection, scope: Scope, name: str, query: Checking) -> Checked | None:
    if query.product_id is not None:
        return await check_product(connection, scope, name, query.product_id, query.entity_id)
    return await check_feature(connection, scope, name, query.feature_id or "", query.entity_id)


def _foreseen(record: StoredCustomer, query: Checking) -> Checked:
    """Of a customer whose record no worker has stored yet: only a grant may give it anything."""
    granted = record.has_access and query.product_id is not None and record.product_id == query.product_id
    access = Access(
        allowed=granted,
        reason="grant" if granted else "not_bought",
        status=record.status,
        until=record.sandbox_end if granted else None,
        balance=None,
        exact=False,
    )
    return Checked(access=access, seen=None)


def _enough(access: Access, required: int | None) -> Access:
    lacks = required is not None and access.balance is not None and access.balance < required
    return replace(access, allowed=False, reason="balance") if access.allowed and lacks else access


_EXAMPLE = Access(
    allowed=True,
    reason="subscription",
    status="active",
    until=datetime(2026, 12, 31, 12, tzinfo=UTC),
    balance=None,
    exact=True,
)

CHECK: Operation[Checking, NoBody] = Operation(
    method="GET",
    path="/customers/{customer_id}/check",
    name="checkCustomer",
    summary="Whether a customer may use a product or a feature",
    description=(
        "The same as a row of billing.access. reason: subscription, grant or entitlement; or not_bought, not_started, "
        "past_due, ended, grant_ended, balance. until is the end of the period, which renews unless it was canceled."
    ),
    handle=check,
    query=Checking,
    body=NoBody,
    answers={200: Answer(description="Whether it may.", type=Access, example=_EXAMPLE)},
    problems=(NOT_FOUND, CONFLICT),
    reads=True,
)
