-- migrate:up transaction:false

-- A derivation asks after each payment, refund and dispute of its customers whether it is settled, and mostly all are: so
-- it looks into what is not, which is little, and reads nothing of the table of all objects. Guests' charges likewise.
-- `coalesce`: no other index of what is unsettled can be taken for this one, which binds the whole key.
create index concurrently objects_unsettled_by_key on sync.objects (account_id, live_mode, kind, id)
  where coalesce(unsettled, false) and kind in ('charge', 'dispute', 'invoice_payment', 'refund');

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
