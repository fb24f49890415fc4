-- migrate:up transaction:false

-- Parked events are found, and counted, without the quarantined ones, of which there may be very many; and those of the
-- mode that is served are counted without a look at their rows.
create index concurrently events_given_up on sync.events (state, seq) include (live_mode)
  where state in ('parked', 'quarantined');

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
