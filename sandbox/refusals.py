"""Answers other than 200, as Stripe words them."""

from collections.abc import Sequence
from urllib.parse import quote


class RefusedError(Exception):
    """An answer other than 200, with Stripe's error body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        error = {"message": message, "type": kind, "code": code, "param": param}
        self.body = {"error": {key: value for key, value in error.items() if value is not None}}
        self.headers = tuple(headers)


def no_such(kind: str, object_id: str, param: str = "id") -> RefusedError:
    noun = kind.replace(".", " ").replace("_", " ")
    return RefusedError(404, f"No such {noun}: '{object_id}'", code="resource_missing", param=param)


def no_such_cursor(param: str, object_id: str) -> RefusedError:
    return RefusedError(400, f"No such object: '{object_id}'", code="resource_missing", param=param)


def missing_parameter(name: str) -> RefusedError:
    return RefusedError(400, f"Missing required param: {name}.", code="parameter_missing", param=name)


def rate_limited(reason: str) -> RefusedError:
    return RefusedError(
        429,
        "Request rate limit exceeded.",
        kind="invalid_request_error",
        code="rate_limit",
        headers=(("stripe-rate-limited-reason", reason), ("stripe-should-retry", "true")),
    )


def unrecognized(method: str, path: str) -> RefusedError:
    return RefusedError(404, f"Unrecognized request URL ({method}: {quote(path)}).")


def lock_timeout() -> RefusedError:
    """The object is locked by another request; unlike a rate limit it comes without a reason header."""
    return RefusedError(
        429,
        "This object cannot be accessed right now.",
        kind="invalid_request_error",
        code="lock_timeout",
    )
