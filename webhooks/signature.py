"""The signature of a webhook: it proves that Stripe sent these bytes."""

from stripe import SignatureVerificationError, WebhookSignature


class BadSignature(Exception):
    """The webhook cannot be trusted; the message says why and what to do, and holds no secret."""


def require_header(header: str | None) -> str:
    """The Stripe-Signature header, without which nothing needs to be read. Raises BadSignature."""
    if not header:
        raise BadSignature("the Stripe-Signature header is missing: only Stripe posts here")
    return header


def verify_signature(
    body: bytes, header: str | None, *, secrets: tuple[str, ...], now: float, tolerance_seconds: int
) -> None:
    """Return when any v1 signature in the header matches any of the secrets and its timestamp is close to `now`.

    Stripe's own library compares the signatures, in constant time. Unlike the library, we refuse timestamps from the
    future too. `now` is Unix time in seconds. Raises BadSignature.
    """
    header = require_header(header)
    timestamp = _timestamp(header)
    age_seconds = now - timestamp
    if age_seconds > tolerance_seconds:
        raise BadSignature(
            f"the signature is {age_seconds:.0f} s old, more than {tolerance_seconds} s: "
            "check this machine's clock; Stripe signs each attempt again"
        )
    if -age_seconds > tolerance_seconds:
        raise BadSignature(
            f"the signature is {-age_seconds:.0f} s in the future, more than {tolerance_seconds} s: "
            "check this machine's clock"
        )
    if not header.isascii():
        raise BadSignature("the Stripe-Signature header is not ASCII, as Stripe's always is")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise BadSignature("the body is not UTF-8, as Stripe's always is") from None
    for secret in secrets:
        try:
            WebhookSignature.verify_header(text, header, secret)
        except SignatureVerificationError:
            continue
        return
    raise BadSignature(
        "no v1 signature in the header matches any configured secret: "
        "put this endpoint's signing secret into STRIPE_WEBHOOK_SECRET, and pass the body on unchanged"
    )


def _timestamp(header: str) -> int:
    # Exactly one, in exactly this form. With two, an old webhook could be replayed: one timestamp would pass the check
    # of the age, and the other would match the signature.
    found = [value for name, _, value in (part.partition("=") for part in header.split(",")) if name == "t"]
    if len(found) == 1 and found[0].isascii() and found[0].isdigit() and len(found[0]) <= 15:
        return int(found[0])
    raise BadSignature("the Stripe-Signature header has no usable timestamp (t=...), or more than one")
