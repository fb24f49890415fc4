"""How Stripe signs a webhook: HMAC-SHA256 over "timestamp.body", written out here as Stripe documents it.

By hand, and by no library that the endpoint itself uses, so that the two cannot agree on a mistake.
"""

import hashlib
import hmac
import time


def signature(body: bytes, secret: str, *, signed_at: int) -> str:
    """The hexadecimal signature of the body at that moment (Unix seconds)."""
    return hmac.new(secret.encode(), b"%d." % signed_at + body, hashlib.sha256).hexdigest()


def signature_header(body: bytes, *secrets: str, signed_at: int | None = None, scheme: str = "v1") -> str:
    """The Stripe-Signature header, with one signature by each secret; signed now by default."""
    moment = int(time.time()) if signed_at is None else signed_at
    return ",".join(
        [f"t={moment}", *(f"{scheme}={signature(body, secret, signed_at=moment)}" for secret in secrets)]
    )
