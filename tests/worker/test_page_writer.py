"""Pages stored together: each page's cursor goes with it, and no page harms another."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from billing.kinds.registry import KINDS
from db.connection import Pool
from db.sync.windows import LostWindow, Window, claim_window
from sandbox import Sandbox
from tests.worker.account import Attached, attached, lived_account
from worker.live.pages import read_page
from worker.page_writer import PageWriter, ReadPage


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    """One account for the tests of this module, which only read it."""
    return lived_account(customers=30)


async def begun(account: Attached, kinds: tuple[str, ...]) -> list[Window]:
    """A backfill of everything that has opened its windows; those of these kinds, leased."""
    scan = await account.request(kinds=kinds)
    await account.execute(
        "update sync.scans set whole = true, status = 'running', step = 'lists', horizon = now(), started_at = now(), "
        "begun_tick = nextval('sync.tick') where id = $1",
        scan.id,
    )
    await account.execute(
        "insert into sync.scan_windows (scan_id, kind, low, high) "
        "select $1, unnest($2::text[]), '2010-01-01', date_trunc('second', now())",
        scan.id,
        list(kinds),
    )
    windows = []
    async with account.pool.acquire() as connection:
        for _ in kinds:
            window = await claim_window(connection, live_mode=False, lease=timedelta(seconds=30))
            assert window is not None
            windows.append(window)
    return windows


async def read(account: Attached, window: Window) -> ReadPage:
    """The first page of a window, as the scanner reads it."""
    page = await read_page(
        account.lanes.bulk,
        KINDS[window.kind],
        account_id="",
        live_mode=False,
        low=window.low,
        high=window.high,
        after=None,
        after_created=None,
        tick=window.tick,
    )
    after = replace(window, cursor_id=page.last_id, cursor_created=min(page.created))
    return ReadPage(window=window, after=after, page=page)


async def rows(account: Attached, kind: str) -> int:
    """How many objects of a kind the mirror holds."""
    count: int = await account.fetchval(f"select count(*) from {KINDS[kind].table}")
    return count


async def test_worker_that_was_lost_for_an_hour(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """It comes back with a page in its hands: its window has moved on, and nothing of the page is stored."""
    async with attached(pool, database_url, sandbox) as account:
        (window,) = await begun(account, ("customer",))
        late = await read(account, window)
        await account.execute("update sync.scan_windows set due_at = now() - interval '1 hour'")
        (again,) = await begun_again(account)
        ticks = []
        async with PageWriter(pool) as other, PageWriter(pool) as lost:
            ticks.append(await other.store(await read(account, again)))
            before = await account.fetch("select id, confirmed from sync.objects order by id")
            with pytest.raises(LostWindow):
                await lost.store(late)
        assert ticks[0] > again.tick > window.tick
        assert before == await account.fetch("select id, confirmed from sync.objects order by id")


async def begun_again(account: Attached) -> list[Window]:
    """What another worker claims now."""
    async with account.pool.acquire() as connection:
        window = await claim_window(connection, live_mode=False, lease=timedelta(seconds=30))
    return [] if window is None else [window]


async def test_windows_of_all_kinds_are_read_side_by_side(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """Stripe limits each list by itself: whatever a busy kind has split off, a window of another kind goes first."""
    async with attached(pool, database_url, sandbox) as account:
        await begun(account, ("charge",))
        for days in range(1, 5):
            await account.execute(
                "insert into sync.scan_windows (scan_id, kind, low, high, due_at) "
                "select max(id), 'charge', '2010-01-01', now() - make_interval(days => $1), now() from sync.scans",
                days,
            )
        await account.execute(
            "insert into sync.scan_windows (scan_id, kind, low, high) "
            "select max(id), unnest(array['invoice', 'dispute']), '2010-01-01', now() from sync.scans"
        )
        kinds = [window.kind for _ in range(4) for window in await begun_again(account)]
        assert {"invoice", "dispute"} == set(kinds[:2])
        assert ["charge", "charge"] == kinds[2:]


async def test_page_that_cannot_be_stored_harms_no_other(
    pool: Pool, database_url: str, sandbox: Sandbox
) -> None:
    """All but the object that Postgres refuses is stored of its page, and so are the pages that waited with it."""
    async with attached(pool, database_url, sandbox) as account:
        windows = await begun(account, ("customer", "product", "price", "charge"))
        pages = [await read(account, window) for window in windows]
        (place,) = [place for place, each in enumerate(pages) if each.window.kind == "customer"]
        answers = list(pages[place].page.answers)
        broken = answers[0]
        # No index takes a text so long, however it is packed.
        body = msgspec.json.decode(broken.raw)
        long = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(5_000))
        facts = replace(broken.parsed.facts, custom_uid=long)  # type: ignore[type-var]
        answers[0] = replace(broken, parsed=replace(broken.parsed, facts=facts))
        page = replace(pages[place].page, answers=tuple(answers))
        pages[place] = replace(pages[place], page=page)

        async with PageWriter(pool) as writer:
            await asyncio.gather(*(writer.store(each) for each in pages))
        assert len(answers) - 1 == await rows(account, "customer")
        for each in pages:
            if each.window.kind != "customer":
                assert len(each.page.answers) == await rows(account, each.window.kind)
        (marked,) = await account.fetch(
            "select dirty, confirmed from sync.objects where kind = 'customer' and id = $1", body["id"]
        )
        assert marked["dirty"] > marked["confirmed"] == 0


async def test_pages_that_wait_are_stored_together(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """However many wait, each gets the result of its own window, whose cursor is behind what was stored."""
    async with attached(pool, database_url, sandbox) as account:
        kinds = ("customer", "product", "price", "subscription", "invoice", "charge", "dispute")
        pages = [await read(account, window) for window in await begun(account, kinds)]
        async with PageWriter(pool) as writer:
            ticks = await asyncio.gather(*(writer.store(each) for each in pages))
        assert len(kinds) == len(set(ticks))
        transactions = await account.fetchval("select count(distinct xmin::text) from sync.scan_windows")
        assert transactions < len(kinds)
        for each in pages:
            (window,) = await account.fetch(
                "select objects, cursor_id, state from sync.scan_windows where kind = $1", each.window.kind
            )
            state = "open" if each.page.has_more else "done"
            assert (len(each.page.answers), each.page.last_id, state) == tuple(window)


async def test_page_of_another_history_is_lost(pool: Pool, database_url: str, sandbox: Sandbox) -> None:
    """I4: a page that was asked for before transactions were lost neither moves its window nor stores anything, and the
    next page of that window does.
    """
    async with attached(pool, database_url, sandbox) as account:
        (window,) = await begun(account, ("customer",))
        page = await read(account, window)
        await account.execute("delete from sync.incarnation")
        await account.execute("select sync.keep_one_history()")
        async with PageWriter(pool) as writer:
            with pytest.raises(LostWindow):
                await writer.store(page)
            assert 0 == await rows(account, "customer")
            await account.execute("update sync.scan_windows set due_at = now()")
            (again,) = await begun_again(account)
            assert again.cursor_id is None
            await writer.store(await read(account, again))
        assert await rows(account, "customer")
