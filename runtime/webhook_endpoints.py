"""The account's webhook endpoints at Stripe: what they are, and the one that is ours."""

from collections.abc import Iterable, Sequence
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from runtime.stripe_api import StripeApi, StripeUnavailable

PATH = "/webhooks/stripe"
"""The route of the web process."""
ADDRESS = "/v1/webhook_endpoints"

T = TypeVar("T")


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint as Stripe shows it."""

    id: str
    url: str
    status: str
    enabled_events: tuple[str, ...]
    api_version: str | None = None
    secret: str | None = None
    """Only in the answer that registers it."""

    def __repr__(self) -> str:
        return f"Endpoint(id={self.id!r}, url={self.url!r})"

    @property
    def is_ours(self) -> bool:
        """Whether it posts to a web process of ours, by its path."""
        return urlsplit(self.url).path == PATH

    def lacking(self, event_types: Iterable[str]) -> list[str]:
        """Those of these types that it does not send."""
        return (
            []
            if "*" in self.enabled_events
            else [each for each in event_types if each not in self.enabled_events]
        )

    def surplus(self, event_types: Sequence[str]) -> list[str]:
        """What it sends beyond these types."""
        return [each for each in self.enabled_events if each not in event_types]


class _Page(msgspec.Struct):
    data: list[Endpoint]


async def list_endpoints(stripe: StripeApi) -> list[Endpoint]:
    """The endpoints of the key's account and mode; Stripe allows sixteen. Raises StripeError."""
    answer = await stripe.read(f"{ADDRESS}?limit=100", account_id="")
    return _decoded(answer.body, _Page).data


async def register_endpoint(
    stripe: StripeApi, *, url: str, event_types: Sequence[str], api_version: str
) -> Endpoint:
    """Register an endpoint for these types; the answer has its signing secret. Raises StripeError."""
    fields = {"url": url, "api_version": api_version, "description": "Subledger", **_listed(event_types)}
    answer = await stripe.change(ADDRESS, fields, account_id="")
    return _decoded(answer.body, Endpoint)


async def repair_endpoint(stripe: StripeApi, endpoint: Endpoint, *, event_types: Sequence[str]) -> Endpoint:
    """Have it send exactly these types, and enable it. Its secret and its version stay. Raises StripeError."""
    fields = {"disabled": "false", **_listed(event_types)}
    answer = await stripe.change(f"{ADDRESS}/{endpoint.id}", fields, account_id="")
    return _decoded(answer.body, Endpoint)


def _listed(event_types: Sequence[str]) -> dict[str, str]:
    return {f"enabled_events[{place}]": each for place, each in enumerate(event_types)}


def _decoded(body: bytes, into: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=into)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StripeUnavailable(f"{ADDRESS} answered what is no endpoint: {error}") from None
