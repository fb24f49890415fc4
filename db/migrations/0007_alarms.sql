-- migrate:up

-- Alarms say whom they concern, who raised them and what to do; refusals say what Stripe does not let us read.

alter table sync.alarms
  add column account_id text not null default '',
  add column worker     text not null default '',
  add column remedy     text not null default '',
  add column said_at    timestamptz not null default now();
comment on column sync.alarms.account_id is 'The connected account that it concerns; empty: the key''s own, or all.';
comment on column sync.alarms.worker is 'The worker that raised it last (sync.workers.id); empty: another process.';
comment on column sync.alarms.remedy is 'What to do, alone. The detail contains it.';
comment on column sync.alarms.said_at is 'When it was raised last. Its beginning is raised_at.';
comment on column sync.alarms.raised_at is 'Since when it stands.';

comment on column sync.key.account_id is
  'Stripe''s id of the key''s own account; empty until a key that may read it has worked.';
comment on column sync.key.live_mode is
  'The mode that this database serves: that of the first key that Stripe accepted. Events of the other mode are quarantined.';

-- An account may take its access back, and a key may lack a right: then thousands of objects have one and the same answer.
create table sync.refusals (
  account_id    text        not null,
  live_mode     boolean     not null,
  kind          text        not null,
  object_id     text        not null,
  error         text        not null,
  refused_since timestamptz not null default now(),
  probe_at      timestamptz not null,
  primary key (account_id, live_mode, kind)
);
comment on table sync.refusals is
  'What Stripe refuses to let us read: nothing of it is asked for, except one request now and then. A row goes away when such a request is answered.';
comment on column sync.refusals.account_id is 'Connected account, or empty.';
comment on column sync.refusals.live_mode is 'Live or test.';
comment on column sync.refusals.kind is 'The kind that is refused; empty: the whole account.';
comment on column sync.refusals.object_id is 'The object whose read was refused first; empty: the list of events.';
comment on column sync.refusals.error is 'What Stripe said last.';
comment on column sync.refusals.refused_since is 'When the first read was refused.';
comment on column sync.refusals.probe_at is 'When one request may ask again.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
