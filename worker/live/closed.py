"""Accounts and kinds that Stripe refuses: one alarm, and one request now and then, until they can be read again."""

from billing.kinds.registry import KINDS, LIST_CONFIRMED
from db.connection import Connection
from db.keys import Key, Scope
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


async def say_forbidden(connection: Connection, key: Key, *, error: str) -> None:
    """The key lacks the right to read this object, and so its kind: one alarm for the kind, with the remedy."""
    kind = KINDS[key.kind]
    follows = "its rows stay as they are" if kind.name in LIST_CONFIRMED else "its customers stay inexact"
    what = kind.list_path or kind.retrieve_path.partition("?")[0]
    await _say_right(connection, kind_refused(key), key.account_id, what=what, follows=follows, error=error)


async def say_events_forbidden(connection: Connection, account_id: str, *, error: str) -> None:
    """The key lacks the right to read events: the same alarm. A fill of gaps that ends takes it back."""
    follows = "what no webhook brings is not found"
    name = events_refused(account_id)
    await _say_right(connection, name, account_id, what="events", follows=follows, error=error)


async def _say_right(
    connection: Connection, name: str, account_id: str, *, what: str, follows: str, error: str
) -> None:
    remedy = f"give the API key the right to read {what}"
    said = f"{remedy}, or {follows} ({error})"
    await raise_alarm(connection, name, said, remedy=remedy, account_id=account_id)


async def end_refusal(connection: Connection, scope: Scope, kind: str) -> None:
    """It can be read again: what waited is due, and the alarm of the account ends."""
    async with connection.transaction():
        ended = await end_refusals(connection, scope, [kind])
        if WHOLE_ACCOUNT in ended:
            await clear_alarms(connection, [account_closed(scope.account_id)])


def kind_refused(key: Key) -> str:
    """The name of the alarm that the kind of this object may not be read."""
    return f"reads of {key.kind} refused {key.account_id}".strip()


def events_refused(account_id: str) -> str:
    """The name of the alarm that events may not be read."""
    return f"events refused {account_id}".rstrip()


def account_closed(account_id: str) -> str:
    return f"account {account_id} refused"
