-- migrate:up

comment on table billing.usage_minutes is
  'What was used in each minute: the sums of billing.usage_events that are no longer pending. Stripe''s meters know no finer periods. With RETENTION_DAYS, old minutes become months.';
comment on column billing.usage_minutes.minute is
  'Its begin. What is older than RETENTION_DAYS, and than the current period of each subscription of the customer, stands at the begin of its month (UTC).';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
