-- migrate:up

-- Readers learn whether records may be behind what was received.

-- An event that no webhook brought is found by the fill of the gap: while that is late, an exact record may be old. The
-- lease and the retries of a fill move due_at, so when it should have ended is a column of its own.
alter table sync.accounts add column fill_by timestamptz;
comment on column sync.accounts.fill_by is
  'When the next fill must have ended; after that, records may lack what no webhook brought. NULL: none has ended yet.';

-- How many customers are stale is no statistic: the planner took them for a third of all, and looked for one that had
-- waited by reading the table. The one that has waited longest is the first in the order of an index.
-- A thin event does not say whose a new object is. If its read takes long, records are behind, though none can say so.
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
      case when (
        select stale_since from sync.customers
        where stale > derived and parked_at is null
        order by stale_since
        limit 1
      ) < now() - interval '1 minute' then 'records have waited for more than a minute to be derived' end,
      -- A record cannot say that it is not exact while nobody knows that the object is its customer's.
      case when exists (
        select from sync.objects o
        where o.unsettled and o.customer_id is null and o.thin_tick > 0 and o.confirmed = 0 and o.shown_seq = 0
          and o.missing_since is null and o.parked_at is null
          and o.first_marked_at < now() - interval '1 minute'
          and not exists (
            select from sync.refusals r
            where r.account_id = o.account_id and r.live_mode = o.live_mode and r.kind in ('', o.kind)
          )
      ) then 'new objects have waited for more than a minute to be read, and nobody knows whose they are' end,
      case when exists (select from sync.alarms where name like 'events expired%')
        then 'events expired before they were read' end,
      (
        select 'gaps have not been filled in time: '
          || string_agg(coalesce(nullif(a.account_id, ''), 'own account'), ', ' order by a.account_id)
        from sync.accounts a
        join sync.key k on k.live_mode = a.live_mode
        where coalesce(a.fill_by, a.seen_at + interval '2 minutes') < now() and not exists (
          select from sync.refusals r where (r.account_id, r.live_mode, r.kind) = (a.account_id, a.live_mode, '')
        )
      )
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
  'Why they may: no worker is alive; events, records or new objects whose customer is unknown have waited for more than a minute; events expired unread; gaps of an account were not filled in time. NULL: they are not behind.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
