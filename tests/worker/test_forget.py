"""Forgetting a customer: who it was is gone from every table, its money stays, and nothing brings it back."""

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from billing.kinds.registry import KINDS
from billing.record import Policy
from db.connection import connect
from db.forgotten import NEWEST_WRITER
from db.keys import CustomerKey, Scope
from db.records.full import find_customer
from db.records.tracking import UsageEvent, track
from db.sync.accounts import raise_alarm
from db.sync.rebuilds import claim_one
from tests import faults
from tests.harness import (
    NOON,
    Body,
    Harness,
    charge,
    customer,
    event,
    item,
    listing,
    refund,
    subscription,
)
from tests.system import until
from tests.worker.live.test_rederive import every_row
from webhooks.api.naming import identity_of
from webhooks.api.problems import Problem
from worker.forget import Forgotten, forget
from worker.live.derive import derive_claimed
from worker.rebuild import rebuild

SECRET = "annabelle-of-the-mill"
"""It is in everything that says who the customer was; afterwards it must be nowhere."""

ANNA = customer(
    name=SECRET,
    email=f"{SECRET}@example.com",
    description=SECRET,
    phone=SECRET,
    metadata={"custom_uid": SECRET, "entity": SECRET},
)
SUBSCRIPTION = subscription(
    metadata={"external_id": SECRET, "entity_id": SECRET},
    description=SECRET,
    items=listing([item("si_1") | {"metadata": {"note": SECRET}}]),
)
CHARGE = charge(description=SECRET, metadata={"note": SECRET}, billing_details={"name": SECRET})
REFUND = refund(instructions_email=SECRET)
DISPUTE: Body = {
    "object": "dispute",
    "id": "dp_1",
    "charge": "ch_1",
    "created": NOON,
    "status": "needs_response",
    "amount": 300,
    "currency": "usd",
    "balance_transactions": [
        {"object": "balance_transaction", "id": "txn_1", "amount": -300, "currency": "usd"}
    ],
    "evidence": {"customer_name": SECRET},
}
INVOICE: Body = {
    "object": "invoice",
    "id": "in_1",
    "customer": "cus_1",
    "customer_email": SECRET,
    "created": NOON,
    "status": "paid",
    "total": 2000,
    "amount_due": 2000,
    "amount_paid": 2000,
    "currency": "usd",
    "metadata": {"note": SECRET},
    "livemode": False,
}
SESSION: Body = {
    "object": "checkout.session",
    "id": "cs_1",
    "customer": "cus_1",
    "created": NOON,
    "status": "complete",
    "client_reference_id": SECRET,
    "customer_details": {"email": SECRET},
    "metadata": {"note": SECRET},
    "livemode": False,
}
INVOICE_PAYMENT: Body = {
    "object": "invoice_payment",
    "id": "inpay_1",
    "invoice": "in_1",
    "created": NOON,
    "status": "paid",
    "amount_paid": 2000,
    "currency": "usd",
    "payment": {"type": "payment_intent", "payment_intent": "pi_1"},
    "note": SECRET,
}
SUMMARY: Body = {
    "object": "entitlements.active_entitlement_summary",
    "customer": "cus_1",
    "entitlements": listing(
        [
            {
                "object": "entitlements.active_entitlement",
                "id": "ent_1",
                "feature": "feat_1",
                "lookup_key": SECRET,
            }
        ]
    ),
    "livemode": False,
}


def of_anna(stripe_object: str, object_id: str, **fields: object) -> Body:
    """Something of hers, with her name wherever Stripe lets it be written."""
    return {
        "object": stripe_object,
        "id": object_id,
        "customer": "cus_1",
        "created": NOON,
        "livemode": False,
        "description": SECRET,
        "metadata": {"note": SECRET},
    } | fields


FURTHER = (
    event(
        "subscription_schedule.created",
        of_anna("subscription_schedule", "sub_sched_1", status="active", subscription="sub_1", phases=[]),
    ),
    event(
        "credit_note.created", of_anna("credit_note", "cn_1", status="issued", invoice="in_1", memo=SECRET)
    ),
    event("payment_intent.succeeded", of_anna("payment_intent", "pi_1", receipt_email=SECRET)),
    event(
        "payment_method.attached",
        of_anna(
            "payment_method",
            "pm_1",
            billing_details={"name": SECRET, "email": SECRET},
            card={"last4": SECRET},
        ),
    ),
    event("setup_intent.succeeded", of_anna("setup_intent", "seti_1")),
    event("customer.tax_id.created", of_anna("tax_id", "txi_1", value=SECRET)),
    event("review.opened", of_anna("review", "prv_1", customer=None, charge="ch_1", billing_zip=SECRET)),
    event(
        "radar.early_fraud_warning.created",
        of_anna("radar.early_fraud_warning", "issfr_1", customer=None, payment_intent="pi_1"),
    ),
)
HISTORY = (
    event("customer.created", ANNA),
    event("customer.subscription.created", SUBSCRIPTION),
    event("charge.succeeded", CHARGE),
    event("charge.refunded", REFUND),
    event("charge.dispute.created", DISPUTE),
    event("invoice.paid", INVOICE),
    event("invoice_payment.paid", INVOICE_PAYMENT),
    event("checkout.session.completed", SESSION),
    event("entitlements.active_entitlement_summary.updated", SUMMARY),
    *FURTHER,
    # Not mirrored, but stored as it came.
    event("customer.source.created", {"object": "card", "id": "card_1", "customer": "cus_1", "name": SECRET}),
)
OTHER = (
    event(
        "customer.created", customer("cus_2", name="Bert", email="bert@example.com", metadata={"by": "cus_1"})
    ),
    event("charge.succeeded", charge("ch_2", "cus_2")),
)


async def mentions(harness: Harness, text: str) -> list[str]:
    """Every table that has a row which says this text, in whatever column, payloads of the inbox included."""
    tables = await harness.fetch(
        "select c.oid::regclass::text from pg_class c where c.relkind = 'r' "
        "and c.relnamespace in ('sync'::regnamespace, 'stripe'::regnamespace, 'billing'::regnamespace)"
    )
    found = []
    for (table,) in tables:
        shown = "t.payload" if table == "sync.events" else "''::bytea"
        if await harness.fetchval(
            f"select count(*) from {table} t where position($1::text in t::text) > 0 "
            f"or position(convert_to($1::text, 'UTF8') in {shown}) > 0",
            text,
        ):
            found.append(table)
    return sorted(found)


async def forget_customer(harness: Harness, customer_id: str = "cus_1") -> Forgotten:
    connection = await connect(harness.settings.database_url, application_name="forget")
    try:
        key = CustomerKey("", False, customer_id)
        done = await forget(connection, key)
        await derive_claimed(connection, await claim_one(connection, key), policy=Policy())
        return done
    finally:
        await connection.close()


async def money(harness: Harness) -> list[asyncpg.Record]:
    return await harness.fetch(
        "select currency, gross, refunded, disputed, out_of_band, net from billing.customer_revenue "
        "where stripe_customer_id = 'cus_1'"
    )


async def test_who_it_was_is_gone_and_its_money_stays(webhooks_only: Harness) -> None:
    """No table says the name any more: mirror, record, identity, problems, inbox. Revenue, ids and times stay, the
    record has an id that says nothing, and no other customer's data is touched.
    """
    harness = webhooks_only
    await harness.execute(
        "insert into billing.identities (uid, live_mode, stripe_customer_id, fingerprint, metadata) "
        "values (gen_random_uuid(), false, 'cus_1', $1, jsonb_build_object('note', $1::text))",
        SECRET,
    )
    await harness.apply(*HISTORY, *OTHER)
    await harness.execute(
        "with scan as (insert into sync.scans (purpose, live_mode, account_id, kinds, whole) "
        "values ('audit', false, '', '{customer}', false) returning id) "
        "insert into sync.drift (scan_id, kind, id, what, said) "
        "select id, 'customer', 'cus_1', 'differs', json_build_object('name', $1::text) from scan",
        SECRET,
    )
    await harness.execute(
        "insert into billing.merges (merged_uid, into_uid, account_id, live_mode, merged_custom_uid) "
        "select gen_random_uuid(), uid, account_id, live_mode, $1 from billing.customers "
        "where stripe_customer_id = 'cus_1'",
        SECRET,
    )
    before, paid = await harness.record(), await money(harness)
    # A payout belongs to no customer, and no event carries a balance transaction.
    mirrored = {kind.table for kind in KINDS.values() if not kind.catalogue}
    mirrored -= {"stripe.payouts", "stripe.balance_transactions"}
    assert {
        *mirrored,
        "sync.events",
        "billing.customers",
        "billing.customer_products",
        "billing.identities",
        "billing.merges",
    } <= {*await mentions(harness, SECRET)}, "the story has nothing to hide"
    other = await harness.record("cus_2")

    done = await forget_customer(harness)

    assert [] == await mentions(harness, SECRET)
    assert (len(HISTORY), 17) == (done.events, done.objects)
    assert paid == await money(harness) != []
    after = await harness.record()
    assert ("ended", False, before["lifetime_revenue"], before["first_seen"]) == (
        after["status"],
        after["has_access"],
        after["lifetime_revenue"],
        before["first_seen"],
    )
    assert before["uid"] != after["uid"]
    assert after["deleted_at"] is not None
    assert after["change"] > before["change"]
    changes = await harness.fetch(
        "select status_before, status_after from billing.status_changes where customer_uid = $1 order by id",
        after["uid"],
    )
    # That it was active had not been confirmed by anybody, and never will be.
    assert [(None, "ended")] == [tuple(row) for row in changes]
    assert other == await harness.record("cus_2")
    assert 2 == await harness.fetchval("select count(*) from sync.events where state = 'applied'")
    assert ["billing.customers", "stripe.customers", "sync.events"] == await mentions(harness, "Bert")


async def test_alarms_about_its_objects_end(webhooks_only: Harness) -> None:
    """What Stripe refused to tell of a forgotten customer's objects, or of parts of them, nobody asks for any more: no
    read would take these alarms back. Those about others stay.
    """
    harness = webhooks_only
    await harness.apply(*HISTORY, *OTHER)
    async with harness.pool.acquire() as connection:
        for name in ("read of charge ch_1", "parts of invoice in_1", "parts of charge ch_2"):
            await raise_alarm(connection, f"{name} refused", "Stripe refuses it", remedy="look there")
    await forget_customer(harness)
    assert ["parts of charge ch_2 refused"] == [
        row[0] for row in await harness.fetch("select name from sync.alarms")
    ]


@pytest.mark.parametrize("again", [False, True], ids=["new", "redelivered"])
async def test_no_later_event_brings_it_back(webhooks_only: Harness, again: bool) -> None:
    """Whatever Stripe says afterwards, of objects known and new, is not stored, and its bytes do not stay either;
    events of others in the same batch are applied.
    """
    harness = webhooks_only
    await harness.apply(*HISTORY)
    await forget_customer(harness)
    rows = await every_row(harness)
    late: tuple[bytes, ...] = (
        event("customer.updated", ANNA, after=9),
        event("customer.subscription.updated", SUBSCRIPTION | {"status": "past_due"}, after=9),
        event("charge.succeeded", charge("ch_9", description=SECRET), after=9),
        event("charge.refunded", refund("re_9", "ch_1", instructions_email=SECRET), after=9),
        event("charge.refunded", refund("re_10", "ch_9", instructions_email=SECRET), after=10),
        event("payment_method.attached", {"object": "payment_method", "id": "pm_9", "customer": "cus_1",
                                          "billing_details": {"name": SECRET}}, after=9),
        event("customer.deleted", ANNA, after=11),
    )  # fmt: skip
    late = HISTORY if again else late
    for each in late:
        await harness.apply(each)
    await harness.apply(*late, *OTHER)
    assert [] == await mentions(harness, SECRET)
    assert "Bert" == (await harness.record("cus_2"))["name"]
    mine = await every_row(harness)
    assert rows["customers"] == [row for row in mine["customers"] if row["stripe_customer_id"] == "cus_1"]
    assert 0 == await harness.fetchval("select count(*) from sync.customers where stale > derived")
    assert 0 == await harness.fetchval(
        "select count(*) from sync.events where state in ('pending', 'parked')"
    )


async def test_no_read_brings_it_back(harness: Harness) -> None:
    """An answer of Stripe about an object of which nothing was known, or about one inside another, is not stored."""
    harness.api.put(ANNA, SUBSCRIPTION, CHARGE, REFUND, DISPUTE, INVOICE)
    await harness.apply(*HISTORY[:5])
    await harness.settle()
    await forget_customer(harness)
    new = charge(
        "ch_9", description=SECRET, refunds=listing([refund("re_9", "ch_9", instructions_email=SECRET)])
    )
    harness.api.put(new)
    thin = event("charge.succeeded", {}) .replace(b'"data": {"object": {}}', b'"related_object": {"type": "charge", "id": "ch_9"}')  # fmt: skip  # noqa: E501
    await harness.apply(thin)
    assert ["sync.objects"] == [each for each in await mentions(harness, "ch_9") if each != "sync.events"]
    await harness.settle()
    assert "/v1/charges/ch_9" in harness.api.asked
    assert [] == await mentions(harness, SECRET)
    assert 1 == await harness.fetchval("select count(*) from stripe.charges")
    assert (await harness.object("refund", "re_9"))["tombstone"]


async def test_whoever_was_writing_is_waited_for(webhooks_only: Harness) -> None:
    """A transaction that was writing already, and did not know, commits first; what it wrote is erased as well."""
    harness = webhooks_only
    await harness.apply(*HISTORY[:1])
    async with harness.pool.acquire() as writer:
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute(
            "insert into stripe.charges (account_id, live_mode, id, customer_id, description) "
            "values ('', false, 'ch_1', 'cus_1', $1)",
            SECRET,
        )
        erasing = asyncio.create_task(forget_customer(harness))

        async def registered() -> Any:
            return await harness.fetchval("select count(*) from sync.forgotten")

        await until(registered, what="the customer's name on the list")
        done, _ = await asyncio.wait([erasing], timeout=0.3)
        assert not done, "it did not wait"
        await transaction.commit()
    await asyncio.wait_for(erasing, 60)
    assert [] == await mentions(harness, SECRET)
    assert 1 == await harness.fetchval("select count(*) from stripe.charges")


USED = UsageEvent(idempotency_key="k", feature_id="calls", entity_id=SECRET, value=1, used_at=None)
TRACKING_WAITED_FOR = """
select exists (
  select from pg_locks where relation = 'billing.usage_events'::regclass and not granted
    and database = (select oid from pg_database where datname = current_database())
)
"""


async def test_whoever_begins_meanwhile_leaves_nothing(webhooks_only: Harness) -> None:
    """What is tracked by a call that saw no registration, and committed after the erasure would have been, is erased;
    whoever has looked the customer up before the erasure, and writes after it, writes nothing.
    """
    harness, scope = webhooks_only, Scope("", False)
    await harness.apply(*HISTORY[:1])
    async with harness.pool.acquire() as writer:
        transaction = writer.transaction(isolation="repeatable_read")
        record = await find_customer(writer, scope, "cus_1")
        assert record is not None
        await transaction.start()
        await writer.fetchval("select count(*) from sync.forgotten")  # what it sees from now on

        async def use(_: faults.Call) -> None:
            async with harness.pool.acquire() as later:
                assert None is await track(later, scope, "cus_1", USED)
            assert await track(writer, scope, "cus_1", USED)

        with faults.after(NEWEST_WRITER, use, times=1):
            erasing = asyncio.create_task(forget_customer(harness))

            async def waits() -> bool:
                return erasing.done() or bool(await harness.fetchval(TRACKING_WAITED_FOR))

            await until(waits, what="the erasure waits, or is done")
        await transaction.commit()
        await erasing
        assert [] == await mentions(harness, SECRET)
        assert None is await track(writer, scope, "anna", USED, known_uid=uuid4())
        async with writer.transaction():
            with pytest.raises(Problem, match="forgotten"):
                await identity_of(writer, scope, record)
    assert not await harness.fetchval("select count(*) from billing.identities")


async def test_cut_short_it_is_done_again(webhooks_only: Harness) -> None:
    """Forgetting twice changes nothing more, and a rebuild neither; sync.forgotten says when it was done."""
    harness = webhooks_only
    await harness.apply(*HISTORY)
    await harness.execute(
        "insert into sync.forgotten (account_id, live_mode, customer_id) values ('', false, 'cus_1')"
    )
    await forget_customer(harness)
    first = await every_row(harness)
    again = await forget_customer(harness)
    assert 0 == again.events
    second = await every_row(harness)
    # Asked again, the record is emptied again: a change, though of nothing.
    moved = ("change", "updated_at")
    assert [{k: v for k, v in row.items() if k not in moved} for row in first["customers"]] == [
        {k: v for k, v in row.items() if k not in moved} for row in second["customers"]
    ]
    assert first["status_changes"] == second["status_changes"]
    connection = await connect(harness.settings.database_url, application_name="rebuild")
    try:
        assert 0 == (await rebuild(connection, policy=Policy())).changed
    finally:
        await connection.close()
    assert second == await every_row(harness)
    assert await harness.fetchval("select erased_at is not null from sync.forgotten")


async def test_every_table_with_a_uid_follows(webhooks_only: Harness) -> None:
    """A table of records that names the customer by uid must be known to the code that moves that uid."""
    rows = await webhooks_only.fetch(
        "select table_name::text from information_schema.columns c join information_schema.tables t "
        "using (table_schema, table_name) where table_schema = 'billing' and column_name = 'customer_uid' "
        "and table_type = 'BASE TABLE'"
    )
    moved = {"customer_products", "customer_revenue", "customer_mrr", "mrr_changes", "status_changes"}
    moved |= {"joined_customers"}
    erased = {"customer_features", "customer_usage", "subscription_entities", "local_entities"}
    erased |= {"usage_events", "usage_minutes"}
    assert moved | erased == {row[0] for row in rows}
