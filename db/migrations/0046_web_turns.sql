-- migrate:up

-- Web processes ask Stripe, too: workers leave a small part of the limits to all of them together, while some are there,
-- and they take turns in it.

create table sync.web_sign (
  only_row boolean     primary key default true check (only_row),
  since    timestamptz not null,
  until    timestamptz not null
);
comment on table sync.web_sign is
  'Says whether web processes may ask Stripe: as long as it holds, workers leave a part of its limits to them. Each web process with an API key renews it.';
comment on column sync.web_sign.only_row is 'There is one row.';
comment on column sync.web_sign.since is
  'Since when it holds without a gap. Web processes ask only when each worker has had the time to see it.';
comment on column sync.web_sign.until is 'Until when it holds.';

create table sync.web_turns (
  account_id text        primary key,
  next_at    timestamptz not null
);
comment on table sync.web_turns is
  'The turns that all web processes take to ask Stripe, of each account that they have asked about.';
comment on column sync.web_turns.account_id is 'The Stripe account; empty for the account that the API key belongs to.';
comment on column sync.web_turns.next_at is 'The moment of the next turn, if nobody takes one before.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
