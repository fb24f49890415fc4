"""A service that uses the API: the real application under a real uvicorn, on a database with an engine at work."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import yarl

from db.connection import create_pool
from sandbox import Sandbox, create_api
from tests.harness import API_KEY, Api, Harness, open_harness
from tests.system import ADMIN_TOKEN, until
from tests.webhooks.web_harness import NEVER_SHOWN, served, settings
from webhooks.app import create_app

READ_TOKEN = "token-of-readers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: Any

    def problem(self, name: str) -> str:
        """The sentence of a problem, which is of this kind and names a remedy."""
        assert f"/docs#{name}" == self.body["type"], self.body
        assert self.status == self.body["status"]
        assert self.body["title"]
        assert self.body["remedy"]
        return f"{self.body.get('field')}: {self.body['detail']}: {self.body.get('remedy')}"


@dataclass(slots=True, kw_only=True)
class Service:
    """A client with a token, and the engine behind the server."""

    session: aiohttp.ClientSession
    port: int
    harness: Harness
    token: str = ADMIN_TOKEN
    working: "asyncio.Task[None] | None" = None
    headers: dict[str, str] = field(default_factory=dict)

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Answered:
        """One request; `token` '' sends none."""
        given = self.token if token is None else token
        sent = {"Authorization": f"Bearer {given}"} if given else {}
        async with self.session.request(
            method,
            yarl.URL(f"http://127.0.0.1:{self.port}{path}", encoded=True),
            headers={**sent, **(headers or {})},
            data=data if body is None else json.dumps(body).encode(),
            allow_redirects=False,
        ) as response:
            text = await response.text()
            shown = f"{dict(response.headers)} {text}"
            assert not [secret for secret in (*NEVER_SHOWN, READ_TOKEN, API_KEY) if secret in shown]
            kind = response.headers.get("Content-Type")
            if response.status >= 400:
                assert "application/problem+json" == kind, (response.status, text)
            elif text:
                assert kind in ("application/json", "text/html; charset=utf-8"), (response.status, text)
            return Answered(
                status=response.status,
                headers=response.headers,
                body=json.loads(text) if text and "json" in str(kind) else text,
            )

    async def until_record(self, customer_id: str, **wanted: object) -> None:
        """Return once the record has these values."""

        async def so() -> bool:
            rows = await self.harness.fetch(
                "select * from billing.customers where stripe_customer_id = $1", customer_id
            )
            return any(all(row[name] == value for name, value in wanted.items()) for row in rows)

        await until(so, what=f"{customer_id}: {wanted}")

    async def is_ready(self) -> bool:
        """Whether the key has been accepted."""
        served: bool = await self.harness.fetchval("select exists (select from sync.key)")
        return served

    async def until_uid(self, uid: str, **wanted: object) -> None:
        """Return once the record with this uid has these values."""

        async def so() -> bool:
            rows = await self.harness.fetch("select * from billing.customers where uid = $1::text::uuid", uid)
            return any(all(row[name] == value for name, value in wanted.items()) for row in rows)

        await until(so, what=f"{uid}: {wanted}")

    async def until_gone(self, customer_id: str) -> None:
        """Return once nothing derives this customer any more."""

        async def gone() -> bool:
            count: int = await self.harness.fetchval(
                "select count(*) from sync.customers where customer_id = $1", customer_id
            )
            return count == 0

        await until(gone, what=f"the end of {customer_id}")

    async def record_of(self, customer_id: str, *, account: str = "") -> None:
        """Return once the customer has a record."""
        await self.until_record(customer_id, account_id=account)

    async def get(self, path: str, **options: Any) -> Answered:
        return await self.ask("GET", path, **options)

    async def put(self, path: str, body: object = None, **options: Any) -> Answered:
        return await self.ask("PUT", path, body, **options)

    async def patch(self, path: str, body: object, **options: Any) -> Answered:
        return await self.ask("PATCH", path, body, **options)

    async def post(self, path: str, body: object = None, **options: Any) -> Answered:
        return await self.ask("POST", path, body, **options)


@asynccontextmanager
async def open_service(
    database_url: str,
    *,
    api: Api | None = None,
    api_key: str | None = API_KEY,
    working: bool = True,
    rate_max: float | None = None,
) -> AsyncIterator[Service]:
    """The API on this database before an engine and an API of Stripe's that a test may choose. `working`: the engine
    derives and reads all the time, as a worker process does. `rate_max`: requests a second that the web process and the
    workers beside it may send; None: any number.
    """
    async with AsyncExitStack() as stack:
        pool = await create_pool(
            database_url, min_size=1, max_size=8, application_name="subledger-test", keeps_plans=True
        )
        stack.push_async_callback(pool.close)
        # What a test does not say is at Stripe is not: its lists are those of an empty account.
        api = api or Api(create_api(Sandbox(seed=1), [API_KEY]))
        harness = await stack.enter_async_context(open_harness(pool, database_url, api=api, api_key=api_key))
        asked_for = replace(
            settings(database_url=database_url),
            stripe_api_key=api_key,
            stripe_api_base=harness.settings.stripe_api_base,
            read_token=READ_TOKEN,
            stripe_rate_max=rate_max,
        )
        port = await stack.enter_async_context(served(create_app(asked_for), connections=1000))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2),
                timeout=aiohttp.ClientTimeout(total=120),
            )
        )
        service = Service(session=session, port=port, harness=harness)
        if working:
            service.working = asyncio.create_task(_work(harness))
            await until(service.is_ready, what="a worker that may read")
        try:
            yield service
        finally:
            if service.working is not None:
                service.working.cancel()
                await asyncio.gather(service.working, return_exceptions=True)


async def _work(harness: Harness) -> None:
    """What a worker does, over and over."""
    while True:
        await harness.engine.apply()
        await harness.engine.add_up_usage()
        await harness.engine.derive()
        if harness.lanes is not None:
            await harness.confirm()
            await harness.engine.sweep_bulk()
            await harness.engine.send_meter_events()
        await asyncio.sleep(0.02)
