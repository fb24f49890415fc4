-- What the migrations make; `make schema` writes it, and a test keeps it true. Read this, change those.

CREATE SCHEMA billing;

COMMENT ON SCHEMA billing IS 'The records: what it means. The contract with readers.';

CREATE SCHEMA stripe;

COMMENT ON SCHEMA stripe IS 'The mirror: what Stripe says. One row per object; key (account_id, live_mode, id).';

CREATE SCHEMA sync;

COMMENT ON SCHEMA sync IS 'The machinery: inbox, marks, leases. Not for readers.';

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

ALTER TABLE billing.status_changes ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME billing.status_changes_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

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
    raw json
);
ALTER TABLE ONLY stripe.prices ALTER COLUMN raw SET STORAGE EXTERNAL;

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

ALTER TABLE sync.events ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME sync.events_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

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
    unsettled boolean GENERATED ALWAYS AS (((NOT tombstone) AND ((dirty >= confirmed) OR (missing_since IS NOT NULL) OR (parked_at IS NOT NULL)))) STORED
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

COMMENT ON TABLE sync.objects IS 'The fence: per Stripe object, what is known to have changed and what was read since.';

COMMENT ON COLUMN sync.objects.account_id IS 'Connected account, or empty.';

COMMENT ON COLUMN sync.objects.live_mode IS 'Live or test.';

COMMENT ON COLUMN sync.objects.kind IS 'Name of the kind in billing/registry.py.';

COMMENT ON COLUMN sync.objects.id IS 'Stripe id.';

COMMENT ON COLUMN sync.objects.customer_id IS 'The Stripe customer that the object names, once known. NULL for kinds that name none.';

COMMENT ON COLUMN sync.objects.dirty IS 'Tick of the newest mark: something about it changed before this number was drawn.';

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

CREATE SEQUENCE sync.tick
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

COMMENT ON SEQUENCE sync.tick IS 'The only clock that orders anything: marks and reads of Stripe draw from it (design 1.3). Cache 1, so that a number drawn later is greater.';

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

ALTER TABLE ONLY billing.customer_products
    ADD CONSTRAINT customer_products_id_key UNIQUE (id);

ALTER TABLE ONLY billing.customer_products
    ADD CONSTRAINT customer_products_pkey PRIMARY KEY (account_id, live_mode, stripe_subscription_id, stripe_product_id);

ALTER TABLE ONLY billing.customer_revenue
    ADD CONSTRAINT customer_revenue_pkey PRIMARY KEY (account_id, live_mode, stripe_customer_id, currency);

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

ALTER TABLE ONLY stripe.charges
    ADD CONSTRAINT charges_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.checkout_sessions
    ADD CONSTRAINT checkout_sessions_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.customers
    ADD CONSTRAINT customers_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.disputes
    ADD CONSTRAINT disputes_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.invoice_payments
    ADD CONSTRAINT invoice_payments_pkey PRIMARY KEY (account_id, live_mode, id);

ALTER TABLE ONLY stripe.invoices
    ADD CONSTRAINT invoices_pkey PRIMARY KEY (account_id, live_mode, id);

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

ALTER TABLE ONLY sync.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (account_id, live_mode, event_id);

ALTER TABLE ONLY sync.events
    ADD CONSTRAINT events_seq_key UNIQUE (seq);

ALTER TABLE ONLY sync.key
    ADD CONSTRAINT key_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY sync.milestones
    ADD CONSTRAINT milestones_pkey PRIMARY KEY (name);

ALTER TABLE ONLY sync.objects
    ADD CONSTRAINT objects_pkey PRIMARY KEY (account_id, live_mode, kind, id);

ALTER TABLE ONLY sync.problems
    ADD CONSTRAINT problems_pkey PRIMARY KEY (account_id, live_mode, customer_id, kind, object_id);

ALTER TABLE ONLY sync.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

CREATE INDEX customer_products_customer ON billing.customer_products USING btree (account_id, live_mode, stripe_customer_id);

CREATE INDEX customer_products_product ON billing.customer_products USING btree (product_id, status);

CREATE INDEX customer_products_uid ON billing.customer_products USING btree (customer_uid);

CREATE INDEX customer_revenue_uid ON billing.customer_revenue USING btree (customer_uid);

CREATE UNIQUE INDEX customers_change ON billing.customers USING btree (change);

CREATE INDEX customers_email ON billing.customers USING btree (email);

CREATE INDEX customers_status ON billing.customers USING btree (account_id, live_mode, status);

CREATE INDEX customers_subscription ON billing.customers USING btree (stripe_subscription_id) WHERE (stripe_subscription_id IS NOT NULL);

CREATE INDEX identities_custom_uid ON billing.identities USING btree (account_id, live_mode, custom_uid) WHERE (custom_uid IS NOT NULL);

CREATE INDEX status_changes_customer ON billing.status_changes USING btree (customer_uid, id);

CREATE INDEX status_changes_provisional ON billing.status_changes USING btree (customer_uid, id) WHERE (NOT exact);

CREATE INDEX charges_customer ON stripe.charges USING btree (account_id, live_mode, customer_id);

CREATE INDEX charges_guest ON stripe.charges USING btree (account_id, live_mode, payment_intent_id) WHERE (customer_id IS NULL);

CREATE INDEX checkout_sessions_client_reference_id ON stripe.checkout_sessions USING btree (account_id, live_mode, client_reference_id) WHERE (client_reference_id IS NOT NULL);

CREATE INDEX checkout_sessions_customer ON stripe.checkout_sessions USING btree (account_id, live_mode, customer_id);

CREATE INDEX checkout_sessions_payment_intent ON stripe.checkout_sessions USING btree (account_id, live_mode, payment_intent_id) WHERE (payment_intent_id IS NOT NULL);

CREATE INDEX customers_custom_uid ON stripe.customers USING btree (account_id, live_mode, custom_uid) WHERE (custom_uid IS NOT NULL);

CREATE INDEX disputes_charge ON stripe.disputes USING btree (account_id, live_mode, charge_id);

CREATE INDEX invoice_payments_invoice ON stripe.invoice_payments USING btree (account_id, live_mode, invoice_id);

CREATE INDEX invoice_payments_payment_intent ON stripe.invoice_payments USING btree (account_id, live_mode, payment_intent_id) WHERE (payment_intent_id IS NOT NULL);

CREATE INDEX invoices_customer ON stripe.invoices USING btree (account_id, live_mode, customer_id);

CREATE INDEX prices_product ON stripe.prices USING btree (account_id, live_mode, product_id);

CREATE INDEX refunds_charge ON stripe.refunds USING btree (account_id, live_mode, charge_id);

CREATE INDEX subscription_items_price ON stripe.subscription_items USING btree (account_id, live_mode, price_id);

CREATE INDEX subscription_items_product ON stripe.subscription_items USING btree (account_id, live_mode, product_id);

CREATE INDEX subscriptions_customer ON stripe.subscriptions USING btree (account_id, live_mode, customer_id);

CREATE INDEX customers_history ON sync.customers USING btree (history_at) WHERE (history_at IS NOT NULL);

CREATE INDEX customers_stale ON sync.customers USING btree (stale_since) WHERE ((stale > derived) AND (parked_at IS NULL));

CREATE INDEX events_parked ON sync.events USING btree (seq) WHERE (state = ANY (ARRAY['parked'::text, 'quarantined'::text]));

CREATE INDEX events_pending ON sync.events USING btree (seq) WHERE (state = 'pending'::text);

CREATE INDEX objects_due ON sync.objects USING btree (read_at) WHERE (read_at IS NOT NULL);

CREATE INDEX objects_unresolved ON sync.objects USING btree (touched_at) WHERE (touched > resolved);

CREATE INDEX objects_unsettled ON sync.objects USING btree (account_id, live_mode, customer_id) WHERE unsettled;
