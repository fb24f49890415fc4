-- migrate:up

-- A step that is given up must not cost the steps after it, and a page of many cut lists is compared object by object.
alter table sync.scans add column unread text;
comment on column sync.scans.unread is 'What a step after the lists could not read, and why: the steps after it were done, nobody is complete by it, and it ends as partial. NULL: nothing.';
alter table sync.drift drop constraint what_is_known;
alter table sync.drift add constraint what_is_known check (what in ('differs', 'lacking', 'surplus', 'cut'));
comment on column sync.drift.what is 'differs; lacking (Stripe has it, we do not); surplus (we have it, the list has not); cut (a list inside it was cut, so it is read by its id before anything is said of it).';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
