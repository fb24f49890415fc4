-- migrate:up

-- The beginnings of the indexes that were just made: all that asked these asks those now.
drop index stripe.subscription_items_product;
drop index stripe.subscription_items_price;
drop index stripe.active_entitlements_feature;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
