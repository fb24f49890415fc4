-- migrate:up

-- What changes a record without an event: time, and what services write of a customer themselves.

alter table sync.customers add column rederive_at timestamptz;
comment on column sync.customers.rederive_at is 'When its record changes by time alone (a sandbox grant ends), as of its last derivation: it is derived again then. NULL: never.';

create function sync.identities_written() returns trigger
language plpgsql security definer set search_path = pg_catalog as $function$
declare
  accounts text[];
  modes boolean[];
  ids text[];
begin
  if tg_op = 'INSERT' then
    select array_agg(account_id), array_agg(live_mode), array_agg(stripe_customer_id) into accounts, modes, ids
    from written;
  elsif tg_op = 'DELETE' then
    select array_agg(account_id), array_agg(live_mode), array_agg(stripe_customer_id) into accounts, modes, ids
    from erased;
  else
    select array_agg(account_id), array_agg(live_mode), array_agg(stripe_customer_id) into accounts, modes, ids
    from (select * from written union all select * from erased) as both_sides;
  end if;
  -- As every fact of a customer does (MARK_STALE in db/queries/customers.py): in the transaction that writes it, by an
  -- update that takes the lock, in the order in which everybody takes it.
  insert into sync.customers as c (account_id, live_mode, customer_id, stale, stale_since, history_at)
  select distinct account_id, live_mode, customer_id, 1, now(), now() + interval '10 seconds'
  from unnest(accounts, modes, ids) as k (account_id, live_mode, customer_id)
  where customer_id is not null
  order by account_id, live_mode, customer_id
  on conflict (account_id, live_mode, customer_id) do update set
    stale = c.stale + 1,
    stale_since = case when c.stale > c.derived then c.stale_since else now() end,
    attempts = case when c.parked_at is null then c.attempts else 0 end,
    parked_at = null;
  return null;
end
$function$;
comment on function sync.identities_written() is 'Whoever writes billing.identities has the records of those customers derived again, in the same transaction. Runs with its owner''s rights: services need none in sync.';
revoke execute on function sync.identities_written() from public;

create trigger inserted after insert on billing.identities
  referencing new table as written for each statement execute function sync.identities_written();
create trigger updated after update on billing.identities
  referencing old table as erased new table as written for each statement execute function sync.identities_written();
create trigger deleted after delete on billing.identities
  referencing old table as erased for each statement execute function sync.identities_written();

-- Entities. What derives from Stripe and what is ours stand in two tables, so that deriving, and deriving everything
-- anew, owns the one and never touches the other; readers see both as one.

create table billing.subscription_entities (
  uid                 uuid        not null unique,
  customer_uid        uuid        not null,
  account_id          text        not null,
  live_mode           boolean     not null,
  stripe_customer_id  text        not null,
  id                  text        not null,
  type                text,
  name                text,
  created_at          timestamptz,
  primary key (account_id, live_mode, stripe_customer_id, id)
);
create index subscription_entities_customer on billing.subscription_entities (customer_uid, id);
comment on table billing.subscription_entities is 'The entities that subscription metadata names: derived, like the record. Readers ask billing.entities.';
comment on column billing.subscription_entities.uid is 'Made from account, mode, customer and entity id, so the same after a rebuild.';
comment on column billing.subscription_entities.customer_uid is 'billing.customers.uid.';
comment on column billing.subscription_entities.account_id is 'Connected account, or empty.';
comment on column billing.subscription_entities.live_mode is 'Live or test.';
comment on column billing.subscription_entities.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.subscription_entities.id is 'The company''s own id of the entity: metadata.entity_id of a subscription.';
comment on column billing.subscription_entities.type is 'metadata.entity_type of the subscription that began last among those that state one.';
comment on column billing.subscription_entities.name is 'metadata.entity_name of the subscription that began last among those that state one.';
comment on column billing.subscription_entities.created_at is 'The earliest start among its subscriptions.';

create table billing.local_entities (
  uid           uuid        primary key,
  customer_uid  uuid        not null,
  id            text        not null,
  type          text,
  name          text,
  metadata      jsonb       not null default '{}',
  created_at    timestamptz not null default now(),
  unique (customer_uid, id)
);
comment on table billing.local_entities is 'Entities that are ours and not Stripe''s, written by services. Deriving neither reads nor writes it.';
comment on column billing.local_entities.uid is 'Ours, for ever.';
comment on column billing.local_entities.customer_uid is 'billing.customers.uid.';
comment on column billing.local_entities.id is 'The company''s own id of the entity. A row here stands before one that subscriptions name by the same id.';
comment on column billing.local_entities.type is 'workspace, project or what the company calls it.';
comment on column billing.local_entities.name is 'Its name, for people.';
comment on column billing.local_entities.metadata is 'Whatever the company keeps with it.';
comment on column billing.local_entities.created_at is 'When it was made.';

create view billing.entities as
select uid, customer_uid, id, type, name, metadata, created_at
from billing.local_entities
union all
select d.uid, d.customer_uid, d.id, d.type, d.name, '{}'::jsonb, d.created_at
from billing.subscription_entities d
where not exists (select from billing.local_entities l where l.customer_uid = d.customer_uid and l.id = d.id);
comment on view billing.entities is 'What a customer buys products for (workspaces, teams, stores): those that subscription metadata names, and our own.';
comment on column billing.entities.uid is 'Ours, for ever.';
comment on column billing.entities.customer_uid is 'billing.customers.uid of the customer that it belongs to.';
comment on column billing.entities.id is 'The company''s own id of it, unique per customer. billing.customer_products.entity_id names it.';
comment on column billing.entities.type is 'workspace, project or what the company calls it. NULL: nobody says.';
comment on column billing.entities.name is 'Its name, for people. NULL: nobody says.';
comment on column billing.entities.metadata is 'Whatever the company keeps with it; empty for one that only subscriptions name.';
comment on column billing.entities.created_at is 'When it was made here, or else the earliest start among its subscriptions.';

-- Telling all customers of a product, some at a time.

alter table sync.objects add column fan_touched bigint, add column fan_after text;
comment on column sync.objects.fan_touched is 'Of catalogue, while the customers whom it concerns are being marked batch by batch: the value of touched that this will have resolved. NULL: that is not begun.';
comment on column sync.objects.fan_after is 'How far that is: the last subscription, of a feature the last customer, in the order of their ids.';

comment on column sync.problems.kind is 'What kind of problem: custom_uid_invalid, custom_uid_taken, status_unknown, sandbox_end_invalid.';
comment on column billing.customers.sandbox_end is 'When its sandbox grant ends or has ended: access for a time without a subscription. Of billing.identities, else the customer''s metadata, else a subscription''s. NULL: none was given.';
comment on column billing.customers.product_id is 'product.metadata.product_id of the current subscription, else Stripe''s product id. While a sandbox grant runs and no subscription is live: the grant''s product, where it names one.';
comment on column billing.customers.product_version_number is 'metadata.version of price or product where it is a whole number, else the price''s rank by age among the product''s recurring prices. NULL while a sandbox grant gives the product.';
comment on column billing.identities.sandbox_end is 'When a sandbox grant given here ends. Stands before one in Stripe''s metadata; a live subscription stands before both.';
comment on column billing.identities.sandbox_product_id is 'The product that the grant gives: the company''s own product_id.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
