-- migrate:up

-- What discounts take off a subscription. Function and not table: it is read for the few that have one.
create function sync.recurring_discounts(subscription json, as_of timestamptz)
returns table (known boolean, percent_off numeric, amount_off numeric, currency text)
language sql stable set search_path = pg_catalog as $function$
  with named as (
    -- One discount by itself until 2025-03-31, then a list; for a while both, the list holding ids of the same.
    select subscription -> 'discount' as discount
    where json_typeof(subscription -> 'discount') = 'object'
    union all
    select entry
    from json_array_elements(
      case when json_typeof(subscription -> 'discounts') = 'array' then subscription -> 'discounts' else '[]' end
    ) as entry
    where json_typeof(entry) = 'object' or json_typeof(entry) = 'string'
      and entry #>> '{}' is distinct from subscription -> 'discount' ->> 'id'
  ), read as (
    select
      to_timestamp((discount ->> 'end')::float8) as ends,
      case
        when json_typeof(discount -> 'coupon') = 'object' then discount -> 'coupon'
        when json_typeof(discount -> 'source' -> 'coupon') = 'object' then discount -> 'source' -> 'coupon'
      end as coupon
    from (
      -- An id alone has no fields to look into.
      select case when json_typeof(discount) = 'object' then discount else '{}' end as discount from named
    ) as whole
  )
  select coupon is not null and (coupon ->> 'percent_off' is not null or coupon ->> 'amount_off' is not null),
    (coupon ->> 'percent_off')::numeric, (coupon ->> 'amount_off')::numeric, lower(coupon ->> 'currency')
  from read
  where (ends is null or ends > as_of) and coupon ->> 'duration' is distinct from 'once'
$function$;
-- Whoever reads the view runs it; by its name it is out of reach for readers, like all of this schema.
comment on function sync.recurring_discounts(json, timestamptz) is 'The discounts that this subscription will still have with its next invoices. Not known: Stripe named one by its id alone.';

create view billing.customer_mrr as
with items as (
  select s.account_id, s.live_mode, s.customer_id, s.id as subscription_id, s.currency, s.raw,
    case p.interval
      when 'year' then 1 / 12.0 when 'month' then 1.0 when 'week' then 52 / 12.0 when 'day' then 365 / 12.0
    end / nullif(p.interval_count, 0) as per_month,
    case
      when s.pause_collection = 'void' or not p.recurring or p.usage_type = 'metered' then 0
      -- Tiers are not mirrored, and a price in another currency has its amounts there.
      when p.billing_scheme = 'per_unit' and p.currency = s.currency
        then coalesce(p.unit_amount_decimal::numeric, p.unit_amount) * coalesce(i.quantity, 1)
    end as amount,
    row_number() over (partition by s.account_id, s.live_mode, s.id order by i.position) as place
  from stripe.subscriptions s
  join stripe.subscription_items i
    on i.account_id = s.account_id and i.live_mode = s.live_mode and i.subscription_id = s.id
  left join stripe.prices p on p.account_id = i.account_id and p.live_mode = i.live_mode and p.id = i.price_id
  where s.status in ('active', 'past_due') and s.deleted_at is null
), subscriptions as (
  select account_id, live_mode, customer_id, subscription_id, currency,
    case when bool_and(case when amount = 0 then true else amount * per_month is not null end)
      then sum(case when amount = 0 then 0 else amount * per_month end) end as list_price,
    max(per_month) filter (where place = 1) as per_month,
    (array_agg(raw))[1] as raw
  from items
  group by account_id, live_mode, customer_id, subscription_id, currency
), discounted as (
  select s.account_id, s.live_mode, s.customer_id, s.subscription_id, s.currency,
    case
      when s.list_price = 0 then 0
      when s.list_price is null then null
      when d.known and not items.discounted then greatest(
        -- Percentages take from what the ones before have left, as Stripe does it.
        s.list_price * d.factor - d.amount_off * s.per_month, 0
      )
    end as amount
  from subscriptions s
  cross join lateral (
    select coalesce(bool_and(r.known and (r.amount_off is null or r.currency = s.currency)), true) as known,
      coalesce(exp(sum(ln(nullif(1 - least(r.percent_off, 100) / 100, 0)))), 1)
        * case when bool_or(r.percent_off >= 100) then 0 else 1 end as factor,
      coalesce(sum(r.amount_off), 0) as amount_off
    from sync.recurring_discounts(s.raw, now()) r
  ) d
  cross join lateral (
    select coalesce(bool_or(json_typeof(entry -> 'discounts') = 'array' and json_array_length(entry -> 'discounts') > 0), false)
      as discounted
    from json_array_elements(
      case when json_typeof(s.raw -> 'items' -> 'data') = 'array' then s.raw -> 'items' -> 'data' else '[]' end
    ) as entry
  ) items
)
select c.uid as customer_uid, d.account_id, d.live_mode, d.customer_id as stripe_customer_id, d.currency,
  case when bool_and(d.amount is not null) then round(sum(d.amount), 4) end as mrr,
  count(*) as subscriptions
from discounted d
join billing.customers c
  on c.account_id = d.account_id and c.live_mode = d.live_mode and c.stripe_customer_id = d.customer_id
where c.deleted_at is null
group by c.uid, d.account_id, d.live_mode, d.customer_id, d.currency;
comment on view billing.customer_mrr is 'Monthly recurring revenue by customer and currency: what the subscriptions that are paid for (active, past due, canceled but still running) bring in a month at their present prices, after discounts that go on.';
comment on column billing.customer_mrr.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_mrr.account_id is 'Connected account, or empty.';
comment on column billing.customer_mrr.live_mode is 'Live or test.';
comment on column billing.customer_mrr.stripe_customer_id is 'Stripe customer id.';
comment on column billing.customer_mrr.currency is 'Currency of mrr. Never added up with another.';
comment on column billing.customer_mrr.mrr is 'Minor units of the currency per month, to four decimals: a year is 12 months, a week 12/52 and a day 12/365 of a month. Metered items, trials and paused collection are 0. NULL: not known, because of a tiered price, a price in another currency, or a discount that Stripe named by its id alone.';
comment on column billing.customer_mrr.subscriptions is 'How many subscriptions it is the sum of.';

create view billing.monthly_revenue as
with refunded as (
  select r.account_id, r.live_mode, r.charge_id,
    coalesce(sum(r.amount) filter (where r.status in ('pending', 'requires_action', 'succeeded')), 0) as standing,
    coalesce(sum(r.amount) filter (where r.status in ('failed', 'canceled')), 0) as came_back
  from stripe.refunds r
  group by r.account_id, r.live_mode, r.charge_id
), charged as (
  select h.account_id, h.live_mode, h.id, h.created, h.currency, coalesce(h.amount_captured, h.amount, 0) as gross,
    greatest(
      greatest(coalesce(r.standing, 0), coalesce(h.amount_refunded, 0) - coalesce(r.came_back, 0), 0)
        - (coalesce(h.amount, h.amount_captured, 0) - coalesce(h.amount_captured, h.amount, 0)),
      0
    ) as refunded
  from stripe.charges h
  left join refunded r on r.account_id = h.account_id and r.live_mode = h.live_mode and r.charge_id = h.id
  where h.status = 'succeeded' and h.captured and h.currency is not null
    and exists (
      select from sync.charge_owners o
      where o.account_id = h.account_id and o.live_mode = h.live_mode and o.charge_id = h.id
    )
), disputed as (
  select h.account_id, h.live_mode, h.id,
    coalesce(-sum(d.moved_amount) filter (where d.moved_currency = h.currency), 0) as moved,
    coalesce(
      sum(case when d.currency = h.currency and d.amount is not null then d.amount else greatest(h.gross - h.refunded, 0) end)
        filter (
          where (d.moved_amount is null or d.moved_currency is distinct from h.currency)
            and case when d.movements is null then d.status = 'lost' else d.movements = 1 end
        ),
      0
    ) as estimated
  from charged h
  join stripe.disputes d on d.account_id = h.account_id and d.live_mode = h.live_mode and d.charge_id = h.id
  group by h.account_id, h.live_mode, h.id
), money as (
  select h.account_id, h.live_mode, h.created, h.currency, h.gross, h.refunded,
    coalesce(d.moved + least(d.estimated, greatest(h.gross - h.refunded - d.moved, 0)), 0) as disputed, 0 as out_of_band
  from charged h
  left join disputed d on d.account_id = h.account_id and d.live_mode = h.live_mode and d.id = h.id
  union all
  select i.account_id, i.live_mode, coalesce(i.paid_at, i.created), i.currency, 0, 0, 0,
    case
      when i.amount_paid_off_stripe is not null then i.amount_paid_off_stripe
      when i.status is distinct from 'paid' then 0
      when i.paid_out_of_band is not null then case when i.paid_out_of_band then coalesce(i.amount_due, 0) else 0 end
      when i.amount_paid_by_payments is not null
        then greatest(coalesce(i.amount_paid, 0) - i.amount_paid_by_payments, 0)
      else 0
    end
  from stripe.invoices i
  where i.currency is not null and i.customer_id is not null and i.deleted_at is null
)
select account_id, live_mode, date_trunc('month', created at time zone 'UTC')::date as month, currency,
  sum(gross)::bigint as gross, sum(refunded)::bigint as refunded, sum(disputed)::bigint as disputed,
  sum(out_of_band)::bigint as out_of_band, sum(gross - refunded - disputed + out_of_band)::bigint as net
from money
where gross <> 0 or refunded <> 0 or disputed <> 0 or out_of_band <> 0
group by account_id, live_mode, date_trunc('month', created at time zone 'UTC'), currency;
comment on view billing.monthly_revenue is 'What customers paid, by the month (UTC) of the charge or of the payment outside Stripe. What was given back counts against the month in which it had been paid, so that a month can still fall.';
comment on column billing.monthly_revenue.account_id is 'Connected account, or empty.';
comment on column billing.monthly_revenue.live_mode is 'Live or test.';
comment on column billing.monthly_revenue.month is 'First day of the month.';
comment on column billing.monthly_revenue.currency is 'Currency of the amounts.';
comment on column billing.monthly_revenue.gross is 'Captured, minor units.';
comment on column billing.monthly_revenue.refunded is 'Given back of it since, or on its way, minor units.';
comment on column billing.monthly_revenue.disputed is 'Withdrawn of it by disputes and not given back, minor units.';
comment on column billing.monthly_revenue.out_of_band is 'Paid on invoices outside Stripe, minor units.';
comment on column billing.monthly_revenue.net is 'gross - refunded - disputed + out_of_band, minor units.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
