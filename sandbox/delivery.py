"""Posting webhooks as Stripe does: signed per attempt, at least once, retried, in whatever order a plan asks for."""

import asyncio
import hmac
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from random import Random
from time import time

import aiohttp
import msgspec

from sandbox.events import Event
from sandbox.thin import Style, as_sent

_REFUSED_BACKOFF_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)


def sign(body: bytes, secrets: str | Sequence[str], at: float | None = None, *, with_v0: bool = False) -> str:
    """The Stripe-Signature header of a body: one v1 per secret (several while a secret is rolled).

    `at`: seconds since 1970 of the attempt, now when left out. `with_v0`: add the deliberately wrong scheme too.
    """
    moment = int(time() if at is None else at)
    known = [secrets] if isinstance(secrets, str) else secrets
    payload = b"%d." % moment + body
    parts = [f"t={moment}"]
    parts += [f"v1={hmac.new(secret.encode(), payload, sha256).hexdigest()}" for secret in known]
    if with_v0:
        parts.append(f"v0={hmac.new(b'v0', payload, sha256).hexdigest()}")
    return ",".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a delivery deviates from "each event once, in order". Shares are probabilities, drawn from the seed."""

    shuffle: bool = False
    reverse: bool = False
    duplicate_share: float = 0.0
    """Delivered a second time, somewhere later."""
    reid_share: float = 0.0
    """Delivered again as another event: a second id for the same change."""
    drop_share: float = 0.0
    """Never delivered."""
    drop_every: int = 0
    """Never deliver every n-th event."""
    late_share: float = 0.0
    """Held back until all others have been delivered."""
    style: Style = "snapshot"
    """Which events the endpoint gets: snapshot events, thin ones, or both."""
    seed: int = 0


IN_ORDER = Plan()


@dataclass(slots=True, kw_only=True)
class Report:
    """What became of a delivery."""

    posted: int = 0
    """Attempts, retries and duplicates included."""
    accepted: int = 0
    refused: int = 0
    """Given up after the last attempt."""
    dropped: list[Event] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    """How long each accepted attempt took."""
    answers: Counter[str] = field(default_factory=Counter)
    """How often the endpoint gave each status; `none` for no answer."""


def arrange(events: Iterable[Event], plan: Plan) -> tuple[list[Event], list[Event]]:
    """The deliveries that a plan makes from events, in order; and the events that it drops."""
    draws = Random(f"{plan.seed}:delivery")
    known = list(events)
    end = len(known)
    placed: list[tuple[float, Event]] = []
    dropped: list[Event] = []
    for place, event in enumerate(known):
        if draws.random() < plan.drop_share or (plan.drop_every and (place + 1) % plan.drop_every == 0):
            dropped.append(event)
            continue
        held_back = draws.random() < plan.late_share
        placed.append((end + draws.random() if held_back else place, event))
        if draws.random() < plan.duplicate_share:
            placed.append((draws.uniform(place, end), event))
        if draws.random() < plan.reid_share:
            placed.append((draws.uniform(place, end), _twin(event, draws)))
    placed.sort(key=lambda entry: entry[0])
    sent = [sent for _, event in placed for sent in as_sent(event, plan.style)]
    if plan.reverse:
        sent.reverse()
    if plan.shuffle:
        draws.shuffle(sent)
    return sent, dropped


def _twin(event: Event, draws: Random) -> Event:
    body = msgspec.json.decode(event.body)
    body["id"] = f"evt_{draws.getrandbits(128):032x}"
    return replace(event, id=body["id"], body=msgspec.json.encode(body))


async def deliver(
    events: Iterable[Event],
    url: str,
    secrets: str | Sequence[str],
    *,
    plan: Plan = IN_ORDER,
    concurrency: int = 16,
    attempts_max: int = 6,
    timeout_seconds: float = 10.0,
    with_v0: bool = False,
    session: aiohttp.ClientSession | None = None,
) -> Report:
    """Post events to a webhook endpoint; each is retried until a 2xx or until its attempts are used up.

    `concurrency` posts are in flight at a time, so the order of arrival is only roughly that of the plan; with 1 it is
    exactly that. Marks accepted events as delivered.
    """
    deliveries, dropped = arrange(events, plan)
    report = Report(dropped=dropped)
    waiting = iter(deliveries)
    own = session or aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency))

    async def post_in_turn() -> None:
        for event in waiting:
            if await post(event, url, secrets, own, report, attempts_max, timeout_seconds, with_v0=with_v0):
                event.accepted()
                report.accepted += 1
            else:
                report.refused += 1

    try:
        await asyncio.gather(*(post_in_turn() for _ in range(concurrency)))
    finally:
        if session is None:
            await own.close()
    return report


async def post(
    event: Event,
    url: str,
    secrets: str | Sequence[str],
    session: aiohttp.ClientSession,
    report: Report,
    attempts_max: int,
    timeout_seconds: float,
    *,
    with_v0: bool = False,
) -> bool:
    """Post one event until it is accepted; True when it was. Redirects are failures, as with Stripe."""
    loop = asyncio.get_running_loop()
    for attempt in range(attempts_max):
        if attempt:
            backoff = _REFUSED_BACKOFF_SECONDS[min(attempt, len(_REFUSED_BACKOFF_SECONDS)) - 1]
            await asyncio.sleep(backoff)
        headers = {
            "content-type": "application/json; charset=utf-8",
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "stripe-signature": sign(event.body, secrets, with_v0=with_v0),
        }
        report.posted += 1
        began = loop.time()
        try:
            async with session.post(
                url,
                data=event.body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            ) as response:
                await response.read()
                report.answers[str(response.status)] += 1
                if 200 <= response.status < 300:
                    report.seconds.append(loop.time() - began)
                    return True
        except (aiohttp.ClientError, TimeoutError):
            report.answers["none"] += 1
    return False
