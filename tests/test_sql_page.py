"""docs/sql.md: its queries run as a reader may run them, and readers see and write no more than they may."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest

from db.connection import Pool
from db.migrate import migrate
from local.clean import throwaway_home
from local.postgres import start_postgres
from sandbox import STORIES, Sandbox, create_api
from tests.harness import API_KEY, Api, Harness, customer, event, open_harness

PAGE = (Path(__file__).parents[1] / "docs/sql.md").read_text()
README = (Path(__file__).parents[1] / "README.md").read_text()
RECORD_PAGE = (Path(__file__).parents[1] / "docs/record.md").read_text()
QUERIES = {
    heading: re.findall(r"```sql\n(.*?)```", body, re.DOTALL)
    for heading, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
}


@pytest.fixture
async def reader_url(pool: Pool, database_url: str) -> AsyncIterator[str]:
    """The URL of a user that is a member of billing_reader and of nothing else."""
    async for url in _login(pool, database_url, "billing_reader"):
        yield url


@pytest.fixture
async def raw_reader_url(pool: Pool, database_url: str) -> AsyncIterator[str]:
    """The same of billing_raw."""
    async for url in _login(pool, database_url, "billing_raw"):
        yield url


async def _login(pool: Pool, database_url: str, role: str) -> AsyncIterator[str]:
    name, password = f"reader_{uuid4().hex}", uuid4().hex
    async with pool.acquire() as connection:
        await connection.execute(f"create role {name} login password '{password}' in role {role}")
    url = urlsplit(database_url)
    place = url.netloc.rpartition("@")[2]
    yield urlunsplit(url._replace(netloc=f"{name}:{password}@{place}"))
    async with pool.acquire() as connection:
        await connection.execute(f"drop role {name}")


async def test_every_query_of_the_page_answers_a_reader(
    pool: Pool, database_url: str, reader_url: str
) -> None:
    """Each query runs as billing_reader, and on an account that lived every story it has something to say. There the
    months of each currency sum up to the customers' revenue, too: every column, by two ways that share no code.
    """
    sandbox = Sandbox(seed=5)
    sandbox.play(sorted(STORIES))
    async with open_harness(pool, database_url, api=Api(create_api(sandbox, [API_KEY]))) as harness:
        await harness.apply(*sandbox.run())
        await harness.settle()
        await _months_add_up_to_what_customers_paid(harness)
    connection = await asyncpg.connect(reader_url)
    try:
        answers = {
            heading: [await connection.fetch(query) for query in queries]
            for heading, queries in QUERIES.items()
        }
        assert len(answers) >= 8
        shown = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
        assert len(shown) >= 3
        assert not [query for query in shown if not await connection.fetch(query)]
        truth = {
            key.id: known
            for key, known in sandbox.truth().items()
            if not known.live_mode and not known.account_id
        }
        (active,) = answers["Active customers"]
        assert len([each for each in truth.values() if each.has_access]) == len(active) > 0
        by_month, by_customer = answers["Revenue by month and currency"]
        assert {"usd"} < {row["currency"] for row in by_month}
        assert sorted((row.currency, row.net) for each in truth.values() for row in each.revenue) == sorted(
            (row["currency"], row["net"]) for row in by_customer
        )
        (recurring,) = answers["Monthly recurring revenue"]
        coming_in: dict[str, int] = defaultdict(int)
        for each in truth.values():
            for part in each.mrr:
                coming_in[part.currency] += part.mrr
        assert len(coming_in) > 1
        assert coming_in == {row["currency"]: row["mrr"] for row in recurring if row["mrr"]}
        assert {0} == {row["unknown"] for row in recurring}
        (each_pays,) = answers["Average revenue per customer"]
        assert {currency: mrr for currency, mrr in coming_in.items() if mrr} == {
            row["currency"]: row["mrr"] for row in each_pays
        }
        assert all(row["arpu"] == round(row["mrr"] / row["customers"], 2) for row in each_pays)
        (trials,) = answers["Trial conversion"]
        assert sum(row["trials"] for row in trials) >= sum(row["converted"] for row in trials) > 0
        (query,) = QUERIES["One customer, by your own id"]
        named = [known for known in truth.values() if known.custom_uid and known.status]
        for known in named[:3]:
            (row,) = await connection.fetch(query.replace("user_123", known.custom_uid or ""))
            assert (known.status, known.has_access) == (row["status"], row["has_access"])
        moved, _ = answers["MRR movements by month"]
        at_the_end = {row["currency"]: row["mrr_at_end"] for row in moved}  # the last month of each stands
        assert coming_in == {currency: mrr for currency, mrr in at_the_end.items() if mrr}
        assert all(any(row[name] for row in moved) for name in ("new", "expansion", "contraction", "churn"))
        changed, (epoch,) = answers["What changed since I last looked"]
        assert {epoch["epoch"]} == {row["epoch"] for row in changed}
        assert [row["change"] for row in changed] == sorted(row["change"] for row in changed)
        (fresh,), _ = answers["How fresh is this?"]
        # The events were applied by an engine of this test, and no worker is alive.
        assert (0, True, "no worker is alive") == (fresh["pending"], fresh["behind"], fresh["behind_because"])
        _, certain = QUERIES["How fresh is this?"]
        (row,) = await connection.fetch(certain.replace("cus_1", min(truth)))
        assert (False, "no worker is alive") == (row["certain"], row["behind_because"])

        (query,) = QUERIES["A customer's full object as one JSON"]
        for customer_id, known in truth.items():
            (row,) = await connection.fetch(query.replace("cus_1", customer_id))
            document = json.loads(row["customer"])
            assert (customer_id, known.status, len(known.products)) == (
                document["stripe_customer_id"],
                document["status"],
                len(document["products"]),
            )
            assert {each.currency: each.net for each in known.revenue} == {
                currency: each["net"] for currency, each in document["revenue"].items()
            }
            assert {each.currency: each.mrr for each in known.mrr} == {
                currency: mrr for currency, mrr in document["mrr"].items() if mrr
            }
            assert [each.id for each in known.entities] == [each["id"] for each in document["entities"]]
            assert list(known.features) == sorted(document["features"])
    finally:
        await connection.close()


async def _months_add_up_to_what_customers_paid(harness: Harness) -> None:
    sums = "sum(gross), sum(refunded), sum(disputed), sum(out_of_band), sum(net)"
    by_month, by_customer = [
        await harness.fetch(
            f"select account_id, live_mode, currency, {sums} from billing.{table} group by 1, 2, 3 order by 1, 2, 3"
        )
        for table in ("monthly_revenue", "customer_revenue")
    ]
    assert by_customer == by_month
    totals = [sum(row[place] for row in by_customer) for place in (3, 4, 5, 6)]
    assert all(totals), "the stories have no refund, dispute or payment outside Stripe"
    months = await harness.fetchval("select count(distinct month) from billing.monthly_revenue")
    assert months > 1


async def test_trials_and_debts_are_found(pool: Pool, reader_url: str) -> None:
    """A trial that ends in three days, and 12.50 USD that are owed, each in its query; others in neither. Who has an
    active subscription may owe for another one. Of four trials that are over one was paid for.
    """
    async with pool.acquire() as connection:
        await connection.execute("""
            insert into billing.customers (uid, stripe_customer_id, account_id, live_mode, status, is_trial, trial_end,
              stripe_subscription_id, stripe_product_id, change)
            select gen_random_uuid(), 'cus_' || n, '', false, status, is_trial, now() + trial_left, 'sub_' || n,
              'prod_1', n
            from (values
              (1, 'trialing', true, interval '3 days'), (2, 'canceled', true, interval '6 days'),
              (3, 'trialing', true, interval '9 days'), (4, 'past_due', false, null), (5, 'active', false, null),
              (6, 'active', false, null)
            ) as of (n, status, is_trial, trial_left)
        """)
        await connection.execute("""
            insert into billing.customer_products (id, customer_uid, account_id, live_mode, stripe_customer_id,
              stripe_subscription_id, stripe_product_id, product_id, status, has_access, canceled, collection_method,
              subscription_ids)
            select gen_random_uuid(), uid, account_id, live_mode, stripe_customer_id, stripe_subscription_id,
              stripe_product_id, 'pro', status, true, false, 'charge_automatically', array[stripe_subscription_id]
            from billing.customers
            union all
            select gen_random_uuid(), uid, account_id, live_mode, stripe_customer_id, 'sub_of_another_product',
              'prod_2', 'more', 'past_due', true, false, 'charge_automatically', array['sub_of_another_product']
            from billing.customers where stripe_customer_id = 'cus_6'
        """)
        await connection.execute("""
            insert into stripe.invoices (account_id, live_mode, id, created, customer_id, status, currency,
              amount_remaining)
            values ('', false, 'in_1', now(), 'cus_4', 'open', 'usd', 1000),
              ('', false, 'in_2', now(), 'cus_4', 'open', 'usd', 250),
              ('', false, 'in_3', now(), 'cus_4', 'paid', 'usd', 0),
              ('', false, 'in_4', now(), 'cus_5', 'open', 'usd', 99),
              ('', false, 'in_5', now(), 'cus_6', 'open', 'usd', 700)
        """)
        await connection.execute("""
            insert into stripe.subscriptions (account_id, live_mode, id, customer_id, trial_end)
            values ('', false, 'sub_paid', 'cus_5', '2026-02-10Z'), ('', false, 'sub_left', 'cus_5', '2026-02-11Z'),
              ('', false, 'sub_owes', 'cus_5', '2026-02-12Z'), ('', false, 'sub_free', 'cus_5', '2026-02-13Z'),
              ('', false, 'sub_on_trial', 'cus_5', now() + interval '3 days'), ('', false, 'sub_none', 'cus_5', null)
        """)
        await connection.execute("""
            insert into stripe.invoices (account_id, live_mode, id, created, customer_id, subscription_id, status,
              currency, amount_paid)
            values ('', false, 'in_6', '2026-02-10Z', 'cus_5', 'sub_paid', 'paid', 'usd', 900),
              ('', false, 'in_7', '2026-01-31Z', 'cus_5', 'sub_left', 'paid', 'usd', 900),
              ('', false, 'in_8', '2026-02-12Z', 'cus_5', 'sub_owes', 'open', 'usd', 0),
              ('', false, 'in_9', '2026-02-13Z', 'cus_5', 'sub_free', 'paid', 'usd', 0),
              ('', false, 'in_0', '2026-01-31Z', 'cus_5', 'sub_on_trial', 'paid', 'usd', 0)
        """)
        uids = {
            row["stripe_customer_id"]: row["uid"]
            for row in await connection.fetch("select stripe_customer_id, uid from billing.customers")
        }
    reader = await asyncpg.connect(reader_url)
    try:
        trials = await reader.fetch(QUERIES["Trials ending within a week"][0])
        assert [(uids["cus_1"], True), (uids["cus_2"], False)] == [
            (row["uid"], row["goes_on"]) for row in trials
        ]
        over, running = await reader.fetch(QUERIES["Trial conversion"][0])
        assert (4, 1, 0, 25) == tuple(over)[1:]
        assert (1, 0, 1, None) == tuple(running)[1:]
        debts = await reader.fetch(QUERIES["Past due, with amounts"][0])
        assert [(uids["cus_4"], "usd", 1250, 2, "past_due"), (uids["cus_6"], "usd", 700, 1, "active")] == [
            (row["uid"], row["currency"], row["owed"], row["invoices"], row["status"]) for row in debts
        ]
    finally:
        await reader.close()


async def test_churn_is_counted_by_who_was_there_when_the_month_began(pool: Pool, reader_url: str) -> None:
    """One ends in March, one in April, one comes back within March, one comes and goes within it, one stays, one stays
    after a trial. Who churned in a month is who is counted there.
    """
    async with pool.acquire() as connection:
        await connection.execute("""
            insert into billing.customers (uid, stripe_customer_id, account_id, live_mode, has_access, change)
            select gen_random_uuid(), 'cus_' || n, '', false, false, n from generate_series(1, 6) n
        """)
        await connection.execute("""
            insert into billing.status_changes (customer_uid, status_before, status_after, changed_at, exact, source)
            select c.uid, before, after, at::timestamptz, true, 'event'
            from (values
              (1, null, 'active', '2026-01-10Z'), (1, 'active', 'canceled', '2026-03-02Z'),
              (1, 'canceled', 'ended', '2026-03-20Z'),
              (2, null, 'trialing', '2026-02-10Z'), (2, 'trialing', 'ended', '2026-04-01 00:00:01Z'),
              (3, null, 'active', '2026-02-11Z'), (3, 'active', 'ended', '2026-03-03Z'),
              (3, 'ended', 'active', '2026-03-05Z'),
              (4, null, 'active', '2026-03-04Z'), (4, 'active', 'ended', '2026-03-30Z'),
              (5, null, 'active', '2026-02-12Z'),
              (6, null, 'trialing', '2026-02-15Z'), (6, 'trialing', 'active', '2026-03-01 10:00Z')
            ) as happened (n, before, after, at)
            join billing.customers c on c.stripe_customer_id = 'cus_' || n
            order by at
        """)
    reader = await asyncpg.connect(reader_url)
    try:
        rows = await reader.fetch(QUERIES["Churn by month"][0])
        gone = [
            await reader.fetch(
                QUERIES["Who churned last month"][0].replace("now()", f"timestamptz '{today}'")
            )
            for today in ("2026-03-15Z", "2026-04-15Z", "2026-05-15Z")
        ]
        uids = await reader.fetch("select uid, stripe_customer_id from billing.customers")
    finally:
        await reader.close()
    assert [(2, 1, 0), (3, 5, 1), (4, 4, 1), (5, 3, 0)] == [
        (row["month"].month, row["customers"], row["churned"]) for row in rows
    ][:4]
    name_of = {row["uid"]: row["stripe_customer_id"] for row in uids}
    assert [[], ["cus_1"], ["cus_2"]] == [[name_of[row["uid"]] for row in month] for month in gone]


async def test_readers_see_typed_columns_and_write_nothing(
    pool: Pool, database_url: str, reader_url: str, raw_reader_url: str
) -> None:
    """What Stripe sent is for billing_raw only, payloads and machinery for neither, and neither of them writes."""
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(event("customer.created", customer(name="Anna Berg")))
        tables = [
            f"{row[0]}.{row[1]}"
            for row in await harness.fetch(
                "select schemaname, tablename from pg_tables where schemaname in ('stripe', 'billing')"
            )
        ]
        machinery = [row[0] for row in await harness.fetch("select relname from pg_class where relkind in ('r', 'v') "
            "and relnamespace = 'sync'::regnamespace")]  # fmt: skip
    assert len(tables) > 12
    assert "events" in machinery
    mirrored = "select raw from stripe.customers"
    for url, sees_raw in ((reader_url, False), (raw_reader_url, True)):
        connection = await asyncpg.connect(url)
        try:
            assert "Anna Berg" == await connection.fetchval("select name from stripe.customers")
            assert "Anna Berg" == await connection.fetchval("select name from billing.customers")
            if sees_raw:
                assert "Anna Berg" == json.loads(await connection.fetchval(mirrored))["name"]
            refused = [f"select * from sync.{name}" for name in machinery]
            refused += [f"delete from {name}" for name in tables]
            refused += ["select nextval('billing.change')", "select sync.grant_readers()"]
            refused += ["create table billing.mine ()", "create table stripe.mine ()"]
            refused += ["update billing.customers set status = 'active'"]
            refused += (
                []
                if sees_raw
                else [mirrored, "select * from stripe.invoices", "select c from stripe.customers c"]
            )
            for statement in refused:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        finally:
            await connection.close()


async def test_every_table_and_column_is_granted(pool: Pool, reader_url: str) -> None:
    """A table or column that a later migration adds reaches readers, but for what Stripe sent."""
    connection = await asyncpg.connect(reader_url)
    try:
        hidden = await connection.fetch("""
            select c.oid::regclass::text || '.' || a.attname
            from pg_class c
            join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
            where c.relnamespace in ('stripe'::regnamespace, 'billing'::regnamespace) and c.relkind in ('r', 'v')
              and not has_column_privilege(c.oid, a.attnum, 'select')
        """)
    finally:
        await connection.close()
    assert hidden
    assert {"raw"} == {row[0].rpartition(".")[2] for row in hidden}


async def test_migrating_without_the_right_to_create_roles() -> None:
    """An owner that may not create roles migrates anyway, and grants them later, once they exist."""
    with throwaway_home() as home, start_postgres(home, durable=False) as server:
        administrator = await asyncpg.connect(server.url)
        try:
            await administrator.execute("create role owner login password 'of-this-test'")
            await administrator.execute("create database owned owner owner")
            place = urlsplit(server.url).netloc.rpartition("@")[2]
            owner_url = f"postgresql://owner:of-this-test@{place}/owned"
            await asyncio.to_thread(migrate, owner_url)
            owner = await asyncpg.connect(owner_url)
            try:
                roles = "select rolname::text from pg_roles where rolname like 'billing%' order by 1"
                assert [] == await owner.fetch(roles)
                await administrator.execute("create role billing_reader; create role billing_raw")
                await owner.execute("select sync.grant_readers()")
                may = "select has_column_privilege($1, 'stripe.customers', $2, 'select')"
                assert [True, False, True] == [
                    await owner.fetchval(may, role, column)
                    for role, column in (
                        ("billing_reader", "email"),
                        ("billing_reader", "raw"),
                        ("billing_raw", "raw"),
                    )
                ]
            finally:
                await owner.close()
        finally:
            await administrator.close()


THEIR_FIELDS = {
    "Archetype: the customer": "Stripe ID, Custom UID, uid, Name, Email, Description, status, product_id, "
    "product_version_number, lifetime_revenue, first_seen, last_seen, subscription_date, is_trial, trial_end, "
    "sandbox_end, renewal_number, live_mode",
    "Archetype: the Quota object": "billable metric, usage in the current billing cycle, pending expected charge, "
    "quotas or limits",
    "Autumn: Customer": "internal_id, id, org_id, name, email, fingerprint, env, processor.type, processor.id, "
    "metadata, send_email_receipts, created_at, customer_products, entities",
    "Autumn: CustomerProduct": "id, internal_customer_id, internal_product_id, product_id, status, canceled, "
    "canceled_at, created_at, starts_at, ended_at, trial_ends_at, free_trial_id, options, quantity, "
    "collection_method, processor.type, processor.id, subscription_ids, scheduled_ids, is_custom, api_version, "
    "external_id",
    "Autumn: FeatureOptions": "feature_id, internal_feature_id, quantity",
    "Autumn: Entity": "internal_id, id, internal_customer_id, type, metadata, created_at",
}
"""Every field that their documents of a customer name."""


def test_each_of_their_fields_has_an_answer() -> None:
    """docs/record.md: no field of theirs is left out, and none is there twice."""
    _, _, chapter = RECORD_PAGE.partition("## Their field, our column")
    for heading, fields in THEIR_FIELDS.items():
        _, found, rest = chapter.partition(f"### {heading}\n")
        assert found, heading
        rows = re.findall(r"^\| ([^|]+?) \|", rest.partition("\n### ")[0], re.MULTILINE)
        answered = [row for row in rows if row not in ("their field", "---") and not row.startswith("(")]
        assert sorted(fields.split(", ")) == sorted(answered)


async def test_record_page_names_columns_that_exist(pool: Pool) -> None:
    """docs/record.md: every table and column that it names next to theirs is one that readers find."""
    _, _, chapter = RECORD_PAGE.partition("## Their field, our column")
    named = set(re.findall(r"`(billing\.\w+(?:\.\w+)?)`", chapter))
    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "select 'billing.' || table_name, column_name from information_schema.columns "
            "where table_schema = 'billing'"
        )
    known = {row[0] for row in rows} | {f"{row[0]}.{row[1]}" for row in rows}
    assert len(named) > 40
    assert set() == named - known
