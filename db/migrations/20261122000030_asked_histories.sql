-- migrate:up

-- A pull that began before somebody asked does not answer them; and only who asked for nothing can be told that no
-- pull is needed.
alter table sync.customers add column history_asked bigint not null default 0;
comment on column sync.customers.history_asked is 'How often somebody asked for its history. A pull answers what was asked before it began; 0: wanted, if at all, only because the customer was first seen in the middle.';
update sync.customers set history_asked = 1 where history_at is not null;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
