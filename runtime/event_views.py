"""One event of the inbox with everything that is shown of it: the commands and the console show it in the same way."""

import base64
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from billing.kinds.found import ObjectRef
from billing.kinds.registry import concerned
from billing.kinds.thin import named_by
from db.connection import Connection
from db.keys import Key
from db.sync.inbox_admin import FenceEntry, InboxEntry, select_events_by_id, select_objects, standing
from runtime.payload import NotJson, data_object, read_object
from runtime.printable import pretty_json


@dataclass(frozen=True, kw_only=True)
class EventView:
    """One event with everything that is shown about it."""

    entry: InboxEntry
    payload: bytes
    concerns: list[tuple[Key, FenceEntry | None]]
    """The objects that it marks, and how they are now."""

    def document(self) -> dict[str, object]:
        """All of it as JSON; a payload that is no JSON as base64."""
        concerns = [
            {"kind": key.kind, "id": key.id, "standing": standing(entry)} for key, entry in self.concerns
        ]
        document: dict[str, object] = {**dataclasses.asdict(self.entry), "concerns": concerns}
        try:
            return {**document, "payload": json_of(self.payload)}
        except ValueError:
            return {**document, "payload": None, "payload_base64": base64.b64encode(self.payload).decode()}


async def view_event(connection: Connection, event_id: str) -> Sequence[EventView]:
    """The event of that id; more than one if accounts or modes share an id."""
    views = []
    for entry, payload in await select_events_by_id(connection, event_id):
        keys = [
            Key(entry.account_id, entry.live_mode, *ref) for ref in objects_concerned(entry.type, payload)
        ]
        known = await select_objects(connection, keys)
        views.append(
            EventView(entry=entry, payload=payload, concerns=[(key, known.get(key)) for key in keys])
        )
    return views


def objects_concerned(event_type: str, payload: bytes) -> tuple[ObjectRef, ...]:
    """The objects that applying the event marks, its own first; none if it cannot be read. Total: it never raises."""
    try:
        return concerned(event_type, data_object(payload)[1])
    except NotJson:
        pass
    try:
        whole = read_object(payload)
    except NotJson:
        return ()
    if whole.get("object") != "v2.core.event" and "related_object" not in whole:
        return ()
    return named_by(event_type, whole.get("related_object")).concerns


def json_of(payload: bytes) -> Any:
    """The payload as JSON that can be shown. Raises ValueError when it is not JSON."""
    try:
        value = json.loads(payload, parse_constant=_no_constant)
        pretty_json(value)
    except RecursionError:
        raise ValueError("nested too deep") from None
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
