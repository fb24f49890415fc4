"""Stripe's published limits, enforced: so many requests in any second, of an account and of each operation."""

from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from sandbox.api.listing import COLLECTIONS

METER_EVENTS = ("POST", "/v1/billing/meter_events")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """Requests in any second: of an account in live mode 100, in a sandbox 25, of one operation 25."""

    account: int = 100
    operation: int = 25
    meter_events: int | None = 1000
    """Meter events of an account have a limit of their own. None: they count as anything else, as in a sandbox and for
    connected accounts.
    """


def operation_of(method: str, path: str) -> str:
    """What Stripe counts a request as: `GET /v1/invoices/{id}` is one operation for all ids, the list another one."""
    words = path.strip("/").split("/")[1:]
    collection = 2 if "/".join(words[:2]) in COLLECTIONS else 1
    shown = [*words[:collection]]
    for place, word in enumerate(words[collection:]):
        shown.append(word if place % 2 else "{id}")
    return f"{method} /v1/{'/'.join(shown)}"


@dataclass(slots=True)
class Gate:
    """Admits requests within the limits, each second wherever it begins, which is stricter than any bucket is."""

    limits: RateLimits
    clock: Callable[[], float] = monotonic
    refused: Counter[str] = field(default_factory=Counter)
    """Requests that were refused, by the reason that Stripe gives."""
    _seen: defaultdict[tuple[str, str], deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def refuses(self, account_id: str, method: str, path: str) -> str | None:
        """The reason for which a request is refused that arrives now; None if it is admitted, and counts."""
        now = self.clock()
        counted: tuple[tuple[str, tuple[str, str], int], ...] = (
            ("global-rate", (account_id, ""), self.limits.account),
            ("endpoint-rate", (account_id, operation_of(method, path)), self.limits.operation),
        )
        if (method, path) == METER_EVENTS and self.limits.meter_events is not None and not account_id:
            counted = (("endpoint-rate", (account_id, path), self.limits.meter_events),)
        for reason, key, most in counted:
            seen = self._seen[key]
            while seen and now - seen[0] >= 1.0:
                seen.popleft()
            if len(seen) >= most:
                self.refused[reason] += 1
                return reason
        for _, key, _ in counted:
            self._seen[key].append(now)
        return None
