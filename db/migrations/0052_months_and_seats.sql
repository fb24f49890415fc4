-- migrate:up

comment on table billing.usage_minutes is
  'What was used in each minute: the sums of billing.usage_events that are no longer pending. Stripe''s meters know no finer periods. With RETENTION_DAYS, old minutes become months.';
comment on column billing.usage_minutes.minute is
  'Its begin. What is older than RETENTION_DAYS, and than the current period of each subscription of the customer, stands at the begin of its month (UTC).';

-- An entity may take one of a feature (a seat): it counts against the feature's limit as long as it is there.
alter table billing.local_entities add column feature_id text;
comment on column billing.local_entities.feature_id is
  'The feature of which the entity takes one as long as it is there, as a seat. NULL: of none.';
create or replace view billing.entities as
select uid, customer_uid, id, type, name, metadata, created_at, feature_id
from billing.local_entities
union all
select d.uid, d.customer_uid, d.id, d.type, d.name, '{}'::jsonb, d.created_at, null
from billing.subscription_entities d
where not exists (select from billing.local_entities l where l.customer_uid = d.customer_uid and l.id = d.id);
comment on column billing.entities.feature_id is
  'The feature of which the entity takes one as long as it is there, as a seat. NULL: of none.';

-- As before, and with the entities that take one.
create or replace view billing.access_to_features as
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
        union all
        -- Seats are taken as long as they are there, whatever the period.
        select null, 1
        from billing.local_entities l
        where l.customer_uid = features.customer_uid and l.feature_id = features.feature_id
      ) tracked
      where features.entity_id is null or tracked.entity_id = features.entity_id
      group by tracked.entity_id
    ) by_entity
  ) of_row
) counted on features.granted is not null;
comment on column billing.access.used is
  'Of a feature with a limit: what was tracked in the current period. In the row of the whole customer: by no entity, or by entities beyond what was bought for them; and how many entities take one of it.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
