"""POST /customers/ID/track: what a customer has used of a feature."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID, uuid4

import msgspec
from msgspec import Meta

from db.keys import CustomerKey
from db.records.full import uid_in
from db.records.merges import leads_to
from db.records.tracking import UsageEvent, track
from webhooks.api.naming import customer_to_change, require_not_forgotten
from webhooks.api.operation import Answer, Call, Operation, Reply
from webhooks.api.problems import CONFLICT, NOT_FOUND, Problem
from webhooks.api.shown import policy_of
from webhooks.api.write import STORABLE, Creating, get_or_create

OLDEST, NEWEST = timedelta(days=34), timedelta(minutes=5)
"""How far back and ahead a timestamp may look. Stripe takes 35 days: the last one is for what has to wait."""


class Use(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What was used."""

    feature_id: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=255,
            pattern=STORABLE,
            description="The feature, as in check: its lookup key, or feature_id in metadata of prices and products.",
        ),
    ]
    value: Annotated[
        Annotated[int, Meta(ge=-(10**12), le=10**12)],
        Meta(description="How much, in whole units: Stripe's meters take no others. Negative: given back."),
    ] = 1
    entity_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=500, pattern=STORABLE)] | None,
        Meta(description="The entity that used it."),
    ] = None
    idempotency_key: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255, pattern=STORABLE)] | None,
        Meta(
            description=(
                "Counts once in this account and mode, for 40 days. Left out: each call counts, also one that is sent "
                "again because its answer got lost."
            )
        ),
    ] = None
    timestamp: Annotated[
        Annotated[datetime, Meta(tz=True)] | None,
        Meta(description="When it was used: at most 34 days ago, and 5 minutes ahead. Left out: now."),
    ] = None


class Counted(msgspec.Struct, kw_only=True):
    """What is counted under the key."""

    customer_uid: UUID
    feature_id: str
    value: int
    entity_id: str | None
    idempotency_key: str
    timestamp: datetime


async def post(call: Call[Creating, Use]) -> Reply:
    """What is counted: by this call, or by one with its key before."""
    body, name = call.body, call.name("customer_id")
    event = UsageEvent(
        idempotency_key=body.idempotency_key or str(uuid4()),
        feature_id=body.feature_id,
        entity_id=body.entity_id,
        value=body.value,
        used_at=_time_of(body.timestamp),
    )
    async with call.context.hot.connection() as connection:
        scope = await call.scope(connection)
        uid = uid_in(name)
        if uid is not None and (into := await leads_to(connection, scope, uid)) is not None:
            name = str(into)
        tracked = await track(connection, scope, name, event)
    if tracked is None:
        new_uid = await get_or_create(call, scope) if call.query.create else None
        async with call.context.hot.connection() as connection:
            # It may have been created a moment ago.
            record = await customer_to_change(
                connection, scope, name if new_uid is None else str(new_uid), policy=policy_of(call.context)
            )
            tracked = await track(connection, scope, str(record.uid), event, known_uid=record.uid)
            if tracked is None and record.stripe_customer_id is not None:
                key = CustomerKey(*scope, record.stripe_customer_id)
                await require_not_forgotten(connection, key, field="path.customer_id")
    if tracked is None:
        raise Problem(CONFLICT, "the customer changes just now", remedy="send the request again")
    if not tracked.first and not tracked.event.is_the_same(event, tracked.customer_uid):
        raise Problem(
            CONFLICT,
            "the idempotency_key was used for something else",
            field="body.idempotency_key",
            remedy="send what was sent first, or another key",
        )
    counted = Counted(
        customer_uid=tracked.event.customer_uid,
        feature_id=tracked.event.feature_id,
        value=tracked.event.value,
        entity_id=tracked.event.entity_id,
        idempotency_key=event.idempotency_key,
        timestamp=tracked.event.used_at,
    )
    return Reply(content=counted, status=201 if tracked.first else 200)


def _time_of(timestamp: datetime | None) -> datetime | None:
    now = datetime.now(UTC)
    if timestamp is not None and not now - OLDEST <= timestamp <= now + NEWEST:
        raise Problem(
            CONFLICT,
            "Stripe's meters take no use of that time",
            field="body.timestamp",
            remedy=f"give a moment of the last {OLDEST.days} days",
        )
    return timestamp


_EXAMPLE = Counted(
    customer_uid=UUID("8d0e4bd5-7c8e-4a36-b7a6-1b2c3d4e5f60"),
    feature_id="api_calls",
    value=100,
    entity_id="team_1",
    idempotency_key="request_1",
    timestamp=datetime(2026, 1, 31, 12, tzinfo=UTC),
)

TRACK: Operation[Creating, Use] = Operation(
    method="POST",
    path="/customers/{customer_id}/track",
    name="trackUsage",
    summary="Count what a customer has used of a feature",
    description=(
        "It counts at once in check, and moves last_seen. If a meter at Stripe counts the feature, a worker tells it: "
        "at least once, and counted once. With create=true it may be the first that is heard of the customer."
    ),
    handle=post,
    query=Creating,
    body=Use,
    body_example={
        "feature_id": "api_calls",
        "value": 100,
        "entity_id": "team_1",
        "idempotency_key": "request_1",
    },
    answers={
        200: Answer(description="It was counted before.", type=Counted, example=_EXAMPLE),
        201: Answer(description="It is counted now.", type=Counted, example=_EXAMPLE),
    },
    problems=(NOT_FOUND, CONFLICT),
)
