"""Which account the API key belongs to: to a key of another one everything looks deleted (ARCHITECTURE.md, I8).

A process whose key is of the other mode or of another account, or is refused by Stripe, applies nothing and reads
nothing: all that it would do is harm, and a process with the right key does the work.
"""

import msgspec
import structlog

from db.connection import Connection, Pool
from db.keys import Scope
from db.sync.accounts import (
    KeyAlarm,
    alarm_stands,
    clear_key_alarms,
    raise_alarm,
    remember_key,
    select_served,
)
from db.sync.inbox import release_quarantined
from runtime.stripe_api import StripeApi, StripeError, StripeRefused, StripeUnavailable

RELEASED_AT_ONCE = 500

log = structlog.get_logger()


class _Account(msgspec.Struct):
    id: str


async def check_key(pool: Pool, stripe: StripeApi, *, live_mode: bool, patient: bool) -> bool | None:
    """Whether the key may be used: it works, and is of the account and mode that this database serves.

    The first key that works decides which they are. A restricted key that may not read its own account is let through,
    unless the last key that could be compared was of another account. On False an alarm says what to do. None: Stripe
    has not said, nothing is to be read until it has, and unless `patient` an alarm says that, too.
    """
    async with pool.acquire() as connection:
        served = await select_served(connection)
        if served is not None and served.live_mode != live_mode:
            return await _refuse(
                connection, KeyAlarm.OTHER_MODE, *_of_other_mode(served, live_mode=live_mode)
            )
    account_id = ""
    try:
        answer = await stripe.read("/v1/account", account_id="")
        account_id = msgspec.json.decode(answer.body, type=_Account).id
    except StripeRefused as refused:
        if refused.status == 401:
            remedy = "put a valid key into STRIPE_API_KEY"
            async with pool.acquire() as connection:
                said = f"Stripe does not know the key ({refused})"
                return await _refuse(connection, KeyAlarm.REFUSED, said, remedy)
        if refused.status != 403:
            await _unsaid(pool, refused, patient=False)
            return None
    except (StripeError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        await _unsaid(pool, error, patient=patient and isinstance(error, StripeUnavailable))
        return None
    async with pool.acquire() as connection:
        if not account_id and await alarm_stands(connection, KeyAlarm.FOREIGN):
            return False
        first = await remember_key(connection, account_id=account_id, live_mode=live_mode)
        if first.live_mode != live_mode:
            return await _refuse(connection, KeyAlarm.OTHER_MODE, *_of_other_mode(first, live_mode=live_mode))
        if account_id and first.account_id != account_id:
            mode = "live" if first.live_mode else "test"
            said = (
                f"this database was filled from account {first.account_id} in {mode} mode, "
                f"and the key is of {account_id}"
            )
            remedy = (
                "set STRIPE_API_KEY to a key of that account that may read /v1/account, "
                "or DATABASE_URL to another database"
            )
            return await _refuse(connection, KeyAlarm.FOREIGN, said, remedy)
        await clear_key_alarms(connection)
        await _release(connection, live_mode=live_mode)
    return True


def _of_other_mode(served: Scope, *, live_mode: bool) -> tuple[str, str]:
    """What is wrong, and what to do."""
    names = {True: "live", False: "test"}
    said = f"this database serves {names[served.live_mode]} mode, and the key is of {names[live_mode]} mode"
    return said, f"set STRIPE_API_KEY to a {names[served.live_mode]} key, or DATABASE_URL to another database"


async def _refuse(connection: Connection, alarm: KeyAlarm, said: str, remedy: str) -> bool:
    log.error("key refused", problem=said, remedy=remedy)
    await raise_alarm(connection, alarm, said, remedy=remedy)
    return False


async def _unsaid(pool: Pool, error: Exception, *, patient: bool) -> None:
    log.warning("key not checked", error=str(error))
    if patient:
        return
    async with pool.acquire() as connection:
        said = f"Stripe does not say which account the key belongs to, so nothing is read ({error})"
        remedy = "see that STRIPE_API_BASE is Stripe's API, and that /v1/account can be read"
        await raise_alarm(connection, KeyAlarm.UNCHECKED, said, remedy=remedy)


async def _release(connection: Connection, *, live_mode: bool) -> None:
    """Give back to the inbox what a process with a key of the other mode has quarantined."""
    released = 0
    while count := await release_quarantined(connection, live_mode=live_mode, limit=RELEASED_AT_ONCE):
        released += count
    if released:
        log.warning("quarantined events released", count=released)
