-- migrate:up

-- 'infinity' compares with no moment in the rules. A grant without an end is one that ends far ahead.
alter table billing.identities add constraint moments_are_finite check (
  isfinite(sandbox_end) and isfinite(last_seen) and isfinite(created_at)
) not valid;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
