-- migrate:up

-- All workers share what may be asked of Stripe: each takes a part of it.

alter table sync.workers
  add column part       double precision not null default 0,
  add column wants      smallint         not null default 1,
  add column part_until timestamptz,
  add constraint a_part_of_the_whole check (part between 0 and 1) not valid,
  add constraint wants_something check (wants > 0) not valid;
comment on column sync.workers.part is
  'The share of Stripe''s limits, from 0 to 1, that it may have used within the last second. The sum over the workers whose part holds is 1 at most.';
comment on column sync.workers.wants is 'Its weight when the parts are cut: more if requests had to wait.';
comment on column sync.workers.part_until is
  'Until when its part holds; it uses none of it after that. Null: it has no limits to share, or no API key.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a column away'; end $$;
