-- migrate:up

-- A refund, a dispute or a payment names no customer. Its mirror row leads to one; if it cannot be understood, there is
-- no such row, and its customer would say exact although money is unknown.

create table sync.not_understood (
  account_id  text    not null,
  live_mode   boolean not null,
  kind        text    not null,
  id          text    not null,
  named_kind  text    not null,
  named_id    text    not null,
  primary key (account_id, live_mode, kind, id)
);
create index not_understood_by_name on sync.not_understood (account_id, live_mode, named_kind, named_id);
comment on table sync.not_understood is
  'Objects that could not be understood and whose kind names no customer, with what they name as far as they can be read: through it their customer is found, who is not exact meanwhile. A row is gone once its object is understood.';
comment on column sync.not_understood.account_id is 'Connected account, or empty.';
comment on column sync.not_understood.live_mode is 'Live or test.';
comment on column sync.not_understood.kind is 'Kind of the object: refund, dispute or invoice_payment.';
comment on column sync.not_understood.id is 'Stripe id of the object.';
comment on column sync.not_understood.named_kind is 'Kind of what it names: charge, payment_intent or invoice.';
comment on column sync.not_understood.named_id is 'Stripe id of what it names.';

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
