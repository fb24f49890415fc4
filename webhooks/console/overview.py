"""The overview: how it is, at one look."""

import asyncio
from collections import Counter
from dataclasses import dataclass

from starlette.responses import Response

from db.records.figures import measure_rate, select_newest_changes
from db.sync.audit_reports import select_last_audit
from db.sync.status import select_backlog, select_workers
from webhooks.console.drawings import charts_of
from webhooks.console.figures import Counts
from webhooks.console.pages import Page, Visit
from webhooks.console.words import STATUSES

REFRESH_SECONDS = 5
CHANGES_MAX = 10
RATE_SECONDS = 300.0
RATE_EVENTS_MAX = 5_000
"""Of the latest events, how many are looked at to tell how many come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Customers:
    """The customers of the mode that is shown."""

    by_status: list[tuple[str | None, int]]
    """From the best status to none; those without customers are left out."""
    total: int
    exact_percent: str
    """Rounded down: 100 % means all."""


async def show(visit: Visit) -> Response:
    """Customers, backlog, alarms, the newest changes of status, and the charts."""
    desk = visit.desk
    served = desk.admin.live_mode
    async with desk.context.readers.connection() as connection:
        backlog = await select_backlog(connection, live_mode=served)
        workers = await select_workers(connection)
        audit = await select_last_audit(connection)
        changes = await select_newest_changes(connection, limit=CHANGES_MAX)
        rate = await measure_rate(connection, walked_max=RATE_EVENTS_MAX, seconds=RATE_SECONDS)
    counts, history = await asyncio.gather(desk.figures.counts.look(), desk.figures.history.look())
    live_mode = counts.live_mode(served) if counts else bool(served)
    return visit.page(
        "overview.html",
        title="Overview",
        refresh_seconds=REFRESH_SECONDS,
        backlog=backlog,
        workers_alive=sum(each.alive for each in workers),
        workers_lost=sum(not each.alive for each in workers),
        audit=audit,
        changes=changes,
        rate=rate,
        counts=counts,
        history=history,
        counts_failed=desk.figures.counts.failed,
        history_failed=desk.figures.history.failed,
        live_mode=live_mode,
        customers=_customers(counts, live_mode=live_mode) if counts else None,
        mrr=[each for each in counts.mrr if each.live_mode == live_mode] if counts else [],
        charts=charts_of(history, counts, live_mode=live_mode) if history else [],
    )


def _customers(counted: Counts, *, live_mode: bool) -> Customers:
    counts: Counter[str | None] = Counter()
    exact = 0
    for each in counted.customers:
        if each.live_mode == live_mode:
            counts[each.status] += each.customers
            exact += each.exact
    total = sum(counts.values())
    known = [*STATUSES, *sorted(status for status in counts if status not in STATUSES and status is not None)]
    return Customers(
        by_status=[(status, counts[status]) for status in known if counts[status]],
        total=total,
        exact_percent=f"{100 * exact // total} %" if total else "–",  # noqa: RUF001 - a dash as people write it
    )


PAGES = (Page(path="/", get=show),)
