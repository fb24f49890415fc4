-- migrate:up

-- billing: the records, and the contract with readers. docs/record.md has each definition with an example.

create schema billing;
comment on schema billing is 'The records: what it means. The contract with readers.';

create sequence billing.change cache 1;
comment on sequence billing.change is
  'Numbers changes of records. Drawn only under the advisory lock of the derive transaction, so that a poll misses none.';


-- Identities: what is ours and not Stripe's ---------------------------------------------------------------------------

create table billing.identities (
  uid                  uuid        primary key,
  account_id           text        not null default '',
  live_mode            boolean     not null,
  stripe_customer_id   text,
  custom_uid           text,
  fingerprint          text,
  send_email_receipts  boolean,
  metadata             jsonb       not null default '{}',
  sandbox_product_id   text,
  sandbox_end          timestamptz,
  last_seen            timestamptz,
  created_at           timestamptz not null default now(),
  constraint custom_uid_is_url_safe check (custom_uid ~ '^[A-Za-z0-9._~-]{1,255}$'),
  unique (account_id, live_mode, stripe_customer_id)
);
create index identities_custom_uid on billing.identities (account_id, live_mode, custom_uid)
  where custom_uid is not null;
comment on table billing.identities is
  'What is ours and not Stripe''s about a customer: owned by the customers API. Deriving reads it and never writes it.';
comment on column billing.identities.uid is 'Our id of the customer, forever.';
comment on column billing.identities.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.identities.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.identities.stripe_customer_id is 'Stripe''s id of the customer; NULL: not linked.';
comment on column billing.identities.custom_uid is
  'The company''s own name of the customer, set locally: counts where Stripe states none.';
comment on column billing.identities.fingerprint is 'What recognises an anonymous customer.';
comment on column billing.identities.send_email_receipts is
  'Whether the customer wants receipts by mail; NULL: not said.';
comment on column billing.identities.metadata is
  'Local metadata, text to text. Where Stripe''s metadata has the same key, Stripe''s counts.';
comment on column billing.identities.sandbox_product_id is
  'The product that the grant gives: the company''s own product_id.';
comment on column billing.identities.sandbox_end is
  'When a grant given here ends. It outranks one in Stripe''s metadata; a live subscription outranks both.';
comment on column billing.identities.last_seen is
  'When the customer itself was last active here: usage, checks. Not renewals.';
comment on column billing.identities.created_at is 'When the customer was created here.';

create function sync.identities_written() returns trigger
language plpgsql security definer set search_path = pg_catalog as $function$
declare
  accounts text[];
  modes boolean[];
  ids text[];
begin
  if tg_op = 'INSERT' then
    select array_agg(account_id), array_agg(live_mode), array_agg(stripe_customer_id) into accounts, modes, ids
    from written;
  elsif tg_op = 'DELETE' then
    select array_agg(account_id), array_agg(live_mode), array_agg(stripe_customer_id) into accounts, modes, ids
    from erased;
  else
    select array_agg(account_id), array_agg(live_mode), array_agg(stripe_customer_id) into accounts, modes, ids
    from (select * from written union all select * from erased) as both_sides;
  end if;
  -- Like every fact of a customer (MARK_STALE in db/sync/customers.py): in the transaction that writes it, by an update
  -- that takes the locks in the order in which every writer takes them.
  insert into sync.customers as c (account_id, live_mode, customer_id, stale, stale_since, history_at)
  select distinct account_id, live_mode, customer_id, 1, now(), now() + interval '10 seconds'
  from unnest(accounts, modes, ids) as k (account_id, live_mode, customer_id)
  where customer_id is not null
  order by account_id, live_mode, customer_id
  on conflict (account_id, live_mode, customer_id) do update set
    stale = c.stale + 1,
    stale_since = case when c.stale > c.derived then c.stale_since else now() end,
    attempts = case when c.parked_at is null then c.attempts else 0 end,
    parked_at = null;
  return null;
end
$function$;
comment on function sync.identities_written() is
  'A write to billing.identities marks the records of those customers as stale, in the same transaction. Runs with its owner''s rights: services need none in sync.';
revoke execute on function sync.identities_written() from public;

create trigger inserted after insert on billing.identities
  referencing new table as written for each statement execute function sync.identities_written();
create trigger updated after update on billing.identities
  referencing old table as erased new table as written for each statement execute function sync.identities_written();
create trigger deleted after delete on billing.identities
  referencing old table as erased for each statement execute function sync.identities_written();


-- A view from which records are derived: it cannot disagree with the mirror ------------------------------------------

-- Each customer's claim of a custom_uid by its first valid source.
create view sync.uid_claims as
select account_id, live_mode, custom_uid, id as customer_id, 'metadata' as source, created as customer_created
from stripe.customers
where custom_uid ~ '^[A-Za-z0-9._~-]{1,255}$'
union all
select s.account_id, s.live_mode, s.client_reference_id, s.customer_id, 'checkout', c.created
from stripe.checkout_sessions s
left join stripe.customers c
  on c.account_id = s.account_id and c.live_mode = s.live_mode and c.id = s.customer_id
where s.status = 'complete' and s.client_reference_id ~ '^[A-Za-z0-9._~-]{1,255}$' and s.customer_id is not null
  and (c.custom_uid is null or c.custom_uid !~ '^[A-Za-z0-9._~-]{1,255}$')
  and not exists (
    select from stripe.checkout_sessions later
    where later.account_id = s.account_id and later.live_mode = s.live_mode and later.customer_id = s.customer_id
      and later.status = 'complete' and later.client_reference_id is not null
      and (later.created, later.id collate "C") > (s.created, s.id collate "C")
  )
union all
select i.account_id, i.live_mode, i.custom_uid, i.stripe_customer_id, 'local', c.created
from billing.identities i
left join stripe.customers c
  on c.account_id = i.account_id and c.live_mode = i.live_mode and c.id = i.stripe_customer_id
where i.custom_uid is not null and i.stripe_customer_id is not null
  and (c.custom_uid is null or c.custom_uid !~ '^[A-Za-z0-9._~-]{1,255}$')
  and coalesce(
    (
      select latest.client_reference_id
      from stripe.checkout_sessions latest
      where latest.account_id = i.account_id and latest.live_mode = i.live_mode
        and latest.customer_id = i.stripe_customer_id and latest.status = 'complete'
        and latest.client_reference_id is not null
      order by latest.created desc, latest.id collate "C" desc
      limit 1
    ),
    ''
  ) !~ '^[A-Za-z0-9._~-]{1,255}$';
comment on view sync.uid_claims is
  'Each customer''s claim of a custom_uid, by its first valid source. A view, so that it never disagrees with the mirror.';
comment on column sync.uid_claims.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column sync.uid_claims.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column sync.uid_claims.custom_uid is 'The name that is claimed.';
comment on column sync.uid_claims.customer_id is 'Stripe''s id of the customer that claims it.';
comment on column sync.uid_claims.source is 'metadata, checkout or local: the source of the claim.';
comment on column sync.uid_claims.customer_created is
  'When that customer was created at Stripe: the earliest wins. NULL: not seen yet, and last.';


-- The record and its parts --------------------------------------------------------------------------------------------

create table billing.customers (
  uid                     uuid        primary key,
  custom_uid              text,
  stripe_customer_id      text,
  account_id              text        not null,
  live_mode               boolean     not null,
  name                    text,
  email                   text,
  description             text,
  fingerprint             text,
  metadata                jsonb       not null default '{}',
  send_email_receipts     boolean,
  status                  text,
  has_access              boolean     not null default false,
  product_id              text,
  product_version_number  bigint,
  stripe_product_id       text,
  stripe_price_id         text,
  stripe_subscription_id  text,
  quantity                bigint,
  lifetime_revenue        bigint      not null default 0,
  revenue_currency        text,
  renewal_number          bigint      not null default 0,
  is_trial                boolean     not null default false,
  trial_end               timestamptz,
  sandbox_end             timestamptz,
  subscription_date       timestamptz,
  first_seen              timestamptz,
  last_seen               timestamptz,
  exact                   boolean     not null default false,
  change                  bigint      not null,
  created_at              timestamptz not null default now(),
  updated_at              timestamptz not null default now(),
  deleted_at              timestamptz,
  constraint status_is_known check (status in ('trialing', 'active', 'past_due', 'canceled', 'ended')),
  constraint custom_uid_is_url_safe check (custom_uid ~ '^[A-Za-z0-9._~-]{1,255}$'),
  constraint renewals_are_counted_from_zero check (renewal_number >= 0),
  constraint trial_end_only_in_trial check (is_trial or trial_end is null),
  -- Deferred: in one transaction a claim may pass from one customer to another.
  constraint custom_uid_is_unique unique (account_id, live_mode, custom_uid) deferrable initially deferred,
  constraint stripe_customer_is_unique unique (account_id, live_mode, stripe_customer_id)
);
create unique index customers_change on billing.customers (change);
create index customers_email on billing.customers (email);
create index customers_status on billing.customers (account_id, live_mode, status);
create index customers_subscription on billing.customers (stripe_subscription_id)
  where stripe_subscription_id is not null;
comment on table billing.customers is
  'The record: one row per customer. Poll by change, or read by uid, custom_uid or stripe_customer_id.';
comment on column billing.customers.uid is
  'Our id of the customer, forever: that of billing.identities, else uuid5 of account, mode and Stripe id.';
comment on column billing.customers.custom_uid is
  'The company''s own name of the customer, unique per account and mode: customer.metadata.custom_uid, else client_reference_id of its latest completed Checkout, else set locally. NULL: none, not URL-safe, or another customer''s (sync.problems says which).';
comment on column billing.customers.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customers.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.customers.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.customers.name is 'Stripe''s customer.name.';
comment on column billing.customers.email is 'Stripe''s customer.email; not unique.';
comment on column billing.customers.description is 'Stripe''s customer.description.';
comment on column billing.customers.fingerprint is 'From billing.identities.';
comment on column billing.customers.metadata is 'Local metadata overlaid by Stripe''s customer.metadata, text to text.';
comment on column billing.customers.send_email_receipts is 'From billing.identities; NULL: not said.';
comment on column billing.customers.status is
  'Of the current subscription: trialing, active, past_due, canceled (still active, end scheduled), ended. NULL: no subscription ever started.';
comment on column billing.customers.has_access is
  'Whether any subscription lets the customer in; without a live one, whether a grant ran when this was derived.';
comment on column billing.customers.product_id is
  'product.metadata.product_id of the current subscription, else Stripe''s product id. While a grant runs and no subscription is live: the grant''s product, where it names one.';
comment on column billing.customers.product_version_number is
  'metadata.version of price or product where it is a whole number, else the price''s rank by age among the product''s recurring prices. NULL while a grant gives the product.';
comment on column billing.customers.stripe_product_id is
  'Stripe''s id of the product of the first item of the current subscription.';
comment on column billing.customers.stripe_price_id is 'Stripe''s id of the price of that item.';
comment on column billing.customers.stripe_subscription_id is
  'Stripe''s id of the current subscription: the one that speaks for the customer.';
comment on column billing.customers.quantity is 'Units of that item; NULL: metered, or no subscription.';
comment on column billing.customers.lifetime_revenue is
  'Net revenue in revenue_currency, minor units, since the beginning: net of refunds and disputes, gross of fees and taxes.';
comment on column billing.customers.revenue_currency is
  'The currency with the largest gross + out_of_band; NULL: none, and lifetime_revenue is 0.';
comment on column billing.customers.renewal_number is
  'Billing cycles that the current subscription has gone through, from 0; the end of a first trial is none.';
comment on column billing.customers.is_trial is
  'Whether the current subscription is trialing at Stripe, also when its end is scheduled.';
comment on column billing.customers.trial_end is 'When that trial ends; NULL unless is_trial.';
comment on column billing.customers.sandbox_end is
  'When its grant, time-limited access without a subscription, ends or ended. From billing.identities, else the customer''s metadata, else a subscription''s. NULL: none was given.';
comment on column billing.customers.subscription_date is 'When the current subscription started (start_date).';
comment on column billing.customers.first_seen is 'When the customer was first created, here or at Stripe.';
comment on column billing.customers.last_seen is
  'When the customer itself was last active: noted locally, or its latest completed Checkout. Renewals are not activity.';
comment on column billing.customers.exact is
  'Complete and confirmed: its history is known from the start, and nothing of it waits for a read, is missing or parked.';
comment on column billing.customers.change is
  'Number of this row''s last change; grows over all rows. Poll `where change > $1`: nothing is missed.';
comment on column billing.customers.created_at is 'When the record was first written.';
comment on column billing.customers.updated_at is
  'When anything of the record, its products or its revenue last changed; not moved by exact alone.';
comment on column billing.customers.deleted_at is 'When the customer was deleted at Stripe; its history stays.';

create table billing.customer_products (
  id                      uuid        not null unique,
  customer_uid            uuid        not null,
  account_id              text        not null,
  live_mode               boolean     not null,
  stripe_customer_id      text        not null,
  stripe_subscription_id  text        not null,
  stripe_product_id       text        not null,
  product_id              text        not null,
  stripe_price_id         text,
  status                  text,
  stripe_status           text,
  has_access              boolean     not null,
  canceled                boolean     not null,
  canceled_at             timestamptz,
  starts_at               timestamptz,
  ended_at                timestamptz,
  trial_ends_at           timestamptz,
  free_trial_id           text,
  current_period_start    timestamptz,
  current_period_end      timestamptz,
  quantity                bigint,
  options                 jsonb       not null default '{}',
  collection_method       text,
  processor               text        not null default 'stripe',
  subscription_ids        text[]      not null,
  scheduled_ids           text[],
  is_custom               boolean,
  api_version             text,
  external_id             text,
  entity_id               text,
  created_at              timestamptz,
  primary key (account_id, live_mode, stripe_subscription_id, stripe_product_id),
  constraint status_is_known check (status in ('trialing', 'active', 'past_due', 'canceled', 'ended')),
  constraint ended_is_without_access check (not (status = 'ended' and has_access))
);
create index customer_products_customer on billing.customer_products (account_id, live_mode, stripe_customer_id);
create index customer_products_uid on billing.customer_products (customer_uid);
create index customer_products_product on billing.customer_products (product_id, status);
comment on table billing.customer_products is
  'What a customer has bought: one row per subscription and product, never-started and ended ones too.';
comment on column billing.customer_products.id is 'Our id of the row: uuid5 of its key, the same after every rebuild.';
comment on column billing.customer_products.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_products.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.customer_products.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.customer_products.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customer_products.stripe_subscription_id is 'Stripe''s id of the subscription.';
comment on column billing.customer_products.stripe_product_id is 'Stripe''s id of the product.';
comment on column billing.customer_products.product_id is
  'The company''s name of the product: product.metadata.product_id, else Stripe''s id.';
comment on column billing.customer_products.stripe_price_id is
  'Stripe''s id of the price of the product''s first item.';
comment on column billing.customer_products.status is
  'trialing, active, past_due, canceled (still active, end scheduled) or ended; NULL: never started.';
comment on column billing.customer_products.stripe_status is 'Stripe''s own word for the subscription.';
comment on column billing.customer_products.has_access is 'Whether this subscription lets the customer in.';
comment on column billing.customer_products.canceled is 'Whether its cancellation is scheduled or done.';
comment on column billing.customer_products.canceled_at is 'When the cancellation was asked for.';
comment on column billing.customer_products.starts_at is 'When the subscription started.';
comment on column billing.customer_products.ended_at is
  'When it ended: Stripe''s word, else when it was canceled, else when the customer was deleted.';
comment on column billing.customer_products.trial_ends_at is 'When its running trial ends; NULL: no trial runs.';
comment on column billing.customer_products.free_trial_id is 'Source not mirrored yet: NULL.';
comment on column billing.customer_products.current_period_start is
  'Latest start of a period among the product''s items.';
comment on column billing.customer_products.current_period_end is
  'Latest end of a period among the product''s items: paid until.';
comment on column billing.customer_products.quantity is 'Units of all items of the product; NULL: metered only.';
comment on column billing.customer_products.options is
  'Feature id to summed quantity; the feature is metadata.feature_id of the price, else of the product.';
comment on column billing.customer_products.collection_method is 'charge_automatically or send_invoice.';
comment on column billing.customer_products.processor is 'Always stripe.';
comment on column billing.customer_products.subscription_ids is
  'Stripe''s ids of all subscriptions of the customer that carry this product, in order of their start.';
comment on column billing.customer_products.scheduled_ids is 'Source not mirrored yet: NULL.';
comment on column billing.customer_products.is_custom is 'Source not mirrored yet: NULL.';
comment on column billing.customer_products.api_version is 'Source not mirrored yet: NULL.';
comment on column billing.customer_products.external_id is 'subscription.metadata.external_id.';
comment on column billing.customer_products.entity_id is 'subscription.metadata.entity_id.';
comment on column billing.customer_products.created_at is 'When the subscription was created at Stripe.';

create table billing.customer_revenue (
  customer_uid        uuid    not null,
  account_id          text    not null,
  live_mode           boolean not null,
  stripe_customer_id  text    not null,
  currency            text    not null,
  gross               bigint  not null,
  refunded            bigint  not null,
  disputed            bigint  not null,
  out_of_band         bigint  not null,
  net                 bigint  not null,
  primary key (account_id, live_mode, stripe_customer_id, currency),
  constraint net_is_the_sum check (net = gross - refunded - disputed + out_of_band)
);
create index customer_revenue_uid on billing.customer_revenue (customer_uid);
comment on table billing.customer_revenue is
  'What a customer has paid, one row per currency in which money moved. Currencies are never added up.';
comment on column billing.customer_revenue.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_revenue.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.customer_revenue.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.customer_revenue.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customer_revenue.currency is
  'Three-letter ISO code in lower case. All amounts are in its minor units (JPY has no cents).';
comment on column billing.customer_revenue.gross is
  'Captured by succeeded charges, minor units, before fees, transfers and taxes.';
comment on column billing.customer_revenue.refunded is
  'Given back or on its way back, minor units; without refunds that failed and the released rest of partial captures.';
comment on column billing.customer_revenue.disputed is 'Withdrawn by disputes and not given back, minor units.';
comment on column billing.customer_revenue.out_of_band is 'Paid on invoices outside Stripe, minor units.';
comment on column billing.customer_revenue.net is 'gross - refunded - disputed + out_of_band, minor units.';

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
comment on table billing.customer_mrr is
  'Monthly recurring revenue by customer and currency: what the subscriptions that are paid for (active, past due, canceled but still running) bring in a month, after discounts that go on.';
comment on column billing.customer_mrr.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_mrr.account_id is 'Connected account, or empty.';
comment on column billing.customer_mrr.live_mode is 'Live or test.';
comment on column billing.customer_mrr.stripe_customer_id is 'Stripe customer id.';
comment on column billing.customer_mrr.currency is 'Currency of mrr. Never added up with another.';
comment on column billing.customer_mrr.mrr is
  'Minor units of the currency per month, rounded once per row: a year is 12 months, a week 12/52 and a day 12/365 of a month. Metered items, trials and paused collection are 0. NULL: not known, because a price, its tiers or a discount has not been read yet.';
comment on column billing.customer_mrr.subscriptions is 'How many subscriptions it is the sum of.';

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
comment on table billing.customer_features is
  'One row per customer and feature that it may use now, as Stripe''s entitlements have it.';
comment on column billing.customer_features.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_features.account_id is 'Connected account, or empty.';
comment on column billing.customer_features.live_mode is 'Live or test.';
comment on column billing.customer_features.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customer_features.feature_id is 'Stripe''s id of the feature.';
comment on column billing.customer_features.lookup_key is
  'The company''s own name of the feature: of the feature as it is now, else of the entitlement.';
comment on column billing.customer_features.name is
  'The feature''s name, for people. NULL until the feature has been read.';


-- Entities ------------------------------------------------------------------------------------------------------------

-- Entities that derive from Stripe and entities that are ours are two tables: deriving, and a rebuild, owns the first
-- and never touches the second. Readers see both as one view.
create table billing.subscription_entities (
  uid                 uuid        not null unique,
  customer_uid        uuid        not null,
  account_id          text        not null,
  live_mode           boolean     not null,
  stripe_customer_id  text        not null,
  id                  text        not null,
  type                text,
  name                text,
  created_at          timestamptz,
  primary key (account_id, live_mode, stripe_customer_id, id)
);
create index subscription_entities_customer on billing.subscription_entities (customer_uid, id);
comment on table billing.subscription_entities is
  'The entities that subscription metadata names: derived, like the record. Readers ask billing.entities.';
comment on column billing.subscription_entities.uid is
  'Made from account, mode, customer and entity id, so the same after a rebuild.';
comment on column billing.subscription_entities.customer_uid is 'billing.customers.uid.';
comment on column billing.subscription_entities.account_id is 'Connected account, or empty.';
comment on column billing.subscription_entities.live_mode is 'Live or test.';
comment on column billing.subscription_entities.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.subscription_entities.id is
  'The company''s own id of the entity: metadata.entity_id of a subscription.';
comment on column billing.subscription_entities.type is
  'metadata.entity_type of the subscription that began last among those that state one.';
comment on column billing.subscription_entities.name is
  'metadata.entity_name of the subscription that began last among those that state one.';
comment on column billing.subscription_entities.created_at is 'The earliest start among its subscriptions.';

create table billing.local_entities (
  uid           uuid        primary key,
  customer_uid  uuid        not null,
  id            text        not null,
  type          text,
  name          text,
  metadata      jsonb       not null default '{}',
  created_at    timestamptz not null default now(),
  unique (customer_uid, id)
);
comment on table billing.local_entities is
  'Entities that are ours and not Stripe''s, written by services. Deriving neither reads nor writes it.';
comment on column billing.local_entities.uid is 'Our id, forever.';
comment on column billing.local_entities.customer_uid is 'billing.customers.uid.';
comment on column billing.local_entities.id is
  'The company''s own id of the entity. A row here outranks one that subscriptions name by the same id.';
comment on column billing.local_entities.type is 'workspace, project or what the company calls it.';
comment on column billing.local_entities.name is 'Its name, for people.';
comment on column billing.local_entities.metadata is 'Whatever the company keeps with it.';
comment on column billing.local_entities.created_at is 'When it was made.';

create view billing.entities as
select uid, customer_uid, id, type, name, metadata, created_at
from billing.local_entities
union all
select d.uid, d.customer_uid, d.id, d.type, d.name, '{}'::jsonb, d.created_at
from billing.subscription_entities d
where not exists (select from billing.local_entities l where l.customer_uid = d.customer_uid and l.id = d.id);
comment on view billing.entities is
  'What a customer buys products for (workspaces, teams, stores): those that subscription metadata names, and our own.';
comment on column billing.entities.uid is 'Our id, forever.';
comment on column billing.entities.customer_uid is 'billing.customers.uid of the customer that it belongs to.';
comment on column billing.entities.id is
  'The company''s own id of it, unique per customer. billing.customer_products.entity_id names it.';
comment on column billing.entities.type is 'workspace, project or what the company calls it. NULL: not known.';
comment on column billing.entities.name is 'Its name, for people. NULL: not known.';
comment on column billing.entities.metadata is
  'Whatever the company keeps with it; empty for one that only subscriptions name.';
comment on column billing.entities.created_at is
  'When it was made here, or else the earliest start among its subscriptions.';


-- Histories -----------------------------------------------------------------------------------------------------------

create table billing.status_changes (
  id             bigint      generated always as identity primary key,
  customer_uid   uuid        not null,
  status_before  text,
  status_after   text,
  changed_at     timestamptz not null,
  exact          boolean     not null,
  event_id       text,
  source         text        not null,
  constraint something_changed check (status_before is distinct from status_after),
  constraint source_is_known check (source in ('event', 'sweep', 'audit', 'deadline', 'backfill'))
);
create index status_changes_customer on billing.status_changes (customer_uid, id);
create index status_changes_provisional on billing.status_changes (customer_uid, id) where not exact;
comment on table billing.status_changes is
  'The history of billing.customers.status, oldest first by id. A provisional change that a read takes back goes with it.';
comment on column billing.status_changes.id is 'Order of the changes.';
comment on column billing.status_changes.customer_uid is 'billing.customers.uid.';
comment on column billing.status_changes.status_before is 'Status until then; NULL: none.';
comment on column billing.status_changes.status_after is 'Status from then on; NULL: none.';
comment on column billing.status_changes.changed_at is
  'When it changed: created of the event that announced it, else when the change was derived. Never before the preceding change.';
comment on column billing.status_changes.exact is
  'Whether an exact record has confirmed the change; false: it may still be taken back.';
comment on column billing.status_changes.event_id is
  'The event that announced it, or the last one of the subscription that a deadline or a read found changed; NULL: none.';
comment on column billing.status_changes.source is
  'What announced or found it: event, sweep, audit, deadline or backfill.';

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
comment on table billing.mrr_changes is
  'Append-only history of each customer''s MRR in each currency. What was shown provisionally and not confirmed is taken back.';
comment on column billing.mrr_changes.id is 'Order of the changes.';
comment on column billing.mrr_changes.customer_uid is 'billing.customers.uid.';
comment on column billing.mrr_changes.account_id is 'Connected account, or empty.';
comment on column billing.mrr_changes.live_mode is 'Live or test.';
comment on column billing.mrr_changes.currency is 'Currency of both amounts.';
comment on column billing.mrr_changes.mrr_before is 'Minor units a month before; 0 at first.';
comment on column billing.mrr_changes.mrr_after is 'Minor units a month since.';
comment on column billing.mrr_changes.changed_at is
  'When it changed: when a paid subscription began or ended, else when the event that announced it happened, else when it was noticed. Never before the preceding change.';
comment on column billing.mrr_changes.exact is 'Confirmed by an exact record. False: may still be taken back.';

-- Usage ---------------------------------------------------------------------------------------------------------------

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
comment on table billing.customer_usage is
  'What a customer has used in the current period, by subscription and meter: a reading of Stripe at one moment, not part of the record.';
comment on column billing.customer_usage.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_usage.account_id is 'Connected account, or empty.';
comment on column billing.customer_usage.live_mode is 'Live or test.';
comment on column billing.customer_usage.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customer_usage.stripe_subscription_id is 'The subscription that charges for it.';
comment on column billing.customer_usage.meter_id is 'Stripe''s id of the meter.';
comment on column billing.customer_usage.event_name is 'The name under which the usage is reported to Stripe.';
comment on column billing.customer_usage.display_name is 'The meter''s name, for people.';
comment on column billing.customer_usage.value is 'What the meter has counted in the period, by its own formula.';
comment on column billing.customer_usage.quota_limit is
  'The agreed quantity: metadata quota_limit of the price, else of its product, else of its feature, where it is a whole number; else NULL.';
comment on column billing.customer_usage.period_start is 'Start of the current period of the subscription''s item.';
comment on column billing.customer_usage.period_end is 'End of that period.';
comment on column billing.customer_usage.expected_charge is
  'What the subscription''s next invoice would charge if it were made now (amount_due of Stripe''s preview), minor units; the same in each of its rows. NULL where Stripe previews none.';
comment on column billing.customer_usage.currency is 'Currency of expected_charge.';
comment on column billing.customer_usage.read_at is 'By Stripe''s clock, when it was read.';


-- Views for readers ---------------------------------------------------------------------------------------------------

create view billing.invoices as
select c.uid as customer_uid, i.account_id, i.live_mode, i.id, i.created, i.customer_id as stripe_customer_id,
  i.subscription_id as stripe_subscription_id, i.status, i.billing_reason, i.period_start, i.period_end, i.currency,
  i.total, i.amount_due, i.amount_paid, i.amount_remaining, i.attempt_count, i.next_payment_attempt, i.due_date,
  i.paid_at, i.number, i.deleted_at
from stripe.invoices i
left join billing.customers c
  on c.account_id = i.account_id and c.live_mode = i.live_mode and c.stripe_customer_id = i.customer_id;
comment on view billing.invoices is
  'The mirrored invoices, joined to their customer''s uid. Amounts are minor units of currency.';
comment on column billing.invoices.customer_uid is 'billing.customers.uid; NULL: no record, or no customer.';
comment on column billing.invoices.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.invoices.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.invoices.id is 'Stripe''s id of the invoice.';
comment on column billing.invoices.created is 'When it was created, by Stripe''s clock.';
comment on column billing.invoices.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.invoices.stripe_subscription_id is 'Stripe''s id of the subscription; NULL: none.';
comment on column billing.invoices.status is 'draft, open, paid, void or uncollectible.';
comment on column billing.invoices.billing_reason is 'Why it was made.';
comment on column billing.invoices.period_start is 'Start of the period in which its items were added.';
comment on column billing.invoices.period_end is
  'End of that period; on a subscription_cycle invoice the boundary of the cycle.';
comment on column billing.invoices.currency is 'Three-letter ISO code in lower case.';
comment on column billing.invoices.total is 'After discounts and taxes, minor units.';
comment on column billing.invoices.amount_due is 'To be paid now, minor units.';
comment on column billing.invoices.amount_paid is 'Paid, minor units; with money paid outside Stripe since 2025-03-31.';
comment on column billing.invoices.amount_remaining is 'Still to be paid, minor units.';
comment on column billing.invoices.attempt_count is 'How many payments were attempted.';
comment on column billing.invoices.next_payment_attempt is 'When the next payment will be attempted; NULL: never.';
comment on column billing.invoices.due_date is 'When it is to be paid; NULL: it is charged automatically.';
comment on column billing.invoices.paid_at is 'When it became paid.';
comment on column billing.invoices.number is 'The number that the customer sees.';
comment on column billing.invoices.deleted_at is 'When it was deleted at Stripe; NULL: not.';

create view billing.charges as
select c.uid as customer_uid, h.account_id, h.live_mode, h.id, h.created, h.customer_id as stripe_customer_id, h.status,
  h.captured, h.currency, h.amount, h.amount_captured, h.amount_refunded, h.disputed, h.description
from stripe.charges h
left join billing.customers c
  on c.account_id = h.account_id and c.live_mode = h.live_mode and c.stripe_customer_id = h.customer_id;
comment on view billing.charges is
  'The mirrored charges, joined to their customer''s uid. Amounts are minor units of currency.';
comment on column billing.charges.customer_uid is 'billing.customers.uid; NULL: no record, or no customer.';
comment on column billing.charges.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.charges.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.charges.id is 'Stripe''s id of the charge.';
comment on column billing.charges.created is 'When it was created, by Stripe''s clock.';
comment on column billing.charges.stripe_customer_id is
  'Stripe''s id of the customer that the charge itself names; NULL: a guest''s.';
comment on column billing.charges.status is 'succeeded, pending or failed.';
comment on column billing.charges.captured is 'false: authorized only, no money has moved.';
comment on column billing.charges.currency is 'Three-letter ISO code in lower case.';
comment on column billing.charges.amount is 'Asked for, minor units.';
comment on column billing.charges.amount_captured is 'Taken, minor units.';
comment on column billing.charges.amount_refunded is
  'Stripe''s own total of refunds, minor units; the released rest of a partial capture counts.';
comment on column billing.charges.disputed is 'Whether it has ever been disputed.';
comment on column billing.charges.description is 'charge.description.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
