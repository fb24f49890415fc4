"""Scans: an account's lists read from end to end, in windows that are leased, split and resumed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from billing.facts import ActiveEntitlement, SubscriptionItem, SubscriptionScheduleItem
from billing.lists import listed_kinds
from billing.registry import HINTED, KINDS
from db.columns import columns_of
from db.connection import Connection
from db.keys import CustomerKey, Scope, columns_of_keys

Purpose = Literal["backfill", "audit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRequest:
    """What is to be read of an account, and what for. The mode is no part of it: a worker's key decides that."""

    purpose: Purpose = "backfill"
    account_id: str = ""
    """Empty: the key's own account."""
    kinds: tuple[str, ...]
    """The kinds whose lists are read (`listed_kinds`)."""
    since: datetime | None = None
    until: datetime | None = None
    """Bounds of `created`, [since, until)."""
    customer_id: str | None = None
    """Only this customer, through its own lists."""
    repair: bool = False

    @property
    def whole(self) -> bool:
        """Everything from the beginning until now: only this makes customers complete."""
        narrowed = (self.since, self.until, self.customer_id) != (None, None, None)
        return self.kinds == listed_kinds() and not narrowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One reading of an account's lists."""

    id: int
    purpose: Purpose
    account_id: str
    live_mode: bool
    kinds: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    customer_id: str | None
    whole: bool
    repair: bool
    status: str
    requested_at: datetime
    horizon: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    begun_tick: int | None
    step: str
    step_cursor: str
    attempts: int
    error: str | None
    unread: str | None
    """What steps after the lists could not read: who is incomplete for it has its own history pulled."""

    @property
    def scope(self) -> Scope:
        """The account, in the mode, whose lists are read."""
        return Scope(self.account_id, self.live_mode)


_SCAN_COLUMNS = ", ".join(column for column in Scan.__dataclass_fields__)


def _scan(row: object) -> Scan:
    values = dict(row)  # type: ignore[call-overload]
    values["kinds"] = tuple(values["kinds"])
    return Scan(**values)


REQUEST_SCAN = f"""
insert into sync.scans (purpose, account_id, live_mode, kinds, since, until, customer_id, whole, repair)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
returning {_SCAN_COLUMNS}
"""


async def request_scan(connection: Connection, request: ScanRequest, *, live_mode: bool) -> Scan:
    """Add a scan, in the mode of the key. A worker begins when it sees the row."""
    return _scan(
        await connection.fetchrow(
            REQUEST_SCAN,
            request.purpose,
            request.account_id,
            live_mode,
            list(request.kinds),
            request.since,
            request.until,
            request.customer_id,
            request.whole,
            request.repair,
        )
    )


SELECT_SCAN = f"""
select {_SCAN_COLUMNS} from sync.scans where id = $1 and purpose = coalesce($2, purpose)
"""


async def select_scan(connection: Connection, scan_id: int, purpose: Purpose | None = None) -> Scan | None:
    """One scan; None where there is none of this number and purpose."""
    row = await connection.fetchrow(SELECT_SCAN, scan_id, purpose)
    return None if row is None else _scan(row)


SELECT_SCANS = f"""
select {_SCAN_COLUMNS} from sync.scans where purpose = $1 order by id desc limit $2
"""


async def select_scans(connection: Connection, purpose: Purpose, *, limit: int) -> list[Scan]:
    """The latest scans of a purpose, the newest first."""
    return [_scan(row) for row in await connection.fetch(SELECT_SCANS, purpose, limit)]


SELECT_UNFINISHED_TWIN = f"""
select {_SCAN_COLUMNS}
from sync.scans
where purpose = $1 and account_id = $2 and live_mode = $3 and status in ('queued', 'running')
  and (kinds, since, until, customer_id, repair) is not distinct from ($4::text[], $5, $6, $7, $8)
order by id
limit 1
"""


async def select_unfinished_twin(
    connection: Connection, request: ScanRequest, *, live_mode: bool
) -> Scan | None:
    """A scan with the same request that has not ended yet; None where there is none."""
    row = await connection.fetchrow(
        SELECT_UNFINISHED_TWIN,
        request.purpose,
        request.account_id,
        live_mode,
        list(request.kinds),
        request.since,
        request.until,
        request.customer_id,
        request.repair,
    )
    return None if row is None else _scan(row)


CLAIM_SCAN = f"""
with next as (
  select id
  from sync.scans s
  where finished_at is null and due_at <= now() and live_mode = $1 and (
    step <> 'lists' or status = 'canceled'
    or not exists (select from sync.scan_windows w where w.scan_id = s.id and w.state = 'open')
  )
  order by due_at
  limit 1
  for no key update skip locked
)
update sync.scans s
set due_at = now() + $2, attempts = s.attempts + 1
from next
where s.id = next.id
returning {", ".join(f"s.{column}" for column in Scan.__dataclass_fields__)}
"""


async def claim_scan(connection: Connection, *, live_mode: bool, lease: timedelta) -> Scan | None:
    """Lease a scan whose next step is not the reading of a window: to begin it, or to finish it."""
    row = await connection.fetchrow(CLAIM_SCAN, live_mode, lease)
    return None if row is None else _scan(row)


BEGIN_SCAN = """
update sync.scans
set status = 'running', step = $3, started_at = now(), horizon = $2, begun_tick = nextval('sync.tick'),
  due_at = now(), attempts = 0
where id = $1 and status = 'queued'
returning true
"""

OPEN_WINDOWS = """
insert into sync.scan_windows (scan_id, kind, variant, low, high)
select $1::bigint, kind, variant, $4, $5 from unnest($2::text[], $3::text[]) as new (kind, variant)
"""


async def begin_scan(
    connection: Connection, scan: Scan, *, horizon: datetime, low: datetime, high: datetime, step: str
) -> None:
    """Open one window per kind and reading of its list, [low, high). In a transaction; does nothing for a scan that was
    canceled.
    """
    if await connection.fetchval(BEGIN_SCAN, scan.id, horizon, step) and step == "lists" and low < high:
        await connection.execute(OPEN_WINDOWS, scan.id, *_readings(scan), low, high)


def _readings(scan: Scan) -> tuple[list[str], list[str]]:
    """What a scan has to read: the kinds, and beside each what its list is asked for; one with halves stands twice."""
    readings = [(kind, variant) for kind in scan.kinds for variant in KINDS[kind].list_variants]
    return [kind for kind, _ in readings], [variant for _, variant in readings]


MOVE_SCAN = """
update sync.scans
set step = $2, step_cursor = $3, due_at = now() + $4, attempts = 0
where id = $1
"""


async def move_scan(
    connection: Connection, scan_id: int, *, step: str, cursor: str = "", wait: timedelta = timedelta(0)
) -> None:
    """Note how far the scan is, and when to go on."""
    await connection.execute(MOVE_SCAN, scan_id, step, cursor, wait)


POSTPONE_SCAN = """
update sync.scans
set due_at = now() + $2, error = $3, attempts = case when $4::boolean then attempts else attempts - 1 end
where id = $1
"""


async def postpone_scan(
    connection: Connection, scan_id: int, *, wait: timedelta, error: str, counts: bool
) -> None:
    """Say why the step did not succeed, and when to try it again; `counts` is False where Stripe was only busy."""
    await connection.execute(POSTPONE_SCAN, scan_id, wait, error, counts)


SKIP_STEP = """
update sync.scans
set step = $2, step_cursor = '', due_at = now(), attempts = 0, unread = concat_ws('; ', unread, $3::text)
where id = $1
"""


async def skip_step(connection: Connection, scan_id: int, *, step: str, unread: str) -> None:
    """Go on with a step though the one before was given up: what it has not read is kept for the end."""
    await connection.execute(SKIP_STEP, scan_id, step, unread)


FINISH_SCAN = """
update sync.scans
set status = case when status = 'canceled' then status else $2 end, finished_at = now(), error = $3,
  started_at = coalesce(started_at, now())
where id = $1
"""


async def finish_scan(connection: Connection, scan_id: int, *, status: str, error: str | None) -> None:
    """The last step is done."""
    await connection.execute(FINISH_SCAN, scan_id, status, error)


CANCEL_SCAN = f"""
update sync.scans
set status = 'canceled', due_at = now()
where id = $1 and purpose = $2 and status in ('queued', 'running')
returning {_SCAN_COLUMNS}
"""


async def cancel_scan(connection: Connection, scan_id: int, purpose: Purpose) -> Scan | None:
    """Stop at the next page; None where it has ended already. What was stored stays."""
    row = await connection.fetchrow(CANCEL_SCAN, scan_id, purpose)
    return None if row is None else _scan(row)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of one kind's `created`, [low, high), read from its young end; `scan` tells what for."""

    scan: Scan
    kind: str
    variant: str
    """Which of the kind's `list_variants` is read; empty where its list is one."""
    low: datetime
    high: datetime
    cursor_id: str | None
    cursor_created: datetime | None
    edge_ids: tuple[str, ...]
    attempts: int
    tick: int
    """Drawn before its next page is asked for."""


CLAIM_WINDOW = f"""
with next as (
  select w.scan_id, w.kind, w.variant, w.high
  from sync.scan_windows w
  join sync.scans s on s.id = w.scan_id
  where s.status = 'running' and s.live_mode = $1 and w.state = 'open' and w.due_at <= now()
  order by w.due_at
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
    """Lease the window that has been due longest, counting the attempt and drawing the tick of its next page.

    Commit before its request leaves.
    """
    row = await connection.fetchrow(CLAIM_WINDOW, live_mode, lease)
    if row is None:
        return None
    return Window(
        scan=_scan({name: row[name] for name in Scan.__dataclass_fields__}),
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


class LostWindow(Exception):  # noqa: N818 - it names what happened
    """Somebody else went on with this window, or its scan was canceled: the page is not ours to store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A page that was read: the window before and after it, and what it held and took."""

    window: Window
    after: Window
    objects: int
    requests: int
    done: bool


WindowKey = tuple[int, str, str, datetime]
"""(scan, kind, variant, high)"""


async def advance_windows(
    connection: Connection, steps: Sequence[Step], *, lease: timedelta
) -> dict[WindowKey, int]:
    """Move the cursors of windows, in the transaction that stores their pages, and open what was split off them.

    Returns the tick of the next page of each; a window that is not among them is lost, and its page not ours to store.
    """
    rows = await connection.fetch(
        ADVANCE_WINDOWS,
        [step.window.scan.id for step in steps],
        [step.window.kind for step in steps],
        [step.window.high for step in steps],
        [step.window.cursor_id for step in steps],
        [step.after.cursor_id for step in steps],
        [step.after.cursor_created for step in steps],
        [msgspec.json.encode(step.after.edge_ids).decode() for step in steps],
        [step.objects for step in steps],
        [step.requests for step in steps],
        [step.after.low for step in steps],
        [step.done for step in steps],
        [step.window.variant for step in steps],
        lease,
    )
    ticks = {(row[0], row[1], row[2], row[3]): row[4] for row in rows}
    split = [step for step in steps if step.after.low > step.window.low and key_of(step.window) in ticks]
    if split:
        await connection.execute(
            SPLIT_WINDOWS,
            [step.window.scan.id for step in split],
            [step.window.kind for step in split],
            [step.window.variant for step in split],
            [step.window.low for step in split],
            [step.after.low for step in split],
        )
    return ticks


def key_of(window: Window) -> WindowKey:
    """What names a window's row: its upper bound never moves."""
    return window.scan.id, window.kind, window.variant, window.high


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
    """Say why a page was not read; `failed` gives the window up, `counts` is False where Stripe was only busy."""
    await connection.execute(
        POSTPONE_WINDOW,
        *key_of(window),
        window.cursor_id,
        retry_after,
        error,
        failed,
        counts,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KindProgress:
    """How far one kind of a scan is."""

    kind: str
    windows: int
    windows_done: int
    objects: int
    requests: int
    share_done: float
    """Of the stretch of time that the lists cover, the part that has been read."""
    errors: tuple[str, ...]


SELECT_PROGRESS = """
select kind, count(*) as windows, count(*) filter (where state = 'done') as windows_done,
  sum(objects)::bigint as objects, sum(requests)::bigint as requests,
  (
    sum(
      extract(epoch from case
        when state = 'done' then high - low
        else high - coalesce(least(cursor_created, high), high)
      end)
    ) / greatest(sum(extract(epoch from high - low)), 1)
  )::float8 as share_done,
  array_agg(error order by high) filter (where error is not null and state <> 'done') as errors
from sync.scan_windows
where scan_id = $1
group by kind
"""


async def select_progress(connection: Connection, scan_id: int) -> list[KindProgress]:
    """How far each kind is, in the registry's order."""
    rows = {row["kind"]: row for row in await connection.fetch(SELECT_PROGRESS, scan_id)}
    return [
        KindProgress(**{**rows[kind], "errors": tuple(rows[kind]["errors"] or ())})
        for kind in KINDS
        if kind in rows
    ]


# A window that begins where no other ends, or ends where no other begins, leaves a hole beside it. Each reading of a
# list must be without one: half of it is not the list.
SELECT_HOLES = """
with tiles as (
  select kind, variant, low, high, state, error,
    lag(high) over (partition by kind, variant order by high) as reached
  from sync.scan_windows
  where scan_id = $1
), ends as (
  select wanted.kind, min(t.low) as low, max(t.high) as high
  from unnest($2::text[], $3::text[]) as wanted (kind, variant)
  left join tiles t using (kind, variant)
  group by wanted.kind, wanted.variant
)
select kind, low, high, error from tiles where state <> 'done'
union all
select kind, reached, low, 'this stretch was never read' from tiles where reached <> low
union all
select kind, $4, $5, 'not all of it was read' from ends where low is distinct from $4 or high is distinct from $5
order by 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """A stretch of one kind that was not read to its end."""

    kind: str
    low: datetime
    high: datetime
    error: str | None


async def select_holes(connection: Connection, scan: Scan, *, low: datetime, high: datetime) -> list[Hole]:
    """What is missing of the tiling of [low, high) by windows that were read to their end; empty: nothing is."""
    rows = await connection.fetch(SELECT_HOLES, scan.id, *_readings(scan), low, high)
    return [Hole(**row) for row in rows]


def _mark_references() -> dict[str, str]:
    """Per column that names a mirrored object: the statement that marks those which nobody knows of yet."""
    tables: list[tuple[str, type, str]] = [
        (kind.table, kind.facts, kind.name) for kind in KINDS.values() if kind.confirmed_on_event
    ]
    tables.append(("stripe.subscription_items", SubscriptionItem, "subscription_item"))
    tables.append(
        ("stripe.subscription_schedule_items", SubscriptionScheduleItem, "subscription_schedule_item")
    )
    tables.append(("stripe.active_entitlements", ActiveEntitlement, "active_entitlement"))
    statements = {}
    for table, facts, holder in tables:
        columns = {column.name for column in columns_of(facts)}
        for column in sorted(columns):
            named = column.removesuffix("_id").removeprefix("latest_").removeprefix("released_")
            named = {"schedule": "subscription_schedule"}.get(named, named)
            if not column.endswith("_id") or named not in KINDS or named in HINTED or named == holder:
                continue
            owner = f"t.{column}" if named == "customer" else "t.customer_id"
            if not KINDS[named].names_customer or ("customer_id" not in columns):
                owner = "null::text"
            statements[f"{holder}.{column}"] = f"""
insert into sync.objects (account_id, live_mode, kind, id, customer_id, source, dirty, first_marked_at, read_at)
select $1, $2, '{named}', id, customer_id, 'backfill', nextval('sync.tick'), now(), now()
from (
  select t.{column} as id, min({owner}) as customer_id
  from {table} t
  where t.account_id = $1 and t.live_mode = $2 and t.{column} is not null
    and not exists (
      select from sync.objects o
      where o.account_id = $1 and o.live_mode = $2 and o.kind = '{named}' and o.id = t.{column}
    )
  group by t.{column}
  order by t.{column}
) as unknown
on conflict do nothing
"""
    return statements


MARK_REFERENCES = dict(sorted(_mark_references().items()))
"""By the column that names other objects: what marks those that nothing was ever said about, so that they are read."""


async def mark_references(connection: Connection, column: str, *, account_id: str, live_mode: bool) -> None:
    """Mark what a column names and no list held (a deleted customer is in no list): it is read by its id."""
    await connection.execute(MARK_REFERENCES[column], account_id, live_mode)


# A customer younger than the horizon is none of the scan's: its customer.created makes it complete. Of who is on a test
# clock the lists have not told all: their own history does.
COVER_CUSTOMERS = """
with next as (
  select o.id, coalesce(c.created, o.event_created, '-infinity') <= $4
    and (c.id is not null or o.source = 'backfill') and c.test_clock is null as covered
  from sync.objects o
  left join stripe.customers c on c.account_id = o.account_id and c.live_mode = o.live_mode and c.id = o.id
  where o.account_id = $1 and o.live_mode = $2 and o.kind = 'customer' and o.id > $3
  order by o.id
  limit $6
), written as (
  insert into sync.customers as k (account_id, live_mode, customer_id, stale, stale_since, complete, history_at)
  select $1, $2, id, 1, now(), covered and $5, case when not (covered and $5) then now() end
  from next
  order by id
  on conflict (account_id, live_mode, customer_id) do update set
    stale = k.stale + 1,
    stale_since = case when k.stale > k.derived then k.stale_since else now() end,
    complete = k.complete or excluded.complete,
    history_at = case
      when excluded.complete and k.history_asked = 0 then null
      when k.complete then k.history_at
      else coalesce(k.history_at, excluded.history_at)
    end,
    history_error = case when not excluded.complete then k.history_error end,
    attempts = case when k.parked_at is null then k.attempts else 0 end,
    parked_at = null
)
select max(id) from next
"""


async def cover_customers(
    connection: Connection, scan: Scan, *, complete: bool, after: str, limit: int
) -> str | None:
    """Have the customers after an id derived, `complete` where every list was read to its end, else their histories
    pulled; returns the last id, None when there were none.
    """
    last: str | None = await connection.fetchval(
        COVER_CUSTOMERS, scan.account_id, scan.live_mode, after, scan.horizon, complete, limit
    )
    return last


MARK_KNOWN_STALE = """
with known as (
  select account_id, live_mode, customer_id
  from sync.customers
  join unnest($1::text[], $2::boolean[], $3::text[]) as new (account_id, live_mode, customer_id)
    using (account_id, live_mode, customer_id)
  where complete
  order by 1, 2, 3
  for no key update of customers
)
update sync.customers c
set stale = c.stale + 1, stale_since = case when c.stale > c.derived then c.stale_since else now() end
from known k
where (c.account_id, c.live_mode, c.customer_id) = (k.account_id, k.live_mode, k.customer_id)
"""


async def mark_known_stale(connection: Connection, customers: Sequence[CustomerKey]) -> None:
    """Raise `stale` of those customers that are complete already. The others are derived when all of them is known:
    a status in the middle of the filling is one that they never had.
    """
    await connection.execute(
        MARK_KNOWN_STALE,
        *columns_of_keys(CustomerKey, customers),
    )


SELECT_HISTORY = """
select history_at is not null as wanted, history_attempts, history_error
from sync.customers
where account_id = $1 and live_mode = $2 and customer_id = $3
"""


async def select_history(connection: Connection, key: CustomerKey) -> tuple[bool, int, str | None]:
    """Whether a customer's history is still to be pulled, how often that was begun, and what the last failure said."""
    row = await connection.fetchrow(SELECT_HISTORY, *key)
    return (False, 0, None) if row is None else (row[0], row[1], row[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectsReport:
    """How far one kind of a scan is, as operators are told."""

    object: str
    windows: int
    windows_done: int
    rows: int
    requests: int
    rows_per_second: float
    eta_seconds: float | None
    """Guessed from the stretch of time that is left; None where nothing is known yet."""
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """A backfill or audit as operators are told of it."""

    id: int
    status: str
    account: str
    live_mode: bool
    since: datetime | None
    until: datetime | None
    customer: str | None
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    step: str
    error: str | None
    objects: tuple[ObjectsReport, ...]


SELECT_NOW = "select clock_timestamp()"


async def report_scan(connection: Connection, scan: Scan) -> ScanReport:
    """How far a scan is."""
    now: datetime = await connection.fetchval(SELECT_NOW)
    seconds = 0.0
    if scan.started_at is not None:
        seconds = max(((scan.finished_at or now) - scan.started_at).total_seconds(), 0.001)
    objects = []
    for kind in await select_progress(connection, scan.id):
        done = kind.windows_done == kind.windows
        left = (1 - kind.share_done) / kind.share_done * seconds if kind.share_done > 0 else None
        objects.append(
            ObjectsReport(
                object=kind.kind,
                windows=kind.windows,
                windows_done=kind.windows_done,
                rows=kind.objects,
                requests=kind.requests,
                rows_per_second=round(kind.objects / seconds, 1) if seconds else 0.0,
                eta_seconds=0.0 if done or scan.finished_at else None if left is None else round(left, 1),
                errors=kind.errors,
            )
        )
    return ScanReport(
        id=scan.id,
        status=scan.status,
        account=scan.account_id,
        live_mode=scan.live_mode,
        since=scan.since,
        until=scan.until,
        customer=scan.customer_id,
        requested_at=scan.requested_at,
        started_at=scan.started_at,
        finished_at=scan.finished_at,
        step=scan.step,
        error=scan.error,
        objects=tuple(objects),
    )
