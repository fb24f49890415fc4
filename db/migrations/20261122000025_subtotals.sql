-- migrate:up

-- A first invoice of 0 that a discount made free, and no trial. Rows that are there already say NULL (not known) until Stripe is asked again: `subledger backfill --object invoice`.
alter table stripe.invoices add column subtotal bigint;
comment on column stripe.invoices.subtotal is 'Before the discounts of the whole invoice and taxes, minor units. NULL: not known.';
comment on column billing.status_changes.changed_at is 'When: created of the event that told of it, else when the change was derived. Never before the change that precedes it.';
comment on column billing.status_changes.event_id is 'The event that told of it, or the last one of the subscription that a deadline or a read found changed; NULL: none.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
