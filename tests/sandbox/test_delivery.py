"""Webhooks are signed as Stripe signs, and arrive as the plan says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time

import msgspec
import pytest
import stripe
from starlette.types import Receive, Scope, Send
from stripe.v2.core._event import UnknownEventNotification

from sandbox import STYLES, Event, Plan, Sandbox, arrange, deliver, serve, sign

SECRET = "whsec_first"


class Door:
    """An endpoint that verifies with Stripe's own library, and refuses the first attempts on request."""

    def __init__(self, *, refuses_first: int = 0) -> None:
        self.received: list[str] = []
        self.signatures: list[str] = []
        self._refuses = refuses_first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        signature = dict(scope["headers"])[b"stripe-signature"].decode()
        event = stripe.Webhook.construct_event(body, signature, SECRET)
        status = 200
        if self._refuses:
            self._refuses -= 1
            status = 503
        else:
            self.received.append(event.id)
            self.signatures.append(signature)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def endpoint(door: Door) -> AsyncIterator[str]:
    async with serve(door) as base:
        yield f"{base}/webhooks/stripe"


def some_events() -> list[Event]:
    sandbox = Sandbox(1)
    sandbox.play(["three_renewals", "one_payment"])
    return sandbox.run()


def ids(events: list[Event]) -> list[str]:
    return [event.id for event in events]


async def test_stripes_own_library_accepts_the_signature() -> None:
    events = some_events()
    door = Door()
    async with endpoint(door) as url:
        report = await deliver(events, url, SECRET, concurrency=1)
    assert ids(events) == door.received
    assert (len(events), len(events), 0) == (report.posted, report.accepted, report.refused)
    assert all(event.delivered for event in events)


async def test_rolled_secret_signs_twice() -> None:
    """While a secret is rolled, both secrets sign; a wrong scheme may be in the header too."""
    door = Door()
    async with endpoint(door) as url:
        await deliver(some_events()[:1], url, ["whsec_second", SECRET], with_v0=True)
    [signature] = door.signatures
    assert ["t", "v1", "v1", "v0"] == [part.partition("=")[0] for part in signature.split(",")]


def test_signature_depends_on_body_secret_and_time() -> None:
    now = time()
    good = sign(b'{"object": "event"}', SECRET, now)
    assert good == sign(b'{"object": "event"}', SECRET, now)
    others = [
        sign(b"{}", SECRET, now),
        sign(b'{"object": "event"}', "x", now),
        sign(b'{"object": "event"}', SECRET, now - 1),
    ]
    assert good not in others
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(b'{"object": "event"}', others[0], SECRET)


async def test_refused_posts_are_repeated() -> None:
    events = some_events()[:5]
    door = Door(refuses_first=3)
    async with endpoint(door) as url:
        report = await deliver(events, url, SECRET, concurrency=2)
    assert set(ids(events)) == set(door.received)
    assert (8, 5) == (report.posted, report.accepted)


async def test_posts_are_given_up_after_the_last_attempt() -> None:
    events = some_events()[:1]
    door = Door(refuses_first=9)
    async with endpoint(door) as url:
        report = await deliver(events, url, SECRET, attempts_max=2)
    assert (2, 0, 1) == (report.posted, report.accepted, report.refused)
    assert not events[0].delivered


def test_plans() -> None:
    """A plan shuffles, reverses, repeats, drops and holds back; the same seed gives the same plan."""
    events = some_events()
    assert (events, []) == arrange(events, Plan())
    assert ids(events)[::-1] == ids(arrange(events, Plan(reverse=True))[0])
    shuffled, _ = arrange(events, Plan(shuffle=True, seed=3))
    assert ids(shuffled) == ids(arrange(events, Plan(shuffle=True, seed=3))[0]) != ids(events)
    assert sorted(ids(shuffled)) == sorted(ids(events))
    sent, dropped = arrange(events, Plan(drop_every=2))
    assert (events[0::2], events[1::2]) == (sent, dropped)
    twice, _ = arrange(events, Plan(duplicate_share=1.0))
    assert all(2 == ids(twice).count(event.id) for event in events)
    late, _ = arrange(events, Plan(late_share=0.2, seed=1))
    assert sorted(ids(late)) == sorted(ids(events)) != ids(late)


def test_second_id_for_one_change() -> None:
    """Stripe may create two events for one change: another id, the same object."""
    events = some_events()[:4]
    sent, _ = arrange(events, Plan(reid_share=1.0))
    assert 8 == len(set(ids(sent)))
    assert 4 == len({(event.type, event.object_id, event.serial) for event in sent})
    for event in sent:
        assert event.id.encode() in event.body


async def test_dropped_events_stay_undelivered() -> None:
    events = some_events()
    door = Door()
    async with endpoint(door) as url:
        report = await deliver(events, url, SECRET, plan=Plan(drop_share=0.5, seed=2))
    assert report.dropped
    assert not set(ids(report.dropped)) & set(door.received)
    assert set(ids(report.dropped)) == {event.id for event in events if not event.delivered}


def test_styles() -> None:
    """An endpoint gets snapshot events, thin ones, or both; Stripe's own library knows each thin event, and its twin is
    a snapshot event of the account. Finer ones have none.
    """
    sandbox = Sandbox(1)
    sandbox.play(["three_renewals", "canceled_now"])
    events = sandbox.run()
    sent = {style: arrange(events, Plan(style=style))[0] for style in STYLES}
    assert events == sent["snapshot"]
    assert sorted(ids(sent["both"])) == sorted(ids(sent["snapshot"]) + ids(sent["thin"]))
    client = stripe.StripeClient("sk_test_1")
    twins = []
    for event in sent["thin"]:
        known = client.parse_event_notification(event.body, sign(event.body, SECRET), SECRET)
        assert known.type == event.type
        assert not isinstance(known, UnknownEventNotification), event.type
        twins.append(msgspec.json.decode(event.body)["snapshot_event"])
        assert event.snapshot in events
    assert set(ids(events)) == {twin for twin in twins if twin is not None}
