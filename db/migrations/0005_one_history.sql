-- migrate:up

-- Numbering -----------------------------------------------------------------------------------------------------------

create table sync.numbering ();
comment on table sync.numbering is
  'Has no rows. Whoever numbers changes of records locks it, last in its transaction. An advisory lock can be taken by any role; this one only by who has rights here.';
comment on sequence billing.change is
  'Numbers changes of records. Drawn only under the lock of sync.numbering, which is held to the commit, so that a poll misses none.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
