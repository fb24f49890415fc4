-- migrate:up

-- Customers with so many objects that they are derived apart from all others.

create table sync.heavy (
  account_id   text         not null,
  live_mode    boolean      not null,
  customer_id  text         not null,
  since        timestamptz  not null default now(),
  primary key (account_id, live_mode, customer_id)
);
comment on table sync.heavy is
  'Customers with thousands of objects: a line of its own derives them, one at a time, so that no other customer waits for them.';
comment on column sync.heavy.account_id is 'Connected account, or empty.';
comment on column sync.heavy.live_mode is 'Live or test.';
comment on column sync.heavy.customer_id is 'Stripe customer id.';
comment on column sync.heavy.since is 'When it was seen to have so many.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
