-- migrate:up

-- Entitlements: what a customer may use, by Stripe's own word.

create table stripe.features (
  account_id text not null, live_mode boolean not null, id text not null,
  lookup_key text, name text, active boolean, metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
comment on table stripe.features is 'Stripe''s features (entitlements.feature): what products can entitle to.';
comment on column stripe.features.account_id is 'Connected account, or empty.';
comment on column stripe.features.live_mode is 'Live or test.';
comment on column stripe.features.id is 'Stripe id (feat_...).';
comment on column stripe.features.lookup_key is 'The company''s own name of the feature, by which services ask for it. Unique at Stripe.';
comment on column stripe.features.name is 'Its name, for people.';
comment on column stripe.features.active is 'False once it is archived: no further product can be given it.';
comment on column stripe.features.metadata is 'Metadata as Stripe has it.';
comment on column stripe.features.deleted_at is 'Always NULL: Stripe archives features and deletes none.';
comment on column stripe.features.raw is 'The object as Stripe sent it last.';

create table stripe.active_entitlement_summaries (
  account_id text not null, live_mode boolean not null, id text not null,
  customer_id text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
comment on table stripe.active_entitlement_summaries is 'Per customer, that its active entitlements were told of; they themselves are in stripe.active_entitlements.';
comment on column stripe.active_entitlement_summaries.account_id is 'Connected account, or empty.';
comment on column stripe.active_entitlement_summaries.live_mode is 'Live or test.';
comment on column stripe.active_entitlement_summaries.id is 'The customer''s id: Stripe gives a summary none of its own.';
comment on column stripe.active_entitlement_summaries.customer_id is 'The customer.';
comment on column stripe.active_entitlement_summaries.deleted_at is 'Always NULL: a summary becomes empty, and is never deleted.';
comment on column stripe.active_entitlement_summaries.raw is 'The summary as Stripe sent it last, or made of the list that was read in its place.';

create table stripe.active_entitlements (
  account_id text not null, live_mode boolean not null, id text not null, customer_id text not null,
  feature_id text, lookup_key text,
  primary key (account_id, live_mode, customer_id, id)
);
create index active_entitlements_feature on stripe.active_entitlements (account_id, live_mode, feature_id);
comment on table stripe.active_entitlements is 'The features that each customer is entitled to now. What it has lost has no row.';
comment on column stripe.active_entitlements.account_id is 'Connected account, or empty.';
comment on column stripe.active_entitlements.live_mode is 'Live or test.';
comment on column stripe.active_entitlements.id is 'Stripe id (ent_...).';
comment on column stripe.active_entitlements.customer_id is 'The customer.';
comment on column stripe.active_entitlements.feature_id is 'The feature.';
comment on column stripe.active_entitlements.lookup_key is 'The feature''s lookup key, as the entitlement says it.';

create table billing.customer_features (
  customer_uid        uuid    not null,
  account_id          text    not null,
  live_mode           boolean not null,
  stripe_customer_id  text    not null,
  feature_id          text    not null,
  lookup_key          text,
  name                text,
  primary key (account_id, live_mode, stripe_customer_id, feature_id)
);
create index customer_features_uid on billing.customer_features (customer_uid);
create index customer_features_lookup_key on billing.customer_features (account_id, live_mode, lookup_key);
comment on table billing.customer_features is 'One row per customer and feature that it may use now, as Stripe''s entitlements have it.';
comment on column billing.customer_features.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_features.account_id is 'Connected account, or empty.';
comment on column billing.customer_features.live_mode is 'Live or test.';
comment on column billing.customer_features.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customer_features.feature_id is 'Stripe''s id of the feature.';
comment on column billing.customer_features.lookup_key is 'The company''s own name of the feature: of the feature as it is now, else of the entitlement.';
comment on column billing.customer_features.name is 'The feature''s name, for people. NULL until the feature has been read.';

-- Usage: what meters count, read from Stripe now and then.

create table stripe.meters (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, display_name text, event_name text, status text, formula text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
comment on table stripe.meters is 'Stripe''s billing meters: how usage is added up.';
comment on column stripe.meters.account_id is 'Connected account, or empty.';
comment on column stripe.meters.live_mode is 'Live or test.';
comment on column stripe.meters.id is 'Stripe id (mtr_...).';
comment on column stripe.meters.created is 'When it was created.';
comment on column stripe.meters.display_name is 'Its name, for people.';
comment on column stripe.meters.event_name is 'The name under which usage is reported to Stripe.';
comment on column stripe.meters.status is 'active or inactive.';
comment on column stripe.meters.formula is 'How events are aggregated: sum, count or last.';
comment on column stripe.meters.deleted_at is 'Always NULL: Stripe deactivates meters and deletes none.';
comment on column stripe.meters.raw is 'The object as Stripe sent it last.';

alter table stripe.prices add column meter_id text;
comment on column stripe.prices.meter_id is 'The billing meter whose count is charged for (recurring.meter). NULL: the price is not metered, or by old usage records.';
update stripe.prices set meter_id = raw -> 'recurring' ->> 'meter' where raw -> 'recurring' ->> 'meter' is not null;

create table billing.customer_usage (
  customer_uid            uuid        not null,
  account_id              text        not null,
  live_mode               boolean     not null,
  stripe_customer_id      text        not null,
  stripe_subscription_id  text        not null,
  meter_id                text        not null,
  event_name              text,
  display_name            text,
  value                   numeric     not null,
  quota_limit             bigint,
  period_start            timestamptz not null,
  period_end              timestamptz not null,
  expected_charge         bigint,
  currency                text,
  read_at                 timestamptz not null,
  primary key (account_id, live_mode, stripe_customer_id, stripe_subscription_id, meter_id)
);
create index customer_usage_uid on billing.customer_usage (customer_uid);
comment on table billing.customer_usage is 'What a customer has used in the current period, by subscription and meter: a reading of Stripe at a moment, no part of the record.';
comment on column billing.customer_usage.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_usage.account_id is 'Connected account, or empty.';
comment on column billing.customer_usage.live_mode is 'Live or test.';
comment on column billing.customer_usage.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customer_usage.stripe_subscription_id is 'The subscription that charges for it.';
comment on column billing.customer_usage.meter_id is 'Stripe''s id of the meter.';
comment on column billing.customer_usage.event_name is 'The name under which the usage is reported to Stripe.';
comment on column billing.customer_usage.display_name is 'The meter''s name, for people.';
comment on column billing.customer_usage.value is 'What the meter has counted in the period, by its own formula.';
comment on column billing.customer_usage.quota_limit is 'How much is agreed: metadata quota_limit of the price, else of its product, else of its feature, where it is a whole number; else NULL.';
comment on column billing.customer_usage.period_start is 'Begin of the current period of the subscription''s item.';
comment on column billing.customer_usage.period_end is 'End of that period.';
comment on column billing.customer_usage.expected_charge is 'What the subscription''s next invoice would ask for if it were made now (amount_due of Stripe''s preview), minor units; the same in each of its rows. NULL where Stripe previews none.';
comment on column billing.customer_usage.currency is 'Currency of expected_charge.';
comment on column billing.customer_usage.read_at is 'By Stripe''s clock, when it was read.';

create table sync.usage (
  account_id   text        not null,
  live_mode    boolean     not null,
  customer_id  text        not null,
  due_at       timestamptz not null default now(),
  asked        bigint      not null default 0,
  answered     bigint      not null default 0,
  read_at      timestamptz,
  attempts     integer     not null default 0,
  error        text,
  primary key (account_id, live_mode, customer_id)
) with (fillfactor = 70);
create index usage_due on sync.usage (due_at);
create index usage_asked on sync.usage (due_at) where asked > answered;
comment on table sync.usage is 'The customers whose usage is read: those with a metered subscription, and those who were asked for.';
comment on column sync.usage.account_id is 'Connected account, or empty.';
comment on column sync.usage.live_mode is 'Live or test.';
comment on column sync.usage.customer_id is 'Stripe''s id of the customer.';
comment on column sync.usage.due_at is 'When its next reading is due; while a worker reads, the lease. Infinity: it has no metered subscription now.';
comment on column sync.usage.asked is 'How often somebody asked for a reading.';
comment on column sync.usage.answered is 'The value of `asked` before the latest reading began: what was asked until then is answered.';
comment on column sync.usage.read_at is 'When its latest reading was stored. NULL: never.';
comment on column sync.usage.attempts is 'Readings begun since the last success, counted before the request.';
comment on column sync.usage.error is 'Why the latest reading failed, or what of it Stripe refused.';

-- Whoever has a metered subscription already; later ones are noted when their records are derived.
insert into sync.usage (account_id, live_mode, customer_id)
select distinct s.account_id, s.live_mode, s.customer_id
from stripe.prices p
join stripe.subscription_items i on i.account_id = p.account_id and i.live_mode = p.live_mode and i.price_id = p.id
join stripe.subscriptions s
  on s.account_id = i.account_id and s.live_mode = i.live_mode and s.id = i.subscription_id
where p.meter_id is not null and s.customer_id is not null and s.deleted_at is null
  and s.status in ('trialing', 'active', 'past_due', 'unpaid', 'paused');

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
