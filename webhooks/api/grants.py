"""POST and DELETE /customers/ID/grants: access to a product for a limited time, without a subscription."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from billing.status import Status
from db.records.customer import StoredCustomer
from db.records.full import Customer
from db.records.identities import end_grant, give_grant, select_identity
from db.records.merges import select_merged_into
from webhooks.api.examples import CUSTOMER, GRANTED
from webhooks.api.naming import being_changed, customer_to_change, identity_of
from webhooks.api.operation import Answer, Call, NoBody, Operation, Reply
from webhooks.api.problems import CONFLICT, NOT_FOUND, Problem
from webhooks.api.read import Expanding
from webhooks.api.shown import policy_of, shown
from webhooks.api.write import STORABLE

LONGEST = timedelta(days=3650)
"""How long a grant may run."""


class NewGrant(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is granted: a product, until a moment or for some days. It takes the place of the grant before."""

    product_id: Annotated[
        str,
        Meta(
            max_length=255,
            pattern=STORABLE,
            description="The company's own name of the product, else Stripe's id.",
        ),
    ]
    until: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="When it ends, with a time zone. Either this or days."),
    ] = None
    days: Annotated[
        Annotated[int, Meta(ge=1, le=LONGEST.days)] | None,
        Meta(description="How long it runs from now, 24 hours each."),
    ] = None


async def grant(call: Call[Expanding, NewGrant]) -> Reply:
    """The customer with its grant."""
    context, body = call.context, call.body
    async with context.database.connection() as connection:
        scope = await call.scope(connection)
        record = await customer_to_change(
            connection, scope, call.name("customer_id"), policy=policy_of(context)
        )
        end = _end_of(body)
        _require_grantable(record)
        async with connection.transaction():
            identity = await identity_of(connection, scope, record)
            if not await give_grant(connection, scope, identity.uid, body.product_id, end):
                raise being_changed()
    return Reply(content=await shown(context, scope, identity, call.query.expand))


def _end_of(body: NewGrant) -> datetime:
    now = datetime.now(UTC)
    if body.until is None and body.days is not None:
        return now + timedelta(days=body.days)
    if body.until is None or body.days is not None:
        raise Problem(
            CONFLICT, "a grant has one end", field="body.until", remedy="give until or days, and not both"
        )
    if body.until <= now:
        raise Problem(
            CONFLICT,
            "the grant would have ended already",
            field="body.until",
            remedy="give a moment to come; DELETE ends a grant",
        )
    if body.until > now + LONGEST:
        raise Problem(
            CONFLICT,
            "a grant is for a limited time",
            field="body.until",
            remedy=f"give a moment within {LONGEST.days} days",
        )
    return body.until


def _require_grantable(record: StoredCustomer) -> None:
    if record.deleted_at is not None:
        raise Problem(
            CONFLICT,
            "the customer was deleted at Stripe, so a grant gives it nothing",
            field="path.customer_id",
            remedy="create another customer",
        )
    if record.status not in (None, Status.ENDED):
        raise Problem(
            CONFLICT,
            f"the subscription {record.stripe_subscription_id} is live ({record.status}), and outranks a grant",
            field="path.customer_id",
            remedy="grant once it has ended, or change the subscription at Stripe",
        )


async def end(call: Call[Expanding, NoBody]) -> Reply:
    """The customer without a grant that runs."""
    context = call.context
    async with context.database.connection() as connection:
        scope = await call.scope(connection)
        record = await customer_to_change(
            connection, scope, call.name("customer_id"), policy=policy_of(context)
        )
        runs = record.sandbox_end is not None and record.sandbox_end > datetime.now(UTC)
        async with connection.transaction():
            is_known = (
                runs  # perhaps by Stripe's metadata, which what is said here outranks
                or await select_identity(connection, scope, record.uid) is not None
                or await select_merged_into(connection, scope, record.uid) is not None
            )
            if not is_known:
                return Reply(content=record)
            identity = await identity_of(connection, scope, record)
            await end_grant(connection, scope, identity.uid, stated_elsewhere=runs)
    return Reply(content=await shown(context, scope, identity, call.query.expand))


GRANT: Operation[Expanding, NewGrant] = Operation(
    method="POST",
    path="/customers/{customer_id}/grants",
    name="grantCustomer",
    summary="Give a customer a product for a limited time",
    description=(
        "Without a subscription. A customer has one grant: another one takes its place. Refused while a subscription "
        "of the customer is live."
    ),
    handle=grant,
    query=Expanding,
    body=NewGrant,
    body_example={"product_id": "pro", "days": 14},
    answers={200: Answer(description="The customer with the grant.", type=Customer, example=GRANTED)},
    problems=(NOT_FOUND, CONFLICT),
)

END: Operation[Expanding, NoBody] = Operation(
    method="DELETE",
    path="/customers/{customer_id}/grants",
    name="endGrant",
    summary="End a customer's grant now",
    description="Also one that Stripe's metadata states. Of a customer without a grant that runs, nothing changes.",
    handle=end,
    query=Expanding,
    body=NoBody,
    answers={200: Answer(description="The customer without the grant.", type=Customer, example=CUSTOMER)},
    problems=(NOT_FOUND, CONFLICT),
)
