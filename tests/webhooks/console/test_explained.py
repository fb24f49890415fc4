"""Why a status changed, in words: what can be read of any event."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from db.records.figures import CitedEvent
from db.records.history import StatusChange
from webhooks.console.explained import LINES_MAX, TEXT_MAX, explained


def told(payload: bytes) -> tuple[str, list[str]]:
    change = StatusChange(
        customer_uid=UUID(int=1),
        status_before=None,
        status_after="active",
        changed_at=datetime(2026, 11, 30, tzinfo=UTC),
        exact=True,
        event_id="evt_1",
        source="event",
    )
    said = explained(change, CitedEvent(event_id="evt_1", type="x", created=None, payload=payload))
    return said.about, list(said.lines)


def body(previous: Any = None, **fields: Any) -> bytes:
    return json.dumps({"data": {"object": fields, "previous_attributes": previous}}).encode()


@pytest.mark.parametrize(
    ("payload", "about", "lines"),
    [
        (
            body(
                {"status": "active", "cancel_at": None},
                object="subscription",
                id="sub_1",
                status="past_due",
                cancel_at=1_790_000_000,
            ),
            "subscription sub_1",
            ["status: active → past_due", "cancel_at: none → 2026-09-21 14:13:20"],
        ),
        (body(object="customer", id="cus_1"), "customer cus_1", []),
        (
            body(object="subscription", id="sub_1", status="trialing"),
            "subscription sub_1",
            ["status: trialing"],
        ),
        (
            body({"cancel_at_period_end": False, "items": {"data": []}}, cancel_at_period_end=True),
            "",
            ["cancel_at_period_end: no → yes"],
        ),
        (body({"x": 1}), "", ["x: 1 → none"]),
        (body("odd", object=["odd"], id=3), "['odd'] 3", []),
        (body({"a": "b" * 500}, a="c"), "", [f"a: {'b' * (TEXT_MAX - 1)}… → c"]),
        (b'{"data": []}', "", []),
        (b"[]", "", []),
        (b"\xff", "", []),
        (b"[" * 100_000, "", []),
        (b"", "", []),
    ],
)
def test_what_an_event_says(payload: bytes, about: str, lines: list[str]) -> None:
    """What it is about, and what changed in it, the status first; anything may stand in it."""
    assert (about, lines) == told(payload)


def test_long_lists_end() -> None:
    """No event fills the page."""
    _, lines = told(body({f"field_{number}": number for number in range(100)}))
    assert len(lines) == LINES_MAX
