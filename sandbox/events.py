"""Events as Stripe records them, the log that an account keeps of them, and how a sandbox renders them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sandbox.versions import Body


@dataclass(slots=True, kw_only=True)
class Event:
    """One entry of the event log; `body` is what is signed and posted, byte for byte."""

    id: str
    type: str
    created: int
    account_id: str
    live_mode: bool
    api_version: str
    object_id: str | None
    customer: str | None
    body: bytes
    serial: int
    delivered: bool = False
    snapshot: "Event | None" = None
    """Of a thin event: the snapshot event of the same change, which the log lists."""

    def accepted(self) -> None:
        """An endpoint has answered 2xx."""
        (self.snapshot or self).delivered = True


@dataclass(slots=True)
class EventLog:
    """The events of one account, oldest first."""

    rows: list[Event] = field(default_factory=list)
    by_id: dict[str, Event] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        self.rows.append(event)
        self.by_id[event.id] = event

    def keep_latest(self, count: int) -> None:
        surplus = max(len(self.rows) - count, 0)
        for event in self.rows[:surplus]:
            del self.by_id[event.id]
        del self.rows[:surplus]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventStyle:
    """How a sandbox reports what happens in it."""

    versions: Sequence[str]
    """The API versions in which payloads are rendered; with several, each event draws one."""
    inversions: bool = False
    """Whether `created` of events may contradict their order, which Stripe allows."""
    side_events: bool = False
    """Whether payouts and payment methods, on which no record depends, have events too."""


def snapshot(
    *,
    event_id: str,
    event_type: str,
    created: int,
    account_id: str,
    live_mode: bool,
    api_version: str,
    request: str | None,
    body: Body,
    previous: Body | None,
) -> Body:
    """A snapshot event: it carries the whole object (`body`), and after an update the old values of what changed.

    `previous`: the object as the last event showed it; None when no event did. `request`: the id of the API request
    behind the event.
    """
    data: Body = {"object": body}
    if event_type.endswith(".updated"):
        data["previous_attributes"] = {} if previous is None else _differences(previous, body)
    envelope: Body = {
        "id": event_id,
        "object": "event",
        "api_version": api_version,
        "created": created,
        "data": data,
        "livemode": live_mode,
        "pending_webhooks": 1,
        "request": {"id": request, "idempotency_key": None},
        "type": event_type,
    }
    if account_id:
        envelope["account"] = account_id
    return envelope


def _differences(before: Body, after: Body) -> Body:
    """The fields that changed with their old values; inside an object only those of its fields that changed."""
    found: Body = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and old.get("object") != "list":
            found[key] = _differences(old, new)
        else:
            found[key] = old
    return dict(sorted(found.items()))
