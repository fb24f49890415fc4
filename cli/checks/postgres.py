"""Postgres: the server, the schema, and how far the work in it is."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import asyncpg

from cli.checks.finding import Cure, Finding, Repair, State, failure, ok, warning
from cli.terminal import counted, span
from db.connection import (
    Connection,
    NotOurSchema,
    PostgresAway,
    TransactionPooling,
    connect,
    unfit_because,
)
from db.sync.accounts import Alarm, select_alarms, select_ended_alarms
from db.sync.fitness import (
    VERSION_MIN,
    Server,
    may_create_roles,
    select_broken_history,
    select_inbox,
    select_lacking_rights,
    select_missing_readers,
    select_readers_without_rights,
    select_server,
)
from db.sync.status import Backlog, require_migrated, select_backlog, select_workers
from runtime.settings import Settings

LAG_SECONDS_MAX = 60.0
CLOCK_SECONDS_MAX = 5.0
CONNECTIONS_SHARE_MAX = 0.9
INBOX_BYTES_MAX = 20 * 2**30
TRANSACTION_SECONDS_MAX = 1800.0


async def look_at_postgres(settings: Settings) -> AsyncIterator[Finding]:
    """Everything that can be seen from here; ends early where the rest would only say the same."""
    try:
        connection = await connect(settings.database_url, application_name="subledger doctor")
    except TransactionPooling as error:
        said, _, remedy = str(error).rpartition(": ")
        yield failure("postgres connection", said, remedy)
        return
    except (*PostgresAway, asyncpg.PostgresError) as error:
        yield _unreachable(error)
        return
    try:
        yield ok("postgres connection", "it answers, and connections have sessions of their own")
        server = await select_server(connection)
        for found in _of_server(server):
            yield found
        if server.is_standby:
            return
        migrated = True
        async for found in _look_at_schema(connection):
            yield found
            migrated = migrated and (found.check, found.state) != ("postgres migrations", State.FAILURE)
        if migrated:
            async for found in _look_at_work(connection, settings):
                yield found
    except (*PostgresAway, asyncpg.PostgresError) as error:
        yield _unreachable(error)
    finally:
        connection.terminate()


def _unreachable(error: Exception) -> Finding:
    because = unfit_because(error)
    if because is not None:
        said, _, remedy = because.rpartition(": ")
        return failure("postgres connection", said or because, remedy)
    return failure(
        "postgres connection",
        f"it cannot be reached ({type(error).__name__}: {error})",
        "see that Postgres runs, and that host, port, password and TLS in DATABASE_URL are right",
    )


def _of_server(server: Server) -> Iterator[Finding]:
    if server.version_number < VERSION_MIN:
        yield failure("postgres version", f"it is {server.version}", "upgrade to Postgres 15 or later")
    else:
        yield ok("postgres version", server.version)
    if server.is_standby:
        yield failure(
            "postgres role",
            "it is a standby, which cannot be written",
            "let DATABASE_URL name the primary, or all hosts with target_session_attrs=read-write",
        )
    if not server.fsync:
        yield failure(
            "postgres durability", "fsync is off", "set fsync = on: webhooks that were answered may be lost"
        )
    elif server.synchronous_commit == "off":
        yield warning(
            "postgres durability",
            "synchronous_commit is off: a crash loses webhooks that were answered",
            "set it on for our role: alter role ... set synchronous_commit = on",
        )
    else:
        yield ok("postgres durability", "what is committed lasts")
    if server.connections > CONNECTIONS_SHARE_MAX * server.connections_max:
        yield warning(
            "postgres connections",
            f"{server.connections} of {server.connections_max} are in use",
            "raise max_connections, or put a pooler in session mode between: a worker needs 14, web 18",
        )
    else:
        yield ok("postgres connections", f"{server.connections} of {server.connections_max} are in use")
    if server.oldest_seconds > TRANSACTION_SECONDS_MAX:
        yield warning(
            "postgres transactions",
            f"one has been open for {span(server.oldest_seconds)} (pid {server.oldest_pid}): nothing that workers have "
            "finished since can be cleared away, and they become slower",
            "end it; dump from a standby, and give readers idle_in_transaction_session_timeout",
        )
    else:
        yield ok("postgres transactions", "none has been open for long")
    apart = abs((server.now - datetime.now(UTC)).total_seconds())
    if apart > CLOCK_SECONDS_MAX:
        yield warning(
            "clock of postgres",
            f"it and this machine's are {span(apart)} apart",
            "have both set by NTP",
        )
    else:
        yield ok("clock of postgres", "it agrees with this machine's")


async def _look_at_schema(connection: Connection) -> AsyncIterator[Finding]:
    try:
        newer = await require_migrated(connection)
    except NotOurSchema:
        yield failure(
            "postgres migrations",
            "the database is not migrated",
            "run `subledger migrate`",
            Repair(cure=Cure.MIGRATE, what="bring the database to the newest schema"),
        )
        return
    except asyncpg.InsufficientPrivilegeError as error:
        yield failure(
            "postgres migrations",
            f"this role may not look ({error})",
            "let DATABASE_URL name the role that migrated",
        )
        return
    if newer:
        yield warning(
            "postgres migrations",
            f"a newer version of Subledger has migrated ({', '.join(newer)})",
            "install that version here",
        )
    else:
        yield ok("postgres migrations", "all are applied")
    if lacking := await select_lacking_rights(connection):
        yield failure(
            "postgres rights",
            f"this role may not read and write {_some(lacking)}",
            "let DATABASE_URL name the role that migrated",
        )
    else:
        yield ok("postgres rights", "this role may read and write every table")
    yield await _look_at_readers(connection)
    try:
        broken = await select_broken_history(connection)
    except asyncpg.InsufficientPrivilegeError:
        return  # said above, of the tables
    if broken:
        yield failure(
            "postgres sequences",
            f"{broken}: below numbers that rows bear already",
            "restart a worker: it raises them, and says so in an alarm",
            Repair(
                cure=Cure.SEQUENCES,
                what="raise the sequences above every row, and begin another epoch of `change`",
            ),
        )
    else:
        yield ok("postgres sequences", "they are above every number that a row bears")


async def _look_at_readers(connection: Connection) -> Finding:
    name = "postgres readers"
    if missing := await select_missing_readers(connection):
        roles = " ".join(f"create role {each} nologin;" for each in missing)
        return warning(
            name,
            f"no role {' and '.join(missing)}: services cannot read yet",
            f"have an administrator run `{roles}`, then run `subledger migrate`",
            # Where our role may not create roles, only an administrator can.
            Repair(cure=Cure.READERS, what=f"create the role {' and '.join(missing)}, and give it its rights")
            if await may_create_roles(connection)
            else None,
        )
    if without := await select_readers_without_rights(connection):
        return warning(
            name,
            f"{' and '.join(without)} may not read: services cannot read yet",
            "run `subledger migrate`",
            Repair(cure=Cure.READERS, what=f"give {' and '.join(without)} the rights of readers"),
        )
    return ok(name, "billing_reader and billing_raw exist, and may read")


async def _look_at_work(connection: Connection, settings: Settings) -> AsyncIterator[Finding]:
    workers = await select_workers(connection)
    alive = [each for each in workers if each.alive]
    if not alive:
        yield failure("workers", "none is alive", "start `subledger worker`; its log says why it ended")
    elif len(alive) < len(workers):
        lost = [each.id for each in workers if not each.alive]
        yield warning(
            "workers",
            f"{counted(len(alive), 'worker')} alive, lost: {_some(lost)}",
            "see why they ended; what they held, others have taken over",
        )
    else:
        yield ok("workers", f"{counted(len(alive), 'worker')} alive")
    without_redis = [each.id for each in alive if each.detail.get("redis") not in ("ok", "not asked yet")]
    if without_redis:
        yield warning(
            "workers' redis",
            f"not reached by {_some(without_redis)}: everything is a second slower",
            "see that REDIS_URL is right there, and that Redis runs",
        )
    for found in _of_backlog(await select_backlog(connection, live_mode=settings.live_mode)):
        yield found
    ended = await select_ended_alarms(connection)
    for alarm in await select_alarms(connection):
        yield _of_alarm(alarm, ended=alarm.name in ended)
    inbox = await select_inbox(connection)
    said = f"{_size(inbox.bytes)} of {_size(inbox.database_bytes)} in the database"
    if inbox.oldest_at is not None:
        said += f", since {inbox.oldest_at:%Y-%m-%d}"
    if inbox.bytes > INBOX_BYTES_MAX:
        yield warning("disk of the inbox", said, "see that the disk has room for it to grow")
    else:
        yield ok("disk of the inbox", said)


def _size(count: int) -> str:
    """As people say it: an inbox that is new is no 0.0 GiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _of_alarm(alarm: Alarm, *, ended: bool) -> Finding:
    said = alarm.detail.removesuffix(alarm.remedy).rstrip(":; ") or alarm.detail
    remedy = alarm.remedy or "see `subledger alarms list`"
    what = f"take back the alarm {alarm.name}, whose cause is gone"
    repair = Repair(cure=Cure.ALARM, what=what, target=alarm.name) if ended else None
    return failure(f"alarm {alarm.name}", said, remedy, repair)


def _of_backlog(backlog: Backlog) -> Iterator[Finding]:
    lag = backlog.oldest_pending_seconds or 0.0
    if lag > LAG_SECONDS_MAX:
        yield failure(
            "lag",
            f"{counted(backlog.pending_events, 'event')} pending, the oldest for {span(lag)}",
            "see that workers are alive, and what their logs say; start more if they are busy",
        )
    else:
        yield ok("lag", f"{counted(backlog.pending_events, 'event')} pending")
    if backlog.parked:
        yield warning(
            "parked",
            f"{counted(backlog.parked, 'event, object or customer')} given up",
            "see `subledger events list --state parked`; fix the cause, then `subledger events replay --state parked`",
        )
    if backlog.quarantined_of_served_mode:
        yield warning(
            "quarantined",
            f"{counted(backlog.quarantined_of_served_mode, 'event')} of the mode served here",
            "`subledger events replay --state quarantined`, once the right key is at work",
        )
    if backlog.missing_objects:
        yield warning(
            "missing",
            f"{counted(backlog.missing_objects, 'object')} not found at Stripe, though no deletion was announced",
            "see that the API key is of the same account",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
