"""Scans: backfills and audits, which read an account's lists from end to end."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from billing.kinds.lists import listed_kinds
from billing.kinds.registry import KINDS
from db.connection import Connection
from db.keys import Scope

Purpose = Literal["backfill", "audit"]

LISTS_STEP = "lists"
"""The step during which a scan's windows are claimed, and not the scan itself."""


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
    """What steps after the lists could not read. Customers that lack it get their own histories pulled."""

    @property
    def scope(self) -> Scope:
        """The account and mode whose lists are read."""
        return Scope(self.account_id, self.live_mode)


_SCAN_COLUMNS = ", ".join(column for column in Scan.__dataclass_fields__)


def scan_of(row: object) -> Scan:
    """The scan that a row of sync.scans (a record or mapping with all of Scan's columns) stores."""
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
    return scan_of(
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
    """One scan; None if there is none of this number and purpose."""
    row = await connection.fetchrow(SELECT_SCAN, scan_id, purpose)
    return None if row is None else scan_of(row)


SELECT_SCANS = f"""
select {_SCAN_COLUMNS} from sync.scans where purpose = $1 order by id desc limit $2
"""


async def select_scans(connection: Connection, purpose: Purpose, *, limit: int) -> list[Scan]:
    """The latest scans of a purpose, the newest first."""
    return [scan_of(row) for row in await connection.fetch(SELECT_SCANS, purpose, limit)]


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
    """A scan with the same request that has not ended yet; None if there is none."""
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
    return None if row is None else scan_of(row)


CLAIM_SCAN = f"""
with next as (
  select id
  from sync.scans s
  where finished_at is null and due_at <= now() and live_mode = $1 and (
    step <> '{LISTS_STEP}' or status = 'canceled'
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
    """Lease a scan whose next step does not read a window: it is to begin, or its lists are read; None: none is due."""
    row = await connection.fetchrow(CLAIM_SCAN, live_mode, lease)
    return None if row is None else scan_of(row)


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
    if await connection.fetchval(BEGIN_SCAN, scan.id, horizon, step) and step == LISTS_STEP and low < high:
        await connection.execute(OPEN_WINDOWS, scan.id, *readings_of(scan), low, high)


def readings_of(scan: Scan) -> tuple[list[str], list[str]]:
    """What a scan has to read: kinds, and the variant of each kind's list. A list with two variants appears twice."""
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
    """Note how far the scan is, and when it is due again."""
    await connection.execute(MOVE_SCAN, scan_id, step, cursor, wait)


POSTPONE_SCAN = """
update sync.scans
set due_at = now() + $2, error = $3, attempts = case when $4::boolean then attempts else attempts - 1 end
where id = $1
"""


async def postpone_scan(
    connection: Connection, scan_id: int, *, wait: timedelta, error: str, counts: bool
) -> None:
    """Note why the step failed, and when to try it again; `counts` is False if Stripe was only busy."""
    await connection.execute(POSTPONE_SCAN, scan_id, wait, error, counts)


SKIP_STEP = """
update sync.scans
set step = $2, step_cursor = '', due_at = now(), attempts = 0, unread = concat_ws('; ', unread, $3::text)
where id = $1
"""


async def skip_step(connection: Connection, scan_id: int, *, step: str, unread: str) -> None:
    """Go on with a step although the one before was given up; why is kept in `unread`."""
    await connection.execute(SKIP_STEP, scan_id, step, unread)


FINISH_SCAN = """
update sync.scans
set status = case when status = 'canceled' then status else $2 end, finished_at = now(), error = $3,
  started_at = coalesce(started_at, now())
where id = $1
"""


async def finish_scan(connection: Connection, scan_id: int, *, status: str, error: str | None) -> None:
    """End a scan; a canceled one stays canceled."""
    await connection.execute(FINISH_SCAN, scan_id, status, error)


CANCEL_SCAN = f"""
update sync.scans
set status = 'canceled', due_at = now()
where id = $1 and purpose = $2 and status in ('queued', 'running')
returning {_SCAN_COLUMNS}
"""


async def cancel_scan(connection: Connection, scan_id: int, purpose: Purpose) -> Scan | None:
    """Stop at the next page; None if it has ended already. What was stored stays."""
    row = await connection.fetchrow(CANCEL_SCAN, scan_id, purpose)
    return None if row is None else scan_of(row)
