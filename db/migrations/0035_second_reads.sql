-- migrate:up

-- The first read of an object that only thin events have told has no second witness: it is made again, and believed
-- once two reads say the same.

alter table sync.objects add column doubted_as text;
comment on column sync.objects.doubted_as is
  'Of an object that only thin events have told, until its first read is believed: what the last read said, as a digest of its body and of payload_created. NULL: there was none.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
