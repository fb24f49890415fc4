"""An operation of the API: what it takes, what it answers, and the function that does it.

Everything that /openapi.json and /docs say of an operation is said here, and checked against requests here.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta
from starlette.requests import Request

from db.connection import Connection
from db.keys import Scope
from db.sync.accounts import named_account
from runtime.bell import Bell
from runtime.settings import Settings
from webhooks.api.problems import INVALID, NOT_ALLOWED, Problem, ProblemKind
from webhooks.api.seen import SeenCustomers
from webhooks.api.stripe import Customers
from webhooks.database import Database
from webhooks.ids import id_in_path
from webhooks.tokens import has_token

END = r"\Z"
"""The end of a text, in patterns: before `$` Python admits a newline. The document shows it as `$`."""

Method = Literal["GET", "PUT", "POST", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What operations work with."""

    settings: Settings
    database: Database
    hot: Database
    """For what is asked a thousand times a second: check, track and plain records. It keeps plans."""
    readers: Database
    """For operations that only read: they wait for none of the others' locks."""
    bell: Bell
    stripe: Customers
    seen: SeenCustomers


class Where(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The account and mode that a request is about. What an operation takes in its query extends it."""

    account: Annotated[
        str,
        Meta(
            max_length=255,
            pattern=r"^(acct_[A-Za-z0-9_]+)?" + END,
            description="A connected account, `acct_...`. Left out: the account that the API key belongs to.",
        ),
    ] = ""
    mode: Annotated[
        Literal["live", "test"] | None,
        Meta(description="Left out: the mode of the API key. Without an API key it must be given."),
    ] = None


class NoBody(msgspec.Struct):
    """An operation that takes no body."""


Q = TypeVar("Q", bound=Where)
B = TypeVar("B", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Q, B]):
    """One request, read and checked."""

    context: Context
    request: Request
    query: Q
    body: B

    def name(self, parameter: str) -> str:
        """A name in the path. Raises Refusal for one that can be nobody's."""
        return id_in_path(self.request, parameter)

    def require_admin(self, field: str) -> None:
        """Raise Problem if the request has READ_TOKEN and asks, in this field, for more than to read."""
        token = self.context.settings.admin_token
        if token is None or not has_token(self.request, token):
            raise Problem(
                NOT_ALLOWED,
                "READ_TOKEN may read what is known, and not have Stripe read",
                field=field,
                remedy="send ADMIN_TOKEN, or leave it out",
            )

    async def scope(self, connection: Connection) -> Scope:
        """The account and mode that it is about. Raises Problem if the mode is not known."""
        live_mode = self.context.settings.live_mode
        if self.query.mode is not None:
            live_mode = self.query.mode == "live"
        if live_mode is None:
            raise Problem(
                INVALID,
                "without STRIPE_API_KEY both modes are served, and the request does not say which it is about",
                field="query.mode",
                remedy="add ?mode=live or ?mode=test",
            )
        return Scope(await named_account(connection, self.query.account), live_mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What an operation answers; None: no body."""

    content: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer that an operation may give, for the document. `type`: None for no body."""

    description: str
    type: Any = None
    example: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header -> what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[Q, B]):
    """One method of one path."""

    method: Method
    path: str
    """Names in braces; each is any text that can be a name (`webhooks/ids.py`), and told of in PATH_NAMES."""
    name: str
    """The operationId."""
    summary: str
    description: str = ""
    handle: Callable[[Call[Q, B]], Awaitable[Reply]]
    query: type[Q]
    body: type[B]
    """`NoBody` for none."""
    body_needs: tuple[str, ...] = ()
    """Fields of which the body must have one."""
    body_example: Mapping[str, object] = field(default_factory=dict)
    answers: Mapping[int, Answer]
    """By status, what is no problem."""
    problems: tuple[ProblemKind, ...] = ()
    """Beside those that every operation may answer (`ALWAYS` in openapi.py)."""
    path_names: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Where a name in the path is not as PATH_NAMES says: what the document says of it."""
    reads: bool = False
    """Whether READ_TOKEN suffices."""


PATH_NAMES: Mapping[str, str] = {
    "customer_id": "The customer's custom_uid, uid or Stripe id (`cus_...`).",
    "entity_id": "The company's own id of the entity, as `entity_id` in the metadata of subscriptions names it.",
}
"""What the names in paths are."""
