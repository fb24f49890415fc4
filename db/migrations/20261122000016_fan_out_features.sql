-- migrate:up transaction:false

-- The same of a feature. Alone in its migration, since an index that nobody waits for takes no transaction around it.
create index concurrently active_entitlements_of_feature on stripe.active_entitlements (account_id, live_mode, feature_id, customer_id);

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
