"""GET /customers: customers by the page, and the feed of those that have changed."""

from typing import Annotated, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Meta

from db.records.full import Customer, listed, select_epoch
from db.records.pages import Wanted, select_changed, select_page
from webhooks.api.examples import CUSTOMER
from webhooks.api.operation import END, Answer, Call, NoBody, Operation, Reply, Where
from webhooks.api.problems import CONFLICT, Problem

CHANGE_MAX = 2**63 - 1

Text: TypeAlias = Annotated[str, Meta(pattern=r"^[^\x00]*" + END)]
Status: TypeAlias = Literal["trialing", "active", "past_due", "canceled", "ended", "none"]


class Listing(Where, kw_only=True, forbid_unknown_fields=True):
    """What GET /customers takes."""

    email: Annotated[
        str | None, Meta(description="Of this address, also where it is written in lower case.")
    ] = None
    status: Annotated[Status | None, Meta(description="With this status; none: without any.")] = None
    product_id: Annotated[Text | None, Meta(description="Whose current product is this one.")] = None
    has_access: Annotated[bool | None, Meta(description="With or without access.")] = None
    metadata: Annotated[
        dict[Text, Text], Meta(description="With this text in the metadata: `metadata[plan]=pro`.")
    ] = msgspec.field(default_factory=dict)
    change_after: Annotated[
        Annotated[int, Meta(ge=0, le=CHANGE_MAX)] | None,
        Meta(
            description=(
                "The feed: customers whose `change` is greater, in its order. Nothing is missed, and of a customer "
                "that changed several times the last state is told. Begin with 0."
            )
        ),
    ] = None
    epoch: Annotated[
        UUID | None,
        Meta(description="With change_after: the epoch of the page before. 409 if numbers begin anew."),
    ] = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Customers on a page, at most.")] = 50
    cursor: Annotated[
        Annotated[str, Meta(pattern=r"^([u][0-9a-f]{32}|[c][0-9]{1,18})" + END)] | None,
        Meta(description="next_cursor of the page before, with everything else as before."),
    ] = None


class CustomerPage(msgspec.Struct, kw_only=True):
    """Some customers. A page may be short, even empty, while more follow."""

    data: list[Customer]
    next_cursor: str | None
    """For the next page; null: there is none."""
    change: int | None
    """Of the feed: what to give as change_after next time, also when no page follows."""
    epoch: UUID | None
    """In which `change` counts. If it is another one than before, read everything again."""


async def list_customers(call: Call[Listing, NoBody]) -> Reply:
    """A page of customers."""
    query = call.query
    wanted = Wanted(
        email=query.email,
        status=query.status,
        product_id=query.product_id,
        has_access=query.has_access,
        metadata=query.metadata,
    )
    cursor = query.cursor or ""
    feed = query.change_after is not None or cursor.startswith("c")
    if feed and cursor.startswith("u"):
        raise Problem(
            CONFLICT,
            "the cursor is not one of the feed",
            field="query.cursor",
            remedy="leave out change_after, or the cursor",
        )
    async with call.context.database.connection() as connection:
        scope = await call.scope(connection)
        epoch = await select_epoch(connection)
        if query.epoch is not None and query.epoch != epoch:
            raise Problem(
                CONFLICT,
                "numbers of change have begun anew, because the database lost transactions or was restored",
                field="query.epoch",
                remedy="read everything again: change_after=0, without epoch",
            )
        change: int | None = None
        if feed:
            after = int(cursor[1:]) if cursor else query.change_after or 0
            page = await select_changed(connection, scope, wanted, after=after, limit=query.limit)
            change = after if page.reached is None else int(page.reached)
            following = f"c{change}"
        else:
            start = UUID(cursor[1:]) if cursor else None
            page = await select_page(connection, scope, wanted, after=start, limit=query.limit)
            following = f"u{page.reached.hex}" if isinstance(page.reached, UUID) else ""
        data = await listed(connection, page.customers)
    return Reply(
        content=CustomerPage(
            data=data, next_cursor=following if page.more else None, change=change, epoch=epoch
        )
    )


LIST = Operation(
    method="GET",
    path="/customers",
    name="listCustomers",
    summary="Customers by the page, or those that have changed",
    description=(
        "In the order of their uids, or, with change_after, of their last changes. Follow next_cursor until it is "
        "null: a page that finds little may be short, or empty, before the end."
    ),
    handle=list_customers,
    query=Listing,
    body=NoBody,
    answers={
        200: Answer(
            description="A page.",
            type=CustomerPage,
            example=CustomerPage(
                data=[CUSTOMER],
                next_cursor="u0a4fbd2c7f0b4a539d6f2f1f3b6c8e11",
                change=None,
                epoch=UUID("5f0d3c1e-2b7a-4f5e-8a55-8f1f2a6f9d10"),
            ),
        )
    },
    problems=(CONFLICT,),
    reads=True,
)
