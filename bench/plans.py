"""What the benchmark and its load generator exchange."""

from typing import Literal

import msgspec

SECRET = "whsec_bench"
API_KEY = "sk_test_bench"
ADMIN_TOKEN = "token_bench"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A load: `count` lines of a file from line `first` on, each one request."""

    port: int
    path: str
    """The file with what is sent; `of` says what its lines are."""
    of: Literal["webhooks", "reads", "asks"] = "webhooks"
    """webhooks: bodies to post. reads: an account and a path of Stripe's API. asks: a path of the customers API."""
    api_version: str = ""
    """Of reads."""
    first: int = 0
    count: int
    connections: int = 64
    rate: float | None = None
    """Requests a second, sent when they are due; None: each connection sends as soon as it has its answer."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a load. Times of `began` and `ended` are those of time.monotonic, which is the machine's."""

    sent: int
    accepted: int
    answers: dict[str, int]
    began: float
    ended: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def per_second(self) -> float:
        return self.accepted / (self.ended - self.began)


class Living(msgspec.Struct, kw_only=True):
    """How far a living account is."""

    events: int = 0
    """What has happened in it."""
    dropped: int = 0
    """Events that are never posted: they have to be found in Stripe's list."""
    posted: int = 0
    """Webhooks that were accepted, the second ones of an event included."""
    attempts: int = 0
    """Posts: more than `posted` are those that were not accepted at once."""
    now: int = 0
    """Its clock, in seconds since 1970."""
    ended: bool = False


def quantile(values: list[float], share: float) -> float:
    """The smallest of the sorted values that at least `share` of them do not exceed; 0 if there are none."""
    if not values:
        return 0.0
    return values[max(0, -(-len(values) * round(share * 1000) // 1000) - 1)]
