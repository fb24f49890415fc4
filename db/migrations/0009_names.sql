-- migrate:up

-- Who has which custom_uid: each customer's claim is a row, and who has a name is the first row of that name in an index.

alter table stripe.checkout_sessions add column payment_link_id text;
comment on column stripe.checkout_sessions.payment_link_id is
  'Stripe''s id of the payment link (or of the one behind a buy button) whose page made the session: then the buyer''s browser writes client_reference_id. NULL: made by API, or by a page that Stripe does not tell (a pricing table).';
comment on column stripe.checkout_sessions.client_reference_id is
  'What was passed along: a claim of a custom_uid, once the session is complete. By the company, or where payment_link_id is set by the buyer''s browser.';
update stripe.checkout_sessions
set payment_link_id = coalesce(raw #>> '{payment_link,id}', raw ->> 'payment_link')
where raw ->> 'payment_link' is not null;

drop view sync.uid_claims;
create table sync.uid_claims (
  account_id        text         not null,
  live_mode         boolean      not null,
  customer_id       text         not null,
  custom_uid        text         not null,
  source            text         not null,
  rank              smallint     not null generated always as (
    case source when 'local' then 1 when 'metadata' then 2 when 'checkout' then 3 else 4 end
  ) stored,
  object_id         text         not null,
  customer_created  timestamptz,
  primary key (account_id, live_mode, customer_id),
  constraint source_is_known check (source in ('local', 'metadata', 'checkout', 'page'))
);
create index uid_claims_order on sync.uid_claims
  (account_id, live_mode, custom_uid, rank, customer_created, (customer_id collate "C"));
comment on table sync.uid_claims is
  'Each customer''s claim of a custom_uid, by the first source that states a usable one: written with its record, in one transaction. Of the claims of one name the first in the index uid_claims_order has it.';
comment on column sync.uid_claims.account_id is
  'Connected account (event.account), or empty: the account that owns the endpoint and the API key.';
comment on column sync.uid_claims.live_mode is
  'true: live mode, false: test mode. From the event, or from the API key''s prefix.';
comment on column sync.uid_claims.customer_id is 'Stripe''s id of the customer that claims the name.';
comment on column sync.uid_claims.custom_uid is 'The name that is claimed.';
comment on column sync.uid_claims.source is
  'What states it: local (billing.identities), metadata (the customer''s), checkout (a session that the company made), page (a session of a payment link).';
comment on column sync.uid_claims.rank is 'The order of the sources: the smallest wins.';
comment on column sync.uid_claims.object_id is
  'What states it, by id: a customer or a Checkout session of Stripe''s, or the uid of an identity.';
comment on column sync.uid_claims.customer_created is
  'When that customer was created at Stripe: within a rank the earliest wins. NULL: not seen yet, or deleted, and last.';

-- As claim_of in billing/claims.py has it. From here on claims are written by derivations.
insert into sync.uid_claims (account_id, live_mode, customer_id, custom_uid, source, object_id, customer_created)
select distinct on (claim.account_id, claim.live_mode, claim.customer_id)
  claim.account_id, claim.live_mode, claim.customer_id, claim.custom_uid, claim.source, claim.object_id,
  case when c.deleted_at is null then c.created end
from (
  select account_id, live_mode, stripe_customer_id as customer_id, custom_uid, 'local' as source, 1 as rank,
    uid::text as object_id
  from billing.identities
  where custom_uid is not null and stripe_customer_id is not null
  union all
  select account_id, live_mode, id, custom_uid, 'metadata', 2, id
  from stripe.customers
  where custom_uid is not null
  union all
  (
    select distinct on (account_id, live_mode, customer_id, payment_link_id is null)
      account_id, live_mode, customer_id, client_reference_id,
      case when payment_link_id is null then 'checkout' else 'page' end,
      case when payment_link_id is null then 3 else 4 end, id
    from stripe.checkout_sessions
    where status = 'complete' and client_reference_id is not null and customer_id is not null
    order by account_id, live_mode, customer_id, payment_link_id is null, created desc nulls last, id collate "C" desc
  )
) claim
left join stripe.customers c
  on c.account_id = claim.account_id and c.live_mode = claim.live_mode and c.id = claim.customer_id
where claim.custom_uid ~ '^[A-Za-z0-9._~-]{1,255}$'
order by claim.account_id, claim.live_mode, claim.customer_id, claim.rank;

insert into sync.problems (account_id, live_mode, customer_id, kind, object_id, detail)
select account_id, live_mode, '', 'custom_uid_crowded', custom_uid, format(
    'More than 100 customers claim the custom_uid %s, so it names none of them. Something writes one name for everybody: sync.uid_claims lists who, and from what.',
    custom_uid
  )
from sync.uid_claims
group by account_id, live_mode, custom_uid
having count(*) > 100;

-- Those whose name another rank decides are derived again.
with first as (
  select distinct on (account_id, live_mode, custom_uid) account_id, live_mode, custom_uid, customer_id
  from sync.uid_claims
  order by account_id, live_mode, custom_uid, rank, customer_created, customer_id collate "C"
), changed as (
  select f.account_id, f.live_mode, f.customer_id
  from first f
  join billing.customers r
    on r.account_id = f.account_id and r.live_mode = f.live_mode and r.stripe_customer_id = f.customer_id
  where r.custom_uid is distinct from f.custom_uid
  union
  select r.account_id, r.live_mode, r.stripe_customer_id
  from billing.customers r
  left join first f
    on f.account_id = r.account_id and f.live_mode = r.live_mode and f.custom_uid = r.custom_uid
  where r.custom_uid is not null and r.stripe_customer_id is not null
    and r.stripe_customer_id is distinct from f.customer_id
)
update sync.customers c
set stale = c.stale + 1, stale_since = case when c.stale > c.derived then c.stale_since else now() end
from changed
where (c.account_id, c.live_mode, c.customer_id) = (changed.account_id, changed.live_mode, changed.customer_id);

comment on column sync.problems.customer_id is
  'Stripe customer id whose record is concerned; empty: a name that many customers claim.';
comment on column sync.problems.kind is
  'What kind of problem: custom_uid_invalid, custom_uid_taken, custom_uid_crowded, status_unknown, sandbox_end_invalid.';
comment on column sync.problems.object_id is 'The Stripe object that causes it; of custom_uid_crowded the name.';
comment on column billing.identities.custom_uid is
  'The company''s own name of the customer, set locally: outranks what Stripe states.';
comment on column billing.customers.custom_uid is
  'The company''s own name of the customer, unique per account and mode: set locally, else customer.metadata.custom_uid, else client_reference_id of its latest completed Checkout that the company made, else of a payment link. NULL: none, not URL-safe, or another customer''s (sync.problems says which).';

select sync.grant_readers();

-- migrate:down
do $$ begin raise exception 'forward only: no migration of ours takes a table away'; end $$;
