"""Databases of tests: where they are, whether a test has altered one, and how one is emptied for the next test."""

from urllib.parse import urlsplit, urlunsplit

import asyncpg

from db.connection import Connection, Pool

SCHEMA = """
select array[
  (select count(*) from pg_class), (select count(*) from pg_attribute), (select count(*) from pg_constraint),
  (select count(*) from pg_trigger), (select count(*) from pg_rewrite), (select count(*) from pg_namespace),
  (select sum(hashtext(prosrc)) from pg_proc where pronamespace >= 16384),
  (select count(*) from pg_db_role_setting where setdatabase = (
    select oid from pg_database where datname = current_database()))
]
"""
"""Enough of a schema, and of a database's settings, to notice that a test has altered them."""

EMPTY_TABLES = """
do $$
declare statement text;
begin
  -- No trigger fires: that of billing.identities would mark the customers of what is deleted. Without triggers and
  -- foreign keys the order does not matter; of few rows `delete` is quicker than `truncate`, which leaves no file of
  -- dead rows that every later test has to read.
  set local session_replication_role = replica;
  for statement in
    select format(case when pg_relation_size(c.oid) < 262144 then 'delete from %s' else 'truncate %s cascade' end,
      c.oid::regclass)
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('sync', 'stripe', 'billing') and c.relkind = 'r' and pg_relation_size(c.oid) > 0
    union all
    -- Not `alter sequence`, after which all that draw from it are planned anew.
    select format('select setval(%L, %s, false)', format('%I.%I', schemaname, sequencename), start_value)
    from pg_sequences where schemaname in ('sync', 'billing') and last_value is not null
  loop
    execute statement;
  end loop;
  perform sync.keep_one_history();
end $$;
"""

POOL_NAME = "subledger-test"
"""How the connections of a test's pool are named in Postgres."""

END_OTHERS = """
select pg_terminate_backend(pid, 60000) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
  and not (application_name = '{spared}' and state = 'idle')
"""


def at_database(url: str, name: str | int) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def empty_tables(connection: Connection) -> None:
    """Empty every table of ours and restart the sequences."""
    await connection.execute(EMPTY_TABLES)


async def emptied(database_url: str, schema: object) -> bool:
    """Whether the database could be emptied for another test: not if its schema is not this one any more.

    All other connections, which might still write, are ended, and have gone.
    """
    connection = await asyncpg.connect(database_url)
    try:
        return await _emptied(connection, schema, spared="")
    finally:
        await connection.close()


async def emptied_by(pool: Pool, schema: object) -> bool:
    """The same for the database of this pool, all of whose connections are idle, and stay."""
    async with pool.acquire() as connection:
        return await _emptied(connection, schema, spared=POOL_NAME)


async def _emptied(connection: Connection, schema: object, *, spared: str) -> bool:
    if schema != await connection.fetchval(SCHEMA):
        return False
    await connection.execute(END_OTHERS.format(spared=spared))
    await empty_tables(connection)
    return True
