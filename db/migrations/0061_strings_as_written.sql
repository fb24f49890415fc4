-- migrate:up

-- It writes a byte as '\x80', which means another thing where a role or a database has standard_conforming_strings off.
alter function sync.sha1(bytea) set standard_conforming_strings = on;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a setting away'; end $$;
