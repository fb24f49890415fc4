-- migrate:up

create table sync.scans (
  id            bigint      generated always as identity primary key,
  purpose       text        not null,
  account_id    text        not null,
  live_mode     boolean     not null,
  kinds         text[]      not null,
  since         timestamptz,
  until         timestamptz,
  customer_id   text,
  whole         boolean     not null,
  repair        boolean     not null default false,
  status        text        not null default 'queued',
  requested_at  timestamptz not null default now(),
  horizon       timestamptz,
  started_at    timestamptz,
  finished_at   timestamptz,
  begun_tick    bigint,
  step          text        not null default 'begin',
  step_cursor   text        not null default '',
  due_at        timestamptz not null default now(),
  attempts      integer     not null default 0,
  error         text,
  constraint purpose_is_known check (purpose in ('backfill', 'audit')),
  constraint something_is_read check (cardinality(kinds) > 0),
  constraint status_is_known check (status in ('queued', 'running', 'complete', 'partial', 'failed', 'canceled')),
  constraint whole_has_no_bounds check (not (whole and (since, until, customer_id) is distinct from (null, null, null)))
);
create index scans_unfinished on sync.scans (due_at) where finished_at is null;
comment on table sync.scans is 'Readings of an account''s lists from end to end: a backfill stores what it reads, an audit compares it.';
comment on column sync.scans.id is 'Number of the backfill or audit.';
comment on column sync.scans.purpose is 'backfill or audit.';
comment on column sync.scans.account_id is 'Connected account, or empty.';
comment on column sync.scans.live_mode is 'Live or test.';
comment on column sync.scans.kinds is 'The kinds whose lists are read; others come with their parents.';
comment on column sync.scans.since is 'Only objects created at or after it. NULL: from the beginning of the account.';
comment on column sync.scans.until is 'Only objects created before it. NULL: up to the start of the reading.';
comment on column sync.scans.customer_id is 'Only this Stripe customer. NULL: all.';
comment on column sync.scans.whole is 'Every kind, from the beginning to the start: what it has read to the end makes customers complete.';
comment on column sync.scans.repair is 'An audit that has what differs read again by id.';
comment on column sync.scans.status is 'queued; running; complete (every window was read to its end); partial (some were not, see error); failed (nothing could be read); canceled.';
comment on column sync.scans.requested_at is 'When somebody, or the schedule, asked for it.';
comment on column sync.scans.horizon is 'By Stripe''s clock, when it began: what is younger comes as events. Windows end here.';
comment on column sync.scans.started_at is 'When its first request left.';
comment on column sync.scans.finished_at is 'When its last step was done. NULL: something is still to be done, also after a cancellation.';
comment on column sync.scans.begun_tick is 'sync.tick at its start: a row confirmed later than this is younger than what the lists may say.';
comment on column sync.scans.step is 'begin, lists, or what comes after them.';
comment on column sync.scans.step_cursor is 'How far the step is: the last Stripe id that it has dealt with.';
comment on column sync.scans.due_at is 'When its next step is due; while a worker does it, the lease.';
comment on column sync.scans.attempts is 'Turns at the step since its last success, counted before the work.';
comment on column sync.scans.error is 'Why it is partial or has failed: which kind, which window, what Stripe said.';

create table sync.scan_windows (
  scan_id         bigint      not null references sync.scans on delete cascade,
  kind            text        not null,
  low             timestamptz not null,
  high            timestamptz not null,
  state           text        not null default 'open',
  cursor_id       text,
  cursor_created  timestamptz,
  edge_ids        text[]      not null default '{}',
  objects         bigint      not null default 0,
  requests        integer     not null default 0,
  due_at          timestamptz not null default now(),
  attempts        integer     not null default 0,
  error           text,
  primary key (scan_id, kind, high),
  constraint state_is_known check (state in ('open', 'done', 'failed')),
  constraint low_is_below_high check (low < high)
) with (fillfactor = 70);
create index scan_windows_open on sync.scan_windows (due_at) where state = 'open';
comment on table sync.scan_windows is 'What a scan reads: for each kind, stretches of `created` that tile the whole. A stretch that holds much is halved while it is read.';
comment on column sync.scan_windows.scan_id is 'The scan.';
comment on column sync.scan_windows.kind is 'The kind whose list is read.';
comment on column sync.scan_windows.low is 'Objects created at or after it ...';
comment on column sync.scan_windows.high is '... and before it. Never changes: a split takes the older part away.';
comment on column sync.scan_windows.state is 'open; done (the last page said that nothing follows); failed (given up, see error).';
comment on column sync.scan_windows.cursor_id is 'The last object of the last stored page, committed with it. The list goes on after it, towards older ones.';
comment on column sync.scan_windows.cursor_created is 'When that object was created.';
comment on column sync.scan_windows.edge_ids is 'Of an audit: the objects seen that were created in the very second of the cursor.';
comment on column sync.scan_windows.objects is 'Objects of this kind that its pages held.';
comment on column sync.scan_windows.requests is 'Requests that its pages took.';
comment on column sync.scan_windows.due_at is 'When its next page is due; while a worker reads, the lease.';
comment on column sync.scan_windows.attempts is 'Requests begun since the last success, counted before the request.';
comment on column sync.scan_windows.error is 'What the last failed request said.';

-- A backfill and an audit go through the account by the time of creation.
create index customers_created on stripe.customers (account_id, live_mode, created);
create index subscriptions_created on stripe.subscriptions (account_id, live_mode, created);
create index invoices_created on stripe.invoices (account_id, live_mode, created);
create index charges_created on stripe.charges (account_id, live_mode, created);
create index checkout_sessions_created on stripe.checkout_sessions (account_id, live_mode, created);

create table sync.drift (
  scan_id      bigint  not null references sync.scans on delete cascade,
  kind         text    not null,
  id           text    not null,
  what         text    not null,
  fields       text[]  not null default '{}',
  currency     text,
  amount       bigint  not null default 0,
  verified     boolean not null default false,
  repaired     boolean not null default false,
  said         json,
  primary key (scan_id, kind, id),
  constraint what_is_known check (what in ('differs', 'lacking', 'surplus'))
);
create index drift_unverified on sync.drift (scan_id) where not verified;
comment on table sync.drift is 'What audits found: one row per object or record that does not agree with Stripe. Rows that turn out to agree when they are read by id go away.';
comment on column sync.drift.scan_id is 'The audit.';
comment on column sync.drift.kind is 'Kind of the mirrored object, or `record` for a row of billing.customers with its parts.';
comment on column sync.drift.id is 'Stripe id; of a record, the Stripe customer id.';
comment on column sync.drift.what is 'differs; lacking (Stripe has it, we do not); surplus (we have it, the list has not).';
comment on column sync.drift.fields is 'The columns that differ.';
comment on column sync.drift.currency is 'Currency of the amount.';
comment on column sync.drift.amount is 'Minor units: what is right minus what is stored. Of charges the amount captured, of refunds and disputes their amount, of invoices and invoice payments the amount paid, of records the lifetime revenue.';
comment on column sync.drift.verified is 'A read by id, or for a record a second derivation, has said so too.';
comment on column sync.drift.said is 'What Stripe said of the object when it was read by its id; NULL where it knows none.';
comment on column sync.drift.repaired is 'It was marked, so that confirm and derive mend it.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
