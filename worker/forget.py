"""Forget: erase who a customer was, and keep later events and answers from bringing it back.

First the customer is registered as forgotten. Then we wait for transactions that were already writing, since they may
not have known. Then everything that says who it was is emptied, in one transaction, and the inbox is searched for
payloads. Cut short anywhere, the same call does it all again.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from billing.kinds.parse import Parsed
from billing.kinds.registry import KINDS
from db.connection import Connection
from db.forgotten import (
    SELECT_OWNED,
    StoredEvent,
    any_forgotten,
    close_objects,
    erase_drift,
    erase_events,
    erase_record,
    erase_rows,
    finish_forgetting,
    oldest_writer,
    register_forgotten,
    select_events_after,
    select_forgotten,
    select_heard_of,
    select_of_forgotten,
    select_owned,
)
from db.keys import CustomerKey, EventKey, Key
from db.records.joins import select_all_of, select_main_of
from db.records.moved import keep_usage_still
from db.sync.accounts import clear_alarms, object_refused, parts_refused
from db.sync.inbox import ClaimedEvent
from runtime.payload import NotJson, read_object
from runtime.retry import retry_conflicts

EVENTS_BATCH = 500
WRITERS_POLL_SECONDS = 0.05
REASON = "its payload was erased: its customer is forgotten"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was erased of a customer."""

    objects: int  # emptied rows of the mirror
    events: int  # erased payloads


async def forget(
    connection: Connection,
    key: CustomerKey,
    *,
    searched: Callable[[int], None] = lambda _: None,
) -> Forgotten:
    """Erase who this customer was; `searched` is called with the number of events looked at so far.

    Afterwards its record is stale, and is derived once more from what is left: money, times and Stripe's ids. All
    customers of Stripe's that share the record are forgotten with it.
    """
    keys: list[CustomerKey] = []
    # Until nobody has been joined to it meanwhile: who is registered is joined to nobody.
    while keys != (found := await select_all_of(connection, key)):
        keys = found
        known_from = max([await register_forgotten(connection, each) for each in keys])
        while await oldest_writer(connection) < known_from:  # noqa: ASYNC110 - Postgres has no event for it
            await asyncio.sleep(WRITERS_POLL_SECONDS)
    owned = await retry_conflicts(lambda: _erase_all(connection, key, keys))
    events = await _erase_inbox(connection, key, owned, searched)
    for each in keys:
        await finish_forgetting(connection, each)
    return Forgotten(objects=len(owned), events=events)


async def _erase_all(
    connection: Connection, key: CustomerKey, keys: Sequence[CustomerKey]
) -> set[tuple[str, str]]:
    """Empty everything but the inbox; returns kind and id of all objects that were these customers'."""
    main = await select_main_of(connection, key)
    owned: set[tuple[str, str]] = set()
    async with connection.transaction():
        await keep_usage_still(connection)
        for each in keys:
            owned |= await _erase(connection, each)
        await erase_record(connection, keys, main=main)
    return owned


async def _erase(connection: Connection, key: CustomerKey) -> set[tuple[str, str]]:
    """Empty the mirror's rows of one of them."""
    account_id, live_mode, customer_id = key
    # Owners come before what they own in the registry, and a refund is found by the charge that was closed.
    for kind in SELECT_OWNED:
        ids = set(await select_owned(connection, kind, key))
        if kind == "customer":
            ids.add(customer_id)
        await close_objects(
            connection, {Key(account_id, live_mode, kind, each): customer_id for each in sorted(ids)}
        )
    owned = set(await select_heard_of(connection, key))
    await close_objects(
        connection, {Key(account_id, live_mode, *each): customer_id for each in sorted(owned)}
    )
    for kind in SELECT_OWNED:
        ids = {object_id for of, object_id in owned if of == kind}
        await erase_rows(connection, kind, key, sorted(ids))
    await erase_drift(connection, key, owned)
    # Nobody asks for them any more.
    closed = [Key(account_id, live_mode, *each) for each in owned]
    await clear_alarms(
        connection, [name(each) for each in closed for name in (object_refused, parts_refused)]
    )
    return owned


async def _erase_inbox(
    connection: Connection,
    key: CustomerKey,
    owned: Collection[tuple[str, str]],
    searched: Callable[[int], None],
) -> int:
    ids = {object_id for _, object_id in owned}
    seq, looked_at, erased = 0, 0, 0
    while events := await select_events_after(
        connection, seq, account_id=key.account_id, live_mode=key.live_mode, limit=EVENTS_BATCH
    ):
        left = {
            EventKey(event.account_id, event.live_mode, event.event_id): what_is_left(event)
            for event in events
            if not is_erased(event.payload) and names_any(event.payload, ids)
        }
        if left:
            await retry_conflicts(lambda: erase_events(connection, left, reason=REASON))  # noqa: B023
        seq, looked_at, erased = events[-1].seq, looked_at + len(events), erased + len(left)
        searched(looked_at)
    return erased


# Later events and answers


async def set_aside_events(
    connection: Connection,
    events: Mapping[EventKey, ClaimedEvent],
    concerns: Mapping[EventKey, Collection[Key]],
) -> set[EventKey]:
    """Of these events, erase those about forgotten customers, and close the objects that they are about.

    `concerns` gives for each event the objects that it is about or names, its own first. Called in a transaction that
    has written already, so that a command that is forgetting a customer waits for it.
    """
    if not await any_forgotten(connection):
        return set()
    named = {
        key: {CustomerKey(*key.scope, name) for name in customers_named(event.payload)}
        for key, event in events.items()
    }
    forgotten = await select_forgotten(connection, set().union(*named.values()))
    closed = await select_of_forgotten(connection, {each for keys in concerns.values() for each in keys})
    owner_of: dict[EventKey, str] = {}
    for key in events:
        owners = {each.id for each in named[key] & forgotten}
        owners |= {closed[each] for each in concerns.get(key, ()) if each in closed}
        if owners:
            owner_of[key] = min(owners)
    left = {key: what_is_left(events[key]) for key in owner_of}
    await erase_events(connection, left, reason=REASON)
    own = {next(iter(concerns[key])): owner for key, owner in owner_of.items() if concerns.get(key)}
    await close_objects(
        connection, {key: owner for key, owner in own.items() if _ownable(key, owner) and key not in closed}
    )
    return set(owner_of)


async def set_aside_answers(connection: Connection, answers: Mapping[Key, Parsed]) -> set[Key]:
    """Of these objects, which Stripe answered with, close those that are a forgotten customer's; returns their keys.

    Called in a transaction that has written already.
    """
    if not await any_forgotten(connection):
        return set()
    owners_of = {
        key: [
            Key(*key.scope, kind, owner_id)
            for field, kind in KINDS[key.kind].belongs_to
            if (owner_id := getattr(parsed.facts, field, None)) is not None
        ]
        for key, parsed in answers.items()
    }
    forgotten = await select_forgotten(
        connection,
        {CustomerKey(*key.scope, each.customer_id) for key, each in answers.items() if each.customer_id},
    )
    closed = await select_of_forgotten(
        connection, set(answers).union(*owners_of.values()) if answers else set()
    )
    places = {kind: place for place, kind in enumerate(KINDS)}
    owner_of: dict[Key, str] = {}
    for key in sorted(answers, key=lambda key: places[key.kind]):  # owners come first
        customer_id = answers[key].customer_id
        if customer_id and CustomerKey(*key.scope, customer_id) in forgotten:
            owner_of[key] = customer_id
        elif (
            owner := next((o for o in (key, *owners_of[key]) if o in closed or o in owner_of), None)
        ) is not None:
            owner_of[key] = closed.get(owner) or owner_of[owner]
    await close_objects(connection, owner_of)
    return set(owner_of)


def _ownable(key: Key, customer_id: str) -> bool:
    """Whether an object that an event is about can be this customer's."""
    if key.kind == "customer":
        return key.id == customer_id
    return not KINDS[key.kind].catalogue


# What a payload names

_OWNERS = ("customer", "customer_account")


def customers_named(payload: bytes) -> set[str]:
    """The ids of all customers that a payload names, at any depth; empty if it is no JSON."""
    try:
        return {
            value
            for field, value in _texts(read_object(payload), "")
            if field in _OWNERS or field == "customer.id"
        }
    except NotJson:
        return set()


def names_any(payload: bytes, ids: Collection[str]) -> bool:
    """Whether a payload names one of these ids, metadata aside: any id may be written there."""
    try:
        return any(value in ids for _, value in _texts(read_object(payload), ""))
    except NotJson:
        return any(each.encode() in payload for each in ids)


def _texts(value: object, field: str) -> Iterator[tuple[str, str]]:
    """Each text in a JSON value with the field that holds it; the id of a whole object as `<object>.id`."""
    if isinstance(value, str):
        yield field, value
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry, field)
    elif isinstance(value, dict):
        kind = value.get("object")
        for name, inner in value.items():
            if name != "metadata":
                yield from _texts(inner, f"{kind}.id" if name == "id" else name)


_ERASED = b'"erased":true'


def what_is_left(event: StoredEvent | ClaimedEvent) -> bytes:
    """An event without its content: enough to recognise it when Stripe sends it again."""
    left = {
        "id": event.event_id,
        "object": "event",
        "type": event.type,
        "livemode": event.live_mode,
        "erased": True,
    }
    return msgspec.json.encode(left)


def is_erased(payload: bytes) -> bool:
    """Whether this is what `what_is_left` has left."""
    return payload.endswith(_ERASED + b"}")
