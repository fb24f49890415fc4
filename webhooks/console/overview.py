"""The overview: how it is, at one look."""

from starlette.responses import Response

from db.sync.status import select_backlog
from webhooks.console.pages import Page, Visit


async def show(visit: Visit) -> Response:
    """The backlog and the alarms."""
    desk = visit.desk
    async with desk.context.readers.connection() as connection:
        backlog = await select_backlog(connection, live_mode=desk.admin.live_mode)
    return visit.page("overview.html", title="Overview", refresh_seconds=5, backlog=backlog)


PAGES = (Page(path="/", get=show),)
