"""Problems: the answers to requests that cannot be served, as RFC 9457 has them (application/problem+json)."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemKind:
    """A kind of problem: its name, by which programs tell it from others, its HTTP status, and what it means."""

    name: str
    status: int
    title: str
    meaning: str


INVALID = ProblemKind(
    name="invalid",
    status=422,
    title="A field cannot be used",
    meaning="`field` names what is wrong, and `remedy` says what it must be. The same request never succeeds.",
)
UNREADABLE = ProblemKind(
    name="unreadable",
    status=400,
    title="The body is not JSON",
    meaning="The body must be one JSON object in UTF-8.",
)
NO_TOKEN = ProblemKind(
    name="no_token",
    status=401,
    title="Not authorized",
    meaning="The Authorization header must be `Bearer`, a space, and ADMIN_TOKEN or READ_TOKEN.",
)
NOT_ALLOWED = ProblemKind(
    name="not_allowed",
    status=403,
    title="Not allowed",
    meaning="READ_TOKEN may only read what is known; without any token the API is off.",
)
NOT_FOUND = ProblemKind(
    name="not_found",
    status=404,
    title="Not found",
    meaning="No customer has this name in the account and mode of the request, or this customer has no such entity.",
)
WRONG_METHOD = ProblemKind(
    name="wrong_method",
    status=405,
    title="Not answered with this method",
    meaning="The Allow header lists the methods that are answered here.",
)
CONFLICT = ProblemKind(
    name="conflict",
    status=409,
    title="Contradicts what is known",
    meaning="The request contradicts what is known of this customer or of another one, or itself.",
)
NO_KEY = ProblemKind(
    name="no_api_key",
    status=409,
    title="Stripe cannot be asked",
    meaning="The request needs Stripe, and no STRIPE_API_KEY is set, or it is not of this mode and account.",
)
TOO_LARGE = ProblemKind(
    name="too_large",
    status=413,
    title="The body is too large",
    meaning="A body may have 64 KiB.",
)
STRIPE_REFUSES = ProblemKind(
    name="stripe_refuses",
    status=502,
    title="Stripe refuses",
    meaning="Stripe refused what was asked of it. `detail` has its reason.",
)
AWAY = ProblemKind(
    name="away",
    status=503,
    title="Try again later",
    meaning=(
        "Postgres or Stripe is away or cannot be worked with. `detail` says what was done already; otherwise nothing "
        "was. Send the request again."
    ),
)
NOT_IN_TIME = ProblemKind(
    name="not_in_time",
    status=504,
    title="Not in time",
    meaning="Stripe was not read to the end in time. `customer` is the record so far.",
)
FAULT = ProblemKind(
    name="fault",
    status=500,
    title="An internal error",
    meaning="A mistake of ours. The log has the details.",
)

EVERY_KIND = (
    INVALID,
    UNREADABLE,
    NO_TOKEN,
    NOT_ALLOWED,
    NOT_FOUND,
    WRONG_METHOD,
    CONFLICT,
    NO_KEY,
    TOO_LARGE,
    STRIPE_REFUSES,
    AWAY,
    NOT_IN_TIME,
    FAULT,
)
"""In the order in which the page lists them."""


class ProblemDetails(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A problem, as it is answered."""

    type: str
    """A reference to what it means: `/docs#` and the name of its kind."""
    title: str
    status: int
    detail: str
    field: str | None = None
    """What is wrong: `body.name`, `query.wait`, `path.custom_uid`, `header.Authorization`."""
    remedy: str | None = None
    """What to do."""


class Problem(Exception):
    """A request that cannot be served."""

    def __init__(
        self,
        kind: ProblemKind,
        detail: str,
        *,
        field: str | None = None,
        remedy: str | None = None,
        more: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.field = field
        self.remedy = remedy
        self.more = more or {}
        """Further members of the answer."""
        self.headers = headers or {}


def answer_problem(problem: Problem) -> Response:
    """The answer to a request that cannot be served."""
    details = ProblemDetails(
        type=f"/docs#{problem.kind.name}",
        title=problem.kind.title,
        status=problem.kind.status,
        detail=problem.detail,
        field=problem.field,
        remedy=problem.remedy,
    )
    return Response(
        msgspec.json.encode({**msgspec.to_builtins(details), **problem.more}),
        status_code=problem.kind.status,
        media_type=MEDIA_TYPE,
        headers=dict(problem.headers),
    )
