"""Thin events: what endpoints of that style are sent in place of snapshot events, or beside them.

A thin event names its object and carries no state. Beside the twin of each snapshot event there are finer ones, which
have no twin: of a subscription, that it has come into a status, or that `cancel_at` has changed.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import msgspec

from sandbox.events import Event
from sandbox.versions import Body

Style = Literal["snapshot", "thin", "both"]
STYLES: tuple[Style, ...] = get_args(Style)

_COLLECTIONS = {
    "billing.meter": "billing/meters",
    "checkout.session": "checkout/sessions",
    "radar.early_fraud_warning": "radar/early_fraud_warnings",
    "test_helpers.test_clock": "test_helpers/test_clocks",
}
_NAMELESS = ("entitlements.active_entitlement_summary",)
"""Objects without an id, which their thin events do not name at all."""
_STATUSES = ("active", "past_due", "unpaid", "trialing", "incomplete", "incomplete_expired")


def as_sent(event: Event, style: Style) -> list[Event]:
    """What an endpoint of this style is sent of a change, given its snapshot event."""
    if style == "snapshot":
        return [event]
    thin = list(_thin(event))
    if style == "thin":
        return thin
    # Either may come first.
    return [event, *thin] if event.serial % 2 else [*thin, event]


def thin_id(snapshot_id: str) -> str:
    """The id of the thin event that is the twin of this snapshot event."""
    return snapshot_id.replace("evt_", "evt_thin_", 1)


def _thin(event: Event) -> Iterator[Event]:
    snapshot = msgspec.json.decode(event.body)
    shown = snapshot["data"]["object"]
    yield _posted(event, snapshot, event.type, twin=event.id)
    if event.type != "customer.subscription.updated":
        return
    before = snapshot["data"].get("previous_attributes", {})
    if "status" in before and shown["status"] in _STATUSES:
        yield _posted(event, snapshot, f"customer.subscription.{shown['status']}", twin=None)
    if "cancel_at" in before:
        yield _posted(event, snapshot, "customer.subscription.cancel_at_changed", twin=None)


def _posted(event: Event, snapshot: Body, event_type: str, *, twin: str | None) -> Event:
    event_id = thin_id(event.id)
    if twin is None:
        event_id = f"{event_id}_{event_type.rpartition('.')[2]}"
    moment = datetime.fromtimestamp(event.created + event.serial * 37 % 1000 / 1000, UTC)
    body: Body = {
        "id": event_id,
        "object": "v2.core.event",
        "type": f"v1.{event_type}",
        "created": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "livemode": event.live_mode,
        "context": event.account_id or None,
        "reason": None,
        "snapshot_event": twin,
    }
    if (related := _related(snapshot["data"]["object"])) is not None:
        body["related_object"] = related
    return replace(
        event,
        id=event_id,
        type=f"v1.{event_type}",
        body=msgspec.json.encode(body),
        snapshot=event,
    )


def _related(shown: dict[str, Any]) -> Body | None:
    """What a thin event says of its object; None for one that has no id to be named by."""
    name = shown["object"]
    if name in _NAMELESS or not shown.get("id"):
        return None
    if name == "discount":  # it has no address of its own
        if shown.get("subscription"):
            return {"type": name, "url": f"/v1/subscriptions/{shown['subscription']}/discount"}
        return {"type": name, "url": f"/v1/customers/{shown['customer']}/discount"}
    collection = _COLLECTIONS.get(name, f"{name}s")
    if name == "tax_id":
        collection = f"customers/{shown['customer']}/tax_ids"
    return {"id": shown["id"], "type": name, "url": f"/v1/{collection}/{shown['id']}"}
