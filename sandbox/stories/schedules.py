"""Subscriptions that are to begin, change or end at moments that are set in advance."""

from collections.abc import Iterator

from sandbox.periods import DAY, WEEK
from sandbox.stories.registry import story
from sandbox.stories.stage import Stage

FAR_OFF = 3 * 365 * DAY
"""Later than any story ends."""


@story(covers=("C59",), defines=("current:scheduled",))
def only_scheduled(stage: Stage) -> Iterator[int]:
    """Two subscriptions are scheduled and none has begun: no status, no access, nothing to pay."""
    ada = stage.customer()
    made = [
        stage.account.schedules.create(
            ada, [(stage.plan(2000), 2)], starts_at=stage.now + FAR_OFF + weeks * WEEK, lasts_seconds=90 * DAY
        )
        for weeks in (0, 1)
    ]
    stage.expect(ada, status=None, subscription=None, has_access=False, product_id=None)
    rows = stage.truth_of(ada).products
    stage.require(
        {row.scheduled_ids for row in rows} == {(schedule.id,) for schedule in made},
        "each schedule is what a product waits for",
    )
    yield 5 * DAY
    stage.expect(ada, status=None, subscription=None, net={}, mrr={})


@story(covers=("F123",), defines=("current:scheduled",))
def schedule_begins_and_lets_go(stage: Stage) -> Iterator[int]:
    """A scheduled subscription begins when it is due; when the schedule is over it continues by itself."""
    ben = stage.customer()
    price = stage.plan(1000)
    starts = stage.now + 4 * DAY
    schedule = stage.account.schedules.create(ben, [(price, 3)], starts_at=starts, lasts_seconds=2 * WEEK)
    stage.expect(ben, status=None)
    yield stage.until(starts) + 60
    [sub] = stage.account.subscriptions_of(ben.id)
    stage.require((schedule.status, sub.schedule) == ("active", schedule.id), "the schedule runs")
    [row] = stage.truth_of(ben).products
    stage.require(row.scheduled_ids == (schedule.id,), "the subscription is under its schedule")
    stage.expect(ben, status="active", subscription=sub, quantity=3, net={"usd": 3000}, renewal_number=0)
    yield stage.until(starts + 2 * WEEK) + DAY
    stage.require((schedule.status, sub.schedule) == ("released", None), "the schedule let go")
    [row] = stage.truth_of(ben).products
    stage.require(row.scheduled_ids == (), "nothing is scheduled any more")
    stage.expect(ben, status="active", subscription=sub, renewal_number=0, net={"usd": 3000})


@story(covers=("F123",), defines=("current:scheduled",))
def schedule_given_up(stage: Stage) -> Iterator[int]:
    """One schedule is canceled before it begins, another together with the subscription that it has begun."""
    chi = stage.customer()
    price = stage.plan(500, interval="week")
    never = stage.account.schedules.create(
        chi, [(price, 1)], starts_at=stage.now + FAR_OFF, lasts_seconds=4 * WEEK
    )
    starts = stage.now + 1 * DAY
    begun = stage.account.schedules.create(chi, [(price, 2)], starts_at=starts, lasts_seconds=9 * WEEK)
    yield 12 * 3600
    stage.account.schedules.cancel(never)
    stage.expect(chi, status=None)
    yield stage.until(starts) + 60
    stage.expect(chi, status="active", quantity=2)
    yield 2 * DAY
    stage.account.schedules.cancel(begun)
    stage.expect(chi, status="ended", has_access=False, net={"usd": 1000}, mrr={})


@story(covers=("F123",), defines=("current:product", "mrr:quantity"))
def plan_change_scheduled(stage: Stage) -> Iterator[int]:
    """A cheaper plan is scheduled for the end of the period: until then the dearer one counts, and is paid for."""
    dora = stage.customer()
    dear, cheap = stage.plan(3000, interval="week"), stage.plan(1000, interval="week")
    sub = stage.subscribe(dora, [(dear, 2)])
    yield 3 * DAY
    schedule = stage.account.schedules.change_at_period_end(sub, cheap, lasts_seconds=3 * DAY)
    stage.expect(dora, status="active", stripe_price_id=dear.id, mrr={"usd": 26000})
    yield stage.past_payment(sub)
    stage.require(schedule.phases_begun == 2, "the second phase runs")
    stage.expect(dora, stripe_price_id=cheap.id, renewal_number=1, net={"usd": 8000}, mrr={"usd": 8667})
    yield 4 * DAY
    stage.require(schedule.status == "released", "the schedule let go")
    stage.account.subscriptions.end(sub)
    stage.expect(dora, status="ended", stripe_price_id=cheap.id)


@story(covers=("F123",), defines=("current:scheduled",))
def plan_change_pending(stage: Stage) -> Iterator[int]:
    """A change of the plan that is still to come changes nothing yet."""
    emil = stage.customer()
    sub = stage.subscribe(emil, [(stage.plan(9000, interval="year"), 1)])
    yield 3 * DAY
    other = stage.plan(12000, interval="year")
    schedule = stage.account.schedules.change_at_period_end(sub, other, lasts_seconds=365 * DAY)
    yield 2 * DAY
    stage.require((schedule.status, sub.schedule) == ("active", schedule.id), "the schedule runs")
    stage.expect(emil, status="active", subscription=sub, net={"usd": 9000}, mrr={"usd": 750})
