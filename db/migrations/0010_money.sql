-- migrate:up
--
-- Money by what moved: parts of a disputed amount, several captures of one charge, coupons in several currencies.

alter table stripe.disputes add column withdrawn_amount bigint;
comment on column stripe.disputes.withdrawn_amount is
  'The most that was withdrawn at one time, minor units of moved_currency, if a part of it came back; -moved_amount is what is still gone of it. NULL: nothing came back, or all.';
comment on column stripe.disputes.movements is
  'How many balance transactions moved the disputed money, fees not counted. NULL: the answer did not list them.';
comment on column stripe.disputes.moved_amount is
  'Sum of those, minor units of moved_currency: negative is money withdrawn and not given back.';

alter table stripe.charges add column multicapture boolean;
comment on column stripe.charges.multicapture is
  'true: it may be captured several times (payment_method_details.card.multicapture), so the rest that is released is not booked as a refund. NULL: it may not, or Stripe did not say.';
comment on column stripe.charges.captured is
  'Whether the capture is finished. false: authorized only, or captured in part (amount_captured) with more to come.';
comment on table stripe.charges is
  'Stripe''s charges: each attempt to take money. Revenue is summed over the succeeded ones of which anything was captured.';
comment on column billing.charges.captured is
  'Whether the capture is finished. false: authorized only, or captured in part (amount_captured) with more to come.';

alter table stripe.coupons add column currency_options jsonb, add column former jsonb;
comment on column stripe.coupons.former is
  'Earlier coupons of this id, as a list of the same columns, oldest first: discounts keep the terms of the coupon that they were made from. NULL: none is known.';
comment on column stripe.coupons.currency_options is
  'Amounts off in other currencies than the coupon''s own, as a list of {currency, amount_off}. From a read; NULL: not known, since only events have told of the coupon.';
comment on column stripe.subscriptions.discounts is
  'List of {id, coupon_id, percent_off, amount_off, currency, duration, ends, coupon_created, starts} in the order in which they apply: percent_off as a decimal, amount_off in minor units. coupon_created tells which coupon it was made from where an id was used again. All but id null: not known, since Stripe sent only the id of that discount.';

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
        -- The rest that a single capture has released is booked as a refund. More than was authorized may be captured.
        - case
            when h.multicapture or not h.captured then 0
            else greatest(coalesce(h.amount, h.amount_captured, 0) - coalesce(h.amount_captured, h.amount, 0), 0)
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
              when d.moved_amount < 0 then -d.moved_amount
              when d.moved_amount is not null then 0
              when d.movements is null then (d.status = 'lost')::int
              else (d.movements > 0 and d.status is distinct from 'won')::int
            end::numeric
          / case when d.moved_amount < 0 then greatest(d.withdrawn_amount, -d.moved_amount) else 1 end
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
        then greatest(coalesce(i.amount_paid, 0) - i.amount_paid_by_payments, 0)
      else 0
    end
  from stripe.invoices i
  where i.currency is not null and i.customer_id is not null and i.deleted_at is null
  union all
  -- Money given back on an invoice counts against the month of the invoice, as a refund does against its charge's.
  select n.account_id, n.live_mode, coalesce(i.paid_at, i.created, n.created), n.currency, 0, 0, 0,
    -n.out_of_band_amount
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

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
