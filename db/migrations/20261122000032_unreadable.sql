-- migrate:up

-- Only answers that nobody understands give an object up. Outages, and reads that were cut off, must not use up its chances.
alter table sync.objects add column unreadable integer not null default 0;
comment on column sync.objects.unreadable is 'Answers in a row, outages between them not counted, that could not be understood or stored: after five it is parked. 0 again once a read is stored, or what was parked is marked.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
