-- migrate:up

-- What is tracked while its customer gets another uid is stored under the old one, and commits after all else has moved.

create table sync.former_uids (
  before uuid not null,
  after uuid not null,
  changed_at timestamptz not null default now(),
  constraint former_uids_key primary key (before),
  constraint former_uids_differ check (before <> after)
);
create index former_uids_after on sync.former_uids (after);
comment on table sync.former_uids is
  'Uids that customers had until a day ago: what was tracked under one of them counts for the customer that it is now.';
comment on column sync.former_uids.before is 'The uid that is used no more.';
comment on column sync.former_uids.after is 'The uid that the customer has now, however often it has changed.';
comment on column sync.former_uids.changed_at is 'When it changed.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
