"""Which of several subscriptions speaks for the customer (decides its record), and which records must never mix."""

from collections.abc import Iterator

from sandbox.periods import DAY, instant
from sandbox.stories.registry import story
from sandbox.stories.stage import Stage


@story(covers=("C54",), defines=("current:canceled_before_past_due",))
def leaving_beats_arrears(stage: Stage) -> Iterator[int]:
    """A is canceled but paid to the end of its period, B is past_due: A speaks."""
    ada = stage.customer()
    a = stage.subscribe(ada, stage.plan(3000, interval="year"))
    stage.account.subscriptions.cancel_at_period_end(a)
    yield 2 * DAY
    b = stage.subscribe(ada, stage.plan(1000, interval="week"))
    stage.expect(ada, status="active", subscription=b)
    ada.payment_method = "declines"
    yield stage.past_payment(b)
    stage.expect(ada, status="canceled", subscription=a, has_access=True, renewal_number=0)


@story(covers=("C55",), defines=("current:active_first",))
def active_beats_trialing(stage: Stage) -> Iterator[int]:
    """A is active, B is on trial: A speaks, and the record shows no trial."""
    ben = stage.customer()
    a = stage.subscribe(ben, stage.plan(1000))
    yield 1 * DAY
    stage.subscribe(ben, stage.plan(5000), trial_seconds=10 * DAY)
    stage.expect(ben, status="active", subscription=a, is_trial=False, trial_end=None)
    yield 5 * DAY
    stage.expect(ben, status="active", subscription=a, is_trial=False)


@story(covers=("C55",), defines=("current:active_first", "current:trialing_before_canceled"))
def trial_gives_way(stage: Stage) -> Iterator[int]:
    """A is a trial that will not continue, B a trial that will: B speaks, also once it is paid."""
    chi = stage.customer()
    a = stage.subscribe(chi, stage.plan(1000), trial_seconds=40 * DAY)
    stage.account.subscriptions.cancel_at_period_end(a)
    stage.expect(chi, status="canceled", subscription=a, is_trial=True)
    yield 1 * DAY
    b = stage.subscribe(chi, stage.plan(2000), trial_seconds=10 * DAY)
    stage.expect(chi, status="trialing", subscription=b, is_trial=True)
    yield stage.past_payment(b)
    stage.expect(chi, status="active", subscription=b, is_trial=False, net={"usd": 2000})


@story(
    covers=("C56",),
    defines=("renewal:current_only", "subscription_date", "first_seen", "current:active_first"),
)
def plan_changed_by_new_subscription(stage: Stage) -> Iterator[int]:
    """The plan is changed by canceling and subscribing again in one second: the new one speaks and counts from 0."""
    dora = stage.customer()
    began = stage.now
    old = stage.subscribe(dora, stage.plan(1000, interval="week"))
    yield stage.past_payment(old)
    yield stage.past_payment(old)
    stage.expect(dora, renewal_number=2, subscription=old)
    stage.account.subscriptions.end(old)
    new = stage.subscribe(dora, stage.plan(4000))
    stage.expect(dora, status="active", subscription=new, renewal_number=0)
    stage.expect(dora, subscription_date=instant(stage.now), first_seen=instant(began), net={"usd": 7000})
    yield 3 * DAY
    stage.expect(dora, status="active", subscription=new, renewal_number=0)


@story(covers=("C57",), defines=("current:latest_ended",))
def two_that_ended(stage: Stage) -> Iterator[int]:
    """A began first and ended last: it speaks, of two that ended."""
    emil = stage.customer()
    a = stage.subscribe(emil, stage.plan(1000))
    yield 10 * DAY
    b = stage.subscribe(emil, stage.plan(2000))
    yield 5 * DAY
    stage.account.subscriptions.end(b)
    stage.expect(emil, status="active", subscription=a)
    yield 5 * DAY
    stage.account.subscriptions.end(a)
    stage.expect(emil, status="ended", subscription=a, net={"usd": 3000})


@story(covers=("C58",), defines=("current:latest_start",))
def imported_with_other_start(stage: Stage) -> Iterator[int]:
    """Two subscriptions imported in one second: the one that started later speaks."""
    fay = stage.customer()
    later = stage.subscribe(
        fay, stage.plan(1000), backdated_to=stage.now - 40 * DAY, bills_first_period=False
    )
    earlier = stage.subscribe(
        fay, stage.plan(2000), backdated_to=stage.now - 80 * DAY, bills_first_period=False
    )
    stage.require(later.created == earlier.created, "both in one second")
    stage.expect(fay, status="active", subscription=later, subscription_date=instant(later.start_date))
    yield 1 * DAY
    stage.expect(fay, subscription=later, renewal_number=0)


@story(covers=("C58",), defines=("current:latest_created",))
def imported_later_with_same_start(stage: Stage) -> Iterator[int]:
    """Two subscriptions with one start date: the one created later speaks."""
    gus = stage.customer()
    start = stage.now
    stage.subscribe(gus, stage.plan(1000))
    yield 4 * DAY
    second = stage.subscribe(gus, stage.plan(2000), backdated_to=start, bills_first_period=False)
    stage.expect(gus, status="active", subscription=second, subscription_date=instant(start))


@story(covers=("C58",), defines=("current:greatest_id",))
def imported_with_equal_start(stage: Stage) -> Iterator[int]:
    """Two subscriptions equal in all but their id: the greater id speaks."""
    hana = stage.customer()
    start = stage.now - 20 * DAY
    pair = [
        stage.subscribe(hana, stage.plan(amount), backdated_to=start, bills_first_period=False)
        for amount in (1000, 2000)
    ]
    stage.expect(hana, status="active", subscription=max(pair, key=lambda entry: entry.id.encode()))
    yield 1 * DAY


@story(defines=("current:past_due_before_ended",))
def arrears_beat_the_past(stage: Stage) -> Iterator[int]:
    """A is past_due, B ended only now: A speaks."""
    ida = stage.customer()
    a = stage.subscribe(ida, stage.plan(1000, interval="week"), after_retries="past_due")
    b = stage.subscribe(ida, stage.plan(2000))
    ida.payment_method = "declines"
    yield stage.past_payment(a)
    stage.account.subscriptions.end(b)
    stage.expect(ida, status="past_due", subscription=a, has_access=True)


@story(defines=("current:none", "status:none", "renewal:none", "revenue:none"))
def nothing_bought(stage: Stage) -> Iterator[int]:
    """A customer without any subscription has no status, no product and no revenue."""
    jan = stage.customer()
    stage.expect(jan, status=None, subscription=None, product_id=None, renewal_number=0, has_access=False)
    stage.expect(jan, lifetime_revenue=0, revenue_currency=None, products=(), revenue=())
    yield 5 * DAY
    stage.account.clients.update(jan, email=f"moved.{stage.number}@example.com")
    stage.expect(jan, email=f"moved.{stage.number}@example.com", status=None)


@story(covers=("C60",), defines=("key:account",), customers=2)
def same_id_in_two_accounts(stage: Stage) -> Iterator[int]:
    """Two connected accounts each have a customer of the same id: two records."""
    customer_id = stage.account.new_id("cus_")
    one = stage.world.account("acct_1SandboxNorth")
    two = stage.world.account("acct_1SandboxSouth")
    kim = stage.customer(account=one, customer_id=customer_id)
    lea = stage.customer(account=two, customer_id=customer_id)
    one.subscriptions.start(kim, [stage.plan(1000, account=one)])
    two.subscriptions.start(lea, [stage.plan(7000, account=two)], trial_seconds=20 * DAY)
    yield 2 * DAY
    stage.expect(kim, one, status="active", net={"usd": 1000}, account_id="acct_1SandboxNorth")
    stage.expect(lea, two, status="trialing", net={}, account_id="acct_1SandboxSouth")


@story(covers=("C61",), defines=("key:live_mode",), customers=2)
def same_id_in_both_modes(stage: Stage) -> Iterator[int]:
    """A connected account has a live and a test customer of the same id: two records."""
    customer_id = stage.account.new_id("cus_")
    live = stage.world.account("acct_1SandboxNorth", live_mode=True)
    test = stage.world.account("acct_1SandboxNorth", live_mode=False)
    max_ = stage.customer(account=live, customer_id=customer_id)
    noa = stage.customer(account=test, customer_id=customer_id)
    live.subscriptions.start(max_, [stage.plan(2500, account=live)])
    sub = test.subscriptions.start(noa, [stage.plan(100, account=test)])
    yield 1 * DAY
    test.subscriptions.end(sub)
    stage.expect(max_, live, status="active", net={"usd": 2500}, live_mode=True)
    stage.expect(noa, test, status="ended", net={"usd": 100}, live_mode=False)


@story(covers=("A16",), defines=("status:unknown", "has_access:unknown"))
def status_of_the_future(stage: Stage) -> Iterator[int]:
    """Stripe introduces a status that is not known here: past_due without access."""
    ada = stage.customer()
    sub = stage.subscribe(ada, stage.plan(1000))
    yield 2 * DAY
    stage.account.subscriptions.set_status(sub, "hibernating")
    stage.expect(ada, status="past_due", has_access=False, subscription=sub)
