"""The statements that run all day find their rows by the index made for them, however large the tables are."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from db.connection import Connection, connect, create_pool
from db.migrate import migrate
from db.mirror import claims, facts, ranks, sizes, unsettled
from db.records import (
    access,
    customer,
    feature_usage,
    full,
    history,
    identities,
    joins,
    merges,
    names,
    pages,
    records,
    tracking,
)
from db.sync import (
    catalogue,
    customers,
    due_reads,
    heavy,
    histories,
    inbox,
    inbox_admin,
    meter_events,
    pushes,
    retention,
    status,
    stretches,
    twins,
    usage,
    witnesses,
)
from local.clean import throwaway_home
from local.postgres import INSTALLED, start_postgres
from tests.conftest import Services, database_copy

CUSTOMERS = 5_000
"""In each of two accounts; what follows makes some 150,000 rows of them."""
ACCOUNTS = ("", "acct_b")
BATCH = 20
"""So many at a time: what a statement reads must be of that order, and not of that of its tables."""

# One story for every customer, set by set: a subscription with an item, an invoice that a charge paid, some money back.
# Every hundredth customer has something to do; every tenth charge is a guest's.
FILL = """
insert into stripe.customers (account_id, live_mode, id, created, custom_uid, discounts)
select $1, false, 'cus_' || n, now(), case when n % 3 = 0 then 'uid_' || n end,
  case when n % 20 = 0 then jsonb_build_array(jsonb_build_object('coupon_id', 'co_' || n % 7)) else '[]' end
from generate_series(1, $2::int) n;
insert into stripe.coupons (account_id, live_mode, id) select $1, false, 'co_' || n from generate_series(0, 6) n;
insert into stripe.products (account_id, live_mode, id) select $1, false, 'prod_' || n from generate_series(1, 200) n;
insert into stripe.prices (account_id, live_mode, id, product_id, recurring)
select $1, false, 'price_' || n, 'prod_' || 1 + n % 200, true from generate_series(1, 2000) n;
insert into stripe.subscriptions (account_id, live_mode, id, customer_id, status, current_period_start, discounts)
select $1, false, 'sub_' || n, 'cus_' || n, 'active', now() - n * interval '1 minute',
  case when n % 10 = 0 then jsonb_build_array(jsonb_build_object('coupon_id', 'co_' || n % 7)) else '[]' end
from generate_series(1, $2::int) n;
insert into stripe.subscription_items (
  account_id, live_mode, id, subscription_id, position, price_id, product_id, discounts
)
select $1, false, 'si_' || n, 'sub_' || n, 0, 'price_' || 1 + n % 2000, 'prod_' || 1 + n % 200,
  case when n % 30 = 0 then jsonb_build_array(jsonb_build_object('coupon_id', 'co_' || n % 7)) else '[]' end
from generate_series(1, $2::int) n;
insert into stripe.subscription_schedules (account_id, live_mode, id, customer_id, status)
select $1, false, 'sub_sched_' || n, 'cus_' || n, case when n % 100 = 0 then 'not_started' else 'released' end
from generate_series(1, $2::int) n;
insert into stripe.subscription_schedule_items (account_id, live_mode, id, schedule_id, phase, position, price_id)
select $1, false, '0.0', 'sub_sched_' || n, 0, 0, 'price_' || 1 + n % 2000 from generate_series(1, $2::int) n;
insert into stripe.features (account_id, live_mode, id)
select $1, false, 'feat_' || n from generate_series(1, 20) n;
insert into stripe.active_entitlements (account_id, live_mode, id, customer_id, feature_id)
select $1, false, 'ent_' || n, 'cus_' || n, 'feat_' || 1 + n % 20 from generate_series(1, $2::int) n;
insert into sync.usage (account_id, live_mode, customer_id, due_at, asked)
select $1, false, 'cus_' || n, case when n % 100 = 0 then now() else now() + interval '1 hour' end,
  case when n % 200 = 0 then 1 else 0 end
from generate_series(1, $2::int) n;
insert into stripe.invoices (account_id, live_mode, id, customer_id, subscription_id, status, created)
select $1, false, 'in_' || n, 'cus_' || n, 'sub_' || n, 'paid', now() - n * interval '1 minute'
from generate_series(1, $2::int) n;
insert into stripe.credit_notes (account_id, live_mode, id, customer_id, invoice_id)
select $1, false, 'cn_' || n, 'cus_' || n, 'in_' || n from generate_series(1, $2::int) n;
insert into stripe.invoice_payments (account_id, live_mode, id, invoice_id, payment_intent_id)
select $1, false, 'inpay_' || n, 'in_' || n, 'pi_' || n from generate_series(1, $2::int) n;
insert into stripe.charges (account_id, live_mode, id, customer_id, payment_intent_id, created)
select $1, false, 'ch_' || n, case when n % 10 > 0 then 'cus_' || n end, 'pi_' || n, now() - n * interval '1 minute'
from generate_series(1, $2::int) n;
insert into stripe.payment_intents (account_id, live_mode, id, customer_id)
select $1, false, 'pi_' || n, 'cus_' || n from generate_series(1, $2::int) n;
insert into stripe.refunds (account_id, live_mode, id, charge_id)
select $1, false, 're_' || n, 'ch_' || n from generate_series(1, $2::int) n;
insert into stripe.disputes (account_id, live_mode, id, charge_id)
select $1, false, 'dp_' || n, 'ch_' || n from generate_series(1, $2::int) n;
insert into stripe.checkout_sessions (
  account_id, live_mode, id, customer_id, payment_intent_id, client_reference_id, status, created
)
select $1, false, 'cs_' || n, 'cus_' || n, 'pi_' || n, case when n % 3 = 1 then 'ref_' || n end, 'complete',
  now() - n * interval '1 minute'
from generate_series(1, $2::int) n;
insert into sync.events (account_id, live_mode, event_id, type, payload, state)
select $1, false, 'evt_' || n, 'customer.updated', 'x', case when n % 100 = 0 then 'pending' else 'applied' end
from generate_series(1, $2::int) n;
insert into billing.identities (uid, account_id, live_mode, stripe_customer_id, custom_uid)
select gen_random_uuid(), $1, false, 'cus_' || n, 'own_' || n from generate_series(1, $2::int) n;
insert into billing.joined_customers (account_id, live_mode, stripe_customer_id, main_stripe_customer_id)
select $1, false, 'cus_' || n, 'cus_' || n + 1 from generate_series(1, $2::int, 2) n;
insert into sync.problems (account_id, live_mode, customer_id, kind, object_id, detail)
select $1, false, 'cus_' || n, 'custom_uid_invalid', 'cus_' || n, 'x' from generate_series(1, $2::int) n;
insert into sync.forgotten (account_id, live_mode, customer_id)
select $1, false, 'gone_' || n from generate_series(1, $2) n;
insert into sync.uid_claims (account_id, live_mode, customer_id, custom_uid, source, object_id, customer_created)
select $1, false, 'cus_' || n, case when n % 3 = 0 then 'uid_' || n else 'own_' || n end, 'metadata', 'cus_' || n, now()
from generate_series(1, $2::int) n;
insert into sync.uid_claims (account_id, live_mode, customer_id, custom_uid, source, object_id, customer_created)
select $1, false, 'cus_crowd' || n, 'website', 'page', 'cs_' || n, now() from generate_series(1, 4 * $2::int) n;
insert into sync.heavy (account_id, live_mode, customer_id)
select $1, false, 'cus_' || 100 * n from generate_series(1, 20) n;
insert into sync.customers (
  account_id, live_mode, customer_id, stale, derived, stale_since, history_at, rederive_at
)
select $1, false, 'cus_' || n, 2, case when n % 100 = 0 then 1 else 2 end, now(), case when n % 100 = 0 then now() end,
  case when n % 100 = 0 then now() end
from generate_series(1, $2::int) n
-- Writing identities has marked customers.
on conflict (account_id, live_mode, customer_id) do update set
  stale = excluded.stale, derived = excluded.derived, history_at = excluded.history_at,
  rederive_at = excluded.rederive_at;
insert into sync.objects (account_id, live_mode, kind, id, customer_id, dirty, confirmed, read_at, touched, resolved)
select $1, false, kind, prefix || n, case when named then 'cus_' || n end, case when n % 100 = 0 then 3 else 1 end, 2,
  case when n % 100 = 0 then now() end, case when n % 100 = 0 then 1 else 0 end, 0
from generate_series(1, $2::int) n,
  (values ('customer', 'cus_', true), ('subscription', 'sub_', true), ('invoice', 'in_', true),
    ('invoice_payment', 'inpay_', false), ('charge', 'ch_', true), ('refund', 're_', false),
    ('dispute', 'dp_', false)) kinds (kind, prefix, named);
insert into sync.pushes (account_id, live_mode, customer_id, wanted, refused, due_at)
select $1, false, 'cus_' || n, case when n % 100 = 0 then '{"name": "x"}'::jsonb end,
  case when n % 100 > 0 then '{"name": "x"}'::jsonb end, case when n % 100 = 0 then now() end
from generate_series(1, $2::int) n;
insert into sync.twins (account_id, live_mode, event_id, twin_id, tick)
select $1, false, 'evt_thin_' || n, 'evt_' || n, 1 from generate_series(1, $2::int) n;
insert into billing.customers (
  uid, account_id, live_mode, stripe_customer_id, custom_uid, email, status, stripe_subscription_id, change
)
select gen_random_uuid(), $1, false, 'cus_' || n, 'own_' || n, 'n' || n || '@example.com',
  case when n % 50 = 0 then 'past_due' else 'active' end, 'sub_' || n, nextval('billing.change')
from generate_series(1, $2::int) n;
insert into billing.customer_products (
  id, customer_uid, account_id, live_mode, stripe_customer_id, stripe_subscription_id, stripe_product_id, product_id,
  has_access, canceled, subscription_ids
)
select gen_random_uuid(), uid, account_id, live_mode, stripe_customer_id, 'sub_' || uid, 'prod', 'prod', true, false,
  '{}'
from billing.customers where account_id = $1;
insert into billing.customer_revenue (
  customer_uid, account_id, live_mode, stripe_customer_id, currency, gross, refunded, disputed, out_of_band, net
)
select uid, account_id, live_mode, stripe_customer_id, 'usd', 1, 0, 0, 0, 1
from billing.customers where account_id = $1;
insert into billing.customer_features (
  customer_uid, account_id, live_mode, stripe_customer_id, feature_id, lookup_key
)
select uid, account_id, live_mode, stripe_customer_id, 'feat_1', 'key_' || stripe_customer_id
from billing.customers where account_id = $1;
insert into billing.customer_usage (
  customer_uid, account_id, live_mode, stripe_customer_id, stripe_subscription_id, meter_id, value, period_start,
  period_end, read_at
)
select uid, account_id, live_mode, stripe_customer_id, 'sub_1', 'mtr_1', 1, now(), now(), now()
from billing.customers where account_id = $1;
insert into billing.usage_events (account_id, live_mode, idempotency_key, customer_uid, feature_id, value, pending)
select account_id, live_mode, uid, uid, 'key_' || stripe_customer_id, 1, right(stripe_customer_id, 2) = '00'
from billing.customers where account_id = $1;
insert into billing.usage_minutes (customer_uid, feature_id, minute, value)
select uid, 'key_' || stripe_customer_id, date_trunc('minute', now()), 1 from billing.customers where account_id = $1;
insert into billing.local_entities (uid, customer_uid, id, feature_id)
select gen_random_uuid(), uid, 'seat', 'key_' || stripe_customer_id from billing.customers where account_id = $1;
insert into sync.meter_events (account_id, live_mode, customer_uid, event_name, value, used_at, state, ended_at)
select account_id, live_mode, uid, 'calls', 1, now(),
  case when right(stripe_customer_id, 2) = '00' then 'queued' else 'sent' end,
  case when right(stripe_customer_id, 2) <> '00' then now() end
from billing.customers where account_id = $1;
insert into billing.customer_mrr (
  customer_uid, account_id, live_mode, stripe_customer_id, currency, mrr, subscriptions
)
select uid, account_id, live_mode, stripe_customer_id, 'usd', 1, 1 from billing.customers where account_id = $1;
insert into billing.mrr_changes (
  customer_uid, account_id, live_mode, currency, mrr_before, mrr_after, changed_at, exact
)
select uid, account_id, live_mode, 'usd', 0, 1, now(), true from billing.customers where account_id = $1;
insert into billing.status_changes (customer_uid, status_after, changed_at, exact, source)
select uid, 'active', now(), true, 'event' from billing.customers where account_id = $1
"""

MERGED = """
insert into billing.merges (merged_uid, into_uid, account_id, live_mode)
select gen_random_uuid(), uid, account_id, live_mode from billing.customers;
insert into sync.former_uids (before, after) select gen_random_uuid(), uid from billing.customers;
insert into sync.wanted_twins (account_id, live_mode, event_id, type, created, due_at)
select account_id, live_mode, 'evt_wanted_' || stripe_customer_id, 'x.updated', now(), now() + interval '1 hour'
from billing.customers
where stripe_customer_id is not null
on conflict do nothing
"""

SMALL = {
    *("products", "prices", "features", "meters", "coupons", "milestones", "accounts", "heavy"),
    *("alarms", "workers", "problems", "key", "refusals"),
}
"""Tables that may be read from end to end: a catalogue is small compared to its customers, and few are heavy."""


WAITING = {
    "events_pending",
    "objects_due",
    "objects_unresolved",
    "customers_stale",
    "customers_history",
    "customers_rederive",
    "usage_due",
    "usage_asked",
    "pushes_due",
}
"""Indexes of what waits for work: a `limit` ends their scans, whatever the planner thinks that they hold."""
IN_ORDER = {"uid_claims_order"}
"""Indexes that give rows in the order that is asked for: a `limit` ends their scans, unless something sorts."""
MANY = CUSTOMERS // 10


async def fill(connection: Connection) -> None:
    """Two accounts with the same ids."""
    # Its triggers look at each row, to refuse what is not asked for here.
    await connection.execute("alter table billing.joined_customers disable trigger user")
    for account in ACCOUNTS:
        for statement in FILL.split(";\n"):
            parameters = (account, CUSTOMERS)[: 2 if "$2" in statement else 1]
            await connection.execute(statement, *parameters)
    await connection.execute(MERGED)
    await connection.execute("analyze")


def ids(prefix: str) -> list[str]:
    """A batch of ids, spread over the table."""
    return [f"{prefix}_{number}" for number in range(7, CUSTOMERS, CUSTOMERS // BATCH)]


# What people ask, as docs/sql.md does: within an account and a mode.
SCOPED = "p.account_id = 'acct_b' and p.live_mode = false"
OF_SCOPE = f"from billing.customers p where {SCOPED}"
OF_ONE = f"{OF_SCOPE} and p.stripe_customer_id = 'cus_7'"
ASKED: dict[str, tuple[str, set[str]]] = {
    "by custom_uid": (f"select * {OF_SCOPE} and p.custom_uid = 'own_7'", {"custom_uid_is_unique"}),
    "by Stripe's customer id": (f"select * {OF_ONE}", {"stripe_customer_is_unique"}),
    "by any of Stripe's customer ids": (
        ("select c.* from billing.stripe_customers p join billing.customers c using (uid) "
        f"where {SCOPED} and p.stripe_customer_id = 'cus_7'"),
        {"stripe_customer_is_unique", "joined_customers_pkey", "customers_pkey"},
    ),
    "by email": (f"select * {OF_SCOPE} and p.email = 'n7@example.com'", {"customers_email"}),
    "by email, anywhere": (
        "select * from billing.customers where email = 'n7@example.com'",
        {"customers_email"},
    ),
    "by status": (f"select * {OF_SCOPE} and p.status = 'past_due'", {"customers_status"}),
    "by Stripe's subscription id": (
        "select * from billing.customers where stripe_subscription_id = 'sub_7'",
        {"customers_subscription"},
    ),
    "by Stripe's subscription id, any of them": (
        f"select * from billing.customer_products p where {SCOPED} and p.stripe_subscription_id = 'sub_7'",
        {"customer_products_pkey"},
    ),
    "what changed": (
        "select * from billing.customers where change > 9900 order by change limit 100",
        {"customers_change"},
    ),
    **{
        f"one's {table}": (
            f"select t.* from billing.{table} t where t.customer_uid = (select p.uid {OF_ONE})",
            {index, "stripe_customer_is_unique"},
        )
        for table, index in (
            ("customer_products", "customer_products_uid"),
            ("customer_revenue", "customer_revenue_uid"),
            ("customer_mrr", "customer_mrr_uid"),
            ("customer_features", "customer_features_uid"),
            ("customer_usage", "customer_usage_uid"),
            ("status_changes", "status_changes_customer"),
            ("mrr_changes", "mrr_changes_customer"),
        )
    },
    "who has a feature": (
        f"select * from billing.customer_features p where {SCOPED} and p.lookup_key = 'key_cus_7'",
        {"customer_features_lookup_key"},
    ),
    "one's invoices": (
        f"select * from billing.invoices p where {SCOPED} and p.stripe_customer_id = 'cus_7'",
        {"invoices_customer"},
    ),
    "one's invoices, by uid": (
        (f"select i.* from billing.invoices i join billing.customers p on p.uid = i.customer_uid where {SCOPED} "
        "and p.custom_uid = 'own_7' and i.status = 'open'"),
        {"invoices_customer", "custom_uid_is_unique"},
    ),
    "one's charges": (
        f"select * from billing.charges p where {SCOPED} and p.stripe_customer_id = 'cus_7'",
        {"charges_customer"},
    ),
}  # fmt: skip
"""Questions, and the index that must answer each."""

DERIVED = [UUID(int=number) for number in range(500)]
"""As many customers as are derived together: so many rows that a join would read a table of ten thousand."""
OF_PARTS = {
    "products": (([UUID(int=7)] * 500,), {"customer_products_uid"}),
    "revenue": ((DERIVED, ["usd"] * 500), {"customer_revenue_uid"}),
    "features": ((DERIVED, ["feat_1"] * 500), {"customer_features_uid"}),
    "mrr": ((DERIVED, ["usd"] * 500), {"customer_mrr_uid"}),
}
"""The rows that stay of each part of the records, and the index that finds all that they have."""
LEASE = timedelta(seconds=60)
SCOPE = ("acct_b", False)
CLAIMED = ["website", *(f"uid_{number}" for number in range(3, 60, 3))]
"""Names; four times as many customers as there are otherwise claim the first one."""

ROWS_OF_CUSTOMERS = {
    f"{table}_customer"
    for table in ("charges", "invoices", "checkout_sessions", "credit_notes", "subscriptions")
}

HOT: dict[str, tuple[str, tuple[object, ...], set[str]]] = {
    "claim events": (
        inbox.CLAIM_EVENTS,
        (BATCH, LEASE, None, 1_000_000),
        {"events_pending", "events_pkey"},
    ),
    "told by a thin event": (
        twins.SELECT_KNOWN_SINCE,
        ([SCOPE[0]] * BATCH, [SCOPE[1]] * BATCH, ids("evt")[:BATCH]),
        {"twins_by_twin"},
    ),
    "told by a snapshot event": (
        twins.SELECT_APPLIED,
        ([SCOPE[0]] * BATCH, [SCOPE[1]] * BATCH, ids("evt")[:BATCH]),
        {"events_pkey"},
    ),
    "the twins of thin events": (
        witnesses.SELECT_THIN_TOLD,
        (list(range(1, BATCH)),),
        {"events_seq_key", "twins_pkey", "events_pkey"},
    ),
    "ask for twins": (twins.CLAIM_WANTED, (False, BATCH, 12), {"wanted_twins_due"}),
    "claim reads": (
        due_reads.CLAIM_READS,
        (["customer", "invoice"], False, BATCH, LEASE, LEASE, LEASE),
        {"objects_due", "objects_pkey"},
    ),
    **{
        f"stretches of {table}": (
            stretches.SELECT_SECONDS[kind],
            (*SCOPE, ids(prefix), 100, 51),
            {index},  # and either that or the key finds what is due
        )
        for kind, table, prefix, index in (
            ("customer", "customers", "cus", "customers_created"),
            ("subscription", "subscriptions", "sub", "subscriptions_current_period_start"),
            ("invoice", "invoices", "in", "invoices_created"),
            ("charge", "charges", "ch", "charges_created"),
            ("checkout_session", "checkout_sessions", "cs", "checkout_sessions_created"),
        )
    },
    "holders of refunds": (
        stretches.SELECT_HOLDERS["refund"],
        (*SCOPE, ids("re"), LEASE),
        {"refunds_pkey", "objects_pkey"},
    ),
    "awaited objects": (
        stretches.SELECT_AWAITED,
        ([SCOPE[0]] * BATCH, [SCOPE[1]] * BATCH, ["charge"] * BATCH, ids("ch")[:BATCH]),
        {"objects_pkey"},
    ),
    "seconds to next read": (due_reads.SECONDS_TO_NEXT_READ, (False,), {"objects_due"}),
    "claim stale": (
        customers.CLAIM_STALE,
        (BATCH, LEASE, timedelta(0)),
        {"customers_stale", "customers_pkey"},
    ),
    "claim heavy": (heavy.CLAIM_HEAVY, (LEASE,), {"customers_pkey"}),
    "rows of customers": (
        sizes.COUNT_ROWS,
        (*SCOPE, ids("cus"), 5_001),
        ROWS_OF_CUSTOMERS,
    ),
    "rows of each customer": (
        sizes.SELECT_SIZES,
        (*SCOPE, ids("cus"), 5_001),
        ROWS_OF_CUSTOMERS,
    ),
    "claim histories": (
        histories.CLAIM_HISTORIES,
        (False, 8, LEASE),
        {"customers_history", "customers_pkey"},
    ),
    "touched": (customers.SELECT_TOUCHED, (BATCH, ["product", "price"]), {"objects_unresolved"}),
    "owners of charges": (
        customers.SELECT_OWNERS_OF_CHARGES,
        (*SCOPE, ids("ch"), ids("re"), ids("dp")),
        {"charges_pkey", "refunds_pkey", "disputes_pkey"},
    ),
    "owners of guests": (
        customers.SELECT_OWNERS_OF_GUESTS,
        (*SCOPE, ids("ch")),
        {
            "charges_pkey",
            "checkout_sessions_payment_intent",
            "payment_intents_pkey",
            "invoice_payments_payment_intent",
            "invoices_pkey",
        },
    ),
    "owners of payments": (
        customers.SELECT_OWNERS_OF_PAYMENTS,
        (*SCOPE, ids("inpay")),
        {"invoice_payments_pkey", "invoices_pkey"},
    ),
    "fans wait": (catalogue.SELECT_FANS_WAIT, (list(catalogue.SELECT_HOLDERS),), {"objects_unresolved"}),
    "fans": (catalogue.CLAIM_FANS, (["product", "price"], BATCH), {"objects_unresolved", "objects_pkey"}),
    "holders of a product": (
        catalogue.SELECT_HOLDERS_OF_PRODUCT,
        (*SCOPE, "prod_3", "sub_5", BATCH),
        {"subscription_items_of_product"},
    ),
    "holders of a price": (
        catalogue.SELECT_HOLDERS_OF_PRICE,
        (*SCOPE, "price_3", "sub_5", BATCH),
        {"prices_pkey", "prices_rank", "subscription_items_of_product", "subscription_items_of_price"},
    ),
    "holders of a coupon": (
        catalogue.SELECT_HOLDERS_OF_COUPON,
        (*SCOPE, "co_3", "cus_5", BATCH),
        {"subscriptions_coupons", "subscription_items_coupons", "customers_coupons"},
    ),
    "concerned": (
        catalogue.MARK_CONCERNED,
        ([SCOPE[0]] * BATCH, [SCOPE[1]] * BATCH, ["product"] * BATCH, ids("sub")[:BATCH]),
        {"customers_pkey", "subscriptions_pkey"},
    ),
    "overdue": (customers.MARK_OVERDUE, (BATCH,), {"customers_rederive", "customers_pkey"}),
    "renamed": (
        records.SELECT_RENAMED,
        ([uuid4()] * BATCH, [SCOPE[0]] * BATCH, [SCOPE[1]] * BATCH, ids("cus")[:BATCH]),
        {"stripe_customer_is_unique"},
    ),
    "facts: customers": (facts.SELECT_CUSTOMERS, (*SCOPE, ids("cus")), {"customers_pkey"}),
    "facts: identities": (
        facts.SELECT_IDENTITIES,
        (*SCOPE, ids("cus")),
        {"identities_account_id_live_mode_stripe_customer_id_key", "pushes_pkey"},
    ),
    "facts: identities without a Stripe customer": (
        facts.SELECT_UNLINKED_IDENTITIES,
        (*SCOPE, [UUID(int=number) for number in range(BATCH)]),
        {"identities_pkey"},
    ),
    "facts: subscriptions": (facts.SELECT_SUBSCRIPTIONS, (*SCOPE, ids("cus")), {"subscriptions_customer"}),
    "facts: items": (facts.SELECT_ITEMS, (*SCOPE, ids("sub")), {"subscription_items_pkey"}),
    "facts: invoices": (facts.SELECT_INVOICES, (*SCOPE, ids("cus")), {"invoices_customer"}),
    "facts: charges": (
        facts.SELECT_CHARGES,
        (*SCOPE, ids("cus")),
        {
            "charges_customer",
            "charges_guest",
            "checkout_sessions_customer",
            "invoices_customer",
            "payment_intents_customer",
        },
    ),
    "facts: ranks": (ranks.SELECT_RANKS, (*SCOPE, ["prod_3"], ["price_2"]), {"prices_rank"}),
    "facts: ranks of a few": (ranks.COUNT_RANKS, (*SCOPE, ["price_2"]), {"prices_rank", "prices_pkey"}),
    "facts: refunds": (facts.SELECT_REFUNDS, (*SCOPE, ids("ch")), {"refunds_charge"}),
    "facts: disputes": (facts.SELECT_DISPUTES, (*SCOPE, ids("ch")), {"disputes_charge"}),
    "facts: sessions": (facts.SELECT_SESSIONS, (*SCOPE, ids("cus")), {"checkout_sessions_customer"}),
    "facts: entitlements": (facts.SELECT_ENTITLEMENTS, (*SCOPE, ids("cus")), {"active_entitlements_pkey"}),
    "entitled to a feature": (
        catalogue.SELECT_ENTITLED_TO,
        (*SCOPE, "feat_3", "cus_5", BATCH),
        {"active_entitlements_of_feature"},
    ),
    "claim usage": (usage.CLAIM_USAGE, (False, 8, LEASE), {"usage_due", "usage_pkey"}),
    "claim usage asked for": (usage.CLAIM_ASKED_USAGE, (False, 8, LEASE), {"usage_asked", "usage_pkey"}),
    "claim pushes": (pushes.CLAIM_PUSHES, (False, [], 8, LEASE, None), {"pushes_due", "pushes_pkey"}),
    "claims of customers": (claims.SELECT_CLAIMS, (*SCOPE, ids("cus")), {"uid_claims_pkey"}),
    "first claims": (claims.SELECT_FIRST_CLAIMS, (*SCOPE, CLAIMED, 2), {"uid_claims_order"}),
    "crowded names": (claims.SELECT_CROWDED, (*SCOPE, CLAIMED), {"problems_pkey"}),
    "crowds": (claims.COUNT_CROWDS, (*SCOPE, CLAIMED, 100), {"uid_claims_order"}),
    "names taken": (names.TAKE_NAMES, (*SCOPE, CLAIMED, CLAIMED), {"custom_uid_is_unique"}),
    "names given": (names.GIVE_NAMES, (*SCOPE, CLAIMED, CLAIMED), {"stripe_customer_is_unique"}),
    "names given to customers that Stripe does not know": (
        names.GIVE_NAMES_TO_UNLINKED,
        (*SCOPE, CLAIMED, [UUID(int=number) for number in range(len(CLAIMED))]),
        {"customers_pkey"},
    ),
    "namesakes linked": (
        identities.LINK_NAMESAKES,
        (*SCOPE, [UUID(int=number) for number in range(5)], ids("cus")[:5]),
        {"identities_pkey", "stripe_customer_is_unique", "uid_claims_pkey"},
    ),
    # What services ask through the API.
    "a customer by its name": (
        full.FIND_CUSTOMER,
        (*SCOPE, "own_7", UUID(int=7)),
        {"customers_pkey", "stripe_customer_is_unique", "custom_uid_is_unique"},
    ),
    "may a customer use a product": (
        access.CHECK_PRODUCT,
        (*SCOPE, "own_7", None, "prod", None, tracking.SEEN_EVERY),
        {"custom_uid_is_unique", "customer_products_uid", "customers_pkey"},
    ),
    "who shares a record": (
        joins.SELECT_JOINS,
        (*SCOPE, ids("cus")),
        {"joined_customers_pkey", "joined_customers_main"},
    ),
    "all who share a record": (
        joins.SELECT_ALL_OF,
        (*SCOPE, "cus_7"),
        {"joined_customers_pkey", "joined_customers_main"},
    ),
    "may a customer use a feature": (
        access.CHECK_FEATURE,
        (*SCOPE, "own_7", None, "key_cus_7", "team_1", tracking.SEEN_EVERY),
        {"custom_uid_is_unique", "customer_products_uid", "customer_features_uid", "customers_pkey"},
    ),
    "count what was used": (
        tracking.TRACK,
        (*SCOPE, "own_7", None, "key", "key_cus_7", None, 1, None, None),
        {"custom_uid_is_unique", "forgotten_pkey"},
    ),
    "add up what was used": (
        tracking.ADD_USAGE,
        (BATCH, LEASE),
        {
            *("usage_events_pending", "customers_pkey", "former_uids_key"),
            *("customer_products_uid", "subscription_items_pkey", "prices_pkey"),
        },
    ),
    "what was used of features": (
        feature_usage.SELECT_FEATURE_USAGE,
        (UUID(int=7),),
        {"usage_minutes_of_entity", "usage_events_not_added", "local_entities_seats"},
    ),
    "claim meter events": (
        meter_events.CLAIM_METER_EVENTS,
        (False, BATCH, LEASE, LEASE, LEASE, LEASE, LEASE, LEASE, []),
        {"meter_events_due", "meter_events_pkey", "customers_pkey", "identities_pkey"},
    ),
    "an identity by its name": (
        identities.SELECT_NAMED_IDENTITY,
        (*SCOPE, "own_7"),
        {"identities_custom_uid"},
    ),
    "an identity by its Stripe customer": (
        identities.SELECT_LINKED_IDENTITY,
        (*SCOPE, "cus_7"),
        {"identities_account_id_live_mode_stripe_customer_id_key", "joined_customers_pkey"},
    ),
    "unsettled customers": (
        unsettled.SELECT_UNSETTLED_CUSTOMERS,
        (*SCOPE, ids("cus"), ["payment_intent"]),
        {"objects_unsettled"},
    ),
    "unsettled refunds": (
        unsettled.SELECT_UNSETTLED_OBJECTS,
        (*SCOPE, "refund", ids("re")),
        {"objects_unsettled_by_key"},
    ),
    "unsettled invoices": (
        unsettled.SELECT_UNSETTLED_INVOICES,
        (*SCOPE, ids("in")),
        {"invoice_payments_invoice", "objects_unsettled_by_key"},
    ),
    **{
        f"other rows of {part}": (records.PART_STATEMENTS[part].select_others, (DERIVED, *kept), wanted)
        for part, (kept, wanted) in OF_PARTS.items()
    },
    "old events": (
        retention.TRIM_EVENTS,
        (0, timedelta(days=40), BATCH),
        {"events_seq_key", "events_pkey", "status_changes_event", "twins_pkey", "twins_by_twin"},
    ),
    "last changes of status": (
        history.SELECT_LAST_CHANGES,
        ([UUID(int=number) for number in range(BATCH)],),
        {"status_changes_customer"},
    ),
    "histories of MRR": (
        history.SELECT_CHAINS,
        ([UUID(int=number) for number in range(BATCH)],),
        {"mrr_changes_customer"},
    ),
    "how fresh": ("select * from billing.freshness", (), {"events_pending", "customers_stale"}),
    # What operators ask, by an id alone: in every account and mode.
    "an event by its id": (inbox_admin.SELECT_EVENTS_BY_ID, ("evt_7",), {"events_pkey"}),
    "a page of events": (
        inbox_admin.SELECT_EVENTS,
        (None, 9_000, 5 * BATCH, "customer.*", None, "evt", BATCH),
        {"events_seq_key"},
    ),
    "a page of parked events": (
        inbox_admin.SELECT_EVENTS,
        ("parked", None, 5 * BATCH, None, None, None, BATCH),
        {"events_given_up"},
    ),
    "the end of a page of events": (
        inbox_admin.SELECT_LAST_LOOKED_AT,
        ("pending", 9_000, BATCH),
        {"events_pending"},
    ),
    "parked events by type": (inbox_admin.COUNT_TYPES, ("parked", 5 * BATCH), {"events_given_up"}),
    "events replayed": (inbox_admin.REPLAY_EVENTS, (ids("evt"),), {"events_pkey"}),
    "objects by their ids": (inbox_admin.SELECT_OBJECTS_BY_ID, (ids("sub"),), {"objects_pkey"}),
    "marks by their ids": (inbox_admin.SELECT_MARKS_BY_ID, (ids("cus"),), {"customers_pkey"}),
    "customers by a name": (
        customer.FIND_CUSTOMERS,
        ("own_7", None, None, None, 10),
        {"stripe_customer_is_unique", "custom_uid_is_unique", "customers_email"},
    ),
    **{question: (statement, (), wanted) for question, (statement, wanted) in ASKED.items()},
}
"""Each statement with parameters of the size that it is run with, and indexes that must serve it."""

BY_INDEX: dict[str, tuple[str, tuple[object, ...], set[str]]] = {
    "backlog": (
        status.SELECT_BACKLOG,
        (False, ["payment_intent"], status.COUNTED_MAX),
        {
            *("events_pending", "events_given_up", "objects_unresolved", "objects_unsettled"),
            *("customers_stale", "customers_history", "customers_parked"),
        },
    ),
}
"""Counts of what is to be done. They run with sequential scans turned off, whatever the planner expects to find."""


QUIET = """
update sync.objects set dirty = 1 where unsettled;
analyze sync.objects
"""
UNSETTLED = ("unsettled refunds", "unsettled invoices", "awaited objects")
"""Statements that look up objects by key. If nothing was unsettled when the planner last looked, it takes going through
all that is for cheap, and that is not so when much is."""


KEPT_BY = {
    "facts: ranks": {"prices_product"},  # as many prices, and then a sort
    "namesakes linked": {"uid_claims_pkey"},
    "unsettled refunds": {"objects_pkey"},
}
"""Statements whose kept plans go by other indexes, which serve as well."""
NEVER_KEPT = {"old events"}
"""Without its limit a statement looks dearer than with it, so Postgres never keeps its plan."""

PAGE = (UUID(int=0), pages.WALKED_MAX, *SCOPE, "active", None, None, None, None, BATCH)
PAGES = {"a page by uid": pages.PAGE_BY_UID, "a page of changes": pages.PAGE_BY_CHANGE}


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


@pytest.fixture
def oldest() -> Iterator[str]:
    """The URL of a migrated database on the oldest Postgres that is installed with ours."""
    with (
        throwaway_home() as home,
        start_postgres(home, durable=False, major=min(INSTALLED)) as server,
    ):
        migrate(server.url)
        yield server.url


async def wrong_plans(connection: Connection) -> list[str]:
    """What the statements do that they should not, with two accounts in the database."""
    await fill(connection)
    found = [each for name in HOT | BY_INDEX for each in await wrong_plan(connection, name)]
    found += [each for name in PAGES for each in await long_walk(connection, name)]
    await connection.execute(QUIET)
    return found + [
        f"in a quiet hour {each}" for name in UNSETTLED for each in await wrong_plan(connection, name)
    ]


async def wrong_kept_plans(connection: Connection) -> list[str]:
    """The same of plans that are made without the parameters, as they may be kept once the tables are large."""
    await connection.execute("set plan_cache_mode = force_generic_plan")
    kept = HOT.keys() - NEVER_KEPT
    return [f"kept, {each}" for name in kept for each in await wrong_plan(connection, name, kept=True)]


async def long_walk(connection: Connection, name: str) -> list[str]:
    """Whether a page that finds enough goes on after its last customer. Half of the customers are another account's."""
    after = PAGE[0] if "uid" in name else 0
    explained = await connection.fetchval(f"explain (analyze, format json) {PAGES[name]}", after, *PAGE[1:])
    rows = sum(
        node["Actual Rows"] * node["Actual Loops"]
        for node in nodes(json.loads(explained)[0]["Plan"])
        if node.get("Relation Name") == "customers"
    )
    return [f"{name} reads {rows:.0f} customers for {BATCH}"] if rows > CUSTOMERS + 2 * BATCH else []


async def wrong_plan(connection: Connection, name: str, *, kept: bool = False) -> list[str]:
    """What one statement does that it should not; `kept`: by the plan that is made without its parameters."""
    wrong = []
    statement, parameters, wanted = (HOT | BY_INDEX)[name]
    async with connection.transaction():
        if name in BY_INDEX:
            await connection.execute(status.BY_INDEX)
        if kept:
            await connection.execute(f"prepare kept as {statement}")
            nulls = f"({', '.join(['null'] * len(parameters))})" if parameters else ""
            explained = await connection.fetchval(f"explain (format json) execute kept{nulls}")
            await connection.execute("deallocate kept")
        else:
            explained = await connection.fetchval(f"explain (format json) {statement}", *parameters)
    if kept:
        wanted = KEPT_BY.get(name, wanted)
    plan = list(nodes(json.loads(explained)[0]["Plan"]))
    first = [inner for node in plan if node["Node Type"] == "Limit" for inner in node["Plans"]]
    whole = {
        f"{node['Relation Name']} ({node['Plan Rows']} rows)"
        for node in plan
        if node.get("Relation Name", "prices") not in SMALL
        and (node["Node Type"] == "Seq Scan" or (name not in BY_INDEX and node["Plan Rows"] > MANY))
        and node.get("Index Name") not in WAITING | IN_ORDER
        # All that such an index holds, sorted: where there are fewer than the limit.
        and not {inner.get("Index Name") for inner in node.get("Plans", ())} & WAITING
        # The first row in the order of an index.
        and not ("Index" in node["Node Type"] and "Filter" not in node and node in first)
    }
    whole |= {
        f"{table}, sorted"
        for node in plan
        if "Sort" in node["Node Type"]
        for table in {inner.get("Index Name") for inner in nodes(node)} & IN_ORDER
    }
    used = {node["Index Name"] for node in plan if "Index Name" in node}
    if whole:
        wrong.append(f"{name} reads a great part of {sorted(whole)}")
    if wanted - used:
        wrong.append(f"{name} goes by {sorted(used)}, not by {sorted(wanted - used)}")
    return wrong


async def test_hot_statements_use_their_indexes(servers: Services, template: str) -> None:
    """No statement of the daily work reads a large table from end to end; each uses the indexes meant for it.

    In a new database: what other tests have left in indexes costs something, too.
    """
    async with database_copy(servers, template, "plans") as url:
        connection = await connect(url, application_name="test")
        try:
            wrong = await wrong_plans(connection)
        finally:
            await connection.close()
    assert not wrong, "\n".join(wrong)


async def test_hot_statements_use_their_indexes_on_an_older_postgres(oldest: str) -> None:
    """Nor before Postgres 18, where an index is of use only if the plan binds its leading columns."""
    connection = await connect(oldest, application_name="subledger-test")
    try:
        wrong = await wrong_plans(connection)
    finally:
        await connection.close()
    assert not wrong, "\n".join(wrong)


KEPT = {
    "check product": (access.CHECK_PRODUCT, "'', false, 'a', null, 'b', null, interval '1 hour'"),
    "check feature": (access.CHECK_FEATURE, "'', false, 'a', null, 'b', null, interval '1 hour'"),
    "track": (tracking.TRACK, "'', false, 'a', null, 'k', 'b', null, 1, null, null"),
    "a record": (full.FIND_CUSTOMER, "'', false, 'a', null"),
    "its pushes": (pushes.SELECT_PUSHES, "array[''], array[false], array['a']"),
    "its merge": (merges.LEADS_TO, "'', false, gen_random_uuid()"),
}
"""What is planned once for each connection, and parameters of it."""


async def test_kept_plans_scan_nothing(database_url: str) -> None:
    """A plan that was made while the tables were empty reads large ones by their indexes, too."""
    pool = await create_pool(
        database_url, min_size=1, max_size=1, application_name="subledger-test", keeps_plans=True
    )
    try:
        for name, (statement, parameters) in KEPT.items():
            async with pool.acquire() as connection:
                await connection.execute(f"prepare kept as {statement}")
                plan = await connection.fetchval(f"explain (format json) execute kept({parameters})")
                await connection.execute("deallocate kept")
            scanned = [
                node["Relation Name"]
                for node in nodes(json.loads(plan)[0]["Plan"])
                if node["Node Type"] == "Seq Scan"
            ]
            assert not scanned, f"{name} reads all of {scanned}"
    finally:
        await pool.close()
