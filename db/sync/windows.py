"""Windows: the stretches of `created` in which a scan reads a kind's list; they are leased, split and resumed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from db.connection import Connection
from db.sync.scans import Scan, scan_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of one kind's `created`, [low, high), read from its young end, for `scan`."""

    scan: Scan
    kind: str
    variant: str
    """Which of the kind's `list_variants` is read; empty if the list has no variants."""
    low: datetime
    high: datetime
    cursor_id: str | None
    cursor_created: datetime | None
    edge_ids: tuple[str, ...]
    attempts: int
    tick: int
    """Drawn before the request for its next page."""


# Stripe limits each list by itself, so a window of the kind goes first of which the fewest are being read.
CLAIM_WINDOW = f"""
with being_read as (
  select kind, count(*) as windows
  from sync.scan_windows
  where state = 'open' and due_at > now()
  group by kind
),
next as (
  select w.scan_id, w.kind, w.variant, w.high
  from sync.scan_windows w
  join sync.scans s on s.id = w.scan_id
  left join being_read r on r.kind = w.kind
  where s.status = 'running' and s.live_mode = $1 and w.state = 'open' and w.due_at <= now()
  order by coalesce(r.windows, 0), w.due_at
  limit 1
  for no key update of w skip locked
)
update sync.scan_windows w
set due_at = now() + $2, attempts = w.attempts + 1
from next n
join sync.scans s on s.id = n.scan_id
where (w.scan_id, w.kind, w.variant, w.high) = (n.scan_id, n.kind, n.variant, n.high)
returning w.kind, w.variant, w.low, w.high, w.cursor_id, w.cursor_created, w.edge_ids, w.attempts as window_attempts,
  nextval('sync.tick') as tick, {", ".join(f"s.{column}" for column in Scan.__dataclass_fields__)}
"""


async def claim_window(connection: Connection, *, live_mode: bool, lease: timedelta) -> Window | None:
    """Lease the window that has been due longest, of the kind of which the fewest are being read, counting the attempt
    and drawing the tick of its next page.

    Commit before its request leaves.
    """
    row = await connection.fetchrow(CLAIM_WINDOW, live_mode, lease)
    if row is None:
        return None
    return Window(
        scan=scan_of({name: row[name] for name in Scan.__dataclass_fields__}),
        kind=row["kind"],
        variant=row["variant"],
        low=row["low"],
        high=row["high"],
        cursor_id=row["cursor_id"],
        cursor_created=row["cursor_created"],
        edge_ids=tuple(row["edge_ids"]),
        attempts=row["window_attempts"],
        tick=row["tick"],
    )


COUNT_OPEN_WINDOWS = "select count(*) from sync.scan_windows where scan_id = $1 and state = 'open'"


async def count_open_windows(connection: Connection, scan_id: int) -> int:
    """How many windows are still to be read to their end."""
    count: int = await connection.fetchval(COUNT_OPEN_WINDOWS, scan_id)
    return count


ADVANCE_WINDOWS = """
update sync.scan_windows w
set cursor_id = new.cursor_id, cursor_created = new.cursor_created,
  edge_ids = array(select jsonb_array_elements_text(new.edge_ids::jsonb)),
  objects = w.objects + new.objects, requests = w.requests + new.requests, low = new.low,
  state = case when new.done then 'done' else 'open' end, attempts = 0, error = null, due_at = now() + $13
from unnest(
  $1::bigint[], $2::text[], $3::timestamptz[], $4::text[], $5::text[], $6::timestamptz[], $7::text[], $8::bigint[],
  $9::bigint[], $10::timestamptz[], $11::boolean[], $12::text[]
) as new (scan_id, kind, high, read_after, cursor_id, cursor_created, edge_ids, objects, requests, low, done, variant)
where (w.scan_id, w.kind, w.variant, w.high) = (new.scan_id, new.kind, new.variant, new.high)
  and w.cursor_id is not distinct from new.read_after and w.state = 'open'
  and exists (select from sync.scans s where s.id = w.scan_id and s.status = 'running')
returning w.scan_id, w.kind, w.variant, w.high, nextval('sync.tick') as tick
"""

SPLIT_WINDOWS = """
insert into sync.scan_windows (scan_id, kind, variant, low, high)
select * from unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[], $5::timestamptz[])
"""


class LostWindow(Exception):
    """Another worker went on with this window, or its scan was canceled: the page is not ours to store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """What a page does to its window: the window before and after it, its objects and the requests it took."""

    window: Window
    after: Window
    objects: int
    requests: int
    done: bool


class WindowKey(NamedTuple):
    """The primary key of a window's row; its upper bound never moves."""

    scan_id: int
    kind: str
    variant: str
    high: datetime


async def advance_windows(
    connection: Connection, advances: Sequence[Advance], *, lease: timedelta
) -> dict[WindowKey, int]:
    """Move the cursors of windows, in the transaction that stores their pages, and open the parts that were split off.

    Returns the tick of each window's next page. A window that is not among them is lost, and its page is not
    ours to store.
    """
    rows = await connection.fetch(
        ADVANCE_WINDOWS,
        [each.window.scan.id for each in advances],
        [each.window.kind for each in advances],
        [each.window.high for each in advances],
        [each.window.cursor_id for each in advances],
        [each.after.cursor_id for each in advances],
        [each.after.cursor_created for each in advances],
        [msgspec.json.encode(each.after.edge_ids).decode() for each in advances],
        [each.objects for each in advances],
        [each.requests for each in advances],
        [each.after.low for each in advances],
        [each.done for each in advances],
        [each.window.variant for each in advances],
        lease,
    )
    ticks = {WindowKey(*row[:4]): row[4] for row in rows}
    split = [each for each in advances if each.after.low > each.window.low and key_of(each.window) in ticks]
    if split:
        await connection.execute(
            SPLIT_WINDOWS,
            [each.window.scan.id for each in split],
            [each.window.kind for each in split],
            [each.window.variant for each in split],
            [each.window.low for each in split],
            [each.after.low for each in split],
        )
    return ticks


def key_of(window: Window) -> WindowKey:
    """The key of a window's row."""
    return WindowKey(window.scan.id, window.kind, window.variant, window.high)


RELEASE_WINDOW = """
update sync.scan_windows
set due_at = now(), attempts = 0
where scan_id = $1 and kind = $2 and variant = $3 and high = $4 and cursor_id is not distinct from $5
  and state = 'open'
"""


async def release_window(connection: Connection, window: Window) -> None:
    """Give the lease back."""
    await connection.execute(RELEASE_WINDOW, *key_of(window), window.cursor_id)


POSTPONE_WINDOW = """
update sync.scan_windows
set due_at = now() + $6, error = $7, requests = requests + 1,
  state = case when $8::boolean then 'failed' else state end,
  attempts = case when $9::boolean then attempts else attempts - 1 end
where scan_id = $1 and kind = $2 and variant = $3 and high = $4 and cursor_id is not distinct from $5
  and state = 'open'
"""


async def postpone_window(
    connection: Connection,
    window: Window,
    *,
    error: str,
    retry_after: timedelta,
    failed: bool,
    counts: bool,
) -> None:
    """Note why a page was not read; `failed` gives the window up, `counts` is False if Stripe was only busy."""
    await connection.execute(
        POSTPONE_WINDOW,
        *key_of(window),
        window.cursor_id,
        retry_after,
        error,
        failed,
        counts,
    )
