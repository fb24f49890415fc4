"""POST /customers/ID/refresh and /customers/ID/usage: read one customer at Stripe now, and answer once it is read."""

import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from billing.kinds.found import is_shown_id_of
from db.connection import Connection
from db.keys import CustomerKey
from db.records.full import PARTS, find_by_stripe_id, with_parts
from db.records.joins import select_all_of, select_main_of
from db.sync.accounts import named_account
from db.sync.usage import UsageState, ask_for_usage, select_usage, select_usage_state
from webhooks.admin import Admin
from webhooks.answers import Refusal, json_answer
from webhooks.ids import id_in_path
from webhooks.refreshing import NOT_IN_TIME, refresh_customer, wait_until

EVERY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
"""So that no other method is taken for one of a customer whose name ends like these routes."""
Usage = list[dict[str, Any]]


class CustomerRoutes:
    """The routes of one customer."""

    def __init__(self, admin: Admin) -> None:
        self._admin = admin

    @property
    def routes(self) -> list[Route]:
        """What create_app adds."""
        return [
            Route("/customers/{customer_id:id}/refresh", self.refresh, methods=EVERY_METHOD),
            Route("/customers/{customer_id:id}/usage", self.usage, methods=EVERY_METHOD),
        ]

    async def refresh(self, request: Request) -> Response:
        """Read one customer's lists at Stripe now, and answer with its record once it is exact.

        A checkout success page calls this. `wait`: seconds, 1 to 30. 504 with the record so far when it takes longer;
        404 if neither Stripe nor anything else knows the customer.
        """
        key = await self._customer_to_read(request)
        deadline = time.monotonic() + _wait_seconds(request)
        state = await refresh_customer(self._admin.database, self._admin.bell, key, deadline=deadline)
        async with self._admin.connection() as connection:
            found = await find_by_stripe_id(connection, key)
            record = None if found is None else await with_parts(connection, found, PARTS)
        if state.finished:
            return json_answer({"customer": record})
        if state.unknown:
            raise Refusal(404, f"Stripe knows no customer {key.id} in this account and mode")
        return json_answer({"error": state.error or NOT_IN_TIME, "customer": record}, status=504)

    async def usage(self, request: Request) -> Response:
        """Read one customer's metered usage at Stripe now, and answer with it.

        `wait`: seconds, 1 to 30. 504 with the usage as it was read last when it takes longer. `note` says which part
        of it Stripe refuses to give.
        """
        key = await self._customer_to_read(request)
        deadline = time.monotonic() + _wait_seconds(request)
        async with self._admin.connection() as connection:
            main = await select_main_of(connection, key)
            asked = {
                each: await ask_for_usage(connection, each) for each in await select_all_of(connection, key)
            }
        await self._admin.bell.ring_bulk()

        async def look(connection: Connection) -> tuple[list[UsageState], Usage]:
            states = [await select_usage_state(connection, each, number) for each, number in asked.items()]
            return states, await select_usage(connection, main)

        def over(found: tuple[list[UsageState], Usage]) -> bool:
            return all(state.answered or state.error is not None for state in found[0])

        states, usage = await wait_until(self._admin.database, look, over, deadline=deadline)
        error = next((state.error for state in states if state.error is not None), None)
        if all(state.answered for state in states):
            return json_answer({"usage": usage, "note": error})
        return json_answer({"error": error or NOT_IN_TIME, "usage": usage}, status=504)

    async def _customer_to_read(self, request: Request) -> CustomerKey:
        """The customer that the request names. Raises Refusal if the request or this process may not read it."""
        if request.method != "POST":
            raise HTTPException(405, headers={"Allow": "POST"})
        self._admin.require_token(request)
        live_mode = self._admin.live_mode
        if live_mode is None:
            raise Refusal(
                409, "without STRIPE_API_KEY nothing can be read from Stripe: set it, or wait for webhooks"
            )
        key = CustomerKey(
            request.query_params.get("account", ""), live_mode, id_in_path(request, "customer_id")
        )
        if not is_shown_id_of(key.id, "customer"):
            raise Refusal(422, "the id of the customer is longer than any of Stripe's")
        if key.account_id and not is_shown_id_of(key.account_id, "account"):
            raise Refusal(422, "account must be an id of Stripe: acct_...")
        if not key.account_id:
            return key
        async with self._admin.connection() as connection:
            return key._replace(account_id=await named_account(connection, key.account_id))


def _wait_seconds(request: Request) -> int:
    text = request.query_params.get("wait", "10")
    if not (text.isascii() and text.isdigit() and len(text) <= 2 and 1 <= int(text) <= 30):
        raise Refusal(422, "wait must be a whole number of seconds from 1 to 30")
    return int(text)
