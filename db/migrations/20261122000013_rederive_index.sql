-- migrate:up transaction:false

-- Whose record changes by time alone, the soonest first. Alone in its migration, since an index that nobody waits for takes no transaction around it.
create index concurrently customers_rederive on sync.customers (rederive_at) where rederive_at is not null;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
