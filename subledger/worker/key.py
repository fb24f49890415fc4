"""Whose key it is: a key of another account or mode would make everything look deleted (ARCHITECTURE.md, I8)."""

import msgspec
import structlog

from subledger.db.connection import Pool
from subledger.db.queries.accounts import clear_alarms, raise_alarm, remember_key
from subledger.runtime.stripe_api import StripeApi, StripeMissing, StripeRefused, StripeUnavailable

ALARM = "api key"

log = structlog.get_logger()


class _Account(msgspec.Struct):
    id: str


async def check_key(pool: Pool, stripe: StripeApi, *, live_mode: bool) -> bool:
    """Whether the key may be read with: it works, and is of the account and mode that this database was filled from.

    The first key that works decides whose database it is. A restricted key that may not read its own account is let
    through: nothing speaks against it. On False the alarm says what to do.
    """
    problem: str | None = None
    account_id: str | None = None
    try:
        answer = await stripe.read("/v1/account", account_id="")
        account_id = msgspec.json.decode(answer.body, type=_Account).id
    except StripeRefused as refused:
        if refused.status == 401:
            problem = f"Stripe does not know the key: put a valid one into STRIPE_API_KEY ({refused})"
    except (StripeUnavailable, StripeMissing, msgspec.MsgspecError) as error:
        log.info("key not checked", error=str(error))
    async with pool.acquire() as connection:
        if account_id is not None:
            first = await remember_key(connection, account_id=account_id, live_mode=live_mode)
            if first != (account_id, live_mode):
                mode = "live" if first[1] else "test"
                problem = (
                    f"this database was filled from account {first[0]} in {mode} mode, and the key is of {account_id}: "
                    "set STRIPE_API_KEY to a key of that account, or DATABASE_URL to another database"
                )
        if problem is None:
            await clear_alarms(connection, [ALARM])
        else:
            log.error("key refused", problem=problem)
            await raise_alarm(connection, ALARM, problem)
    return problem is None
