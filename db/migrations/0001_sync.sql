-- migrate:up

-- sync: the machinery. Readers have no rights here.

create schema sync;
comment on schema sync is 'The machinery: inbox, marks, leases. Not for readers.';

create sequence sync.tick cache 1;
comment on sequence sync.tick is
  'The only clock that orders anything: marks and reads of Stripe draw from it. Cache 1, so that a number drawn later is greater.';


-- The inbox -----------------------------------------------------------------------------------------------------------

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
comment on column sync.events.event_id is
  'event.id, or sha256:<digest of the payload> where the event has no usable id.';
comment on column sync.events.seq is 'Inbox number: the order of receipt. It orders only what is shown provisionally.';
comment on column sync.events.type is 'event.type, or empty where it has none.';
comment on column sync.events.api_version is 'event.api_version: the shape of the payload.';
comment on column sync.events.created is
  'event.created, whole seconds of Stripe''s clock. Never orders confirmed state.';
comment on column sync.events.payload is 'The signed bytes. Never parsed in SQL.';
comment on column sync.events.received_at is 'When the endpoint stored it.';
comment on column sync.events.state is
  'pending; applied; ignored (concerns nothing that is mirrored); parked (failed, see error); quarantined (of the mode that the key does not serve).';
comment on column sync.events.attempts is
  'Claims so far, counted before the work: from the second on it is taken alone.';
comment on column sync.events.leased_until is 'Until when a worker has it.';
comment on column sync.events.applied_at is 'When it left the pending state.';
comment on column sync.events.error is 'Why it is parked, ignored or quarantined.';


-- The fence: marks and reads of each object ---------------------------------------------------------------------------

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
  told              bigint      not null default 0,
  fan_touched       bigint,
  fan_after         text,
  -- Only answers that cannot be understood give an object up: outages must not use up its attempts.
  unreadable        integer     not null default 0,
  primary key (account_id, live_mode, kind, id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index objects_due on sync.objects (read_at) where read_at is not null;
create index objects_unsettled on sync.objects (account_id, live_mode, customer_id) where unsettled;
create index objects_unresolved on sync.objects (touched_at) where touched > resolved;
comment on table sync.objects is 'The fence: per Stripe object, what is known to have changed and what was read since.';
comment on column sync.objects.account_id is 'Connected account, or empty.';
comment on column sync.objects.live_mode is 'Live or test.';
comment on column sync.objects.kind is 'Name of the kind in billing/kinds/registry.py.';
comment on column sync.objects.id is 'Stripe id.';
comment on column sync.objects.customer_id is
  'The Stripe customer that the object names, once known. NULL for kinds that name none.';
comment on column sync.objects.dirty is
  'Tick of the newest mark: something about it changed before this number was drawn. -1: an event was the first to name it, and only lists confirm its kind.';
comment on column sync.objects.confirmed is
  'Tick of the read that is stored, drawn before its request left. Confirmed means confirmed > dirty.';
comment on column sync.objects.tombstone is 'Deleted at Stripe, seen by a read: nothing is written any more.';
comment on column sync.objects.first_marked_at is
  'When it became dirty: bounds how long a burst may postpone the read.';
comment on column sync.objects.read_at is
  'When the next read is due; while a worker reads, its lease. NULL: no read is due.';
comment on column sync.objects.attempts is 'Reads begun since the last success, counted before the request.';
comment on column sync.objects.error is 'What the last failed read said.';
comment on column sync.objects.missing_since is
  'Stripe answered 404 and nothing proves a deletion: the row stays, exact is false.';
comment on column sync.objects.parked_at is 'When reading it was given up, until it is replayed; see error.';
comment on column sync.objects.shown_created is 'Stripe''s time of the payload or read last shown (provisional rule).';
comment on column sync.objects.shown_seq is 'Inbox number of the payload last shown (provisional rule).';
comment on column sync.objects.terminal is
  'The state shown is one that Stripe never leaves: no payload may take it back, only a read.';
comment on column sync.objects.deleted_event_at is 'event.created of its *.deleted event.';
comment on column sync.objects.event_id is 'The event last applied to it.';
comment on column sync.objects.event_created is 'event.created of that event.';
comment on column sync.objects.source is 'What marked it last: event, sweep, audit, deadline, backfill.';
comment on column sync.objects.late_reads is
  'Reads since one of its deadlines passed without the change that the deadline announces: spaces out the next reads.';
comment on column sync.objects.contradictions is
  'Reads in a row that took back a fact that Stripe never takes back: it is read again before they are believed.';
comment on column sync.objects.contradicted_at is 'When the first of these reads was made.';
comment on column sync.objects.touched is
  'Raised with each write of a row that names no customer; its customers are found later, from committed rows.';
comment on column sync.objects.resolved is 'The value of touched up to which its customers have been marked.';
comment on column sync.objects.touched_at is 'When touched was last raised.';
comment on column sync.objects.unsettled is
  'A read is pending, or the object is missing or parked: its customer is not exact.';
comment on column sync.objects.told is
  'Of kinds that only lists confirm (billing/kinds/registry.py): tick of the newest event about it. After a list that was requested before that event and stored after it, the object is read again.';
comment on column sync.objects.fan_touched is
  'Of the catalogue, while its customers are being marked batch by batch: the value of touched that this will have resolved. NULL: not begun.';
comment on column sync.objects.fan_after is
  'How far the marking is: the last subscription, of a feature the last customer, in the order of their ids.';
comment on column sync.objects.unreadable is
  'Answers in a row that could not be understood or stored, outages between them not counted: after five it is parked. 0 again once a read is stored, or a mark ends the parking.';


-- Customers: whose record is older than its facts ---------------------------------------------------------------------

create table sync.customers (
  account_id        text        not null,
  live_mode         boolean     not null,
  customer_id       text        not null,
  stale             bigint      not null default 0,
  derived           bigint      not null default 0,
  stale_since       timestamptz,
  complete          boolean     not null default false,
  leased_until      timestamptz,
  attempts          integer     not null default 0,
  parked_at         timestamptz,
  error             text,
  history_at        timestamptz,
  history_attempts  integer     not null default 0,
  history_error     text,
  rederive_at       timestamptz,
  -- A pull answers only requests made before it began, and a customer that was never asked for may turn out to need
  -- no pull: so requests are counted.
  history_asked     bigint      not null default 0,
  known_from        timestamptz,
  primary key (account_id, live_mode, customer_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create index customers_history on sync.customers (history_at) where history_at is not null;
create index customers_stale on sync.customers (stale_since) where stale > derived and parked_at is null;
create index customers_rederive on sync.customers (rederive_at) where rederive_at is not null;
comment on table sync.customers is 'Which customers'' records are older than their facts.';
comment on column sync.customers.account_id is 'Connected account, or empty.';
comment on column sync.customers.live_mode is 'Live or test.';
comment on column sync.customers.customer_id is 'Stripe customer id.';
comment on column sync.customers.stale is 'Raised by one in each transaction that writes a fact of this customer.';
comment on column sync.customers.derived is
  'The value of stale that was read before the facts of the stored record. Stale while stale > derived.';
comment on column sync.customers.stale_since is 'When it became stale: orders the work and measures the lag.';
comment on column sync.customers.complete is
  'Its history is known from the start: customer.created was received, or a backfill or history pull covers it.';
comment on column sync.customers.leased_until is 'A worker derives it until then.';
comment on column sync.customers.attempts is 'Derivations begun since the last success, counted before the work.';
comment on column sync.customers.parked_at is 'Deriving failed again and again; see error.';
comment on column sync.customers.error is 'What the last failed derivation said.';
comment on column sync.customers.history_at is
  'When its history is to be pulled from Stripe; during the pull, the lease. NULL: not wanted.';
comment on column sync.customers.history_attempts is
  'Pulls begun since the last success, counted before the first request.';
comment on column sync.customers.history_error is 'What the last failed pull said.';
comment on column sync.customers.rederive_at is
  'When its record changes by time alone (a grant ends), as of its last derivation: it is derived again then. NULL: never.';
comment on column sync.customers.history_asked is
  'How often its history was asked for. A pull answers the requests made before it began; 0: wanted, if at all, only because the customer was first seen in the middle.';
comment on column sync.customers.known_from is
  'When the event that made the customer complete was created; NULL where its lists were read, or it is not complete.';

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
comment on table sync.problems is
  'Problems that a person should look at: refused custom_uids, unknown statuses. A row goes away when the problem is mended.';
comment on column sync.problems.account_id is 'Connected account, or empty.';
comment on column sync.problems.live_mode is 'Live or test.';
comment on column sync.problems.customer_id is 'Stripe customer id whose record is concerned.';
comment on column sync.problems.kind is
  'What kind of problem: custom_uid_invalid, custom_uid_taken, status_unknown, sandbox_end_invalid.';
comment on column sync.problems.object_id is 'The Stripe object that causes it.';
comment on column sync.problems.detail is 'What is wrong and what to do.';
comment on column sync.problems.first_seen_at is 'When it was first seen.';

-- A tombstone in sync.objects concerns one object; a row here concerns everything that ever arrives about a customer.
create table sync.forgotten (
  account_id    text        not null,
  live_mode     boolean     not null,
  customer_id   text        not null,
  forgotten_at  timestamptz not null default now(),
  erased_at     timestamptz,
  primary key (account_id, live_mode, customer_id)
);
comment on table sync.forgotten is
  'Customers whose personal data was erased: nothing that arrives about them later is stored.';
comment on column sync.forgotten.account_id is 'Connected account, or empty.';
comment on column sync.forgotten.live_mode is 'Live or test.';
comment on column sync.forgotten.customer_id is 'Stripe customer id: all that still identifies the customer.';
comment on column sync.forgotten.forgotten_at is
  'When forgetting was asked for: from then on nothing is stored any more.';
comment on column sync.forgotten.erased_at is 'When everything stored had been erased. NULL: under way, or cut short.';


-- Accounts and the key ------------------------------------------------------------------------------------------------

create table sync.accounts (
  account_id   text        not null,
  live_mode    boolean     not null,
  seen_at      timestamptz not null default now(),
  cursor_at    timestamptz,
  filled_at    timestamptz,
  due_at       timestamptz not null default now(),
  error        text,
  -- A customer.created proves that nothing came before it, not that everything after it has come: Stripe retries a
  -- failed delivery for days, so an event from before the first fill proves nothing about the time between.
  events_since timestamptz,
  primary key (account_id, live_mode)
);
comment on table sync.accounts is
  'The accounts that events came from, and how far their gaps are filled from /v1/events.';
comment on column sync.accounts.account_id is 'Connected account, or empty: the account that owns the endpoint.';
comment on column sync.accounts.live_mode is 'Live or test.';
comment on column sync.accounts.seen_at is 'When the first event of it was applied.';
comment on column sync.accounts.cursor_at is
  'By Stripe''s clock: every event created before this is in the inbox. The next fill overlaps it.';
comment on column sync.accounts.filled_at is 'When its gaps were last filled.';
comment on column sync.accounts.due_at is 'When the next fill is due; during a fill, the lease.';
comment on column sync.accounts.error is 'What the last failed fill said.';
comment on column sync.accounts.events_since is
  'By Stripe''s clock: every event since then has come, or comes with a fill. NULL: before the first fill.';

create table sync.key (
  only_row     boolean     primary key default true check (only_row),
  account_id   text        not null,
  live_mode    boolean     not null,
  first_at     timestamptz not null default now()
);
comment on table sync.key is
  'The account and mode of the API key that filled this database. A key of another account or mode is refused.';
comment on column sync.key.only_row is 'There is one row.';
comment on column sync.key.account_id is 'Stripe''s id of the key''s own account.';
comment on column sync.key.live_mode is 'The key''s mode.';
comment on column sync.key.first_at is 'When a key of this account first worked.';


-- Scans: backfills and audits -----------------------------------------------------------------------------------------

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
  -- A step that is given up must not cost the steps after it.
  unread        text,
  constraint purpose_is_known check (purpose in ('backfill', 'audit')),
  constraint something_is_read check (cardinality(kinds) > 0),
  constraint status_is_known check (status in ('queued', 'running', 'complete', 'partial', 'failed', 'canceled')),
  constraint whole_has_no_bounds check (not (whole and (since, until, customer_id) is distinct from (null, null, null)))
);
create index scans_unfinished on sync.scans (due_at) where finished_at is null;
comment on table sync.scans is
  'Readings of an account''s lists from end to end: a backfill stores what it reads, an audit compares it.';
comment on column sync.scans.id is 'Number of the backfill or audit.';
comment on column sync.scans.purpose is 'backfill or audit.';
comment on column sync.scans.account_id is 'Connected account, or empty.';
comment on column sync.scans.live_mode is 'Live or test.';
comment on column sync.scans.kinds is 'The kinds whose lists are read; others come with their parents.';
comment on column sync.scans.since is 'Only objects created at or after it. NULL: from the beginning of the account.';
comment on column sync.scans.until is 'Only objects created before it. NULL: up to the start of the reading.';
comment on column sync.scans.customer_id is 'Only this Stripe customer. NULL: all.';
comment on column sync.scans.whole is
  'Whether it reads every kind, from the beginning to its start: read to the end, it makes customers complete.';
comment on column sync.scans.repair is 'Whether the audit has objects that differ read again, by id.';
comment on column sync.scans.status is
  'queued; running; complete (every window was read to its end); partial (some were not, see error); failed (nothing could be read); canceled.';
comment on column sync.scans.requested_at is 'When a person, or the schedule, asked for it.';
comment on column sync.scans.horizon is
  'By Stripe''s clock, when it began: younger objects come as events. Windows end here.';
comment on column sync.scans.started_at is 'When its first request left.';
comment on column sync.scans.finished_at is
  'When its last step was done. NULL: something is still to be done, also after a cancellation.';
comment on column sync.scans.begun_tick is
  'sync.tick at its start: a row confirmed later than this is younger than the lists.';
comment on column sync.scans.step is 'begin, lists, or what comes after them.';
comment on column sync.scans.step_cursor is 'How far the step is: the last Stripe id that it has done.';
comment on column sync.scans.due_at is 'When its next step is due; while a worker does it, the lease.';
comment on column sync.scans.attempts is 'Turns at the step since its last success, counted before the work.';
comment on column sync.scans.error is 'Why it is partial or has failed: which kind, which window, what Stripe said.';
comment on column sync.scans.unread is
  'What a step after the lists could not read, and why: later steps were done, no customer is made complete, and the scan ends as partial. NULL: nothing.';

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
  -- Stripe lists only the active prices unless it is asked for the others: the list is read twice, and each reading has
  -- windows of its own.
  variant         text        not null default '',
  constraint scan_windows_readings primary key (scan_id, kind, variant, high),
  constraint state_is_known check (state in ('open', 'done', 'failed')),
  constraint low_is_below_high check (low < high)
) with (fillfactor = 70);
create index scan_windows_open on sync.scan_windows (due_at) where state = 'open';
comment on table sync.scan_windows is
  'What a scan reads: for each kind and each reading of its list, stretches of `created` that tile the whole. A stretch with many objects is halved while it is read.';
comment on column sync.scan_windows.scan_id is 'The scan.';
comment on column sync.scan_windows.kind is 'The kind whose list is read.';
comment on column sync.scan_windows.low is 'Objects created at or after it ...';
comment on column sync.scan_windows.high is '... and before it. Never changes: a split takes the older part away.';
comment on column sync.scan_windows.state is
  'open; done (the last page said that nothing follows); failed (given up, see error).';
comment on column sync.scan_windows.cursor_id is
  'The last object of the last stored page, committed with it. The list goes on after it, towards older ones.';
comment on column sync.scan_windows.cursor_created is 'When that object was created.';
comment on column sync.scan_windows.edge_ids is
  'Of an audit: the objects seen that were created in the very second of the cursor.';
comment on column sync.scan_windows.objects is 'Objects of this kind that its pages held.';
comment on column sync.scan_windows.requests is 'Requests that its pages took.';
comment on column sync.scan_windows.due_at is 'When its next page is due; while a worker reads, the lease.';
comment on column sync.scan_windows.attempts is 'Requests begun since the last success, counted before the request.';
comment on column sync.scan_windows.error is 'What the last failed request said.';
comment on column sync.scan_windows.variant is
  'The filter of this reading (active=true, active=false), where no single reading of the list holds everything; empty where one does.';

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
  -- An unreadable object must not keep an audit from ending.
  error        text,
  -- What was read before a later change must not be taken for what Stripe says now.
  read_tick    bigint,
  primary key (scan_id, kind, id),
  constraint what_is_known check (what in ('differs', 'lacking', 'surplus', 'cut'))
);
create index drift_unverified on sync.drift (scan_id) where not verified;
comment on table sync.drift is
  'What audits found: one row per object or record that does not agree with Stripe. Rows that turn out to agree when they are read by id go away.';
comment on column sync.drift.scan_id is 'The audit.';
comment on column sync.drift.kind is
  'Kind of the mirrored object, or `record` for a row of billing.customers with its parts.';
comment on column sync.drift.id is 'Stripe id; of a record, the Stripe customer id.';
comment on column sync.drift.what is
  'differs; lacking (Stripe has it, we do not); surplus (we have it, the list does not); cut (a list inside it was cut, so it is read by its id before it is judged).';
comment on column sync.drift.fields is 'The columns that differ.';
comment on column sync.drift.currency is 'Currency of the amount.';
comment on column sync.drift.amount is
  'Minor units: what is right minus what is stored. Of charges the amount captured, of refunds and disputes their amount, of invoices and invoice payments the amount paid, of records the lifetime revenue.';
comment on column sync.drift.verified is 'Whether a read by id, or for a record a second derivation, has confirmed it.';
comment on column sync.drift.repaired is 'Whether it was marked, so that confirm and derive mend it.';
comment on column sync.drift.said is
  'The object as Stripe sent it when it was read by its id; NULL where Stripe knows none.';
comment on column sync.drift.error is
  'Why it was given up without being verified: Stripe''s answer when it was read by its id, or the part of the answer that is not understood.';
comment on column sync.drift.read_tick is
  'sync.tick drawn before the read that verified it: marks, events and reads since then are younger than `said`. NULL for a record.';


-- Usage and rebuilds --------------------------------------------------------------------------------------------------

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
comment on table sync.usage is
  'The customers whose usage is read: those with a metered subscription, and those that were asked for.';
comment on column sync.usage.account_id is 'Connected account, or empty.';
comment on column sync.usage.live_mode is 'Live or test.';
comment on column sync.usage.customer_id is 'Stripe''s id of the customer.';
comment on column sync.usage.due_at is
  'When its next reading is due; while a worker reads, the lease. Infinity: it has no metered subscription now.';
comment on column sync.usage.asked is 'How often a reading was asked for.';
comment on column sync.usage.answered is
  'The value of `asked` before the latest reading began: requests up to it are answered.';
comment on column sync.usage.read_at is 'When its latest reading was stored. NULL: never.';
comment on column sync.usage.attempts is 'Readings begun since the last success, counted before the request.';
comment on column sync.usage.error is 'Why the latest reading failed, or which part of it Stripe refused.';

create table sync.rebuilds (
  id           bigint      generated always as identity primary key,
  started_at   timestamptz not null default now(),
  finished_at  timestamptz,
  account_id   text        not null default '',
  live_mode    boolean     not null default false,
  customer_id  text        not null default '',
  derived      bigint      not null default 0,
  changed      bigint      not null default 0
);
create unique index rebuilds_one_at_a_time on sync.rebuilds ((finished_at is null)) where finished_at is null;
comment on table sync.rebuilds is
  'Rebuilds of all records, and how far each one came: a rebuild that was cut short goes on from there.';
comment on column sync.rebuilds.id is 'Number of the rebuild.';
comment on column sync.rebuilds.started_at is 'When it began.';
comment on column sync.rebuilds.finished_at is 'When the last customer was derived. NULL: under way, or cut short.';
comment on column sync.rebuilds.account_id is 'Account of the last customer that was derived.';
comment on column sync.rebuilds.live_mode is 'Mode of the last customer that was derived.';
comment on column sync.rebuilds.customer_id is
  'Stripe id of the last customer that was derived; customers are taken in the order of (account_id, live_mode, customer_id).';
comment on column sync.rebuilds.derived is 'How many customers it has taken so far.';
comment on column sync.rebuilds.changed is 'How many of their records came out different.';


-- The processes, and what operators must see --------------------------------------------------------------------------

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
comment on column sync.workers.detail is 'What it reports: version, Redis state, restarts of its arq workers.';

create table sync.milestones (
  name        text        primary key,
  reached_at  timestamptz not null
);
comment on table sync.milestones is
  'When work on the whole inbox or account was last finished: apply, gap_fill, audit.';
comment on column sync.milestones.name is 'apply, gap_fill or audit.';
comment on column sync.milestones.reached_at is 'When it last finished.';

create table sync.alarms (
  name       text        primary key,
  detail     text        not null,
  raised_at  timestamptz not null default now()
);
comment on table sync.alarms is
  'What an operator must see: a key of the wrong account, events that expired before they were read.';
comment on column sync.alarms.name is 'The kind of alarm, and its subject.';
comment on column sync.alarms.detail is 'What is wrong and what to do.';
comment on column sync.alarms.raised_at is 'When it was raised.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
