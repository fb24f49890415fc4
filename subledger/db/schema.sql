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

CREATE FUNCTION sync.recurring_discounts(subscription json, as_of timestamp with time zone) RETURNS TABLE(known boolean, percent_off numeric, amount_off numeric, currency text)
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
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
$$;

COMMENT ON FUNCTION sync.recurring_discounts(subscription json, as_of timestamp with time zone) IS 'The discounts that this subscription will still have with its next invoices. Not known: Stripe named one by its id alone.';

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

COMMENT ON COLUMN billing.customers.product_id IS 'The company''s name of the current product: product.metadata.product_id, else Stripe''s id.';

COMMENT ON COLUMN billing.customers.product_version_number IS 'Version of that product: metadata.version of price or product, else the price''s rank, from 1, among the product''s recurring prices by age.';

COMMENT ON COLUMN billing.customers.stripe_product_id IS 'Stripe''s id of the product of the first item of the current subscription.';

COMMENT ON COLUMN billing.customers.stripe_price_id IS 'Stripe''s id of the price of that item.';

COMMENT ON COLUMN billing.customers.stripe_subscription_id IS 'Stripe''s id of the current subscription: the one that speaks for the customer.';

COMMENT ON COLUMN billing.customers.quantity IS 'Units of that item; NULL: metered, or no subscription.';

COMMENT ON COLUMN billing.customers.lifetime_revenue IS 'Net revenue in revenue_currency, minor units, since the beginning: net of refunds and disputes, gross of fees and taxes.';

COMMENT ON COLUMN billing.customers.revenue_currency IS 'The currency with the largest gross + out_of_band; NULL: none, and lifetime_revenue is 0.';

COMMENT ON COLUMN billing.customers.renewal_number IS 'Billing cycles that the current subscription has gone through, from 0; the end of a first trial is none.';

COMMENT ON COLUMN billing.customers.is_trial IS 'Whether the current subscription is trialing at Stripe, also when its end is scheduled.';

COMMENT ON COLUMN billing.customers.trial_end IS 'When that trial ends; NULL unless is_trial.';

COMMENT ON COLUMN billing.customers.sandbox_end IS 'Until when a sandbox grant gives access; from billing.identities.';

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
    meter_id text
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
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL
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
    raw json
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

CREATE VIEW billing.customer_mrr AS
 WITH items AS (
         SELECT s.account_id,
            s.live_mode,
            s.customer_id,
            s.id AS subscription_id,
            s.currency,
            s.raw,
            (
                CASE p."interval"
                    WHEN 'year'::text THEN ((1)::numeric / 12.0)
                    WHEN 'month'::text THEN 1.0
                    WHEN 'week'::text THEN ((52)::numeric / 12.0)
                    WHEN 'day'::text THEN ((365)::numeric / 12.0)
                    ELSE NULL::numeric
                END / (NULLIF(p.interval_count, 0))::numeric) AS per_month,
                CASE
                    WHEN ((s.pause_collection = 'void'::text) OR (NOT p.recurring) OR (p.usage_type = 'metered'::text)) THEN (0)::numeric
                    WHEN ((p.billing_scheme = 'per_unit'::text) AND (p.currency = s.currency)) THEN (COALESCE((p.unit_amount_decimal)::numeric, (p.unit_amount)::numeric) * (COALESCE(i.quantity, (1)::bigint))::numeric)
                    ELSE NULL::numeric
                END AS amount,
            row_number() OVER (PARTITION BY s.account_id, s.live_mode, s.id ORDER BY i."position") AS place
           FROM ((stripe.subscriptions s
             JOIN stripe.subscription_items i ON (((i.account_id = s.account_id) AND (i.live_mode = s.live_mode) AND (i.subscription_id = s.id))))
             LEFT JOIN stripe.prices p ON (((p.account_id = i.account_id) AND (p.live_mode = i.live_mode) AND (p.id = i.price_id))))
          WHERE ((s.status = ANY (ARRAY['active'::text, 'past_due'::text])) AND (s.deleted_at IS NULL))
        ), subscriptions AS (
         SELECT items.account_id,
            items.live_mode,
            items.customer_id,
            items.subscription_id,
            items.currency,
                CASE
                    WHEN bool_and(
                    CASE
                        WHEN (items.amount = (0)::numeric) THEN true
                        ELSE ((items.amount * items.per_month) IS NOT NULL)
                    END) THEN sum(
                    CASE
                        WHEN (items.amount = (0)::numeric) THEN (0)::numeric
                        ELSE (items.amount * items.per_month)
                    END)
                    ELSE NULL::numeric
                END AS list_price,
            max(items.per_month) FILTER (WHERE (items.place = 1)) AS per_month,
            (array_agg(items.raw))[1] AS raw
           FROM items
          GROUP BY items.account_id, items.live_mode, items.customer_id, items.subscription_id, items.currency
        ), discounted AS (
         SELECT s.account_id,
            s.live_mode,
            s.customer_id,
            s.subscription_id,
            s.currency,
                CASE
                    WHEN (s.list_price = (0)::numeric) THEN (0)::numeric
                    WHEN (s.list_price IS NULL) THEN NULL::numeric
                    WHEN (d_1.known AND (NOT items.discounted)) THEN GREATEST(((s.list_price * d_1.factor) - (d_1.amount_off * s.per_month)), (0)::numeric)
                    ELSE NULL::numeric
                END AS amount
           FROM ((subscriptions s
             CROSS JOIN LATERAL ( SELECT COALESCE(bool_and((r.known AND ((r.amount_off IS NULL) OR (r.currency = s.currency)))), true) AS known,
                    (COALESCE(exp(sum(ln(NULLIF(((1)::numeric - (LEAST(r.percent_off, (100)::numeric) / (100)::numeric)), (0)::numeric)))), (1)::numeric) * (
                        CASE
                            WHEN bool_or((r.percent_off >= (100)::numeric)) THEN 0
                            ELSE 1
                        END)::numeric) AS factor,
                    COALESCE(sum(r.amount_off), (0)::numeric) AS amount_off
                   FROM sync.recurring_discounts(s.raw, now()) r(known, percent_off, amount_off, currency)) d_1)
             CROSS JOIN LATERAL ( SELECT COALESCE(bool_or(((json_typeof((entry.value -> 'discounts'::text)) = 'array'::text) AND (json_array_length((entry.value -> 'discounts'::text)) > 0))), false) AS discounted
                   FROM json_array_elements(
                        CASE
                            WHEN (json_typeof(((s.raw -> 'items'::text) -> 'data'::text)) = 'array'::text) THEN ((s.raw -> 'items'::text) -> 'data'::text)
                            ELSE '[]'::json
                        END) entry(value)) items)
        )
 SELECT c.uid AS customer_uid,
    d.account_id,
    d.live_mode,
    d.customer_id AS stripe_customer_id,
    d.currency,
        CASE
            WHEN bool_and((d.amount IS NOT NULL)) THEN round(sum(d.amount), 4)
            ELSE NULL::numeric
        END AS mrr,
    count(*) AS subscriptions
   FROM (discounted d
     JOIN billing.customers c ON (((c.account_id = d.account_id) AND (c.live_mode = d.live_mode) AND (c.stripe_customer_id = d.customer_id))))
  WHERE (c.deleted_at IS NULL)
  GROUP BY c.uid, d.account_id, d.live_mode, d.customer_id, d.currency;

COMMENT ON VIEW billing.customer_mrr IS 'Monthly recurring revenue by customer and currency: what the subscriptions that are paid for (active, past due, canceled but still running) bring in a month at their present prices, after discounts that go on.';

COMMENT ON COLUMN billing.customer_mrr.customer_uid IS 'billing.customers.uid.';

COMMENT ON COLUMN billing.customer_mrr.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN billing.customer_mrr.live_mode IS 'Live or test.';

COMMENT ON COLUMN billing.customer_mrr.stripe_customer_id IS 'Stripe customer id.';

COMMENT ON COLUMN billing.customer_mrr.currency IS 'Currency of mrr. Never added up with another.';

COMMENT ON COLUMN billing.customer_mrr.mrr IS 'Minor units of the currency per month, to four decimals: a year is 12 months, a week 12/52 and a day 12/365 of a month. Metered items, trials and paused collection are 0. NULL: not known, because of a tiered price, a price in another currency, or a discount that Stripe named by its id alone.';

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

COMMENT ON COLUMN billing.identities.sandbox_product_id IS 'The product that a sandbox grant gives access to.';

COMMENT ON COLUMN billing.identities.sandbox_end IS 'Until when a local, time-limited grant gives access. No Stripe object is behind it.';

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
    raw json
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
            GREATEST((GREATEST(COALESCE(r.standing, (0)::numeric), ((COALESCE(h.amount_refunded, (0)::bigint))::numeric - COALESCE(r.came_back, (0)::numeric)), (0)::numeric) - ((COALESCE(h.amount, h.amount_captured, (0)::bigint) - COALESCE(h.amount_captured, h.amount, (0)::bigint)))::numeric), (0)::numeric) AS refunded
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

COMMENT ON COLUMN billing.monthly_revenue.out_of_band IS 'Paid on invoices outside Stripe, minor units.';

COMMENT ON COLUMN billing.monthly_revenue.net IS 'gross - refunded - disputed + out_of_band, minor units.';

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

COMMENT ON COLUMN billing.status_changes.changed_at IS 'When: created of the deciding event, else when the change was derived.';

COMMENT ON COLUMN billing.status_changes.exact IS 'Whether an exact record has confirmed the change; false: it may still be taken back.';

COMMENT ON COLUMN billing.status_changes.event_id IS 'The event last applied to the deciding subscription; NULL: none.';

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
    raw json
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
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    deleted_at timestamp with time zone,
    raw json
);
ALTER TABLE ONLY stripe.payment_intents ALTER COLUMN raw SET STORAGE EXTERNAL;

COMMENT ON TABLE stripe.payment_intents IS 'Stripe payment intents: the way of one payment, over all its attempts. No record depends on it.';

COMMENT ON COLUMN stripe.payment_intents.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN stripe.payment_intents.live_mode IS 'Live or test.';

COMMENT ON COLUMN stripe.payment_intents.id IS 'Stripe id (pi_...).';

COMMENT ON COLUMN stripe.payment_intents.created IS 'When it was created at Stripe.';

COMMENT ON COLUMN stripe.payment_intents.customer_id IS 'The customer who pays. NULL: a guest.';

COMMENT ON COLUMN stripe.payment_intents.status IS 'Stripe''s own word: requires_payment_method, requires_confirmation, requires_action, processing, requires_capture, succeeded, canceled. Open set.';

COMMENT ON COLUMN stripe.payment_intents.amount IS 'Minor units: what is to be paid.';

COMMENT ON COLUMN stripe.payment_intents.amount_capturable IS 'Minor units: authorized, and not captured yet.';

COMMENT ON COLUMN stripe.payment_intents.amount_received IS 'Minor units: what came in. Refunds do not lower it.';

COMMENT ON COLUMN stripe.payment_intents.currency IS 'Three letters, lower case.';

COMMENT ON COLUMN stripe.payment_intents.payment_method_id IS 'The payment method that was used last.';

COMMENT ON COLUMN stripe.payment_intents.latest_charge_id IS 'The charge of its last attempt.';

COMMENT ON COLUMN stripe.payment_intents.invoice_id IS 'The invoice that it pays. Before 2025-03-31 only; later stripe.invoice_payments tells it.';

COMMENT ON COLUMN stripe.payment_intents.capture_method IS 'automatic, automatic_async or manual.';

COMMENT ON COLUMN stripe.payment_intents.setup_future_usage IS 'Whether the payment method is kept for later: on_session, off_session. NULL: it is not.';

COMMENT ON COLUMN stripe.payment_intents.cancellation_reason IS 'Why it was canceled.';

COMMENT ON COLUMN stripe.payment_intents.canceled_at IS 'When it was canceled.';

COMMENT ON COLUMN stripe.payment_intents.description IS 'Description. Personal: emptied when its customer is forgotten.';

COMMENT ON COLUMN stripe.payment_intents.receipt_email IS 'Where the receipt goes. Personal: emptied when its customer is forgotten.';

COMMENT ON COLUMN stripe.payment_intents.metadata IS 'Metadata as Stripe has it.';

COMMENT ON COLUMN stripe.payment_intents.deleted_at IS 'Always NULL: Stripe deletes none.';

COMMENT ON COLUMN stripe.payment_intents.raw IS 'The object as Stripe sent it last.';

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

CREATE TABLE sync.accounts (
    account_id text NOT NULL,
    live_mode boolean NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    cursor_at timestamp with time zone,
    filled_at timestamp with time zone,
    due_at timestamp with time zone DEFAULT now() NOT NULL,
    error text
);

COMMENT ON TABLE sync.accounts IS 'The accounts that events came from, and how far their gaps are filled from /v1/events.';

COMMENT ON COLUMN sync.accounts.account_id IS 'Connected account, or empty: the account that owns the endpoint.';

COMMENT ON COLUMN sync.accounts.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.accounts.seen_at IS 'When the first event of it was applied.';

COMMENT ON COLUMN sync.accounts.cursor_at IS 'By Stripe''s clock: every event created before it is in the inbox. The next fill overlaps it.';

COMMENT ON COLUMN sync.accounts.filled_at IS 'When its gaps were last filled.';

COMMENT ON COLUMN sync.accounts.due_at IS 'When the next fill is due; while somebody fills, the lease.';

COMMENT ON COLUMN sync.accounts.error IS 'What the last failed fill said.';

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
    history_error text
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
    CONSTRAINT what_is_known CHECK ((what = ANY (ARRAY['differs'::text, 'lacking'::text, 'surplus'::text])))
);

COMMENT ON TABLE sync.drift IS 'What audits found: one row per object or record that does not agree with Stripe. Rows that turn out to agree when they are read by id go away.';

COMMENT ON COLUMN sync.drift.scan_id IS 'The audit.';

COMMENT ON COLUMN sync.drift.kind IS 'Kind of the mirrored object, or `record` for a row of billing.customers with its parts.';

COMMENT ON COLUMN sync.drift.id IS 'Stripe id; of a record, the Stripe customer id.';

COMMENT ON COLUMN sync.drift.what IS 'differs; lacking (Stripe has it, we do not); surplus (we have it, the list has not).';

COMMENT ON COLUMN sync.drift.fields IS 'The columns that differ.';

COMMENT ON COLUMN sync.drift.currency IS 'Currency of the amount.';

COMMENT ON COLUMN sync.drift.amount IS 'Minor units: what is right minus what is stored. Of charges the amount captured, of refunds and disputes their amount, of invoices and invoice payments the amount paid, of records the lifetime revenue.';

COMMENT ON COLUMN sync.drift.verified IS 'A read by id, or for a record a second derivation, has said so too.';

COMMENT ON COLUMN sync.drift.repaired IS 'It was marked, so that confirm and derive mend it.';

COMMENT ON COLUMN sync.drift.said IS 'What Stripe said of the object when it was read by its id; NULL where it knows none.';

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
    told bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

COMMENT ON TABLE sync.objects IS 'The fence: per Stripe object, what is known to have changed and what was read since.';

COMMENT ON COLUMN sync.objects.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN sync.objects.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.objects.kind IS 'Name of the kind in billing/registry.py.';

COMMENT ON COLUMN sync.objects.id IS 'Stripe id.';

COMMENT ON COLUMN sync.objects.customer_id IS 'The Stripe customer that the object names, once known. NULL for kinds that name none.';

COMMENT ON COLUMN sync.objects.dirty IS 'Tick of the newest mark: something about it changed before this number was drawn. -1: events have told of it, of a kind that no event has read.';

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

COMMENT ON COLUMN sync.objects.told IS 'Of kinds that no event has read (billing/registry.py): tick of the newest event about it. A read that began before it, and is stored after it, is made again.';

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

COMMENT ON COLUMN sync.problems.kind IS 'What kind of problem: custom_uid_invalid, custom_uid_taken, status_unknown.';

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
    CONSTRAINT low_is_below_high CHECK ((low < high)),
    CONSTRAINT state_is_known CHECK ((state = ANY (ARRAY['open'::text, 'done'::text, 'failed'::text])))
)
WITH (fillfactor='70');

COMMENT ON TABLE sync.scan_windows IS 'What a scan reads: for each kind, stretches of `created` that tile the whole. A stretch that holds much is halved while it is read.';

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

ALTER TABLE ONLY billing.status_changes
    ADD CONSTRAINT status_changes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY billing.customers
    ADD CONSTRAINT stripe_customer_is_unique UNIQUE (account_id, live_mode, stripe_customer_id);

ALTER TABLE ONLY stripe.active_entitlement_summaries
    ADD CONSTRAINT active_entitlement_summaries_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.active_entitlements
    ADD CONSTRAINT active_entitlements_pkey PRIMARY KEY (account_id, live_mode, customer_id, id);

ALTER TABLE ONLY stripe.charges
    ADD CONSTRAINT charges_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.checkout_sessions
    ADD CONSTRAINT checkout_sessions_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.disputes
    ADD CONSTRAINT disputes_pkey PRIMARY KEY (account_id, live_mode, id);

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

ALTER TABLE ONLY stripe.prices
    ADD CONSTRAINT prices_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.products
    ADD CONSTRAINT products_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.refunds
    ADD CONSTRAINT refunds_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.subscription_items
    ADD CONSTRAINT subscription_items_pkey PRIMARY KEY (account_id, live_mode, subscription_id, id);

ALTER TABLE ONLY stripe.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (account_id, live_mode, id);

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
    ADD CONSTRAINT scan_windows_pkey PRIMARY KEY (scan_id, kind, high);

ALTER TABLE ONLY sync.scans
    ADD CONSTRAINT scans_pkey PRIMARY KEY (id);

ALTER TABLE ONLY sync.usage
    ADD CONSTRAINT usage_pkey PRIMARY KEY (account_id, live_mode, customer_id);

ALTER TABLE ONLY sync.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

CREATE INDEX customer_features_lookup_key ON billing.customer_features USING btree (account_id, live_mode, lookup_key);

CREATE INDEX customer_features_uid ON billing.customer_features USING btree (customer_uid);

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

CREATE INDEX status_changes_customer ON billing.status_changes USING btree (customer_uid, id);

CREATE INDEX status_changes_provisional ON billing.status_changes USING btree (customer_uid, id) WHERE (NOT exact);

CREATE INDEX active_entitlements_feature ON stripe.active_entitlements USING btree (account_id, live_mode, feature_id);

CREATE INDEX charges_created ON stripe.charges USING btree (account_id, live_mode, created);

CREATE INDEX charges_customer ON stripe.charges USING btree (account_id, live_mode, customer_id);

CREATE INDEX charges_guest ON stripe.charges USING btree (account_id, live_mode, payment_intent_id) WHERE (customer_id IS NULL);

CREATE INDEX checkout_sessions_client_reference_id ON stripe.checkout_sessions USING btree (account_id, live_mode, client_reference_id) WHERE (client_reference_id IS NOT NULL);

CREATE INDEX checkout_sessions_created ON stripe.checkout_sessions USING btree (account_id, live_mode, created);

CREATE INDEX checkout_sessions_customer ON stripe.checkout_sessions USING btree (account_id, live_mode, customer_id);

CREATE INDEX checkout_sessions_payment_intent ON stripe.checkout_sessions USING btree (account_id, live_mode, payment_intent_id) WHERE (payment_intent_id IS NOT NULL);

CREATE INDEX customers_created ON stripe.customers USING btree (account_id, live_mode, created);

CREATE INDEX customers_custom_uid ON stripe.customers USING btree (account_id, live_mode, custom_uid) WHERE (custom_uid IS NOT NULL);

CREATE INDEX disputes_charge ON stripe.disputes USING btree (account_id, live_mode, charge_id);

CREATE INDEX invoice_payments_invoice ON stripe.invoice_payments USING btree (account_id, live_mode, invoice_id);

CREATE INDEX invoice_payments_payment_intent ON stripe.invoice_payments USING btree (account_id, live_mode, payment_intent_id) WHERE (payment_intent_id IS NOT NULL);

CREATE INDEX invoices_created ON stripe.invoices USING btree (account_id, live_mode, created);

CREATE INDEX invoices_customer ON stripe.invoices USING btree (account_id, live_mode, customer_id);

CREATE INDEX payment_intents_created ON stripe.payment_intents USING btree (account_id, live_mode, created);

CREATE INDEX payment_intents_customer ON stripe.payment_intents USING btree (account_id, live_mode, customer_id);

CREATE INDEX prices_product ON stripe.prices USING btree (account_id, live_mode, product_id);

CREATE INDEX refunds_charge ON stripe.refunds USING btree (account_id, live_mode, charge_id);

CREATE INDEX subscription_items_price ON stripe.subscription_items USING btree (account_id, live_mode, price_id);

CREATE INDEX subscription_items_product ON stripe.subscription_items USING btree (account_id, live_mode, product_id);

CREATE INDEX subscriptions_created ON stripe.subscriptions USING btree (account_id, live_mode, created);

CREATE INDEX subscriptions_customer ON stripe.subscriptions USING btree (account_id, live_mode, customer_id);

CREATE INDEX customers_history ON sync.customers USING btree (history_at) WHERE (history_at IS NOT NULL);

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

ALTER TABLE ONLY sync.drift
    ADD CONSTRAINT drift_scan_id_fkey FOREIGN KEY (scan_id) REFERENCES sync.scans(id) ON DELETE CASCADE;

ALTER TABLE ONLY sync.scan_windows
    ADD CONSTRAINT scan_windows_scan_id_fkey FOREIGN KEY (scan_id) REFERENCES sync.scans(id) ON DELETE CASCADE;

GRANT USAGE ON SCHEMA billing TO billing_reader;
GRANT USAGE ON SCHEMA billing TO billing_raw;

GRANT USAGE ON SCHEMA stripe TO billing_reader;
GRANT USAGE ON SCHEMA stripe TO billing_raw;

REVOKE ALL ON FUNCTION sync.grant_readers() FROM PUBLIC;

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

GRANT SELECT ON TABLE billing.customer_mrr TO billing_reader;
GRANT SELECT ON TABLE billing.customer_mrr TO billing_raw;

GRANT SELECT ON TABLE billing.customer_products TO billing_reader;
GRANT SELECT ON TABLE billing.customer_products TO billing_raw;

GRANT SELECT ON TABLE billing.customer_revenue TO billing_reader;
GRANT SELECT ON TABLE billing.customer_revenue TO billing_raw;

GRANT SELECT ON TABLE billing.customer_usage TO billing_reader;
GRANT SELECT ON TABLE billing.customer_usage TO billing_raw;

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

GRANT SELECT(metadata) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.payment_intents TO billing_reader;

GRANT SELECT ON TABLE stripe.products TO billing_raw;

GRANT SELECT(account_id) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(live_mode) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(id) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(created) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(name) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(active) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(metadata) ON TABLE stripe.products TO billing_reader;

GRANT SELECT(deleted_at) ON TABLE stripe.products TO billing_reader;
