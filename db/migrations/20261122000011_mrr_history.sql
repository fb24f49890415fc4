-- migrate:up

-- MRR as part of the record, and its history. What it is computed from becomes typed columns; rows that are there
-- already say NULL (not known) until Stripe is asked again: `subledger backfill --object customer,price,subscription`.

alter table stripe.customers add column discounts jsonb;
comment on column stripe.customers.discounts is 'The customer''s own discount, as a list of at most one, like stripe.subscriptions.discounts. It holds for subscriptions that have none of their own.';

alter table stripe.prices add column tiers_mode text, add column tiers jsonb, add column currency_options jsonb,
  add column divide_quantity_by bigint, add column round_quantity text;
comment on column stripe.prices.tiers_mode is 'graduated (each tier''s part of the quantity at its own price) or volume (all of it at the price of the tier that it reaches). NULL: no tiers.';
comment on column stripe.prices.tiers is 'List of {up_to, unit_amount, flat_amount}: the tiers, amounts as decimals in minor units; up_to null is without end. Empty: no tiers. NULL: not known, since only a read tells them.';
comment on column stripe.prices.currency_options is 'List of {currency, unit_amount, tiers}: what the price costs in other currencies. NULL: not known, since only a read tells them.';
comment on column stripe.prices.divide_quantity_by is 'The quantity is divided by this before it is charged for (packages of so many). NULL: it is not.';
comment on column stripe.prices.round_quantity is 'up or down: how a divided quantity becomes whole.';

alter table stripe.subscriptions add column discounts jsonb;
comment on column stripe.subscriptions.discounts is 'List of {id, coupon_id, percent_off, amount_off, currency, duration, ends} in the order in which they apply: percent_off as a decimal, amount_off in minor units. NULL: not known, since Stripe named them by their ids alone.';

alter table stripe.subscription_items add column discounts jsonb;
comment on column stripe.subscription_items.discounts is 'Discounts of this item alone, like stripe.subscriptions.discounts.';

-- It read raw JSON at every question. The table that takes its place has its columns.
drop view billing.customer_mrr;
drop function sync.recurring_discounts(json, timestamptz);

create table billing.customer_mrr (
  customer_uid        uuid    not null,
  account_id          text    not null,
  live_mode           boolean not null,
  stripe_customer_id  text    not null,
  currency            text    not null,
  mrr                 bigint,
  subscriptions       bigint  not null,
  primary key (account_id, live_mode, stripe_customer_id, currency)
);
create index customer_mrr_uid on billing.customer_mrr (customer_uid);
comment on table billing.customer_mrr is 'Monthly recurring revenue by customer and currency: what the subscriptions that are paid for (active, past due, canceled but still running) bring in a month, after discounts that go on.';
comment on column billing.customer_mrr.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_mrr.account_id is 'Connected account, or empty.';
comment on column billing.customer_mrr.live_mode is 'Live or test.';
comment on column billing.customer_mrr.stripe_customer_id is 'Stripe customer id.';
comment on column billing.customer_mrr.currency is 'Currency of mrr. Never added up with another.';
comment on column billing.customer_mrr.mrr is 'Minor units of the currency per month, rounded once per row: a year is 12 months, a week 12/52 and a day 12/365 of a month. Metered items, trials and paused collection are 0. NULL: not known, because Stripe has not told a price, its tiers or a discount yet.';
comment on column billing.customer_mrr.subscriptions is 'How many subscriptions it is the sum of.';

create table billing.mrr_changes (
  id            bigint      generated always as identity primary key,
  customer_uid  uuid        not null,
  account_id    text        not null,
  live_mode     boolean     not null,
  currency      text        not null,
  mrr_before    bigint      not null,
  mrr_after     bigint      not null,
  changed_at    timestamptz not null,
  exact         boolean     not null,
  constraint a_change_changes check (mrr_before <> mrr_after)
);
create index mrr_changes_customer on billing.mrr_changes (customer_uid, currency, id);
comment on table billing.mrr_changes is 'Append-only history of each customer''s MRR in each currency. What was shown provisionally and not confirmed is taken back.';
comment on column billing.mrr_changes.id is 'Order of the changes.';
comment on column billing.mrr_changes.customer_uid is 'billing.customers.uid.';
comment on column billing.mrr_changes.account_id is 'Connected account, or empty.';
comment on column billing.mrr_changes.live_mode is 'Live or test.';
comment on column billing.mrr_changes.currency is 'Currency of both amounts.';
comment on column billing.mrr_changes.mrr_before is 'Minor units a month before; 0 at first.';
comment on column billing.mrr_changes.mrr_after is 'Minor units a month since.';
comment on column billing.mrr_changes.changed_at is 'When it changed: when a subscription began to be paid for or ended, else when the event happened that told of it, else when it was noticed. Never before the change that precedes it.';
comment on column billing.mrr_changes.exact is 'Confirmed by an exact record. False: may still be taken back.';

create view billing.mrr_movements as
with moved as (
  select account_id, live_mode, currency, customer_uid, date_trunc('month', changed_at at time zone 'UTC')::date as month,
    sum(mrr_after - mrr_before)::bigint as by
  from billing.mrr_changes
  group by account_id, live_mode, currency, customer_uid, date_trunc('month', changed_at at time zone 'UTC')
), standing as (
  select account_id, live_mode, currency, customer_uid, month, by,
    (sum(by) over in_order)::bigint as after, (sum(by) over in_order)::bigint - by as before
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
    generate_series(min(month), greatest(max(month), date_trunc('month', now() at time zone 'UTC')), interval '1 month')::date as month
  from summed
  group by account_id, live_mode, currency
)
select account_id, live_mode, month, currency, coalesce(new, 0)::bigint as new,
  coalesce(expansion, 0)::bigint as expansion, coalesce(contraction, 0)::bigint as contraction,
  coalesce(churn, 0)::bigint as churn, coalesce(reactivation, 0)::bigint as reactivation,
  (sum(coalesce(net, 0)) over (partition by account_id, live_mode, currency order by month))::bigint as mrr_at_end
from months
left join summed using (account_id, live_mode, currency, month);
comment on view billing.mrr_movements is 'How MRR came from the end of one month (UTC) to that of the next, customer by customer: new + expansion + contraction + churn + reactivation is the difference of two mrr_at_end. A row for every month since the first.';
comment on column billing.mrr_movements.account_id is 'Connected account, or empty.';
comment on column billing.mrr_movements.live_mode is 'Live or test.';
comment on column billing.mrr_movements.month is 'First day of the month.';
comment on column billing.mrr_movements.currency is 'Currency of the amounts.';
comment on column billing.mrr_movements.new is 'MRR of customers who had none at the end of any earlier month, minor units.';
comment on column billing.mrr_movements.expansion is 'What customers who stayed pay more, minor units.';
comment on column billing.mrr_movements.contraction is 'What customers who stayed pay less, minor units; never positive.';
comment on column billing.mrr_movements.churn is 'MRR of customers who have none any more, minor units; never positive.';
comment on column billing.mrr_movements.reactivation is 'MRR of customers who came back: none at the end of the month before, some at the end of an earlier one; minor units.';
comment on column billing.mrr_movements.mrr_at_end is 'MRR at the end of the month, or now; minor units a month.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
