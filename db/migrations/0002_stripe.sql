-- migrate:up

-- stripe: the mirror. Every table of a kind has the key, the facts of its dataclass in billing/, deleted_at, and in
-- `raw` the object as Stripe sent it. billing/ reads the facts from any API version. Statements name their columns: the
-- order of columns has no meaning.
--
-- Indexes: `..._created`, because backfills and audits go through an account by the time of creation; `..._coupons`,
-- the rows with a discount, by its coupon; `..._of_product`, `..._of_price`, `..._of_feature`, the rows of a catalogue
-- object in the order in which their customers are marked after it has changed.

create schema stripe;
comment on schema stripe is 'The mirror: what Stripe says. One row per object; key (account_id, live_mode, id).';


-- Customers, and what they are entitled to ----------------------------------------------------------------------------

create table stripe.customers (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, name text, email text, description text, metadata jsonb not null default '{}',
  custom_uid text, test_clock text,
  deleted_at timestamptz, raw json, discounts jsonb,
  primary key (account_id, live_mode, id)
);
alter table stripe.customers alter column raw set storage external;
create index customers_custom_uid on stripe.customers (account_id, live_mode, custom_uid) where custom_uid is not null;
create index customers_created on stripe.customers (account_id, live_mode, created);
create index customers_coupons on stripe.customers using gin (discounts jsonb_path_ops) where discounts <> '[]'::jsonb;
comment on table stripe.customers is 'Stripe''s customers, one row each, also those deleted since.';
comment on column stripe.customers.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.customers.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.customers.id is 'Stripe''s id of the customer.';
comment on column stripe.customers.created is 'When the customer was created, by Stripe''s clock.';
comment on column stripe.customers.name is 'customer.name.';
comment on column stripe.customers.email is
  'customer.email. Not unique: Stripe allows several customers with one address.';
comment on column stripe.customers.description is 'customer.description.';
comment on column stripe.customers.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.customers.custom_uid is
  'customer.metadata.custom_uid unchanged, valid or not: the claim of this source. The one in force is billing.customers.custom_uid.';
comment on column stripe.customers.test_clock is 'Id of the test clock that the customer lives on; NULL: real time.';
comment on column stripe.customers.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.customers.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';
comment on column stripe.customers.discounts is
  'The customer''s own discount, as a list of at most one, like stripe.subscriptions.discounts. It holds for subscriptions that have none of their own.';

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
comment on column stripe.features.lookup_key is
  'The company''s own name of the feature, by which services ask for it. Unique at Stripe.';
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
comment on table stripe.active_entitlement_summaries is
  'One row per customer whose active entitlements are known; the entitlements are in stripe.active_entitlements.';
comment on column stripe.active_entitlement_summaries.account_id is 'Connected account, or empty.';
comment on column stripe.active_entitlement_summaries.live_mode is 'Live or test.';
comment on column stripe.active_entitlement_summaries.id is
  'The customer''s id: Stripe gives a summary none of its own.';
comment on column stripe.active_entitlement_summaries.customer_id is 'The customer.';
comment on column stripe.active_entitlement_summaries.deleted_at is
  'Always NULL: a summary becomes empty, and is never deleted.';
comment on column stripe.active_entitlement_summaries.raw is
  'The summary as Stripe sent it last, or built from the list that was read in its place.';

create table stripe.active_entitlements (
  account_id text not null, live_mode boolean not null, id text not null, customer_id text not null,
  feature_id text, lookup_key text,
  primary key (account_id, live_mode, customer_id, id)
);
create index active_entitlements_of_feature
  on stripe.active_entitlements (account_id, live_mode, feature_id, customer_id);
comment on table stripe.active_entitlements is
  'The features that each customer is entitled to now. What it has lost has no row.';
comment on column stripe.active_entitlements.account_id is 'Connected account, or empty.';
comment on column stripe.active_entitlements.live_mode is 'Live or test.';
comment on column stripe.active_entitlements.id is 'Stripe id (ent_...).';
comment on column stripe.active_entitlements.customer_id is 'The customer.';
comment on column stripe.active_entitlements.feature_id is 'The feature.';
comment on column stripe.active_entitlements.lookup_key is 'The feature''s lookup key, as the entitlement says it.';


-- The catalogue: what is sold, and for how much less ------------------------------------------------------------------

create table stripe.products (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, name text, active boolean, metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.products alter column raw set storage external;
comment on table stripe.products is 'Stripe''s products: what is sold.';
comment on column stripe.products.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.products.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.products.id is 'Stripe''s id of the product.';
comment on column stripe.products.created is 'When the product was created, by Stripe''s clock.';
comment on column stripe.products.name is 'product.name.';
comment on column stripe.products.active is 'Whether it can be bought. NULL: this API version did not say.';
comment on column stripe.products.metadata is
  'The product''s metadata; product_id, version and feature_id have a meaning here (docs/record.md).';
comment on column stripe.products.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.products.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

create table stripe.prices (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, product_id text, active boolean, currency text, unit_amount bigint, unit_amount_decimal text,
  billing_scheme text, recurring boolean not null default false, interval text, interval_count bigint, usage_type text,
  nickname text, metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  meter_id text, tiers_mode text, tiers jsonb, currency_options jsonb, divide_quantity_by bigint, round_quantity text,
  primary key (account_id, live_mode, id)
);
alter table stripe.prices alter column raw set storage external;
create index prices_product on stripe.prices (account_id, live_mode, product_id);
comment on table stripe.prices is
  'Stripe''s prices: what a product costs, and how often. A plan is the price of the same id.';
comment on column stripe.prices.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.prices.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.prices.id is 'Stripe''s id of the price.';
comment on column stripe.prices.created is 'When the price was created, by Stripe''s clock.';
comment on column stripe.prices.product_id is 'Stripe''s id of the product that it prices.';
comment on column stripe.prices.active is 'Whether it can be bought.';
comment on column stripe.prices.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.prices.unit_amount is
  'Minor units for one unit. NULL: the price has tiers, or a fraction of a minor unit.';
comment on column stripe.prices.unit_amount_decimal is
  'The exact amount of one unit in minor units, as Stripe writes it.';
comment on column stripe.prices.billing_scheme is 'per_unit or tiered.';
comment on column stripe.prices.recurring is
  'Whether it is charged again and again; only such prices have a rank as version.';
comment on column stripe.prices.interval is 'day, week, month or year; NULL: one-off.';
comment on column stripe.prices.interval_count is 'How many intervals make one period.';
comment on column stripe.prices.usage_type is 'licensed, or metered: billed by use, afterwards.';
comment on column stripe.prices.nickname is 'price.nickname.';
comment on column stripe.prices.metadata is
  'The price''s metadata; version and feature_id have a meaning here (docs/record.md).';
comment on column stripe.prices.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.prices.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';
comment on column stripe.prices.meter_id is
  'The billing meter whose count is charged for (recurring.meter). NULL: the price is not metered, or by old usage records.';
comment on column stripe.prices.tiers_mode is
  'graduated (each tier''s part of the quantity at its own price) or volume (all of it at the price of the tier that it reaches). NULL: no tiers.';
comment on column stripe.prices.tiers is
  'List of {up_to, unit_amount, flat_amount}: the tiers, amounts as decimals in minor units; up_to null has no end. Empty: no tiers. NULL: not known, since only reads return them.';
comment on column stripe.prices.currency_options is
  'List of {currency, unit_amount, tiers}: what the price costs in other currencies. NULL: not known, since only reads return them.';
comment on column stripe.prices.divide_quantity_by is
  'The quantity is divided by this before it is charged for (the size of a package). NULL: it is not divided.';
comment on column stripe.prices.round_quantity is 'up or down: how a divided quantity becomes whole.';

create table stripe.plans (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, product_id text, active boolean, currency text, amount bigint, amount_decimal text,
  billing_scheme text, interval text, interval_count bigint, usage_type text, trial_period_days bigint,
  nickname text, metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.plans alter column raw set storage external;
create index plans_created on stripe.plans (account_id, live_mode, created);
comment on table stripe.plans is
  'Stripe''s plans: what prices were called before 2020. Each is the price of the same id, in the old words.';
comment on column stripe.plans.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.plans.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.plans.id is 'Stripe''s id of the plan, which is that of its price (stripe.prices).';
comment on column stripe.plans.created is 'When the plan was created, by Stripe''s clock.';
comment on column stripe.plans.product_id is 'Stripe''s id of the product.';
comment on column stripe.plans.active is 'false: archived; existing subscriptions keep it.';
comment on column stripe.plans.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.plans.amount is
  'Per interval and unit, minor units; NULL for tiers and for fractions of a minor unit.';
comment on column stripe.plans.amount_decimal is 'The exact amount, minor units, as Stripe writes it.';
comment on column stripe.plans.billing_scheme is 'per_unit or tiered.';
comment on column stripe.plans.interval is 'day, week, month or year.';
comment on column stripe.plans.interval_count is 'How many intervals a period has.';
comment on column stripe.plans.usage_type is 'licensed or metered.';
comment on column stripe.plans.trial_period_days is
  'Days of trial that a subscription begins with when it asks for those of its plan.';
comment on column stripe.plans.nickname is 'A name for people of the company.';
comment on column stripe.plans.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.plans.deleted_at is
  'When it was deleted at Stripe: the time of its *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.plans.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.coupons (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, name text, duration text, duration_in_months bigint, percent_off text, amount_off bigint,
  currency text, max_redemptions bigint, redeem_by timestamptz, times_redeemed bigint, valid boolean,
  metadata jsonb not null default '{}', deleted_at timestamptz, raw json, applies_to text[],
  primary key (account_id, live_mode, id)
);
alter table stripe.coupons alter column raw set storage external;
create index coupons_created on stripe.coupons (account_id, live_mode, created);
comment on table stripe.coupons is
  'Stripe''s coupons: what may be taken off. Which subscription has one is in that subscription''s discounts.';
comment on column stripe.coupons.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.coupons.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.coupons.id is 'Stripe''s id of the coupon, often chosen by people.';
comment on column stripe.coupons.created is 'When the coupon was created, by Stripe''s clock.';
comment on column stripe.coupons.name is 'Its name on invoices.';
comment on column stripe.coupons.duration is 'once, repeating (for duration_in_months) or forever.';
comment on column stripe.coupons.duration_in_months is 'Of a repeating one: for how many months.';
comment on column stripe.coupons.percent_off is 'Per cent off, exact, as a decimal number; NULL: amount_off counts.';
comment on column stripe.coupons.amount_off is 'Taken off, minor units of currency; NULL: percent_off counts.';
comment on column stripe.coupons.currency is 'Three-letter ISO code in lower case, of amount_off.';
comment on column stripe.coupons.max_redemptions is
  'How often it may be redeemed by all customers together; NULL: no limit.';
comment on column stripe.coupons.redeem_by is 'From when on it cannot be redeemed; NULL: no end.';
comment on column stripe.coupons.times_redeemed is
  'How often it has been redeemed, as of the last read or audit: Stripe sends no event for it.';
comment on column stripe.coupons.valid is 'Whether it can still be redeemed, as of the last read or audit.';
comment on column stripe.coupons.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.coupons.deleted_at is
  'When it was deleted at Stripe: the time of its *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.coupons.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';
comment on column stripe.coupons.applies_to is
  'Ids of the products that it takes something off. Empty: all of them. NULL: not known, since only reads return them.';

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


-- Subscriptions -------------------------------------------------------------------------------------------------------

create table stripe.subscriptions (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, start_date timestamptz, trial_start timestamptz,
  trial_end timestamptz, cancel_at timestamptz, cancel_at_period_end boolean not null default false,
  canceled_at timestamptz, ended_at timestamptz, current_period_start timestamptz, current_period_end timestamptz,
  collection_method text, currency text, latest_invoice_id text, pause_collection text, billing_mode text,
  cancellation_reason text, schedule_id text, test_clock text, metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json, discounts jsonb,
  primary key (account_id, live_mode, id)
);
alter table stripe.subscriptions alter column raw set storage external;
create index subscriptions_customer on stripe.subscriptions (account_id, live_mode, customer_id);
create index subscriptions_created on stripe.subscriptions (account_id, live_mode, created);
create index subscriptions_coupons on stripe.subscriptions
  using gin (discounts jsonb_path_ops) where discounts <> '[]'::jsonb;
comment on table stripe.subscriptions is 'Stripe''s subscriptions. Their items are in stripe.subscription_items.';
comment on column stripe.subscriptions.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.subscriptions.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.subscriptions.id is 'Stripe''s id of the subscription.';
comment on column stripe.subscriptions.created is 'When the subscription was created, by Stripe''s clock.';
comment on column stripe.subscriptions.customer_id is 'Stripe''s id of the customer that subscribed.';
comment on column stripe.subscriptions.status is
  'Stripe''s own word, an open set. What it means is billing.customer_products.status.';
comment on column stripe.subscriptions.start_date is 'When it started; may be before created where it was backdated.';
comment on column stripe.subscriptions.trial_start is
  'When its trial began: the first one (classic billing) or the latest one (flexible).';
comment on column stripe.subscriptions.trial_end is
  'When its trial ends or ended. Stripe never clears it, so it does not say whether a trial runs.';
comment on column stripe.subscriptions.cancel_at is 'When it is scheduled to end; NULL: no date is set.';
comment on column stripe.subscriptions.cancel_at_period_end is
  'Whether it is scheduled to end with its period. The portal sets only cancel_at on flexible subscriptions.';
comment on column stripe.subscriptions.canceled_at is 'When the cancellation was asked for, not when it takes effect.';
comment on column stripe.subscriptions.ended_at is 'When it ended.';
comment on column stripe.subscriptions.current_period_start is
  'Start of the period: the subscription''s own, or the latest among its items since 2025-03-31.';
comment on column stripe.subscriptions.current_period_end is
  'End of the period: the subscription''s own, or the latest among its items since 2025-03-31.';
comment on column stripe.subscriptions.collection_method is 'charge_automatically or send_invoice.';
comment on column stripe.subscriptions.currency is 'Three-letter ISO code in lower case.';
comment on column stripe.subscriptions.latest_invoice_id is 'Stripe''s id of its latest invoice.';
comment on column stripe.subscriptions.pause_collection is
  'keep_as_draft, mark_uncollectible or void: what becomes of invoices while collection pauses. NULL: it does not.';
comment on column stripe.subscriptions.billing_mode is 'classic or flexible; NULL counts as classic.';
comment on column stripe.subscriptions.cancellation_reason is
  'cancellation_details.reason: cancellation_requested, payment_failed, payment_disputed and others.';
comment on column stripe.subscriptions.schedule_id is 'Stripe''s id of the schedule that manages it.';
comment on column stripe.subscriptions.test_clock is 'Id of the test clock that it lives on; NULL: real time.';
comment on column stripe.subscriptions.metadata is
  'The subscription''s metadata; entity_id, external_id and renewals_before_import have a meaning here (docs/record.md).';
comment on column stripe.subscriptions.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.subscriptions.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';
comment on column stripe.subscriptions.discounts is
  'List of {id, coupon_id, percent_off, amount_off, currency, duration, ends} in the order in which they apply: percent_off as a decimal, amount_off in minor units. All but id null: not known, since Stripe sent only the id of that discount.';

create table stripe.subscription_items (
  account_id text not null, live_mode boolean not null, id text not null, subscription_id text not null,
  position bigint not null, created timestamptz, price_id text, product_id text, quantity bigint,
  current_period_start timestamptz, current_period_end timestamptz, metadata jsonb not null default '{}',
  discounts jsonb,
  primary key (account_id, live_mode, subscription_id, id)
);
create index subscription_items_of_product
  on stripe.subscription_items (account_id, live_mode, product_id, subscription_id);
create index subscription_items_of_price
  on stripe.subscription_items (account_id, live_mode, price_id, subscription_id);
create index subscription_items_coupons on stripe.subscription_items
  using gin (discounts jsonb_path_ops) where discounts <> '[]'::jsonb;
comment on table stripe.subscription_items is
  'The items of the subscriptions, complete also beyond the number that Stripe puts into one answer once the subscription was read.';
comment on column stripe.subscription_items.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.subscription_items.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.subscription_items.id is 'Stripe''s id of the item.';
comment on column stripe.subscription_items.subscription_id is 'Stripe''s id of the subscription that holds it.';
comment on column stripe.subscription_items.position is
  'Place in Stripe''s order, from 0. The first item decides product, price and quantity of the customer.';
comment on column stripe.subscription_items.created is 'When the item was created, by Stripe''s clock.';
comment on column stripe.subscription_items.price_id is 'Stripe''s id of its price (of its plan, in old shapes).';
comment on column stripe.subscription_items.product_id is
  'Stripe''s id of its product; NULL: this payload named the price alone.';
comment on column stripe.subscription_items.quantity is 'How many units; NULL: metered.';
comment on column stripe.subscription_items.current_period_start is
  'Start of the item''s own period, since 2025-03-31.';
comment on column stripe.subscription_items.current_period_end is 'End of the item''s own period, since 2025-03-31.';
comment on column stripe.subscription_items.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.subscription_items.discounts is
  'Discounts of this item alone, like stripe.subscriptions.discounts.';

create table stripe.subscription_schedules (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, subscription_id text, released_subscription_id text,
  starts_at timestamptz, ends_at timestamptz, current_phase_start timestamptz, current_phase_end timestamptz,
  end_behavior text, canceled_at timestamptz, completed_at timestamptz, released_at timestamptz, test_clock text,
  metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.subscription_schedules alter column raw set storage external;
create index subscription_schedules_customer on stripe.subscription_schedules (account_id, live_mode, customer_id);
create index subscription_schedules_subscription
  on stripe.subscription_schedules (account_id, live_mode, subscription_id);
create index subscription_schedules_created on stripe.subscription_schedules (account_id, live_mode, created);
comment on table stripe.subscription_schedules is
  'Stripe''s subscription schedules: subscriptions that begin later, and changes that are planned for running ones.';
comment on column stripe.subscription_schedules.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.subscription_schedules.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.subscription_schedules.id is 'Stripe''s id of the schedule.';
comment on column stripe.subscription_schedules.created is 'When the schedule was created, by Stripe''s clock.';
comment on column stripe.subscription_schedules.customer_id is 'Stripe''s id of the customer.';
comment on column stripe.subscription_schedules.status is
  'not_started, active, completed, released or canceled. Open set.';
comment on column stripe.subscription_schedules.subscription_id is
  'Stripe''s id of the subscription that it runs; NULL while it has not started, and once it was released.';
comment on column stripe.subscription_schedules.released_subscription_id is
  'Stripe''s id of the subscription that it ran until it was released.';
comment on column stripe.subscription_schedules.starts_at is 'When its first phase begins.';
comment on column stripe.subscription_schedules.ends_at is 'When its last phase ends.';
comment on column stripe.subscription_schedules.current_phase_start is
  'When the phase began that runs now; NULL: none runs.';
comment on column stripe.subscription_schedules.current_phase_end is 'When the phase ends that runs now.';
comment on column stripe.subscription_schedules.end_behavior is
  'What becomes of the subscription at the end: release or cancel.';
comment on column stripe.subscription_schedules.canceled_at is 'When it was canceled.';
comment on column stripe.subscription_schedules.completed_at is 'When its last phase was over.';
comment on column stripe.subscription_schedules.released_at is 'When the subscription was released from it.';
comment on column stripe.subscription_schedules.test_clock is
  'Stripe''s id of the test clock that its time runs by; NULL: real time.';
comment on column stripe.subscription_schedules.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.subscription_schedules.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.subscription_schedules.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.subscription_schedule_items (
  account_id text not null, live_mode boolean not null, id text not null,
  schedule_id text not null, phase bigint not null, position bigint not null, phase_start timestamptz,
  phase_end timestamptz, price_id text, quantity bigint,
  primary key (account_id, live_mode, schedule_id, id)
);
create index subscription_schedule_items_price on stripe.subscription_schedule_items (account_id, live_mode, price_id);
comment on table stripe.subscription_schedule_items is
  'What the phases of a subscription schedule hold, stored with it: one row per phase and price.';
comment on column stripe.subscription_schedule_items.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.subscription_schedule_items.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.subscription_schedule_items.id is
  'Phase and place within it, both from 0, as ''phase.place'': Stripe gives these no id.';
comment on column stripe.subscription_schedule_items.schedule_id is 'Stripe''s id of the schedule.';
comment on column stripe.subscription_schedule_items.phase is 'Number of the phase, from 0, in order of time.';
comment on column stripe.subscription_schedule_items.position is 'Place within the phase in Stripe''s order, from 0.';
comment on column stripe.subscription_schedule_items.phase_start is 'When the phase begins.';
comment on column stripe.subscription_schedule_items.phase_end is 'When the phase ends; NULL: open.';
comment on column stripe.subscription_schedule_items.price_id is 'Stripe''s id of the price.';
comment on column stripe.subscription_schedule_items.quantity is 'How many; NULL for metered prices.';


-- Invoices and credit notes -------------------------------------------------------------------------------------------

create table stripe.invoices (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, subscription_id text, status text, billing_reason text,
  period_start timestamptz, period_end timestamptz, lines_period_end timestamptz, currency text, total bigint,
  amount_due bigint, amount_paid bigint, amount_remaining bigint, paid_out_of_band boolean,
  amount_paid_off_stripe bigint, amount_paid_by_payments bigint, collection_method text, attempt_count bigint,
  next_payment_attempt timestamptz, due_date timestamptz, paid_at timestamptz, number text,
  metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json, subtotal bigint,
  primary key (account_id, live_mode, id)
);
alter table stripe.invoices alter column raw set storage external;
create index invoices_customer on stripe.invoices (account_id, live_mode, customer_id);
create index invoices_created on stripe.invoices (account_id, live_mode, created);
comment on table stripe.invoices is 'Stripe''s invoices, drafts and void ones too.';
comment on column stripe.invoices.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.invoices.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.invoices.id is 'Stripe''s id of the invoice.';
comment on column stripe.invoices.created is 'When the invoice was created, by Stripe''s clock.';
comment on column stripe.invoices.customer_id is 'Stripe''s id of the customer that it bills.';
comment on column stripe.invoices.subscription_id is 'Stripe''s id of the subscription that it bills; NULL: none.';
comment on column stripe.invoices.status is 'draft, open, paid, void or uncollectible.';
comment on column stripe.invoices.billing_reason is 'Why it was made. subscription_cycle is what counts as a renewal.';
comment on column stripe.invoices.period_start is 'Start of the period in which its items were added.';
comment on column stripe.invoices.period_end is
  'End of that period: on a subscription_cycle invoice the boundary of the cycle, which renewals are counted by.';
comment on column stripe.invoices.lines_period_end is
  'Latest end of a period among the lines that came with it; Stripe sends the first ten.';
comment on column stripe.invoices.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.invoices.total is 'After discounts and taxes, minor units.';
comment on column stripe.invoices.amount_due is 'To be paid now, after credit balance, minor units.';
comment on column stripe.invoices.amount_paid is
  'Paid, minor units. Since 2025-03-31 with money paid outside Stripe, before without it.';
comment on column stripe.invoices.amount_remaining is 'Still to be paid, minor units.';
comment on column stripe.invoices.paid_out_of_band is
  'Paid outside Stripe; only in API versions before 2025-03-31, else NULL.';
comment on column stripe.invoices.amount_paid_off_stripe is
  'Paid outside Stripe, minor units. Comes by reads since 2026-05-27, never in events; else NULL.';
comment on column stripe.invoices.amount_paid_by_payments is
  'Paid by Stripe''s own payments, minor units: the sum over its payments. NULL: the answer did not list them.';
comment on column stripe.invoices.collection_method is 'charge_automatically or send_invoice.';
comment on column stripe.invoices.attempt_count is 'How many payments were attempted.';
comment on column stripe.invoices.next_payment_attempt is 'When the next payment will be attempted; NULL: never.';
comment on column stripe.invoices.due_date is 'When it is to be paid; NULL: it is charged automatically.';
comment on column stripe.invoices.paid_at is 'When it became paid.';
comment on column stripe.invoices.number is 'The number that the customer sees.';
comment on column stripe.invoices.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.invoices.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.invoices.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';
comment on column stripe.invoices.subtotal is
  'Before the discounts of the whole invoice and taxes, minor units. NULL: not known.';

create table stripe.invoice_payments (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, invoice_id text, status text, amount_requested bigint, amount_paid bigint, currency text,
  payment_type text, payment_intent_id text, charge_id text, payment_record_id text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.invoice_payments alter column raw set storage external;
create index invoice_payments_invoice on stripe.invoice_payments (account_id, live_mode, invoice_id);
create index invoice_payments_payment_intent on stripe.invoice_payments (account_id, live_mode, payment_intent_id)
  where payment_intent_id is not null;
comment on table stripe.invoice_payments is
  'Which payments pay which invoice (since 2025-03-31). One may pay several, and several may pay one.';
comment on column stripe.invoice_payments.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.invoice_payments.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.invoice_payments.id is 'Stripe''s id of the invoice payment.';
comment on column stripe.invoice_payments.created is 'When the invoice payment was created, by Stripe''s clock.';
comment on column stripe.invoice_payments.invoice_id is 'Stripe''s id of the invoice.';
comment on column stripe.invoice_payments.status is 'open, paid or canceled.';
comment on column stripe.invoice_payments.amount_requested is 'To be paid by it, minor units.';
comment on column stripe.invoice_payments.amount_paid is 'Paid by it, minor units; NULL: not paid.';
comment on column stripe.invoice_payments.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.invoice_payments.payment_type is
  'payment_intent, charge or payment_record (paid outside Stripe).';
comment on column stripe.invoice_payments.payment_intent_id is
  'Stripe''s id of the PaymentIntent that pays; NULL for other types.';
comment on column stripe.invoice_payments.charge_id is 'Stripe''s id of the charge that pays; NULL for other types.';
comment on column stripe.invoice_payments.payment_record_id is
  'Stripe''s id of the payment record that pays; NULL for other types.';
comment on column stripe.invoice_payments.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.invoice_payments.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

create table stripe.credit_notes (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, invoice_id text, status text, type text, reason text, number text,
  currency text, amount bigint, pre_payment_amount bigint, post_payment_amount bigint, out_of_band_amount bigint,
  refund_ids text[] not null default '{}', effective_at timestamptz, voided_at timestamptz, memo text,
  metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.credit_notes alter column raw set storage external;
create index credit_notes_customer on stripe.credit_notes (account_id, live_mode, customer_id);
create index credit_notes_invoice on stripe.credit_notes (account_id, live_mode, invoice_id);
create index credit_notes_created on stripe.credit_notes (account_id, live_mode, created);
comment on table stripe.credit_notes is
  'Stripe''s credit notes: what of an invoice was taken back, before it was paid or after. Money given back outside Stripe is in customer_revenue.out_of_band.';
comment on column stripe.credit_notes.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.credit_notes.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.credit_notes.id is 'Stripe''s id of the credit note.';
comment on column stripe.credit_notes.created is 'When the credit note was created, by Stripe''s clock.';
comment on column stripe.credit_notes.customer_id is 'Stripe''s id of the customer.';
comment on column stripe.credit_notes.invoice_id is 'Stripe''s id of the invoice.';
comment on column stripe.credit_notes.status is 'issued or void.';
comment on column stripe.credit_notes.type is
  'pre_payment (it lowered what was due), post_payment (it gave back what was paid) or mixed.';
comment on column stripe.credit_notes.reason is 'duplicate, fraudulent, order_change, product_unsatisfactory or NULL.';
comment on column stripe.credit_notes.number is 'Its number on paper.';
comment on column stripe.credit_notes.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.credit_notes.amount is 'In all, minor units, tax included.';
comment on column stripe.credit_notes.pre_payment_amount is
  'By how much it lowered what was due, minor units; NULL before 2024.';
comment on column stripe.credit_notes.post_payment_amount is
  'How much of what was paid it gave back, minor units: as refunds, to the credit balance, and outside Stripe; NULL before 2024.';
comment on column stripe.credit_notes.out_of_band_amount is
  'Given back outside Stripe, minor units: Stripe''s out_of_band_amount, and refunds of payments of which Stripe only keeps a record. NULL: nothing.';
comment on column stripe.credit_notes.refund_ids is 'Stripe''s ids of its refunds.';
comment on column stripe.credit_notes.effective_at is 'Its date on paper.';
comment on column stripe.credit_notes.voided_at is 'When it was made void.';
comment on column stripe.credit_notes.memo is 'Free text on paper. Personal: emptied when the customer is forgotten.';
comment on column stripe.credit_notes.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.credit_notes.deleted_at is 'Always NULL: Stripe deletes none. A void one has status void.';
comment on column stripe.credit_notes.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';


-- Charges, refunds, disputes ------------------------------------------------------------------------------------------

create table stripe.charges (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, payment_intent_id text, invoice_id text, status text,
  captured boolean not null default false, amount bigint, amount_captured bigint, amount_refunded bigint,
  currency text, disputed boolean, description text, metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.charges alter column raw set storage external;
create index charges_customer on stripe.charges (account_id, live_mode, customer_id);
-- A guest's charge names no customer; the Checkout session or the invoice of its PaymentIntent does.
create index charges_guest on stripe.charges (account_id, live_mode, payment_intent_id) where customer_id is null;
create index charges_created on stripe.charges (account_id, live_mode, created);
comment on table stripe.charges is
  'Stripe''s charges: each attempt to take money. Revenue is summed over the succeeded and captured ones.';
comment on column stripe.charges.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.charges.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.charges.id is 'Stripe''s id of the charge.';
comment on column stripe.charges.created is 'When the charge was created, by Stripe''s clock.';
comment on column stripe.charges.customer_id is
  'Stripe''s id of the customer; NULL: a guest''s charge, whose customer its Checkout or invoice may name (sync.charge_owners).';
comment on column stripe.charges.payment_intent_id is 'Stripe''s id of the PaymentIntent behind it.';
comment on column stripe.charges.invoice_id is 'Stripe''s id of the invoice; only before 2025-03-31.';
comment on column stripe.charges.status is 'succeeded, pending or failed.';
comment on column stripe.charges.captured is 'false: authorized only, no money has moved.';
comment on column stripe.charges.amount is 'Asked for, minor units.';
comment on column stripe.charges.amount_captured is 'Taken, minor units; less than amount where the rest was released.';
comment on column stripe.charges.amount_refunded is
  'Stripe''s own total of refunds, minor units; it counts the released rest of a partial capture as one.';
comment on column stripe.charges.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.charges.disputed is 'Whether it has ever been disputed.';
comment on column stripe.charges.description is 'charge.description.';
comment on column stripe.charges.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.charges.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.charges.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

create table stripe.refunds (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, charge_id text, payment_intent_id text, status text, amount bigint, currency text, reason text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.refunds alter column raw set storage external;
create index refunds_charge on stripe.refunds (account_id, live_mode, charge_id);
comment on table stripe.refunds is 'Stripe''s refunds.';
comment on column stripe.refunds.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.refunds.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.refunds.id is 'Stripe''s id of the refund.';
comment on column stripe.refunds.created is 'When the refund was created, by Stripe''s clock.';
comment on column stripe.refunds.charge_id is 'Stripe''s id of the charge that it gives back.';
comment on column stripe.refunds.payment_intent_id is 'Stripe''s id of the PaymentIntent behind that charge.';
comment on column stripe.refunds.status is
  'pending, requires_action, succeeded, failed or canceled. It may fail after it succeeded: the money is back then.';
comment on column stripe.refunds.amount is 'Minor units.';
comment on column stripe.refunds.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.refunds.reason is
  'duplicate, fraudulent, requested_by_customer, expired_uncaptured_charge, or NULL.';
comment on column stripe.refunds.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.refunds.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

create table stripe.disputes (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, charge_id text, payment_intent_id text, status text, amount bigint, currency text, reason text,
  movements bigint, moved_amount bigint, moved_currency text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.disputes alter column raw set storage external;
create index disputes_charge on stripe.disputes (account_id, live_mode, charge_id);
comment on table stripe.disputes is 'Stripe''s disputes (chargebacks and inquiries).';
comment on column stripe.disputes.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.disputes.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.disputes.id is 'Stripe''s id of the dispute.';
comment on column stripe.disputes.created is 'When the dispute was created, by Stripe''s clock.';
comment on column stripe.disputes.charge_id is 'Stripe''s id of the disputed charge.';
comment on column stripe.disputes.payment_intent_id is 'Stripe''s id of the PaymentIntent behind that charge.';
comment on column stripe.disputes.status is 'Stripe''s own word: needs_response, won, lost, warning_closed and others.';
comment on column stripe.disputes.amount is 'Disputed, minor units; may differ from the charge.';
comment on column stripe.disputes.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.disputes.reason is 'Why the bank says that it is disputed.';
comment on column stripe.disputes.movements is
  'How many balance transactions it has: 0 nothing moved, 1 withdrawn, 2 given back. NULL: the answer did not list them.';
comment on column stripe.disputes.moved_amount is
  'Sum of those, minor units of moved_currency, without fees: negative is money withdrawn.';
comment on column stripe.disputes.moved_currency is
  'Currency of those; NULL: there are none, or of several currencies.';
comment on column stripe.disputes.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.disputes.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';


-- Checkout ------------------------------------------------------------------------------------------------------------

create table stripe.checkout_sessions (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, mode text, payment_status text, client_reference_id text,
  subscription_id text, payment_intent_id text, invoice_id text, amount_total bigint, currency text,
  metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.checkout_sessions alter column raw set storage external;
create index checkout_sessions_customer on stripe.checkout_sessions (account_id, live_mode, customer_id);
create index checkout_sessions_client_reference_id
  on stripe.checkout_sessions (account_id, live_mode, client_reference_id)
  where client_reference_id is not null;
create index checkout_sessions_payment_intent on stripe.checkout_sessions (account_id, live_mode, payment_intent_id)
  where payment_intent_id is not null;
create index checkout_sessions_created on stripe.checkout_sessions (account_id, live_mode, created);
comment on table stripe.checkout_sessions is
  'Stripe''s Checkout sessions: what links a purchase to the company''s own customer.';
comment on column stripe.checkout_sessions.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.checkout_sessions.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.checkout_sessions.id is 'Stripe''s id of the Checkout session.';
comment on column stripe.checkout_sessions.created is 'When the Checkout session was created, by Stripe''s clock.';
comment on column stripe.checkout_sessions.customer_id is
  'Stripe''s id of the customer; NULL: a guest, or not known yet.';
comment on column stripe.checkout_sessions.status is 'open, complete or expired.';
comment on column stripe.checkout_sessions.mode is 'payment, subscription or setup.';
comment on column stripe.checkout_sessions.payment_status is 'paid, unpaid or no_payment_required.';
comment on column stripe.checkout_sessions.client_reference_id is
  'What the company passed along: a claim of a custom_uid, once the session is complete.';
comment on column stripe.checkout_sessions.subscription_id is 'Stripe''s id of the subscription that it started.';
comment on column stripe.checkout_sessions.payment_intent_id is 'Stripe''s id of the PaymentIntent that paid it.';
comment on column stripe.checkout_sessions.invoice_id is 'Stripe''s id of the invoice that it made.';
comment on column stripe.checkout_sessions.amount_total is 'Minor units, after discounts and taxes.';
comment on column stripe.checkout_sessions.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.checkout_sessions.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.checkout_sessions.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.checkout_sessions.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

create table stripe.checkout_line_items (
  account_id text not null, live_mode boolean not null, id text not null,
  session_id text not null, position bigint not null, description text, price_id text, product_id text,
  quantity bigint, currency text, amount_subtotal bigint, amount_discount bigint, amount_tax bigint,
  amount_total bigint,
  primary key (account_id, live_mode, session_id, id)
);
comment on table stripe.checkout_line_items is
  'What a Checkout session sold, stored with it. Known once the session was read: events leave it out.';
comment on column stripe.checkout_line_items.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.checkout_line_items.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.checkout_line_items.id is 'Stripe''s id of the line item.';
comment on column stripe.checkout_line_items.session_id is 'Stripe''s id of the session.';
comment on column stripe.checkout_line_items.position is 'Place in Stripe''s order, from 0.';
comment on column stripe.checkout_line_items.description is 'The product''s name, as the customer saw it.';
comment on column stripe.checkout_line_items.price_id is 'Stripe''s id of the price.';
comment on column stripe.checkout_line_items.product_id is 'Stripe''s id of the product.';
comment on column stripe.checkout_line_items.quantity is 'How many.';
comment on column stripe.checkout_line_items.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.checkout_line_items.amount_subtotal is 'Before discounts and taxes, minor units.';
comment on column stripe.checkout_line_items.amount_discount is 'Taken off, minor units; NULL before 2021.';
comment on column stripe.checkout_line_items.amount_tax is 'Taxes, minor units; NULL before 2021.';
comment on column stripe.checkout_line_items.amount_total is 'After discounts and taxes, minor units.';


-- Kinds that no record depends on: no event causes a read of them -----------------------------------------------------

create table stripe.payment_intents (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, amount bigint, amount_capturable bigint,
  amount_received bigint, currency text, payment_method_id text, latest_charge_id text, invoice_id text,
  capture_method text, setup_future_usage text, cancellation_reason text, canceled_at timestamptz, description text,
  receipt_email text, error_code text, metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.payment_intents alter column raw set storage external;
create index payment_intents_customer on stripe.payment_intents (account_id, live_mode, customer_id);
create index payment_intents_created on stripe.payment_intents (account_id, live_mode, created);
comment on table stripe.payment_intents is 'Stripe''s PaymentIntents: the way of one payment, over all its attempts.';
comment on column stripe.payment_intents.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.payment_intents.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.payment_intents.id is 'Stripe''s id of the PaymentIntent.';
comment on column stripe.payment_intents.created is 'When the PaymentIntent was created, by Stripe''s clock.';
comment on column stripe.payment_intents.customer_id is 'Stripe''s id of the customer. NULL: a guest.';
comment on column stripe.payment_intents.status is
  'requires_payment_method, requires_confirmation, requires_action, processing, requires_capture, succeeded or canceled. Open set.';
comment on column stripe.payment_intents.amount is 'To be paid, minor units.';
comment on column stripe.payment_intents.amount_capturable is 'Authorized and not captured yet, minor units.';
comment on column stripe.payment_intents.amount_received is 'Taken, minor units; refunds do not lower it.';
comment on column stripe.payment_intents.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.payment_intents.payment_method_id is 'Stripe''s id of the payment method used last.';
comment on column stripe.payment_intents.latest_charge_id is 'Stripe''s id of the charge of its last attempt.';
comment on column stripe.payment_intents.invoice_id is
  'Stripe''s id of the invoice that it pays; only before 2025-03-31. Later, stripe.invoice_payments names it.';
comment on column stripe.payment_intents.capture_method is 'automatic, automatic_async or manual.';
comment on column stripe.payment_intents.setup_future_usage is
  'Whether the payment method is kept for later: on_session or off_session; NULL: it is not.';
comment on column stripe.payment_intents.cancellation_reason is 'Why it was canceled.';
comment on column stripe.payment_intents.canceled_at is 'When it was canceled.';
comment on column stripe.payment_intents.description is 'Free text. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_intents.receipt_email is
  'Where the receipt goes. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_intents.error_code is
  'Why its last attempt failed, as Stripe''s code; NULL: it did not.';
comment on column stripe.payment_intents.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.payment_intents.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.payment_intents.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.payment_methods (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, type text, card_brand text, card_last4 text, card_exp_month bigint,
  card_exp_year bigint, card_funding text, card_country text, billing_name text, billing_email text,
  metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.payment_methods alter column raw set storage external;
create index payment_methods_customer on stripe.payment_methods (account_id, live_mode, customer_id);
comment on table stripe.payment_methods is 'Stripe''s payment methods: cards and accounts that customers pay with.';
comment on column stripe.payment_methods.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.payment_methods.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.payment_methods.id is 'Stripe''s id of the payment method.';
comment on column stripe.payment_methods.created is 'When the payment method was created, by Stripe''s clock.';
comment on column stripe.payment_methods.customer_id is
  'Stripe''s id of the customer. NULL: not attached, or not any more.';
comment on column stripe.payment_methods.type is 'card, sepa_debit, us_bank_account ... Open set.';
comment on column stripe.payment_methods.card_brand is 'Of a card: visa, mastercard ...';
comment on column stripe.payment_methods.card_last4 is
  'Of a card: its last four digits. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_methods.card_exp_month is 'Of a card: the month in which it expires.';
comment on column stripe.payment_methods.card_exp_year is 'Of a card: the year in which it expires.';
comment on column stripe.payment_methods.card_funding is 'Of a card: credit, debit, prepaid or unknown.';
comment on column stripe.payment_methods.card_country is 'Of a card: two-letter code of the country that issued it.';
comment on column stripe.payment_methods.billing_name is
  'Whose it is. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_methods.billing_email is
  'Billing email. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_methods.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.payment_methods.deleted_at is
  'Always NULL: Stripe deletes none. One that was detached has no customer_id any more.';
comment on column stripe.payment_methods.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.setup_intents (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, usage text, payment_method_id text, cancellation_reason text,
  description text, error_code text, metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.setup_intents alter column raw set storage external;
create index setup_intents_customer on stripe.setup_intents (account_id, live_mode, customer_id);
create index setup_intents_created on stripe.setup_intents (account_id, live_mode, created);
comment on table stripe.setup_intents is
  'Stripe''s SetupIntents: the keeping of a payment method for later, without a payment.';
comment on column stripe.setup_intents.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.setup_intents.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.setup_intents.id is 'Stripe''s id of the SetupIntent.';
comment on column stripe.setup_intents.created is 'When the SetupIntent was created, by Stripe''s clock.';
comment on column stripe.setup_intents.customer_id is 'Stripe''s id of the customer. NULL: a guest.';
comment on column stripe.setup_intents.status is
  'requires_payment_method, requires_confirmation, requires_action, processing, succeeded or canceled. Open set.';
comment on column stripe.setup_intents.usage is 'What it is kept for: off_session or on_session.';
comment on column stripe.setup_intents.payment_method_id is 'Stripe''s id of the payment method.';
comment on column stripe.setup_intents.cancellation_reason is 'Why it was canceled.';
comment on column stripe.setup_intents.description is 'Free text. Personal: emptied when the customer is forgotten.';
comment on column stripe.setup_intents.error_code is
  'Why its last attempt failed, as Stripe''s code; NULL: it did not.';
comment on column stripe.setup_intents.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.setup_intents.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.setup_intents.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.tax_ids (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, type text, country text, value text, verification_status text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.tax_ids alter column raw set storage external;
create index tax_ids_customer on stripe.tax_ids (account_id, live_mode, customer_id);
comment on table stripe.tax_ids is 'Stripe''s tax ids of customers.';
comment on column stripe.tax_ids.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.tax_ids.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.tax_ids.id is 'Stripe''s id of the tax id.';
comment on column stripe.tax_ids.created is 'When the tax id was created, by Stripe''s clock.';
comment on column stripe.tax_ids.customer_id is 'Stripe''s id of the customer.';
comment on column stripe.tax_ids.type is 'eu_vat, us_ein ... Open set.';
comment on column stripe.tax_ids.country is 'Two-letter code of the country.';
comment on column stripe.tax_ids.value is 'The number itself. Personal: emptied when the customer is forgotten.';
comment on column stripe.tax_ids.verification_status is
  'pending, verified, unverified or unavailable; NULL: not verified by Stripe.';
comment on column stripe.tax_ids.deleted_at is
  'When it was deleted at Stripe: the time of its *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.tax_ids.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.reviews (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, charge_id text, payment_intent_id text, open boolean, opened_reason text, closed_reason text,
  reason text, deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.reviews alter column raw set storage external;
create index reviews_created on stripe.reviews (account_id, live_mode, created);
create index reviews_charge on stripe.reviews (account_id, live_mode, charge_id);
comment on table stripe.reviews is 'Stripe''s reviews: payments that a person at the company should look at.';
comment on column stripe.reviews.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.reviews.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.reviews.id is 'Stripe''s id of the review.';
comment on column stripe.reviews.created is 'When the review was created, by Stripe''s clock.';
comment on column stripe.reviews.charge_id is 'Stripe''s id of the charge.';
comment on column stripe.reviews.payment_intent_id is 'Stripe''s id of the PaymentIntent.';
comment on column stripe.reviews.open is 'Whether it still waits for that person.';
comment on column stripe.reviews.opened_reason is 'rule or manual.';
comment on column stripe.reviews.closed_reason is
  'approved, refunded, refunded_as_fraud, disputed, redacted, canceled ...; NULL: open.';
comment on column stripe.reviews.reason is 'Why it is open, or why it was closed.';
comment on column stripe.reviews.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.reviews.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.early_fraud_warnings (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, charge_id text, payment_intent_id text, actionable boolean, fraud_type text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.early_fraud_warnings alter column raw set storage external;
create index early_fraud_warnings_created on stripe.early_fraud_warnings (account_id, live_mode, created);
create index early_fraud_warnings_charge on stripe.early_fraud_warnings (account_id, live_mode, charge_id);
comment on table stripe.early_fraud_warnings is
  'Stripe''s early fraud warnings (radar.early_fraud_warning): what card issuers took for fraud; a dispute often follows.';
comment on column stripe.early_fraud_warnings.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.early_fraud_warnings.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.early_fraud_warnings.id is 'Stripe''s id of the early fraud warning.';
comment on column stripe.early_fraud_warnings.created is
  'When the early fraud warning was created, by Stripe''s clock.';
comment on column stripe.early_fraud_warnings.charge_id is 'Stripe''s id of the charge.';
comment on column stripe.early_fraud_warnings.payment_intent_id is
  'Stripe''s id of the PaymentIntent; NULL before 2021.';
comment on column stripe.early_fraud_warnings.actionable is 'Whether a refund can still avert a dispute.';
comment on column stripe.early_fraud_warnings.fraud_type is
  'What the issuer says: made_with_stolen_card, misc, unauthorized_use_of_card ...';
comment on column stripe.early_fraud_warnings.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.early_fraud_warnings.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.payouts (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, status text, amount bigint, currency text, arrival_date timestamptz, automatic boolean,
  method text, type text, destination_id text, balance_transaction_id text, reconciliation_status text,
  failure_code text, description text, metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.payouts alter column raw set storage external;
create index payouts_created on stripe.payouts (account_id, live_mode, created);
comment on table stripe.payouts is
  'Stripe''s payouts: money that went from the account at Stripe to the company''s bank.';
comment on column stripe.payouts.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.payouts.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.payouts.id is 'Stripe''s id of the payout.';
comment on column stripe.payouts.created is 'When the payout was created, by Stripe''s clock.';
comment on column stripe.payouts.status is
  'pending, in_transit, paid, failed or canceled; paid may still become failed.';
comment on column stripe.payouts.amount is 'Paid out, minor units; negative: Stripe took it from the bank.';
comment on column stripe.payouts.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.payouts.arrival_date is 'When it is expected at the bank.';
comment on column stripe.payouts.automatic is 'false: a person asked for it.';
comment on column stripe.payouts.method is 'standard or instant.';
comment on column stripe.payouts.type is 'bank_account or card.';
comment on column stripe.payouts.destination_id is 'Stripe''s id of the bank account or card.';
comment on column stripe.payouts.balance_transaction_id is 'Stripe''s id of its balance transaction.';
comment on column stripe.payouts.reconciliation_status is
  'Whether Stripe can list its balance transactions: completed, in_progress or not_applicable; NULL before 2022.';
comment on column stripe.payouts.failure_code is 'Why it failed, as Stripe''s code.';
comment on column stripe.payouts.description is 'Free text.';
comment on column stripe.payouts.metadata is 'The object''s metadata, text to text, as Stripe has it.';
comment on column stripe.payouts.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.payouts.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.balance_transactions (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, type text, reporting_category text, status text, amount bigint, fee bigint, net bigint,
  currency text, available_on timestamptz, source_id text, description text, deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
alter table stripe.balance_transactions alter column raw set storage external;
create index balance_transactions_created on stripe.balance_transactions (account_id, live_mode, created);
create index balance_transactions_source on stripe.balance_transactions (account_id, live_mode, source_id);
comment on table stripe.balance_transactions is
  'Stripe''s balance transactions: each movement of money on the account at Stripe, with Stripe''s fee. Known from lists only: they have no events.';
comment on column stripe.balance_transactions.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.balance_transactions.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.balance_transactions.id is 'Stripe''s id of the balance transaction.';
comment on column stripe.balance_transactions.created is
  'When the balance transaction was created, by Stripe''s clock.';
comment on column stripe.balance_transactions.type is
  'charge, payment, refund, payout, adjustment, stripe_fee ... Open set.';
comment on column stripe.balance_transactions.reporting_category is
  'The same for accountants: charge, refund, dispute, payout, fee ... Open set.';
comment on column stripe.balance_transactions.status is 'pending or available.';
comment on column stripe.balance_transactions.amount is 'Moved, minor units; negative: taken off the balance.';
comment on column stripe.balance_transactions.fee is 'Stripe''s fees, minor units.';
comment on column stripe.balance_transactions.net is 'amount minus fee, minor units.';
comment on column stripe.balance_transactions.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.balance_transactions.available_on is 'When the money may be paid out.';
comment on column stripe.balance_transactions.source_id is
  'Stripe''s id of the charge, refund, payout ... that moved it.';
comment on column stripe.balance_transactions.description is
  'Free text. Personal: emptied when the customer is forgotten.';
comment on column stripe.balance_transactions.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.balance_transactions.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
