"""Customers: found by any of their names, or listed by the page."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode
from uuid import UUID

from starlette.responses import Response

from db.keys import Scope
from db.records.customer import StoredCustomer, find_customers
from db.records.pages import NO_STATUS, Wanted, select_page
from db.sync.accounts import named_account
from db.sync.inbox_admin import select_marks_by_id, select_objects_by_id
from webhooks.answers import Refusal
from webhooks.console.pages import Page, Visit
from webhooks.console.words import STATUSES

FOUND_MAX = 50
LISTED = 50
NAME_LENGTH_MAX = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What is listed, as the form says it; '': whatever it is."""

    status: str
    product: str
    access: str
    mode: str
    account: str

    def query(self, **more: str) -> str:
        """The address of this list."""
        fields = {name: value for name, value in {**_fields(self), **more}.items() if value}
        return f"/console/customers{'?' if fields else ''}{urlencode(fields)}"


def _fields(filters: Filters) -> Mapping[str, str]:
    return {name: getattr(filters, name) for name in Filters.__slots__}


async def show(visit: Visit) -> Response:
    """What was searched for; without a search, a page of the list."""
    name = visit.asked("q")[:NAME_LENGTH_MAX]
    filters = await _filters(visit)
    if name:
        return await _found(visit, name, filters)
    return await _listed(visit, filters)


async def _filters(visit: Visit) -> Filters:
    mode = visit.asked("mode")
    if mode not in ("live", "test"):
        served = visit.desk.admin.live_mode
        if served is None:
            counts = await visit.desk.figures.counts.look()
            served = counts is not None and counts.live_mode(None)
        mode = "live" if served else "test"
    status, access = visit.asked("status"), visit.asked("access")
    return Filters(
        status=status if status == NO_STATUS or status in STATUSES else "",
        product=visit.asked("product"),
        access=access if access in ("yes", "no") else "",
        mode=mode,
        account=visit.asked("account"),
    )


async def _found(visit: Visit, name: str, filters: Filters) -> Response:
    async with visit.desk.context.readers.connection() as connection:
        found = await find_customers(connection, name, account_id=None, live_mode=None, limit=FOUND_MAX)
        # The id of an object leads to the customer that it belongs to.
        owners: list[StoredCustomer] = []
        known: list[str] = []
        if not found:
            for entry in await select_objects_by_id(connection, [name]):
                known.append(entry.kind)
                if entry.customer_id is not None:
                    owners += await find_customers(
                        connection,
                        entry.customer_id,
                        account_id=entry.account_id,
                        live_mode=entry.live_mode,
                        limit=1,
                    )
            known += ["customer" for _ in await select_marks_by_id(connection, [name])]
    hits = found or owners
    if len(hits) == 1:
        return visit.redirect(f"/console/customers/{hits[0].uid}")
    if not hits and name.startswith("evt_"):
        return visit.redirect(f"/console/events/{quote(name, safe='')}")
    return visit.page(
        "customers.html",
        title=f"Search: {name}",
        name=name,
        filters=filters,
        statuses=STATUSES,
        customers=hits,
        known=sorted(set(known)),
        following=None,
        first=None,
        status=200 if hits else 404,
    )


async def _listed(visit: Visit, filters: Filters) -> Response:
    wanted = Wanted(
        status=filters.status or None,
        product_id=filters.product or None,
        has_access=None if not filters.access else filters.access == "yes",
    )
    after = visit.asked("after")
    try:
        start = UUID(after) if after else None
    except ValueError:
        raise Refusal(422, "the page after this customer cannot be found: begin with the first one") from None
    async with visit.desk.context.readers.connection() as connection:
        scope = Scope(await named_account(connection, filters.account), filters.mode == "live")
        page = await select_page(connection, scope, wanted, after=start, limit=LISTED)
    following = filters.query(after=str(page.reached)) if page.more else None
    return visit.page(
        "customers.html",
        title="Customers",
        name="",
        filters=filters,
        statuses=STATUSES,
        customers=page.customers,
        known=[],
        following=following,
        first=filters.query() if start else None,
    )


PAGES = (Page(path="/console/customers", get=show),)
