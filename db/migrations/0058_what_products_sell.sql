-- migrate:up

-- Each row listed all subscriptions of its product: a customer with 4,000 of them had 16 million ids.
comment on column billing.customer_products.subscription_ids is
  'Stripe''s ids of all subscriptions of the customer that carry this product, in order of their start. Of more than 100: those that began last, and the row''s own.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
