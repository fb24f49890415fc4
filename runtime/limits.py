"""How fast Stripe may be asked: the limits of an account and of each of its operations, and what an operation is."""

from dataclasses import dataclass
from math import floor, inf

LIVE_ACCOUNT, SANDBOX_ACCOUNT, OPERATION = 100.0, 25.0, 25.0
"""What Stripe publishes, in requests a second of all software of an account."""
METER_EVENTS = 1000.0
"""The same of meter events, which count apart, in live mode and of the key's own account."""
OURS = 0.6
"""The share of these that is ours unless STRIPE_RATE_MAX says otherwise: other software needs the rest."""

WEB_RATE = 3.0
"""Requests a second of an account that workers leave to all web processes: customers are created in bursts ..."""
WEB_ACCOUNT_SHARE, WEB_OPERATION_SHARE = 10, 5
"""... and if limits are high, this fraction of the account's limit, and no more than that one of an operation's."""
WEB_OPERATIONS = frozenset({"GET /v1/customers/{id}", "GET /v1/prices/{id}"})
"""What both ask: of each of these, workers leave as many. All others are asked by one of the two only."""

_AREAS = frozenset({"billing", "checkout", "entitlements", "radar", "test_helpers"})
"""The first words of addresses whose second word is the collection."""
_ACTIONS = frozenset({"create_preview"})
"""Words that stand at the place of an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most requests that all of us together may send in any second, for an account and for one operation."""

    account: float = inf
    operation: float = inf

    @property
    def none(self) -> bool:
        """Whether nothing is limited, as before a test double."""
        return self.account == self.operation == inf


NO_LIMITS = Limits()


def limits_of(rate_max: float, operation_rate_max: float | None = None, *, live_mode: bool) -> Limits:
    """The limits of an account that may be asked `rate_max` times a second.

    Of each operation as much may be asked as of all, in parts of what Stripe publishes, if nothing else is said.
    """
    share = min(rate_max / (LIVE_ACCOUNT if live_mode else SANDBOX_ACCOUNT), 1.0)
    return Limits(account=rate_max, operation=min(operation_rate_max or OPERATION * share, rate_max))


def meter_limits_of(limits: Limits, *, live_mode: bool) -> Limits | None:
    """The limits of meter events: the same part of what Stripe publishes. None: they count with all other requests."""
    if not live_mode or limits.none:
        return None
    rate = METER_EVENTS * min(limits.account / LIVE_ACCOUNT, 1.0)
    return Limits(account=rate, operation=rate)


def left_to_web(limits: Limits) -> float:
    """What workers leave to all web processes while some are there: whole requests a second, half of a low limit."""
    if limits.none:
        return WEB_RATE
    share = min(limits.account / WEB_ACCOUNT_SHARE, limits.operation / WEB_OPERATION_SHARE)
    return float(floor(min(limits.account / 2, limits.operation / 2, max(WEB_RATE, share))))


def web_limits_of(limits: Limits) -> Limits:
    """What all web processes together may send: what is left to them. Of a limit below two requests a second nothing is
    left, and one request a second comes beside it.
    """
    if limits.none:
        return limits
    rate = max(left_to_web(limits), 1.0)
    return Limits(account=rate, operation=rate)


def operation_of(method: str, path: str) -> str:
    """The operation that Stripe counts a request as: its method and address, whatever id that names.

    "GET /v1/invoices/in_1?expand[]=payments" is "GET /v1/invoices/{id}"; the list "GET /v1/invoices" is another one.
    """
    words = path.partition("?")[0].strip("/").split("/")
    first_id = 3 if len(words) > 1 and words[1] in _AREAS else 2
    # After the collection ids and parts take turns: invoices / in_1 / lines / il_1.
    for place in range(first_id, len(words), 2):
        if words[place] not in _ACTIONS:
            words[place] = "{id}"
    return f"{method} /{'/'.join(words)}"
