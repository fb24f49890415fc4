"""Pages of a scan, stored together: those that wait at one moment go into one transaction.

A page alone would pay for a transaction and two dozen statements, and these statements handle thousands of rows as
cheaply as a hundred. Each page's cursor moves in the transaction that stores it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Self

from db.connection import Connection, Pool, PostgresAway
from db.keys import Key
from db.sync.audits import Unread, note_unread
from db.sync.incarnation import select_incarnation
from db.sync.not_understood import note_not_understood
from db.sync.objects import mark_objects
from db.sync.windows import Advance, LostWindow, Window, WindowKey, advance_windows, key_of
from runtime.retry import TryLater, retry_conflicts
from worker.audit.lists import audit_page
from worker.lists.backfill import NOT_UNDERSTOOD, store_answers_of
from worker.live.marks import bare_mark
from worker.live.pages import Page

LEASE = timedelta(seconds=30)
"""A window's lease, renewed with each page: longer than one request may take. A slower worker loses the window, and
its page is read again."""
PAGES_AT_ONCE = 8
STORING_MAX = 2
"""Concurrent transactions: while Postgres is busy with one, Python prepares the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPage:
    """A page that was read, and its window before and after."""

    window: Window
    after: Window
    page: Page

    @property
    def advance(self) -> Advance:
        """How the page moves its window."""
        return Advance(
            window=self.window,
            after=self.after,
            objects=len(self.page.answers) + len(self.page.unreadable) + len(self.page.cut),
            requests=self.page.requests,
            done=not self.page.has_more,
        )


class PageWriter:
    """Stores the pages that one worker reads in one turn. A context manager: unfinished work is canceled at its end."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._waiting: list[tuple[ReadPage, asyncio.Future[int]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._storing = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def store(self, read: ReadPage) -> int:
        """Store a page or compare it, and move its window's cursor; returns the tick of the window's next page.

        Raises LostWindow, and any error of Postgres.
        """
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((read, stored))
        if self._storing < STORING_MAX:
            self._storing += 1
            task = asyncio.create_task(self._store_waiting(), name="store pages")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await stored

    async def _store_waiting(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:PAGES_AT_ONCE], self._waiting[PAGES_AT_ONCE:]
            try:
                async with self._pool.acquire() as connection:
                    await _store_group(connection, group)
            except Exception as error:  # noqa: BLE001 - the pages' readers get it
                _fail(group, error)
        # Without an await before it: the next `store` must see that this task looks no longer.
        self._storing -= 1


async def _store_group(connection: Connection, group: Sequence[tuple[ReadPage, asyncio.Future[int]]]) -> None:
    """Store these pages and give each reader its result. If they fail together, each is stored by itself."""
    pages = [read for read, _ in group]
    try:
        try:
            ticks = await retry_conflicts(lambda: _store_pages(connection, pages, singly=False))
        except TryLater:
            raise
        except Exception:
            if len(group) > 1:
                raise
            ticks = await retry_conflicts(lambda: _store_pages(connection, pages, singly=True))
    except Exception as error:  # noqa: BLE001 - each page's own reader gets it
        if len(group) > 1 and not isinstance(error, PostgresAway):
            for each in group:
                await _store_group(connection, [each])
            return
        _fail(group, error)
        return
    for read, stored in group:
        window = read.window
        tick = ticks.get(key_of(window))
        if stored.done():
            continue
        if tick is None:
            stored.set_exception(LostWindow(f"{window.kind} up to {window.high} of scan {window.scan.id}"))
        else:
            stored.set_result(tick)


def _fail(group: Sequence[tuple[ReadPage, asyncio.Future[int]]], error: Exception) -> None:
    for _, stored in group:
        if not stored.done():  # its reader may have been canceled
            stored.set_exception(error)


async def _store_pages(
    connection: Connection, pages: Sequence[ReadPage], *, singly: bool
) -> dict[WindowKey, int]:
    """Move the cursors and store the pages of those windows that are still ours; returns their next ticks.

    A page that was asked for in another incarnation of the database is lost, and its window with it.
    """
    async with connection.transaction():
        incarnation = await select_incarnation(connection)
        pages = [read for read in pages if incarnation.drew(read.page.tick)]
        ticks = await advance_windows(connection, [read.advance for read in pages], lease=LEASE)
        ours = sorted(
            (read for read in pages if key_of(read.window) in ticks), key=lambda r: key_of(r.window)
        )
        for _, of_scan in groupby(ours, key=lambda read: read.window.scan.id):
            reads = list(of_scan)
            scan = reads[0].window.scan
            unread: dict[Key, str | None] = {}
            if scan.purpose == "backfill":
                answers = [answer for read in reads for answer in read.page.answers]
                await store_answers_of(connection, scan, answers, singly=singly)
                unread |= {each.key: each.parsed.customer_id for read in reads for each in read.page.cut}
            else:
                for read in reads:
                    await audit_page(connection, read.window, read.after, read.page)
            for read in reads:
                unread |= read.page.unreadable
            if scan.purpose == "backfill":
                strange = sorted({key for read in reads for key in read.page.unreadable})
                await note_unread(
                    connection, scan, [Unread(key.kind, key.id, NOT_UNDERSTOOD) for key in strange]
                )
            if unread:
                marks = [bare_mark(key, source=scan.purpose, customer_id=unread[key]) for key in unread]
                await mark_objects(connection, marks)
                owners = {key: owner for read in reads for key, owner in read.page.owners.items()}
                await note_not_understood(connection, owners)
    return ticks
