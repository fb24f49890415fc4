-- migrate:up

-- Two witnesses: a read that differs from the newest payload, whose event happened just before it, is not believed yet.

alter table sync.objects
  add column payload_created timestamptz,
  add column payload_seq     bigint not null default 0,
  add column doubts          integer not null default 0,
  add column doubted_at      timestamptz;
comment on column sync.objects.payload_created is
  'event.created of the newest payload about it, shown or not. A read that began less than 30 s after it is compared with this payload before it is stored.';
comment on column sync.objects.payload_seq is
  'Inbox number of the newest payload about it, by (payload_created, payload_seq); 0: there was none.';
comment on column sync.objects.doubts is
  'Reads in a row that differed from the newest payload soon after its event: it is read again before one of them is believed. 0 again with a newer payload, or once a read is stored.';
comment on column sync.objects.doubted_at is
  'When the first of these reads was made. A read that begins more than 30 s later is believed, whatever clocks say.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
