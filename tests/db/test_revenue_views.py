"""The views that count money by months: the same numbers as the rules in billing/ and as the histories."""

from collections import defaultdict
from datetime import UTC, date, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.connection import Pool
from sandbox import STORIES, Sandbox, create_api
from tests.harness import API_KEY, Api, charge, customer, event, open_harness


async def test_months_add_up_to_what_customers_paid(pool: Pool, database_url: str) -> None:
    """Over an account that lived every story, the months of each currency sum up to the customers' revenue: every
    column, by two ways that share no code.
    """
    sandbox = Sandbox(seed=8)
    sandbox.play(sorted(STORIES))
    async with open_harness(pool, database_url, api=Api(create_api(sandbox, [API_KEY]))) as harness:
        await harness.apply(*sandbox.run())
        await harness.settle()
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


async def test_more_is_captured_than_was_authorized(pool: Pool, database_url: str) -> None:
    """An overcapture gives nothing back, in the months as in the record."""
    body = charge(amount=1000, amount_captured=1200, amount_refunded=0)
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(event("customer.created", customer()), event("charge.captured", body))
        (month,) = await harness.fetch("select gross, refunded, net from billing.monthly_revenue")
        (record,) = await harness.fetch("select gross, refunded, net from billing.customer_revenue")
    assert (1200, 0, 1200) == tuple(month) == tuple(record)


Story = list[tuple[datetime, int]]
"""Moments, and the MRR from each on."""

MONTHS = [date(2026, number, 1) for number in range(1, 11)]


def stories() -> st.SearchStrategy[Story]:
    """What one customer paid a month, over some of ten months."""
    moment = st.builds(
        lambda number, day, hour: datetime(2026, number, day, hour, tzinfo=UTC),
        st.integers(1, 10), st.sampled_from([1, 15, 28]), st.sampled_from([0, 23]),
    )  # fmt: skip
    return st.dictionaries(moment, st.sampled_from([0, 500, 1000, 2000]), max_size=6).map(
        lambda steps: sorted(steps.items())
    )


def at_end_of(month: date, story: Story) -> int:
    """The MRR at a month's end."""
    return next(
        (mrr for moment, mrr in reversed(story) if (moment.year, moment.month) <= (month.year, month.month)),
        0,
    )


def movements(told: list[Story]) -> dict[date, dict[str, int]]:
    """Customer by customer, what moved from month's end to month's end."""
    moved: dict[date, dict[str, int]] = {}
    for place, month in enumerate(MONTHS):
        sums = defaultdict(
            int, dict.fromkeys(("new", "expansion", "contraction", "churn", "reactivation"), 0)
        )
        for story in told:
            earlier = [at_end_of(each, story) for each in MONTHS[:place]]
            before, after = (earlier or [0])[-1], at_end_of(month, story)
            if before == 0:
                sums["reactivation" if any(earlier) else "new"] += after
            elif after == 0:
                sums["churn"] -= before
            else:
                sums["expansion" if after > before else "contraction"] += after - before
        sums["mrr_at_end"] = sum(at_end_of(month, story) for story in told)
        moved[month] = dict(sums)
    return moved


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=st.lists(stories(), min_size=1, max_size=5))
async def test_movements_lead_from_month_to_month(pool: Pool, told: list[Story]) -> None:
    """Whatever customers paid: the view says what moved, computed here from the stories alone; and what moved is the
    difference of two months' ends, from the first month on until now.
    """
    rows = []
    for number, story in enumerate(told):
        before = 0
        for moment, mrr in story:
            if mrr != before:
                rows.append((f"00000000-0000-0000-0000-{number:012}", before, mrr, moment))
            before = mrr
    async with pool.acquire() as connection:
        await connection.execute("truncate billing.mrr_changes")
        await connection.executemany(
            "insert into billing.mrr_changes (customer_uid, account_id, live_mode, currency, mrr_before, mrr_after, "
            "changed_at, exact) values ($1, '', true, 'usd', $2, $3, $4, true)",
            rows,
        )
        found = {row["month"]: dict(row) for row in await connection.fetch(VIEW)}
        now = await connection.fetchval("select date_trunc('month', now() at time zone 'UTC')::date")
    if not rows:
        assert {} == found
        return
    first = min(row[3] for row in rows)
    expected = {
        month: sums for month, sums in movements(told).items() if month >= date(first.year, first.month, 1)
    }
    columns = list(next(iter(expected.values())))
    assert expected == {month: {name: found[month][name] for name in columns} for month in expected}
    assert max(found) == now
    at_end = 0
    for month in sorted(found):
        row = found[month]
        net = sum(row[name] for name in columns if name != "mrr_at_end")
        assert row["mrr_at_end"] == at_end + net
        at_end = row["mrr_at_end"]


VIEW = "select * from billing.mrr_movements where account_id = '' and live_mode and currency = 'usd'"


async def test_movements_of_scopes_and_currencies_stay_apart(pool: Pool) -> None:
    """Another account, the other mode, another currency: rows of their own, and nothing added up."""
    async with pool.acquire() as connection:
        for number, (account, live, currency) in enumerate(
            [("", True, "usd"), ("acct_1", True, "usd"), ("", False, "usd"), ("", True, "eur")], start=1
        ):
            await connection.execute(
                "insert into billing.mrr_changes (customer_uid, account_id, live_mode, currency, mrr_before, "
                "mrr_after, changed_at, exact) values (gen_random_uuid(), $1, $2, $3, 0, $4, now(), true)",
                account,
                live,
                currency,
                number,
            )
        rows = await connection.fetch(
            "select account_id, live_mode, currency, new from billing.mrr_movements"
        )
    assert [
        ("", False, "usd", 3),
        ("", True, "eur", 4),
        ("", True, "usd", 1),
        ("acct_1", True, "usd", 2),
    ] == sorted((row[0], row[1], row[2], row[3]) for row in rows)
