-- migrate:up

-- Its place has taken usage_minutes_of_entity.
alter table billing.usage_minutes drop constraint usage_minutes_customer_uid_feature_id_minute_entity_id_key;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
