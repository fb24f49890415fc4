"""Who works, and what somebody should look at: shown by `subledger status` beside the backlog."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from db.connection import Connection

LOST_AFTER_SECONDS = 35.0
"""A worker beats every ten seconds: whoever missed three beats is taken for lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSign:
    """A worker process as it last said."""

    id: str
    started_at: datetime
    beat_at: datetime
    seconds_since_beat: float
    detail: Mapping[str, Any]
    """What it says of itself: the state of Redis, restarts."""

    @property
    def alive(self) -> bool:
        """It has beaten lately enough to be believed at work."""
        return self.seconds_since_beat <= LOST_AFTER_SECONDS


SELECT_WORKERS = """
select id, started_at, beat_at, extract(epoch from now() - beat_at)::float8 as seconds_since_beat, detail
from sync.workers
order by started_at, id
"""


async def select_workers(connection: Connection) -> list[WorkerSign]:
    """Every worker that did not end in good order within the last day, the oldest first."""
    rows = await connection.fetch(SELECT_WORKERS)
    return [WorkerSign(**{**row, "detail": msgspec.json.decode(row["detail"])}) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProblem:
    """A row of sync.problems: what somebody should mend."""

    account_id: str
    live_mode: bool
    customer_id: str
    kind: str
    object_id: str
    detail: str
    first_seen_at: datetime


SELECT_PROBLEMS = """
select account_id, live_mode, customer_id, kind, object_id, detail, first_seen_at
from sync.problems
order by first_seen_at, account_id, live_mode, customer_id, kind, object_id
limit $1
"""


async def select_problems(connection: Connection, *, limit: int) -> list[KnownProblem]:
    """The problems of all customers, the oldest first."""
    return [KnownProblem(**row) for row in await connection.fetch(SELECT_PROBLEMS, limit)]


SELECT_PROBLEMS_OF_CUSTOMER = """
select account_id, live_mode, customer_id, kind, object_id, detail, first_seen_at
from sync.problems
where account_id = $1 and live_mode = $2 and customer_id = $3
order by first_seen_at, kind, object_id
"""


async def select_problems_of_customer(
    connection: Connection, account_id: str, live_mode: bool, customer_id: str
) -> list[KnownProblem]:
    """The problems of one customer, the oldest first."""
    rows = await connection.fetch(SELECT_PROBLEMS_OF_CUSTOMER, account_id, live_mode, customer_id)
    return [KnownProblem(**row) for row in rows]
