-- migrate:up

-- One object that nobody can read must not keep an audit from its end; and what was read before a later change must not be taken for what Stripe says now.
alter table sync.drift add column error text;
alter table sync.drift add column read_tick bigint;
comment on column sync.drift.error is 'Why it was given up without being verified: what Stripe answered when it was read by its id, or what in the answer is not understood.';
comment on column sync.drift.read_tick is 'sync.tick drawn before the read that verified it: what was marked, told or read since is younger than `said`. NULL for a record.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
