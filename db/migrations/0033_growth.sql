-- migrate:up

-- What an event and a record cost beside a million customers.

-- Most charges name their customer, and are found by it. Only the others need the three ways round, and only among them
-- may two ways lead to one owner: so a derivation reads each charge once, and nothing is sorted.
create view sync.guest_charge_owners as
select s.account_id, s.live_mode, h.id as charge_id, s.customer_id
from stripe.checkout_sessions s
join stripe.charges h
  on h.account_id = s.account_id and h.live_mode = s.live_mode and h.payment_intent_id = s.payment_intent_id
where h.customer_id is null and s.customer_id is not null
union
select n.account_id, n.live_mode, h.id, n.customer_id
from stripe.payment_intents n
join stripe.charges h
  on h.account_id = n.account_id and h.live_mode = n.live_mode and h.payment_intent_id = n.id
where h.customer_id is null and n.customer_id is not null
union
select i.account_id, i.live_mode, h.id, i.customer_id
from stripe.invoices i
join stripe.invoice_payments p
  on p.account_id = i.account_id and p.live_mode = i.live_mode and p.invoice_id = i.id
join stripe.charges h
  on h.account_id = p.account_id and h.live_mode = p.live_mode and h.payment_intent_id = p.payment_intent_id
where h.customer_id is null and i.customer_id is not null;
comment on view sync.guest_charge_owners is
  'The customers whose money the charges are that name none.';
comment on column sync.guest_charge_owners.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column sync.guest_charge_owners.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column sync.guest_charge_owners.charge_id is 'Stripe''s id of the charge.';
comment on column sync.guest_charge_owners.customer_id is
  'Stripe''s id of the customer: of the charge''s PaymentIntent, or of the Checkout session or invoice of that payment.';

create or replace view sync.charge_owners as
select account_id, live_mode, id as charge_id, customer_id
from stripe.charges
where customer_id is not null
union all
select account_id, live_mode, charge_id, customer_id
from sync.guest_charge_owners;

-- Room in a page for the next version of a row makes its update `HOT`: no index is written. It needs no index on what
-- changes. Measured while 3,964 events came and were confirmed, with 8,122 bytes of WAL an event before and 7,385 after:
-- an event is claimed and then applied, and each claim finds room (26 % of all updates were HOT, now 50 %). The mirror's rows change a few
-- times in the days after they come (charges: from 42 to 65 %, payments of invoices: from 54 to 74 %).
alter table sync.events set (fillfactor = 60);
alter table stripe.customers set (fillfactor = 85);
alter table stripe.subscriptions set (fillfactor = 85);
alter table stripe.subscription_items set (fillfactor = 85);
alter table stripe.invoices set (fillfactor = 85);
alter table stripe.invoice_payments set (fillfactor = 85);
alter table stripe.payment_intents set (fillfactor = 85);
alter table stripe.charges set (fillfactor = 85);
alter table billing.customer_products set (fillfactor = 90);
alter table billing.customer_revenue set (fillfactor = 90);
alter table billing.customer_mrr set (fillfactor = 90);
-- Nearly all that changes in a row of the fence is in an index (when its read is due, whether it is settled): 15 % are HOT
-- with much room and with little, so little will do, and the table is a fifth smaller. In billing.customers it is all.
alter table sync.objects set (fillfactor = 90);

-- By default the planner learns nothing before a tenth of a table has changed, and an insert-only table is not vacuumed
-- before it has grown by a fifth, so that what could be read from an index alone is read from the table: with millions of
-- rows, that is weeks.
do $$
declare
  each record;
begin
  for each in
    select c.oid::regclass as name from pg_class c
    where c.relkind = 'r' and c.relpersistence = 'p'
      and (c.relnamespace in ('stripe'::regnamespace, 'billing'::regnamespace)
        or c.oid in ('sync.events'::regclass, 'sync.objects'::regclass, 'sync.customers'::regclass,
          'sync.uid_claims'::regclass, 'sync.twins'::regclass))
  loop
    execute format(
      'alter table %s set (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, '
      'autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 1000, '
      'autovacuum_vacuum_insert_scale_factor = 0.05)', each.name);
  end loop;
end
$$;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
