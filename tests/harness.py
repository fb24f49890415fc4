"""The engine in this process, on a real database, before an API whose answers a test may choose."""

import asyncio
import itertools
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import unquote

import asyncpg
import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from db.connection import Pool
from db.sync.inbox import record_events
from runtime.budget import Budget
from runtime.envelope import read_envelope
from runtime.limiter import Lane
from runtime.settings import Settings
from runtime.stripe_api import StripeApi
from sandbox import Event, serve
from worker.engine import Engine, Lanes

API_KEY = "sk_test_room"
NOON = 1_790_000_000
"""The moment at which the objects of these tests come to be; events say how many seconds later they happened."""

Body = dict[str, Any]
_numbers = itertools.count(1)

LET_DOUBTS_AGE = """
update sync.objects set doubted_at = doubted_at - (read_at - now()) where doubted_at is not null and read_at > now()
"""
"""As if the time had passed after which a read is to be made again."""


def customer(customer_id: str = "cus_1", **fields: object) -> Body:
    """A customer as Stripe shows it, reduced to what its record needs."""
    return {
        "object": "customer",
        "id": customer_id,
        "created": NOON,
        "livemode": False,
        "metadata": {},
    } | fields


def subscription(subscription_id: str = "sub_1", customer_id: str = "cus_1", **fields: object) -> Body:
    """An active subscription without items by default."""
    return {
        "object": "subscription",
        "id": subscription_id,
        "customer": customer_id,
        "created": NOON,
        "start_date": NOON,
        "status": "active",
        "livemode": False,
        "metadata": {},
        "items": listing([]),
    } | fields


def item(item_id: str, *, quantity: int = 1) -> Body:
    """An item of a subscription, whose price is named by its id alone."""
    return {
        "object": "subscription_item",
        "id": item_id,
        "created": NOON,
        "price": {"object": "price", "id": "price_1", "product": "prod_1", "created": NOON, "metadata": {}},
        "quantity": quantity,
        "metadata": {},
    }


def charge(charge_id: str = "ch_1", customer_id: str | None = "cus_1", **fields: object) -> Body:
    """A succeeded charge of 20.00 USD."""
    return {
        "object": "charge",
        "id": charge_id,
        "customer": customer_id,
        "created": NOON,
        "status": "succeeded",
        "captured": True,
        "amount": 2000,
        "amount_captured": 2000,
        "amount_refunded": 0,
        "currency": "usd",
        "livemode": False,
        "metadata": {},
    } | fields


def refund(refund_id: str = "re_1", charge_id: str = "ch_1", **fields: object) -> Body:
    """A succeeded refund of 5.00 USD."""
    return {
        "object": "refund",
        "id": refund_id,
        "charge": charge_id,
        "created": NOON,
        "status": "succeeded",
        "amount": 500,
        "currency": "usd",
    } | fields


def checkout_session(session_id: str = "cs_1", customer_id: str | None = "cus_1", **fields: object) -> Body:
    """A completed Checkout session that takes a payment."""
    return {
        "object": "checkout.session",
        "id": session_id,
        "customer": customer_id,
        "created": NOON,
        "livemode": False,
        "metadata": {},
        "mode": "payment",
        "status": "complete",
    } | fields


def listing(data: list[Body], *, has_more: bool = False, url: str = "/v1/things") -> Body:
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def event(
    event_type: str,
    body: Body,
    *,
    after: int = 0,
    event_id: str | None = None,
    account: str | None = None,
    live: bool = False,
    **fields: object,
) -> bytes:
    """A webhook's bytes; `after` is how many seconds after NOON it happened."""
    envelope: Body = {
        "id": event_id or f"evt_{next(_numbers)}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": NOON + after,
        "data": {"object": body},
        "livemode": live,
        "type": event_type,
    }
    if account is not None:
        envelope["account"] = account
    return json.dumps(envelope | fields).encode()


@dataclass(slots=True)
class Gate:
    """Holds an answer back: `asked` is set when the question came, and the answer leaves once `open` is set."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached_by(self, work: "asyncio.Task[Any]") -> None:
        """Return once the question has come; fail when the work that should ask it ends without asking."""
        asking = asyncio.create_task(self.asked.wait())
        await asyncio.wait([asking, work], return_when=asyncio.FIRST_COMPLETED)
        if not self.asked.is_set():
            asking.cancel()
            work.result()
            raise AssertionError("the work ended without asking")


class Api:
    """An API that answers what a test says, and else what another API says, or 404."""

    def __init__(self, inner: ASGIApp | None = None) -> None:
        self.bodies: dict[str, Body] = {"/v1/account": {"object": "account", "id": "acct_room"}}
        """What objects are at Stripe now, by path."""
        self.scripted: defaultdict[str, deque[tuple[int, bytes]]] = defaultdict(deque)
        """Answers that are given first, each once, by path."""
        self.gates: dict[str, deque[Gate]] = {}
        self._held: list[Gate] = []
        self.now = NOON
        """Stripe's clock, as in the Date header."""
        self.asked: list[str] = []
        self.queries: defaultdict[str, list[str]] = defaultdict(list)
        """What was asked with, by path."""
        self.inner = inner

    def put(self, *bodies: Body) -> None:
        """Say what these objects are at Stripe."""
        for body in bodies:
            self.bodies[path_of(body)] = body

    def say(self, path: str, status: int, body: object) -> None:
        """Answer so, once."""
        self.scripted[path].append((status, body if isinstance(body, bytes) else json.dumps(body).encode()))

    def hold(self, path: str) -> Gate:
        """Hold back the next answer of this path. What it will say is decided when the question comes."""
        gate = Gate()
        self.gates.setdefault(path, deque()).append(gate)
        self._held.append(gate)
        return gate

    def end(self) -> None:
        """Hold nothing back any more: a server does not end before its last answer has left, and a test that failed
        in the meantime would never say so.
        """
        for gate in self._held:
            gate.open.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        self.asked.append(path)
        self.queries[path].append(unquote(scope["query_string"].decode()))
        gate = self.gates[path].popleft() if self.gates.get(path) else None
        if self.scripted[path]:
            status, body = self.scripted[path].popleft()
        elif path in self.bodies:
            # As Stripe writes it: an object in a list is indented by more than the same object by itself.
            status, body = 200, msgspec.json.format(msgspec.json.encode(self.bodies[path]), indent=2)
        elif self.inner is not None:
            await self.inner(scope, receive, send)
            return
        else:
            status, body = 404, json.dumps(error("resource_missing", f"No such thing: {path}")).encode()
        now = self.now
        if gate is not None:
            gate.asked.set()
            await gate.open.wait()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"date", formatdate(now, usegmt=True).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


_COLLECTIONS = {
    "coupon": "coupons",
    "customer": "customers",
    "product": "products",
    "price": "prices",
    "subscription": "subscriptions",
    "invoice": "invoices",
    "charge": "charges",
    "refund": "refunds",
    "dispute": "disputes",
}


def path_of(body: Body) -> str:
    """Where the API answers with this object."""
    return f"/v1/{_COLLECTIONS[body['object']]}/{body['id']}"


def error(code: str, message: str) -> Body:
    return {"error": {"type": "invalid_request_error", "code": code, "message": message}}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHarness:
    """An engine on a database, and eyes on every table."""

    pool: Pool
    settings: Settings
    lanes: Lanes | None
    engine: Engine

    def another_engine(self) -> Engine:
        """The engine of another worker."""
        return Engine(pool=self.pool, lanes=self.lanes, settings=self.settings)

    async def fetch(self, statement: str, *parameters: object) -> list[asyncpg.Record]:
        async with self.pool.acquire() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *parameters)
            return rows

    async def fetchval(self, statement: str, *parameters: object) -> Any:
        async with self.pool.acquire() as connection:
            return await connection.fetchval(statement, *parameters)

    async def execute(self, statement: str, *parameters: object) -> None:
        async with self.pool.acquire() as connection:
            await connection.execute(statement, *parameters)


async def sweep(engine: Engine) -> None:
    """One turn each of what the process does in its live lane without Redis."""
    await engine.sweep_records()
    await engine.read_twins()
    await engine.confirm(linger=False)


async def sweep_bulk(engine: Engine) -> None:
    """One turn each of what the process does in its bulk lane, scans apart."""
    await engine.sweep_bulk()
    await engine.fill_gaps()


@asynccontextmanager
async def open_engine(
    pool: Pool, database_url: str, api_base: str, *, api_key: str | None = API_KEY
) -> AsyncIterator[EngineHarness]:
    """An engine on this database, before this API; without an API key it never reads, and records stay provisional."""
    settings = Settings(
        database_url=database_url,
        redis_url="redis://unused",
        stripe_api_key=api_key,
        stripe_api_base=api_base,
    )
    async with AsyncExitStack() as stack:
        lanes = None
        if api_key is not None:
            lanes = await stack.enter_async_context(open_lanes(settings, Budget(places_max=32)))
        engine = Engine(pool=pool, lanes=lanes, settings=settings)
        yield EngineHarness(pool=pool, settings=settings, lanes=lanes, engine=engine)


def not_behind() -> datetime:
    """Our clock, wherever the clock stands that a test gives the API, and the one of this machine."""
    return datetime(9000, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def open_lanes(
    settings: Settings, budget: Budget, *, now: Callable[[], datetime] = not_behind
) -> AsyncIterator[Lanes]:
    """The two ways to Stripe of an engine with an API key."""
    async with AsyncExitStack() as stack:
        live, bulk = [
            await stack.enter_async_context(
                StripeApi(
                    api_key=str(settings.stripe_api_key),
                    api_base=settings.stripe_api_base,
                    budget=budget,
                    lane=lane,
                    now=now,
                )
            )
            for lane in (Lane.LIVE, Lane.BULK)
        ]
        yield Lanes(live=live, bulk=bulk, live_mode=bool(settings.live_mode))


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness(EngineHarness):
    """An inbox to put events into, an engine to work on them, and an API whose answers a test may choose."""

    api: Api

    async def receive(self, *events: bytes | Event) -> None:
        """Store webhooks as the door does."""
        bodies = [each.body if isinstance(each, Event) else each for each in events]
        async with self.pool.acquire() as connection:
            await record_events(connection, [read_envelope(body, live_mode_default=False) for body in bodies])

    async def apply(self, *events: bytes | Event) -> None:
        """Store webhooks, apply them and derive the customers that they concern; nothing is read from Stripe."""
        await self.receive(*events)
        await self.engine.apply()

    async def make_due(self) -> None:
        """As if the seconds had passed for which reads that are wanted, and leases, wait."""
        await self.execute(LET_DOUBTS_AGE)
        await self.execute(
            "update sync.objects set read_at = now() where read_at > now() and dirty >= confirmed "
            "and missing_since is null and parked_at is null"
        )
        await self.execute(
            "update sync.events set leased_until = now() - interval '1 second' where leased_until > now()"
        )
        await self.execute(
            "update sync.customers set leased_until = now() - interval '1 second' where leased_until > now()"
        )

    async def confirm(self, *, times: int = 1) -> None:
        """Read what is unconfirmed, as if its time had come, and derive the customers that it concerns."""
        for _ in range(times):
            await self.make_due()
            await self.engine.read_twins()
            await self.engine.confirm(linger=False)

    async def settle(self) -> None:
        """Work until nothing is left to be done."""
        for _ in range(20):
            await self.engine.apply()
            await self.confirm()
            await self.engine.derive()
            if not await self.left():
                return
        raise AssertionError(f"not settled: {await self.left()}")

    async def left(self) -> list[asyncpg.Record]:
        """What is still to be done."""
        return await self.fetch(
            "select 'event' as what, event_id as id, error from sync.events where state = 'pending' "
            "union all select kind, id, error from sync.objects where not tombstone and dirty >= confirmed "
            "and missing_since is null and parked_at is null "
            "union all select 'touched ' || kind, id, error from sync.objects where touched > resolved "
            "union all select 'stale customer', customer_id, error from sync.customers "
            "where stale > derived and parked_at is null"
        )

    async def record(
        self, customer_id: str = "cus_1", *, account: str = "", live: bool = False
    ) -> asyncpg.Record:
        """The record of a customer that has one."""
        (row,) = await self.fetch(
            "select * from billing.customers where account_id = $1 and live_mode = $2 and stripe_customer_id = $3",
            account,
            live,
            customer_id,
        )
        return row

    async def object(
        self, kind: str, object_id: str, *, account: str = "", live: bool = False
    ) -> asyncpg.Record:
        """What the fence knows of an object that was heard of."""
        (row,) = await self.fetch(
            "select * from sync.objects where account_id = $1 and live_mode = $2 and kind = $3 and id = $4",
            account,
            live,
            kind,
            object_id,
        )
        return row

    async def event_states(self) -> Mapping[str, str]:
        """The state of each event, by its id."""
        return {row[0]: row[1] for row in await self.fetch("select event_id, state from sync.events")}


@asynccontextmanager
async def open_harness(
    pool: Pool, database_url: str, *, api: Api | None = None, api_key: str | None = API_KEY
) -> AsyncIterator[Harness]:
    """An engine on this database before an API of the test's own; see `open_engine`."""
    api = api or Api()
    async with serve(api) as api_base, AsyncExitStack() as stack:
        stack.callback(api.end)
        opened = await stack.enter_async_context(open_engine(pool, database_url, api_base, api_key=api_key))
        yield Harness(pool=pool, settings=opened.settings, lanes=opened.lanes, engine=opened.engine, api=api)


def columns(row: Mapping[str, Any] | asyncpg.Record, names: Iterable[str]) -> dict[str, Any]:
    """Some columns of a row."""
    return {name: row[name] for name in names}
