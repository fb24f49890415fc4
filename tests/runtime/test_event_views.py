"""What is shown of one event agrees with what the worker does with it."""

from datetime import UTC, datetime

import pytest

from db.sync.inbox import ClaimedEvent
from runtime.event_views import objects_concerned
from sandbox import STORIES, Sandbox, as_sent
from worker.live.event import read_event


def claimed(event_type: str, payload: bytes) -> ClaimedEvent:
    return ClaimedEvent(
        account_id="",
        live_mode=False,
        event_id="evt_1",
        seq=1,
        type=event_type,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        payload=payload,
        attempts=1,
    )


def test_marks_what_the_worker_marks() -> None:
    """Of snapshot events and thin ones: the same objects in the same order, as applying the event marks them."""
    sandbox = Sandbox(seed=5)
    sandbox.play(sorted(STORIES)[::15])
    seen = 0
    for event in sandbox.run():
        for sent in as_sent(event, "both"):
            known = read_event(claimed(sent.type, sent.body), served_mode=None, confirms=True).concerns
            assert known == objects_concerned(sent.type, sent.body), sent.body
            seen += bool(known)
    assert seen > 50


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"data": {"object": 7}}',
        b'{"object": "event", "type": "ping"}',
        b'{"object": "v2.core.event", "related_object": null}',
        b'{"related_object": {"type": "charge", "id": 7}}',
        b'{"data": {"object": {"object": "charge", "id": "ch_\\ud800"}}}',
        b"[" * 100_000,
    ],
)
def test_nothing_is_too_odd(payload: bytes) -> None:
    """Any bytes give the objects that can be recognised, as in the worker, and never an error."""
    known = read_event(claimed("charge.updated", payload), served_mode=None, confirms=True).concerns
    assert known == objects_concerned("charge.updated", payload)
