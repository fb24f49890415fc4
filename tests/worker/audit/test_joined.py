"""Audits of records of several Stripe customers."""

from db.connection import Pool
from tests.worker.account import Attached, attached, lived_account

JOIN_PAIRS = """
with pairs as (
  select lag(stripe_customer_id) over (order by stripe_customer_id) as main, stripe_customer_id as joined,
    row_number() over (order by stripe_customer_id) % 2 as odd
  from billing.customers
  where deleted_at is null
), linked as (
  insert into billing.identities (live_mode, stripe_customer_id)
  select false, id from pairs, unnest(array[main, joined]) as id where odd = 0 order by id
)
select main, joined from pairs where odd = 0 order by 1
"""
JOIN = """
insert into billing.joined_customers (account_id, live_mode, stripe_customer_id, main_stripe_customer_id)
values ('', false, $1, $2)
"""


async def drift_of(account: Attached, *, repair: bool = False) -> list[tuple[str, str, str]]:
    ended = await account.scanned(await account.request(purpose="audit", repair=repair))
    assert ("complete", None) == (ended["status"], ended["error"])
    rows = await account.fetch(
        "select kind, id, what from sync.drift where scan_id = $1 order by 1, 2", ended["id"]
    )
    return [tuple(row) for row in rows]


async def test_audit_compares_the_joined_record(pool: Pool, database_url: str) -> None:
    """What is right is no drift. A wrong row of a joined customer is counted once, a wrong record of several under the
    main one, and a record of a joined one is too much; all is mended.
    """
    async with attached(pool, database_url, lived_account(customers=8, clocks=False)) as account:
        await account.fill()
        pairs = await account.fetch(JOIN_PAIRS)
        for main, joined in pairs:
            await account.execute(JOIN, joined, main)
        await account.settle()
        assert len(pairs) == await account.fetchval(
            "select count(*) from billing.stripe_customers where not is_main"
        )
        records = "select to_jsonb(c) - '{change,updated_at}'::text[] from billing.customers c order by uid"
        right = await account.fetch(records)
        assert [] == await drift_of(account)

        charge, payer = (
            await account.fetch(
                "select h.id, h.customer_id from stripe.charges h "
                "join billing.joined_customers j on j.stripe_customer_id = h.customer_id "
                "where h.status = 'succeeded' order by 1 limit 1"
            )
        )[0]
        await account.execute(
            "update stripe.charges set amount = amount + 100, amount_captured = amount_captured + 100 where id = $1",
            charge,
        )
        (wrong, _), (_, left), *_ = [pair for pair in pairs if pair[1] != payer]
        await account.execute(
            "update billing.customers set lifetime_revenue = lifetime_revenue + 1 where stripe_customer_id = $1",
            wrong,
        )
        await account.execute(
            "insert into billing.customers (uid, stripe_customer_id, account_id, live_mode, change) "
            "values (gen_random_uuid(), $1, '', false, nextval('billing.change'))",
            left,
        )
        found = await drift_of(account, repair=True)
        assert (
            sorted([("charge", charge, "differs"), ("record", wrong, "differs"), ("record", left, "surplus")])
            == found
        )
        await account.settle()
        assert right == await account.fetch(records)
        assert [] == await drift_of(account)
