"""Revenue: what a customer has paid, net of what was given back, per currency."""

from collections.abc import Iterator

from sandbox.objects import PaymentIntent
from sandbox.periods import DAY, HOUR
from sandbox.stories.registry import story
from sandbox.stories.stage import Stage


@story(covers=("E80",), defines=("revenue:gross",))
def one_payment(stage: Stage) -> Iterator[int]:
    """One charge, seen through its intent, its invoice and its invoice payment, is one payment."""
    ada = stage.customer()
    stage.subscribe(ada, stage.plan(2000))
    stage.expect(ada, net={"usd": 2000}, lifetime_revenue=2000, revenue_currency="usd")
    yield 1 * DAY


@story(covers=("E81",), defines=("revenue:refunded",))
def refunded_in_two_parts(stage: Stage) -> Iterator[int]:
    """A payment goes back in two parts; a full refund does not cancel."""
    ben = stage.customer()
    sub = stage.subscribe(ben, stage.plan(2000))
    charge = stage.charge_of(stage.latest_invoice(sub))
    yield 2 * DAY
    stage.account.payments.refund(charge, 500)
    stage.expect(ben, net={"usd": 1500})
    yield 1 * DAY
    stage.account.payments.refund(charge, 1500)
    stage.expect(ben, net={}, lifetime_revenue=0, revenue_currency="usd", status="active")


@story(covers=("E82",), defines=("revenue:refund_failed",))
def refund_fails(stage: Stage) -> Iterator[int]:
    """A refund succeeds and fails some seconds later: the money is back, whatever the charge's counter says."""
    chi = stage.customer()
    sub = stage.subscribe(chi, stage.plan(2000))
    charge = stage.charge_of(stage.latest_invoice(sub))
    yield 3 * DAY
    refund = stage.account.payments.refund(charge, stage.choices.choice((500, 2000)))
    yield 4
    stage.account.payments.undo_refund(refund, amount_refunded_falls_back=stage.number % 2 == 0)
    stage.expect(chi, net={"usd": 2000})


@story(covers=("E82",), defines=("revenue:refund_failed", "revenue:refunded"))
def refund_fails_and_is_repeated(stage: Stage) -> Iterator[int]:
    """Of two refunds the first fails: only the second counts."""
    dora = stage.customer()
    _, charge = stage.account.payments.pay_once(dora, 3000)
    yield 1 * DAY
    first = stage.account.payments.refund(charge, 700)
    yield 5 * DAY
    stage.account.payments.undo_refund(first, amount_refunded_falls_back=True)
    yield 1 * HOUR
    stage.account.payments.refund(charge, 700)
    stage.expect(dora, net={"usd": 2300})


@story(covers=("E83",), defines=("revenue:refund_pending",))
def refund_pending_then_canceled(stage: Stage) -> Iterator[int]:
    """A pending refund counts at once; once it is canceled, it does not count."""
    emil = stage.customer()
    _, charge = stage.account.payments.pay_once(emil, 2000)
    yield 1 * DAY
    refund = stage.account.payments.refund(
        charge, 500, status=stage.choices.choice(("pending", "requires_action"))
    )
    stage.expect(emil, net={"usd": 1500})
    yield 2 * DAY
    stage.account.payments.undo_refund(refund, status="canceled", amount_refunded_falls_back=True)
    stage.expect(emil, net={"usd": 2000})


@story(covers=("E83",), defines=("revenue:refund_pending",))
def refund_pending_then_done(stage: Stage) -> Iterator[int]:
    """A pending refund counts at once and goes through."""
    fay = stage.customer()
    _, charge = stage.account.payments.pay_once(fay, 2000)
    refund = stage.account.payments.refund(charge, 500, status="pending")
    stage.expect(fay, net={"usd": 1500})
    yield 2 * DAY
    stage.account.payments.complete_refund(refund)
    stage.expect(fay, net={"usd": 1500})


@story(covers=("E84",), defines=("revenue:partial_capture",))
def captured_in_part(stage: Stage) -> Iterator[int]:
    """Less is captured than was authorized: the released part is no refund, a later refund is."""
    gus = stage.customer()
    charge = stage.account.payments.authorize(gus, 20675)
    stage.expect(gus, net={})
    yield 2 * DAY
    stage.account.payments.capture(charge, 20300)
    stage.expect(gus, net={"usd": 20300})
    yield 1 * DAY
    stage.account.payments.refund(charge, 300)
    stage.expect(gus, net={"usd": 20000})


@story(covers=("E85",), defines=("revenue:uncaptured",))
def authorization_canceled(stage: Stage) -> Iterator[int]:
    """An authorization that is never captured is no revenue, and canceling it is no refund."""
    hana = stage.customer()
    charge = stage.account.payments.authorize(hana, 5000)
    yield 6 * DAY
    stage.account.payments.cancel_authorization(charge)
    stage.expect(hana, net={}, revenue=())


@story(covers=("E86",), defines=("revenue:pending_charge", "revenue:failed_charge"), customers=2)
def bank_debits(stage: Stage) -> Iterator[int]:
    """Two bank debits are pending for days: one fails and one comes through."""
    ida, jan = stage.customer(), stage.customer()
    stage.account.payments.pay_by_debit(ida, 2000, succeeds=False)
    stage.account.payments.pay_by_debit(jan, 2000, succeeds=True)
    stage.expect(ida, net={})
    stage.expect(jan, net={})
    yield 6 * DAY
    stage.expect(ida, net={}, revenue=())
    stage.expect(jan, net={"usd": 2000})


@story(covers=("E87",), defines=("revenue:dispute_withdrawn", "revenue:dispute_reinstated"))
def chargeback_won(stage: Stage) -> Iterator[int]:
    """A chargeback takes the money at once and gives it back when it is won."""
    kim = stage.customer()
    _, charge = stage.account.payments.pay_once(kim, 2000)
    yield 9 * DAY
    dispute = stage.account.payments.dispute(charge)
    stage.expect(kim, net={}, lifetime_revenue=0)
    yield 3 * DAY
    stage.account.payments.move_dispute(dispute, "under_review")
    yield 30 * DAY
    stage.account.payments.close_dispute(dispute, "won")
    stage.expect(kim, net={"usd": 2000})


@story(covers=("E88",), defines=("revenue:inquiry",))
def inquiry_closed(stage: Stage) -> Iterator[int]:
    """An inquiry moves no money."""
    lea = stage.customer()
    _, charge = stage.account.payments.pay_once(lea, 2000)
    yield 4 * DAY
    dispute = stage.account.payments.dispute(charge, inquiry=True)
    stage.expect(lea, net={"usd": 2000})
    yield 20 * DAY
    stage.account.payments.close_dispute(dispute, "warning_closed")
    stage.expect(lea, net={"usd": 2000})


@story(covers=("E89",), defines=("revenue:dispute_withdrawn", "revenue:refunded"))
def refunded_in_part_then_disputed(stage: Stage) -> Iterator[int]:
    """Part is refunded, the rest is lost in a dispute: exactly nothing is left."""
    max_ = stage.customer()
    _, charge = stage.account.payments.pay_once(max_, 2000)
    yield 1 * DAY
    stage.account.payments.refund(charge, 500)
    yield 5 * DAY
    dispute = stage.account.payments.dispute(charge, amount=1500)
    yield 20 * DAY
    stage.account.payments.close_dispute(dispute, "lost")
    stage.expect(max_, net={}, lifetime_revenue=0)


@story(covers=("E90",), defines=("revenue:fees",))
def dispute_fee(stage: Stage) -> Iterator[int]:
    """The fee of a lost dispute is the account's cost and not taken from the customer's revenue."""
    noa = stage.customer()
    stage.account.payments.pay_once(noa, 5000)
    _, charge = stage.account.payments.pay_once(noa, 2000)
    yield 5 * DAY
    dispute = stage.account.payments.dispute(charge)
    stage.require(dispute.balance_transactions[0].fee == 1500, "there is a fee")
    yield 20 * DAY
    stage.account.payments.close_dispute(dispute, "lost")
    stage.expect(noa, net={"usd": 5000})


@story(covers=("E91",), defines=("revenue:dispute_currency",))
def dispute_in_another_currency(stage: Stage) -> Iterator[int]:
    """The bank disputes in euros what was paid in dollars: dollars are taken, euros never appear."""
    ada = stage.customer()
    _, charge = stage.account.payments.pay_once(ada, 2000)
    yield 5 * DAY
    stage.account.payments.dispute(charge, shown_currency="eur", shown_amount=1850)
    stage.expect(ada, net={}, revenue_currency="usd")
    stage.require([row.currency for row in stage.truth_of(ada).revenue] == ["usd"], "only dollars")


@story(covers=("E92",), defines=("revenue:below_zero",))
def refunded_and_returned(stage: Stage) -> Iterator[int]:
    """A bank debit is refunded and returned by the bank as well: the money is lost twice."""
    ben = stage.customer()
    charge = stage.account.payments.pay_by_debit(ben, 2000, succeeds=True)
    yield 6 * DAY
    stage.account.payments.refund(charge, 2000)
    yield 2 * DAY
    stage.account.payments.dispute(charge, amount=2000)
    stage.expect(ben, net={"usd": -2000}, lifetime_revenue=-2000)


@story(covers=("E93", "F122"), defines=("revenue:dispute_reinstated",))
def appeal_won(stage: Stage) -> Iterator[int]:
    """A lost dispute is appealed and won: the money comes back."""
    chi = stage.customer()
    _, charge = stage.account.payments.pay_once(chi, 2000)
    yield 5 * DAY
    dispute = stage.account.payments.dispute(charge)
    yield 20 * DAY
    stage.account.payments.close_dispute(dispute, "lost")
    stage.expect(chi, net={})
    yield 5 * DAY
    stage.account.payments.move_dispute(dispute, "appeal_under_review")
    stage.expect(chi, net={})
    yield 20 * DAY
    stage.account.payments.close_dispute(dispute, "won")
    stage.expect(chi, net={"usd": 2000})


@story(covers=("E94", "E97"), defines=("revenue:out_of_band",))
def invoice_paid_out_of_band(stage: Stage) -> Iterator[int]:
    """One invoice is paid outside Stripe, with or without a payment record, the next by card."""
    dora = stage.customer()
    invoice = stage.account.invoices.bill_once(dora, 2000, "Workshop", collects=False)
    yield 3 * DAY
    stage.account.invoices.pay_out_of_band(invoice, recorded=stage.number % 2 == 0)
    stage.expect(dora, net={"usd": 2000})
    row = stage.truth_of(dora).revenue[0]
    stage.require((row.gross, row.out_of_band) == (0, 2000), "all of it came from outside")
    yield 3 * DAY
    stage.account.invoices.bill_once(dora, 2000, "Workshop")
    stage.expect(dora, net={"usd": 4000})


@story(covers=("E95",), defines=("revenue:out_of_band", "revenue:gross"))
def invoice_paid_both_ways(stage: Stage) -> Iterator[int]:
    """A third of an invoice is paid outside Stripe, the rest by card."""
    emil = stage.customer()
    invoice = stage.account.invoices.bill_once(emil, 3000, "Setup", collects=False)
    yield 1 * DAY
    stage.account.invoices.pay_out_of_band(invoice, 1000)
    stage.expect(emil, net={"usd": 1000})
    yield 1 * DAY
    stage.account.invoices.pay(invoice)
    stage.expect(emil, net={"usd": 3000})
    row = stage.truth_of(emil).revenue[0]
    stage.require((row.gross, row.out_of_band) == (2000, 1000), "one part each way")


@story(covers=("E98",), defines=("revenue:credit_balance",))
def balance_topped_up(stage: Stage) -> Iterator[int]:
    """A top-up is revenue when it is paid; the invoice that is paid from it is not."""
    fay = stage.customer()
    stage.account.payments.pay_once(fay, 10000)
    stage.account.clients.credit(fay, 10000)
    stage.expect(fay, net={"usd": 10000})
    yield 4 * DAY
    invoice = stage.account.invoices.bill_once(fay, 4000, "Consulting")
    stage.require((invoice.status, invoice.amount_due) == ("paid", 0), "the balance covers it")
    stage.expect(fay, net={"usd": 10000})


@story(covers=("E99",), defines=("revenue:credit_balance", "revenue:overpaid"))
def invoice_overpaid(stage: Stage) -> Iterator[int]:
    """More is transferred than was asked; the next invoice is paid from the surplus."""
    gus = stage.customer(None)
    invoice = stage.account.invoices.bill_once(gus, 2000, "Seats", collects=False)
    yield 2 * DAY
    stage.account.invoices.pay_bank_transfer(invoice, 2500)
    stage.expect(gus, net={"usd": 2500})
    yield 20 * DAY
    stage.account.invoices.bill_once(gus, 500, "Seats")
    stage.expect(gus, net={"usd": 2500})


@story(covers=("E100",), defines=("revenue:none",))
def invoice_credited_to_nothing(stage: Stage) -> Iterator[int]:
    """A credit note reduces an open invoice to nothing: paid, without money."""
    hana = stage.customer()
    invoice = stage.account.invoices.bill_once(hana, 2000, "Mistake", collects=False)
    yield 1 * DAY
    stage.account.invoices.credit_before_payment(invoice, 2000)
    stage.require(invoice.status == "paid", "nothing is left to pay")
    stage.expect(hana, net={}, revenue=())


@story(covers=("E101", "F109"), defines=("revenue:none", "status:active"))
def everything_off(stage: Stage) -> Iterator[int]:
    """A coupon takes everything off: active, without money."""
    ida = stage.customer()
    sub = stage.subscribe(ida, stage.plan(2000), percent_off=100)
    yield stage.past_payment(sub)
    stage.expect(ida, status="active", renewal_number=1, net={}, revenue=())


@story(covers=("F109",), defines=("revenue:gross",))
def half_off(stage: Stage) -> Iterator[int]:
    """A coupon takes half off: what is paid counts."""
    jan = stage.customer()
    stage.subscribe(jan, stage.plan(2000), percent_off=50)
    stage.expect(jan, net={"usd": 1000})
    yield 1 * DAY


@story(covers=("E102",), defines=("revenue:gross",))
def stripe_keeps_a_payment_record(stage: Stage) -> Iterator[int]:
    """A payment through Stripe that also has a payment record, reported by Stripe, is one payment."""
    kim = stage.customer()
    sub = stage.subscribe(kim, stage.plan(2000))
    intent = stage.account.find(stage.charge_of(stage.latest_invoice(sub)).payment_intent or "")
    if not isinstance(intent, PaymentIntent):
        raise TypeError("the charge has an intent")
    intent.payment_record = stage.account.new_id("pr_")
    yield 1 * DAY
    stage.expect(kim, net={"usd": 2000})


@story(covers=("E103",), defines=("revenue:currencies",))
def several_currencies(stage: Stage) -> Iterator[int]:
    """Dollars, then euros, then yen: never added up; the single number is that of the currency with the most."""
    lea = stage.customer()
    stage.account.payments.pay_once(lea, 2000, "usd")
    yield 10 * DAY
    stage.account.payments.pay_once(lea, 3100, "eur")
    stage.expect(lea, net={"usd": 2000, "eur": 3100}, lifetime_revenue=3100, revenue_currency="eur")
    yield 5 * DAY
    stage.account.payments.pay_once(lea, 500, "jpy")
    stage.expect(lea, net={"usd": 2000, "eur": 3100, "jpy": 500}, revenue_currency="eur")


@story(covers=("E103",), defines=("revenue:currency_tie",))
def equal_in_two_currencies(stage: Stage) -> Iterator[int]:
    """As many dollars as euros, and the dollars were refunded: by what was paid, then the alphabet."""
    max_ = stage.customer()
    stage.account.payments.pay_once(max_, 1500, "usd")
    _, euros = stage.account.payments.pay_once(max_, 1500, "eur")
    yield 1 * DAY
    stage.account.payments.refund(euros, 1500)
    stage.expect(max_, lifetime_revenue=0, revenue_currency="eur", net={"usd": 1500})


@story(covers=("E103",), defines=("revenue:zero_decimal",))
def paid_in_yen(stage: Stage) -> Iterator[int]:
    """Yen have no cents."""
    noa = stage.customer()
    stage.subscribe(noa, stage.plan(500, currency="jpy"))
    stage.expect(noa, net={"jpy": 500}, lifetime_revenue=500, revenue_currency="jpy")
    yield 1 * DAY


@story(covers=("E104",), defines=("revenue:attributed_by_session", "last_seen:checkout"))
def guest_payment(stage: Stage) -> Iterator[int]:
    """A Checkout payment whose charge names no customer belongs to the session's customer."""
    ada = stage.customer()
    session = stage.account.clients.open_checkout(ada, mode="payment", amount=1800)
    yield 5 * 60
    intent, _ = stage.account.payments.pay_once(ada, 1800, named=False)
    stage.account.clients.complete_checkout(session, intent=intent)
    stage.expect(ada, net={"usd": 1800})


@story(covers=("E105",), defines=("revenue:gross_of_transfers",))
def destination_charge(stage: Stage) -> Iterator[int]:
    """The platform charges and passes most of it on: all of it is its revenue, the passed-on payment is not."""
    ben = stage.customer()
    stage.account.payments.destination_charge(
        ben, 10000, to=stage.world.account("acct_1SandboxNorth").payments, share=9000
    )
    stage.expect(ben, net={"usd": 10000})
    yield 1 * DAY


@story(covers=("E106",), defines=("revenue:one_off",))
def one_off_purchases(stage: Stage) -> Iterator[int]:
    """A one-off invoice and a one-off Checkout both count, without any subscription."""
    chi = stage.customer()
    stage.account.invoices.bill_once(chi, 1200, "Book")
    yield 2 * DAY
    session = stage.account.clients.open_checkout(chi, mode="payment", amount=800)
    yield 3 * 60
    intent, _ = stage.account.payments.pay_once(chi, 800)
    stage.account.clients.complete_checkout(session, intent=intent)
    stage.expect(chi, net={"usd": 2000}, status=None)


@story(covers=("E107", "A17"), defines=("revenue:deleted_customer", "status:deleted", "deleted_at"))
def deleted_after_paying(stage: Stage) -> Iterator[int]:
    """A paying customer is deleted: ended, no access, the revenue stays."""
    dora = stage.customer()
    sub = stage.subscribe(dora, stage.plan(2000, interval="week"))
    yield stage.past_payment(sub)
    yield 2 * DAY
    stage.account.clients.delete(dora)
    stage.expect(dora, status="ended", has_access=False, net={"usd": 4000}, renewal_number=1)
    yield 9 * DAY
    stage.expect(dora, status="ended", has_access=False, net={"usd": 4000}, renewal_number=1)


@story(covers=("E107", "A17"), defines=("status:deleted", "is_trial:deleted"))
def deleted_on_trial(stage: Stage) -> Iterator[int]:
    """A customer on trial is deleted: ended, and no trial any more."""
    emil = stage.customer()
    stage.subscribe(emil, stage.plan(2000), trial_seconds=14 * DAY)
    yield 3 * DAY
    stage.account.clients.delete(emil)
    stage.expect(emil, status="ended", is_trial=False, trial_end=None, has_access=False, revenue=())


@story(covers=("E83",), defines=("revenue:refund_pending",))
def refund_still_pending(stage: Stage) -> Iterator[int]:
    """A refund that stays pending is subtracted throughout."""
    fay = stage.customer()
    _, charge = stage.account.payments.pay_once(fay, 2000)
    yield 1 * DAY
    stage.account.payments.refund(charge, 600, status="pending")
    stage.expect(fay, net={"usd": 1400})


@story(covers=("E85",), defines=("revenue:uncaptured",))
def authorization_still_open(stage: Stage) -> Iterator[int]:
    """An authorization that waits for its capture is no revenue."""
    gus = stage.customer()
    stage.account.payments.authorize(gus, 5000)
    yield 1 * DAY
    stage.expect(gus, net={}, revenue=())


@story(covers=("E96",), defines=("revenue:out_of_band_returned", "revenue:out_of_band"))
def out_of_band_given_back(stage: Stage) -> Iterator[int]:
    """An invoice is paid outside Stripe; part of it is given back the same way, by a credit note."""
    hana = stage.customer()
    invoice = stage.account.invoices.bill_once(hana, 2000, "Workshop", collects=False)
    yield 1 * DAY
    stage.account.invoices.pay_out_of_band(invoice)
    yield 1 * DAY
    stage.account.invoices.credit_after_payment(invoice, out_of_band=400)
    stage.expect(hana, net={"usd": 1600})
    row = stage.truth_of(hana).revenue[0]
    stage.require((row.gross, row.refunded, row.out_of_band) == (0, 0, 1600), "it came and went outside")


@story(covers=("E96",), defines=("revenue:out_of_band_returned", "revenue:out_of_band"))
def record_given_back(stage: Stage) -> Iterator[int]:
    """A payment that Stripe only keeps a record of is refunded by a credit note, and some more is given back."""
    ivo = stage.customer()
    invoice = stage.account.invoices.bill_once(ivo, 3000, "Course", collects=False)
    yield 1 * DAY
    stage.account.invoices.pay_out_of_band(invoice)
    yield 1 * DAY
    stage.account.invoices.credit_after_payment(invoice, record_refunded=500, out_of_band=200)
    stage.expect(ivo, net={"usd": 2300})
    row = stage.truth_of(ivo).revenue[0]
    stage.require((row.gross, row.refunded, row.out_of_band) == (0, 0, 2300), "it came and went outside")


@story(covers=("E81",), defines=("revenue:refunded", "revenue:credit_balance"))
def credited_after_payment(stage: Stage) -> Iterator[int]:
    """A credit note returns a paid invoice to the card, which is one refund, and to the balance, which is none."""
    ida = stage.customer()
    invoice = stage.account.invoices.bill_once(ida, 3000, "Setup")
    yield 2 * DAY
    stage.account.invoices.credit_after_payment(invoice, refunded=500, to_balance=300)
    stage.expect(ida, net={"usd": 2500})
    yield 1 * DAY
    stage.account.invoices.bill_once(ida, 1000, "Support")
    stage.expect(ida, net={"usd": 2500 + 700})


@story(covers=("E100",), defines=("revenue:gross",))
def credit_taken_back(stage: Stage) -> Iterator[int]:
    """A credit note on an open invoice is voided before the invoice is paid: neither moved money."""
    jan = stage.customer()
    invoice = stage.account.invoices.bill_once(jan, 2000, "Seats", collects=False)
    yield 1 * DAY
    note = stage.account.invoices.credit_before_payment(invoice, 500)
    stage.expect(jan, net={})
    yield 1 * DAY
    stage.account.invoices.void_credit(note)
    stage.account.invoices.pay(invoice)
    stage.expect(jan, net={"usd": 2000})


@story(covers=("E100",), defines=("revenue:gross",))
def credited_in_part_before_payment(stage: Stage) -> Iterator[int]:
    """A credit note takes a part off an open invoice: what is then paid counts."""
    kim = stage.customer()
    invoice = stage.account.invoices.bill_once(kim, 2000, "Seats", collects=False)
    yield 1 * DAY
    stage.account.invoices.credit_before_payment(invoice, 700)
    stage.account.invoices.pay(invoice)
    stage.expect(kim, net={"usd": 1300})


@story(covers=("E91",), defines=("revenue:dispute_share", "revenue:fees"))
def dispute_settled_in_another_currency(stage: Stage) -> Iterator[int]:
    """Euros are disputed and pounds withdrawn: the conversion is adjusted, a fee is booked apart, a part comes back."""
    cleo = stage.customer()
    payments = stage.account.payments
    _, charge = payments.pay_once(cleo, 2000, "eur")
    yield 5 * DAY
    dispute = payments.dispute(charge, settled=(-1712, "gbp"))
    stage.expect(cleo, net={})
    yield 1 * HOUR
    payments.move_disputed(dispute, -23, "gbp", "dispute", worth=0)
    payments.move_disputed(dispute, -15, "gbp", "fee", worth=0)
    stage.expect(cleo, net={})
    yield 20 * DAY
    # 1135 of 1735 pounds are still gone: 1308 of the 2000 euros.
    payments.move_disputed(dispute, 600, "gbp", "dispute_reversal", worth=692)
    payments.move_dispute(dispute, "won")
    stage.expect(cleo, net={"eur": 692}, lifetime_revenue=692, revenue_currency="eur")


@story(covers=("E93",), defines=("revenue:dispute_share", "revenue:dispute_reinstated"))
def withdrawn_again_after_an_appeal(stage: Stage) -> Iterator[int]:
    """A dispute is won, the bank appeals, and the money goes out a second time, in the account's own currency."""
    drew = stage.customer()
    payments = stage.account.payments
    _, charge = payments.pay_once(drew, 2000, "eur")
    yield 5 * DAY
    dispute = payments.dispute(charge, settled=(-1712, "gbp"))
    yield 20 * DAY
    payments.move_disputed(dispute, 1712, "gbp", "dispute_reversal", worth=2000)
    payments.move_dispute(dispute, "won")
    stage.expect(drew, net={"eur": 2000})
    yield 20 * DAY
    payments.move_disputed(dispute, -1735, "gbp", "dispute", worth=-2000)
    payments.move_dispute(dispute, "lost")
    stage.expect(drew, net={})


@story(covers=("E84",), defines=("revenue:multicapture", "revenue:refunded"))
def captured_in_two_parts(stage: Stage) -> Iterator[int]:
    """An authorization is captured twice, with a refund between; what it releases in the end is no refund."""
    eve = stage.customer()
    payments = stage.account.payments
    charge = payments.authorize(eve, 1000, multicapture=True)
    stage.expect(eve, net={})
    yield 1 * DAY
    payments.capture_some(charge, 700)
    stage.expect(eve, net={"usd": 700}, lifetime_revenue=700)
    yield 1 * DAY
    payments.refund(charge, 50)
    stage.expect(eve, net={"usd": 650})
    yield 1 * DAY
    payments.capture_some(charge, 200, final=True)
    stage.expect(eve, net={"usd": 850})
    yield 1 * DAY
    payments.refund(charge, 100)
    stage.expect(eve, net={"usd": 750})
