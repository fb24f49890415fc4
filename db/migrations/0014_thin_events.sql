-- migrate:up

-- Thin events: they name an object and carry no state. A thin event and its snapshot twin are one change and one read.

create table sync.twins (
  account_id  text        not null,
  live_mode   boolean     not null,
  event_id    text        not null,
  twin_id     text        not null,
  tick        bigint,
  applied_at  timestamptz not null default now(),
  primary key (account_id, live_mode, event_id)
);
create index twins_by_twin on sync.twins (account_id, live_mode, twin_id);
comment on table sync.twins is
  'The thin events that were applied and that name their snapshot twin: both are about one change, which is read once.';
comment on column sync.twins.account_id is 'Connected account, or empty.';
comment on column sync.twins.live_mode is 'Live or test.';
comment on column sync.twins.event_id is 'Id of the thin event.';
comment on column sync.twins.twin_id is
  'Its `snapshot_event`: the id of the snapshot event about the same change, which may never come.';
comment on column sync.twins.tick is
  'Drawn when the thin event was applied: a read with a greater tick has seen the change, whichever of the two comes later. NULL: the change is to be told anew, since one of the two was replayed.';
comment on column sync.twins.applied_at is 'When the thin event was applied.';

alter table sync.objects add column thin_tick bigint;
comment on column sync.objects.thin_tick is
  'Tick of the newest mark by a thin event. The first read after it marks what else such an event concerns, with this tick; below zero: that read has come. NULL: there was none.';

create or replace function sync.greatest_tick() returns bigint
language sql stable set search_path = pg_catalog as $function$
  select greatest(
    (select max(greatest(dirty, confirmed, told)) from sync.objects), (select max(begun_tick) from sync.scans),
    (select max(read_tick) from sync.drift), (select max(tick) from sync.twins)
  )
$function$;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
