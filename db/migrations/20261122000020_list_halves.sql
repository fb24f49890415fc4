-- migrate:up

-- Stripe's list of prices shows the active ones alone unless it is asked for the others: so it is read twice, and each reading has windows of its own.
alter table sync.scan_windows add column variant text not null default '';
comment on column sync.scan_windows.variant is 'What the list is asked for beside all else (active=true, active=false), where no single reading of it holds everything; empty where one does.';
comment on table sync.scan_windows is 'What a scan reads: for each kind and each reading of its list, stretches of `created` that tile the whole. A stretch that holds much is halved while it is read.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
