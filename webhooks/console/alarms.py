"""Alarms: what an operator must see, since when, and what to do about it."""

from starlette.responses import Response

from db.sync.accounts import Alarm, clear_alarms, select_alarms
from runtime.printable import shown
from webhooks.console.pages import Page, Visit


async def show(visit: Visit) -> Response:
    """The alarms that stand, the oldest first, each with its remedy."""
    async with visit.desk.context.readers.connection() as connection:
        alarms = await select_alarms(connection)
    return visit.page(
        "alarms.html",
        title="Alarms",
        refresh_seconds=10,
        alarms=[(alarm, wrong_with(alarm)) for alarm in alarms],
    )


def wrong_with(alarm: Alarm) -> str:
    """What is wrong, without the remedy, which a detail ends with."""
    return alarm.detail.removesuffix(f": {alarm.remedy}") if alarm.remedy else alarm.detail


async def clear(visit: Visit) -> Response:
    """Take one alarm back; what is still wrong raises it again."""
    name = visit.form.get("name")
    async with visit.desk.admin.connection() as connection:
        cleared = await clear_alarms(connection, [name])
    if cleared:
        return visit.redirect("/console/alarms", notice=f"Cleared: {shown(name)}.")
    return visit.redirect("/console/alarms", notice="This alarm does not stand any more.", tone="bad")


PAGES = (Page(path="/console/alarms", get=show, post=clear),)
