-- migrate:up

-- Several events about one object in one second: nothing but what they say tells which of them was the last.

alter table sync.objects add column tied bigint[];
comment on column sync.objects.tied is
  'Inbox numbers of further payloads about it, of the same second as payload_seq, which may say something else: a read is compared with all those of them that may be the last. NULL: there are none.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
