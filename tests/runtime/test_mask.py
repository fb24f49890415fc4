"""The mask: no secret of a deployment in a value, and nothing else taken away."""

import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.mask import LONG_LENGTH_MIN, MASK, Mask
from runtime.settings import Settings

# Assembled here, so that no scanner takes them for leaked keys.
API_KEY = "sk_" + "live_51Habcdefgh"
SIGNING_SECRET = "whsec_" + "c2VjcmV0LXNlY3JldA=="
LONG = "p@ss/wörd 'x' \"y\" \\z%"


@pytest.mark.parametrize(
    ("secret", "text", "masked"),
    [
        # Long secrets, in every way in which they are written.
        ("adm1n-token", "Bearer adm1n-token", "Bearer ****"),
        ("adm1n-token", "xadm1n-tokenx", "x****x"),
        ("adm1n-token", "adm1n-toke", "adm1n-toke"),
        ("a+b/c=d&e", "key=a%2Bb%2Fc%3Dd%26e", "key=****"),
        ("a+b/c=d&e", "key=a%2bb/c=d%26e", "key=****"),
        ("p%40ssw%2Frd", "postgresql://app:p%40ssw%2Frd@h/d", "postgresql://app:****@h/d"),
        ("p%40ssw%2Frd", "password p@ssw/rd refused", "password **** refused"),
        (LONG, f"it is {LONG}.", "it is ****."),
        (LONG, repr(ValueError(LONG)), "ValueError('****')"),
        (LONG, json.dumps({"key": LONG}), '{"key": "****"}'),
        (LONG, quote(LONG, safe=""), "****"),
        (LONG, quote_plus(LONG), "****"),
        (LONG, str(LONG.encode()), "b'****'"),
        (LONG, json.dumps(json.dumps(LONG)), '"\\"****\\""'),
        # Short ones, only where they stand alone.
        ("event", "event", "****"),
        ("event", "password event, user event.", "password ****, user ****."),
        ("event", "('event', 'x')", "('****', 'x')"),
        ("event", "x=event&y", "x=****&y"),
        ("event", "evt_1 of events, event_id, prevent", "evt_1 of events, event_id, prevent"),
        ("live", "live-mode, customer.live, live.example.com", "live-mode, customer.live, live.example.com"),
        ("a", "a customer, an event", "**** customer, an event"),
        ("é", "é, café", "****, café"),
        # Shapes that are secrets wherever they come from.
        ("", f"bad key {API_KEY}!", "bad key sk_live_****!"),
        ("", f"key_{API_KEY}", "key_sk_live_****"),
        ("", SIGNING_SECRET, "whsec_****"),
        ("", "redis://:pa55word@h:6379/0", "redis://:****@h:6379/0"),
        (
            "",
            "postgresql:///d?host=h&password=pa55word&user=u",
            "postgresql:///d?host=h&password=****&user=u",
        ),
        ("", "brisk_test_flight, sk_test_, whsec_", "brisk_test_flight, sk_test_, whsec_"),
    ],
)
def test_text(secret: str, text: str, masked: str) -> None:
    """The secret goes in every way of writing it; words that merely contain a short one stay."""
    assert masked == Mask([secret]).text(text)


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        ({"event": "event", "events": ["events", "event"]}, {"event": MASK, "events": ["events", MASK]}),
        ({"a": {"b": ({"c": "the event"},)}}, {"a": {"b": [{"c": f"the {MASK}"}]}}),
        ({1: "event", None: 2}, {"1": MASK, "None": 2}),
        (ValueError("event"), MASK),
        (b"event", f"b'{MASK}'"),
        ([None, True, 5, 2.5], [None, True, 5, 2.5]),
        (20261130, MASK),
        ({"20261130"}, [MASK]),
    ],
)
def test_values(value: Any, masked: Any) -> None:
    """In nested values as well; keys stay, and so do numbers, unless one is the secret itself."""
    assert masked == Mask(["event", "20261130"]).value(value)


def test_value_that_contains_itself() -> None:
    """It ends, and shows no secret."""
    circle: list[Any] = ["adm1n-token"]
    circle.append(circle)
    assert "adm1n" not in json.dumps(Mask(["adm1n-token"]).value(circle))


def test_one_secret_within_another() -> None:
    """Nothing of the longer one is left."""
    assert f"{MASK} {MASK}" == Mask(["secret-1", "secret-1-and-more"]).text("secret-1-and-more secret-1")


def test_secrets_of_the_settings() -> None:
    """Keys, signing secrets, the token and the passwords, also where a URL has them among its parameters."""
    settings = Settings.from_env(
        {
            "DATABASE_URL": "postgresql://app:p%40ss-0001@h/d?sslpassword=ssl%2Bpass-2&application_name=web",
            "REDIS_URL": "redis://h/0?password=redis-pass-3",
            "STRIPE_API_KEY": API_KEY,
            "STRIPE_WEBHOOK_SECRET": "signing-4-of-today,signing-5-of-old",
            "ADMIN_TOKEN": "token-6-of-all",
        }
    )
    mask = Mask(settings.secrets)
    for secret in (
        *("p@ss-0001", "ssl+pass-2", "redis-pass-3", API_KEY),
        *("signing-4-of-today", "signing-5-of-old", "token-6-of-all"),
    ):
        assert secret not in mask.text(f"it is {secret}"), secret
    assert "web" == mask.text("web")


# Without stars, which the mask itself writes, and without what UTF-8 cannot write.
characters = st.characters(exclude_categories=["Cs"], exclude_characters="*")
texts = st.text(characters, max_size=30)
long_secrets = st.text(characters, min_size=LONG_LENGTH_MIN, max_size=20)


@given(secret=long_secrets, before=texts, after=texts, more=st.lists(texts, max_size=2))
def test_no_long_secret_is_left(secret: str, before: str, after: str, more: list[str]) -> None:
    """Wherever a secret of eight characters or more stands, it is gone, whatever else is masked."""
    text = f"{before}{secret}{after}"
    for written in (text, repr(text), json.dumps(text), quote(text, safe=""), str(text.encode())):
        masked = Mask([secret, *more]).text(written)
        for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], quote(secret, safe="")):
            assert form not in masked
