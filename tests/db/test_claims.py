"""Claims: what a worker takes for a time, so that no other one takes it, too."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from db.connection import Connection, Pool
from db.sync.accounts import claim_gap
from db.sync.catalogue import CLAIM_FANS
from db.sync.customers import claim_stale, mark_overdue
from db.sync.due_reads import claim_reads
from db.sync.heavy import claim_heavy
from db.sync.histories import claim_histories
from db.sync.inbox import claim_events
from db.sync.pushes import claim_pushes
from db.sync.scans import claim_scan
from db.sync.usage import claim_usage
from db.sync.windows import claim_window

LEASE = timedelta(minutes=1)
Claim = Callable[[Connection], Awaitable[list[str]]]


async def _reads(connection: Connection) -> list[str]:
    due = await claim_reads(connection, kinds=["customer"], live_mode=False, limit=9, lease=LEASE)
    return [each.key.id for each in due]


async def _fans(connection: Connection) -> list[str]:
    return [row["id"] for row in await connection.fetch(CLAIM_FANS, ["price"], 9)]


async def _events(connection: Connection) -> list[str]:
    return [each.event_id for each in await claim_events(connection, limit=9, lease=LEASE)]


async def _stale(connection: Connection) -> list[str]:
    return [each.key.id for each in await claim_stale(connection, limit=9, lease=LEASE)]


async def _heavy(connection: Connection) -> list[str]:
    customer = await claim_heavy(connection, lease=LEASE)
    return [] if customer is None else [customer.key.id]


async def _pushes(connection: Connection) -> list[str]:
    due = await claim_pushes(connection, live_mode=False, limit=9, lease=LEASE)
    return [each.key.id for each in due]


async def _overdue(connection: Connection) -> list[str]:
    await mark_overdue(connection, limit=9)
    return [
        row[0] for row in await connection.fetch("select customer_id from sync.customers where stale = 1")
    ]


async def _histories(connection: Connection) -> list[str]:
    due = await claim_histories(connection, live_mode=False, limit=9, lease=LEASE)
    return [each.key.id for each in due]


async def _usage(connection: Connection) -> list[str]:
    due = await claim_usage(connection, live_mode=False, limit=9, lease=LEASE, asked_only=False)
    return [each.key.id for each in due]


async def _gap(connection: Connection) -> list[str]:
    gap = await claim_gap(connection, live_mode=False, lease=LEASE)
    return [] if gap is None else [gap.account_id]


async def _scan(connection: Connection) -> list[str]:
    scan = await claim_scan(connection, live_mode=False, lease=LEASE)
    return [] if scan is None else [scan.account_id]


async def _window(connection: Connection) -> list[str]:
    window = await claim_window(connection, live_mode=False, lease=LEASE)
    return [] if window is None else [window.kind]


CLAIMS: dict[str, tuple[Claim, str, str]] = {
    "reads": (
        _reads,
        "sync.objects.id",
        """insert into sync.objects (account_id, live_mode, kind, id, dirty, read_at)
        values ('', false, 'customer', 'a', 1, now() - interval '9 s'), ('', false, 'customer', 'b', 1, now())""",
    ),
    "fans": (
        _fans,
        "sync.objects.id",
        """insert into sync.objects (account_id, live_mode, kind, id, touched, touched_at)
        values ('', false, 'price', 'a', 1, now() - interval '9 s'), ('', false, 'price', 'b', 1, now())""",
    ),
    "events": (
        _events,
        "sync.events.event_id",
        """insert into sync.events (account_id, live_mode, event_id, type, payload)
        values ('', false, 'a', '', ''), ('', false, 'b', '', '')""",
    ),
    "events, the first of a lost worker": (
        _events,
        "sync.events.event_id",
        """insert into sync.events (account_id, live_mode, event_id, type, payload, attempts)
        values ('', false, 'a', '', '', 1), ('', false, 'b', '', '', 0)""",
    ),
    "events, two of a lost worker": (
        _events,
        "sync.events.event_id",
        """insert into sync.events (account_id, live_mode, event_id, type, payload, attempts)
        values ('', false, 'a', '', '', 1), ('', false, 'b', '', '', 1)""",
    ),
    "stale customers": (
        _stale,
        "sync.customers.customer_id",
        """insert into sync.customers (account_id, live_mode, customer_id, stale, stale_since)
        values ('', false, 'a', 1, now() - interval '9 s'), ('', false, 'b', 1, now())""",
    ),
    "stale customers, the first of a lost worker": (
        _stale,
        "sync.customers.customer_id",
        """insert into sync.customers (account_id, live_mode, customer_id, stale, stale_since, attempts)
        values ('', false, 'a', 1, now() - interval '9 s', 1), ('', false, 'b', 1, now(), 0)""",
    ),
    "stale customers, two of a lost worker": (
        _stale,
        "sync.customers.customer_id",
        """insert into sync.customers (account_id, live_mode, customer_id, stale, stale_since, attempts)
        values ('', false, 'a', 1, now() - interval '9 s', 1), ('', false, 'b', 1, now(), 1)""",
    ),
    "heavy customers": (
        _heavy,
        "sync.customers.customer_id",
        """with heavy as (insert into sync.heavy values ('', false, 'a'), ('', false, 'b') on conflict do nothing)
        insert into sync.customers (account_id, live_mode, customer_id, stale, stale_since)
        values ('', false, 'a', 1, now() - interval '9 s'), ('', false, 'b', 1, now())""",
    ),
    "pushes": (
        _pushes,
        "sync.pushes.customer_id",
        """insert into sync.pushes (account_id, live_mode, customer_id, due_at, wanted, wanted_since)
        values ('', false, 'a', now() - interval '9 s', '{}', now()), ('', false, 'b', now(), '{}', now())""",
    ),
    "records that time has changed": (
        _overdue,
        "sync.customers.customer_id",
        """insert into sync.customers (account_id, live_mode, customer_id, rederive_at)
        values ('', false, 'a', now() - interval '9 s'), ('', false, 'b', now())""",
    ),
    "histories": (
        _histories,
        "sync.customers.customer_id",
        """insert into sync.customers (account_id, live_mode, customer_id, history_at)
        values ('', false, 'a', now() - interval '9 s'), ('', false, 'b', now())""",
    ),
    "usage": (
        _usage,
        "sync.usage.customer_id",
        """insert into sync.usage (account_id, live_mode, customer_id, due_at)
        values ('', false, 'a', now() - interval '9 s'), ('', false, 'b', now())""",
    ),
    "gaps": (
        _gap,
        "sync.accounts.account_id",
        """insert into sync.accounts (account_id, live_mode, due_at)
        values ('a', false, now() - interval '9 s'), ('b', false, now())""",
    ),
    "scans": (
        _scan,
        "sync.scans.account_id",
        """insert into sync.scans (purpose, account_id, live_mode, kinds, whole, due_at)
        values ('audit', 'a', false, '{customer}', false, now() - interval '9 s'),
          ('audit', 'b', false, '{customer}', false, now())""",
    ),
    "windows": (
        _window,
        "sync.scan_windows.kind",
        """with scan as (
          insert into sync.scans (purpose, account_id, live_mode, kinds, whole, status, step)
          values ('audit', '', false, '{a, b}', false, 'running', 'lists')
          returning id
        )
        insert into sync.scan_windows (scan_id, kind, low, high, due_at)
        select id, kind, now(), now() + interval '1 s', due
        from scan, (values ('a', now() - interval '9 s'), ('b', now())) as of (kind, due)""",
    ),
}


async def test_i7_nobody_waits_for_what_another_claims(pool: Pool) -> None:
    """I7, I14: of two things that are due a worker is claiming the older one, a, and has not committed. Another worker
    takes the other one, and does not wait.
    """
    async with pool.acquire() as first, pool.acquire() as second:
        for name, (claim, where, rows) in CLAIMS.items():
            table, _, column = where.rpartition(".")
            await first.execute(f"delete from {table}")
            await first.execute(rows)
            async with first.transaction():
                await first.execute(f"select from {table} where {column} = 'a' for no key update")
                async with second.transaction():
                    await second.execute("set local lock_timeout = '10s'")
                    assert (name, ["b"]) == (name, await claim(second))


LOST: dict[str, tuple[Claim, str]] = {
    "events": (
        _events,
        """insert into sync.events (account_id, live_mode, event_id, type, payload, attempts, leased_until)
        values ('', false, 'a', '', '', 1, now() + interval '1 h'),
          ('', false, 'b', '', '', 1, now() - interval '1 s'),
          ('', false, 'c', '', '', 1, null), ('', false, 'd', '', '', 0, null), ('', false, 'e', '', '', 0, null)""",
    ),
    "stale customers": (
        _stale,
        """insert into sync.customers
          (account_id, live_mode, customer_id, stale, stale_since, attempts, leased_until)
        values ('', false, 'a', 1, now() - interval '5 s', 1, now() + interval '1 h'),
          ('', false, 'b', 1, now() - interval '4 s', 1, now() - interval '1 s'),
          ('', false, 'c', 1, now() - interval '3 s', 1, null),
          ('', false, 'd', 1, now() - interval '2 s', 0, null), ('', false, 'e', 1, now(), 0, null)""",
    ),
}
"""Another worker works on a; one was lost with b; c was tried and given back; d and e are new."""


async def test_i4_what_was_tried_before_is_taken_alone(pool: Pool) -> None:
    """I4, I7: what a lost worker held, or one that ended gave back, is taken again, one at a time and before what is
    new; and what another worker still holds keeps nobody from it.
    """
    async with pool.acquire() as connection:
        for name, (claim, rows) in LOST.items():
            await connection.execute(rows)
            claimed = [sorted(await claim(connection)) for _ in range(4)]
            assert (name, [["b"], ["c"], ["d", "e"], []]) == (name, claimed)
