-- migrate:up transaction:false

-- Subscriptions that renew at one time are read by pages of Stripe's list: how many lie there says whether it is worth it.
create index concurrently subscriptions_current_period_start
  on stripe.subscriptions (account_id, live_mode, current_period_start);

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
