-- migrate:up

-- Before Postgres 18 an index is of use only if its leading columns are bound, and `live_mode = false` on one side of a
-- join binds nothing on the other side. So each branch takes account and mode from the table that names the customer:
-- the search begins there.
create or replace view sync.charge_owners as
select account_id, live_mode, id as charge_id, customer_id
from stripe.charges
where customer_id is not null
union
select s.account_id, s.live_mode, h.id, s.customer_id
from stripe.checkout_sessions s
join stripe.charges h
  on h.account_id = s.account_id and h.live_mode = s.live_mode and h.payment_intent_id = s.payment_intent_id
where h.customer_id is null and s.customer_id is not null
union
select i.account_id, i.live_mode, h.id, i.customer_id
from stripe.invoices i
join stripe.invoice_payments p
  on p.account_id = i.account_id and p.live_mode = i.live_mode and p.invoice_id = i.id
join stripe.charges h
  on h.account_id = p.account_id and h.live_mode = p.live_mode and h.payment_intent_id = p.payment_intent_id
where h.customer_id is null and i.customer_id is not null;

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
