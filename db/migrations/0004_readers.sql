-- migrate:up

-- Two roles: billing_reader sees the records and the mirror's typed columns, billing_raw also what Stripe sent.

-- A function, so that it can be called again: by later migrations for their tables, and by an administrator who has
-- created the roles where the migrating role may not.
create function sync.grant_readers() returns void language plpgsql set search_path = pg_catalog as $function$
declare
  reader text;
  mirror record;
begin
  foreach reader in array array['billing_reader', 'billing_raw'] loop
    if not exists (select from pg_roles where rolname = reader) then
      begin
        execute format('create role %I nologin', reader);
      exception
        when insufficient_privilege then
          raise notice 'role % is missing: have it created, then select sync.grant_readers()', reader;
          continue;
        when duplicate_object or unique_violation then
          null;  -- roles belong to the whole server: another database's migration has just created it
      end;
    end if;
    execute format('grant usage on schema billing, stripe to %I', reader);
    execute format('grant select on all tables in schema billing to %I', reader);
    if reader = 'billing_raw' then
      grant select on all tables in schema stripe to billing_raw;
      continue;
    end if;
    for mirror in
      -- A column of type json is what Stripe sent; everything else is typed.
      select c.oid::regclass as name, string_agg(quote_ident(a.attname), ', ' order by a.attnum) as typed
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.atttypid <> 'json'::regtype
      where c.relnamespace = 'stripe'::regnamespace and c.relkind in ('r', 'p', 'v')
      group by c.oid
    loop
      execute format('grant select (%s) on %s to billing_reader', mirror.typed, mirror.name);
    end loop;
  end loop;
end
$function$;
comment on function sync.grant_readers() is
  'Creates the roles billing_reader and billing_raw where it may, and gives them their rights. Safe to call again.';
revoke execute on function sync.grant_readers() from public;

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
