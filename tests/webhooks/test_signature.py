"""Signatures are accepted as by Stripe's own library, except those from the future."""

import json
import time

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from tests.signing import signature, signature_header
from tests.webhooks.web_harness import FOREIGN_SECRET, OLD_SECRET, SECRET
from webhooks.signature import BadSignature, verify_signature

NOW = 1_790_000_000
BODY = b'{"id": "evt_1"}'


def verify(
    header: str | None,
    *,
    body: bytes = BODY,
    secrets: tuple[str, ...] = (OLD_SECRET, SECRET),
    now: float = NOW,
) -> None:
    verify_signature(body, header, secrets=secrets, now=now, tolerance_seconds=300)


def believed(header: str, *, body: bytes = BODY, secrets: tuple[str, ...], now: float) -> bool:
    try:
        verify(header, body=body, secrets=secrets, now=now)
    except BadSignature:
        return False
    return True


@pytest.mark.parametrize("secret", [OLD_SECRET, SECRET])
def test_any_of_the_secrets_may_have_signed(secret: str) -> None:
    """While a secret is rolled, Stripe signs with the old or the new one."""
    verify(signature_header(BODY, secret, signed_at=NOW))


def test_any_of_the_signatures_may_fit() -> None:
    """While a secret is rolled, Stripe sends one signature for each."""
    verify(signature_header(BODY, FOREIGN_SECRET, SECRET, signed_at=NOW))


def test_signatures_of_other_schemes_are_passed_over() -> None:
    """Stripe adds v0 to test events and may add schemes to come; only v1 counts, at any position."""
    good = signature(BODY, SECRET, signed_at=NOW)
    verify(f"v0=1234,v2={good},v1={good},t={NOW},x=y,flag")


@pytest.mark.parametrize("age_seconds", [-300, -299, 0, 299, 300])
def test_within_the_tolerance(age_seconds: int) -> None:
    """Five minutes either way, as Stripe's libraries allow."""
    verify(signature_header(BODY, SECRET, signed_at=NOW - age_seconds))


@pytest.mark.parametrize(
    ("age_seconds", "said"),
    [(301, "301 s old"), (300.5, "s old"), (-301, "301 s in the future"), (-300.5, "in the future")],
)
def test_outside_the_tolerance(age_seconds: float, said: str) -> None:
    """An old webhook may be a replay; one from the future was signed by no clock of Stripe's, or ours is wrong."""
    with pytest.raises(BadSignature, match=said):
        verify(signature_header(BODY, SECRET, signed_at=NOW), now=NOW + age_seconds)


GOOD = signature(BODY, SECRET, signed_at=NOW)
OLD = NOW - 10_000
GOOD_THEN = signature(BODY, SECRET, signed_at=OLD)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        pytest.param(None, "missing", id="none"),
        pytest.param("", "missing", id="empty"),
        pytest.param("garbage", "timestamp", id="garbage"),
        pytest.param("=,=,,==", "timestamp", id="punctuation"),
        pytest.param(f"v1={GOOD}", "timestamp", id="no timestamp"),
        pytest.param(f"t=,v1={GOOD}", "timestamp", id="empty timestamp"),
        pytest.param(f"t=soon,v1={GOOD}", "timestamp", id="timestamp no number"),
        pytest.param(f"t=-{NOW},v1={GOOD}", "timestamp", id="negative timestamp"),
        pytest.param(f"t={NOW}.0,v1={GOOD}", "timestamp", id="fractional timestamp"),
        pytest.param(f"t={'9' * 5000},v1={GOOD}", "timestamp", id="endless timestamp"),
        pytest.param(f"t={'9' * 15},v1={GOOD}", "future", id="far future"),
        pytest.param(f"t={NOW}", "no v1 signature", id="no signature"),
        pytest.param(f"t={NOW},v1=", "no v1 signature", id="empty signature"),
        pytest.param(f"t={NOW},v0={GOOD}", "no v1 signature", id="only v0"),
        pytest.param(f"t={NOW},v2={GOOD}", "no v1 signature", id="only v2"),
        pytest.param(f"t={NOW},V1={GOOD}", "no v1 signature", id="other case"),
        pytest.param(f"t={NOW},v1={GOOD[:-1]}", "no v1 signature", id="cut"),
        pytest.param(f"t={NOW},v1={GOOD}0", "no v1 signature", id="too long"),
        pytest.param(f"t={NOW},v1={GOOD_THEN}", "no v1 signature", id="of another moment"),
        pytest.param(f"t={NOW},v1={'é' * 64}", "not ASCII", id="not ASCII"),
    ],
)
def test_other_headers_are_refused(header: str | None, said: str) -> None:
    """Whatever the header is, the answer says what was wrong with it."""
    with pytest.raises(BadSignature, match=said):
        verify(header)


@pytest.mark.parametrize(
    "header",
    [
        f"t={NOW},t={OLD},v1={GOOD_THEN}",
        f"t={OLD},t={NOW},v1={GOOD_THEN}",
        f"t ={NOW},t={OLD},v1={GOOD_THEN}",
        f"x=y, t={NOW},t={OLD},v1={GOOD_THEN}",
    ],
)
def test_replay_with_a_second_timestamp(header: str) -> None:
    """An old webhook stays old, also when somebody adds a fresh timestamp to the one that was signed."""
    with pytest.raises(BadSignature):
        verify(header)


def test_foreign_secret() -> None:
    """The most common mistake, a secret of another endpoint, is answered with what to do."""
    with pytest.raises(BadSignature, match="STRIPE_WEBHOOK_SECRET"):
        verify(signature_header(BODY, FOREIGN_SECRET, signed_at=NOW))


def test_body_that_was_parsed_and_written_again() -> None:
    """The same JSON in other bytes is not what Stripe signed."""
    body = b'{"id":  "evt_1"}'
    with pytest.raises(BadSignature, match="pass the body on unchanged"):
        verify(signature_header(body, SECRET, signed_at=NOW), body=json.dumps(json.loads(body)).encode())


def test_body_that_is_no_text() -> None:
    """Stripe's bodies are UTF-8; others are refused even when the signature fits."""
    body = b'{"id": "\xff"}'
    with pytest.raises(BadSignature, match="not UTF-8"):
        verify(signature_header(body, SECRET, signed_at=NOW), body=body)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
secret_texts = texts.filter(lambda text: bool(text.strip()))
envelopes = st.fixed_dictionaries(
    {"object": st.just("event"), "id": texts},
    optional={"type": texts, "data": st.dictionaries(texts, texts | st.integers() | st.none(), max_size=3)},
)


@given(
    envelope=envelopes,
    ascii_only=st.booleans(),
    others=st.lists(secret_texts, max_size=2),
    secret=secret_texts,
    age_seconds=st.integers(-250, 250),
)
def test_believed_as_by_stripe(
    envelope: dict[str, object], ascii_only: bool, others: list[str], secret: str, age_seconds: int
) -> None:
    """What Stripe's library makes an event of is believed, with the right secret among any others."""
    body = json.dumps(envelope, ensure_ascii=ascii_only).encode()
    header = signature_header(body, secret, signed_at=int(time.time()) - age_seconds)
    assert envelope["id"] == stripe.Webhook.construct_event(body, header, secret)["id"]
    assert believed(header, body=body, secrets=(*others, secret), now=time.time())


@given(
    parts=st.lists(
        st.sampled_from(
            [
                *("t=NOW", " t=NOW", "t =NOW", "t=NOW ", "t=OLD", " t=OLD", "t= OLD", "t", "t=", "t=+NOW"),
                *("v1=FRESH", "v1=STALE", " v1=FRESH", "v1=STALE=", "v1=00", "v1=é", "v0=FRESH", "", "="),
            ]
        ),
        max_size=6,
    )
)
def test_never_believed_where_stripe_would_not(parts: list[str]) -> None:
    """However a header is put together, Stripe's library accepts all that we accept."""
    now = int(time.time())
    words = {
        "NOW": str(now),
        "OLD": str(now - 10_000),
        "FRESH": signature(BODY, SECRET, signed_at=now),
        "STALE": signature(BODY, SECRET, signed_at=now - 10_000),
    }
    header = ",".join(parts)
    for word, value in words.items():
        header = header.replace(word, value)
    if believed(header, secrets=(SECRET,), now=now):
        assert stripe.WebhookSignature.verify_header(BODY, header, SECRET, tolerance=300)
