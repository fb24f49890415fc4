-- migrate:up transaction:false

-- The ranks of prices are counted in this index alone: a product may have thousands.
create index concurrently prices_rank
  on stripe.prices (account_id, live_mode, product_id, created nulls first, id collate "C") where recurring;

-- migrate:down transaction:false
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
