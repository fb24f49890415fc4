"""A world's database loses what was committed last, as when a standby that had not received it takes its place.

What is kept of a moment is every row and every sequence; what comes after it is lost for good, also what was answered
with 200. On real servers: tests/losses.py.
"""

import asyncpg

from db.connection import Connection
from tests.faults import END_OTHERS

TRIES = 5

KEEP = """
do $$
declare each record;
begin
  create schema if not exists kept;
  for each in
    select n.nspname || '.' || c.relname as name, c.oid::regclass as of
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('sync', 'stripe', 'billing') and c.relkind = 'r' and pg_relation_size(c.oid) > 0
  loop
    execute format('create unlogged table kept.%I as table %s', each.name, each.of);
  end loop;
  create unlogged table kept.sequences as
    select format('%I.%I', schemaname, sequencename) as name, last_value
    from pg_sequences where schemaname in ('sync', 'billing');
end $$;
"""

# No trigger fires, as none does at a standby. The incarnation is unlogged: a promoted standby has that table empty.
LOSE = """
do $$
declare
  each record;
  names text;
  columns text;
begin
  set local session_replication_role = replica;
  select string_agg(c.oid::regclass::text, ', ' order by n.nspname, c.relname) into names
  from pg_class c
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname in ('sync', 'stripe', 'billing') and c.relkind = 'r' and pg_relation_size(c.oid) > 0;
  execute format('lock table %s in access exclusive mode', names);
  execute format('truncate %s cascade', names);
  for each in
    select tablename as name from pg_tables
    where schemaname = 'kept' and tablename not in ('sequences', 'sync.incarnation')
  loop
    select string_agg(quote_ident(attname), ', ') into columns
    from pg_attribute
    where attrelid = each.name::regclass and attnum > 0 and not attisdropped and attgenerated = '';
    execute format(
      'insert into %s (%s) overriding system value select %s from kept.%I', each.name, columns, columns, each.name
    );
  end loop;
  for each in select name, last_value from kept.sequences loop
    if each.last_value is null then
      execute format('alter sequence %s restart', each.name);
    else
      perform setval(each.name::regclass, each.last_value);
    end if;
  end loop;
  drop schema kept cascade;
  -- Whoever has connected again meanwhile waits for a table, and may hold a snapshot in which all of them are empty.
  perform pg_terminate_backend(pid, 10000) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend';
end $$;
"""

FORGET_KEPT = "drop schema if exists kept cascade"


async def keep(connection: Connection) -> None:
    """What is committed until now survives; what is committed after it does not."""
    async with connection.transaction(isolation="repeatable_read"):  # one moment of all tables
        await connection.execute(KEEP)


async def lose(connection: Connection) -> None:
    """Cut every other connection, and go back to what was kept."""
    for left in reversed(range(TRIES)):
        await connection.execute(END_OTHERS)
        try:
            await connection.execute(LOSE)
        except asyncpg.DeadlockDetectedError:  # with one that has just connected again
            if not left:
                raise
        else:
            return
