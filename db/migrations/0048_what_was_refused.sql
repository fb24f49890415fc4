-- migrate:up

-- Stripe refuses a request for one of its fields: the others are sent without it, and what they meet is another thing
-- than why that one was refused.
alter table sync.pushes add column refused_error text;
update sync.pushes set refused_error = error where refused is not null;
comment on column sync.pushes.refused is
  'Fields that Stripe has refused, or whose customer it does not know: they are not sent again, until they are set anew. NULL: none.';
comment on column sync.pushes.refused_error is 'Why Stripe refused them, the last time. NULL: nothing is refused.';
comment on column sync.pushes.error is 'Why the latest request failed, since one that was done or refused.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
