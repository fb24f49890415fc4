-- migrate:up

-- Readers learn whether records may be behind what was received; audits, what a list held and nobody could judge.

create or replace view billing.freshness as
select
  (select received_at from sync.events order by seq desc limit 1) as last_event_received_at,
  (select reached_at from sync.milestones where name = 'apply') as last_event_applied_at,
  (select count(*) from sync.events where state = 'pending') as pending,
  (select received_at from sync.events where state = 'pending' order by seq limit 1) as oldest_pending_at,
  (select reached_at from sync.milestones where name = 'gap_fill') as last_gap_fill_at,
  (select reached_at from sync.milestones where name = 'audit') as last_audit_at,
  because is not null as behind,
  because as behind_because
from (
  select nullif(
    concat_ws(
      '; ',
      case when not exists (select from sync.workers where beat_at > now() - interval '35 seconds')
        then 'no worker is alive' end,
      case when exists (
        select from sync.events where state = 'pending' and received_at < now() - interval '1 minute'
      ) then 'events have waited for more than a minute to be applied' end,
      case when exists (
        select from sync.customers
        where stale > derived and parked_at is null and stale_since < now() - interval '1 minute'
      ) then 'records have waited for more than a minute to be derived' end,
      case when exists (select from sync.alarms where name like 'events expired%')
        then 'events expired before they were read' end
    ),
    ''
  ) as because
) as reasons;
comment on view billing.freshness is 'How fresh the records are: one row.';
comment on column billing.freshness.last_event_received_at is 'When the last event was received.';
comment on column billing.freshness.last_event_applied_at is 'When events were last applied.';
comment on column billing.freshness.pending is 'Events received and not applied yet.';
comment on column billing.freshness.oldest_pending_at is 'When the oldest of those was received; NULL: there is none.';
comment on column billing.freshness.last_gap_fill_at is 'When /v1/events was last read to its end; NULL: never.';
comment on column billing.freshness.last_audit_at is 'When an audit last finished; NULL: never.';
comment on column billing.freshness.behind is
  'Whether records, exact ones too, may be older than what Stripe has sent: join it to `exact`.';
comment on column billing.freshness.behind_because is
  'Why they may: no worker is alive, events or records have waited for more than a minute, events expired unread. NULL: they are not behind.';

-- Every stored row satisfies the narrower check that this one replaces: none is to be scanned.
alter table sync.drift
  drop constraint what_is_known,
  add constraint what_is_known check (what in ('differs', 'lacking', 'surplus', 'cut', 'unread', 'unsettled')) not valid;
comment on column sync.drift.what is
  'differs; lacking (Stripe has it, we do not); surplus (we have it, the list does not). Read by its id before it is judged: cut (a list inside it was cut), unread (a list held it, and it could not be understood there), unsettled (its own read failed or had not come when the lists were read).';
comment on column sync.drift.read_tick is
  'sync.tick drawn before the read that found it to differ: marks, events and reads since then are younger than `said`. NULL for a record.';
comment on table sync.drift is
  'What audits found: one row per object or record that does not agree with Stripe. Rows that turn out to agree when they are read by id go away. Of a backfill: what it could not read.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
