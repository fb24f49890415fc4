-- migrate:up

-- Rebuilding: every record derived again.

create table sync.rebuilds (
  id           bigint      generated always as identity primary key,
  started_at   timestamptz not null default now(),
  finished_at  timestamptz,
  account_id   text        not null default '',
  live_mode    boolean     not null default false,
  customer_id  text        not null default '',
  derived      bigint      not null default 0,
  changed      bigint      not null default 0
);
create unique index rebuilds_one_at_a_time on sync.rebuilds ((finished_at is null)) where finished_at is null;
comment on table sync.rebuilds is 'Rebuilds of all records, and how far each one came: a rebuild that was cut short goes on from there.';
comment on column sync.rebuilds.id is 'Numbers the rebuilds.';
comment on column sync.rebuilds.started_at is 'When it began.';
comment on column sync.rebuilds.finished_at is 'When the last customer was derived. NULL: under way, or cut short.';
comment on column sync.rebuilds.account_id is 'Account of the last customer that was derived.';
comment on column sync.rebuilds.live_mode is 'Mode of the last customer that was derived.';
comment on column sync.rebuilds.customer_id is 'Stripe id of the last customer that was derived; customers are taken in the order of (account_id, live_mode, customer_id).';
comment on column sync.rebuilds.derived is 'How many customers it has taken so far.';
comment on column sync.rebuilds.changed is 'How many of their records came out different.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
