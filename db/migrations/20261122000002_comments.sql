-- migrate:up

-- stripe: the mirror. Columns are the fields of billing/facts.py, read by billing/parse.py from any API version.

comment on table stripe.customers is 'Stripe''s customers, one row each, also those deleted since.';
comment on column stripe.customers.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.customers.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.customers.id is 'Stripe''s id of the customer.';
comment on column stripe.customers.created is 'When the customer was created, by Stripe''s clock.';
comment on column stripe.customers.name is 'customer.name.';
comment on column stripe.customers.email is 'customer.email. Not unique: Stripe allows several customers with one address.';
comment on column stripe.customers.description is 'customer.description.';
comment on column stripe.customers.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.customers.custom_uid is
  'customer.metadata.custom_uid as it stands, valid or not: what this source claims. The one in force is billing.customers.custom_uid.';
comment on column stripe.customers.test_clock is 'Id of the test clock that the customer lives on; NULL: real time.';
comment on column stripe.customers.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.customers.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

comment on table stripe.products is 'Stripe''s products: what is sold.';
comment on column stripe.products.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.products.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.products.id is 'Stripe''s id of the product.';
comment on column stripe.products.created is 'When the product was created, by Stripe''s clock.';
comment on column stripe.products.name is 'product.name.';
comment on column stripe.products.active is 'Whether it can be bought. NULL: this API version did not say.';
comment on column stripe.products.metadata is
  'The product''s metadata; product_id, version and feature_id have a meaning here (docs/record.md).';
comment on column stripe.products.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.products.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

comment on table stripe.prices is
  'Stripe''s prices: what a product costs, and how often. A plan is the price of the same id.';
comment on column stripe.prices.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.prices.live_mode is 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.prices.id is 'Stripe''s id of the price.';
comment on column stripe.prices.created is 'When the price was created, by Stripe''s clock.';
comment on column stripe.prices.product_id is 'Stripe''s id of the product that it prices.';
comment on column stripe.prices.active is 'Whether it can be bought.';
comment on column stripe.prices.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.prices.unit_amount is
  'Minor units for one unit. NULL: the price has tiers, or a fraction of a minor unit.';
comment on column stripe.prices.unit_amount_decimal is 'The exact amount of one unit in minor units, as Stripe writes it.';
comment on column stripe.prices.billing_scheme is 'per_unit or tiered.';
comment on column stripe.prices.recurring is 'Whether it is charged again and again; only such prices have a rank as version.';
comment on column stripe.prices.interval is 'day, week, month or year; NULL: one-off.';
comment on column stripe.prices.interval_count is 'How many intervals make one period.';
comment on column stripe.prices.usage_type is 'licensed, or metered: billed by use, afterwards.';
comment on column stripe.prices.nickname is 'price.nickname.';
comment on column stripe.prices.metadata is 'The price''s metadata; version and feature_id have a meaning here (docs/record.md).';
comment on column stripe.prices.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.prices.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

comment on table stripe.subscriptions is 'Stripe''s subscriptions. Their items are in stripe.subscription_items.';
comment on column stripe.subscriptions.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.subscriptions.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.subscriptions.id is 'Stripe''s id of the subscription.';
comment on column stripe.subscriptions.created is 'When the subscription was created, by Stripe''s clock.';
comment on column stripe.subscriptions.customer_id is 'Stripe''s id of the customer that subscribed.';
comment on column stripe.subscriptions.status is
  'Stripe''s own word, an open set. What it means is billing.customer_products.status.';
comment on column stripe.subscriptions.start_date is 'When it started; may be before created where it was backdated.';
comment on column stripe.subscriptions.trial_start is
  'When its trial began: the first one (classic billing) or the latest one (flexible).';
comment on column stripe.subscriptions.trial_end is
  'When its trial ends or ended. Stripe never clears it, so it does not tell whether a trial runs.';
comment on column stripe.subscriptions.cancel_at is 'When it is scheduled to end; NULL: no date is set.';
comment on column stripe.subscriptions.cancel_at_period_end is
  'Whether it is scheduled to end with its period. The portal sets only cancel_at on flexible subscriptions.';
comment on column stripe.subscriptions.canceled_at is 'When the cancellation was asked for, not when it takes effect.';
comment on column stripe.subscriptions.ended_at is 'When it ended.';
comment on column stripe.subscriptions.current_period_start is
  'Start of the period: the subscription''s own, or the latest among its items since 2025-03-31.';
comment on column stripe.subscriptions.current_period_end is
  'End of the period: the subscription''s own, or the latest among its items since 2025-03-31.';
comment on column stripe.subscriptions.collection_method is 'charge_automatically or send_invoice.';
comment on column stripe.subscriptions.currency is 'Three-letter ISO code in lower case.';
comment on column stripe.subscriptions.latest_invoice_id is 'Stripe''s id of its latest invoice.';
comment on column stripe.subscriptions.pause_collection is
  'keep_as_draft, mark_uncollectible or void: what becomes of invoices while collection pauses. NULL: it does not.';
comment on column stripe.subscriptions.billing_mode is 'classic or flexible; NULL counts as classic.';
comment on column stripe.subscriptions.cancellation_reason is
  'cancellation_details.reason: cancellation_requested, payment_failed, payment_disputed and others.';
comment on column stripe.subscriptions.schedule_id is 'Stripe''s id of the schedule that manages it.';
comment on column stripe.subscriptions.test_clock is 'Id of the test clock that it lives on; NULL: real time.';
comment on column stripe.subscriptions.metadata is
  'The subscription''s metadata; entity_id, external_id and renewals_before_import have a meaning here (docs/record.md).';
comment on column stripe.subscriptions.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.subscriptions.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

comment on table stripe.subscription_items is
  'The items of the subscriptions, complete also beyond the number that Stripe puts into one answer once the subscription was read.';
comment on column stripe.subscription_items.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.subscription_items.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.subscription_items.id is 'Stripe''s id of the item.';
comment on column stripe.subscription_items.subscription_id is 'Stripe''s id of the subscription that holds it.';
comment on column stripe.subscription_items.position is
  'Place in Stripe''s order, from 0. The first item decides product, price and quantity of the customer.';
comment on column stripe.subscription_items.created is 'When the item was created, by Stripe''s clock.';
comment on column stripe.subscription_items.price_id is 'Stripe''s id of its price (of its plan, in old shapes).';
comment on column stripe.subscription_items.product_id is
  'Stripe''s id of its product; NULL: this payload named the price alone.';
comment on column stripe.subscription_items.quantity is 'How many units; NULL: metered.';
comment on column stripe.subscription_items.current_period_start is 'Start of the item''s own period, since 2025-03-31.';
comment on column stripe.subscription_items.current_period_end is 'End of the item''s own period, since 2025-03-31.';
comment on column stripe.subscription_items.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';

comment on table stripe.invoices is 'Stripe''s invoices, drafts and void ones too.';
comment on column stripe.invoices.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.invoices.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.invoices.id is 'Stripe''s id of the invoice.';
comment on column stripe.invoices.created is 'When the invoice was created, by Stripe''s clock.';
comment on column stripe.invoices.customer_id is 'Stripe''s id of the customer that it bills.';
comment on column stripe.invoices.subscription_id is 'Stripe''s id of the subscription that it bills; NULL: none.';
comment on column stripe.invoices.status is 'draft, open, paid, void or uncollectible.';
comment on column stripe.invoices.billing_reason is 'Why it was made. subscription_cycle is what counts as a renewal.';
comment on column stripe.invoices.period_start is 'Start of the period in which its items were added.';
comment on column stripe.invoices.period_end is
  'End of that period: on a subscription_cycle invoice the boundary of the cycle, which renewals are counted by.';
comment on column stripe.invoices.lines_period_end is
  'Latest end of a period among the lines that came with it; Stripe sends the first ten.';
comment on column stripe.invoices.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.invoices.total is 'After discounts and taxes, minor units.';
comment on column stripe.invoices.amount_due is 'To be paid now, after credit balance, minor units.';
comment on column stripe.invoices.amount_paid is
  'Paid, minor units. Since 2025-03-31 with money paid outside Stripe, before without it.';
comment on column stripe.invoices.amount_remaining is 'Still to be paid, minor units.';
comment on column stripe.invoices.paid_out_of_band is 'Paid outside Stripe; only in API versions before 2025-03-31, else NULL.';
comment on column stripe.invoices.amount_paid_off_stripe is
  'Paid outside Stripe, minor units. Comes by reads since 2026-05-27, never in events; else NULL.';
comment on column stripe.invoices.amount_paid_by_payments is
  'Paid by Stripe''s own payments, minor units: the sum over its payments. NULL: the answer did not list them.';
comment on column stripe.invoices.collection_method is 'charge_automatically or send_invoice.';
comment on column stripe.invoices.attempt_count is 'How many payments were attempted.';
comment on column stripe.invoices.next_payment_attempt is 'When the next payment will be attempted; NULL: never.';
comment on column stripe.invoices.due_date is 'When it is to be paid; NULL: it is charged automatically.';
comment on column stripe.invoices.paid_at is 'When it became paid.';
comment on column stripe.invoices.number is 'The number that the customer sees.';
comment on column stripe.invoices.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.invoices.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.invoices.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

comment on table stripe.invoice_payments is
  'Which payments pay which invoice (since 2025-03-31). One may pay several, and several may pay one.';
comment on column stripe.invoice_payments.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.invoice_payments.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.invoice_payments.id is 'Stripe''s id of the invoice payment.';
comment on column stripe.invoice_payments.created is 'When the invoice payment was created, by Stripe''s clock.';
comment on column stripe.invoice_payments.invoice_id is 'Stripe''s id of the invoice.';
comment on column stripe.invoice_payments.status is 'open, paid or canceled.';
comment on column stripe.invoice_payments.amount_requested is 'To be paid by it, minor units.';
comment on column stripe.invoice_payments.amount_paid is 'Paid by it, minor units; NULL: not paid.';
comment on column stripe.invoice_payments.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.invoice_payments.payment_type is 'payment_intent, charge or payment_record (paid outside Stripe).';
comment on column stripe.invoice_payments.payment_intent_id is
  'Stripe''s id of the PaymentIntent that pays; NULL for other types.';
comment on column stripe.invoice_payments.charge_id is 'Stripe''s id of the charge that pays; NULL for other types.';
comment on column stripe.invoice_payments.payment_record_id is
  'Stripe''s id of the payment record that pays; NULL for other types.';
comment on column stripe.invoice_payments.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.invoice_payments.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

comment on table stripe.charges is
  'Stripe''s charges: each attempt to take money. Revenue is summed over the succeeded and captured ones.';
comment on column stripe.charges.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.charges.live_mode is 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.charges.id is 'Stripe''s id of the charge.';
comment on column stripe.charges.created is 'When the charge was created, by Stripe''s clock.';
comment on column stripe.charges.customer_id is
  'Stripe''s id of the customer; NULL: a guest''s, whom its Checkout or invoice may name (sync.charge_owners).';
comment on column stripe.charges.payment_intent_id is 'Stripe''s id of the PaymentIntent behind it.';
comment on column stripe.charges.invoice_id is 'Stripe''s id of the invoice; only before 2025-03-31.';
comment on column stripe.charges.status is 'succeeded, pending or failed.';
comment on column stripe.charges.captured is 'false: authorized only, no money has moved.';
comment on column stripe.charges.amount is 'Asked for, minor units.';
comment on column stripe.charges.amount_captured is 'Taken, minor units; less than amount where the rest was released.';
comment on column stripe.charges.amount_refunded is
  'Stripe''s own total of refunds, minor units; it counts the released rest of a partial capture as one.';
comment on column stripe.charges.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.charges.disputed is 'Whether it has ever been disputed.';
comment on column stripe.charges.description is 'charge.description.';
comment on column stripe.charges.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.charges.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.charges.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

comment on table stripe.refunds is 'Stripe''s refunds.';
comment on column stripe.refunds.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.refunds.live_mode is 'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.refunds.id is 'Stripe''s id of the refund.';
comment on column stripe.refunds.created is 'When the refund was created, by Stripe''s clock.';
comment on column stripe.refunds.charge_id is 'Stripe''s id of the charge that it gives back.';
comment on column stripe.refunds.payment_intent_id is 'Stripe''s id of the PaymentIntent behind that charge.';
comment on column stripe.refunds.status is
  'pending, requires_action, succeeded, failed or canceled. It may fail after it succeeded: the money is back then.';
comment on column stripe.refunds.amount is 'Minor units.';
comment on column stripe.refunds.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.refunds.reason is 'duplicate, fraudulent, requested_by_customer, expired_uncaptured_charge, or NULL.';
comment on column stripe.refunds.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.refunds.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

comment on table stripe.disputes is 'Stripe''s disputes (chargebacks and inquiries).';
comment on column stripe.disputes.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.disputes.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.disputes.id is 'Stripe''s id of the dispute.';
comment on column stripe.disputes.created is 'When the dispute was created, by Stripe''s clock.';
comment on column stripe.disputes.charge_id is 'Stripe''s id of the disputed charge.';
comment on column stripe.disputes.payment_intent_id is 'Stripe''s id of the PaymentIntent behind that charge.';
comment on column stripe.disputes.status is 'Stripe''s own word: needs_response, won, lost, warning_closed and others.';
comment on column stripe.disputes.amount is 'Disputed, minor units; may differ from the charge.';
comment on column stripe.disputes.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.disputes.reason is 'Why the bank says that it is disputed.';
comment on column stripe.disputes.movements is
  'How many balance transactions it has: 0 nothing moved, 1 withdrawn, 2 given back. NULL: the answer did not list them.';
comment on column stripe.disputes.moved_amount is
  'Sum of those, minor units of moved_currency, without fees: negative is money withdrawn.';
comment on column stripe.disputes.moved_currency is 'Currency of those; NULL: there are none, or of several currencies.';
comment on column stripe.disputes.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.disputes.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

comment on table stripe.checkout_sessions is
  'Stripe''s Checkout sessions: what links a purchase to the company''s own customer.';
comment on column stripe.checkout_sessions.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column stripe.checkout_sessions.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column stripe.checkout_sessions.id is 'Stripe''s id of the Checkout session.';
comment on column stripe.checkout_sessions.created is 'When the Checkout session was created, by Stripe''s clock.';
comment on column stripe.checkout_sessions.customer_id is 'Stripe''s id of the customer; NULL: a guest, or not known yet.';
comment on column stripe.checkout_sessions.status is 'open, complete or expired.';
comment on column stripe.checkout_sessions.mode is 'payment, subscription or setup.';
comment on column stripe.checkout_sessions.payment_status is 'paid, unpaid or no_payment_required.';
comment on column stripe.checkout_sessions.client_reference_id is
  'What the company passed along: a claim of a custom_uid, once the session is complete.';
comment on column stripe.checkout_sessions.subscription_id is 'Stripe''s id of the subscription that it started.';
comment on column stripe.checkout_sessions.payment_intent_id is 'Stripe''s id of the PaymentIntent that paid it.';
comment on column stripe.checkout_sessions.invoice_id is 'Stripe''s id of the invoice that it made.';
comment on column stripe.checkout_sessions.amount_total is 'Minor units, after discounts and taxes.';
comment on column stripe.checkout_sessions.currency is
  'Three-letter ISO code in lower case. The amounts of this row are in its minor units.';
comment on column stripe.checkout_sessions.metadata is 'The object''s metadata, text to text, as it stands at Stripe.';
comment on column stripe.checkout_sessions.deleted_at is
  'When it was deleted at Stripe: the time of the *.deleted event, else of the read that found it deleted. The other columns keep the last state. NULL: not deleted.';
comment on column stripe.checkout_sessions.raw is
  'The object as Stripe last sent it, by event or read, in the API version of that answer; NUL characters and lone surrogates replaced. NULL when only its deletion was ever seen.';

-- billing: the records. docs/record.md has each definition with an example.

comment on table billing.identities is
  'What is ours and not Stripe''s about a customer: owned by the customers API. Deriving reads it and never writes it.';
comment on column billing.identities.uid is 'Our id of the customer, for ever.';
comment on column billing.identities.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.identities.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.identities.stripe_customer_id is 'Stripe''s id of the customer; NULL: not linked.';
comment on column billing.identities.custom_uid is
  'The company''s own name of the customer, set locally: counts where Stripe states none.';
comment on column billing.identities.fingerprint is 'What recognises an anonymous customer.';
comment on column billing.identities.send_email_receipts is 'Whether the customer wants receipts by mail; NULL: not said.';
comment on column billing.identities.metadata is
  'Local metadata, text to text. Where Stripe''s metadata has the same key, Stripe''s counts.';
comment on column billing.identities.sandbox_product_id is 'The product that a sandbox grant gives access to.';
comment on column billing.identities.sandbox_end is
  'Until when a local, time-limited grant gives access. No Stripe object is behind it.';
comment on column billing.identities.last_seen is 'When the customer itself was last active here: usage, checks. Not renewals.';
comment on column billing.identities.created_at is 'When the customer was created here.';

comment on table billing.customers is
  'The record: one row per customer. Poll by change, or read by uid, custom_uid or stripe_customer_id.';
comment on column billing.customers.uid is
  'Our id of the customer, for ever: that of billing.identities, else uuid5 of account, mode and Stripe id.';
comment on column billing.customers.custom_uid is
  'The company''s own name of the customer, unique per account and mode: customer.metadata.custom_uid, else client_reference_id of its latest completed Checkout, else set locally. NULL: none, not URL-safe, or another customer''s (sync.problems says which).';
comment on column billing.customers.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customers.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.customers.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.customers.name is 'Stripe''s customer.name.';
comment on column billing.customers.email is 'Stripe''s customer.email; not unique.';
comment on column billing.customers.description is 'Stripe''s customer.description.';
comment on column billing.customers.fingerprint is 'From billing.identities.';
comment on column billing.customers.metadata is 'Local metadata overlaid by Stripe''s customer.metadata, text to text.';
comment on column billing.customers.send_email_receipts is 'From billing.identities; NULL: not said.';
comment on column billing.customers.status is
  'Of the current subscription: trialing, active, past_due, canceled (still active, end scheduled), ended. NULL: no subscription ever started.';
comment on column billing.customers.has_access is
  'Whether any subscription lets the customer in; without a live one, whether a sandbox grant ran when this was derived.';
comment on column billing.customers.product_id is
  'The company''s name of the current product: product.metadata.product_id, else Stripe''s id.';
comment on column billing.customers.product_version_number is
  'Version of that product: metadata.version of price or product, else the price''s rank, from 1, among the product''s recurring prices by age.';
comment on column billing.customers.stripe_product_id is
  'Stripe''s id of the product of the first item of the current subscription.';
comment on column billing.customers.stripe_price_id is 'Stripe''s id of the price of that item.';
comment on column billing.customers.stripe_subscription_id is
  'Stripe''s id of the current subscription: the one that speaks for the customer.';
comment on column billing.customers.quantity is 'Units of that item; NULL: metered, or no subscription.';
comment on column billing.customers.lifetime_revenue is
  'Net revenue in revenue_currency, minor units, since the beginning: net of refunds and disputes, gross of fees and taxes.';
comment on column billing.customers.revenue_currency is
  'The currency with the largest gross + out_of_band; NULL: none, and lifetime_revenue is 0.';
comment on column billing.customers.renewal_number is
  'Billing cycles that the current subscription has gone through, from 0; the end of a first trial is none.';
comment on column billing.customers.is_trial is
  'Whether the current subscription is trialing at Stripe, also when its end is scheduled.';
comment on column billing.customers.trial_end is 'When that trial ends; NULL unless is_trial.';
comment on column billing.customers.sandbox_end is 'Until when a sandbox grant gives access; from billing.identities.';
comment on column billing.customers.subscription_date is 'When the current subscription started (start_date).';
comment on column billing.customers.first_seen is 'When the customer was first created, here or at Stripe.';
comment on column billing.customers.last_seen is
  'When the customer itself was last active: noted locally, or its latest completed Checkout. Renewals are not activity.';
comment on column billing.customers.exact is
  'Complete and confirmed: its history is known from the start, and nothing of it waits for a read, is missing or parked.';
comment on column billing.customers.change is
  'Number of this row''s last change; grows over all rows. Poll `where change > $1`: nothing is missed.';
comment on column billing.customers.created_at is 'When the record was first written.';
comment on column billing.customers.updated_at is
  'When anything of the record, its products or its revenue last changed; not moved by exact alone.';
comment on column billing.customers.deleted_at is 'When the customer was deleted at Stripe; its history stays.';

comment on table billing.customer_products is
  'What a customer has bought: one row per subscription and product, never-started and ended ones too.';
comment on column billing.customer_products.id is 'Our id of the row: uuid5 of its key, the same after every rebuild.';
comment on column billing.customer_products.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_products.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.customer_products.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.customer_products.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customer_products.stripe_subscription_id is 'Stripe''s id of the subscription.';
comment on column billing.customer_products.stripe_product_id is 'Stripe''s id of the product.';
comment on column billing.customer_products.product_id is
  'The company''s name of the product: product.metadata.product_id, else Stripe''s id.';
comment on column billing.customer_products.stripe_price_id is 'Stripe''s id of the price of the product''s first item.';
comment on column billing.customer_products.status is
  'trialing, active, past_due, canceled (still active, end scheduled) or ended; NULL: never started.';
comment on column billing.customer_products.stripe_status is 'Stripe''s own word for the subscription.';
comment on column billing.customer_products.has_access is 'Whether this subscription lets the customer in.';
comment on column billing.customer_products.canceled is 'Whether its cancellation is scheduled or done.';
comment on column billing.customer_products.canceled_at is 'When the cancellation was asked for.';
comment on column billing.customer_products.starts_at is 'When the subscription started.';
comment on column billing.customer_products.ended_at is
  'When it ended: Stripe''s word, else when it was canceled, else when the customer was deleted.';
comment on column billing.customer_products.trial_ends_at is 'When its running trial ends; NULL: no trial runs.';
comment on column billing.customer_products.free_trial_id is 'Source not mirrored yet: NULL.';
comment on column billing.customer_products.current_period_start is 'Latest start of a period among the product''s items.';
comment on column billing.customer_products.current_period_end is
  'Latest end of a period among the product''s items: paid until.';
comment on column billing.customer_products.quantity is 'Units of all items of the product; NULL: metered only.';
comment on column billing.customer_products.options is
  'Feature id to summed quantity; the feature is metadata.feature_id of the price, else of the product.';
comment on column billing.customer_products.collection_method is 'charge_automatically or send_invoice.';
comment on column billing.customer_products.processor is 'Always stripe.';
comment on column billing.customer_products.subscription_ids is
  'Stripe''s ids of all subscriptions of the customer that carry this product, in order of their start.';
comment on column billing.customer_products.scheduled_ids is 'Source not mirrored yet: NULL.';
comment on column billing.customer_products.is_custom is 'Source not mirrored yet: NULL.';
comment on column billing.customer_products.api_version is 'Source not mirrored yet: NULL.';
comment on column billing.customer_products.external_id is 'subscription.metadata.external_id.';
comment on column billing.customer_products.entity_id is 'subscription.metadata.entity_id.';
comment on column billing.customer_products.created_at is 'When the subscription was created at Stripe.';

comment on table billing.customer_revenue is
  'What a customer has paid, one row per currency in which money moved. Currencies are never added up.';
comment on column billing.customer_revenue.customer_uid is 'billing.customers.uid.';
comment on column billing.customer_revenue.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.customer_revenue.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.customer_revenue.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.customer_revenue.currency is
  'Three-letter ISO code in lower case. All amounts are in its minor units (JPY has no cents).';
comment on column billing.customer_revenue.gross is
  'Captured by succeeded charges, minor units, before fees, transfers and taxes.';
comment on column billing.customer_revenue.refunded is
  'Given back or on its way back, minor units; without refunds that failed and the released rest of partial captures.';
comment on column billing.customer_revenue.disputed is 'Withdrawn by disputes and not given back, minor units.';
comment on column billing.customer_revenue.out_of_band is 'Paid on invoices outside Stripe, minor units.';
comment on column billing.customer_revenue.net is 'gross - refunded - disputed + out_of_band, minor units.';

comment on table billing.status_changes is
  'The history of billing.customers.status, oldest first by id. A provisional change that a read takes back goes with it.';
comment on column billing.status_changes.id is 'Order of the changes.';
comment on column billing.status_changes.customer_uid is 'billing.customers.uid.';
comment on column billing.status_changes.status_before is 'Status until then; NULL: none.';
comment on column billing.status_changes.status_after is 'Status from then on; NULL: none.';
comment on column billing.status_changes.changed_at is 'When: created of the deciding event, else when the change was derived.';
comment on column billing.status_changes.exact is
  'Whether an exact record has confirmed the change; false: it may still be taken back.';
comment on column billing.status_changes.event_id is 'The event last applied to the deciding subscription; NULL: none.';
comment on column billing.status_changes.source is 'What told of it: event, sweep, audit, deadline or backfill.';

comment on view billing.freshness is 'How fresh the records are: one row.';
comment on column billing.freshness.last_event_received_at is 'When the last event was received.';
comment on column billing.freshness.last_event_applied_at is 'When events were last applied.';
comment on column billing.freshness.pending is 'Events received and not applied yet.';
comment on column billing.freshness.oldest_pending_at is 'When the oldest of those was received; NULL: there is none.';
comment on column billing.freshness.last_gap_fill_at is 'When /v1/events was last read to its end; NULL: never.';
comment on column billing.freshness.last_audit_at is 'When an audit last finished; NULL: never.';

comment on view billing.invoices is
  'The mirrored invoices, joined to their customer''s uid. Amounts are minor units of currency.';
comment on column billing.invoices.customer_uid is 'billing.customers.uid; NULL: no record, or nobody''s.';
comment on column billing.invoices.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.invoices.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.invoices.id is 'Stripe''s id of the invoice.';
comment on column billing.invoices.created is 'When it was created, by Stripe''s clock.';
comment on column billing.invoices.stripe_customer_id is 'Stripe''s id of the customer.';
comment on column billing.invoices.stripe_subscription_id is 'Stripe''s id of the subscription; NULL: none.';
comment on column billing.invoices.status is 'draft, open, paid, void or uncollectible.';
comment on column billing.invoices.billing_reason is 'Why it was made.';
comment on column billing.invoices.period_start is 'Start of the period in which its items were added.';
comment on column billing.invoices.period_end is 'End of that period; on a subscription_cycle invoice the boundary of the cycle.';
comment on column billing.invoices.currency is 'Three-letter ISO code in lower case.';
comment on column billing.invoices.total is 'After discounts and taxes, minor units.';
comment on column billing.invoices.amount_due is 'To be paid now, minor units.';
comment on column billing.invoices.amount_paid is 'Paid, minor units; with money paid outside Stripe since 2025-03-31.';
comment on column billing.invoices.amount_remaining is 'Still to be paid, minor units.';
comment on column billing.invoices.attempt_count is 'How many payments were attempted.';
comment on column billing.invoices.next_payment_attempt is 'When the next payment will be attempted; NULL: never.';
comment on column billing.invoices.due_date is 'When it is to be paid; NULL: it is charged automatically.';
comment on column billing.invoices.paid_at is 'When it became paid.';
comment on column billing.invoices.number is 'The number that the customer sees.';
comment on column billing.invoices.deleted_at is 'When it was deleted at Stripe; NULL: not.';

comment on view billing.charges is
  'The mirrored charges, joined to their customer''s uid. Amounts are minor units of currency.';
comment on column billing.charges.customer_uid is 'billing.customers.uid; NULL: no record, or nobody''s.';
comment on column billing.charges.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column billing.charges.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column billing.charges.id is 'Stripe''s id of the charge.';
comment on column billing.charges.created is 'When it was created, by Stripe''s clock.';
comment on column billing.charges.stripe_customer_id is
  'Stripe''s id of the customer that the charge itself names; NULL: a guest''s.';
comment on column billing.charges.status is 'succeeded, pending or failed.';
comment on column billing.charges.captured is 'false: authorized only, no money has moved.';
comment on column billing.charges.currency is 'Three-letter ISO code in lower case.';
comment on column billing.charges.amount is 'Asked for, minor units.';
comment on column billing.charges.amount_captured is 'Taken, minor units.';
comment on column billing.charges.amount_refunded is
  'Stripe''s own total of refunds, minor units; the released rest of a partial capture counts.';
comment on column billing.charges.disputed is 'Whether it has ever been disputed.';
comment on column billing.charges.description is 'charge.description.';

-- sync: the views of the machinery, which had none for their columns.

comment on view sync.charge_owners is
  'The customer whose money each charge is, also where the charge itself names none.';
comment on column sync.charge_owners.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column sync.charge_owners.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column sync.charge_owners.charge_id is 'Stripe''s id of the charge.';
comment on column sync.charge_owners.customer_id is
  'Stripe''s id of the customer: of the charge, else of the Checkout session or invoice of its PaymentIntent.';

comment on view sync.uid_claims is
  'Each customer''s claim of a custom_uid, by its first valid source. A view, so that it never disagrees with the mirror.';
comment on column sync.uid_claims.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column sync.uid_claims.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column sync.uid_claims.custom_uid is 'The name that is claimed.';
comment on column sync.uid_claims.customer_id is 'Stripe''s id of the customer that claims it.';
comment on column sync.uid_claims.source is 'metadata, checkout or local: where the claim stands.';
comment on column sync.uid_claims.customer_created is
  'When that customer was created at Stripe: the earliest wins. NULL: not seen yet, and last.';

-- migrate:down
do $$ begin raise exception 'forward only: a comment does no harm'; end $$;
