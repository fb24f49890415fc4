"""Accounts and kinds that Stripe refuses: one alarm, and one request now and then, until they can be read again."""

from db.connection import Connection
from db.keys import Scope
from db.sync.accounts import clear_alarms, raise_alarm
from db.sync.refusals import WHOLE_ACCOUNT, end_refusals, note_refusal


async def say_closed(connection: Connection, scope: Scope, *, object_id: str, error: str) -> None:
    """A connected account has taken its access back: nothing of it is asked for, and its records stay, inexact."""
    what = f"asked for {object_id}" if object_id else "asked for its events"
    said = f"account {scope.account_id} may not be read any more, {what} ({error})"
    remedy = (
        f"have account {scope.account_id} connected again; until then its records stay as they are, inexact"
    )
    await raise_alarm(
        connection, account_closed(scope.account_id), said, remedy=remedy, account_id=scope.account_id
    )
    await note_refusal(connection, scope, kind=WHOLE_ACCOUNT, object_id=object_id, error=error)


async def end_refusal(connection: Connection, scope: Scope, kind: str) -> None:
    """It can be read again: what waited is due, and the alarm of the account ends."""
    async with connection.transaction():
        ended = await end_refusals(connection, scope, [kind])
        if WHOLE_ACCOUNT in ended:
            await clear_alarms(connection, [account_closed(scope.account_id)])


def account_closed(account_id: str) -> str:
    return f"account {account_id} refused"
