"""Scans: a backfill or an audit reads an account's lists from end to end, in windows of `created` that are rows.

A window's cursor is committed together with its page, so after a crash the next worker goes on where the last one
ended. A window with many objects is split while it is read, and its older part is open to others at once: so many
windows are read in parallel, and a busy period makes no long chain.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from billing.kinds.registry import KINDS
from billing.record import Policy
from db.connection import Pool, PostgresAway
from db.sync.accounts import see_account_since
from db.sync.scans import Scan, begin_scan, claim_scan, finish_scan, postpone_scan, skip_step
from db.sync.windows import (
    LostWindow,
    Window,
    claim_window,
    count_open_windows,
    postpone_window,
    release_window,
)
from runtime.payload import NotJson
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable
from worker.audit.lists import end_audit, step_audit
from worker.lists.backfill import step_backfill
from worker.lists.gaps import FIRST_LOOK_BACK, OVERLAP
from worker.lists.steps import FAILING_STEPS, Step, Turn, bounds_of, next_step, step_after_failure
from worker.live.pages import CUT_LISTS_MAX, Page, read_page
from worker.page_writer import LEASE, PageWriter, ReadPage

SCAN_ATTEMPTS_MAX = 10
"""Failures of a window, or a step, in a row before it is given up: about five minutes with the pauses between."""
RETRY_SECONDS_MAX = 60.0
WINDOWS_MIN, WINDOWS_MAX = 6, 16
SECONDS_PER_WINDOW = 0.008
"""Storing a page takes about this long: it decides how many windows can be served while one answer is awaited."""
SPLIT_PAGES_MIN = 4
"""A window is split while its pages so far promise at least this many more: each part may end with a half-full page."""
SPLIT_PAGES_MAX = 64
"""The younger part of a split promises at most this many pages: the distant past is mostly empty."""

log = structlog.get_logger()


class Scanner:
    """One worker's turn at the scans of one mode. `over` says when its time is up; it then ends within seconds."""

    def __init__(
        self,
        *,
        pool: Pool,
        stripe: StripeApi,
        live_mode: bool,
        policy: Policy,
        derive: Callable[[], Awaitable[int]],
        over: Callable[[], bool],
        refused: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._stripe = stripe
        self._live_mode = live_mode
        self._over = over
        self._refused = refused
        self._turn = Turn(pool=pool, stripe=stripe, policy=policy, derive=derive, over=over)
        self._split = asyncio.Event()
        self._latencies: deque[float] = deque([0.0], maxlen=20)

    async def run(self) -> bool:
        """Work until there is nothing to do or the time is up; True when anything was done."""
        busy = False
        while not self._over():
            async with self._pool.acquire() as connection:
                scan = await claim_scan(connection, live_mode=self._live_mode, lease=LEASE)
            if scan is not None:
                await self._step(scan)
            elif not await self._read_windows():
                return busy
            busy = True
        return busy

    # Steps

    async def _step(self, scan: Scan) -> None:
        """Do the next step. Its failures are noted, not raised, except that Postgres is away."""
        if scan.attempts > SCAN_ATTEMPTS_MAX:
            await self._give_up(scan, "its worker died each time")
            return
        try:
            if scan.step == Step.BEGIN and scan.status == "queued":
                await self._begin(scan)
            elif scan.purpose == "backfill":
                await step_backfill(self._turn, scan)
            else:
                await step_audit(self._turn, scan)
        except PostgresAway:
            raise
        except StripeUnavailable as error:
            await self._wait(scan, str(error), counts=error.limited_by is None)
        except NotJson as error:
            await self._wait(scan, str(error))
        except (StripeMissing, StripeRefused) as error:
            self._refused()
            await self._give_up(scan, str(error))
        except Exception as error:
            # No error may hit the next worker forever.
            log.exception("step failed", scan=scan.id, step=scan.step)
            await self._wait(scan, repr(error))

    async def _wait(self, scan: Scan, error: str, *, counts: bool = True) -> None:
        """Try the step again later, unless it has failed too often."""
        if counts and scan.attempts >= SCAN_ATTEMPTS_MAX:
            await self._give_up(scan, error)
            return
        log.warning("scan waits", scan=scan.id, step=scan.step, error=error)
        wait = timedelta(seconds=min(2.0**scan.attempts, RETRY_SECONDS_MAX))
        async with self._pool.acquire() as connection:
            await postpone_scan(connection, scan.id, wait=wait, error=error, counts=counts)

    async def _give_up(self, scan: Scan, error: str) -> None:
        """End the scan, or go on with the next step if the plan allows that (`step_after_failure`)."""
        log.error("step given up", scan=scan.id, step=scan.step, error=error)
        unread = f"{scan.step}: {error}"
        status = "failed" if scan.step in FAILING_STEPS else "partial"
        then = step_after_failure(scan)
        async with self._pool.acquire() as connection, connection.transaction():
            if then is not None:
                await skip_step(connection, scan.id, step=then, unread=unread)
            elif scan.purpose == "audit":
                await end_audit(connection, scan, status=status, error=unread)
            else:
                error = unread if scan.unread is None else f"{scan.unread}; {unread}"
                await finish_scan(connection, scan.id, status=status, error=error)

    async def _begin(self, scan: Scan) -> None:
        """Fix the horizon by Stripe's clock, and open the windows. Events report what happens after the horizon: of an
        account that has sent none yet, they are requested from as far before it as for any other account.
        """
        answer = await self._stripe.read("/v1/account", account_id=scan.account_id)
        horizon = answer.answered_at
        low, high = bounds_of(scan, horizon)
        async with self._pool.acquire() as connection, connection.transaction():
            step = next_step(scan) or Step.DONE
            await begin_scan(connection, scan, horizon=horizon, low=low, high=high, step=step)
            if scan.purpose == "backfill":
                since = horizon - FIRST_LOOK_BACK + OVERLAP
                await see_account_since(connection, scan.scope, since)
        log.info("scan begun", scan=scan.id, purpose=scan.purpose, kinds=",".join(scan.kinds))

    # Windows

    async def _read_windows(self) -> bool:
        """Read windows in parallel until none is due or the time is up; True when any was read."""
        async with PageWriter(self._pool) as writer:
            return await self._read_windows_into(writer)

    async def _read_windows_into(self, writer: PageWriter) -> bool:
        reading: set[asyncio.Task[None]] = set()
        news = asyncio.create_task(self._split.wait())
        begun = False
        try:
            while True:
                while len(reading) < self._windows_wanted() and not self._over():
                    async with self._pool.acquire() as connection:
                        window = await claim_window(connection, live_mode=self._live_mode, lease=LEASE)
                    if window is None:
                        break
                    begun = True
                    reading.add(asyncio.create_task(self._read_window(window, writer)))
                if not reading:
                    return begun
                done, _ = await asyncio.wait({*reading, news}, return_when=asyncio.FIRST_COMPLETED)
                if news in done:
                    self._split.clear()
                    news = asyncio.create_task(self._split.wait())
                for task in done & reading:
                    task.result()
                reading -= done
        finally:
            for task in (*reading, news):
                task.cancel()
            await asyncio.gather(*reading, news, return_exceptions=True)

    def _windows_wanted(self) -> int:
        """How many windows to read in parallel: the slower the API at its best, the more."""
        return min(WINDOWS_MIN + int(min(self._latencies) / SECONDS_PER_WINDOW), WINDOWS_MAX)

    async def _read_window(self, window: Window, writer: PageWriter) -> None:
        """Read a window page by page, to its end or until the time is up. Its failures are noted, not raised."""
        attempts = window.attempts
        try:
            if attempts > SCAN_ATTEMPTS_MAX:
                await self._postpone(window, "its worker died each time", failed=True)
                return
            while True:
                # After an attempt that was cut short or failed at a list inside an object, such lists are left out.
                page = await self._read(window, cut_lists_max=CUT_LISTS_MAX if attempts <= 1 else 0)
                after = await self._after(window, page)
                tick = await writer.store(ReadPage(window=window, after=after, page=page))
                if after.low > window.low:
                    self._split.set()
                if not page.has_more:
                    return
                window, attempts = replace(after, tick=tick), 0
                if self._over():
                    async with self._pool.acquire() as connection:
                        await release_window(connection, window)
                    return
        except LostWindow as lost:
            log.info("window lost", error=str(lost))
        except StripeUnavailable as error:
            busy = error.limited_by is not None
            await self._postpone(
                window,
                str(error),
                failed=not busy and attempts >= SCAN_ATTEMPTS_MAX,
                counts=not busy,
                attempts=attempts,
            )
        except NotJson as error:
            await self._postpone(window, str(error), failed=attempts >= SCAN_ATTEMPTS_MAX, attempts=attempts)
        except (StripeMissing, StripeRefused) as error:
            self._refused()
            await self._postpone(window, str(error), failed=True)
        except _CutShort:
            said = "cut short: the worker's turn was over"
            await self._postpone(window, said, failed=False, counts=attempts <= 1)
        except PostgresAway:
            raise
        except Exception as error:
            # One bad page must not stop the other lists (I7).
            log.exception("page failed", scan=window.scan.id, kind=window.kind)
            await self._postpone(window, repr(error), failed=attempts >= SCAN_ATTEMPTS_MAX, attempts=attempts)

    async def _read(self, window: Window, *, cut_lists_max: int) -> Page:
        loop = asyncio.get_running_loop()
        began = loop.time()
        scan = window.scan
        reading = asyncio.create_task(
            read_page(
                self._stripe,
                KINDS[window.kind],
                account_id=scan.account_id,
                live_mode=scan.live_mode,
                low=window.low,
                high=window.high,
                after=window.cursor_id,
                after_created=window.cursor_created,
                tick=window.tick,
                variant=window.variant,
                cut_lists_max=cut_lists_max,
            )
        )
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=2.0)
                if not reading.done() and self._over():
                    raise _CutShort
            page = reading.result()
        finally:
            reading.cancel()
        if page.requests == 1:
            self._latencies.append(loop.time() - began)
        return page

    async def _after(self, window: Window, page: Page) -> Window:
        """The window after its page is stored: past its last object, and without the older part if it is split."""
        created = page.created
        oldest = min(created, default=window.cursor_created)
        edge = set(window.edge_ids) if oldest == window.cursor_created else set()
        edge |= {
            answer.parsed.id
            for answer in (*page.answers, *page.cut)
            if getattr(answer.parsed.facts, "created", None) == oldest
        }
        edge |= {key.id for key in page.unreadable}
        after = replace(
            window,
            cursor_id=page.last_id or window.cursor_id,
            cursor_created=oldest,
            edge_ids=tuple(sorted(edge)) if window.scan.purpose == "audit" else (),
        )
        if not page.has_more or not created or not KINDS[window.kind].list_by_created:
            return after
        split_at = split_of(low=window.low, youngest=max(created), oldest=min(created))
        if split_at is None:
            return after
        async with self._pool.acquire() as connection:
            if await count_open_windows(connection, window.scan.id) >= 2 * self._windows_wanted():
                return after
        return replace(after, low=split_at)

    async def _postpone(
        self, window: Window, error: str, *, failed: bool, counts: bool = True, attempts: int = 1
    ) -> None:
        log.warning("window not read", scan=window.scan.id, kind=window.kind, failed=failed, error=error)
        wait = timedelta(seconds=min(2.0**attempts, RETRY_SECONDS_MAX)) if counts else timedelta(seconds=0.5)
        async with self._pool.acquire() as connection:
            await postpone_window(
                connection, window, error=error, retry_after=wait, failed=failed, counts=counts
            )


class _CutShort(Exception):
    """The turn was over before Stripe answered."""


def split_of(*, low: datetime, youngest: datetime, oldest: datetime) -> datetime | None:
    """Where to split what is left of a window, [low, oldest], after a page that reached from `youngest` to `oldest`.

    None if it does not promise enough pages. The split is in the middle, but never so far back that the younger
    part promises more than SPLIT_PAGES_MAX.
    """
    page_seconds = max((youngest - oldest).total_seconds(), 1.0)
    left_seconds = (oldest - low).total_seconds()
    if left_seconds < SPLIT_PAGES_MIN * page_seconds:
        return None
    younger_seconds = math.floor(min(left_seconds / 2, SPLIT_PAGES_MAX * page_seconds))
    return oldest - timedelta(seconds=max(younger_seconds, 1))
