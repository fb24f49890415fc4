"""An account that runs by itself: customers come, try, pay, fall behind, recover, complain, leave and come back."""

from collections.abc import Generator, Iterator

from sandbox.objects import Charge, Customer, Price, Subscription
from sandbox.periods import DAY, HOUR, MINUTE
from sandbox.play import Sandbox
from sandbox.stories import Stage, Story

FIRST_BURST = 25
REMEMBERED_AFTER_LEAVING = 400 * DAY
_PERIODS_MAX = 24

_OFFERS = (
    # name, our product id, then (amount, interval) of each version
    ("Starter", "starter", ((900, "month"), (300, "week"))),
    ("Team", "team", ((2900, "month"), (3400, "month"), (900, "week"))),
    ("Business", "business", ((9900, "month"), (99000, "year"))),
)


def inhabit(sandbox: Sandbox, *, customers: int, forgets: bool = True) -> list[Price]:
    """Fill the account with customers: some at once, the others one by one, never more than `customers` at a time.

    `forgets`: who has left for good is no longer in the account after a while, as if it had never been there, which
    bounds the memory of a long life; otherwise an audit of it finds everything. Returns what the account sells.
    """
    prices = _open_shop(sandbox)
    for n in range(customers):
        # The first burst comes within a minute, the rest half a day apart.
        start = n % 60 if n < FIRST_BURST else (n - FIRST_BURST + 1) * DAY // 2
        sandbox.at(sandbox.now + start, lambda: sandbox.begin(_story(prices, forgets=forgets)))
    return prices


def _open_shop(sandbox: Sandbox) -> list[Price]:
    catalogue = sandbox.home.catalogue
    prices: list[Price] = []
    for name, product_id, versions in _OFFERS:
        product = catalogue.product(name, metadata={"product_id": product_id, "feature_id": "seats"})
        prices += [catalogue.price(product, amount, interval=interval) for amount, interval in versions]
    return prices


def _story(prices: list[Price], *, forgets: bool) -> Story:
    return Story(
        name="a_life",
        sentence="One customer after another, each with a life drawn at random.",
        covers=(),
        defines=(),
        customers=1,
        plot=lambda stage: _lives(stage, prices, forgets=forgets),
    )


def _lives(stage: Stage, prices: list[Price], *, forgets: bool) -> Iterator[int]:
    """One place in the account: another customer takes it when its customer has left for good."""
    while True:
        customer = stage.customer(metadata={"plan_interest": stage.choices.choice(("self-serve", "sales"))})
        yield from lead_life(stage, customer, prices)
        yield REMEMBERED_AFTER_LEAVING
        if forgets:
            stage.account.forget(customer.id)


def lead_life(stage: Stage, customer: Customer, prices: list[Price]) -> Iterator[int]:
    """From signing up to leaving for good, with up to three subscriptions on the way."""
    yield stage.choices.randint(1, 20) * MINUTE
    periods = 0
    for _ in range(stage.choices.randint(1, 3)):
        customer.payment_method = "good"
        subscription = yield from _sign_up(stage, customer, stage.choices.choice(prices))
        while subscription.ended_at is None and periods < _PERIODS_MAX:
            yield from _live_one_period(stage, customer, subscription)
            periods += 1
        if stage.choices.random() < 0.03 and subscription.ended_at is None:
            stage.account.clients.delete(customer)
            return
        if subscription.ended_at is None:
            stage.account.subscriptions.end(subscription)
        yield stage.some_days(5, 40)


def _sign_up(stage: Stage, customer: Customer, price: Price) -> Generator[int, None, Subscription]:
    account = stage.account
    session = account.clients.open_checkout(
        customer,
        mode="subscription",
        amount=price.unit_amount,
        client_reference_id=f"u-{customer.id[4:12]}",
        plans=[(price, 1)],
    )
    yield stage.choices.randint(1, 9) * MINUTE
    needs_check = stage.choices.random() < 0.1
    if needs_check:
        customer.payment_method = "needs_3ds"
    subscription = account.subscriptions.start(
        customer,
        [(price, stage.choices.randint(1, 5))],
        trial_seconds=stage.choices.choice((0, 0, 3, 7)) * DAY,
        after_retries=stage.choices.choice(("cancel", "unpaid", "past_due")),
        billing_mode=stage.choices.choice(("classic", "flexible")),
    )
    if needs_check:
        yield 10 * MINUTE
        customer.payment_method = "good"
        if subscription.status == "incomplete":
            account.invoices.pay(stage.latest_invoice(subscription))
    account.clients.complete_checkout(session, subscription=subscription)
    return subscription


def _live_one_period(stage: Stage, customer: Customer, subscription: Subscription) -> Iterator[int]:
    """Something may happen, then the period ends and is renewed or not."""
    length = min(item.period_end for item in subscription.items) - stage.now
    yield max(length * stage.choices.randint(20, 70) // 100, HOUR)
    if subscription.ended_at is not None:
        return
    whim = stage.choices.random()
    if subscription.status in ("past_due", "unpaid", "paused"):
        _settle_debts(stage, customer, subscription)
    elif whim < 0.10:
        stage.account.subscriptions.cancel_at_period_end(subscription)
    elif whim < 0.13:
        stage.account.subscriptions.end(subscription)
    elif whim < 0.28:
        stage.account.clients.set_payment_method(customer, "declines")
    elif whim < 0.38:
        seats = stage.choices.randint(1, 9)
        stage.account.subscriptions.set_quantity(
            subscription, seats, invoices_now=stage.choices.random() < 0.5
        )
    elif whim < 0.46:
        _refund_something(stage, customer)
    elif whim < 0.49:
        yield from _dispute_something(stage, customer)
    elif whim < 0.52:
        stage.account.invoices.bill_once(customer, stage.choices.randint(5, 80) * 100, "Training")
    if subscription.ended_at is None:
        yield stage.past_payment(subscription)


def _settle_debts(stage: Stage, customer: Customer, subscription: Subscription) -> None:
    stage.account.clients.set_payment_method(customer, "good")
    for invoice in stage.account.invoices.of_subscription(subscription):
        if invoice.status == "open":
            stage.account.invoices.pay(invoice)
    latest = stage.latest_invoice(subscription)
    if subscription.status == "unpaid" and latest.status == "draft":
        stage.account.invoices.pay(latest)


def _latest_charge(stage: Stage, customer: Customer) -> Charge | None:
    """The latest charge that was taken; None if part of it was refunded or disputed."""
    for thing in reversed(stage.account.shelves["charge"].of_customer[customer.id]):
        if isinstance(thing, Charge) and thing.status == "succeeded" and thing.captured:
            return None if thing.disputed or thing.amount_refunded else thing
    return None


def _refund_something(stage: Stage, customer: Customer) -> None:
    charge = _latest_charge(stage, customer)
    if charge is not None:
        share = stage.choices.choice((25, 50, 100))
        stage.account.payments.refund(charge, max(charge.amount_captured * share // 100, 1))


def _dispute_something(stage: Stage, customer: Customer) -> Iterator[int]:
    charge = _latest_charge(stage, customer)
    if charge is None:
        return
    dispute = stage.account.payments.dispute(charge)
    yield 2 * DAY
    stage.account.payments.close_dispute(dispute, stage.choices.choice(("won", "lost")))
