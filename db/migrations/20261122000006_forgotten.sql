-- migrate:up

-- Not sync.objects' tombstones: these stand for single objects, this one for all that ever will be said of a customer.
create table sync.forgotten (
  account_id    text        not null,
  live_mode     boolean     not null,
  customer_id   text        not null,
  forgotten_at  timestamptz not null default now(),
  erased_at     timestamptz,
  primary key (account_id, live_mode, customer_id)
);
comment on table sync.forgotten is 'Customers whose personal data was erased: whatever is heard of them later is not stored.';
comment on column sync.forgotten.account_id is 'Connected account, or empty.';
comment on column sync.forgotten.live_mode is 'Live or test.';
comment on column sync.forgotten.customer_id is 'Stripe customer id: all that is kept of who it was.';
comment on column sync.forgotten.forgotten_at is 'When it was asked for: from then on nothing is stored any more.';
comment on column sync.forgotten.erased_at is 'When the last of what was stored had been erased. NULL: under way, or cut short.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
