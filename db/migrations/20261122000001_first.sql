-- migrate:up

create schema stripe;
create schema billing;
create schema sync;
comment on schema stripe is 'The mirror: what Stripe says. One row per object; key (account_id, live_mode, id).';
comment on schema billing is 'The records: what it means. The contract with readers.';
comment on schema sync is 'The machinery: inbox, marks, leases. Not for readers.';


-- sync: the inbox, the fence and the marks ------------------------------------------------------------------------

create sequence sync.tick cache 1;
comment on sequence sync.tick is
  'The only clock that orders anything: marks and reads of Stripe draw from it. Cache 1, so that a number drawn later is greater.';

create table sync.events (
  account_id    text        not null,
  live_mode     boolean     not null,
  event_id      text        not null,
  seq           bigint      generated always as identity unique,
  type          text        not null,
  api_version   text,
  created       timestamptz,
  payload       bytea       not null,
  received_at   timestamptz not null default now(),
  state         text        not null default 'pending',
  attempts      integer     not null default 0,
  leased_until  timestamptz,
  applied_at    timestamptz,
  error         text,
  primary key (account_id, live_mode, event_id),
  constraint state_is_known check (state in ('pending', 'applied', 'ignored', 'parked', 'quarantined'))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
-- Payloads are read once, whole: out of line and without a compressor they cost the least.
alter table sync.events alter column payload set storage external;
create index events_pending on sync.events (seq) where state = 'pending';
create index events_parked on sync.events (seq) where state in ('parked', 'quarantined');
comment on table sync.events is 'The inbox: every verified webhook once, as the bytes that came.';
comment on column sync.events.account_id is 'event.account, or empty: the account that owns the endpoint.';
comment on column sync.events.live_mode is 'event.livemode.';
comment on column sync.events.event_id is 'event.id, or sha256:<digest of the payload> where the event has no usable id.';
comment on column sync.events.seq is 'Inbox number: the order of receipt. Orders provisional showing only.';
comment on column sync.events.type is 'event.type, or empty where it has none.';
comment on column sync.events.api_version is 'event.api_version: the shape of the payload.';
comment on column sync.events.created is 'event.created, whole seconds of Stripe''s clock. Never orders confirmed state.';
comment on column sync.events.payload is 'The signed bytes. Never parsed in SQL.';
comment on column sync.events.received_at is 'When the endpoint stored it.';
comment on column sync.events.state is 'pending; applied; ignored (concerns nothing that is mirrored); parked (failed, see error); quarantined (of the mode that the key does not serve).';
comment on column sync.events.attempts is 'Claims so far, counted before the work: from the second on it is taken alone.';
comment on column sync.events.leased_until is 'A worker has it until then.';
comment on column sync.events.applied_at is 'When it left the pending state.';
comment on column sync.events.error is 'Why it is parked, ignored or quarantined.';

create table sync.objects (
  account_id        text        not null,
  live_mode         boolean     not null,
  kind              text        not null,
  id                text        not null,
  customer_id       text,
  dirty             bigint      not null default 0,
  confirmed         bigint      not null default 0,
  tombstone         boolean     not null default false,
  first_marked_at   timestamptz,
  read_at           timestamptz,
  attempts          integer     not null default 0,
  error             text,
  missing_since     timestamptz,
  parked_at         timestamptz,
  shown_created     timestamptz,
  shown_seq         bigint      not null default 0,
  terminal          boolean     not null default false,
  deleted_event_at  timestamptz,
  event_id          text,
  event_created     timestamptz,
  source            text,
  late_reads        integer     not null default 0,
  contradictions    integer     not null default 0,
  contradicted_at   timestamptz,
  touched           bigint      not null default 0,
  resolved          bigint      not null default 0,
  touched_at        timestamptz,
  unsettled         boolean     generated always as (
    not tombstone and (dirty >= confirmed or missing_since is not null or parked_at is not null)
  ) stored,
  primary key (account_id, live_mode, kind, id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index objects_due on sync.objects (read_at) where read_at is not null;
create index objects_unsettled on sync.objects (account_id, live_mode, customer_id) where unsettled;
create index objects_unresolved on sync.objects (touched_at) where touched > resolved;
comment on table sync.objects is 'The fence: per Stripe object, what is known to have changed and what was read since.';
comment on column sync.objects.account_id is 'Connected account, or empty.';
comment on column sync.objects.live_mode is 'Live or test.';
comment on column sync.objects.kind is 'Name of the kind in billing/registry.py.';
comment on column sync.objects.id is 'Stripe id.';
comment on column sync.objects.customer_id is 'The Stripe customer that the object names, once known. NULL for kinds that name none.';
comment on column sync.objects.dirty is 'Tick of the newest mark: something about it changed before this number was drawn.';
comment on column sync.objects.confirmed is 'Tick of the read that is stored, drawn before its request left. Confirmed means confirmed > dirty.';
comment on column sync.objects.tombstone is 'Deleted at Stripe, seen by a read: nothing is written any more.';
comment on column sync.objects.first_marked_at is 'When it became dirty: bounds how long a burst may postpone the read.';
comment on column sync.objects.read_at is 'When the next read is due; while a worker reads, its lease. NULL: no read is due.';
comment on column sync.objects.attempts is 'Reads begun since the last success, counted before the request.';
comment on column sync.objects.error is 'What the last failed read said.';
comment on column sync.objects.missing_since is 'Stripe answered 404 and nothing proves a deletion: the row stays, exact is false.';
comment on column sync.objects.parked_at is 'Given up until somebody replays it; see error.';
comment on column sync.objects.shown_created is 'Stripe''s time of the payload or read last shown (provisional rule).';
comment on column sync.objects.shown_seq is 'Inbox number of the payload last shown (provisional rule).';
comment on column sync.objects.terminal is 'The state shown is one that Stripe never leaves: no payload may take it back, only a read.';
comment on column sync.objects.deleted_event_at is 'event.created of its *.deleted event.';
comment on column sync.objects.event_id is 'The event last applied to it.';
comment on column sync.objects.event_created is 'event.created of that event.';
comment on column sync.objects.source is 'Who marked it last: event, sweep, audit, deadline, backfill.';
comment on column sync.objects.late_reads is 'Reads since a deadline of it passed without the change that it announces: spaces out the next ones.';
comment on column sync.objects.contradictions is 'Reads in a row that took back a fact which Stripe never takes back: asked again before they are believed.';
comment on column sync.objects.contradicted_at is 'When the first of these reads was made.';
comment on column sync.objects.touched is 'Raised with each write of a row that names no customer; who is concerned is resolved later, from committed rows.';
comment on column sync.objects.resolved is 'The value of touched up to which the concerned customers were marked.';
comment on column sync.objects.touched_at is 'When touched was last raised.';
comment on column sync.objects.unsettled is 'A read is pending, or the object is missing or parked: its customer is not exact.';

create table sync.customers (
  account_id   text        not null,
  live_mode    boolean     not null,
  customer_id  text        not null,
  stale        bigint      not null default 0,
  derived      bigint      not null default 0,
  stale_since  timestamptz,
  complete     boolean     not null default false,
  leased_until timestamptz,
  attempts     integer     not null default 0,
  parked_at    timestamptz,
  error        text,
  history_at        timestamptz,
  history_attempts  integer     not null default 0,
  history_error     text,
  primary key (account_id, live_mode, customer_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index customers_history on sync.customers (history_at) where history_at is not null;
create index customers_stale on sync.customers (stale_since) where stale > derived and parked_at is null;
comment on table sync.customers is 'Which customers'' records are older than their facts.';
comment on column sync.customers.account_id is 'Connected account, or empty.';
comment on column sync.customers.live_mode is 'Live or test.';
comment on column sync.customers.customer_id is 'Stripe customer id.';
comment on column sync.customers.stale is 'Raised by one in each transaction that writes a fact of this customer.';
comment on column sync.customers.derived is 'The value of stale that was read before the facts of the stored record. Stale while stale > derived.';
comment on column sync.customers.stale_since is 'When it became stale: orders the work and measures the lag.';
comment on column sync.customers.complete is 'Its history is known from the start: customer.created was received, or a backfill or history pull covers it.';
comment on column sync.customers.leased_until is 'A worker derives it until then.';
comment on column sync.customers.attempts is 'Derivations begun since the last success, counted before the work.';
comment on column sync.customers.parked_at is 'Deriving failed again and again; see error.';
comment on column sync.customers.error is 'What the last failed derivation said.';
comment on column sync.customers.history_at is 'When its history is to be pulled from Stripe; while somebody pulls, the lease. NULL: not wanted.';
comment on column sync.customers.history_attempts is 'Pulls begun since the last success, counted before the first request.';
comment on column sync.customers.history_error is 'What the last failed pull said.';

create table sync.problems (
  account_id     text        not null,
  live_mode      boolean     not null,
  customer_id    text        not null,
  kind           text        not null,
  object_id      text        not null,
  detail         text        not null,
  first_seen_at  timestamptz not null default now(),
  primary key (account_id, live_mode, customer_id, kind, object_id)
);
comment on table sync.problems is 'What somebody should look at: refused custom_uids, unknown statuses. Goes away when it is mended.';
comment on column sync.problems.account_id is 'Connected account, or empty.';
comment on column sync.problems.live_mode is 'Live or test.';
comment on column sync.problems.customer_id is 'Stripe customer id whose record is concerned.';
comment on column sync.problems.kind is 'What kind of problem: custom_uid_invalid, custom_uid_taken, status_unknown.';
comment on column sync.problems.object_id is 'The Stripe object that causes it.';
comment on column sync.problems.detail is 'What is wrong and what to do.';
comment on column sync.problems.first_seen_at is 'When it was first seen.';

create table sync.workers (
  id          text        primary key,
  started_at  timestamptz not null default now(),
  beat_at     timestamptz not null default now(),
  detail      jsonb       not null default '{}'
);
comment on table sync.workers is 'Heartbeats: one row per running worker process.';
comment on column sync.workers.id is 'host:pid:start.';
comment on column sync.workers.started_at is 'When the process started.';
comment on column sync.workers.beat_at is 'Last sign of life.';
comment on column sync.workers.detail is 'What it says of itself: version, Redis state, restarts of its arq workers.';

create table sync.accounts (
  account_id   text        not null,
  live_mode    boolean     not null,
  seen_at      timestamptz not null default now(),
  cursor_at    timestamptz,
  filled_at    timestamptz,
  due_at       timestamptz not null default now(),
  error        text,
  primary key (account_id, live_mode)
);
comment on table sync.accounts is 'The accounts that events came from, and how far their gaps are filled from /v1/events.';
comment on column sync.accounts.account_id is 'Connected account, or empty: the account that owns the endpoint.';
comment on column sync.accounts.live_mode is 'Live or test.';
comment on column sync.accounts.seen_at is 'When the first event of it was applied.';
comment on column sync.accounts.cursor_at is 'By Stripe''s clock: every event created before it is in the inbox. The next fill overlaps it.';
comment on column sync.accounts.filled_at is 'When its gaps were last filled.';
comment on column sync.accounts.due_at is 'When the next fill is due; while somebody fills, the lease.';
comment on column sync.accounts.error is 'What the last failed fill said.';

create table sync.key (
  only_row     boolean     primary key default true check (only_row),
  account_id   text        not null,
  live_mode    boolean     not null,
  first_at     timestamptz not null default now()
);
comment on table sync.key is 'Whose API key this database was filled with. A key of another account or mode is refused.';
comment on column sync.key.only_row is 'There is one row.';
comment on column sync.key.account_id is 'Stripe''s id of the key''s own account.';
comment on column sync.key.live_mode is 'The key''s mode.';
comment on column sync.key.first_at is 'When a key of it first worked.';

create table sync.alarms (
  name       text        primary key,
  detail     text        not null,
  raised_at  timestamptz not null default now()
);
comment on table sync.alarms is 'What an operator must see: a key of the wrong account, events that expired before they were read.';
comment on column sync.alarms.name is 'What kind of alarm, and of what.';
comment on column sync.alarms.detail is 'What is wrong and what to do.';
comment on column sync.alarms.raised_at is 'Since when.';

create table sync.milestones (
  name        text        primary key,
  reached_at  timestamptz not null
);
comment on table sync.milestones is 'When work on the whole inbox or account last got done: apply, gap_fill, audit.';
comment on column sync.milestones.name is 'apply, gap_fill or audit.';
comment on column sync.milestones.reached_at is 'When it last finished.';


-- stripe: the mirror -----------------------------------------------------------------------------------------------
-- Every table: the key, the facts of billing/facts.py in their order, deleted_at, and the object as Stripe sent it.

create table stripe.customers (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, name text, email text, description text, metadata jsonb not null default '{}',
  custom_uid text, test_clock text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index customers_custom_uid on stripe.customers (account_id, live_mode, custom_uid) where custom_uid is not null;

create table stripe.products (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, name text, active boolean, metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);

create table stripe.prices (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, product_id text, active boolean, currency text, unit_amount bigint, unit_amount_decimal text,
  billing_scheme text, recurring boolean not null default false, interval text, interval_count bigint, usage_type text,
  nickname text, metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index prices_product on stripe.prices (account_id, live_mode, product_id);

create table stripe.subscriptions (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, start_date timestamptz, trial_start timestamptz,
  trial_end timestamptz, cancel_at timestamptz, cancel_at_period_end boolean not null default false,
  canceled_at timestamptz, ended_at timestamptz, current_period_start timestamptz, current_period_end timestamptz,
  collection_method text, currency text, latest_invoice_id text, pause_collection text, billing_mode text,
  cancellation_reason text, schedule_id text, test_clock text, metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index subscriptions_customer on stripe.subscriptions (account_id, live_mode, customer_id);

create table stripe.subscription_items (
  account_id text not null, live_mode boolean not null, id text not null, subscription_id text not null,
  position bigint not null, created timestamptz, price_id text, product_id text, quantity bigint,
  current_period_start timestamptz, current_period_end timestamptz, metadata jsonb not null default '{}',
  primary key (account_id, live_mode, subscription_id, id)
);
create index subscription_items_price on stripe.subscription_items (account_id, live_mode, price_id);
create index subscription_items_product on stripe.subscription_items (account_id, live_mode, product_id);

create table stripe.invoices (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, subscription_id text, status text, billing_reason text,
  period_start timestamptz, period_end timestamptz, lines_period_end timestamptz, currency text, total bigint,
  amount_due bigint, amount_paid bigint, amount_remaining bigint, paid_out_of_band boolean,
  amount_paid_off_stripe bigint, amount_paid_by_payments bigint, collection_method text, attempt_count bigint,
  next_payment_attempt timestamptz, due_date timestamptz, paid_at timestamptz, number text,
  metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index invoices_customer on stripe.invoices (account_id, live_mode, customer_id);

create table stripe.invoice_payments (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, invoice_id text, status text, amount_requested bigint, amount_paid bigint, currency text,
  payment_type text, payment_intent_id text, charge_id text, payment_record_id text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index invoice_payments_invoice on stripe.invoice_payments (account_id, live_mode, invoice_id);
create index invoice_payments_payment_intent on stripe.invoice_payments (account_id, live_mode, payment_intent_id)
  where payment_intent_id is not null;

create table stripe.charges (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, payment_intent_id text, invoice_id text, status text,
  captured boolean not null default false, amount bigint, amount_captured bigint, amount_refunded bigint,
  currency text, disputed boolean, description text, metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index charges_customer on stripe.charges (account_id, live_mode, customer_id);
-- A guest's charge names nobody; the Checkout session or the invoice of its PaymentIntent does.
create index charges_guest on stripe.charges (account_id, live_mode, payment_intent_id) where customer_id is null;

create table stripe.refunds (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, charge_id text, payment_intent_id text, status text, amount bigint, currency text, reason text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index refunds_charge on stripe.refunds (account_id, live_mode, charge_id);

create table stripe.disputes (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, charge_id text, payment_intent_id text, status text, amount bigint, currency text, reason text,
  movements bigint, moved_amount bigint, moved_currency text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index disputes_charge on stripe.disputes (account_id, live_mode, charge_id);

create table stripe.checkout_sessions (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, mode text, payment_status text, client_reference_id text,
  subscription_id text, payment_intent_id text, invoice_id text, amount_total bigint, currency text,
  metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index checkout_sessions_customer on stripe.checkout_sessions (account_id, live_mode, customer_id);
create index checkout_sessions_client_reference_id on stripe.checkout_sessions (account_id, live_mode, client_reference_id)
  where client_reference_id is not null;
create index checkout_sessions_payment_intent on stripe.checkout_sessions (account_id, live_mode, payment_intent_id)
  where payment_intent_id is not null;

alter table stripe.customers alter column raw set storage external;
alter table stripe.products alter column raw set storage external;
alter table stripe.prices alter column raw set storage external;
alter table stripe.subscriptions alter column raw set storage external;
alter table stripe.invoices alter column raw set storage external;
alter table stripe.invoice_payments alter column raw set storage external;
alter table stripe.charges alter column raw set storage external;
alter table stripe.refunds alter column raw set storage external;
alter table stripe.disputes alter column raw set storage external;
alter table stripe.checkout_sessions alter column raw set storage external;


-- billing: the records ----------------------------------------------------------------------------------------------

create sequence billing.change cache 1;
comment on sequence billing.change is 'Numbers changes of records. Drawn only under the advisory lock of the derive transaction, so that a poll misses none.';

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
create index identities_custom_uid on billing.identities (account_id, live_mode, custom_uid) where custom_uid is not null;

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
create index customers_subscription on billing.customers (stripe_subscription_id) where stripe_subscription_id is not null;

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

create view billing.freshness as
select
  (select received_at from sync.events order by seq desc limit 1) as last_event_received_at,
  (select reached_at from sync.milestones where name = 'apply') as last_event_applied_at,
  (select count(*) from sync.events where state = 'pending') as pending,
  (select received_at from sync.events where state = 'pending' order by seq limit 1) as oldest_pending_at,
  (select reached_at from sync.milestones where name = 'gap_fill') as last_gap_fill_at,
  (select reached_at from sync.milestones where name = 'audit') as last_audit_at;

create view billing.invoices as
select c.uid as customer_uid, i.account_id, i.live_mode, i.id, i.created, i.customer_id as stripe_customer_id,
  i.subscription_id as stripe_subscription_id, i.status, i.billing_reason, i.period_start, i.period_end, i.currency,
  i.total, i.amount_due, i.amount_paid, i.amount_remaining, i.attempt_count, i.next_payment_attempt, i.due_date,
  i.paid_at, i.number, i.deleted_at
from stripe.invoices i
left join billing.customers c
  on c.account_id = i.account_id and c.live_mode = i.live_mode and c.stripe_customer_id = i.customer_id;

create view billing.charges as
select c.uid as customer_uid, h.account_id, h.live_mode, h.id, h.created, h.customer_id as stripe_customer_id, h.status,
  h.captured, h.currency, h.amount, h.amount_captured, h.amount_refunded, h.disputed, h.description
from stripe.charges h
left join billing.customers c
  on c.account_id = h.account_id and c.live_mode = h.live_mode and c.stripe_customer_id = h.customer_id;

-- Whose money a charge is. A guest's charge names nobody: the Checkout session or the invoice of its PaymentIntent does.
create view sync.charge_owners as
select account_id, live_mode, id as charge_id, customer_id
from stripe.charges
where customer_id is not null
union
select h.account_id, h.live_mode, h.id, s.customer_id
from stripe.charges h
join stripe.checkout_sessions s
  on s.account_id = h.account_id and s.live_mode = h.live_mode and s.payment_intent_id = h.payment_intent_id
where h.customer_id is null and s.customer_id is not null
union
select h.account_id, h.live_mode, h.id, i.customer_id
from stripe.charges h
join stripe.invoice_payments p
  on p.account_id = h.account_id and p.live_mode = h.live_mode and p.payment_intent_id = h.payment_intent_id
join stripe.invoices i
  on i.account_id = p.account_id and i.live_mode = p.live_mode and i.id = p.invoice_id
where h.customer_id is null and i.customer_id is not null;
comment on view sync.charge_owners is 'The customer whose money each charge is, also where the charge itself names none.';

-- Each customer's claim of a custom_uid by its first valid source. A view, so that it can never disagree with the mirror.
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

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
