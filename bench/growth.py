"""Growth: what an event and a record cost beside 10,000, 100,000 and 1,000,000 customers.

A small account is played, read and derived by the real worker. Its rows are then multiplied in SQL under new ids, with
all their history, so that a million customers take minutes. The catalogue stays as it is: customers share products.
Raw JSON is left out, since no derivation reads it, and so is the inbox.
"""

import time
from collections.abc import Iterator, Sequence

import msgspec
import psutil

from bench.checks import checks_rows, measure_checks
from bench.parts import CONNECTIONS, Account, Figures, describe, filled_inbox
from bench.plans import Plan
from bench.statements import measure_statements
from bench.system import Machine, Meter, Process, Site, ready, settled, watch, worker_ready
from billing.record import customer_uid
from db.connection import OwnConnection

CATALOGUE = ("features", "products", "prices", "plans", "coupons", "meters", "payouts")
"""Tables, and kinds of sync.objects, of which a larger company does not have more rows."""

LEFT = (
    "sync.events",
    "sync.workers",
    "sync.milestones",
    "sync.scan_windows",
    "sync.accounts",
    "sync.problems",
)
"""Tables that do not grow with customers, or whose rows no customer needs."""

COPIES_AT_ONCE = 250
"""Copies of the whole account in one statement: bounds the memory of sorts and the size of a transaction."""

COPY_SECONDS_MAX = 3600.0
"""Of one statement that copies rows or makes an index again."""

SELECT_TABLES = """
select c.oid::regclass::text as name from pg_class c
where c.relkind = 'r' and c.relpersistence = 'p' and c.relnamespace in (
  select oid from pg_namespace where nspname in ('stripe', 'billing', 'sync')
) order by 1
"""

SELECT_COLUMNS = """
select attname as name, format_type(atttypid, null) as type from pg_attribute
where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = '' and attidentity = ''
order by attnum
"""

SELECT_INDEXES = """
select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition,
  c.conname as constraint_name, pg_get_constraintdef(c.oid) as constraint_definition
from pg_index i
left join pg_constraint c on c.conindid = i.indexrelid and c.contype in ('p', 'u')
where i.indrelid = $1::text::regclass
  -- One that a foreign key needs has to stay.
  and not exists (select from pg_constraint f where f.conindid = i.indexrelid and f.contype = 'f')
"""

SELECT_SOME = """
select account_id, live_mode, customer_id from sync.customers where complete order by random() limit $1
"""

MARK = """
update sync.customers c set stale = stale + 1, stale_since = now()
from unnest($1::text[], $2::boolean[], $3::text[]) as s (account_id, live_mode, customer_id)
where (c.account_id, c.live_mode, c.customer_id) = (s.account_id, s.live_mode, s.customer_id)
"""

SELECT_READ_WHOLE = """
select s.schemaname || '.' || s.relname as name, s.seq_tup_read as read, c.reltuples::float8 as rows
from pg_stat_user_tables s
join pg_class c on c.oid = s.relid
where c.reltuples > $1
"""

PARTS = (
    ("receive", "received, events/s"),
    ("through", "through, provisional, live, events/s"),
    ("derived", "derived again, records/s"),
    ("once_more", "the same once more, records/s"),
)
"""What is measured at each size, and how the table calls it."""

SETTINGS = {"shared_buffers": "2GB", "max_wal_size": "4GB"}
"""Of Postgres: as a server has them that is made for so many customers."""

LARGE = 5_000
"""Rows from which on a table must not be read from end to end again and again."""


async def measure_growth(
    machine: Machine,
    account: Account,
    newcomers: Account,
    *,
    customers: Sequence[int],
    count: int,
    derived: int,
    asks: int,
    ask_rates: tuple[float, ...],
) -> list[Figures]:
    """One entry for each number of customers: newcomers' events through to records, and old records derived again.

    `account` is the small account that is multiplied; its API is served. `newcomers` has twice `count` events for each
    number of customers. `asks`: how many questions are asked of the API, and at which rates.
    """
    site = await filled_inbox(machine, account, account.events)
    connection = await watch(site, statement_seconds_max=COPY_SECONDS_MAX)
    found: list[Figures] = []
    try:
        with machine.worker(site, api_port=account.api_port) as worker:
            await settled(connection, worker, exact=True, events=account.events)
        await describe(connection, exact=True)
        multiplied = Multiplied(connection)
        await multiplied.begin()
        for at, number in enumerate(customers):
            began = time.monotonic()
            await multiplied.grow_to(number)
            grown_seconds = time.monotonic() - began
            plan = Plan(
                port=0, path=newcomers.events_path, first=2 * at * count, count=count, connections=CONNECTIONS
            )
            found.append(
                {
                    "customers": await connection.fetchval("select count(*) from billing.customers"),
                    "database_bytes": await connection.fetchval(
                        "select pg_database_size(current_database())"
                    ),
                    "grown_seconds": grown_seconds,
                    **await _measure(
                        machine, site, connection, plan, derived=derived, asks=asks, ask_rates=ask_rates
                    ),
                }
            )
    finally:
        await connection.close()
    return found


async def _measure(
    machine: Machine,
    site: Site,
    connection: OwnConnection,
    plan: Plan,
    *,
    derived: int,
    asks: int,
    ask_rates: tuple[float, ...],
) -> Figures:
    """What newcomers' events cost, received with no worker running and through to records; what records cost that are
    derived again, what single statements take, and what services ask.
    """
    stored = await connection.fetchval("select count(*) from sync.events")
    again = await connection.fetch(SELECT_SOME, derived)
    with machine.web(site) as web:
        await ready(web, "/readyz")
        meter = Meter(web=web, postgres=machine.postgres)
        first = msgspec.structs.replace(plan, port=web.port)
        outcome = await machine.load(first, begin=meter.start)
        received = {**_cpu(meter, plan.count), "per_second": outcome.per_second}
        stored += plan.count
        statements = await measure_statements(connection)
        with machine.worker(site, api_port=None) as worker:
            await worker_ready(connection, worker)
            await settled(connection, worker, exact=False, events=stored)

            read = await _read_whole(connection)
            meter = Meter(web=web, worker=worker, postgres=machine.postgres)
            second = msgspec.structs.replace(first, first=plan.first + plan.count)
            outcome = await machine.load(second, begin=meter.start)
            stored += plan.count
            ended = await settled(connection, worker, exact=False, events=stored)
            through = {
                **_cpu(meter, plan.count),
                "per_second": plan.count / (ended - outcome.began),
                "accepted_per_second": outcome.per_second,
                "read_whole": _since(read, await _read_whole(connection)),
            }
            memory = _memory_bytes(worker)

            async def derive() -> Figures:
                read = await _read_whole(connection)
                meter = Meter(worker=worker, postgres=machine.postgres)
                began = time.monotonic()
                await connection.execute(MARK, *map(list, zip(*again, strict=True)))
                ended = await settled(connection, worker, exact=False, events=stored)
                return {
                    **_cpu(meter, len(again)),
                    "per_second": len(again) / (ended - began),
                    "read_whole": _since(read, await _read_whole(connection)),
                }

            records = await derive()
            once_more = await derive()
            memory = max(memory, _memory_bytes(worker))
        # Last, because it moves last_seen, and so makes records stale.
        checks = await measure_checks(machine, web, connection, count=asks, rates=ask_rates)
    return {
        "receive": received,
        "through": through,
        "derived": records,
        "once_more": once_more,
        "statements": statements,
        "checks": checks,
        "worker_memory_bytes": memory,
    }


def growth_rows(found: Sequence[Figures]) -> Iterator[tuple[str, float, int, str, float | None]]:
    """What the table shows: what, the figure, its digits, notes, and the others' CPU."""
    for each in found:
        beside = f"beside {each['customers']:,} customers"
        for part, what in PARTS:
            cost = each[part]
            notes = "CPU us each: " + ", ".join(
                f"{name.removesuffix('_cpu_us')} {value:.0f}"
                for name, value in cost.items()
                if name.endswith("_cpu_us")
            )
            if "read_whole" in cost:
                whole = ", ".join(f"{table} {times:g}x" for table, times in cost["read_whole"].items())
                notes += f"; read from end to end: {whole or 'no large table'}"
            yield f"{beside}, {what}", cost["per_second"], 0, notes, cost["others_share"]
        yield from checks_rows(beside, each["checks"])
        memory = each["worker_memory_bytes"] / 2**20
        yield f"{beside}, worker memory, MiB", memory, 0, "", None
    if len(found) > 1:
        fewest, most = found[0], found[-1]
        for part, what in PARTS:
            costs = [
                sum(value for name, value in each[part].items() if name.endswith("_cpu_us"))
                for each in (fewest, most)
            ]
            notes = f"CPU us each: {costs[0]:.0f}, {costs[1]:.0f}"
            yield f"  cost beside the most / the fewest, {what}", costs[1] / costs[0], 2, notes, None
    for name in found[0]["statements"] if found else ():
        pages = [each["statements"][name]["pages"] for each in found]
        milliseconds = [f"{each['statements'][name]['ms']:.1f}" for each in found]
        notes = f"pages {', '.join(f'{count:,}' for count in pages)}; ms {', '.join(milliseconds)}"
        yield f"  {name}, pages, most / fewest", pages[-1] / max(pages[0], 1), 2, notes, None


def _memory_bytes(worker: Process) -> int:
    memory: int = psutil.Process(worker.process.pid).memory_info().rss
    return memory


async def _read_whole(connection: OwnConnection) -> dict[str, tuple[int, float]]:
    """Of each large table, how many rows were read from end to end so far, and how many it has."""
    await connection.execute("select pg_stat_clear_snapshot()")
    rows = await connection.fetch(SELECT_READ_WHOLE, LARGE)
    return {row["name"]: (row["read"], row["rows"]) for row in rows}


def _since(before: dict[str, tuple[int, float]], after: dict[str, tuple[int, float]]) -> dict[str, float]:
    """How often each of the tables has been read from end to end meanwhile."""
    times = {
        name: round((read - before.get(name, (0, 0.0))[0]) / rows, 1) for name, (read, rows) in after.items()
    }
    return {name: each for name, each in times.items() if each}


class Multiplied:
    """Copies of everything that the customers of an account have, under ids of their own."""

    def __init__(self, connection: OwnConnection) -> None:
        self._connection = connection
        self._copies = 0
        self._tables: dict[str, str] = {}
        """How the rows of a table are copied, as SQL; $1 and $2 are the first copy and the last."""

    async def begin(self) -> None:
        """Keep the rows of the account as they are now."""
        await self._connection.execute(
            "set session_replication_role = replica; set track_counts = off; set synchronous_commit = off; "
            "set maintenance_work_mem = '512MB'"
        )
        prefixes = await self._connection.fetch(
            "select distinct split_part(id, '_', 1) || '_' as prefix from sync.objects where kind <> all($1)",
            CATALOGUE,
        )
        owned = [row["prefix"] for row in prefixes]
        self._customers = await self._connection.fetch(
            "select uid, account_id, live_mode, stripe_customer_id from billing.customers"
        )
        await self._connection.execute(
            "create temporary table copied_uids (old uuid, copy int, new uuid, primary key (old, copy))"
        )
        for table in await self._connection.fetch(SELECT_TABLES):
            name = table["name"]
            if name in LEFT or name.partition(".")[2] in CATALOGUE:
                continue
            kept = "kept_" + name.replace(".", "_")
            where = " where kind <> all($1)" if name == "sync.objects" else ""
            await self._connection.execute(f"create temporary table {kept} as select * from {name} limit 0")
            await self._connection.execute(
                f"insert into {kept} select * from {name}{where}", *([CATALOGUE] if where else [])
            )
            if copying := await self._copying(name, kept, owned):
                self._tables[name] = copying

    async def _copying(self, table: str, kept: str, owned: list[str]) -> str | None:
        """The statement that copies a table's rows; None if no row names anything of a customer."""
        names: list[str] = []
        values: list[str] = []
        joined = ""
        renamed = False
        columns = await self._connection.fetch(SELECT_COLUMNS, table)
        of_customer = "customer_uid" if "customer_uid" in {column["name"] for column in columns} else "uid"
        for column in columns:
            name, of = column["name"], column["type"]
            names.append(name)
            if name == of_customer:
                joined = f" left join copied_uids u on u.old = k.{name} and u.copy = n"
                values.append(f"coalesce(u.new, md5(k.{name}::text || n)::uuid)")
            elif of == "uuid":
                values.append(f"md5(k.{name}::text || n)::uuid")
            elif name == "raw":
                values.append("'{}'")
            elif name == "change":
                values.append("nextval('billing.change')")
            elif of == "text" and (
                name in ("custom_uid", "fingerprint")
                or await self._connection.fetchval(
                    f"select exists (select from {kept} where {name} like any($1))",
                    [prefix.replace("_", r"\_") + "%" for prefix in owned],
                )
            ):
                values.append(f"k.{name} || '_' || n")
                renamed = True
            else:
                values.append(f"k.{name}")
        if not renamed:
            return None
        return (
            f"insert into {table} ({', '.join(names)}) select {', '.join(values)} "
            f"from generate_series($1::int, $2::int) n cross join {kept} k{joined}"
        )

    async def grow_to(self, customers: int) -> None:
        """Copy until there are about so many customers, and have Postgres know it, as after a night."""
        wanted = max(customers // len(self._customers) - 1, 0)
        # Indexes are left out meanwhile: rows come in no order of theirs, and sorting at the end takes a third as long.
        rebuilding = [each for table in self._tables for each in await self._without_indexes(table)]
        while self._copies < wanted:
            first, last = self._copies + 1, min(self._copies + COPIES_AT_ONCE, wanted)
            await self._connection.execute("truncate copied_uids")
            await self._connection.copy_records_to_table(
                "copied_uids",
                records=[
                    (
                        row["uid"],
                        copy,
                        customer_uid(
                            row["account_id"], row["live_mode"], f"{row['stripe_customer_id']}_{copy}"
                        ),
                    )
                    for row in self._customers
                    for copy in range(first, last + 1)
                ],
            )
            for copying in self._tables.values():
                await self._connection.execute(copying, first, last)
            self._copies = last
        for statement in rebuilding:
            await self._connection.execute(statement)
        await self._connection.execute("vacuum analyze")

    async def _without_indexes(self, table: str) -> list[str]:
        """Drop the indexes of a table; returns the statements that make them again."""
        again = []
        for index in await self._connection.fetch(SELECT_INDEXES, table):
            if name := index["constraint_name"]:
                await self._connection.execute(f"alter table {table} drop constraint {name}")
                again.append(f"alter table {table} add constraint {name} {index['constraint_definition']}")
            else:
                await self._connection.execute(f"drop index {index['name']}")
                again.append(index["definition"])
        return again


def _cpu(meter: Meter, count: int) -> dict[str, float]:
    used = meter.stop()
    others = used.pop("others_share")
    return {f"{name}_cpu_us": 1e6 * value / count for name, value in used.items()} | {"others_share": others}
