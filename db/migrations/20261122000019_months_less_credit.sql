-- migrate:up

-- Money that a credit note gave back outside Stripe is no revenue of a month either: months and customers add up alike.
create or replace view billing.monthly_revenue as
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
  union all
  -- Of money that came by an invoice it counts against the month of that, like a refund against its charge's.
  select n.account_id, n.live_mode, coalesce(i.paid_at, i.created, n.created), n.currency, 0, 0, 0, -n.out_of_band_amount
  from stripe.credit_notes n
  left join stripe.invoices i on i.account_id = n.account_id and i.live_mode = n.live_mode and i.id = n.invoice_id
  where n.out_of_band_amount <> 0 and n.status is distinct from 'void' and n.currency is not null
    and n.customer_id is not null and n.deleted_at is null
)
select account_id, live_mode, date_trunc('month', created at time zone 'UTC')::date as month, currency,
  sum(gross)::bigint as gross, sum(refunded)::bigint as refunded, sum(disputed)::bigint as disputed,
  sum(out_of_band)::bigint as out_of_band, sum(gross - refunded - disputed + out_of_band)::bigint as net
from money
where gross <> 0 or refunded <> 0 or disputed <> 0 or out_of_band <> 0
group by account_id, live_mode, date_trunc('month', created at time zone 'UTC'), currency;
comment on column billing.monthly_revenue.out_of_band is 'Paid on invoices outside Stripe, less what credit notes gave back the same way, minor units.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
