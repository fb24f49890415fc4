-- migrate:up

-- A customer.created says that nothing was before it; not that everything after it has come. Stripe posts again for days
-- what was not answered: one from before the first fill of gaps proves nothing of what lies between.
alter table sync.accounts add column events_since timestamptz;
comment on column sync.accounts.events_since is 'By Stripe''s clock: every event since then has come, or comes with a fill. NULL before the first fill.';
update sync.accounts set events_since = '-infinity' where filled_at is not null;

alter table sync.customers add column known_from timestamptz;
comment on column sync.customers.known_from is 'When the event was created by which the customer is complete; NULL where its lists were read, or nothing has made it complete.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
