"""Connections to Postgres: one place that spells out how every process holds them."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from db.address import read_address

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

# What a query takes: a connection of its own, or one lent by a pool.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
OwnConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# Failures that are not the statement's fault: the server is away, full, restarting or a standby.
PostgresAway = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # asyncpg raises this for a connection that the server closed while it was idle.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    # Another session holds the lock for longer than `lock_timeout`.
    asyncpg.LockNotAvailableError,
)

# Failures caused by the values that a statement was given: trying again changes nothing. Program limits count too: a
# text too long for an index (54000), a structure nested too deeply (54001).
PostgresRefuses = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)

CONNECT_TIMEOUT_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 60.0
IDLE_SECONDS_MAX = 300.0

# A pool hands out a used connection as if it were new. `reset all` also drops our session settings, so they follow
# it in the same round trip.
RESET_SESSION = """
select pg_advisory_unlock_all();
close all;
unlisten *;
reset all;
"""


# The first statement of each session. Whatever makes Postgres lose transactions also ends all sessions, so no number is
# drawn before the sequences are above every row. Not on a standby, which is only read; nor before the first migration.
BEGIN_SESSION = """
do $$ begin
  if not pg_is_in_recovery() and exists (
    select from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'sync' and p.proname = 'keep_one_history'
      and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')
  ) then
    perform sync.keep_one_history();
  end if;
end $$;
"""


async def create_pool(
    database_url: str,
    *,
    min_size: int,
    max_size: int,
    application_name: str,
    command_timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
) -> Pool:
    """Open a pool; json and jsonb stay text, because most callers pass them on unread.

    `database_url`: as db/address.py reads it. Raises OSError or asyncpg.PostgresError when the server cannot be reached
    or refuses.
    """
    settings = _session_settings(command_timeout_seconds)
    return await asyncpg.create_pool(
        **_arguments(database_url, application_name, command_timeout_seconds),
        min_size=min_size,
        max_size=max_size,
        max_inactive_connection_lifetime=IDLE_SECONDS_MAX,
        init=_execute(settings + BEGIN_SESSION),
        reset=_execute(RESET_SESSION + settings),
    )


async def connect(
    database_url: str,
    *,
    application_name: str,
    command_timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
) -> OwnConnection:
    """Open a single connection, for a loop that would otherwise pay for a pool's reset query at every turn.

    Raises as `create_pool` does.
    """
    connection: OwnConnection = await asyncpg.connect(
        **_arguments(database_url, application_name, command_timeout_seconds)
    )
    await connection.execute(_session_settings(command_timeout_seconds) + BEGIN_SESSION)
    return connection


def _arguments(database_url: str, application_name: str, command_timeout_seconds: float) -> dict[str, Any]:
    address = read_address(database_url)
    return address.for_asyncpg() | {
        "timeout": address.connect_timeout_seconds or CONNECT_TIMEOUT_SECONDS,
        "command_timeout": command_timeout_seconds,
        "server_settings": {"application_name": address.application_name or application_name},
    }


def _session_settings(command_timeout_seconds: float) -> str:
    """The settings with which each session begins.

    The server ends a statement a little before the client gives up on it, so that an error arrives instead of a dead
    socket, and stops waiting for a lock well before that: who waits is not to be taken for who needs long. A
    transaction that a hung process left open cannot hold its locks forever. `jit` is off because our statements are
    short: compiling them costs more than running them. A plan is made for each execution, because one made while a
    table was small would be kept as it grows (measured on a fresh database: 287 ms for a lookup that takes 2). These
    are `set` statements and not startup parameters, because poolers refuse startup parameters that they do not know.
    """
    return f"""
    set timezone = 'UTC';
    set lock_timeout = '{int(command_timeout_seconds * 500)}ms';
    set statement_timeout = '{int(command_timeout_seconds * 950)}ms';
    set idle_in_transaction_session_timeout = '{int(command_timeout_seconds * 1000)}ms';
    set jit = off;
    set plan_cache_mode = force_custom_plan;
    """


def _execute(script: str) -> Callable[[Connection], Coroutine[Any, Any, None]]:
    async def execute(connection: Connection) -> None:
        await connection.execute(script)

    return execute
