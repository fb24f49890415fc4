-- migrate:up

-- One worker at a time adds up what was tracked. It took an advisory lock, which any role may take: a reader could keep
-- usage from ever being added up.

create table sync.usage_turn ();
comment on table sync.usage_turn is 'Has no rows and no columns. The worker that adds up what was tracked locks it.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
