-- migrate:up transaction:false

-- Customers that were deleted before anybody read them: each fill of gaps looks for those that it has passed.
create index concurrently objects_untold on sync.objects (account_id, live_mode, dirty)
  where kind = 'customer' and tombstone and shown_created is null and event_id is not null;

-- migrate:down transaction:false
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
