"""The views that count money by months: the same numbers as the rules in billing/ and as the histories."""

from collections import defaultdict
from datetime import UTC, date, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.connection import Pool
from db.sync.audit_reports import select_drift_by_kind
from db.sync.status import read_overview
from tests.harness import (
    NOON,
    charge,
    customer,
    event,
    item,
    listing,
    open_harness,
    subscription,
)


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


async def test_amounts_that_a_bigint_cannot_hold_harm_nobody(pool: Pool, database_url: str) -> None:
    """I7: two charges as large as a bigint have no sum that one can hold: that sum is NULL, and every other month,
    currency and customer, every other field of the record, the overview and an audit's report are as ever.
    """
    huge = 2**63 - 1
    bodies = [
        charge(f"ch_{number}", amount=huge, amount_captured=huge, created=NOON) for number in range(2)
    ] + [
        charge("ch_eur", currency="eur", created=NOON),
        charge("ch_before", created=NOON - 40 * 86_400),
        charge("ch_other", "cus_2", currency="eur", created=NOON),
    ]
    several = listing([item("si_1", quantity=huge), item("si_2", quantity=huge)])
    async with open_harness(pool, database_url, api_key=None) as harness:
        await harness.apply(
            *(event("customer.created", customer(each)) for each in ("cus_1", "cus_2")),
            *(event("charge.succeeded", each) for each in bodies),
            event("customer.subscription.created", subscription(items=several)),
        )
        assert [
            ("eur", 4000, 4000),
            ("usd", 2000, 2000),
            ("usd", None, None),
        ] == [
            tuple(row)
            for row in await harness.fetch(
                "select currency, gross, net from billing.monthly_revenue order by currency, month"
            )
        ]
        assert [("cus_1", "eur", 2000), ("cus_1", "usd", None), ("cus_2", "eur", 2000)] == [
            tuple(row)
            for row in await harness.fetch(
                "select stripe_customer_id, currency, net from billing.customer_revenue order by 1, 2"
            )
        ]
        record = await harness.record()
        assert ("active", "usd", None) == (
            record["status"], record["revenue_currency"], record["lifetime_revenue"]
        )  # fmt: skip
        assert None is await harness.fetchval("select quantity from billing.customer_products")
        async with pool.acquire() as connection:
            overview = await read_overview(connection)
            assert {"eur": 4000, "usd": None} == overview.net_minor
            assert ["usd", "eur"] == list(overview.net_minor), "what cannot be held is the most"
            scan_id = await connection.fetchval(
                "insert into sync.scans (purpose, account_id, live_mode, kinds, whole) "
                "values ('audit', '', false, '{charge}', false) returning id"
            )
            await connection.executemany(
                "insert into sync.drift (scan_id, kind, id, what, currency, amount, verified) "
                "values ($1, 'record', $2, 'differs', 'usd', $3, true)",
                [(scan_id, "cus_1", -huge - 1), (scan_id, "cus_2", huge)],
            )
            (drift,) = await select_drift_by_kind(connection, scan_id)
    assert {"usd": 2 * huge + 1} == drift.amounts


async def test_movements_that_a_bigint_cannot_hold_harm_no_other_month(pool: Pool) -> None:
    """I7: the months before and after are as ever, and so is the running sum once it is small again."""
    huge = 2**63 - 1
    steps = [(1, 1, 0, 500), (1, 2, 500, huge), (2, 2, 0, huge), (1, 3, huge, 700), (2, 3, huge, 0)]
    async with pool.acquire() as connection:
        for number, month, before, after in steps:
            await connection.execute(
                "insert into billing.mrr_changes (customer_uid, account_id, live_mode, currency, mrr_before, "
                "mrr_after, changed_at, exact) values ($1, '', true, 'usd', $2, $3, $4, true)",
                f"00000000-0000-0000-0000-{number:012}",
                before,
                after,
                datetime(2026, month, 1, tzinfo=UTC),
            )
        rows = await connection.fetch(f"{VIEW} order by month limit 3")
    assert [(500, 500), (huge, None), (0, 700)] == [(row["new"], row["mrr_at_end"]) for row in rows]
