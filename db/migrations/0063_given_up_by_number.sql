-- migrate:up transaction:false

-- Everything goes by events_given_up.
drop index concurrently if exists sync.events_parked;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
