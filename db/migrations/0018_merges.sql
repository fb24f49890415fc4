-- migrate:up

-- Two customers that turned out to be one.

create table billing.merges (
  merged_uid                 uuid         primary key,
  into_uid                   uuid         not null,
  account_id                 text         not null,
  live_mode                  boolean      not null,
  merged_custom_uid          text,
  merged_stripe_customer_id  text,
  merged_at                  timestamptz  not null default now(),
  constraint nobody_is_merged_into_itself check (merged_uid <> into_uid)
);
create index merges_into on billing.merges (into_uid);
comment on table billing.merges is
  'Customers that were merged into others, by POST /customers/ID/identify: what was known of the one belongs to the other.';
comment on column billing.merges.merged_uid is 'The uid that is used no more.';
comment on column billing.merges.into_uid is
  'billing.customers.uid of the customer that it belongs to now. If that one is merged, too, the rows follow.';
comment on column billing.merges.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.merges.live_mode is 'true: live mode, false: test mode.';
comment on column billing.merges.merged_custom_uid is 'The name that it had; NULL: none.';
comment on column billing.merges.merged_stripe_customer_id is
  'The customer of Stripe''s that it was linked to, and the other one is now; NULL: none.';
comment on column billing.merges.merged_at is 'When.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
