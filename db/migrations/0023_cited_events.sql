-- migrate:up transaction:false

-- Retention (RETENTION_DAYS) asks of each old event whether a status change cites it.
create index concurrently status_changes_event on billing.status_changes (event_id) where event_id is not null;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
