"""Status and access: trials, first payments, dunning, pauses, cancellations."""

from collections.abc import Iterator

from sandbox.periods import DAY, HOUR, WEEK, instant
from sandbox.stories.registry import story
from sandbox.stories.stage import Stage


@story(
    covers=("B21", "B22", "F112"),
    defines=("status:trialing", "status:active", "is_trial:trialing", "trial_end"),
)
def trial_converts(stage: Stage) -> Iterator[int]:
    """A trial with a card becomes a paid subscription an hour after it ends."""
    ada = stage.customer()
    sub = stage.subscribe(ada, stage.plan(2000), trial_seconds=14 * DAY)
    ends = sub.created + 14 * DAY
    stage.expect(ada, status="trialing", is_trial=True, trial_end=instant(ends), has_access=True)
    stage.expect(ada, renewal_number=0, net={})
    yield stage.past_boundary(sub)
    stage.expect(ada, status="active", is_trial=False, trial_end=None, net={}, renewal_number=0)
    yield 2 * HOUR
    stage.expect(ada, status="active", net={"usd": 2000}, renewal_number=0, lifetime_revenue=2000)
    stage.expect(ada, status_changes=("trialing", "active"))


@story(covers=("B23",), defines=("status:ended",))
def trial_without_card_cancels(stage: Stage) -> Iterator[int]:
    """A trial without a card is canceled at its end."""
    ben = stage.customer(None)
    sub = stage.subscribe(ben, stage.plan(), trial_seconds=7 * DAY, trial_without_card="cancel")
    yield stage.past_boundary(sub)
    stage.expect(ben, status="ended", has_access=False, is_trial=False, net={}, renewal_number=0)
    stage.require(sub.ended_at == sub.trial_end, "the subscription ends with its trial")


@story(covers=("B24",), defines=("status:paused", "has_access:paused"))
def trial_without_card_pauses(stage: Stage) -> Iterator[int]:
    """A trial without a card is paused at its end: shown as past_due although nothing is owed."""
    chi = stage.customer(None)
    sub = stage.subscribe(chi, stage.plan(), trial_seconds=7 * DAY, trial_without_card="pause")
    yield stage.past_boundary(sub)
    stage.expect(chi, status="past_due", has_access=False, is_trial=False, net={})


@story(covers=("B25",), defines=("status:canceled:trialing", "is_trial:canceled"))
def trial_canceled_at_its_end(stage: Stage) -> Iterator[int]:
    """A trial that will not continue is canceled but still a trial, until it ends."""
    dora = stage.customer()
    sub = stage.subscribe(dora, stage.plan(), trial_seconds=14 * DAY)
    yield stage.some_days(1, 5)
    stage.account.subscriptions.cancel_at_period_end(sub)
    stage.expect(dora, status="canceled", is_trial=True, has_access=True)
    stage.expect(dora, trial_end=instant(sub.created + 14 * DAY))
    yield stage.past_boundary(sub)
    stage.expect(dora, status="ended", is_trial=False, has_access=False, net={})


@story(covers=("B26",), defines=("status:trialing",))
def trial_kept_after_all(stage: Stage) -> Iterator[int]:
    """In classic mode a cancel_at before the end of a trial shortens it, and taking it back does not restore it."""
    emil = stage.customer()
    sub = stage.subscribe(emil, stage.plan(), trial_seconds=30 * DAY)
    yield 2 * DAY
    cut = stage.now + 10 * DAY
    stage.account.subscriptions.cancel_at(sub, cut)
    stage.expect(emil, status="canceled", is_trial=True, trial_end=instant(cut))
    yield 1 * DAY
    stage.account.subscriptions.keep(sub)
    stage.expect(emil, status="trialing", is_trial=True, trial_end=instant(cut), has_access=True)


@story(covers=("B27", "B30", "B31"), defines=("status:canceled:active", "status:ended", "products:canceled"))
def canceled_at_period_end(stage: Stage) -> Iterator[int]:
    """A paid subscription is canceled at the end of its period: access until then, ended at that very second."""
    fay = stage.customer()
    sub = stage.subscribe(fay, stage.plan(1500))
    yield stage.some_days(3, 20)
    asked = stage.now
    stage.account.subscriptions.cancel_at_period_end(sub)
    stage.expect(fay, status="canceled", has_access=True, net={"usd": 1500})
    product = stage.truth_of(fay).products[0]
    stage.require(
        (product.canceled_at, product.ended_at) == (instant(asked), None),
        "canceled_at is the time of the request",
    )
    end = sub.items[0].period_end
    yield stage.past_boundary(sub)
    stage.expect(fay, status="ended", has_access=False, status_changes=("active", "canceled", "ended"))
    stage.require(
        stage.truth_of(fay).products[0].ended_at == instant(end),
        "it ended with the period, not with the event",
    )


@story(covers=("B28", "F111"), defines=("status:canceled:cancel_at",))
def canceled_in_flexible_portal(stage: Stage) -> Iterator[int]:
    """In flexible mode the portal sets only cancel_at, not the flag."""
    gus = stage.customer()
    sub = stage.subscribe(gus, stage.plan(), billing_mode="flexible")
    yield stage.some_days(3, 20)
    stage.account.subscriptions.cancel_in_portal(sub)
    stage.expect(gus, status="canceled", has_access=True)
    yield stage.past_boundary(sub)
    stage.expect(gus, status="ended")


@story(covers=("B29",), defines=("status:active", "products:canceled"))
def cancellation_taken_back(stage: Stage) -> Iterator[int]:
    """A scheduled cancellation is undone before it takes effect."""
    hana = stage.customer()
    sub = stage.subscribe(hana, stage.plan())
    yield 5 * DAY
    stage.account.subscriptions.cancel_in_portal(sub)
    yield 2 * DAY
    stage.account.subscriptions.keep(sub)
    stage.expect(hana, status="active", status_changes=("active", "canceled", "active"))
    product = stage.truth_of(hana).products[0]
    stage.require(not product.canceled and product.canceled_at is None, "nothing is left of the cancellation")
    yield stage.past_payment(sub)
    stage.expect(hana, status="active", renewal_number=1, net={"usd": 4000})


@story(covers=("B32",), defines=("status:ended", "products:ended"))
def canceled_now(stage: Stage) -> Iterator[int]:
    """Canceled at once: ended, but the product stays in the record."""
    ida = stage.customer()
    sub = stage.subscribe(ida, stage.plan(900))
    yield stage.some_days(2, 25)
    stage.account.subscriptions.end(sub)
    stage.expect(ida, status="ended", has_access=False, subscription=sub, net={"usd": 900})
    stage.expect(ida, stripe_price_id=sub.items[0].price)


@story(covers=("B33",), defines=("status:incomplete", "status:active"))
def first_payment_needs_the_customer(stage: Stage) -> Iterator[int]:
    """The first payment waits for the bank's check; until then there is no status."""
    jan = stage.customer("needs_3ds")
    sub = stage.subscribe(jan, stage.plan())
    stage.expect(jan, status=None, has_access=False, subscription=None, net={})
    yield 20 * 60
    jan.payment_method = "good"
    stage.account.invoices.pay(stage.latest_invoice(sub))
    stage.expect(jan, status="active", has_access=True, net={"usd": 2000}, status_changes=("active",))


@story(covers=("B34",), defines=("status:incomplete_expired",))
def first_payment_never_made(stage: Stage) -> Iterator[int]:
    """A first payment that is never made expires after 23 hours and leaves no status."""
    kim = stage.customer(stage.choices.choice(("needs_3ds", "declines")))
    sub = stage.subscribe(kim, stage.plan())
    yield 24 * HOUR
    stage.expect(kim, status=None, has_access=False, net={}, status_changes=(), renewal_number=0)
    stage.require(sub.status == "incomplete_expired", "it has expired")


@story(covers=("B35",), defines=("current:never_started", "status:incomplete_expired"))
def ended_customer_looks_in_again(stage: Stage) -> Iterator[int]:
    """A customer that left opens a Checkout and abandons it: still ended, with the old product."""
    lea = stage.customer()
    old = stage.subscribe(lea, stage.plan(2500))
    began = stage.now
    yield stage.some_days(40, 70)
    stage.account.subscriptions.end(old)
    yield 10 * DAY
    stage.account.clients.open_checkout(lea, mode="subscription", amount=5000)
    lea.payment_method = "needs_3ds"
    stage.subscribe(lea, stage.plan(5000))
    stage.expect(lea, status="ended", subscription=old, subscription_date=instant(began))
    yield 25 * HOUR
    stage.expect(lea, status="ended", subscription=old, subscription_date=instant(began), last_seen=None)


@story(covers=("B36",), defines=("current:never_started", "status:incomplete"))
def second_checkout_incomplete(stage: Stage) -> Iterator[int]:
    """An active customer starts a second subscription that waits for its payment: the first still speaks."""
    max_ = stage.customer()
    first = stage.subscribe(max_, stage.plan(1000))
    yield 9 * DAY
    max_.payment_method = "needs_3ds"
    stage.subscribe(max_, stage.plan(3000))
    stage.expect(max_, status="active", subscription=first)
    max_.payment_method = "good"
    yield 2 * DAY
    stage.expect(max_, status="active", subscription=first, net={"usd": 1000})


@story(covers=("B37", "B38"), defines=("status:past_due", "has_access:past_due"))
def renewal_fails_and_recovers(stage: Stage) -> Iterator[int]:
    """A renewal fails, retries fail, a new card pays: past_due with access, then active, one payment."""
    noa = stage.customer()
    sub = stage.subscribe(noa, stage.plan(2000))
    yield 10 * DAY
    stage.account.clients.set_payment_method(noa, "declines")
    yield stage.past_payment(sub)
    stage.expect(noa, status="past_due", has_access=True, renewal_number=1, net={"usd": 2000})
    yield 9 * DAY
    stage.expect(noa, status="past_due", has_access=True, renewal_number=1, net={"usd": 2000})
    stage.account.clients.set_payment_method(noa, "good")
    stage.account.invoices.pay(stage.latest_invoice(sub))
    stage.expect(noa, status="active", renewal_number=1, net={"usd": 4000})
    stage.expect(noa, status_changes=("active", "past_due", "active"))


@story(covers=("B39",), defines=("status:active",))
def debt_forgiven(stage: Stage) -> Iterator[int]:
    """A failed renewal is marked uncollectible: active again, although nobody paid."""
    ada = stage.customer()
    sub = stage.subscribe(ada, stage.plan(2000))
    ada.payment_method = "declines"
    yield stage.past_payment(sub)
    stage.expect(ada, status="past_due")
    yield 1 * DAY
    stage.account.invoices.mark_uncollectible(stage.latest_invoice(sub))
    stage.expect(ada, status="active", net={"usd": 2000}, renewal_number=1)


@story(covers=("B40", "D79"), defines=("status:unpaid", "has_access:unpaid", "renewal:any_status"))
def retries_exhausted_unpaid(stage: Stage) -> Iterator[int]:
    """All retries fail and the subscription goes unpaid: no access, and its cycles continue as drafts."""
    ben = stage.customer()
    sub = stage.subscribe(ben, stage.plan(2000), after_retries="unpaid")
    ben.payment_method = "declines"
    yield stage.past_payment(sub) + 16 * DAY
    stage.expect(ben, status="past_due", has_access=False, renewal_number=1)
    for _ in range(3):
        yield stage.past_payment(sub)
    stage.expect(ben, status="past_due", has_access=False, renewal_number=4, net={"usd": 2000})
    stage.account.clients.set_payment_method(ben, "good")
    stage.account.invoices.pay(stage.latest_invoice(sub))
    stage.expect(ben, status="active", has_access=True, renewal_number=4, net={"usd": 4000})


@story(covers=("B41",), defines=("status:ended",))
def retries_exhausted_canceled(stage: Stage) -> Iterator[int]:
    """All retries fail and the subscription is canceled."""
    chi = stage.customer()
    sub = stage.subscribe(chi, stage.plan(2000), after_retries="cancel")
    yield 3 * DAY
    chi.payment_method = "declines"
    yield stage.past_payment(sub) + 16 * DAY
    stage.expect(chi, status="ended", has_access=False, status_changes=("active", "past_due", "ended"))
    stage.require(sub.cancellation_reason == "payment_failed", "canceled for the payment")


@story(covers=("B42",), defines=("status:paused", "has_access:paused"))
def paused_on_first_failure(stage: Stage) -> Iterator[int]:
    """The account pauses a subscription at its first failed payment; paying resumes it."""
    dora = stage.customer()
    sub = stage.subscribe(dora, stage.plan(2000), billing_mode="flexible", pause_on_first_failure=True)
    dora.payment_method = "declines"
    yield stage.past_payment(sub)
    stage.expect(dora, status="past_due", has_access=False)
    yield 1 * DAY
    stage.account.clients.set_payment_method(dora, "good")
    stage.account.invoices.pay(stage.latest_invoice(sub))
    stage.expect(dora, status="active", has_access=True, net={"usd": 4000}, renewal_number=1)


@story(covers=("B43", "D78"), defines=("status:paused", "renewal:paused"))
def paused_by_request(stage: Stage) -> Iterator[int]:
    """The pause endpoint stops everything for two months; resumed, it stays paused until its invoice is paid."""
    emil = stage.customer()
    sub = stage.subscribe(emil, stage.plan(2000), billing_mode="flexible")
    yield stage.past_payment(sub)
    stage.expect(emil, status="active", renewal_number=1)
    yield 3 * DAY
    stage.account.subscriptions.pause(sub)
    stage.expect(emil, status="past_due", has_access=False, renewal_number=1)
    yield 61 * DAY
    stage.expect(emil, status="past_due", renewal_number=1, net={"usd": 4000})
    emil.payment_method = "declines"
    invoice = stage.account.subscriptions.resume(sub)
    stage.expect(emil, status="past_due", has_access=False, renewal_number=1)
    yield 1 * DAY
    stage.account.clients.set_payment_method(emil, "good")
    stage.account.invoices.pay(invoice)
    stage.expect(emil, status="active", has_access=True, renewal_number=1, net={"usd": 6000})
    yield stage.past_payment(sub)
    stage.expect(emil, status="active", renewal_number=2, net={"usd": 8000})


@story(covers=("B44", "D78"), defines=("renewal:any_status",))
def collection_paused(stage: Stage) -> Iterator[int]:
    """Collection is paused with void for two cycles: active throughout, the cycles count, nothing is paid."""
    fay = stage.customer()
    sub = stage.subscribe(fay, stage.plan(2000))
    yield 10 * DAY
    stage.account.subscriptions.pause_collection(sub, stage.choices.choice(("void", "mark_uncollectible")))
    for _ in range(2):
        yield stage.past_payment(sub)
        stage.expect(fay, status="active", has_access=True, net={"usd": 2000})
    stage.expect(fay, renewal_number=2)
    stage.account.subscriptions.pause_collection(sub, None)
    yield stage.past_payment(sub)
    stage.expect(fay, status="active", renewal_number=3, net={"usd": 4000}, status_changes=("active",))


@story(covers=("D79",), defines=("renewal:any_status",))
def collection_kept_as_draft(stage: Stage) -> Iterator[int]:
    """Collection is paused with keep_as_draft: the cycles' invoices stay drafts and count."""
    gus = stage.customer()
    sub = stage.subscribe(gus, stage.plan(1200))
    stage.account.subscriptions.pause_collection(sub, "keep_as_draft")
    for _ in range(3):
        yield stage.past_payment(sub)
    stage.expect(gus, status="active", renewal_number=3, net={"usd": 1200})


@story(covers=("B45",), defines=("status:past_due", "products:canceled"))
def past_due_and_leaving(stage: Stage) -> Iterator[int]:
    """A customer in arrears cancels at the period's end: past_due, and the product says canceled."""
    hana = stage.customer()
    sub = stage.subscribe(hana, stage.plan(2000), after_retries="past_due")
    hana.payment_method = "declines"
    yield stage.past_payment(sub)
    stage.account.subscriptions.cancel_at_period_end(sub)
    stage.expect(hana, status="past_due", has_access=True)
    stage.require(stage.truth_of(hana).products[0].canceled, "the product says that it is leaving")
    yield stage.past_boundary(sub)
    stage.expect(hana, status="ended", net={"usd": 2000})


@story(covers=("B46",), defines=("status:active", "revenue:failed_charge"))
def debit_fails_after_days(stage: Stage) -> Iterator[int]:
    """A first bank debit is returned after five days: its invoice is void, the subscription stays active."""
    ida = stage.customer("debit_fails")
    sub = stage.subscribe(ida, stage.plan(2000))
    stage.expect(ida, status="active", has_access=True, net={})
    yield 6 * DAY
    stage.expect(ida, status="active", net={})
    stage.require(stage.latest_invoice(sub).status == "void", "Stripe voids the invoice")


@story(covers=("B46", "E86"), defines=("status:active", "revenue:pending_charge"))
def debit_succeeds_after_days(stage: Stage) -> Iterator[int]:
    """A first bank debit settles after five days: only then is it revenue."""
    jan = stage.customer("debit")
    stage.subscribe(jan, stage.plan(2000))
    stage.expect(jan, status="active", net={})
    yield 6 * DAY
    stage.expect(jan, status="active", net={"usd": 2000})


@story(covers=("B47",), defines=("status:active", "status:past_due", "revenue:out_of_band"))
def invoiced_customer_pays_late(stage: Stage) -> Iterator[int]:
    """A customer on invoice lets the due date pass and then pays by bank transfer."""
    kim = stage.customer(None)
    sub = stage.subscribe(kim, stage.plan(9000), collection_method="send_invoice", days_until_due=14)
    stage.expect(kim, status="active", has_access=True, net={})
    yield 10 * DAY
    stage.expect(kim, status="active")
    yield 5 * DAY
    stage.expect(kim, status="past_due", has_access=True)
    invoice = stage.latest_invoice(sub)
    if stage.number % 2:
        stage.account.invoices.pay_out_of_band(invoice)
    else:
        stage.account.invoices.pay_bank_transfer(invoice, 9000)
    stage.expect(kim, status="active", net={"usd": 9000})


@story(covers=("B48", "F123"), defines=("status:canceled:cancel_at",))
def schedule_ends_by_canceling(stage: Stage) -> Iterator[int]:
    """A schedule that ends by canceling shows it only in its last phase."""
    lea = stage.customer()
    sub = stage.subscribe(lea, stage.plan(2000))
    schedule = stage.account.schedules.end_after_next_period(sub)
    yield 3 * DAY
    stage.expect(lea, status="active")
    yield stage.past_payment(sub)
    stage.expect(lea, status="canceled", has_access=True, renewal_number=1)
    yield stage.past_boundary(sub)
    stage.require(schedule.status == "completed", "the schedule has done what it should")
    stage.expect(lea, status="ended", renewal_number=1, net={"usd": 4000})


@story(covers=("B49",), defines=("status:canceled:cancel_at",))
def fixed_term(stage: Stage) -> Iterator[int]:
    """A fixed term of four periods counts as canceled from its first day, renews, and ends."""
    max_ = stage.customer()
    sub = stage.subscribe(max_, stage.plan(1000, interval="week"))
    stage.account.subscriptions.cancel_at(sub, sub.created + 4 * WEEK)
    stage.expect(max_, status="canceled", has_access=True)
    for n in (1, 2, 3):
        yield stage.past_payment(sub)
        stage.expect(max_, status="canceled", has_access=True, renewal_number=n)
    yield stage.past_boundary(sub)
    stage.expect(max_, status="ended", has_access=False, renewal_number=3, net={"usd": 4000})


@story(covers=("B50", "E87"), defines=("status:ended", "revenue:dispute_withdrawn"))
def dispute_cancels(stage: Stage) -> Iterator[int]:
    """The account cancels on a chargeback: ended about an hour later."""
    noa = stage.customer()
    sub = stage.subscribe(noa, stage.plan(2000))
    yield 12 * DAY
    stage.account.payments.dispute(stage.charge_of(stage.latest_invoice(sub)), cancels_subscription=True)
    stage.expect(noa, status="active", net={})
    yield 2 * HOUR
    stage.expect(noa, status="ended", net={})
    stage.require(sub.cancellation_reason == "payment_disputed", "canceled for the dispute")


@story(covers=("B51", "E87"), defines=("status:active", "revenue:dispute_withdrawn"))
def dispute_does_not_cancel(stage: Stage) -> Iterator[int]:
    """Without that setting a chargeback leaves the subscription alone; when it is lost, the money stays away."""
    ada = stage.customer()
    sub = stage.subscribe(ada, stage.plan(2000))
    yield 12 * DAY
    dispute = stage.account.payments.dispute(stage.charge_of(stage.latest_invoice(sub)))
    yield 5 * DAY
    stage.expect(ada, status="active", net={})
    stage.account.payments.close_dispute(dispute, "lost")
    stage.expect(ada, status="active", net={})


@story(covers=("B52",), defines=("status:past_due", "status:active"))
def open_invoice_voided_by_hand(stage: Stage) -> Iterator[int]:
    """The open invoice of a past_due subscription is voided: the earlier, paid one decides again."""
    ben = stage.customer()
    sub = stage.subscribe(ben, stage.plan(2000))
    ben.payment_method = "declines"
    yield stage.past_payment(sub)
    stage.expect(ben, status="past_due")
    yield 2 * DAY
    stage.account.invoices.void(stage.latest_invoice(sub))
    stage.expect(ben, status="active", renewal_number=1, net={"usd": 2000})


@story(covers=("B53",), defines=("status:active",))
def billing_mode_migrated(stage: Stage) -> Iterator[int]:
    """A subscription moves from classic to flexible mode midway: the record does not change."""
    chi = stage.customer()
    sub = stage.subscribe(chi, stage.plan(2000), trial_seconds=7 * DAY)
    yield stage.past_payment(sub)
    yield stage.past_payment(sub)
    stage.account.subscriptions.become_flexible(sub)
    stage.expect(chi, status="active", renewal_number=1, net={"usd": 4000})
    yield stage.past_payment(sub)
    stage.expect(chi, status="active", renewal_number=2, net={"usd": 6000})


@story(covers=("B21",), defines=("status:trialing", "is_trial:trialing", "trial_end"))
def long_trial(stage: Stage) -> Iterator[int]:
    """A trial of most of a year is still running when all other stories are over."""
    dora = stage.customer()
    sub = stage.subscribe(dora, stage.plan(4000), trial_seconds=300 * DAY)
    yield stage.some_days(20, 60)
    stage.expect(dora, status="trialing", is_trial=True, trial_end=instant(sub.created + 300 * DAY))
    stage.expect(dora, net={}, renewal_number=0, has_access=True)


@story(covers=("B25",), defines=("status:canceled:trialing", "is_trial:canceled", "trial_end"))
def long_trial_that_will_not_go_on(stage: Stage) -> Iterator[int]:
    """A long trial is canceled in the flexible portal and is still running when all other stories are over."""
    emil = stage.customer()
    sub = stage.subscribe(emil, stage.plan(4000), trial_seconds=300 * DAY, billing_mode="flexible")
    yield stage.some_days(20, 60)
    stage.account.subscriptions.cancel_in_portal(sub)
    stage.expect(emil, status="canceled", is_trial=True, trial_end=instant(sub.created + 300 * DAY))


@story(covers=("B40",), defines=("status:unpaid", "has_access:unpaid"))
def stays_unpaid(stage: Stage) -> Iterator[int]:
    """A customer never comes back to an unpaid subscription: it stays as it is, without access."""
    fay = stage.customer()
    sub = stage.subscribe(fay, stage.plan(800, interval="week"), after_retries="unpaid")
    fay.payment_method = "declines"
    yield stage.past_payment(sub) + 16 * DAY
    stage.require(sub.status == "unpaid", "all retries have failed")
    stage.expect(fay, status="past_due", has_access=False, net={"usd": 800})


@story(defines=("status:past_due", "has_access:past_due"))
def stays_past_due(stage: Stage) -> Iterator[int]:
    """All retries fail and the account leaves the subscription past_due: it keeps its access."""
    gus = stage.customer()
    sub = stage.subscribe(gus, stage.plan(2000), after_retries="past_due")
    gus.payment_method = "declines"
    yield stage.past_payment(sub) + 16 * DAY
    stage.expect(gus, status="past_due", has_access=True, renewal_number=1, net={"usd": 2000})


@story(covers=("B42",), defines=("status:paused", "has_access:paused"))
def paused_on_final_failure(stage: Stage) -> Iterator[int]:
    """All retries fail and the account pauses the subscription: past_due without access."""
    hana = stage.customer()
    sub = stage.subscribe(hana, stage.plan(2000), billing_mode="flexible", after_retries="pause")
    hana.payment_method = "declines"
    yield stage.past_payment(sub)
    stage.expect(hana, status="past_due", has_access=True)
    yield 16 * DAY
    stage.expect(hana, status="past_due", has_access=False, renewal_number=1, net={"usd": 2000})
