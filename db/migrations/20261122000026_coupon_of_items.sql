-- migrate:up transaction:false

-- The items of subscriptions with a discount, by its coupon. Alone in its migration, since an index that nobody waits for takes no transaction around it.
create index concurrently subscription_items_coupons on stripe.subscription_items using gin (discounts jsonb_path_ops) where discounts <> '[]'::jsonb;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
