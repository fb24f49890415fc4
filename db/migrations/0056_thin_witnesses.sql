-- migrate:up

-- The twin of a thin event is the witness of reads. Of several events about one object in one second, which are told in
-- whatever style, a read has to have seen each.

alter table sync.objects add column thin_seqs bigint[], add column tells integer not null default 0;
comment on column sync.objects.thin_seqs is
  'Inbox numbers of the thin events about it that happened at payload_created, and told that it has changed: a read is compared with their twins. NULL: there are none.';
comment on column sync.objects.tells is
  'Events, thin or not, that told of changes of it since the read that is stored. If there are several, a read that differs from what is stored may have missed the last of them.';

-- Thin events that name no object: what they tell is in their twins.
create table sync.wanted_twins (
  account_id text not null,
  live_mode boolean not null,
  event_id text not null,
  type text not null,
  created timestamptz not null,
  due_at timestamptz not null default now(),
  attempts integer not null default 0,
  constraint wanted_twins_key primary key (account_id, live_mode, event_id)
);
create index wanted_twins_due on sync.wanted_twins (live_mode, due_at);
comment on table sync.wanted_twins is
  'Snapshot events that thin ones have named, which name no object themselves: they are asked for by their ids, unless a webhook or a fill of gaps brings them.';
comment on column sync.wanted_twins.account_id is 'The account; empty for that of the API key.';
comment on column sync.wanted_twins.live_mode is 'Live mode, or test mode.';
comment on column sync.wanted_twins.event_id is 'The snapshot event.';
comment on column sync.wanted_twins.type is 'Its type.';
comment on column sync.wanted_twins.created is 'When the thin event happened.';
comment on column sync.wanted_twins.due_at is 'When it is asked for next.';
comment on column sync.wanted_twins.attempts is 'How often it was asked for.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
