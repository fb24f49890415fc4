-- migrate:up transaction:false

-- The subscriptions of a product in the order in which their customers are told of a change. Alone in its migration, since an index that nobody waits for takes no transaction around it.
create index concurrently subscription_items_of_product on stripe.subscription_items (account_id, live_mode, product_id, subscription_id);

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
