-- migrate:up

-- Several events about one object in one second: nothing but what they say tells which of them was the last.

alter table sync.objects add column tied bigint[];
comment on column sync.objects.tied is
  'Inbox numbers of further payloads about it, of the same second as payload_seq, which may say something else: a read is compared with all those of them that may be the last. NULL: there are none.';

-- Several thin events about one object: a read that shows a change may have seen the first of them alone.

alter table sync.objects add column thins integer not null default 0;
comment on column sync.objects.thins is
  'Thin events that told of changes of it since the read that is stored. If there are several, a read that differs from what is stored may have missed the last of them.';

-- A fill of gaps has a place among marks and reads: what an older mark announced was listed, if Stripe still tells it.

alter table sync.accounts add column filled_tick bigint;
comment on column sync.accounts.filled_tick is
  'Tick of the last fill of gaps that ended, drawn before its first request. NULL: none has.';

create or replace function sync.greatest_tick() returns bigint
language sql stable set search_path = pg_catalog as $function$
  select greatest(
    (select max(greatest(dirty, confirmed, told)) from sync.objects), (select max(begun_tick) from sync.scans),
    (select max(read_tick) from sync.drift), (select max(tick) from sync.twins),
    (select max(filled_tick) from sync.accounts)
  )
$function$;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
