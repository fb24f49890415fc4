"""The settings: read once from the environment, checked together, then passed on as a value."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from db.address import EXAMPLE, is_loopback, read_address, secrets_of
from runtime.limits import LIVE_ACCOUNT, NO_LIMITS, OURS, SANDBOX_ACCOUNT, Limits, limits_of

STRIPE_API_BASE = "https://api.stripe.com"
DATABASE_URL_REMEDY = f"give it as {EXAMPLE}"
MIB = 1024 * 1024
RETENTION_DAYS_MIN = 31
SECRETS = (
    "DATABASE_URL",
    "REDIS_URL",
    "STRIPE_API_KEY",
    "STRIPE_WEBHOOK_SECRET",
    "ADMIN_TOKEN",
    "READ_TOKEN",
)
"""The variables that hold secrets: each may be given as a file instead, by NAME_FILE (runtime/env_file.py)."""

_API_KEY = re.compile(r"(?:sk|rk)_(test|live)_\S+", re.ASCII)
_T = TypeVar("_T")


class SettingsError(Exception):
    """The environment cannot be used; each of `problems` names a variable and the remedy, never a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What an operator can set. `repr` leaves out every field that may hold a secret (URLs contain passwords)."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    stripe_api_key: str | None = field(default=None, repr=False)
    """None: webhooks-only mode, records stay provisional."""
    stripe_webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    """Any of them may have signed; the web process refuses to start without one (`for_web`)."""
    stripe_api_base: str = STRIPE_API_BASE
    admin_token: str | None = field(default=None, repr=False)
    """None: the admin routes are off."""
    read_token: str | None = field(default=None, repr=False)
    """Whoever has it may read customers through the API, and nothing else. None: only ADMIN_TOKEN may."""
    metrics_public: bool = False
    """Whether /metrics needs no token."""
    port: int = 8000
    worker_port: int | None = None
    """Where a worker says how it is, and what it has counted; None: nowhere."""
    log_format: str = "json"
    log_level: str = "info"
    stripe_rate_max: float | None = None
    """Requests a second that all workers and web processes together may send to Stripe for one account; None: see
    `api_limits`.
    """
    stripe_operation_rate_max: float | None = None
    """The same for one operation, as the list of one kind or its reads by id; None: as much of it as of all."""
    gap_fill_seconds: float = 300.0
    """How often /v1/events is read for events that were never delivered. With a few seconds, no webhook is needed."""
    usage_seconds: float = 3600.0
    """How often each customer's metered usage is read; 0: only on request."""
    retention_days: float | None = None
    """How long the inbox keeps events that were applied; None: for ever."""
    past_due_has_access: bool = True
    tolerance_seconds: int = 300
    body_bytes_max: int = 2 * MIB
    ring_timeout_ms: int = 100

    @property
    def api_limits(self) -> Limits:
        """How fast all of us together may ask Stripe. A test double has no limits, unless STRIPE_RATE_MAX says so."""
        rate, live_mode = self.stripe_rate_max, bool(self.live_mode)
        if rate is None and self.stripe_api_base != STRIPE_API_BASE:
            return NO_LIMITS
        if rate is None:
            rate = OURS * (LIVE_ACCOUNT if live_mode else SANDBOX_ACCOUNT)
        return limits_of(rate, self.stripe_operation_rate_max, live_mode=live_mode)

    @property
    def live_mode(self) -> bool | None:
        """The mode that the API key serves; None without a key: both are served."""
        if self.stripe_api_key is None:
            return None
        return _mode(self.stripe_api_key) == "live"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that must never be shown: they are masked in the log."""
        return tuple(
            secret
            for secret in (
                self.stripe_api_key,
                # As it is in the header of our requests.
                base64.b64encode(f"{self.stripe_api_key}:".encode()).decode()
                if self.stripe_api_key
                else None,
                *self.stripe_webhook_secrets,
                self.admin_token,
                self.read_token,
                *secrets_of(self.database_url),
                *_passwords(self.redis_url),
            )
            if secret
        )

    def for_web(self) -> Self:
        """These settings, after a check that the web process can verify a webhook with them.

        Raises SettingsError when there is no signing secret: an endpoint that trusts everyone must not start.
        """
        if not self.stripe_webhook_secrets:
            problem = (
                "STRIPE_WEBHOOK_SECRET is not set: copy the endpoint's signing secret (whsec_...) from Stripe; "
                "several are separated by commas"
            )
            raise SettingsError([problem])
        return self

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read and check every variable; an empty value counts as absent.

        Raises SettingsError with all problems at once.
        """
        problems: list[str] = []

        def read(name: str, parse: Callable[[str], _T], default: _T) -> _T:
            text = environ.get(name, "").strip()
            if not text:
                return default
            try:
                return parse(text)
            except ValueError as error:
                problems.append(f"{name} {error}")
                return default

        def required(name: str, parse: Callable[[str], str], remedy: str) -> str:
            if not environ.get(name, "").strip():
                problems.append(f"{name} is not set: {remedy}")
                return ""
            return read(name, parse, "")

        settings = cls(
            database_url=required("DATABASE_URL", _database_url, DATABASE_URL_REMEDY),
            redis_url=required("REDIS_URL", _redis_url, "give it as redis://HOST:6379/0"),
            stripe_api_key=read("STRIPE_API_KEY", _api_key, None),
            stripe_webhook_secrets=read("STRIPE_WEBHOOK_SECRET", _secrets, ()),
            stripe_api_base=read("STRIPE_API_BASE", _api_base, STRIPE_API_BASE),
            admin_token=read("ADMIN_TOKEN", str, None),
            read_token=read("READ_TOKEN", str, None),
            metrics_public=read("METRICS_PUBLIC", _flag, False),
            port=read("PORT", _port, 8000),
            worker_port=read("WORKER_PORT", _port, None),
            log_format=read("LOG_FORMAT", _log_format, "json"),
            log_level=read("LOG_LEVEL", _log_level, "info"),
            stripe_rate_max=read("STRIPE_RATE_MAX", _positive, None),
            stripe_operation_rate_max=read("STRIPE_OPERATION_RATE_MAX", _positive, None),
            gap_fill_seconds=read("GAP_FILL_SECONDS", _positive, None) or 300.0,
            usage_seconds=read("USAGE_SECONDS", _not_negative, 3600.0),
            retention_days=read("RETENTION_DAYS", _retention_days, None),
            past_due_has_access=read("PAST_DUE_HAS_ACCESS", _flag, True),
        )
        if settings.read_token is not None and settings.read_token == settings.admin_token:
            problems.append(
                "READ_TOKEN is ADMIN_TOKEN, so every reader may do everything: give it another value"
            )
        if problems:
            raise SettingsError(problems)
        return settings


def database_url_from_env(environ: Mapping[str, str]) -> str:
    """DATABASE_URL, the one variable that a command needs to read or migrate. Raises SettingsError."""
    text = environ.get("DATABASE_URL", "").strip()
    if not text:
        raise SettingsError([f"DATABASE_URL is not set: {DATABASE_URL_REMEDY}"])
    try:
        return _database_url(text)
    except ValueError as error:
        raise SettingsError([f"DATABASE_URL {error}"]) from None


def redis_url_from_env(environ: Mapping[str, str]) -> str | None:
    """REDIS_URL, for a command that only rings; None if there is none. Raises SettingsError."""
    text = environ.get("REDIS_URL", "").strip()
    try:
        return _redis_url(text) if text else None
    except ValueError as error:
        raise SettingsError([f"REDIS_URL {error}"]) from None


def database_url_doubts(database_url: str) -> list[str]:
    """Warnings for the start: parameters of DATABASE_URL that are left out. Of an URL that has been checked."""
    return read_address(database_url).doubts


def webhook_secret_doubts(settings: Settings) -> list[str]:
    """Warnings for the start: Stripe's secrets start with whsec_, but those of a test double need not."""
    odd = sum(not secret.startswith("whsec_") for secret in settings.stripe_webhook_secrets)
    if not odd:
        return []
    return [f"STRIPE_WEBHOOK_SECRET: {odd} of its secrets do not start with whsec_, as those of Stripe do"]


def _passwords(url: str) -> list[str]:
    parts = urlsplit(url)
    named = [value for name, value in parse_qsl(parts.query) if name in ("password", "sslpassword")]
    return [*filter(None, [parts.password]), *named]


def _mode(api_key: str) -> str:
    match = _API_KEY.fullmatch(api_key)
    if match is None:
        raise ValueError(
            "must be a secret (sk_test_, sk_live_) or restricted (rk_test_, rk_live_) key of Stripe"
        )
    return match[1]


def _api_key(text: str) -> str | None:
    if text.startswith("pk_"):
        raise ValueError(
            "is a publishable key (pk_...), which cannot read: "
            "use a secret (sk_...) or restricted (rk_...) key"
        )
    _mode(text)
    return text


def _secrets(text: str) -> tuple[str, ...]:
    secrets = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if "" in secrets:
        raise ValueError("has an empty entry: remove the extra comma")
    return secrets


def _url_with_scheme(text: str, schemes: tuple[str, ...], example: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port  # Reading it checks it.
    except ValueError:
        # The reason may quote the text, and the text may hold a password.
        raise ValueError(f"is not a URL: give it as {example}, special characters %-encoded") from None
    if parts.scheme not in schemes:
        starts = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ValueError(f"must start with {starts}, as in {example}")
    return text


def _database_url(text: str) -> str:
    read_address(text)
    return text


def _redis_url(text: str) -> str:
    text = _url_with_scheme(text, ("redis", "rediss", "unix"), "redis://HOST:6379/0")
    parts = urlsplit(text)
    if parts.query:
        from runtime.bell import takes_url  # the client of Redis loads longer than most commands take

        if not takes_url(text):
            names = (name for name, _ in parse_qsl(parts.query))
            refused = (
                name for name in names if not takes_url(f"{parts.scheme}://?{_only(parts.query, name)}")
            )
            # With an @ behind it, the question mark may be part of a password.
            shown = None if "@" in parts.query else next(refused, None)
            which = "a parameter" if shown is None else f"the parameter {shown}"
            raise ValueError(
                f"has {which} that the client of Redis does not take with {parts.scheme}://, or not with this value: "
                "leave it out (TLS and its parameters need rediss://), and write special characters %-encoded"
            )
    return text


def _only(query: str, name: str) -> str:
    """The query with this parameter alone."""
    return urlencode([each for each in parse_qsl(query) if each[0] == name])


def _api_base(text: str) -> str:
    text = _url_with_scheme(text, ("https", "http"), STRIPE_API_BASE).rstrip("/")
    parts = urlsplit(text)
    if not parts.hostname:
        raise ValueError(f"names no host: give it as {STRIPE_API_BASE}")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError("must be https: the API key would cross the network in the clear")
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise ValueError("must be a whole number from 1 to 65535")
    return int(text)


def _positive(text: str) -> float | None:
    number = float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) else 0.0
    if number <= 0:
        raise ValueError("must be a number greater than 0")
    return number


def _not_negative(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text):
        raise ValueError("must be a number, 0 or greater")
    return float(text)


def _log_format(text: str) -> str:
    if text not in ("json", "console"):
        raise ValueError("must be json or console")
    return text


def _log_level(text: str) -> str:
    level = text.lower()
    if level not in ("debug", "info", "warning", "error"):
        raise ValueError("must be debug, info, warning or error")
    return level


def _retention_days(text: str) -> float | None:
    if not (re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,6})?", text) and float(text) >= RETENTION_DAYS_MIN):
        raise ValueError(
            f"must be a number of days, {RETENTION_DAYS_MIN} or more: Stripe sends events again for up to 30 days"
        )
    return float(text)


def _flag(text: str) -> bool:
    match text.lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
        case _:
            raise ValueError("must be true or false")
