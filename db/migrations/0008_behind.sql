-- migrate:up

-- Audits learn what a list held and nobody could judge.

-- Every stored row satisfies the narrower check that this one replaces: none is to be scanned.
alter table sync.drift
  drop constraint what_is_known,
  add constraint what_is_known check (what in ('differs', 'lacking', 'surplus', 'cut', 'unread', 'unsettled')) not valid;
comment on column sync.drift.what is
  'differs; lacking (Stripe has it, we do not); surplus (we have it, the list does not). Read by its id before it is judged: cut (a list inside it was cut), unread (a list held it, and it could not be understood there), unsettled (its own read failed or had not come when the lists were read).';
comment on column sync.drift.read_tick is
  'sync.tick drawn before the read that found it to differ: marks, events and reads since then are younger than `said`. NULL for a record.';
comment on table sync.drift is
  'What audits found: one row per object or record that does not agree with Stripe. Rows that turn out to agree when they are read by id go away. Of a backfill: what it could not read.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
