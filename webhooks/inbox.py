"""The inbox's committer: all waiting webhooks are stored by one insert and one ring of the bell."""

import asyncio
import time
from dataclasses import dataclass

import structlog

from db.connection import OwnConnection, PostgresAway, connect, unfit_because
from db.sync.inbox import SignedEvent, record_events
from runtime.bell import Bell
from runtime.logs import Complaints
from runtime.metrics import STORE_SECONDS, count_received
from runtime.traces import Traced, Traces

WAITING_MAX = 10_000
GROUP_MAX = 1_000
GROUP_BYTES_MAX = 32 * 1024 * 1024
INSERT_TIMEOUT_SECONDS = 10.0

log = structlog.get_logger()


class InboxUnavailable(Exception):
    """The event could not be stored; Stripe must send it again."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: SignedEvent
    stored: asyncio.Future[None]  # one per request: a request that is cancelled must not cancel others


class Inbox:
    """Stores events durably: one committer on its own connection takes all events that have queued up.

    More committers, or a delay to collect events, gain nothing (measured): while one group commits, the next gathers.
    """

    def __init__(self, database_url: str, bell: Bell, complaints: Complaints) -> None:
        self._database_url = database_url
        self._bell = bell
        self._connection: OwnConnection | None = None
        self._waiting: list[_Waiting] = []
        self._storing: list[_Waiting] = []
        self._arrived = asyncio.Event()
        self._committer: asyncio.Task[None] | None = None
        self._closing = False
        self._complaints = complaints

    async def start(self) -> None:
        """Begin to accept events. While Postgres is away they are refused."""
        self._committer = asyncio.create_task(self._commit_for_ever(), name="inbox committer")

    async def store(self, event: SignedEvent) -> None:
        """Return once the event's row is committed. Raises InboxUnavailable."""
        if self._closing:
            raise InboxUnavailable("this process is stopping")
        if len(self._waiting) >= WAITING_MAX:
            raise InboxUnavailable("too many events wait to be stored")
        stored = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(event, stored))
        self._arrived.set()
        await stored

    async def close(self) -> None:
        """Store the waiting events, the group under way included, then stop."""
        self._closing = True
        self._arrived.set()
        if self._committer is not None:
            await asyncio.wait([self._committer], timeout=INSERT_TIMEOUT_SECONDS)
            self._committer.cancel()
            await asyncio.gather(self._committer, return_exceptions=True)
        for waiting in self._storing + self._waiting:
            _refuse(waiting, InboxUnavailable("this process is stopping"))
        if self._connection is not None:
            self._connection.terminate()

    async def _commit_for_ever(self) -> None:
        while not self._closing or self._waiting:
            await self._arrived.wait()
            if self._waiting:
                self._storing = self._take_group()
                await self._commit(self._storing)

    def _take_group(self) -> list[_Waiting]:
        size = count = 0
        for waiting in self._waiting:
            size += len(waiting.event.payload)
            count += 1
            if size >= GROUP_BYTES_MAX or count >= GROUP_MAX:
                break
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._arrived.clear()
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        try:
            with STORE_SECONDS.time():
                new = await self._record([waiting.event for waiting in group])
            count_received("webhook", events=len(group), new=new)
        except PostgresAway as error:
            await self._drop_connection()
            if because := unfit_because(error):
                self._complaints.about(because, during="inbox")
            else:
                log.warning("events not stored", count=len(group), error=repr(error))
                self._complaints.away("postgres", error, during="inbox")
            for waiting in group:
                _refuse(waiting, error)
            return
        except Exception as error:  # noqa: BLE001 - one bad row fails its group, and the others must not suffer
            if len(group) > 1:
                for waiting in group:
                    await self._commit([waiting])
                return
            log.error("event not stored", event_id=group[0].event.event_id, error=repr(error))
            await self._drop_connection()
            _refuse(group[0], error)
            return
        self._complaints.end(during="inbox")
        self._complaints.back("postgres", during="inbox")
        for waiting in group:
            if not waiting.stored.done():
                waiting.stored.set_result(None)
        self._bell.ring_soon(len(group))

    async def _record(self, events: list[SignedEvent]) -> int:
        """Insert in one statement, which is one transaction; retried when only the connection was stale. Returns
        how many were new.
        """
        async with asyncio.timeout(INSERT_TIMEOUT_SECONDS):
            fresh = self._connection is None or self._connection.is_closed()
            connection = await self._connect()
            try:
                return await record_events(connection, events)
            except PostgresAway:
                await self._drop_connection()
                if fresh:
                    raise
                return await record_events(await self._connect(), events)

    async def _connect(self) -> OwnConnection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(
                self._database_url,
                application_name="subledger web inbox",
                command_timeout_seconds=INSERT_TIMEOUT_SECONDS,
            )
        return self._connection

    async def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


class TracedInbox:
    """An inbox in front of which each event that was received has a span: only while traces are on."""

    def __init__(self, inbox: Inbox, traces: Traces) -> None:
        self._inbox = inbox
        self._traces = traces

    async def store(self, event: SignedEvent) -> None:
        """As that of the inbox."""
        began_ns = time.time_ns()
        error: str | None = None
        try:
            await self._inbox.store(event)
        except InboxUnavailable as unavailable:
            error = str(unavailable)
            raise
        finally:
            self._traces.step(
                Traced(event.event_id, event.live_mode),
                "receive",
                began_ns=began_ns,
                ended_ns=time.time_ns(),
                error=error,
                type=event.type,
                account=event.account_id,
            )


def _refuse(waiting: _Waiting, error: Exception) -> None:
    if not waiting.stored.done():
        waiting.stored.set_exception(InboxUnavailable(str(error) or repr(error)))
