-- migrate:up

-- Two requests that give one name, or make or merge one customer, wait for each other. They did so by advisory locks,
-- which any role may take: a reader could keep a customer from ever being created.

create unlogged table sync.names (
  name  text  primary key
);
comment on table sync.names is
  'Names and uids that a transaction holds: it inserts the row and deletes it at once, so that another one waits until it ends, and sees none.';
comment on column sync.names.name is 'What is held: of which kind, account and mode, and the name or uid.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
