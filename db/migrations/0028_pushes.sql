-- migrate:up

-- What is set here of a customer that Stripe knows goes to Stripe.

create table sync.pushes (
  account_id    text         not null,
  live_mode     boolean      not null,
  customer_id   text         not null,
  wanted        jsonb,
  wanted_since  timestamptz,
  sending       jsonb,
  since         timestamptz,
  request       uuid,
  sent          jsonb,
  sent_tick     bigint,
  refused       jsonb,
  attempts      integer      not null default 0,
  due_at        timestamptz,
  error         text,
  offered       boolean      not null default false,
  primary key (account_id, live_mode, customer_id),
  constraint requests_have_a_key check ((sending is null) = (request is null)),
  constraint what_waits_is_due check ((wanted is null and sending is null) = (due_at is null)),
  constraint what_was_sent_has_a_tick check ((sent is null) = (sent_tick is null))
) with (fillfactor = 70);
create index pushes_due on sync.pushes (due_at) where due_at is not null;
create index pushes_sent on sync.pushes (live_mode) where sent is not null;
create index pushes_offered on sync.pushes (live_mode) where offered;
comment on table sync.pushes is
  'Name, email, description and metadata that were set here of customers of Stripe''s, and what of it Stripe has not got yet. One row per customer: later changes join earlier ones.';
comment on column sync.pushes.account_id is 'Connected account, or empty.';
comment on column sync.pushes.live_mode is 'Live or test.';
comment on column sync.pushes.customer_id is 'Stripe''s id of the customer.';
comment on column sync.pushes.wanted is
  'Fields that were set here and are in no request yet; null removes one. `metadata` has the keys that were set, and null for those that were removed.';
comment on column sync.pushes.sending is
  'The fields of the request that a worker sends, and sends again until Stripe has answered. It does not change meanwhile.';
comment on column sync.pushes.request is
  'The idempotency key of that request: a new one for each, and after an answer 5xx, which Stripe would repeat.';
comment on column sync.pushes.sent is
  'Fields that Stripe has got, until a read that began afterwards says what it made of them. NULL: none.';
comment on column sync.pushes.sent_tick is 'The mark of the customer that the latest of these requests has made.';
comment on column sync.pushes.refused is
  'Fields that Stripe has refused, or whose customer it does not know: they are not sent again. NULL: none since the last success.';
comment on column sync.pushes.wanted_since is 'When the oldest of `wanted` was set.';
comment on column sync.pushes.since is 'When the oldest of `sending` was set.';
comment on column sync.pushes.attempts is 'Requests begun for what is sent now, counted before each.';
comment on column sync.pushes.due_at is
  'When the next request is due; while a worker sends it, the lease. NULL: nothing is to be sent.';
comment on column sync.pushes.error is 'Why the latest request failed, or why fields were refused.';
comment on column sync.pushes.offered is
  'The customer was linked, and what was set here before is yet to be compared with what Stripe has: once the customer is confirmed, what Stripe lacks is sent.';

-- Whoever links one: the API, a worker by their names, a merge, or a service by SQL. Its name comes before those of the
-- triggers that mark the customer, since locks on pushes are taken before those on customers.
create function sync.identities_linked() returns trigger
language plpgsql security definer set search_path = pg_catalog as $function$
begin
  if tg_op = 'INSERT' then
    insert into sync.pushes as p (account_id, live_mode, customer_id, offered)
    select account_id, live_mode, stripe_customer_id, true
    from written
    where stripe_customer_id is not null
      and (coalesce(name, email, description) is not null or metadata <> '{}')
    order by 1, 2, 3
    on conflict (account_id, live_mode, customer_id) do update set offered = true;
  else
    insert into sync.pushes as p (account_id, live_mode, customer_id, offered)
    select w.account_id, w.live_mode, w.stripe_customer_id, true
    from written w
    join erased e on e.uid = w.uid and e.stripe_customer_id is distinct from w.stripe_customer_id
    where w.stripe_customer_id is not null
      and (coalesce(w.name, w.email, w.description) is not null or w.metadata <> '{}')
    order by 1, 2, 3
    on conflict (account_id, live_mode, customer_id) do update set offered = true;
  end if;
  return null;
end
$function$;
comment on function sync.identities_linked() is
  'A customer that is linked to one of Stripe''s offers it what was set here before. Runs with its owner''s rights.';
revoke execute on function sync.identities_linked() from public;

create trigger at_link_inserted after insert on billing.identities
  referencing new table as written for each statement execute function sync.identities_linked();
create trigger at_link_updated after update on billing.identities
  referencing old table as erased new table as written for each statement execute function sync.identities_linked();

comment on column billing.identities.name is
  'Set here before Stripe knew the customer; counts where Stripe says none. At the link it is sent there, if Stripe has none.';
comment on column billing.identities.email is
  'Set here before Stripe knew the customer; counts where Stripe says none. At the link it is sent there, if Stripe has none.';
comment on column billing.identities.description is
  'Set here before Stripe knew the customer; counts where Stripe says none. At the link it is sent there, if Stripe has none.';
comment on column billing.identities.metadata is
  'Set here before Stripe knew the customer, text to text. Where Stripe has the same key, Stripe''s counts. At the link, keys that Stripe lacks are sent there.';
comment on column billing.customers.name is
  'Set here and on its way to Stripe (sync.pushes), else Stripe''s customer.name, else that of billing.identities.';
comment on column billing.customers.email is
  'Set here and on its way to Stripe (sync.pushes), else Stripe''s customer.email, else that of billing.identities; not unique.';
comment on column billing.customers.description is
  'Set here and on its way to Stripe (sync.pushes), else Stripe''s customer.description, else that of billing.identities.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
