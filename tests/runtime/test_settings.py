"""Settings: every problem at once, each with its remedy, and no secret in any of them."""

import pytest

from runtime.settings import Settings, SettingsError, webhook_secret_doubts

LEAST = {
    "DATABASE_URL": "postgresql://app:pa55word@db.example.com/billing",
    "REDIS_URL": "redis://localhost:6379/0",
}
LIVE_KEY = "rk_" + "live_abc"


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(LEAST | environ)
    return caught.value.problems


def test_least_environment_gives_the_defaults() -> None:
    """Two URLs suffice for a worker without Stripe's API; everything else has a default."""
    settings = Settings.from_env(LEAST)
    assert (None, None, (), "https://api.stripe.com", None, 8000, "json", True) == (
        settings.stripe_api_key,
        settings.live_mode,
        settings.stripe_webhook_secrets,
        settings.stripe_api_base,
        settings.admin_token,
        settings.port,
        settings.log_format,
        settings.past_due_has_access,
    )


def test_everything_said_is_taken() -> None:
    """Each variable reaches its field."""
    settings = Settings.from_env(
        LEAST
        | {
            "STRIPE_API_KEY": LIVE_KEY,
            "STRIPE_WEBHOOK_SECRET": "whsec_new, whsec_old",
            "STRIPE_API_BASE": "http://127.0.0.1:12111/",
            "ADMIN_TOKEN": "adm1n",
            "READ_TOKEN": "r3ader",
            "PORT": "9000",
            "LOG_FORMAT": "console",
            "LOG_LEVEL": "WARNING",
            "RETENTION_DAYS": "400",
            "PAST_DUE_HAS_ACCESS": "no",
        }
    )
    assert settings.live_mode is True
    assert ("whsec_new", "whsec_old") == settings.stripe_webhook_secrets
    assert "http://127.0.0.1:12111" == settings.stripe_api_base
    assert ("warning", 400) == (settings.log_level, settings.retention_days)
    assert ("adm1n", "r3ader", 9000, "console", False) == (
        settings.admin_token,
        settings.read_token,
        settings.port,
        settings.log_format,
        settings.past_due_has_access,
    )


def test_empty_value_counts_as_absent() -> None:
    """A variable that a deployment sets to nothing is one that it does not set."""
    empty = dict.fromkeys(
        ["STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET", "STRIPE_API_BASE", "ADMIN_TOKEN", "PORT", "LOG_FORMAT"],
        " ",
    )
    assert Settings.from_env(LEAST) == Settings.from_env(LEAST | empty)


def test_readers_are_no_administrators() -> None:
    """I9: one token for both would let every reader do everything."""
    with pytest.raises(SettingsError, match="READ_TOKEN is ADMIN_TOKEN"):
        Settings.from_env(LEAST | {"ADMIN_TOKEN": "one", "READ_TOKEN": "one"})


def test_all_problems_are_told_at_once() -> None:
    """All problems are reported at once, not one per start."""
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"DATABASE_URL": "mysql://db/x", "PORT": "eighty", "STRIPE_API_KEY": "pk_test_1"})
    names = [problem.split()[0] for problem in caught.value.problems]
    assert ["DATABASE_URL", "REDIS_URL", "STRIPE_API_KEY", "PORT"] == names


@pytest.mark.parametrize(
    ("variable", "value", "remedy"),
    [
        ("DATABASE_URL", "", "is not set: give it as postgresql://"),
        ("DATABASE_URL", "db.example.com/x", "must start with postgresql://"),
        ("DATABASE_URL", "postgresql://app:pa55word#1@db:54/x", "%-encoded"),
        ("DATABASE_URL", "postgresql://app:pa55word@1@db/x", "%-encoded"),
        (
            "DATABASE_URL",
            "postgresql://app:pa55word@db:99999/x",
            "a port that is not a number from 1 to 65535",
        ),
        ("DATABASE_URL", "postgresql://app:pa55word@db", "names no database"),
        ("REDIS_URL", "http://localhost", "must start with redis://"),
        ("REDIS_URL", "redis://:pa55word@localhost/0?family=0", "the parameter family that"),
        ("REDIS_URL", "redis://:pa55word@localhost/0?db=0&keepalive=1", "the parameter keepalive that"),
        ("REDIS_URL", "redis://localhost?password=pa55word&ssl_cert_reqs=none", "need rediss://"),
        (
            "REDIS_URL",
            "rediss://:pa55word@localhost?ssl_cert_reqs=perhaps",
            "the parameter ssl_cert_reqs that",
        ),
        ("REDIS_URL", "redis://localhost?db=pa55word", "the parameter db that"),
        ("REDIS_URL", "redis://user:6379?pa55word=1@localhost", "has a parameter that"),
        ("STRIPE_API_KEY", "pk_live_1", "publishable"),
        ("STRIPE_API_KEY", "whsec_1", "sk_test_"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_a,,whsec_b", "empty entry"),
        ("STRIPE_API_BASE", "http://stripe.example.com", "https"),
        ("STRIPE_API_BASE", "https:///v1", "no host"),
        ("USAGE_SECONDS", "-1", "0 or greater"),
        ("USAGE_SECONDS", "hourly", "0 or greater"),
        ("PORT", "0", "65535"),
        ("PORT", "65536", "65535"),
        ("PORT", "8_000", "65535"),
        ("LOG_FORMAT", "xml", "json or console"),
        ("LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("METRICS_PUBLIC", "perhaps", "true or false"),
        ("WORKER_PORT", "0", "65535"),
        ("RETENTION_DAYS", "12", "31 or more"),
        ("PAST_DUE_HAS_ACCESS", "maybe", "true or false"),
    ],
)
def test_problem_names_variable_and_remedy_never_the_value(variable: str, value: str, remedy: str) -> None:
    """The message can be shown to anyone: it says what to do, and does not quote what was given."""
    (problem,) = problems(**{variable: value})
    assert problem.startswith(variable)
    assert remedy in problem
    assert not value or value not in problem
    assert "pa55word" not in problem


def test_parameters_that_the_client_of_redis_knows_are_taken() -> None:
    """Nothing that works is refused at the start."""
    for url in ("redis://localhost?db=1&health_check_interval=5", "rediss://localhost/0?ssl_cert_reqs=none"):
        assert url == Settings.from_env(LEAST | {"REDIS_URL": url}).redis_url


def test_web_refuses_to_start_without_a_signing_secret() -> None:
    """An endpoint that cannot verify must not accept."""
    with pytest.raises(SettingsError, match="STRIPE_WEBHOOK_SECRET is not set"):
        Settings.from_env(LEAST).for_web()


def test_odd_signing_secret_is_doubted_but_taken() -> None:
    """Any string works as a secret, since test doubles have their own."""
    settings = Settings.from_env(LEAST | {"STRIPE_WEBHOOK_SECRET": "whsec_a,s3cret"}).for_web()
    (doubt,) = webhook_secret_doubts(settings)
    assert "1 of its secrets" in doubt
    assert "s3cret" not in doubt


def test_repr_shows_no_secret() -> None:
    """Settings end up in tracebacks and debug lines."""
    settings = Settings.from_env(
        LEAST
        | {
            "STRIPE_API_KEY": LIVE_KEY,
            "STRIPE_WEBHOOK_SECRET": "whsec_a",
            "ADMIN_TOKEN": "adm1n",
            "READ_TOKEN": "r3ader",
        }
    )
    for secret in ("pa55word", LIVE_KEY, "whsec_a", "adm1n", "r3ader"):
        assert secret not in repr(settings)
        assert secret in " ".join(settings.secrets)
