-- migrate:up
--
-- The views that count money: whose each charge is, what was paid in each month, and how MRR moved from month to month.

-- A guest's charge names no customer: its PaymentIntent does, or the Checkout session or the invoice of that.
--
-- Before Postgres 18 an index is of use only if its leading columns are bound, and `live_mode = false` on one side of a
-- join binds nothing on the other side. So each branch takes account and mode from the table that names the customer:
-- the search begins there.
create or replace view sync.charge_owners as
select account_id, live_mode, id as charge_id, customer_id
from stripe.charges
where customer_id is not null
union
select s.account_id, s.live_mode, h.id, s.customer_id
from stripe.checkout_sessions s
join stripe.charges h
  on h.account_id = s.account_id and h.live_mode = s.live_mode and h.payment_intent_id = s.payment_intent_id
where h.customer_id is null and s.customer_id is not null
union
select n.account_id, n.live_mode, h.id, n.customer_id
from stripe.payment_intents n
join stripe.charges h
  on h.account_id = n.account_id and h.live_mode = n.live_mode and h.payment_intent_id = n.id
where h.customer_id is null and n.customer_id is not null
union
select i.account_id, i.live_mode, h.id, i.customer_id
from stripe.invoices i
join stripe.invoice_payments p
  on p.account_id = i.account_id and p.live_mode = i.live_mode and p.invoice_id = i.id
join stripe.charges h
  on h.account_id = p.account_id and h.live_mode = p.live_mode and h.payment_intent_id = p.payment_intent_id
where h.customer_id is null and i.customer_id is not null;
comment on view sync.charge_owners is
  'The customer whose money each charge is, also where the charge itself names none.';
comment on column sync.charge_owners.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column sync.charge_owners.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column sync.charge_owners.charge_id is 'Stripe''s id of the charge.';
comment on column sync.charge_owners.customer_id is
  'Stripe''s id of the customer: of the charge, else of its PaymentIntent, or of the Checkout session or invoice of that.';

create or replace view billing.monthly_revenue as
with refunded as (
  select r.account_id, r.live_mode, r.charge_id,
    coalesce(sum(r.amount) filter (where r.status in ('pending', 'requires_action', 'succeeded')), 0) as standing,
    coalesce(sum(r.amount) filter (where r.status in ('failed', 'canceled')), 0) as came_back
  from stripe.refunds r
  group by r.account_id, r.live_mode, r.charge_id
), charged as (
  select h.account_id, h.live_mode, h.id, h.created, h.currency,
    coalesce(h.amount_captured, h.amount, 0)::numeric as gross,
    greatest(
      greatest(coalesce(r.standing, 0), coalesce(h.amount_refunded, 0) - coalesce(r.came_back, 0), 0)
        -- The rest that a single capture has released is booked as a refund. More than was authorized may be captured.
        - case
            when h.multicapture or not h.captured then 0
            else greatest(coalesce(h.amount, h.amount_captured, 0)::numeric - coalesce(h.amount_captured, h.amount, 0), 0)
          end,
      0
    ) as refunded
  from stripe.charges h
  left join refunded r on r.account_id = h.account_id and r.live_mode = h.live_mode and r.charge_id = h.id
  where h.status = 'succeeded' and (h.captured or h.amount_captured > 0) and h.currency is not null
    and exists (
      select from sync.charge_owners o
      where o.account_id = h.account_id and o.live_mode = h.live_mode and o.charge_id = h.id
    )
), disputed as (
  select h.account_id, h.live_mode, h.id,
    coalesce(-sum(d.moved_amount) filter (where d.moved_currency = h.currency), 0) as moved,
    coalesce(
      sum(
        round(
          case when d.currency = h.currency and d.amount is not null then d.amount
            else greatest(h.gross - h.refunded, 0) end
          -- The share that was withdrawn and not returned.
          * case
              when d.moved_amount < 0 then -d.moved_amount::numeric
              when d.moved_amount is not null then 0
              when d.movements is null then (d.status = 'lost')::int
              else (d.movements > 0 and d.status is distinct from 'won')::int
            end::numeric
          / case when d.moved_amount < 0 then greatest(d.withdrawn_amount, -d.moved_amount::numeric) else 1 end
        )
      )
        filter (where d.moved_amount is null or d.moved_currency is distinct from h.currency),
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
        then greatest(coalesce(i.amount_paid, 0)::numeric - i.amount_paid_by_payments, 0)
      else 0
    end
  from stripe.invoices i
  where i.currency is not null and i.customer_id is not null and i.deleted_at is null
  union all
  -- Money given back on an invoice counts against the month of the invoice, as a refund does against its charge's.
  select n.account_id, n.live_mode, coalesce(i.paid_at, i.created, n.created), n.currency, 0, 0, 0,
    -n.out_of_band_amount::numeric
  from stripe.credit_notes n
  left join stripe.invoices i on i.account_id = n.account_id and i.live_mode = n.live_mode and i.id = n.invoice_id
  where n.out_of_band_amount <> 0 and n.status is distinct from 'void' and n.currency is not null
    and n.customer_id is not null and n.deleted_at is null
), summed as (
  select account_id, live_mode, date_trunc('month', created at time zone 'UTC')::date as month, currency,
    sum(gross) as gross, sum(refunded) as refunded, sum(disputed) as disputed, sum(out_of_band) as out_of_band,
    sum(gross - refunded - disputed + out_of_band) as net
  from money
  where gross <> 0 or refunded <> 0 or disputed <> 0 or out_of_band <> 0
  group by account_id, live_mode, date_trunc('month', created at time zone 'UTC'), currency
)
-- One sum that a bigint cannot hold must not take all other months with it.
select account_id, live_mode, month, currency,
  case when abs(gross) < 2::numeric ^ 63 then gross::bigint end as gross,
  case when abs(refunded) < 2::numeric ^ 63 then refunded::bigint end as refunded,
  case when abs(disputed) < 2::numeric ^ 63 then disputed::bigint end as disputed,
  case when abs(out_of_band) < 2::numeric ^ 63 then out_of_band::bigint end as out_of_band,
  case when abs(net) < 2::numeric ^ 63 then net::bigint end as net
from summed;
comment on view billing.monthly_revenue is
  'What customers paid, by the month (UTC) of the charge or of the payment outside Stripe. Money given back counts against the month in which it was paid, so a past month can still fall. NULL instead of an amount: a bigint cannot hold it.';
comment on column billing.monthly_revenue.account_id is 'Connected account, or empty.';
comment on column billing.monthly_revenue.live_mode is 'Live or test.';
comment on column billing.monthly_revenue.month is 'First day of the month.';
comment on column billing.monthly_revenue.currency is 'Currency of the amounts.';
comment on column billing.monthly_revenue.gross is 'Captured, minor units.';
comment on column billing.monthly_revenue.refunded is 'Given back of it since, or on its way, minor units.';
comment on column billing.monthly_revenue.disputed is 'Withdrawn of it by disputes and not given back, minor units.';
comment on column billing.monthly_revenue.out_of_band is
  'Paid on invoices outside Stripe, less what credit notes gave back the same way, minor units.';
comment on column billing.monthly_revenue.net is 'gross - refunded - disputed + out_of_band, minor units.';

create or replace view billing.mrr_movements as
with moved as (
  select account_id, live_mode, currency, customer_uid,
    date_trunc('month', changed_at at time zone 'UTC')::date as month,
    sum(mrr_after::numeric - mrr_before) as by
  from billing.mrr_changes
  group by account_id, live_mode, currency, customer_uid, date_trunc('month', changed_at at time zone 'UTC')
), standing as (
  select account_id, live_mode, currency, customer_uid, month, by,
    sum(by) over in_order as after, sum(by) over in_order - by as before
  from moved
  window in_order as (partition by account_id, live_mode, currency, customer_uid order by month)
), known as (
  select *, coalesce(
      bool_or(after > 0) over (
        partition by account_id, live_mode, currency, customer_uid order by month
        rows between unbounded preceding and 1 preceding
      ), false) as earlier
  from standing
), summed as (
  select account_id, live_mode, currency, month,
    sum(by) filter (where before = 0 and not earlier) as new,
    sum(by) filter (where before > 0 and by > 0) as expansion,
    sum(by) filter (where after > 0 and by < 0) as contraction,
    sum(by) filter (where before > 0 and after = 0) as churn,
    sum(by) filter (where before = 0 and earlier) as reactivation,
    sum(by) as net
  from known
  group by account_id, live_mode, currency, month
), months as (
  select account_id, live_mode, currency,
    generate_series(
      min(month), greatest(max(month), date_trunc('month', now() at time zone 'UTC')), interval '1 month'
    )::date as month
  from summed
  group by account_id, live_mode, currency
), added_up as (
  select account_id, live_mode, month, currency, coalesce(new, 0) as new, coalesce(expansion, 0) as expansion,
    coalesce(contraction, 0) as contraction, coalesce(churn, 0) as churn, coalesce(reactivation, 0) as reactivation,
    sum(coalesce(net, 0)) over (partition by account_id, live_mode, currency order by month) as mrr_at_end
  from months
  left join summed using (account_id, live_mode, currency, month)
)
select account_id, live_mode, month, currency,
  case when abs(new) < 2::numeric ^ 63 then new::bigint end as new,
  case when abs(expansion) < 2::numeric ^ 63 then expansion::bigint end as expansion,
  case when abs(contraction) < 2::numeric ^ 63 then contraction::bigint end as contraction,
  case when abs(churn) < 2::numeric ^ 63 then churn::bigint end as churn,
  case when abs(reactivation) < 2::numeric ^ 63 then reactivation::bigint end as reactivation,
  case when abs(mrr_at_end) < 2::numeric ^ 63 then mrr_at_end::bigint end as mrr_at_end
from added_up;
comment on view billing.mrr_movements is
  'How MRR moved from the end of one month (UTC) to the end of the next, customer by customer: new + expansion + contraction + churn + reactivation is the difference between two mrr_at_end. A row for every month since the first. NULL instead of an amount: a bigint cannot hold it.';
comment on column billing.mrr_movements.account_id is 'Connected account, or empty.';
comment on column billing.mrr_movements.live_mode is 'Live or test.';
comment on column billing.mrr_movements.month is 'First day of the month.';
comment on column billing.mrr_movements.currency is 'Currency of the amounts.';
comment on column billing.mrr_movements.new is
  'MRR of customers that had none at the end of any earlier month, minor units.';
comment on column billing.mrr_movements.expansion is 'How much more the customers that stayed pay, minor units.';
comment on column billing.mrr_movements.contraction is
  'How much less the customers that stayed pay, minor units; never positive.';
comment on column billing.mrr_movements.churn is
  'MRR of customers that have none any more, minor units; never positive.';
comment on column billing.mrr_movements.reactivation is
  'MRR of customers that came back: none at the end of the month before, some at the end of an earlier month; minor units.';
comment on column billing.mrr_movements.mrr_at_end is 'MRR at the end of the month, or now; minor units a month.';

-- Amounts that are not known ------------------------------------------------------------------------------------------

alter table billing.customer_revenue
  alter column gross drop not null,
  alter column refunded drop not null,
  alter column disputed drop not null,
  alter column out_of_band drop not null,
  alter column net drop not null,
  -- Every stored row satisfies the narrower check that this one replaces: none is to be scanned.
  drop constraint net_is_the_sum,
  add constraint net_is_the_sum check (net = gross::numeric - refunded - disputed + out_of_band) not valid;
comment on table billing.customer_revenue is
  'What a customer has paid, one row per currency in which money moved. Currencies are never added up. NULL instead of an amount: a bigint cannot hold it.';

alter table billing.customers alter column lifetime_revenue drop not null;
comment on column billing.customers.lifetime_revenue is
  'Net revenue in revenue_currency, minor units, since the beginning: net of refunds and disputes, gross of fees and taxes. NULL: a bigint cannot hold it.';

alter table stripe.subscriptions add column items_cut boolean not null default false;
comment on column stripe.subscriptions.items_cut is
  'true: the newest state that is known came without all its items, since Stripe cuts their list after ten in an event; what the subscription brings is not known until it is read.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
