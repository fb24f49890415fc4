-- migrate:up

-- A record of several customers of Stripe's: the main one's, to which what was derived of the others is added.

create table billing.joined_customers (
  account_id               text         not null,
  live_mode                boolean      not null,
  stripe_customer_id       text         not null,
  main_stripe_customer_id  text         not null,
  joined_at                timestamptz  not null default now(),
  customer_uid             uuid,
  taken_over_id            text         generated always as (
    case when customer_uid is not null then stripe_customer_id end
  ) stored,
  -- People ask by the id alone.
  primary key (stripe_customer_id, account_id, live_mode),
  -- Both are linked to an identity: so neither can be given to another one. Whoever is forgotten is joined no more.
  constraint joined_is_linked foreign key (account_id, live_mode, stripe_customer_id)
    references billing.identities (account_id, live_mode, stripe_customer_id) on delete cascade,
  constraint main_is_linked foreign key (account_id, live_mode, main_stripe_customer_id)
    references billing.identities (account_id, live_mode, stripe_customer_id) on delete cascade,
  constraint nobody_is_joined_to_itself check (stripe_customer_id <> main_stripe_customer_id)
);
create index joined_customers_main on billing.joined_customers (account_id, live_mode, main_stripe_customer_id);
create index joined_customers_uid on billing.joined_customers (customer_uid);
create index joined_customers_taken_over on billing.joined_customers (account_id, live_mode, taken_over_id);
comment on table billing.joined_customers is
  'Customers of Stripe''s that have no record of their own: what is derived of one is added to the record of another. A row that is removed gives it its record again.';
comment on column billing.joined_customers.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.joined_customers.live_mode is 'true: live mode, false: test mode.';
comment on column billing.joined_customers.stripe_customer_id is
  'Stripe''s id of the joined customer. Its identity stays, and has nothing else.';
comment on column billing.joined_customers.main_stripe_customer_id is
  'Stripe''s id of the customer whose record it is. That one is never joined itself.';
comment on column billing.joined_customers.joined_at is 'When they were joined.';
comment on column billing.joined_customers.customer_uid is
  'billing.customers.uid of the record to which it was added. NULL: it was joined a moment ago, and its own record still stands.';
comment on column billing.joined_customers.taken_over_id is
  'stripe_customer_id once it was added to that record, else NULL: by this the views of invoices and charges find the record.';

create function sync.joins_are_flat() returns trigger
language plpgsql security definer set search_path = pg_catalog as $function$
begin
  -- Who joins the same customers at the same time waits.
  perform from billing.identities
  where account_id = new.account_id and live_mode = new.live_mode
    and stripe_customer_id in (new.stripe_customer_id, new.main_stripe_customer_id)
  order by uid
  for no key update;
  if exists (
    select from billing.joined_customers
    where account_id = new.account_id and live_mode = new.live_mode
      and (stripe_customer_id = new.main_stripe_customer_id or main_stripe_customer_id = new.stripe_customer_id)
  ) then
    raise exception 'a customer that is joined to another one has none that are joined to it'
      using errcode = 'check_violation', constraint = 'joins_are_flat';
  end if;
  if (
    select count(*) >= 20
    from billing.joined_customers
    where account_id = new.account_id and live_mode = new.live_mode
      and main_stripe_customer_id = new.main_stripe_customer_id and stripe_customer_id <> new.stripe_customer_id
  ) then
    raise exception 'at most 20 customers are joined to one'
      using errcode = 'check_violation', constraint = 'joins_are_few';
  end if;
  return new;
end
$function$;
comment on function sync.joins_are_flat() is
  'Refuses to join a customer to one that is joined itself, and more than 20 to one. Runs with its owner''s rights.';
revoke execute on function sync.joins_are_flat() from public;

create trigger flat
  before insert or update of account_id, live_mode, stripe_customer_id, main_stripe_customer_id
  on billing.joined_customers
  for each row execute function sync.joins_are_flat();

create function sync.joins_written() returns trigger
language plpgsql security definer set search_path = pg_catalog as $function$
declare
  accounts text[];
  modes boolean[];
  ids text[];
begin
  if tg_op = 'INSERT' then
    select array_agg(account_id), array_agg(live_mode), array_agg(id) into accounts, modes, ids
    from written, unnest(array[stripe_customer_id, main_stripe_customer_id]) as id;
  elsif tg_op = 'DELETE' then
    select array_agg(account_id), array_agg(live_mode), array_agg(id) into accounts, modes, ids
    from erased, unnest(array[stripe_customer_id, main_stripe_customer_id]) as id;
    -- Its uid is its own again. If the identity of the main one is gone, that one was merged, and takes the joins along.
    with apart as (
      select own.uid, main.uid as into_uid, sync.customer_uid(e.account_id, e.live_mode, e.stripe_customer_id) as first_uid
      from erased e
      join billing.identities own
        on own.account_id = e.account_id and own.live_mode = e.live_mode
          and own.stripe_customer_id = e.stripe_customer_id
      join billing.identities main
        on main.account_id = e.account_id and main.live_mode = e.live_mode
          and main.stripe_customer_id = e.main_stripe_customer_id
    ), unmerged as (
      delete from billing.merges m using apart a where m.merged_uid = a.uid and m.into_uid = a.into_uid
    )
    delete from sync.former_uids f using apart a where f.before in (a.uid, a.first_uid);
  else
    select array_agg(account_id), array_agg(live_mode), array_agg(id) into accounts, modes, ids
    from (
      select account_id, live_mode, side.id
      from written w
      full join erased e using (account_id, live_mode, stripe_customer_id)
      cross join unnest(
        array[w.stripe_customer_id, w.main_stripe_customer_id, e.stripe_customer_id, e.main_stripe_customer_id]
      ) as side (id)
      -- That it was added to the record is no news.
      where w.main_stripe_customer_id is distinct from e.main_stripe_customer_id and side.id is not null
    ) as both_sides;
  end if;
  -- As sync.identities_written() marks them.
  insert into sync.customers as c (account_id, live_mode, customer_id, stale, stale_since, history_at)
  select distinct account_id, live_mode, customer_id, 1, now(), now() + interval '10 seconds'
  from unnest(accounts, modes, ids) as k (account_id, live_mode, customer_id)
  order by account_id, live_mode, customer_id
  on conflict (account_id, live_mode, customer_id) do update set
    stale = c.stale + 1,
    stale_since = case when c.stale > c.derived then c.stale_since else now() end,
    attempts = case when c.parked_at is null then c.attempts else 0 end,
    parked_at = null;
  return null;
end
$function$;
comment on function sync.joins_written() is
  'A write to billing.joined_customers marks the records of both customers as stale, in the same transaction; after the end of a join no uid leads from one to the other. Runs with its owner''s rights.';
revoke execute on function sync.joins_written() from public;

create trigger inserted after insert on billing.joined_customers
  referencing new table as written for each statement execute function sync.joins_written();
create trigger updated after update on billing.joined_customers
  referencing old table as erased new table as written for each statement execute function sync.joins_written();
create trigger deleted after delete on billing.joined_customers
  referencing old table as erased for each statement execute function sync.joins_written();

create view billing.stripe_customers as
select r.uid, r.account_id, r.live_mode, r.stripe_customer_id, true as is_main
from billing.customers r
where r.stripe_customer_id is not null
  -- What was joined a moment ago still has its own record.
  and not exists (
    select from billing.joined_customers j
    where j.account_id = r.account_id and j.live_mode = r.live_mode and j.stripe_customer_id = r.stripe_customer_id
  )
union all
select main.uid, j.account_id, j.live_mode, j.stripe_customer_id, false
from billing.joined_customers j
join billing.customers main
  on main.account_id = j.account_id and main.live_mode = j.live_mode
    and main.stripe_customer_id = j.main_stripe_customer_id;
comment on view billing.stripe_customers is
  'Each customer of Stripe''s and the record to which it belongs: most records have one, some several.';
comment on column billing.stripe_customers.uid is 'billing.customers.uid of the record.';
comment on column billing.stripe_customers.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.stripe_customers.live_mode is 'true: live mode, false: test mode.';
comment on column billing.stripe_customers.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.stripe_customers.is_main is
  'Whether it is the one that billing.customers.stripe_customer_id names; false: it is joined to that one.';

-- Both arms are plain tables, which leaves each its indexes, by the uid and by Stripe's id.
create or replace view billing.invoices as
select c.uid as customer_uid, i.account_id, i.live_mode, i.id, i.created, i.customer_id as stripe_customer_id,
  i.subscription_id as stripe_subscription_id, i.status, i.billing_reason, i.period_start, i.period_end, i.currency,
  i.total, i.amount_due, i.amount_paid, i.amount_remaining, i.attempt_count, i.next_payment_attempt, i.due_date,
  i.paid_at, i.number, i.deleted_at
from stripe.invoices i
left join (
  select uid, account_id, live_mode, stripe_customer_id from billing.customers
  union all
  select customer_uid, account_id, live_mode, taken_over_id from billing.joined_customers
) c on c.account_id = i.account_id and c.live_mode = i.live_mode and c.stripe_customer_id = i.customer_id;

create or replace view billing.charges as
select c.uid as customer_uid, h.account_id, h.live_mode, h.id, h.created, h.customer_id as stripe_customer_id, h.status,
  h.captured, h.currency, h.amount, h.amount_captured, h.amount_refunded, h.disputed, h.description
from stripe.charges h
left join (
  select uid, account_id, live_mode, stripe_customer_id from billing.customers
  union all
  select customer_uid, account_id, live_mode, taken_over_id from billing.joined_customers
) c on c.account_id = h.account_id and c.live_mode = h.live_mode and c.stripe_customer_id = h.customer_id;

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
