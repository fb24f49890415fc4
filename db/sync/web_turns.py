"""The turns of web processes: how all of them keep to the part of Stripe's limits that workers leave to them."""

from datetime import timedelta

from db.connection import Connection
from db.sync.workers import LOCK_PARTS

SIGN_HOLDS_SECONDS = 60.0
WORKERS_SEE_SECONDS = 8.0
"""So long after the sign was made, nobody uses a part that was taken without having seen it (worker/parts.py)."""

# The clock, not now(), since the transaction may have waited for the lock. A clock that was set back begins anew.
RENEW_SIGN = """
insert into sync.web_sign as sign (since, until) values (clock_timestamp(), clock_timestamp() + $1)
on conflict (only_row) do update set
  since = case
    when sign.until > clock_timestamp() and sign.since <= clock_timestamp() then sign.since
    else clock_timestamp()
  end,
  until = excluded.until
"""

SELECT_SIGN = "select exists (select from sync.web_sign where until > clock_timestamp())"

# Nobody takes a turn so far away that the sign might not hold any more: the two seconds are for requests on their way.
# Nor does anybody wait for minutes: a next turn that is so far away comes from a clock that was set back since.
RESERVE_WEB_TURN = """
insert into sync.web_turns as turn (account_id, next_at)
select $1, clock_timestamp() + $2::interval
from sync.web_sign
where since <= clock_timestamp() - $4::interval and until > clock_timestamp() + $3::interval + interval '2 seconds'
on conflict (account_id) do update set
  next_at = $2::interval + case
    when turn.next_at between clock_timestamp() and clock_timestamp() + interval '1 minute' then turn.next_at
    else clock_timestamp()
  end
where turn.next_at not between clock_timestamp() + $3::interval and clock_timestamp() + interval '1 minute'
returning extract(epoch from next_at - $2::interval - clock_timestamp())::float8
"""


async def renew_sign(connection: Connection) -> None:
    """Note, in a transaction, that web processes may ask Stripe. No worker takes a part until it is committed: so
    whoever takes one later has seen it.
    """
    await connection.execute(LOCK_PARTS)
    await connection.execute(RENEW_SIGN, timedelta(seconds=SIGN_HOLDS_SECONDS))


async def web_may_ask(connection: Connection) -> bool:
    """Whether a part of the limits is to be left to web processes."""
    return bool(await connection.fetchval(SELECT_SIGN))


async def reserve_web_turn(
    connection: Connection, account_id: str, *, pause: timedelta, wait: timedelta
) -> float | None:
    """The seconds until the turn that is now the caller's, no sooner than `pause` after the one before; None if none
    comes within `wait`, or if workers may not yet have made room.
    """
    seconds: float | None = await connection.fetchval(
        RESERVE_WEB_TURN, account_id, pause, wait, timedelta(seconds=WORKERS_SEE_SECONDS)
    )
    return None if seconds is None else max(seconds, 0.0)
