-- migrate:up

-- May a customer use a product or a feature? The question that services ask most, as a view.

-- For whoever asks about one customer, each branch begins at customer_uid: by an index of each table.
create view billing.access as
(select distinct on (customer_uid, product_id, entity_id)
  customer_uid, account_id, live_mode, product_id, null::text as feature_id, entity_id, allowed, reason, status, until,
  null::numeric as balance, exact
from (
  select p.customer_uid, p.account_id, p.live_mode, p.product_id, p.entity_id, p.has_access as allowed,
    case
      when p.has_access then 'subscription'
      when p.status is null then 'not_started'
      else p.status
    end as reason,
    p.status, coalesce(p.ended_at, p.current_period_end) as until, c.exact
  from billing.customer_products p
  join billing.customers c on c.uid = p.customer_uid
  union all
  -- Without a live subscription, only a grant gives access. Its end needs no worker.
  select c.uid, c.account_id, c.live_mode, c.product_id, null, coalesce(c.sandbox_end > now(), false),
    case when c.sandbox_end > now() then 'grant' else 'grant_ended' end, c.status, c.sandbox_end, c.exact
  from billing.customers c
  where c.has_access and coalesce(c.status, 'ended') = 'ended' and c.product_id is not null
) bought
order by customer_uid, product_id, entity_id, allowed desc, until desc nulls last,
  array_position(array['active', 'trialing', 'canceled', 'past_due', 'ended'], status), reason)
union all
select customer_uid, account_id, live_mode, null, feature_id, entity_id, bool_or(allowed),
  case when bool_or(allowed) then min(reason) filter (where allowed) else min(reason) end,
  status, case when bool_or(allowed and until is null) then null
    else coalesce(max(until) filter (where allowed), max(until)) end,
  sum(quantity) filter (where allowed), exact
from (
  select f.customer_uid, f.account_id, f.live_mode, coalesce(f.lookup_key, f.feature_id) as feature_id,
    null::text as entity_id, true as allowed, 'entitlement' as reason, c.status, null::timestamptz as until,
    null::numeric as quantity, c.exact
  from billing.customer_features f
  join billing.customers c on c.uid = f.customer_uid
  union all
  select p.customer_uid, p.account_id, p.live_mode, o.key, p.entity_id, p.has_access,
    case
      when p.has_access then 'subscription'
      when p.status is null then 'not_started'
      else p.status
    end,
    c.status, coalesce(p.ended_at, p.current_period_end), o.value::numeric, c.exact
  from billing.customer_products p
  join billing.customers c on c.uid = p.customer_uid
  cross join lateral jsonb_each_text(p.options) o
) included
group by customer_uid, account_id, live_mode, feature_id, entity_id, status, exact;
comment on view billing.access is
  'What each customer may use: one row per customer, product or feature, and entity. No row: never bought, so not allowed.';
comment on column billing.access.customer_uid is 'billing.customers.uid.';
comment on column billing.access.account_id is
  'Connected account, or empty: the account that owns the endpoint and the API key.';
comment on column billing.access.live_mode is 'true: live mode, false: test mode.';
comment on column billing.access.product_id is
  'The company''s own name of the product, else Stripe''s id. NULL in rows of features.';
comment on column billing.access.feature_id is
  'The feature''s lookup key, else Stripe''s id; or the feature_id of prices and products. NULL in rows of products.';
comment on column billing.access.entity_id is
  'The entity that it was bought for. NULL: for the whole customer, and so for each of its entities.';
comment on column billing.access.allowed is
  'Whether it may be used now. A past_due subscription and a grant count as in billing.customers.has_access.';
comment on column billing.access.reason is
  'Allowed by: subscription, grant, entitlement. Not allowed: not_started, past_due (also unpaid and paused), ended, grant_ended.';
comment on column billing.access.status is
  'Of a product: that of its subscription; of a grant or a feature: the customer''s. NULL: nothing ever started.';
comment on column billing.access.until is
  'The end of the current period, which renews unless it was canceled; of what has ended, and of a grant, its end. NULL: not known.';
comment on column billing.access.balance is
  'Of a feature: the quantity that was bought and may be used, as customer_products.options has it. NULL: not counted.';
comment on column billing.access.exact is 'billing.customers.exact.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
