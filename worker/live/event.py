"""What one event says of Stripe's objects: which it concerns, and what may be shown of them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from billing.kinds.fields import UnknownShape
from billing.kinds.found import ObjectRef, is_id
from billing.kinds.parse import parse_object
from billing.kinds.registry import (
    KINDS,
    LIST_CONFIRMED,
    concerned,
    customer_named_by,
    kind_of,
    owner_named_by,
    tells_of_mirrored,
)
from billing.kinds.thin import Named, named_by, snapshot_type
from db.keys import Scope
from db.sync.inbox import ClaimedEvent, Outcome
from runtime.payload import NotJson, as_text, data_object, read_object
from worker.live.mirror import Shown


@dataclass(slots=True, kw_only=True)
class EventReading:
    """What one event says, before the database has been asked anything."""

    event: ClaimedEvent
    outcome: Outcome
    concerns: tuple[ObjectRef, ...] = ()
    customer_id: str | None = (
        None  # the customer that the event's object names, and so the owner of what it concerns
    )
    owner: ObjectRef | None = None  # what leads to the customer, if the object's kind names none
    payloads: dict[ObjectRef, Shown] = field(default_factory=dict)  # of objects that it concerns
    found_inside: dict[ObjectRef, Shown] = field(
        default_factory=dict
    )  # of others: shown only if nothing is known yet
    references: dict[ObjectRef, str | None] = field(
        default_factory=dict
    )  # others, with the customer they belong to
    deleted: ObjectRef | None = None
    first_of_customer: str | None = None  # customer.created: its history is known from the start
    thin: bool = False  # it carries no state
    twin_id: str | None = None  # of a thin event: the snapshot event about the same change
    asks_twin: bool = False  # it names no object, and its twin does
    of_own: bool = True  # it is about the first of what it concerns
    known_since: int | None = None  # the tick at which its twin told the same change

    @property
    def scope(self) -> Scope:
        """Whose objects it is about. The key's own account is '', also if the event came before that was known."""
        return Scope("", self.event.live_mode) if self.event.of_own else self.event.key.scope


def read_event(event: ClaimedEvent, *, served_mode: bool | None, confirms: bool) -> EventReading:
    """Everything that applying the event needs; pure. An unreadable payload is lost, its mark never is."""

    if served_mode is not None and event.live_mode != served_mode:
        served = "live" if served_mode else "test"
        return EventReading(
            event=event, outcome=outcome_of(event, "quarantined", f"the API key serves {served} mode only")
        )
    try:
        raw, body = data_object(event.payload)
    except NotJson as not_snapshot:
        return _read_without_data(event, str(not_snapshot))
    reading = read_marks(event, body, outcome_of(event, "applied"))
    if not reading.concerns:
        return EventReading(event=event, outcome=outcome_of(event, "ignored", _concerns_nothing(event)))
    own = reading.concerns[0]
    stripe_object = body.get("object")
    if not (isinstance(stripe_object, str) and kind_of(stripe_object)):
        return reading  # an object that is not mirrored, but names some that are
    try:
        _collect(reading, raw, body)
    except UnknownShape as error:
        # With an API key the read decides; without one, or if no read is asked for, there was only this payload.
        reads = confirms and KINDS[own.kind].confirmed_by == "reads"
        reading.outcome = outcome_of(event, "applied" if reads else "parked", str(error))
    return reading


def read_marks_alone(event: ClaimedEvent, outcome: Outcome) -> EventReading:
    """As `read_marks`, of a snapshot event or a thin one. Raises NotJson."""
    try:
        return read_marks(event, data_object(event.payload)[1], outcome)
    except NotJson:
        whole = read_object(event.payload)
        return _read_thin(event, outcome, whole, named_by(event.type, whole.get("related_object")))


def read_marks(event: ClaimedEvent, body: Mapping[str, Any], outcome: Outcome) -> EventReading:
    """What an event says even if its payload makes no sense: what is to be read, and its customer."""
    concerns = concerned(event.type, body)
    reading = _marking(event, outcome, concerns, customer_named_by(body) if concerns else None)
    reading.owner = owner_named_by(body)
    name = body.get("object")
    kind = kind_of(name) if isinstance(name, str) else None
    reading.of_own = bool(concerns) and kind is not None and concerns[0] == (kind.name, body.get("id"))
    return reading


def _marking(
    event: ClaimedEvent, outcome: Outcome, concerns: tuple[ObjectRef, ...], customer_id: str | None
) -> EventReading:
    own = concerns[0] if concerns else None
    return EventReading(
        event=event,
        outcome=outcome,
        concerns=concerns,
        customer_id=customer_id,
        deleted=own if own is not None and event.type == KINDS[own.kind].deleted_event else None,
        first_of_customer=own.id
        if own is not None and own.kind == "customer" and event.type == "customer.created"
        else None,
    )


def _read_without_data(event: ClaimedEvent, not_snapshot: str) -> EventReading:
    """A thin event, or one that carries nothing, as a `ping` does."""
    try:
        whole = read_object(event.payload)
    except NotJson:
        return EventReading(event=event, outcome=outcome_of(event, "parked", not_snapshot))
    if whole.get("object") != "v2.core.event" and "related_object" not in whole:
        if _says_nothing(event, whole):
            reason = f"{event.type or 'an event without a type'} carries no object"
            return EventReading(event=event, outcome=outcome_of(event, "ignored", reason))
        return EventReading(event=event, outcome=outcome_of(event, "parked", not_snapshot))
    named = named_by(event.type, whole.get("related_object"))
    if named.nameless:
        reason = f"{event.type} names no object"
        return EventReading(event=event, outcome=outcome_of(event, "parked", reason))
    if not named.concerns:
        twin = whole.get("snapshot_event")
        if named.asks_twin and is_id(twin):
            reason = f"{event.type} names no object: what it tells comes with {twin}"
            outcome = outcome_of(event, "ignored", reason)
            return EventReading(event=event, outcome=outcome, twin_id=twin, asks_twin=True)
        return EventReading(event=event, outcome=outcome_of(event, "ignored", _concerns_nothing(event)))
    return _read_thin(event, outcome_of(event, "applied"), whole, named)


def _read_thin(event: ClaimedEvent, outcome: Outcome, whole: Mapping[str, Any], named: Named) -> EventReading:
    # From here on it is the snapshot event about the same change, without a payload. That one's time has whole seconds,
    # and so have those of all events that this one is compared with.
    second = None if event.created is None else event.created.replace(microsecond=0)
    twin = whole.get("snapshot_event")
    reading = _marking(
        replace(event, type=snapshot_type(event.type), created=second),
        outcome,
        named.concerns,
        named.customer_id,
    )
    reading.thin, reading.of_own = True, named.of_own
    reading.twin_id = twin if is_id(twin) else None
    return reading


def _concerns_nothing(event: ClaimedEvent) -> str:
    return f"{event.type or 'an event without a type'} concerns nothing that is mirrored"


def _collect(reading: EventReading, raw: str, body: Mapping[str, object]) -> None:
    """Sort the payload, and every whole object inside it, by what may be done with it."""
    todo: list[tuple[str | None, Mapping[str, object]]] = [(raw, body)]
    customer_id: str | None = None
    while todo:
        text, each = todo.pop()
        try:
            parsed = parse_object(each)
        except UnknownShape:
            if each is body:
                raise
            continue  # the object around it was readable: this one is fetched by its id
        customer_id = customer_id or parsed.customer_id
        ref = ObjectRef(parsed.kind, parsed.id)
        if ref.kind in LIST_CONFIRMED and ref not in reading.concerns:
            continue  # being named is no reason to fetch these kinds
        if not parsed.deleted:
            shown = Shown(parsed=parsed, raw=text or as_text(each))
            (reading.payloads if ref in reading.concerns else reading.found_inside)[ref] = shown
        todo.extend((None, inner) for inner in parsed.embedded)
        for named in parsed.references:
            reading.references.setdefault(named, None)
    for named in reading.references:
        if KINDS[named.kind].names_customer:
            reading.references[named] = named.id if named.kind == "customer" else customer_id


def outcome_of(event: ClaimedEvent, state: str, error: str | None = None) -> Outcome:
    return Outcome(key=event.key, state=state, error=error)


def _says_nothing(event: ClaimedEvent, whole: Mapping[str, Any]) -> bool:
    """Whether it carries no object, and its type is not of those that do, as a `ping` is."""
    data = whole.get("data")
    carried = data.get("object") if isinstance(data, dict) else data
    return not carried and whole.get("object") == "event" and not tells_of_mirrored(event.type)
