-- migrate:up transaction:false
-- Parked customers are counted for /status, and there are few.
create index concurrently customers_parked on sync.customers (parked_at) where parked_at is not null;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
