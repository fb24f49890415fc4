"""The customers API put together: its operations, and the document about them."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from webhooks.api import anonymous, check, checkout, entities, grants, listing, read, track, write
from webhooks.api.openapi import document_of
from webhooks.api.operation import Context, Operation
from webhooks.api.page import page_of
from webhooks.api.routes import api_routes

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    read.SHOW,
    write.PUT,
    write.PATCH,
    listing.LIST,
    anonymous.POST,
    anonymous.IDENTIFY,
    check.CHECK,
    track.TRACK,
    checkout.CHECKOUT,
    checkout.PORTAL,
    grants.GRANT,
    grants.END,
    entities.PUT,
    entities.SHOW,
    entities.REMOVE,
)
"""In the order in which /docs lists them."""

CONNECTIONS_MAX, HOT_CONNECTIONS_MAX = 4, 4
"""Connections to Postgres that the API's requests share: so many for those that read, and so many for the others; and
checks, what is tracked and plain records, beside them.
"""


class Api:
    """All routes of the API."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._document: dict[str, Any] | None = None

    @property
    def routes(self) -> list[Route]:
        """What create_app adds. Last, since a name in a path may be any text."""
        return [
            Route("/openapi.json", self.openapi),
            Route("/docs", self.docs),
            *api_routes(self._context, OPERATIONS),
        ]

    async def openapi(self, _: Request) -> Response:
        """The OpenAPI document. Open: it tells of no data."""
        return Response(msgspec.json.encode(self._described()), media_type="application/json")

    async def docs(self, _: Request) -> Response:
        """The same as a page. Open, too."""
        return HTMLResponse(page_of(self._described()))

    def _described(self) -> dict[str, Any]:
        if self._document is None:
            self._document = document_of(OPERATIONS)
        return self._document

    async def start(self) -> None:
        """Open what requests need; nothing is asked of Postgres or Stripe."""
        await self._context.stripe.start()
        self._context.seen.start()

    async def close(self) -> None:
        """Close the connections without waiting."""
        await self._context.seen.close()
        await self._context.stripe.close()
        await self._context.database.close()
        await self._context.hot.close()
        await self._context.readers.close()
