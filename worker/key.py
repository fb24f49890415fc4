"""Which account the API key belongs to: to a key of another one everything looks deleted (ARCHITECTURE.md, I8)."""

import msgspec
import structlog

from db.connection import Connection, Pool
from db.keys import Scope
from db.sync.accounts import alarm_stands, clear_alarms, raise_alarm, remember_key
from runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable

ALARM = "api key"
FOREIGN = "api key of another account"

log = structlog.get_logger()


class _Account(msgspec.Struct):
    id: str


async def check_key(pool: Pool, stripe: StripeApi, *, live_mode: bool) -> bool | None:
    """Whether the key may be used for reads: it works, and is of the account and mode that filled this database.

    The first key that works decides which account the database belongs to. A restricted key that may not read its own
    account is let through, unless the last key that could be compared was of another account. On False an alarm says
    what to do. None: Stripe has not said; alarms stay as they are, and nothing is to be read until it has.
    """
    account_id: str | None = None
    try:
        answer = await stripe.read("/v1/account", account_id="")
        account_id = msgspec.json.decode(answer.body, type=_Account).id
    except StripeRefused as refused:
        if refused.status == 401:
            problem = f"Stripe does not know the key: put a valid one into STRIPE_API_KEY ({refused})"
            async with pool.acquire() as connection:
                return await _refuse(connection, ALARM, problem)
        if refused.status != 403:
            log.warning("key not checked", error=str(refused))
            return None
    except (StripeUnavailable, StripeMissing, msgspec.MsgspecError, UnicodeDecodeError) as error:
        log.warning("key not checked", error=str(error))
        return None
    async with pool.acquire() as connection:
        if account_id is None:
            if await alarm_stands(connection, FOREIGN):
                return False
        else:
            first = await remember_key(connection, account_id=account_id, live_mode=live_mode)
            if first != Scope(account_id, live_mode):
                mode = "live" if first.live_mode else "test"
                problem = (
                    f"this database was filled from account {first.account_id} in {mode} mode, "
                    f"and the key is of {account_id}: set STRIPE_API_KEY to a key of that account "
                    "that may read /v1/account, "
                    "or DATABASE_URL to another database"
                )
                return await _refuse(connection, FOREIGN, problem)
        await clear_alarms(connection, [ALARM, FOREIGN])
    return True


async def _refuse(connection: Connection, alarm: str, problem: str) -> bool:
    log.error("key refused", problem=problem)
    await raise_alarm(connection, alarm, problem)
    return False
