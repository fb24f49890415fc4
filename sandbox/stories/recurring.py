"""Monthly recurring revenue: what subscriptions bring in a month, whatever their intervals, tiers and discounts."""

from collections.abc import Iterator

from sandbox.periods import DAY, HOUR
from sandbox.stories.registry import story
from sandbox.stories.stage import Stage


@story(defines=("mrr:intervals", "mrr:quantity"))
def paid_by_the_year(stage: Stage) -> Iterator[int]:
    """A yearly plan brings a twelfth a month, a weekly one 52 twelfths; a second seat doubles it."""
    ada = stage.customer()
    stage.subscribe(ada, stage.plan(12000, interval="year"))
    stage.expect(ada, mrr={"usd": 1000})
    yield 1 * DAY
    weekly = stage.subscribe(ada, [(stage.plan(300, interval="week"), 1)])
    stage.expect(ada, mrr={"usd": 1000 + 1300})
    yield 1 * DAY
    stage.account.subscriptions.set_quantity(weekly, 2, invoices_now=False)
    stage.expect(ada, mrr={"usd": 1000 + 2600})
    yield 31 * DAY
    stage.account.subscriptions.end(weekly)
    stage.expect(ada, status="active", mrr={"usd": 1000})


@story(defines=("mrr:intervals",))
def paid_by_the_quarter(stage: Stage) -> Iterator[int]:
    """Every third month, and every day; each is converted to a month exactly and the sum is rounded once."""
    ben = stage.customer()
    stage.subscribe(ben, [(stage.plan(10000, interval_count=3), 1)])
    stage.expect(ben, mrr={"usd": 3333})
    yield 1 * DAY
    daily = stage.subscribe(ben, [(stage.plan(10, interval="day"), 1)])
    stage.expect(ben, mrr={"usd": 3638})
    yield 1 * DAY + 3 * 3600
    stage.account.subscriptions.end(daily)
    stage.expect(ben, mrr={"usd": 3333})


@story(defines=("mrr:tiers",))
def graduated_tiers(stage: Stage) -> Iterator[int]:
    """Each seat costs what its own tier says, and each tier that is reached adds a fee of its own."""
    chi = stage.customer()
    tiers = stage.tiers((5, 1000), (10, 800, 500), (None, 600, 100))
    price = stage.plan(0, tiers=tiers, tiers_mode="graduated")
    sub = stage.subscribe(chi, [(price, 5)])
    stage.expect(chi, quantity=5, net={"usd": 5000}, mrr={"usd": 5000})
    yield stage.past_payment(sub)
    stage.account.subscriptions.set_quantity(sub, 12, invoices_now=False)
    stage.expect(chi, quantity=12, mrr={"usd": 5 * 1000 + 5 * 800 + 500 + 2 * 600 + 100})


@story(defines=("mrr:tiers",))
def volume_tiers(stage: Stage) -> Iterator[int]:
    """All seats cost what the tier of the last one says: one more seat can be cheaper."""
    dora = stage.customer()
    price = stage.plan(0, tiers=stage.tiers((5, 1000), (None, 700, 250)), tiers_mode="volume")
    sub = stage.subscribe(dora, [(price, 5)])
    stage.expect(dora, net={"usd": 5000}, mrr={"usd": 5000})
    yield 2 * DAY
    stage.account.subscriptions.set_quantity(sub, 6, invoices_now=False)
    stage.expect(dora, mrr={"usd": 6 * 700 + 250})


@story(covers=("F109",), defines=("mrr:discounts",))
def discounts_of_all_kinds(stage: Stage) -> Iterator[int]:
    """A discount forever, or for years, lowers what comes in each month; one for a first invoice does not."""
    emil = stage.customer()
    catalogue = stage.account.catalogue
    forever = catalogue.coupon(percent_off=20)
    stage.subscribe(emil, stage.plan(12000, interval="year"), coupon=forever)
    stage.expect(emil, net={"usd": 9600}, mrr={"usd": 800})
    yield 1 * DAY
    once = catalogue.coupon(percent_off=50, duration="once")
    stage.subscribe(emil, stage.plan(1000), coupon=once)
    stage.expect(emil, net={"usd": 10100}, mrr={"usd": 1800})
    yield 1 * DAY
    # Fifty years: it must be running by the sandbox's clock and by a real one.
    for_long = catalogue.coupon(amount_off=100, duration="repeating", duration_in_months=600)
    weekly = stage.subscribe(emil, stage.plan(600, interval="week"), coupon=for_long)
    stage.expect(emil, net={"usd": 10600}, mrr={"usd": 1800 + 2167})
    yield stage.past_payment(weekly)
    stage.expect(emil, net={"usd": 11100}, mrr={"usd": 1800 + 2167})
    stage.account.subscriptions.end(weekly)
    stage.expect(emil, mrr={"usd": 1800})


@story(covers=("F109",), defines=("mrr:discounts",))
def discounted_later(stage: Stage) -> Iterator[int]:
    """A running subscription is given a fixed amount off, forever, in its own currency."""
    fay = stage.customer()
    sub = stage.subscribe(fay, [(stage.plan(5000, currency="eur"), 2)])
    stage.expect(fay, net={"eur": 10000}, mrr={"eur": 10000})
    yield 4 * DAY
    coupon = stage.account.catalogue.coupon(amount_off=1500, currency="eur")
    stage.account.subscriptions.discount(sub, coupon)
    stage.expect(fay, mrr={"eur": 8500})
    yield stage.past_payment(sub)
    stage.expect(fay, net={"eur": 18500}, mrr={"eur": 8500})


@story(covers=("F109",), defines=("mrr:discounts",))
def discount_of_one_product(stage: Stage) -> Iterator[int]:
    """A coupon that is limited to one product takes nothing off the other of the same subscription."""
    hal = stage.customer()
    catalogue = stage.account.catalogue
    seats, support = catalogue.product("Seats"), catalogue.product("Support")
    plans = [(catalogue.price(seats, 1000), 3), (catalogue.price(support, 8000), 1)]
    half = catalogue.coupon(percent_off=50, applies_to=[support])
    sub = stage.subscribe(hal, plans, coupon=half)
    stage.expect(hal, net={"usd": 3000 + 4000}, mrr={"usd": 3000 + 4000})
    yield 1 * DAY
    # It takes no more than the seats cost, and nothing more off the support.
    stage.account.subscriptions.discount(sub, catalogue.coupon(amount_off=3500, applies_to=[seats]))
    stage.expect(hal, mrr={"usd": 4000})
    yield stage.past_payment(sub)
    stage.expect(hal, net={"usd": 7000 + 4000}, mrr={"usd": 4000})


@story(covers=("F109",), defines=("mrr:discounts",))
def coupon_chosen_again(stage: Stage) -> Iterator[int]:
    """A coupon is deleted and another one created with its id: the terms of the new one count."""
    ida = stage.customer()
    catalogue = stage.account.catalogue
    seats, support = catalogue.product("Seats"), catalogue.product("Support")
    first = catalogue.coupon(percent_off=50, applies_to=[support])
    yield 1 * DAY
    catalogue.delete_coupon(first)
    yield 2 * HOUR
    second = catalogue.coupon(percent_off=20, applies_to=[seats], chosen_id=first.id)
    plans = [(catalogue.price(seats, 1000), 3), (catalogue.price(support, 8000), 1)]
    stage.subscribe(ida, plans, coupon=second)
    stage.expect(ida, net={"usd": 2400 + 8000}, mrr={"usd": 2400 + 8000})


@story(covers=("F109",), defines=("mrr:discounts",))
def coupon_made_again(stage: Stage) -> Iterator[int]:
    """A coupon's id is given to another one: who had the first keeps its terms."""
    joy = stage.customer()
    catalogue = stage.account.catalogue
    first = catalogue.coupon(percent_off=50)
    stage.subscribe(joy, stage.plan(2000), coupon=first)
    stage.expect(joy, net={"usd": 1000}, mrr={"usd": 1000})
    yield 1 * DAY
    catalogue.delete_coupon(first)
    yield 1 * HOUR
    catalogue.coupon(percent_off=10, applies_to=[catalogue.product("Other")], chosen_id=first.id)
    stage.expect(joy, mrr={"usd": 1000})
    yield 1 * DAY


@story(covers=("F109",), defines=("mrr:discounts",))
def coupon_in_two_currencies(stage: Stage) -> Iterator[int]:
    """A coupon takes 10.00 USD off, or 9.00 EUR: a subscription in euros is lowered by euros."""
    kai = stage.customer()
    coupon = stage.account.catalogue.coupon(amount_off=1000, currency_options={"eur": 900})
    sub = stage.subscribe(kai, [(stage.plan(5000, currency="eur"), 1)], coupon=coupon)
    stage.expect(kai, net={"eur": 4100}, mrr={"eur": 4100})
    yield stage.past_payment(sub)
    stage.expect(kai, net={"eur": 8200}, mrr={"eur": 4100})


@story(defines=("mrr:not_paid_for",))
def nothing_comes_in(stage: Stage) -> Iterator[int]:
    """A trial brings in nothing until it is paid for, nor does a subscription whose collection is paused."""
    gus = stage.customer()
    sub = stage.subscribe(gus, stage.plan(2000), trial_seconds=3 * DAY)
    stage.expect(gus, status="trialing", mrr={})
    yield stage.past_payment(sub)
    stage.expect(gus, status="active", mrr={"usd": 2000})
    stage.account.subscriptions.cancel_at_period_end(sub)
    stage.expect(gus, status="canceled", mrr={"usd": 2000})
    yield 1 * DAY
    stage.account.subscriptions.keep(sub)
    stage.account.subscriptions.pause_collection(sub, "void")
    stage.expect(gus, status="active", mrr={})
    yield 1 * DAY
    stage.account.subscriptions.pause_collection(sub, "keep_as_draft")
    stage.expect(gus, status="active", mrr={"usd": 2000})
