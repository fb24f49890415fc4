-- migrate:up transaction:false

-- The same of a price. Alone in its migration, since an index that nobody waits for takes no transaction around it.
create index concurrently subscription_items_of_price on stripe.subscription_items (account_id, live_mode, price_id, subscription_id);

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
