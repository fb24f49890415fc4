"""renewal_number: how many cycles the current subscription has gone through."""

from collections.abc import Iterator

from sandbox.periods import DAY, HOUR, instant
from sandbox.stories.registry import story
from sandbox.stories.stage import Stage


@story(covers=("D63",), defines=("renewal:distinct_boundaries",))
def three_renewals(stage: Stage) -> Iterator[int]:
    """Each boundary counts from its first second on, before anything is paid."""
    ada = stage.customer()
    sub = stage.subscribe(ada, stage.plan(700, interval="week"))
    stage.expect(ada, renewal_number=0)
    for n in (1, 2, 3):
        yield stage.past_payment(sub)
        stage.expect(ada, renewal_number=n, net={"usd": 700 * (n + 1)})
    yield stage.past_boundary(sub)
    stage.expect(ada, renewal_number=4, net={"usd": 2800})


@story(covers=("D64",), defines=("renewal:minus_trial",))
def trial_then_renewals(stage: Stage) -> Iterator[int]:
    """The end of the trial is not a renewal."""
    ben = stage.customer()
    sub = stage.subscribe(ben, stage.plan(700, interval="week"), trial_seconds=7 * DAY)
    yield stage.past_payment(sub)
    stage.expect(ben, renewal_number=0, net={"usd": 700})
    yield stage.past_payment(sub)
    yield stage.past_payment(sub)
    stage.expect(ben, renewal_number=2, net={"usd": 2100})


def _second_trial(stage: Stage, billing_mode: str) -> Iterator[int]:
    customer = stage.customer()
    sub = stage.subscribe(
        customer, stage.plan(700, interval="week"), trial_seconds=14 * DAY, billing_mode=billing_mode
    )
    for _ in range(6):
        yield stage.past_payment(sub)
    stage.expect(customer, renewal_number=5, status="active", net={"usd": 4200})
    stage.account.subscriptions.move_trial_end(sub, stage.now + 10 * DAY)
    stage.expect(customer, renewal_number=5, status="trialing", is_trial=True)
    yield 5 * DAY
    stage.expect(customer, renewal_number=5, status="trialing")
    yield stage.past_payment(sub)
    stage.expect(customer, renewal_number=6, status="active", is_trial=False, net={"usd": 4900})


@story(covers=("D65",), defines=("renewal:minus_trial", "is_trial:trialing"))
def second_trial_classic(stage: Stage) -> Iterator[int]:
    """A paying customer gets another trial in classic mode: the number never falls."""
    yield from _second_trial(stage, "classic")


@story(covers=("D66",), defines=("renewal:minus_trial_moved", "is_trial:trialing"))
def second_trial_flexible(stage: Stage) -> Iterator[int]:
    """A paying customer gets another trial in flexible mode, where trial_start moves: the same numbers."""
    yield from _second_trial(stage, "flexible")


@story(defines=("renewal:no_minus",))
def first_trial_in_mid_life(stage: Stage) -> Iterator[int]:
    """A subscription that began with a payment gets a trial later: nothing is subtracted."""
    chi = stage.customer()
    sub = stage.subscribe(chi, stage.plan(700, interval="week"))
    yield stage.past_payment(sub)
    stage.account.subscriptions.move_trial_end(sub, stage.now + 10 * DAY)
    stage.expect(chi, renewal_number=1, status="trialing", is_trial=True)
    yield stage.past_payment(sub)
    stage.expect(chi, renewal_number=2, status="active", net={"usd": 2100})


@story(covers=("D67",), defines=("renewal:minus_trial", "trial_end"))
def trial_extended(stage: Stage) -> Iterator[int]:
    """A trial is prolonged before it converts: still one trial."""
    dora = stage.customer()
    sub = stage.subscribe(dora, stage.plan(700, interval="week"), trial_seconds=14 * DAY)
    yield 10 * DAY
    stage.account.subscriptions.move_trial_end(sub, sub.created + 30 * DAY)
    yield 10 * DAY
    stage.expect(dora, status="trialing", renewal_number=0, net={})
    yield stage.past_payment(sub)
    stage.expect(dora, status="active", renewal_number=0, net={"usd": 700})
    yield stage.past_payment(sub)
    stage.expect(dora, renewal_number=1, net={"usd": 1400})


@story(covers=("D68",), defines=("renewal:minus_trial",))
def trial_ended_early(stage: Stage) -> Iterator[int]:
    """A trial is ended at once by hand; the payment that follows is not a renewal, the next one is."""
    emil = stage.customer()
    sub = stage.subscribe(emil, stage.plan(700, interval="week"), trial_seconds=14 * DAY)
    yield 4 * DAY
    reason = stage.choices.choice(("subscription_cycle", "subscription_update"))
    stage.account.subscriptions.end_trial_now(sub, reason=reason)
    stage.expect(emil, status="active", is_trial=False, renewal_number=0, net={"usd": 700})
    yield stage.past_payment(sub)
    stage.expect(emil, renewal_number=1, net={"usd": 1400})


@story(covers=("D65", "D68"), defines=("renewal:minus_trial",))
def two_trials_the_first_left_early(stage: Stage) -> Iterator[int]:
    """In classic mode a trial is ended by hand and another one given later: no renewal is taken for a trial's end."""
    uma = stage.customer()
    sub = stage.subscribe(
        uma, stage.plan(700, interval="week"), trial_seconds=14 * DAY, billing_mode="classic"
    )
    yield 4 * DAY
    reason = stage.choices.choice(("subscription_cycle", "subscription_update"))
    stage.account.subscriptions.end_trial_now(sub, reason=reason)
    stage.expect(uma, renewal_number=0, net={"usd": 700})
    yield stage.past_payment(sub)
    stage.expect(uma, renewal_number=1, net={"usd": 1400})
    stage.account.subscriptions.move_trial_end(sub, stage.now + 10 * DAY)
    stage.expect(uma, renewal_number=1, status="trialing")
    yield stage.past_payment(sub)
    stage.expect(uma, renewal_number=2, status="active", net={"usd": 2100})
    yield stage.past_payment(sub)
    stage.expect(uma, renewal_number=3, net={"usd": 2800})
    stage.account.subscriptions.end(sub)


@story(covers=("D69",), defines=("renewal:distinct_boundaries", "renewal:any_status"))
def renewal_invoice_reissued(stage: Stage) -> Iterator[int]:
    """A renewal's invoice is voided and replaced, by a revision or by hand: one renewal, one payment."""
    fay = stage.customer()
    sub = stage.subscribe(fay, stage.plan(700, interval="week"), after_retries="past_due")
    fay.payment_method = "declines"
    yield stage.past_payment(sub)
    fay.payment_method = "good"
    reason = stage.choices.choice(("subscription_cycle", "manual"))
    stage.account.invoices.reissue(stage.latest_invoice(sub), reason=reason)
    stage.expect(fay, status="active", renewal_number=1, net={"usd": 1400})


@story(covers=("D70",), defines=("renewal:within_an_hour",))
def transition_with_two_invoices(stage: Stage) -> Iterator[int]:
    """A schedule's transition in classic mode creates two cycle invoices minutes apart: one boundary."""
    gus = stage.customer()
    sub = stage.subscribe(gus, stage.plan(700, interval="week"))
    yield stage.past_boundary(sub)
    stage.account.billing.bill_transition(sub, 300)
    stage.expect(gus, renewal_number=1)
    yield 2 * HOUR
    stage.expect(gus, renewal_number=1, net={"usd": 1700})


@story(covers=("D71", "F110"), defines=("renewal:distinct_boundaries", "products:periods"))
def mixed_intervals(stage: Stage) -> Iterator[int]:
    """A short and a twelve times longer interval in one subscription: one boundary where both end."""
    hana = stage.customer()
    short = stage.plan(700, interval="week")
    catalogue = stage.account.catalogue
    long = catalogue.price(catalogue.product("Long"), 5000, interval="week", interval_count=12)
    sub = stage.subscribe(hana, [short, long], billing_mode="flexible")
    stage.expect(hana, net={"usd": 5700})
    for _ in range(13):
        yield stage.past_payment(sub)
    stage.expect(hana, renewal_number=13, net={"usd": 700 * 14 + 5000 * 2})
    by_end = sorted(sub.items, key=lambda item: item.period_end)
    stage.require([item.price for item in by_end] == [short.id, long.id], "each item has its own period")
    periods = {row.stripe_product_id: row.current_period_end for row in stage.truth_of(hana).products}
    stage.require(
        [periods[price.product] for price in (short, long)] == [instant(item.period_end) for item in by_end],
        "and so has each product",
    )


@story(covers=("D72", "F113"), defines=("renewal:other_reasons", "quantity:changed"))
def seats_added_and_billed_now(stage: Stage) -> Iterator[int]:
    """More seats, invoiced at once: another quantity, the same number of renewals."""
    ida = stage.customer()
    sub = stage.subscribe(ida, stage.plan(700, interval="week"))
    yield stage.past_payment(sub)
    yield 1 * DAY
    stage.account.subscriptions.set_quantity(sub, 5, invoices_now=True)
    stage.expect(ida, renewal_number=1, quantity=5, status="active")
    yield stage.past_payment(sub)
    stage.expect(ida, renewal_number=2, quantity=5)


@story(covers=("D73",), defines=("renewal:other_reasons", "quantity:metered"))
def threshold_passed(stage: Stage) -> Iterator[int]:
    """Metered use is billed by threshold, with or without a new anchor: neither is a renewal."""
    jan = stage.customer()
    sub = stage.subscribe(jan, stage.plan(1, interval="week", metered=True))
    yield stage.past_payment(sub)
    stage.expect(jan, renewal_number=1, quantity=None, net={})
    yield 1 * DAY
    stage.account.subscriptions.bill_threshold(sub, 400, resets_anchor=False)
    stage.expect(jan, renewal_number=1, net={"usd": 400})
    yield 1 * DAY
    stage.account.subscriptions.bill_threshold(sub, 600, resets_anchor=True)
    stage.expect(jan, renewal_number=1, net={"usd": 1000})
    yield stage.past_payment(sub)
    stage.expect(jan, renewal_number=2, net={"usd": 1000})


@story(covers=("D74",), defines=("renewal:other_reasons",))
def anchor_moved(stage: Stage) -> Iterator[int]:
    """billing_cycle_anchor=now starts a period without a renewal; the next boundary is one."""
    kim = stage.customer()
    sub = stage.subscribe(kim, stage.plan(700, interval="week"))
    yield stage.past_payment(sub)
    yield 2 * DAY
    stage.account.subscriptions.restart_now(sub)
    stage.expect(kim, renewal_number=1, net={"usd": 2100})
    yield stage.past_payment(sub)
    stage.expect(kim, renewal_number=2, net={"usd": 2800})


@story(covers=("D74",), defines=("renewal:other_reasons", "current:product"))
def interval_changed(stage: Stage) -> Iterator[int]:
    """From weekly to monthly in classic mode: a new period at once, another product, no renewal."""
    lea = stage.customer()
    sub = stage.subscribe(lea, stage.plan(700, interval="week"))
    yield stage.past_payment(sub)
    yield 1 * DAY
    monthly = stage.plan(2500)
    stage.account.subscriptions.change_plan(sub, monthly)
    stage.expect(lea, renewal_number=1, stripe_product_id=monthly.product, stripe_price_id=monthly.id)
    yield stage.past_payment(sub)
    stage.expect(lea, renewal_number=2, status="active")


@story(covers=("D75",), defines=("renewal:none", "subscription_date"))
def imported_without_invoices(stage: Stage) -> Iterator[int]:
    """An import backdated by three months without prorations: earlier periods left no invoice and are not counted."""
    max_ = stage.customer()
    sub = stage.subscribe(max_, stage.plan(700), backdated_to=stage.now - 91 * DAY, bills_first_period=False)
    stage.expect(max_, renewal_number=0, status="active", net={})
    yield stage.past_payment(sub)
    stage.expect(max_, renewal_number=1, net={"usd": 700})


@story(covers=("D75",), defines=("renewal:before_import",))
def imported_with_its_count(stage: Stage) -> Iterator[int]:
    """An import says in its metadata how often it was renewed before: counting continues from there."""
    noa = stage.customer()
    sub = stage.subscribe(
        noa,
        stage.plan(700),
        backdated_to=stage.now - 91 * DAY,
        bills_first_period=False,
        metadata={"renewals_before_import": "3"},
    )
    stage.expect(noa, renewal_number=3, status="active", net={})
    yield stage.past_payment(sub)
    stage.expect(noa, renewal_number=4, net={"usd": 700})


@story(covers=("D76",), defines=("renewal:previews",))
def upcoming_announced(stage: Stage) -> Iterator[int]:
    """A preview of the next invoice, which has no id, changes nothing."""
    noa = stage.customer()
    sub = stage.subscribe(noa, stage.plan(1100))
    yield stage.until(sub.items[0].period_end - 6 * DAY)
    stage.expect(noa, renewal_number=0, net={"usd": 1100}, status="active")
    stage.require(sub.previews == 1, "the preview has been announced")


@story(covers=("D77",), defines=("renewal:free_cycles",))
def free_plan(stage: Stage) -> Iterator[int]:
    """The cycles of a free plan count."""
    ada = stage.customer(None)
    sub = stage.subscribe(ada, stage.plan(0, interval="week"))
    for _ in range(4):
        yield stage.past_payment(sub)
    stage.expect(ada, renewal_number=4, status="active", has_access=True, net={}, revenue=())
