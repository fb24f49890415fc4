-- migrate:up transaction:false

-- What will be the key of sync.scan_windows. Alone in its migration, since an index that nobody waits for takes no transaction around it.
create unique index concurrently scan_windows_readings on sync.scan_windows (scan_id, kind, variant, high);

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
