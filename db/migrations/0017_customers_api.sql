-- migrate:up

-- Customers that Stripe does not know: their records are derived from billing.identities alone.

alter table billing.identities add column name text, add column email text, add column description text;
comment on column billing.identities.name is 'Set here; of a customer that Stripe knows it counts where Stripe says none.';
comment on column billing.identities.email is 'Set here; of a customer that Stripe knows it counts where Stripe says none.';
comment on column billing.identities.description is
  'Set here; of a customer that Stripe knows it counts where Stripe says none.';
comment on column billing.identities.stripe_customer_id is
  'Stripe''s id of the customer; NULL: not linked, so Stripe does not know the customer.';
comment on column billing.customers.stripe_customer_id is
  'Stripe''s id of the customer; NULL: Stripe does not know it, and it has only an identity here.';
comment on column billing.customers.name is 'Stripe''s customer.name, else that of billing.identities.';
comment on column billing.customers.email is 'Stripe''s customer.email, else that of billing.identities; not unique.';
comment on column billing.customers.description is 'Stripe''s customer.description, else that of billing.identities.';
comment on column sync.customers.customer_id is
  'Stripe customer id; of a customer that Stripe does not know: uid/ and its uid in billing.identities.';
comment on column sync.uid_claims.customer_id is
  'Stripe''s id of the customer that claims the name; of a customer that Stripe does not know: uid/ and its uid.';

create or replace function sync.identities_written() returns trigger
language plpgsql security definer set search_path = pg_catalog as $function$
declare
  accounts text[];
  modes boolean[];
  ids text[];
begin
  if tg_op = 'INSERT' then
    select array_agg(account_id), array_agg(live_mode), array_agg(coalesce(stripe_customer_id, 'uid/' || uid))
    into accounts, modes, ids
    from written;
  elsif tg_op = 'DELETE' then
    select array_agg(account_id), array_agg(live_mode), array_agg(coalesce(stripe_customer_id, 'uid/' || uid))
    into accounts, modes, ids
    from erased;
  else
    select array_agg(account_id), array_agg(live_mode), array_agg(coalesce(stripe_customer_id, 'uid/' || uid))
    into accounts, modes, ids
    from (select * from written union all select * from erased) as both_sides;
  end if;
  -- Like every fact of a customer (MARK_STALE in db/sync/customers.py): in the transaction that writes it, by an update
  -- that takes the locks in the order in which every writer takes them. A customer that Stripe does not know has no
  -- history there: it is complete.
  insert into sync.customers as c (account_id, live_mode, customer_id, stale, stale_since, complete, history_at)
  select distinct account_id, live_mode, customer_id, 1, now(), customer_id like 'uid/%',
    case when customer_id not like 'uid/%' then now() + interval '10 seconds' end
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

insert into sync.customers (account_id, live_mode, customer_id, stale, stale_since, complete)
select account_id, live_mode, 'uid/' || uid, 1, now(), true
from billing.identities
where stripe_customer_id is null
order by 1, 2, 3
on conflict do nothing;

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
