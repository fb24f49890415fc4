-- migrate:up

-- Its place has taken usage_minutes_of_entity.
alter table billing.usage_minutes drop constraint usage_minutes_customer_uid_feature_id_minute_entity_id_key;

-- What is used by somebody whom Stripe does not know waits for the link, and is looked at once a day: each waiting row was
-- written every five minutes, for 34 days. The link makes it due.
create or replace function sync.identities_linked() returns trigger
language plpgsql security definer set search_path = pg_catalog as $function$
declare
  linked uuid[];
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
    linked := array(
      select w.uid
      from written w
      join erased e on e.uid = w.uid and e.stripe_customer_id is distinct from w.stripe_customer_id
      where w.stripe_customer_id is not null
    );
    if linked <> '{}' then
      with waiting as (
        select m.id
        from sync.meter_events m
        where m.customer_uid = any (linked) and m.state = 'queued' and m.attempts = 0
        order by m.id
        for no key update
      )
      update sync.meter_events m set due_at = now() from waiting where m.id = waiting.id;
    end if;
  end if;
  return null;
end
$function$;
comment on function sync.identities_linked() is
  'A customer that is linked to one of Stripe''s offers it what was set here before, and what it used before is due to be told. Runs with its owner''s rights.';
comment on column sync.meter_events.state is
  'queued: to be sent. sent: Stripe has it. refused: for good, because the customer was deleted, or linked to none of Stripe''s in time. undecided: perhaps Stripe has it, and it is too late to ask. expired: Stripe takes nothing so old.';
comment on column sync.meter_events.due_at is
  'When to send it next; while a worker sends it, the end of its lease. Without a customer at Stripe, when to look again: a link makes it due.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
