"""Who is logged in: a signed cookie, the tokens of forms, and how often a login may be tried."""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

SESSION_COOKIE, NOTICE_COOKIE = "subledger_console", "subledger_notice"
SESSION_SECONDS = 12 * 3600
NOTICE_SECONDS = 60
FAILURES_MAX = 10
"""Wrong tokens from one address before it has to wait ..."""
FAILURES_SECONDS = 300.0
"""... until so long after the first of them."""
ADDRESSES_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who has given ADMIN_TOKEN."""

    id: str
    csrf: str
    """What each form of this session carries: another site cannot know it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What the next page says about what was just done."""

    text: str
    tone: str
    """good or bad."""


class Sessions:
    """Logins by ADMIN_TOKEN. The keys are made from it, so another token ends all sessions, in all web processes."""

    def __init__(self, admin_token: str | None, *, clock: Callable[[], float] = time.time) -> None:
        self._token = admin_token
        self._clock = clock
        self._key = _derived(admin_token or secrets.token_hex(), "console")
        self._failures = Failures(clock)

    @property
    def are_possible(self) -> bool:
        """Whether there is a token to log in with."""
        return self._token is not None

    def may_try(self, address: str) -> bool:
        """Whether this address may try a token now."""
        return self._failures.may_try(address)

    def begin(self, given: str, address: str) -> str | None:
        """The cookie of a new session; None for a wrong token, which counts against the address."""
        if self._token is None or not hmac.compare_digest(given.encode(), self._token.encode()):
            self._failures.count(address)
            return None
        return self._sealed("session", {"id": secrets.token_urlsafe(16)}, SESSION_SECONDS)

    def read(self, cookie: str | None) -> Session | None:
        """The session of this cookie, if we made it and it has not expired."""
        content = self._opened("session", cookie)
        if self._token is None or content is None:
            return None
        return Session(id=content["id"], csrf=_derived(self._key, f"form {content['id']}"))

    def sealed_notice(self, notice: Notice) -> str:
        """A notice as a cookie: nobody else can make one that says something."""
        return self._sealed("notice", {"text": notice.text, "tone": notice.tone}, NOTICE_SECONDS)

    def opened_notice(self, cookie: str | None) -> Notice | None:
        """The notice of this cookie, if we made it."""
        content = self._opened("notice", cookie)
        return None if content is None else Notice(text=content["text"], tone=content["tone"])

    def _serializer(self, purpose: str) -> URLSafeSerializer:
        return URLSafeSerializer(
            self._key,
            salt=purpose,
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    def _sealed(self, purpose: str, content: dict[str, str], seconds: int) -> str:
        until = int(self._clock()) + seconds
        return str(self._serializer(purpose).dumps({**content, "until": until}))

    def _opened(self, purpose: str, cookie: str | None) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = self._serializer(purpose).loads(cookie or "")
        except BadData:
            return None
        return content if content["until"] > self._clock() else None


class Failures:
    """Wrong tokens, by the address that they came from; the addresses seen last."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_network: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """When the first of the last few came, and how many there were."""

    def may_try(self, address: str) -> bool:
        """Whether there were few enough lately."""
        return self._lately(_network(address))[1] < FAILURES_MAX

    def count(self, address: str) -> None:
        """There was another one."""
        network = _network(address)
        first, count = self._lately(network)
        self._by_network[network] = (first, count + 1)
        self._by_network.move_to_end(network)
        if len(self._by_network) > ADDRESSES_MAX:
            self._by_network.popitem(last=False)

    def _lately(self, network: str) -> tuple[float, int]:
        now = self._clock()
        first, count = self._by_network.get(network, (now, 0))
        return (first, count) if now - first < FAILURES_SECONDS else (now, 0)


def is_same_token(one: str, other: str) -> bool:
    """Whether both are the same, compared in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def _derived(secret: str, purpose: str) -> str:
    return hmac.new(secret.encode(), f"subledger {purpose}".encode(), hashlib.sha256).hexdigest()


def _network(address: str) -> str:
    """Whoever has one address of version 6 has all of its /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((int(parsed), 64), strict=False))
