-- migrate:up

-- Each row listed all subscriptions of its product: a customer with 4,000 of them had 16 million ids.
comment on column billing.customer_products.subscription_ids is
  'Stripe''s ids of all subscriptions of the customer that carry this product, in order of their start. Of more than 100: those that began last, and the row''s own.';

-- A metered price sells its feature, too: access to it waited for the first reading of Stripe's meters.
comment on column billing.customer_products.options is
  'Feature id to summed quantity; of a metered price, which has none, to its quota_limit (metadata of the price, else of the product), or null: no limit. The feature is metadata.feature_id of the price, else of the product.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
