"""Bearer tokens: who asks."""

import hmac

from starlette.requests import Request


def has_token(request: Request, token: str) -> bool:
    """Whether the request's Authorization header is `Bearer TOKEN`, compared in constant time."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # A header is bytes, which Starlette reads as Latin-1; the token is text, which the client sent as UTF-8.
    given_bytes = given.strip().encode("latin-1")
    return scheme.lower() == "bearer" and hmac.compare_digest(given_bytes, token.encode())
