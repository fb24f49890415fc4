-- What the migrations make; `make schema` writes it, and a test keeps it true. Read this, change those.

CREATE SCHEMA billing;

COMMENT ON SCHEMA billing IS 'The records: what it means. The contract with readers.';

CREATE SCHEMA stripe;

COMMENT ON SCHEMA stripe IS 'The mirror: what Stripe says. One row per object; key (account_id, live_mode, id).';

CREATE SCHEMA sync;

COMMENT ON SCHEMA sync IS 'The machinery: inbox, marks, leases. Not for readers.';

CREATE FUNCTION sync.grant_readers() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
  reader text;
  mirror record;
begin
  foreach reader in array array['billing_reader', 'billing_raw'] loop
    if not exists (select from pg_roles where rolname = reader) then
      begin
        execute format('create role %I nologin', reader);
      exception
        when insufficient_privilege then
          raise notice 'role % is missing: have it created, then select sync.grant_readers()', reader;
          continue;
        when duplicate_object or unique_violation then
          null;  -- roles belong to the whole server: somebody created it for another database just now
      end;
    end if;
    execute format('grant usage on schema billing, stripe to %I', reader);
    execute format('grant select on all tables in schema billing to %I', reader);
    if reader = 'billing_raw' then
      grant select on all tables in schema stripe to billing_raw;
      continue;
    end if;
    for mirror in
      -- A column of type json is what Stripe sent; everything else is typed.
      select c.oid::regclass as name, string_agg(quote_ident(a.attname), ', ' order by a.attnum) as typed
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.atttypid <> 'json'::regtype
      where c.relnamespace = 'stripe'::regnamespace and c.relkind in ('r', 'p', 'v')
      group by c.oid
    loop
      execute format('grant select (%s) on %s to billing_reader', mirror.typed, mirror.name);
    end loop;
  end loop;
end
$$;

COMMENT ON FUNCTION sync.grant_readers() IS 'Creates the roles billing_reader and billing_raw where it may, and gives them their rights. Safe to call again.';

CREATE FUNCTION sync.identities_written() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
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
  -- As every fact of a customer does (MARK_STALE in db/queries/customers.py): in the transaction that writes it, by an
  -- update that takes the lock, in the order in which everybody takes it.
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
$$;

COMMENT ON FUNCTION sync.identities_written() IS 'Whoever writes billing.identities has the records of those customers derived again, in the same transaction. Runs with its owner''s rights: services need none in sync.';

CREATE SEQUENCE billing.change
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE billing.change IS 'Numbers changes of records. Drawn only under the advisory lock of the derive transaction, so that a poll misses none.';

CREATE TABLE billing.customers (
    uid uuid NOT NULL,
    custom_uid text,
    stripe_customer_id text,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    name text,
    email text,
    description text,
    fingerprint text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    send_email_receipts boolean,
    status text,
    has_access boolean DEFAULT false NOT NULL,
    product_id text,
    product_version_number bigint,
    stripe_product_id text,
    stripe_price_id text,
    stripe_subscription_id text,
    quantity bigint,
    lifetime_revenue bigint DEFAULT 0 NOT NULL,
    revenue_currency text,
    renewal_number bigint DEFAULT 0 NOT NULL,
    is_trial boolean DEFAULT false NOT NULL,
    trial_end timestamp with time zone,
    sandbox_end timestamp with time zone,
    subscription_date timestamp with time zone,
    first_seen timestamp with time zone,
    last_seen timestamp with time zone,
    exact boolean DEFAULT false NOT NULL,
    change bigint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT custom_uid_is_url_safe CHECK ((custom_uid ~ '^[A-Za-z0-9._~-]{1,255}$'::text)),
    CONSTRAINT renewals_are_counted_from_zero CHECK ((renewal_number >= 0)),
    CONSTRAINT status_is_known CHECK ((status = ANY (ARRAY['trialing'::text, 'active'::text, 'past_due'::text, 'canceled'::text, 'ended'::text]))),
    CONSTRAINT trial_end_only_in_trial CHECK ((is_trial OR (trial_end IS NULL)))
);

COMMENT ON TABLE billing.customers IS 'The record: one row per customer. Poll by change, or read by uid, custom_uid or stripe_customer_id.';

COMMENT ON COLUMN billing.customers.uid IS 'Our id of the customer, for ever: that of billing.identities, else uuid5 of account, mode and Stripe id.';

COMMENT ON COLUMN billing.customers.custom_uid IS 'The company''s own name of the customer, unique per account and mode: customer.metadata.custom_uid, else client_reference_id of its latest completed Checkout, else set locally. NULL: none, not URL-safe, or another customer''s (sync.problems says which).';

COMMENT ON COLUMN billing.customers.stripe_customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN billing.customers.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN billing.customers.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN billing.customers.name IS 'Stripe''s customer.name.';

COMMENT ON COLUMN billing.customers.email IS 'Stripe''s customer.email; not unique.';

COMMENT ON COLUMN billing.customers.description IS 'Stripe''s customer.description.';

COMMENT ON COLUMN billing.customers.fingerprint IS 'From billing.identities.';

COMMENT ON COLUMN billing.customers.metadata IS 'Local metadata overlaid by Stripe''s customer.metadata, text to text.';

COMMENT ON COLUMN billing.customers.send_email_receipts IS 'From billing.identities; NULL: not said.';

COMMENT ON COLUMN billing.customers.status IS 'Of the current subscription: trialing, active, past_due, canceled (still active, end scheduled), ended. NULL: no subscription ever started.';

COMMENT ON COLUMN billing.customers.has_access IS 'Whether any subscription lets the customer in; without a live one, whether a sandbox grant ran when this was derived.';

COMMENT ON COLUMN billing.customers.product_id IS 'product.metadata.product_id of the current subscription, else Stripe''s product id. While a sandbox grant runs and no subscription is live: the grant''s product, where it names one.';

COMMENT ON COLUMN billing.customers.product_version_number IS 'metadata.version of price or product where it is a whole number, else the price''s rank by age among the product''s recurring prices. NULL while a sandbox grant gives the product.';

COMMENT ON COLUMN billing.customers.stripe_product_id IS 'Stripe''s id of the product of the first item of the current subscription.';

COMMENT ON COLUMN billing.customers.stripe_price_id IS 'Stripe''s id of the price of that item.';

COMMENT ON COLUMN billing.customers.stripe_subscription_id IS 'Stripe''s id of the current subscription: the one that speaks for the customer.';

COMMENT ON COLUMN billing.customers.quantity IS 'Units of that item; NULL: metered, or no subscription.';

COMMENT ON COLUMN billing.customers.lifetime_revenue IS 'Net revenue in revenue_currency, minor units, since the beginning: net of refunds and disputes, gross of fees and taxes.';

COMMENT ON COLUMN billing.customers.revenue_currency IS 'The currency with the largest gross + out_of_band; NULL: none, and lifetime_revenue is 0.';

COMMENT ON COLUMN billing.customers.renewal_number IS 'Billing cycles that the current subscription has gone through, from 0; the end of a first trial is none.';

COMMENT ON COLUMN billing.customers.is_trial IS 'Whether the current subscription is trialing at Stripe, also when its end is scheduled.';

COMMENT ON COLUMN billing.customers.trial_end IS 'When that trial ends; NULL unless is_trial.';

COMMENT ON COLUMN billing.customers.sandbox_end IS 'When its sandbox grant ends or has ended: access for a time without a subscription. Of billing.identities, else the customer''s metadata, else a subscription''s. NULL: none was given.';

COMMENT ON COLUMN billing.customers.subscription_date IS 'When the current subscription started (start_date).';

COMMENT ON COLUMN billing.customers.first_seen IS 'When the customer was first created, here or at Stripe.';

COMMENT ON COLUMN billing.customers.last_seen IS 'When the customer itself was last active: noted locally, or its latest completed Checkout. Renewals are not activity.';

COMMENT ON COLUMN billing.customers.exact IS 'Complete and confirmed: its history is known from the start, and nothing of it waits for a read, is missing or parked.';

COMMENT ON COLUMN billing.customers.change IS 'Number of this row''s last change; grows over all rows. Poll `where change > $1`: nothing is missed.';

COMMENT ON COLUMN billing.customers.created_at IS 'When the record was first written.';

COMMENT ON COLUMN billing.customers.updated_at IS 'When anything of the record, its products or its revenue last changed; not moved by exact alone.';

COMMENT ON COLUMN billing.customers.deleted_at IS 'When the customer was deleted at Stripe; its history stays.';

CREATE TABLE stripe.charges (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    payment_intent_id text,
    invoice_id text,
    status text,
    captured boolean DEFAULT false NOT NULL,
    amount bigint,
    amount_captured bigint,
    amount_refunded bigint,
    currency text,
    disputed boolean,
    description text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.charges ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.charges IS 'Stripe''s charges: each attempt to take money. Revenue is summed over the succeeded and captured ones.';

COMMENT ON COLUMN stripe.charges.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.charges.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.charges.id IS 'Stripe''s id of the charge.';

COMMENT ON COLUMN stripe.charges.created IS 'When the charge was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.charges.customer_id IS 'Stripe''s id of the customer; NULL: a guest''s, whom its Checkout or invoice may name (sync.charge_owners).';

COMMENT ON COLUMN stripe.charges.payment_intent_id IS 'Stripe''s id of the PaymentIntent behind it.';

COMMENT ON COLUMN stripe.charges.invoice_id IS 'Stripe''s id of the invoice; only before 2025-03-31.';

COMMENT ON COLUMN stripe.charges.status IS 'succeeded, pending or failed.';

COMMENT ON COLUMN stripe.charges.captured IS 'false: authorized only, no money has moved.';

COMMENT ON COLUMN stripe.charges.amount IS 'Asked for, minor units.';

COMMENT ON COLUMN stripe.charges.amount_captured IS 'Taken, minor units; less than amount where the rest was released.';

COMMENT ON COLUMN stripe.charges.amount_refunded IS 'Stripe''s own total of refunds, minor units; it counts the released rest of a partial capture as one.';

COMMENT ON COLUMN stripe.charges.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.charges.disputed IS 'Whether it has ever been disputed.';

COMMENT ON COLUMN stripe.charges.description IS 'charge.description.';

COMMENT ON COLUMN stripe.charges.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.charges.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.charges.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

CREATE VIEW billing.charges AS
 SELECT c.uid AS customer_uid,
    h.account_id,
    h.live_mode,
    h.id,
    h.created,
    h.customer_id AS stripe_customer_id,
    h.status,
    h.captured,
    h.currency,
    h.amount,
    h.amount_captured,
    h.amount_refunded,
    h.disputed,
    h.description
   FROM (stripe.charges h
     LEFT JOIN billing.customers c ON (((c.account_id = h.account_id) AND (c.live_mode = h.live_mode) AND (c.stripe_customer_id = h.customer_id))));

COMMENT ON VIEW billing.charges IS 'The mirrored charges, joined to their customer''s uid. Amounts are minor units of currency.';

COMMENT ON COLUMN billing.charges.customer_uid IS 'billing.customers.uid; NULL: no record, or nobody''s.';

COMMENT ON COLUMN billing.charges.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN billing.charges.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN billing.charges.id IS 'Stripe''s id of the charge.';

COMMENT ON COLUMN billing.charges.created IS 'When it was created, by Stripe''s clock.';

COMMENT ON COLUMN billing.charges.stripe_customer_id IS 'Stripe''s id of the customer that the charge itself names; NULL: a guest''s.';

COMMENT ON COLUMN billing.charges.status IS 'succeeded, pending or failed.';

COMMENT ON COLUMN billing.charges.captured IS 'false: authorized only, no money has moved.';

COMMENT ON COLUMN billing.charges.currency IS 'Three-letter ISO code in lower case.';

COMMENT ON COLUMN billing.charges.amount IS 'Asked for, minor units.';

COMMENT ON COLUMN billing.charges.amount_captured IS 'Taken, minor units.';

COMMENT ON COLUMN billing.charges.amount_refunded IS 'Stripe''s own total of refunds, minor units; the released rest of a partial capture counts.';

COMMENT ON COLUMN billing.charges.disputed IS 'Whether it has ever been disputed.';

COMMENT ON COLUMN billing.charges.description IS 'charge.description.';

CREATE TABLE billing.customer_features (
    customer_uid uuid NOT NULL,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    stripe_customer_id text NOT NULL,
    feature_id text NOT NULL,
    lookup_key text,
    name text
);

COMMENT ON TABLE billing.customer_features IS 'One row per customer and feature that it may use now, as Stripe''s entitlements have it.';

COMMENT ON COLUMN billing.customer_features.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.customer_features.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN billing.customer_features.live_mode IS 'Live or test.';

COMMENT ON COLUMN billing.customer_features.stripe_customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN billing.customer_features.feature_id IS 'Stripe''s id of the feature.';

COMMENT ON COLUMN billing.customer_features.lookup_key IS 'The company''s own name of the feature: of the feature as it is now, else of the entitlement.';

COMMENT ON COLUMN billing.customer_features.name IS 'The feature''s name, for people. NULL until the feature has been read.';

CREATE TABLE billing.customer_mrr (
    customer_uid uuid NOT NULL,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    stripe_customer_id text NOT NULL,
    currency text NOT NULL,
    mrr bigint,
    subscriptions bigint NOT NULL
);

COMMENT ON TABLE billing.customer_mrr IS 'Monthly recurring revenue by customer and currency: what the subscriptions that are paid for (active, past due, canceled but still running) bring in a month, after discounts that go on.';

COMMENT ON COLUMN billing.customer_mrr.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.customer_mrr.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN billing.customer_mrr.live_mode IS 'Live or test.';

COMMENT ON COLUMN billing.customer_mrr.stripe_customer_id IS 'Stripe customer id.';

COMMENT ON COLUMN billing.customer_mrr.currency IS 'Currency of mrr. Never added up with another.';

COMMENT ON COLUMN billing.customer_mrr.mrr IS 'Minor units of the currency per month, rounded once per row: a year is 12 months, a week 12/52 and a day 12/365 of a month. Metered items, trials and paused collection are 0. NULL: not known, because Stripe has not told a price, its tiers or a discount yet.';

COMMENT ON COLUMN billing.customer_mrr.subscriptions IS 'How many subscriptions it is the sum of.';

CREATE TABLE billing.customer_products (
    id uuid NOT NULL,
    customer_uid uuid NOT NULL,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    stripe_customer_id text NOT NULL,
    stripe_subscription_id text NOT NULL,
    stripe_product_id text NOT NULL,
    product_id text NOT NULL,
    stripe_price_id text,
    status text,
    stripe_status text,
    has_access boolean NOT NULL,
    canceled boolean NOT NULL,
    canceled_at timestamp with time zone,
    starts_at timestamp with time zone,
    ended_at timestamp with time zone,
    trial_ends_at timestamp with time zone,
    free_trial_id text,
    current_period_start timestamp with time zone,
    current_period_end timestamp with time zone,
    quantity bigint,
    options jsonb DEFAULT '{}'::jsonb NOT NULL,
    collection_method text,
    processor text DEFAULT 'stripe'::text NOT NULL,
    subscription_ids text[] NOT NULL,
    scheduled_ids text[],
    is_custom boolean,
    api_version text,
    external_id text,
    entity_id text,
    created_at timestamp with time zone,
    CONSTRAINT ended_is_without_access CHECK ((NOT ((status = 'ended'::text) AND has_access))),
    CONSTRAINT status_is_known CHECK ((status = ANY (ARRAY['trialing'::text, 'active'::text, 'past_due'::text, 'canceled'::text, 'ended'::text])))
);

COMMENT ON TABLE billing.customer_products IS 'What a customer has bought: one row per subscription and product, never-started and ended ones too.';

COMMENT ON COLUMN billing.customer_products.id IS 'Our id of the row: uuid5 of its key, the same after every rebuild.';

COMMENT ON COLUMN billing.customer_products.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.customer_products.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN billing.customer_products.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN billing.customer_products.stripe_customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN billing.customer_products.stripe_subscription_id IS 'Stripe''s id of the subscription.';

COMMENT ON COLUMN billing.customer_products.stripe_product_id IS 'Stripe''s id of the product.';

COMMENT ON COLUMN billing.customer_products.product_id IS 'The company''s name of the product: product.metadata.product_id, else Stripe''s id.';

COMMENT ON COLUMN billing.customer_products.stripe_price_id IS 'Stripe''s id of the price of the product''s first item.';

COMMENT ON COLUMN billing.customer_products.status IS 'trialing, active, past_due, canceled (still active, end scheduled) or ended; NULL: never started.';

COMMENT ON COLUMN billing.customer_products.stripe_status IS 'Stripe''s own word for the subscription.';

COMMENT ON COLUMN billing.customer_products.has_access IS 'Whether this subscription lets the customer in.';

COMMENT ON COLUMN billing.customer_products.canceled IS 'Whether its cancellation is scheduled or done.';

COMMENT ON COLUMN billing.customer_products.canceled_at IS 'When the cancellation was asked for.';

COMMENT ON COLUMN billing.customer_products.starts_at IS 'When the subscription started.';

COMMENT ON COLUMN billing.customer_products.ended_at IS 'When it ended: Stripe''s word, else when it was canceled, else when the customer was deleted.';

COMMENT ON COLUMN billing.customer_products.trial_ends_at IS 'When its running trial ends; NULL: no trial runs.';

COMMENT ON COLUMN billing.customer_products.free_trial_id IS 'Source not mirrored yet: NULL.';

COMMENT ON COLUMN billing.customer_products.current_period_start IS 'Latest start of a period among the product''s items.';

COMMENT ON COLUMN billing.customer_products.current_period_end IS 'Latest end of a period among the product''s items: paid until.';

COMMENT ON COLUMN billing.customer_products.quantity IS 'Units of all items of the product; NULL: metered only.';

COMMENT ON COLUMN billing.customer_products.options IS 'Feature id to summed quantity; the feature is metadata.feature_id of the price, else of the product.';

COMMENT ON COLUMN billing.customer_products.collection_method IS 'charge_automatically or send_invoice.';

COMMENT ON COLUMN billing.customer_products.processor IS 'Always stripe.';

COMMENT ON COLUMN billing.customer_products.subscription_ids IS 'Stripe''s ids of all subscriptions of the customer that carry this product, in order of their start.';

COMMENT ON COLUMN billing.customer_products.scheduled_ids IS 'Source not mirrored yet: NULL.';

COMMENT ON COLUMN billing.customer_products.is_custom IS 'Source not mirrored yet: NULL.';

COMMENT ON COLUMN billing.customer_products.api_version IS 'Source not mirrored yet: NULL.';

COMMENT ON COLUMN billing.customer_products.external_id IS 'subscription.metadata.external_id.';

COMMENT ON COLUMN billing.customer_products.entity_id IS 'subscription.metadata.entity_id.';

COMMENT ON COLUMN billing.customer_products.created_at IS 'When the subscription was created at Stripe.';

CREATE TABLE billing.customer_revenue (
    customer_uid uuid NOT NULL,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    stripe_customer_id text NOT NULL,
    currency text NOT NULL,
    gross bigint NOT NULL,
    refunded bigint NOT NULL,
    disputed bigint NOT NULL,
    out_of_band bigint NOT NULL,
    net bigint NOT NULL,
    CONSTRAINT net_is_the_sum CHECK ((net = (((gross - refunded) - disputed) + out_of_band)))
);

COMMENT ON TABLE billing.customer_revenue IS 'What a customer has paid, one row per currency in which money moved. Currencies are never added up.';

COMMENT ON COLUMN billing.customer_revenue.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.customer_revenue.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN billing.customer_revenue.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN billing.customer_revenue.stripe_customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN billing.customer_revenue.currency IS 'Three-letter ISO code in lower case. All amounts are in its minor units (JPY has no cents).';

COMMENT ON COLUMN billing.customer_revenue.gross IS 'Captured by succeeded charges, minor units, before fees, transfers and taxes.';

COMMENT ON COLUMN billing.customer_revenue.refunded IS 'Given back or on its way back, minor units; without refunds that failed and the released rest of partial captures.';

COMMENT ON COLUMN billing.customer_revenue.disputed IS 'Withdrawn by disputes and not given back, minor units.';

COMMENT ON COLUMN billing.customer_revenue.out_of_band IS 'Paid on invoices outside Stripe, minor units.';

COMMENT ON COLUMN billing.customer_revenue.net IS 'gross - refunded - disputed + out_of_band, minor units.';

CREATE TABLE billing.customer_usage (
    customer_uid uuid NOT NULL,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    stripe_customer_id text NOT NULL,
    stripe_subscription_id text NOT NULL,
    meter_id text NOT NULL,
    event_name text,
    display_name text,
    value numeric NOT NULL,
    quota_limit bigint,
    period_start timestamp with time zone NOT NULL,
    period_end timestamp with time zone NOT NULL,
    expected_charge bigint,
    currency text,
    read_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE billing.customer_usage IS 'What a customer has used in the current period, by subscription and meter: a reading of Stripe at a moment, no part of the record.';

COMMENT ON COLUMN billing.customer_usage.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.customer_usage.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN billing.customer_usage.live_mode IS 'Live or test.';

COMMENT ON COLUMN billing.customer_usage.stripe_customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN billing.customer_usage.stripe_subscription_id IS 'The subscription that charges for it.';

COMMENT ON COLUMN billing.customer_usage.meter_id IS 'Stripe''s id of the meter.';

COMMENT ON COLUMN billing.customer_usage.event_name IS 'The name under which the usage is reported to Stripe.';

COMMENT ON COLUMN billing.customer_usage.display_name IS 'The meter''s name, for people.';

COMMENT ON COLUMN billing.customer_usage.value IS 'What the meter has counted in the period, by its own formula.';

COMMENT ON COLUMN billing.customer_usage.quota_limit IS 'How much is agreed: metadata quota_limit of the price, else of its product, else of its feature, where it is a whole number; else NULL.';

COMMENT ON COLUMN billing.customer_usage.period_start IS 'Begin of the current period of the subscription''s item.';

COMMENT ON COLUMN billing.customer_usage.period_end IS 'End of that period.';

COMMENT ON COLUMN billing.customer_usage.expected_charge IS 'What the subscription''s next invoice would ask for if it were made now (amount_due of Stripe''s preview), minor units; the same in each of its rows. NULL where Stripe previews none.';

COMMENT ON COLUMN billing.customer_usage.currency IS 'Currency of expected_charge.';

COMMENT ON COLUMN billing.customer_usage.read_at IS 'By Stripe''s clock, when it was read.';

CREATE TABLE billing.local_entities (
    uid uuid NOT NULL,
    customer_uid uuid NOT NULL,
    id text NOT NULL,
    type text,
    name text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE billing.local_entities IS 'Entities that are ours and not Stripe''s, written by services. Deriving neither reads nor writes it.';

COMMENT ON COLUMN billing.local_entities.uid IS 'Ours, for ever.';

COMMENT ON COLUMN billing.local_entities.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.local_entities.id IS 'The company''s own id of the entity. A row here stands before one that subscriptions name by the same id.';

COMMENT ON COLUMN billing.local_entities.type IS 'workspace, project or what the company calls it.';

COMMENT ON COLUMN billing.local_entities.name IS 'Its name, for people.';

COMMENT ON COLUMN billing.local_entities.metadata IS 'Whatever the company keeps with it.';

COMMENT ON COLUMN billing.local_entities.created_at IS 'When it was made.';

CREATE TABLE billing.subscription_entities (
    uid uuid NOT NULL,
    customer_uid uuid NOT NULL,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    stripe_customer_id text NOT NULL,
    id text NOT NULL,
    type text,
    name text,
    created_at timestamp with time zone
);

COMMENT ON TABLE billing.subscription_entities IS 'The entities that subscription metadata names: derived, like the record. Readers ask billing.entities.';

COMMENT ON COLUMN billing.subscription_entities.uid IS 'Made from account, mode, customer and entity id, so the same after a rebuild.';

COMMENT ON COLUMN billing.subscription_entities.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.subscription_entities.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN billing.subscription_entities.live_mode IS 'Live or test.';

COMMENT ON COLUMN billing.subscription_entities.stripe_customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN billing.subscription_entities.id IS 'The company''s own id of the entity: metadata.entity_id of a subscription.';

COMMENT ON COLUMN billing.subscription_entities.type IS 'metadata.entity_type of the subscription that began last among those that state one.';

COMMENT ON COLUMN billing.subscription_entities.name IS 'metadata.entity_name of the subscription that began last among those that state one.';

COMMENT ON COLUMN billing.subscription_entities.created_at IS 'The earliest start among its subscriptions.';

CREATE VIEW billing.entities AS
 SELECT local_entities.uid,
    local_entities.customer_uid,
    local_entities.id,
    local_entities.type,
    local_entities.name,
    local_entities.metadata,
    local_entities.created_at
   FROM billing.local_entities
UNION ALL
 SELECT d.uid,
    d.customer_uid,
    d.id,
    d.type,
    d.name,
    '{}'::jsonb AS metadata,
    d.created_at
   FROM billing.subscription_entities d
  WHERE (NOT (EXISTS ( SELECT
           FROM billing.local_entities l
          WHERE ((l.customer_uid = d.customer_uid) AND (l.id = d.id)))));

COMMENT ON VIEW billing.entities IS 'What a customer buys products for (workspaces, teams, stores): those that subscription metadata names, and our own.';

COMMENT ON COLUMN billing.entities.uid IS 'Ours, for ever.';

COMMENT ON COLUMN billing.entities.customer_uid IS 'billing.customers.uid of the customer that it belongs to.';

COMMENT ON COLUMN billing.entities.id IS 'The company''s own id of it, unique per customer. billing.customer_products.entity_id names it.';

COMMENT ON COLUMN billing.entities.type IS 'workspace, project or what the company calls it. NULL: nobody says.';

COMMENT ON COLUMN billing.entities.name IS 'Its name, for people. NULL: nobody says.';

COMMENT ON COLUMN billing.entities.metadata IS 'Whatever the company keeps with it; empty for one that only subscriptions name.';

COMMENT ON COLUMN billing.entities.created_at IS 'When it was made here, or else the earliest start among its subscriptions.';

CREATE TABLE sync.events (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    event_id text NOT NULL,
    seq bigint NOT NULL,
    type text NOT NULL,
    api_version text,
    created timestamp with time zone,
    payload bytea NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    state text DEFAULT 'pending'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    leased_until timestamp with time zone,
    applied_at timestamp with time zone,
    error text,
    CONSTRAINT state_is_known CHECK ((state = ANY (ARRAY['pending'::text, 'applied'::text, 'ignored'::text, 'parked'::text, 'quarantined'::text])))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');
ALTER TABLE ONLY sync.events ALTER COLUMN payload SET STORAGE EXTERNAL;

COMMENT ON TABLE sync.events IS 'The inbox: every verified webhook once, as the bytes that came.';

COMMENT ON COLUMN sync.events.account_id IS 'event.account, or empty: the account that owns the endpoint.';

COMMENT ON COLUMN sync.events.live_mode IS 'event.livemode.';

COMMENT ON COLUMN sync.events.event_id IS 'event.id, or sha256:<digest of the payload> where the event has no usable id.';

COMMENT ON COLUMN sync.events.seq IS 'Inbox number: the order of receipt. Orders provisional showing only.';

COMMENT ON COLUMN sync.events.type IS 'event.type, or empty where it has none.';

COMMENT ON COLUMN sync.events.api_version IS 'event.api_version: the shape of the payload.';

COMMENT ON COLUMN sync.events.created IS 'event.created, whole seconds of Stripe''s clock. Never orders confirmed state.';

COMMENT ON COLUMN sync.events.payload IS 'The signed bytes. Never parsed in SQL.';

COMMENT ON COLUMN sync.events.received_at IS 'When the endpoint stored it.';

COMMENT ON COLUMN sync.events.state IS 'pending; applied; ignored (concerns nothing that is mirrored); parked (failed, see error); quarantined (of the mode that the key does not serve).';

COMMENT ON COLUMN sync.events.attempts IS 'Claims so far, counted before the work: from the second on it is taken alone.';

COMMENT ON COLUMN sync.events.leased_until IS 'A worker has it until then.';

COMMENT ON COLUMN sync.events.applied_at IS 'When it left the pending state.';

COMMENT ON COLUMN sync.events.error IS 'Why it is parked, ignored or quarantined.';

CREATE TABLE sync.milestones (
    name text NOT NULL,
    reached_at timestamp with time zone NOT NULL
);

COMMENT ON TABLE sync.milestones IS 'When work on the whole inbox or account last got done: apply, gap_fill, audit.';

COMMENT ON COLUMN sync.milestones.name IS 'apply, gap_fill or audit.';

COMMENT ON COLUMN sync.milestones.reached_at IS 'When it last finished.';

CREATE VIEW billing.freshness AS
 SELECT ( SELECT events.received_at
           FROM sync.events
          ORDER BY events.seq DESC
         LIMIT 1) AS last_event_received_at,
    ( SELECT milestones.reached_at
           FROM sync.milestones
          WHERE (milestones.name = 'apply'::text)) AS last_event_applied_at,
    ( SELECT count(*) AS count
           FROM sync.events
          WHERE (events.state = 'pending'::text)) AS pending,
    ( SELECT events.received_at
           FROM sync.events
          WHERE (events.state = 'pending'::text)
          ORDER BY events.seq
         LIMIT 1) AS oldest_pending_at,
    ( SELECT milestones.reached_at
           FROM sync.milestones
          WHERE (milestones.name = 'gap_fill'::text)) AS last_gap_fill_at,
    ( SELECT milestones.reached_at
           FROM sync.milestones
          WHERE (milestones.name = 'audit'::text)) AS last_audit_at;

COMMENT ON VIEW billing.freshness IS 'How fresh the records are: one row.';

COMMENT ON COLUMN billing.freshness.last_event_received_at IS 'When the last event was received.';

COMMENT ON COLUMN billing.freshness.last_event_applied_at IS 'When events were last applied.';

COMMENT ON COLUMN billing.freshness.pending IS 'Events received and not applied yet.';

COMMENT ON COLUMN billing.freshness.oldest_pending_at IS 'When the oldest of those was received; NULL: there is none.';

COMMENT ON COLUMN billing.freshness.last_gap_fill_at IS 'When /v1/events was last read to its end; NULL: never.';

COMMENT ON COLUMN billing.freshness.last_audit_at IS 'When an audit last finished; NULL: never.';

CREATE TABLE billing.identities (
    uid uuid NOT NULL,
    account_id text DEFAULT ''::text NOT NULL,
    live_mode boolean NOT NULL,
    stripe_customer_id text,
    custom_uid text,
    fingerprint text,
    send_email_receipts boolean,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    sandbox_product_id text,
    sandbox_end timestamp with time zone,
    last_seen timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT custom_uid_is_url_safe CHECK ((custom_uid ~ '^[A-Za-z0-9._~-]{1,255}$'::text))
);

COMMENT ON TABLE billing.identities IS 'What is ours and not Stripe''s about a customer: owned by the customers API. Deriving reads it and never writes it.';

COMMENT ON COLUMN billing.identities.uid IS 'Our id of the customer, for ever.';

COMMENT ON COLUMN billing.identities.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN billing.identities.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN billing.identities.stripe_customer_id IS 'Stripe''s id of the customer; NULL: not linked.';

COMMENT ON COLUMN billing.identities.custom_uid IS 'The company''s own name of the customer, set locally: counts where Stripe states none.';

COMMENT ON COLUMN billing.identities.fingerprint IS 'What recognises an anonymous customer.';

COMMENT ON COLUMN billing.identities.send_email_receipts IS 'Whether the customer wants receipts by mail; NULL: not said.';

COMMENT ON COLUMN billing.identities.metadata IS 'Local metadata, text to text. Where Stripe''s metadata has the same key, Stripe''s counts.';

COMMENT ON COLUMN billing.identities.sandbox_product_id IS 'The product that the grant gives: the company''s own product_id.';

COMMENT ON COLUMN billing.identities.sandbox_end IS 'When a sandbox grant given here ends. Stands before one in Stripe''s metadata; a live subscription stands before both.';

COMMENT ON COLUMN billing.identities.last_seen IS 'When the customer itself was last active here: usage, checks. Not renewals.';

COMMENT ON COLUMN billing.identities.created_at IS 'When the customer was created here.';

CREATE TABLE stripe.invoices (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    subscription_id text,
    status text,
    billing_reason text,
    period_start timestamp with time zone,
    period_end timestamp with time zone,
    lines_period_end timestamp with time zone,
    currency text,
    total bigint,
    amount_due bigint,
    amount_paid bigint,
    amount_remaining bigint,
    paid_out_of_band boolean,
    amount_paid_off_stripe bigint,
    amount_paid_by_payments bigint,
    collection_method text,
    attempt_count bigint,
    next_payment_attempt timestamp with time zone,
    due_date timestamp with time zone,
    paid_at timestamp with time zone,
    number text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json,
    subtotal bigint
);
ALTER TABLE ONLY stripe.invoices ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.invoices IS 'Stripe''s invoices, drafts and void ones too.';

COMMENT ON COLUMN stripe.invoices.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.invoices.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.invoices.id IS 'Stripe''s id of the invoice.';

COMMENT ON COLUMN stripe.invoices.created IS 'When the invoice was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.invoices.customer_id IS 'Stripe''s id of the customer that it bills.';

COMMENT ON COLUMN stripe.invoices.subscription_id IS 'Stripe''s id of the subscription that it bills; NULL: none.';

COMMENT ON COLUMN stripe.invoices.status IS 'draft, open, paid, void or uncollectible.';

COMMENT ON COLUMN stripe.invoices.billing_reason IS 'Why it was made. subscription_cycle is what counts as a renewal.';

COMMENT ON COLUMN stripe.invoices.period_start IS 'Start of the period in which its items were added.';

COMMENT ON COLUMN stripe.invoices.period_end IS 'End of that period: on a subscription_cycle invoice the boundary of the cycle, which renewals are counted by.';

COMMENT ON COLUMN stripe.invoices.lines_period_end IS 'Latest end of a period among the lines that came with it; Stripe sends the first ten.';

COMMENT ON COLUMN stripe.invoices.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.invoices.total IS 'After discounts and taxes, minor units.';

COMMENT ON COLUMN stripe.invoices.amount_due IS 'To be paid now, after credit balance, minor units.';

COMMENT ON COLUMN stripe.invoices.amount_paid IS 'Paid, minor units. Since 2025-03-31 with money paid outside Stripe, before without it.';

COMMENT ON COLUMN stripe.invoices.amount_remaining IS 'Still to be paid, minor units.';

COMMENT ON COLUMN stripe.invoices.paid_out_of_band IS 'Paid outside Stripe; only in API versions before 2025-03-31, else NULL.';

COMMENT ON COLUMN stripe.invoices.amount_paid_off_stripe IS 'Paid outside Stripe, minor units. Comes by reads since 2026-05-27, never in events; else NULL.';

COMMENT ON COLUMN stripe.invoices.amount_paid_by_payments IS 'Paid by Stripe''s own payments, minor units: the sum over its payments. NULL: the answer did not list them.';

COMMENT ON COLUMN stripe.invoices.collection_method IS 'charge_automatically or send_invoice.';

COMMENT ON COLUMN stripe.invoices.attempt_count IS 'How many payments were attempted.';

COMMENT ON COLUMN stripe.invoices.next_payment_attempt IS 'When the next payment will be attempted; NULL: never.';

COMMENT ON COLUMN stripe.invoices.due_date IS 'When it is to be paid; NULL: it is charged automatically.';

COMMENT ON COLUMN stripe.invoices.paid_at IS 'When it became paid.';

COMMENT ON COLUMN stripe.invoices.number IS 'The number that the customer sees.';

COMMENT ON COLUMN stripe.invoices.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.invoices.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.invoices.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

COMMENT ON COLUMN stripe.invoices.subtotal IS 'Before the discounts of the whole invoice and taxes, minor units. NULL: not known.';

CREATE VIEW billing.invoices AS
 SELECT c.uid AS customer_uid,
    i.account_id,
    i.live_mode,
    i.id,
    i.created,
    i.customer_id AS stripe_customer_id,
    i.subscription_id AS stripe_subscription_id,
    i.status,
    i.billing_reason,
    i.period_start,
    i.period_end,
    i.currency,
    i.total,
    i.amount_due,
    i.amount_paid,
    i.amount_remaining,
    i.attempt_count,
    i.next_payment_attempt,
    i.due_date,
    i.paid_at,
    i.number,
    i.deleted_at
   FROM (stripe.invoices i
     LEFT JOIN billing.customers c ON (((c.account_id = i.account_id) AND (c.live_mode = i.live_mode) AND (c.stripe_customer_id = i.customer_id))));

COMMENT ON VIEW billing.invoices IS 'The mirrored invoices, joined to their customer''s uid. Amounts are minor units of currency.';

COMMENT ON COLUMN billing.invoices.customer_uid IS 'billing.customers.uid; NULL: no record, or nobody''s.';

COMMENT ON COLUMN billing.invoices.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN billing.invoices.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN billing.invoices.id IS 'Stripe''s id of the invoice.';

COMMENT ON COLUMN billing.invoices.created IS 'When it was created, by Stripe''s clock.';

COMMENT ON COLUMN billing.invoices.stripe_customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN billing.invoices.stripe_subscription_id IS 'Stripe''s id of the subscription; NULL: none.';

COMMENT ON COLUMN billing.invoices.status IS 'draft, open, paid, void or uncollectible.';

COMMENT ON COLUMN billing.invoices.billing_reason IS 'Why it was made.';

COMMENT ON COLUMN billing.invoices.period_start IS 'Start of the period in which its items were added.';

COMMENT ON COLUMN billing.invoices.period_end IS 'End of that period; on a subscription_cycle invoice the boundary of the cycle.';

COMMENT ON COLUMN billing.invoices.currency IS 'Three-letter ISO code in lower case.';

COMMENT ON COLUMN billing.invoices.total IS 'After discounts and taxes, minor units.';

COMMENT ON COLUMN billing.invoices.amount_due IS 'To be paid now, minor units.';

COMMENT ON COLUMN billing.invoices.amount_paid IS 'Paid, minor units; with money paid outside Stripe since 2025-03-31.';

COMMENT ON COLUMN billing.invoices.amount_remaining IS 'Still to be paid, minor units.';

COMMENT ON COLUMN billing.invoices.attempt_count IS 'How many payments were attempted.';

COMMENT ON COLUMN billing.invoices.next_payment_attempt IS 'When the next payment will be attempted; NULL: never.';

COMMENT ON COLUMN billing.invoices.due_date IS 'When it is to be paid; NULL: it is charged automatically.';

COMMENT ON COLUMN billing.invoices.paid_at IS 'When it became paid.';

COMMENT ON COLUMN billing.invoices.number IS 'The number that the customer sees.';

COMMENT ON COLUMN billing.invoices.deleted_at IS 'When it was deleted at Stripe; NULL: not.';

CREATE TABLE stripe.checkout_sessions (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    status text,
    mode text,
    payment_status text,
    client_reference_id text,
    subscription_id text,
    payment_intent_id text,
    invoice_id text,
    amount_total bigint,
    currency text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.checkout_sessions ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.checkout_sessions IS 'Stripe''s Checkout sessions: what links a purchase to the company''s own customer.';

COMMENT ON COLUMN stripe.checkout_sessions.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.checkout_sessions.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.checkout_sessions.id IS 'Stripe''s id of the Checkout session.';

COMMENT ON COLUMN stripe.checkout_sessions.created IS 'When the Checkout session was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.checkout_sessions.customer_id IS 'Stripe''s id of the customer; NULL: a guest, or not known yet.';

COMMENT ON COLUMN stripe.checkout_sessions.status IS 'open, complete or expired.';

COMMENT ON COLUMN stripe.checkout_sessions.mode IS 'payment, subscription or setup.';

COMMENT ON COLUMN stripe.checkout_sessions.payment_status IS 'paid, unpaid or no_payment_required.';

COMMENT ON COLUMN stripe.checkout_sessions.client_reference_id IS 'What the company passed along: a claim of a custom_uid, once the session is complete.';

COMMENT ON COLUMN stripe.checkout_sessions.subscription_id IS 'Stripe''s id of the subscription that it started.';

COMMENT ON COLUMN stripe.checkout_sessions.payment_intent_id IS 'Stripe''s id of the PaymentIntent that paid it.';

COMMENT ON COLUMN stripe.checkout_sessions.invoice_id IS 'Stripe''s id of the invoice that it made.';

COMMENT ON COLUMN stripe.checkout_sessions.amount_total IS 'Minor units, after discounts and taxes.';

COMMENT ON COLUMN stripe.checkout_sessions.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.checkout_sessions.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.checkout_sessions.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.checkout_sessions.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

CREATE TABLE stripe.credit_notes (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    invoice_id text,
    status text,
    type text,
    reason text,
    number text,
    currency text,
    amount bigint,
    pre_payment_amount bigint,
    post_payment_amount bigint,
    out_of_band_amount bigint,
    refund_ids text[] DEFAULT '{}'::text[] NOT NULL,
    effective_at timestamp with time zone,
    voided_at timestamp with time zone,
    memo text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.credit_notes ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.credit_notes IS 'Stripe''s credit notes: what of an invoice was taken back, before it was paid or after. Money given back outside Stripe is in customer_revenue.out_of_band.';

COMMENT ON COLUMN stripe.credit_notes.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.credit_notes.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.credit_notes.id IS 'Stripe''s id of the credit note.';

COMMENT ON COLUMN stripe.credit_notes.created IS 'When the credit note was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.credit_notes.customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN stripe.credit_notes.invoice_id IS 'Stripe''s id of the invoice.';

COMMENT ON COLUMN stripe.credit_notes.status IS 'issued or void.';

COMMENT ON COLUMN stripe.credit_notes.type IS 'pre_payment (it lowered what was due), post_payment (it gave back what was paid) or mixed.';

COMMENT ON COLUMN stripe.credit_notes.reason IS 'duplicate, fraudulent, order_change, product_unsatisfactory or NULL.';

COMMENT ON COLUMN stripe.credit_notes.number IS 'Its number on paper.';

COMMENT ON COLUMN stripe.credit_notes.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.credit_notes.amount IS 'In all, minor units, tax included.';

COMMENT ON COLUMN stripe.credit_notes.pre_payment_amount IS 'By how much it lowered what was due, minor units; NULL before 2024.';

COMMENT ON COLUMN stripe.credit_notes.post_payment_amount IS 'How much of what was paid it gave back, minor units: as refunds, to the credit balance, and outside Stripe; NULL before 2024.';

COMMENT ON COLUMN stripe.credit_notes.out_of_band_amount IS 'Given back outside Stripe, minor units: Stripe''s out_of_band_amount, and refunds of payments of which Stripe only keeps a record. NULL: nothing.';

COMMENT ON COLUMN stripe.credit_notes.refund_ids IS 'Stripe''s ids of its refunds.';

COMMENT ON COLUMN stripe.credit_notes.effective_at IS 'Its date on paper.';

COMMENT ON COLUMN stripe.credit_notes.voided_at IS 'When it was made void.';

COMMENT ON COLUMN stripe.credit_notes.memo IS 'Free text on paper. Personal: emptied when the customer is forgotten.';

COMMENT ON COLUMN stripe.credit_notes.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.credit_notes.deleted_at IS 'Always NULL: Stripe deletes none. A void one has status void.';

COMMENT ON COLUMN stripe.credit_notes.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.disputes (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    charge_id text,
    payment_intent_id text,
    status text,
    amount bigint,
    currency text,
    reason text,
    movements bigint,
    moved_amount bigint,
    moved_currency text,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.disputes ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.disputes IS 'Stripe''s disputes (chargebacks and inquiries).';

COMMENT ON COLUMN stripe.disputes.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.disputes.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.disputes.id IS 'Stripe''s id of the dispute.';

COMMENT ON COLUMN stripe.disputes.created IS 'When the dispute was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.disputes.charge_id IS 'Stripe''s id of the disputed charge.';

COMMENT ON COLUMN stripe.disputes.payment_intent_id IS 'Stripe''s id of the PaymentIntent behind that charge.';

COMMENT ON COLUMN stripe.disputes.status IS 'Stripe''s own word: needs_response, won, lost, warning_closed and others.';

COMMENT ON COLUMN stripe.disputes.amount IS 'Disputed, minor units; may differ from the charge.';

COMMENT ON COLUMN stripe.disputes.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.disputes.reason IS 'Why the bank says that it is disputed.';

COMMENT ON COLUMN stripe.disputes.movements IS 'How many balance transactions it has: 0 nothing moved, 1 withdrawn, 2 given back. NULL: the answer did not list them.';

COMMENT ON COLUMN stripe.disputes.moved_amount IS 'Sum of those, minor units of moved_currency, without fees: negative is money withdrawn.';

COMMENT ON COLUMN stripe.disputes.moved_currency IS 'Currency of those; NULL: there are none, or of several currencies.';

COMMENT ON COLUMN stripe.disputes.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.disputes.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

CREATE TABLE stripe.invoice_payments (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    invoice_id text,
    status text,
    amount_requested bigint,
    amount_paid bigint,
    currency text,
    payment_type text,
    payment_intent_id text,
    charge_id text,
    payment_record_id text,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.invoice_payments ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.invoice_payments IS 'Which payments pay which invoice (since 2025-03-31). One may pay several, and several may pay one.';

COMMENT ON COLUMN stripe.invoice_payments.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.invoice_payments.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.invoice_payments.id IS 'Stripe''s id of the invoice payment.';

COMMENT ON COLUMN stripe.invoice_payments.created IS 'When the invoice payment was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.invoice_payments.invoice_id IS 'Stripe''s id of the invoice.';

COMMENT ON COLUMN stripe.invoice_payments.status IS 'open, paid or canceled.';

COMMENT ON COLUMN stripe.invoice_payments.amount_requested IS 'To be paid by it, minor units.';

COMMENT ON COLUMN stripe.invoice_payments.amount_paid IS 'Paid by it, minor units; NULL: not paid.';

COMMENT ON COLUMN stripe.invoice_payments.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.invoice_payments.payment_type IS 'payment_intent, charge or payment_record (paid outside Stripe).';

COMMENT ON COLUMN stripe.invoice_payments.payment_intent_id IS 'Stripe''s id of the PaymentIntent that pays; NULL for other types.';

COMMENT ON COLUMN stripe.invoice_payments.charge_id IS 'Stripe''s id of the charge that pays; NULL for other types.';

COMMENT ON COLUMN stripe.invoice_payments.payment_record_id IS 'Stripe''s id of the payment record that pays; NULL for other types.';

COMMENT ON COLUMN stripe.invoice_payments.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.invoice_payments.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

CREATE TABLE stripe.refunds (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    charge_id text,
    payment_intent_id text,
    status text,
    amount bigint,
    currency text,
    reason text,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.refunds ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.refunds IS 'Stripe''s refunds.';

COMMENT ON COLUMN stripe.refunds.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.refunds.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.refunds.id IS 'Stripe''s id of the refund.';

COMMENT ON COLUMN stripe.refunds.created IS 'When the refund was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.refunds.charge_id IS 'Stripe''s id of the charge that it gives back.';

COMMENT ON COLUMN stripe.refunds.payment_intent_id IS 'Stripe''s id of the PaymentIntent behind that charge.';

COMMENT ON COLUMN stripe.refunds.status IS 'pending, requires_action, succeeded, failed or canceled. It may fail after it succeeded: the money is back then.';

COMMENT ON COLUMN stripe.refunds.amount IS 'Minor units.';

COMMENT ON COLUMN stripe.refunds.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.refunds.reason IS 'duplicate, fraudulent, requested_by_customer, expired_uncaptured_charge, or NULL.';

COMMENT ON COLUMN stripe.refunds.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.refunds.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

CREATE VIEW sync.charge_owners AS
 SELECT charges.account_id,
    charges.live_mode,
    charges.id AS charge_id,
    charges.customer_id
   FROM stripe.charges
  WHERE (charges.customer_id IS NOT NULL)
UNION
 SELECT h.account_id,
    h.live_mode,
    h.id AS charge_id,
    s.customer_id
   FROM (stripe.charges h
     JOIN stripe.checkout_sessions s ON (((s.account_id = h.account_id) AND (s.live_mode = h.live_mode) AND (s.payment_intent_id = h.payment_intent_id))))
  WHERE ((h.customer_id IS NULL) AND (s.customer_id IS NOT NULL))
UNION
 SELECT h.account_id,
    h.live_mode,
    h.id AS charge_id,
    i.customer_id
   FROM ((stripe.charges h
     JOIN stripe.invoice_payments p ON (((p.account_id = h.account_id) AND (p.live_mode = h.live_mode) AND (p.payment_intent_id = h.payment_intent_id))))
     JOIN stripe.invoices i ON (((i.account_id = p.account_id) AND (i.live_mode = p.live_mode) AND (i.id = p.invoice_id))))
  WHERE ((h.customer_id IS NULL) AND (i.customer_id IS NOT NULL));

COMMENT ON VIEW sync.charge_owners IS 'The customer whose money each charge is, also where the charge itself names none.';

COMMENT ON COLUMN sync.charge_owners.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN sync.charge_owners.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN sync.charge_owners.charge_id IS 'Stripe''s id of the charge.';

COMMENT ON COLUMN sync.charge_owners.customer_id IS 'Stripe''s id of the customer: of the charge, else of the Checkout session or invoice of its PaymentIntent.';

CREATE VIEW billing.monthly_revenue AS
 WITH refunded AS (
         SELECT r.account_id,
            r.live_mode,
            r.charge_id,
            COALESCE(sum(r.amount) FILTER (WHERE (r.status = ANY (ARRAY['pending'::text, 'requires_action'::text, 'succeeded'::text]))), (0)::numeric) AS standing,
            COALESCE(sum(r.amount) FILTER (WHERE (r.status = ANY (ARRAY['failed'::text, 'canceled'::text]))), (0)::numeric) AS came_back
           FROM stripe.refunds r
          GROUP BY r.account_id, r.live_mode, r.charge_id
        ), charged AS (
         SELECT h.account_id,
            h.live_mode,
            h.id,
            h.created,
            h.currency,
            COALESCE(h.amount_captured, h.amount, (0)::bigint) AS gross,
            GREATEST((GREATEST(COALESCE(r.standing, (0)::numeric), ((COALESCE(h.amount_refunded, (0)::bigint))::numeric - COALESCE(r.came_back, (0)::numeric)), (0)::numeric) - (GREATEST((COALESCE(h.amount, h.amount_captured, (0)::bigint) - COALESCE(h.amount_captured, h.amount, (0)::bigint)), (0)::bigint))::numeric), (0)::numeric) AS refunded
           FROM (stripe.charges h
             LEFT JOIN refunded r ON (((r.account_id = h.account_id) AND (r.live_mode = h.live_mode) AND (r.charge_id = h.id))))
          WHERE ((h.status = 'succeeded'::text) AND h.captured AND (h.currency IS NOT NULL) AND (EXISTS ( SELECT
                   FROM sync.charge_owners o
                  WHERE ((o.account_id = h.account_id) AND (o.live_mode = h.live_mode) AND (o.charge_id = h.id)))))
        ), disputed AS (
         SELECT h.account_id,
            h.live_mode,
            h.id,
            COALESCE((- sum(d.moved_amount) FILTER (WHERE (d.moved_currency = h.currency))), (0)::numeric) AS moved,
            COALESCE(sum(
                CASE
                    WHEN ((d.currency = h.currency) AND (d.amount IS NOT NULL)) THEN (d.amount)::numeric
                    ELSE GREATEST(((h.gross)::numeric - h.refunded), (0)::numeric)
                END) FILTER (WHERE (((d.moved_amount IS NULL) OR (d.moved_currency IS DISTINCT FROM h.currency)) AND
                CASE
                    WHEN (d.movements IS NULL) THEN (d.status = 'lost'::text)
                    ELSE (d.movements = 1)
                END)), (0)::numeric) AS estimated
           FROM (charged h
             JOIN stripe.disputes d ON (((d.account_id = h.account_id) AND (d.live_mode = h.live_mode) AND (d.charge_id = h.id))))
          GROUP BY h.account_id, h.live_mode, h.id
        ), money AS (
         SELECT h.account_id,
            h.live_mode,
            h.created,
            h.currency,
            h.gross,
            h.refunded,
            COALESCE((d.moved + LEAST(d.estimated, GREATEST((((h.gross)::numeric - h.refunded) - d.moved), (0)::numeric))), (0)::numeric) AS disputed,
            0 AS out_of_band
           FROM (charged h
             LEFT JOIN disputed d ON (((d.account_id = h.account_id) AND (d.live_mode = h.live_mode) AND (d.id = h.id))))
        UNION ALL
         SELECT i.account_id,
            i.live_mode,
            COALESCE(i.paid_at, i.created) AS "coalesce",
            i.currency,
            0,
            0,
            0,
                CASE
                    WHEN (i.amount_paid_off_stripe IS NOT NULL) THEN i.amount_paid_off_stripe
                    WHEN (i.status IS DISTINCT FROM 'paid'::text) THEN (0)::bigint
                    WHEN (i.paid_out_of_band IS NOT NULL) THEN
                    CASE
                        WHEN i.paid_out_of_band THEN COALESCE(i.amount_due, (0)::bigint)
                        ELSE (0)::bigint
                    END
                    WHEN (i.amount_paid_by_payments IS NOT NULL) THEN GREATEST((COALESCE(i.amount_paid, (0)::bigint) - i.amount_paid_by_payments), (0)::bigint)
                    ELSE (0)::bigint
                END AS "case"
           FROM stripe.invoices i
          WHERE ((i.currency IS NOT NULL) AND (i.customer_id IS NOT NULL) AND (i.deleted_at IS NULL))
        UNION ALL
         SELECT n.account_id,
            n.live_mode,
            COALESCE(i.paid_at, i.created, n.created) AS "coalesce",
            n.currency,
            0,
            0,
            0,
            (- n.out_of_band_amount)
           FROM (stripe.credit_notes n
             LEFT JOIN stripe.invoices i ON (((i.account_id = n.account_id) AND (i.live_mode = n.live_mode) AND (i.id = n.invoice_id))))
          WHERE ((n.out_of_band_amount <> 0) AND (n.status IS DISTINCT FROM 'void'::text) AND (n.currency IS NOT NULL) AND (n.customer_id IS NOT NULL) AND (n.deleted_at IS NULL))
        )
 SELECT account_id,
    live_mode,
    (date_trunc('month'::text, (created AT TIME ZONE 'UTC'::text)))::date AS month,
    currency,
    (sum(gross))::bigint AS gross,
    (sum(refunded))::bigint AS refunded,
    (sum(disputed))::bigint AS disputed,
    (sum(out_of_band))::bigint AS out_of_band,
    (sum(((((gross)::numeric - refunded) - disputed) + (out_of_band)::numeric)))::bigint AS net
   FROM money
  WHERE ((gross <> 0) OR (refunded <> (0)::numeric) OR (disputed <> (0)::numeric) OR (out_of_band <> 0))
  GROUP BY account_id, live_mode, (date_trunc('month'::text, (created AT TIME ZONE 'UTC'::text))), currency;

COMMENT ON VIEW billing.monthly_revenue IS 'What customers paid, by the month (UTC) of the charge or of the payment outside Stripe. What was given back counts against the month in which it had been paid, so that a month can still fall.';

COMMENT ON COLUMN billing.monthly_revenue.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN billing.monthly_revenue.live_mode IS 'Live or test.';

COMMENT ON COLUMN billing.monthly_revenue.month IS 'First day of the month.';

COMMENT ON COLUMN billing.monthly_revenue.currency IS 'Currency of the amounts.';

COMMENT ON COLUMN billing.monthly_revenue.gross IS 'Captured, minor units.';

COMMENT ON COLUMN billing.monthly_revenue.refunded IS 'Given back of it since, or on its way, minor units.';

COMMENT ON COLUMN billing.monthly_revenue.disputed IS 'Withdrawn of it by disputes and not given back, minor units.';

COMMENT ON COLUMN billing.monthly_revenue.out_of_band IS 'Paid on invoices outside Stripe, less what credit notes gave back the same way, minor units.';

COMMENT ON COLUMN billing.monthly_revenue.net IS 'gross - refunded - disputed + out_of_band, minor units.';

CREATE TABLE billing.mrr_changes (
    id bigint NOT NULL,
    customer_uid uuid NOT NULL,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    currency text NOT NULL,
    mrr_before bigint NOT NULL,
    mrr_after bigint NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    exact boolean NOT NULL,
    CONSTRAINT a_change_changes CHECK ((mrr_before <> mrr_after))
);

COMMENT ON TABLE billing.mrr_changes IS 'Append-only history of each customer''s MRR in each currency. What was shown provisionally and not confirmed is taken back.';

COMMENT ON COLUMN billing.mrr_changes.id IS 'Order of the changes.';

COMMENT ON COLUMN billing.mrr_changes.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.mrr_changes.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN billing.mrr_changes.live_mode IS 'Live or test.';

COMMENT ON COLUMN billing.mrr_changes.currency IS 'Currency of both amounts.';

COMMENT ON COLUMN billing.mrr_changes.mrr_before IS 'Minor units a month before; 0 at first.';

COMMENT ON COLUMN billing.mrr_changes.mrr_after IS 'Minor units a month since.';

COMMENT ON COLUMN billing.mrr_changes.changed_at IS 'When it changed: when a subscription began to be paid for or ended, else when the event happened that told of it, else when it was noticed. Never before the change that precedes it.';

COMMENT ON COLUMN billing.mrr_changes.exact IS 'Confirmed by an exact record. False: may still be taken back.';

ALTER TABLE billing.mrr_changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME billing.mrr_changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW billing.mrr_movements AS
 WITH moved AS (
         SELECT mrr_changes.account_id,
            mrr_changes.live_mode,
            mrr_changes.currency,
            mrr_changes.customer_uid,
            (date_trunc('month'::text, (mrr_changes.changed_at AT TIME ZONE 'UTC'::text)))::date AS month,
            (sum((mrr_changes.mrr_after - mrr_changes.mrr_before)))::bigint AS by
           FROM billing.mrr_changes
          GROUP BY mrr_changes.account_id, mrr_changes.live_mode, mrr_changes.currency, mrr_changes.customer_uid, (date_trunc('month'::text, (mrr_changes.changed_at AT TIME ZONE 'UTC'::text)))
        ), standing AS (
         SELECT moved.account_id,
            moved.live_mode,
            moved.currency,
            moved.customer_uid,
            moved.month,
            moved.by,
            (sum(moved.by) OVER in_order)::bigint AS after,
            ((sum(moved.by) OVER in_order)::bigint - moved.by) AS before
           FROM moved
          WINDOW in_order AS (PARTITION BY moved.account_id, moved.live_mode, moved.currency, moved.customer_uid ORDER BY moved.month)
        ), known AS (
         SELECT standing.account_id,
            standing.live_mode,
            standing.currency,
            standing.customer_uid,
            standing.month,
            standing.by,
            standing.after,
            standing.before,
            COALESCE(bool_or((standing.after > 0)) OVER (PARTITION BY standing.account_id, standing.live_mode, standing.currency, standing.customer_uid ORDER BY standing.month ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS earlier
           FROM standing
        ), summed AS (
         SELECT known.account_id,
            known.live_mode,
            known.currency,
            known.month,
            sum(known.by) FILTER (WHERE ((known.before = 0) AND (NOT known.earlier))) AS new,
            sum(known.by) FILTER (WHERE ((known.before > 0) AND (known.by > 0))) AS expansion,
            sum(known.by) FILTER (WHERE ((known.after > 0) AND (known.by < 0))) AS contraction,
            sum(known.by) FILTER (WHERE ((known.before > 0) AND (known.after = 0))) AS churn,
            sum(known.by) FILTER (WHERE ((known.before = 0) AND known.earlier)) AS reactivation,
            sum(known.by) AS net
           FROM known
          GROUP BY known.account_id, known.live_mode, known.currency, known.month
        ), months AS (
         SELECT summed_1.account_id,
            summed_1.live_mode,
            summed_1.currency,
            (generate_series((min(summed_1.month))::timestamp without time zone, GREATEST((max(summed_1.month))::timestamp without time zone, date_trunc('month'::text, (now() AT TIME ZONE 'UTC'::text))), '1 mon'::interval))::date AS month
           FROM summed summed_1
          GROUP BY summed_1.account_id, summed_1.live_mode, summed_1.currency
        )
 SELECT months.account_id,
    months.live_mode,
    months.month,
    months.currency,
    (COALESCE(summed.new, (0)::numeric))::bigint AS new,
    (COALESCE(summed.expansion, (0)::numeric))::bigint AS expansion,
    (COALESCE(summed.contraction, (0)::numeric))::bigint AS contraction,
    (COALESCE(summed.churn, (0)::numeric))::bigint AS churn,
    (COALESCE(summed.reactivation, (0)::numeric))::bigint AS reactivation,
    (sum(COALESCE(summed.net, (0)::numeric)) OVER (PARTITION BY months.account_id, months.live_mode, months.currency ORDER BY months.month))::bigint AS mrr_at_end
   FROM (months
     LEFT JOIN summed USING (account_id, live_mode, currency, month));

COMMENT ON VIEW billing.mrr_movements IS 'How MRR came from the end of one month (UTC) to that of the next, customer by customer: new + expansion + contraction + churn + reactivation is the difference of two mrr_at_end. A row for every month since the first.';

COMMENT ON COLUMN billing.mrr_movements.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN billing.mrr_movements.live_mode IS 'Live or test.';

COMMENT ON COLUMN billing.mrr_movements.month IS 'First day of the month.';

COMMENT ON COLUMN billing.mrr_movements.currency IS 'Currency of the amounts.';

COMMENT ON COLUMN billing.mrr_movements.new IS 'MRR of customers who had none at the end of any earlier month, minor units.';

COMMENT ON COLUMN billing.mrr_movements.expansion IS 'What customers who stayed pay more, minor units.';

COMMENT ON COLUMN billing.mrr_movements.contraction IS 'What customers who stayed pay less, minor units; never positive.';

COMMENT ON COLUMN billing.mrr_movements.churn IS 'MRR of customers who have none any more, minor units; never positive.';

COMMENT ON COLUMN billing.mrr_movements.reactivation IS 'MRR of customers who came back: none at the end of the month before, some at the end of an earlier one; minor units.';

COMMENT ON COLUMN billing.mrr_movements.mrr_at_end IS 'MRR at the end of the month, or now; minor units a month.';

CREATE TABLE billing.status_changes (
    id bigint NOT NULL,
    customer_uid uuid NOT NULL,
    status_before text,
    status_after text,
    changed_at timestamp with time zone NOT NULL,
    exact boolean NOT NULL,
    event_id text,
    source text NOT NULL,
    CONSTRAINT something_changed CHECK ((status_before IS DISTINCT FROM status_after)),
    CONSTRAINT source_is_known CHECK ((source = ANY (ARRAY['event'::text, 'sweep'::text, 'audit'::text, 'deadline'::text, 'backfill'::text])))
);

COMMENT ON TABLE billing.status_changes IS 'The history of billing.customers.status, oldest first by id. A provisional change that a read takes back goes with it.';

COMMENT ON COLUMN billing.status_changes.id IS 'Order of the changes.';

COMMENT ON COLUMN billing.status_changes.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.status_changes.status_before IS 'Status until then; NULL: none.';

COMMENT ON COLUMN billing.status_changes.status_after IS 'Status from then on; NULL: none.';

COMMENT ON COLUMN billing.status_changes.changed_at IS 'When: created of the event that told of it, else when the change was derived. Never before the change that precedes it.';

COMMENT ON COLUMN billing.status_changes.exact IS 'Whether an exact record has confirmed the change; false: it may still be taken back.';

COMMENT ON COLUMN billing.status_changes.event_id IS 'The event that told of it, or the last one of the subscription that a deadline or a read found changed; NULL: none.';

COMMENT ON COLUMN billing.status_changes.source IS 'What told of it: event, sweep, audit, deadline or backfill.';

ALTER TABLE billing.status_changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME billing.status_changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE stripe.active_entitlement_summaries (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    customer_id text,
    deleted_at timestamp with time zone,
    raw json
);

COMMENT ON TABLE stripe.active_entitlement_summaries IS 'Per customer, that its active entitlements were told of; they themselves are in stripe.active_entitlements.';

COMMENT ON COLUMN stripe.active_entitlement_summaries.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN stripe.active_entitlement_summaries.live_mode IS 'Live or test.';

COMMENT ON COLUMN stripe.active_entitlement_summaries.id IS 'The customer''s id: Stripe gives a summary none of its own.';

COMMENT ON COLUMN stripe.active_entitlement_summaries.customer_id IS 'The customer.';

COMMENT ON COLUMN stripe.active_entitlement_summaries.deleted_at IS 'Always NULL: a summary becomes empty, and is never deleted.';

COMMENT ON COLUMN stripe.active_entitlement_summaries.raw IS 'The summary as Stripe sent it last, or made of the list that was read in its place.';

CREATE TABLE stripe.active_entitlements (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    customer_id text NOT NULL,
    feature_id text,
    lookup_key text
);

COMMENT ON TABLE stripe.active_entitlements IS 'The features that each customer is entitled to now. What it has lost has no row.';

COMMENT ON COLUMN stripe.active_entitlements.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN stripe.active_entitlements.live_mode IS 'Live or test.';

COMMENT ON COLUMN stripe.active_entitlements.id IS 'Stripe id (ent_...).';

COMMENT ON COLUMN stripe.active_entitlements.customer_id IS 'The customer.';

COMMENT ON COLUMN stripe.active_entitlements.feature_id IS 'The feature.';

COMMENT ON COLUMN stripe.active_entitlements.lookup_key IS 'The feature''s lookup key, as the entitlement says it.';

CREATE TABLE stripe.balance_transactions (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    type text,
    reporting_category text,
    status text,
    amount bigint,
    fee bigint,
    net bigint,
    currency text,
    available_on timestamp with time zone,
    source_id text,
    description text,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.balance_transactions ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.balance_transactions IS 'Stripe''s balance transactions: each movement of money on the account at Stripe, with Stripe''s fee. Known from lists only: they have no events.';

COMMENT ON COLUMN stripe.balance_transactions.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.balance_transactions.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.balance_transactions.id IS 'Stripe''s id of the balance transaction.';

COMMENT ON COLUMN stripe.balance_transactions.created IS 'When the balance transaction was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.balance_transactions.type IS 'charge, payment, refund, payout, adjustment, stripe_fee ... Open set.';

COMMENT ON COLUMN stripe.balance_transactions.reporting_category IS 'The same for accountants: charge, refund, dispute, payout, fee ... Open set.';

COMMENT ON COLUMN stripe.balance_transactions.status IS 'pending or available.';

COMMENT ON COLUMN stripe.balance_transactions.amount IS 'Moved, minor units; negative: taken off the balance.';

COMMENT ON COLUMN stripe.balance_transactions.fee IS 'Stripe''s fees, minor units.';

COMMENT ON COLUMN stripe.balance_transactions.net IS 'amount minus fee, minor units.';

COMMENT ON COLUMN stripe.balance_transactions.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.balance_transactions.available_on IS 'When the money may be paid out.';

COMMENT ON COLUMN stripe.balance_transactions.source_id IS 'Stripe''s id of the charge, refund, payout ... that moved it.';

COMMENT ON COLUMN stripe.balance_transactions.description IS 'Free text. Personal: emptied when the customer is forgotten.';

COMMENT ON COLUMN stripe.balance_transactions.deleted_at IS 'Always NULL: Stripe deletes none.';

COMMENT ON COLUMN stripe.balance_transactions.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.checkout_line_items (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    session_id text NOT NULL,
    "position" bigint NOT NULL,
    description text,
    price_id text,
    product_id text,
    quantity bigint,
    currency text,
    amount_subtotal bigint,
    amount_discount bigint,
    amount_tax bigint,
    amount_total bigint
);

COMMENT ON TABLE stripe.checkout_line_items IS 'What a Checkout session sold, stored with it. Known once the session was read: events leave it out.';

COMMENT ON COLUMN stripe.checkout_line_items.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.checkout_line_items.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.checkout_line_items.id IS 'Stripe''s id of the line item.';

COMMENT ON COLUMN stripe.checkout_line_items.session_id IS 'Stripe''s id of the session.';

COMMENT ON COLUMN stripe.checkout_line_items."position" IS 'Place in Stripe''s order, from 0.';

COMMENT ON COLUMN stripe.checkout_line_items.description IS 'The product''s name, as the customer saw it.';

COMMENT ON COLUMN stripe.checkout_line_items.price_id IS 'Stripe''s id of the price.';

COMMENT ON COLUMN stripe.checkout_line_items.product_id IS 'Stripe''s id of the product.';

COMMENT ON COLUMN stripe.checkout_line_items.quantity IS 'How many.';

COMMENT ON COLUMN stripe.checkout_line_items.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.checkout_line_items.amount_subtotal IS 'Before discounts and taxes, minor units.';

COMMENT ON COLUMN stripe.checkout_line_items.amount_discount IS 'Taken off, minor units; NULL before 2021.';

COMMENT ON COLUMN stripe.checkout_line_items.amount_tax IS 'Taxes, minor units; NULL before 2021.';

COMMENT ON COLUMN stripe.checkout_line_items.amount_total IS 'After discounts and taxes, minor units.';

CREATE TABLE stripe.coupons (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    name text,
    duration text,
    duration_in_months bigint,
    percent_off text,
    amount_off bigint,
    currency text,
    max_redemptions bigint,
    redeem_by timestamp with time zone,
    times_redeemed bigint,
    valid boolean,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json,
    applies_to text[]
);
ALTER TABLE ONLY stripe.coupons ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.coupons IS 'Stripe''s coupons: what may be taken off. Which subscription has one is in that subscription''s discounts.';

COMMENT ON COLUMN stripe.coupons.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.coupons.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.coupons.id IS 'Stripe''s id of the coupon, often chosen by people.';

COMMENT ON COLUMN stripe.coupons.created IS 'When the coupon was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.coupons.name IS 'Its name on invoices.';

COMMENT ON COLUMN stripe.coupons.duration IS 'once, repeating (for duration_in_months) or forever.';

COMMENT ON COLUMN stripe.coupons.duration_in_months IS 'Of a repeating one: for how many months.';

COMMENT ON COLUMN stripe.coupons.percent_off IS 'Per cent off, exact, as a decimal number; NULL: amount_off counts.';

COMMENT ON COLUMN stripe.coupons.amount_off IS 'Taken off, minor units of currency; NULL: percent_off counts.';

COMMENT ON COLUMN stripe.coupons.currency IS 'Three-letter ISO code in lower case, of amount_off.';

COMMENT ON COLUMN stripe.coupons.max_redemptions IS 'How often it may be redeemed by all customers together; NULL: without end.';

COMMENT ON COLUMN stripe.coupons.redeem_by IS 'When it can be redeemed no more; NULL: never ends.';

COMMENT ON COLUMN stripe.coupons.times_redeemed IS 'How often it has been redeemed, as of the last read or audit: Stripe sends no event of that.';

COMMENT ON COLUMN stripe.coupons.valid IS 'Whether it can still be redeemed, as of the last read or audit.';

COMMENT ON COLUMN stripe.coupons.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.coupons.deleted_at IS 'When it was deleted at Stripe: the time of its *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.coupons.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

COMMENT ON COLUMN stripe.coupons.applies_to IS 'Ids of the products that it takes something off. Empty: all of them. NULL: not known, since only a read tells them.';

CREATE TABLE stripe.customers (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    name text,
    email text,
    description text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    custom_uid text,
    test_clock text,
    deleted_at timestamp with time zone,
    raw json,
    discounts jsonb
);
ALTER TABLE ONLY stripe.customers ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.customers IS 'Stripe''s customers, one row each, also those deleted since.';

COMMENT ON COLUMN stripe.customers.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.customers.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.customers.id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN stripe.customers.created IS 'When the customer was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.customers.name IS 'customer.name.';

COMMENT ON COLUMN stripe.customers.email IS 'customer.email. Not unique: Stripe allows several customers with one address.';

COMMENT ON COLUMN stripe.customers.description IS 'customer.description.';

COMMENT ON COLUMN stripe.customers.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.customers.custom_uid IS 'customer.metadata.custom_uid as it stands, valid or not: what this source claims. The one in force is billing.customers.custom_uid.';

COMMENT ON COLUMN stripe.customers.test_clock IS 'Id of the test clock that the customer lives on; NULL: real time.';

COMMENT ON COLUMN stripe.customers.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.customers.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

COMMENT ON COLUMN stripe.customers.discounts IS 'The customer''s own discount, as a list of at most one, like stripe.subscriptions.discounts. It holds for subscriptions that have none of their own.';

CREATE TABLE stripe.early_fraud_warnings (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    charge_id text,
    payment_intent_id text,
    actionable boolean,
    fraud_type text,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.early_fraud_warnings ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.early_fraud_warnings IS 'Stripe''s early fraud warnings (radar.early_fraud_warning): what card issuers took for fraud; a dispute often follows.';

COMMENT ON COLUMN stripe.early_fraud_warnings.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.early_fraud_warnings.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.early_fraud_warnings.id IS 'Stripe''s id of the early fraud warning.';

COMMENT ON COLUMN stripe.early_fraud_warnings.created IS 'When the early fraud warning was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.early_fraud_warnings.charge_id IS 'Stripe''s id of the charge.';

COMMENT ON COLUMN stripe.early_fraud_warnings.payment_intent_id IS 'Stripe''s id of the PaymentIntent; NULL before 2021.';

COMMENT ON COLUMN stripe.early_fraud_warnings.actionable IS 'Whether a refund can still avert a dispute.';

COMMENT ON COLUMN stripe.early_fraud_warnings.fraud_type IS 'What the issuer says: made_with_stolen_card, misc, unauthorized_use_of_card ...';

COMMENT ON COLUMN stripe.early_fraud_warnings.deleted_at IS 'Always NULL: Stripe deletes none.';

COMMENT ON COLUMN stripe.early_fraud_warnings.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.features (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    lookup_key text,
    name text,
    active boolean,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);

COMMENT ON TABLE stripe.features IS 'Stripe''s features (entitlements.feature): what products can entitle to.';

COMMENT ON COLUMN stripe.features.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN stripe.features.live_mode IS 'Live or test.';

COMMENT ON COLUMN stripe.features.id IS 'Stripe id (feat_...).';

COMMENT ON COLUMN stripe.features.lookup_key IS 'The company''s own name of the feature, by which services ask for it. Unique at Stripe.';

COMMENT ON COLUMN stripe.features.name IS 'Its name, for people.';

COMMENT ON COLUMN stripe.features.active IS 'False once it is archived: no further product can be given it.';

COMMENT ON COLUMN stripe.features.metadata IS 'Metadata as Stripe has it.';

COMMENT ON COLUMN stripe.features.deleted_at IS 'Always NULL: Stripe archives features and deletes none.';

COMMENT ON COLUMN stripe.features.raw IS 'The object as Stripe sent it last.';

CREATE TABLE stripe.meters (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    display_name text,
    event_name text,
    status text,
    formula text,
    deleted_at timestamp with time zone,
    raw json
);

COMMENT ON TABLE stripe.meters IS 'Stripe''s billing meters: how usage is added up.';

COMMENT ON COLUMN stripe.meters.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN stripe.meters.live_mode IS 'Live or test.';

COMMENT ON COLUMN stripe.meters.id IS 'Stripe id (mtr_...).';

COMMENT ON COLUMN stripe.meters.created IS 'When it was created.';

COMMENT ON COLUMN stripe.meters.display_name IS 'Its name, for people.';

COMMENT ON COLUMN stripe.meters.event_name IS 'The name under which usage is reported to Stripe.';

COMMENT ON COLUMN stripe.meters.status IS 'active or inactive.';

COMMENT ON COLUMN stripe.meters.formula IS 'How events are aggregated: sum, count or last.';

COMMENT ON COLUMN stripe.meters.deleted_at IS 'Always NULL: Stripe deactivates meters and deletes none.';

COMMENT ON COLUMN stripe.meters.raw IS 'The object as Stripe sent it last.';

CREATE TABLE stripe.payment_intents (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    status text,
    amount bigint,
    amount_capturable bigint,
    amount_received bigint,
    currency text,
    payment_method_id text,
    latest_charge_id text,
    invoice_id text,
    capture_method text,
    setup_future_usage text,
    cancellation_reason text,
    canceled_at timestamp with time zone,
    description text,
    receipt_email text,
    error_code text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.payment_intents ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.payment_intents IS 'Stripe''s PaymentIntents: the way of one payment, over all its attempts.';

COMMENT ON COLUMN stripe.payment_intents.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.payment_intents.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.payment_intents.id IS 'Stripe''s id of the PaymentIntent.';

COMMENT ON COLUMN stripe.payment_intents.created IS 'When the PaymentIntent was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.payment_intents.customer_id IS 'Stripe''s id of the customer. NULL: a guest.';

COMMENT ON COLUMN stripe.payment_intents.status IS 'requires_payment_method, requires_confirmation, requires_action, processing, requires_capture, succeeded or canceled. Open set.';

COMMENT ON COLUMN stripe.payment_intents.amount IS 'To be paid, minor units.';

COMMENT ON COLUMN stripe.payment_intents.amount_capturable IS 'Authorized and not captured yet, minor units.';

COMMENT ON COLUMN stripe.payment_intents.amount_received IS 'Taken, minor units; refunds do not lower it.';

COMMENT ON COLUMN stripe.payment_intents.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.payment_intents.payment_method_id IS 'Stripe''s id of the payment method used last.';

COMMENT ON COLUMN stripe.payment_intents.latest_charge_id IS 'Stripe''s id of the charge of its last attempt.';

COMMENT ON COLUMN stripe.payment_intents.invoice_id IS 'Stripe''s id of the invoice that it pays; only before 2025-03-31. Later stripe.invoice_payments tells it.';

COMMENT ON COLUMN stripe.payment_intents.capture_method IS 'automatic, automatic_async or manual.';

COMMENT ON COLUMN stripe.payment_intents.setup_future_usage IS 'Whether the payment method is kept for later: on_session or off_session; NULL: it is not.';

COMMENT ON COLUMN stripe.payment_intents.cancellation_reason IS 'Why it was canceled.';

COMMENT ON COLUMN stripe.payment_intents.canceled_at IS 'When it was canceled.';

COMMENT ON COLUMN stripe.payment_intents.description IS 'Free text. Personal: emptied when the customer is forgotten.';

COMMENT ON COLUMN stripe.payment_intents.receipt_email IS 'Where the receipt goes. Personal: emptied when the customer is forgotten.';

COMMENT ON COLUMN stripe.payment_intents.error_code IS 'Why its last attempt failed, as Stripe''s code; NULL: it did not.';

COMMENT ON COLUMN stripe.payment_intents.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.payment_intents.deleted_at IS 'Always NULL: Stripe deletes none.';

COMMENT ON COLUMN stripe.payment_intents.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.payment_methods (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    type text,
    card_brand text,
    card_last4 text,
    card_exp_month bigint,
    card_exp_year bigint,
    card_funding text,
    card_country text,
    billing_name text,
    billing_email text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.payment_methods ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.payment_methods IS 'Stripe''s payment methods: cards and accounts that customers pay with.';

COMMENT ON COLUMN stripe.payment_methods.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.payment_methods.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.payment_methods.id IS 'Stripe''s id of the payment method.';

COMMENT ON COLUMN stripe.payment_methods.created IS 'When the payment method was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.payment_methods.customer_id IS 'Stripe''s id of the customer. NULL: not attached, or not any more.';

COMMENT ON COLUMN stripe.payment_methods.type IS 'card, sepa_debit, us_bank_account ... Open set.';

COMMENT ON COLUMN stripe.payment_methods.card_brand IS 'Of a card: visa, mastercard ...';

COMMENT ON COLUMN stripe.payment_methods.card_last4 IS 'Of a card: its last four digits. Personal: emptied when the customer is forgotten.';

COMMENT ON COLUMN stripe.payment_methods.card_exp_month IS 'Of a card: the month in which it expires.';

COMMENT ON COLUMN stripe.payment_methods.card_exp_year IS 'Of a card: the year in which it expires.';

COMMENT ON COLUMN stripe.payment_methods.card_funding IS 'Of a card: credit, debit, prepaid or unknown.';

COMMENT ON COLUMN stripe.payment_methods.card_country IS 'Of a card: two-letter code of the country that issued it.';

COMMENT ON COLUMN stripe.payment_methods.billing_name IS 'Whose it is. Personal: emptied when the customer is forgotten.';

COMMENT ON COLUMN stripe.payment_methods.billing_email IS 'Email beside it. Personal: emptied when the customer is forgotten.';

COMMENT ON COLUMN stripe.payment_methods.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.payment_methods.deleted_at IS 'Always NULL: Stripe deletes none. One that was detached has no customer_id any more.';

COMMENT ON COLUMN stripe.payment_methods.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.payouts (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    status text,
    amount bigint,
    currency text,
    arrival_date timestamp with time zone,
    automatic boolean,
    method text,
    type text,
    destination_id text,
    balance_transaction_id text,
    reconciliation_status text,
    failure_code text,
    description text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.payouts ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.payouts IS 'Stripe''s payouts: money that went from the account at Stripe to the company''s bank.';

COMMENT ON COLUMN stripe.payouts.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.payouts.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.payouts.id IS 'Stripe''s id of the payout.';

COMMENT ON COLUMN stripe.payouts.created IS 'When the payout was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.payouts.status IS 'pending, in_transit, paid, failed or canceled; paid may still become failed.';

COMMENT ON COLUMN stripe.payouts.amount IS 'Paid out, minor units; negative: Stripe took it from the bank.';

COMMENT ON COLUMN stripe.payouts.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.payouts.arrival_date IS 'When it is expected at the bank.';

COMMENT ON COLUMN stripe.payouts.automatic IS 'false: somebody asked for it.';

COMMENT ON COLUMN stripe.payouts.method IS 'standard or instant.';

COMMENT ON COLUMN stripe.payouts.type IS 'bank_account or card.';

COMMENT ON COLUMN stripe.payouts.destination_id IS 'Stripe''s id of the bank account or card.';

COMMENT ON COLUMN stripe.payouts.balance_transaction_id IS 'Stripe''s id of its balance transaction.';

COMMENT ON COLUMN stripe.payouts.reconciliation_status IS 'Whether Stripe can tell what it is made of: completed, in_progress or not_applicable; NULL before 2022.';

COMMENT ON COLUMN stripe.payouts.failure_code IS 'Why it failed, as Stripe''s code.';

COMMENT ON COLUMN stripe.payouts.description IS 'Free text.';

COMMENT ON COLUMN stripe.payouts.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.payouts.deleted_at IS 'Always NULL: Stripe deletes none.';

COMMENT ON COLUMN stripe.payouts.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.plans (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    product_id text,
    active boolean,
    currency text,
    amount bigint,
    amount_decimal text,
    billing_scheme text,
    "interval" text,
    interval_count bigint,
    usage_type text,
    trial_period_days bigint,
    nickname text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.plans ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.plans IS 'Stripe''s plans: what prices were called before 2020. Each is the price of the same id, in the old words.';

COMMENT ON COLUMN stripe.plans.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.plans.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.plans.id IS 'Stripe''s id of the plan, which is that of its price (stripe.prices).';

COMMENT ON COLUMN stripe.plans.created IS 'When the plan was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.plans.product_id IS 'Stripe''s id of the product.';

COMMENT ON COLUMN stripe.plans.active IS 'false: archived; existing subscriptions keep it.';

COMMENT ON COLUMN stripe.plans.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.plans.amount IS 'Per interval and unit, minor units; NULL for tiers and for fractions of a minor unit.';

COMMENT ON COLUMN stripe.plans.amount_decimal IS 'The exact amount, minor units, as Stripe writes it.';

COMMENT ON COLUMN stripe.plans.billing_scheme IS 'per_unit or tiered.';

COMMENT ON COLUMN stripe.plans."interval" IS 'day, week, month or year.';

COMMENT ON COLUMN stripe.plans.interval_count IS 'How many intervals a period has.';

COMMENT ON COLUMN stripe.plans.usage_type IS 'licensed or metered.';

COMMENT ON COLUMN stripe.plans.trial_period_days IS 'Days of trial that a subscription begins with when it asks for those of its plan.';

COMMENT ON COLUMN stripe.plans.nickname IS 'A name for people of the company.';

COMMENT ON COLUMN stripe.plans.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.plans.deleted_at IS 'When it was deleted at Stripe: the time of its *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.plans.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.prices (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    product_id text,
    active boolean,
    currency text,
    unit_amount bigint,
    unit_amount_decimal text,
    billing_scheme text,
    recurring boolean DEFAULT false NOT NULL,
    "interval" text,
    interval_count bigint,
    usage_type text,
    nickname text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json,
    meter_id text,
    tiers_mode text,
    tiers jsonb,
    currency_options jsonb,
    divide_quantity_by bigint,
    round_quantity text
);
ALTER TABLE ONLY stripe.prices ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.prices IS 'Stripe''s prices: what a product costs, and how often. A plan is the price of the same id.';

COMMENT ON COLUMN stripe.prices.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.prices.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.prices.id IS 'Stripe''s id of the price.';

COMMENT ON COLUMN stripe.prices.created IS 'When the price was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.prices.product_id IS 'Stripe''s id of the product that it prices.';

COMMENT ON COLUMN stripe.prices.active IS 'Whether it can be bought.';

COMMENT ON COLUMN stripe.prices.currency IS 'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';

COMMENT ON COLUMN stripe.prices.unit_amount IS 'Minor units for one unit. NULL: the price has tiers, or a fraction of a minor unit.';

COMMENT ON COLUMN stripe.prices.unit_amount_decimal IS 'The exact amount of one unit in minor units, as Stripe writes it.';

COMMENT ON COLUMN stripe.prices.billing_scheme IS 'per_unit or tiered.';

COMMENT ON COLUMN stripe.prices.recurring IS 'Whether it is charged again and again; only such prices have a rank as version.';

COMMENT ON COLUMN stripe.prices."interval" IS 'day, week, month or year; NULL: one-off.';

COMMENT ON COLUMN stripe.prices.interval_count IS 'How many intervals make one period.';

COMMENT ON COLUMN stripe.prices.usage_type IS 'licensed, or metered: billed by use, afterwards.';

COMMENT ON COLUMN stripe.prices.nickname IS 'price.nickname.';

COMMENT ON COLUMN stripe.prices.metadata IS 'The price''s metadata; version and feature_id have a meaning here (docs/record.md).';

COMMENT ON COLUMN stripe.prices.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.prices.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

COMMENT ON COLUMN stripe.prices.meter_id IS 'The billing meter whose count is charged for (recurring.meter). NULL: the price is not metered, or by old usage records.';

COMMENT ON COLUMN stripe.prices.tiers_mode IS 'graduated (each tier''s part of the quantity at its own price) or volume (all of it at the price of the tier that it reaches). NULL: no tiers.';

COMMENT ON COLUMN stripe.prices.tiers IS 'List of {up_to, unit_amount, flat_amount}: the tiers, amounts as decimals in minor units; up_to null is without end. Empty: no tiers. NULL: not known, since only a read tells them.';

COMMENT ON COLUMN stripe.prices.currency_options IS 'List of {currency, unit_amount, tiers}: what the price costs in other currencies. NULL: not known, since only a read tells them.';

COMMENT ON COLUMN stripe.prices.divide_quantity_by IS 'The quantity is divided by this before it is charged for (packages of so many). NULL: it is not.';

COMMENT ON COLUMN stripe.prices.round_quantity IS 'up or down: how a divided quantity becomes whole.';

CREATE TABLE stripe.products (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    name text,
    active boolean,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.products ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.products IS 'Stripe''s products: what is sold.';

COMMENT ON COLUMN stripe.products.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.products.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.products.id IS 'Stripe''s id of the product.';

COMMENT ON COLUMN stripe.products.created IS 'When the product was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.products.name IS 'product.name.';

COMMENT ON COLUMN stripe.products.active IS 'Whether it can be bought. NULL: this API version did not say.';

COMMENT ON COLUMN stripe.products.metadata IS 'The product''s metadata; product_id, version and feature_id have a meaning here (docs/record.md).';

COMMENT ON COLUMN stripe.products.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.products.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

CREATE TABLE stripe.reviews (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    charge_id text,
    payment_intent_id text,
    open boolean,
    opened_reason text,
    closed_reason text,
    reason text,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.reviews ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.reviews IS 'Stripe''s reviews: payments that a person at the company should look at.';

COMMENT ON COLUMN stripe.reviews.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.reviews.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.reviews.id IS 'Stripe''s id of the review.';

COMMENT ON COLUMN stripe.reviews.created IS 'When the review was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.reviews.charge_id IS 'Stripe''s id of the charge.';

COMMENT ON COLUMN stripe.reviews.payment_intent_id IS 'Stripe''s id of the PaymentIntent.';

COMMENT ON COLUMN stripe.reviews.open IS 'Whether it still waits for that person.';

COMMENT ON COLUMN stripe.reviews.opened_reason IS 'rule or manual.';

COMMENT ON COLUMN stripe.reviews.closed_reason IS 'approved, refunded, refunded_as_fraud, disputed, redacted, canceled ...; NULL: open.';

COMMENT ON COLUMN stripe.reviews.reason IS 'Why it is open, or why it was closed.';

COMMENT ON COLUMN stripe.reviews.deleted_at IS 'Always NULL: Stripe deletes none.';

COMMENT ON COLUMN stripe.reviews.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.setup_intents (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    status text,
    usage text,
    payment_method_id text,
    cancellation_reason text,
    description text,
    error_code text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.setup_intents ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.setup_intents IS 'Stripe''s SetupIntents: the keeping of a payment method for later, without a payment.';

COMMENT ON COLUMN stripe.setup_intents.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.setup_intents.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.setup_intents.id IS 'Stripe''s id of the SetupIntent.';

COMMENT ON COLUMN stripe.setup_intents.created IS 'When the SetupIntent was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.setup_intents.customer_id IS 'Stripe''s id of the customer. NULL: a guest.';

COMMENT ON COLUMN stripe.setup_intents.status IS 'requires_payment_method, requires_confirmation, requires_action, processing, succeeded or canceled. Open set.';

COMMENT ON COLUMN stripe.setup_intents.usage IS 'What it is kept for: off_session or on_session.';

COMMENT ON COLUMN stripe.setup_intents.payment_method_id IS 'Stripe''s id of the payment method.';

COMMENT ON COLUMN stripe.setup_intents.cancellation_reason IS 'Why it was canceled.';

COMMENT ON COLUMN stripe.setup_intents.description IS 'Free text. Personal: emptied when the customer is forgotten.';

COMMENT ON COLUMN stripe.setup_intents.error_code IS 'Why its last attempt failed, as Stripe''s code; NULL: it did not.';

COMMENT ON COLUMN stripe.setup_intents.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.setup_intents.deleted_at IS 'Always NULL: Stripe deletes none.';

COMMENT ON COLUMN stripe.setup_intents.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.subscription_items (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    subscription_id text NOT NULL,
    "position" bigint NOT NULL,
    created timestamp with time zone,
    price_id text,
    product_id text,
    quantity bigint,
    current_period_start timestamp with time zone,
    current_period_end timestamp with time zone,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    discounts jsonb
);

COMMENT ON TABLE stripe.subscription_items IS 'The items of the subscriptions, complete also beyond the number that Stripe puts into one answer once the subscription was read.';

COMMENT ON COLUMN stripe.subscription_items.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.subscription_items.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.subscription_items.id IS 'Stripe''s id of the item.';

COMMENT ON COLUMN stripe.subscription_items.subscription_id IS 'Stripe''s id of the subscription that holds it.';

COMMENT ON COLUMN stripe.subscription_items."position" IS 'Place in Stripe''s order, from 0. The first item decides product, price and quantity of the customer.';

COMMENT ON COLUMN stripe.subscription_items.created IS 'When the item was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.subscription_items.price_id IS 'Stripe''s id of its price (of its plan, in old shapes).';

COMMENT ON COLUMN stripe.subscription_items.product_id IS 'Stripe''s id of its product; NULL: this payload named the price alone.';

COMMENT ON COLUMN stripe.subscription_items.quantity IS 'How many units; NULL: metered.';

COMMENT ON COLUMN stripe.subscription_items.current_period_start IS 'Start of the item''s own period, since 2025-03-31.';

COMMENT ON COLUMN stripe.subscription_items.current_period_end IS 'End of the item''s own period, since 2025-03-31.';

COMMENT ON COLUMN stripe.subscription_items.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.subscription_items.discounts IS 'Discounts of this item alone, like stripe.subscriptions.discounts.';

CREATE TABLE stripe.subscription_schedule_items (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    schedule_id text NOT NULL,
    phase bigint NOT NULL,
    "position" bigint NOT NULL,
    phase_start timestamp with time zone,
    phase_end timestamp with time zone,
    price_id text,
    quantity bigint
);

COMMENT ON TABLE stripe.subscription_schedule_items IS 'What the phases of a subscription schedule hold, stored with it: one row per phase and price.';

COMMENT ON COLUMN stripe.subscription_schedule_items.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.subscription_schedule_items.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.subscription_schedule_items.id IS 'Phase and place within it, both from 0, as ''phase.place'': Stripe gives these no id.';

COMMENT ON COLUMN stripe.subscription_schedule_items.schedule_id IS 'Stripe''s id of the schedule.';

COMMENT ON COLUMN stripe.subscription_schedule_items.phase IS 'Number of the phase, from 0, in order of time.';

COMMENT ON COLUMN stripe.subscription_schedule_items."position" IS 'Place within the phase in Stripe''s order, from 0.';

COMMENT ON COLUMN stripe.subscription_schedule_items.phase_start IS 'When the phase begins.';

COMMENT ON COLUMN stripe.subscription_schedule_items.phase_end IS 'When the phase ends; NULL: open.';

COMMENT ON COLUMN stripe.subscription_schedule_items.price_id IS 'Stripe''s id of the price.';

COMMENT ON COLUMN stripe.subscription_schedule_items.quantity IS 'How many; NULL for metered prices.';

CREATE TABLE stripe.subscription_schedules (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    status text,
    subscription_id text,
    released_subscription_id text,
    starts_at timestamp with time zone,
    ends_at timestamp with time zone,
    current_phase_start timestamp with time zone,
    current_phase_end timestamp with time zone,
    end_behavior text,
    canceled_at timestamp with time zone,
    completed_at timestamp with time zone,
    released_at timestamp with time zone,
    test_clock text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.subscription_schedules ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.subscription_schedules IS 'Stripe''s subscription schedules: subscriptions that begin later, and changes that are planned for running ones.';

COMMENT ON COLUMN stripe.subscription_schedules.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.subscription_schedules.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.subscription_schedules.id IS 'Stripe''s id of the schedule.';

COMMENT ON COLUMN stripe.subscription_schedules.created IS 'When the schedule was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.subscription_schedules.customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN stripe.subscription_schedules.status IS 'not_started, active, completed, released or canceled. Open set.';

COMMENT ON COLUMN stripe.subscription_schedules.subscription_id IS 'Stripe''s id of the subscription that it runs; NULL while it has not started, and once it was released.';

COMMENT ON COLUMN stripe.subscription_schedules.released_subscription_id IS 'Stripe''s id of the subscription that it ran until it was released.';

COMMENT ON COLUMN stripe.subscription_schedules.starts_at IS 'When its first phase begins.';

COMMENT ON COLUMN stripe.subscription_schedules.ends_at IS 'When its last phase ends.';

COMMENT ON COLUMN stripe.subscription_schedules.current_phase_start IS 'When the phase began that runs now; NULL: none runs.';

COMMENT ON COLUMN stripe.subscription_schedules.current_phase_end IS 'When the phase ends that runs now.';

COMMENT ON COLUMN stripe.subscription_schedules.end_behavior IS 'What becomes of the subscription at the end: release or cancel.';

COMMENT ON COLUMN stripe.subscription_schedules.canceled_at IS 'When it was canceled.';

COMMENT ON COLUMN stripe.subscription_schedules.completed_at IS 'When its last phase was over.';

COMMENT ON COLUMN stripe.subscription_schedules.released_at IS 'When the subscription was released from it.';

COMMENT ON COLUMN stripe.subscription_schedules.test_clock IS 'Stripe''s id of the test clock that its time runs by; NULL: real time.';

COMMENT ON COLUMN stripe.subscription_schedules.metadata IS 'The object''s metadata, text to text, as it stands at Stripe.';

COMMENT ON COLUMN stripe.subscription_schedules.deleted_at IS 'Always NULL: Stripe deletes none.';

COMMENT ON COLUMN stripe.subscription_schedules.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE stripe.subscriptions (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    status text,
    start_date timestamp with time zone,
    trial_start timestamp with time zone,
    trial_end timestamp with time zone,
    cancel_at timestamp with time zone,
    cancel_at_period_end boolean DEFAULT false NOT NULL,
    canceled_at timestamp with time zone,
    ended_at timestamp with time zone,
    current_period_start timestamp with time zone,
    current_period_end timestamp with time zone,
    collection_method text,
    currency text,
    latest_invoice_id text,
    pause_collection text,
    billing_mode text,
    cancellation_reason text,
    schedule_id text,
    test_clock text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json,
    discounts jsonb
);
ALTER TABLE ONLY stripe.subscriptions ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.subscriptions IS 'Stripe''s subscriptions. Their items are in stripe.subscription_items.';

COMMENT ON COLUMN stripe.subscriptions.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.subscriptions.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.subscriptions.id IS 'Stripe''s id of the subscription.';

COMMENT ON COLUMN stripe.subscriptions.created IS 'When the subscription was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.subscriptions.customer_id IS 'Stripe''s id of the customer that subscribed.';

COMMENT ON COLUMN stripe.subscriptions.status IS 'Stripe''s own word, an open set. What it means is billing.customer_products.status.';

COMMENT ON COLUMN stripe.subscriptions.start_date IS 'When it started; may be before created where it was backdated.';

COMMENT ON COLUMN stripe.subscriptions.trial_start IS 'When its trial began: the first one (classic billing) or the latest one (flexible).';

COMMENT ON COLUMN stripe.subscriptions.trial_end IS 'When its trial ends or ended. Stripe never clears it, so it does not tell whether a trial runs.';

COMMENT ON COLUMN stripe.subscriptions.cancel_at IS 'When it is scheduled to end; NULL: no date is set.';

COMMENT ON COLUMN stripe.subscriptions.cancel_at_period_end IS 'Whether it is scheduled to end with its period. The portal sets only cancel_at on flexible subscriptions.';

COMMENT ON COLUMN stripe.subscriptions.canceled_at IS 'When the cancellation was asked for, not when it takes effect.';

COMMENT ON COLUMN stripe.subscriptions.ended_at IS 'When it ended.';

COMMENT ON COLUMN stripe.subscriptions.current_period_start IS 'Start of the period: the subscription''s own, or the latest among its items since 2025-03-31.';

COMMENT ON COLUMN stripe.subscriptions.current_period_end IS 'End of the period: the subscription''s own, or the latest among its items since 2025-03-31.';

COMMENT ON COLUMN stripe.subscriptions.collection_method IS 'charge_automatically or send_invoice.';

COMMENT ON COLUMN stripe.subscriptions.currency IS 'Three-letter ISO code in lower case.';

COMMENT ON COLUMN stripe.subscriptions.latest_invoice_id IS 'Stripe''s id of its latest invoice.';

COMMENT ON COLUMN stripe.subscriptions.pause_collection IS 'keep_as_draft, mark_uncollectible or void: what becomes of invoices while collection pauses. NULL: it does not.';

COMMENT ON COLUMN stripe.subscriptions.billing_mode IS 'classic or flexible; NULL counts as classic.';

COMMENT ON COLUMN stripe.subscriptions.cancellation_reason IS 'cancellation_details.reason: cancellation_requested, payment_failed, payment_disputed and others.';

COMMENT ON COLUMN stripe.subscriptions.schedule_id IS 'Stripe''s id of the schedule that manages it.';

COMMENT ON COLUMN stripe.subscriptions.test_clock IS 'Id of the test clock that it lives on; NULL: real time.';

COMMENT ON COLUMN stripe.subscriptions.metadata IS 'The subscription''s metadata; entity_id, external_id and renewals_before_import have a meaning here (docs/record.md).';

COMMENT ON COLUMN stripe.subscriptions.deleted_at IS 'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.subscriptions.raw IS 'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

COMMENT ON COLUMN stripe.subscriptions.discounts IS 'List of {id, coupon_id, percent_off, amount_off, currency, duration, ends} in the order in which they apply: percent_off as a decimal, amount_off in minor units. All but id null: not known, since Stripe named that discount by its id alone.';

CREATE TABLE stripe.tax_ids (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    id text NOT NULL,
    created timestamp with time zone,
    customer_id text,
    type text,
    country text,
    value text,
    verification_status text,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.tax_ids ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.tax_ids IS 'Stripe''s tax ids of customers.';

COMMENT ON COLUMN stripe.tax_ids.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN stripe.tax_ids.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN stripe.tax_ids.id IS 'Stripe''s id of the tax id.';

COMMENT ON COLUMN stripe.tax_ids.created IS 'When the tax id was created, by Stripe''s clock.';

COMMENT ON COLUMN stripe.tax_ids.customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN stripe.tax_ids.type IS 'eu_vat, us_ein ... Open set.';

COMMENT ON COLUMN stripe.tax_ids.country IS 'Two-letter code of the country.';

COMMENT ON COLUMN stripe.tax_ids.value IS 'The number itself. Personal: emptied when the customer is forgotten.';

COMMENT ON COLUMN stripe.tax_ids.verification_status IS 'pending, verified, unverified or unavailable; NULL: not verified by Stripe.';

COMMENT ON COLUMN stripe.tax_ids.deleted_at IS 'When it was deleted at Stripe: the time of its *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';

COMMENT ON COLUMN stripe.tax_ids.raw IS 'The object as Stripe sent it last. Empty once its customer is forgotten.';

CREATE TABLE sync.accounts (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    cursor_at timestamp with time zone,
    filled_at timestamp with time zone,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    error text,
    events_since timestamp with time zone
);

COMMENT ON TABLE sync.accounts IS 'The accounts that events came from, and how far their gaps are filled from /v1/events.';

COMMENT ON COLUMN sync.accounts.account_id IS 'Connected account, or empty: the account that owns the endpoint.';

COMMENT ON COLUMN sync.accounts.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.accounts.seen_at IS 'When the first event of it was applied.';

COMMENT ON COLUMN sync.accounts.cursor_at IS 'By Stripe''s clock: every event created before it is in the inbox. The next fill overlaps it.';

COMMENT ON COLUMN sync.accounts.filled_at IS 'When its gaps were last filled.';

COMMENT ON COLUMN sync.accounts.due_at IS 'When the next fill is due; while somebody fills, the lease.';

COMMENT ON COLUMN sync.accounts.error IS 'What the last failed fill said.';

COMMENT ON COLUMN sync.accounts.events_since IS 'By Stripe''s clock: every event since then has come, or comes with a fill. NULL before the first fill.';

CREATE TABLE sync.alarms (
    name text NOT NULL,
    detail text NOT NULL,
    raised_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE sync.alarms IS 'What an operator must see: a key of the wrong account, events that expired before they were read.';

COMMENT ON COLUMN sync.alarms.name IS 'What kind of alarm, and of what.';

COMMENT ON COLUMN sync.alarms.detail IS 'What is wrong and what to do.';

COMMENT ON COLUMN sync.alarms.raised_at IS 'Since when.';

CREATE TABLE sync.customers (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    customer_id text NOT NULL,
    stale bigint DEFAULT 0 NOT NULL,
    derived bigint DEFAULT 0 NOT NULL,
    stale_since timestamp with time zone,
    complete boolean DEFAULT false NOT NULL,
    leased_until timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    parked_at timestamp with time zone,
    error text,
    history_at timestamp with time zone,
    history_attempts integer DEFAULT 0 NOT NULL,
    history_error text,
    rederive_at timestamp with time zone,
    history_asked bigint DEFAULT 0 NOT NULL,
    known_from timestamp with time zone
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

COMMENT ON TABLE sync.customers IS 'Which customers'' records are older than their facts.';

COMMENT ON COLUMN sync.customers.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN sync.customers.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.customers.customer_id IS 'Stripe customer id.';

COMMENT ON COLUMN sync.customers.stale IS 'Raised by one in each transaction that writes a fact of this customer.';

COMMENT ON COLUMN sync.customers.derived IS 'The value of stale that was read before the facts of the stored record. Stale while stale > derived.';

COMMENT ON COLUMN sync.customers.stale_since IS 'When it became stale: orders the work and measures the lag.';

COMMENT ON COLUMN sync.customers.complete IS 'Its history is known from the start: customer.created was received, or a backfill or history pull covers it.';

COMMENT ON COLUMN sync.customers.leased_until IS 'A worker derives it until then.';

COMMENT ON COLUMN sync.customers.attempts IS 'Derivations begun since the last success, counted before the work.';

COMMENT ON COLUMN sync.customers.parked_at IS 'Deriving failed again and again; see error.';

COMMENT ON COLUMN sync.customers.error IS 'What the last failed derivation said.';

COMMENT ON COLUMN sync.customers.history_at IS 'When its history is to be pulled from Stripe; while somebody pulls, the lease. NULL: not wanted.';

COMMENT ON COLUMN sync.customers.history_attempts IS 'Pulls begun since the last success, counted before the first request.';

COMMENT ON COLUMN sync.customers.history_error IS 'What the last failed pull said.';

COMMENT ON COLUMN sync.customers.rederive_at IS 'When its record changes by time alone (a sandbox grant ends), as of its last derivation: it is derived again then. NULL: never.';

COMMENT ON COLUMN sync.customers.history_asked IS 'How often somebody asked for its history. A pull answers what was asked before it began; 0: wanted, if at all, only because the customer was first seen in the middle.';

COMMENT ON COLUMN sync.customers.known_from IS 'When the event was created by which the customer is complete; NULL where its lists were read, or nothing has made it complete.';

CREATE TABLE sync.drift (
    scan_id bigint NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    what text NOT NULL,
    fields text[] DEFAULT '{}'::text[] NOT NULL,
    currency text,
    amount bigint DEFAULT 0 NOT NULL,
    verified boolean DEFAULT false NOT NULL,
    repaired boolean DEFAULT false NOT NULL,
    said json,
    error text,
    read_tick bigint,
    CONSTRAINT what_is_known CHECK ((what = ANY (ARRAY['differs'::text, 'lacking'::text, 'surplus'::text, 'cut'::text])))
);

COMMENT ON TABLE sync.drift IS 'What audits found: one row per object or record that does not agree with Stripe. Rows that turn out to agree when they are read by id go away.';

COMMENT ON COLUMN sync.drift.scan_id IS 'The audit.';

COMMENT ON COLUMN sync.drift.kind IS 'Kind of the mirrored object, or `record` for a row of billing.customers with its parts.';

COMMENT ON COLUMN sync.drift.id IS 'Stripe id; of a record, the Stripe customer id.';

COMMENT ON COLUMN sync.drift.what IS 'differs; lacking (Stripe has it, we do not); surplus (we have it, the list has not); cut (a list inside it was cut, so it is read by its id before anything is said of it).';

COMMENT ON COLUMN sync.drift.fields IS 'The columns that differ.';

COMMENT ON COLUMN sync.drift.currency IS 'Currency of the amount.';

COMMENT ON COLUMN sync.drift.amount IS 'Minor units: what is right minus what is stored. Of charges the amount captured, of refunds and disputes their amount, of invoices and invoice payments the amount paid, of records the lifetime revenue.';

COMMENT ON COLUMN sync.drift.verified IS 'A read by id, or for a record a second derivation, has said so too.';

COMMENT ON COLUMN sync.drift.repaired IS 'It was marked, so that confirm and derive mend it.';

COMMENT ON COLUMN sync.drift.said IS 'What Stripe said of the object when it was read by its id; NULL where it knows none.';

COMMENT ON COLUMN sync.drift.error IS 'Why it was given up without being verified: what Stripe answered when it was read by its id, or what in the answer is not understood.';

COMMENT ON COLUMN sync.drift.read_tick IS 'sync.tick drawn before the read that verified it: what was marked, told or read since is younger than `said`. NULL for a record.';

ALTER TABLE sync.events ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME sync.events_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE sync.forgotten (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    customer_id text NOT NULL,
    forgotten_at timestamp with time zone DEFAULT now() NOT NULL,
    erased_at timestamp with time zone
);

COMMENT ON TABLE sync.forgotten IS 'Customers whose personal data was erased: whatever is heard of them later is not stored.';

COMMENT ON COLUMN sync.forgotten.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN sync.forgotten.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.forgotten.customer_id IS 'Stripe customer id: all that is kept of who it was.';

COMMENT ON COLUMN sync.forgotten.forgotten_at IS 'When it was asked for: from then on nothing is stored any more.';

COMMENT ON COLUMN sync.forgotten.erased_at IS 'When the last of what was stored had been erased. NULL: under way, or cut short.';

CREATE TABLE sync.key (
    only_row boolean DEFAULT true NOT NULL,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    first_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT key_only_row_check CHECK (only_row)
);

COMMENT ON TABLE sync.key IS 'Whose API key this database was filled with. A key of another account or mode is refused.';

COMMENT ON COLUMN sync.key.only_row IS 'There is one row.';

COMMENT ON COLUMN sync.key.account_id IS 'Stripe''s id of the key''s own account.';

COMMENT ON COLUMN sync.key.live_mode IS 'The key''s mode.';

COMMENT ON COLUMN sync.key.first_at IS 'When a key of it first worked.';

CREATE TABLE sync.objects (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    kind text NOT NULL,
    id text NOT NULL,
    customer_id text,
    dirty bigint DEFAULT 0 NOT NULL,
    confirmed bigint DEFAULT 0 NOT NULL,
    tombstone boolean DEFAULT false NOT NULL,
    first_marked_at timestamp with time zone,
    read_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    error text,
    missing_since timestamp with time zone,
    parked_at timestamp with time zone,
    shown_created timestamp with time zone,
    shown_seq bigint DEFAULT 0 NOT NULL,
    terminal boolean DEFAULT false NOT NULL,
    deleted_event_at timestamp with time zone,
    event_id text,
    event_created timestamp with time zone,
    source text,
    late_reads integer DEFAULT 0 NOT NULL,
    contradictions integer DEFAULT 0 NOT NULL,
    contradicted_at timestamp with time zone,
    touched bigint DEFAULT 0 NOT NULL,
    resolved bigint DEFAULT 0 NOT NULL,
    touched_at timestamp with time zone,
    unsettled boolean GENERATED ALWAYS AS (((NOT tombstone) AND ((dirty >= confirmed) OR (missing_since IS NOT NULL) OR (parked_at IS NOT NULL)))) STORED,
    told bigint DEFAULT 0 NOT NULL,
    fan_touched bigint,
    fan_after text,
    unreadable integer DEFAULT 0 NOT NULL
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

COMMENT ON TABLE sync.objects IS 'The fence: per Stripe object, what is known to have changed and what was read since.';

COMMENT ON COLUMN sync.objects.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN sync.objects.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.objects.kind IS 'Name of the kind in billing/registry.py.';

COMMENT ON COLUMN sync.objects.id IS 'Stripe id.';

COMMENT ON COLUMN sync.objects.customer_id IS 'The Stripe customer that the object names, once known. NULL for kinds that name none.';

COMMENT ON COLUMN sync.objects.dirty IS 'Tick of the newest mark: something about it changed before this number was drawn. -1: events have told of it, and it is of a kind that no event has read.';

COMMENT ON COLUMN sync.objects.confirmed IS 'Tick of the read that is stored, drawn before its request left. Confirmed means confirmed > dirty.';

COMMENT ON COLUMN sync.objects.tombstone IS 'Deleted at Stripe, seen by a read: nothing is written any more.';

COMMENT ON COLUMN sync.objects.first_marked_at IS 'When it became dirty: bounds how long a burst may postpone the read.';

COMMENT ON COLUMN sync.objects.read_at IS 'When the next read is due; while a worker reads, its lease. NULL: no read is due.';

COMMENT ON COLUMN sync.objects.attempts IS 'Reads begun since the last success, counted before the request.';

COMMENT ON COLUMN sync.objects.error IS 'What the last failed read said.';

COMMENT ON COLUMN sync.objects.missing_since IS 'Stripe answered 404 and nothing proves a deletion: the row stays, exact is false.';

COMMENT ON COLUMN sync.objects.parked_at IS 'Given up until somebody replays it; see error.';

COMMENT ON COLUMN sync.objects.shown_created IS 'Stripe''s time of the payload or read last shown (provisional rule).';

COMMENT ON COLUMN sync.objects.shown_seq IS 'Inbox number of the payload last shown (provisional rule).';

COMMENT ON COLUMN sync.objects.terminal IS 'The state shown is one that Stripe never leaves: no payload may take it back, only a read.';

COMMENT ON COLUMN sync.objects.deleted_event_at IS 'event.created of its *.deleted event.';

COMMENT ON COLUMN sync.objects.event_id IS 'The event last applied to it.';

COMMENT ON COLUMN sync.objects.event_created IS 'event.created of that event.';

COMMENT ON COLUMN sync.objects.source IS 'Who marked it last: event, sweep, audit, deadline, backfill.';

COMMENT ON COLUMN sync.objects.late_reads IS 'Reads since a deadline of it passed without the change that it announces: spaces out the next ones.';

COMMENT ON COLUMN sync.objects.contradictions IS 'Reads in a row that took back a fact which Stripe never takes back: asked again before they are believed.';

COMMENT ON COLUMN sync.objects.contradicted_at IS 'When the first of these reads was made.';

COMMENT ON COLUMN sync.objects.touched IS 'Raised with each write of a row that names no customer; who is concerned is resolved later, from committed rows.';

COMMENT ON COLUMN sync.objects.resolved IS 'The value of touched up to which the concerned customers were marked.';

COMMENT ON COLUMN sync.objects.touched_at IS 'When touched was last raised.';

COMMENT ON COLUMN sync.objects.unsettled IS 'A read is pending, or the object is missing or parked: its customer is not exact.';

COMMENT ON COLUMN sync.objects.told IS 'Of kinds that no event has read (billing/registry.py): tick of the newest event about it. A list that was asked for before it, and is stored after it, has the object read again.';

COMMENT ON COLUMN sync.objects.fan_touched IS 'Of catalogue, while the customers whom it concerns are being marked batch by batch: the value of touched that this will have resolved. NULL: that is not begun.';

COMMENT ON COLUMN sync.objects.fan_after IS 'How far that is: the last subscription, of a feature the last customer, in the order of their ids.';

COMMENT ON COLUMN sync.objects.unreadable IS 'Answers in a row, outages between them not counted, that could not be understood or stored: after five it is parked. 0 again once a read is stored, or what was parked is marked.';

CREATE TABLE sync.problems (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    customer_id text NOT NULL,
    kind text NOT NULL,
    object_id text NOT NULL,
    detail text NOT NULL,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL
);

COMMENT ON TABLE sync.problems IS 'What somebody should look at: refused custom_uids, unknown statuses. Goes away when it is mended.';

COMMENT ON COLUMN sync.problems.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN sync.problems.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.problems.customer_id IS 'Stripe customer id whose record is concerned.';

COMMENT ON COLUMN sync.problems.kind IS 'What kind of problem: custom_uid_invalid, custom_uid_taken, status_unknown, sandbox_end_invalid.';

COMMENT ON COLUMN sync.problems.object_id IS 'The Stripe object that causes it.';

COMMENT ON COLUMN sync.problems.detail IS 'What is wrong and what to do.';

COMMENT ON COLUMN sync.problems.first_seen_at IS 'When it was first seen.';

CREATE TABLE sync.rebuilds (
    id bigint NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    finished_at timestamp with time zone,
    account_id text DEFAULT ''::text NOT NULL,
    live_mode boolean DEFAULT false NOT NULL,
    customer_id text DEFAULT ''::text NOT NULL,
    derived bigint DEFAULT 0 NOT NULL,
    changed bigint DEFAULT 0 NOT NULL
);

COMMENT ON TABLE sync.rebuilds IS 'Rebuilds of all records, and how far each one came: a rebuild that was cut short goes on from there.';

COMMENT ON COLUMN sync.rebuilds.id IS 'Numbers the rebuilds.';

COMMENT ON COLUMN sync.rebuilds.started_at IS 'When it began.';

COMMENT ON COLUMN sync.rebuilds.finished_at IS 'When the last customer was derived. NULL: under way, or cut short.';

COMMENT ON COLUMN sync.rebuilds.account_id IS 'Account of the last customer that was derived.';

COMMENT ON COLUMN sync.rebuilds.live_mode IS 'Mode of the last customer that was derived.';

COMMENT ON COLUMN sync.rebuilds.customer_id IS 'Stripe id of the last customer that was derived; customers are taken in the order of (account_id, live_mode, customer_id).';

COMMENT ON COLUMN sync.rebuilds.derived IS 'How many customers it has taken so far.';

COMMENT ON COLUMN sync.rebuilds.changed IS 'How many of their records came out different.';

ALTER TABLE sync.rebuilds ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME sync.rebuilds_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE sync.scan_windows (
    scan_id bigint NOT NULL,
    kind text NOT NULL,
    low timestamp with time zone NOT NULL,
    high timestamp with time zone NOT NULL,
    state text DEFAULT 'open'::text NOT NULL,
    cursor_id text,
    cursor_created timestamp with time zone,
    edge_ids text[] DEFAULT '{}'::text[] NOT NULL,
    objects bigint DEFAULT 0 NOT NULL,
    requests integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    error text,
    variant text DEFAULT ''::text NOT NULL,
    CONSTRAINT low_is_below_high CHECK ((low < high)),
    CONSTRAINT state_is_known CHECK ((state = ANY (ARRAY['open'::text, 'done'::text, 'failed'::text])))
)
WITH (fillfactor='70');

COMMENT ON TABLE sync.scan_windows IS 'What a scan reads: for each kind and each reading of its list, stretches of `created` that tile the whole. A stretch that holds much is halved while it is read.';

COMMENT ON COLUMN sync.scan_windows.scan_id IS 'The scan.';

COMMENT ON COLUMN sync.scan_windows.kind IS 'The kind whose list is read.';

COMMENT ON COLUMN sync.scan_windows.low IS 'Objects created at or after it ...';

COMMENT ON COLUMN sync.scan_windows.high IS '... and before it. Never changes: a split takes the older part away.';

COMMENT ON COLUMN sync.scan_windows.state IS 'open; done (the last page said that nothing follows); failed (given up, see error).';

COMMENT ON COLUMN sync.scan_windows.cursor_id IS 'The last object of the last stored page, committed with it. The list goes on after it, towards older ones.';

COMMENT ON COLUMN sync.scan_windows.cursor_created IS 'When that object was created.';

COMMENT ON COLUMN sync.scan_windows.edge_ids IS 'Of an audit: the objects seen that were created in the very second of the cursor.';

COMMENT ON COLUMN sync.scan_windows.objects IS 'Objects of this kind that its pages held.';

COMMENT ON COLUMN sync.scan_windows.requests IS 'Requests that its pages took.';

COMMENT ON COLUMN sync.scan_windows.due_at IS 'When its next page is due; while a worker reads, the lease.';

COMMENT ON COLUMN sync.scan_windows.attempts IS 'Requests begun since the last success, counted before the request.';

COMMENT ON COLUMN sync.scan_windows.error IS 'What the last failed request said.';

COMMENT ON COLUMN sync.scan_windows.variant IS 'What the list is asked for beside all else (active=true, active=false), where no single reading of it holds everything; empty where one does.';

CREATE TABLE sync.scans (
    id bigint NOT NULL,
    purpose text NOT NULL,
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    kinds text[] NOT NULL,
    since timestamp with time zone,
    until timestamp with time zone,
    customer_id text,
    whole boolean NOT NULL,
    repair boolean DEFAULT false NOT NULL,
    status text DEFAULT 'queued'::text NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    horizon timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    begun_tick bigint,
    step text DEFAULT 'begin'::text NOT NULL,
    step_cursor text DEFAULT ''::text NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    error text,
    unread text,
    CONSTRAINT purpose_is_known CHECK ((purpose = ANY (ARRAY['backfill'::text, 'audit'::text]))),
    CONSTRAINT something_is_read CHECK ((cardinality(kinds) > 0)),
    CONSTRAINT status_is_known CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'complete'::text, 'partial'::text, 'failed'::text, 'canceled'::text]))),
    CONSTRAINT whole_has_no_bounds CHECK ((NOT (whole AND (((since IS DISTINCT FROM NULL::timestamp with time zone) OR (until IS DISTINCT FROM NULL::timestamp with time zone)) OR (customer_id IS DISTINCT FROM NULL::text)))))
);

COMMENT ON TABLE sync.scans IS 'Readings of an account''s lists from end to end: a backfill stores what it reads, an audit compares it.';

COMMENT ON COLUMN sync.scans.id IS 'Number of the backfill or audit.';

COMMENT ON COLUMN sync.scans.purpose IS 'backfill or audit.';

COMMENT ON COLUMN sync.scans.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN sync.scans.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.scans.kinds IS 'The kinds whose lists are read; others come with their parents.';

COMMENT ON COLUMN sync.scans.since IS 'Only objects created at or after it. NULL: from the beginning of the account.';

COMMENT ON COLUMN sync.scans.until IS 'Only objects created before it. NULL: up to the start of the reading.';

COMMENT ON COLUMN sync.scans.customer_id IS 'Only this Stripe customer. NULL: all.';

COMMENT ON COLUMN sync.scans.whole IS 'Every kind, from the beginning to the start: what it has read to the end makes customers complete.';

COMMENT ON COLUMN sync.scans.repair IS 'An audit that has what differs read again by id.';

COMMENT ON COLUMN sync.scans.status IS 'queued; running; complete (every window was read to its end); partial (some were not, see error); failed (nothing could be read); canceled.';

COMMENT ON COLUMN sync.scans.requested_at IS 'When somebody, or the schedule, asked for it.';

COMMENT ON COLUMN sync.scans.horizon IS 'By Stripe''s clock, when it began: what is younger comes as events. Windows end here.';

COMMENT ON COLUMN sync.scans.started_at IS 'When its first request left.';

COMMENT ON COLUMN sync.scans.finished_at IS 'When its last step was done. NULL: something is still to be done, also after a cancellation.';

COMMENT ON COLUMN sync.scans.begun_tick IS 'sync.tick at its start: a row confirmed later than this is younger than what the lists may say.';

COMMENT ON COLUMN sync.scans.step IS 'begin, lists, or what comes after them.';

COMMENT ON COLUMN sync.scans.step_cursor IS 'How far the step is: the last Stripe id that it has dealt with.';

COMMENT ON COLUMN sync.scans.due_at IS 'When its next step is due; while a worker does it, the lease.';

COMMENT ON COLUMN sync.scans.attempts IS 'Turns at the step since its last success, counted before the work.';

COMMENT ON COLUMN sync.scans.error IS 'Why it is partial or has failed: which kind, which window, what Stripe said.';

COMMENT ON COLUMN sync.scans.unread IS 'What a step after the lists could not read, and why: the steps after it were done, nobody is complete by it, and it ends as partial. NULL: nothing.';

ALTER TABLE sync.scans ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME sync.scans_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE SEQUENCE sync.tick
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE sync.tick IS 'The only clock that orders anything: marks and reads of Stripe draw from it. Cache 1, so that a number drawn later is greater.';

CREATE VIEW sync.uid_claims AS
 SELECT customers.account_id,
    customers.live_mode,
    customers.custom_uid,
    customers.id AS customer_id,
    'metadata'::text AS source,
    customers.created AS customer_created
   FROM stripe.customers
  WHERE (customers.custom_uid ~ '^[A-Za-z0-9._~-]{1,255}$'::text)
UNION ALL
 SELECT s.account_id,
    s.live_mode,
    s.client_reference_id AS custom_uid,
    s.customer_id,
    'checkout'::text AS source,
    c.created AS customer_created
   FROM (stripe.checkout_sessions s
     LEFT JOIN stripe.customers c ON (((c.account_id = s.account_id) AND (c.live_mode = s.live_mode) AND (c.id = s.customer_id))))
  WHERE ((s.status = 'complete'::text) AND (s.client_reference_id ~ '^[A-Za-z0-9._~-]{1,255}$'::text) AND (s.customer_id IS NOT NULL) AND ((c.custom_uid IS NULL) OR (c.custom_uid !~ '^[A-Za-z0-9._~-]{1,255}$'::text)) AND (NOT (EXISTS ( SELECT
           FROM stripe.checkout_sessions later
          WHERE ((later.account_id = s.account_id) AND (later.live_mode = s.live_mode) AND (later.customer_id = s.customer_id) AND (later.status = 'complete'::text) AND (later.client_reference_id IS NOT NULL) AND (ROW(later.created, (later.id COLLATE "C")) > ROW(s.created, (s.id COLLATE "C"))))))))
UNION ALL
 SELECT i.account_id,
    i.live_mode,
    i.custom_uid,
    i.stripe_customer_id AS customer_id,
    'local'::text AS source,
    c.created AS customer_created
   FROM (billing.identities i
     LEFT JOIN stripe.customers c ON (((c.account_id = i.account_id) AND (c.live_mode = i.live_mode) AND (c.id = i.stripe_customer_id))))
  WHERE ((i.custom_uid IS NOT NULL) AND (i.stripe_customer_id IS NOT NULL) AND ((c.custom_uid IS NULL) OR (c.custom_uid !~ '^[A-Za-z0-9._~-]{1,255}$'::text)) AND (COALESCE(( SELECT latest.client_reference_id
           FROM stripe.checkout_sessions latest
          WHERE ((latest.account_id = i.account_id) AND (latest.live_mode = i.live_mode) AND (latest.customer_id = i.stripe_customer_id) AND (latest.status = 'complete'::text) AND (latest.client_reference_id IS NOT NULL))
          ORDER BY latest.created DESC, (latest.id COLLATE "C") DESC
         LIMIT 1), ''::text) !~ '^[A-Za-z0-9._~-]{1,255}$'::text));

COMMENT ON VIEW sync.uid_claims IS 'Each customer''s claim of a custom_uid, by its first valid source. A view, so that it never disagrees with the mirror.';

COMMENT ON COLUMN sync.uid_claims.account_id IS 'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';

COMMENT ON COLUMN sync.uid_claims.live_mode IS 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';

COMMENT ON COLUMN sync.uid_claims.custom_uid IS 'The name that is claimed.';

COMMENT ON COLUMN sync.uid_claims.customer_id IS 'Stripe''s id of the customer that claims it.';

COMMENT ON COLUMN sync.uid_claims.source IS 'metadata, checkout or local: where the claim stands.';

COMMENT ON COLUMN sync.uid_claims.customer_created IS 'When that customer was created at Stripe: the earliest wins. NULL: not seen yet, and last.';

CREATE TABLE sync.usage (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    customer_id text NOT NULL,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    asked bigint DEFAULT 0 NOT NULL,
    answered bigint DEFAULT 0 NOT NULL,
    read_at timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    error text
)
WITH (fillfactor='70');

COMMENT ON TABLE sync.usage IS 'The customers whose usage is read: those with a metered subscription, and those who were asked for.';

COMMENT ON COLUMN sync.usage.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN sync.usage.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.usage.customer_id IS 'Stripe''s id of the customer.';

COMMENT ON COLUMN sync.usage.due_at IS 'When its next reading is due; while a worker reads, the lease. Infinity: it has no metered subscription now.';

COMMENT ON COLUMN sync.usage.asked IS 'How often somebody asked for a reading.';

COMMENT ON COLUMN sync.usage.answered IS 'The value of `asked` before the latest reading began: what was asked until then is answered.';

COMMENT ON COLUMN sync.usage.read_at IS 'When its latest reading was stored. NULL: never.';

COMMENT ON COLUMN sync.usage.attempts IS 'Readings begun since the last success, counted before the request.';

COMMENT ON COLUMN sync.usage.error IS 'Why the latest reading failed, or what of it Stripe refused.';

CREATE TABLE sync.workers (
    id text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    beat_at timestamp with time zone DEFAULT now() NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);

COMMENT ON TABLE sync.workers IS 'Heartbeats: one row per running worker process.';

COMMENT ON COLUMN sync.workers.id IS 'host:pid:start.';

COMMENT ON COLUMN sync.workers.started_at IS 'When the process started.';

COMMENT ON COLUMN sync.workers.beat_at IS 'Last sign of life.';

COMMENT ON COLUMN sync.workers.detail IS 'What it says of itself: version, Redis state, restarts of its arq workers.';

ALTER TABLE ONLY billing.customers
    ADD CONSTRAINT custom_uid_is_unique UNIQUE (account_id, live_mode, custom_uid) DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE ONLY billing.customer_features
    ADD CONSTRAINT customer_features_pkey PRIMARY KEY (account_id, live_mode, stripe_customer_id, feature_id);

ALTER TABLE ONLY billing.customer_mrr
    ADD CONSTRAINT customer_mrr_pkey PRIMARY KEY (account_id, live_mode, stripe_customer_id, currency);

ALTER TABLE ONLY billing.customer_products
    ADD CONSTRAINT customer_products_id_key UNIQUE (id);

ALTER TABLE ONLY billing.customer_products
    ADD CONSTRAINT customer_products_pkey PRIMARY KEY (account_id, live_mode, stripe_subscription_id, stripe_product_id);

ALTER TABLE ONLY billing.customer_revenue
    ADD CONSTRAINT customer_revenue_pkey PRIMARY KEY (account_id, live_mode, stripe_customer_id, currency);

ALTER TABLE ONLY billing.customer_usage
    ADD CONSTRAINT customer_usage_pkey PRIMARY KEY (account_id, live_mode, stripe_customer_id, stripe_subscription_id, meter_id);

ALTER TABLE ONLY billing.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (uid);

ALTER TABLE ONLY billing.identities
    ADD CONSTRAINT identities_account_id_live_mode_stripe_customer_id_key UNIQUE (account_id, live_mode, stripe_customer_id);

ALTER TABLE ONLY billing.identities
    ADD CONSTRAINT identities_pkey PRIMARY KEY (uid);

ALTER TABLE ONLY billing.local_entities
    ADD CONSTRAINT local_entities_customer_uid_id_key UNIQUE (customer_uid, id);

ALTER TABLE ONLY billing.local_entities
    ADD CONSTRAINT local_entities_pkey PRIMARY KEY (uid);

ALTER TABLE ONLY billing.mrr_changes
    ADD CONSTRAINT mrr_changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY billing.status_changes
    ADD CONSTRAINT status_changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY billing.customers
    ADD CONSTRAINT stripe_customer_is_unique UNIQUE (account_id, live_mode, stripe_customer_id);

ALTER TABLE ONLY billing.subscription_entities
    ADD CONSTRAINT subscription_entities_pkey PRIMARY KEY (account_id, live_mode, stripe_customer_id, id);

ALTER TABLE ONLY billing.subscription_entities
    ADD CONSTRAINT subscription_entities_uid_key UNIQUE (uid);

ALTER TABLE ONLY stripe.active_entitlement_summaries
    ADD CONSTRAINT active_entitlement_summaries_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.active_entitlements
    ADD CONSTRAINT active_entitlements_pkey PRIMARY KEY (account_id, live_mode, customer_id, id);

ALTER TABLE ONLY stripe.balance_transactions
    ADD CONSTRAINT balance_transactions_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.charges
    ADD CONSTRAINT charges_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.checkout_line_items
    ADD CONSTRAINT checkout_line_items_pkey PRIMARY KEY (account_id, live_mode, session_id, id);

ALTER TABLE ONLY stripe.checkout_sessions
    ADD CONSTRAINT checkout_sessions_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.coupons
    ADD CONSTRAINT coupons_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.credit_notes
    ADD CONSTRAINT credit_notes_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.disputes
    ADD CONSTRAINT disputes_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.early_fraud_warnings
    ADD CONSTRAINT early_fraud_warnings_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.features
    ADD CONSTRAINT features_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.invoice_payments
    ADD CONSTRAINT invoice_payments_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.invoices
    ADD CONSTRAINT invoices_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.meters
    ADD CONSTRAINT meters_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.payment_intents
    ADD CONSTRAINT payment_intents_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.payment_methods
    ADD CONSTRAINT payment_methods_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.payouts
    ADD CONSTRAINT payouts_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.prices
    ADD CONSTRAINT prices_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.products
    ADD CONSTRAINT products_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.reviews
    ADD CONSTRAINT reviews_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.setup_intents
    ADD CONSTRAINT setup_intents_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.subscription_items
    ADD CONSTRAINT subscription_items_pkey PRIMARY KEY (account_id, live_mode, subscription_id, id);

ALTER TABLE ONLY stripe.subscription_schedule_items
    ADD CONSTRAINT subscription_schedule_items_pkey PRIMARY KEY (account_id, live_mode, schedule_id, id);

ALTER TABLE ONLY stripe.subscription_schedules
    ADD CONSTRAINT subscription_schedules_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.tax_ids
    ADD CONSTRAINT tax_ids_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY sync.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (account_id, live_mode);

ALTER TABLE ONLY sync.alarms
    ADD CONSTRAINT alarms_pkey PRIMARY KEY (name);

ALTER TABLE ONLY sync.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (account_id, live_mode, customer_id);

ALTER TABLE ONLY sync.drift
    ADD CONSTRAINT drift_pkey PRIMARY KEY (scan_id, kind, id);

ALTER TABLE ONLY sync.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (account_id, live_mode, event_id);

ALTER TABLE ONLY sync.events
    ADD CONSTRAINT events_seq_key UNIQUE (seq);

ALTER TABLE ONLY sync.forgotten
    ADD CONSTRAINT forgotten_pkey PRIMARY KEY (account_id, live_mode, customer_id);

ALTER TABLE ONLY sync.key
    ADD CONSTRAINT key_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY sync.milestones
    ADD CONSTRAINT milestones_pkey PRIMARY KEY (name);

ALTER TABLE ONLY sync.objects
    ADD CONSTRAINT objects_pkey PRIMARY KEY (account_id, live_mode, kind, id);

ALTER TABLE ONLY sync.problems
    ADD CONSTRAINT problems_pkey PRIMARY KEY (account_id, live_mode, customer_id, kind, object_id);

ALTER TABLE ONLY sync.rebuilds
    ADD CONSTRAINT rebuilds_pkey PRIMARY KEY (id);

ALTER TABLE ONLY sync.scan_windows
    ADD CONSTRAINT scan_windows_readings PRIMARY KEY (scan_id, kind, variant, high);

ALTER TABLE ONLY sync.scans
    ADD CONSTRAINT scans_pkey PRIMARY KEY (id);

ALTER TABLE ONLY sync.usage
    ADD CONSTRAINT usage_pkey PRIMARY KEY (account_id, live_mode, customer_id);

ALTER TABLE ONLY sync.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

CREATE INDEX customer_features_lookup_key ON billing.customer_features USING btree (account_id, live_mode, lookup_key);

CREATE INDEX customer_features_uid ON billing.customer_features USING btree (customer_uid);

CREATE INDEX customer_mrr_uid ON billing.customer_mrr USING btree (customer_uid);

CREATE INDEX customer_products_customer ON billing.customer_products USING btree (account_id, live_mode, stripe_customer_id);

CREATE INDEX customer_products_product ON billing.customer_products USING btree (product_id, status);

CREATE INDEX customer_products_uid ON billing.customer_products USING btree (customer_uid);

CREATE INDEX customer_revenue_uid ON billing.customer_revenue USING btree (customer_uid);

CREATE INDEX customer_usage_uid ON billing.customer_usage USING btree (customer_uid);

CREATE UNIQUE INDEX customers_change ON billing.customers USING btree (change);

CREATE INDEX customers_email ON billing.customers USING btree (email);

CREATE INDEX customers_status ON billing.customers USING btree (account_id, live_mode, status);

CREATE INDEX customers_subscription ON billing.customers USING btree (stripe_subscription_id) WHERE (stripe_subscription_id IS NOT NULL);

CREATE INDEX identities_custom_uid ON billing.identities USING btree (account_id, live_mode, custom_uid) WHERE (custom_uid IS NOT NULL);

CREATE INDEX mrr_changes_customer ON billing.mrr_changes USING btree (customer_uid, currency, id);

CREATE INDEX status_changes_customer ON billing.status_changes USING btree (customer_uid, id);

CREATE INDEX status_changes_provisional ON billing.status_changes USING btree (customer_uid, id) WHERE (NOT exact);

CREATE INDEX subscription_entities_customer ON billing.subscription_entities USING btree (customer_uid, id);

CREATE INDEX active_entitlements_of_feature ON stripe.active_entitlements USING btree (account_id, live_mode, feature_id, customer_id);

CREATE INDEX balance_transactions_created ON stripe.balance_transactions USING btree (account_id, live_mode, created);

CREATE INDEX balance_transactions_source ON stripe.balance_transactions USING btree (account_id, live_mode, source_id);

CREATE INDEX charges_created ON stripe.charges USING btree (account_id, live_mode, created);

CREATE INDEX charges_customer ON stripe.charges USING btree (account_id, live_mode, customer_id);

CREATE INDEX charges_guest ON stripe.charges USING btree (account_id, live_mode, payment_intent_id) WHERE (customer_id IS NULL);

CREATE INDEX checkout_sessions_client_reference_id ON stripe.checkout_sessions USING btree (account_id, live_mode, client_reference_id) WHERE (client_reference_id IS NOT NULL);

CREATE INDEX checkout_sessions_created ON stripe.checkout_sessions USING btree (account_id, live_mode, created);

CREATE INDEX checkout_sessions_customer ON stripe.checkout_sessions USING btree (account_id, live_mode, customer_id);

CREATE INDEX checkout_sessions_payment_intent ON stripe.checkout_sessions USING btree (account_id, live_mode, payment_intent_id) WHERE (payment_intent_id IS NOT NULL);

CREATE INDEX coupons_created ON stripe.coupons USING btree (account_id, live_mode, created);

CREATE INDEX credit_notes_created ON stripe.credit_notes USING btree (account_id, live_mode, created);

CREATE INDEX credit_notes_customer ON stripe.credit_notes USING btree (account_id, live_mode, customer_id);

CREATE INDEX credit_notes_invoice ON stripe.credit_notes USING btree (account_id, live_mode, invoice_id);

CREATE INDEX customers_coupons ON stripe.customers USING gin (discounts jsonb_path_ops) WHERE (discounts <> '[]'::jsonb);

CREATE INDEX customers_created ON stripe.customers USING btree (account_id, live_mode, created);

CREATE INDEX customers_custom_uid ON stripe.customers USING btree (account_id, live_mode, custom_uid) WHERE (custom_uid IS NOT NULL);

CREATE INDEX disputes_charge ON stripe.disputes USING btree (account_id, live_mode, charge_id);

CREATE INDEX early_fraud_warnings_charge ON stripe.early_fraud_warnings USING btree (account_id, live_mode, charge_id);

CREATE INDEX early_fraud_warnings_created ON stripe.early_fraud_warnings USING btree (account_id, live_mode, created);

CREATE INDEX invoice_payments_invoice ON stripe.invoice_payments USING btree (account_id, live_mode, invoice_id);

CREATE INDEX invoice_payments_payment_intent ON stripe.invoice_payments USING btree (account_id, live_mode, payment_intent_id) WHERE (payment_intent_id IS NOT NULL);

CREATE INDEX invoices_created ON stripe.invoices USING btree (account_id, live_mode, created);

CREATE INDEX invoices_customer ON stripe.invoices USING btree (account_id, live_mode, customer_id);

CREATE INDEX payment_intents_created ON stripe.payment_intents USING btree (account_id, live_mode, created);

CREATE INDEX payment_intents_customer ON stripe.payment_intents USING btree (account_id, live_mode, customer_id);

CREATE INDEX payment_methods_customer ON stripe.payment_methods USING btree (account_id, live_mode, customer_id);

CREATE INDEX payouts_created ON stripe.payouts USING btree (account_id, live_mode, created);

CREATE INDEX plans_created ON stripe.plans USING btree (account_id, live_mode, created);

CREATE INDEX prices_product ON stripe.prices USING btree (account_id, live_mode, product_id);

CREATE INDEX refunds_charge ON stripe.refunds USING btree (account_id, live_mode, charge_id);

CREATE INDEX reviews_charge ON stripe.reviews USING btree (account_id, live_mode, charge_id);

CREATE INDEX reviews_created ON stripe.reviews USING btree (account_id, live_mode, created);

CREATE INDEX setup_intents_created ON stripe.setup_intents USING btree (account_id, live_mode, created);

CREATE INDEX setup_intents_customer ON stripe.setup_intents USING btree (account_id, live_mode, customer_id);

CREATE INDEX subscription_items_coupons ON stripe.subscription_items USING gin (discounts jsonb_path_ops) WHERE (discounts <> '[]'::jsonb);

CREATE INDEX subscription_items_of_price ON stripe.subscription_items USING btree (account_id, live_mode, price_id, subscription_id);

CREATE INDEX subscription_items_of_product ON stripe.subscription_items USING btree (account_id, live_mode, product_id, subscription_id);

CREATE INDEX subscription_schedule_items_price ON stripe.subscription_schedule_items USING btree (account_id, live_mode, price_id);

CREATE INDEX subscription_schedules_created ON stripe.subscription_schedules USING btree (account_id, live_mode, created);

CREATE INDEX subscription_schedules_customer ON stripe.subscription_schedules USING btree (account_id, live_mode, customer_id);

CREATE INDEX subscription_schedules_subscription ON stripe.subscription_schedules USING btree (account_id, live_mode, subscription_id);

CREATE INDEX subscriptions_coupons ON stripe.subscriptions USING gin (discounts jsonb_path_ops) WHERE (discounts <> '[]'::jsonb);

CREATE INDEX subscriptions_created ON stripe.subscriptions USING btree (account_id, live_mode, created);

CREATE INDEX subscriptions_customer ON stripe.subscriptions USING btree (account_id, live_mode, customer_id);

CREATE INDEX tax_ids_customer ON stripe.tax_ids USING btree (account_id, live_mode, customer_id);

CREATE INDEX customers_history ON sync.customers USING btree (history_at) WHERE (history_at IS NOT NULL);

CREATE INDEX customers_rederive ON sync.customers USING btree (rederive_at) WHERE (rederive_at IS NOT NULL);

CREATE INDEX customers_stale ON sync.customers USING btree (stale_since) WHERE ((stale > derived) AND (parked_at IS NULL));

CREATE INDEX drift_unverified ON sync.drift USING btree (scan_id) WHERE (NOT verified);

CREATE INDEX events_parked ON sync.events USING btree (seq) WHERE (state = ANY (ARRAY['parked'::text, 'quarantined'::text]));

CREATE INDEX events_pending ON sync.events USING btree (seq) WHERE (state = 'pending'::text);

CREATE INDEX objects_due ON sync.objects USING btree (read_at) WHERE (read_at IS NOT NULL);

CREATE INDEX objects_unresolved ON sync.objects USING btree (touched_at) WHERE (touched > resolved);

CREATE INDEX objects_unsettled ON sync.objects USING btree (account_id, live_mode, customer_id) WHERE unsettled;

CREATE UNIQUE INDEX rebuilds_one_at_a_time ON sync.rebuilds USING btree (((finished_at IS NULL))) WHERE (finished_at IS NULL);

CREATE INDEX scan_windows_open ON sync.scan_windows USING btree (due_at) WHERE (state = 'open'::text);

CREATE INDEX scans_unfinished ON sync.scans USING btree (due_at) WHERE (finished_at IS NULL);

CREATE INDEX usage_asked ON sync.usage USING btree (due_at) WHERE (asked > answered);

CREATE INDEX usage_due ON sync.usage USING btree (due_at);

CREATE TRIGGER deleted AFTER DELETE ON billing.identities REFERENCING OLD TABLE AS erased FOR EACH STATEMENT EXECUTE FUNCTION sync.identities_written();

CREATE TRIGGER inserted AFTER INSERT ON billing.identities REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION sync.identities_written();

CREATE TRIGGER updated AFTER UPDATE ON billing.identities REFERENCING OLD TABLE AS erased NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION sync.identities_written();

ALTER TABLE ONLY sync.drift
    ADD CONSTRAINT drift_scan_id_fkey FOREIGN KEY (scan_id) REFERENCES sync.scans(id) ON DELETE CASCADE;

ALTER TABLE ONLY sync.scan_windows
    ADD CONSTRAINT scan_windows_scan_id_fkey FOREIGN KEY (scan_id) REFERENCES sync.scans(id) ON DELETE CASCADE;

GRANT USAGE ON SCHEMA billing TO billing_reader;
GRANT USAGE ON SCHEMA billing TO billing_raw;

GRANT USAGE ON SCHEMA stripe TO billing_reader;
GRANT USAGE ON SCHEMA stripe TO billing_raw;

REVOKE ALL ON FUNCTION sync.grant_readers() FROM PUBLIC;

REVOKE ALL ON FUNCTION sync.identities_written() FROM PUBLIC;

GRANT SELECT ON TABLE billing.customers TO billing_reader;
GRANT SELECT ON TABLE billing.customers TO billing_raw;

GRANT SELECT ON TABLE stripe.charges TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(payment_intent_id) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(invoice_id) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(captured) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(amount) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(amount_captured) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(amount_refunded) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(disputed) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(description) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.charges TO billing_reader;

GRANT SELECT ON TABLE billing.charges TO billing_reader;
GRANT SELECT ON TABLE billing.charges TO billing_raw;

GRANT SELECT ON TABLE billing.customer_features TO billing_reader;
GRANT SELECT ON TABLE billing.customer_features TO billing_raw;

GRANT SELECT ON TABLE billing.customer_mrr TO billing_reader;
GRANT SELECT ON TABLE billing.customer_mrr TO billing_raw;

GRANT SELECT ON TABLE billing.customer_products TO billing_reader;
GRANT SELECT ON TABLE billing.customer_products TO billing_raw;

GRANT SELECT ON TABLE billing.customer_revenue TO billing_reader;
GRANT SELECT ON TABLE billing.customer_revenue TO billing_raw;

GRANT SELECT ON TABLE billing.customer_usage TO billing_reader;
GRANT SELECT ON TABLE billing.customer_usage TO billing_raw;

GRANT SELECT ON TABLE billing.local_entities TO billing_reader;
GRANT SELECT ON TABLE billing.local_entities TO billing_raw;

GRANT SELECT ON TABLE billing.subscription_entities TO billing_reader;
GRANT SELECT ON TABLE billing.subscription_entities TO billing_raw;

GRANT SELECT ON TABLE billing.entities TO billing_reader;
GRANT SELECT ON TABLE billing.entities TO billing_raw;

GRANT SELECT ON TABLE billing.freshness TO billing_reader;
GRANT SELECT ON TABLE billing.freshness TO billing_raw;

GRANT SELECT ON TABLE billing.identities TO billing_reader;
GRANT SELECT ON TABLE billing.identities TO billing_raw;

GRANT SELECT ON TABLE stripe.invoices TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(subscription_id) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(billing_reason) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(period_start) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(period_end) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(lines_period_end) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(total) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(amount_due) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(amount_paid) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(amount_remaining) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(paid_out_of_band) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(amount_paid_off_stripe) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(amount_paid_by_payments) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(collection_method) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(attempt_count) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(next_payment_attempt) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(due_date) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(paid_at) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(number) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT(subtotal) ON TABLE stripe.invoices TO billing_reader;

GRANT SELECT ON TABLE billing.invoices TO billing_reader;
GRANT SELECT ON TABLE billing.invoices TO billing_raw;

GRANT SELECT ON TABLE stripe.checkout_sessions TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(mode) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(payment_status) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(client_reference_id) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(subscription_id) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(payment_intent_id) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(invoice_id) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(amount_total) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.checkout_sessions TO billing_reader;

GRANT SELECT ON TABLE stripe.credit_notes TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(invoice_id) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(type) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(reason) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(number) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(amount) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(pre_payment_amount) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(post_payment_amount) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(out_of_band_amount) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(refund_ids) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(effective_at) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(voided_at) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(memo) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.credit_notes TO billing_reader;

GRANT SELECT ON TABLE stripe.disputes TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(charge_id) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(payment_intent_id) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(amount) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(reason) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(movements) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(moved_amount) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(moved_currency) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.disputes TO billing_reader;

GRANT SELECT ON TABLE stripe.invoice_payments TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(invoice_id) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(amount_requested) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(amount_paid) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(payment_type) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(payment_intent_id) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(charge_id) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(payment_record_id) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.invoice_payments TO billing_reader;

GRANT SELECT ON TABLE stripe.refunds TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(charge_id) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(payment_intent_id) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(amount) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(reason) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.refunds TO billing_reader;

GRANT SELECT ON TABLE billing.monthly_revenue TO billing_reader;
GRANT SELECT ON TABLE billing.monthly_revenue TO billing_raw;

GRANT SELECT ON TABLE billing.mrr_changes TO billing_reader;
GRANT SELECT ON TABLE billing.mrr_changes TO billing_raw;

GRANT SELECT ON TABLE billing.mrr_movements TO billing_reader;
GRANT SELECT ON TABLE billing.mrr_movements TO billing_raw;

GRANT SELECT ON TABLE billing.status_changes TO billing_reader;
GRANT SELECT ON TABLE billing.status_changes TO billing_raw;

GRANT SELECT ON TABLE stripe.active_entitlement_summaries TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.active_entitlement_summaries TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.active_entitlement_summaries TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.active_entitlement_summaries TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.active_entitlement_summaries TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.active_entitlement_summaries TO billing_reader;

GRANT SELECT ON TABLE stripe.active_entitlements TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.active_entitlements TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.active_entitlements TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.active_entitlements TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.active_entitlements TO billing_reader;

GRANT SELECT(feature_id) ON TABLE stripe.active_entitlements TO billing_reader;

GRANT SELECT(lookup_key) ON TABLE stripe.active_entitlements TO billing_reader;

GRANT SELECT ON TABLE stripe.balance_transactions TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(type) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(reporting_category) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(amount) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(fee) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(net) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(available_on) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(source_id) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(description) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.balance_transactions TO billing_reader;

GRANT SELECT ON TABLE stripe.checkout_line_items TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(session_id) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT("position") ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(description) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(price_id) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(product_id) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(quantity) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(amount_subtotal) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(amount_discount) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(amount_tax) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT(amount_total) ON TABLE stripe.checkout_line_items TO billing_reader;

GRANT SELECT ON TABLE stripe.coupons TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(name) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(duration) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(duration_in_months) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(percent_off) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(amount_off) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(max_redemptions) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(redeem_by) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(times_redeemed) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(valid) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT(applies_to) ON TABLE stripe.coupons TO billing_reader;

GRANT SELECT ON TABLE stripe.customers TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(name) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(email) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(description) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(custom_uid) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(test_clock) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT(discounts) ON TABLE stripe.customers TO billing_reader;

GRANT SELECT ON TABLE stripe.early_fraud_warnings TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.early_fraud_warnings TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.early_fraud_warnings TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.early_fraud_warnings TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.early_fraud_warnings TO billing_reader;

GRANT SELECT(charge_id) ON TABLE stripe.early_fraud_warnings TO billing_reader;

GRANT SELECT(payment_intent_id) ON TABLE stripe.early_fraud_warnings TO billing_reader;

GRANT SELECT(actionable) ON TABLE stripe.early_fraud_warnings TO billing_reader;

GRANT SELECT(fraud_type) ON TABLE stripe.early_fraud_warnings TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.early_fraud_warnings TO billing_reader;

GRANT SELECT ON TABLE stripe.features TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.features TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.features TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.features TO billing_reader;

GRANT SELECT(lookup_key) ON TABLE stripe.features TO billing_reader;

GRANT SELECT(name) ON TABLE stripe.features TO billing_reader;

GRANT SELECT(active) ON TABLE stripe.features TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.features TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.features TO billing_reader;

GRANT SELECT ON TABLE stripe.meters TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.meters TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.meters TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.meters TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.meters TO billing_reader;

GRANT SELECT(display_name) ON TABLE stripe.meters TO billing_reader;

GRANT SELECT(event_name) ON TABLE stripe.meters TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.meters TO billing_reader;

GRANT SELECT(formula) ON TABLE stripe.meters TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.meters TO billing_reader;

GRANT SELECT ON TABLE stripe.payment_intents TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(amount) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(amount_capturable) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(amount_received) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(payment_method_id) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(latest_charge_id) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(invoice_id) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(capture_method) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(setup_future_usage) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(cancellation_reason) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(canceled_at) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(description) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(receipt_email) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(error_code) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT ON TABLE stripe.payment_methods TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(type) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(card_brand) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(card_last4) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(card_exp_month) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(card_exp_year) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(card_funding) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(card_country) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(billing_name) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(billing_email) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.payment_methods TO billing_reader;

GRANT SELECT ON TABLE stripe.payouts TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(amount) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(arrival_date) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(automatic) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(method) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(type) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(destination_id) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(balance_transaction_id) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(reconciliation_status) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(failure_code) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(description) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.payouts TO billing_reader;

GRANT SELECT ON TABLE stripe.plans TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(product_id) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(active) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(amount) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(amount_decimal) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(billing_scheme) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT("interval") ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(interval_count) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(usage_type) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(trial_period_days) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(nickname) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.plans TO billing_reader;

GRANT SELECT ON TABLE stripe.prices TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(product_id) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(active) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(unit_amount) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(unit_amount_decimal) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(billing_scheme) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(recurring) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT("interval") ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(interval_count) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(usage_type) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(nickname) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(meter_id) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(tiers_mode) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(tiers) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(currency_options) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(divide_quantity_by) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT(round_quantity) ON TABLE stripe.prices TO billing_reader;

GRANT SELECT ON TABLE stripe.products TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(name) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(active) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.products TO billing_reader;

GRANT SELECT ON TABLE stripe.reviews TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(charge_id) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(payment_intent_id) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(open) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(opened_reason) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(closed_reason) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(reason) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.reviews TO billing_reader;

GRANT SELECT ON TABLE stripe.setup_intents TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(usage) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(payment_method_id) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(cancellation_reason) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(description) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(error_code) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.setup_intents TO billing_reader;

GRANT SELECT ON TABLE stripe.subscription_items TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(subscription_id) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT("position") ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(price_id) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(product_id) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(quantity) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(current_period_start) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(current_period_end) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT(discounts) ON TABLE stripe.subscription_items TO billing_reader;

GRANT SELECT ON TABLE stripe.subscription_schedule_items TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT(schedule_id) ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT(phase) ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT("position") ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT(phase_start) ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT(phase_end) ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT(price_id) ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT(quantity) ON TABLE stripe.subscription_schedule_items TO billing_reader;

GRANT SELECT ON TABLE stripe.subscription_schedules TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(subscription_id) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(released_subscription_id) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(starts_at) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(ends_at) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(current_phase_start) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(current_phase_end) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(end_behavior) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(canceled_at) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(completed_at) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(released_at) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(test_clock) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.subscription_schedules TO billing_reader;

GRANT SELECT ON TABLE stripe.subscriptions TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(status) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(start_date) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(trial_start) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(trial_end) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(cancel_at) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(cancel_at_period_end) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(canceled_at) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(ended_at) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(current_period_start) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(current_period_end) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(collection_method) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(currency) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(latest_invoice_id) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(pause_collection) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(billing_mode) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(cancellation_reason) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(schedule_id) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(test_clock) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT(discounts) ON TABLE stripe.subscriptions TO billing_reader;

GRANT SELECT ON TABLE stripe.tax_ids TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.tax_ids TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.tax_ids TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.tax_ids TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.tax_ids TO billing_reader;

GRANT SELECT(customer_id) ON TABLE stripe.tax_ids TO billing_reader;

GRANT SELECT(type) ON TABLE stripe.tax_ids TO billing_reader;

GRANT SELECT(country) ON TABLE stripe.tax_ids TO billing_reader;

GRANT SELECT(value) ON TABLE stripe.tax_ids TO billing_reader;

GRANT SELECT(verification_status) ON TABLE stripe.tax_ids TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.tax_ids TO billing_reader;
