-- migrate:up
--
-- Money by what moved: parts of a disputed amount, several captures of one charge, coupons in several currencies.

alter table stripe.disputes add column withdrawn_amount bigint;
comment on column stripe.disputes.withdrawn_amount is
  'The most that was withdrawn at one time, minor units of moved_currency, if a part of it came back; -moved_amount is what is still gone of it. NULL: nothing came back, or all.';
comment on column stripe.disputes.movements is
  'How many balance transactions moved the disputed money, fees not counted. NULL: the answer did not list them.';
comment on column stripe.disputes.moved_amount is
  'Sum of those, minor units of moved_currency: negative is money withdrawn and not given back.';

alter table stripe.charges add column multicapture boolean;
comment on column stripe.charges.multicapture is
  'true: it may be captured several times (payment_method_details.card.multicapture), so the rest that is released is not booked as a refund. NULL: it may not, or Stripe did not say.';
comment on column stripe.charges.captured is
  'Whether the capture is finished. false: authorized only, or captured in part (amount_captured) with more to come.';
comment on table stripe.charges is
  'Stripe''s charges: each attempt to take money. Revenue is summed over the succeeded ones of which anything was captured.';
comment on column billing.charges.captured is
  'Whether the capture is finished. false: authorized only, or captured in part (amount_captured) with more to come.';

alter table stripe.coupons add column currency_options jsonb, add column former jsonb;
comment on column stripe.coupons.former is
  'Earlier coupons of this id, as a list of the same columns, oldest first: discounts keep the terms of the coupon that they were made from. NULL: none is known.';
comment on column stripe.coupons.currency_options is
  'Amounts off in other currencies than the coupon''s own, as a list of {currency, amount_off}. From a read; NULL: not known, since only events have told of the coupon.';
comment on column stripe.subscriptions.discounts is
  'List of {id, coupon_id, percent_off, amount_off, currency, duration, ends, coupon_created, starts} in the order in which they apply: percent_off as a decimal, amount_off in minor units. coupon_created tells which coupon it was made from where an id was used again. All but id null: not known, since Stripe sent only the id of that discount.';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
