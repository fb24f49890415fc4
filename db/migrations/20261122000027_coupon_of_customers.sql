-- migrate:up transaction:false

-- The customers with a discount, by its coupon. Alone in its migration, since an index that nobody waits for takes no transaction around it.
create index concurrently customers_coupons on stripe.customers using gin (discounts jsonb_path_ops) where discounts <> '[]'::jsonb;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
