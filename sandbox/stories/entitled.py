"""What subscriptions entitle to, and what is used of it."""

from collections.abc import Iterator

from sandbox.periods import DAY, WEEK
from sandbox.stories.registry import story
from sandbox.stories.stage import Stage
from sandbox.truth import expected_usage


@story(covers=("F116",), defines=("features",))
def twelve_features(stage: Stage) -> Iterator[int]:
    """A product comes with twelve features, two more than an event shows; one of them is withdrawn."""
    ada = stage.customer()
    entitlements = stage.account.entitlements
    price = stage.plan(3000)
    product = stage.account.product(price.product)
    features = [entitlements.feature(f"feature_{stage.number}_{n:02d}") for n in range(12)]
    for feature in features:
        entitlements.grant(product, feature)
    stage.expect(ada, features=())
    stage.subscribe(ada, price)
    stage.expect(ada, status="active", features=tuple(feature.lookup_key for feature in features))
    yield 3 * DAY
    if stage.number % 2:
        # Nothing happens to the subscription, but its customer is entitled to less.
        entitlements.withdraw(product, features[11])
        stage.expect(ada, features=tuple(feature.lookup_key for feature in features[:11]))


@story(covers=("F116",), defines=("features",))
def features_end_with_the_subscription(stage: Stage) -> Iterator[int]:
    """One of two subscriptions ends: what only it entitled to is gone; then the other ends, and all is gone."""
    ben = stage.customer()
    entitlements = stage.account.entitlements
    small, large = stage.plan(500, interval="week"), stage.plan(2500)
    chat, calls = (entitlements.feature(f"{name}_{stage.number}") for name in ("chat", "calls"))
    entitlements.grant(stage.account.product(small.product), chat)
    for feature in (chat, calls):
        entitlements.grant(stage.account.product(large.product), feature)
    a = stage.subscribe(ben, small)
    b = stage.subscribe(ben, large)
    stage.expect(ben, features=(calls.lookup_key, chat.lookup_key))
    yield 2 * DAY
    stage.account.subscriptions.end(b)
    stage.expect(ben, status="active", features=(chat.lookup_key,))
    yield 1 * DAY
    stage.account.subscriptions.cancel_at_period_end(a)
    stage.expect(ben, features=(chat.lookup_key,))
    yield stage.past_boundary(a)
    stage.expect(ben, status="ended", features=())


@story(covers=("F116",), defines=("features",))
def feature_added_to_what_was_sold(stage: Stage) -> Iterator[int]:
    """A product gets another feature: customers that have the product get it, too."""
    chi = stage.customer()
    entitlements = stage.account.entitlements
    price = stage.plan(1500)
    product = stage.account.product(price.product)
    first, second = (entitlements.feature(f"{name}_{stage.number}") for name in ("export", "import"))
    entitlements.grant(product, first)
    stage.subscribe(chi, price, trial_seconds=14 * DAY)
    stage.expect(chi, status="trialing", features=(first.lookup_key,))
    yield 4 * DAY
    entitlements.grant(product, second)
    stage.expect(chi, status="trialing", features=(first.lookup_key, second.lookup_key))


@story(defines=("usage", "mrr:metered", "options", "renewal:distinct_boundaries"))
def metered_use(stage: Stage) -> Iterator[int]:
    """A monthly fee and metered use: one month's use is billed at its end, the next month's is still to come."""
    dora = stage.customer()
    meter = stage.account.metering.meter(f"api_calls_{stage.number}")
    fee = stage.plan(1000)
    calls = stage.plan(25, meter=meter, metadata={"quota_limit": "100", "feature_id": "calls"})
    sub = stage.subscribe(dora, [(fee, 1), (calls, 1)], billing_mode="flexible")
    stage.expect(dora, net={"usd": 1000}, mrr={"usd": 1000})
    options = [row.options for row in stage.truth_of(dora).products]
    stage.require(sorted(options, key=len) == [{}, {"calls": 100}], "100 calls are agreed")
    for used in (10, 20):
        yield 1 * DAY
        stage.account.metering.use(dora, meter, used)
    [row] = expected_usage(stage.account, dora)
    stage.require((row.value, row.expected_charge) == (30, 30 * 25 + 1000), "what was used, and the next fee")
    yield stage.past_payment(sub)
    stage.expect(dora, renewal_number=1, net={"usd": 1000 + 1000 + 30 * 25}, mrr={"usd": 1000})
    yield 1 * DAY
    stage.account.metering.use(dora, meter, 12)
    yield 1 * DAY
    [row] = expected_usage(stage.account, dora)
    stage.require((row.value, row.expected_charge) == (12, 12 * 25 + 1000), "the new month began at nothing")


@story(defines=("usage", "mrr:metered"))
def nothing_but_use(stage: Stage) -> Iterator[int]:
    """Only use is paid for, by tiers: the first hundred are free, and a customer that leaves still owes its use."""
    emil = stage.customer()
    meter = stage.account.metering.meter(f"messages_{stage.number}")
    tiers = stage.tiers((100, 0), (None, 2))
    price = stage.plan(0, meter=meter, tiers=tiers, tiers_mode="graduated", metadata={"feature_id": "texts"})
    sub = stage.subscribe(emil, [(price, 1)])
    stage.expect(emil, status="active", quantity=None, net={}, mrr={})
    [row] = expected_usage(stage.account, emil)
    stage.require((row.value, row.expected_charge) == (0, 0), "nothing was used")
    yield 2 * DAY
    stage.account.metering.use(emil, meter, 250)
    yield 1 * WEEK
    stage.account.subscriptions.cancel_at_period_end(sub)
    stage.expect(emil, status="canceled", net={}, mrr={})
    [row] = expected_usage(stage.account, emil)
    stage.require((row.value, row.expected_charge) == (250, 300), "150 beyond what is free")
