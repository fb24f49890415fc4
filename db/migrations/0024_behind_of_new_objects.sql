-- migrate:up

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
        then 'events expired before they were read' end
    ),
    ''
  ) as because
) as reasons;

comment on column billing.freshness.behind_because is
  'Why they may: no worker is alive; events, records or new objects whose customer is unknown have waited for more than a minute; events expired unread. NULL: they are not behind.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
