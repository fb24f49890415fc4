-- migrate:up

-- The kinds that the mirror did not have yet. On credit notes and subscription schedules records depend; on the others
-- none does, and no event has one of them read.

alter table sync.objects add column told bigint not null default 0;
comment on column sync.objects.told is
  'Of kinds that no event has read (billing/registry.py): tick of the newest event about it. A list that was asked for before it, and is stored after it, has the object read again.';
comment on column sync.objects.dirty is
  'Tick of the newest mark: something about it changed before this number was drawn. -1: events have told of it, and it is of a kind that no event has read.';

-- What is sold, and for how much less

create table stripe.plans (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, product_id text, active boolean, currency text, amount bigint, amount_decimal text,
  billing_scheme text, interval text, interval_count bigint, usage_type text, trial_period_days bigint,
  nickname text, metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index plans_created on stripe.plans (account_id, live_mode, created);
alter table stripe.plans alter column raw set storage external;
comment on table stripe.plans is 'Stripe''s plans: what prices were called before 2020. Each is the price of the same id, in the old words.';
comment on column stripe.plans.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.plans.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.plans.id is 'Stripe''s id of the plan, which is that of its price (stripe.prices).';
comment on column stripe.plans.created is 'When the plan was created, by Stripe''s clock.';
comment on column stripe.plans.product_id is 'Stripe''s id of the product.';
comment on column stripe.plans.active is 'false: archived; existing subscriptions keep it.';
comment on column stripe.plans.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.plans.amount is
  'Per interval and unit, minor units; NULL for tiers and for fractions of a minor unit.';
comment on column stripe.plans.amount_decimal is 'The exact amount, minor units, as Stripe writes it.';
comment on column stripe.plans.billing_scheme is 'per_unit or tiered.';
comment on column stripe.plans.interval is 'day, week, month or year.';
comment on column stripe.plans.interval_count is 'How many intervals a period has.';
comment on column stripe.plans.usage_type is 'licensed or metered.';
comment on column stripe.plans.trial_period_days is
  'Days of trial that a subscription begins with when it asks for those of its plan.';
comment on column stripe.plans.nickname is 'A name for people of the company.';
comment on column stripe.plans.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.plans.deleted_at is
  'When it was deleted at Stripe: the time of its *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.plans.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.coupons (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, name text, duration text, duration_in_months bigint, percent_off text, amount_off bigint,
  currency text, max_redemptions bigint, redeem_by timestamptz, times_redeemed bigint, valid boolean,
  metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index coupons_created on stripe.coupons (account_id, live_mode, created);
alter table stripe.coupons alter column raw set storage external;
comment on table stripe.coupons is 'Stripe''s coupons: what may be taken off. Which subscription has one is in that subscription''s discounts.';
comment on column stripe.coupons.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.coupons.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.coupons.id is 'Stripe''s id of the coupon, often chosen by people.';
comment on column stripe.coupons.created is 'When the coupon was created, by Stripe''s clock.';
comment on column stripe.coupons.name is 'Its name on invoices.';
comment on column stripe.coupons.duration is 'once, repeating (for duration_in_months) or forever.';
comment on column stripe.coupons.duration_in_months is 'Of a repeating one: for how many months.';
comment on column stripe.coupons.percent_off is 'Per cent off, exact, as a decimal number; NULL: amount_off counts.';
comment on column stripe.coupons.amount_off is 'Taken off, minor units of currency; NULL: percent_off counts.';
comment on column stripe.coupons.currency is 'Three-letter ISO code in lower case, of amount_off.';
comment on column stripe.coupons.max_redemptions is
  'How often it may be redeemed by all customers together; NULL: without end.';
comment on column stripe.coupons.redeem_by is 'When it can be redeemed no more; NULL: never ends.';
comment on column stripe.coupons.times_redeemed is 'How often it has been redeemed.';
comment on column stripe.coupons.valid is 'Whether it can still be redeemed.';
comment on column stripe.coupons.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.coupons.deleted_at is
  'When it was deleted at Stripe: the time of its *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.coupons.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

-- On these records depend

create table stripe.subscription_schedules (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, subscription_id text, released_subscription_id text,
  starts_at timestamptz, ends_at timestamptz, current_phase_start timestamptz, current_phase_end timestamptz,
  end_behavior text, canceled_at timestamptz, completed_at timestamptz, released_at timestamptz, test_clock text,
  metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index subscription_schedules_customer on stripe.subscription_schedules (account_id, live_mode, customer_id);
create index subscription_schedules_subscription on stripe.subscription_schedules (account_id, live_mode, subscription_id);
create index subscription_schedules_created on stripe.subscription_schedules (account_id, live_mode, created);
alter table stripe.subscription_schedules alter column raw set storage external;
comment on table stripe.subscription_schedules is 'Stripe''s subscription schedules: subscriptions that begin later, and changes that are planned for running ones.';
comment on column stripe.subscription_schedules.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.subscription_schedules.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.subscription_schedules.id is 'Stripe''s id of the schedule.';
comment on column stripe.subscription_schedules.created is 'When the schedule was created, by Stripe''s clock.';
comment on column stripe.subscription_schedules.customer_id is 'Stripe''s id of the customer.';
comment on column stripe.subscription_schedules.status is
  'not_started, active, completed, released or canceled. Open set.';
comment on column stripe.subscription_schedules.subscription_id is
  'Stripe''s id of the subscription that it runs; NULL while it has not started, and once it was released.';
comment on column stripe.subscription_schedules.released_subscription_id is
  'Stripe''s id of the subscription that it ran until it was released.';
comment on column stripe.subscription_schedules.starts_at is 'When its first phase begins.';
comment on column stripe.subscription_schedules.ends_at is 'When its last phase ends.';
comment on column stripe.subscription_schedules.current_phase_start is
  'When the phase began that runs now; NULL: none runs.';
comment on column stripe.subscription_schedules.current_phase_end is 'When the phase ends that runs now.';
comment on column stripe.subscription_schedules.end_behavior is
  'What becomes of the subscription at the end: release or cancel.';
comment on column stripe.subscription_schedules.canceled_at is 'When it was canceled.';
comment on column stripe.subscription_schedules.completed_at is 'When its last phase was over.';
comment on column stripe.subscription_schedules.released_at is 'When the subscription was released from it.';
comment on column stripe.subscription_schedules.test_clock is
  'Stripe''s id of the test clock that its time runs by; NULL: real time.';
comment on column stripe.subscription_schedules.metadata is
  'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.subscription_schedules.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.subscription_schedules.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.subscription_schedule_items (
  account_id text not null, live_mode boolean not null, id text not null,
  schedule_id text not null, phase bigint not null, position bigint not null, phase_start timestamptz,
  phase_end timestamptz, price_id text, quantity bigint,
  primary key (account_id, live_mode, schedule_id, id)
);
create index subscription_schedule_items_price on stripe.subscription_schedule_items (account_id, live_mode, price_id);
comment on table stripe.subscription_schedule_items is 'What the phases of a subscription schedule hold, stored with it: one row per phase and price.';
comment on column stripe.subscription_schedule_items.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.subscription_schedule_items.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.subscription_schedule_items.id is
  'Phase and place within it, both from 0, as ''phase.place'': Stripe gives these no id.';
comment on column stripe.subscription_schedule_items.schedule_id is 'Stripe''s id of the schedule.';
comment on column stripe.subscription_schedule_items.phase is 'Number of the phase, from 0, in order of time.';
comment on column stripe.subscription_schedule_items.position is 'Place within the phase in Stripe''s order, from 0.';
comment on column stripe.subscription_schedule_items.phase_start is 'When the phase begins.';
comment on column stripe.subscription_schedule_items.phase_end is 'When the phase ends; NULL: open.';
comment on column stripe.subscription_schedule_items.price_id is 'Stripe''s id of the price.';
comment on column stripe.subscription_schedule_items.quantity is 'How many; NULL for metered prices.';

create table stripe.credit_notes (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, invoice_id text, status text, type text, reason text, number text,
  currency text, amount bigint, pre_payment_amount bigint, post_payment_amount bigint, out_of_band_amount bigint,
  refund_ids text[] not null default '{}', effective_at timestamptz, voided_at timestamptz, memo text,
  metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index credit_notes_customer on stripe.credit_notes (account_id, live_mode, customer_id);
create index credit_notes_invoice on stripe.credit_notes (account_id, live_mode, invoice_id);
create index credit_notes_created on stripe.credit_notes (account_id, live_mode, created);
alter table stripe.credit_notes alter column raw set storage external;
comment on table stripe.credit_notes is 'Stripe''s credit notes: what of an invoice was taken back, before it was paid or after. Money given back outside Stripe is in customer_revenue.out_of_band.';
comment on column stripe.credit_notes.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.credit_notes.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.credit_notes.id is 'Stripe''s id of the credit note.';
comment on column stripe.credit_notes.created is 'When the credit note was created, by Stripe''s clock.';
comment on column stripe.credit_notes.customer_id is 'Stripe''s id of the customer.';
comment on column stripe.credit_notes.invoice_id is 'Stripe''s id of the invoice.';
comment on column stripe.credit_notes.status is 'issued or void.';
comment on column stripe.credit_notes.type is
  'pre_payment (it lowered what was due), post_payment (it gave back what was paid) or mixed.';
comment on column stripe.credit_notes.reason is 'duplicate, fraudulent, order_change, product_unsatisfactory or NULL.';
comment on column stripe.credit_notes.number is 'Its number on paper.';
comment on column stripe.credit_notes.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.credit_notes.amount is 'In all, minor units, tax included.';
comment on column stripe.credit_notes.pre_payment_amount is
  'By how much it lowered what was due, minor units; NULL before 2024.';
comment on column stripe.credit_notes.post_payment_amount is
  'How much of what was paid it gave back, minor units: as refunds, to the credit balance, and outside Stripe; NULL before 2024.';
comment on column stripe.credit_notes.out_of_band_amount is 'Given back outside Stripe, minor units; NULL: nothing.';
comment on column stripe.credit_notes.refund_ids is 'Stripe''s ids of its refunds.';
comment on column stripe.credit_notes.effective_at is 'Its date on paper.';
comment on column stripe.credit_notes.voided_at is 'When it was made void.';
comment on column stripe.credit_notes.memo is 'Free text on paper. Personal: emptied when the customer is forgotten.';
comment on column stripe.credit_notes.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.credit_notes.deleted_at is 'Always NULL: Stripe deletes none. A void one has status void.';
comment on column stripe.credit_notes.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.checkout_line_items (
  account_id text not null, live_mode boolean not null, id text not null,
  session_id text not null, position bigint not null, description text, price_id text, product_id text,
  quantity bigint, currency text, amount_subtotal bigint, amount_discount bigint, amount_tax bigint,
  amount_total bigint,
  primary key (account_id, live_mode, session_id, id)
);
comment on table stripe.checkout_line_items is 'What a Checkout session sold, stored with it. Known once the session was read: events leave it out.';
comment on column stripe.checkout_line_items.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.checkout_line_items.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.checkout_line_items.id is 'Stripe''s id of the line item.';
comment on column stripe.checkout_line_items.session_id is 'Stripe''s id of the session.';
comment on column stripe.checkout_line_items.position is 'Place in Stripe''s order, from 0.';
comment on column stripe.checkout_line_items.description is 'The product''s name, as the customer saw it.';
comment on column stripe.checkout_line_items.price_id is 'Stripe''s id of the price.';
comment on column stripe.checkout_line_items.product_id is 'Stripe''s id of the product.';
comment on column stripe.checkout_line_items.quantity is 'How many.';
comment on column stripe.checkout_line_items.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.checkout_line_items.amount_subtotal is 'Before discounts and taxes, minor units.';
comment on column stripe.checkout_line_items.amount_discount is 'Taken off, minor units; NULL before 2021.';
comment on column stripe.checkout_line_items.amount_tax is 'Taxes, minor units; NULL before 2021.';
comment on column stripe.checkout_line_items.amount_total is 'After discounts and taxes, minor units.';

-- On these no record depends

create table stripe.payment_intents (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, amount bigint, amount_capturable bigint,
  amount_received bigint, currency text, payment_method_id text, latest_charge_id text, invoice_id text,
  capture_method text, setup_future_usage text, cancellation_reason text, canceled_at timestamptz, description text,
  receipt_email text, error_code text, metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index payment_intents_customer on stripe.payment_intents (account_id, live_mode, customer_id);
create index payment_intents_created on stripe.payment_intents (account_id, live_mode, created);
alter table stripe.payment_intents alter column raw set storage external;
comment on table stripe.payment_intents is 'Stripe''s PaymentIntents: the way of one payment, over all its attempts.';
comment on column stripe.payment_intents.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.payment_intents.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.payment_intents.id is 'Stripe''s id of the PaymentIntent.';
comment on column stripe.payment_intents.created is 'When the PaymentIntent was created, by Stripe''s clock.';
comment on column stripe.payment_intents.customer_id is 'Stripe''s id of the customer. NULL: a guest.';
comment on column stripe.payment_intents.status is
  'requires_payment_method, requires_confirmation, requires_action, processing, requires_capture, succeeded or canceled. Open set.';
comment on column stripe.payment_intents.amount is 'To be paid, minor units.';
comment on column stripe.payment_intents.amount_capturable is 'Authorized and not captured yet, minor units.';
comment on column stripe.payment_intents.amount_received is 'Taken, minor units; refunds do not lower it.';
comment on column stripe.payment_intents.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.payment_intents.payment_method_id is 'Stripe''s id of the payment method used last.';
comment on column stripe.payment_intents.latest_charge_id is 'Stripe''s id of the charge of its last attempt.';
comment on column stripe.payment_intents.invoice_id is
  'Stripe''s id of the invoice that it pays; only before 2025-03-31. Later stripe.invoice_payments tells it.';
comment on column stripe.payment_intents.capture_method is 'automatic, automatic_async or manual.';
comment on column stripe.payment_intents.setup_future_usage is
  'Whether the payment method is kept for later: on_session or off_session; NULL: it is not.';
comment on column stripe.payment_intents.cancellation_reason is 'Why it was canceled.';
comment on column stripe.payment_intents.canceled_at is 'When it was canceled.';
comment on column stripe.payment_intents.description is 'Free text. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_intents.receipt_email is
  'Where the receipt goes. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_intents.error_code is
  'Why its last attempt failed, as Stripe''s code; NULL: it did not.';
comment on column stripe.payment_intents.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.payment_intents.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.payment_intents.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.payment_methods (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, type text, card_brand text, card_last4 text, card_exp_month bigint,
  card_exp_year bigint, card_funding text, card_country text, billing_name text, billing_email text,
  metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index payment_methods_customer on stripe.payment_methods (account_id, live_mode, customer_id);
alter table stripe.payment_methods alter column raw set storage external;
comment on table stripe.payment_methods is 'Stripe''s payment methods: cards and accounts that customers pay with.';
comment on column stripe.payment_methods.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.payment_methods.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.payment_methods.id is 'Stripe''s id of the payment method.';
comment on column stripe.payment_methods.created is 'When the payment method was created, by Stripe''s clock.';
comment on column stripe.payment_methods.customer_id is
  'Stripe''s id of the customer. NULL: not attached, or not any more.';
comment on column stripe.payment_methods.type is 'card, sepa_debit, us_bank_account ... Open set.';
comment on column stripe.payment_methods.card_brand is 'Of a card: visa, mastercard ...';
comment on column stripe.payment_methods.card_last4 is
  'Of a card: its last four digits. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_methods.card_exp_month is 'Of a card: the month in which it expires.';
comment on column stripe.payment_methods.card_exp_year is 'Of a card: the year in which it expires.';
comment on column stripe.payment_methods.card_funding is 'Of a card: credit, debit, prepaid or unknown.';
comment on column stripe.payment_methods.card_country is 'Of a card: two-letter code of the country that issued it.';
comment on column stripe.payment_methods.billing_name is
  'Whose it is. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_methods.billing_email is
  'Email beside it. Personal: emptied when the customer is forgotten.';
comment on column stripe.payment_methods.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.payment_methods.deleted_at is
  'Always NULL: Stripe deletes none. One that was detached has no customer_id any more.';
comment on column stripe.payment_methods.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.setup_intents (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, status text, usage text, payment_method_id text, cancellation_reason text,
  description text, error_code text, metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index setup_intents_customer on stripe.setup_intents (account_id, live_mode, customer_id);
create index setup_intents_created on stripe.setup_intents (account_id, live_mode, created);
alter table stripe.setup_intents alter column raw set storage external;
comment on table stripe.setup_intents is 'Stripe''s SetupIntents: the keeping of a payment method for later, without a payment.';
comment on column stripe.setup_intents.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.setup_intents.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.setup_intents.id is 'Stripe''s id of the SetupIntent.';
comment on column stripe.setup_intents.created is 'When the SetupIntent was created, by Stripe''s clock.';
comment on column stripe.setup_intents.customer_id is 'Stripe''s id of the customer. NULL: a guest.';
comment on column stripe.setup_intents.status is
  'requires_payment_method, requires_confirmation, requires_action, processing, succeeded or canceled. Open set.';
comment on column stripe.setup_intents.usage is 'What it is kept for: off_session or on_session.';
comment on column stripe.setup_intents.payment_method_id is 'Stripe''s id of the payment method.';
comment on column stripe.setup_intents.cancellation_reason is 'Why it was canceled.';
comment on column stripe.setup_intents.description is 'Free text. Personal: emptied when the customer is forgotten.';
comment on column stripe.setup_intents.error_code is
  'Why its last attempt failed, as Stripe''s code; NULL: it did not.';
comment on column stripe.setup_intents.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.setup_intents.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.setup_intents.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.tax_ids (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, customer_id text, type text, country text, value text, verification_status text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index tax_ids_customer on stripe.tax_ids (account_id, live_mode, customer_id);
alter table stripe.tax_ids alter column raw set storage external;
comment on table stripe.tax_ids is 'Stripe''s tax ids of customers.';
comment on column stripe.tax_ids.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.tax_ids.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.tax_ids.id is 'Stripe''s id of the tax id.';
comment on column stripe.tax_ids.created is 'When the tax id was created, by Stripe''s clock.';
comment on column stripe.tax_ids.customer_id is 'Stripe''s id of the customer.';
comment on column stripe.tax_ids.type is 'eu_vat, us_ein ... Open set.';
comment on column stripe.tax_ids.country is 'Two-letter code of the country.';
comment on column stripe.tax_ids.value is 'The number itself. Personal: emptied when the customer is forgotten.';
comment on column stripe.tax_ids.verification_status is
  'pending, verified, unverified or unavailable; NULL: not verified by Stripe.';
comment on column stripe.tax_ids.deleted_at is
  'When it was deleted at Stripe: the time of its *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.tax_ids.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.reviews (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, charge_id text, payment_intent_id text, open boolean, opened_reason text, closed_reason text,
  reason text, deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index reviews_created on stripe.reviews (account_id, live_mode, created);
create index reviews_charge on stripe.reviews (account_id, live_mode, charge_id);
alter table stripe.reviews alter column raw set storage external;
comment on table stripe.reviews is 'Stripe''s reviews: payments that a person at the company should look at.';
comment on column stripe.reviews.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.reviews.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.reviews.id is 'Stripe''s id of the review.';
comment on column stripe.reviews.created is 'When the review was created, by Stripe''s clock.';
comment on column stripe.reviews.charge_id is 'Stripe''s id of the charge.';
comment on column stripe.reviews.payment_intent_id is 'Stripe''s id of the PaymentIntent.';
comment on column stripe.reviews.open is 'Whether it still waits for that person.';
comment on column stripe.reviews.opened_reason is 'rule or manual.';
comment on column stripe.reviews.closed_reason is
  'approved, refunded, refunded_as_fraud, disputed, redacted, canceled ...; NULL: open.';
comment on column stripe.reviews.reason is 'Why it is open, or why it was closed.';
comment on column stripe.reviews.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.reviews.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.early_fraud_warnings (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, charge_id text, payment_intent_id text, actionable boolean, fraud_type text,
  deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index early_fraud_warnings_created on stripe.early_fraud_warnings (account_id, live_mode, created);
create index early_fraud_warnings_charge on stripe.early_fraud_warnings (account_id, live_mode, charge_id);
alter table stripe.early_fraud_warnings alter column raw set storage external;
comment on table stripe.early_fraud_warnings is 'Stripe''s early fraud warnings (radar.early_fraud_warning): what card issuers took for fraud; a dispute often follows.';
comment on column stripe.early_fraud_warnings.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.early_fraud_warnings.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.early_fraud_warnings.id is 'Stripe''s id of the early fraud warning.';
comment on column stripe.early_fraud_warnings.created is
  'When the early fraud warning was created, by Stripe''s clock.';
comment on column stripe.early_fraud_warnings.charge_id is 'Stripe''s id of the charge.';
comment on column stripe.early_fraud_warnings.payment_intent_id is
  'Stripe''s id of the PaymentIntent; NULL before 2021.';
comment on column stripe.early_fraud_warnings.actionable is 'Whether a refund can still avert a dispute.';
comment on column stripe.early_fraud_warnings.fraud_type is
  'What the issuer says: made_with_stolen_card, misc, unauthorized_use_of_card ...';
comment on column stripe.early_fraud_warnings.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.early_fraud_warnings.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.payouts (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, status text, amount bigint, currency text, arrival_date timestamptz, automatic boolean,
  method text, type text, destination_id text, balance_transaction_id text, reconciliation_status text,
  failure_code text, description text, metadata jsonb not null default '{}', deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index payouts_created on stripe.payouts (account_id, live_mode, created);
alter table stripe.payouts alter column raw set storage external;
comment on table stripe.payouts is 'Stripe''s payouts: money that went from the account at Stripe to the company''s bank.';
comment on column stripe.payouts.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.payouts.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.payouts.id is 'Stripe''s id of the payout.';
comment on column stripe.payouts.created is 'When the payout was created, by Stripe''s clock.';
comment on column stripe.payouts.status is
  'pending, in_transit, paid, failed or canceled; paid may still become failed.';
comment on column stripe.payouts.amount is 'Paid out, minor units; negative: Stripe took it from the bank.';
comment on column stripe.payouts.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.payouts.arrival_date is 'When it is expected at the bank.';
comment on column stripe.payouts.automatic is 'false: somebody asked for it.';
comment on column stripe.payouts.method is 'standard or instant.';
comment on column stripe.payouts.type is 'bank_account or card.';
comment on column stripe.payouts.destination_id is 'Stripe''s id of the bank account or card.';
comment on column stripe.payouts.balance_transaction_id is 'Stripe''s id of its balance transaction.';
comment on column stripe.payouts.reconciliation_status is
  'Whether Stripe can tell what it is made of: completed, in_progress or not_applicable; NULL before 2022.';
comment on column stripe.payouts.failure_code is 'Why it failed, as Stripe''s code.';
comment on column stripe.payouts.description is 'Free text.';
comment on column stripe.payouts.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.payouts.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.payouts.raw is 'The object as Stripe sent it last. Empty once its customer is forgotten.';

create table stripe.balance_transactions (
  account_id text not null, live_mode boolean not null, id text not null,
  created timestamptz, type text, reporting_category text, status text, amount bigint, fee bigint, net bigint,
  currency text, available_on timestamptz, source_id text, description text, deleted_at timestamptz, raw json,
  primary key (account_id, live_mode, id)
);
create index balance_transactions_created on stripe.balance_transactions (account_id, live_mode, created);
create index balance_transactions_source on stripe.balance_transactions (account_id, live_mode, source_id);
alter table stripe.balance_transactions alter column raw set storage external;
comment on table stripe.balance_transactions is 'Stripe''s balance transactions: each movement of money on the account at Stripe, with Stripe''s fee. Known from lists only: they have no events.';
comment on column stripe.balance_transactions.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.balance_transactions.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.balance_transactions.id is 'Stripe''s id of the balance transaction.';
comment on column stripe.balance_transactions.created is
  'When the balance transaction was created, by Stripe''s clock.';
comment on column stripe.balance_transactions.type is
  'charge, payment, refund, payout, adjustment, stripe_fee ... Open set.';
comment on column stripe.balance_transactions.reporting_category is
  'The same for accountants: charge, refund, dispute, payout, fee ... Open set.';
comment on column stripe.balance_transactions.status is 'pending or available.';
comment on column stripe.balance_transactions.amount is 'Moved, minor units; negative: taken off the balance.';
comment on column stripe.balance_transactions.fee is 'Stripe''s fees, minor units.';
comment on column stripe.balance_transactions.net is 'amount minus fee, minor units.';
comment on column stripe.balance_transactions.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.balance_transactions.available_on is 'When the money may be paid out.';
comment on column stripe.balance_transactions.source_id is
  'Stripe''s id of the charge, refund, payout ... that moved it.';
comment on column stripe.balance_transactions.description is
  'Free text. Personal: emptied when the customer is forgotten.';
comment on column stripe.balance_transactions.deleted_at is 'Always NULL: Stripe deletes none.';
comment on column stripe.balance_transactions.raw is
  'The object as Stripe sent it last. Empty once its customer is forgotten.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
