-- migrate:up

-- Readers learn whether records may be behind what was received.
--
-- How many customers are stale is no statistic: the planner took them for a third of all, and looked for one that had
-- waited by reading the table. The one that has waited longest is the first in the order of an index.
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

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
