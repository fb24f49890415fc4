-- migrate:up transaction:false

-- An index holds no row of more than 2,704 bytes: 255 characters of a feature and 500 of an entity may have more. One
-- such row failed its whole batch, again and again, and nobody's use was added up any more.
create unique index concurrently usage_minutes_of_entity on billing.usage_minutes
  (customer_uid, feature_id, minute, md5(entity_id)) nulls not distinct;

-- migrate:down transaction:false
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
