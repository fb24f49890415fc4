"""The settings: each variable, read as the processes read it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cli.checks.finding import Finding, failure, ok, warning
from runtime.settings import (
    STRIPE_API_BASE,
    Settings,
    SettingsError,
    database_url_doubts,
    webhook_secret_doubts,
)

TOKEN_CHARACTERS_MIN = 16
_PLACEHOLDERS = {"DATABASE_URL": "postgresql://nobody/none", "REDIS_URL": "redis://nobody/"}


@dataclass(frozen=True, kw_only=True)
class Read:
    """The settings as far as they can be used, and which variables cannot."""

    settings: Settings
    findings: list[Finding]
    unusable: frozenset[str]


def read_settings(environ: Mapping[str, str]) -> Read:
    """Read every variable; one that cannot be used is a failure, and counts as absent for what is looked at next."""
    findings = []
    usable = dict(environ)
    unusable = set()
    try:
        Settings.from_env(usable)
    except SettingsError as error:
        for problem in error.problems:
            name, _, what = problem.partition(" ")
            said, _, remedy = what.partition(": ")
            findings.append(failure(f"setting {name}", said, remedy or f"{name} {what}"))
            unusable.add(name)
            usable.pop(name, None)
    settings = Settings.from_env(
        usable | {name: _PLACEHOLDERS[name] for name in unusable & _PLACEHOLDERS.keys()}
    )
    findings += _of(settings, unusable)
    return Read(settings=settings, findings=findings, unusable=frozenset(unusable))


def _of(settings: Settings, unusable: set[str]) -> Iterator[Finding]:
    if "DATABASE_URL" not in unusable:
        doubts = database_url_doubts(settings.database_url)
        if doubts:
            for doubt in doubts:
                yield warning("setting DATABASE_URL", doubt, "remove these parameters from DATABASE_URL")
        else:
            yield ok("setting DATABASE_URL", "it can be read")
    if "REDIS_URL" not in unusable:
        yield ok("setting REDIS_URL", "it can be read")
    if "STRIPE_WEBHOOK_SECRET" not in unusable:
        yield from _of_secrets(settings)
    if settings.stripe_api_key is not None:
        mode = "live" if settings.live_mode else "test"
        yield ok("setting STRIPE_API_KEY", f"a key of {mode} mode")
        if settings.stripe_api_key.startswith("sk_"):
            yield warning(
                "setting STRIPE_API_KEY",
                "it is a secret key, which may do everything",
                "create a restricted key that may only read (docs/attach.md, step 3)",
            )
    elif "STRIPE_API_KEY" not in unusable:
        yield warning(
            "setting STRIPE_API_KEY",
            "it is not set: records follow the webhooks alone, and none is ever exact",
            "set it to a restricted key that may read (docs/attach.md, step 3)",
        )
    if settings.stripe_api_base != STRIPE_API_BASE:
        yield warning(
            "setting STRIPE_API_BASE",
            "it names a test double in place of Stripe",
            "remove it, unless this is a test",
        )
    if settings.admin_token is None:
        yield ok("setting ADMIN_TOKEN", "it is not set: the admin routes are off")
    elif len(settings.admin_token) < TOKEN_CHARACTERS_MIN:
        yield warning(
            "setting ADMIN_TOKEN",
            f"it has fewer than {TOKEN_CHARACTERS_MIN} characters, and may be guessed",
            "set a random one, as `openssl rand -hex 32` makes it",
        )
    else:
        yield ok("setting ADMIN_TOKEN", "it is long enough")


def _of_secrets(settings: Settings) -> Iterator[Finding]:
    count = len(settings.stripe_webhook_secrets)
    if not count:
        yield failure(
            "setting STRIPE_WEBHOOK_SECRET",
            "it is not set, so web refuses to start",
            "copy the endpoint's signing secret (whsec_...) from Stripe; several are separated by commas",
        )
    for doubt in webhook_secret_doubts(settings):
        yield warning(
            "setting STRIPE_WEBHOOK_SECRET",
            doubt.partition(": ")[2],
            "copy it from the endpoint's page in Stripe's dashboard, unless this is a test",
        )
    if count:
        yield ok("setting STRIPE_WEBHOOK_SECRET", f"{count} signing secret{'' if count == 1 else 's'}")
