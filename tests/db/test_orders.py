"""The order in which answers come is said by the statement, and is not that of the rows in their table."""

from uuid import UUID

from db.connection import Pool
from db.records.customer import find_customers, select_status_changes


async def test_customers_that_a_name_may_mean(pool: Pool) -> None:
    """Deleted ones last, live ones first, then by account and age."""
    in_order = [
        ("", True, "cus_live", 5, False),
        ("", False, "cus_old", 1, False),
        ("", False, "cus_young", 9, False),
        ("acct_1", False, "cus_connected", 0, False),
        ("", True, "cus_gone", 0, True),
    ]
    async with pool.acquire() as connection:
        for account_id, live, customer_id, age, gone in reversed(in_order):
            await connection.execute(
                "insert into billing.customers (uid, account_id, live_mode, stripe_customer_id, email, created_at, "
                "deleted_at, change) values (gen_random_uuid(), $1, $2, $3, 'one@example.com', "
                "now() + $4::int * interval '1 day', case when $5::boolean then now() end, nextval('billing.change'))",
                account_id,
                live,
                customer_id,
                age,
                gone,
            )
        found = await find_customers(connection, "one@example.com", account_id=None, live_mode=None, limit=4)
    assert [row[2] for row in in_order[:4]] == [each.stripe_customer_id for each in found]


async def test_status_changes_come_oldest_first(pool: Pool) -> None:
    """Also when the first one was written once more: confirmed."""
    uid = UUID(int=1)
    async with pool.acquire() as connection:
        for before, after in ((None, "trialing"), ("trialing", "active"), ("active", "ended")):
            await connection.execute(
                "insert into billing.status_changes (customer_uid, status_before, status_after, changed_at, exact, "
                "source) values ($1, $2, $3, now(), false, 'event')",
                uid,
                before,
                after,
            )
        await connection.execute("update billing.status_changes set exact = true where status_before is null")
        await connection.execute("set enable_indexscan = off; set enable_bitmapscan = off")
        try:
            changes = await select_status_changes(connection, uid)
        finally:
            await connection.execute("reset all")
    assert ["trialing", "active", "ended"] == [each.status_after for each in changes]
