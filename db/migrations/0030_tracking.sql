-- migrate:up

-- What customers use of features, counted here (POST /customers/ID/track), and sent on to Stripe's meters.

create table billing.usage_events (
  id               bigint      generated always as identity,
  account_id       text        not null,
  live_mode        boolean     not null,
  idempotency_key  text        not null,
  customer_uid     uuid        not null,
  feature_id       text        not null,
  entity_id        text,
  value            bigint      not null,
  used_at          timestamptz not null default now(),
  states_time      boolean     not null default false,
  received_at      timestamptz not null default now(),
  pending          boolean     not null default true,
  primary key (account_id, live_mode, idempotency_key),
  constraint used_at_is_finite check (isfinite(used_at))
);
create index usage_events_pending on billing.usage_events (id) where pending;
create index usage_events_not_added on billing.usage_events (customer_uid, feature_id, used_at) where pending;
create index usage_events_of_customer on billing.usage_events (customer_uid);
create index usage_events_received on billing.usage_events using brin (received_at);
comment on table billing.usage_events is
  'What was tracked, as it came: one row per call, kept for 40 days, so that a key counts once. billing.usage_minutes has the sums.';
comment on column billing.usage_events.id is 'In the order of arrival, with gaps.';
comment on column billing.usage_events.account_id is
  'Connected account, or empty: the account that owns the endpoint and the API key.';
comment on column billing.usage_events.live_mode is 'true: live mode, false: test mode.';
comment on column billing.usage_events.idempotency_key is 'The caller''s key, or one made for it: it counts once.';
comment on column billing.usage_events.customer_uid is 'billing.customers.uid.';
comment on column billing.usage_events.feature_id is 'The company''s name of the feature, as billing.access has it.';
comment on column billing.usage_events.entity_id is 'The entity that used it; NULL: not said.';
comment on column billing.usage_events.value is 'How much, in whole units of the feature. Negative: given back.';
comment on column billing.usage_events.used_at is 'When it was used.';
comment on column billing.usage_events.states_time is 'Whether the caller gave used_at. False: when the call came.';
comment on column billing.usage_events.received_at is 'When the call came.';
comment on column billing.usage_events.pending is
  'Not added to billing.usage_minutes yet, nor queued for Stripe: a worker does that within a second.';

create table billing.usage_minutes (
  customer_uid  uuid        not null,
  feature_id    text        not null,
  entity_id     text,
  minute        timestamptz not null,
  value         numeric     not null,
  unique nulls not distinct (customer_uid, feature_id, minute, entity_id)
);
comment on table billing.usage_minutes is
  'What was used in each minute: the sums of billing.usage_events that are no longer pending. Stripe''s meters know no finer periods.';
comment on column billing.usage_minutes.customer_uid is 'billing.customers.uid.';
comment on column billing.usage_minutes.feature_id is 'The company''s name of the feature.';
comment on column billing.usage_minutes.entity_id is 'The entity that used it; NULL: not said.';
comment on column billing.usage_minutes.minute is 'Its begin.';
comment on column billing.usage_minutes.value is 'How much was used in it.';

create table sync.meter_events (
  id              bigint      generated always as identity primary key,
  account_id      text        not null,
  live_mode       boolean     not null,
  customer_uid    uuid        not null,
  event_name      text        not null,
  value           numeric     not null,
  used_at         timestamptz not null,
  identifier      text        not null default 'subledger-' || gen_random_uuid(),
  state           text        not null default 'queued',
  due_at          timestamptz not null default now(),
  attempts        integer     not null default 0,
  unsure_since    timestamptz,
  queued_at       timestamptz not null default now(),
  ended_at        timestamptz,
  error           text,
  unique (account_id, live_mode, identifier),
  constraint state_is_known check (state in ('queued', 'sent', 'refused', 'undecided', 'expired')),
  constraint queued_has_no_end check ((state = 'queued') = (ended_at is null))
) with (fillfactor = 70);
create index meter_events_due on sync.meter_events (live_mode, due_at) where state = 'queued';
create index meter_events_given_up on sync.meter_events (state) where state in ('undecided', 'expired');
create index meter_events_ended on sync.meter_events (ended_at) where state in ('sent', 'refused');
create index meter_events_of_customer on sync.meter_events (customer_uid);
comment on table sync.meter_events is
  'What is to be told to Stripe''s meters: one row per meter event, sent at least once. Stripe counts an identifier once.';
comment on column sync.meter_events.id is 'In the order in which they were queued.';
comment on column sync.meter_events.account_id is 'Connected account, or empty.';
comment on column sync.meter_events.live_mode is 'Live or test.';
comment on column sync.meter_events.customer_uid is 'billing.customers.uid of the customer that used it.';
comment on column sync.meter_events.event_name is 'The meter''s event_name at Stripe.';
comment on column sync.meter_events.value is
  'How much: of a meter that adds values up, all that the customer used within one second; of another one, one call.';
comment on column sync.meter_events.used_at is 'When, to the second: Stripe''s timestamp.';
comment on column sync.meter_events.identifier is 'By which Stripe knows it again, for 24 hours at least.';
comment on column sync.meter_events.state is
  'queued: to be sent. sent: Stripe has it. refused: for good, because the customer was deleted. undecided: perhaps Stripe has it, and it is too late to ask. expired: Stripe takes nothing so old.';
comment on column sync.meter_events.due_at is 'When to send it next; while a worker sends it, the end of its lease.';
comment on column sync.meter_events.attempts is 'How often it was begun to be sent, counted before the request.';
comment on column sync.meter_events.unsure_since is
  'When it was sent first without an answer: from then on Stripe may have it. NULL: Stripe has it not.';
comment on column sync.meter_events.queued_at is 'When it was queued.';
comment on column sync.meter_events.ended_at is 'When it left the queue. Rows that were sent or refused go away 3 days later.';
comment on column sync.meter_events.error is 'Why it was not sent the last time.';

alter table billing.customer_usage add column feature_id text;
comment on column billing.customer_usage.feature_id is
  'The feature that the meter counts: feature_id of the price''s metadata, else of its product''s. NULL: none is named.';

-- In two parts, since whoever asks about one thing need not plan both. The products are as before; the features know their
-- limit, what was used of it in the current period, and what is left.
create view billing.access_to_products as
select distinct on (customer_uid, product_id, entity_id)
  customer_uid, account_id, live_mode, product_id, null::text as feature_id, entity_id, allowed, reason, status, until,
  null::numeric as balance, exact, null::numeric as granted, null::numeric as used, null::timestamptz as used_since
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
  array_position(array['active', 'trialing', 'canceled', 'past_due', 'ended'], status), reason;
create view billing.access_to_features as
select customer_uid, account_id, live_mode, null::text as product_id, feature_id, entity_id,
  allowed and coalesce(granted > counted.used, true) as allowed,
  case when allowed and granted <= counted.used then 'balance' else reason end as reason,
  status, until, granted - counted.used as balance, exact, granted, counted.used,
  case when granted is not null then nullif(used_since, '-infinity') end as used_since
from (
  select *,
    -- All rows of a feature are about one period, so that what an entity used beyond its own is counted once.
    date_trunc('minute', min(began_at) filter (where allowed) over feature) as used_since,
    coalesce(bool_or(entity_id is null and granted is not null) over feature, false) as is_shared,
    jsonb_object_agg(entity_id, granted) filter (where entity_id is not null and granted is not null) over feature
      as of_entities
  from (
    select customer_uid, account_id, live_mode, feature_id, entity_id, bool_or(allowed) as allowed,
      case when bool_or(allowed) then min(reason) filter (where allowed) else min(reason) end as reason,
      status, case when bool_or(allowed and until is null) then null
        else coalesce(max(until) filter (where allowed), max(until)) end as until,
      coalesce(
        sum(quota) filter (where allowed), max(feature_quota) filter (where allowed), sum(quantity) filter (where allowed)
      ) as granted,
      min(coalesce(began_at, '-infinity')) filter (where allowed) as began_at, exact
    from (
      select f.customer_uid, f.account_id, f.live_mode, coalesce(f.lookup_key, f.feature_id) as feature_id,
        null::text as entity_id, true as allowed, 'entitlement' as reason, c.status, null::timestamptz as until,
        null::numeric as quantity, null::numeric as quota,
        case when s.metadata ->> 'quota_limit' ~ '^[0-9]{1,18}$' then (s.metadata ->> 'quota_limit')::numeric end
          as feature_quota,
        running.began_at, c.exact
      from billing.customer_features f
      join billing.customers c on c.uid = f.customer_uid
      left join stripe.features s
        on s.account_id = f.account_id and s.live_mode = f.live_mode and s.id = f.feature_id
      cross join lateral (
        select min(p.current_period_start) as began_at
        from billing.customer_products p
        where p.customer_uid = f.customer_uid and p.has_access
      ) running
      union all
      select p.customer_uid, p.account_id, p.live_mode, o.key, p.entity_id, p.has_access,
        case
          when p.has_access then 'subscription'
          when p.status is null then 'not_started'
          else p.status
        end,
        c.status, coalesce(p.ended_at, p.current_period_end), o.value::numeric, null, null,
        coalesce(p.current_period_start, p.starts_at), c.exact
      from billing.customer_products p
      join billing.customers c on c.uid = p.customer_uid
      cross join lateral jsonb_each_text(p.options) o
      union all
      -- Metered: nothing is bought beforehand, and the limit is what was agreed.
      select u.customer_uid, u.account_id, u.live_mode, u.feature_id, sold.entity_id, sold.has_access,
        case
          when sold.has_access then 'subscription'
          when sold.status is null then 'not_started'
          else sold.status
        end,
        c.status, sold.until, null, u.quota_limit::numeric, null, sold.began_at, c.exact
      from billing.customer_usage u
      join billing.customers c on c.uid = u.customer_uid
      cross join lateral (
        select p.entity_id, p.has_access, p.status, coalesce(p.ended_at, p.current_period_end) as until,
          coalesce(p.current_period_start, p.starts_at) as began_at
        from billing.customer_products p
        where p.customer_uid = u.customer_uid and p.stripe_subscription_id = u.stripe_subscription_id
        order by p.stripe_product_id
        limit 1
      ) sold
      where u.feature_id is not null
    ) included
    group by customer_uid, account_id, live_mode, feature_id, entity_id, status, exact
  ) each_entity
  window feature as (partition by customer_uid, feature_id)
) features
left join lateral (
  -- An entity uses up what was bought for it, then what was bought for the whole customer.
  select case
      when features.entity_id is not null and features.is_shared then least(coalesce(sum(of_row.used), 0), features.granted)
      else coalesce(sum(of_row.used), 0)
    end as used
  from (
    select case
        when features.entity_id is not null or by_entity.entity_id is null then by_entity.used
        else greatest(by_entity.used - coalesce((features.of_entities ->> by_entity.entity_id)::numeric, 0), 0)
      end as used
    from (
      select tracked.entity_id, sum(tracked.value) as used
      from (
        select m.entity_id, m.value
        from billing.usage_minutes m
        where m.customer_uid = features.customer_uid and m.feature_id = features.feature_id
          and m.minute >= features.used_since
        union all
        select e.entity_id, e.value
        from billing.usage_events e
        where e.pending and e.customer_uid = features.customer_uid and e.feature_id = features.feature_id
          and e.used_at >= features.used_since
      ) tracked
      where features.entity_id is null or tracked.entity_id = features.entity_id
      group by tracked.entity_id
    ) by_entity
  ) of_row
) counted on features.granted is not null;
create or replace view billing.access as
select customer_uid, account_id, live_mode, product_id, feature_id, entity_id, allowed, reason, status, until, balance, exact,
  granted, used, used_since
from billing.access_to_products
union all
select customer_uid, account_id, live_mode, product_id, feature_id, entity_id, allowed, reason, status, until, balance, exact,
  granted, used, used_since
from billing.access_to_features;
comment on view billing.access_to_products is 'The rows of billing.access about products.';
comment on view billing.access_to_features is 'The rows of billing.access about features.';
do $$ declare part text; name text; begin
  foreach part in array array['access_to_products', 'access_to_features'] loop
    foreach name in array array[
      'customer_uid', 'account_id', 'live_mode', 'product_id', 'feature_id', 'entity_id', 'allowed', 'reason',
      'status', 'until', 'balance', 'exact', 'granted', 'used', 'used_since'
    ] loop
      execute format('comment on column billing.%I.%I is %L', part, name, 'As in billing.access.');
    end loop;
  end loop;
end $$;
comment on column billing.access.allowed is
  'Whether it may be used now. A past_due subscription and a grant count as in billing.customers.has_access. A feature of which nothing is left may not.';
comment on column billing.access.reason is
  'Allowed by: subscription, grant, entitlement. Not allowed: not_started, past_due (also unpaid and paused), ended, grant_ended, balance.';
comment on column billing.access.balance is 'Of a feature: granted - used. NULL: not counted.';
comment on column billing.access.granted is
  'Of a feature: its limit for the current period, by metadata quota_limit of a metered price or its product, else of the feature; else the quantity that was bought, as customer_products.options has it. NULL: no limit.';
comment on column billing.access.used is
  'Of a feature with a limit: what was tracked in the current period. In the row of the whole customer: by no entity, or by entities beyond what was bought for them.';
comment on column billing.access.used_since is
  'Start of the current period, to the minute: of several subscriptions with the feature, of that whose period began first. NULL: not known, so all use counts.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
