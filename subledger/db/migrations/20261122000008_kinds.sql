-- migrate:up

-- Kinds that no record depends on: no event has one of them read.

alter table sync.objects add column told bigint not null default 0;
comment on column sync.objects.told is 'Of kinds that no event has read (billing/registry.py): tick of the newest event about it. A read that began before it, and is stored after it, is made again.';
comment on column sync.objects.dirty is 'Tick of the newest mark: something about it changed before this number was drawn. -1: events have told of it, of a kind that no event has read.';

create table stripe.payment_intents (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, amount bigint, amount_capturable bigint, amount_received bigint,
  currency text, payment_method_id text, latest_charge_id text, invoice_id text, capture_method text,
  setup_future_usage text, cancellation_reason text, canceled_at timestamptz, description text, receipt_email text,
  metadata jsonb not null default '{}',
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index payment_intents_customer on stripe.payment_intents (account_id, live_mode, customer_id);
create index payment_intents_created on stripe.payment_intents (account_id, live_mode, created);
alter table stripe.payment_intents alter column raw set storage external;
comment on table stripe.payment_intents is 'Stripe payment intents: the way of one payment, over all its attempts. No record depends on it.';
comment on column stripe.payment_intents.account_id is 'Connected account, or empty.';
comment on column stripe.payment_intents.live_mode is 'Live or test.';
comment on column stripe.payment_intents.id is 'Stripe id (pi_...).';
comment on column stripe.payment_intents.created is 'When it was created at Stripe.';
comment on column stripe.payment_intents.customer_id is 'The customer who pays. NULL: a guest.';
comment on column stripe.payment_intents.status is 'Stripe''s own word: requires_payment_method, requires_confirmation, requires_action, processing, requires_capture, succeeded, canceled. Open set.';
comment on column stripe.payment_intents.amount is 'Minor units: what is to be paid.';
comment on column stripe.payment_intents.amount_capturable is 'Minor units: authorized, and not captured yet.';
comment on column stripe.payment_intents.amount_received is 'Minor units: what came in. Refunds do not lower it.';
comment on column stripe.payment_intents.currency is 'Three letters, lower case.';
comment on column stripe.payment_intents.payment_method_id is 'The payment method that was used last.';
comment on column stripe.payment_intents.latest_charge_id is 'The charge of its last attempt.';
comment on column stripe.payment_intents.invoice_id is 'The invoice that it pays. Before 2025-03-31 only; later stripe.invoice_payments tells it.';
comment on column stripe.payment_intents.capture_method is 'automatic, automatic_async or manual.';
comment on column stripe.payment_intents.setup_future_usage is 'Whether the payment method is kept for later: on_session, off_session. NULL: it is not.';
comment on column stripe.payment_intents.cancellation_reason is 'Why it was canceled.';
comment on column stripe.payment_intents.canceled_at is 'When it was canceled.';
comment on column stripe.payment_intents.description is 'Description. Personal: emptied when its customer is forgotten.';
comment on column stripe.payment_intents.receipt_email is 'Where the receipt goes. Personal: emptied when its customer is forgotten.';
comment on column stripe.payment_intents.metadata is 'Metadata as Stripe has it.';
comment on column stripe.payment_intents.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.payment_intents.raw is 'The object as Stripe sent it last.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
