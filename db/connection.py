"""Connections to Postgres: one place that spells out how every process holds them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import uuid4

import asyncpg

from db.address import Address, read_address

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    _AsyncpgConnection = asyncpg.Connection[asyncpg.Record]
else:
    _AsyncpgConnection = asyncpg.Connection

# What a query takes: a connection of its own, or one lent by a pool.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"
OwnConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


class TransactionPooling(Exception):
    """Between us and Postgres is a pooler that keeps a session for us only as long as a transaction lasts."""

    def __init__(self) -> None:
        super().__init__(
            "DATABASE_URL leads to a pooler in transaction mode, where a session lasts no longer than a transaction: "
            "use a direct connection, or the pooler's session mode (often another port)"
        )


ENCODING = "select pg_encoding_to_char(encoding) from pg_database where datname = current_database()"


class NotUtf8(Exception):
    """The database cannot hold every character that Stripe sends."""

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"the database is encoded in {encoding}, which cannot hold every text that Stripe sends: let DATABASE_URL "
            "name one that was made with `create database NAME encoding 'UTF8' template template0`"
        )


class NotMigrated(Exception):
    """The database lacks a migration."""


NotOurSchema = (
    NotMigrated,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
)
"""How a statement of ours fails where the database lacks a migration."""
NOT_MIGRATED = "not migrated: run `subledger migrate`"

# Failures that end only when somebody changes something: the address, the pooler, the role, the schema.
PostgresUnfit = (
    TransactionPooling,
    NotUtf8,
    *NotOurSchema,
    # What we prepared is in a session that a pooler has taken away from us.
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
)

# Failures that are not the statement's fault: the server is away, full, restarting or a standby, or not fit for us.
PostgresAway = (
    *PostgresUnfit,
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # asyncpg raises this for a connection that the server closed while it was idle.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    # The session was ended because its transaction lasted longer than the server's or our own limit.
    asyncpg.TransactionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # Another session holds the lock for longer than `lock_timeout`.
    asyncpg.LockNotAvailableError,
)

# Failures of Postgres's storage or of its code (classes 58 and XX): of a page, a file or an index more often than of a
# row. Postgres is there, and what lies elsewhere can be worked on.
PostgresFails = (asyncpg.PostgresSystemError, asyncpg.InternalServerError)

# Failures caused by the values that a statement was given: trying again changes nothing. Program limits count too: a
# text too long for an index (54000), a structure nested too deeply (54001).
PostgresRefuses = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)

CONNECT_TIMEOUT_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 60.0
PATIENT_TIMEOUT_SECONDS = 600.0
"""For a connection on which one customer is worked on that may have millions of objects."""
SESSION_TRIES = 5
SESSION_TIMEOUT_SECONDS = 5.0
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


def unfit_because(error: Exception) -> str | None:
    """Why Postgres cannot be worked with, and the remedy, in a sentence; None if it may work again on its own."""
    match error:
        case TransactionPooling() | NotUtf8():
            return str(error)
        case asyncpg.InvalidSQLStatementNameError() | asyncpg.DuplicatePreparedStatementError():
            return str(TransactionPooling())
        case asyncpg.ClientConfigurationError():
            return f"DATABASE_URL cannot be used: {error}"
        case asyncpg.InsufficientPrivilegeError():
            return f"Postgres refuses: {error}: DATABASE_URL must name the role that migrated"
        case _ if isinstance(error, NotOurSchema):
            return f"the database is {NOT_MIGRATED}"
        case _ if isinstance(error, PostgresUnfit):
            return f"Postgres refuses: {error}: check DATABASE_URL"
        case _:
            return None


async def create_pool(
    database_url: str,
    *,
    min_size: int,
    max_size: int,
    application_name: str,
    command_timeout_seconds: float = COMMAND_TIMEOUT_SECONDS,
    keeps_plans: bool = False,
    resets: bool = True,
    keeps_plans_of_large: bool = False,
    lock_timeout_seconds: float | None = None,
) -> Pool:
    """Open a pool; json and jsonb stay text, because most callers pass them on unread.

    `database_url`: as db/address.py reads it. `keeps_plans`: a statement is planned once for each connection, by its
    indexes whatever its tables hold: for a few short statements that run a thousand times a second. `resets`: a
    connection that returns is as if it were new. Without, which saves a round trip, and with kept plans, no borrower
    may leave anything in its session; a transaction that is open still is ended all the same. `keeps_plans_of_large`:
    once the tables are large and Postgres knows how large, it may keep plans as it sees fit (a connection looks when it
    is opened): for one on which the same statements are executed over and over.

    Raises one of PostgresAway when the server cannot be reached or worked with; where the first connection is opened
    later, so does whoever asks for it.
    """
    settings = _session_settings(command_timeout_seconds, lock_timeout_seconds)
    settings += KEEP_PLANS if keeps_plans else KEEP_PLANS_OF_LARGE if keeps_plans_of_large else ""
    address = read_address(database_url)
    arguments = _arguments(address, application_name, command_timeout_seconds)

    async def begin(connection: Connection) -> None:
        await connection.execute(settings + BEGIN_SESSION)
        await _require_own_session(connection, address, arguments)

    return await asyncpg.create_pool(
        **arguments,
        connect=_open,
        connection_class=_Session,
        min_size=min_size,
        max_size=max_size,
        max_inactive_connection_lifetime=IDLE_SECONDS_MAX,
        init=begin,
        reset=_leave if keeps_plans or not resets else _execute(RESET_SESSION + settings),
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
    address = read_address(database_url)
    arguments = _arguments(address, application_name, command_timeout_seconds)
    connection: OwnConnection = await _open(**arguments)
    try:
        await connection.execute(_session_settings(command_timeout_seconds) + BEGIN_SESSION)
        await _require_own_session(connection, address, arguments)
    except BaseException:
        connection.terminate()
        raise
    return connection


async def require_own_sessions(address: Address, *, application_name: str) -> None:
    """Raise TransactionPooling if connections have no sessions of their own, one of PostgresAway if there is none."""
    arguments = _arguments(address, application_name, COMMAND_TIMEOUT_SECONDS)
    connection = await _open(**arguments)
    try:
        await _require_own_session(connection, address, arguments)
    finally:
        connection.terminate()


class _Session(_AsyncpgConnection):
    """A connection that knows what this process has learned of Postgres's own types.

    asyncpg asks for most arrays on each connection, as soon as a statement has one. Postgres plans that question anew
    each time, which takes longer than a batch of ours (measured of a worker that starts: 44 times 15 ms).
    """

    async def _introspect_types(self, oids: Iterable[int], *arguments: Any) -> tuple[Any, Any]:
        asked = set(oids)
        if asked <= _types.keys():
            return [row for oid in asked for row in _types[oid]], _NOT_ASKED
        rows, statement = await super()._introspect_types(oids, *arguments)  # type: ignore[misc]  # not in the stubs
        by_oid = {row["oid"]: row for row in rows}
        for oid in asked & by_oid.keys():
            element = by_oid[oid]["elemtype"]
            if max(oid, element or 0) < OWN_OIDS_BELOW and (not element or element in by_oid):
                _types[oid] = [by_oid[each] for each in (element, oid) if each]
        return rows, statement


_types: dict[int, list[asyncpg.Record]] = {}
"""What Postgres says of its own types: of an array, of its elements as well."""
OWN_OIDS_BELOW = 10_000
"""Oids that are the same on every server."""
_NOT_ASKED = SimpleNamespace(name="not asked")


async def _open(*arguments: Any, **keywords: Any) -> OwnConnection:
    """asyncpg.connect. What a pooler says for itself, as that it is full, comes as an internal error of the server."""
    try:
        connection: OwnConnection = await asyncpg.connect(
            *arguments, **{"connection_class": _Session, **keywords}
        )
    except asyncpg.InternalServerError as error:
        raise asyncpg.TooManyConnectionsError(str(error)) from error
    return connection


def _arguments(address: Address, application_name: str, command_timeout_seconds: float) -> dict[str, Any]:
    return address.for_asyncpg() | {
        "timeout": address.connect_timeout_seconds or CONNECT_TIMEOUT_SECONDS,
        "command_timeout": command_timeout_seconds,
        "server_settings": {"application_name": address.application_name or application_name},
    }


async def _require_own_session(connection: Connection, address: Address, arguments: dict[str, Any]) -> None:
    """Raise TransactionPooling if this connection shares its session: asked once by a process for each address.

    By what a pooler in transaction mode cannot keep. This connection leaves a mark in its session, and another one
    begins a transaction. If that one sees the mark, they share a session; if this one has lost it, the session is the
    other one's now. Nothing is prepared, because such poolers mix that up. If a pooler is busy, chance may hide it from
    one try.
    """
    place = (address.hosts, address.database, address.user)
    if place in _own_sessions:
        return
    try:
        another = await _open(**arguments)
    except asyncpg.InsufficientResourcesError:
        return  # this is the last connection that there was: the next one asks
    try:
        async with asyncio.timeout(SESSION_TIMEOUT_SECONDS):
            for _ in range(SESSION_TRIES):
                if not await _keeps_its_session(connection, another):
                    raise TransactionPooling
            await another.close()
    except TimeoutError:
        pass  # a pooler in session mode that has no session left makes us wait
    finally:
        another.terminate()
    _own_sessions.add(place)


_own_sessions: set[object] = set()
"""Addresses whose connections have a session each."""


async def _keeps_its_session(connection: Connection, another: OwnConnection) -> bool:
    mark = uuid4().hex
    find = f"select where current_setting('subledger.session', true) = '{mark}'"
    await connection.execute(f"set subledger.session = '{mark}'")
    try:
        if await another.execute(f"begin; {find}") != "SELECT 0":
            return False
    except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
        if "statement pooling" in str(error):
            return False  # a pooler in statement mode takes no transaction at all
        raise
    kept = await connection.execute(find) == "SELECT 1"
    await another.execute("rollback")
    return kept


def _session_settings(command_timeout_seconds: float, lock_timeout_seconds: float | None = None) -> str:
    """The settings with which each session begins.

    The server ends a statement a little before the client gives up on it, so that an error arrives instead of a dead
    socket, and stops waiting for a lock well before that: who waits is not to be taken for who needs long. A
    transaction that a hung process left open cannot hold its locks forever. A limit that somebody has set for whole
    transactions (Postgres 17 and later) is none of ours: a heavy customer's may last minutes. Nor is the isolation that
    a role or a database has by default: who has waited for a lock must see what was committed meanwhile. `jit` is off
    because our statements are short: compiling them costs more than running them. A plan is made for each execution,
    because one made while a table was small would be kept as it grows (measured on a fresh database: 287 ms for a
    lookup that takes 2). These are `set` statements and not startup parameters, because poolers refuse startup
    parameters that they do not know.
    """
    if lock_timeout_seconds is None:
        lock_timeout_seconds = 0.5 * min(command_timeout_seconds, COMMAND_TIMEOUT_SECONDS)
    return f"""
    set timezone = 'UTC';
    set lock_timeout = '{int(lock_timeout_seconds * 1000)}ms';
    set statement_timeout = '{int(command_timeout_seconds * 950)}ms';
    set idle_in_transaction_session_timeout = '{int(command_timeout_seconds * 1000)}ms';
    select set_config('transaction_timeout', '0', false)
    where current_setting('server_version_num')::integer >= 170000;
    set default_transaction_isolation = 'read committed';
    set jit = off;
    set plan_cache_mode = force_custom_plan;
    """


# Measured of a check of a feature: 3.9 ms with a plan for each execution, 0.5 with one that is kept. Without scans, the
# plan that was made while a table was empty is right for a large one, too.
KEEP_PLANS = """
    set plan_cache_mode = force_generic_plan;
    set enable_seqscan = off;
"""


# At a hundred events a second, planning takes more than a quarter of what Postgres does (measured: 0.39 of a core, or
# 0.28). What makes kept plans wrong is a table that grows from nothing before Postgres has looked at it again.
KEEP_PLANS_OF_LARGE = """
    select set_config('plan_cache_mode', 'auto', false)
    where (
      select count(*) = 2 and bool_and(reltuples >= 1000)
      from pg_class
      where oid in (to_regclass('sync.events'), to_regclass('sync.objects'))
    );
"""


def _execute(script: str) -> Callable[[Connection], Coroutine[Any, Any, None]]:
    async def execute(connection: Connection) -> None:
        await connection.execute(script)

    return execute


async def _leave(_: Connection) -> None:
    """Nothing: asyncpg itself ends a transaction that is open still."""
