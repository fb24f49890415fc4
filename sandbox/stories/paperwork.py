"""What surrounds billing and changes no record: cards, tax ids, suspected fraud, the contents of a basket."""

from collections.abc import Iterator

from sandbox.periods import DAY, HOUR
from sandbox.stories.registry import story
from sandbox.stories.stage import Stage


@story(defines=("side:payment_methods",))
def card_replaced(stage: Stage) -> Iterator[int]:
    """A customer without a card puts one on file before its trial ends, and another one later."""
    ada = stage.customer(None)
    sub = stage.subscribe(ada, stage.plan(900), trial_seconds=7 * DAY)
    yield 3 * DAY
    stage.account.clients.set_up_card(ada)
    yield stage.past_payment(sub)
    stage.expect(ada, status="active", net={"usd": 900})
    first = stage.charge_of(stage.latest_invoice(sub)).payment_method
    stage.account.clients.set_up_card(ada, last4="0005")
    stage.account.invoices.bill_once(ada, 300, "Sticker")
    second = ada.default_payment_method
    stage.require(None not in (first, second) and first != second, "each payment names its card")
    yield 1 * DAY
    stage.account.clients.set_payment_method(ada, None)
    stage.expect(ada, status="active", net={"usd": 1200})


@story(defines=("side:tax_ids",))
def tax_ids_on_file(stage: Stage) -> Iterator[int]:
    """A tax id is checked, another one was a mistake."""
    ben = stage.customer()
    kept = stage.account.clients.add_tax_id(ben, "DE123456789")
    wrong = stage.account.clients.add_tax_id(ben, "FR00000000000")
    yield 2 * HOUR
    stage.account.clients.verify_tax_id(kept)
    stage.account.clients.remove_tax_id(wrong)
    stage.require(ben.tax_ids == [kept.id], "one is left")
    stage.expect(ben, status=None, net={})


@story(defines=("side:suspicions",))
def suspicious_payment(stage: Stage) -> Iterator[int]:
    """A payment is reviewed by people, and its bank warns of fraud: neither moves money."""
    chi = stage.customer()
    _, charge = stage.account.payments.pay_once(chi, 4200)
    review = stage.account.payments.open_review(charge)
    yield 1 * DAY
    stage.account.payments.close_review(review)
    yield 1 * DAY
    stage.account.payments.warn_of_fraud(charge)
    stage.expect(chi, net={"usd": 4200})


@story(defines=("side:baskets", "last_seen:checkout"))
def full_basket(stage: Stage) -> Iterator[int]:
    """Twelve things are bought in one Checkout, two more than fit into a payload."""
    dora = stage.customer()
    plans = [(stage.plan(100 + n, interval=None), 1 + n % 3) for n in range(12)]
    total = sum(price.amount_for(quantity) for price, quantity in plans)
    session = stage.account.clients.open_checkout(dora, mode="payment", amount=total, plans=plans)
    yield 4 * 60
    intent, _ = stage.account.payments.pay_once(dora, total)
    stage.account.clients.complete_checkout(session, intent=intent)
    stage.require(total == sum(line.amount for line in session.lines), "the lines are what was paid")
    stage.expect(dora, net={"usd": total}, status=None)
