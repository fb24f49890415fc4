-- migrate:up transaction:false

create index concurrently local_entities_seats on billing.local_entities (customer_uid, feature_id)
  where feature_id is not null;

-- migrate:down transaction:false
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
